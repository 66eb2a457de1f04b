"""Learning-rate schedules: the step size as a function of progress through the training.

A schedule gives a factor of the optimizer's `lr` and knows neither optimizer nor network.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from perceptune.nn.checks import check, check_count, check_fraction, check_nonnegative


class Schedule(Protocol):
    """A curve over the training."""

    def factor(self, progress: float, epoch: float) -> float:
        """What to multiply `lr` by.

        `progress` is the share of all steps already made, 0 at the first step, below 1 at the
        last. `epoch` counts the passes already made over the data, with fractions.
        """


@dataclass(frozen=True)
class Constant:
    """The same step size throughout."""

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """Multiply by `gamma` after every `every` epochs.

    Raises:
        RangeError: every below 1, or gamma outside (0, 1].
    """

    every: int
    gamma: float

    def __post_init__(self) -> None:
        check_count(every=self.every)
        _check_gamma(self.gamma)

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        return float(self.gamma ** math.floor(epoch / self.every))


@dataclass(frozen=True)
class Exponential:
    """Multiply by `gamma` each epoch, smoothly within it.

    Raises:
        RangeError: gamma outside (0, 1].
    """

    gamma: float

    def __post_init__(self) -> None:
        _check_gamma(self.gamma)

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        return float(self.gamma**epoch)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to `final` (Loshchilov & Hutter 2017, arXiv:1608.03983).

    Raises:
        RangeError: final outside [0, 1].
    """

    final: float

    def __post_init__(self) -> None:
        check_fraction(final=self.final)

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class OneCycle:
    """Up from `start` to 1 over the first `peak` of the training, then down to `final`.

    Both ways along half a cosine (Smith & Topin 2018, arXiv:1708.07120).

    Raises:
        RangeError: peak outside (0, 1), or start or final outside [0, 1].
    """

    start: float
    peak: float
    final: float

    def __post_init__(self) -> None:
        check(0 < self.peak < 1, "peak", "in (0, 1)", self.peak)
        check_fraction(start=self.start, final=self.final)

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        if progress < self.peak:
            low, share = self.start, 1 - progress / self.peak
        else:
            low, share = self.final, (progress - self.peak) / (1 - self.peak)
        return low + (1 - low) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class WarmUp:
    """Another schedule whose first `epochs` rise linearly from 0 (Goyal et al. 2017).

    The very first step has the size 0, so a ramp wants several steps. The inner
    schedule's own clock runs on meanwhile; the ramp multiplies it.

    Raises:
        RangeError: epochs below 0, or without end.
    """

    schedule: Schedule
    warmup: float

    def __post_init__(self) -> None:
        check_nonnegative(warmup=self.warmup)

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        inner = self.schedule.factor(progress, epoch)
        return inner * epoch / self.warmup if epoch < self.warmup else inner


def _check_gamma(gamma: float) -> None:
    check(0 < gamma <= 1, "gamma", "in (0, 1]", gamma)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}
