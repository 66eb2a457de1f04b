"""The schema of the configuration: what may be set, of which type, within which range.

`parse` turns what Hydra composed into these records, or says in one line what is wrong with it.
Values and their comments stand in `conf/`; what names mean stands in the tables of `nn`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from perceptune.errors import UserError
from perceptune.nn.activations import ACTIVATIONS, Activation
from perceptune.nn.initializers import INITIALIZERS, Initializer
from perceptune.nn.optimizers import OPTIMIZERS, Optimizer
from perceptune.nn.recipe import Recipe
from perceptune.nn.schedules import SCHEDULES, Schedule, WarmUp

# libyaml's writer, where it is built in: trials are short enough for the slow one to matter.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WIDEST = 65_536
_MOST_THREADS = 1024

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

    name: str
    validation: float
    split_seed: int
    standardize: bool
    dir: str | None
    path: str | None


@dataclass
class Model:
    """See conf/model."""

    hidden: list[int]
    activation: str
    negative_slope: float
    alpha: float
    init: str
    init_std: float
    init_gain: float
    dropout: float
    input_dropout: float
    dtype: str


@dataclass
class Train:
    """See conf/train."""

    epochs: int
    batch_size: int | None
    metrics_every: int
    patience: int | None
    l1: float
    l2: float
    weight_decay: float
    clip_norm: float
    max_norm: float
    label_smoothing: float
    ema: float
    evaluate_test: Any
    checkpoint_seconds: float | None


@dataclass
class Tracking:
    """See conf/tracking."""

    enabled: bool
    uri: str
    experiment: str
    figures: str
    diagnostics: bool


@dataclass
class Config:
    """See conf/config.yaml. `optimizer`, `schedule` and `augment` are a name and its options."""

    data: Data
    model: Model
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    train: Train
    augment: dict[str, Any]
    tracking: Tracking
    seed: int
    repeats: int
    threads: int
    backends: list[str]
    objective: Any
    resume: str | None
    register: str | None
    reported: str | None = None

    def activation(self) -> Activation:
        """What hidden layers apply."""
        model = self.model
        knobs = {"negative_slope": model.negative_slope, "alpha": model.alpha}
        chosen: Activation = _choose(
            ACTIVATIONS, "model.activation", model.activation, knobs, "model."
        )
        return chosen

    def initializer(self) -> Initializer:
        """What the weights start from."""
        model = self.model
        knobs = {"std": model.init_std, "gain": model.init_gain}
        chosen: Initializer = _choose(INITIALIZERS, "model.init", model.init, knobs, "model.init_")
        return chosen

    def recipe(self) -> Recipe:
        """How to train."""
        optimizer, schedule, train = dict(self.optimizer), dict(self.schedule), self.train
        lr = _number("optimizer.lr", optimizer.pop("lr", None), float)
        warmup = _number("schedule.warmup", schedule.pop("warmup", 0), float)
        rule: Optimizer = _make(OPTIMIZERS, "optimizer", optimizer)
        curve: Schedule = _make(SCHEDULES, "schedule", schedule)
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
        return tuple(self.objective if isinstance(self.objective, list) else [self.objective])


def parse(composed: DictConfig) -> Config:
    """Check `composed` and turn it into records.

    Raises:
        UserError: a key that does not exist, or a value of a wrong type or out of range.
    """
    try:
        values = OmegaConf.to_container(composed, resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from error
    assert isinstance(config, Config)
    _check(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain dicts and lists."""
    return asdict(config)


