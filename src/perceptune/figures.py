"""Pictures of a run, from plain arrays: one style, colours that everybody can tell apart.

Knows neither runs nor networks. Uses matplotlib's figures directly: no global state, no window.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design": told apart with any colour vision.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
_STYLE: Any = {  # matplotlib's type for it lists every setting there is
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def curves(path: Path, history: Sequence[Mapping[str, float]], best: int) -> None:
    """Loss and accuracy by epoch, side by side, with the epoch whose weights were kept.

    Args:
        path: the PNG to write.
        history: for each epoch measured its number, `epoch`, and values by metric name.
        best: the epoch to mark.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [record["epoch"] for record in history]
    dots = "." if len(epochs) < 40 else ""
    with _figure(path, width=9, height=3.6) as figure:
        for place, kind in enumerate(("loss", "accuracy"), start=1):
            axes = figure.add_subplot(1, 2, place)
            for part, label, colour in (("train", "training", ORANGE), ("val", "validation", BLUE)):
                if f"{part}/{kind}" in history[0]:
                    values = [record[f"{part}/{kind}"] for record in history]
                    axes.plot(epochs, values, marker=dots, color=colour, label=label)
            axes.axvline(best, color=GREY, linestyle=":", label=f"best, epoch {best}")
            axes.set(xlabel="epoch", title="cross-entropy" if kind == "loss" else "accuracy")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if kind == "loss":
                axes.set_yscale("log")
            axes.legend()


def confusion(path: Path, counts: Array, classes: Sequence[str]) -> None:
    """The confusion matrix; colour shows a row's share, so that rare classes are seen as well.

    Args:
        path: the PNG to write.
        counts: (classes, classes), row the true class, column the predicted one.
        classes: their names.
    """
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    right, total = counts.trace(), counts.sum()
    with _figure(path, width=7, height=6.4) as figure:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        # The root makes the few mistakes visible beside the many hits.
        axes.imshow(shares**0.5, cmap="Blues", vmin=0, vmax=1)
        ticks = range(len(classes))
        axes.set_xticks(ticks, classes, rotation=45 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(ticks, classes)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(f"{right:,} of {total:,} right ({right / total:.2%})")
        for row in ticks:
            for column in ticks:
                if counts[row, column]:
                    number = f"{counts[row, column]:,}"
                    colour = "white" if shares[row, column] > 0.3 else "black"
                    axes.text(column, row, number, color=colour, size=9, ha="center", va="center")


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """A figure in the common style, `width` × `height` inches, written to `path` at the end."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
        yield figure
        figure.savefig(path)
