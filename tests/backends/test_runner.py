"""The runner: its errors for processes that fail, and the cores of a process."""

import os
from pathlib import Path

import pytest

from perceptune.backends import runner
from perceptune.backends.runner import BackendFailedError, on_cores, thread_variables
from support import configure


def test_a_process_that_fails_gives_the_last_line_of_its_error(tmp_path: Path) -> None:
    config = configure(tmp_path, "data=csv", "data.path=nothing.csv")
    with pytest.raises(BackendFailedError, match=r"^no file .*nothing\.csv; set data\.path"):
        runner.train("numpy", config, tmp_path)


def test_a_process_that_is_killed_gives_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BackendFailedError, match="ended by signal 9"):
        runner.train("numpy", configure(tmp_path), tmp_path)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no process")
def test_a_process_has_as_many_cores_as_threads() -> None:
    before = os.sched_getaffinity(0)
    with on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    assert thread_variables(3)["OMP_NUM_THREADS"] == "3"