def to_yaml(values: Any) -> str:
    """Plain dicts and lists as YAML, in their own order."""
    return str(yaml.dump(values, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))


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
    if not all(isinstance(width, int) and 1 <= width <= _WIDEST for width in model.hidden):
        raise UserError(f"model.hidden must hold numbers from 1 to {_WIDEST}, got {model.hidden}")
    for name in ("dropout", "input_dropout"):
        if not 0 <= getattr(model, name) < 1:
            raise UserError(f"model.{name} must be in [0, 1), got {getattr(model, name)}")
    _one_of("model.dtype", model.dtype, ("float32", "float64"))
    _one_of("augment.name", config.augment.get("name"), ("none",))
    _one_of("tracking.figures", config.tracking.figures, ("all", "best", "none"))
    _one_of("train.evaluate_test", train.evaluate_test, ("auto", True, False))
    if train.patience is not None and train.patience < 1:
        raise UserError(f"train.patience must be 1 or more, or null, got {train.patience}")
    if train.checkpoint_seconds is not None and not train.checkpoint_seconds >= 0:
        raise UserError(
            f"train.checkpoint_seconds must be 0 or more, or null, got {train.checkpoint_seconds}"
        )
    for name, value in (("seed", config.seed), ("data.split_seed", data.split_seed)):
        if value < 0:
            raise UserError(f"{name} must be 0 or more, got {value}")
    if config.repeats < 1:
        raise UserError(f"repeats must be 1 or more, got {config.repeats}")
    if not 1 <= config.threads <= _MOST_THREADS:
        raise UserError(f"threads must be from 1 to {_MOST_THREADS}, got {config.threads}")
    _check_backends(config.backends)
    if config.register is not None and not config.tracking.enabled:
        raise UserError("register needs the store; set tracking.enabled=true")
    if config.register is not None and (not config.register or set(config.register) & set("/:@")):
        raise UserError(f"register must be a name without / : @, got {config.register!r}")
    if not config.objectives:
        raise UserError("objective must name at least one of " + ", ".join(OBJECTIVES))
    for objective in config.objectives:
        _one_of("objective", objective, OBJECTIVES)
    _check_validation(config)


def _check_backends(names: list[str]) -> None:
    from perceptune.backends import NAMES  # which reads configurations, so not at the top

    for position, name in enumerate(names):
        _one_of("backends", name, NAMES)
        if name in names[:position]:
            raise UserError(f"backends names {name} twice")
    if not names:
        raise UserError("backends must name at least one of " + ", ".join(NAMES))


def _check_validation(config: Config) -> None:
    share = config.data.validation
    if not 0 <= share < math.inf or (share >= 1 and share != int(share)):
        raise UserError(
            f"data.validation must be a share in [0, 1) or a whole number ≥ 1, got {share}"
        )
    if share == 0 and config.train.patience is not None:
        raise UserError(
            "train.patience needs validation samples to judge by; set data.validation above 0"
        )


def _make(table: Mapping[str, Any], group: str, options: Mapping[str, Any]) -> Any:
    """What a group of the configuration describes: the class under `name`, and its options."""
    options = dict(options)
    name = options.pop("name", None)
    _one_of(f"{group}.name", name, tuple(table))
    known = [option.name for option in fields(table[name])]
    for key in options:
        if key not in known:
            allowed = ", ".join(known) or "none"
            raise UserError(f"{group}.{key} does not exist for {name}; its options: {allowed}")
    return _choose(table, f"{group}.name", name, options, f"{group}.")


def _choose(
    table: Mapping[str, Any], path: str, name: Any, knobs: Mapping[str, Any], prefix: str
) -> Any:
    """An instance of the class that `table` has under `name`, made with those knobs it has.

    Messages call a knob by `prefix` and its name.
    """
    _one_of(path, name, tuple(table))
    values = {
        option.name: _number(f"{prefix}{option.name}", knobs[option.name], type(option.default))
        for option in fields(table[name])
        if option.name in knobs
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
    if isinstance(error, MissingMandatoryValue):
        return f"{key} is missing; conf/ says what it may be"
    if error.object_type in (None, dict) or "not in" not in message:
        return f"{key}: {message}" if key else message
    allowed = ", ".join(f.name for f in fields(error.object_type))
    return f"{key} does not exist; allowed here: {allowed}"
