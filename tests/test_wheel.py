"""The wheels of both distributions, in an environment without the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perceptune import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with both wheels in it."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv builds and installs the wheels; pip install uv")
    folder = tmp_path_factory.mktemp("wheel")
    _run(uv, "build", "--wheel", "--all-packages", "--out-dir", str(folder), str(app.root()))
    wheels = sorted(map(str, folder.glob("*.whl")))
    assert len(wheels) == 2
    _run(uv, "venv", "--python", sys.executable, str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    _run(uv, "pip", "install", "--python", str(python), *wheels)
    return python.parent


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    answer = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_wheel_trains(installed: Path, tmp_path: Path) -> None:
    printed = _run(str(installed / "perceptune"), "train", "train.epochs=2", cwd=tmp_path)
    assert "accuracy" in printed
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()


def test_the_wheel_runs_a_multirun(installed: Path, tmp_path: Path) -> None:
    words = ("train", "-m", "optimizer=sgd,adam", "train.epochs=1")
    printed = _run(str(installed / "perceptune"), *words, cwd=tmp_path)
    assert printed.count("val 0.") == 2


def test_the_wheel_compares(installed: Path, tmp_path: Path) -> None:
    """`backends` is a setting, though the package has a folder of that name."""
    words = ("compare", "backends=[numpy]", "train.epochs=1", "tracking.enabled=false")
    printed = _run(str(installed / "perceptune"), *words, cwd=tmp_path)
    assert "numpy" in printed


def test_the_wheel_holds_configurations_in_a_folder_of_their_own(installed: Path) -> None:
    code = "from perceptune import app; print(*sorted(path.name for path in app.root().iterdir()))"
    assert _run(str(installed / "python"), "-c", code).split() == ["conf", "sweeps"]


def test_the_wheel_runs_a_study(installed: Path, tmp_path: Path) -> None:
    quick = ("hydra.sweeper.n_trials=2", "train.epochs=1", "tracking.enabled=false")
    printed = _run(
        str(installed / "perceptune"), "train", "-m", "sweeps=digits", *quick, cwd=tmp_path
    )
    assert "Train the winner again: perceptune train" in printed


def test_the_wheels_bring_the_sweeper_and_would_hide_no_other_plugin(installed: Path) -> None:
    code = "import hydra_plugins, optuna_joblib_sweeper; print(hydra_plugins.__file__)"
    assert _run(str(installed / "python"), "-c", code).strip() == "None"
    printed = _run(str(installed / "python"), "-c", "import hydra_plugins as h; print(*h.__path__)")
    plugins = {path.name for folder in printed.split() for path in Path(folder).iterdir()}
    assert "optuna_joblib_sweeper" in plugins
