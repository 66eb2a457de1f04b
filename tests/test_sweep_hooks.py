"""Perceptune's own studies: every file in sweeps/ runs, and a study's results are correct."""

import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from optuna_joblib_sweeper.testing import wait_until
from perceptune import app
from support import COMMAND, Perceptune, runs_in, store_of

FILES = sorted(file.stem for file in (app.root() / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_a_sweep_file_opens_with_its_command_and_says_what_it_found(name: str) -> None:
    lines = (app.root() / "sweeps" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1] == f"# perceptune train -m sweeps={name}"
    comment = " ".join(line for line in lines[2:12] if line.startswith("#"))
    assert "two cores" in comment
    assert "Found" in comment


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_sweep_runs(name: str, perceptune: Perceptune, tmp_path: Path) -> None:
    answer = perceptune(
        *("train", "-m", f"sweeps={name}", "data=digits", "data.validation=0.1"),
        *("hydra.sweeper.n_trials=3", "train.epochs=2", "tracking.enabled=false"),
        "hydra.sweeper.backend=sequential",  # quicker; studies on several processes: elsewhere
    )
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    [results] = tmp_path.glob("mlruns/hydra/*/*/optimization_results.yaml")
    assert yaml.safe_load(results.read_text())["name"] == "optuna"
    assert "The test set, read once, for trial" in answer.stdout


@pytest.mark.slow
def test_a_study_in_the_store(perceptune: Perceptune, tmp_path: Path) -> None:
    answer = perceptune(
        *("train", "-m", "sweeps=digits", "hydra.sweeper.n_trials=4", "train.epochs=3"),
        *("hydra.sweeper.mlflow.plots=false", "tracking.figures=none"),
    )
    assert answer.returncode == 0, answer.stderr
    runs = runs_in(tmp_path)
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert len(children) == 4
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for child in children:
        assert not [name for name in child.data.metrics if name.startswith("test/")]
        assert child.data.tags["study"] == "digits"
        assert child.data.params["train.epochs"] == "3"
        assert child.data.tags["outcome"] in ("finished", "pruned")
        assert set(child.data.tags) >= {"pid", "host", "boot_id", "perceptune.version"}
    assert parent.data.metrics["test/accuracy"] > 0.5
    assert parent.data.tags["outcome"] == "finished"
    assert set(parent.data.tags) >= {"pid", "host", "boot_id", "process_start"}

    [results] = tmp_path.glob("mlruns/hydra/*/*/optimization_results.yaml")
    found = yaml.safe_load(results.read_text())
    [best] = [run for run in children if run.info.run_id == found["best_run_id"]]
    assert found["best_value"] == best.data.metrics["best/val_accuracy"]

    [line] = [line for line in answer.stdout.splitlines() if "Train the winner again" in line]
    words = shlex.split(line.partition(": ")[2])[1:]
    again = perceptune(*words, "tracking.experiment=again", "tracking.figures=none")
    assert again.returncode == 0, again.stderr
    [run] = [
        run for run in runs_in(tmp_path) if run.info.experiment_id != parent.info.experiment_id
    ]
    assert run.data.metrics["best/val_accuracy"] == found["best_value"]
    assert run.data.metrics["test/accuracy"] == parent.data.metrics["test/accuracy"]


@pytest.mark.slow
def test_the_direction_follows_from_the_objective_and_a_pruner_can_be_swapped(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    answer = perceptune(
        *("train", "-m", "sweeps=digits", "objective=val/loss", "hydra/sweeper/pruner=none"),
        *("hydra.sweeper.n_trials=5", "train.epochs=3", "tracking.enabled=false"),
    )
    assert answer.returncode == 0, answer.stderr
    table = answer.stdout.partition("trial ")[2].splitlines()[1:6]
    values = [float(line.split()[1]) for line in table]
    assert values == sorted(values)
    assert len(set(values)) > 1


@pytest.mark.slow
def test_a_study_of_means_is_confirmed_with_seeds_that_no_trial_has_used(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    answer = perceptune(
        *("train", "-m", "sweeps=digits", "repeats=2", "hydra.sweeper.n_trials=3"),
        *("hydra.sweeper.confirm.top=1", "hydra.sweeper.confirm.seeds=2", "train.epochs=2"),
        "hydra.sweeper.mlflow.plots=false",
    )
    assert answer.returncode == 0, answer.stderr
    [line] = [line for line in answer.stdout.splitlines() if "The test set, read once" in line]
    assert "(2 seeds: 0–1)" in line
    runs = runs_in(tmp_path)
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    fresh = [run for run in runs if "confirms" in run.data.tags]
    assert sorted(run.data.params["seed"] for run in fresh) == ["2", "3"]
    assert {"test/accuracy/mean", "test/accuracy/sd"} <= set(parent.data.metrics)
    [winner] = [run for run in runs if run.info.run_id == parent.data.tags["best_run_id"]]
    assert winner.data.metrics["val/accuracy/sd"] >= 0
    for run in runs:
        if run is not parent:
            assert not [name for name in run.data.metrics if name.startswith("test/")]


def _study(folder: Path) -> "subprocess.Popen[str]":
    command = "train -m sweeps=digits hydra.sweeper.n_trials=6 train.epochs=60 "
    command += "hydra/sweeper/pruner=none train.checkpoint_seconds=0"
    return subprocess.Popen(
        [*COMMAND, *command.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_study_is_resumed(tmp_path: Path) -> None:
    first = _study(tmp_path)

    def one_is_finished() -> bool:
        assert first.poll() is None
        return any("best/epoch" in run.data.metrics for run in _runs(tmp_path))

    wait_until(one_is_finished, seconds=120)
    first.send_signal(signal.SIGKILL)
    first.communicate()

    second = _study(tmp_path)
    printed, _ = second.communicate(timeout=240)
    assert second.returncode == 0, printed
    runs = runs_in(tmp_path)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 6
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    for child in children:
        assert _steps(tmp_path, child) == list(range(1, 61))


def _runs(folder: Path) -> list[Any]:
    return runs_in(folder) if (folder / "mlruns" / "mlflow.db").exists() else []


def _steps(folder: Path, run: Any) -> list[int]:
    from mlflow import MlflowClient

    history = MlflowClient(store_of(folder)).get_metric_history(run.info.run_id, "val/accuracy")
    return [entry.step for entry in history]


@pytest.mark.slow
def test_a_wrong_space_and_a_changed_study_are_refused_in_one_line(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    tiny = ("train", "-m", "sweeps=digits", "hydra.sweeper.n_trials=1", "train.epochs=1")
    wrong = perceptune(*tiny, "model.init=choice(he_normal,foo)")
    assert wrong.returncode == 1
    assert "model.init=foo: model.init must be one of" in wrong.stderr
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()
    assert perceptune(*tiny, "tracking.enabled=false").returncode == 0
    changed = perceptune(*tiny, "tracking.enabled=false", "train.epochs=2")
    assert changed.returncode == 1
    assert "- epochs: 1; + epochs: 2" in changed.stderr
    reading = perceptune(*tiny, "train.evaluate_test=true", "hydra.sweeper.study_name=other")
    assert reading.returncode == 1
    assert "refused in a study" in reading.stderr
    for answer in (wrong, changed, reading):
        assert "Traceback" not in answer.stderr
