"""Several seeds of one configuration: their spread, as printed and recorded."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from perceptune import cli, seeds
from perceptune.config import Config
from perceptune.errors import UserError
from perceptune.evaluation import Spread
from perceptune.nn.checkpoint import load_network
from perceptune.runs.run import Result, train
from perceptune.seeds import SeedRun, Setting, in_words, labels, settings_of, summary, train_seeds
from perceptune.tracking.reading import RunRecord
from support import Perceptune, configure, run, runs_in

FAST = ("train.epochs=2", "model.hidden=[16]", "tracking.figures=none")


def _run(seed: int, test: float, overrides: tuple[str, ...] = (), **params: object) -> SeedRun:
    """A finished training made by hand, of one epoch."""
    metrics = {"best/epoch": 1.0, "val/accuracy": 0.1, "test/accuracy": test}
    known = {key: str(value) for key, value in params.items()}
    known |= {"seed": str(seed), "model.parameters": "10"}
    record = RunRecord(f"run-{seed}", "name", "FINISHED", "", known, metrics, {})
    history = [{"epoch": 1.0, "val/accuracy": 0.5 + seed / 100}]
    return SeedRun.of(record, [*overrides, f"seed={seed}"], history)


def test_metrics_of_an_epoch_are_those_of_the_best_one() -> None:
    assert _run(3, 0.9).metrics["val/accuracy"] == 0.53
    assert _run(3, 0.9).metrics["model/parameters"] == 10


def test_only_what_differs_by_seed_alone_is_one_setting() -> None:
    found = [_run(1, 0.9, lr=1), _run(0, 0.8, lr=1), _run(0, 0.7, lr=2), _run(0, 0.7, lr=3)]
    [setting] = settings_of([*found, _run(0, 0.8, lr=1)])  # the same seed twice counts once
    assert setting.seeds == [0, 1]
    assert setting.spreads["test/accuracy"].mean == pytest.approx(0.85)


def test_the_best_run_is_chosen_on_validation_samples() -> None:
    assert Setting([_run(0, 0.99), _run(1, 0.9)]).best_run == "run-1"


def test_one_setting_is_summarized_in_a_line() -> None:
    setting = Setting([_run(seed, 0.979 + seed / 1000) for seed in range(3)])
    assert summary([setting]) == (
        "test accuracy 98.00 % ± 0.10 (3 seeds: 0–2), range 97.90–98.10 %"
    )
    assert "(2 seeds: 1, 5)" in in_words("", Spread.of([0.1, 0.2]), [1, 5])


def test_several_settings_are_told_apart_by_the_overrides_that_differ() -> None:
    found = [_run(seed, 0.9, (f"lr={lr}", "epochs=2"), lr=lr) for lr in (1, 2) for seed in range(2)]
    settings = settings_of(found)
    assert labels(settings) == ["lr=1", "lr=2"]
    title, *lines = summary(settings).splitlines()
    assert "mean ± standard deviation" in title
    assert [line.split()[0] for line in lines] == ["lr=1", "lr=2"]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """The command in an empty folder and in this process, jobs one by one: the lines it prints."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> list[str]:
        words = ["perceptune", "train", *arguments, "hydra.launcher.n_jobs=1"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capfd.readouterr()
        assert end.value.code == 0, printed.err
        return printed.out.splitlines()

    return call


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
    [figure] = tmp_path.glob(f"mlruns/artifacts/{parent.info.run_id}/artifacts/plots/*")
    assert figure.name == "seeds.png"
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}


def test_a_multirun_over_seeds_prints_and_records_the_same(
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


def _train_all(folder: Path, *overrides: str, train: Any = train) -> list[Result]:
    """All seeds of a setting, one after another, without a store."""
    words = ["tracking.enabled=false", *overrides]
    config = configure(folder, *words)
    return train_seeds(config, words, folder / "repeated", train, 1, lambda seed, result: None)


def test_each_seed_gives_the_bits_that_it_gives_alone(tmp_path: Path) -> None:
    _train_all(tmp_path, "train.epochs=2", "repeats=2")
    for seed in (0, 1):
        alone = tmp_path / str(seed)
        alone.mkdir()
        run(alone, "tracking.enabled=false", "train.epochs=2", f"seed={seed}")
        kept = "weights/last.npz"
        repeated = load_network(tmp_path / "repeated" / f"seed_{seed}" / kept).theta
        assert repeated.tobytes() == load_network(alone / "output" / kept).theta.tobytes()


def test_a_seed_that_fails_loses_no_other(tmp_path: Path, capfd: Any) -> None:
    def unlucky(config: Config, *rest: Any) -> Result:
        if config.seed == 1:
            raise UserError("the training diverged")
        return train(config, *rest)

    with pytest.raises(UserError, match="1 of 3 failed: the training diverged"):
        _train_all(tmp_path, "train.epochs=1", "repeats=3", train=unlucky)
    seeds.summarize(None, tmp_path)
    assert "(2 seeds: 0, 2)" in capfd.readouterr().out


def test_an_output_folder_may_be_used_again(command: Callable[..., list[str]]) -> None:
    again = ("-m", "hydra.sweep.dir=output", "tracking.enabled=false", "train.epochs=1")
    assert "(3 seeds: 0–2)" in command(*again, "seed=0,1,2")[-1]
    assert "(2 seeds: 5–6)" in command(*again, "seed=5,6")[-1]


def test_an_error_that_all_seeds_share_is_raised_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        _train_all(tmp_path, "data=csv", "data.path=nothing.csv", "repeats=2")
    assert str(error.value).count("nothing.csv") == 1
