"""One run from top to bottom: a training, its record, its evaluation. Everything meets here.

Read `train` first. What happens between two epochs stands in `_run_epochs`.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna_joblib_sweeper import current_trial
from perceptune import machine, terminal
from perceptune.conclusion import conclude, log_picture
from perceptune.config import Config, flatten, to_dict, to_yaml
from perceptune.diagnostics import Diagnostics
from perceptune.errors import UserError
from perceptune.nn.fit import Epoch, fit
from perceptune.tracking.lifecycle import Group, open_run
from perceptune.tracking.run import FolderRun, Run
from perceptune.tracking.store import Place
from perceptune.training import (
    Training,
    checkpoint_of,
    metrics_of,
    resume,
    save,
    start,
    take_up,
)

# These change nothing about the network.
UNRECORDED = ("tracking", "resume", "register", "backends", "reported")


class DivergedError(UserError):
    """The loss is no longer a number."""

    outcome = "diverged"


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        metrics: final numbers, by metric name.
        outcome: finished, stopped_early or pruned.
        run: where it is recorded.
        name: the run's name.
        best_epoch, epochs: the one whose weights were kept, and how many were made.
        history: every measurement, by metric name, with its `epoch`.
    """

    metrics: dict[str, float]
    outcome: str
    run: Run
    name: str
    best_epoch: int
    epochs: int
    history: Sequence[Mapping[str, float]] = ()

    def objective(self, names: tuple[str, ...]) -> float | tuple[float, ...]:
        """What a sweep is told; `objective` in the configuration names it."""
        values = tuple(self.metrics.get(name, math.nan) for name in names)
        return values[0] if len(values) == 1 else values


def train(
    config: Config,
    overrides: list[str],
    folder: Path,
    group: Group | None = None,
    tags: Mapping[str, str] | None = None,
) -> Result:
    """Train, record and evaluate one network.

    Args:
        config: what to do.
        overrides: what the user said on the command line, to be kept with the run.
        folder: where files go that no store takes.
        group: the command that this run is part of, if there are more.
        tags: short texts to be recorded with the run.

    Raises:
        UserError: data, store or checkpoint are not as they must be, or the training diverged.
    """
    from threadpoolctl import threadpool_limits

    trial = current_trial()
    if trial:
        refuse_test(config)
    with threadpool_limits(config.threads):
        training = resume(config, overrides) if config.resume else start(config, overrides)
        if trial:
            assert trial.folder is not None
            training.run_id = trial.mlflow_run_id
            folder = trial.folder
            training.checkpoint = folder / "checkpoint.npz"
            take_up(training)
            keep_config(training.config, folder)  # for `study.crown`
        name = name_of(training.config, training.overrides)
        alone = not trial and group is None
        with recorded(training, name, folder, group, tags) as run, _interruptible(training, alone):
            if training.state.epoch == 0:
                describe(run, training)
            watched = Diagnostics(training) if training.config.tracking.diagnostics else None
            outcome = run.outcome = _run_epochs(training, run, watched, quiet=not alone)
            metrics = conclude(training, run, outcome, in_trial=bool(trial))
            if watched and training.network.widths[1:-1]:
                log_picture(run, "activations", watched.draw)
            if training.checkpoint:
                training.checkpoint.unlink(missing_ok=True)
    made = training.state.epoch
    return Result(metrics, outcome, run, name, training.best.epoch, made, training.history)


def refuse_test(config: Config) -> None:
    """In a study every choice is made on validation samples."""
    if config.train.evaluate_test is True:
        raise UserError("train.evaluate_test=true is refused in a study; set it to auto or false")


