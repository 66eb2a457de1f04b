"""MLflow: one parent run a study, one child a trial, and the truth about each."""

from collections.abc import Callable
from typing import Any

import pytest
from apps import App

pytestmark = pytest.mark.slow

LOGGING_APP = """
import hydra, mlflow, os
from optuna_joblib_sweeper import current_trial


@hydra.main(version_base=None, config_path="conf", config_name="config")
def task(config):
    trial = current_trial()
    if trial.confirming:
        assert trial.number == 2
    if config.x == 0:
        # An app that knows nothing of the sweeper's run: MLflow's own habits find it.
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 1.0)
    elif config.x == 1:
        mlflow.log_metric("loss", 1.0)  # opens a run, and never ends it
        run = mlflow.active_run()
        mlflow.set_tag("outcome", "diverged")
        raise ValueError("diverged")
    else:
        run = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(trial.mlflow_run_id)
        trial.report(9.0 if config.x == 3 else 1.0, 0)
        if trial.should_prune():
            return None
    assert run.info.run_id == trial.mlflow_run_id
    return -float(config.x)


def done(result):
    from mlflow import MlflowClient
    client = MlflowClient(result.tracking_uri)
    client.set_tag(result.run_id, "seen_by_hook", result.winner.number)


if __name__ == "__main__":
    task()
"""

CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: optuna_joblib
  - override hydra/sweeper/sampler: grid
  - override hydra/sweeper/pruner: threshold
x: 0
seed: 0
hydra:
  sweeper:
    study_name: test
    storage: optuna.journal
    pruner: {upper: 5}
    on_complete: app.done
    confirm: {top: 1, seeds: 2}
    mlflow: {enabled: true, experiment: trials}
    params: {x: "0,1,2,3"}
"""


def test_every_run_says_what_became_of_its_trial(make_app: Callable[..., App]) -> None:
    from mlflow.tracking import MlflowClient

    app = make_app(source=LOGGING_APP, config=CONFIG)
    done = app.run()
    client = MlflowClient(f"sqlite:///{app.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("trials")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}

    trials = {r.data.tags["trial"]: r for r in children if r.data.tags["study"] == "test"}
    facts: dict[str, Any] = {
        number: (run.info.status, run.data.tags.get("outcome"), run.data.metrics.get("objective"))
        for number, run in trials.items()
    }
    assert facts == {
        "0": ("FINISHED", None, 0.0),
        "1": ("FAILED", "diverged", None),  # the task's own word stays
        "2": ("FINISHED", None, -2.0),
        "3": ("FINISHED", "pruned", None),
    }
    assert trials["1"].data.tags["reason"] == "ValueError: diverged"
    assert trials["0"].data.metrics["loss"] == 1.0
    assert trials["2"].data.params == {"x": "2"}
    assert trials["2"].info.run_name == "2 x=2"

    confirming = [run for run in children if run.data.tags.get("confirms") == "2"]
    assert sorted(run.data.tags["confirm_seed"] for run in confirming) == ["1", "2"]

    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "test"
    assert parent.data.params["sampler"] == "GridSampler"
    assert parent.data.params["grid_points"] == "4"
    assert parent.data.params["space/x"] == "choice(0,1,2,3)"
    tags = parent.data.tags
    assert tags["best_trial"] == "2"
    assert tags["best_run_id"] == trials["2"].info.run_id
    assert (tags["best/x"], tags["seen_by_hook"]) == ("2", "2")
    history = client.get_metric_history(parent.info.run_id, "best_value")
    assert [metric.step for metric in history] == sorted({metric.step for metric in history})
    assert history[-1].value == -2.0
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert artifacts >= {"trials.csv", "best_config.yaml", "plots", "test.yaml"}
    plots = {item.path for item in client.list_artifacts(parent.info.run_id, "plots")}
    assert plots >= {"plots/history.png", "plots/intermediate_values.png"}
    assert "'2' -> None" not in done.stdout

    # The same command again finds nothing to do and opens no second parent.
    app.run("hydra.sweeper.mlflow.plots=false")
    assert len(client.search_runs([experiment.experiment_id])) == len(runs)
