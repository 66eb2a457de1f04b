"""Pictures of a study, from plain numbers.

Optuna has such plots; they set a style of their own for the whole process, and do not tell pruned
trials from complete ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perceptune.figures.style import BLUE, GREEN, GREY, ORANGE, drawn
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LIGHT = "#b8b8b8"
_MARKS = 5  # point size


@dataclass(frozen=True)
class Scale:
    """How a parameter is drawn.

    Attributes:
        name: its label.
        choices: labels of a choice's values; then positions are 0, 1, …
        log: for numbers, a logarithmic axis.
        low, high: of numbers, the ends of what was searched.
    """

    name: str
    choices: Sequence[str] | None = None
    log: bool = False
    low: float = 0.0
    high: float = 1.0


def history(
    path: Path,
    complete: Mapping[int, float],
    pruned: Mapping[int, float],
    *,
    maximize: bool,
    label: str,
) -> None:
    """Values by trial number, a pruned trial's the last before its stop, and the best so far.

    Args:
        path: the PNG to write.
        complete: the objective by trial number.
        pruned: the last value before the stop, by trial number.
        maximize: whether more is better.
        label: the objective's name.
    """
    numbers = sorted(complete)
    values = np.array([complete[number] for number in numbers])
    best = np.maximum.accumulate(values) if maximize else np.minimum.accumulate(values)
    with drawn(path, width=8, height=4) as figure:
        axes = figure.add_subplot()
        window = _window(values, maximize)
        if pruned:
            gone = np.array(list(pruned.values()))
            _dots(axes, np.array(list(pruned)), gone, window, _LIGHT, "x", "pruned")
        _dots(axes, np.array(numbers), values, window, BLUE, "o", "complete")
        axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
        axes.set(xlabel="trial", ylabel=label, ylim=window)
        _beside(axes)


def importances(path: Path, names: Sequence[str], shares: Array, spreads: Array) -> None:
    """Bars, the most important on top, with the spread over several forests."""
    with drawn(path, width=8, height=0.42 * len(names) + 1.2) as figure:
        axes = figure.add_subplot()
        axes.barh(names, shares, xerr=spreads, color=BLUE, ecolor=ORANGE, capsize=3)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="share of what the parameters explain one by one", xlim=(0, None))


def slices(
    path: Path,
    scales: Sequence[Scale],
    positions: Sequence[Array],
    values: Array,
    *,
    maximize: bool,
    label: str,
) -> None:
    """The objective against each parameter on its own; orange is the best trial.

    Args:
        path: the PNG to write.
        scales: one a parameter.
        positions: for each parameter (trials,), NaN where a trial has none.
        values: (trials,).
        maximize: whether more is better.
        label: the objective's name.
    """
    columns = min(3, len(scales))
    rows = -(-len(scales) // columns)
    best = int(values.argmax() if maximize else values.argmin())
    window = _window(values, maximize)
    rng = np.random.default_rng(0)
    with drawn(path, width=3.4 * columns + 0.6, height=2.9 * rows) as figure:
        for place, (scale, where) in enumerate(zip(scales, positions, strict=True), start=1):
            axes = figure.add_subplot(rows, columns, place)
            at = where
            if scale.choices is not None:
                at = where + rng.uniform(-0.18, 0.18, len(where))  # so that none hides another
                axes.set_xticks(range(len(scale.choices)), scale.choices, **_tilt(scale))
                axes.set_xlim(-0.5, len(scale.choices) - 0.5)
                axes.grid(visible=False, axis="x")
            elif scale.log:
                axes.set_xscale("log")
                axes.set_xlim(scale.low / 1.2, scale.high * 1.2)
            _dots(axes, at, values, window, BLUE, "o", "")
            axes.plot(at[best], values[best], "D", color=ORANGE, markersize=_MARKS + 3)
            axes.set(title=scale.name, ylim=window)
            if (place - 1) % columns == 0:
                axes.set_ylabel(label)


def parallel(
    path: Path,
    scales: Sequence[Scale],
    positions: Sequence[Array],
    values: Array,
    *,
    maximize: bool,
    label: str,
) -> None:
    """Every complete trial as a line through its values; the best tenth stands out.

    Arguments as in `slices`; a line ends where a trial lacks a parameter.
    """
    window = _window(values, maximize)
    low, high = max(window[0], float(values.min())), min(window[1], float(values.max()))
    order = np.argsort(values if maximize else -values, kind="stable")  # best on top
    tenth = set(order[-max(1, len(order) // 10) :].tolist())
    heights = np.stack([_height(*pair) for pair in zip(scales, positions, strict=True)])
    heights = np.vstack([heights, ((values - low) / ((high - low) or 1)).clip(0, 1)])
    with drawn(path, width=1.6 * len(heights) + 1.2, height=4.6) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        for trial in order:
            on_top = int(trial) in tenth
            axes.plot(
                heights[:, trial],
                color=ORANGE if on_top else BLUE,
                alpha=0.9 if on_top else 0.25,
                linewidth=2 if on_top else 1,
            )
        for place, scale in enumerate(scales):
            axes.axvline(place, color=GREY, linewidth=0.8)
            for height, text in _ticks(scale):
                _tick(axes, place, height, text)
        axes.axvline(len(scales), color=GREY, linewidth=0.8)
        for height in (0.0, 0.5, 1.0):
            _tick(axes, len(scales), height, f"{low + height * (high - low):.4g}")
        axes.set_xticks(range(len(heights)), [*(scale.name for scale in scales), label])
        axes.tick_params(axis="x", rotation=20, length=0)
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set(ylim=(-0.05, 1.05), title="complete trials; orange: the best tenth")


def learning(
    path: Path,
    complete: Sequence[Mapping[int, float]],
    pruned: Sequence[Mapping[int, float]],
    best: Mapping[int, float],
    *,
    maximize: bool,
    label: str,
) -> None:
    """What every trial reported, epoch by epoch, and where it was stopped."""
    from matplotlib.ticker import MaxNLocator

    ends = [list(curve.values())[-1] for curve in (*complete, *pruned) if curve]
    with drawn(path, width=8, height=4) as figure:
        axes = figure.add_subplot()
        for curves, colour, name in ((pruned, _LIGHT, "pruned"), (complete, BLUE, "complete")):
            for index, curve in enumerate(curves):
                axes.plot(
                    list(curve),
                    list(curve.values()),
                    color=colour,
                    alpha=0.6,
                    linewidth=1,
                    marker="o" if len(curve) == 1 or colour == _LIGHT else "",
                    markevery=[len(curve) - 1],
                    markersize=3,
                    label=name if index == 0 else None,
                )
        axes.plot(list(best), list(best.values()), color=ORANGE, linewidth=2, label="winner")
        axes.set(xlabel="epoch", ylabel=label, ylim=_window(np.array(ends), maximize))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _beside(axes)


def front(path: Path, values: Array, best: Array, labels: Sequence[str]) -> None:
    """Two objectives against each other; orange is the Pareto front.

    Args:
        path: the PNG to write.
        values: (trials, 2) of all complete trials.
        best: (points, 2) of the front.
        labels: the objectives' names.
    """
    line = best[np.argsort(best[:, 0], kind="stable")]
    with drawn(path, width=7, height=4.4) as figure:
        axes = figure.add_subplot()
        axes.plot(values[:, 0], values[:, 1], "o", color=_LIGHT, markersize=_MARKS, label="trials")
        axes.plot(line[:, 0], line[:, 1], "-o", color=ORANGE, markersize=_MARKS + 1, label="front")
        for column, name in enumerate(labels):
            if (
                values[:, column].min() > 0
                and values[:, column].max() > 30 * values[:, column].min()
            ):
                (axes.set_xscale if column == 0 else axes.set_yscale)("log")
            (axes.set_xlabel if column == 0 else axes.set_ylabel)(name)
        _beside(axes)


def race(
    path: Path, courses: Mapping[str, tuple[Array, Array]], *, maximize: bool, label: str
) -> None:
    """Several studies: the best value so far by epochs trained.

    Args:
        path: the PNG to write.
        courses: by name epochs (points,) and best values (points,).
        maximize: whether more is better.
        label: what the values are.
    """
    looks = [(BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (GREY, ":")]
    values = np.concatenate([best for _, best in courses.values()])
    ends = np.array([best[-1] for _, best in courses.values()])
    with drawn(path, width=8, height=4) as figure:
        axes = figure.add_subplot()
        for index, (name, (epochs, best)) in enumerate(courses.items()):
            colour, line = looks[index % len(looks)]
            axes.step(epochs, best, line, where="post", color=colour, linewidth=2, label=name)
            axes.plot(epochs[-1], best[-1], "o", color=colour, markersize=_MARKS + 1)
        axes.set(xlabel="epochs trained", ylabel=label, ylim=_window(values, maximize, ends))
        _beside(axes)


def scores(path: Path, names: Sequence[str], values: Sequence[Array], label: str) -> None:
    """One row a configuration: a dot a seed, a bar at the mean.

    Args:
        path: the PNG to write.
        names: of the configurations, from top to bottom.
        values: for each (seeds,).
        label: what they are.
    """
    with drawn(path, width=8, height=0.42 * len(names) + 1.3) as figure:
        axes = figure.add_subplot()
        for row, single in enumerate(values):
            axes.plot(single, np.full(len(single), row), "o", color=BLUE, alpha=0.6)
            if len(single) > 1:
                axes.plot(single.mean(), row, "|", color=ORANGE, markersize=18, markeredgewidth=3)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set(xlabel=label)


def _window(values: Array, maximize: bool, seen: Array | None = None) -> tuple[float, float]:
    """An axis that shows the better half well: a few hopeless trials must not flatten the rest.

    `seen` are values that must be in the picture all the same.
    """
    sign = 1 if maximize else -1
    signed = sign * values
    top, middle, bottom = float(signed.max()), float(np.median(signed)), float(signed.min())
    if seen is not None:
        middle = min(middle, float((sign * seen).min()))
    floor = max(bottom, top - 4 * (top - middle)) if top > middle else bottom
    margin = 0.06 * (top - floor) or 0.01 * max(abs(top), 1e-9)
    low, high = floor - margin, top + margin
    return (low, high) if maximize else (-high, -low)


def _dots(
    axes: "Axes",
    x: Array,
    y: Array,
    window: tuple[float, float],
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Points; those outside the window become small triangles at its edge."""
    low, high = window
    inside = (y >= low) & (y <= high)
    if inside.any():
        axes.plot(
            x[inside], y[inside], marker, color=colour, markersize=_MARKS, label=label or None
        )
    edge = 0.02 * (high - low)
    for out, height, shape in ((y < low, low + edge, "v"), (y > high, high - edge, "^")):
        if out.any():
            told = f"{out.sum()} {label}, off the picture" if label else None
            axes.plot(x[out], np.full(out.sum(), height), shape, color=colour, label=told)


def _height(scale: Scale, where: Array) -> Array:
    """Positions on a common axis from 0 to 1."""
    if scale.choices is not None:
        return (where + 0.5) / len(scale.choices)
    at, ends = where, np.array([scale.low, scale.high])
    if scale.log:
        at, ends = np.log(at), np.log(ends)
    heights: Array = (at - ends[0]) / (np.ptp(ends) or 1.0)
    return heights


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    if scale.choices is not None:
        return [((i + 0.5) / len(scale.choices), text) for i, text in enumerate(scale.choices)]
    low, high = scale.low, scale.high
    middle = (low * high) ** 0.5 if scale.log else (low + high) / 2
    return [(0.0, f"{low:.2g}"), (0.5, f"{middle:.2g}"), (1.0, f"{high:.2g}")]


def _tick(axes: "Axes", place: int, height: float, text: str) -> None:
    box: Any = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    axes.text(place + 0.03, height, text, size=9, va="center", bbox=box)


def _tilt(scale: Scale) -> dict[str, Any]:
    """Long labels would run into each other."""
    long = sum(len(text) for text in scale.choices or ()) > 20
    return {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}


def _beside(axes: "Axes") -> None:
    """The legend, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
