"""Small studies for reports, made by Optuna in memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from optuna_joblib_sweeper import SweepResult, TrialResult
from optuna_joblib_sweeper.mlflow_runs import winner_tags
from optuna_joblib_sweeper.result import SweptParameter
from perceptune.reports.tracked import TrackedStudy
from perceptune.tracking.reading import RunRecord

Objective = Callable[[optuna.Trial], float | Sequence[float]]

PARAMETERS = (
    SweptParameter("optimizer.lr", low=1e-3, high=1e-1, log=True),
    SweptParameter("model.activation", choices=("relu", "tanh")),
)


def made(objective: Objective, trials: int, **changed: Any) -> SweepResult:
    """The result of a study `small` of so many random trials, with some fields changed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = changed.get("directions", ("maximize",))
    study = optuna.create_study(
        directions=list(directions), sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=trials, catch=(ArithmeticError,))
    result = SweepResult(
        name="small",
        storage="memory",
        objectives=("val/accuracy", "model/parameters")[: len(directions)],
        directions=directions,
        space=(("optimizer.lr", "float from 0.001 to 0.1, log"),),
        parameters=PARAMETERS,
        config={"train": {"epochs": 10}},
        trials=tuple(map(_result_of, study.trials)),
        sampler="RandomSampler",
        pruner="NopPruner",
        seed=0,
        n_trials=trials,
        n_jobs=1,
        tracking_uri=None,
        run_id=None,
        winner_command=None,
        winner_overlay=None,
        study=study,
    )
    return replace(result, **changed)


def with_runs(result: SweepResult, **metrics: float) -> TrackedStudy:
    """The study with a run for each trial, and one of its own that names the winner's."""
    trials = tuple(replace(trial, run_id=f"run {trial.number}") for trial in result.trials)
    result = replace(result, trials=trials, run_id="parent")
    assert result.winner is not None
    tags = winner_tags(str(result.winner.run_id))
    run = RunRecord("parent", "small", "FINISHED", "", {}, metrics, tags)
    return TrackedStudy(result, "sqlite:///none.db", run)


def _result_of(trial: optuna.trial.FrozenTrial) -> TrialResult:
    complete = trial.state == optuna.trial.TrialState.COMPLETE
    return TrialResult(
        number=trial.number,
        state=trial.state.name.lower(),
        values=tuple(trial.values) if complete else (),
        params=trial.params,
        overrides=tuple(f"{key}={value}" for key, value in trial.params.items()),
        folder=Path(str(trial.number)),
        run_id=None,
        reports=trial.intermediate_values,
        confirmed=(),
        reason=None,
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def by_lr(trial: optuna.Trial) -> float:
    """Almost only the learning rate matters: best in the middle of its range; trial 3 is pruned."""
    rate = trial.suggest_float("optimizer.lr", 1e-3, 1e-1, log=True)
    name = trial.suggest_categorical("model.activation", ["relu", "tanh"])
    for epoch in range(1, 11):
        trial.report(0.1 * epoch, epoch)
        if trial.number == 3 and epoch == 4:
            raise optuna.TrialPruned
    if trial.number == 5:
        raise ArithmeticError
    return 1 - abs(rate - 1e-2) + (1e-4 if name == "tanh" else 0)
