"""The style of all figures: font sizes, colours, and how a file is written."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design": distinguishable with any colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
DPI = 110
_EDGE = 0.08  # inches between the names of axes and the edge of a figure
MAKER = "Perceptune"  # in the head of each figure, by which it is known as ours
_STYLE: Any = {  # matplotlib's type for it lists every setting there is
    "font.family": "DejaVu Sans",  # matplotlib looks for no other
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titley": 1.0,  # nothing is measured to find a place for it
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar in a name is a dollar
}


@contextmanager
def drawn(
    path: Path, width: float, height: float, margins: tuple[float, float, float, float]
) -> Iterator["Figure"]:
    """A figure in the common style, `width` × `height` inches, written to `path` at the end.

    `margins` are the inches left of, below, right of and above its panels. They are given, not
    found: to measure all that is drawn takes as long as to draw it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # From the defaults, so that figures look the same whatever another library has set. Without
    # `matplotlib.style`, whose import reads the files of thirty styles.
    defaults = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    with mpl.rc_context(defaults | _STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI)
        left, below, right, above = margins
        figure.subplots_adjust(left / width, below / height, 1 - right / width, 1 - above / height)
        yield figure
        for axes in figure.axes:
            _place_labels(axes, figure)
        figure.savefig(path, metadata={"Software": MAKER}, pil_kwargs={"compress_level": 2})


def log_scale(axes: "Axes", most: int = 7) -> None:
    """Make the vertical axis logarithmic, with `most` ticks or fewer, once all is in it.

    Matplotlib's own ticks are formulas: to set their type takes longer than to draw a panel.
    """
    axes.set_yscale("log")
    ticks = _log_ticks(*axes.get_ylim(), most)
    axes.set_yticks(ticks, [f"{tick:.6g}" for tick in ticks])
    axes.minorticks_off()


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers in [low, high], both above 0: `most` or fewer, evenly on a log scale."""
    from matplotlib.ticker import MaxNLocator

    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**n for n in range(first, last)]
    within = [n * ten for ten in decades for n in (1, 2, 5) if low <= n * ten <= high]
    ticks = within if len(within) <= most else [ten for ten in decades if ten >= low]
    if len(ticks) < 3:  # so short a range looks the same on a linear scale
        linear = MaxNLocator(most - 1).tick_values(low, high)
        ticks = [tick for tick in linear if low <= tick <= high]
    return ticks[:: max(1, math.ceil(len(ticks) / most))]


def _place_labels(axes: "Axes", figure: "Figure") -> None:
    """Put the names of both axes at the edges of the figure, where margins leave them room."""
    from matplotlib.transforms import blended_transform_factory as blended

    width, height = figure.get_size_inches()
    whole, panel = figure.transFigure, axes.transAxes
    axes.xaxis.label.set_verticalalignment("bottom")
    axes.xaxis.set_label_coords(0.5, _EDGE / height, blended(panel, whole))
    axes.yaxis.label.set_verticalalignment("top")
    axes.yaxis.set_label_coords(_EDGE / width, 0.5, blended(whole, panel))
