"""What Perceptune adds to a study: the check before it, and the winner's test after it.

The sweeper calls these by name (conf/hydra/sweeper/study.yaml) and knows nothing else of us.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from perceptune import conclusion, exhibits, experiment
from perceptune.config import Config, parse
from perceptune.data.dataset import Dataset
from perceptune.data.split import Split
from perceptune.errors import UserError
from perceptune.nn.checkpoint import SavedNetwork, load_network
from perceptune.repeats import seeds_of
from perceptune.seeds import Spread, in_words
from perceptune.together import weights_folder
from perceptune.tracking.lifecycle import log_to
from perceptune.tracking.models import BEST, fetch_weights
from perceptune.tracking.run import Entry
from perceptune.training import prepare


def check(composed: DictConfig) -> None:
    """Refuse a configuration before the study exists: each trial of it would fail.

    Raises:
        UserError: see `config.parse` and `data.sources.load`; or it would have trials read the
            test set, go on with another run, or return what they do not measure.
    """
    config = parse(composed)
    experiment.refuse_test(config)
    if config.resume is not None:
        raise UserError("resume is for one training; a study goes on by its own command")
    if config.repeats > 1 and config.tracking.diagnostics:
        raise UserError(
            f"tracking.diagnostics is of one training, got repeats={config.repeats} in a study; "
            "set one of them back"
        )
    if config.data.validation == 0 and any(name.startswith("val/") for name in config.objectives):
        raise UserError(
            f"objective={config.objective} needs validation samples; set data.validation above 0"
        )
    prepare(config)


def crown(study: Any, best: Any, parent_run_id: str | None) -> None:
    """Read the test set, for the first time in this study: with the winner's weights.

    With `register` set the winner becomes a model of that name, and its champion if it is
    better on validation samples than the one before. A Pareto front has no winner to register.

    Args:
        study: the Optuna study.
        best: its best trial, or the Pareto front's trials if there are several objectives.
        parent_run_id: the MLflow run of the study, which gets scores, pictures and model.
    """
    winners: Sequence[Any] = best if isinstance(best, list) else [best]
    several = len(winners) > 1
    for trial in winners:
        with tempfile.TemporaryDirectory() as scratch:
            config = _config_of(study, trial)
            weights = _weights_of(study, trial, config, BEST, Path(scratch))
            saved = load_network(weights)
            data, parts, _ = prepare(config)
            said = conclusion.predictions(data, saved.network, saved.theta, "test", parts.test)
            scores = said.metrics("test")
            if config.repeats > 1:
                scores |= _test_seeds(study, trial, config, data, parts)
            else:
                accuracy = scores["test/accuracy"]
                print(f"{_READ_ONCE} {trial.number}: accuracy {accuracy:.4f}")
            if parent_run_id is None:
                continue
            # A study may go on in another store than the one that its first trials are in.
            run = log_to(study.user_attrs["mlflow_uri"], parent_run_id)
            prefix = f"trial_{trial.number}/" if several else ""
            run.log_metrics({f"{prefix}{name}": value for name, value in scores.items()})
            if config.tracking.figures != "none":
                suffix = f"_{trial.number}" if several else ""
                exhibits.show(run, said, suffix)
                exhibits.show_weights(run, saved.network, saved.theta, data.shape, suffix)
            if not several:
                run.log_model(weights, conclusion.example(parts), _entry(config, saved, data))
                if run.registered:
                    print(f"The winner is {run.registered}")


def _test_seeds(
    study: Any, trial: Any, config: Config, data: Dataset, parts: Split
) -> dict[str, float]:
    """How the networks of a trial's seeds do on the test set: said, and by metric name."""
    seeds = seeds_of(config)
    accuracies = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as scratch:
            artifact = f"{weights_folder(seed)}/best.npz"
            saved = load_network(_weights_of(study, trial, config, artifact, Path(scratch)))
        said = conclusion.predictions(data, saved.network, saved.theta, "test", parts.test)
        accuracies.append(said.scores().accuracy)
    spread = Spread.of(accuracies)
    print(f"{_READ_ONCE} {trial.number}: {in_words('accuracy', spread, seeds)}")
    return spread.metrics("test/accuracy")


def _entry(config: Config, saved: SavedNetwork, data: Dataset) -> Entry | None:
    if config.register is None:
        return None
    return Entry(config.register, saved.notes.get("val/accuracy"), data.digest, crown=True)


def _config_of(study: Any, trial: Any) -> Config:
    composed = OmegaConf.load(_folder_of(study, trial) / "config.yaml")
    assert isinstance(composed, DictConfig)
    return parse(composed)


def _weights_of(study: Any, trial: Any, config: Config, artifact: str, scratch: Path) -> Path:
    """The file `artifact` of a trial's run."""
    run_id = trial.user_attrs.get("mlflow_run_id")
    if run_id is None:
        return _folder_of(study, trial) / artifact
    return fetch_weights(config.tracking.uri, run_id, scratch, artifact)


def _folder_of(study: Any, trial: Any) -> Path:
    trials: Path = Path(study.user_attrs["folder"]) / "trials"
    return trials.joinpath(study.study_name, str(trial.number))


_READ_ONCE = "The test set, read once, for trial"
