"""A trial with several seeds: their trainings go on side by side, and their mean is the trial's.

Epoch by epoch, so that the pruner compares the mean of all seeds with other trials' means at the
same epoch. One seed after another would have it compare a lucky seed with an unlucky one.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from optuna_joblib_sweeper import current_trial
from perceptune import conclusion, figures
from perceptune.config import Config
from perceptune.experiment import Result, describe, due, keep_config, name_of, recorded, refuse_test
from perceptune.experiment import take as take_record
from perceptune.nn.fit import fit
from perceptune.repeats import seeds_of
from perceptune.seeds import Spread
from perceptune.tracking.run import Run
from perceptune.training import Training, save, start, take_up

_SPREAD = ("val/accuracy", "val/loss")  # whose deviation is recorded at each epoch


def train(config: Config, overrides: list[str], tags: Mapping[str, str]) -> Result:
    """Train the seeds of the current trial; the result's metrics are their means.

    Raises:
        UserError: see `experiment.train`; one seed that diverges fails the trial.
    """
    from threadpoolctl import threadpool_limits

    trial = current_trial()
    assert trial.folder is not None
    refuse_test(config)
    with threadpool_limits(config.threads):
        trainings = [_begin(config, seed, overrides, trial.folder) for seed in seeds_of(config)]
        keep_config(config, trial.folder)  # for `study.crown`
        first, name = trainings[0], name_of(config, overrides)
        first.run_id = trial.mlflow_run_id
        with recorded(first, name, trial.folder, None, tags) as run:
            if all(training.state.epoch == 0 for training in trainings):
                describe(run, first)
            for training in trainings:
                training.run_id = run.id
            outcome = run.outcome = _run_epochs(config, trainings, run)
            metrics = _conclude(config, trainings, run)
            for training in trainings:
                assert training.checkpoint is not None
                training.checkpoint.unlink(missing_ok=True)
    best, made = (max(t.best.epoch for t in trainings), max(t.state.epoch for t in trainings))
    return Result(metrics, outcome, run, name, best, made)


def weights_folder(seed: int) -> str:
    """Where a trial with several seeds keeps the weights of one."""
    return f"weights/seed_{seed}"


def _begin(config: Config, seed: int, overrides: list[str], folder: Path) -> Training:
    training = start(replace(config, seed=seed), overrides)
    training.checkpoint = folder / f"checkpoint_{seed}.npz"
    take_up(training)
    return training


def _run_epochs(config: Config, trainings: Sequence[Training], run: Run) -> str:
    """Advance whichever is furthest behind: after a death their checkpoints may differ."""
    trial, recipe, objective = current_trial(), config.recipe(), config.objectives[0]
    fits = {
        training.config.seed: fit(
            training.network,
            training.state,
            recipe,
            training.parts.train,
            training.parts.validation,
        )
        for training in trainings
    }
    last_checkpoint = time.monotonic()
    while going := [training for training in trainings if not _ended(training)]:
        behind = min(going, key=lambda training: training.state.epoch)
        record = next(fits[behind.config.seed])
        take_record(behind, record)
        if any(not _ended(t) and t.state.epoch < record.number for t in trainings):
            continue
        metrics = _means(trainings, record.number)
        run.log_metrics(metrics, record.number)
        if objective in metrics:
            trial.report(metrics[objective], record.number)
            if trial.should_prune():
                return "pruned"
        if due(last_checkpoint, config.train.checkpoint_seconds):
            for training in trainings:
                save(training)
            last_checkpoint = time.monotonic()
    early = any(training.state.epoch < recipe.epochs for training in trainings)
    return "stopped_early" if early else "finished"


def _ended(training: Training) -> bool:
    train = training.config.train
    impatient = train.patience is not None and training.best.age >= train.patience
    return impatient or training.state.epoch >= train.epochs


def _means(trainings: Sequence[Training], epoch: int) -> dict[str, float]:
    """Over the seeds, of what each measured last up to `epoch`: one may have stopped early."""
    rows = [
        next(record for record in reversed(training.history) if record["epoch"] <= epoch)
        for training in trainings
    ]
    spreads = {name: Spread.of([row[name] for row in rows]) for name in rows[0] if name != "epoch"}
    deviations = {f"{name}/sd": spreads[name].sd for name in _SPREAD if name in spreads}
    return {name: spread.mean for name, spread in spreads.items()} | deviations


def _conclude(config: Config, trainings: Sequence[Training], run: Run) -> dict[str, float]:
    """Record weights and spreads; the means are the trial's numbers. Never reads the test set."""
    spreads = {
        name: Spread.of([training.best.metrics[name] for training in trainings])
        for name in trainings[0].best.metrics
    }
    run.log_metrics({k: v for name in spreads for k, v in spreads[name].metrics(name).items()})
    fit_seconds = sum(training.seconds for training in trainings)
    best_epoch = fmean(training.best.epoch for training in trainings)
    logged = {"fit_seconds": fit_seconds, "best/epoch": best_epoch}
    if "val/accuracy" in spreads:
        logged["best/val_accuracy"] = spreads["val/accuracy"].mean
    run.log_metrics(logged)
    for training in trainings:
        conclusion.keep_weights(training, run, weights_folder(training.config.seed))
    best = max(trainings, key=lambda training: training.best.metrics.get("val/accuracy", 0.0))
    conclusion.keep_weights(best, run)
    if config.tracking.enabled and config.tracking.figures == "all":
        histories = [training.history for training in trainings]
        conclusion.log_picture(run, "seeds", lambda path: figures.seeds(path, histories))
    size = float(trainings[0].network.layout.size)
    means = {name: spread.mean for name, spread in spreads.items()}
    return means | {"model/parameters": size, **logged}
