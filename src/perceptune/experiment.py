"""One run from top to bottom: data, network, training, record. Everything meets here alone.

Read `train` first. What happens between two epochs stands in `_run_epochs`.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from optuna_joblib_sweeper import current_trial
from perceptune import machine, terminal, tracking
from perceptune.config import Config, flatten, parse, to_dict
from perceptune.data import sources
from perceptune.data.split import Split, moments, split
from perceptune.errors import UserError
from perceptune.evaluation import score
from perceptune.nn import checkpoint
from perceptune.nn.fit import Epoch, TrainingState, evaluate, fit
from perceptune.nn.initializers import initialize
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.tracking import Group, Place, Run


class Diverged(UserError):
    """The loss is no longer a number."""

    outcome = "diverged"


@dataclass
class Best:
    """The best weights so far: highest validation accuracy, lowest validation loss among equals.

    Without a validation part the last weights are the best.

    Attributes:
        theta: (size,) those weights.
        epoch: when they were met.
        metrics: what was measured then, by metric name.
        age: measurements since.
    """

    theta: Array
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    age: int = 0

    def offer(self, record: Epoch, weights: Array) -> None:
        """Take `weights` over if `record` says that they are better."""
        if record.val_loss is not None and self.metrics:
            ours = self.metrics["val/accuracy"], -self.metrics["val/loss"]
            if (record.val_accuracy, -record.val_loss) <= ours:
                self.age += 1
                return
        self.theta = weights.copy()
        self.epoch, self.metrics, self.age = record.number, metrics_of(record), 0


@dataclass
class Training:
    """Everything that one run carries through its epochs."""

    config: Config
    data: sources.Dataset
    parts: Split
    network: Network
    state: TrainingState
    best: Best
    overrides: list[str]
    run_id: str | None = None
    checkpoint: Path | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        metrics: final numbers, by metric name.
        outcome: finished, stopped_early or pruned.
        run: where it is recorded.
        name: the run's name.
        best_epoch, epochs: the one whose weights were kept, and how many were made.
    """

    metrics: dict[str, float]
    outcome: str
    run: Run
    name: str
    best_epoch: int
    epochs: int

    def objective(self, names: tuple[str, ...]) -> float | tuple[float, ...]:
        """What a sweep is told; `objective` in the configuration names it."""
        values = tuple(self.metrics.get(name, math.nan) for name in names)
        return values[0] if len(values) == 1 else values


def train(config: Config, overrides: list[str], folder: Path, group: Group | None = None) -> Result:
    """Train, record and evaluate one network.

    Args:
        config: what to do.
        overrides: what the user said on the command line, to be kept with the run.
        folder: where files go that no store takes.
        group: the command that this run is part of, if there are more.

    Raises:
        UserError: data, store or checkpoint are not as they must be, or the training diverged.
    """
    from threadpoolctl import threadpool_limits

    trial = current_trial()
    if trial and config.train.evaluate_test is True:
        raise UserError(
            "train.evaluate_test=true is refused in a sweep: choices are made on validation samples"
        )
    with threadpool_limits(config.threads):
        training = _resume(config, overrides) if config.resume else _start(config, overrides)
        if trial:
            training.run_id, training.checkpoint = (
                trial.mlflow_run_id,
                trial.folder / "checkpoint.npz",
            )
            _continue_trial(training)
        name = _name(training.config)
        with _recorded(training, name, folder, group) as run:
            if training.state.epoch == 0:
                _describe(run, training)
            outcome = run.outcome = _run_epochs(training, run, quiet=bool(trial or group))
            metrics = _conclude(training, run, outcome, in_trial=bool(trial))
            if training.checkpoint:
                training.checkpoint.unlink(missing_ok=True)
    return Result(metrics, outcome, run, name, training.best.epoch, training.state.epoch)


def metrics_of(record: Epoch) -> dict[str, float]:
    """An epoch's numbers by metric name."""
    metrics = {
        "train/loss": record.train_loss,
        "train/accuracy": record.train_accuracy,
        "lr": record.lr,
        "epoch_seconds": record.seconds,
    }
    if record.val_loss is not None and record.val_accuracy is not None:
        metrics |= {"val/loss": record.val_loss, "val/accuracy": record.val_accuracy}
    return metrics


def _start(config: Config, overrides: list[str]) -> Training:
    """A training before its first epoch."""
    data, parts, network = _prepare(config)
    weights_seed, training_seed = np.random.SeedSequence(config.seed).spawn(2)
    theta = initialize(network.layout, config.initializer(), np.random.default_rng(weights_seed))
    state = TrainingState.start(theta.astype(network.dtype), config.recipe(), training_seed)
    return Training(config, data, parts, network, state, Best(state.weights.copy()), overrides)


