"""The config groups of the sweeper: `hydra/sweeper`, `hydra/sweeper/sampler`, `…/pruner`.

Postponed annotations are absent on purpose: with them, dataclasses in a plugin module crash
every Hydra app of the environment, since Hydra executes the module before it is in `sys.modules`.
"""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from optuna_joblib_sweeper._nodes import register, settings_node

_CHOICES: Any = OmegaConf.load(Path(__file__).with_name("choices.yaml"))
SAMPLERS, PRUNERS = _CHOICES.sampler, _CHOICES.pruner


def _store() -> None:
    register("hydra/sweeper", "optuna_joblib", settings_node())
    for kind in _CHOICES:
        for name, node in _CHOICES[kind].items():
            register(f"hydra/sweeper/{kind}", name, node)


_store()
