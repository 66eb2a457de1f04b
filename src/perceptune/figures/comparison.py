"""The figure of one training in several libraries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from perceptune.figures.style import drawn

# Okabe & Ito 2008, and dashes besides: curves of equal trainings lie upon each other.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#666666")
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Curve:
    """One training.

    Attributes:
        startup_seconds: from nothing to its first epoch.
        epochs: (train loss, validation accuracy or None, seconds) of each.
    """

    startup_seconds: float
    epochs: Sequence[tuple[float, float | None, float]]

    @property
    def clock(self) -> list[float]:
        """Seconds from nothing to the end of each epoch."""
        lengths = (seconds for *_, seconds in self.epochs)
        return list(accumulate(lengths, initial=self.startup_seconds))[1:]


def comparison(path: Path, curves: Mapping[str, Curve]) -> None:
    """Loss by epoch, and validation accuracy against the clock; without validation the loss again.

    Args:
        path: the PNG to write.
        curves: the trainings by the name of their backend.
    """
    from matplotlib.ticker import MaxNLocator

    validated = all(value is not None for each in curves.values() for _, value, _ in each.epochs)
    with drawn(path, width=10, height=3.8) as figure:
        by_epoch, by_time = figure.subplots(1, 2)
        for index, (name, curve) in enumerate(curves.items()):
            look = {
                "color": _COLOURS[index % len(_COLOURS)],
                "linestyle": _DASHES[index % len(_DASHES)],
                "linewidth": 3.2 - 0.35 * index,  # those below stay in sight
                "marker": "." if len(curve.epochs) < 40 else "",
                "label": name,
            }
            losses = [loss for loss, _, _ in curve.epochs]
            by_epoch.plot(range(1, len(losses) + 1), losses, **look)
            learnt = [value for _, value, _ in curve.epochs] if validated else losses
            by_time.plot(curve.clock, learnt, **look)
        by_epoch.set(xlabel="epoch", title="training loss", yscale="log")
        by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = "validation accuracy" if validated else "training loss"
        by_time.set(xlabel="seconds, imports and compiling included", title=title)
        by_epoch.legend()
