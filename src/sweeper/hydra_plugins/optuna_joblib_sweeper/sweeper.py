"""The plugin class that Hydra finds; all work happens in `optuna_joblib_sweeper`."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaJoblibSweeper(Sweeper):
    """Run an Optuna study over a Hydra app; `config.py` beside this file names the configs."""

    def __init__(self, **settings: Any) -> None:
        """Take what `hydra.sweeper` holds; it is read when the sweep starts."""
        self._settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context = hydra_context
        self.config = config
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> None:
        """Run the study that `hydra.sweeper` and the command line describe."""
        # Every Hydra app of the environment imports this module, so Optuna and joblib wait.
        from optuna_joblib_sweeper._driver import run_sweep

        run_sweep(self, self._settings, arguments)
