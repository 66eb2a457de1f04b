"""The recorder: a process that writes a run to MLflow, which takes seconds to start.

`recording` is what runs there. It is started before anything else, and nobody waits for it but at
the end of the run: what it is told before waits in between. Imports nothing slow, and refuses to
know what a run records.
"""

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from perceptune.errors import StoreError

# Its answers, each a pair of a name and a value: the run's id, what was registered, what is wrong.
OPENED, CLOSED, FAILED = "opened", "closed", "failed"


class Recorder:
    """The recording process, as seen by the one that trains; it records one run."""

    def __init__(self) -> None:
        """Start the process."""
        command = [sys.executable, "-m", "perceptune.tracking.recording"]
        pipe = subprocess.PIPE  # a session of its own hears no Ctrl-C, however early it comes
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        self._used = False
        self._answers: dict[str, Any] = {}
        self._answered = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name="recorder", daemon=True)
        self._listener.start()

    def tell(self, method: str, *arguments: Any) -> None:
        """Have a method of the run called, some time later; `open` is the first of them."""
        self._used = True
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError):  # it died; `wait` and `check` tell
            pickle.dump((method, arguments), pipe)
            pipe.flush()

    def known(self, answer: str) -> Any:
        """The value of an answer, if it has come."""
        return self._answers.get(answer)

    def check(self) -> None:
        """Do nothing, unless the store could not be used.

        Raises:
            StoreError: recording has failed.
        """
        if FAILED in self._answers:
            raise StoreError(self._answers[FAILED])

    def wait(self, answer: str) -> Any:
        """Wait for the value of an answer.

        Raises:
            StoreError: recording has failed before.
        """
        with self._answered:
            self._answered.wait_for(lambda: self._answers.keys() & {answer, FAILED})
        if answer not in self._answers:
            self.check()
        return self._answers[answer]

    def end(self) -> None:
        """End the process, which is of no use without a run."""
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        if not self._used:
            self._process.kill()  # it may be importing
        self._process.wait()
        self._listener.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers, suppress(EOFError, pickle.UnpicklingError):
            while True:
                self._answer(*pickle.load(answers))
        if CLOSED not in self._answers:
            self._answer(FAILED, f"process {self._process.pid}, which writes to MLflow, was killed")

    def _answer(self, name: str, value: Any) -> None:
        with self._answered:
            self._answers.setdefault(name, value)
            self._answered.notify_all()


@contextmanager
def standby(*, needed: bool) -> Iterator[None]:
    """Have a recorder ready for `take`, if a run will need one, while the block runs."""
    recorder = Recorder() if needed else None
    _ready.append(recorder)
    try:
        yield
    finally:
        _ready.clear()
        if recorder is not None:
            recorder.end()


def take() -> Recorder | None:
    """The recorder that stands by, for one run alone; None if there is none."""
    return _ready.pop() if _ready else None


_ready: list[Recorder | None] = []
