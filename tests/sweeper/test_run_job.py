"""A trial's job: the same files, folders and settings as by Hydra's own hand."""

import logging
import os
from importlib import metadata
from pathlib import Path

import pytest
from apps import Sweeps
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job as run_by_hydra
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from optuna_joblib_sweeper import _private
from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._run_job import run_job

MORE = """
deep: {a: '${x}', text: a line of words that has more than eighty characters, for YAML folds those}
folder: ${hydra:runtime.output_dir}
"""


def composer_of(sweep: Sweeps, *overrides: str) -> Composer:
    config = sweep.folder / "conf" / "config.yaml"
    config.write_text(config.read_text() + MORE)
    GlobalHydra.instance().clear()
    if metadata.version("hydra-core") < "1.4":  # later ones have one behaviour
        version.setbase("1.3")
    app = str(sweep.folder / "app.py")
    hydra = Hydra.create_main_hydra_file_or_module(app, None, "conf", "app")
    master = hydra.compose_config("config", list(overrides), RunMode.MULTIRUN)
    context = HydraContext(hydra.config_loader, Callbacks(master))
    return Composer(context, master, ["y=fixed"], Path(str(master.hydra.sweep.dir)))


def seen(config: DictConfig) -> list[object]:
    hydra = HydraConfig.get()
    task, overrides = OmegaConf.to_container(config, resolve=True), list(hydra.overrides.task)
    variable = [os.environ.get("NAME"), Path.cwd(), logging.getLogger().handlers[-1].name]
    return [task, hydra.job.num, hydra.runtime.output_dir, overrides, *variable]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["hydra.job.chdir=true", "+hydra.job.env_set.NAME=value"],
        ["hydra.output_subdir=null"],
        ["hydra.output_subdir=elsewhere", "hydra.verbose=true"],
    ],
)
def test_a_job_leaves_and_sees_what_hydra_s_own_would(sweep: Sweeps, overrides: list[str]) -> None:
    composer = composer_of(sweep, *overrides)
    for number, swept in enumerate((["x=1"], ["x=2"], ["optimizer=adam"])):
        found = []
        for by_hydra in (False, True):
            config, own = composer.compose_job(swept, number, str(sweep.folder / "out"), False)
            if by_hydra:
                keys = {"job_dir_key": "hydra.sweep.dir", "job_subdir_key": "hydra.sweep.subdir"}
                job = run_by_hydra(seen, config, hydra_context=composer.context, **keys)
                told = _private.returned(job)
            else:
                told = run_job(composer.context, config, own, seen)
            folder = sweep.folder / "out" / str(number)
            files = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
            found.append((told, files))
        assert found[0] == found[1]


def test_a_task_may_change_its_config_for_itself_alone(sweep: Sweeps) -> None:
    composer, was_set = composer_of(sweep), HydraConfig.initialized()

    def task(config: DictConfig) -> int:
        before, config.x = config.x, 99
        return int(before)

    for number in range(2):
        job = composer.compose_job([f"x={number}"], number, str(sweep.folder), False)
        assert run_job(composer.context, *job, task) == number
    assert HydraConfig.initialized() == was_set


@pytest.mark.filterwarnings("ignore:hydra.utils.instantiate")  # Hydra 1.4 on all callbacks
def test_callbacks_see_the_job(sweep: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from pathlib import Path
from hydra.experimental.callback import Callback


class Told(Callback):
    def on_job_start(self, config, **kwargs):
        Path("started").write_text(f"{config.x} {kwargs['task_function'].__name__}")

    def on_job_end(self, config, job_return, **kwargs):
        Path("ended").write_text(f"{config.x} {job_return.return_value}")
"""
    Path(sweep.folder, "told.py").write_text(source)
    monkeypatch.syspath_prepend(str(sweep.folder))
    composer = composer_of(sweep, "+hydra.callbacks.told._target_=told.Told")

    def task(config: DictConfig) -> int:
        return int(config.x) + 1

    job = composer.compose_job(["x=4"], 0, str(sweep.folder), False)
    assert run_job(composer.context, *job, task) == 5
    assert (Path("started").read_text(), Path("ended").read_text()) == ("4 task", "4 5")
