"""Optuna's samplers and pruners from their configs, seeded a trial at a time."""

import inspect
import logging
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hydra.utils import get_class, instantiate
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.settings import Settings, class_name

log = logging.getLogger(__name__)

# Samplers that walk one fixed sequence: another seed a trial would walk another one each time.
_CONSTANT_SEED = ("QMCSampler",)


class GridPoint(BaseSampler):
    """Trial number n gets point n: every point once, whoever asks and however often it dies."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        """Hold the point of one trial."""
        self._point = point

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled jointly."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is sampled jointly."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The point's value."""
        if param_name not in self._point:
            raise SweepError(
                f"{param_name} is not part of the grid; a custom_search_space needs another "
                f"hydra/sweeper/sampler"
            )
        return self._point[param_name]


class SamplerFactory:
    """Makes the sampler for each draw.

    One long-lived seeded sampler would repeat its first draws after a resume. A fresh one,
    seeded from the study's seed, the trial's number and the parameter's name, makes each draw a
    function of these and of the finished trials alone.
    """

    def __init__(self, settings: Settings, grid: Sequence[Mapping[str, Any]] | None) -> None:
        """Keep the config; `grid` holds the points of a grid study."""
        self._config = dict(settings.sampler)
        self._config.pop("_partial_", None)
        self._seed = settings.seed
        self._grid = grid
        self._unseeded: BaseSampler | None = None

    def make(self, number: int, name: str = "") -> BaseSampler:
        """The sampler for parameter `name` of trial `number`; "" for what is drawn jointly."""
        if self._grid is not None:
            return GridPoint(self._grid[number] if number < len(self._grid) else {})
        if self._seed is None:
            if self._unseeded is None:
                self._unseeded = self._build(None)
            return self._unseeded
        if str(self._config["_target_"]).endswith(_CONSTANT_SEED):
            return self._build(self._seed)
        entropy = (self._seed, number, zlib.crc32(name.encode()))
        return self._build(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def _build(self, seed: int | None) -> BaseSampler:
        config = {k: v for k, v in self._config.items() if v is not None}
        if seed is not None:
            config["seed"] = seed
        made: BaseSampler = _instantiate(config, BaseSampler, "hydra/sweeper/sampler")
        return made


def build_pruner(settings: Settings) -> BasePruner:
    """The pruner of the settings."""
    config = dict(settings.pruner)
    required_null = {"wrapped_pruner"}
    config = {k: v for k, v in config.items() if v is not None or k in required_null}
    made: BasePruner = _instantiate(config, BasePruner, "hydra/sweeper/pruner")
    return made


def check_samplers(settings: Settings) -> None:
    """Make sampler and pruner once.

    Raises:
        SweepError: an unknown class or argument, or a package that is missing, by name.
    """
    name = class_name(settings.sampler)
    for sampler, packages in _EXTRA_PACKAGES.items():
        for package in packages if name == sampler else ():
            try:
                __import__(package)
            except ImportError:
                raise SweepError(
                    f"{sampler} needs the package {package}; install it, or choose another "
                    f"hydra/sweeper/sampler"
                ) from None
    if not settings.is_grid:
        SamplerFactory(settings, None).make(0)
    build_pruner(settings)
    if len(settings.directions) > 1 and name in ("CmaEsSampler",):
        raise SweepError(f"{name} takes one objective, got {len(settings.directions)}; use nsgaii")


def _fitting(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without settings that its class lacks: those of another choice that it replaced.

    A file that chooses a pruner and its settings is overruled by `hydra/sweeper/pruner=none` on
    the command line, but Hydra merges the settings into the new choice.
    """
    known = inspect.signature(get_class(str(config["_target_"]))).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return dict(config)
    lost = [key for key in config if key not in known and not key.startswith("_")]
    for key in lost:
        log.info("%s has no setting %s: left out", config["_target_"], key)
    return {key: value for key, value in config.items() if key not in lost}


def _instantiate(config: Mapping[str, Any], kind: type[Any], group: str) -> Any:
    try:
        config = _fitting(config)
        with warnings.catch_warnings():
            # Half of Optuna is experimental, and would say so at every trial.
            warnings.simplefilter("ignore", ExperimentalWarning)
            made = instantiate(dict(config), _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        raise SweepError(f"{group}: {config.get('_target_')}: {cause}") from error
    if not isinstance(made, kind):
        raise SweepError(f"{group}: {config.get('_target_')} is no {kind.__name__}")
    return made


_EXTRA_PACKAGES = {
    "CmaEsSampler": ("cmaes",),
    "GPSampler": ("torch", "scipy"),
    "QMCSampler": ("scipy",),
}
