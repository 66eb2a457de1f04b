"""What a study must not change between two starts: its space, its goal, the rest of the config."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.study import StudyDirection

from optuna_joblib_sweeper._compose import task_part
from optuna_joblib_sweeper.secrets import mask_config, masked


@dataclass(frozen=True)
class Fingerprint:
    """What two starts of a study must have in common.

    Attributes:
        space: the search space, one parameter a line.
        config: what is the same in all trials, as YAML.
        direction: minimize or maximize, one an objective.
        grid: whether every point is run once.
    """

    space: str = ""
    config: str = ""
    direction: str = ""
    grid: bool = False

    def difference(self, now: "Fingerprint") -> str:
        """The lines that differ, `-` for this one and `+` for `now`; empty if none do."""
        lines = difflib.unified_diff(self._lines(), now._lines(), lineterm="", n=0)
        changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        return "\n".join(f"{line[0]} {line[1:]}" for line in changed)

    def _lines(self) -> list[str]:
        goal = [f"direction: {self.direction}", f"grid: {str(self.grid).lower()}"]
        space = [f"space: {line}" for line in self.space.splitlines()]
        return goal + space + masked(self.config).splitlines()

    @property
    def goals(self) -> list[StudyDirection]:
        """The direction of each objective, as Optuna has it."""
        return [StudyDirection[word.upper()] for word in self.direction.split(", ")]

    def searched(self) -> tuple[tuple[str, str], ...]:
        """Each swept key with what it is searched over."""
        pairs = (line.partition(" = ") for line in self.space.splitlines())
        return tuple((key, what) for key, _, what in pairs)

    def values(self) -> Any:
        """The fixed part of the config as nested plain values."""
        return OmegaConf.to_container(OmegaConf.create(self.config))


def fixed_part(config: DictConfig, swept: Sequence[str], ignored: Sequence[str]) -> str:
    """The app's config as YAML without the swept and the ignored keys."""
    rest = task_part(config)
    OmegaConf.set_struct(rest, False)
    OmegaConf.set_readonly(rest, False)
    for key in (*swept, *ignored):
        _drop(rest, key)
    mask_config(rest)
    return OmegaConf.to_yaml(rest, resolve=False, sort_keys=True)


def _drop(config: DictConfig, key: str) -> None:
    """Remove `key` (`a.b` or the group `a/b`, with an optional package after @)."""
    path = key.lstrip("+~").split("@")[-1].replace("/", ".")
    parent_path, _, leaf = path.rpartition(".")
    parent = OmegaConf.select(config, parent_path) if parent_path else config
    if isinstance(parent, DictConfig) and leaf in parent:
        OmegaConf.set_struct(parent, False)
        del parent[leaf]
