"""Confirmation: the best few trials trained again with fresh seeds, so that luck does not win.

It is a grid study of its own (trial × seed), so it resumes and survives deaths like any other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from optuna_joblib_sweeper._fingerprint import Fingerprint
from optuna_joblib_sweeper._job import Confirmation, Job
from optuna_joblib_sweeper._space import Parameter, Space
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.result import TrialResult
from optuna_joblib_sweeper.settings import ConfirmSettings


def fresh_seeds(settings: ConfirmSettings, config: DictConfig) -> tuple[int, ...]:
    """The seeds listed, or as many as the settings count above those that the sweep used.

    Raises:
        SweepError: the config has no whole number under the seed's key.
    """
    used = OmegaConf.select(config, settings.key)
    if not isinstance(used, int):
        raise SweepError(
            f"hydra.sweeper.confirm.key={settings.key} must be a whole number in the config, "
            f"got {used!r}"
        )
    if isinstance(settings.seeds, int):
        first = used + settings.skip
        return tuple(range(first, first + settings.seeds))
    return tuple(settings.seeds)


def confirmation_job(job: Job, candidates: Sequence[TrialResult], seeds: Sequence[int]) -> Job:
    """The job that repeats each candidate with each seed."""
    numbers = [trial.number for trial in candidates]
    space = Space(
        tuple(
            Parameter(key, CategoricalDistribution(list(values)), tuple(values))
            for key, values in (("trial", numbers), ("seed", seeds))
        )
    )
    settings = replace(
        job.settings,
        sampler={"_target_": "optuna.samplers.GridSampler"},
        timeout=None,
        target=None,
        patience=None,
    )
    what = hashlib.sha256(repr((numbers, tuple(seeds))).encode()).hexdigest()[:8]
    return replace(
        job,
        settings=settings,
        space=space,
        paths=job.paths.confirmation(f"{job.paths.study_name}-confirm-{what}"),
        budget=len(numbers) * len(seeds),
        custom_search_space=None,
        confirmation=Confirmation(
            {trial.number: trial.overrides for trial in candidates}, job.settings.confirm.key
        ),
    )


def open_store(job: Job, fingerprint: Fingerprint) -> StudyStore:
    """The confirmation's own study, beside the one that it confirms."""
    return StudyStore.open(job.paths, replace(fingerprint, space=str(job.space), grid=True))


def confirmed_values(store: StudyStore) -> dict[str, list[float]]:
    """By the number of a trial, as text, the values of those of its runs that are complete."""
    values: dict[str, list[float]] = {}
    for trial in store.trials((TrialState.COMPLETE,)):
        values.setdefault(str(trial.params["trial"]), []).append(trial.values[0])
    return values
