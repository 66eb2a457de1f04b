"""One backend's training in a process of its own: `python -m perceptune.backends.process FOLDER`.

Reads `job.json` in the folder and leaves `result.json`, `best.npz` and `parity.npz` there. Alone in
its process a library pays for its own import, and its memory is its own.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from perceptune import backends
from perceptune.nn.layout import Array


@dataclass(frozen=True)
class Job:
    """What a process is asked for.

    Attributes:
        backend: one of `backends.NAMES`.
        config: the whole configuration, as plain dicts.
        started: when the process was asked for, in seconds since 1970.
        parity_steps: how many first steps to repeat, and to leave the losses and weights of.
        train: whether to train at all; if not, only those steps are made.
    """

    backend: str
    config: dict[str, Any]
    started: float
    parity_steps: int
    train: bool = True

    def save(self, folder: Path) -> None:
        """Write it where `main` looks."""
        (folder / "job.json").write_text(json.dumps(asdict(self)))


def main(folder: Path) -> None:
    """Do the job that lies in `folder`."""
    job = Job(**json.loads((folder / "job.json").read_text()))
    if job.train:
        result = _train(job, folder)
        (folder / "result.json").write_text(json.dumps(result))
    if job.parity_steps:
        losses, theta = _first_steps(job)
        np.savez(folder / "parity.npz", losses=losses, theta=theta)


def _train(job: Job, folder: Path) -> dict[str, Any]:
    """Train to the end; what was measured on the way.

    Our own `evaluate` looks at everybody's weights, outside the time that is taken.
    """
    from perceptune.nn.fit import Epoch, evaluate

    training = _start(job)
    network, parts, best = training.network, training.parts, training.best
    order = training.state.order
    backend = backends.build(job.backend, training)
    startup_seconds = time.time() - job.started
    epochs, evaluation_seconds, recipe = [], 0.0, training.config.recipe()
    for number in range(1, recipe.epochs + 1):
        rows = order.permutation(len(parts.train))
        began = time.perf_counter()
        loss = backend.one_pass(rows)
        seconds = time.perf_counter() - began
        theta = backend.theta()
        val_loss, val_accuracy = None, None
        if parts.validation:
            val_loss, val_accuracy = evaluate(network, theta, parts.validation)
        # Ours counts right answers in each step; the others are spared that.
        record = Epoch(
            number, loss, math.nan, val_loss, val_accuracy, recipe.lr, seconds, len(rows)
        )
        if not record.finite:
            raise FloatingPointError(f"the training diverged in epoch {number}: loss {loss}")
        best.offer(record, theta)
        epochs.append(asdict(record))
        evaluation_seconds += time.perf_counter() - began - seconds
    total_seconds = time.time() - job.started - evaluation_seconds
    memory = peak_memory()
    test_loss, test_accuracy = evaluate(network, best.theta, parts.test)
    _keep_weights(training, folder / "best.npz")
    return {
        "epochs": epochs,
        "best_epoch": best.epoch,
        "startup_seconds": startup_seconds,
        "total_seconds": total_seconds,
        "peak_bytes": memory,
        "test/loss": test_loss,
        "test/accuracy": test_accuracy,
        "versions": _versions(job.backend),
    }


def _keep_weights(training: Any, path: Path) -> None:
    """Write the best weights as a run's own; `perceptune evaluate` reads them."""
    from perceptune.conclusion import notes
    from perceptune.nn.checkpoint import save_network

    save_network(path, training.network, training.best.theta, notes(training))


def _start(job: Job) -> Any:
    from omegaconf import OmegaConf

    from perceptune.config import parse
    from perceptune.training import start

    return start(parse(OmegaConf.create(job.config)), [])


def _first_steps(job: Job) -> tuple[Array, Array]:
    """Losses (steps,) of the first batches, each before its step, and the weights after all."""
    training = _start(job)
    order, size = training.state.order, backends.batch_size(training)
    backend = backends.build(job.backend, training)
    batches = _batches(order, len(training.parts.train), size, training.config.train.epochs)
    losses = [backend.one_pass(rows) for rows in islice(batches, job.parity_steps)]
    return np.array(losses), backend.theta()


def _batches(order: np.random.Generator, count: int, size: int, epochs: int) -> Iterator[Array]:
    for _ in range(epochs):
        rows = order.permutation(count)
        for start in range(0, count, size):
            yield rows[start : start + size]


def peak_memory() -> int | None:
    """The most bytes this process has held so far, pages shared with others included."""
    # Not getrusage: its peak begins with that of the process that started this one.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _versions(name: str) -> dict[str, str]:
    from importlib.metadata import version

    return {each: version(each) for each in ("numpy", *backends.kind_of(name).packages)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
