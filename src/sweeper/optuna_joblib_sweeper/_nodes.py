"""The settings as Hydra composes them: open to unknown keys, closed for those that name code.

The sweeper answers unknown keys itself, in one line (`settings.read_settings`). The two that Hydra
obeys before it hands over are fixed here. Private doors of OmegaConf, seen in 2.3.1 and 2.4.1rc1;
apart from `_private`, which imports Optuna and joblib, because every Hydra app loads this module.
"""

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf, ValueNode

from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.settings import Settings

_FIXED = {
    # Templates for other sweepers set it.
    "_target_": "`override hydra/sweeper: optuna_joblib` chooses the sweeper",
    "_recursive_": "with it Hydra would call whatever the settings name",
}


class FixedError(SweepError):
    """A setting that can't be changed; without the lines on types that OmegaConf appends."""

    def __init__(self, message: str) -> None:
        super().__init__(message.splitlines()[0])


class FixedNode(ValueNode):
    """A value that refuses every other one."""

    def __init__(self, node: ValueNode, reason: str) -> None:
        """Take the place of `node`."""
        self.__dict__.update(node.__dict__)
        self.__dict__["_reason"] = reason

    def _set_value(self, value: Any, flags: dict[str, bool] | None = None) -> None:
        if isinstance(value, ValueNode):
            value = value._value()
        if value != self._value():
            given = f"hydra.sweeper.{self._key()}={value}"
            raise FixedError(f"delete the setting {given}: {self.__dict__['_reason']}")

    def _validate_and_convert_impl(self, value: Any) -> Any:
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> "FixedNode":
        copied = FixedNode(self, self.__dict__["_reason"])
        self._deepcopy_impl(copied, memo)
        return copied


def register(group: str, name: str, node: Any) -> None:
    """Offer a config, unless there is one of that name.

    Hydra may execute a plugin's module twice, and its own Optuna plugin has some of the same names,
    with typed nodes on which that sweeper insists. Ours takes either.
    """
    store = ConfigStore.instance()
    try:
        taken = store.list(group)
    except OSError:  # no such group yet
        taken = []
    if f"{name}.yaml" not in taken:
        store.store(group=group, name=name, node=node, provider="optuna_joblib_sweeper")


def settings_node() -> DictConfig:
    """The node for `hydra/sweeper`."""
    node = OmegaConf.structured(Settings, flags={"struct": False})
    for part in (node.confirm, node.mlflow):
        OmegaConf.set_struct(part, False)
    for key, reason in _FIXED.items():
        node.__dict__["_content"][key] = FixedNode(node._get_node(key), reason)
    assert isinstance(node, DictConfig)
    return node
