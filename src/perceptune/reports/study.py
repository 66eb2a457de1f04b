"""The page of one study: what was searched, what came of it, what it teaches, how to go on."""

import math
import re
import shlex
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perceptune.reports import findings, pictures
from perceptune.reports.page import Page, code, table
from perceptune.reports.trials import StudyRecord, Trial
from perceptune.tracking import reading
from perceptune.tracking.reading import Record

_SHOWN = 10  # best trials in the table
_COMMAND = re.compile(r"^#   (.* --config-dir .*)$", re.MULTILINE)


@dataclass(frozen=True)
class Tracked:
    """The study's run in MLflow, and the store that it is in."""

    uri: str
    run: Record


def find_tracked(study: StudyRecord, uris: Sequence[str]) -> Tracked | None:
    """The study's run, from the first of the stores that has it."""
    run_id = study.attributes.get("mlflow_parent")
    for uri in uris if run_id else ():
        found = reading.find_run(uri, str(run_id))
        if found is not None:
            return Tracked(uri, found)
    return None


def write(page: Page, study: StudyRecord, tracked: Tracked | None, folder: Path) -> None:
    """Put everything on the page.

    Args:
        page: an empty one.
        study: what the storage knows.
        tracked: what MLflow knows, if the study was tracked.
        folder: where the page will be read, for the command that trains the winner again.
    """
    page.add(f"# Study {study.name}")
    _searched(page, study, tracked)
    _trials(page, study, tracked)
    if not study.of("complete"):
        page.add("No trial is complete, so there is nothing to compare yet.")
    elif len(study.objectives) > 1:
        _front(page, study, tracked, folder)
    else:
        _best(page, study, tracked, folder)
        pictures.history(page, study)
        _mattered(page, study)
        pictures.relations(page, study)


def _searched(page: Page, study: StudyRecord, tracked: Tracked | None) -> None:
    goals = [
        f"`{name}` {'up' if more else 'down'}"
        for name, more in zip(study.objectives, study.maximize, strict=True)
    ]
    rows = [("objective", ", ".join(goals))]
    params: Mapping[str, str] = tracked.run.params if tracked else {}
    asked = tracked.run.tags.get("n_trials", "") if tracked else ""
    budget = f"{asked} trials" if asked.isdigit() else ""
    epochs = sorted({trial.planned for trial in study.trials if trial.planned})
    if epochs:
        span = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
        budget += f"{', ' if budget else ''}up to {span} epochs each"
    rows += [
        ("sampler", _with_seed(params)),
        ("pruner", params.get("pruner", "")),
        ("budget", budget),
        ("at a time", params.get("n_jobs", "")),
    ]
    page.add("## What was searched", table(["", ""], [row for row in rows if row[1]], left=2))
    if study.space:
        lines = [(f"`{key}`", f"`{what}`") for key, what in study.space]
        page.add(table(["parameter", "values"], lines, left=2))
    if tracked is None:
        page.add("The study was not tracked in MLflow: sampler, pruner and test are not known.")


def _with_seed(params: Mapping[str, str]) -> str:
    sampler, seed = params.get("sampler", ""), params.get("seed", "")
    return f"{sampler}, seed {seed}" if sampler and seed.isdigit() else sampler


def _trials(page: Page, study: StudyRecord, tracked: Tracked | None) -> None:
    states = ("complete", "pruned", "fail", "running", "waiting")
    counts = [(state, len(study.of(state))) for state in states if study.of(state)]
    page.add("## Trials", table(["state", "trials"], counts))
    finished = study.of("complete", "pruned", "fail")
    starts = [trial.started for trial in finished if trial.started]
    ends = [trial.ended for trial in finished if trial.ended]
    if starts and ends:
        minutes = (max(ends) - min(starts)).total_seconds() / 60
        page.add(f"From the first start to the last end {minutes:.1f} minutes.")
    epochs = findings.count_epochs(study, tracked.uri if tracked else None)
    if epochs is None:
        return
    text = f"{epochs.trained:,} epochs were trained."
    if study.of("pruned"):
        text += (
            f" Without pruning the same trials would have had {epochs.unpruned:,}: pruning saved "
            f"{epochs.saved:.1%}."
        )
    page.add(text)


def _best(page: Page, study: StudyRecord, tracked: Tracked | None, folder: Path) -> None:
    ranked, winner, confirmed = study.ranked(), study.winner(), study.confirmed()
    assert winner is not None
    label = study.objectives[0]
    page.add("## The winner")
    rows = [(f"{label} in the study", _number(winner.values[0]))]
    if winner.number in confirmed:
        rows.append((f"{label} with fresh seeds", spread(confirmed[winner.number])))
    tested = test_accuracy(winner, tracked)
    if tested is not None:
        rows.append(("test/accuracy", _number(tested)))
    rows += [(f"`{key}`", f"`{_shown(value)}`") for key, value in winner.params.items()]
    page.add(table([f"trial {winner.number}", ""], rows, left=2))
    tried = len(study.of("complete", "pruned"))
    if tried > 1:
        page.add(
            f"Its value in the study is the best of {tried} trials, and so a little flattered by "
            "luck; scores on the test set, or with fresh seeds, are not."
        )
    _train_again(page, tracked, winner, folder)
    page.add("## The best trials", _table_of(study, ranked[:_SHOWN]))


