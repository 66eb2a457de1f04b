"""The store: refused in one line if unusable, and never created by reading."""

import subprocess
import sys
from pathlib import Path

import pytest

from perceptune import app
from perceptune.errors import StoreError
from perceptune.tracking.reading import all_runs, find_experiment
from perceptune.tracking.store import (
    ExperimentRef,
    artifacts_beside,
    client_of,
    client_to_read,
    contents,
    default_uri,
    open_experiment,
)


def test_processes_that_start_at_once_make_one_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    code = f"""
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.store import ExperimentRef
with open_run(ExperimentRef({uri!r}, "together"), name="one of four", tags={{}}):
    pass
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert [record.status for record in all_runs(uri)] == ["FINISHED"] * 4
    assert contents(uri) == "4 in together"
    experiment = find_experiment(ExperimentRef(uri, "together"))
    assert experiment is not None
    [place] = {
        run.info.artifact_uri.split("/mlruns/")[0]
        for run in client_of(uri).search_runs([experiment])
    }
    assert artifacts_beside(uri) == f"{place}/mlruns/artifacts"


def test_reading_makes_no_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    with pytest.raises(StoreError, match=r"no store .* yet"):
        client_to_read(uri)
    assert contents(uri).startswith("none yet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "reason"), [("folder", "is a folder"), ("text", "file is not a database")]
)
def test_what_is_no_store_is_refused_at_once(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("this is no database" * 100)
    uri = f"sqlite:///{tmp_path}/{place}"
    for use in (client_to_read, lambda uri: open_experiment(ExperimentRef(uri, "x"))):
        with pytest.raises(StoreError, match=f"cannot be used: .*{reason}"):
            use(uri)


def test_a_uri_that_mlflow_does_not_know_is_refused() -> None:
    with pytest.raises(StoreError, match=r"tracking\.uri=nonsense://x cannot be used"):
        open_experiment(ExperimentRef("nonsense://x", "any"))


def test_the_environment_names_store_and_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///lab.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "lab")
    named = app.compose([]).tracking
    assert (named.uri, named.experiment) == (f"sqlite:///{tmp_path}/lab.db", "lab")
    typed = app.compose(["tracking.uri=sqlite:////other.db", "tracking.experiment=other"]).tracking
    assert (typed.uri, typed.experiment) == ("sqlite:////other.db", "other")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert app.compose([]).tracking.experiment == "perceptune"


def test_a_deleted_experiment_is_refused(ref: ExperimentRef) -> None:
    client, experiment = open_experiment(ref)
    assert open_experiment(ref) == (client, experiment)
    assert find_experiment(ref) == experiment
    client.delete_experiment(experiment)
    with pytest.raises(StoreError, match=r"tracking\.experiment=.* restore it or name another"):
        open_experiment(ref)


@pytest.mark.parametrize("name", ["what?", "50%"])
def test_a_folder_that_no_uri_can_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(StoreError, match=r"rename it, or set tracking\.uri"):
        default_uri()
