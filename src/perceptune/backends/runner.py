"""The runner of a backend's process, for one seed, and the reader of its result."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from subprocess import DEVNULL, CompletedProcess, run

from perceptune.backends.process import JOB, RESULT, BackendResult, Job
from perceptune.backends.specs import spec_of
from perceptune.config import Config

PARITY_STEPS = 100


class BackendFailedError(Exception):
    """A backend's process that ended without a result; the text gives the reason in a line."""


def train(
    backend: str, config: Config, folder: Path, parity_steps: int = PARITY_STEPS
) -> BackendResult:
    """Train `config` with `backend` in a process of its own, whose files stay in `folder`.

    Raises:
        BackendFailedError: the process ended without a result.
    """
    job = Job(backend, dict(config.settings), time.time(), parity_steps)
    (folder / JOB).write_text(json.dumps(asdict(job)))
    command = [sys.executable, "-m", "perceptune.backends.process", str(folder)]
    variables = {**os.environ, **thread_variables(config.threads), **spec_of(backend).environment}
    with on_cores(config.threads):
        ended = run(
            command, env=variables, stdin=DEVNULL, capture_output=True, text=True, check=False
        )
    if ended.returncode:
        raise BackendFailedError(_reason(ended))
    return BackendResult(**json.loads((folder / RESULT).read_text()))


def thread_variables(threads: int) -> dict[str, str]:
    """The environment variables that set the number of threads of each library."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    variables = dict.fromkeys((*names, "TF_NUM_INTRAOP_THREADS"), str(threads))
    return variables | {"TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Limit processes started inside to `count` cores, however many threads they start."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def _reason(ended: "CompletedProcess[str]") -> str:
    if ended.returncode < 0:
        return f"its process was ended by signal {-ended.returncode}"
    lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["no message"]
    return re.sub(r"^perceptune\.errors\.\w+: ", "", lines[-1])
