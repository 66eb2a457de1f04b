"""The terminal: command lines, progress of a training, summaries, tables."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from optuna_joblib_sweeper.secrets import masked
from perceptune.errors import UserError, one_line, shorten
from perceptune.overrides.spelling import nearest

if TYPE_CHECKING:
    from rich.console import Console

    from perceptune.nn.fit import Epoch
    from perceptune.runs.run import Result

_WIDE = 200  # columns where there is no terminal to fit


class Parser(ArgumentParser):
    """A parser for commands that take no overrides; mistakes end in one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line; called by argparse.

        Raises:
            UserError: always.
        """
        unknown = re.search(r"unrecognized arguments: (-\S*)", message)
        raise UserError(self._unknown(unknown[1]) if unknown else f"{message}; {self._usage()}")

    def _unknown(self, option: str) -> str:
        """What is said of an option that does not exist."""
        name, _, value = option.lstrip("-").partition("=")
        if meant := nearest(name, re.findall(r"--([\w-]+)", self.format_help())):
            return f"no option {shorten(option)}; did you mean --{meant[0]}?"
        if "OVERRIDE" in self.format_usage():
            return f"an override has no dashes: {shorten(name)}={shorten(value) or 'VALUE'}"
        return f"no option {shorten(option)}; {self._usage()}"

    def _usage(self) -> str:
        return one_line(self.format_usage())


@contextmanager
def progress(epochs: int, done: int, *, quiet: bool) -> Iterator[Callable[["Epoch"], None]]:
    """A progress bar over `epochs`, not drawn if `quiet`; call what it yields after each epoch."""
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
        yield lambda record: bar.update(
            task, completed=record.number, description=_epoch_line(record)
        )


def console() -> "Console":
    """Standard output, wide where it is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def summary(result: "Result") -> str:
    """The summary that is printed after a training."""
    metrics, run = result.metrics, result.run
    best = f"{result.best_epoch} of {result.epochs}"
    if result.outcome == "stopped_early":
        best += " (stopped early)"
    rows = [("best epoch", best)]
    for label, part in (("validation", "val"), ("test", "test")):
        if f"{part}/accuracy" in metrics:
            accuracy, loss = metrics[f"{part}/accuracy"], metrics[f"{part}/loss"]
            rows.append((label, f"accuracy {accuracy:.4f}, loss {loss:.4f}"))
    rows.append(("fitted in", f"{metrics['fit_seconds']:.1f} s"))
    if run.id is None:
        rows.append(("files", run.store))
    else:
        rows += [("run", f"{run.id}  {result.name}"), ("store", masked(run.store))]
        rows += [("model", run.registered)] if run.registered else []
        rows.append(("look at it", "perceptune ui"))
    return "\n".join(f"{label:>12}  {value}" for label, value in rows)


def job_line(name: str, metrics: Mapping[str, float], run_id: str | None) -> str:
    """The line that is printed after one job of several."""
    parts = [
        f"{part} {metrics[f'{part}/accuracy']:.4f}"
        for part in ("val", "test")
        if f"{part}/accuracy" in metrics
    ]
    return f"{name}: {', '.join(parts)}  {run_id or ''}".rstrip()


def how_to_resume(what: str) -> str:
    """The line that is printed after an interruption; `what` is a run id or a checkpoint's path."""
    return f"interrupted; resume with: perceptune train resume={what}"


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()
) -> None:
    """Print a table; the columns `left` are left-aligned, all others right-aligned."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "left" if column in left else "right"
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    console().print(table, markup=False)


def _epoch_line(record: "Epoch") -> str:
    rate = record.samples / max(record.seconds, 1e-9)
    text = f"loss {record.train_loss:.4f}"
    if record.val_accuracy is not None:
        text += f"  val accuracy {record.val_accuracy:.4f}"
    return f"{text}  {rate:,.0f} samples/s"
