"""YAML to values: `parse` checks the composed configuration and builds the objects of a run.

Wrong keys, types and ranges are refused here, before any data is read. Values and their comments
are in `conf/`; a setting is a field of the dataclass that uses it.
"""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from optuna_joblib_sweeper.paths import absolute_uri
from optuna_joblib_sweeper.secrets import masked
from perceptune.backends.specs import NAMES
from perceptune.data.sources import DataSpec
from perceptune.errors import UserError, shorten
from perceptune.nn.activations import ACTIVATIONS
from perceptune.nn.checks import RangeError
from perceptune.nn.initializers import INITIALIZERS
from perceptune.nn.network import NetworkSpec
from perceptune.nn.optimizers import OPTIMIZERS
from perceptune.nn.recipe import Recipe
from perceptune.nn.schedules import SCHEDULES, Schedule, WarmUp
from perceptune.overrides.spelling import nearest, or_list

T = TypeVar("T")

# libyaml's writer where available: in short trials the slow one takes a noticeable time.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MOST_THREADS = 1024
_ADDRESSES = "such as sqlite:///mlruns/mlflow.db or http://127.0.0.1:5000"

FORMER = ("augment", "reported")  # settings of the version before, ignored for one version

OVERLAYS = ("experiment", "sweeps")  # groups whose files change settings of others

OBJECTIVES = (
    "val/accuracy",
    "val/loss",
    "train/accuracy",
    "train/loss",
    "model/parameters",
    "fit_seconds",
)


class _UnknownError(Exception):
    """A key that does not exist; its arguments are the key, and what is allowed in its place."""


# The values of keys that take one of a few; those of groups are in conf/.
CHOICES = {
    "model.activation": tuple(ACTIVATIONS),
    "model.init": tuple(INITIALIZERS),
    "objective": OBJECTIVES,
    "tracking.figures": ("all", "best", "none"),
    "tracking.enabled": ("true", "false"),
}


@dataclass(frozen=True)
class Policy:
    """Rules for early stopping, checkpoints and the test set; see conf/train.

    Raises:
        RangeError: a value outside its range.
    """

    patience: int | None
    evaluate_test: Any
    checkpoint_seconds: float | None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise RangeError("patience", "1 or more, or null", self.patience)
        seconds = self.checkpoint_seconds
        if seconds is not None and not seconds >= 0:
            raise RangeError("checkpoint_seconds", "0 or more, or null", seconds)
        _check_choice("evaluate_test", self.evaluate_test, ("auto", True, False))


@dataclass(frozen=True)
class Tracking:
    """Settings of tracking: the store, and how much is recorded; see conf/tracking.

    Raises:
        RangeError: a value outside its range.
    """

    enabled: bool
    uri: str
    experiment: str
    figures: str
    diagnostics: bool
    parent: str | None

    def __post_init__(self) -> None:
        _check_choice("figures", self.figures, CHOICES["tracking.figures"])
        if not self.experiment.strip():
            raise RangeError("experiment", "a name", repr(self.experiment))
        if self.enabled and "://" not in self.uri and self.uri != "databricks":
            raise RangeError("uri", f"the address of a store, {_ADDRESSES}", repr(self.uri))
        object.__setattr__(self, "uri", absolute_uri(self.uri))  # frozen


