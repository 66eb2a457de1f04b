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
from perceptune.errors import UserError
from perceptune.nn.checkpoint import SavedNetwork, load_network
from perceptune.tracking import store
from perceptune.tracking.models import fetch_weights
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
            config, weights = _weights_of(study, trial, Path(scratch))
            saved = load_network(weights)
            data, parts, _ = prepare(config)
            said = conclusion.predictions(data, saved.network, saved.theta, "test", parts.test)
            scores = said.metrics("test")
            accuracy = scores["test/accuracy"]
            print(f"The test set, read once, for trial {trial.number}: accuracy {accuracy:.4f}")
            if parent_run_id is None:
                continue
            # A study may go on in another store than the one that its first trials are in.
            run = store.log_to(study.user_attrs["mlflow_uri"], parent_run_id)
            run.log_metrics(said.metrics(f"trial_{trial.number}/test") if several else scores)
            if config.tracking.figures != "none":
                suffix = f"_{trial.number}" if several else ""
                exhibits.show(run, said, suffix)
                exhibits.show_weights(run, saved.network, saved.theta, data.shape, suffix)
            if not several:
                run.log_model(weights, conclusion.example(parts), _entry(config, saved, data))
                if run.registered:
                    print(f"The winner is {run.registered}")


def _entry(config: Config, saved: SavedNetwork, data: Dataset) -> Entry | None:
    if config.register is None:
        return None
    return Entry(config.register, saved.notes.get("val/accuracy"), data.digest, crown=True)


def _weights_of(study: Any, trial: Any, scratch: Path) -> tuple[Config, Path]:
    """A trial's configuration, and the file of the best weights that it met."""
    folder = Path(study.user_attrs["folder"]) / "trials" / study.study_name / str(trial.number)
    composed = OmegaConf.load(folder / "config.yaml")
    assert isinstance(composed, DictConfig)
    config = parse(composed)
    run_id = trial.user_attrs.get("mlflow_run_id")
    if run_id is None:
        return config, folder / "weights" / "best.npz"
    return config, fetch_weights(config.tracking.uri, run_id, scratch)
