"""The sweeper's overhead: `uv run pytest tests/benchmarks/test_sweeper_cost.py`.

`SWEEPER_TRIALS` is the length of the long study. `SWEEPER_PEER` names a Python with
hydra-optuna-sweeper and hydra-joblib-launcher, which need an older Optuna than this one has.
"""

import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from benchmarking import Show
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial

from optuna_joblib_sweeper import SweepResult, _private, load_study
from optuna_joblib_sweeper._samplers import SamplerFactory
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper._storage import open_storage
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper.paths import StudyPaths

TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 1}

TASK = """
import hydra, os, time
from pathlib import Path


@hydra.main(version_base=None, config_path="conf", config_name="config")
def task(config):
    began = time.time()
    if config.longest:
        time.sleep(0.5 + (config.longest - 0.5) * config.x)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with Path(config.out).open("a") as file:
        file.write(f"{began} {time.time()} {os.getpid()} {resident}\\n")
    return config.x


if __name__ == "__main__":
    task()
"""

CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: {sweeper}
  - override hydra/sweeper/sampler: random
  - override hydra/launcher: {launcher}
x: 0.0
longest: 0
out: ${{hydra:runtime.cwd}}/times.txt
hydra:
  sweeper:
    n_jobs: 2
    sampler: {{seed: 1}}
    params: {{x: "interval(0,1)"}}
