"""The sweeper's overhead: `uv run pytest tests/benchmarks/test_sweeper_cost.py`.

`SWEEPER_PEER` names a Python with hydra-optuna-sweeper and hydra-joblib-launcher, which need an
older Optuna than this one has.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from benchmarking import Show
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial

from support import runs_in

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
    rows = times(tmp_path / "ours", "hydra.sweeper.n_trials=200")
    cost = 1000 * per_trial(rows)
    show("empty task, two workers", cost, "ms a trial", "45")
    sizes = {pid: size for _, _, pid, size in rows}
    show("a worker's memory", max(sizes.values()) / 1e6, "MB", "350")
    assert len(rows) == 200


def test_uneven_tasks(tmp_path: Path, show: Show) -> None:
    rows = times(tmp_path / "ours", "hydra.sweeper.n_trials=40", "longest=2")
    percent = 100 * efficiency(rows)
    show("tasks of 0.5 to 2 s, two workers", percent, "% of the ideal", "95")


def test_sampling_in_a_large_study(tmp_path: Path, show: Show) -> None:
    from optuna_joblib_sweeper._samplers import SamplerFactory
    from optuna_joblib_sweeper._storage import StorageSpec
    from optuna_joblib_sweeper._study import StudyStore

    journal = tmp_path / "journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(study_name="late", storage=storage)
    rng = random.Random(1)
    space = {f"x{index}": optuna.distributions.FloatDistribution(0, 1) for index in range(5)}
    for _ in range(2000):
        params = {name: rng.random() for name in space}
        study.add_trial(
            create_trial(params=params, distributions=space, value=sum(params.values()))
        )
    store = StudyStore(StorageSpec(journal=journal), "late")

    settings = SimpleNamespace(sampler={"_target_": "optuna.samplers.TPESampler"}, seed=1)
    factory = SamplerFactory(settings, None)  # type: ignore[arg-type]
    costs = []
    for _ in range(10):
        began = time.perf_counter()
        trial = store.take(None, None, "me")
        assert trial is not None
        study = store.study(sampler=factory.make(trial.number))
        sampled = optuna.trial.Trial(study, trial._trial_id)
        _ = sampled.relative_params
        for name in space:
            study.sampler = factory.make(trial.number, name)
            sampled.suggest_float(name, 0, 1)
        costs.append(1000 * (time.perf_counter() - began))
        study.tell(trial.number, 1.0)
    median = sorted(costs)[len(costs) // 2]
    show("asking at 2,000 trials, five parameters", median, "ms", "100")


def test_a_trial_of_perceptune_with_all_its_tracking(tmp_path: Path, show: Show) -> None:
    command = "train -m sweeps=digits hydra.sweeper.n_trials=60 train.epochs=1"
    command += " hydra.sweeper.mlflow.plots=false"
    subprocess.run(
        [sys.executable, "-m", "perceptune.cli", *command.split()],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    runs = [run for run in runs_in(tmp_path) if "mlflow.parentRunId" in run.data.tags]
    starts = sorted(run.info.start_time for run in runs)[10:]
    show(
        "Perceptune's trial of one epoch, tracked, two workers",
        (starts[-1] - starts[0]) / (len(starts) - 1),
        "ms a trial",
        "130",
    )


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
