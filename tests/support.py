"""Helpers of tests that run trainings in their own process and read a store."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from optuna_joblib_sweeper import CurrentTrial
from perceptune import app
from perceptune.config import Config, parse
from perceptune.data import sources
from perceptune.data.dataset import Dataset
from perceptune.runs.run import Result, train
from versions import VERSION_BASE

Perceptune = Callable[..., "subprocess.CompletedProcess[str]"]
"""The real command, given its arguments."""

COMMAND = (sys.executable, "-m", "perceptune.cli")


def configure(folder: Path, *overrides: str) -> Config:
    """The configuration that the command would compose, with its store in `folder`."""
    with initialize_config_dir(str(app.root() / "conf"), **VERSION_BASE):
        return parse(compose("config", [f"tracking.uri={store_of(folder)}", *overrides]))


def run(folder: Path, *overrides: str, trial: CurrentTrial | None = None) -> Result:
    """Train as the command would, in `folder`."""
    with working_in(folder):
        config = configure(folder, *overrides)
        return train(config, list(overrides), folder / "output", trial=trial)


def digits() -> Dataset:
    """The embedded digits."""
    return sources.load(app.compose(["data=digits"]).data)


def store_of(folder: Path) -> str:
    """The URI of the default store of a command that runs in `folder`."""
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def runs_in(folder: Path) -> list[Any]:
    """All runs of the store in `folder`, oldest first."""
    from filelock import FileLock
    from mlflow import MlflowClient

    # Opening a store that another process is creating would create it too, and break both.
    with FileLock(folder / "mlruns" / "mlflow.db.making.lock"):
        client = MlflowClient(store_of(folder))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make `folder` the current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
