"""Figures of the quality of predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.figures import pixels
from perceptune.figures.style import BLUE, GREEN, GREY, ORANGE, drawn, log_scale
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
    many = len(classes)
    size, spare, high = (9, 16, max(44, 440 // many)) if many <= 20 else (7, 8, 22)
    longest = round(pixels.widest(classes, 11))
    wide = max(high, round(pixels.widest([f"{counts.max():,}"], size)) + spare)
    turned = longest + spare > max(wide, 1200 // many)  # names are then written upwards
    wide = wide if turned else max(wide, longest + spare)
    left, top = longest + 44, 36
    end, bottom = left + wide * many, top + high * many
    under = longest if turned else 18
    figure, draw = pixels.blank(end + 16, bottom + under + 42)
    # The root makes the few mistakes visible beside the many hits.
    pixels.paste_cells(figure, pixels.blues(fractions**0.5), (left, top, end, bottom))
    draw.rectangle((left - 1, top - 1, end, bottom), outline=GREY)
    title = f"{right:,} of {total:,} correct ({right / total:.2%})"
    draw.text(((left + end) / 2, 8), title, "black", pixels.font(12), anchor="ma")
    draw.text(((left + end) / 2, bottom + under + 36), "predicted", "black", pixels.font(11), "md")
    pixels.write_upwards(figure, "true", (6, (top + bottom) // 2), "lm")
    for place, name in enumerate(classes):
        across, down = left + wide * place + wide // 2, top + high * place + high // 2
        draw.text((left - 8, down), name, "black", pixels.font(11), anchor="rm")
        if turned:
            pixels.write_upwards(figure, name, (across, bottom + 6), "mt")
        else:
            draw.text((across, bottom + 6), name, "black", pixels.font(11), anchor="ma")
    for row, column in np.argwhere(counts):
        middle = left + wide * column + wide / 2, top + high * row + high / 2
        colour = "white" if fractions[row, column] > 0.3 else "black"
        draw.text(middle, f"{counts[row, column]:,}", colour, pixels.font(size), anchor="mm")
    pixels.save(figure, path)


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
    margins = (pixels.inches(classes) + 0.5, 0.4, pixels.inches(["precision"]) + 0.7, 0.35)
    with drawn(path, 6.5 + margins[0], 0.34 * len(classes) + 0.9, margins) as figure:
        axes = figure.add_subplot()
        for label, values, colour, marker, shift in series:
            axes.plot(values, places + shift, marker, color=colour, label=label, markersize=6)
        worst = min(float(values.min()) for _, values, *_ in series)
        axes.set_xlim(max(0.0, worst - 0.05 * (1 - worst) - 0.01), 1.003)
        axes.set_yticks(places, classes)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set(ylabel="class", title="precision, recall and F1 of each class")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def calibration(path: Path, measured: "Calibration") -> None:
    """Draw the reliability diagram: accuracy against confidence, and the samples of each bin.

    Args:
        path: the PNG to write.
        measured: accuracy against mean confidence, by bin of confidence.
    """
    used = measured.count > 0
    with drawn(path, width=6, height=5.6, margins=(0.85, 0.55, 0.15, 0.35)) as figure:
        figure.subplots_adjust(hspace=0.08)
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
        below.set(xlabel="confidence: probability of the predicted class", ylabel="samples")
        below.set_yscale("log")
        below.set_ylim(bottom=0.6)  # below 1, so that a bar of one sample is visible
        log_scale(below, most=4)
        below.set_xlim(0, 1.01)
