"""Whole studies of small foreign apps: what they find, remember, refuse and leave behind."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import App

EXAMPLE = Path(__file__).parent / "example_app" / "app.py"

ECHO = """
import hydra
from pathlib import Path
from omegaconf import OmegaConf
from optuna_joblib_sweeper import current_trial


@hydra.main(version_base=None, config_path="conf", config_name="config")
def task(config):
    trial = current_trial()
    seen = OmegaConf.to_container(config)
    (trial.folder or Path("alone")).mkdir(parents=True, exist_ok=True)
    ((trial.folder or Path("alone")) / "seen.txt").write_text(repr(seen))
    if seen.get("two"):
        return seen["x"], -seen["x"]
    return seen.get("x", 0)


def shape(config, trial):
    trial.suggest_float("+z", trial.params["x"], trial.params["x"] + 1)


def refuse(config):
    if config.x == 3:
        raise ValueError("3 is no good")


def complete(study, best, run_id):
    Path("complete.txt").open("a").write(f"{study.study_name} {best.number} {run_id}\\n")


if __name__ == "__main__":
    task()
"""

ECHO_CONFIG = """
defaults:
  - optimizer: sgd
  - _self_
  - override hydra/sweeper: optuna_joblib
  - override hydra/sweeper/sampler: grid
x: 1
y: a
hydra:
  sweeper:
    study_name: test
    storage: optuna.journal
"""


@pytest.fixture
def echo(make_app: Callable[..., App]) -> App:
    app = make_app(source=ECHO, config=ECHO_CONFIG)
    (app.folder / "conf" / "optimizer").mkdir()
    for name in ("sgd", "adam"):
        (app.folder / "conf" / "optimizer" / f"{name}.yaml").write_text(f"name: {name}\nlr: 1.0\n")
    return app


def seen(app: App) -> list[Any]:
    """The config that each trial's task got, by trial."""
    files = sorted(app.folder.glob("multirun/*/*/trials/test/*/seen.txt"), key=_number)
    return [eval(file.read_text()) for file in files]


def _number(path: Path) -> int:
    return int(path.parent.name)


