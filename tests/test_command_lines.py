"""Many wrong command lines: each ends in one line, in time, and leaves nothing."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import command_lines
from command_lines import IMAGES, NETWORK, Line
from optuna_joblib_sweeper import mlflow_runs
from perceptune import cli
from support import working_in

SEED, CHUNK = 11, 50
MOST_SECONDS = 60  # of a line; each takes less than one where nothing else runs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that a line may name, by name: a network and images for it."""
    folder = tmp_path_factory.mktemp("files")
    words = ["train", "tracking.enabled=false", "train.epochs=1", "hydra.run.dir=run"]
    assert _run(words, folder) == 0
    np.save(folder / IMAGES, np.zeros((3, 8, 8), np.uint8))
    network = folder / "run" / "weights" / "best.npz"
    return {NETWORK: network.read_bytes(), IMAGES: (folder / IMAGES).read_bytes()}


@pytest.mark.parametrize(
    "chunk", [0, *(pytest.param(chunk, marks=pytest.mark.slow) for chunk in range(1, 2))]
)
def test_a_wrong_line_ends_in_one_line_and_leaves_nothing(
    chunk: int, files: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, line in enumerate(command_lines.lines(SEED + chunk, CHUNK)):
        check(line, tmp_path / str(number), files, capfd)


def check(
    line: Line, folder: Path, files: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """Run a line as the command would, in a folder of its own."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    code = _run(line.words, folder)
    printed = capfd.readouterr()
    assert code in (0, 1, 2), line
    assert "Traceback" not in printed.out + printed.err, line
    if code == 0:
        assert not line.wrong, line
        return
    said = printed.err.splitlines()
    assert said[-1].startswith("perceptune: "), line
    if len(said) > 1:  # jobs of a multirun have a line each, and are recorded
        assert "-m" in line.words, (line, printed.err)
        return
    left = {path.name for path in folder.rglob("*") if path.is_file()} - files.keys()
    assert left <= {"multirun.yaml"}, (line, left)


@pytest.fixture(scope="module", autouse=True)
def _mlflow() -> None:
    """Import it once, so that no line starts a process that would."""
    mlflow_runs.import_client()


def _run(words: list[str], folder: Path) -> int:
    before = sys.argv
    sys.argv = ["perceptune", *words]
    try:
        with working_in(folder), _limited():
            cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


@contextmanager
def _limited() -> Iterator[None]:
    """Ends a line that hangs, even where it waits in a loop that survives errors."""

    def end(number: int, frame: object) -> NoReturn:
        os.write(2, b"a line took too long\n")
        os._exit(3)

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