"""


def times(
    folder: Path, *overrides: str, python: str = sys.executable, peer: bool = False
) -> list[tuple[float, float, int, int]]:
    """(start, end, pid, resident bytes) of each trial, by start."""
    (folder / "conf").mkdir(parents=True)
    (folder / "app.py").write_text(TASK)
    names = ("optuna", "joblib") if peer else ("optuna_joblib", "basic")
    config = CONFIG.format(sweeper=names[0], launcher=names[1])
    (folder / "conf" / "config.yaml").write_text(config)
    command = [python, "app.py", "--multirun", *overrides]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    rows = [line.split() for line in (folder / "times.txt").read_text().splitlines()]
    return sorted((float(a), float(b), int(pid), int(size)) for a, b, pid, size in rows)


def per_trial(rows: list[tuple[float, float, int, int]]) -> float:
    """Seconds per trial, once both workers have started."""
    warm = rows[10:]
    return (warm[-1][0] - warm[0][0]) / (len(warm) - 1)


def efficiency(rows: list[tuple[float, float, int, int]]) -> float:
    """The time of the same tasks on two workers without overhead, divided by the time taken."""
    free_at = [0.0, 0.0]
    for began, ended, *_ in rows:
        free_at.sort()
        free_at[0] += ended - began
    return max(free_at) / (max(ended for _, ended, *_ in rows) - rows[0][0])


def test_an_empty_task(tmp_path: Path, show: Show) -> None:
    cpu, rows = {}, []
    for trials in (20, 220):
        before = children_seconds()
        rows = times(tmp_path / str(trials), f"hydra.sweeper.n_trials={trials}")
        cpu[trials] = children_seconds() - before
    ours = 1000 * (cpu[220] - cpu[20]) / 200
    show("empty trial, CPU of all processes", ours, "ms", "35")
    show("the same, of bare Optuna's on a journal", ours / bare_optuna(tmp_path), "x", "-")
    show("empty trial, two workers, wall time", 1000 * per_trial(rows), "ms", "45")
    sizes = {pid: size for _, _, pid, size in rows}
    show("a worker's memory", max(sizes.values()) / 1e6, "MB", "350")


def test_an_empty_task_late_in_a_study(tmp_path: Path, show: Show) -> None:
    trials = int(os.environ.get("SWEEPER_TRIALS", 1000))  # 10,000 take minutes
    rows = times(tmp_path / "ours", f"hydra.sweeper.n_trials={trials}")
    tenth = trials // 10
    ratio = per_trial(rows[-tenth:]) / per_trial(rows[tenth : 2 * tenth])
    show(f"the last of {trials:,} empty trials, of the first", ratio, "x", "1.1")


def children_seconds() -> float:
    """User and system seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bare_optuna(folder: Path) -> float:
    """CPU milliseconds of an empty trial of Optuna's own loop, on a journal of its own."""
    storage = JournalStorage(JournalFileBackend(str(folder / "bare")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    began = time.process_time()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=100)
    return 10 * (time.process_time() - began)


def test_uneven_tasks(tmp_path: Path, show: Show) -> None:
    rows = times(tmp_path / "ours", "hydra.sweeper.n_trials=40", "longest=2")
    percent = 100 * efficiency(rows)
    show("tasks of 0.5 to 2 s, two workers", percent, "% of the ideal", "95")


@pytest.mark.parametrize("finished", [200, 2_000, 10_000])
def test_sampling_in_a_large_study(
    tmp_path: Path, show: Show, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    rng = random.Random(1)
    space = {f"x{index}": optuna.distributions.FloatDistribution(0, 1) for index in range(3)}
    points = [{name: rng.random() for name in space} for _ in range(finished)]
    trials = [
        create_trial(params=point, distributions=space, value=sum(point.values()))
        for point in points
    ]
    memory = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    paths = StudyPaths.read("late", tmp_path, str(tmp_path / "journal"))
    storage = open_storage(paths.storage)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # a thousand writes do not wait for the disk
        for study in (memory, optuna.create_study(study_name="late", storage=storage)):
            study.add_trials(trials)
    store = StudyStore(paths, storage)
    settings = SimpleNamespace(sampler=TPE, is_grid=False)
    factory = SamplerFactory(settings, Space(()))  # type: ignore[arg-type]

    def of_optuna() -> None:
        trial = memory.ask()
        memory.tell(trial, sum(trial.suggest_float(name, 0, 1) for name in space))

    def ours() -> None:
        number = store.take(None, None, {})
        assert number is not None
        study = store.study(sampler=factory.make(number))
        with store.one_write():
            trial = _private.optuna_trial(study, store.trial(number))
            _ = trial.relative_params
            for name in space:
                study.sampler = factory.make(number, name)
                trial.suggest_float(name, 0, 1)
        store.study(sampler=factory.make(number, "after")).tell(number, 1.0)

    costs: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(10):
        for name, once in (("theirs", of_optuna), ("ours", ours)):
            began = time.process_time()
            once()
            costs[name].append(1000 * (time.process_time() - began))
    medians = {name: sorted(found)[5] for name, found in costs.items()}
    what = f"TPE at {finished:,} trials, CPU"
    show(f"{what}, of Optuna's own in memory", medians["ours"] / medians["theirs"], "x", "-")
    show(f"{what} beyond Optuna's own", medians["ours"] - medians["theirs"], "ms", "35, flat")


def perceptune(folder: Path, *overrides: str) -> tuple[float, SweepResult]:
    """Seconds of a study of one-epoch trainings, and the study."""
    command = ["train", "-m", "sweeps=digits", "train.epochs=1", *overrides]
    folder.mkdir(exist_ok=True)
    began = time.time()
    program = str(Path(sys.executable).with_name("perceptune"))
    subprocess.run([program, *command], cwd=folder, check=True, capture_output=True)
    return time.time() - began, load_study(str(folder / "mlruns" / "optuna.journal"), "digits")


def pace(result: SweepResult) -> float:
    """Milliseconds from one start of a trial to the next, once all workers run."""
    starts = sorted(trial.started.timestamp() for trial in result.trials if trial.started)[10:]
    return 1000 * (starts[-1] - starts[0]) / (len(starts) - 1)


def test_a_trial_of_perceptune_with_all_its_tracking(tmp_path: Path, show: Show) -> None:
    trials = ("hydra.sweeper.n_trials=60", "hydra.sweeper.mlflow.plots=false")
    off = ("hydra.sweeper.mlflow.enabled=false", "tracking.enabled=false")
    _, tracked = perceptune(tmp_path / "tracked", *trials)
    _, untracked = perceptune(tmp_path / "untracked", *trials, *off)
    show("a trial of one epoch, tracked, two workers", pace(tracked), "ms", "-")
    show("the same beyond one that is not tracked", pace(tracked) - pace(untracked), "ms", "60")


def test_the_fixed_cost_of_a_tracked_study(tmp_path: Path, show: Show) -> None:
    store, few = tmp_path / "mlruns" / "mlflow.db", "hydra.sweeper.n_trials=4"
    perceptune(tmp_path, few)  # makes the store
    opened = (
        f"from mlflow import MlflowClient; MlflowClient('sqlite:///{store}').search_experiments()"
    )
    began = time.time()
    subprocess.run([sys.executable, "-c", opened], check=True)
    mlflows = time.time() - began
    (tmp_path / "mlruns" / "optuna.journal").unlink()
    seconds, _ = perceptune(tmp_path, few)
    show("a tracked study of four trials", seconds, "s", "8")
    show("the same, of MLflow's import and one query", seconds / mlflows, "x", "-")


def test_the_start_of_a_study_on_a_large_store(tmp_path: Path, show: Show) -> None:
    few, took = ("hydra.sweeper.n_trials=4", "hydra.sweeper.mlflow.plots=false"), []
    perceptune(tmp_path, *few)
    for copies in (0, 5000):
        multiply_runs(tmp_path / "mlruns" / "mlflow.db", copies)
        (tmp_path / "mlruns" / "optuna.journal").unlink()
        began = time.time()
        _, result = perceptune(tmp_path, *few)
        first = min(trial.started.timestamp() for trial in result.trials if trial.started)
        took.append(first - began)
    show("until the first trial on a store of 5,000 runs", took[1] / took[0], "x", "1.2")


def multiply_runs(store: Path, copies: int) -> None:
    """Copy a finished run of the store, and all that belongs to it, so many times."""
    with closing(sqlite3.connect(store)) as database, database:
        [run] = database.execute("SELECT run_uuid FROM runs ORDER BY start_time DESC LIMIT 1")
        for table in ("runs", "tags", "params", "latest_metrics"):
            found = database.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", run)
            at = [name for name, *_ in found.description].index("run_uuid")
            rows = [list(row) for row in found]
            for copy in range(copies):
                for row in rows:
                    row[at] = f"{copy:032x}"
                marks = ", ".join("?" * len(found.description))
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def test_the_batch_synchronous_plugin_beside_it(tmp_path: Path, show: Show) -> None:
    python = os.environ.get("SWEEPER_PEER")
    if not python:
        pytest.skip("SWEEPER_PEER names no Python with hydra-optuna-sweeper")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    empty = "hydra.sweeper.n_trials=100"
    uneven = ("hydra.sweeper.n_trials=40", "longest=2")
    a = per_trial(times(ours / "empty", empty))
    b = per_trial(times(theirs / "empty", empty, python=python, peer=True))
    c = efficiency(times(ours / "uneven", *uneven))
    d = efficiency(times(theirs / "uneven", *uneven, python=python, peer=True))
    show("empty task, of the batch-synchronous plugin's time", 100 * a / b, "%", "below 100")
    show("uneven tasks, of its efficiency", 100 * c / d, "%", "above 100")
