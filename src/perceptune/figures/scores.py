"""Figures of the quality of predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.figures.style import BLUE, GREEN, GREY, ORANGE, drawn
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from perceptune.evaluation import Calibration


def confusion(path: Path, counts: Array, classes: Sequence[str]) -> None:
    """Draw the confusion matrix, coloured by fraction of the row, so that rare classes show.

    Args:
        path: the PNG to write.
        counts: (classes, classes), row the true class, column the predicted one.
        classes: their names.
    """
    fractions = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    right, total = counts.trace(), counts.sum()
    with drawn(path, width=7, height=6.4) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        # The root makes the few mistakes visible beside the many hits.
        axes.imshow(fractions**0.5, cmap="Blues", vmin=0, vmax=1)
        ticks = range(len(classes))
        axes.set_xticks(ticks, classes, rotation=45 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(ticks, classes)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(f"{right:,} of {total:,} correct ({right / total:.2%})")
        for row in ticks:
            for column in ticks:
                if counts[row, column]:
                    number = f"{counts[row, column]:,}"
                    colour = "white" if fractions[row, column] > 0.3 else "black"
                    axes.text(column, row, number, color=colour, size=9, ha="center", va="center")


def per_class(
    path: Path, precision: Array, recall: Array, f1: Array, classes: Sequence[str]
) -> None:
    """Draw precision, recall and F1 of each class as dots; the axis begins near the worst.

    Args:
        path: the PNG to write.
        precision, recall, f1: (classes,) each in [0, 1].
        classes: their names.
    """
    places = np.arange(len(classes))
    series = (
        ("precision", precision, BLUE, "o", -0.18),
        ("recall", recall, ORANGE, "s", 0.0),
        ("F1", f1, GREEN, "D", 0.18),
    )
    with drawn(path, width=8, height=0.34 * len(classes) + 1.5) as figure:
        axes = figure.add_subplot()
        for label, values, colour, marker, shift in series:
            axes.plot(values, places + shift, marker, color=colour, label=label, markersize=6)
        worst = min(float(values.min()) for _, values, *_ in series)
        axes.set_xlim(max(0.0, worst - 0.05 * (1 - worst) - 0.01), 1.003)
        axes.set_yticks(places, classes)
        axes.invert_yaxis()
        axes.set(ylabel="class", title="precision, recall and F1 of each class")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def calibration(path: Path, measured: "Calibration") -> None:
    """Draw the reliability diagram: accuracy against confidence, and the samples of each bin.

    Args:
        path: the PNG to write.
        measured: accuracy against mean confidence, by bin of confidence.
    """
    used = measured.count > 0
    with drawn(path, width=6, height=5.6) as figure:
        above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
        above.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfectly calibrated")
        confidence, accuracy = measured.confidence[used], measured.accuracy[used]
        above.plot(confidence, accuracy, marker="o", color=BLUE, label="this network")
        above.vlines(confidence, confidence, accuracy, color=ORANGE, label="gap")
        above.set(ylabel="accuracy", ylim=(-0.02, 1.02))
        above.set_title(f"expected calibration error {measured.error:.2%}")
        above.legend(loc="upper left")
        bins = len(used)
        below.bar((np.arange(bins) + 0.5) / bins, measured.count, width=0.9 / bins, color=BLUE)
        below.set(
            xlabel="confidence: probability of the predicted class", ylabel="samples", yscale="log"
        )
        below.set_ylim(bottom=0.6)  # below 1, so that a bar of one sample is visible
        below.set_xlim(0, 1.01)
