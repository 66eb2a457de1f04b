"""MLflow stores that are copied: MLflow needs seconds to make one, and all new ones are alike.

How one is made is tested where a process makes it that knows nothing of this.
"""

from pathlib import Path
from shutil import copyfile

from filelock import FileLock

from optuna_joblib_sweeper import mlflow_runs


def copy_new_stores(template: Path) -> None:
    """In this process, make new stores as copies of `template`, which the first one makes."""
    write = mlflow_runs._write_new

    def copy(local: Path) -> None:
        with FileLock(f"{template}.lock"):
            if not template.exists():
                write(template)
        copyfile(template, local)

    mlflow_runs._write_new = copy
