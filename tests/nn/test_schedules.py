"""Schedules: one contract for every member of the table, then numbers worked by hand."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from perceptune.nn.schedules import (
    SCHEDULES,
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

CASES: dict[str, Schedule] = {name: kind() for name, kind in SCHEDULES.items()} | {
    "step(3, 0.5)": Step(3, 0.5),
    "exponential(1)": Exponential(1.0),
    "cosine(0.1)": Cosine(0.1),
    "one_cycle(1, 0.5, 0)": OneCycle(1.0, 0.5, 0.0),
}
every = pytest.mark.parametrize("name", CASES)

RISE = {"one_cycle"}  # the others never go up
JUMP = {"step", "step(3, 0.5)"}  # the others are continuous
CLOSE = {"rel": 1e-12, "abs": 1e-12}  # a few roundings of numbers below 1


def factor(schedule: Schedule, epoch: float, epochs: int = EPOCHS) -> float:
    return schedule.factor(epoch / epochs, epoch)


def curve(schedule: Schedule) -> list[float]:
    """What each step of a training is given, computed as `fit` does."""
    return [factor(schedule, step // 10 + step % 10 / 10) for step in range(STEPS)]


@every
def test_a_factor_is_never_negative_nor_above_one(name: str) -> None:
    assert all(0 <= value <= 1 for value in curve(CASES[name]))


@every
def test_a_schedule_forgets_nothing_and_remembers_nothing(name: str) -> None:
    """So a resumed training needs its epoch alone to go on."""
    assert curve(CASES[name])[150:] == [
        factor(CASES[name], step // 10 + step % 10 / 10) for step in range(150, STEPS)
    ]


@every
def test_a_factor_never_rises_but_in_one_cycle(name: str) -> None:
    values = curve(CASES[name])
    falls = all(later <= earlier for earlier, later in pairwise(values))
    assert falls != (name in RISE)


@every
def test_only_the_step_schedule_jumps(name: str) -> None:
    # The steepest of the others is one_cycle's rise, π/2 over 0.3 of the training.
    distance, steepest = 1e-4, math.pi / 2 / 0.3
    jump = max(
        abs(factor(CASES[name], EPOCHS * (share + distance)) - factor(CASES[name], EPOCHS * share))
        for share in [number * distance for number in range(9999)]
    )
    assert (jump > steepest * distance * 1.01) == (name in JUMP)


@every
def test_all_but_one_cycle_start_at_one(name: str) -> None:
    start = CASES[name].start if isinstance(CASES[name], OneCycle) else 1.0
    assert factor(CASES[name], 0) == pytest.approx(start, **CLOSE)


@every
@pytest.mark.parametrize("warm_up", [0.5, 2, 5])
def test_a_warm_up_rises_from_zero_and_then_leaves_the_schedule_alone(
    name: str, warm_up: float
) -> None:
    plain, warmed = CASES[name], WarmUp(CASES[name], warm_up)
    assert factor(warmed, 0) == 0
    for share in (0.1, 0.5, 0.9):
        epoch = share * warm_up
        assert factor(warmed, epoch) == pytest.approx(share * factor(plain, epoch), **CLOSE)
    for epoch in (warm_up, warm_up + 0.1, EPOCHS - 0.1):
        assert factor(warmed, epoch) == factor(plain, epoch)


@every
def test_a_warm_up_of_no_epochs_is_none(name: str) -> None:
    assert curve(WarmUp(CASES[name], 0)) == curve(CASES[name])


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (Constant(), {0: 1, 17.3: 1}),
        (Step(10, 0.1), {0: 1, 9.9: 1, 10: 0.1, 19.9: 0.1, 20: 0.01}),
        (Exponential(0.5), {0: 1, 1: 0.5, 1.5: 0.5**1.5, 3: 0.125}),
        (Cosine(), {0: 1, 10: 0.75, 15: 0.5, 20: 0.25, 30: 0}),
        (Cosine(0.2), {0: 1, 15: 0.6, 30: 0.2}),
        (OneCycle(0.2, 0.5, 0.1), {0: 0.2, 5: 0.4, 7.5: 0.6, 15: 1, 22.5: 0.55, 30: 0.1}),
        (OneCycle(), {0: 0.04, 4.5: 0.52, 9: 1, 19.5: 0.50005, 30: 0.0001}),
        (WarmUp(Constant(), 4), {0: 0, 1: 0.25, 3: 0.75, 4: 1}),
        (WarmUp(Exponential(0.5), 2), {1: 0.25, 2: 0.25, 3: 0.125}),
    ],
    ids=repr,
)
def test_factors_agree_with_numbers_worked_by_hand(
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
        (lambda: Step(every=0), "every must be 1 epoch or more, got 0"),
        (lambda: Step(gamma=0.0), "gamma must be in (0, 1], got 0.0"),
        (lambda: Step(gamma=1.1), "gamma must be in (0, 1], got 1.1"),
        (lambda: Exponential(gamma=0.0), "gamma must be in (0, 1], got 0.0"),
        (lambda: Exponential(gamma=math.nan), "gamma must be in (0, 1], got nan"),
        (lambda: Cosine(final=-0.1), "final must be in [0, 1], got -0.1"),
        (lambda: Cosine(final=math.nan), "final must be in [0, 1], got nan"),
        (lambda: OneCycle(peak=0.0), "peak must be in (0, 1), got 0.0"),
        (lambda: OneCycle(peak=1.0), "peak must be in (0, 1), got 1.0"),
        (lambda: OneCycle(start=2.0), "start must be in [0, 1], got 2.0"),
        (lambda: OneCycle(final=-1.0), "final must be in [0, 1], got -1.0"),
        (lambda: WarmUp(Constant(), -1), "warmup must be 0 epochs or more, got -1"),
        (lambda: WarmUp(Constant(), math.nan), "warmup must be 0 epochs or more, got nan"),
        (lambda: WarmUp(Constant(), math.inf), "warmup must be 0 epochs or more, got inf"),
    ],
)
def test_values_outside_their_range_are_refused_by_name(
    make: Callable[[], Schedule], message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole text follows)
        make()
    assert str(caught.value) == message
