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
from hydra.core.utils import JobReturn, JobStatus, configure_log
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
            job = _run(context, config, task_config, task, folder)
        else:
            job = _run_by_hydra(context, config, task_config, task)
        return _private.returned(job)
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
    """Whether the job has no environment, current folder or policy of its own."""
    chdir, base = config.hydra.job.chdir, config.hydra.runtime.version_base
    moves = chdir or (chdir is None and base == "1.1")
    policy = getattr(context, "execution_whitelist", None)  # of Hydra 1.4
    return not moves and not config.hydra.job.env_set and policy is None


def _run(
    context: HydraContext,
    config: DictConfig,
    task_config: DictConfig,
    task: Callable[..., Any],
    folder: Path,
) -> JobReturn:
    hydra = config.hydra
    with read_write(hydra.runtime), open_dict(hydra.runtime):
        hydra.runtime.output_dir = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    configure_log(hydra.job_logging, hydra.verbose)
    if hydra.output_subdir is not None:
        _write_configs(config, task_config, folder / hydra.output_subdir)
    if hydra.callbacks:
        mask_config(config)
    overrides, name = list(hydra.overrides.task), hydra.job.name
    job = JobReturn(overrides, task_config, config, str(Path.cwd()), name)
    context.callbacks.on_job_start(config=config, task_function=task)
    try:
        job.return_value = task(task_config)
        job.status = JobStatus.COMPLETED
    except Exception as error:
        job.return_value = error
        job.status = JobStatus.FAILED
        _private.log_job_error()
    for handler in logging.getLogger().handlers:
        handler.flush()
    context.callbacks.on_job_end(config=config, job_return=job)
    return job


def _write_configs(config: DictConfig, task_config: DictConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "config": _task_texts.yaml(task_config),
        "hydra": _hydra_texts.yaml(config.hydra, "hydra"),
        "overrides": OmegaConf.to_yaml(config.hydra.overrides.task),
    }
    for name, text in texts.items():
        Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")


def _run_by_hydra(
    context: HydraContext, config: DictConfig, task_config: DictConfig, task: Callable[..., Any]
) -> JobReturn:
    @wraps(task)
    def with_passwords(masked: DictConfig) -> Any:
        OmegaConf.copy_cache(from_config=masked, to_config=task_config)
        return task(task_config)

    mask_config(config)
    return run_by_hydra(with_passwords, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)
