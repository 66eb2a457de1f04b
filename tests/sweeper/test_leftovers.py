"""What dead processes left is cleared; what lives, or is anybody else's, stays."""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from optuna_joblib_sweeper import leftovers

HOST = platform.node()


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_files_and_folders_of_the_dead_are_cleared(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".checkpoint.npz.{dead}@{HOST}").touch()
    folder = tmp_path / f".page.{dead}@{HOST}-abc123_x"
    folder.mkdir()
    (folder / "half").touch()
    leftovers.clear(tmp_path)
    assert not list(tmp_path.iterdir())
    assert folder.name in leftovers.cleared


def test_what_lives_or_is_of_another_form_or_host_stays(tmp_path: Path, dead: int) -> None:
    names = [
        f".mine.{os.getpid()}@{HOST}",
        f".parent.{os.getppid()}@{HOST}",
        f".far.{dead}@{HOST}x",
        f".far.{dead}@another",
        f".number.{dead}",
        f".user.0{'9' * 20}@{HOST}",
        f".user.x@{HOST}",
        f".user.-{dead}@{HOST}",
        f"visible.{dead}@{HOST}",
        ".hidden",
        f"{dead}@{HOST}",
    ]
    for name in names:
        (tmp_path / name).touch()
    leftovers.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_number_given_again_is_not_its_former_process(tmp_path: Path) -> None:
    left = tmp_path / f".old.{os.getpid()}@{HOST}"
    left.touch()
    os.utime(left, (1, 1))  # before this process started
    leftovers.clear(tmp_path)
    assert not left.exists()


def test_temporaries_are_in_one_folder_that_the_next_start_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import tempfile, time; from optuna_joblib_sweeper.leftovers import own_temporaries\n"
        "with own_temporaries('app'), tempfile.TemporaryDirectory():\n"
        "    print('made', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"made\n"
    process.kill()
    process.communicate()
    [left] = tmp_path.iterdir()
    assert len(list(left.iterdir())) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with leftovers.own_temporaries("app"):
        assert not left.exists()
        [own] = tmp_path.iterdir()
        assert Path(tempfile.mkdtemp()).parent == own
        with leftovers.own_temporaries("app"):
            assert list(tmp_path.iterdir()) == [own]
    assert not list(tmp_path.iterdir())


def test_shared_memory_of_the_dead_is_cleared_with_their_folder(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_SHARED", tmp_path / "shm")
    kept = [f"sem.loky-{dead}0-x", f"sem.loky-{os.getpid()}-x", "joblib_memmapping_folder_1_x"]
    for name in (f"joblib_memmapping_folder_{dead}_x", f"sem.loky-{dead}-x", *kept):
        (tmp_path / "shm" / name).mkdir(parents=True)
    (tmp_path / f".scratch.{dead}@{HOST}-x").mkdir()
    leftovers.clear(tmp_path)
    assert sorted(path.name for path in (tmp_path / "shm").iterdir()) == sorted(kept)
