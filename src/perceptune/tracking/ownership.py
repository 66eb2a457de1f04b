"""Provenance of a run: version, commit, user and BLAS.

Knows nothing of processes; `optuna_joblib_sweeper.processes` identifies the one that owns a run.
"""

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import perceptune

_BLAS_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@cache
def context_tags() -> dict[str, str]:
    """The tags that MLflow's own `start_run` adds, and Perceptune's version."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    tags = {
        "mlflow.source.name": "perceptune",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": os.environ.get("USER", "unknown"),
        "perceptune.version": perceptune.__version__,
    }
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def blas() -> dict[str, Any]:
    """NumPy's BLAS as loaded: `library`, `version`, `kernel`, `threads`."""
    import numpy  # noqa: F401  (loads the library)
    from threadpoolctl import threadpool_info

    for info in threadpool_info():
        if info["user_api"] == "blas":
            return {
                "library": info["internal_api"],
                "version": info["version"],
                "kernel": info.get("architecture", "unknown"),
                "threads": info["num_threads"],
            }
    return {"library": "unknown", "version": "?", "kernel": "unknown", "threads": 1}


def blas_pins() -> dict[str, str]:
    """Environment variables that may force BLAS to a slower kernel than the processor's own."""
    return {name: os.environ[name] for name in _BLAS_PINS if name in os.environ}
