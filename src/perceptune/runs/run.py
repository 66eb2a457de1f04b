"""One run from top to bottom: its training, or the seeds of one trial, its record, its results.

Read `train` first. The epochs are in `loop`, the end of a run in `results`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna_joblib_sweeper import CurrentTrial
from optuna_joblib_sweeper.secrets import masked
from perceptune import terminal
from perceptune.config import Config, flatten, to_yaml
from perceptune.errors import StoreError, UnrecordedError, UserError
from perceptune.nn.checkpoint import save_network
from perceptune.nn.fit import Epoch
from perceptune.runs.diagnostics import Diagnostics
from perceptune.runs.loop import run_epochs
from perceptune.runs.results import final_metrics, metadata, record_results
from perceptune.runs.training import (
    Training,
    restore_attempt,
    resume,
    save,
    start,
)
from perceptune.tracking import ownership
from perceptune.tracking.lifecycle import open_folder, open_run
from perceptune.tracking.reading import has_run
from perceptune.tracking.recorder import Recorder
from perceptune.tracking.runs import Run
from perceptune.tracking.store import ExperimentRef

# Settings that have no effect on the network.
_UNRECORDED = ("tracking", "resume", "register", "backends")


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        metrics: final metrics, by name; their means over several seeds.
        outcome: finished, stopped_early or pruned.
        run: where it is recorded.
        name: the run's name.
        best_epoch: the epoch whose weights were kept; the latest of several seeds.
        epochs: number of epochs trained; the largest of several seeds.
        history: metrics of each epoch, by name, with its `epoch`; the first of several seeds.
    """

    metrics: dict[str, float]
    outcome: str
    run: Run
    name: str
    best_epoch: int
    epochs: int
    history: Sequence[Mapping[str, float]]


def train(
    config: Config,
    overrides: Sequence[str],
    folder: Path,
    *,
    trial: CurrentTrial | None = None,
    tags: Mapping[str, str] | None = None,
    recorder: Recorder | None = None,
    quiet: bool = True,
) -> Result:
    """Train, record and evaluate one network, or in a trial `repeats` seeds side by side.

    Args:
        config: what to train; `tracking.parent` names the run above it.
        overrides: the command line's, recorded with the run.
        folder: where files go without a store.
        trial: the current trial of a study; None or false outside a study.
        tags: recorded with the run.
        recorder: writes the record meanwhile, if there is one.
        quiet: print neither progress nor scores, as for one job of several.

    Raises:
        UserError: the data, store or checkpoint cannot be used, or the training diverged.
    """
    from threadpoolctl import threadpool_limits

    trial = trial or CurrentTrial()
    if trial:
        refuse_test(config)
        assert trial.folder is not None
        folder = trial.folder
    with threadpool_limits(config.threads):
        trainings = _begin(config, list(overrides), trial)
        first = trainings[0]
        config = config if trial else first.config
        name = name_of(config, first.overrides)
        recorded = _recorded(trainings, config, name, folder, trial, tags, recorder)
        with _kept(trainings, folder), recorded as run, _resume_hint(first, quiet):
            if not quiet:
                terminal.say(f"training {name} on {first.data.name}")
            outcome = _run(trainings, config, run, trial, quiet)
            metrics, predictions = final_metrics(trainings, run, outcome, in_trial=bool(trial))
            best = max(training.best.epoch for training in trainings)
            epochs = max(training.state.epoch for training in trainings)
            result = Result(metrics, outcome, run, name, best, epochs, first.history)
            if not quiet:
                print(terminal.scores(result), flush=True)
                if config.tracking.enabled:
                    terminal.say("recording weights, model and figures")
            record_results(trainings, run, predictions, in_trial=bool(trial))
        for training in trainings:
            if training.checkpoint:
                training.checkpoint.unlink(missing_ok=True)
    return result


def refuse_test(config: Config) -> None:
    """Refuse to read the test set in a study, where every choice is made on validation samples.

    Raises:
        UserError: `config` would have a trial read the test set.
    """
    if config.policy.evaluate_test is True:
        raise UserError("train.evaluate_test=true is refused in a study; set it to auto or false")


def describe(run: Run, config: Config, training: Training) -> None:
    """Record settings, sizes and data set, before the first epoch."""
    network, parts, data = training.network, training.parts, training.data
    settings = {key: value for key, value in config.settings.items() if key not in _UNRECORDED}
    hidden = network.widths[1:-1]
    sizes = {f"model.width_{number}": width for number, width in enumerate(hidden, start=1)}
    sizes |= {"model.layers": len(hidden), "model.parameters": network.layout.size}
    run.log_params(flatten(settings) | sizes)
    profile = {
        "train": len(parts.train),
        "validation": len(parts.validation) if parts.validation else 0,
        "test": len(parts.test),
        "shape": data.shape,
        "classes": len(data.classes),
    }
    run.log_data(data.name, data.digest, data.origin, profile)
    run.log_text("config.yaml", to_yaml(config.recorded))
    run.log_text("overrides.yaml", masked(to_yaml(training.overrides)))


def name_of(config: Config, overrides: Sequence[str]) -> str:
    """A run's name: `adam lr=0.001 [128,64] relu`, and the other overrides."""
    model, optimizer = config.settings["model"], config.settings["optimizer"]
    hidden = ",".join(map(str, config.network.hidden))
    name = f"{optimizer['name']} lr={config.recipe.lr:g} [{hidden}] {model['activation']}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key not in _NAMED and not key.startswith("tracking"):
            name += f" {key.rpartition('.')[2]}={value}"
    return name[:_LONGEST_NAME]


