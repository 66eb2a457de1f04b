"""Several seeds of one configuration: their parent run, their training, their spread.

`repeats=k` and `-m seed=…` make ordinary runs below a parent; the summary is computed from what
those runs recorded, in the store or, without one, in their folders. A trial of a study with several
seeds is one run, see `runs.loop`; its parent is the study's.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from optuna_joblib_sweeper.retries import KilledError, run_all
from perceptune import figures
from perceptune.config import Config, Tracking
from perceptune.errors import UserError
from perceptune.evaluation import Spread
from perceptune.runs.run import Result, seeds_of
from perceptune.runs.training import rank
from perceptune.tracking import reading
from perceptune.tracking.lifecycle import open_parent
from perceptune.tracking.reading import RunRecord
from perceptune.tracking.runs import Run
from perceptune.tracking.store import ExperimentRef

Train = Callable[[Config, list[str], Path], Result]
"""Trains one configuration with the command line's overrides; files go to the folder."""


@dataclass(frozen=True)
class SeedRun:
    """One finished training, read back from its run.

    Attributes:
        record: its run.
        overrides: the command line's, without the seed.
        metrics: final metrics, and those of the best epoch, by metric name.
        history: metrics of each epoch, by metric name, with its `epoch`.
    """

    record: RunRecord
    overrides: Sequence[str]
    metrics: Mapping[str, float]
    history: Sequence[Mapping[str, float]]

    @classmethod
    def of(
        cls, record: RunRecord, overrides: Sequence[str], history: Sequence[Mapping[str, float]]
    ) -> "SeedRun":
        """Make it from its run, overrides and history; see `reading`."""
        words = [word for word in overrides if not word.startswith(("seed=", "tracking"))]
        epochs = {row["epoch"]: row for row in history}
        best = dict(epochs.get(record.metrics["best/epoch"], {}))
        best.pop("epoch", None)
        whole = {key: value for key, value in record.metrics.items() if key not in best}
        size = {"model/parameters": float(record.params["model.parameters"])}
        metrics = {k: v for k, v in (best | size | whole).items() if not k.startswith("layer_")}
        return cls(record, words, metrics, history)

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.record.params["seed"])

    @property
    def setting(self) -> dict[str, str]:
        """The recorded configuration without the seed."""
        return {key: value for key, value in self.record.params.items() if key != "seed"}


@dataclass(frozen=True)
class Setting:
    """One configuration and its trainings, which differ by seed alone, in the seeds' order."""

    runs: Sequence[SeedRun]

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return [run.seed for run in self.runs]

    @property
    def spreads(self) -> dict[str, Spread]:
        """The spread of every metric that all its trainings have, by metric name."""
        names = [n for n in self.runs[0].metrics if all(n in run.metrics for run in self.runs)]
        return {name: Spread.of([run.metrics[name] for run in self.runs]) for name in names}

    @property
    def best_run(self) -> str:
        """The id of the best run, by their objectives."""
        named = yaml.safe_load(self.runs[0].record.params.get("objective", "[]"))
        objectives = named if isinstance(named, list) else [named]
        return max(self.runs, key=lambda run: rank(run.metrics, objectives)).record.id


def refuse_single(config: Config) -> None:
    """Refuse what only a single training can do.

    Raises:
        UserError: `config` resumes or registers a run.
    """
    for name in ("resume", "register"):
        if getattr(config, name) is not None:
            raise UserError(f"{name} is for one training, got repeats={config.repeats}; drop one")


def train_seeds(
    config: Config,
    overrides: Sequence[str],
    folder: Path,
    train: Train,
    n_jobs: int,
    on_end: Callable[[int, Result], None],
) -> list[Result]:
    """Train a network with each of `repeats` seeds, `n_jobs` at a time; the split is the same.

    A seed that fails does not stop the others, nor does the death of a process.

    Args:
        config: what to train.
        overrides: the command line's.
        folder: each seed has a folder below it.
        train: trains one seed; called in other processes where `n_jobs` is above 1.
        n_jobs: trainings at a time.
        on_end: called with each seed and its result, in the order in which they end.

    Raises:
        UserError: a seed failed.
    """
    seeds = seeds_of(config)
    words = [word for word in overrides if word.partition("=")[0] not in ("repeats", "seed")]
    tasks = [partial(_train_one, config, seed, words, folder, train) for seed in seeds]
    results, errors = [], []
    for index, ended in run_all(tasks, n_jobs):
        if isinstance(ended, UserError | KilledError):
            errors.append(str(ended))
        else:
            results.append(ended)
            on_end(seeds[index], ended)
    if errors:
        kinds = "; ".join(dict.fromkeys(errors))
        raise UserError(kinds if not results else f"{len(errors)} of {len(seeds)} failed: {kinds}")
    return results


def _train_one(
    config: Config, seed: int, words: list[str], folder: Path, train: Train
) -> Result | UserError:
    """Train one seed; an error is returned, since raising it would stop the other seeds."""
    try:
        one = config.changed(seed=seed, repeats=1)
        return train(one, [*words, f"seed={seed}"], folder / f"seed_{seed}")
    except UserError as error:
        return error


@contextmanager
def parent_run(tracking: Tracking, name: str, folder: Path) -> Iterator[Run | None]:
    """The parent of several trainings, closed with a summary of their spread; None without a store.

    Args:
        tracking: the store of the runs.
        name: the parent's.
        folder: where their files are without a store.

    Raises:
        UserError: the store cannot be used.
    """
    ref = ExperimentRef(tracking.uri, tracking.experiment)
    parent = open_parent(ref, name, {"kind": "multirun"}) if tracking.enabled else nullcontext()
    with parent as run, _summarized(run, folder):
        yield run


