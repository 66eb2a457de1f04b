"""The style of all figures: font sizes, colours, and how a file is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design": distinguishable with any colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
MAKER = "Perceptune"  # in the head of each figure, by which it is known as ours
_STYLE: Any = {  # matplotlib's type for it lists every setting there is
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """A figure in the common style, `width` × `height` inches, written to `path` at the end."""
    from matplotlib import style
    from matplotlib.figure import Figure

    # From the defaults, so that figures look the same whatever another library has set.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
        yield figure
        figure.savefig(path, metadata={"Software": MAKER})
