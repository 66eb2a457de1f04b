"""A training as a whole: how it starts, what it carries, how it goes on after an interruption.

Knows data, network and checkpoint; knows nothing of where a run is recorded or shown.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from perceptune.config import Config, Data, flatten, parse, to_dict
from perceptune.data import sources
from perceptune.data.split import Split, moments, split
from perceptune.errors import UserError
from perceptune.nn import checkpoint
from perceptune.nn.fit import Epoch
from perceptune.nn.initializers import initialize
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.nn.state import TrainingState


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
    """Everything that one run carries through its epochs.

    Attributes:
        overrides: what the user said on the command line.
        run_id, checkpoint: where it is recorded, and where it can go on from.
        seconds: spent in passes over the data, over all its processes.
        history: every measurement, by metric name, with its `epoch`.
    """

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
    history: list[dict[str, float]] = field(default_factory=list)


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


def start(config: Config, overrides: list[str]) -> Training:
    """A training before its first epoch; `overrides` are what the user said, to be kept."""
    data, parts, network = prepare(config)
    weights_seed, training_seed = np.random.SeedSequence(config.seed).spawn(2)
    theta = initialize(network.layout, config.initializer(), np.random.default_rng(weights_seed))
    state = TrainingState.start(theta.astype(network.dtype), config.recipe(), training_seed)
    return Training(config, data, parts, network, state, Best(state.weights.copy()), overrides)


def prepare(config: Config) -> tuple[sources.Dataset, Split, Network]:
    """The data, and a network of fitting shape."""
    settings = config.data
    data = load_data(settings)
    parts = split(data, validation=settings.validation, seed=settings.split_seed)
    scale, shift = 1 / data.pixel_max, 0.0
    if settings.standardize:
        mean, deviation = moments(parts.train)
        deviation = deviation or 1.0  # images that are all alike have none
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


def load_data(settings: Data) -> sources.Dataset:
    """The data set that the configuration names."""
    return sources.load(
        settings.name,
        folder=Path(settings.dir).expanduser() if settings.dir else None,
        path=Path(settings.path).expanduser() if settings.path else None,
    )


def resume(config: Config, overrides: list[str]) -> Training:
    """The training that was interrupted, with its own configuration."""
    assert config.resume is not None
    path = Path(config.resume)
    if not path.is_file():
        path = checkpoint_of(config.resume)
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
    data, parts, network = prepare(saved)
    if data.digest != notes["data"]:
        raise UserError(f"resume={config.resume}: the data is not what the training began with")
    best = Best(arrays["best"], **notes["best"])
    training = Training(saved, data, parts, network, state, best, notes["overrides"])
    training.run_id, training.checkpoint = notes["run_id"], path
    training.seconds, training.history = notes["seconds"], notes["history"]
    return training


def take_up(training: Training) -> None:
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
        training.seconds, training.history = notes["seconds"], notes["history"]


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


def save(training: Training) -> None:
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
            "history": training.history,
        },
    )


def checkpoint_of(run_id: str) -> Path:
    """Where a tracked run leaves its checkpoint."""
    return Path.cwd() / "mlruns" / "checkpoints" / f"{run_id}.npz"
