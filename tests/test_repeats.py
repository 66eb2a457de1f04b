"""Several seeds of one setting, as a user asks for them, read back from the store."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from perceptune import cli, repeats
from perceptune.errors import UserError
from perceptune.experiment import Result, train
from perceptune.nn.checkpoint import load_network
from perceptune.seeds import notes
from perceptune.tracking.lifecycle import Group
from support import Perceptune, configure, run, runs_in

FAST = ("train.epochs=2", "model.hidden=[16]", "tracking.figures=none")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """The command in an empty folder and in this process, jobs one by one: the lines it says."""
    monkeypatch.chdir(tmp_path)

    def say(*arguments: str) -> list[str]:
        words = ["perceptune", "train", *arguments, "hydra.launcher.n_jobs=1"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        assert end.value.code == 0, said.err
        return said.out.splitlines()

    return say


def _family(folder: Path) -> tuple[Any, list[Any]]:
    """The only parent of the store, and its children."""
    runs = runs_in(folder)
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, children


def test_repeats_leave_runs_below_a_parent_with_mean_and_spread(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert "(3 seeds: 4–6)" in command("repeats=3", "seed=4", *FAST)[-1]
    parent, children = _family(tmp_path)
    assert sorted(child.data.params["seed"] for child in children) == ["4", "5", "6"]
    assert {child.data.params["repeats"] for child in children} == {"1"}
    assert parent.data.tags["kind"] == "repeats"
    assert json.loads(parent.data.tags["seeds"]) == [4, 5, 6]
    assert (parent.data.params["repeats"], parent.data.params["train.epochs"]) == ("3", "2")
    for name in ("test/accuracy", "best/val_accuracy", "best/epoch"):
        values = [child.data.metrics[name] for child in children]
        found = [parent.data.metrics[f"{name}/{key}"] for key in ("mean", "sd", "min", "max")]
        assert found == pytest.approx([mean(values), stdev(values), min(values), max(values)])
    best = max(children, key=lambda child: child.data.metrics["best/val_accuracy"])
    champion = {child.info.run_id: child for child in children}[parent.data.tags["best_run_id"]]
    assert champion.data.metrics["best/val_accuracy"] == best.data.metrics["best/val_accuracy"]
    [picture] = tmp_path.glob(f"mlruns/artifacts/{parent.info.run_id}/artifacts/plots/*")
    assert picture.name == "seeds.png"
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}


def test_a_multirun_over_seeds_says_and_records_the_same(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    preset = ("experiment=ann_128_64_adam", "data=digits")
    assert "(2 seeds: 0–1)" in command("-m", "seed=range(2)", *preset, *FAST)[-1]
    parent, children = _family(tmp_path)
    assert parent.data.tags["kind"] == "repeats"
    values = [child.data.metrics["test/accuracy"] for child in children]
    assert parent.data.metrics["test/accuracy/sd"] == pytest.approx(stdev(values))
    assert {run.data.tags["preset"] for run in (parent, *children)} == {"ann_128_64_adam"}


@pytest.mark.slow
def test_several_settings_with_several_seeds_get_a_table(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    answer = perceptune("train", "-m", "optimizer=sgd,adam", "repeats=2", *FAST)
    assert answer.returncode == 0, answer.stderr
    table = answer.stdout.splitlines()[-2:]
    assert [line.split()[0] for line in table] == ["optimizer=adam", "optimizer=sgd"]
    parent, children = _family(tmp_path)
    assert len(children) == 4
    assert parent.data.tags["kind"] == "multirun"
    [kept] = tmp_path.glob(f"mlruns/artifacts/{parent.info.run_id}/artifacts/seeds.json")
    rows = json.loads(kept.read_text())["data"]
    assert [row[0] for row in rows] == ["optimizer=adam", "optimizer=sgd"]


def _group(folder: Path) -> Group:
    folder.mkdir()
    return Group(folder, "group")


def test_each_seed_gives_the_bits_that_it_gives_alone(tmp_path: Path) -> None:
    words = ["tracking.enabled=false", "train.epochs=2"]
    config, folder = configure(tmp_path, *words, "repeats=2"), tmp_path / "repeated"
    repeats.train_all(config, [*words, "repeats=2"], folder, _group(tmp_path / "g"), {})
    for seed in (0, 1):
        alone = tmp_path / str(seed)
        alone.mkdir()
        run(alone, *words, f"seed={seed}")
        kept = "weights/last.npz"
        repeated = load_network(folder / f"seed_{seed}" / kept).theta
        assert repeated.tobytes() == load_network(alone / "output" / kept).theta.tobytes()


def test_a_seed_that_fails_loses_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlucky(config: Any, *rest: Any) -> Result:
        if config.seed == 1:
            raise UserError("the training diverged")
        return train(config, *rest)

    monkeypatch.setattr(repeats, "train", unlucky)
    words = ["tracking.enabled=false", "train.epochs=1", "repeats=3"]
    group = _group(tmp_path / "g")
    with pytest.raises(UserError, match="1 of 3 failed: the training diverged"):
        repeats.train_all(configure(tmp_path, *words), words, tmp_path, group, {})
    assert sorted(note.seed for note in notes(group.folder)) == [0, 2]


def test_an_error_that_all_seeds_share_is_said_once(tmp_path: Path) -> None:
    words = ["tracking.enabled=false", "data=csv", "data.path=nothing.csv", "repeats=2"]
    with pytest.raises(UserError) as error:
        repeats.train_all(configure(tmp_path, *words), words, tmp_path, _group(tmp_path / "g"), {})
    assert str(error.value).count("nothing.csv") == 1
