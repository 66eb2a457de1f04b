"""Figures of several studies or configurations, from plain numbers.

Those of one study are Optuna's own, see `SweepResult.figures`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from perceptune.figures.pixels import inches
from perceptune.figures.style import BLUE, GREEN, GREY, ORANGE, drawn
from perceptune.nn.layout import Array

_LOOKS = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (GREY, ":"))


def race(
    path: Path, courses: Mapping[str, tuple[Array, Array]], *, maximize: bool, label: str
) -> None:
    """Draw the best value so far of several studies, by epochs trained.

    Args:
        path: the PNG to write.
        courses: by study name epochs (points,) and best values (points,).
        maximize: whether higher is better.
        label: name of the values.
    """
    right = inches(list(courses)) + 0.7  # names stand beside the panel, where they hide nothing
    with drawn(path, width=7 + right, height=4, margins=(0.95, 0.55, right, 0.15)) as figure:
        axes = figure.add_subplot()
        for index, (name, (epochs, best)) in enumerate(courses.items()):
            colour, line = _LOOKS[index % len(_LOOKS)]
            axes.step(epochs, best, line, where="post", color=colour, linewidth=2, label=name)
            axes.plot(epochs[-1], best[-1], "o", color=colour, markersize=6)
        window = _window([best for _, best in courses.values()], maximize)
        axes.set(xlabel="epochs trained", ylabel=label, ylim=window)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def scores(path: Path, names: Sequence[str], values: Sequence[Array], label: str) -> None:
    """Draw one row per configuration: a dot per seed, a bar at the mean.

    Args:
        path: the PNG to write.
        names: of the configurations, from top to bottom.
        values: (seeds,) for each configuration.
        label: name of the values.
    """
    margins = (inches(names) + 0.25, 0.55, 0.2, 0.15)
    with drawn(path, 6 + margins[0], 0.42 * len(names) + 0.8, margins) as figure:
        axes = figure.add_subplot()
        for row, single in enumerate(values):
            axes.plot(single, np.full(len(single), row), "o", color=BLUE, alpha=0.6)
            if len(single) > 1:
                axes.plot(single.mean(), row, "|", color=ORANGE, markersize=18, markeredgewidth=3)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set(xlabel=label)


def _window(courses: Sequence[Array], maximize: bool) -> tuple[float, float]:
    """The limits of an axis that shows the better half and the end of each course well.

    A few poor trials at the start must not flatten the rest.
    """
    sign = 1 if maximize else -1
    signed = sign * np.concatenate(courses)
    top, bottom = float(signed.max()), float(signed.min())
    middle = min(float(np.median(signed)), *(float(sign * course[-1]) for course in courses))
    floor = max(bottom, top - 4 * (top - middle)) if top > middle else bottom
    margin = 0.06 * (top - floor) or 0.01 * max(abs(top), 1e-9)
    low, high = floor - margin, top + margin
    return (low, high) if maximize else (-high, -low)
