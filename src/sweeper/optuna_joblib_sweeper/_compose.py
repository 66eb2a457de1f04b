"""Task configs composed by Hydra, for trials and for the checks before a study."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from optuna_joblib_sweeper._copies import Copies
from optuna_joblib_sweeper._private import set_override_dirname
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper.errors import SweepError, reason_of
from optuna_joblib_sweeper.secrets import mask_config

MAX_TEMPLATES = 32


@dataclass
class Composer:
    """Composes the app's config with the fixed overrides and those of a trial.

    Attributes:
        fixed: overrides of every trial.
        folder: `hydra.sweep.dir`, as far as it is the same in all trials.
    """

    context: HydraContext
    config: DictConfig
    fixed: Sequence[str]
    folder: Path = Path()
    _templates: dict[tuple[str, ...], tuple[Copies, Copies]] = field(default_factory=dict)
    _fixed: list[Override] = field(default_factory=list)  # `fixed`, parsed
    _groups: dict[str, bool] = field(default_factory=dict)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The whole config, Hydra's own part included."""
        return self.context.config_loader.load_sweep_config(self.config, [*self.fixed, *overrides])

    def compose_again(self, overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
        """As `compose`, in a hundredth of the time from the second trial on.

        Hydra's defaults list depends on group choices alone. So what composing one set of them
        gave is kept, and plain values are set in a copy, as Hydra itself does it last.

        Returns:
            The whole config, Hydra's part without passwords; the task's part, as a copy.
        """
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        parsed = parser.parse_overrides(list(overrides))
        plain = [override for override in parsed if self._is_plain(override)]
        rest = tuple(text for o, text in zip(parsed, overrides, strict=True) if o not in plain)
        if rest not in self._templates:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[rest] = _copies(self.compose(rest))
        whole, task = (copies.one() for copies in self._templates[rest])
        try:
            for override in plain:
                for config in (whole, task):
                    OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException:
            self.compose(overrides)  # fails as well, in Hydra's own words
            raise
        self._fixed = self._fixed or parser.parse_overrides(list(self.fixed))
        set_override_dirname(whole, [*self._fixed, *parsed])
        whole.hydra.overrides.task = [*self.fixed, *overrides]
        mask_config(whole.hydra.overrides)
        OmegaConf.copy_cache(from_config=self.config, to_config=whole)
        return whole, task

    def _is_plain(self, override: Override) -> bool:
        key = override.get_key_element()
        is_group = override.package is not None or self.is_group(key)
        is_hydras = key.startswith("hydra.")
        return override.type == OverrideType.CHANGE and not is_group and not is_hydras

    def compose_job(
        self, overrides: Sequence[str], number: int, sweep_dir: str, quiet: bool
    ) -> tuple[DictConfig, DictConfig]:
        """The configs of one trial, ready for `run_job`; see `compose_again`."""
        config, task = self.compose_again(overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
            own = Path(str(config.hydra.sweep.dir))
            # A start has one folder, whatever the time is then; a trial may have one of its own.
            config.hydra.sweep.dir = str(Path(sweep_dir, os.path.relpath(own, self.folder)))
            if quiet:
                _silence_console(config)
        return config, task

    def is_group(self, key: str) -> bool:
        """Whether `key` chooses an option of a config group."""
        group = key.lstrip("+").split("@")[0]
        if group not in self._groups:
            # What `hydra.searchpath` adds is known to the composed config, not to the loader.
            chosen = OmegaConf.select(self.config, "hydra.runtime.choices", default={})
            options = self.context.config_loader.get_group_options(group, ObjectType.CONFIG)
            self._groups[group] = group in chosen or bool(options)
        return self._groups[group]


def _copies(config: DictConfig) -> tuple[Copies, Copies]:
    """Of the whole config, Hydra's part without passwords, and of the task's part alone."""
    mask_config(config.hydra)
    whole = Copies(config)
    with read_write(config), open_dict(config):
        del config["hydra"]
    return whole, Copies(config)


def task_part(config: DictConfig) -> DictConfig:
    """What the task function gets."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


@dataclass(frozen=True)
class SpaceCheck:
    """Composes what a space will ask for, before anything is created; `check` is the app's own."""

    composer: Composer
    space: Space
    check: Callable[..., Any] | None

    def compose_all(self) -> DictConfig:
        """Compose the space, one value at a time.

        Returns:
            The config with each parameter at its first value.

        Raises:
            SweepError: a value that the app's config, or `check`, refuses, naming the parameter.
        """
        bases = []
        for varied, chosen in self.space.probes():
            # The first probe has all first values; a fault in it is blamed on what causes it.
            try:
                bases.append(self._compose(chosen))
            except Exception as error:
                raise self._refusal(varied or self._culprit(chosen), chosen, error) from None
        return bases[0]

    def try_custom(self, suggest_more: Callable[..., Any]) -> None:
        """Let the app's own function suggest for one trial that nobody keeps, and compose that.

        Raises:
            SweepError: the function fails, or what it suggests is refused.
        """
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        _, first = next(self.space.probes())
        study.enqueue_trial(first)
        trial = study.ask()
        for parameter in self.space.parameters:
            if parameter.key in first:
                parameter.suggest(trial)
        try:
            suggest_more(self.composer.config, trial)
            self._compose(trial.params)
        except Exception as error:
            raise SweepError(f"hydra.sweeper.custom_search_space: {reason_of(error)}") from None

    def _compose(self, chosen: Mapping[str, Any]) -> DictConfig:
        composed, _ = self.composer.compose_again(self.space.overrides(chosen))
        if self.check is not None:
            self.check(task_part(composed))
        return composed

    def _culprit(self, chosen: Mapping[str, Any]) -> str | None:
        """The first parameter whose override breaks the config; None if the fixed part does."""
        for count, key in enumerate((None, *chosen)):
            try:
                self._compose(dict(list(chosen.items())[:count]))
            except Exception:
                return key
        return None

    def _refusal(self, culprit: str | None, chosen: Mapping[str, Any], error: Any) -> SweepError:
        said = str(error).strip().splitlines() or [type(error).__name__]
        lines = [line for line in said if not line.startswith("To append")]  # as `+` it has no use
        if culprit is None or culprit not in chosen:
            return SweepError("\n".join(lines))
        override = self.space.overrides({culprit: chosen[culprit]})[0]
        return SweepError(f"{override}: {' '.join(lines[:2])}; correct {culprit} in the space")


def _silence_console(config: DictConfig) -> None:
    """Leave the terminal to the driver's progress bar; the trial's log file keeps all."""
    root = OmegaConf.select(config, "hydra.job_logging.root")
    if isinstance(root, DictConfig) and "handlers" in root:
        root.handlers = [name for name in root.handlers or () if name != "console"]
