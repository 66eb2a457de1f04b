"""Figures of a training; knows only measurements by epoch, and activations."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.evaluation import Spread
from perceptune.figures.style import BLUE, GREY, ORANGE, drawn, log_scale
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 60
_TITLES = {"loss": "cross-entropy", "accuracy": "accuracy"}
_PARTS = (("train", "training", ORANGE), ("val", "validation", BLUE))


def curves(path: Path, history: Sequence[Mapping[str, float]], best: int) -> None:
    """Draw loss and accuracy by epoch, side by side, with the epoch whose weights were kept.

    Args:
        path: the PNG to write.
        history: for each measured epoch its number, `epoch`, and values by metric name.
        best: the epoch to mark.
    """
    epochs = [record["epoch"] for record in history]
    dots = "." if len(epochs) < 40 else ""
    with _by_epoch(path) as panels:
        for kind, axes in panels.items():
            for name, label, colour in _series(kind, history[0]):
                values = [record[name] for record in history]
                axes.plot(epochs, values, marker=dots, color=colour, label=label)
            axes.axvline(best, color=GREY, linestyle=":", label=f"best, epoch {best}")


def seeds(path: Path, histories: Sequence[Sequence[Mapping[str, float]]]) -> None:
    """Draw loss and accuracy by epoch of each seed, and their mean ± standard deviation.

    Args:
        path: the PNG to write.
        histories: a history per seed, as for `curves`; means end with the shortest.
    """
    epochs = [record["epoch"] for record in min(histories, key=len)]
    with _by_epoch(path, f", {len(histories)} seeds, mean ± sd") as panels:
        for kind, axes in panels.items():
            for name, label, colour in _series(kind, histories[0][0]):
                for own in histories:
                    values = [record[name] for record in own]
                    axes.plot([r["epoch"] for r in own], values, color=colour, alpha=0.3, lw=0.7)
                rows = zip(*histories, strict=False)  # one per epoch, until the shortest ends
                spreads = [Spread.of([record[name] for record in row]) for row in rows]
                mean, sd = np.array([(spread.mean, spread.sd) for spread in spreads]).T
                axes.plot(epochs, mean, color=colour, label=f"{label}, mean")
                axes.fill_between(epochs, mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)


def activations(path: Path, before: Sequence[Array], after: Sequence[Array]) -> None:
    """Draw histograms of hidden activations on one batch, a panel per layer, at start and end.

    Args:
        path: the PNG to write.
        before: activations (samples, units) of each hidden layer with the initial weights.
        after: the same with the last weights.
    """
    width = max(4.5, min(3.2 * len(after), 5 + 1.7 * len(after)))
    with drawn(path, width, height=3.4, margins=(0.95, 0.55, 0.2, 0.35)) as figure:
        panel = (width - 1.15 - 0.75 * (len(after) - 1)) / len(after)
        figure.subplots_adjust(wspace=0.75 / panel)
        for number, pair in enumerate(zip(before, after, strict=True), start=1):
            axes = figure.add_subplot(1, len(after), number)
            low, high = min(map(np.min, pair)), max(map(np.max, pair))
            for layer, label, colour in zip(pair, ("start", "end"), (GREY, BLUE), strict=True):
                counts, edges = np.histogram(layer, _BINS, (low, max(high, low + 1e-6)))
                axes.stairs(counts / layer.size, edges, color=colour, label=label, fill=False)
            axes.set(xlabel="activation", title=f"hidden layer {number}")
            log_scale(axes)
            if number == 1:
                axes.set_ylabel("fraction of activations")
                axes.legend()


@contextmanager
def _by_epoch(path: Path, title: str = "") -> Iterator[dict[str, "Axes"]]:
    """A panel for loss and one for accuracy; `title` follows their names."""
    from matplotlib.ticker import MaxNLocator

    with drawn(path, width=9, height=3.6, margins=(0.75, 0.55, 0.2, 0.35)) as figure:
        panels = dict(zip(_TITLES, figure.subplots(1, 2), strict=True))
        yield panels
        log_scale(panels["loss"])
        for kind, axes in panels.items():
            axes.set(xlabel="epoch", title=_TITLES[kind] + title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()


def _series(kind: str, measured: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Metric name, label and colour of each part of the data that was measured."""
    named = [(f"{part}/{kind}", label, colour) for part, label, colour in _PARTS]
    return [series for series in named if series[0] in measured]
