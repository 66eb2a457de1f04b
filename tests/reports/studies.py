"""Small studies made by Optuna itself, in a journal, as the sweeper would leave them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from perceptune.reports.trials import StudyRecord, read_study

MEMORY = """\
direction: maximize
grid: false
space: model.activation = choice(relu,tanh)
space: optimizer.lr = float from 0.001 to 0.1, log
objective: {objective}
train:
  epochs: 10
"""


def made(
    folder: Path,
    objective: Callable[[optuna.Trial], float | Sequence[float]],
    trials: int,
    *,
    directions: Sequence[str] = ("maximize",),
    memory: str | None = None,
) -> StudyRecord:
    """A study `small` of so many random trials, written to a journal and read back from it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = str(folder / "optuna.journal")
    study = optuna.create_study(
        study_name="small",
        storage=JournalStorage(JournalFileBackend(journal)),
        directions=list(directions),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    names = "val/accuracy" if len(directions) == 1 else "[val/accuracy, model/parameters]"
    study.set_user_attr("memory", memory or MEMORY.format(objective=names))
    study.optimize(objective, n_trials=trials, catch=(ArithmeticError,))
    return read_study(journal, "small")


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
