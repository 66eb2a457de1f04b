"""A trial's job as Hydra runs one: its folder, the files in it, its log, then the task.

Hydra's own `run_job` copies and writes its whole config several times over, which takes longer than
all else in a trial together. It still runs the jobs of apps with its rarer features.
"""

import logging
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.core.utils import run_job as run_by_hydra
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from optuna_joblib_sweeper import _private
from optuna_joblib_sweeper._copies import Texts
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.secrets import mask_config

_hydra_texts, _task_texts = Texts(), Texts()


def run_job(
    context: HydraContext, config: DictConfig, task_config: DictConfig, task: Callable[..., Any]
) -> Any:
    """Run one job; what is written has no passwords.

    Args:
        config: the whole config, Hydra's part included.
        task_config: what the task gets; a copy.

    Returns:
        What the task returns; it raises what the task raises.

    Raises:
        SweepError: the job's folder is not in the sweep's.
    """
    hydra_config: Any = HydraConfig.instance()
    before = hydra_config.cfg
    OmegaConf.set_readonly(config.hydra, True)
    hydra_config.cfg = config  # where `${hydra:…}` looks; `set_config` would copy it
    try:
        folder = _job_folder(config)
        OmegaConf.copy_cache(from_config=config, to_config=task_config)
        if _is_plain(context, config):
            return _run(config, task_config, task, folder)
        return _run_by_hydra(context, config, task_config, task)
    finally:
        hydra_config.cfg = before


def _job_folder(config: DictConfig) -> Path:
    """The trial's output folder; a swept value may have led it out of the sweep's."""
    sweep_dir, subdir = str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)
    root = Path(os.path.normpath(Path(sweep_dir).absolute()))
    folder = Path(os.path.normpath(root / subdir))
    if not folder.is_relative_to(root):
        raise SweepError(
            f"hydra.sweep.subdir={subdir} leads out of {sweep_dir}; choose another one"
        )
    return folder


def _is_plain(context: HydraContext, config: DictConfig) -> bool:
    """Whether the job has no callbacks, environment, folder or policy of its own."""
    hydra = config.hydra
    stays = hydra.job.chdir is False or (
        hydra.job.chdir is None and hydra.runtime.version_base != "1.1"
    )
    special = hydra.callbacks or hydra.job.env_set
    return stays and not special and getattr(context, "execution_whitelist", None) is None


def _run(
    config: DictConfig, task_config: DictConfig, task: Callable[..., Any], folder: Path
) -> Any:
    hydra = config.hydra
    with read_write(hydra.runtime), open_dict(hydra.runtime):
        hydra.runtime.output_dir = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    configure_log(hydra.job_logging, hydra.verbose)
    if hydra.output_subdir is not None:
        files = folder / hydra.output_subdir
        files.mkdir(parents=True, exist_ok=True)
        texts = {
            "config": _task_texts.yaml(task_config),
            "hydra": _hydra_texts.yaml(hydra, "hydra"),
            "overrides": OmegaConf.to_yaml(hydra.overrides.task),
        }
        for name, text in texts.items():
            (files / f"{name}.yaml").write_text(text, encoding="utf-8")
    try:
        return task(task_config)
    except Exception:
        _private.log_job_error()
        raise
    finally:
        for handler in logging.getLogger().handlers:
            handler.flush()


def _run_by_hydra(
    context: HydraContext, config: DictConfig, task_config: DictConfig, task: Callable[..., Any]
) -> Any:
    @wraps(task)
    def with_passwords(masked: DictConfig) -> Any:
        OmegaConf.copy_cache(from_config=masked, to_config=task_config)
        return task(task_config)

    mask_config(config)
    job = run_by_hydra(
        hydra_context=context,
        task_function=with_passwords,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    return _private.returned(job)
