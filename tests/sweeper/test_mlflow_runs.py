"""Runs of a real store: made, cut to MLflow's limits, closed and reopened."""

import subprocess
import sys
from typing import Any

import pytest

from optuna_joblib_sweeper import mlflow_runs, mlflow_stores
from optuna_joblib_sweeper.processes import identity


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    with mlflow_stores.store_lock(uri):
        return mlflow_runs.client_of(uri)


@pytest.fixture(scope="module")
def experiment(client: Any) -> str:
    return mlflow_runs.experiment_id(client, "runs")


def test_an_experiment_is_made_once_and_a_deleted_one_refused(client: Any, experiment: str) -> None:
    assert mlflow_runs.experiment_id(client, "runs") == experiment
    client.delete_experiment(mlflow_runs.experiment_id(client, "gone"))
    with pytest.raises(ValueError, match="experiment gone was deleted"):
        mlflow_runs.experiment_id(client, "gone")


def test_a_run_names_its_owner_its_parent_and_what_became_of_it(
    client: Any, experiment: str
) -> None:
    parent = mlflow_runs.create_run(client, experiment, "parent", {"kind": "study"})
    child = mlflow_runs.create_run(client, experiment, "x" * 300, {}, parent)
    tags = client.get_run(child).data.tags
    assert tags[mlflow_runs.PARENT_TAG] == parent
    assert {key: tags[key] for key in identity()} == identity()

    mlflow_runs.close_run(client, child, "FAILED", "failed", "no luck")
    closed = client.get_run(child)
    assert closed.info.status == "FAILED"
    assert (closed.data.tags["outcome"], closed.data.tags["reason"]) == ("failed", "no luck")

    before = mlflow_runs.reopen(client, child)
    assert before is not None
    assert before.info.status == "FAILED"
    again = client.get_run(child)
    assert again.info.status == "RUNNING"
    assert not {"outcome", "reason"} & set(again.data.tags)

    client.delete_run(child)
    assert mlflow_runs.reopen(client, child) is None
    assert mlflow_runs.reopen(client, "0" * 32) is None


def test_batches_keep_within_the_limits_and_leave_out_what_is_not_finite(
    client: Any, experiment: str
) -> None:
    run_id = mlflow_runs.create_run(client, experiment, "large", {})
    mlflow_runs.log_batch(
        client,
        run_id,
        metrics={"best": {step: float(step) for step in range(1700)}, "bad": float("nan")},
        params={f"p{index}": index for index in range(250)} | {"long": "x" * 7000, "list": [1, 2]},
        tags={f"t{index}": "y" * 9000 for index in range(120)},
    )
    run = client.get_run(run_id)
    assert len(client.get_metric_history(run_id, "best")) == 1700
    assert "bad" not in run.data.metrics
    assert len(run.data.params) == 252
    assert (len(run.data.params["long"]), run.data.params["list"]) == (6000, "[1, 2]")
    assert len(run.data.tags["t7"]) == 8000


def test_a_winner_is_named_and_found() -> None:
    assert mlflow_runs.winner_of(mlflow_runs.winner_tags("abc")) == "abc"
    assert mlflow_runs.winner_of({}) is None


def test_importing_it_does_not_import_mlflow() -> None:
    code = (
        "import sys; import optuna_joblib_sweeper.mlflow_runs; assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
