"""Schedules: one contract for every member of the table, then numbers worked by hand."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from members import SCHEDULES, ScheduleRow

from perceptune.nn.checks import RangeError
from perceptune.nn.schedules import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Schedule,
    Step,
    WarmUp,
)

EPOCHS = 30
STEPS = 300  # ten an epoch

CASES = SCHEDULES | {
    "step(3, 0.5)": ScheduleRow(Step(3, 0.5), {0: 1, 3: 0.5, 5.9: 0.5, 6: 0.25}, jumps=True),
    "exponential(1)": ScheduleRow(Exponential(1.0), {0: 1, 30: 1}),
    "cosine(0.2)": ScheduleRow(Cosine(0.2), {0: 1, 15: 0.6, 30: 0.2}),
    "one_cycle(1, 0.5, 0)": ScheduleRow(OneCycle(1.0, 0.5, 0.0), {0: 1, 15: 1, 30: 0}),
    "one_cycle(0.2, 0.5, 0.1)": ScheduleRow(
        OneCycle(0.2, 0.5, 0.1),
        {0: 0.2, 5: 0.4, 7.5: 0.6, 15: 1, 22.5: 0.55, 30: 0.1},
        rises=True,
    ),
}
every = pytest.mark.parametrize("name", CASES)

CLOSE = {"rel": 1e-12, "abs": 1e-12}  # a few roundings of numbers below 1


def factor(schedule: Schedule, epoch: float, epochs: int = EPOCHS) -> float:
    return schedule.factor(epoch / epochs, epoch)


def curve(schedule: Schedule) -> list[float]:
    """The factor of each step of a training, computed as `fit` does."""
    return [factor(schedule, step // 10 + step % 10 / 10) for step in range(STEPS)]


@every
def test_a_factor_is_never_negative_nor_above_one(name: str) -> None:
    assert all(0 <= value <= 1 for value in curve(CASES[name].value))


@every
def test_a_schedule_has_no_state(name: str) -> None:
    """So a resumed training needs its epoch alone."""
    assert curve(CASES[name].value)[150:] == [
        factor(CASES[name].value, step // 10 + step % 10 / 10) for step in range(150, STEPS)
    ]


@every
def test_a_factor_rises_only_where_its_row_says_so(name: str) -> None:
    values = curve(CASES[name].value)
    falls = all(later <= earlier for earlier, later in pairwise(values))
    assert falls != CASES[name].rises


@every
def test_a_factor_jumps_only_where_its_row_says_so(name: str) -> None:
    # The steepest of the others is one_cycle's rise, π/2 over 0.3 of the training.
    distance, steepest = 1e-4, math.pi / 2 / 0.3
    jump = max(
        abs(
            factor(CASES[name].value, EPOCHS * (progress + distance))
            - factor(CASES[name].value, EPOCHS * progress)
        )
        for progress in [number * distance for number in range(9999)]
    )
    assert (jump > steepest * distance * 1.01) == CASES[name].jumps


@every
def test_factors_agree_with_numbers_worked_by_hand(name: str) -> None:
    for epoch, expected in CASES[name].worked.items():
        assert factor(CASES[name].value, epoch) == pytest.approx(expected, **CLOSE)


@every
@pytest.mark.parametrize("warm_up", [0.5, 2, 5])
def test_a_warm_up_rises_from_zero_and_then_leaves_the_schedule_alone(
    name: str, warm_up: float
) -> None:
    plain, warmed = CASES[name].value, WarmUp(CASES[name].value, warm_up)
    assert factor(warmed, 0) == 0
    for fraction in (0.1, 0.5, 0.9):
        epoch = fraction * warm_up
        assert factor(warmed, epoch) == pytest.approx(fraction * factor(plain, epoch), **CLOSE)
    for epoch in (warm_up, warm_up + 0.1, EPOCHS - 0.1):
        assert factor(warmed, epoch) == factor(plain, epoch)


@every
def test_a_warm_up_of_no_epochs_is_none(name: str) -> None:
    assert curve(WarmUp(CASES[name].value, 0)) == curve(CASES[name].value)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (Exponential(0.5), {0: 1, 1: 0.5, 1.5: 0.5**1.5, 3: 0.125}),
        (WarmUp(Constant(), 4), {0: 0, 1: 0.25, 3: 0.75, 4: 1}),
        (WarmUp(Exponential(0.5), 2), {1: 0.25, 2: 0.25, 3: 0.125}),
    ],
    ids=repr,
)
def test_steeper_ones_and_warm_ups_agree_with_numbers_worked_by_hand(
    schedule: Schedule, points: dict[float, float]
) -> None:
    for epoch, expected in points.items():
        assert factor(schedule, epoch) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("steps", [3, 7, 10, 49, 1875])
def test_a_step_schedule_drops_at_the_first_step_of_an_epoch(steps: int) -> None:
    """Although an epoch plus a fraction of it is seldom a round number in binary."""
    for epoch in range(1, 40):
        last, first = epoch - 1 + (steps - 1) / steps, epoch + 0 / steps
        assert factor(Step(1, 0.5), last) == 0.5 ** (epoch - 1)
        assert factor(Step(1, 0.5), first) == 0.5**epoch


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0, 0.1), "every must be 1 or more, got 0"),
        (lambda: Step(10, 0.0), "gamma must be in (0, 1], got 0.0"),
        (lambda: Step(10, 1.1), "gamma must be in (0, 1], got 1.1"),
        (lambda: Exponential(gamma=0.0), "gamma must be in (0, 1], got 0.0"),
        (lambda: Exponential(gamma=math.nan), "gamma must be in (0, 1], got nan"),
        (lambda: Cosine(final=-0.1), "final must be in [0, 1], got -0.1"),
        (lambda: Cosine(final=math.nan), "final must be in [0, 1], got nan"),
        (lambda: OneCycle(0.04, 0.0, 0.0), "peak must be in (0, 1), got 0.0"),
        (lambda: OneCycle(0.04, 1.0, 0.0), "peak must be in (0, 1), got 1.0"),
        (lambda: OneCycle(2.0, 0.3, 0.0), "start must be in [0, 1], got 2.0"),
        (lambda: OneCycle(0.04, 0.3, -1.0), "final must be in [0, 1], got -1.0"),
        (lambda: WarmUp(Constant(), -1), "warmup must be 0 or more, got -1"),
        (lambda: WarmUp(Constant(), math.nan), "warmup must be 0 or more, got nan"),
        (lambda: WarmUp(Constant(), math.inf), "warmup must be 0 or more, got inf"),
    ],
)
def test_values_outside_their_range_are_refused_by_name(
    make: Callable[[], Schedule], message: str
) -> None:
    with pytest.raises(RangeError) as caught:
        make()
    assert str(caught.value) == message
