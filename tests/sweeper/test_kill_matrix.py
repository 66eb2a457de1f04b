"""A kill at each stage of a study, of each of its processes: the same command ends it exactly."""

import signal
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from apps import App, group_members
from optuna.trial import FrozenTrial

from optuna_joblib_sweeper.testing import wait_until
from sweeper.test_kills import MLFLOW, runs

MATRIX_APP = """
from pathlib import Path

import hydra
from optuna_joblib_sweeper import current_trial


@hydra.main(version_base=None, config_path="conf", config_name="config")
def task(config):
    trial = current_trial()
    trial.report(config.x, 0)
    if trial.should_prune():
        return None
    if config.x == 2:
        raise ValueError("no luck with this one")
    return config.x + config.seed


def done(result):
    with Path("done.txt").open("a") as file:
        file.write(f"{result.winner.number}\\n")


if __name__ == "__main__":
    task()
"""
MATRIX_CONFIG = """
defaults:
  - override hydra/sweeper: optuna_joblib
  - override hydra/sweeper/sampler: grid
  - override hydra/sweeper/pruner: threshold
  - _self_

x: 0
seed: 0

hydra:
  sweeper:
    study_name: test
    storage: optuna.journal
    pruner: {upper: 4}
    confirm: {top: 1, seeds: 3}
    on_complete: app.done
    mlflow: {plots: false}
    params:
      x: range(6)
"""
ROUNDS = [
    (stage, victim) for stage in faults.IN_WORKERS for victim in ("worker", "driver", "group")
]
ROUNDS += [(stage, "driver") for stage in faults.IN_DRIVER]


def ends(trials: list[FrozenTrial]) -> list[tuple[str, str, float | None]]:
    """Number, state and value of each trial."""
    return [(str(t.number), t.state.name, t.value) for t in trials]


def children(app: App, study: str) -> list[tuple[str, str, float | None]]:
    """The same of a study's MLflow runs."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{app.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    found = []
    for run in client.search_runs([experiment.experiment_id], f"tags.study = '{study}'"):
        if "trial" not in run.data.tags:
            continue
        assert "held" not in run.data.tags
        pruned = run.data.tags.get("outcome") == "pruned"
        states = {"FINISHED": "PRUNED" if pruned else "COMPLETE", "FAILED": "FAIL"}
        state = states.get(run.info.status, run.info.status)
        found.append((run.data.tags["trial"], state, run.data.metrics.get("objective")))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "victim", "tracked"),
    [(*which, number % 4 == 0) for number, which in enumerate(ROUNDS)],  # every fourth with MLflow
)
def test_a_kill_at_any_stage_ends_after_the_same_command_with_the_exact_budget(
    make_app: Callable[..., App], tmp_path: Path, stage: str, victim: str, tracked: bool
) -> None:
    app = make_app(source=MATRIX_APP, config=MATRIX_CONFIG)
    fault = Path(faults.__file__).read_text()
    (app.folder / "sitecustomize.py").write_text(fault)
    arguments = MLFLOW if tracked else ()
    process = app.start(*arguments, PYTHONPATH=str(app.folder), FAULT=f"{stage}|{victim}")
    output, _ = process.communicate(timeout=300)
    assert (app.folder / "struck").exists(), output
    assert process.returncode == (0 if victim == "worker" else -signal.SIGKILL), output
    wait_until(lambda: not group_members(process.pid))
    again = app.run(*arguments)
    assert "Traceback" not in output + again.stderr

    trials = app.study().trials
    [confirmation] = [name for name in names(app) if name != "test"]
    confirmed = app.study(confirmation).trials
    states = ["COMPLETE"] * 2 + ["FAIL"] + ["COMPLETE"] * 2 + ["PRUNED"]
    assert [trial.state.name for trial in trials] == states
    assert [trial.params["x"] for trial in trials] == list(range(6))
    assert sorted(trial.value for trial in confirmed) == [1.0, 2.0, 3.0]
    assert set((app.folder / "done.txt").read_text().split()) == {"0"}
    if tracked:
        pruned = ("5", "PRUNED", None)  # Optuna keeps its last report as its value
        assert children(app, "test") == [*ends(trials)[:5], pruned]
        assert children(app, confirmation) == ends(confirmed)
        assert ("", "FINISHED", "") in runs(app)


def names(app: App) -> list[str]:
    """Of all studies in the app's journal."""
    return [study.study_name for study in app.study()._storage.get_all_studies()]
