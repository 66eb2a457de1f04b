"""The launcher of plain multiruns: Hydra's joblib launcher, but a killed worker loses no other job.

Not for studies, whose workers the sweeper starts itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import (
    JobReturn,
    JobStatus,
    configure_log,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from optuna_joblib_sweeper._nodes import register


@dataclass
class LauncherSettings:
    """The settings `hydra.launcher`."""

    _target_: str = "hydra_plugins.optuna_joblib_sweeper.launcher.JoblibRetryLauncher"
    n_jobs: int = -1  # jobs at a time; -1 means as many as there are cores


class JoblibRetryLauncher(Launcher):
    """Runs jobs in joblib's processes; those that a killed one took along are started again."""

    def __init__(self, n_jobs: int) -> None:
        """Take what `hydra.launcher` holds."""
        self.n_jobs = n_jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Run one job for each list of overrides; the results are in their order."""
        from optuna_joblib_sweeper.retries import run_all

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        state = Singleton.get_state()
        jobs = [
            partial(self.run, list(overrides), number, state)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        results = dict(run_all(jobs, self.n_jobs))
        return [
            result if isinstance(result, JobReturn) else _failed(overrides, result)
            for overrides, (_, result) in zip(job_overrides, sorted(results.items()), strict=True)
        ]

    def run(self, overrides: list[str], number: int, state: dict[object, object]) -> JobReturn:
        """Run one job, in a worker."""
        setup_globals()
        Singleton.set_state(state)
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _failed(overrides: Sequence[str], error: BaseException) -> JobReturn:
    failed = JobReturn(overrides=filter_overrides(overrides), status=JobStatus.FAILED)
    failed.return_value = error
    return failed


register("hydra/launcher", "joblib_retry", LauncherSettings)
