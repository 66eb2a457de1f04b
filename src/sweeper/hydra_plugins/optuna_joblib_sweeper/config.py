"""The config groups of the sweeper: `hydra/sweeper`, `hydra/sweeper/sampler`, `…/pruner`.

Postponed annotations are absent on purpose: with them, dataclasses in a plugin module crash
every Hydra app of the environment, since Hydra executes the module before it is in `sys.modules`.
"""

from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from optuna_joblib_sweeper._nodes import settings_node

_CHOICES: Any = OmegaConf.load(Path(__file__).with_name("choices.yaml"))
SAMPLERS, PRUNERS = _CHOICES.sampler, _CHOICES.pruner


def _store() -> None:
    store = ConfigStore.instance()
    provider = "optuna_joblib_sweeper"
    store.store(
        group="hydra/sweeper", name="optuna_joblib", node=settings_node(), provider=provider
    )
    for kind in _CHOICES:
        group = f"hydra/sweeper/{kind}"
        # Hydra's own Optuna plugin registers some of the same names with typed nodes, on which
        # its sweeper insists. This one takes either, so it never replaces them.
        taken = store.list(group) if kind in store.list("hydra/sweeper") else ()
        for name, node in _CHOICES[kind].items():
            if f"{name}.yaml" not in taken:
                store.store(group=group, name=name, node=node, provider=provider)


_store()
