"""The sweeper's wheel alone: no Perceptune, no MLflow, no matplotlib, and a foreign app."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from apps import FOREIGN_APP

pytestmark = pytest.mark.slow

SWEEPER = Path(__file__).parents[2] / "src" / "sweeper"
STUDY = ("--multirun", "hydra.sweeper.study_name=alone", "hydra.sweeper.storage=alone.journal")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a fresh environment with the wheel in it."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv builds and installs the wheel; pip install uv")
    folder = tmp_path_factory.mktemp("wheel")
    _run(uv, "build", "--wheel", "--out-dir", str(folder), str(SWEEPER))
    [wheel] = folder.glob("*.whl")
    _run(uv, "venv", "--python", sys.executable, str(folder / "venv"))
    found = str(folder / "venv" / "bin" / "python")
    _run(uv, "pip", "install", "--python", found, str(wheel))
    return found


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOREIGN_APP.parent, tmp_path / "app"))


def _run(*command: str, cwd: Path | None = None, ok: bool = True) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_study_runs_resumes_and_is_read_back(python: str, app: Path) -> None:
    for package in ("perceptune", "mlflow", "matplotlib", "sklearn"):
        _run(python, "-c", f"import {package}", ok=False)
    assert "6/6" in _run(python, "app.py", *STUDY, "hydra.sweeper.n_trials=6", cwd=app)
    printed = _run(python, "app.py", *STUDY, "hydra.sweeper.n_trials=9", cwd=app)
    assert "9/9" in printed
    assert "7/9" in printed  # and not 1/9: six were there already
    assert "6/9" not in printed
    code = (
        "from optuna_joblib_sweeper import load_study\n"
        "result = load_study('alone.journal', 'alone')\n"
        "assert len(result.trials) == 9, result\n"
        "assert result.importances() == [] and list(result.figures()) == []\n"
        "print(result.winner_command)"
    )
    command = _run(python, "-c", code, cwd=app).strip()
    assert command.startswith("python app.py --config-dir ")
    _run(python, *command.split()[1:], cwd=app)


def test_tracking_without_mlflow_is_refused_in_one_line(python: str, app: Path) -> None:
    printed = _run(python, "app.py", *STUDY, "hydra.sweeper.mlflow.enabled=true", cwd=app, ok=False)
    assert "needs the package mlflow; install optuna-joblib-sweeper[mlflow]" in printed
    assert "Traceback" not in printed
    assert not (app / "alone.journal").exists()


def test_the_wheel_hides_no_other_plugin_and_is_typed(python: str) -> None:
    code = "import hydra_plugins; print(hydra_plugins.__file__)"
    assert _run(python, "-c", code).strip() == "None"
    code = "import optuna_joblib_sweeper as o; print(o.__path__[0], o.__version__)"
    folder, version = _run(python, "-c", code).split()
    assert (Path(folder) / "py.typed").exists()
    code = "from importlib.metadata import version; print(version('optuna-joblib-sweeper'))"
    assert _run(python, "-c", code).strip() == version
