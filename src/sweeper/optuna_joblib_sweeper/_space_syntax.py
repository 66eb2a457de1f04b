"""How a space is written: Hydra's sweep syntax, native YAML, and the command line over both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optuna_joblib_sweeper._private import native
from optuna_joblib_sweeper._space import Condition, Parameter, Space
from optuna_joblib_sweeper._values import override_text
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
    reader = _Reader(OverridesParser.create(config_loader=config_loader), look_up)
    for key, value in params.items():
        reader.take(str(key), reader.read_yaml(str(key), value))
    for argument in arguments:
        override = reader.parse(argument)
        reader.take(override.get_key_element(), reader.read_override(override, argument))
    return Plan(Space(_ordered(reader.resolved())), tuple(reader.fixed.values()))


def _bare(key: str) -> str:
    return key.lstrip("+~")


class _Reader:
    """Reads one parameter or fixed override after the other; a later one wins."""

    def __init__(self, parser: OverridesParser, look_up: Callable[[str], Any]) -> None:
        self.parser = parser
        self.look_up = look_up
        self.swept: dict[str, Parameter] = {}
        self.fixed: dict[str, str] = {}

    def take(self, key: str, found: Parameter | str) -> None:
        """Add what was read; a condition that makes a key legal outlives its narrowed range."""
        before = self.swept.pop(_bare(key), None)
        self.fixed.pop(_bare(key), None)
        if isinstance(found, str):
            self.fixed[_bare(key)] = found
        else:
            when = found.when or (before.when if before else ())
            self.swept[_bare(key)] = replace(found, when=when)

    def parse(self, text: str) -> Override:
        try:
            override = self.parser.parse_overrides([text])[0]
        except HydraException as error:
            raise SweepError(f"{text}: {' '.join(str(error).splitlines()[:2])}") from None
        if override.is_hydra_override():
            raise SweepError(f"{text}: Hydra's own settings can't be swept; set it elsewhere")
        return override

    def read_yaml(self, key: str, value: Any) -> Parameter | str:
        if isinstance(value, Mapping):
            return self._read_mapping(key, value)
        if isinstance(value, list):
            return choice(key, value)
        text = f"{key}={value if isinstance(value, str) else override_text(value)}"
        return self.read_override(self.parse(text), text)

    def _read_mapping(self, key: str, value: Mapping[str, Any]) -> Parameter | str:
        unknown = ", ".join(sorted(map(str, set(value) - _NATIVE_KEYS)))
        if unknown:
            known = ", ".join(sorted(_NATIVE_KEYS))
            raise SweepError(f"{key}: unknown {unknown} in hydra.sweeper.params; known are {known}")
        when = self._read_conditions(key, value.get("when"))
        if "space" in value:
            found = self.read_yaml(key, value["space"])
        elif "choices" in value:
            found = choice(key, list(value["choices"]))
        else:
            found = _native(key, value)
        if not isinstance(found, str):
            return replace(found, when=when)
        if when:
            raise SweepError(f"{key}: a fixed value takes no `when`, got {found}; make it a choice")
        return found

    def _read_conditions(self, key: str, when: Any) -> tuple[Condition, ...]:
        if isinstance(when, str):
            override = self.parse(when)
            values = _elements(override) if override.is_sweep_override() else [override.value()]
            return (Condition(override.get_key_element(), tuple(map(native, values))),)
        if isinstance(when, Mapping):
            return tuple(
                Condition(str(other), tuple(wanted) if isinstance(wanted, list) else (wanted,))
                for other, wanted in when.items()
            )
        if when is not None:
            raise SweepError(f"{key}: when must be `other=value` or a mapping, got {when!r}")
        return ()

    def read_override(self, override: Override, text: str) -> Parameter | str:
        key, sweep = override.get_key_element(), override.value()
        if not override.is_sweep_override():
            return text
        if isinstance(sweep, IntervalSweep):
            # int(interval(…)) has whole ends, a plain interval has floats.
            return _numbers(key, sweep.start, sweep.end, "log" in sweep.tags, None)
        if isinstance(sweep, RangeSweep):
            return _range(key, sweep)
        return choice(key, [native(element) for element in _elements(override)])

    def resolved(self) -> list[Parameter]:
        """Decide the conditions on what is not swept, and drop parameters that they rule out."""
        kept = []
        for parameter in self.swept.values():
            decided = [c for c in parameter.when if _bare(c.key) not in self.swept]
            if all(self._fixed_value(parameter, _bare(c.key)) in c.values for c in decided):
                pairs = ((self.swept.get(_bare(c.key)), c.values) for c in parameter.when)
                when = tuple(Condition(other.key, values) for other, values in pairs if other)
                kept.append(replace(parameter, when=when))
        return kept

    def _fixed_value(self, parameter: Parameter, other: str) -> Any:
        if other in self.fixed:
            return self.parse(self.fixed[other]).value()
        try:
            return self.look_up(other)
        except KeyError:
            what = f"{parameter.key}: its `when` names {other}"
            raise SweepError(f"{what}, not swept and not in the config") from None


def _native(key: str, value: Mapping[str, Any]) -> Parameter:
    if "low" not in value or "high" not in value:
        raise SweepError(f"{key}: needs low and high, or choices, or space, got {dict(value)}")
    low, high, step = value["low"], value["high"], value.get("step")
    kind = value.get("type")
    if kind not in (None, "int", "float"):
        raise SweepError(f"{key}: type must be int or float, or choices be given, got {kind}")
    return _numbers(key, low, high, bool(value.get("log")), step, kind)


def _numbers(key: str, low: Any, high: Any, log: bool, step: Any, kind: Any = None) -> Parameter:
    """A range of numbers: whole ones if its ends and step are, unless `kind` says otherwise."""
    whole = all(isinstance(number, int) for number in (low, high, step) if number is not None)
    try:
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if kind == "int" or (kind is None and whole):
            return Parameter(key, IntDistribution(low, high, log=log, step=step or 1))
        return Parameter(key, FloatDistribution(low, high, log=log, step=step))
    except (TypeError, ValueError) as error:
        raise SweepError(f"{key}: {error}; correct its range") from None


def _elements(override: Override) -> list[Any]:
    # Without its shuffling, so that the same command gives the same space.
    listed = getattr(override.value(), "list", None)
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
        return choice(key, values)
    return _numbers(key, min(values), max(values), "log" in sweep.tags, abs(sweep.step))


def choice(key: str, values: Sequence[Any]) -> Parameter:
    """One of `values`.

    Raises:
        SweepError: there are none, or two that Optuna can't tell apart.
    """
    scalars = (str, bool, int, float, type(None))
    labels = [value if isinstance(value, scalars) else override_text(value) for value in values]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            first, second = (override_text(values[at]) for at in (labels.index(label), index))
            raise SweepError(f"{key}: {first} and {second} are the same choice to Optuna; keep one")
    if not labels:
        raise SweepError(f"{key}: a choice needs values, got none")
    return Parameter(key, CategoricalDistribution(labels), tuple(values))


def _ordered(swept: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Parents before children; the given order otherwise."""
    done: dict[str, Parameter] = {}
    waiting = list(swept)
    while waiting:
        # A parent that its own condition ruled out rules its children out as well.
        alive = {p.key for p in waiting} | set(done)
        waiting = [p for p in waiting if all(c.key in alive for c in p.when)]
        ready = [p for p in waiting if all(c.key in done for c in p.when)]
        if ready:
            done[ready[0].key] = ready[0]
            waiting.remove(ready[0])
        elif {p.key for p in waiting} | set(done) == alive and waiting:
            names = ", ".join(p.key for p in waiting)
            raise SweepError(f"{names}: their `when` conditions wait for each other; remove one")
    return tuple(done.values())
