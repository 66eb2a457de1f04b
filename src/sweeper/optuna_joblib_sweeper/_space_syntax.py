"""How a space is written: Hydra's sweep syntax, native YAML, and the command line over both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from optuna_joblib_sweeper._space import Condition, Parameter, Space
from optuna_joblib_sweeper._values import native, override_text
from optuna_joblib_sweeper.errors import SweepError

_NATIVE_KEYS = {"type", "low", "high", "step", "log", "choices", "space", "when"}


@dataclass(frozen=True)
class Plan:
    """The space beside the overrides that are the same in every trial."""

    space: Space
    fixed: tuple[str, ...]


def read_plan(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    config_loader: ConfigLoader | None,
    look_up: Callable[[str], Any],
) -> Plan:
    """Join `hydra.sweeper.params` and the command line, which wins.

    Args:
        look_up: the value of a key that is not swept, for conditions; raises KeyError.

    Raises:
        SweepError: whatever is wrong, naming the parameter.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    swept: dict[str, Parameter] = {}
    fixed: dict[str, str] = {}

    def take(key: str, found: Parameter | str) -> None:
        bare = _bare(key)
        before = swept.pop(bare, None)
        fixed.pop(bare, None)
        if isinstance(found, str):
            fixed[bare] = found
        elif before is not None and before.when and not found.when:
            # The command line narrows a range; the condition that makes it legal still holds.
            swept[bare] = replace(found, when=before.when)
        else:
            swept[bare] = found

    for key, value in params.items():
        take(str(key), _read_yaml(parser, str(key), value))
    for argument in arguments:
        override = _parse(parser, argument)
        take(override.get_key_element(), _read_override(override, argument))
    resolved = _resolve(swept, fixed, parser, look_up)
    return Plan(Space(_ordered(resolved)), tuple(fixed.values()))


def _bare(key: str) -> str:
    return key.lstrip("+~")


def _parse(parser: OverridesParser, text: str) -> Override:
    try:
        override = parser.parse_overrides([text])[0]
    except HydraException as error:
        raise SweepError(f"{text}: {' '.join(str(error).splitlines()[:2])}") from None
    if override.is_hydra_override():
        raise SweepError(f"{text}: Hydra's own settings can't be swept; set them outside params")
    return override


def _read_yaml(parser: OverridesParser, key: str, value: Any) -> Parameter | str:
    if isinstance(value, Mapping):
        return _read_mapping(parser, key, value)
    if isinstance(value, list):
        return _choice(key, value)
    text = f"{key}={value if isinstance(value, str) else override_text(value)}"
    return _read_override(_parse(parser, text), text)


def _read_mapping(parser: OverridesParser, key: str, value: Mapping[str, Any]) -> Parameter | str:
    unknown = set(value) - _NATIVE_KEYS
    if unknown:
        raise SweepError(
            f"{key}: unknown {', '.join(sorted(map(str, unknown)))} in hydra.sweeper.params; "
            f"known are {', '.join(sorted(_NATIVE_KEYS))}"
        )
    when = _read_conditions(parser, key, value.get("when"))
    if "space" in value:
        found = _read_yaml(parser, key, value["space"])
    elif "choices" in value:
        found = _choice(key, list(value["choices"]))
    else:
        found = Parameter(key, _native_distribution(key, value))
    if not isinstance(found, str):
        return replace(found, when=when)
    if when:
        raise SweepError(f"{key}: a fixed value takes no `when`, got {found}; make it a choice")
    return found


def _native_distribution(key: str, value: Mapping[str, Any]) -> BaseDistribution:
    if "low" not in value or "high" not in value:
        raise SweepError(f"{key}: needs low and high, or choices, or space, got {dict(value)}")
    low, high, step = value["low"], value["high"], value.get("step")
    numbers = [number for number in (low, high, step) if number is not None]
    whole = all(isinstance(number, int) for number in numbers)
    kind = value.get("type") or ("int" if whole else "float")
    if kind == "int":
        return _distribution(key, IntDistribution, low, high, bool(value.get("log")), step or 1)
    if kind == "float":
        return _distribution(key, FloatDistribution, low, high, bool(value.get("log")), step)
    raise SweepError(f"{key}: type must be int or float, or choices be given, got {kind}")


def _read_override(override: Override, text: str) -> Parameter | str:
    if not override.is_sweep_override():
        return text
    key = override.get_key_element()
    if override.is_interval_sweep():
        sweep = override.value()
        assert isinstance(sweep, IntervalSweep)
        # int(interval(…)) leaves whole ends, a plain interval has floats.
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        kind = IntDistribution if whole else FloatDistribution
        step = 1 if whole else None
        return Parameter(
            key, _distribution(key, kind, sweep.start, sweep.end, "log" in sweep.tags, step)
        )
    if override.is_range_sweep():
        sweep = override.value()
        assert isinstance(sweep, RangeSweep)
        return _range(key, sweep)
    return _choice(key, [native(element) for element in _elements(override)])


