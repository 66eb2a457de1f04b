"""Several studies beside each other: what each found for the epochs that it trained."""

from collections.abc import Sequence

import numpy as np

from perceptune.errors import UserError
from perceptune.figures import studies as figures
from perceptune.nn.layout import Array
from perceptune.reports import findings
from perceptune.reports.page import Page, table
from perceptune.reports.study import Tracked, test_accuracy
from perceptune.reports.trials import StudyRecord


def write(page: Page, studies: Sequence[StudyRecord], tracked: Sequence[Tracked | None]) -> None:
    """The table, and the best value by epochs trained.

    Raises:
        UserError: they have not one and the same objective, or one has no complete trial.
    """
    refuse_unlike(studies)
    label, more = studies[0].objectives[0], studies[0].maximize[0]
    page.add(f"# Studies {', '.join(study.name for study in studies)}")
    columns = ["study", "sampler", "pruner", "trials", "pruned", "epochs", "saved", f"best {label}"]
    rows = [_row(*pair) for pair in zip(studies, tracked, strict=True)]
    page.add(table([*columns, "its test accuracy"], rows, left=3))
    if len({study.space for study in studies}) > 1:
        page.add("Their search spaces differ, so the comparison is one of spaces as well.")
    page.add(
        "Epochs are those that were trained, saved the share that pruning spared. The best value "
        "is the best of many and so flattered by luck; only the test accuracy is not, and it is "
        "of one seed."
    )
    path = page.picture("race", f"Best {label} by epochs trained")
    courses = {study.name: course(study) for study in studies}
    figures.race(path, courses, maximize=more, label=f"best {label} so far")


def course(study: StudyRecord) -> tuple[Array, Array]:
    """Epochs trained as each trial ended, from the first complete one on, and the best value then.

    Returns:
        Both (trials,).
    """
    done = sorted(
        (trial for trial in study.of("complete", "pruned") if trial.ended),
        key=lambda trial: (str(trial.ended), trial.number),
    )
    epochs = np.cumsum([max(trial.curve, default=0) for trial in done])
    values = np.array([trial.values[0] if trial.values else np.nan for trial in done])
    best = np.fmax.accumulate(values) if study.maximize[0] else np.fmin.accumulate(values)
    known = ~np.isnan(best)
    return epochs[known], best[known]


def refuse_unlike(studies: Sequence[StudyRecord]) -> None:
    """Studies of other objectives cannot be compared."""
    first = studies[0]
    for study in studies:
        if len(study.objectives) > 1:
            raise UserError(f"study {study.name} has several objectives; report it alone")
        if (study.objectives, study.maximize) != (first.objectives, first.maximize):
            raise UserError(
                f"study {study.name} is for {study.objectives[0]}, {first.name} for "
                f"{first.objectives[0]}; report them one by one"
            )
        if not study.of("complete"):
            raise UserError(f"study {study.name} has no complete trial to compare; go on with it")


def _row(study: StudyRecord, tracked: Tracked | None) -> list[str]:
    params = tracked.run.params if tracked else {}
    epochs = findings.count_epochs(study, tracked.uri if tracked else None)
    winner = study.winner()
    assert winner is not None
    tested = test_accuracy(winner, tracked)
    return [
        study.name,
        params.get("sampler", ""),
        params.get("pruner", ""),
        str(len(study.trials)),
        str(len(study.of("pruned"))),
        f"{epochs.trained:,}" if epochs else "",
        f"{epochs.saved:.1%}" if epochs else "",
        f"{winner.values[0]:.4f}",
        "" if tested is None else f"{tested:.4f}",
    ]