@contextmanager
def _summarized(parent: Run | None, folder: Path) -> Iterator[None]:
    """Summarize when the block ends, even where one of the trainings has failed."""
    known = {} if parent else reading.records_in(folder)  # an output folder may be used again
    try:
        yield
    except Exception:
        summarize(parent, folder, known)
        raise
    summarize(parent, folder, known)


def summarize(parent: Run | None, folder: Path, known: Mapping[Path, int] | None = None) -> None:
    """Print and record the spread over seeds of the trainings below `parent`.

    Args:
        parent: their parent; None without a store.
        folder: where their files are without a store.
        known: records in it to leave out; see `reading.read_folders`.
    """
    found = list(_recorded_below(parent, folder, known))
    settings = settings_of(found)
    if not settings:
        return
    print(summary(settings), flush=True)
    if parent and len({_key(run) for run in found}) == 1:
        record(parent, settings[0])
    elif parent:
        record_table(parent, settings)


def _recorded_below(
    parent: Run | None, folder: Path, known: Mapping[Path, int] | None
) -> Iterator[SeedRun]:
    """The finished trainings of a parent, or without a store those below `folder`."""
    if parent is None:
        for run in reading.read_folders(folder, known):
            if "best/epoch" in run.metrics:
                overrides, history = reading.read_folder(Path(run.id))
                yield SeedRun.of(run, overrides, history)
        return
    assert parent.id is not None
    for run in reading.children_of(parent.store, parent.id):
        if run.status == "FINISHED":
            words = reading.overrides_of(parent.store, run.id)
            yield SeedRun.of(run, words, reading.history(parent.store, run.id))


def settings_of(found: Sequence[SeedRun]) -> list[Setting]:
    """Group trainings by configuration; keep those with two seeds or more, by their overrides."""
    alike: dict[str, dict[int, SeedRun]] = {}
    for run in found:
        alike.setdefault(_key(run), {})[run.seed] = run
    several = [
        Setting([by_seed[seed] for seed in sorted(by_seed)])
        for by_seed in alike.values()
        if len(by_seed) > 1
    ]
    return sorted(several, key=lambda setting: list(setting.runs[0].overrides))


def record(parent: Run, setting: Setting) -> None:
    """Record the spread of the only configuration below a parent on the parent itself."""
    from optuna_joblib_sweeper.mlflow_runs import winner_tags

    spreads, first = setting.spreads, setting.runs[0]
    repeats = {"seed": str(min(setting.seeds)), "repeats": str(len(setting.seeds))}
    parent.log_params({**first.setting, **repeats})
    parent.log_metrics({k: v for name in spreads for k, v in spreads[name].metrics(name).items()})
    preset = {key: first.record.tags[key] for key in ("preset",) if key in first.record.tags}
    parent.log_tags(
        {"kind": "repeats", "seeds": json.dumps(setting.seeds), **preset}
        | winner_tags(setting.best_run)
    )
    histories = [run.history for run in setting.runs]
    parent.log_figure("seeds", lambda path: figures.seeds(path, histories))


def record_table(parent: Run, settings: Sequence[Setting]) -> None:
    """Record the spread of each configuration of a multirun as a table of its parent."""
    part = scored_part(settings)
    rows: list[list[Any]] = [
        [label, json.dumps(setting.seeds), *asdict(setting.spreads[part]).values()]
        for label, setting in zip(labels(settings), settings, strict=True)
    ]
    columns = ["setting", "seeds", *(f"{part}/{key}" for key in ("mean", "sd", "min", "max"))]
    parent.log_table("seeds.json", columns, rows)


def summary(settings: Sequence[Setting]) -> str:
    """The spread as text: a line for one configuration, a table for several."""
    part = scored_part(settings)
    if len(settings) == 1:
        return in_words(part.replace("/", " "), settings[0].spreads[part], settings[0].seeds)
    rows = [
        (label, in_words("", setting.spreads[part], setting.seeds))
        for label, setting in zip(labels(settings), settings, strict=True)
    ]
    width = max(len(label) for label, _ in rows)
    title = f"{part.replace('/', ' ')}, mean ± standard deviation:"
    return "\n".join([title, *(f"  {label:<{width}}  {text}" for label, text in rows)])


def in_words(what: str, spread: Spread, seeds: Sequence[int]) -> str:
    """A spread of accuracies as text: `test accuracy 97.94 % ± 0.18 (5 seeds: 0–4), range …`."""
    straight = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    named = f"{seeds[0]}–{seeds[-1]}" if straight else ", ".join(map(str, seeds))
    numbers = f"{spread.mean * 100:.2f} % ± {spread.sd * 100:.2f}"
    extremes = f"{spread.min * 100:.2f}–{spread.max * 100:.2f} %"
    return f"{what} {numbers} ({len(seeds)} seeds: {named}), range {extremes}".strip()


def scored_part(settings: Sequence[Setting]) -> str:
    """The name of an accuracy that all have: on the test set if all evaluated it."""
    for part in ("test/accuracy", "val/accuracy"):
        if all(part in setting.spreads for setting in settings):
            return part
    return "train/accuracy"


def labels(settings: Sequence[Setting]) -> list[str]:
    """The overrides in which the configurations differ, for each as text."""
    words = [setting.runs[0].overrides for setting in settings]
    shared = set(words[0]).intersection(*words[1:])
    return [" ".join(word for word in own if word not in shared) or "defaults" for own in words]


def _key(run: SeedRun) -> str:
    """A key that trainings of one configuration have in common."""
    return json.dumps(run.setting, sort_keys=True)