@dataclass(frozen=True)
class Config:
    """The checked configuration of a run; see conf/config.yaml.

    Attributes:
        settings: the composed YAML as nested plain values, for recording only.

    Raises:
        RangeError: a value outside its range.
    """

    data: DataSpec
    network: NetworkSpec
    recipe: Recipe
    policy: Policy
    tracking: Tracking
    settings: Mapping[str, Any]
    seed: int
    repeats: int
    threads: int
    backends: list[str]
    objective: Any
    resume: str | None
    register: str | None

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise RangeError(name, f"{least} or more", getattr(self, name))
        if not 1 <= self.threads <= _MOST_THREADS:
            raise RangeError("threads", f"from 1 to {_MOST_THREADS}", self.threads)
        _check_choices("backends", self.backends, NAMES)
        _check_choices("objective", self.objectives, OBJECTIVES)
        if self.resume == "":
            raise RangeError("resume", "a run id or the path of a checkpoint, or null", "''")
        if self.register is not None and (not self.register or set(self.register) & set("/:@")):
            raise RangeError("register", "a name without / : @", repr(self.register))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the metrics that a sweep optimizes, one or more."""
        return tuple(self.objective if isinstance(self.objective, list) else [self.objective])

    @property
    def recorded(self) -> dict[str, Any]:
        """`settings` as files keep them: without the password of the store."""
        tracking = dict(self.settings["tracking"])
        return {**self.settings, "tracking": {**tracking, "uri": masked(str(tracking["uri"]))}}

    def changed(self, **settings: Any) -> "Config":
        """Parse a copy of the configuration with other settings, by dotted key.

        Raises:
            UserError: see `parse`.
        """
        tree = copy.deepcopy(dict(self.settings))
        for key, value in settings.items():
            branch, (*path, leaf) = tree, key.split(".")
            for name in path:
                branch = branch[name]
            branch[leaf] = value
        return parse(tree)


def parse(composed: DictConfig | Mapping[str, Any]) -> Config:
    """Check `composed` and build its values.

    Raises:
        UserError: a key that does not exist, or a value of a wrong type or out of range.
    """
    settings = _plain(composed)
    try:
        return _parse(settings)
    except _UnknownError as unknown:
        key, allowed = unknown.args
        others = [name for name in flatten(settings) if not f"{name}.".startswith(f"{key}.")]
        meant = nearest(key, others)
        remedy = f"did you mean {or_list(meant)}?" if meant else f"allowed here: {allowed}"
        raise UserError(f"{key} does not exist; {remedy}") from None


def _parse(settings: dict[str, Any]) -> Config:
    _drop_former(settings)
    groups = ("data", "model", "optimizer", "schedule", "train", "tracking")
    for name in OVERLAYS:
        if name in settings:
            raise UserError(lacks_package(name))
    _refuse_unknown(settings, [*groups, *_settings_of(Config)])
    data, model, optimizer, schedule, train, tracking = (_group(settings, name) for name in groups)
    policy = {name: train.pop(name) for name in _settings_of(Policy) if name in train}
    config = _build(
        Config,
        settings,
        given={
            "data": _build(DataSpec, {"pixel_max": None, **data}, "data.", strict=True),
            "network": _network(model),
            "recipe": _recipe(optimizer, schedule, train, [*policy]),
            "policy": _build(Policy, policy, "train."),
            "tracking": _build(Tracking, tracking, "tracking.", strict=True),
            "settings": settings,
        },
    )
    _refuse_contradictions(config)
    return config


def lacks_package(group: str) -> str:
    """The line for a file of an overlay that Hydra would put below a key of the group's name."""
    return f"a file of {group} changes other settings, so its first line is # @package _global_"


def warn_of_former(key: str) -> None:
    """Warn of a setting of the previous version, which has no effect any more."""
    print(f"perceptune: {key} has no effect any more; remove it", file=sys.stderr)


