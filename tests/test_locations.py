"""Relative locations mean one thing in every process, and a project can be moved and copied."""

import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from optuna_joblib_sweeper import load_study
from optuna_joblib_sweeper.testing import wait_until
from support import COMMAND, Perceptune, runs_in
from warm import WarmProcess

STUDY = ("hydra.sweeper.mlflow.plots=false", "hydra.sweeper.backend=sequential")
QUICK = ("train.epochs=2", "tracking.figures=none")


def _run(perceptune: Perceptune, folder: Path, *words: str) -> None:
    """The command, which must succeed."""
    ended = perceptune(*words, folder=folder)
    assert ended.returncode == 0, ended.stderr


def _write_table(path: Path) -> None:
    """A CSV of 90 images of 2 × 2 pixels in three classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    pixels = labels[:, None] * 80 + rng.integers(0, 40, (90, 4))
    head = "label," + ",".join(f"pixel{index}" for index in range(4))
    np.savetxt(path, np.column_stack([labels, pixels]), "%d", ",", header=head, comments="")


def _picture(folder: Path) -> str:
    """An array with one blank image of the digits' size."""
    np.save(folder / "blank.npy", np.zeros((1, 8, 8), np.uint8))
    return str(folder / "blank.npy")


def _snapshot(folder: Path) -> dict[Path, int]:
    """All files below a folder but locks and SQLite's own, and when each was last written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_relative_locations_mean_the_same_in_jobs_that_change_their_folder(
    perceptune: Perceptune,
    tmp_path: Path,
) -> None:
    _write_table(tmp_path / "small.csv")
    words = ["data=csv", "data.path=small.csv", "hydra.job.chdir=true", *QUICK]
    _run(perceptune, tmp_path, "train", "-m", "seed=0,1", "hydra.launcher.n_jobs=2", *words)
    _run(perceptune, tmp_path, "train", *words)
    assert list(tmp_path.rglob("*.db")) == [tmp_path / "mlruns" / "mlflow.db"]
    parent, *children, alone = runs_in(tmp_path)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    artifacts = (tmp_path / "mlruns" / "artifacts").as_uri()
    assert all(run.info.artifact_uri.startswith(artifacts) for run in (*children, alone))


@pytest.mark.slow
def test_a_study_in_changed_folders_has_one_store_and_one_journal(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    _write_table(tmp_path / "small.csv")
    words = ["data=csv", "data.path=small.csv", "hydra.job.chdir=true", *QUICK]
    study = ["sweeps=digits", "hydra.sweeper.n_trials=2", "hydra.sweeper.storage=kept/studies.log"]
    _run(perceptune, tmp_path, "train", "-m", *study, *STUDY, *words)
    assert list(tmp_path.rglob("*.db")) == [tmp_path / "mlruns" / "mlflow.db"]
    result = load_study(str(tmp_path / "kept" / "studies.log"), "digits")
    assert [trial.state for trial in result.trials] == ["complete"] * 2
    assert len(runs_in(tmp_path)) == 3


def test_a_relative_uri_in_the_environment_names_a_store_from_here(
    perceptune: Perceptune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///below/mlflow.db")
    _run(perceptune, tmp_path, "train", *QUICK)
    [store] = tmp_path.rglob("*.db")
    assert store == tmp_path / "below" / "mlflow.db"
    assert len(list((store.parent / "artifacts").glob("*/artifacts/weights/best.npz"))) == 1


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, warm: WarmProcess) -> Path:
    """A folder with a run whose model is registered, and a study."""
    folder = tmp_path_factory.mktemp("travels") / "project"
    folder.mkdir()
    study = ("-m", "sweeps=digits", "hydra.sweeper.n_trials=2", *STUDY)
    for words in (("register=digits",), study):
        warm.run(["train", *words, *QUICK], folder).check_returncode()
    return folder


@pytest.mark.slow
def test_a_copy_of_a_project_uses_its_own_artifacts_and_leaves_the_original_alone(
    perceptune: Perceptune, project: Path, tmp_path: Path
) -> None:
    there = tmp_path / "copy"
    shutil.copytree(project, there)
    before = _snapshot(project)
    _run(perceptune, there, "evaluate", runs_in(there)[0].info.run_id)
    _run(perceptune, there, "evaluate", "models:/digits/1")
    _run(perceptune, there, "report", "digits")
    _run(perceptune, there, "train", *QUICK)
    more = ["sweeps=digits", "hydra.sweeper.n_trials=3", *STUDY]
    _run(perceptune, there, "train", "-m", *more, *QUICK)

    assert _snapshot(project) == before
    artifacts = (there / "mlruns" / "artifacts").as_uri()
    assert all(run.info.artifact_uri.startswith(artifacts) for run in runs_in(there))
    journal = there / "mlruns" / "optuna.journal"
    folders = [trial.folder for trial in load_study(str(journal), "digits").trials]
    assert all(folder.is_relative_to(there) and folder.is_dir() for folder in folders)


def test_a_project_that_is_moved_keeps_its_artifacts(
    perceptune: Perceptune, project: Path, tmp_path: Path
) -> None:
    there = project.rename(tmp_path / "moved")
    try:
        _run(perceptune, there, "evaluate", runs_in(there)[0].info.run_id)
        _run(perceptune, there, "predict", "models:/digits/1", _picture(tmp_path))
        assert not project.exists()
    finally:
        there.rename(project)


def test_an_interrupted_training_is_resumed_where_its_project_is_now(tmp_path: Path) -> None:
    origin, there = tmp_path / "origin", tmp_path / "copy"
    origin.mkdir()
    words = ["train.epochs=100000", "train.checkpoint_seconds=0", "tracking.figures=none"]
    process = subprocess.Popen([*COMMAND, "train", *words], cwd=origin, stdout=subprocess.DEVNULL)
    wait_until(lambda: list(origin.glob("mlruns/checkpoints/*.npz")), 300)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    [checkpoint] = origin.glob("mlruns/checkpoints/*.npz")
    shutil.copytree(origin, there)
    before = _snapshot(origin)
    process = subprocess.Popen(
        [*COMMAND, "train", f"resume={checkpoint.stem}"], cwd=there, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: runs_in(there)[0].info.status == "RUNNING", 300)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    assert _snapshot(origin) == before
