"""Whole studies of small foreign apps: what they find, remember, refuse and leave behind."""

import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apps import APP, CONFIG, FOREIGN_APP, App

from versions import REGISTER


def test_the_example_app_runs_where_perceptune_can_not_be_imported(tmp_path: Path) -> None:
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text("import sys\nsys.modules['perceptune'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(FOREIGN_APP)]
    check = [sys.executable, "-c", "import perceptune"]
    assert subprocess.run(check, env=environment, capture_output=True).returncode != 0
    done = subprocess.run(
        [*command, "-m"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "12/12" in done.stdout

    again = done.stdout.split("Train the winner again: python ")[1].splitlines()[0].split()
    alone = subprocess.run(
        [sys.executable, *again], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert alone.returncode == 0, alone.stderr


@pytest.mark.slow
def test_a_grid_survives_deaths_and_an_early_stop_with_every_point_once(app: App) -> None:
    grid = ("hydra/sweeper/sampler=grid", "~hydra.sweeper.sampler.seed", "x=1,2,3", "y=1,2,3,4")
    app.run(*grid, "deadly=[1,4]", "hydra.sweeper.n_trials=7")
    app.run(*grid, "hydra.sweeper.n_trials=null", "hydra.sweeper.n_jobs=3")

    points = Counter((t.params["x"], t.params["y"]) for t in app.study().trials)
    assert set(app.states()) == {"COMPLETE"}
    assert points == Counter((x, y) for x in (1, 2, 3) for y in (1, 2, 3, 4))


@pytest.mark.slow
def test_one_job_with_a_seed_gives_the_same_trials_straight_twice_and_interrupted(
    app: App,
) -> None:
    one = ("hydra.sweeper.n_jobs=1", "hydra.sweeper.n_trials=14", "hydra.sweeper.storage=")
    for journal in ("first", "second"):
        app.run(*one[:2], one[2] + journal)
    # TPE models from the tenth trial on; trial 11 dies in its first attempt.
    app.run(*one[:1], "hydra.sweeper.n_trials=11", one[2] + "third")
    app.run(*one[:2], one[2] + "third", "deadly=[12]")

    def trials(journal: str) -> list[Any]:
        return [(t.params, t.values) for t in app.study(journal=journal).trials]

    assert len(trials("first")) == 14
    assert trials("first") == trials("second") == trials("third")


@pytest.mark.slow
def test_a_finished_study_asked_again_runs_nothing_and_tells_its_results(app: App) -> None:
    app.run()
    before = app.attempts()
    again = app.run()
    assert app.attempts() == before
    assert "Train the winner again" in again.stdout


def test_failures_keep_their_reason_and_the_study_goes_on(app: App) -> None:
    done = app.run("failing=[1,3]")
    said = (
        "2 of 6 trials failed, which hydra.sweeper.max_failure_rate=1 allows; the first, trial 1: "
    )
    assert f"{said}ValueError: no luck with this one" in done.stdout
    trials = app.study().trials
    assert [t.state.name for t in trials].count("COMPLETE") == 4
    assert trials[1].user_attrs["reason"] == "ValueError: no luck with this one"
    assert "no luck" in trials[3].user_attrs["traceback"]


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_sqlite_storage_gives_each_waiting_trial_to_one_worker(app: App, n_jobs: int) -> None:
    import optuna

    url = f"sqlite:///{app.folder}/study.db"
    overrides = (f"hydra.sweeper.storage={url}", f"hydra.sweeper.n_jobs={n_jobs}")
    app.run(*overrides, "deadly=[0,3]", "hydra.sweeper.n_trials=10")
    study = optuna.load_study(study_name="test", storage=url)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 10
    starts = Counter(app.attempts())
    assert max(starts.values()) == 1


@pytest.mark.slow
def test_a_chosen_launcher_is_warned_about_and_every_worker_keeps_its_threads(app: App) -> None:
    source = (app.folder / "app.py").read_text()
    spy = (
        "    import numpy, threadpoolctl\n"
        "    counts = {p['num_threads'] for p in threadpoolctl.threadpool_info()}\n"
        "    assert counts == {1}, counts\n"
        "    trial = current_trial()\n"
    )
    (app.folder / "app.py").write_text(source.replace("    trial = current_trial()\n", spy))
    done = app.run("hydra/launcher=joblib_retry", "hydra.sweeper.n_jobs=1")
    assert "hydra/launcher=joblib_retry is not used" in done.stdout
    assert app.states() == ["COMPLETE"] * 6


@pytest.mark.cluster
def test_a_cluster_runs_the_trials_as_well(app: App) -> None:
    pytest.importorskip("distributed")
    source = (app.folder / "app.py").read_text()
    cluster = (
        "    from distributed import Client, LocalCluster\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as c:\n"
        "        with Client(c):\n"
        "            task()\n"
    )
    (app.folder / "app.py").write_text(source.replace("    task()\n", cluster))
    app.run("hydra.sweeper.backend=dask")
    assert app.states() == ["COMPLETE"] * 6


def test_a_study_without_a_name_says_how_to_resume_it(make_app: Callable[..., App]) -> None:
    config = CONFIG.replace("    study_name: test\n    storage: optuna.journal\n", "")
    app = make_app(config=config)
    first = app.run("hydra.sweep.dir='out put'", "hydra.sweeper.n_trials=2").stdout
    [line] = [line for line in first.splitlines() if line.startswith("The same command starts")]
    again = app.run(*shlex.split(line.partition(" with ")[2]), "hydra.sweeper.n_trials=3").stdout
    assert "3/3 trial 2 " in again
    assert "1/3" not in again
    assert "The same command starts" not in again


RESOLVERS = """
import functools, threading
from omegaconf import OmegaConf

@functools.cache
def doubled(number):
    return 2 * number

class Shifted:
    lock = threading.Lock()
    def __call__(self, number):
        with self.lock:
            return number + 1

OmegaConf.REGISTER("plus", lambda a, b: a + b)
OmegaConf.REGISTER("doubled", doubled)
OmegaConf.REGISTER("shifted", Shifted())
""".replace("REGISTER", REGISTER)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_resolvers_that_can_not_be_sent_reach_the_workers_too(
    make_app: Callable[..., App], n_jobs: int
) -> None:
    """A plain one is sent; those with a cache or a lock come with the app's own script."""
    source = APP.replace("import hydra\n", f"import hydra\n{RESOLVERS}", 1)
    source = source.replace("return config.x**2", "return doubled(config.total)")
    total = "total: ${plus:${doubled:${x}},${shifted:${y}}}\n"
    app = make_app(source=source, config=CONFIG.replace("seconds:", f"{total}seconds:"))
    app.run(f"hydra.sweeper.n_jobs={n_jobs}")
    for trial in app.study().trials:
        x, y = trial.params["x"], trial.params["y"]
        assert trial.value == pytest.approx(2 * (2 * x + y + 1) + y)
