"""Learning-rate schedules: factors of the learning rate, by progress through the training.

A schedule knows neither optimizer nor network. A new one is a class here, its row in `SCHEDULES`
and a file in conf/schedule with its fields and `warmup`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from perceptune.nn.checks import check, check_count, check_fraction, check_nonnegative


class Schedule(Protocol):
    """A factor of the learning rate over the training."""

    def factor(self, progress: float, epoch: float) -> float:
        """Compute the factor of the next step's learning rate.

        `progress` is the fraction of all steps already made, 0 at the first step and below 1 at
        the last. `epoch` is the number of epochs already trained, with fractions.
        """


@dataclass(frozen=True)
class Constant:
    """The same learning rate throughout."""

    def factor(self, progress: float, epoch: float) -> float:
        """See `Schedule`."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """Multiply by `gamma` every `every` epochs. Usual: 0.1 after each third of the training.

    >>> [Step(10, 0.5).factor(epoch / 30, epoch) for epoch in (0, 9.9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]

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
    """Multiply by `gamma` each epoch, smoothly within it. Usual: gamma 0.95.

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

    Usual: final 0.

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

    Both along half a cosine (Smith & Topin 2018, arXiv:1708.07120). Usual: start 0.04, peak 0.3,
    final 0.0001.

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
            low, done = self.start, 1 - progress / self.peak
        else:
            low, done = self.final, (progress - self.peak) / (1 - self.peak)
        return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class WarmUp:
    """A linear rise from 0 over the first `warmup` epochs, times another schedule.

    Goyal et al. 2017 (arXiv:1706.02677). The first step has the learning rate 0, so a warm-up
    should last several steps. The other schedule starts at the first step too, not after it.

    >>> [WarmUp(Cosine(0.0), 4).factor(epoch / 20, epoch) for epoch in (0, 10, 20)]
    [0.0, 0.5, 0.0]

    Raises:
        RangeError: warmup below 0 or infinite.
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
