"""A study as its storage remembers it, in plain records; tracked runs are read elsewhere."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceptune.errors import UserError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Trial:
    """One proposal and what became of it.

    Attributes:
        number: its place in the study.
        state: complete, pruned, fail, running or waiting.
        values: one an objective, if it is complete.
        params: the swept values; a list is its text.
        curve: what it reported to the pruner, by epoch.
        planned: epochs that it would have had without pruning, if the study tells.
        run_id: its MLflow run, if it was tracked.
        started, ended: when.
    """

    number: int
    state: str
    values: tuple[float, ...]
    params: Mapping[str, Any]
    curve: Mapping[int, float]
    planned: int | None
    run_id: str | None
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Axis:
    """A swept parameter.

    Attributes:
        name: its key.
        log: whether it was searched on a logarithmic scale.
        choices: of a choice, its values in order; None for numbers.
        low, high: of numbers, the ends.
    """

    name: str
    log: bool = False
    choices: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class StudyRecord:
    """One study.

    Attributes:
        name: the study's.
        study: Optuna's own object, for what only Optuna computes.
        objectives: their names; `value` where the study does not tell.
        maximize: for each objective whether more is better.
        space: the lines of the search space, as the study remembers it.
        axes: the swept parameters, in order of appearance.
        trials: all of them.
        attributes: what the sweeper noted.
    """

    name: str
    study: "Study"
    objectives: tuple[str, ...]
    maximize: tuple[bool, ...]
    space: tuple[tuple[str, str], ...]
    axes: tuple[Axis, ...]
    trials: tuple[Trial, ...]
    attributes: Mapping[str, Any]

    def of(self, *states: str) -> list[Trial]:
        """The trials in one of these states."""
        return [trial for trial in self.trials if trial.state in states]

    def ranked(self) -> list[Trial]:
        """The complete trials of a study with one objective, best first."""
        sign = -1 if self.maximize[0] else 1
        return sorted(self.of("complete"), key=lambda t: (sign * t.values[0], t.number))

    def front(self) -> list[Trial]:
        """The trials that no other beats in all objectives, each point once, by the first."""
        signs = [-1 if more else 1 for more in self.maximize]
        points: dict[tuple[float, ...], Trial] = {}
        for trial in self.of("complete"):
            points.setdefault(tuple(s * v for s, v in zip(signs, trial.values, strict=True)), trial)
        best = [
            point
            for point in points
            if not any(
                other != point and all(o <= p for o, p in zip(other, point, strict=True))
                for other in points
            )
        ]
        return [points[point] for point in sorted(best)]

    def confirmed(self) -> dict[int, list[float]]:
        """By trial number the values with fresh seeds, if the best were trained again."""
        noted = self.attributes.get("confirmed") or {}
        return {int(number): list(values) for number, values in noted.items()}

    def winner(self) -> Trial | None:
        """The best trial, by its mean over fresh seeds where there is one."""
        ranked = self.ranked()
        means = {n: sum(values) / len(values) for n, values in self.confirmed().items() if values}
        proven = [trial for trial in ranked if trial.number in means]
        sign = -1 if self.maximize[0] else 1
        if proven:
            return min(proven, key=lambda trial: sign * means[trial.number])
        return ranked[0] if ranked else None


def read_study(storage: str, name: str) -> StudyRecord:
    """Read the study called `name`.

    Args:
        storage: the path of a journal, or the URL of a database.
        name: the study's.

    Raises:
        UserError: no such storage or study, or the storage is damaged.
    """
    opened = _open(storage)
    names = [study.study_name for study in opened.get_all_studies()]
    if name not in names:
        there = ", ".join(sorted(n for n in names if not _CONFIRMATION.search(n))) or "none"
        raise UserError(f"no study {name} in {storage}; there are: {there}")
    from optuna import load_study

    study = load_study(study_name=name, storage=opened)
    trials = study.get_trials(deepcopy=False)
    attributes = study.user_attrs
    space, config = _memory(str(attributes.get("memory", "")))
    several = len(study.directions)
    objectives = config.get("objective", "value")
    names = [objectives] if isinstance(objectives, str) else list(objectives)
    if len(names) != several:
        names = [f"value {index}" for index in range(several)]
    return StudyRecord(
        name=name,
        study=study,
        objectives=tuple(map(str, names)),
        maximize=tuple(direction.name == "MAXIMIZE" for direction in study.directions),
        space=tuple(space),
        axes=_axes(trials),
        trials=tuple(_trial(trial, config) for trial in trials),
        attributes=attributes,
    )


_CONFIRMATION = re.compile(r"-confirm-[0-9a-f]{8}$")


def _open(storage: str) -> "BaseStorage":
    """Connect, without making what is not there."""
    import optuna
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scheme, is_url, path = storage.partition("://")
    local = Path(path.removeprefix("/")) if is_url else Path(storage)
    if (not is_url or scheme.startswith("sqlite")) and not local.is_file():
        raise UserError(
            f"no studies in {local}; `perceptune train -m sweeps=digits` makes one, --storage "
            "names another journal or database"
        )
    try:
        if is_url:
            return get_storage(storage)
        return JournalStorage(JournalFileBackend(storage))
    except Exception as error:  # whatever its lines hold, or its driver raises
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{storage} cannot be read as a storage of Optuna's ({first}); a torn line of a "
            "journal is mended when the study is started again"
        ) from None


def _memory(text: str) -> tuple[list[tuple[str, str]], Mapping[str, Any]]:
    """What the sweeper compares when a study goes on: space, and the fixed configuration."""
    import yaml

    space, rest = [], []
    for line in text.splitlines():
        head, _, what = line.partition(": ")
        if head == "space":
            key, _, values = what.partition(" = ")
            space.append((key, values))
        elif head not in ("direction", "grid"):
            rest.append(line)
    config = yaml.safe_load("\n".join(rest))
    return space, config if isinstance(config, dict) else {}


def _trial(trial: "FrozenTrial", config: Mapping[str, Any]) -> Trial:
    fixed = config.get("train")
    epochs = trial.params.get("train.epochs", fixed.get("epochs") if fixed else None)
    return Trial(
        number=trial.number,
        state=trial.state.name.lower(),
        values=tuple(trial.values) if trial.state.name == "COMPLETE" and trial.values else (),
        params=trial.params,
        curve=dict(sorted(trial.intermediate_values.items())),
        planned=epochs if isinstance(epochs, int) else None,
        run_id=trial.user_attrs.get("mlflow_run_id"),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def _axes(trials: Sequence["FrozenTrial"]) -> tuple[Axis, ...]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    axes: dict[str, Axis] = {}
    for trial in trials:
        for name, dist in trial.distributions.items():
            if isinstance(dist, CategoricalDistribution):
                axes.setdefault(name, Axis(name, choices=tuple(dist.choices)))
            elif isinstance(dist, FloatDistribution | IntDistribution):
                axes.setdefault(name, Axis(name, dist.log, None, dist.low, dist.high))
    return tuple(axes.values())
