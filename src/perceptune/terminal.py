"""The terminal: command lines, standard streams, progress of a training, summaries, tables."""

import errno
import io
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from perceptune.errors import UserError, shorten
from perceptune.overrides.spelling import nearest

if TYPE_CHECKING:
    from rich.console import Console

    from perceptune.nn.fit import Epoch
    from perceptune.runs.run import Result

_MOST = 200  # characters of a message, which repeats what was typed
_WIDE = 200  # columns where there is no terminal to fit


class Parser(ArgumentParser):
    """A parser for commands that take no overrides; mistakes end in one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line; called by argparse.

        Raises:
            UserError: always.
        """
        unknown = re.search(r"unrecognized arguments: (-\S*)", message)
        raise UserError(
            self._unknown(unknown[1]) if unknown else f"{message[:200]}; {self._usage()}"
        )

    def _unknown(self, option: str) -> str:
        """What is said of an option that does not exist."""
        name, _, value = option.lstrip("-").partition("=")
        if meant := nearest(name, re.findall(r"--([\w-]+)", self.format_help())):
            return f"no option {shorten(option)}; did you mean --{meant[0]}?"
        if "OVERRIDE" in self.format_usage():
            override = f"{shorten(name)}={shorten(value)}" if value else "KEY=VALUE"
            return f"no option --{shorten(name)}; an override has no dashes: {override}"
        return f"no option {shorten(option)}; {self._usage()}"

    def _usage(self) -> str:
        return " ".join(self.format_usage().split())


class Output(io.TextIOWrapper):
    """A standard stream that never ends the work.

    A character that its encoding lacks is replaced; what cannot be written at all is dropped.

    Attributes:
        failure: the reason why text was dropped, unless its reader went away, as `head` does.
    """

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop, the text; returns its length."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write, or drop, what is buffered."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.failure = error
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), self.fileno())
        super().flush()


def keep_output() -> None:
    """Make the standard streams of this process `Output`s; where they are replaced, do nothing.

    A stream that is closed is opened first: a file would take its number, and be printed into.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        if stream is None:
            stream = os.fdopen(number, "w", encoding="utf-8", closefd=False)
            setattr(sys, f"__{name}__", stream)  # kept, since it closes its buffer at its end
        at_once = stream.line_buffering
        output = Output(stream.buffer, stream.encoding, errors="replace", line_buffering=at_once)
        setattr(sys, name, output)


def refuse_lost_output() -> None:
    """Refuse to end as if all had been printed.

    Raises:
        UserError: text was dropped, because of a full disk for example.
    """
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        raise UserError(f"cannot write to standard output: {failure.strerror}")


def how_to_install(*packages: str) -> str:
    """The command that installs packages for this Python, by the tool that made its environment.

    Plain uv would fetch a PyTorch with CUDA, of gigabytes.
    """
    if find_spec("pip") and "UV" not in os.environ:
        return f"{sys.executable} -m pip install {' '.join(packages)}"
    small = ["--torch-backend=cpu"] if "torch" in packages else []
    return " ".join(["uv pip install --python", sys.executable, *small, *packages])


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


def say(what: str) -> None:
    """Print, beside the results, what is being done from now on."""
    print(f"{what} …", file=sys.stderr, flush=True)


def scores(result: "Result") -> str:
    """What is printed once a network is trained: its scores."""
    metrics = result.metrics
    best = f"{result.best_epoch} of {result.epochs}"
    if result.outcome == "stopped_early":
        best += " (stopped early)"
    rows = [("best epoch", best)]
    for label, part in (("validation", "val"), ("test", "test")):
        if f"{part}/accuracy" in metrics:
            accuracy, loss = metrics[f"{part}/accuracy"], metrics[f"{part}/loss"]
            rows.append((label, f"accuracy {accuracy:.4f}, loss {loss:.4f}"))
    rows.append(("fitted in", f"{metrics['fit_seconds']:.1f} s"))
    return _in_rows(rows)


def places(result: "Result") -> str:
    """What is printed once a training is recorded: where."""
    from optuna_joblib_sweeper.secrets import masked

    run = result.run
    if run.id is None:
        return _in_rows([("files", run.store)])
    rows = [("run", f"{run.id}  {result.name}"), ("store", masked(run.store))]
    rows += [("model", run.registered)] if run.registered else []
    return _in_rows([*rows, ("look at it", "perceptune ui")])


def _in_rows(rows: Sequence[tuple[str, str]]) -> str:
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
