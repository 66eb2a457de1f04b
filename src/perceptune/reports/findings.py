"""Findings of a study: epochs that pruning saved, and sentences on its parameters.

Winners and importances are the sweeper's.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna_joblib_sweeper import SweepResult, TrialResult
from perceptune.reports.tracked import TrackedStudy
from perceptune.tracking import reading

if TYPE_CHECKING:
    from optuna_joblib_sweeper.result import Importance, SweptParameter

_ENOUGH = 5  # complete trials per parameter below which importances are only a hint
_BEST = 4  # the best quarter
_MINOR = 0.05  # fractions below it are listed without numbers


@dataclass(frozen=True)
class Epochs:
    """The epochs that a study trained.

    Attributes:
        trained: epochs of all finished trials.
        unpruned: epochs of the same trials without pruning.
    """

    trained: int
    unpruned: int

    @property
    def saved(self) -> float:
        """The fraction that pruning saved, in [0, 1]."""
        return 1 - self.trained / self.unpruned if self.unpruned else 0.0


def planned_epochs(result: SweepResult, trial: TrialResult) -> int | None:
    """Epochs of a trial without pruning; None if the study does not set them."""
    fixed = (result.config.get("train") or {}).get("epochs")
    epochs = trial.params.get("train.epochs", fixed)
    return epochs if isinstance(epochs, int) else None


def trained_epochs(study: TrackedStudy, trial: TrialResult) -> int | None:
    """Epochs that a trial trained; None if unknown.

    With several objectives trials report nothing, so the run's history is read.

    Raises:
        StoreError: the store cannot be read.
    """
    if trial.reports:
        return max(trial.reports)
    if study.uri is None or trial.run_id is None:
        return None
    return reading.last_epoch(study.uri, trial.run_id)


def count_epochs(study: TrackedStudy) -> Epochs | None:
    """Epochs of all trials; None if those of a complete or pruned one are unknown."""
    trained = unpruned = 0
    for trial in study.result.of("complete", "pruned"):
        epochs = trained_epochs(study, trial)
        if epochs is None:
            return None
        planned = planned_epochs(study.result, trial) if trial.state == "pruned" else None
        trained += epochs
        unpruned += max(planned or 0, epochs)
    return Epochs(trained, unpruned) if trained else None


def words_on(parameter: "SweptParameter", result: SweepResult) -> str:
    """The range of a parameter in which the best complete trials lie."""
    ranked = [trial for trial in result.ranked() if parameter.name in trial.params]
    if parameter.choices is not None:
        return _medians(parameter.name, ranked, result.directions[0] == "maximize")
    best = ranked[: max(1, len(ranked) // _BEST)]
    found = [float(trial.params[parameter.name]) for trial in best]
    span = f"the best {len(best)} have {min(found):.3g} to {max(found):.3g}"
    if len(best) == 1:
        span = f"the best has {found[0]:.3g}"
    scale = " on a log scale" if parameter.log else ""
    return f"{span}, searched{scale} from {parameter.low:g} to {parameter.high:g}"


def _medians(name: str, trials: Sequence[TrialResult], maximize: bool) -> str:
    groups: dict[str, list[float]] = {}
    for trial in trials:  # a choice may be a list, which is not hashable
        groups.setdefault(str(trial.params[name]), []).append(trial.values[0])
    medians = {choice: statistics.median(values) for choice, values in groups.items()}
    order = sorted(medians, key=medians.__getitem__, reverse=maximize)
    texts = [f"{choice} {medians[choice]:.4f} ({len(groups[choice])})" for choice in order]
    return f"medians (and trials): {', '.join(texts)}"


def lesson(found: Sequence["Importance"], complete: int) -> str:
    """The importances as a sentence."""
    if not found:
        return "Too few complete trials, or too similar ones, to say which parameter mattered."
    first, *others = found
    text = f"Over {complete} complete trials `{first.name}` matters most: "
    text += f"{first.fraction:.0%} of the variance that single parameters explain"
    if others:
        text += f", then `{others[0].name}` with {others[0].fraction:.0%}"
    minor = [f"`{one.name}`" for one in found if one.fraction < _MINOR]
    if minor:
        text += f". Below {_MINOR:.0%}: {', '.join(minor)}"
    few = complete < _ENOUGH * len(found)
    return text + (". With so few trials this is only a hint." if few else ".")