def _begin(config: Config, overrides: list[str], trial: CurrentTrial) -> list[Training]:
    """The trainings of the run, each resumed from its checkpoint if there is one."""
    if not trial:
        return [_resume(config, overrides) if config.resume else start(config, overrides)]
    # When a trial is confirmed, each fresh seed has a run of its own.
    seeds = [config.seed] if trial.confirming else seeds_of(config)
    assert trial.folder is not None
    trainings = []
    for seed in seeds:
        training = start(config.changed(seed=seed, repeats=1), overrides)
        name = "checkpoint.npz" if len(seeds) == 1 else f"checkpoint_{seed}.npz"
        training.checkpoint = trial.folder / name
        restore_attempt(training)
        trainings.append(training)
    # Read by `sweep_hooks` after the study.
    (trial.folder / "config.yaml").write_text(to_yaml(config.recorded))
    return trainings


def _resume(config: Config, overrides: list[str]) -> Training:
    """Resume a training in the store in use if that has its run: a project may have been moved."""
    training = resume(config, overrides)
    tracking, here = training.config.tracking, config.tracking.uri
    if tracking.enabled and training.run_id and tracking.uri != here:
        typed = any(word.startswith("tracking.uri=") for word in overrides)
        if typed or has_run(here, training.run_id):
            training.config = training.config.changed(**{"tracking.uri": here})
    return training


def seeds_of(config: Config) -> list[int]:
    """The seeds that `repeats` names."""
    return list(range(config.seed, config.seed + config.repeats))


def _run(
    trainings: Sequence[Training], config: Config, run: Run, trial: CurrentTrial, quiet: bool
) -> str:
    """Train and record, epoch by epoch, in an open run; returns the outcome."""
    first = trainings[0]
    if all(training.state.epoch == 0 for training in trainings):
        describe(run, config, first)
    elif not trial:
        _record_missing(first, run)
    diagnostics = Diagnostics(first) if config.tracking.diagnostics else None
    with terminal.progress(config.recipe.epochs, first.state.epoch, quiet=quiet) as show:

        def observe(record: Epoch) -> dict[str, float]:
            show(record)
            return diagnostics.metrics(record.lr) if diagnostics else {}

        run.outcome = run_epochs(trainings, run, trial, observe)
    if diagnostics and first.network.widths[1:-1]:
        run.log_figure("activations", diagnostics.draw)
    return run.outcome


def _record_missing(training: Training, run: Run) -> None:
    """Record the epochs before a resumption that the record lacks."""
    for row in training.history:
        measured = {name: value for name, value in row.items() if name != "epoch"}
        run.log_metrics(measured, int(row["epoch"]))


@contextmanager
def _kept(trainings: Sequence[Training], folder: Path) -> Iterator[None]:
    """Keep what was trained in `folder` if the store, or the disk below it, fails.

    Raises:
        UnrecordedError: the failure, and where the network is.
    """
    try:
        yield
    except (StoreError, OSError) as error:
        if trainings[0].state.epoch == 0:
            raise
        places = [_keep(training, folder) for training in trainings]
        raise UnrecordedError(f"{error}; {'; '.join(places)}") from error


def _keep(training: Training, folder: Path) -> str:
    """Write network and checkpoint; returns where they are, as text."""
    seed = f"_{training.config.seed}" if training.config.repeats > 1 else ""
    weights = folder / "weights" / f"best{seed}.npz"
    training.checkpoint = training.checkpoint or folder / "checkpoint.npz"
    again = f"perceptune train resume={training.run_id or training.checkpoint}"
    try:
        save_network(weights, training.network, training.best.theta, metadata(training))
        save(training)
    except OSError as error:
        lost = f"the network could not be kept in {folder}: {error.strerror or error}"
        there = training.checkpoint.is_file()
        return f"{lost}; the last checkpoint is there: {again}" if there else lost
    return f"the network after epoch {training.best.epoch} is in {weights}; to go on: {again}"


@contextmanager
def _resume_hint(training: Training, quiet: bool) -> Iterator[None]:
    """Print the command that resumes the training if it is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if not quiet and training.checkpoint and training.checkpoint.is_file():
            print(terminal.how_to_resume(training.run_id or str(training.checkpoint)))
        raise


@contextmanager
def _recorded(
    trainings: Sequence[Training],
    config: Config,
    name: str,
    folder: Path,
    trial: CurrentTrial,
    tags: Mapping[str, str] | None,
    recorder: Recorder | None,
) -> Iterator[Run]:
    """The run's record; also sets the run id and checkpoint of the trainings."""
    first = trainings[0]
    if not config.tracking.enabled:
        first.checkpoint = first.checkpoint or folder / "checkpoint.npz"
        with open_folder(folder, name=name, tags=tags or {}) as folder_run:
            yield folder_run
        return
    blas = ownership.blas()
    kernel = f"{blas['library']} {blas['version']} {blas['kernel']}"
    opened = open_run(
        ExperimentRef(config.tracking.uri, config.tracking.experiment),
        name=name,
        tags={**(tags or {}), "blas": kernel, "threads": str(blas["threads"])},
        parent=config.tracking.parent,
        run_id=trial.mlflow_run_id or first.run_id,
        borrowed=trial.mlflow_run_id is not None,
        fresh=trial.attempt == 0,
        recorder=recorder,
    )
    run: Run | None = None
    try:
        with opened as run:
            _identify(trainings, run)
            yield run
    finally:
        if run is not None:  # a recorder may have learnt it since
            _identify(trainings, run)


def _identify(trainings: Sequence[Training], run: Run) -> None:
    for training in trainings:
        training.identify(run.id or training.run_id)


_LONGEST_NAME = 200
_NAMED = (
    "optimizer",
    "optimizer.lr",
    "model.hidden",
    "model.activation",
    "resume",
    "register",
    "backends",
)
