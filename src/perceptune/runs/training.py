"""A training as a whole: its start, its state, its checkpoints and resumption.

Knows data, network and checkpoint; knows nothing of where a run is recorded or shown.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType

import numpy as np

from optuna_joblib_sweeper.leftovers import clear
from perceptune.config import Config, flatten, parse
from perceptune.data import sources
from perceptune.data.dataset import Dataset
from perceptune.data.files import expanded, regular_file
from perceptune.data.split import Split, moments, split
from perceptune.errors import DivergedError, UserError
from perceptune.nn import checkpoint
from perceptune.nn.fit import Epoch
from perceptune.nn.initializers import initialize
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.nn.state import TrainingState


@dataclass
class Best:
    """The best weights so far, as `rank` orders them; where it cannot, the last ones.

    Attributes:
        theta: (size,) those weights.
        epoch: the epoch of those weights.
        metrics: of that epoch, by name.
        age: measurements since then.
    """

    theta: Array
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    age: int = 0

    def offer(self, record: Epoch, weights: Array, objectives: Sequence[str]) -> None:
        """Keep a copy of `weights` (size,) if `record` shows that they are better."""
        metrics = metrics_of(record)
        ours = rank(self.metrics, objectives)
        if ours and rank(metrics, objectives) <= ours:
            self.age += 1
            return
        self.theta = weights.copy()
        self.epoch, self.metrics, self.age = record.number, metrics, 0


@dataclass
class Training:
    """One training: its configuration, data, network, state and history.

    Attributes:
        overrides: the command line's.
        run_id: the run that records it.
        checkpoint: the file from which it can be resumed.
        seconds: time spent in epochs, summed over interruptions.
        history: metrics of each epoch, by name, with its `epoch`.
    """

    config: Config
    data: Dataset
    parts: Split
    network: Network
    state: TrainingState
    best: Best
    overrides: list[str]
    run_id: str | None = None
    checkpoint: Path | None = None
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """True when all epochs are done, or patience has run out."""
        return self.impatient or self.state.epoch >= self.config.recipe.epochs

    @property
    def impatient(self) -> bool:
        """True when the weights have not become better for as long as patience allows."""
        patience = self.config.policy.patience
        return patience is not None and self.best.age >= patience

    def identify(self, run_id: str | None) -> None:
        """Learn the id of the run that records it, if it has one; its checkpoint has that name."""
        self.run_id = run_id
        if run_id is not None and self.checkpoint is None:
            self.checkpoint = checkpoint_of(run_id)

    def record_epoch(self, record: Epoch) -> None:
        """Add an epoch's measurements to the history, and keep its weights if they are the best.

        Raises:
            DivergedError: a loss, a weight or a number of the optimizer's state is not finite.
        """
        if not (record.finite and self.state.finite):
            found = f"loss is {record.train_loss}"
            raise DivergedError(
                f"the training diverged in epoch {record.number}: its "
                f"{'weights are not finite' if record.finite else found}; "
                f"lower optimizer.lr={self.config.recipe.lr:g} or set train.clip_norm"
            )
        self.best.offer(record, self.state.weights, self.config.objectives)
        self.seconds += record.seconds
        self.history.append({"epoch": record.number, **metrics_of(record)})


def rank(metrics: Mapping[str, float], objectives: Sequence[str]) -> tuple[float, ...]:
    """A key that orders epochs, or trainings, by their metrics: the higher, the better.

    The objectives come first, then validation accuracy, then validation loss. It is empty where
    none of these was measured.
    """
    names = dict.fromkeys([*objectives, "val/accuracy", "val/loss"])
    return tuple(
        metrics[name] if name.endswith("accuracy") else -metrics[name]
        for name in names
        if name in metrics
    )


def metrics_of(record: Epoch) -> dict[str, float]:
    """An epoch's measurements by metric name."""
    metrics = {
        "train/loss": record.train_loss,
        "train/accuracy": record.train_accuracy,
        "lr": record.lr,
        "epoch_seconds": record.seconds,
    }
    if record.val_loss is not None and record.val_accuracy is not None:
        metrics |= {"val/loss": record.val_loss, "val/accuracy": record.val_accuracy}
    return metrics


def start(config: Config, overrides: list[str]) -> Training:
    """Make a training before its first epoch.

    Raises:
        UserError: the data is missing, damaged or too small.
    """
    data, parts, network = prepare(config)
    weights_seed, training_seed = np.random.SeedSequence(config.seed).spawn(2)
    rng = np.random.default_rng(weights_seed)
    theta = initialize(network.layout, config.network.initializer, rng)
    state = TrainingState.start(theta.astype(network.dtype), config.recipe, training_seed)
    return Training(config, data, parts, network, state, Best(state.weights.copy()), overrides)


def prepare(config: Config) -> tuple[Dataset, Split, Network]:
    """Load and split the data, and make a network for it.

    Raises:
        UserError: see `start`.
    """
    data = sources.load(config.data)
    parts = split(data, validation=config.data.validation, seed=config.data.split_seed)
    scale, shift = 1 / data.pixel_max, 0.0
    if config.data.standardize:
        mean, sd = moments(parts.train)
        sd = sd or 1.0  # 0 if all pixels are equal
        scale, shift = 1 / sd, -mean / sd
    network = config.network.build(
        data.images.shape[1], len(data.classes), scale=scale, shift=shift
    )
    return data, parts, network


