"""One training in several libraries: each in a process of its own, with the same start and batches.

Knows how to run, skip, judge and record them; of the libraries it knows only their names.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median, stdev

from perceptune import backends, figures, machine
from perceptune.backends import runner
from perceptune.backends.runner import BackendFailedError, Measured, Steps
from perceptune.config import Config
from perceptune.errors import UserError
from perceptune.experiment import describe, name_of
from perceptune.figures.comparison import Curve
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.run import FolderRun, Run
from perceptune.tracking.store import Place
from perceptune.training import Training, metrics_of, start

Tell = Callable[[str], None]
"""Called with what begins now, in a few words."""


@dataclass
class Contestant:
    """One backend's part in a comparison.

    Attributes:
        trained: what its training came to, for each seed that it could be made with.
        parity: for each of these the largest relative difference of a loss and of a weight.
        reason: why it was skipped or has failed, in a line.
    """

    trained: list[Measured] = field(default_factory=list)
    parity: list[tuple[float, float]] = field(default_factory=list)
    reason: str = ""

    def typical(self) -> dict[str, float]:
        """Medians over the seeds, by metric name; parity is the worst of them."""
        each = [_metrics(*pair) for pair in zip(self.trained, self.parity, strict=True)]
        medians = {key: median(one[key] for one in each) for key in each[0]}
        worst = {key: max(one[key] for one in each) for key in each[0] if "parity" in key}
        return medians | worst

    def spread(self, key: str) -> float | None:
        """The standard deviation of a metric over the seeds, if there are several."""
        values = [_metrics(*pair)[key] for pair in zip(self.trained, self.parity, strict=True)]
        return stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to: its contestants by name, and where it is recorded."""

    contestants: dict[str, Contestant]
    steps: int
    run: Run


def compare(config: Config, overrides: Sequence[str], folder: Path, tell: Tell) -> Comparison:
    """Train `config` with each of `backends`, `repeats` seeds each, and record it all.

    Args:
        config: what to do.
        overrides: what the user said on the command line.
        folder: where files go without a store.
        tell: is told what begins.

    Raises:
        UserError: data or store are not as they must be, or no backend could be run.
    """
    _refuse(config)
    training = start(config, list(overrides))  # bad data fails here, once
    contestants = {name: Contestant(reason=_reason(name, config)) for name in config.backends}
    if all(each.reason for each in contestants.values()):
        reasons = "; ".join(f"{name}: {each.reason}" for name, each in contestants.items())
        raise UserError(f"none of backends can be run: {reasons}")
    steps = 0
    with _recorded(config, f"compare {name_of(config, overrides)}", folder) as run:
        describe(run, training)
        for seed in range(config.seed, config.seed + config.repeats):
            tell("the float64 reference")
            reference = runner.reference(replace(config, seed=seed))
            steps = len(reference.losses)
            for name, contestant in contestants.items():
                if not contestant.reason:
                    tell(f"{name}, seed {seed}")
                    _train(name, replace(config, seed=seed), contestant, reference, training, run)
        _conclude(contestants, run, config)
    return Comparison(contestants, steps, run)


def _refuse(config: Config) -> None:
    """What a single training can do and a comparison cannot."""
    for key in ("resume", "register"):
        if getattr(config, key) is not None:
            raise UserError(f"compare takes no {key}; leave it out")
    if config.train.patience is not None:
        raise UserError("compare makes all epochs; set train.patience=null")
    if config.train.evaluate_test is False:
        raise UserError("compare reads the test set at its end; leave out train.evaluate_test")


def _reason(name: str, config: Config) -> str:
    """Why a backend cannot be run here, in words; empty if it can."""
    kind = backends.kind_of(name)
    if kind.missing:
        absent = " and ".join(kind.missing)
        return f"{absent} not installed; pip install {' '.join(kind.missing)}"
    return backends.refusal(name, config) or ""


