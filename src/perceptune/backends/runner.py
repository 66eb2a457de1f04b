"""Starts a process for one backend and one seed, waits for it, and reads what it leaves."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from perceptune.backends import kind_of
from perceptune.backends.process import Job
from perceptune.config import Config, to_dict
from perceptune.nn.fit import Epoch
from perceptune.nn.layout import Array

PARITY_STEPS = 100


class BackendFailedError(Exception):
    """A backend's process ended without a result; the text says why, in a line."""


@dataclass(frozen=True)
class Steps:
    """The first steps of a training.

    Attributes:
        losses: (steps,) of each batch, before its own step.
        theta: (size,) the weights after all of them.
    """

    losses: Array
    theta: Array

    def differ(self, reference: "Steps") -> tuple[float, float]:
        """The largest relative difference of a loss, and of a weight beside the largest weight."""
        losses = np.abs(self.losses - reference.losses) / np.abs(reference.losses)
        weights = np.abs(self.theta - reference.theta).max() / np.abs(reference.theta).max()
        return float(losses.max()), float(weights)


@dataclass(frozen=True)
class Measured:
    """What one backend's training came to.

    Attributes:
        epochs: their records; `train_accuracy` is not a number.
        best_epoch: whose weights were scored on the test set.
        test: `test/loss` and `test/accuracy`.
        startup_seconds: from nothing to the first epoch: imports, data, building.
        total_seconds: from nothing to the end of the last epoch, without our evaluations.
        peak_bytes: the most memory that the process held; None where nobody can say.
        versions: of what it was built on, by package.
        steps: its first steps, made again from the start; None if none were asked for.
        weights: the file of its best weights, as it lies in `folder`.
    """

    epochs: list[Epoch]
    best_epoch: int
    test: dict[str, float]
    startup_seconds: float
    total_seconds: float
    peak_bytes: int | None
    versions: dict[str, str]
    steps: Steps | None
    weights: Path

    @property
    def first_epoch_seconds(self) -> float:
        """The first epoch: where a library compiles, it does so here."""
        return self.epochs[0].seconds

    @property
    def epoch_seconds(self) -> float:
        """Median of the others; where there are none, the first."""
        return median([each.seconds for each in self.epochs[1:] or self.epochs])

    @property
    def fit_seconds(self) -> float:
        """All epochs together."""
        return sum(each.seconds for each in self.epochs)


def train(
    backend: str,
    config: Config,
    folder: Path,
    *,
    parity_steps: int = PARITY_STEPS,
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Train `config` with `backend` in a process of its own, which leaves its files in `folder`.

    Raises:
        BackendFailedError: it could not.
    """
    steps = _run(Job(backend, to_dict(config), time.time(), parity_steps), folder, environment)
    result = json.loads((folder / "result.json").read_text())
    return Measured(
        epochs=[Epoch(**record) for record in result.pop("epochs")],
        test={key: result.pop(key) for key in ("test/loss", "test/accuracy")},
        steps=steps,
        weights=folder / "best.npz",
        **result,
    )


def reference(config: Config, parity_steps: int = PARITY_STEPS) -> Steps:
    """The first steps by our own `fit`, in float64.

    Raises:
        BackendFailedError: it could not.
    """
    config = replace(config, model=replace(config.model, dtype="float64"))
    with tempfile.TemporaryDirectory() as folder:
        job = Job("numpy", to_dict(config), time.time(), parity_steps, train=False)
        steps = _run(job, Path(folder), None)
    assert steps is not None
    return steps


def _run(job: Job, folder: Path, environment: Mapping[str, str] | None) -> Steps | None:
    """Start the process, wait for it, and read its first steps."""
    job.save(folder)
    threads = int(job.config["threads"])
    variables = dict(os.environ if environment is None else environment)
    variables |= {**_thread_variables(threads), **kind_of(job.backend).environment}
    with _on_cores(threads):
        ended = subprocess.run(
            [sys.executable, "-m", "perceptune.backends.process", str(folder)],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        raise BackendFailedError(_reason(ended))
    if not job.parity_steps:
        return None
    with np.load(folder / "parity.npz") as saved:
        return Steps(saved["losses"], saved["theta"])


def _thread_variables(threads: int) -> dict[str, str]:
    """What tells each library how many threads to start."""
    variables = dict.fromkeys(
        ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"),
        str(threads),
    )
    return variables | {"TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextmanager
def _on_cores(count: int) -> Iterator[None]:
    """What is started inside has `count` cores and no more, however many threads it starts."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def _reason(ended: "subprocess.CompletedProcess[str]") -> str:
    if ended.returncode < 0:
        return f"its process was ended by signal {-ended.returncode}"
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return lines[-1].removeprefix("perceptune.errors.UserError: ") if lines else "no reason given"
