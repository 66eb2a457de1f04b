"""The comparison of several studies: the best value of each, and the epochs that it took."""

from collections.abc import Sequence

import numpy as np

from optuna_joblib_sweeper import SweepResult
from perceptune.errors import UserError
from perceptune.figures import studies as figures
from perceptune.nn.layout import Array
from perceptune.reports import findings
from perceptune.reports.page import Page, table
from perceptune.reports.tracked import TrackedStudy


def write(page: Page, studies: Sequence[TrackedStudy]) -> None:
    """Add the table, and the best value by epochs trained.

    Raises:
        UserError: the objectives differ or are several, or a study has no complete trial.
    """
    results = [study.result for study in studies]
    refuse_unlike(results)
    label = results[0].objectives[0]
    page.add(f"# Studies {', '.join(result.name for result in results)}")
    columns = ["study", "sampler", "pruner", "trials", "pruned", "epochs", "saved", f"best {label}"]
    page.add(table([*columns, "its test accuracy"], list(map(_row, studies)), left=3))
    if len({result.space for result in results}) > 1:
        page.add("Their search spaces differ, so the comparison is one of spaces as well.")
    page.add(
        "Epochs are those that were trained; saved is the fraction that pruning saved. The best "
        "value is selected from many trials and so optimistically biased; the test accuracy is "
        "not, but it is that of one seed."
    )
    path = page.figure("race", f"Best {label} by epochs trained")
    courses = {result.name: course(result) for result in results}
    maximize = results[0].directions[0] == "maximize"
    figures.race(path, courses, maximize=maximize, label=f"best {label} so far")


def course(result: SweepResult) -> tuple[Array, Array]:
    """The epochs trained by the end of each trial, and the best value so far.

    Returns:
        Both (trials,), in the order of the trials' ends, from the first complete one on.
    """
    done = sorted(
        (trial for trial in result.of("complete", "pruned") if trial.ended),
        key=lambda trial: (str(trial.ended), trial.number),
    )
    epochs = np.cumsum([max(trial.reports, default=0) for trial in done])
    values = np.array([trial.values[0] if trial.values else np.nan for trial in done])
    better = np.fmax if result.directions[0] == "maximize" else np.fmin
    best = better.accumulate(values)
    known = ~np.isnan(best)
    return epochs[known], best[known]


def refuse_unlike(results: Sequence[SweepResult]) -> None:
    """Refuse studies that do not have one and the same objective.

    Raises:
        UserError: their objectives differ or are several, or one has no complete trial.
    """
    first = results[0]
    for result in results:
        if len(result.objectives) > 1:
            raise UserError(f"study {result.name} has several objectives; report it alone")
        if (result.objectives, result.directions) != (first.objectives, first.directions):
            raise UserError(
                f"study {result.name} {_goal(result)}, {first.name} {_goal(first)}; "
                "report them one by one"
            )
        if not result.of("complete"):
            raise UserError(
                f"study {result.name} has no complete trial to compare; run its command again to "
                "resume it"
            )


def _goal(result: SweepResult) -> str:
    return f"{result.directions[0]}s {result.objectives[0]}"


def _row(study: TrackedStudy) -> list[str]:
    result, epochs, winner = study.result, findings.count_epochs(study), study.result.winner
    assert winner is not None
    tested = study.test_accuracy(winner)
    return [
        result.name,
        result.sampler,
        result.pruner,
        str(len(result.trials)),
        str(len(result.of("pruned"))),
        f"{epochs.trained:,}" if epochs else "",
        f"{epochs.saved:.1%}" if epochs else "",
        f"{winner.values[0]:.4f}",
        "" if tested is None else f"{tested:.4f}",
    ]
