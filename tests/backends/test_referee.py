"""A comparison on the digits: what it measures, records and leaves out."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perceptune import cli
from perceptune.backends import specs
from perceptune.backends.referee import Comparison, compare
from perceptune.errors import UserError
from perceptune.terminal import how_to_install
from support import configure, run, runs_in, working_in

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
        broken = str(folder / "broken")
        patch.setenv("PYTHONPATH", broken, prepend=os.pathsep)  # for the process of its own
        there = ("scikit-learn", "torch")
        patch.setattr(specs, "is_installed", lambda package: package in there)
        names = "backends=[torch,numpy,jax,sklearn]"
        config = configure(folder, names, "repeats=2", *SETTINGS)
        yield folder, compare(config, [names], folder / "output", lambda what: None)


def test_a_backend_that_fails_or_is_missing_stops_no_other(
    compared: tuple[Path, Comparison],
) -> None:
    backends = compared[1].backends
    assert len(backends["numpy"].results) == len(backends["sklearn"].results) == 2
    assert backends["torch"].reason == "seed 0: ImportError: this torch is broken"
    assert backends["jax"].reason == (
        f"jax and optax not installed; {how_to_install('jax', 'optax')}"
    )


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


def test_the_parent_holds_medians_table_and_figure(compared: tuple[Path, Comparison]) -> None:
    folder, result = compared
    [parent] = [each for each in runs_in(folder) if each.info.run_id == result.run.id]
    both = [each.metrics["test/accuracy"] for each in result.backends["numpy"].results]
    assert parent.data.metrics["numpy/test/accuracy"] == pytest.approx(np.mean(both), abs=1e-12)
    files = folder / "mlruns" / "artifacts" / str(result.run.id) / "artifacts"
    table = json.loads((files / "comparison.json").read_text())
    assert [row[0] for row in table["data"]] == ["numpy", "sklearn"]
    assert (files / "plots" / "comparison.png").stat().st_size > 10_000


def test_the_numpy_backend_is_an_ordinary_training(
    compared: tuple[Path, Comparison], tmp_path: Path
) -> None:
    ordinary = run(tmp_path, *SETTINGS, "tracking.figures=none").metrics
    ours = compared[1].backends["numpy"].results[0]
    # One loss is computed from probabilities in float32, the other from logits.
    assert ours.metrics["test/loss"] == pytest.approx(ordinary["test/loss"], rel=1e-6)
    assert ours.metrics["test/accuracy"] == ordinary["test/accuracy"]
    assert ours.history[int(ours.metrics["best/epoch"]) - 1]["val/loss"] == ordinary["val/loss"]


def test_all_backends_make_the_same_steps(compared: tuple[Path, Comparison]) -> None:
    parity = {
        name: [result.metrics["parity/loss"] for result in compared[1].backends[name].results]
        for name in ("numpy", "sklearn")
    }
    # In float32, with an Adam that amplifies roundings; another order of the samples would make the
    # losses differ by tens of per cent.
    assert all(0 < loss < 0.02 for losses in parity.values() for loss in losses)
    assert parity["numpy"] != parity["sklearn"]
    assert compared[1].backends["sklearn"].medians()["parity/loss"] == max(parity["sklearn"])


def test_times_and_memory_are_of_one_process(compared: tuple[Path, Comparison]) -> None:
    for name in ("numpy", "sklearn"):
        for each in (result.metrics for result in compared[1].backends[name].results):
            assert each["startup_seconds"] > 0
            total = each["startup_seconds"] + each["fit_seconds"]
            assert each["total_seconds"] == pytest.approx(total)
            both = each["first_epoch_seconds"] + each["median_epoch_seconds"]
            assert each["fit_seconds"] == pytest.approx(both)
            assert 20 < each.get("peak_megabytes", 100) < 2000


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
    accuracy = result.backends["sklearn"].results[1].metrics["test/accuracy"]
    assert f"accuracy  {accuracy:.4f}" in capsys.readouterr().out


def test_a_training_that_diverges_is_named(tmp_path: Path) -> None:
    with working_in(tmp_path):
        config = configure(
            tmp_path, "backends=[numpy]", "optimizer=sgd", "optimizer.lr=1e30",
            "tracking.enabled=false", *SETTINGS,
        )  # fmt: skip
        with pytest.raises(UserError, match=r"numpy: seed 0: .*diverged in epoch 1"):
            compare(config, [], tmp_path, lambda what: None)
