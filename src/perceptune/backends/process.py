"""One backend's training in a process of its own: `python -m perceptune.backends.process FOLDER`.

Reads `job.json` in the folder and writes `result.json` and `best.npz` there. In a process of its
own, the import time and the memory measured are those of one library.
"""

import json
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from optuna_joblib_sweeper import CurrentTrial
from perceptune.backends.backend import Backend, batch_size, build
from perceptune.backends.specs import spec_of
from perceptune.config import Config, parse
from perceptune.nn.checkpoint import save_network
from perceptune.nn.fit import Epoch, evaluate
from perceptune.nn.layout import Array
from perceptune.runs.loop import run_epochs
from perceptune.runs.results import metadata
from perceptune.runs.training import Training, start
from perceptune.tracking.runs import FolderRun

JOB, RESULT, WEIGHTS = "job.json", "result.json", "best.npz"


@dataclass(frozen=True)
class Job:
    """The work of one process.

    Attributes:
        backend: one of `specs.NAMES`.
        settings: those of the configuration, as nested plain values.
        started: when the process was started, in seconds since 1970.
        parity_steps: number of first steps to compare with float64; 0: no comparison.
    """

    backend: str
    settings: dict[str, Any]
    started: float
    parity_steps: int


@dataclass(frozen=True)
class BackendResult:
    """The result of one training by a backend.

    Attributes:
        history: each epoch's measurements by metric name, with its `epoch`; `train/accuracy` is
            not a number.
        metrics: the final numbers, by metric name.
        versions: of the backend's packages, by name.
    """

    history: list[dict[str, float]]
    metrics: dict[str, float]
    versions: dict[str, str]


def main(folder: Path) -> None:
    """Run the job in `folder`."""
    job = Job(**json.loads((folder / JOB).read_text()))
    (folder / RESULT).write_text(json.dumps(asdict(train(job, folder))))


def train(job: Job, folder: Path) -> BackendResult:
    """Train to the end, save the best weights in `folder`, and measure.

    Raises:
        UserError: the backend does not support the job's settings, or the training diverged.
    """
    config = parse(job.settings).changed(**{"train.checkpoint_seconds": None})
    training = start(config, [])
    backend = build(job.backend, training)
    startup_seconds = time.time() - job.started
    epochs = partial(_epochs, backend)
    run_epochs([training], FolderRun(folder), CurrentTrial(), lambda record: {}, epochs)
    peak = peak_memory()
    metrics = _times(training, startup_seconds) | _scores(training)
    if peak is not None:
        metrics["peak_megabytes"] = peak / 1e6
    if job.parity_steps:
        exact = first_steps("numpy", config.changed(**{"model.dtype": "float64"}), job.parity_steps)
        metrics |= differ(first_steps(job.backend, config, job.parity_steps), exact)
    save_network(folder / WEIGHTS, training.network, training.best.theta, metadata(training))
    packages = ("numpy", *spec_of(job.backend).packages)
    return BackendResult(training.history, metrics, {name: version(name) for name in packages})


def first_steps(name: str, config: Config, count: int) -> tuple[Array, Array]:
    """Make the first `count` steps of backend `name`, or all if there are fewer.

    Returns:
        The loss of each batch before its own step, (steps,), and the weights after all, (size,).
    """
    training = start(config, [])
    backend = build(name, training)
    losses = [backend.run_epoch(rows) for rows in islice(_batches(training), count)]
    return np.array(losses), backend.theta()


def differ(ours: tuple[Array, Array], exact: tuple[Array, Array]) -> dict[str, float]:
    """The largest relative difference of a loss, and of a weight relative to the largest weight.

    Both arguments are pairs of losses (steps,) and weights (size,), as `first_steps` returns them.
    """
    losses, weights = (np.abs(mine - right) for mine, right in zip(ours, exact, strict=True))
    exact_losses, exact_weights = map(np.abs, exact)
    return {
        "parity/loss": float((losses / exact_losses).max()),
        "parity/weights": float(weights.max() / exact_weights.max()),
    }


def peak_memory() -> int | None:
    """The peak resident memory of this process in bytes, shared pages included; None if unknown."""
    # psutil reports the peak on Windows only, and getrusage's peak starts from that of the parent
    # process.
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else None
    return None


def _epochs(backend: Backend, training: Training) -> Iterator[Epoch]:
    """The epochs of `backend`; its weights are evaluated by `nn.fit`, outside the seconds."""
    state, parts, lr = training.state, training.parts, training.config.recipe.lr
    while not training.ended:
        order = state.order.permutation(len(parts.train))
        started = time.perf_counter()
        loss = backend.run_epoch(order)
        seconds = time.perf_counter() - started
        np.copyto(state.weights, backend.theta())
        state.epoch += 1
        validation: tuple[float | None, float | None] = (None, None)
        if parts.validation is not None:
            validation = evaluate(training.network, state.weights, parts.validation)
        # No training accuracy: other libraries would have to count hits in every step.
        yield Epoch(state.epoch, loss, math.nan, *validation, lr, seconds, len(order))


def _times(training: Training, startup_seconds: float) -> dict[str, float]:
    """Durations by metric name; all are without evaluation."""
    seconds = [record["epoch_seconds"] for record in training.history]
    typical = median(seconds[1:] or seconds)  # libraries compile in the first
    return {
        "startup_seconds": startup_seconds,
        "first_epoch_seconds": seconds[0],
        "median_epoch_seconds": typical,
        "samples_per_second": len(training.parts.train) / typical,
        "fit_seconds": training.seconds,
        "total_seconds": startup_seconds + training.seconds,
    }


def _scores(training: Training) -> dict[str, float]:
    """Losses and accuracies by metric name; on the test set those of the best weights."""
    best = training.best
    loss, accuracy = evaluate(training.network, best.theta, training.parts.test)
    scores = {"test/loss": loss, "test/accuracy": accuracy, "best/epoch": float(best.epoch)}
    if "val/accuracy" in best.metrics:
        scores["best/val_accuracy"] = best.metrics["val/accuracy"]
    return scores | {"final_loss": training.history[-1]["train/loss"]}


def _batches(training: Training) -> Iterator[Array]:
    count, size = len(training.parts.train), batch_size(training)
    for _ in range(training.config.recipe.epochs):
        rows = training.state.order.permutation(count)
        for first in range(0, count, size):
            yield rows[first : first + size]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