@contextmanager
def _interruptible(training: Training, alone: bool) -> Iterator[None]:
    """After an interruption tell whoever waits at the terminal how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if alone and training.checkpoint and training.checkpoint.is_file():
            print(terminal.how_to_resume(training.run_id or str(training.checkpoint)))
        raise


@contextmanager
def recorded(
    training: Training,
    name: str,
    folder: Path,
    group: Group | None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """The run's record, and the place of its checkpoints."""
    config = training.config
    if not config.tracking.enabled:
        training.checkpoint = training.checkpoint or folder / "checkpoint.npz"
        yield FolderRun(folder)
        return
    blas = machine.blas()
    tags = {
        **(tags or {}),
        "blas": f"{blas['library']} {blas['version']} {blas['kernel']}",
        "threads": str(blas["threads"]),
    }
    with open_run(
        Place(config.tracking.uri, config.tracking.experiment),
        name=name,
        tags=tags,
        group=group,
        run_id=training.run_id,
        borrowed=current_trial().mlflow_run_id is not None,
    ) as run:
        training.run_id = run.id
        training.checkpoint = training.checkpoint or checkpoint_of(str(run.id))
        yield run


def describe(run: Run, training: Training) -> None:
    """Record what is known before the first epoch."""
    config, network, parts = training.config, training.network, training.parts
    settings = {k: v for k, v in to_dict(config).items() if k not in UNRECORDED}
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
        run.log_file(keep_config(config, Path(scratch)))
        overrides = Path(scratch) / "overrides.yaml"
        overrides.write_text(to_yaml(training.overrides))
        run.log_file(overrides)


def keep_config(config: Config, folder: Path) -> Path:
    """Write the whole configuration to `folder`."""
    path = folder / "config.yaml"
    path.write_text(to_yaml(to_dict(config)))
    return path


def _run_epochs(training: Training, run: Run, watched: Diagnostics | None, *, quiet: bool) -> str:
    """Train to the end, or as far as it makes sense; say which: the run's outcome."""
    config, state, trial = training.config, training.state, current_trial()
    recipe = config.recipe()
    epochs = fit(training.network, state, recipe, training.parts.train, training.parts.validation)
    last_checkpoint = time.monotonic()
    with terminal.progress(recipe.epochs, state.epoch, quiet=quiet) as show:
        for record in epochs:
            metrics = take(training, record)
            inside = watched.metrics(record.lr) if watched else {}
            run.log_metrics(metrics | inside, record.number)
            show(record)

            if trial and config.objectives[0] in metrics:
                trial.report(metrics[config.objectives[0]], record.number)
                if trial.should_prune():
                    return "pruned"
            if config.train.patience is not None and training.best.age >= config.train.patience:
                return "stopped_early"
            if due(last_checkpoint, config.train.checkpoint_seconds):
                save(training)
                last_checkpoint = time.monotonic()
    return "finished"


def take(training: Training, record: Epoch) -> dict[str, float]:
    """Take an epoch's record into the training; its numbers by metric name.

    Raises:
        DivergedError: they are none.
    """
    if not record.finite:
        lr = training.config.recipe().lr
        raise DivergedError(
            f"the training diverged in epoch {record.number}: its loss is "
            f"{record.train_loss}; lower optimizer.lr={lr:g} or set train.clip_norm"
        )
    metrics = metrics_of(record)
    training.best.offer(record, training.state.weights)
    training.seconds += record.seconds
    training.history.append({"epoch": record.number, **metrics})
    return metrics


def due(last: float, interval: float | None) -> bool:
    """Whether `interval` seconds have gone since the last checkpoint; None: never one."""
    return interval is not None and time.monotonic() - last >= interval


def name_of(config: Config, overrides: Sequence[str]) -> str:
    """What is particular about a run: `adam lr=0.001 [128,64] relu`, and what else was changed."""
    hidden = ",".join(map(str, config.model.hidden))
    optimizer = config.optimizer
    name = f"{optimizer['name']} lr={optimizer['lr']:g} [{hidden}] {config.model.activation}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key not in _NAMED and not key.startswith("tracking"):
            name += f" {key.rpartition('.')[2]}={value}"
    return name[:_LONGEST_NAME]


_LONGEST_NAME = 200
_NAMED = (
    "optimizer",
    "optimizer.lr",
    "model.hidden",
    "model.activation",
    "resume",
    "register",
    "backends",
)
