"""Studies are compared by the epochs that they trained, if they have the same objective."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from figures.pixels import is_drawn
from perceptune.errors import UserError
from perceptune.reports import comparison
from perceptune.reports.page import Page
from perceptune.reports.tracked import TrackedStudy
from reports.studies import by_lr, made


def test_several_studies_are_rows_of_a_table_and_lines_of_a_race(tmp_path: Path) -> None:
    small = made(by_lr, 8)
    twin = replace(small, name="twin", pruner="MedianPruner")
    page = Page(tmp_path)
    comparison.write(page, [TrackedStudy(small), TrackedStudy(twin)])
    best = small.ranked()[0].values[0]
    numbers = f"8 | 1 | 64 | {1 - 64 / 70:.1%} | {best:.4f} |"
    assert f"| small | RandomSampler | NopPruner | {numbers}" in page.text
    assert f"| twin | RandomSampler | MedianPruner | {numbers}" in page.text
    assert "search spaces differ" not in page.text
    assert is_drawn(tmp_path / "race.png")


def test_a_course_begins_at_the_first_complete_trial_and_never_gets_worse() -> None:
    study = made(by_lr, 8)
    epochs, best = comparison.course(study)
    # Trial 3 was pruned after its fourth epoch, and trial 5 failed.
    assert epochs.tolist() == [10, 20, 30, 34, 44, 54, 64]
    assert best[-1] == study.ranked()[0].values[0]
    assert (best[1:] >= best[:-1]).all()


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"objectives": ("val/loss",)}, "maximizes val/loss, small maximizes val/accuracy"),
        ({"directions": ("minimize",)}, "minimizes val/accuracy"),
        ({"objectives": ("a", "b"), "directions": ("minimize",) * 2}, "several objectives"),
        ({"trials": ()}, "no complete trial"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(
    changed: dict[str, Any], complaint: str
) -> None:
    small = made(by_lr, 2)
    with pytest.raises(UserError, match=complaint):
        comparison.refuse_unlike([small, replace(small, name="other", **changed)])