def resume(config: Config, overrides: list[str]) -> Training:
    """Resume the interrupted training that `config.resume` names, with its own configuration.

    Raises:
        UserError: there is no such checkpoint, or it does not match the settings or the data.
    """
    assert config.resume is not None
    path = _checkpoint_named(config.resume)
    try:
        kept = _read(path)
    except FileNotFoundError:
        raise UserError(
            f"resume={config.resume}: no checkpoint at {path}; the run has finished, "
            "or ended before its first checkpoint (train.checkpoint_seconds)"
        ) from None
    except ValueError as error:
        raise UserError(f"resume={config.resume}: {error}") from None
    _refuse_changes(config, kept.config, overrides)
    data, parts, network = prepare(kept.config)
    if data.digest != kept.data:
        raise UserError(
            f"resume={config.resume}: the data has changed since the training began; "
            "restore it, or start a new run"
        )
    if network.layout.size != kept.state.theta.size:
        raise UserError(f"resume={config.resume}: {path} has weights of another network")
    training = Training(kept.config, data, parts, network, kept.state, kept.best, kept.overrides)
    training.run_id, training.checkpoint = kept.run_id, path
    training.seconds, training.history = kept.seconds, kept.history
    return training


def restore_attempt(training: Training) -> None:
    """Continue from the checkpoint of an earlier attempt at the same trial, if it matches."""
    assert training.checkpoint is not None
    clear(training.checkpoint.parent)  # half a checkpoint, if that attempt was killed in writing
    if not training.checkpoint.is_file():
        return
    try:
        kept = _read(training.checkpoint)
    except ValueError:
        return  # this attempt starts from the beginning
    same = kept.config.recorded == training.config.recorded and kept.data == training.data.digest
    if same and kept.state.theta.shape == training.state.theta.shape:
        training.state, training.best = kept.state, kept.best
        training.seconds, training.history = kept.seconds, kept.history


@dataclass(frozen=True)
class _Checkpoint:
    """The contents of a checkpoint; see `save` and `Training`."""

    state: TrainingState
    best: Best
    config: Config
    overrides: list[str]
    data: str
    run_id: str | None
    seconds: float
    history: list[dict[str, float]]


def _checkpoint_named(name: str) -> Path:
    """The file that `name` means: a path, or the id of a run."""
    path = expanded(name)
    try:
        there = path.exists()
    except OSError:
        there = False
    if not there:
        return checkpoint_of(name)
    regular_file(path, remedy=f"resume={name} is neither a run id nor a checkpoint")
    return path


def _read(path: Path) -> _Checkpoint:
    """Read a checkpoint as a whole.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a part is missing, of a wrong type or size, or does not fit the others.
    """
    state, arrays, notes = checkpoint.load_training(path)
    try:
        best = Best(arrays["best"], **notes.pop("best"))
        kept = _Checkpoint(state, best, parse(notes.pop("config")), **notes)
        faults = [name for name, fits in _parts(kept) if not fits]
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise ValueError(f"{path} is damaged or inconsistent: {error}") from None
    if faults:
        raise ValueError(f"{path} is damaged or inconsistent: {faults[0]}")
    return kept


def _parts(kept: _Checkpoint) -> Iterator[tuple[str, bool]]:
    """The parts of a checkpoint, and whether each fits."""
    state, best, recipe = kept.state, kept.best, kept.config.recipe
    theta = state.theta
    yield "theta", theta.dtype == kept.config.network.dtype
    yield "best", best.theta.shape == theta.shape and best.theta.dtype == theta.dtype
    yield "average", (state.average is not None) == bool(recipe.ema)
    own, expected = state.optimizer, recipe.optimizer.init(theta.size, theta.dtype)
    yield (
        "optimizer",
        own.keys() == expected.keys()
        and all(
            own[name].shape == array.shape and own[name].dtype == array.dtype
            for name, array in expected.items()
        ),
    )
    yield "epoch", 0 <= state.epoch <= recipe.epochs
    yield "best", type(best.epoch) is int and 0 <= best.epoch <= state.epoch
    yield "best", type(best.age) is int and best.age >= 0 and _are_numbers(best.metrics)
    yield "overrides", all(type(word) is str for word in kept.overrides)
    yield "overrides", type(kept.overrides) is list
    yield "data", type(kept.data) is str
    yield "run_id", type(kept.run_id) in (str, NoneType)
    yield "seconds", _are_numbers({"seconds": kept.seconds}) and kept.seconds >= 0
    yield "history", type(kept.history) is list and bool(kept.history) == bool(state.epoch)
    for row in kept.history:
        yield "history", _are_numbers(row) and row.keys() >= {"epoch", *best.metrics}
        yield "history", 0 < row["epoch"] <= state.epoch


def _are_numbers(values: dict[str, float]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values.values())


def _refuse_changes(config: Config, saved: Config, overrides: list[str]) -> None:
    """Refuse overrides that change the settings of a resumed training."""
    now, then = flatten(config.settings), flatten(saved.settings)
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in ("resume", "tracking.uri"):  # a moved project has its store elsewhere
            continue
        for name in now.keys() | then.keys():
            if (name == key or name.startswith(f"{key}.")) and now.get(name) != then.get(name):
                raise UserError(
                    f"resume keeps {name}={then.get(name)}, got {now.get(name)}; "
                    "leave it out, or start a new run"
                )


def save(training: Training) -> None:
    """Write a checkpoint from which the training can be resumed bit for bit.

    Raises:
        OSError: the file cannot be written.
    """
    assert training.checkpoint is not None
    best = {k: v for k, v in asdict(training.best).items() if k != "theta"}
    checkpoint.save_training(
        training.checkpoint,
        training.state,
        {"best": training.best.theta},
        {
            "config": training.config.recorded,
            "overrides": training.overrides,
            "data": training.data.digest,
            "run_id": training.run_id,
            "best": best,
            "seconds": training.seconds,
            "history": training.history,
        },
    )


def checkpoint_of(run_id: str) -> Path:
    """The path of a tracked run's checkpoint."""
    return Path.cwd() / "mlruns" / "checkpoints" / f"{run_id}.npz"