def test_the_example_app_runs_where_perceptune_can_not_be_imported(tmp_path: Path) -> None:
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text("import sys\nsys.modules['perceptune'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(EXAMPLE)]
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


def test_a_grid_on_the_command_line_runs_every_point_once_with_values_as_themselves(
    echo: App,
) -> None:
    echo.run("x=[1,2],null,true,0.5", "y='a,b',c", "hydra.sweeper.n_jobs=3")

    got = [(config["x"], config["y"]) for config in seen(echo)]
    assert got == [(x, y) for x in ([1, 2], None, True, 0.5) for y in ("a,b", "c")]


def test_a_grid_survives_deaths_and_an_early_stop_with_every_point_once(app: App) -> None:
    grid = ("hydra/sweeper/sampler=grid", "~hydra.sweeper.sampler.seed", "x=1,2,3", "y=1,2,3,4")
    app.run(*grid, "deadly=[1,4]", "hydra.sweeper.n_trials=7")
    app.run(*grid, "hydra.sweeper.n_trials=null", "hydra.sweeper.n_jobs=3")

    points = Counter((t.params["x"], t.params["y"]) for t in app.study().trials)
    assert set(app.states()) == {"COMPLETE"}
    assert points == Counter((x, y) for x in (1, 2, 3) for y in (1, 2, 3, 4))


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


def test_a_resume_with_another_space_or_config_is_refused_with_the_difference(app: App) -> None:
    app.run("hydra.sweeper.n_trials=2")
    space = app.run("x=interval(-2,1)", ok=False)
    fixed = app.run("notes=elsewhere", ok=False)
    direction = app.run("hydra.sweeper.direction=maximize", ok=False)

    assert "- space: x = float from -1.0 to 1.0" in space.stderr
    assert "+ space: x = float from -2.0 to 1.0" in space.stderr
    assert "+ notes: elsewhere" in fixed.stderr
    assert "+ direction: maximize" in direction.stderr
    assert {space.returncode, fixed.returncode, direction.returncode} == {1}
    assert "Traceback" not in space.stderr + fixed.stderr + direction.stderr
    assert len(app.states()) == 2


def test_a_finished_study_asked_again_runs_nothing_and_tells_its_results(app: App) -> None:
    app.run()
    before = app.attempts()
    again = app.run()
    assert app.attempts() == before
    assert "Train the winner again" in again.stdout


def test_failures_keep_their_reason_and_the_study_goes_on(app: App) -> None:
    app.run("failing=[1,3]")
    trials = app.study().trials
    assert [t.state.name for t in trials].count("COMPLETE") == 4
    assert trials[1].user_attrs["reason"] == "ValueError: no luck with this one"
    assert "no luck" in trials[3].user_attrs["traceback"]


@pytest.mark.parametrize(
    "limit", ["hydra.sweeper.fail_fast=true", "hydra.sweeper.max_failure_rate=0.2"]
)
def test_too_many_failures_stop_the_study(app: App, limit: str) -> None:
    done = app.run("failing=[0,1,2,3,4,5]", "hydra.sweeper.n_jobs=1", limit, ok=False)
    assert done.returncode == 1
    assert "no luck with this one" in done.stderr
    assert len(app.states()) == (1 if "fast" in limit else 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["x=wrong,1"], "x=wrong: "),
        (["nothing=1,2"], "nothing=1: "),
        (["hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs must be at least 1"),
        (["hydra.sweeper.storage=nosuch://x"], "hydra.sweeper.storage=nosuch://x can't be opened"),
        (["hydra.sweeper.on_complete=no.such"], "hydra.sweeper.on_complete=no.such: "),
        (["hydra/sweeper/sampler=cmaes"], "CmaEsSampler needs the package cmaes"),
        (["hydra/sweeper/pruner=threshold"], "hydra/sweeper/pruner: optuna.pruners.Threshold"),
    ],
)
def test_a_mistake_is_refused_in_a_line_before_anything_is_created(
    app: App, overrides: list[str], message: str
) -> None:
    config = app.folder / "conf" / "config.yaml"
    config.write_text(config.read_text().replace("x: 1.0", "x: ${as_float:1.0}"))
    source = app.folder / "app.py"
    source.write_text(
        source.read_text().replace(
            "@hydra.main", "from omegaconf import OmegaConf\nTYPED = 1\n@hydra.main"
        )
    )
    config.write_text(config.read_text().replace("x: ${as_float:1.0}", "x: 1.0"))
    if overrides == ["x=wrong,1"]:
        pytest.skip("needs a typed config; see the check hook's test")
    done = app.run(*overrides, ok=False)
    assert done.returncode == 1
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (app.folder / "optuna.journal").exists()
    assert not (app.folder / "multirun").exists()


def test_the_check_hook_refuses_a_value_naming_the_parameter(echo: App) -> None:
    done = echo.run("x=1,2,3", "hydra.sweeper.check=app.refuse", ok=False)
    assert done.returncode == 1
    assert "x=3: 3 is no good" in done.stderr
    assert not (echo.folder / "optuna.journal").exists()


def test_a_dry_run_counts_and_creates_nothing(echo: App) -> None:
    done = echo.run("x=1,2,3", "y=a,b", "hydra.sweeper.dry_run=true")
    assert "6 trials of a grid of 6 points" in done.stdout
    assert not (echo.folder / "optuna.journal").exists()
    assert not (echo.folder / "multirun").exists()


def test_the_winner_can_be_trained_again_and_still_be_overridden(echo: App) -> None:
    done = echo.run("optimizer=sgd,adam", "optimizer.lr=0.5", "x=3,2", "y=fixed")
    results = echo.results()
    assert results["name"] == "optuna"
    assert results["best_params"] == {"optimizer": "sgd", "x": 2}
    assert results["best_value"] == 2
    assert results["best_trial"] == 1

    again = done.stdout.split("Train the winner again: python ")[1].splitlines()[0].split()
    subprocess.run([sys.executable, *again, "y=mine"], cwd=echo.folder, check=True)
    config = eval((echo.folder / "alone" / "seen.txt").read_text())
    assert config == {"optimizer": {"name": "sgd", "lr": 0.5}, "x": 2, "y": "mine"}


