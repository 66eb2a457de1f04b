"""What a study's storage keeps beside Optuna's own data, and the study read back from it.

Every attribute's name stands here alone: the driver and the workers write through these records,
hooks and reports read the `SweepResult` that is made of them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optuna_joblib_sweeper._fingerprint import Fingerprint
from optuna_joblib_sweeper._space import Parameter
from optuna_joblib_sweeper._storage import read_storage
from optuna_joblib_sweeper.errors import SweepError, reason_of
from optuna_joblib_sweeper.paths import StudyPaths
from optuna_joblib_sweeper.result import Recorded, SweepResult, SweptParameter, TrialResult
from optuna_joblib_sweeper.settings import unnamed

_CONFIRMATION = re.compile(r"-confirm-[0-9a-f]{8}$")


@dataclass(frozen=True)
class _Attributes:
    """User attributes as fields; others are passed over."""

    @classmethod
    def read(cls, attributes: Mapping[str, Any]) -> Self:
        """From what Optuna returns.

        Raises:
            TypeError: a value is of another kind than was recorded.
        """
        kinds = get_type_hints(cls)
        known = {key: value for key, value in attributes.items() if key in kinds}
        for key, value in known.items():
            if not isinstance(value, _plain_kinds(kinds[key])):
                raise TypeError(f"its {key} is {value!r:.80}")
        return cls(**known)


@cache
def _plain_kinds(hint: Any) -> tuple[type, ...]:
    """The types that `isinstance` takes for an annotation: `list` for `list[float] | None`."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = [get_origin(part) or part for part in parts]
    # JSON has lists alone.
    return tuple(list if kind in (tuple, Sequence) else kind for kind in kinds)


@contextmanager
def damage_in_a_line(storage: str, name: str) -> Iterator[None]:
    """Whatever a study's damaged attributes and trials lead to, in a line.

    Raises:
        SweepError: with what was met first.
    """
    try:
        yield
    except SweepError:
        raise
    except Exception as error:
        what = f"study {name} in {storage} is damaged: {reason_of(error)}"
        raise SweepError(f"{what}; restore a copy of it, or choose another study") from error


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Recorded, _Attributes):
    """Attributes of a study.

    Attributes:
        fingerprint: what it must not change, field by field.
        folder: below which its trials have their own folders.
        parameters: what is swept, as fields of `SweptParameter`.
        confirmed: by trial number, as text, the values with fresh seeds.
        completed: numbers of the winners that `on_complete` has seen.
    """

    fingerprint: Mapping[str, Any] | None = None
    folder: str = ""
    parameters: Sequence[Mapping[str, Any]] = ()
    confirmed: Mapping[str, list[float]] = field(default_factory=dict)
    completed: list[int] | None = None


@dataclass(frozen=True)
class TrialRecord(_Attributes):
    """Attributes of a trial.

    Attributes:
        driver: the `identity` of the process that answers for it.
        attempt: 0 at first, one more each time it was given back.
        crashes: how often its whole sweep died while it ran.
        deaths: how often it alone lost its worker.
        suspect: whether it is to be run alone.
        proposal: its `overrides`, its part of the command line, and its `params`, the swept
            values as they arrive in the config; empty before it was sampled.
        mlflow_run_id: its run.
        reason: why it failed, in a line.
        traceback: the same at length.
    """

    driver: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    crashes: int = 0
    deaths: int = 0
    suspect: bool = False
    proposal: Mapping[str, Any] = field(default_factory=dict)
    mlflow_run_id: str | None = None
    reason: str | None = None
    traceback: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> "TrialRecord":
        """Those of `trial`."""
        return cls.read(trial.user_attrs)

    @property
    def overrides(self) -> tuple[str, ...]:
        """Its part of the command line; empty before it was sampled."""
        return tuple(self.proposal.get("overrides", ()))


def read_study(storage: str, name: str) -> SweepResult:
    """See `optuna_joblib_sweeper.load_study`, whose work this is.

    Raises:
        SweepError: no such storage or study, or the storage is damaged.
    """
    opened = read_storage(storage)
    names = {study.study_name for study in opened.get_all_studies()}
    if name not in names:
        there = ", ".join(sorted(n for n in names if not _CONFIRMATION.search(n))) or "none"
        raise SweepError(f"no study {name} in {storage}; there are: {there}")
    with damage_in_a_line(storage, name):
        return sweep_result(Study(study_name=name, storage=opened), storage)


def draw_figures(storage: str, name: str, folder: str) -> None:
    """Draw a study's figures into files."""
    for figure_name, figure in read_study(storage, name).figures():
        figure.savefig(Path(folder, f"{figure_name}.png"))


def sweep_result(study: Study, storage: str) -> SweepResult:
    """The study as plain values; one that plain Optuna made has fewer of them."""
    record = StudyRecord.read(study.user_attrs)
    fingerprint = Fingerprint(**(record.fingerprint or {}))
    name = study.study_name
    paths = StudyPaths.read(name, Path(), storage).rooted(record.folder)
    trials = study.get_trials(deepcopy=False)
    directions = tuple(direction.name.lower() for direction in study.directions)
    shared = {one.name: getattr(record, one.name) for one in fields(Recorded)}
    shared["objectives"] = tuple(record.objectives) or unnamed(len(directions))
    return SweepResult(
        name=name,
        storage=storage,
        directions=directions,
        space=fingerprint.searched(),
        parameters=_parameters(record, trials),
        config=fingerprint.values(),
        trials=tuple(_trial(trial, record, paths, len(directions)) for trial in trials),
        study=study,
        **shared,
    )


def _trial(
    trial: FrozenTrial, record: StudyRecord, paths: StudyPaths, objectives: int
) -> TrialResult:
    own, number = TrialRecord.of(trial), trial.number
    if trial.state == TrialState.COMPLETE and len(trial.values or ()) != objectives:
        raise ValueError(f"trial {number} is complete, with values {trial.values}")
    return TrialResult(
        number=number,
        state=trial.state.name.lower(),
        values=tuple(trial.values) if trial.state == TrialState.COMPLETE else (),
        params=own.proposal.get("params", trial.params),
        overrides=own.overrides,
        folder=paths.trial_folder(number),
        run_id=own.mlflow_run_id,
        reports=dict(sorted(trial.intermediate_values.items())),
        confirmed=tuple(record.confirmed.get(str(number), ())),
        reason=own.reason,
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def _parameters(record: StudyRecord, trials: Sequence[FrozenTrial]) -> tuple[SweptParameter, ...]:
    """What the space has, then what a custom search space suggested beside it."""
    found = {swept["name"]: SweptParameter(**swept) for swept in record.parameters}
    for trial in trials:
        for name in trial.distributions.keys() - found.keys():
            distribution: Any = trial.distributions[name]
            choices = tuple(getattr(distribution, "choices", ()))
            found[name] = Parameter(name, distribution, choices).swept()
    return tuple(found.values())