def _elements(override: Override) -> list[Any]:
    sweep = override.value()
    # Without its shuffling, so that the same command gives the same space.
    listed = getattr(sweep, "list", None)
    return list(listed) if listed is not None else list(override.sweep_iterator())


def _range(key: str, sweep: RangeSweep) -> Parameter:
    """`range(1,4)` is 1, 2, 3, as everywhere in Hydra: the end is left out."""
    try:
        values = list(sweep.range())
    except ValueError as error:  # a step of zero
        raise SweepError(f"{key}: {error}; correct its range") from None
    if not values:
        raise SweepError(f"{key}: range({sweep.start},{sweep.stop},{sweep.step}) is empty")
    if sweep.shuffle:
        return _choice(key, values)
    low, high, step = min(values), max(values), abs(sweep.step)
    kind = IntDistribution if isinstance(low, int) else FloatDistribution
    return Parameter(key, _distribution(key, kind, low, high, "log" in sweep.tags, step))


def _choice(key: str, values: list[Any]) -> Parameter:
    scalars = (str, bool, int, float, type(None))
    labels = [value if isinstance(value, scalars) else override_text(value) for value in values]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            first = values[labels.index(label)]
            raise SweepError(
                f"{key}: {override_text(first)} and {override_text(values[index])} are the same "
                f"choice to Optuna; keep one"
            )
    if not labels:
        raise SweepError(f"{key}: a choice needs values, got none")
    return Parameter(key, CategoricalDistribution(labels), tuple(values))


def _distribution(
    key: str, kind: type[Any], low: Any, high: Any, log: bool, step: Any
) -> BaseDistribution:
    try:
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if kind is FloatDistribution and log and step is not None:
            raise ValueError("log and step exclude each other")
        found: BaseDistribution = kind(low, high, log=log, step=step)
        return found
    except (TypeError, ValueError) as error:
        raise SweepError(f"{key}: {error}; correct its range") from None


def _read_conditions(parser: OverridesParser, key: str, when: Any) -> tuple[Condition, ...]:
    if when is None:
        return ()
    if isinstance(when, str):
        override = _parse(parser, when)
        values = _elements(override) if override.is_sweep_override() else [override.value()]
        return (Condition(override.get_key_element(), tuple(map(native, values))),)
    if isinstance(when, Mapping):
        return tuple(
            Condition(str(other), tuple(wanted) if isinstance(wanted, list) else (wanted,))
            for other, wanted in when.items()
        )
    raise SweepError(f"{key}: when must be `other=value` or a mapping, got {when!r}")


def _resolve(
    swept: Mapping[str, Parameter],
    fixed: Mapping[str, str],
    parser: OverridesParser,
    look_up: Callable[[str], Any],
) -> dict[str, Parameter]:
    """Decide the conditions on what is not swept, and drop the parameters that they rule out."""
    kept: dict[str, Parameter] = {}
    for bare, parameter in swept.items():
        open_conditions = []
        holds = True
        for condition in parameter.when:
            other = _bare(condition.key)
            if other in swept:
                open_conditions.append(Condition(swept[other].key, condition.values))
                continue
            holds = holds and _fixed_value(parameter, other, fixed, parser, look_up) in (
                condition.values
            )
        if holds:
            kept[bare] = replace(parameter, when=tuple(open_conditions))
    return kept


def _fixed_value(
    parameter: Parameter,
    other: str,
    fixed: Mapping[str, str],
    parser: OverridesParser,
    look_up: Callable[[str], Any],
) -> Any:
    if other in fixed:
        return _parse(parser, fixed[other]).value()
    try:
        return look_up(other)
    except KeyError:
        raise SweepError(
            f"{parameter.key}: its `when` names {other}, which is neither swept nor in the config"
        ) from None


def _ordered(swept: Mapping[str, Parameter]) -> tuple[Parameter, ...]:
    """Parents before children; the given order otherwise."""
    done: dict[str, Parameter] = {}
    waiting = list(swept.values())
    while waiting:
        ready = [p for p in waiting if all(condition.key in done for condition in p.when)]
        # A parent that its own condition ruled out rules its children out as well.
        alive = {p.key for p in waiting} | set(done)
        orphans = [p for p in waiting if any(c.key not in alive for c in p.when)]
        if not ready and not orphans:
            names = ", ".join(p.key for p in waiting)
            raise SweepError(f"{names}: their `when` conditions wait for each other; remove one")
        if ready:
            done[ready[0].key] = ready[0]
        waiting = [p for p in waiting if p not in orphans and p not in ready[:1]]
    return tuple(done.values())
