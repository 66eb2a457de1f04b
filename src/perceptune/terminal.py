"""What the terminal shows of a training: a bar while it goes on, a summary when it has ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perceptune.nn.fit import Epoch

if TYPE_CHECKING:
    from perceptune.experiment import Result


@contextmanager
def progress(epochs: int, done: int, *, quiet: bool) -> Iterator[Callable[[Epoch], None]]:
    """A bar over `epochs`; call what this yields after each. `quiet` for one job among many."""
    if quiet:
        yield lambda record: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=epochs, completed=done)

        def show(record: Epoch) -> None:
            bar.update(task, completed=record.number, description=_line(record))

        yield show


def summary(result: "Result") -> str:
    """What a user wants to know when the training has ended."""
    metrics = result.metrics
    best = f"{result.best_epoch} of {result.epochs}"
    if result.outcome == "stopped_early":
        best += " (stopped early)"
    rows = [("best epoch", best)]
    if "val/accuracy" in metrics:
        rows.append(("validation", _scores(metrics, "val")))
    if "test/accuracy" in metrics:
        rows.append(("test", _scores(metrics, "test")))
    rows.append(("fitted in", f"{metrics['fit_seconds']:.1f} s"))
    if result.run.id is None:
        rows.append(("files", str(getattr(result.run, "folder", ""))))
    else:
        rows += [
            ("run", f"{result.run.id}  {result.name}"),
            ("store", result.run.store),
        ]
        if result.run.registered:
            rows.append(("model", result.run.registered))
        rows.append(("look at it", "perceptune ui"))
    return "\n".join(f"{label:>12}  {value}" for label, value in rows)


def one_line(result: "Result", overrides: list[str]) -> str:
    """The same for one job among many."""
    metrics = result.metrics
    parts = [
        f"{part} {metrics[f'{part}/accuracy']:.4f}"
        for part in ("val", "test")
        if f"{part}/accuracy" in metrics
    ]
    return f"{' '.join(overrides) or 'defaults'}: {', '.join(parts)}  {result.run.id or ''}"


def how_to_resume(what: str) -> str:
    """What to say after an interruption; `what` is a run id or a checkpoint's path."""
    return f"interrupted; this goes on: perceptune train resume={what}"


def _line(record: Epoch) -> str:
    rate = record.samples / max(record.seconds, 1e-9)
    text = f"loss {record.train_loss:.4f}"
    if record.val_accuracy is not None:
        text += f"  val accuracy {record.val_accuracy:.4f}"
    return f"{text}  {rate:,.0f} samples/s"


def _scores(metrics: dict[str, float], part: str) -> str:
    return f"accuracy {metrics[f'{part}/accuracy']:.4f}, loss {metrics[f'{part}/loss']:.4f}"
