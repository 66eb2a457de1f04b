"""The page of one study: its search, its trials, its winner, its importances."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from optuna_joblib_sweeper import SweepResult, TrialResult
from perceptune.reports import findings
from perceptune.reports.page import Page, code, mean_and_sd, table
from perceptune.reports.tracked import TrackedStudy

_SHOWN = 10  # best trials in the table
_STATES = ("complete", "pruned", "fail", "running", "waiting")


def write(page: Page, study: TrackedStudy, folder: Path) -> None:
    """Write the page of a study.

    Args:
        page: an empty page.
        study: the study, and its run if it has one.
        folder: the page's final folder, for the command that trains the winner again.
    """
    result = study.result
    page.add(f"# Study {result.name}")
    _add_search(page, study)
    _add_trials(page, study)
    if not result.of("complete"):
        page.add("No trial is complete, so there is nothing to compare yet.")
        return
    if len(result.objectives) > 1:
        _add_front(page, study, folder)
    else:
        _add_winner(page, study, folder)
        _add_importances(page, result)
    page.add("## Figures")
    for name, figure in result.figures():
        figure.savefig(page.figure(name, _TITLES.get(name, name)))


def _add_search(page: Page, study: TrackedStudy) -> None:
    result = study.result
    goals = zip(result.directions, result.objectives, strict=True)
    seed = "" if result.seed is None else f", seed {result.seed}"
    rows = [
        ("objective", ", ".join(f"{direction} `{name}`" for direction, name in goals)),
        ("sampler", result.sampler + seed),
        ("pruner", result.pruner),
        ("budget", _budget(result)),
        ("at a time", str(result.n_jobs)),
    ]
    page.add("## What was searched", table(["", ""], _known(rows), left=2))
    if result.space:
        lines = [(f"`{key}`", f"`{values}`") for key, values in result.space]
        page.add(table(["parameter", "values"], lines, left=2))
    if result.run_id is None:
        page.add("The study was not tracked in MLflow, so no test accuracy is known.")
    elif study.run is None:
        page.add(f"Its run {result.run_id} was not found; name its store by --store.")


def _budget(result: SweepResult) -> str:
    parts = [] if result.n_trials is None else [f"{result.n_trials} trials"]
    planned = [findings.planned_epochs(result, trial) for trial in result.trials]
    if known := [epochs for epochs in planned if epochs]:
        span = " to ".join(map(str, sorted({min(known), max(known)})))
        parts.append(f"up to {span} epochs each")
    return ", ".join(parts)


def _add_trials(page: Page, study: TrackedStudy) -> None:
    result = study.result
    counts = [(state, len(result.of(state))) for state in _STATES if result.of(state)]
    page.add("## Trials", table(["state", "trials"], counts))
    finished = result.of("complete", "pruned", "fail")
    starts = [trial.started for trial in finished if trial.started]
    ends = [trial.ended for trial in finished if trial.ended]
    if starts and ends:
        minutes = (max(ends) - min(starts)).total_seconds() / 60
        page.add(f"From the first start to the last end {minutes:.1f} minutes.")
    epochs = findings.count_epochs(study)
    if epochs is not None:
        text = f"{epochs.trained:,} epochs were trained."
        if result.of("pruned"):
            text += (
                f" Without pruning the same trials would have had {epochs.unpruned:,}: pruning "
                f"saved {epochs.saved:.1%}."
            )
        page.add(text)


def _add_winner(page: Page, study: TrackedStudy, folder: Path) -> None:
    result = study.result
    winner, label = result.winner, result.objectives[0]
    assert winner is not None
    fresh = mean_and_sd(winner.confirmed) if winner.confirmed else ""
    rows = [
        (f"{label} in the study", _number(winner.values[0])),
        (f"{label} with fresh seeds", fresh),
        ("test/accuracy", _number(study.test_accuracy(winner))),
        *((f"`{key}`", f"`{_shown(value)}`") for key, value in winner.params.items()),
    ]
    page.add("## The winner", table([f"trial {winner.number}", ""], _known(rows), left=2))
    tried = len(result.of("complete", "pruned"))
    if tried > 1:
        page.add(
            f"Its value in the study is the best of {tried} trials, and so optimistically "
            "biased; scores on the test set, or with fresh seeds, are not."
        )
    _add_command(page, result, folder)
    page.add("## The best trials", _table_of(TrackedStudy(result), result.ranked()[:_SHOWN]))


def _add_front(page: Page, study: TrackedStudy, folder: Path) -> None:
    result = study.result
    best = result.front()
    page.add(
        "## The Pareto front",
        f"{len(best)} of {len(result.of('complete'))} complete trials are not dominated by any "
        "other.",
    )
    page.add(_table_of(study, best))
    _add_command(page, result, folder)


def _add_command(page: Page, result: SweepResult, folder: Path) -> None:
    """Save the winner's overlay beside the page, and the command that uses it."""
    if result.winner is None or result.winner_command is None or result.winner_overlay is None:
        return
    words = shlex.split(result.winner_command)
    words[words.index("--config-dir") + 1] = str(folder)
    again = shlex.join(words)
    prefix = "+experiment="
    [name] = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    overlay = page.folder / "experiment" / f"{name}.yaml"
    overlay.parent.mkdir()
    overlay.write_text(result.winner_overlay.replace(result.winner_command, again), "utf-8")
    page.add(f"Train trial {result.winner.number} again, from the file beside this page:")
    page.add(code(again))


def _add_importances(page: Page, result: SweepResult) -> None:
    found = result.importances()
    page.add("## What mattered", findings.lesson(found, len(result.of("complete"))))
    if not found:
        return
    parameters = {parameter.name: parameter for parameter in result.parameters}
    rows = [
        (
            f"`{one.name}`",
            f"{one.fraction:.1%} ± {one.sd:.1%}",
            findings.words_on(parameters[one.name], result),
        )
        for one in found
    ]
    page.add(table(["parameter", "importance", f"{result.objectives[0]} by value"], rows, left=3))
    page.add(
        "Importance is fANOVA's: a random forest is fitted to the complete trials; ± is the "
        "standard deviation over five forests. It holds for this space and these trials, not in "
        "general." + (" Pruned trials are left out." if result.of("pruned") else "")
    )


def _known(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows that have a value."""
    return [row for row in rows if row[1]]


def _table_of(study: TrackedStudy, trials: Sequence[TrialResult]) -> str:
    """A table of trials with their values, and their test accuracies where known."""
    result = study.result
    columns = {"trial": [str(trial.number) for trial in trials]}
    for index, name in enumerate(result.objectives):
        columns[name] = [_number(trial.values[index]) for trial in trials]
    columns["fresh seeds"] = [mean_and_sd(t.confirmed) if t.confirmed else "" for t in trials]
    columns["test accuracy"] = [_number(study.test_accuracy(trial)) for trial in trials]
    for name in (parameter.name for parameter in result.parameters):
        columns[name] = [_shown(trial.params.get(name, "")) for trial in trials]
    known = {name: cells for name, cells in columns.items() if any(cells)}
    return table(list(known), list(zip(*known.values(), strict=True)), left=0)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if math.isfinite(value) and value == int(value) and abs(value) >= 10:
        return f"{int(value):,}"
    return f"{value:.6g}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


_TITLES = {
    "history": "Values by trial, and the best so far",
    "intermediate_values": "What each trial reported, epoch by epoch",
    "importances": "Importance of each parameter",
    "slice": "The objective against each parameter",
    "parallel_coordinate": "Every complete trial as a line",
    "pareto_front": "The Pareto front",
}
