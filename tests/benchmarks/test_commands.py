"""What commands take beside MLflow alone: `uv run pytest tests/benchmarks/test_commands.py`.

The baseline is a process that opens the same store with MLflow's client and lists its experiments.
Each command and its baseline run in turns; a ratio is the median of those of the turns.
"""

import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
from benchmarking import Show

from perceptune.app import compose
from perceptune.data import sources
from support import COMMAND, runs_in, store_of

TURNS = 5
RUNS = 5000
# Of a baseline of 5 s, on the machine where the goals were set.
ROWS = {
    "predict of one picture": ("predict {run} {folder}/three.png", "0.3"),
    "evaluate": ("evaluate {run}", "0.6"),
    "info": ("info", "0.3"),
    "a mistyped run id": ("predict 0123 {folder}/three.png", "0.3"),
}
BASELINE = "from mlflow import MlflowClient; MlflowClient({!r}).search_experiments()"
TRAIN = "train train.epochs=5 tracking.figures=none"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of one run, and a picture of a digit."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("one")
    _run(folder, *COMMAND, *TRAIN.split())
    dataset = sources.load(compose(["data=digits"]).data)
    digit = dataset.images[list(dataset.labels).index(3)].reshape(8, 8)
    page = np.full((400, 400), 255, np.uint8)
    page[80:320, 80:320] -= np.kron(15 * digit.astype(np.uint8), np.ones((30, 30), np.uint8))
    Image.fromarray(page).save(folder / "three.png")
    return folder


@pytest.fixture(scope="module")
def crowded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that folder whose store has 5,000 runs, which differ by seed alone."""
    copied = Path(shutil.copytree(folder, tmp_path_factory.mktemp("many") / "copy"))
    [run] = runs_in(folder)
    with closing(sqlite3.connect(copied / "mlruns" / "mlflow.db")) as database, database:
        database.execute("CREATE TEMP TABLE fresh (id TEXT, number INTEGER)")
        rows = [(f"{number:032x}", number) for number in range(1, RUNS)]
        database.executemany("INSERT INTO fresh VALUES (?, ?)", rows)
        for table in ("runs", "params", "tags", "latest_metrics", "metrics"):
            _copy_rows(database, table, run.info.run_id)
    return copied


def _copy_rows(database: sqlite3.Connection, table: str, run_id: str) -> None:
    names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = {name: f"old.{name}" for name in names} | {"run_uuid": "fresh.id"}
    if table == "params":
        values["value"] = "CASE old.key WHEN 'seed' THEN fresh.number ELSE old.value END"
    database.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values.values())} "
        f"FROM {table} AS old, fresh WHERE old.run_uuid = ?",
        [run_id],
    )


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, check=False)


def _ratio(
    ours: Callable[[], None], theirs: Callable[[], None], between: Callable[[], None] = lambda: None
) -> float:
    """The median over the turns of our seconds divided by theirs; the first turn warms up.

    `between` them something may be done whose time does not count.
    """
    ratios = []
    for _ in range(TURNS + 1):
        ratio = _seconds(ours)
        between()
        ratios.append(ratio / _seconds(theirs))
    return statistics.median(ratios[1:])


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _baseline(folder: Path) -> None:
    _run(folder, sys.executable, "-c", BASELINE.format(store_of(folder)))


@pytest.mark.parametrize("what", ROWS)
def test_a_command(folder: Path, show: Show, what: str) -> None:
    words, goal = ROWS[what]
    run, *_ = runs_in(folder)
    command = [*COMMAND, *words.format(run=run.info.run_id, folder=folder).split()]
    ratio = _ratio(lambda: _run(folder, *command), lambda: _baseline(folder))
    show(what, ratio, "× MLflow", goal)


def test_the_ui_until_it_prints_the_address(folder: Path, show: Show) -> None:
    started: list[subprocess.Popen[str]] = []
    processes, megabytes = [], []

    def until_address() -> None:
        command = [*COMMAND, "ui", "--no-browser", "--port", "5996"]
        started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert "open it" in started[-1].stdout.readline()

    def stop() -> None:
        ours = psutil.Process(started[-1].pid)
        every = [ours, *ours.children(recursive=True)]
        processes.append(len(every))
        megabytes.append(sum(one.memory_full_info().pss for one in every) / 1e6)
        started[-1].terminate()
        started[-1].communicate()

    ratio = _ratio(until_address, lambda: _baseline(folder), between=stop)
    show("ui until the address", ratio, "× MLflow", "1.2")
    show("its processes", max(processes), "", "2")
    show("their memory, PSS", max(megabytes), "MB", "500")


@pytest.mark.parametrize("words", ["info", "report", TRAIN])
def test_a_store_of_5000_runs_beside_one_of_one(
    folder: Path, crowded: Path, show: Show, words: str
) -> None:
    command = [*COMMAND, *words.split()]
    ratio = _ratio(lambda: _run(crowded, *command), lambda: _run(folder, *command))
    show(f"{words.split()[0]} over 5,000 runs", ratio, "× over one", "1.2")
