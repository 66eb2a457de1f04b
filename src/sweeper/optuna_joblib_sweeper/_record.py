"""A study as a record for its tracked run: parameters and a table; knows no MLflow."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from optuna_joblib_sweeper._config import Settings
from optuna_joblib_sweeper._study import StudyStore


def trials_csv(store: StudyStore) -> str:
    """All trials, one a row."""
    trials = store.trials()
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    several = len(store.storage.get_study_directions(store.study_id))
    values = ["value"] if several == 1 else [f"value_{index}" for index in range(several)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "state", *values, *keys, "attempt", "seconds", "run_id", "reason"])
    for trial in trials:
        seconds = trial.duration.total_seconds() if trial.duration else ""
        writer.writerow(
            [
                trial.number,
                trial.state.name,
                *(trial.values or [""] * several),
                *(trial.params.get(key, "") for key in keys),
                trial.user_attrs.get("attempt", 0),
                seconds,
                trial.user_attrs.get("mlflow_run_id", ""),
                trial.user_attrs.get("reason", ""),
            ]
        )
    return out.getvalue()


def parent_params(
    settings: Settings, space: Sequence[str], budget: int | None, points: int | None
) -> dict[str, Any]:
    """Space, sampler, pruner and budget, as parameters of the parent run."""
    params: dict[str, Any] = {
        "sampler": _kind(settings.sampler),
        "pruner": _kind(settings.pruner),
        "direction": ", ".join(settings.directions),
        "n_trials": budget,
        "n_jobs": settings.n_jobs,
        "threads": settings.threads,
        "seed": settings.seed,
    }
    if points is not None:
        params["grid_points"] = points
    for line in space:
        key, _, what = line.partition(" = ")
        params[f"space/{key}"] = what
    return params


def _kind(config: Mapping[str, Any]) -> str:
    return str(config.get("_target_", "")).rsplit(".", 1)[-1]
