"""How a space is written: Hydra's sweep syntax, native YAML, and the command line over both."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optuna_joblib_sweeper._private import native
from optuna_joblib_sweeper._space import MAX_GRID, Condition, Parameter, Space
from optuna_joblib_sweeper._values import override_text
from optuna_joblib_sweeper.errors import SweepError, one_line

_NATIVE_KEYS = {"type", "low", "high", "step", "log", "choices", "space", "when"}


@dataclass(frozen=True)
class Plan:
    """The space beside the overrides that are the same in every trial."""

    space: Space
    fixed: tuple[str, ...]


def read_plan(
    params: Mapping[str, Any], arguments: Sequence[str], loader: Any, look_up: Callable[[str], Any]
) -> Plan:
    """Join `hydra.sweeper.params` and the command line, which wins.

    Args:
        loader: Hydra's, for groups in overrides; None without any.
        look_up: the value of a key that is not swept, for conditions; raises KeyError.

    Raises:
        SweepError: whatever is wrong, naming the parameter.
    """
    reader = _Reader(OverridesParser.create(config_loader=loader), look_up)
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
            reason = "\n".join(str(error).splitlines()[:2])
            raise SweepError(one_line(f"{text}: {reason}")) from None
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
        idle = ", ".join(sorted(_idle_keys(value)))
        if idle:
            raise SweepError(f"{key}: {idle} has no meaning beside the other keys; leave it out")
        when = self._read_conditions(key, value.get("when"))
        if "space" in value:
            found = self.read_yaml(key, value["space"])
        elif "choices" in value:
            if not isinstance(value["choices"], list):
                raise SweepError(f"{key}: choices must be a list, got {value['choices']!r}")
            found = choice(key, value["choices"])
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
            wanted = {str(k): v if isinstance(v, list) else [v] for k, v in when.items()}
            return tuple(Condition(other, tuple(values)) for other, values in wanted.items())
        if when is not None:
            raise SweepError(f"{key}: when must be `other=value` or a mapping, got {when!r}")
        return ()

    def read_override(self, override: Override, text: str) -> Parameter | str:
        key, sweep = override.get_key_element(), override.value()
        if not override.is_sweep_override():
            return text
        _check_tags(key, sweep)
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
    kind, log = value.get("type"), value.get("log")
    if kind not in (None, "int", "float"):
        raise SweepError(f"{key}: type must be int or float, or choices be given, got {kind}")
    if log not in (None, True, False) or isinstance(log, int) != isinstance(log, bool):
        raise SweepError(f"{key}: log must be true or false, got {log!r}")
    return _numbers(key, low, high, bool(log), step, kind)


def _numbers(key: str, low: Any, high: Any, log: bool, step: Any, kind: Any = None) -> Parameter:
    """A range of numbers: whole ones if its ends and step are, unless `kind` says otherwise."""
    given = {"low": low, "high": high} | ({} if step is None else {"step": step})
    for name, number in given.items():
        if not _is_number(number):
            raise SweepError(f"{key}: {name} must be a finite number, got {number!r:.80}")
        if kind == "int" and number != int(number):
            raise SweepError(f"{key}: {name} of an int must be whole, got {number}")
    whole = all(isinstance(number, int) for number in given.values())
    try:
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if step is not None and step <= 0:
            raise ValueError(f"step must be above 0, got {step}")
        if kind == "int" or (kind is None and whole):
            ends = IntDistribution(int(low), int(high), log=log, step=int(step or 1))
            return Parameter(key, ends)
        return Parameter(key, FloatDistribution(low, high, log=log, step=step))
    except (TypeError, ValueError) as error:
        raise SweepError(f"{key}: {error}; correct its range") from None


def _is_number(value: Any) -> bool:
    """Whether it is a number that a double holds, to the last whole digit if it is whole."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= 2**53
    return isinstance(value, float) and math.isfinite(value)


def _idle_keys(value: Mapping[str, Any]) -> set[str]:
    """Keys that would be passed over in silence."""
    if "space" in value:
        return set(value) - {"space", "when"}
    if "choices" in value:
        categorical = {"type"} if value.get("type") == "categorical" else set()
        return set(value) - {"choices", "when"} - categorical
    return set()


def _check_tags(key: str, sweep: Any) -> None:
    tags = set(getattr(sweep, "tags", ()))
    if tags - {"log"}:
        raise SweepError(f"{key}: the only tag is log, got {', '.join(sorted(tags))}")
    if tags and not isinstance(sweep, IntervalSweep | RangeSweep):
        raise SweepError(f"{key}: tag(log, …) takes interval(…) or range(…)")


def _elements(override: Override) -> list[Any]:
    # Without its shuffling, so that the same command gives the same space.
    listed = getattr(override.value(), "list", None)
    return list(listed) if listed is not None else list(override.sweep_iterator())


def _range(key: str, sweep: RangeSweep) -> Parameter:
    """`range(1,4)` is 1, 2, 3, as everywhere in Hydra: the end is left out."""
    try:
        values: Any = sweep.range()
        if not isinstance(values, range):  # floats, one after the other
            values = list(itertools.islice(values, MAX_GRID + 1))
        if not values:
            raise ValueError(f"range({sweep.start},{sweep.stop},{sweep.step}) is empty")
        if isinstance(values, list) or sweep.shuffle:
            _check_count(len(values))
    except (TypeError, ValueError, ArithmeticError) as error:  # such as a step of zero
        raise SweepError(f"{key}: {error}; correct its range") from None
    if sweep.shuffle:
        return choice(key, list(values))
    first, last = values[0], values[-1]
    log, step = "log" in sweep.tags, abs(sweep.step)
    return _numbers(key, min(first, last), max(first, last), log, step)


def _check_count(count: int) -> None:
    if count > MAX_GRID:
        raise ValueError(f"it has more than {MAX_GRID:,} values")


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
