"""The process that records one run for another, which trains; see `recorder`.

    python -m perceptune.tracking.recording

It imports MLflow, then calls what it reads from standard input, in the order in which it came, and
answers on standard output. Ends when the run is closed, or the other process has died: what that
had said is recorded then, and the run is closed by the next start, as after any other death.
"""

import os
import pickle
import queue
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

from optuna_joblib_sweeper import mlflow_runs
from perceptune.errors import StoreError
from perceptune.tracking import lifecycle
from perceptune.tracking.recorder import CLOSED, FAILED, OPENED
from perceptune.tracking.runs import MlflowRun

_IDLE_SECONDS = 1.0  # after which all that the run keeps back is written


def main() -> None:
    """Record until the end of the run, or of whoever could tell more of it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the other process gets it too, and tells the rest
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, told), daemon=True).start()
    mlflow_runs.import_client()
    _record(told, answers)
    os._exit(0)  # whatever else would happen at the end of MLflow takes a tenth of a second


def _read(messages: BinaryIO, told: "queue.SimpleQueue[Any]") -> None:
    """Pass on each message as it comes; None at the end of the other process."""
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            told.put(pickle.load(messages))
    told.put(None)


def _record(told: "queue.SimpleQueue[Any]", answers: BinaryIO) -> None:
    """Do what is told; after a failure nothing but to close the run."""
    run: MlflowRun | None = None
    failure: str | None = None
    while (message := _next(told)) is not None:
        method, arguments = message
        try:
            if method == "open":
                run = lifecycle.opened(*arguments)
                _answer(answers, OPENED, run.id)
            elif method == "close" and run is not None:
                run.outcome, status, reason = arguments
                if failure is not None:
                    status, reason = "FAILED", reason or failure
                run.close(status, reason)
                _answer(answers, CLOSED, run.registered)
            elif failure is None and run is not None:
                getattr(run, method)(*arguments)
        except StoreError as error:
            failure = str(error)
            _answer(answers, FAILED, failure)
        if method == "close":
            return
    if run is not None:
        with suppress(StoreError):
            run.flush()


def _next(told: "queue.SimpleQueue[Any]") -> Any:
    """The next message; if none comes for a while, to write what the run keeps back."""
    try:
        return told.get(timeout=_IDLE_SECONDS)
    except queue.Empty:
        return "flush", ()


def _answer(answers: BinaryIO, name: str, value: Any) -> None:
    with suppress(OSError):  # the other process was killed; what it said is recorded still
        pickle.dump((name, value), answers)
        answers.flush()


if __name__ == "__main__":
    main()
