"""A process that has imported what every command needs, and forks for each.

Each command runs in a process of its own, with its own folder, environment and terminal; it begins
where `perceptune` has done its imports. Tests of what happens before that start the real command.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from optuna_joblib_sweeper.mlflow_runs import import_client
from perceptune import cli
from stores import copy_new_stores

_IMPORTED = (
    "matplotlib.backends.backend_agg",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "optuna",
    "rich.progress",
    "perceptune.commands.evaluate",
    "perceptune.commands.train",
    "perceptune.sweep_hooks",
)


class WarmProcess:
    """The process, started by the first command."""

    def __init__(self, template: Path) -> None:
        """New stores will be copies of `template`."""
        self._template = template
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, arguments: Sequence[str], folder: Path, timeout: float = 300
    ) -> "subprocess.CompletedProcess[str]":
        """Run `perceptune` with arguments in a folder, and wait for its end."""
        if self._server is None:
            pipe = subprocess.PIPE
            command = [sys.executable, __file__, str(self._template)]
            self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as scratch:
            paths = [str(Path(scratch, name)) for name in ("out", "err")]
            job = [*paths, str(folder), dict(os.environ), timeout, list(arguments)]
            print(json.dumps(job), file=self._server.stdin, flush=True)
            code = json.loads(self._server.stdout.readline())
            out, err = (Path(path).read_text("utf-8") for path in paths)
        if code is None:
            raise subprocess.TimeoutExpired(list(arguments), timeout, out, err)
        return subprocess.CompletedProcess(["perceptune", *arguments], code, out, err)

    def stop(self) -> None:
        """End the process."""
        if self._server is not None:
            self._server.communicate("")


def serve() -> None:
    """Run what standard input names, one command after the other."""
    copy_new_stores(Path(sys.argv[1]))
    import_client()
    for name in _IMPORTED:
        import_module(name)
    for line in sys.stdin:
        out, err, folder, environment, timeout, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(out, err, folder, environment, arguments)
        print(json.dumps(_ended(child, timeout)), flush=True)


def _ended(child: int, timeout: float) -> int | None:
    """Wait for a command; returns its code, or None if it takes too long."""

    def late(number: int, frame: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _become(
    out: str, err: str, folder: str, environment: dict[str, str], arguments: list[str]
) -> NoReturn:
    """Become the command, as far as it can tell."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.argv = ["perceptune", *arguments]
    cli.main()
    sys.exit()


if __name__ == "__main__":
    serve()
