"""Optuna's samplers and pruners from their configs, seeded a trial at a time."""

import inspect
import logging
import warnings
import zlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler

from optuna_joblib_sweeper import _code, _private
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.settings import Settings, class_name

log = logging.getLogger(__name__)

_PACKAGES = {"CmaEsSampler": ["cmaes"], "GPSampler": ["torch", "scipy"], "QMCSampler": ["scipy"]}


class SamplerFactory:
    """Makes the sampler for each draw.

    One long-lived seeded sampler would repeat its first draws after a resume. A fresh one,
    seeded from the study's seed, the trial's number and the parameter's name, makes each draw a
    function of these and of the finished trials alone.
    """

    def __init__(self, settings: Settings, space: Space) -> None:
        """Keep the config, and the points of a grid."""
        self._config = settings.sampler
        self._seed: int | None = settings.sampler.get("seed")
        self._grid = space.grid() if settings.is_grid else None
        self._unseeded: BaseSampler | None = None
        self._search_spaces: dict[str, Any] = {}

    def make(self, number: int, name: str = "") -> BaseSampler:
        """The sampler for parameter `name` of trial `number`; "" for what is drawn jointly."""
        if self._grid is not None:
            # Trial n gets point n: every point once, whoever takes it and however often it dies.
            point = self._grid[number] if number < len(self._grid) else {}
            return PartialFixedSampler(dict(point), RandomSampler(seed=number))
        if self._seed is None:
            self._unseeded = self._unseeded or self._build(None)
            return self._unseeded
        if class_name(self._config) == "QMCSampler":
            # It walks one sequence, which another seed would change. What is drawn beside it, as
            # the first trials are by Optuna 4.5, would be the same in each trial.
            beside = {"_target_": "optuna.samplers.RandomSampler", "seed": self._seed + number}
            return self._build(self._seed, {"independent_sampler": beside})
        entropy = (self._seed, number, zlib.crc32(name.encode()))
        made = self._build(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        # Which parameters all trials have: found anew by each sampler, in all trials again.
        _private.share_search_spaces(made, self._search_spaces)
        return made

    def _build(self, seed: int | None, more: Mapping[str, Any] | None = None) -> BaseSampler:
        settings = {**(more or {}), **self._config, "seed": seed}
        given = {key: value for key, value in settings.items() if value is not None}
        made: BaseSampler = _build(given, BaseSampler, "hydra.sweeper.sampler")
        return made


def build_pruner(settings: Settings) -> BasePruner:
    """The pruner of the settings."""
    # A wrapped pruner has no default of its own.
    given = {k: v for k, v in settings.pruner.items() if v is not None or k == "wrapped_pruner"}
    made: BasePruner = _build(given, BasePruner, "hydra.sweeper.pruner")
    return made


def check_samplers(settings: Settings) -> None:
    """Make sampler and pruner once.

    Raises:
        SweepError: an unknown class or argument, or a package that is missing, by name.
    """
    name, other = class_name(settings.sampler), "choose another hydra/sweeper/sampler"
    for key, base in (("sampler", BaseSampler), ("pruner", BasePruner)):
        where = f"hydra.sweeper.{key}"
        _code.check_targets(getattr(settings, key), where)
        _code.optuna_class(getattr(settings, key).get("_target_"), base, where)
    for package in _PACKAGES.get(name, ()):
        if find_spec(package) is None:
            raise SweepError(f"{name} needs the package {package}; install it, or {other}")
    if settings.is_grid and settings.custom_search_space is not None:
        raise SweepError(f"{name} takes no hydra.sweeper.custom_search_space; {other}")
    if len(settings.directions) > 1 and name == "CmaEsSampler":
        raise SweepError(f"{name} takes one objective, got {len(settings.directions)}; use nsgaii")
    if not settings.is_grid:
        SamplerFactory(settings, Space(())).make(0)
    build_pruner(settings)


def _build(config: Mapping[str, Any], base: type[Any], where: str) -> Any:
    with warnings.catch_warnings():
        # Half of Optuna is experimental, and would say so at every trial.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _code.build(_fitting(config, base, where), base, where)


def _fitting(config: Mapping[str, Any], base: type[Any], where: str) -> dict[str, Any]:
    """`config` without settings that its class lacks: those of another choice that it replaced.

    A file that chooses a pruner and its settings is overruled by `hydra/sweeper/pruner=none` on
    the command line, but Hydra merges the settings into the new choice.
    """
    target = config.get("_target_")
    known = _parameters(_code.optuna_class(target, base, where))
    kept = {key: value for key, value in config.items() if key in known or key.startswith("_")}
    for key in config.keys() - kept.keys():
        if not any(key in _parameters(other) for other in _classes(base)):
            close = get_close_matches(key, known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise SweepError(f"{where}.{key} is no setting of {target}; {remedy}")
        log.info("%s has no setting %s: left out", target, key)
    return kept


def _parameters(made: type[Any]) -> list[str]:
    return [key for key in inspect.signature(made).parameters if key not in ("args", "kwargs")]


def _classes(base: type[Any]) -> Iterator[type[Any]]:
    """Optuna's samplers, or its pruners."""
    package = optuna.samplers if base is BaseSampler else optuna.pruners
    found = (getattr(package, name) for name in package.__all__)
    return (one for one in found if isinstance(one, type) and issubclass(one, base))
