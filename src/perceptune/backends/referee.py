"""The referee: one training by several backends, with the same initial weights and batches.

Each runs in a process of its own. The referee runs, skips and records them; it knows libraries by
their names alone.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from perceptune import figures
from perceptune.backends import runner
from perceptune.backends.backend import batch_size, refusal
from perceptune.backends.process import WEIGHTS, BackendResult
from perceptune.backends.specs import spec_of
from perceptune.config import Config
from perceptune.errors import UserError
from perceptune.evaluation import Spread
from perceptune.runs.run import describe, name_of, seeds_of
from perceptune.runs.training import Training, start
from perceptune.terminal import how_to_install
from perceptune.tracking.lifecycle import open_folder, open_run
from perceptune.tracking.ownership import blas
from perceptune.tracking.runs import Run
from perceptune.tracking.store import ExperimentRef

_LONGEST_TAG = 500


@dataclass
class BackendRuns:
    """The trainings of one backend, one per seed.

    Attributes:
        results: their results, in the order of the seeds.
        reason: why it was left out or failed, in a line.
    """

    results: list[BackendResult] = field(default_factory=list)
    reason: str = ""

    def medians(self) -> dict[str, float]:
        """The median of each metric over the seeds, and the maximum for parity."""
        return {
            name: (max if name.startswith("parity/") else median)(self._values(name))
            for name in self.results[0].metrics
        }

    def sd(self, name: str) -> float | None:
        """The standard deviation of a metric over the seeds; None for a single one."""
        values = self._values(name)
        return Spread.of(values).sd if len(values) > 1 else None

    def _values(self, name: str) -> list[float]:
        return [result.metrics[name] for result in self.results]


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        backends: the trainings of each backend, by its name.
        steps: the number of first steps that parity is measured over.
        run: where it is recorded.
    """

    backends: dict[str, BackendRuns]
    steps: int
    run: Run


def compare(
    config: Config, overrides: Sequence[str], folder: Path, notify: Callable[[str], None]
) -> Comparison:
    """Train `config` with each of its `backends` and seeds, and record the results.

    Args:
        config: what to train.
        overrides: the command line's, recorded with the run.
        folder: where files go without a store.
        notify: called with a short text at the start of each training.

    Raises:
        UserError: the data or the store cannot be used, or no backend can be run.
    """
    _refuse(config)
    training = start(config, list(overrides))  # bad data fails here, once
    backends = {name: BackendRuns(reason=_reason(name, config)) for name in config.backends}
    if all(runs.reason for runs in backends.values()):
        raise UserError(f"no backend can be run: {_reasons(backends)}")
    title = f"compare {name_of(config, overrides)}"
    tags = {"kind": "comparison", "blas": "{library} {version} {kernel}".format_map(blas())}
    with _open_run(config, folder, title, tags) as run:
        describe(run, config, training)
        for seed in seeds_of(config):
            seeded = config.changed(seed=seed, repeats=1)
            for name, runs in backends.items():
                if runs.reason:
                    continue
                notify(f"{name}, seed {seed}")
                title = name if config.repeats == 1 else f"{name} seed={seed}"
                child = _open_run(seeded, folder / title, title, {"backend": name}, run.id)
                try:
                    runs.results.append(_train(name, seeded, training, child))
                except runner.BackendFailedError as error:
                    runs.reason = f"seed {seed}: {error}"
        _record(backends, run, config)
    return Comparison(backends, _parity_steps(training), run)


def _refuse(config: Config) -> None:
    """Refuse settings for a single training."""
    for key in ("resume", "register"):
        if getattr(config, key) is not None:
            raise UserError(f"compare takes no {key}; leave it out")
    if config.policy.patience is not None:
        raise UserError("compare trains for all epochs; set train.patience=null")
    if config.policy.evaluate_test is False:
        raise UserError("compare reads the test set at its end; leave out train.evaluate_test")


def _reason(name: str, config: Config) -> str:
    """The reason why a backend cannot be run, in a line; empty if it can."""
    missing = spec_of(name).missing
    if missing:
        return f"{' and '.join(missing)} not installed; {how_to_install(*missing)}"
    return refusal(name, config) or ""


def _reasons(backends: Mapping[str, BackendRuns]) -> str:
    return "; ".join(f"{name}: {runs.reason}" for name, runs in backends.items())


def _train(
    name: str, config: Config, training: Training, opened: AbstractContextManager[Run]
) -> BackendResult:
    """Train with one backend and one seed, recorded in the run that `opened` opens."""
    with opened as run, tempfile.TemporaryDirectory() as scratch:
        describe(run, config, training)
        run.log_params({"backend": name})
        result = runner.train(name, config, Path(scratch))
        for record in result.history:
            measured = {key: value for key, value in record.items() if key != "epoch"}
            run.log_metrics(measured, int(record["epoch"]))
        run.log_metrics(result.metrics)
        run.log_tags({f"version.{key}": value for key, value in result.versions.items()})
        run.log_file(Path(scratch) / WEIGHTS, "weights")
    return result


def _record(backends: Mapping[str, BackendRuns], run: Run, config: Config) -> None:
    """Record table and figure, and which backends were left out.

    Raises:
        UserError: no backend could be trained.
    """
    trained = {name: runs for name, runs in backends.items() if runs.results}
    left_out = {f"skipped.{name}": runs.reason for name, runs in backends.items() if runs.reason}
    run.log_tags({name: reason[:_LONGEST_TAG] for name, reason in left_out.items()})
    if not trained:
        raise UserError(f"no backend could be trained: {_reasons(backends)}")
    table = {name: runs.medians() for name, runs in trained.items()}
    for name, metrics in table.items():
        run.log_metrics({f"{name}/{key}": value for key, value in metrics.items()})
    columns = sorted({key for metrics in table.values() for key in metrics})
    rows = [[name, *map(metrics.get, columns)] for name, metrics in table.items()]
    run.log_table("comparison.json", ["backend", *columns], rows)
    if config.tracking.figures != "none":
        firsts = {name: runs.results[0] for name, runs in trained.items()}
        histories = {name: first.history for name, first in firsts.items()}
        startups = {name: first.metrics["startup_seconds"] for name, first in firsts.items()}
        run.log_figure("comparison", lambda path: figures.comparison(path, histories, startups))


def _parity_steps(training: Training) -> int:
    steps = -(-len(training.parts.train) // batch_size(training))
    return min(runner.PARITY_STEPS, steps * training.config.recipe.epochs)


def _open_run(
    config: Config, folder: Path, name: str, tags: Mapping[str, str], parent: str | None = None
) -> AbstractContextManager[Run]:
    """A run of the store, below `parent` if there is one; without a store a run in `folder`."""
    tags = {**tags, "threads": str(config.threads)}
    if not config.tracking.enabled:
        return open_folder(folder, name=name, tags=tags)
    ref = ExperimentRef(config.tracking.uri, config.tracking.experiment)
    return open_run(ref, name=name, tags=tags, parent=parent)
