"""The search space: what is swept, under which condition, and what a trial's choice overrides.

It reads Hydra's sweep syntax and native YAML; it refuses to know how trials are sampled or run.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from optuna_joblib_sweeper._values import override_text
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.result import SweptParameter

MAX_GRID = 1_000_000
Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


@dataclass(frozen=True)
class Condition:
    """A parameter is there only while another one, swept or fixed, has one of `values`."""

    key: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        """As `when` would be written."""
        return f"{self.key}={','.join(map(override_text, self.values))}"


@dataclass(frozen=True)
class Parameter:
    """One swept key.

    Attributes:
        key: as in an override, prefix and package included (`+model.width`).
        values: for a choice, what each of the distribution's choices stands for: Optuna stores
            plain scalars only, so a list is stored as its text.
        when: conditions that must all hold.
    """

    key: str
    distribution: Distribution
    values: tuple[Any, ...] = ()
    when: tuple[Condition, ...] = ()

    def decode(self, suggested: Any) -> Any:
        """The value that arrives in the config."""
        dist = self.distribution
        if isinstance(dist, CategoricalDistribution):
            for choice, value in zip(dist.choices, self.values, strict=True):
                if type(choice) is type(suggested) and choice == suggested:
                    return value
        if isinstance(dist, FloatDistribution) and dist.step:
            return float(f"{suggested:.12g}")  # 0.3, where three steps of 0.1 make a hair more
        return suggested

    def suggest(self, trial: BaseTrial) -> Any:
        """Ask Optuna for this parameter."""
        dist = self.distribution
        if isinstance(dist, CategoricalDistribution):
            return trial.suggest_categorical(self.key, dist.choices)
        if isinstance(dist, IntDistribution):
            return trial.suggest_int(self.key, dist.low, dist.high, step=dist.step, log=dist.log)
        return trial.suggest_float(self.key, dist.low, dist.high, step=dist.step, log=dist.log)

    def swept(self) -> SweptParameter:
        """The parameter as plain values."""
        dist = self.distribution
        if isinstance(dist, CategoricalDistribution):
            return SweptParameter(self.key, choices=list(self.values))
        return SweptParameter(self.key, low=dist.low, high=dist.high, log=dist.log)

    def examples(self) -> list[Any]:
        """Values worth composing before the study: each choice, or both ends."""
        dist = self.distribution
        if isinstance(dist, CategoricalDistribution):
            return list(dist.choices)
        return [dist.low] if dist.single() else [dist.low, dist.high]

    def grid(self) -> list[Any]:
        """Every value, in order.

        Raises:
            SweepError: the values can't be counted.
        """
        dist = self.distribution
        if isinstance(dist, CategoricalDistribution):
            return list(dist.choices)
        if isinstance(dist, IntDistribution):
            values = range(dist.low, dist.high + 1, dist.step)
            return list(values[: MAX_GRID + 1])  # which is one too many already
        if dist.step is None:
            remedy = "use choice(…) or range(…), or another hydra/sweeper/sampler"
            raise SweepError(f"a grid needs values that it can count, got {self}; {remedy}")
        count = min(round((dist.high - dist.low) / dist.step), MAX_GRID) + 1
        # Twelve digits: 0.1 + 2 · 0.1 is meant to be 0.3.
        return [round(dist.low + index * dist.step, 12) for index in range(count)]

    def __str__(self) -> str:
        """All of it in one line, as the fingerprint of a study has it."""
        dist = self.distribution
        if isinstance(dist, CategoricalDistribution):
            what = f"choice({','.join(map(override_text, self.values))})"
        else:
            kind, usual = ("int", 1) if isinstance(dist, IntDistribution) else ("float", None)
            what = f"{kind} from {dist.low} to {dist.high}"
            what += f" by {dist.step}" if dist.step != usual else ""
            what += ", log" if dist.log else ""
        return " ".join([self.key, "=", what, *(f"when {condition}" for condition in self.when)])


@dataclass(frozen=True)
class Space:
    """Everything swept, parents before the parameters that depend on them."""

    parameters: tuple[Parameter, ...]

    def __str__(self) -> str:
        """One parameter a line, in an order that the user's file doesn't matter for."""
        return "\n".join(sorted(map(str, self.parameters)))

    @property
    def keys(self) -> list[str]:
        """The swept keys."""
        return [parameter.key for parameter in self.parameters]

    def active(self, parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
        """Whether `parameter` exists beside the suggested values `chosen`."""
        values = self.decoded(chosen)
        return all(c.key in values and values[c.key] in c.values for c in parameter.when)

    def decoded(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """All of `chosen` as the config gets it; a key from elsewhere stands for itself."""
        decode = {parameter.key: parameter.decode for parameter in self.parameters}
        return {key: decode[key](v) if key in decode else v for key, v in chosen.items()}

    def overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """What to pass to Hydra for the suggested values `chosen`."""
        return [f"{key}={override_text(value)}" for key, value in self.decoded(chosen).items()]

    def grid(self) -> list[dict[str, Any]]:
        """Every point, the last parameter fastest, as Hydra's own multirun orders.

        Raises:
            SweepError: more than a million of them, or values that can't be counted.
        """
        points: list[dict[str, Any]] = [{}]
        for parameter in self.parameters:
            longer = (p | v for p in points for v in self._values(parameter, p))
            points = list(itertools.islice(longer, MAX_GRID + 1))
            if len(points) > MAX_GRID:
                remedy = "sweep fewer values, or use hydra/sweeper/sampler=qmc"
                raise SweepError(f"a grid may have {MAX_GRID:,} points, got more; {remedy}")
        return points

    def _values(self, parameter: Parameter, chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The values of `parameter` beside `chosen`; one empty choice where it has no place."""
        grid = parameter.grid() if self.active(parameter, chosen) else None
        return [{}] if grid is None else [{parameter.key: value} for value in grid]

    def probes(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Points that together hold each example value once, with the parameter that varies.

        The first varies none: every parameter has its first value.
        """
        yield None, self._complete({})
        for parameter in self.parameters:
            for value in parameter.examples():
                needed = {condition.key: self._encoded(condition) for condition in parameter.when}
                yield parameter.key, self._complete({**needed, parameter.key: value})

    def _complete(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.active(parameter, chosen):
                chosen[parameter.key] = wanted.get(parameter.key, parameter.examples()[0])
        return chosen

    def _encoded(self, condition: Condition) -> Any:
        """A suggested value of the condition's parameter that meets it."""
        [other] = [p for p in self.parameters if p.key == condition.key]
        fitting = (v for v in other.examples() if other.decode(v) in condition.values)
        return next(fitting, condition.values[0])
