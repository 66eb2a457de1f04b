"""Hooks of the sweeper: the check before a study, and the evaluation of its winner after it.

conf/hydra/sweeper/study.yaml names both.
"""

import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from optuna_joblib_sweeper import SweepResult, TrialResult
from perceptune.config import Config, parse
from perceptune.data.dataset import Dataset
from perceptune.data.split import Split
from perceptune.errors import UserError
from perceptune.evaluation import Spread
from perceptune.nn.checkpoint import SavedNetwork, load_network
from perceptune.runs.results import (
    Predictions,
    example,
    log_first_layer,
    log_predictions,
    weights_folder,
)
from perceptune.runs.run import refuse_test, seeds_of
from perceptune.runs.training import prepare
from perceptune.seeds import in_words
from perceptune.tracking.lifecycle import write_to
from perceptune.tracking.registry import BEST, Registration, fetch_weights


def check(composed: DictConfig) -> None:
    """Refuse a configuration before the study exists: each trial of it would fail.

    Raises:
        UserError: see `config.parse` and `data.sources.load`; or its trials would read the test
            set, resume another run, or lack the metric of an objective.
    """
    config = parse(composed)
    refuse_test(config)
    if config.resume is not None:
        raise UserError("resume is for one training; to resume a study, run its command again")
    if config.repeats > 1 and config.tracking.diagnostics:
        raise UserError(
            f"tracking.diagnostics is for one training, got repeats={config.repeats} in a study; "
            "set tracking.diagnostics=false or repeats=1"
        )
    if config.data.validation == 0 and any(name.startswith("val/") for name in config.objectives):
        raise UserError(
            f"objective={config.objective} needs validation samples; set data.validation above 0"
        )
    prepare(config)


def evaluate_winner(result: SweepResult) -> None:
    """Evaluate the winner on the test set, which is read for the first time in this study.

    With `register` set the winner becomes a model of that name, and its champion if it beats the
    previous one on validation samples. A Pareto front has no winner to register: each of its trials
    is evaluated.
    """
    several = len(result.winners) > 1
    for trial in result.winners:
        with tempfile.TemporaryDirectory() as scratch:
            _evaluate(result, trial, Path(scratch), several)


def _evaluate(result: SweepResult, trial: TrialResult, scratch: Path, several: bool) -> None:
    """Evaluate one trial; record scores, figures and model on the study's run."""
    composed = OmegaConf.load(trial.folder / "config.yaml")
    assert isinstance(composed, DictConfig)
    if result.tracking_uri is not None:  # the file may have it without a password
        composed.tracking.uri = result.tracking_uri
    config = parse(composed)
    weights = _weights_of(trial, result.tracking_uri, BEST, scratch)
    saved = load_network(weights)
    data, parts, _ = prepare(config)
    predictions = Predictions.by(saved.network, saved.theta, data, "test", parts.test)
    scores = predictions.metrics("test")
    if config.repeats > 1:
        scores |= _evaluate_seeds(result, trial, config, data, parts)
    else:
        print(f"{_READ_ONCE} {trial.number}: accuracy {scores['test/accuracy']:.4f}")
    if result.run_id is None or result.tracking_uri is None:
        return
    with write_to(result.tracking_uri, result.run_id) as run:
        prefix, suffix = (f"trial_{trial.number}/", f"_{trial.number}") if several else ("", "")
        run.log_metrics({f"{prefix}{name}": value for name, value in scores.items()})
        if config.tracking.figures != "none":
            log_predictions(run, predictions, suffix)
            log_first_layer(run, saved.network, saved.theta, data.shape, suffix)
        if not several:
            run.log_model(weights, example(parts), _registration(config, saved, data))
            if run.registered:
                print(f"The winner is {run.registered}")


def _evaluate_seeds(
    result: SweepResult, trial: TrialResult, config: Config, data: Dataset, parts: Split
) -> dict[str, float]:
    """Test accuracy of the networks of a trial's seeds: prints and returns its spread."""
    seeds = seeds_of(config)
    accuracies = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as scratch:
            artifact = f"{weights_folder(seed)}/best.npz"
            saved = load_network(_weights_of(trial, result.tracking_uri, artifact, Path(scratch)))
        predictions = Predictions.by(saved.network, saved.theta, data, "test", parts.test)
        accuracies.append(predictions.scores().accuracy)
    spread = Spread.of(accuracies)
    print(f"{_READ_ONCE} {trial.number}: {in_words('accuracy', spread, seeds)}")
    return spread.metrics("test/accuracy")


def _registration(config: Config, saved: SavedNetwork, data: Dataset) -> Registration | None:
    if config.register is None:
        return None
    accuracy = saved.metadata.get("val/accuracy")
    return Registration(config.register, accuracy, data.digest, promote=True)


def _weights_of(trial: TrialResult, uri: str | None, artifact: str, scratch: Path) -> Path:
    """The file `artifact` of a trial: of its run, or without a store in its folder."""
    if trial.run_id is None or uri is None:
        return trial.folder / artifact
    return fetch_weights(uri, trial.run_id, scratch, artifact)


_READ_ONCE = "The test set, read once, for trial"
