"""What tests of the sweeper start from; see `apps`."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apps import App, Sweeps


@pytest.fixture
def sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: None
) -> Sweeps:
    monkeypatch.chdir(tmp_path)
    return Sweeps(tmp_path)


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[..., App]:
    def make(**parts: str) -> App:
        return App(tmp_path / "app", **parts)

    return make


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()


@pytest.fixture
def started(app: App) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the app, and ends what is left of it after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*overrides: str, **environment: str) -> "subprocess.Popen[str]":
        running.append(app.start(*overrides, **environment))
        return running[-1]

    yield start
    for process in running:
        with process:  # which waits, and closes its pipe
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
