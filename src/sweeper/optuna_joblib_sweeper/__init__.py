"""Asynchronous, pruned, resumable, crash-proof Optuna studies for any Hydra app.

This page is what a task imports, so it needs the standard library alone:

    trial = current_trial()
    for epoch in range(epochs):
        ...
        trial.report(accuracy, epoch)
        if trial.should_prune():
            break

What a study found is a `SweepResult`: `hydra.sweeper.on_complete` is called with it, and
`load_study` reads it from the storage at any time.
"""

from optuna_joblib_sweeper.current import CurrentTrial, current_trial
from optuna_joblib_sweeper.reading import load_study
from optuna_joblib_sweeper.result import SweepResult, TrialResult

__all__ = ["CurrentTrial", "SweepResult", "TrialResult", "current_trial", "load_study"]
__version__ = "0.1.0"
