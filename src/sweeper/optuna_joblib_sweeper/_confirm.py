"""Confirmation: the best few trials trained again with fresh seeds, so that luck does not win.

It is a grid study of its own (trial × seed), so it resumes and survives deaths like any other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from optuna_joblib_sweeper._config import ConfirmSettings
from optuna_joblib_sweeper._job import Confirmation, Job
from optuna_joblib_sweeper._results import Confirmed
from optuna_joblib_sweeper._space import Parameter, Space
from optuna_joblib_sweeper._study import Memory, StudyStore
from optuna_joblib_sweeper.errors import SweepError


def fresh_seeds(settings: ConfirmSettings, config: DictConfig) -> tuple[int, ...]:
    """The seeds asked for, or as many as asked for above those that the sweep used.

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
    return settings.seeds


def confirmation_job(job: Job, candidates: Sequence[FrozenTrial], seeds: Sequence[int]) -> Job:
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
        study_name=f"{job.study_name}-confirm-{what}",
        budget=len(numbers) * len(seeds),
        custom_search_space=None,
        confirmation=Confirmation(
            {trial.number: tuple(trial.user_attrs["overrides"]) for trial in candidates},
            job.settings.confirm.key,
        ),
        sweep_dir=str(Path(job.sweep_dir) / "confirm"),
    )


def open_store(job: Job, memory: Memory) -> StudyStore:
    """The confirmation's own study, beside the one that it confirms."""
    remembered = replace(memory, space=str(job.space), grid=True)
    return StudyStore.open(job.spec, job.study_name, remembered, Path(job.folder))


def read_confirmed(store: StudyStore) -> Confirmed:
    """Values by trial, of the runs that finished."""
    values: dict[int, list[float]] = {}
    for trial in store.trials((TrialState.COMPLETE,)):
        values.setdefault(trial.params["trial"], []).append(trial.values[0])
    return Confirmed(values)
