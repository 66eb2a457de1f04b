"""What a study's trials add up to: epochs that pruning saved, which parameters mattered, how."""

import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perceptune.reports.trials import Axis, StudyRecord, Trial
from perceptune.tracking import reading

_FORESTS = 5  # fANOVA fits random forests: how far their answers lie apart is part of the answer
_FEWEST = 4  # complete trials below which an importance would say nothing
_ENOUGH = 5  # complete trials a parameter, above which an importance is more than a hint
_BEST = 4  # the best quarter
_MINOR = 0.05  # shares below it are named together


@dataclass(frozen=True)
class Epochs:
    """How much was trained.

    Attributes:
        trained: epochs of all finished trials.
        unpruned: what they would have been if no trial had been pruned.
    """

    trained: int
    unpruned: int

    @property
    def saved(self) -> float:
        """The share that pruning saved, 0–1."""
        return 1 - self.trained / self.unpruned if self.unpruned else 0.0


@dataclass(frozen=True)
class Importance:
    """How much one parameter explains.

    Attributes:
        axis: the parameter.
        share: of the variance that the parameters explain one by one, 0–1; over all they add to 1.
        spread: standard deviation of `share` over forests of other seeds.
        words: what the trials say about its values.
    """

    axis: Axis
    share: float
    spread: float
    words: str


def count_epochs(study: StudyRecord, uri: str | None) -> Epochs | None:
    """Epochs trained and saved, None if the trials do not tell.

    Args:
        study: its trials.
        uri: the store of their runs, asked where the storage has no curve: with several
            objectives nothing is reported to a pruner.
    """
    trained = unpruned = 0
    for trial in study.of("complete", "pruned"):
        epochs = max(trial.curve, default=None)
        if epochs is None and uri is not None and trial.run_id is not None:
            epochs = reading.last_epoch(uri, trial.run_id)
        if epochs is None:
            return None
        trained += epochs
        pruned = trial.state == "pruned" and trial.planned is not None
        unpruned += max(trial.planned or 0, epochs) if pruned else epochs
    return Epochs(trained, unpruned) if trained else None


def importances(study: StudyRecord) -> list[Importance]:
    """fANOVA over the complete trials, most important first; empty if it has nothing to say.

    Hutter, Hoos & Leyton-Brown 2014, by Optuna. Parameters that only some trials have are left
    out, and so are pruned trials: their last values are of other epochs.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = [trial.values[0] for trial in study.of("complete")]
    if len(values) < _FEWEST or len(set(values)) < 2:
        return []
    forests: list[Mapping[str, float]] = []
    for seed in range(_FORESTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the experimental, and one-valued parameters
            try:
                forests.append(
                    get_param_importances(
                        study.study, evaluator=FanovaImportanceEvaluator(seed=seed)
                    )
                )
            except (ValueError, RuntimeError):  # no variance in any parameter
                return []
    axes = {axis.name: axis for axis in study.axes}
    found = [
        Importance(
            axes[name],
            statistics.mean(forest[name] for forest in forests),
            statistics.stdev(forest[name] for forest in forests),
            words_on(axes[name], study),
        )
        for name in forests[0]
    ]
    return sorted(found, key=lambda one: -one.share)


def words_on(axis: Axis, study: StudyRecord) -> str:
    """What the complete trials say about a parameter: where its best values lie."""
    ranked = [trial for trial in study.ranked() if axis.name in trial.params]
    if axis.choices is None:
        best = ranked[: max(1, len(ranked) // _BEST)]
        inside = [float(trial.params[axis.name]) for trial in best]
        scale = ", searched on a log scale" if axis.log else ", searched"
        return (
            f"the best {len(best)} have {min(inside):.3g} to {max(inside):.3g}{scale} "
            f"from {axis.low:g} to {axis.high:g}"
        )
    medians = _medians(ranked, lambda trial: trial.params[axis.name])
    order = sorted(medians, key=lambda choice: medians[choice][0], reverse=study.maximize[0])
    told = [f"{choice} {medians[choice][0]:.4f} ({medians[choice][1]})" for choice in order]
    return f"medians (and trials): {', '.join(told)}"


def _medians(
    trials: list[Trial], key: Callable[[Trial], object]
) -> dict[object, tuple[float, int]]:
    groups: dict[object, list[float]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial.values[0])
    return {choice: (statistics.median(values), len(values)) for choice, values in groups.items()}


def lesson(found: list[Importance], complete: int) -> str:
    """The importances in a sentence."""
    if not found:
        return "Too few complete trials, or too equal ones, to say which parameter mattered."
    first, *others = found
    text = f"Over {complete} complete trials `{first.axis.name}` matters most: "
    text += f"{first.share:.0%} of what the parameters explain one by one"
    if others:
        text += f", then `{others[0].axis.name}` with {others[0].share:.0%}"
    minor = [f"`{one.axis.name}`" for one in found if one.share < _MINOR]
    if minor:
        text += f". Below {_MINOR:.0%}: {', '.join(minor)}"
    few = complete < _ENOUGH * len(found)
    return text + (". So few trials give hints, not proof." if few else ".")