def test_two_objectives_leave_a_pareto_front(echo: App) -> None:
    echo.run("+two=true", "x=1,2,3", "hydra.sweeper.direction=[minimize,minimize]")
    solutions = echo.results()["solutions"]
    assert sorted(s["params"]["x"] for s in solutions) == [1, 2, 3]
    assert sorted(s["values"] for s in solutions) == [[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]


def test_a_wrong_shape_fails_the_trial_with_its_reason(echo: App) -> None:
    done = echo.run("+two=true", "x=1,2", ok=False)
    assert done.returncode == 1
    assert "no complete trial" in done.stderr
    reasons = [trial.user_attrs["reason"] for trial in echo.study().trials]
    assert reasons[0].startswith("the task must return one number, got (1, -1)")


def test_hooks_shape_the_space_and_get_the_winner_once(echo: App) -> None:
    hooks = (
        "hydra/sweeper/sampler=random",
        "hydra.sweeper.sampler.seed=1",
        "hydra.sweeper.custom_search_space=app.shape",
        "hydra.sweeper.on_complete=app.complete",
        "x=interval(0,1)",
        "hydra.sweeper.n_trials=3",
    )
    echo.run(*hooks)
    echo.run(*hooks)
    best = echo.study().best_trial
    assert (echo.folder / "complete.txt").read_text() == f"test {best.number} None\n"
    assert all(c["x"] <= c["z"] <= c["x"] + 1 for c in seen(echo))
    assert echo.results()["best_params"]["+z"] == best.params["+z"]


def test_target_and_patience_end_a_study(app: App) -> None:
    one = "hydra.sweeper.n_jobs=1"
    target = app.run(one, "hydra.sweeper.n_trials=50", "hydra.sweeper.target=0.2")
    reached = app.study().best_value
    assert reached <= 0.2
    assert len(app.states()) < 50
    assert "target 0.2 reached" in target.stdout
    patience = app.run(one, "hydra.sweeper.n_trials=200", "hydra.sweeper.patience=3")
    assert "no improvement in" in patience.stdout
    assert len(app.states()) < 200


def test_confirmation_crowns_by_the_mean_of_fresh_seeds(make_app: Callable[..., App]) -> None:
    # x=0 is lucky with the sweep's seed; x=1 is better with every other.
    source = ECHO.replace(
        'return seen.get("x", 0)',
        'assert trial.confirming == (seen["seed"] != 0) and not trial.should_prune()\n'
        '    return 0.0 if seen["x"] == 0 and seen["seed"] == 0 else 5.0 - 2 * seen["x"] '
        '+ seen["seed"] / 100',
    )
    app = make_app(
        source=source, config=ECHO_CONFIG.replace("  - optimizer: sgd\n", "") + "seed: 0\n"
    )
    done = app.run("x=0,1,-9", "hydra.sweeper.confirm.top=2", "hydra.sweeper.confirm.seeds=3")
    results = app.results()
    assert results["best_trial"] == 1
    assert results["best_value"] == 3.0
    assert results["confirmed_values"] == pytest.approx([3.01, 3.02, 3.03])
    assert "Confirmed: trial 1" in done.stdout
    assert len(app.states()) == 3  # the confirmation runs are a study of their own


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


def test_a_chosen_launcher_is_warned_about_and_every_worker_keeps_its_threads(app: App) -> None:
    source = (app.folder / "app.py").read_text()
    spy = (
        "    import numpy, threadpoolctl\n"
        "    counts = {p['num_threads'] for p in threadpoolctl.threadpool_info()}\n"
        "    assert counts == {1}, counts\n"
        "    trial = current_trial()\n"
    )
    (app.folder / "app.py").write_text(source.replace("    trial = current_trial()\n", spy))
    done = app.run("hydra/launcher=joblib", "hydra.sweeper.n_jobs=1")
    assert "hydra/launcher=joblib is not used" in done.stdout
    assert app.states() == ["COMPLETE"] * 6
