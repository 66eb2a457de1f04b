"""Who won, by plain values alone."""

from pathlib import Path
from typing import Any

import pytest

from optuna_joblib_sweeper import SweepResult, TrialResult


def trial(number: int, *values: float, **changed: Any) -> TrialResult:
    fields: dict[str, Any] = {
        "number": number,
        "state": "complete" if values else "pruned",
        "values": values,
        "params": {"x": number},
        "overrides": (f"x={number}",),
        "folder": Path("trials"),
        "run_id": None,
        "reports": {},
        "confirmed": (),
        "reason": None,
        "started": None,
        "ended": None,
    }
    return TrialResult(**{**fields, **changed})


def study(*trials: TrialResult, directions: tuple[str, ...] = ("maximize",)) -> SweepResult:
    return SweepResult(
        name="test",
        storage="none",
        directions=directions,
        space=(),
        parameters=(),
        config={},
        trials=trials,
    )


def numbers(trials: Any) -> list[int]:
    return [trial.number for trial in trials]


@pytest.mark.parametrize(("direction", "order"), [("maximize", [1, 0, 3]), ("minimize", [3, 0, 1])])
def test_the_best_value_wins_in_its_direction(direction: str, order: list[int]) -> None:
    result = study(trial(0, 2.0), trial(1, 3.0), trial(2), trial(3, 1.0), directions=(direction,))
    assert numbers(result.ranked()) == order
    assert numbers(result.winners) == order[:1]


def test_of_equal_values_the_first_wins() -> None:
    assert study(trial(0, 1.0), trial(1, 1.0)).winner == trial(0, 1.0)


def test_a_confirmed_mean_goes_before_every_value() -> None:
    lucky, steady = trial(0, 9.0, confirmed=(1.0, 2.0)), trial(1, 5.0, confirmed=(4.0, 5.0))
    result = study(lucky, steady, trial(2, 8.0))
    assert numbers(result.standing()) == [1, 0, 2]
    assert steady.confirmed_mean == 4.5
    assert numbers(result.ranked()) == [0, 2, 1]


def test_the_front_holds_what_nobody_beats_each_point_once() -> None:
    result = study(
        trial(0, 1.0, 1.0),
        trial(1, 3.0, 3.0),
        trial(2, 2.0, 1.0),  # beaten by 0, which is as good in one and better in the other
        trial(3, 1.0, 1.0, overrides=("x=0",)),  # the same point again
        trial(4, 1.0, 1.0),  # as good, by another point
        trial(5, 0.5, 2.0),
        directions=("minimize", "minimize"),
    )
    assert numbers(result.front()) == [0, 4, 5]
    assert result.winner is not None
    assert result.winner.number == 0
    assert numbers(result.winners) == [0, 4, 5]


def test_a_study_without_a_complete_trial_has_no_winner() -> None:
    result = study(trial(0), trial(1))
    assert result.winner is None
    assert (result.winners, result.importances(), list(result.figures())) == ((), [], [])
