"""Pictures of how a training went."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.figures.style import BLUE, GREY, ORANGE, drawn
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from matplotlib.ticker import MaxNLocator

_BINS = 60


def curves(path: Path, history: Sequence[Mapping[str, float]], best: int) -> None:
    """Loss and accuracy by epoch, side by side, with the epoch whose weights were kept.

    Args:
        path: the PNG to write.
        history: for each epoch measured its number, `epoch`, and values by metric name.
        best: the epoch to mark.
    """
    epochs = [record["epoch"] for record in history]
    dots = "." if len(epochs) < 40 else ""
    with drawn(path, width=9, height=3.6) as figure:
        for place, kind in enumerate(("loss", "accuracy"), start=1):
            axes = figure.add_subplot(1, 2, place)
            for part, label, colour in (("train", "training", ORANGE), ("val", "validation", BLUE)):
                if f"{part}/{kind}" in history[0]:
                    values = [record[f"{part}/{kind}"] for record in history]
                    axes.plot(epochs, values, marker=dots, color=colour, label=label)
            axes.axvline(best, color=GREY, linestyle=":", label=f"best, epoch {best}")
            axes.set(xlabel="epoch", title="cross-entropy" if kind == "loss" else "accuracy")
            axes.xaxis.set_major_locator(_whole_numbers())
            if kind == "loss":
                axes.set_yscale("log")
            axes.legend()


def seeds(path: Path, histories: Sequence[Sequence[Mapping[str, float]]]) -> None:
    """Loss and accuracy by epoch of several trainings: each, their mean, and ± a deviation.

    Args:
        path: the PNG to write.
        histories: for each training what `curves` takes; means end with the shortest.
    """
    shortest = min(histories, key=len)
    epochs = [record["epoch"] for record in shortest]
    with drawn(path, width=9, height=3.6) as figure:
        for place, kind in enumerate(("loss", "accuracy"), start=1):
            axes = figure.add_subplot(1, 2, place)
            for part, label, colour in (("train", "training", ORANGE), ("val", "validation", BLUE)):
                name = f"{part}/{kind}"
                if name not in shortest[0]:
                    continue
                for own in histories:
                    values = [record[name] for record in own]
                    axes.plot([r["epoch"] for r in own], values, color=colour, alpha=0.3, lw=0.7)
                rows = [[record[name] for record in own[: len(epochs)]] for own in histories]
                mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
                axes.plot(epochs, mean, color=colour, label=f"{label}, mean")
                low, high = mean - deviation, mean + deviation
                axes.fill_between(epochs, low, high, color=colour, alpha=0.2, lw=0)
            title = "cross-entropy" if kind == "loss" else "accuracy"
            axes.set(xlabel="epoch", title=f"{title}, {len(histories)} seeds, mean ± sd")
            axes.xaxis.set_major_locator(_whole_numbers())
            if kind == "loss":
                axes.set_yscale("log", nonpositive="clip")
            axes.legend()


def activations(path: Path, before: Sequence[Array], after: Sequence[Array]) -> None:
    """How hidden units answer to a batch: a histogram for each layer, at start and end.

    Args:
        path: the PNG to write.
        before: for each hidden layer its activations (samples, units) with the first weights.
        after: the same with the last.
    """
    with drawn(path, width=max(4.5, min(3.2 * len(after), 12)), height=3.4) as figure:
        for number, pair in enumerate(zip(before, after, strict=True), start=1):
            axes = figure.add_subplot(1, len(after), number)
            low, high = min(map(np.min, pair)), max(map(np.max, pair))
            for layer, label, colour in zip(pair, ("start", "end"), (GREY, BLUE), strict=True):
                counts, edges = np.histogram(layer, _BINS, (low, max(high, low + 1e-6)))
                axes.stairs(counts / layer.size, edges, color=colour, label=label, fill=False)
            axes.set(xlabel="activation", title=f"hidden layer {number}", yscale="log")
            if number == 1:
                axes.set_ylabel("share of answers")
                axes.legend()


def _whole_numbers() -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)
