"""Hydra's own ready-made suite for what runs jobs: names, folders and paths of a real app."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite

STUDY = ["-m", "hydra/sweeper=optuna_joblib", "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1"]


@pytest.mark.slow
@pytest.mark.parametrize("task_launcher_cfg", [{}])
@pytest.mark.parametrize("extra_flags", [STUDY])
class TestIntegration(IntegrationTestSuite):
    def generate_custom_cmd(self) -> Callable[..., list[str]]:
        """The suite's tasks return nothing, which is no value for a study."""

        def valued(command: list[str], filename: str) -> list[str]:
            source = Path(filename).read_text()
            Path(filename).write_text(
                source.replace("\nif __name__", "    return 1.0\n\nif __name__")
            )
            return command

        return valued
