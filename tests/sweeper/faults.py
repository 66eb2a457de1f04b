"""Death at a chosen line of the sweeper: real SIGKILLs, sent by the process that gets there.

A test puts this file into an app's folder as `sitecustomize.py`, so that the driver and each worker
run it as they start.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

IN_WORKERS = {
    "before the first trial": ("_worker:Session.__init__", False),
    "in sampling": ("_space:Parameter.suggest", True),
    "before training": ("_compose:Composer.compose_job", False),
    "in training": ("_trial:RunningTrial.report", True),
    "before telling": ("_worker:Session._tell", False),
    "between telling and closing": ("_worker:Session._tell", True),
    "in a line of the journal": ("_journal:JournalFileBackend.append_logs", False),
    "in confirmation": ("_trial:RunningTrial.report", True),
}
IN_DRIVER = {
    "before results": ("_outputs:winner_files", False),
    "after results": ("_outputs:results", True),
    "before the hook": ("_driver:Sweep._complete", False),
}
"""A function of the sweeper, and whether death comes after it or before."""


def install(stage: str, victim: str) -> None:
    """Have this process kill a worker, the driver or the whole group at `stage`; only once."""
    place, after = (IN_WORKERS | IN_DRIVER)[stage]
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(f"optuna_joblib_sweeper.{module}")
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    function = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        strikes = _is_due(stage, args) and not _struck()
        if strikes and not after:
            _tear(stage, args)
            _kill(victim)
        returned = function(*args, **kwargs)
        if strikes and after:
            _kill(victim)
        return returned

    setattr(owner, name, deadly)


def _is_due(stage: str, args: tuple[Any, ...]) -> bool:
    if stage == "in a line of the journal":
        return bool(args[1][0]["op_code"] == 6)  # the end of a trial
    if stage in ("in training", "in confirmation"):
        return bool(args[0].confirming == (stage == "in confirmation"))
    return True


def _struck() -> bool:
    try:
        Path("struck").touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


def _tear(stage: str, args: tuple[Any, ...]) -> None:
    """Leave what SIGKILL between taking the journal's lock and the end of a line leaves."""
    if stage == "in a line of the journal":
        args[0]._lock.acquire()
        with Path(args[0]._file_path).open("ab") as file:
            file.write(b'{"op_code":6,"worker_id":"me","tri')


def _kill(victim: str) -> None:
    leader = os.getpgrp()  # the driver's process id: a test starts it in a session of its own
    if victim == "group":
        os.killpg(leader, signal.SIGKILL)
    os.kill(leader if victim == "driver" else os.getpid(), signal.SIGKILL)


if "FAULT" in os.environ and any(
    "popen_loky" in word or "app.py" in word for word in sys.orig_argv
):
    install(*os.environ["FAULT"].split("|"))
