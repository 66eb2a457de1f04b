"""The score: budget, failures, patience, target and the clock."""

from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from optuna_joblib_sweeper import _tally
from optuna_joblib_sweeper._tally import Tally


def tally(budget: int | None = 10, direction: str = "minimize", **rules: Any) -> Tally:
    defaults = {"timeout": None, "target": None, "patience": None, "fail_fast": False}
    settings = SimpleNamespace(
        directions=(direction,), **{**defaults, "max_failure_rate": 1.0, **rules}
    )
    return Tally(settings, budget, [])  # type: ignore[arg-type]


def trial(state: TrialState, number: int, value: float | None = None) -> FrozenTrial:
    found = create_trial(state=state, value=value, user_attrs={"reason": "why"})
    found.number = number
    return found


def complete(score: Tally, *values: float) -> None:
    for value in values:
        score.add(trial(TrialState.COMPLETE, score.finished, value))


def test_the_timeout_starts_with_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(_tally.time, "monotonic", lambda: now)
    score = tally(timeout=60)
    now = 160.0
    assert score.stop_reason() is None
    now = 160.5
    assert score.stop_reason() == "timeout of 60 s"


@pytest.mark.parametrize(("direction", "enough"), [("minimize", 0.9), ("maximize", 1.1)])
def test_the_target_counts_in_its_direction(direction: str, enough: float) -> None:
    score = tally(direction=direction, target=1.0)
    complete(score, 2.0 - enough)
    assert score.stop_reason() is None
    complete(score, enough)
    assert "target 1 reached by trial 1" in str(score.stop_reason())


def test_patience_starts_again_with_each_improvement() -> None:
    score = tally(patience=2)
    complete(score, 5.0, 6.0, 4.0, 4.0)
    assert score.stop_reason() is None
    score.add(trial(TrialState.PRUNED, 4))
    assert score.stop_reason() == "no improvement in 2 trials"


def test_failures_stop_a_study_once_their_share_of_the_budget_is_certain() -> None:
    score = tally(max_failure_rate=0.2)
    for number in range(2):
        score.add(trial(TrialState.FAIL, number))
        assert score.too_many_failures() is None
    score.add(trial(TrialState.FAIL, 2))
    assert "first: trial 0: why" in str(score.too_many_failures())
    assert (score.finished, score.left) == (3, 7)


def test_without_a_budget_there_is_always_something_left() -> None:
    assert tally(budget=None).left is None
