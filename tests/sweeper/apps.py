"""Small foreign Hydra apps in temporary folders, run as real processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
from hydra import version
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from optuna_joblib_sweeper import processes
from versions import VERSION_BASE

Plugins.instance()  # whose configs a fixture of Hydra's would else drop after each test
FOREIGN_APP = Path(__file__).parents[2] / "examples" / "foreign_app" / "app.py"

APP = '''
"""Notes every attempt in a file, then sleeps, reports, dies or fails as the config says."""
import os, signal, sys, time
from pathlib import Path

import hydra
from optuna_joblib_sweeper import current_trial


@hydra.main(version_base=None, config_path="conf", config_name="config")
def task(config):
    trial = current_trial()
    notes = Path(config.notes)
    notes.mkdir(exist_ok=True)
    (notes / f"{trial.number}-{trial.attempt}-{os.getpid()}").touch()
    if trial.number in config.deadly and trial.attempt < config.deadly_attempts:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(config.seconds)
    if trial.number in config.failing:
        raise ValueError("no luck with this one")
    return config.x**2 + config.y


if __name__ == "__main__":
    task()
'''

CONFIG = """
defaults:
  - override hydra/sweeper: optuna_joblib
  - _self_

x: 1.0
y: 0
seconds: 0.0
deadly: []
deadly_attempts: 1
failing: []
notes: ${hydra:runtime.cwd}/notes

hydra:
  sweeper:
    study_name: test
    storage: optuna.journal
    n_trials: 6
    sampler: {seed: 7}
    resume_ignore: [seconds, deadly, deadly_attempts, failing]
    params:
      x: interval(-1, 1)
      y: choice(0, 1)
"""


class App:
    """A Hydra app in its own folder."""

    def __init__(self, folder: Path, source: str = APP, config: str = CONFIG) -> None:
        self.folder = folder
        (folder / "conf").mkdir(parents=True)
        if not VERSION_BASE:
            source = source.replace("version_base=None, ", "")
        (folder / "app.py").write_text(source)
        (folder / "conf" / "config.yaml").write_text(config)

    def command(self, *overrides: str) -> list[str]:
        return [sys.executable, str(self.folder / "app.py"), "--multirun", *overrides]

    def run(
        self, *overrides: str, ok: bool = True, cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        command, where = self.command(*overrides), cwd or self.folder
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300)
        if ok:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *overrides: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*overrides),
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that a test's own Ctrl-C stays with pytest
        )

    def study(self, name: str = "test", journal: str = "optuna.journal") -> optuna.Study:
        backend = JournalFileBackend(str(self.folder / journal))
        return optuna.load_study(study_name=name, storage=JournalStorage(backend))

    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study().get_trials(deepcopy=False)]

    def attempts(self) -> list[str]:
        """`number-attempt` of every start of the task."""
        notes = (self.folder / "notes").glob("*")
        return sorted(note.name.rpartition("-")[0] for note in notes)

    def workers(self) -> list[int]:
        return [int(note.name.rpartition("-")[2]) for note in (self.folder / "notes").glob("*")]

    def results(self) -> Any:
        found = sorted((self.folder / "multirun").glob("*/*/optimization_results.yaml"))
        return OmegaConf.to_container(OmegaConf.load(found[-1]))


ECHO_CONFIG = """
defaults:
  - optimizer: sgd
  - _self_
  - override hydra/sweeper: optuna_joblib
  - override hydra/sweeper/sampler: grid
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
x: 1
y: a
seed: 0
hydra:
  sweeper:
    study_name: test
    storage: optuna.journal
    backend: sequential
"""


class Sweeps:
    """Sweeps, trials included, in this process, over a task given as a function."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "conf" / "optimizer").mkdir(parents=True)
        (folder / "conf" / "config.yaml").write_text(ECHO_CONFIG)
        for name in ("sgd", "adam"):
            path = folder / "conf" / "optimizer" / f"{name}.yaml"
            path.write_text(f"name: {name}\nlr: 1.0\n")

    def __call__(self, task: Callable[[Any], Any], *overrides: str) -> Any:
        """Run the sweep; returns what `optimization_results.yaml` holds."""
        GlobalHydra.instance().clear()
        for base in VERSION_BASE.values():  # as `hydra.main` does
            version.setbase(base)
        hydra = Hydra.create_main_hydra_file_or_module(
            str(self.folder / "app.py"), None, "conf", "app"
        )
        results = self.folder / "sweep" / "optimization_results.yaml"
        results.unlink(missing_ok=True)
        try:
            hydra.multirun("config", task, ["hydra.sweep.dir=sweep", *overrides])
        finally:
            GlobalHydra.instance().clear()
        return OmegaConf.to_container(OmegaConf.load(results)) if results.exists() else None

    def study(self) -> optuna.Study:
        backend = JournalFileBackend(str(self.folder / "optuna.journal"))
        return optuna.load_study(study_name="test", storage=JournalStorage(backend))


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return processes.identity(pid)["process_start"] != ""


def group_members(leader: int) -> list[int]:
    """The living processes of a process group."""
    return [pid for pid in psutil.pids() if alive(pid) and _group(pid) == leader]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