def to_yaml(values: Any) -> str:
    """Dump plain dicts and lists as YAML, in their own order.

    >>> to_yaml({"name": "adam", "lr": 0.001})
    'name: adam\\nlr: 0.001\\n'
    """
    return str(yaml.dump(values, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to one with dotted keys; lists and empty dicts stay values.

    >>> flatten({"seed": 0, "model": {"hidden": [128, 64]}})
    {'seed': 0, 'model.hidden': [128, 64]}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _plain(composed: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(composed, DictConfig):
        return copy.deepcopy(dict(composed))  # was plain before, and has no interpolations
    try:
        plain: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        message = str(error.msg or error).splitlines()[0]
        raise UserError(f"{error.full_key}: {message}" if error.full_key else message) from error
    return dict(plain)


def _drop_former(settings: dict[str, Any]) -> None:
    """Drop settings of the previous version, with a warning."""
    for key in FORMER:
        if settings.pop(key, None) not in (None, {"name": "none"}):
            warn_of_former(key)


def _group(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    group = settings.get(name)
    if not isinstance(group, dict):
        got = shorten(repr(group))
        raise UserError(f"{name} must be a group of settings, got {got}; see conf/{name}")
    return dict(group)


def _network(model: dict[str, Any]) -> NetworkSpec:
    """The network of `model`: its own settings beside those of activation and initializer."""
    known = [name for kind in ACTIVATIONS.values() for name in _settings_of(kind)]
    known += [f"init_{name}" for kind in INITIALIZERS.values() for name in _settings_of(kind)]
    _refuse_unknown(
        model, [*_settings_of(NetworkSpec), "activation", "init", *dict.fromkeys(known)], "model."
    )
    activation = _choose(ACTIVATIONS, "model.activation", model.get("activation"))
    initializer = _choose(INITIALIZERS, "model.init", model.get("init"))
    initial = {name: model.get(f"init_{name}") for name in _settings_of(initializer)}
    return _build(
        NetworkSpec,
        model,
        "model.",
        given={
            "activation": _build(activation, model, "model."),
            "initializer": _build(initializer, initial, "model.init_"),
        },
    )


def _recipe(
    optimizer: dict[str, Any], schedule: dict[str, Any], train: dict[str, Any], policy: list[str]
) -> Recipe:
    """The recipe of the groups optimizer, schedule and train; `policy` names what else is known."""
    rule = _choose(OPTIMIZERS, "optimizer.name", optimizer.pop("name", None))
    curve = _choose(SCHEDULES, "schedule.name", schedule.pop("name", None))
    _refuse_unknown(optimizer, ["lr", *_settings_of(rule)], "optimizer.")
    _refuse_unknown(schedule, ["warmup", *_settings_of(curve)], "schedule.")
    _refuse_unknown(train, [n for n in _settings_of(Recipe) if n != "lr"] + policy, "train.")
    inner: Schedule = _build(curve, schedule, "schedule.")
    warm_up = _build(WarmUp, schedule, "schedule.", given={"schedule": inner})
    lr = {"lr": optimizer["lr"]} if "lr" in optimizer else {}
    return _build(
        Recipe,
        train | lr,
        "train.",
        given={
            "optimizer": _build(rule, optimizer, "optimizer."),
            "schedule": warm_up if warm_up.warmup else inner,
        },
        keys={"lr": "optimizer.lr"},
    )


def _choose(table: Mapping[str, type[T]], key: str, name: Any) -> type[T]:
    """The class that `table` has under `name`."""
    if not isinstance(name, str) or name not in table:
        meant = nearest(name, table) if isinstance(name, str) else []
        remedy = f"; did you mean {or_list(meant)}?" if meant else ""
        got = shorten(repr(name))
        raise UserError(f"{key} must be one of {', '.join(table)}, got {got}{remedy}")
    return table[name]


def _build(
    kind: Callable[..., T],
    settings: Mapping[str, Any],
    prefix: str = "",
    *,
    given: Mapping[str, Any] | None = None,
    keys: Mapping[str, str] | None = None,
    strict: bool = False,
) -> T:
    """An instance of the dataclass `kind`, its fields converted to their types by OmegaConf.

    Args:
        kind: what to build.
        settings: values by field.
        prefix: of the fields' keys, for messages.
        given: fields that are already built.
        keys: full keys, for messages, of fields without this prefix.
        strict: refuse settings that are not fields.
    """
    given, keys = given or {}, keys or {}
    hints = _settings_of(kind)
    if strict:
        _refuse_unknown(settings, hints, prefix)
    schema = copy.deepcopy(_schema(kind))
    for name, hint in hints.items():
        key = keys.get(name, f"{prefix}{name}")
        if name not in settings:
            raise UserError(f"{key} is missing; set it, or leave out ~{key}")
        try:
            OmegaConf.update(schema, name, settings[name], merge=False)
        except (OmegaConfBaseException, OverflowError):
            raise UserError(
                f"{key} must be {_WORDS[hint]}, {_given(key, settings[name], hint)}"
            ) from None
    values: Any = OmegaConf.to_container(schema)
    try:
        return kind(**given, **values)
    except RangeError as error:
        key = keys.get(error.field, f"{prefix}{error.field}")
        raise UserError(f"{key} must be {error.rule}, got {error.value}") from error


def _given(key: str, value: Any, hint: Any) -> str:
    """The value of a wrong type, and the list that was meant by a single one."""
    got = f"got {shorten(repr(value))}"
    lacks_brackets = hint in (list[int], list[str]) and isinstance(value, int | str)
    meant = shorten(str(value).strip("()[]{} "))
    return f"{got}; write {key}=[{meant}]" if lacks_brackets else got


@cache
def _settings_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass that are settings, with their types: not those built of others."""
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if hints[f.name] in _WORDS}


@cache
def _schema(kind: Any) -> DictConfig:
    """The settings of a dataclass as OmegaConf checks and converts them."""
    schema: DictConfig = OmegaConf.structured(
        make_dataclass(kind.__name__, list(_settings_of(kind).items()))
    )
    return schema


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    int | None: "a whole number, or null",
    float | None: "a number, or null",
    str | None: "a string, or null",
    list[int]: "a list of whole numbers",
    list[str]: "a list of names",
    Any: "anything",
}


def _refuse_unknown(
    settings: Mapping[str, Any], known: Mapping[str, Any] | list[str], prefix: str = ""
) -> None:
    for key in settings:
        if key not in known:
            raise _UnknownError(f"{prefix}{key}", ", ".join(known) or "none")


def _check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if not any(value is one or (value == one and isinstance(value, str)) for one in allowed):
        names = ", ".join(str(one).lower() for one in allowed)
        raise RangeError(name, f"one of {names}", repr(value))


def _check_choices(name: str, values: Sequence[Any], allowed: tuple[str, ...]) -> None:
    for value in values:
        _check_choice(name, value, allowed)
    if not values or len(set(values)) < len(values):
        raise RangeError(name, f"at least one of {', '.join(allowed)}, each once", list(values))


def _refuse_contradictions(config: Config) -> None:
    """Refuse settings that contradict each other."""
    if config.register is not None and not config.tracking.enabled:
        raise UserError("register needs the store; set tracking.enabled=true")
    if config.data.validation == 0 and config.policy.patience is not None:
        raise UserError("train.patience needs validation samples; set data.validation above 0")
