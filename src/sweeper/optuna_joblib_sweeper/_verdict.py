"""What a task's return or exception means for its trial."""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from optuna.trial import TrialState

from optuna_joblib_sweeper import _private
from optuna_joblib_sweeper._trial import RunningTrial
from optuna_joblib_sweeper.errors import reason_of


def verdict(
    result: JobReturn, running: RunningTrial, directions: Sequence[str]
) -> tuple[TrialState, tuple[float, ...] | None, str | None]:
    """State, values and, for a failure, the reason."""
    returned = _private.returned(result)
    if result.status != JobStatus.COMPLETED:
        if isinstance(returned, optuna.TrialPruned):
            return TrialState.PRUNED, None, None
        return TrialState.FAIL, None, reason_of(returned)
    if running.pruned:
        return TrialState.PRUNED, None, None
    values, fault = read_values(returned, directions)
    return (TrialState.FAIL if fault else TrialState.COMPLETE), values, fault


def read_values(
    returned: Any, directions: Sequence[str]
) -> tuple[tuple[float, ...] | None, str | None]:
    """The objective values that a task returned, or what is wrong with them.

    An infinity on the bad side counts as a bad value; NaN and a too good infinity are faults.
    """
    wanted = len(directions)
    try:
        values = (float(returned),) if wanted == 1 else tuple(float(value) for value in returned)
    except (TypeError, ValueError):
        what = "one number" if wanted == 1 else f"{wanted} numbers"
        return None, f"the task must return {what}, got {returned!r:.200}"
    if len(values) != wanted:
        return None, f"the task must return {wanted} numbers, got {len(values)}"
    for value, direction in zip(values, directions, strict=True):
        too_good = math.inf if direction == "maximize" else -math.inf
        if math.isnan(value) or value == too_good:
            return None, f"the task must return finite numbers, got {value}"
    return values, None