def _prepare(config: Config) -> tuple[sources.Dataset, Split, Network]:
    """The data, and a network of fitting shape."""
    settings = config.data
    data = sources.load(
        settings.name,
        folder=Path(settings.dir).expanduser() if settings.dir else None,
        path=Path(settings.path).expanduser() if settings.path else None,
    )
    parts = split(data, validation=settings.validation, seed=settings.split_seed)
    scale, shift = 1 / data.pixel_max, 0.0
    if settings.standardize:
        mean, deviation = moments(parts.train)
        scale, shift = 1 / deviation, -mean / deviation
    network = Network(
        [data.images.shape[1], *config.model.hidden, len(data.classes)],
        config.activation(),
        scale=scale,
        shift=shift,
        dropout=config.model.dropout,
        input_dropout=config.model.input_dropout,
        dtype=config.model.dtype,
    )
    return data, parts, network


def _resume(config: Config, overrides: list[str]) -> Training:
    """The training that was interrupted, with its own configuration."""
    assert config.resume is not None
    path = Path(config.resume)
    if not path.is_file():
        path = _checkpoint_of(config.resume)
    try:
        state, arrays, notes = checkpoint.load_training(path)
    except FileNotFoundError:
        raise UserError(
            f"resume={config.resume}: no checkpoint at {path}; the run has finished, "
            "or ended before its first checkpoint (train.checkpoint_seconds)"
        ) from None
    except ValueError as error:
        raise UserError(f"resume={config.resume}: {error}") from None
    saved = parse(OmegaConf.create(notes["config"]))
    _refuse_changes(config, saved, overrides)
    data, parts, network = _prepare(saved)
    if data.digest != notes["data"]:
        raise UserError(f"resume={config.resume}: the data is not what the training began with")
    training = Training(saved, data, parts, network, state, Best(arrays["best"]), overrides)
    training.best = Best(arrays["best"], **notes["best"])
    training.overrides, training.seconds = notes["overrides"], notes["seconds"]
    training.run_id, training.checkpoint = notes["run_id"], path
    return training


def _continue_trial(training: Training) -> None:
    """Take up what an earlier attempt at the same trial has left, if it fits."""
    assert training.checkpoint is not None
    if not training.checkpoint.is_file():
        return
    try:
        state, arrays, notes = checkpoint.load_training(training.checkpoint)
    except ValueError:
        return  # the attempt starts afresh
    if notes["config"] == to_dict(training.config) and notes["data"] == training.data.digest:
        training.state, training.best = state, Best(arrays["best"], **notes["best"])
        training.seconds = notes["seconds"]


def _refuse_changes(config: Config, saved: Config, overrides: list[str]) -> None:
    """A resumed training keeps its settings; saying them again is no change."""
    now, then = flatten(to_dict(config)), flatten(to_dict(saved))
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key == "resume":
            continue
        for name in now.keys() | then.keys():
            if (name == key or name.startswith(f"{key}.")) and now.get(name) != then.get(name):
                raise UserError(
                    f"resume keeps {name}={then.get(name)}, got {now.get(name)}; "
                    "leave it out, or start a new run"
                )


@contextmanager
def _recorded(training: Training, name: str, folder: Path, group: Group | None) -> Iterator[Run]:
    """The run's record, and the place of its checkpoints."""
    config = training.config
    if not config.tracking.enabled:
        training.checkpoint = training.checkpoint or folder / "checkpoint.npz"
        yield tracking.FolderRun(folder)
        return
    blas = machine.blas()
    tags = {
        "blas": f"{blas['library']} {blas['version']} {blas['kernel']}",
        "threads": str(blas["threads"]),
    }
    with tracking.open_run(
        Place(config.tracking.uri, config.tracking.experiment),
        name=name,
        tags=tags,
        group=group,
        run_id=training.run_id,
        borrowed=bool(current_trial()),
    ) as run:
        training.run_id = run.id
        training.checkpoint = training.checkpoint or _checkpoint_of(str(run.id))
        yield run


def _checkpoint_of(run_id: str) -> Path:
    return Path.cwd() / "mlruns" / "checkpoints" / f"{run_id}.npz"


def _describe(run: Run, training: Training) -> None:
    """Record what is known before the first epoch."""
    config, network, parts = training.config, training.network, training.parts
    settings = {k: v for k, v in to_dict(config).items() if k not in ("tracking", "resume")}
    hidden = network.widths[1:-1]
    sizes = {f"model.width_{number}": width for number, width in enumerate(hidden, start=1)}
    run.log_params(
        flatten(settings)
        | {"model.layers": len(hidden), "model.parameters": network.layout.size}
        | sizes
    )
    profile = {
        "train": len(parts.train),
        "validation": len(parts.validation) if parts.validation else 0,
        "test": len(parts.test),
        "shape": training.data.shape,
        "classes": len(training.data.classes),
    }
    run.log_data(training.data.name, training.data.digest, training.data.origin, profile)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in (("config", to_dict(config)), ("overrides", training.overrides)):
            path = Path(scratch) / f"{name}.yaml"
            path.write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
            run.log_file(path)


