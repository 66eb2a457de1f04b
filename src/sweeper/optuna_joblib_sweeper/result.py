"""A study as plain values: its trials, who won, what mattered, its figures.

The standard library alone, until importances or figures are needed. It refuses to know storages.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.study import Study

FEWEST_TRIALS = 4  # complete ones, below which an importance means nothing


@dataclass(frozen=True)
class TrialResult:
    """One trial and what became of it.

    Attributes:
        number: its place in the study.
        state: complete, pruned, fail, running or waiting.
        values: one an objective; empty unless it is complete.
        params: the swept values, as they arrive in the config.
        overrides: the same as arguments of Hydra.
        folder: the trial's own, `CurrentTrial.folder`; it may not exist.
        run_id: its MLflow run, if it was tracked.
        reports: what it reported to the pruner, by step.
        confirmed: its values with fresh seeds, if it was confirmed.
        reason: why it failed.
        started, ended: when.
    """

    number: int
    state: str
    values: tuple[float, ...]
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    folder: Path
    run_id: str | None
    reports: Mapping[int, float]
    confirmed: tuple[float, ...]
    reason: str | None
    started: datetime | None
    ended: datetime | None

    @property
    def confirmed_mean(self) -> float | None:
        """The mean over the fresh seeds; None if it was not confirmed."""
        return sum(self.confirmed) / len(self.confirmed) if self.confirmed else None


@dataclass(frozen=True)
class SweptParameter:
    """A parameter, and between which values it was searched.

    Attributes:
        name: its key.
        choices: of a choice the values, in order; None for numbers.
        low, high: of numbers, the ends.
        log: whether it was searched on a logarithmic scale.
    """

    name: str
    choices: Sequence[Any] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False


@dataclass(frozen=True)
class Importance:
    """How much a parameter explains.

    Attributes:
        name: the parameter's key.
        fraction: of the variance that the parameters explain one by one, 0–1; all add up to 1.
        sd: standard deviation of `fraction` over random forests of other seeds.
    """

    name: str
    fraction: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the study's storage keeps for its readers.

    Attributes:
        objectives: their names; `value`, or `value 0` and so on, where the settings name none.
        sampler, pruner: their class names.
        seed: the sampler's.
        n_trials: the budget of the last start; None if only time ends the study.
        n_jobs: how many trials ran at a time at the last start.
        tracking_uri: the MLflow store, None if the study was not tracked.
        run_id: the study's parent run there.
        winner_command: the command that trains the winner again.
        winner_overlay: the winner as a config file's text, which the command adds.
    """

    objectives: tuple[str, ...] = ()
    sampler: str = ""
    pruner: str = ""
    seed: int | None = None
    n_trials: int | None = None
    n_jobs: int = 1
    tracking_uri: str | None = None
    run_id: str | None = None
    winner_command: str | None = None
    winner_overlay: str | None = None


@dataclass(frozen=True, kw_only=True)
class SweepResult(Recorded):
    """One study.

    Attributes:
        name: the study's.
        storage: the path of a journal, or the URL of a database.
        directions: minimize or maximize, one an objective.
        space: each swept key with its line of the space, such as `float from 0 to 1`.
        parameters: what was swept, in order of appearance.
        config: the part of the app's config that is the same in all trials.
        trials: all of them, by number.
    """

    name: str
    storage: str
    directions: tuple[str, ...]
    space: tuple[tuple[str, str], ...]
    parameters: tuple[SweptParameter, ...]
    config: Mapping[str, Any]
    trials: tuple[TrialResult, ...]
    study: "Study | None" = field(default=None, repr=False, compare=False)
    """Optuna's own object, for what only Optuna computes."""

    def of(self, *states: str) -> list[TrialResult]:
        """The trials in one of these states."""
        return [trial for trial in self.trials if trial.state in states]

    def ranked(self) -> list[TrialResult]:
        """The complete trials of a study with one objective, best value first."""
        return sorted(self.of("complete"), key=lambda trial: (self._losses(trial), trial.number))

    def standing(self) -> list[TrialResult]:
        """The complete trials in the order of who won: confirmed ones first, by their means.

        With several objectives, the Pareto front.
        """
        if len(self.directions) > 1:
            return self.front()
        ranked = self.ranked()
        confirmed = [trial for trial in ranked if trial.confirmed]
        confirmed.sort(key=lambda trial: _loss(trial.confirmed_mean or 0.0, self.directions[0]))
        return confirmed + [trial for trial in ranked if not trial.confirmed]

    def front(self) -> list[TrialResult]:
        """The complete trials that no other beats in all objectives, by number.

        A point that was proposed twice is there once.
        """
        points: dict[Any, TrialResult] = {}
        for trial in self.of("complete"):
            points.setdefault((trial.values, *sorted(trial.overrides)), trial)
        best: list[TrialResult] = []
        # In this order only an earlier point can beat a later one.
        for trial in sorted(points.values(), key=self._losses):
            if not any(_beats(self._losses(other), self._losses(trial)) for other in best):
                best.append(trial)
        return sorted(best, key=lambda trial: trial.number)

    @property
    def winners(self) -> tuple[TrialResult, ...]:
        """The best trial, by its mean over fresh seeds where it was confirmed; or the front."""
        standing = self.standing()
        return tuple(standing if len(self.directions) > 1 else standing[:1])

    @property
    def winner(self) -> TrialResult | None:
        """The first of the winners; None if no trial is complete."""
        return next(iter(self.winners), None)

    def importances(self) -> list[Importance]:
        """How much each parameter explains, most important first; computed once.

        fANOVA (Hutter, Hoos & Leyton-Brown 2014) by Optuna, over the complete trials and five
        random forests. Empty with several objectives, with fewer than four complete trials or
        equal values, and without scikit-learn.
        """
        return list(self._importances)

    def figures(self) -> "Iterator[tuple[str, Figure]]":
        """Each figure that there are trials for, with its name; nothing without matplotlib.

        `history`, `intermediate_values`, `slice`, `parallel_coordinate`, `importances`; with
        several objectives `pareto_front`.
        """
        if self.study is None or not self.of("complete"):
            return iter(())
        from optuna_joblib_sweeper._analysis import figures

        return figures(self.study, list(self.objectives), self.importances())

    @cached_property
    def _importances(self) -> list[Importance]:
        values = [trial.values for trial in self.of("complete")]
        enough = len(values) >= FEWEST_TRIALS and len(set(values)) > 1
        if self.study is None or len(self.directions) > 1 or not enough:
            return []
        from optuna_joblib_sweeper._analysis import importances

        return [Importance(*row) for row in importances(self.study)]

    def _losses(self, trial: TrialResult) -> tuple[float, ...]:
        """Its values, with the sign that makes less better."""
        return tuple(map(_loss, trial.values, self.directions))


def _loss(value: float, direction: str) -> float:
    return -value if direction == "maximize" else value


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
