"""The figure of one training in several libraries."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from perceptune.figures.style import drawn, log_scale

# Okabe & Ito 2008, and dashes as well, since curves of equal trainings overlap.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#666666")
_DASHES = ("-", "--", "-.", ":")


def comparison(
    path: Path,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    startup_seconds: Mapping[str, float],
) -> None:
    """Draw loss by epoch, and validation accuracy by seconds; without validation the loss again.

    Args:
        path: the PNG to write.
        histories: by backend the measurements of each epoch, by metric name.
        startup_seconds: by backend the time from the start of its process to the first epoch.
    """
    from matplotlib.ticker import MaxNLocator

    validated = all("val/accuracy" in record for each in histories.values() for record in each)
    learnt = "val/accuracy" if validated else "train/loss"
    with drawn(path, width=10, height=3.8, margins=(0.75, 0.55, 0.2, 0.35)) as figure:
        by_epoch, by_time = figure.subplots(1, 2)
        for index, (name, history) in enumerate(histories.items()):
            look = {
                "color": _COLOURS[index % len(_COLOURS)],
                "linestyle": _DASHES[index % len(_DASHES)],
                "linewidth": 3.2 - 0.35 * index,  # so that curves below stay visible
                "marker": "." if len(history) < 40 else "",
                "label": name,
            }
            ends = clock(history, startup_seconds[name])
            losses = [record["train/loss"] for record in history]
            by_epoch.plot([record["epoch"] for record in history], losses, **look)
            by_time.plot(ends, [record[learnt] for record in history], **look)
        by_epoch.set(xlabel="epoch", title="training loss")
        log_scale(by_epoch)
        by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = "validation accuracy" if validated else "training loss"
        by_time.set(xlabel="seconds, imports and compiling included", title=title)
        by_epoch.legend()


def clock(history: Sequence[Mapping[str, float]], startup_seconds: float) -> list[float]:
    """Seconds from the start of the process to the end of each epoch."""
    lengths = (record["epoch_seconds"] for record in history)
    return list(accumulate(lengths, initial=startup_seconds))[1:]
