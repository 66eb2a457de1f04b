"""`perceptune compare` on the digits: what it measures, records, leaves out, and refuses."""

import json
import math
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceptune import backends, cli, paths
from perceptune.backends import runner
from perceptune.compare import Comparison, compare
from perceptune.errors import UserError
from support import Perceptune, configure, run, runs_in, working_in

SETTINGS = ("model.hidden=[16]", "train.epochs=2")
OWN = [
    "best/epoch", "best/val_accuracy", "epoch_seconds", "fit_seconds", "lr", "test/accuracy",
    "test/loss", "train/loss", "val/accuracy", "val/loss",
]  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Comparison]]:
    """One comparison of four: two real ones, one that is broken, one that is not installed."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "broken").mkdir()
    (folder / "broken" / "torch.py").write_text("raise ImportError('this torch is broken')")
    with pytest.MonkeyPatch.context() as patch, working_in(folder):
        patch.setenv("PYTHONPATH", str(folder / "broken"))  # for the process of its own
        there = ("scikit-learn", "torch")
        patch.setattr(backends, "_is_installed", lambda package: package in there)
        names = "backends=[torch,numpy,jax,sklearn]"
        config = configure(folder, names, "repeats=2", *SETTINGS)
        yield folder, compare(config, [names], folder / "output", lambda what: None)


def test_a_backend_that_fails_or_is_missing_stops_no_other(
    compared: tuple[Path, Comparison],
) -> None:
    contestants = compared[1].contestants
    assert len(contestants["numpy"].trained) == len(contestants["sklearn"].trained) == 2
    assert contestants["torch"].reason == "seed 0: ImportError: this torch is broken"
    assert contestants["jax"].reason == "jax and optax not installed; pip install jax optax"


def test_each_backend_and_seed_is_a_child_with_the_names_of_a_training(
    compared: tuple[Path, Comparison],
) -> None:
    runs = runs_in(compared[0])
    [parent] = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    children = {each.info.run_name: each for each in runs if each is not parent}
    assert parent.info.run_id == compared[1].run.id
    assert set(children) == {
        "torch seed=0", "numpy seed=0", "sklearn seed=0", "numpy seed=1", "sklearn seed=1",
    }  # fmt: skip
    assert {each.data.tags["mlflow.parentRunId"] for each in children.values()} == {
        parent.info.run_id
    }
    for name, child in children.items():
        good = not name.startswith("torch")
        assert child.info.status == ("FINISHED" if good else "FAILED")
        assert child.data.params["seed"] == name[-1]
        assert child.data.params["backend"] == name.split()[0]
        assert child.data.params["model.hidden"] == "[16]"
        assert not good or set(OWN) <= set(child.data.metrics)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["skipped.torch"].endswith("this torch is broken")


def test_the_parent_holds_medians_table_and_picture(compared: tuple[Path, Comparison]) -> None:
    folder, result = compared
    [parent] = [each for each in runs_in(folder) if each.info.run_id == result.run.id]
    both = [each.test["test/accuracy"] for each in result.contestants["numpy"].trained]
    assert parent.data.metrics["numpy/test/accuracy"] == pytest.approx(np.mean(both), abs=1e-12)
    files = folder / "mlruns" / "artifacts" / str(result.run.id) / "artifacts"
    table = json.loads((files / "comparison.json").read_text())
    assert [row[0] for row in table["data"]] == ["numpy", "sklearn"]
    assert (files / "plots" / "comparison.png").stat().st_size > 10_000


def test_the_numpy_backend_is_an_ordinary_training(
    compared: tuple[Path, Comparison], tmp_path: Path
) -> None:
    ordinary = run(tmp_path, *SETTINGS, "tracking.figures=none").metrics
    ours = compared[1].contestants["numpy"].trained[0]
    # One sums logarithms of probabilities in float32, the other what they come from.
    assert ours.test["test/loss"] == pytest.approx(ordinary["test/loss"], rel=1e-6)
    assert ours.test["test/accuracy"] == ordinary["test/accuracy"]
    assert ours.epochs[ours.best_epoch - 1].val_loss == ordinary["val/loss"]


def test_all_walk_the_same_way(compared: tuple[Path, Comparison]) -> None:
    for name in ("numpy", "sklearn"):
        contestant = compared[1].contestants[name]
        # In float32, with an Adam that carries roundings on: one wrong order of samples would make
        # the losses differ by tens of per cent.
        assert max(loss for loss, _ in contestant.parity) < 0.02
        assert all(loss > 0 for loss, _ in contestant.parity)
    assert compared[1].contestants["numpy"].parity != compared[1].contestants["sklearn"].parity


def test_times_and_memory_are_of_one_process(compared: tuple[Path, Comparison]) -> None:
    for name in ("numpy", "sklearn"):
        for each in compared[1].contestants[name].trained:
            assert 0 < each.startup_seconds < each.total_seconds
            assert each.fit_seconds == pytest.approx(each.first_epoch_seconds + each.epoch_seconds)
            assert each.peak_bytes is None or 2e7 < each.peak_bytes < 2e9


def test_weights_of_any_backend_can_be_evaluated(
    compared: tuple[Path, Comparison],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, result = compared
    [child] = [each for each in runs_in(folder) if each.info.run_name == "sklearn seed=1"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "perceptune",
            "evaluate",
            child.info.run_id,
            "tracking.figures=none",
            "tracking.enabled=false",
        ],
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    accuracy = result.contestants["sklearn"].trained[1].test["test/accuracy"]
    assert f"accuracy  {accuracy:.4f}" in capsys.readouterr().out


def test_steps_that_are_apart_are_told_so() -> None:
    reference = runner.Steps(np.array([2.0, 1.0]), np.array([-4.0, 1.0]))
    other = runner.Steps(np.array([2.0, 1.1]), np.array([-4.0, 1.2]))
    assert other.differ(reference) == (pytest.approx(0.1), pytest.approx(0.05))


REFUSED: list[tuple[list[str], str]] = [
    (["backends=[foo]"], "backends must be one of numpy, torch"),
    (["backends=[]"], "backends must name at least one of"),
    (["backends=[numpy,numpy]"], "backends names numpy twice"),
    (["backends=numpy"], "backends"),
    (["repeats=0"], "repeats must be 1 or more"),
    (["train.patience=3"], "set train.patience=null"),
    (["resume=abc"], "compare takes no resume"),
    (["register=abc"], "compare takes no register"),
    (["train.evaluate_test=false"], "leave out train.evaluate_test"),
    (["backends=[sklearn]", "optimizer=adamw"], "none of backends can be run: sklearn: it has no"),
    (["-m", "seed=0,1"], "leave out -m"),
    (["data=csv", "data.path=nothing.csv"], "nothing.csv"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=str)
def test_a_mistake_is_refused_before_anything_is_trained(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a training was started")

    monkeypatch.setattr(runner, "_run", never)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["perceptune", "compare", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capfd.readouterr()
    assert end.value.code not in (0, None)
    assert message in said.err
    assert "Traceback" not in said.err + said.out
    assert not list(tmp_path.glob("mlruns/mlflow.db"))


def test_a_training_that_diverges_is_named(tmp_path: Path) -> None:
    with working_in(tmp_path):
        config = configure(
            tmp_path, "backends=[numpy]", "optimizer=sgd", "optimizer.lr=1e30",
            "tracking.enabled=false", *SETTINGS,
        )  # fmt: skip
        with pytest.raises(UserError, match=r"numpy: seed 0: .*diverged in epoch 1"):
            compare(config, [], tmp_path, lambda what: None)


@pytest.mark.slow
def test_the_command_prints_a_table(perceptune: Perceptune) -> None:
    answer = perceptune("compare", "backends=[numpy,sklearn]", "tracking.enabled=false", *SETTINGS)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].split()[:3] == ["backend", "test", "accuracy"]
    for line, name in zip(lines[1:3], ("numpy", "sklearn"), strict=True):
        cells = line.split()
        assert cells[0] == name
        assert all(math.isfinite(float(cell.replace(",", ""))) for cell in cells[1:])
    assert "parity: against float64, over the first 82 steps; seed 0" in answer.stdout


@pytest.mark.peers
@pytest.mark.parametrize(
    "name", ["torch", "torch_compiled", "jax", "keras_jax", "keras_tensorflow", "keras_torch"]
)
def test_every_peer_walks_our_way(name: str, tmp_path: Path) -> None:
    if backends.kind_of(name).missing:
        pytest.skip(f"{name} is not installed")
    config = configure(tmp_path, "optimizer=momentum", *SETTINGS)
    reference = runner.reference(config, 50)
    measured = runner.train(name, config, tmp_path, parity_steps=50)
    assert measured.steps is not None
    # Roundings of 2⁻²⁴ over 50 steps, without an Adam to carry them on: 3e-7 was measured.
    assert max(measured.steps.differ(reference)) < 1e-5
    assert measured.test["test/accuracy"] > 0.5


def test_the_keras_preset_is_what_keras_does_by_default(tmp_path: Path) -> None:
    text = (paths.root() / "conf" / "experiment" / "keras_20.yaml").read_text().splitlines()
    assert text[1] == "# perceptune train experiment=keras_20"
    assert text[2].startswith("# perceptune compare experiment=keras_20 ")
    config = configure(tmp_path, "experiment=keras_20")
    assert (config.model.hidden, config.model.init) == ([20], "xavier_uniform")
    assert (config.train.batch_size, config.optimizer["lr"]) == (32, 0.001)


@pytest.mark.slow
def test_the_keras_preset_runs(perceptune: Perceptune) -> None:
    words = text_of_command("keras_20")
    answer = perceptune(
        *words, "data=digits", "data.validation=0.1", "train.epochs=2", "tracking.enabled=false"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[1].split()[0] == "numpy"


def text_of_command(preset: str) -> list[str]:
    """The `compare` that the file opens with."""
    text = (paths.root() / "conf" / "experiment" / f"{preset}.yaml").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("# perceptune compare")]
    return shlex.split(line.removeprefix("# perceptune"))