def _train(
    name: str,
    config: Config,
    contestant: Contestant,
    reference: Steps,
    training: Training,
    parent: Run,
) -> None:
    """Train one backend with one seed, as a run below the parent's."""
    title = name if config.repeats == 1 else f"{name} seed={config.seed}"
    try:
        with tempfile.TemporaryDirectory() as scratch, _below(parent, config, title, name) as run:
            describe(run, replace(training, config=config))
            run.log_params({"backend": name})
            measured = runner.train(name, config, Path(scratch))
            assert measured.steps is not None
            parity = measured.steps.differ(reference)
            for record in measured.epochs:
                metrics = metrics_of(record)
                del metrics["train/accuracy"]
                run.log_metrics(metrics, record.number)
            run.log_metrics(_metrics(measured, parity))
            run.log_tags({f"version.{key}": value for key, value in measured.versions.items()})
            run.log_file(measured.weights, "weights")
    except BackendFailedError as error:
        contestant.reason = f"seed {config.seed}: {error}"
        return
    contestant.trained.append(measured)
    contestant.parity.append(parity)


def _metrics(measured: Measured, parity: tuple[float, float]) -> dict[str, float]:
    """The numbers of a whole training, by metric name."""
    best, last = measured.epochs[measured.best_epoch - 1], measured.epochs[-1]
    metrics = {
        "best/epoch": float(best.number),
        "final_loss": last.train_loss,
        "fit_seconds": measured.fit_seconds,
        "first_epoch_seconds": measured.first_epoch_seconds,
        "median_epoch_seconds": measured.epoch_seconds,
        "samples_per_second": last.samples / measured.epoch_seconds,
        "startup_seconds": measured.startup_seconds,
        "total_seconds": measured.total_seconds,
        "parity/loss": parity[0],
        "parity/weights": parity[1],
        **measured.test,
    }
    if best.val_accuracy is not None:
        metrics["best/val_accuracy"] = best.val_accuracy
    if measured.peak_bytes is not None:
        metrics["peak_megabytes"] = measured.peak_bytes / 1e6
    return metrics


def _conclude(contestants: Mapping[str, Contestant], run: Run, config: Config) -> None:
    """Record the table and the picture, and whether all went well."""
    done = {name: each for name, each in contestants.items() if each.trained}
    table = {name: each.typical() for name, each in done.items()}
    for name, metrics in table.items():
        run.log_metrics({f"{name}/{key}": value for key, value in metrics.items()})
    columns = sorted({key for metrics in table.values() for key in metrics})
    rows = [[name, *map(metrics.get, columns)] for name, metrics in table.items()]
    run.log_table("comparison.json", ["backend", *columns], rows)
    skipped = {f"skipped.{name}": each.reason for name, each in contestants.items() if each.reason}
    run.log_tags({key: reason[:500] for key, reason in skipped.items()})
    if not done:
        reasons = "; ".join(f"{name}: {each.reason}" for name, each in contestants.items())
        raise UserError(f"none of backends could be trained: {reasons}")
    if config.tracking.figures != "none":
        with tempfile.TemporaryDirectory() as scratch:
            picture = Path(scratch) / "comparison.png"
            figures.comparison(picture, {name: _curve(each) for name, each in done.items()})
            run.log_file(picture, "plots")


def _curve(contestant: Contestant) -> Curve:
    """The curve of the first seed."""
    measured = contestant.trained[0]
    epochs = [(each.train_loss, each.val_accuracy, each.seconds) for each in measured.epochs]
    return Curve(measured.startup_seconds, epochs)


@contextmanager
def _recorded(config: Config, name: str, folder: Path) -> Iterator[Run]:
    if not config.tracking.enabled:
        yield FolderRun(folder)
        return
    tags = {"kind": "comparison", "blas": machine.blas()["kernel"], "threads": str(config.threads)}
    with open_run(_place(config), name=name, tags=tags) as run:
        yield run


@contextmanager
def _below(parent: Run, config: Config, title: str, backend: str) -> Iterator[Run]:
    if parent.id is None:
        yield FolderRun(getattr(parent, "folder", Path()) / title)
        return
    tags = {"backend": backend, "threads": str(config.threads)}
    with open_run(_place(config), name=title, tags=tags, parent=parent.id) as run:
        yield run


def _place(config: Config) -> Place:
    return Place(config.tracking.uri, config.tracking.experiment)
