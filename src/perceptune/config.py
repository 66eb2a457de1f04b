"""The schema of the configuration: what may be set, of which type, within which range.

`parse` turns what Hydra composed into these records, or says in one line what is wrong with it.
Values and their comments stand in `conf/`; what names mean stands in the tables of `nn`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from perceptune.errors import UserError
from perceptune.nn.activations import ACTIVATIONS, Activation
from perceptune.nn.fit import Recipe
from perceptune.nn.initializers import INITIALIZERS, Initializer
from perceptune.nn.optimizers import OPTIMIZERS, Optimizer
from perceptune.nn.schedules import SCHEDULES, Schedule, WarmUp

OBJECTIVES = (
    "val/accuracy",
    "val/loss",
    "train/accuracy",
    "train/loss",
    "model/parameters",
    "fit_seconds",
)


@dataclass
class Data:
    """See conf/data."""

    name: str = "digits"
    validation: float = 0.1
    split_seed: int = 0
    standardize: bool = False
    dir: str | None = None
    path: str | None = None


@dataclass
class Model:
    """See conf/model."""

    hidden: list[int] = field(default_factory=lambda: [128, 64])
    activation: str = "relu"
    activation_options: dict[str, Any] = field(default_factory=dict)
    init: str = "he_normal"
    init_options: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.0
    input_dropout: float = 0.0
    dtype: str = "float32"


@dataclass
class Train:
    """See conf/train."""

    epochs: int = 30
    batch_size: int | None = 32
    metrics_every: int = 1
    patience: int | None = None
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    max_norm: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    evaluate_test: Any = "auto"
    checkpoint_seconds: float | None = 10.0


@dataclass
class Tracking:
    """See conf/tracking."""

    enabled: bool = True
    uri: str = ""
    experiment: str = "perceptune"


@dataclass
class Config:
    """See conf/config.yaml. `optimizer`, `schedule` and `augment` are a name and its options."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optimizer: dict[str, Any] = field(default_factory=lambda: {"name": "adam", "lr": 1e-3})
    schedule: dict[str, Any] = field(default_factory=lambda: {"name": "constant"})
    train: Train = field(default_factory=Train)
    augment: dict[str, Any] = field(default_factory=lambda: {"name": "none"})
    tracking: Tracking = field(default_factory=Tracking)
    seed: int = 0
    threads: int = 1
    objective: Any = "val/accuracy"
    resume: str | None = None

    def activation(self) -> Activation:
        """What hidden layers apply."""
        options = self.model.activation_options
        chosen: Activation = _choose(
            ACTIVATIONS, "model.activation", self.model.activation, options
        )
        return chosen

    def initializer(self) -> Initializer:
        """What the weights start from."""
        options = self.model.init_options
        chosen: Initializer = _choose(INITIALIZERS, "model.init", self.model.init, options)
        return chosen

    def recipe(self) -> Recipe:
        """How to train."""
        optimizer, schedule, train = dict(self.optimizer), dict(self.schedule), self.train
        lr = _number("optimizer.lr", optimizer.pop("lr", None), float)
        warmup = _number("schedule.warmup", schedule.pop("warmup", 0), float)
        rule: Optimizer = _choose(OPTIMIZERS, "optimizer", optimizer.pop("name", None), optimizer)
        curve: Schedule = _choose(SCHEDULES, "schedule", schedule.pop("name", None), schedule)
        try:
            return Recipe(
                optimizer=rule,
                lr=lr,
                schedule=WarmUp(curve, warmup) if warmup else curve,
                epochs=train.epochs,
                batch_size=train.batch_size,
                metrics_every=train.metrics_every,
                l1=train.l1,
                l2=train.l2,
                weight_decay=train.weight_decay,
                clip_norm=train.clip_norm,
                max_norm=train.max_norm,
                label_smoothing=train.label_smoothing,
                ema=train.ema,
            )
        except ValueError as error:
            group = {"lr": "optimizer", "warmup": "schedule"}.get(str(error).split()[0], "train")
            raise UserError(f"{group}.{error}") from error

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of what a sweep is given, one or more."""
        return tuple([self.objective] if isinstance(self.objective, str) else self.objective)


def parse(composed: DictConfig) -> Config:
    """Check `composed` and turn it into records.

    Raises:
        UserError: a key that does not exist, or a value of a wrong type or out of range.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), composed)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from error
    assert isinstance(config, Config)
    _check(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain dicts and lists."""
    container = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted keys; lists and empty dicts stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check(config: Config) -> None:
    """Refuse every value that could only fail later."""
    config.activation()
    config.initializer()
    config.recipe()
    model, train, data = config.model, config.train, config.data
    if any(width < 1 for width in model.hidden):
        raise UserError(f"model.hidden must hold numbers ≥ 1, got {model.hidden}")
    for name in ("dropout", "input_dropout"):
        if not 0 <= getattr(model, name) < 1:
            raise UserError(f"model.{name} must be in [0, 1), got {getattr(model, name)}")
    _one_of("model.dtype", model.dtype, ("float32", "float64"))
    _one_of("augment.name", config.augment.get("name"), ("none",))
    _one_of("train.evaluate_test", train.evaluate_test, ("auto", True, False))
    if train.patience is not None and train.patience < 1:
        raise UserError(f"train.patience must be 1 or more, or null, got {train.patience}")
    if train.checkpoint_seconds is not None and not train.checkpoint_seconds >= 0:
        raise UserError(
            f"train.checkpoint_seconds must be 0 or more, or null, got {train.checkpoint_seconds}"
        )
    for name, value, least in (
        ("seed", config.seed, 0),
        ("data.split_seed", data.split_seed, 0),
        ("threads", config.threads, 1),
    ):
        if value < least:
            raise UserError(f"{name} must be {least} or more, got {value}")
    if not config.objectives:
        raise UserError("objective must name at least one of " + ", ".join(OBJECTIVES))
    for objective in config.objectives:
        _one_of("objective", objective, OBJECTIVES)
    _check_validation(config)


def _check_validation(config: Config) -> None:
    share = config.data.validation
    if not share >= 0 or (share >= 1 and share != int(share)):
        raise UserError(
            f"data.validation must be a share in [0, 1) or a whole number ≥ 1, got {share}"
        )
    if share == 0 and config.train.patience is not None:
        raise UserError(
            "train.patience needs validation samples to judge by; set data.validation above 0"
        )


def _choose(table: Mapping[str, Any], path: str, name: Any, options: Mapping[str, Any]) -> Any:
    """An instance of the class that `table` has under `name`, made with `options`."""
    _one_of(path if "." in path else f"{path}.name", name, tuple(table))
    known = {f.name: f for f in fields(table[name])}
    prefix = f"{path}_options." if "." in path else f"{path}."
    for key in options:
        if key not in known:
            allowed = ", ".join(known) if known else "none"
            raise UserError(f"{prefix}{key} does not exist for {name}; its options: {allowed}")
    values = {
        key: _number(f"{prefix}{key}", value, type(known[key].default))
        for key, value in options.items()
    }
    try:
        return table[name](**values)
    except ValueError as error:
        raise UserError(f"{prefix}{error}") from error


def _one_of(path: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if not any(
        value is choice or (value == choice and isinstance(value, str)) for choice in allowed
    ):
        names = ", ".join(str(choice).lower() for choice in allowed)
        raise UserError(f"{path} must be one of {names}; got {value!r}")


def _number(path: str, value: Any, kind: type) -> Any:
    """`value` as a number of `kind`, int or float."""
    try:
        number = kind(value)
        if isinstance(value, bool) or number != float(value):
            raise ValueError
    except (TypeError, ValueError):
        word = "a whole number" if kind is int else "a number"
        raise UserError(f"{path} must be {word}, got {value!r}") from None
    return number


def _one_line(error: OmegaConfBaseException) -> str:
    """OmegaConf's message with the key it is about first."""
    message = str(error.msg or error).splitlines()[0]
    key = error.full_key
    if error.object_type in (None, dict) or "not in" not in message:
        return f"{key}: {message}" if key else message
    allowed = ", ".join(f.name for f in fields(error.object_type))
    return f"{key} does not exist; allowed here: {allowed}"