def _run_epochs(training: Training, run: Run, *, quiet: bool) -> str:
    """Train to the end, or as far as it makes sense; say which: the run's outcome."""
    config, state, best, trial = training.config, training.state, training.best, current_trial()
    recipe = config.recipe()
    epochs = fit(training.network, state, recipe, training.parts.train, training.parts.validation)
    last_checkpoint = time.monotonic()
    with terminal.progress(recipe.epochs, state.epoch, quiet=quiet) as show:
        for record in epochs:
            if not record.finite:
                raise Diverged(
                    f"the training diverged in epoch {record.number}: its loss is "
                    f"{record.train_loss}; lower optimizer.lr ({recipe.lr:g}) or set train.clip_norm"
                )
            metrics = metrics_of(record)
            run.log_metrics(metrics, record.number)
            best.offer(record, state.weights)
            training.seconds += record.seconds
            show(record)

            if trial:
                trial.report(metrics.get(config.objectives[0], math.nan), record.number)
                if trial.should_prune():
                    return "pruned"
            if config.train.patience is not None and best.age >= config.train.patience:
                return "stopped_early"
            if _due(last_checkpoint, config.train.checkpoint_seconds):
                _save(training)
                last_checkpoint = time.monotonic()
    return "finished"


def _due(last: float, interval: float | None) -> bool:
    return interval is not None and time.monotonic() - last >= interval


def _save(training: Training) -> None:
    """Write a checkpoint from which the training can go on bit by bit."""
    assert training.checkpoint is not None
    best = {k: v for k, v in asdict(training.best).items() if k != "theta"}
    checkpoint.save_training(
        training.checkpoint,
        training.state,
        {"best": training.best.theta},
        {
            "config": to_dict(training.config),
            "overrides": training.overrides,
            "data": training.data.digest,
            "run_id": training.run_id,
            "best": best,
            "seconds": training.seconds,
        },
    )


def _conclude(training: Training, run: Run, outcome: str, *, in_trial: bool) -> dict[str, float]:
    """Record the weights and the final numbers, and return these."""
    best, network = training.best, training.network
    final = dict(best.metrics)
    final |= {"model/parameters": float(network.layout.size), "fit_seconds": training.seconds}
    logged = {"best/epoch": float(best.epoch), "fit_seconds": training.seconds}
    if "val/accuracy" in best.metrics:
        logged["best/val_accuracy"] = best.metrics["val/accuracy"]
    if _reads_test(training.config, outcome, in_trial):
        logged |= _test_metrics(training)
    run.log_metrics(logged)

    notes = {
        "shape": training.data.shape,
        "classes": training.data.classes,
        "pixel_max": training.data.pixel_max,
        "data": {"name": training.data.name, "digest": training.data.digest},
        "epoch": best.epoch,
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, theta in (("best", best.theta), ("last", training.state.weights)):
            path = Path(scratch) / f"{name}.npz"
            checkpoint.save_network(path, network, theta, notes)
            run.log_file(path, "weights")
    return final | logged


def _reads_test(config: Config, outcome: str, in_trial: bool) -> bool:
    """Every choice is made on validation samples: a trial never looks at the test set."""
    return not in_trial and outcome != "pruned" and config.train.evaluate_test is not False


def _test_metrics(training: Training) -> dict[str, float]:
    """What the best weights score on the test set, overall and by class."""
    test, network, theta = training.parts.test, training.network, training.best.theta
    loss, accuracy = evaluate(network, theta, test)
    probabilities = network.probabilities(theta, test.images[test.rows])
    scores = score(test.labels[test.rows], probabilities.argmax(axis=1), network.widths[-1])
    metrics = {"test/loss": loss, "test/accuracy": accuracy}
    for label in range(network.widths[-1]):
        metrics[f"test/precision/{label}"] = float(scores.precision[label])
        metrics[f"test/recall/{label}"] = float(scores.recall[label])
        metrics[f"test/f1/{label}"] = float(scores.f1[label])
    return metrics


def _name(config: Config) -> str:
    """What is particular about a run, short enough for a list: `adam lr=0.001 [128,64] relu`."""
    hidden = ",".join(map(str, config.model.hidden))
    optimizer = config.optimizer
    return f"{optimizer['name']} lr={optimizer['lr']:g} [{hidden}] {config.model.activation}"
