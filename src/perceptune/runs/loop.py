"""The epoch loop: one training, or several seeds of one configuration, epoch by epoch.

Several advance together so that a pruner compares the mean of all seeds with other trials' means at
the same epoch. Knows neither how a run starts nor what is recorded at its end.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from optuna_joblib_sweeper import CurrentTrial
from perceptune.evaluation import Spread
from perceptune.nn.fit import Epoch, fit
from perceptune.runs.training import Training, save
from perceptune.tracking.runs import Run

_WITH_SD = ("val/accuracy", "val/loss")  # metrics whose spread is recorded at each epoch

Observer = Callable[[Epoch], dict[str, float]]
"""Called after each epoch; returns further metrics to record with it."""


def run_epochs(
    trainings: Sequence[Training],
    run: Run,
    trial: CurrentTrial,
    observe: Observer,
    epochs: Callable[[Training], Iterator[Epoch]] | None = None,
) -> str:
    """Train all of `trainings` to the end.

    Args:
        trainings: one, or several that differ by seed alone.
        run: records the metrics of each epoch, or their means over several trainings.
        trial: receives the objective after each epoch, and may stop all of them.
        observe: see `Observer`.
        epochs: trains one of them and yields its epochs; by default `nn.fit`.

    Returns:
        The outcome: finished, stopped_early or pruned.

    Raises:
        DivergedError: a loss is not finite.
    """
    config = trainings[0].config
    proceeding = {id(training): (epochs or _fit)(training) for training in trainings}
    saved = time.monotonic()
    while active := [training for training in trainings if not training.ended]:
        # The one furthest behind, since after a crash their checkpoints may differ.
        training = min(active, key=lambda training: training.state.epoch)
        record = next(proceeding[id(training)])
        training.record_epoch(record)
        if any(other.state.epoch < record.number for other in trainings if not other.ended):
            continue
        metrics = mean_metrics(trainings, record.number)
        run.log_metrics(metrics | observe(record), record.number)
        if _is_pruned(trial, metrics.get(config.objectives[0]), record.number):
            return "pruned"
        if _is_due(saved, config.policy.checkpoint_seconds):
            for training in trainings:
                training.identify(run.identified())
                save(training)
            saved = time.monotonic()
    early = any(training.state.epoch < config.recipe.epochs for training in trainings)
    return "stopped_early" if early else "finished"


def mean_metrics(trainings: Sequence[Training], epoch: int) -> dict[str, float]:
    """The means over trainings of their last metrics up to `epoch`, since one may have stopped."""
    rows = [
        next(record for record in reversed(training.history) if record["epoch"] <= epoch)
        for training in trainings
    ]
    names = [name for name in rows[0] if name != "epoch"]
    if len(rows) == 1:
        return {name: rows[0][name] for name in names}
    spreads = {name: Spread.of([row[name] for row in rows]) for name in names}
    sds = {f"{name}/sd": spreads[name].sd for name in _WITH_SD if name in spreads}
    return {name: spread.mean for name, spread in spreads.items()} | sds


def _fit(training: Training) -> Iterator[Epoch]:
    parts = training.parts
    return fit(
        training.network, training.state, training.config.recipe, parts.train, parts.validation
    )


def _is_pruned(trial: CurrentTrial, value: float | None, epoch: int) -> bool:
    if not trial or value is None:
        return False
    trial.report(value, epoch)
    return trial.should_prune()


def _is_due(last: float, interval: float | None) -> bool:
    """True once `interval` seconds have passed since the last checkpoint; None means never."""
    return interval is not None and time.monotonic() - last >= interval
