"""A study's trials as the plain numbers that `figures` draws."""

from collections.abc import Sequence

import numpy as np

from perceptune.figures import studies
from perceptune.figures.studies import Scale
from perceptune.nn.layout import Array
from perceptune.reports.findings import Importance
from perceptune.reports.page import Page
from perceptune.reports.trials import Axis, StudyRecord, Trial


def history(page: Page, study: StudyRecord) -> None:
    """Values as they came, and the curves behind them."""
    label, more = study.objectives[0], study.maximize[0]
    complete = {trial.number: trial.values[0] for trial in study.of("complete")}
    curves = {trial.number: trial.curve for trial in study.of("pruned") if trial.curve}
    pruned = {number: list(curve.values())[-1] for number, curve in curves.items()}
    page.add("## How it went")
    path = page.picture("history", "Values by trial, and the best so far")
    studies.history(path, complete, pruned, maximize=more, label=label)
    winner = study.winner()
    if winner is not None and winner.curve:
        path = page.picture("learning", "What each trial reported, epoch by epoch")
        whole = [trial.curve for trial in study.of("complete")]
        studies.learning(
            path, whole, list(curves.values()), winner.curve, maximize=more, label=label
        )


def importances(page: Page, found: Sequence[Importance]) -> None:
    """Bars, the most important on top."""
    shares, spreads = (np.array([getattr(i, key) for i in found]) for key in ("share", "spread"))
    path = page.picture("importances", "Importance of each parameter")
    studies.importances(path, [one.axis.name for one in found], shares, spreads)


def relations(page: Page, study: StudyRecord) -> None:
    """Each parameter against the objective, then all of them together."""
    trials = study.of("complete")
    axes = [axis for axis in study.axes if any(axis.name in trial.params for trial in trials)]
    if not axes:
        return
    scales = [Scale(a.name, _labels(a), a.log, a.low, a.high) for a in axes]
    places = [_positions(axis, trials) for axis in axes]
    values = np.array([trial.values[0] for trial in trials])
    label, more = study.objectives[0], study.maximize[0]
    page.add("## Parameter by parameter")
    path = page.picture("slices", "The objective against each parameter")
    studies.slices(path, scales, places, values, maximize=more, label=label)
    path = page.picture("parallel", "Every complete trial as a line")
    studies.parallel(path, scales, places, values, maximize=more, label=label)


def front(page: Page, study: StudyRecord) -> None:
    """Both objectives of all complete trials, and which are beaten by none."""
    values, best = (
        np.array([trial.values for trial in trials])
        for trials in (study.of("complete"), study.front())
    )
    studies.front(page.picture("front", "The Pareto front"), values, best, study.objectives)


def _labels(axis: Axis) -> list[str] | None:
    return None if axis.choices is None else [str(choice) for choice in axis.choices]


def _positions(axis: Axis, trials: Sequence[Trial]) -> Array:
    """Where each trial stands on an axis; NaN where it has no such parameter."""
    given = [trial.params.get(axis.name) for trial in trials]
    if axis.choices is None:
        return np.array([np.nan if value is None else float(value) for value in given])
    # None may be a choice as well, so ask for the key.
    return np.array(
        [
            axis.choices.index(trial.params[axis.name]) if axis.name in trial.params else np.nan
            for trial in trials
        ],
        float,
    )
