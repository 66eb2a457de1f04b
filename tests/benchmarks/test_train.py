"""What `perceptune train` costs beside its training, against MLflow alone.

MLflow alone is a Python that imports it, opens the store and asks for its experiments: no record
can take less. Each row is a median of runs in turns.
"""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest
from benchmarking import Show

from support import COMMAND, store_of

ROUNDS = 5
ALONE = "from mlflow import MlflowClient; MlflowClient({uri!r}).search_experiments()"


def lines(command: Sequence[str], folder: Path) -> list[tuple[float, str]]:
    """What a command writes to a terminal, with the seconds since its start; "" at its end."""
    began = time.perf_counter()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    pieces = []
    while True:
        try:
            text = os.read(ours, 100_000).decode(errors="replace")
        except OSError:  # Linux's end of a terminal
            break
        if not text:
            break
        pieces.append((time.perf_counter() - began, text))
    assert process.wait() == 0, "".join(text for _, text in pieces)
    os.close(ours)
    return [*pieces, (time.perf_counter() - began, "")]


def first(pieces: Sequence[tuple[float, str]], *words: str) -> float:
    """The seconds to the first piece with one of the words."""
    return next(seconds for seconds, text in pieces if any(word in text for word in words))


def wall(command: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder whose store has a run."""
    wall([*COMMAND, "train"], tmp_path)
    return tmp_path


def test_a_training_beside_mlflow_alone(trained: Path, show: Show) -> None:
    alone = [sys.executable, "-c", ALONE.format(uri=store_of(trained))]
    seen, base = [], []
    for _ in range(ROUNDS):
        base.append(wall(alone, trained))
        seen.append(lines([*COMMAND, "train"], trained))
    whole = [pieces[-1][0] for pieces in seen]
    ratios = [one / other for one, other in zip(whole, base, strict=True)]
    show("MLflow alone", median(base), "s", "none")
    show("train, all figures, beside MLflow alone", median(ratios), "×", "1.3")
    show("until the first line", median(pieces[0][0] for pieces in seen), "s", "0.6")
    moving = [first(pieces, "samples/s") for pieces in seen]
    show("until the bar moves", median(moving), "s", "1.5")
    ended = [first(pieces, "30/30") for pieces in seen]
    scores = [first(pieces, "best epoch") for pieces in seen]
    gaps = [one - other for one, other in zip(scores, ended, strict=True)]
    show("from the last epoch to the scores", median(gaps), "s", "0")
    gaps = [one - other for one, other in zip(whole, ended, strict=True)]
    show("from the last epoch to the prompt", median(gaps), "s", "2.5")


def test_a_training_without_a_store(tmp_path: Path, show: Show) -> None:
    command = [*COMMAND, "train", "tracking.enabled=false"]
    show("train without a store", median(wall(command, tmp_path) for _ in range(5)), "s", "0.9")


def test_a_first_training(tmp_path: Path, show: Show) -> None:
    times = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        times.append(wall([*COMMAND, "train"], folder))
    show("train that makes its store", median(times), "s", "9")


def test_a_small_study(trained: Path, show: Show) -> None:
    words = ["train", "-m", "sweeps=digits", "hydra.sweeper.n_trials=4", "train.epochs=1"]
    tracked = [wall([*COMMAND, *words], trained) for _ in range(3)]
    show("a study of four trials of one epoch, tracked", median(tracked), "s", "8")
    untracked = [wall([*COMMAND, *words, "tracking.enabled=false"], trained) for _ in range(3)]
    show("the same without a store", median(untracked), "s", "none")
