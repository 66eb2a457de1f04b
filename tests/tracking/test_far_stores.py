"""A store that is far: it may die in a training, and its password is kept nowhere."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from optuna_joblib_sweeper.testing import wait_until
from perceptune.nn.checkpoint import load_network
from perceptune.tracking.reading import all_runs, history
from support import COMMAND, Perceptune


@contextmanager
def _server(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A real MLflow server, once it answers."""
    words = ["--backend-store-uri", f"sqlite:///{folder}/far.db", "--port", str(port)]
    words += ["--artifacts-destination", f"{folder}/far", "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _answers(port), 300)
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def port() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
def test_a_server_that_dies_in_a_training_costs_nothing_that_was_trained(
    tmp_path: Path, port: int
) -> None:
    uri = f"http://127.0.0.1:{port}"
    words = ["train", f"tracking.uri={uri}", "train.epochs=400", "tracking.figures=none"]
    with _server(tmp_path, port):
        started = subprocess.Popen(
            [*COMMAND, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        wait_until(lambda: _answers(port) and _epochs(uri) > 2, 300)
    _, said = started.communicate(timeout=300)
    assert started.returncode == 1
    line = said.splitlines()[-1]
    assert line.startswith(f"perceptune: tracking.uri={uri} cannot be used: it does not answer")
    [kept] = tmp_path.glob("mlruns/hydra/*/*/weights/best.npz")
    assert f"is in {kept}" in line
    assert load_network(kept).metadata["classes"]
    again = line.partition("perceptune train ")[2]
    with _server(tmp_path, port):
        resumed = [*COMMAND, "train", again, f"tracking.uri={uri}"]
        subprocess.run(resumed, cwd=tmp_path, check=True, capture_output=True)
        [run] = all_runs(uri)
        assert run.status == "FINISHED"
        assert [row["epoch"] for row in history(uri, run.id)] == list(range(1, 401))


@pytest.mark.slow
def test_a_server_that_dies_in_a_study_ends_it_in_a_line_and_costs_no_trial(
    tmp_path: Path, port: int
) -> None:
    uri = f"http://127.0.0.1:{port}"
    words = ["train", "-m", "sweeps=digits", f"tracking.uri={uri}", "hydra.sweeper.n_trials=8"]
    words += ["train.epochs=60", "tracking.figures=none", "hydra.sweeper.mlflow.plots=false"]
    with _server(tmp_path, port):
        started = subprocess.Popen(
            [*COMMAND, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        wait_until(lambda: any(run.status == "FINISHED" for run in all_runs(uri)), 300)
    _, said = started.communicate(timeout=300)
    assert started.returncode == 1
    assert said.splitlines()[-1].startswith(f"perceptune: the store {uri} is lost: ")
    assert "Traceback" not in said
    with _server(tmp_path, port):
        subprocess.run([*COMMAND, *words], cwd=tmp_path, check=True, capture_output=True)
        assert [run.status for run in all_runs(uri)] == ["FINISHED"] * 9


def _epochs(uri: str) -> int:
    return max((len(history(uri, run.id)) for run in all_runs(uri)), default=0)


@pytest.mark.parametrize("typed", [True, False])
def test_a_password_is_neither_printed_nor_kept(
    perceptune: Perceptune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: bool
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = f"sqlite:///{tmp_path}/mlflow.db?password=hush"
    words = ["train", "train.epochs=1", "tracking.figures=none", "train.checkpoint_seconds=0"]
    if typed:
        words.append(f"tracking.uri={uri}")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    ended = perceptune(*words)
    ended.check_returncode()
    assert "password=***" in ended.stdout
    assert "hush" not in ended.stdout + ended.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"hush" in path.read_bytes()]
