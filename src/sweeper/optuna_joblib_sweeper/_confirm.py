"""Confirmation: the best few trials trained again with fresh seeds, so that luck does not win.

It is a grid study of its own (trial × seed), so it resumes and survives deaths like any other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from optuna_joblib_sweeper._job import StudyPlan
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper._space_syntax import choice
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.result import TrialResult
from optuna_joblib_sweeper.settings import ConfirmSettings

_GRID = {"_target_": "optuna.samplers.GridSampler"}


def fresh_seeds(settings: ConfirmSettings, config: DictConfig) -> tuple[int, ...]:
    """The seeds listed, or as many as the settings count above those that the sweep used.

    Raises:
        SweepError: the config has no whole number under the seed's key.
    """
    key, used = settings.key, OmegaConf.select(config, settings.key)
    if not isinstance(used, int):
        where = f"hydra.sweeper.confirm.key={key}"
        raise SweepError(f"{where} must be a whole number in the config, got {used!r}")
    if isinstance(settings.seeds, int):
        first = used + settings.skip
        return tuple(range(first, first + settings.seeds))
    return tuple(settings.seeds)


def confirmation_plan(plan: StudyPlan, candidates: Sequence[TrialResult]) -> StudyPlan:
    """The study that repeats each candidate with each seed, beside the one that it confirms."""
    numbers, seeds = [trial.number for trial in candidates], plan.confirm_seeds
    space = Space((choice("trial", numbers), choice("seed", list(seeds))))
    code = hashlib.sha256(repr((numbers, seeds)).encode()).hexdigest()[:8]
    settings = replace(plan.settings, sampler=_GRID, n_trials=None, timeout=None)
    settings.target = settings.patience = None
    return replace(
        plan,
        settings=settings,
        space=space,
        paths=plan.paths.confirmation(f"{plan.paths.study_name}-confirm-{code}"),
        fingerprint=replace(plan.fingerprint, space=str(space), grid=True),
        points=len(numbers) * len(seeds),
        custom_search_space=None,
        confirms={trial.number: trial.overrides for trial in candidates},
    )


def confirmed_values(store: StudyStore) -> dict[str, list[float]]:
    """By the number of a trial, as text, the values of those of its runs that are complete."""
    values: dict[str, list[float]] = {}
    for trial in store.trials(TrialState.COMPLETE):
        values.setdefault(str(trial.params["trial"]), []).append(trial.values[0])
    return values