def test_accuracy(winner: Trial, tracked: Tracked | None) -> float | None:
    """The winner's on the test set, which was read once, after the study; None if it was not."""
    if tracked is None or tracked.run.tags.get("best_trial") != str(winner.number):
        return None
    return tracked.run.metrics.get("test/accuracy")


def _train_again(page: Page, tracked: Tracked | None, winner: Trial, folder: Path) -> None:
    """The winner's overlay goes beside the page, so that its command works wherever that is."""
    if tracked is None or tracked.run.tags.get("best_trial") != str(winner.number):
        return
    name = re.sub(r"[^\w-]+", "-", tracked.run.tags.get("study", ""))
    overlay = page.folder / "experiment" / f"{name}.yaml"
    fetched = reading.fetch_file(tracked.uri, tracked.run.id, overlay.name, page.folder)
    if fetched is None:
        return
    overlay.parent.mkdir()
    shutil.move(fetched, overlay)
    said = _COMMAND.search(overlay.read_text())
    if said is None:
        return
    app, _, rest = said[1].partition(" --config-dir ")
    again = f"{app} --config-dir {_quoted(folder)} +experiment={name}"
    # What a file cannot say, removals, follows the experiment in the original as well.
    again += rest.partition(f"+experiment={name}")[2]
    overlay.write_text(overlay.read_text().replace(said[1], again))
    page.add("Train it again, from the file beside this page:", code(again))


def _quoted(folder: Path) -> str:
    return shlex.quote(str(folder))


def _mattered(page: Page, study: StudyRecord) -> None:
    found = findings.importances(study)
    page.add("## What mattered", findings.lesson(found, len(study.of("complete"))))
    if not found:
        return
    rows = [
        (f"`{one.axis.name}`", f"{one.share:.1%} ± {one.spread:.1%}", one.words) for one in found
    ]
    lines = table(["parameter", "importance", f"{study.objectives[0]} by value"], rows, left=3)
    page.add(lines)
    page.add(
        "Importance is fANOVA's: a random forest is fitted to the complete trials; ± is the "
        "standard deviation over five forests. It tells what mattered in this space with these "
        "trials, not what would matter elsewhere."
        + (" Pruned trials are left out." if study.of("pruned") else "")
    )
    pictures.importances(page, found)


def _front(page: Page, study: StudyRecord, tracked: Tracked | None, folder: Path) -> None:
    best = study.front()
    page.add(
        "## The Pareto front",
        f"{len(best)} of {len(study.of('complete'))} complete trials are beaten by no other in "
        "all objectives.",
    )
    if len(study.objectives) == 2:
        pictures.front(page, study)
    page.add(_table_of(study, best, tracked))
    chosen = tracked.run.tags.get("best_trial", "") if tracked else ""
    [first] = [t for t in study.of("complete") if str(t.number) == chosen] or [best[0]]
    page.add(f"Trial {first.number} is the one whose settings were kept as a file.")
    _train_again(page, tracked, first, folder)


def _table_of(study: StudyRecord, trials: Sequence[Trial], tracked: Tracked | None = None) -> str:
    """Trials with their values, and where the test set was read for each the accuracy."""
    metrics = tracked.run.metrics if tracked else {}
    tested = {
        trial.number: metrics[name]
        for trial in trials
        if (name := f"trial_{trial.number}/test/accuracy") in metrics
    }
    confirmed = study.confirmed()
    keys = [axis.name for axis in study.axes]
    columns = ["trial", *study.objectives]
    columns += ["fresh seeds"] if confirmed else []
    columns += ["test accuracy"] if tested else []
    rows = []
    for trial in trials:
        row = [str(trial.number), *map(_number, trial.values)]
        if confirmed:
            row.append(spread(confirmed[trial.number]) if trial.number in confirmed else "")
        if tested:
            row.append(_number(tested[trial.number]) if trial.number in tested else "")
        rows.append([*row, *(_shown(trial.params.get(key, "")) for key in keys)])
    return table([*columns, *keys], rows, left=0)


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation (n)."""
    mean = f"{statistics.mean(values):.4f}"
    if len(values) > 1:
        mean += f" ± {statistics.stdev(values):.4f}"
    return f"{mean} (n = {len(values)})"


def _number(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) >= 10:
        return f"{int(value):,}"
    return f"{value:.6g}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
