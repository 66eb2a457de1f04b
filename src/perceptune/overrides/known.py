"""The groups, options and keys that exist, as Hydra composes them. Knows no mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from perceptune.config import flatten
from perceptune.overrides.words import split


@dataclass(frozen=True)
class Known:
    """What may be named; its methods need Hydra initialized, as `known` does.

    Attributes:
        words: the options that are chosen, which bring groups and keys of their own.
        groups: names of groups, those of Perceptune first.
        keys: dotted names of settings, those of Perceptune first.
    """

    words: list[str]
    groups: list[str]
    keys: list[str]

    @property
    def ours(self) -> list[str]:
        """Groups and keys of Perceptune."""
        return [name for name in (*self.groups, *self.keys) if not name.startswith("hydra")]

    def of_hydra(self, key: str) -> list[str]:
        """Groups and keys of Hydra that `key` may mean: others than those named so are unlikely."""
        names = [name for name in (*self.groups, *self.keys) if name.startswith("hydra")]
        last = key.rpartition(".")[2]
        return [name for name in names if key.startswith("hydra") or name.endswith(f".{last}")]

    def options(self, group: str) -> list[str]:
        """The options of `group`."""
        loader = GlobalHydra.instance().config_loader()
        return loader.get_group_options(group, config_name="config", overrides=self.words)

    def holders(self, group: str, key: str) -> list[str]:
        """The options of `group` that bring `key`."""
        names = self.options(group)
        return [name for name in names if _composed([*self.words, f"{group}={name}"]).has(key)]

    def chooses(self, word: str) -> bool:
        """True if `word` chooses an option that exists."""
        _, key, value = split(word)
        return key in self.groups and value in self.options(key)

    def has(self, key: str) -> bool:
        """True for a key, and for a branch of keys."""
        return any(key == one or one.startswith(f"{key}.") for one in self.keys)


def known(words: Sequence[str]) -> Known:
    """All that may be named beside those of `words` which choose an option that exists."""
    found = _composed([word for word in words if word.startswith("hydra.searchpath=")])
    while more := [word for word in words if word not in found.words and found.chooses(word)]:
        try:
            found = _composed([*found.words, *more])
        except HydraException:  # options that exclude each other
            break
    return found


def _composed(words: list[str]) -> Known:
    config = compose("config", words, return_hydra_config=True)
    groups = sorted(map(str, config.hydra.runtime.choices), key=_ours_first)
    tree: Any = OmegaConf.to_container(config, resolve=False)
    return Known(words, groups, sorted(flatten(tree), key=_ours_first))


def _ours_first(name: str) -> tuple[bool, str]:
    return name.startswith("hydra"), name
