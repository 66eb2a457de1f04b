"""What SQL reads in a store's file is what MLflow's client reads in it."""

import math
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optuna_joblib_sweeper import mlflow_runs, mlflow_stores, mlflow_tables
from optuna_joblib_sweeper.mlflow_tables import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FINISHED = ["attributes.status = 'FINISHED'"]
EXPERIMENTS = ("one", "two", "deleted")
NAMES = ("net@best", "net@second", "net/1", "net/2", "net/3")
STRANGE_NAMES = ("net@none", "none@best", "net/9", "net/x", "none/1", "m-none", "net", "")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> "MlflowClient":
    """A store with runs of all kinds, in three experiments, and the versions of a model."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    with mlflow_stores.store_lock(uri):
        client = mlflow_runs.client_of(uri)
    for name in EXPERIMENTS:
        experiment = mlflow_runs.experiment_id(client, name, (_file(client).parent / name).as_uri())
        parent = mlflow_runs.create_run(client, experiment, "parent", {"kind": "repeats"})
        client.log_metric(parent, "accuracy", 0.5)
        for number in range(3):
            run = mlflow_runs.create_run(client, experiment, f"run {number}", {}, parent)
            client.log_param(run, "lr", number)
            for step in range(number):
                client.log_metric(run, "accuracy", 0.25 * number, step=step)
            client.log_metric(run, "odd", (math.inf, -math.inf, math.nan)[number])
            client.log_metric(run, "loss", number)
            mlflow_runs.close_run(client, run, ("FINISHED", "FAILED", "FINISHED")[number], "done")
        client.delete_run(mlflow_runs.create_run(client, experiment, "", {}, parent))
        client.log_text(parent, "kept", "note.txt")
    client.delete_experiment(experiment)
    _add_models(client, str(client.get_experiment_by_name("one").experiment_id))  # type: ignore[union-attr]
    return client


def _add_models(client: "MlflowClient", experiment: str) -> None:
    client.create_registered_model("net")
    for _ in range(3):
        model = client.create_logged_model(experiment, "net")
        client.create_model_version("net", model.artifact_location)
    for alias, version in (("best", "2"), ("second", "1")):
        client.set_registered_model_alias("net", alias, version)
    client.delete_model_version("net", "3")
    client.delete_logged_model(client.create_logged_model(experiment, "net").model_id)


def _file(client: "MlflowClient") -> Path:
    local = mlflow_runs.sqlite_file(client.tracking_uri)
    assert local is not None
    return local


def _by_client(run: "Run") -> RunRecord:
    data = run.data
    name, files = run.info.run_name, run.info.artifact_uri
    metrics = {key: str(value) for key, value in data.metrics.items()}  # NaN is not itself
    return RunRecord(run.info.run_id, name, run.info.status, files, data.params, metrics, data.tags)  # type: ignore[arg-type]


def _by_sql(run: RunRecord | None) -> RunRecord:
    assert run is not None
    metrics = {key: str(value) for key, value in run.metrics.items()}
    return RunRecord(run.id, run.name, run.status, run.artifacts, run.params, metrics, run.tags)  # type: ignore[arg-type]


def test_the_schema_of_the_installed_mlflow_is_known(client: "MlflowClient") -> None:
    """After an upgrade of MLflow: compare its tables, and add its revision to `_SCHEMAS`."""
    assert mlflow_tables.readable(client.tracking_uri) == _file(client)


@pytest.mark.parametrize(
    ("conditions", "tag", "finished_with"),
    [
        ([], None, []),
        (["tags.kind = 'repeats'"], ("kind", "repeats"), []),
        (["tags.kind = 'others'"], ("kind", "others"), []),
        (["tags.outcome = 'done'"], ("outcome", "done"), []),
        ([*FINISHED, "metrics.accuracy >= 0"], None, ["accuracy"]),
        ([*FINISHED, "metrics.accuracy >= 0", "metrics.loss >= 0"], None, ["accuracy", "loss"]),
        ([*FINISHED, "metrics.none >= 0"], None, ["none"]),
        ([*FINISHED, "metrics.loss >= 0", "tags.outcome = 'done'"], ("outcome", "done"), ["loss"]),
    ],
)
def test_sql_finds_the_runs_that_mlflow_finds(
    client: "MlflowClient",
    conditions: list[str],
    tag: tuple[str, str] | None,
    finished_with: list[str],
) -> None:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    asked, order = " and ".join(conditions), ["attributes.start_time ASC"]
    expected = list(map(_by_client, client.search_runs(experiments, asked, order_by=order)))
    if finished_with:  # the others are not read
        for run in expected:
            for name in run.metrics.keys() - set(finished_with):
                del run.metrics[name]
    found = mlflow_tables.find_runs(_file(client), tag=tag, finished_with=finished_with)
    assert list(map(_by_sql, found)) == expected
    assert bool(found) == ("others" not in asked and "none" not in asked)


def test_sql_reads_every_run_as_mlflow_does(client: "MlflowClient") -> None:
    from mlflow.entities import ViewType

    everywhere = client.search_experiments(view_type=ViewType.ALL)
    ids = [experiment.experiment_id for experiment in everywhere]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL)
    assert len(runs) == 15
    for run in runs:
        assert _by_sql(mlflow_tables.find_run(_file(client), run.info.run_id)) == _by_client(run)
        steps = [e.step for e in client.get_metric_history(run.info.run_id, "accuracy")]
        last = mlflow_tables.last_step(_file(client), run.info.run_id, "accuracy")
        assert last == max(steps, default=None)
    for run_id in ("0" * 32, "", "' OR '1'='1"):
        assert mlflow_tables.find_run(_file(client), run_id) is None


def test_sql_finds_experiments_by_name(client: "MlflowClient") -> None:
    for name in (*EXPERIMENTS, "Default"):
        found = client.get_experiment_by_name(name)
        assert found is not None
        assert mlflow_tables.experiment_id(_file(client), name) == str(found.experiment_id)
    assert mlflow_tables.experiment_id(_file(client), "none") is None


def test_sql_finds_models_by_every_name(client: "MlflowClient") -> None:
    sources = {f"net/{v.version}": v.source for v in client.search_model_versions("name = 'net'")}
    expected = [sources.get(name) for name in ("net/2", "net/1", "net/1", "net/2", "net/3")]
    found = [mlflow_tables.model_location(_file(client), name) for name in NAMES]
    assert found == expected
    assert found[4] is None  # deleted
    experiment = client.get_experiment_by_name("one")
    assert experiment is not None
    models = client.search_logged_models([experiment.experiment_id])
    assert len(models) == 3
    for model in models:
        found_there = mlflow_tables.model_location(_file(client), model.model_id)
        assert found_there == model.artifact_location
    for name in STRANGE_NAMES:
        assert mlflow_tables.model_location(_file(client), name) is None


def test_a_deleted_model_is_not_found(client: "MlflowClient") -> None:
    with closing(sqlite3.connect(_file(client))) as database:
        asked = "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'deleted'"
        [(deleted,)] = database.execute(asked).fetchall()
    assert mlflow_tables.model_location(_file(client), deleted) is None


def test_a_moved_store_names_its_own_files(client: "MlflowClient", tmp_path: Path) -> None:
    moved = Path(shutil.copytree(_file(client).parent, tmp_path / "moved")) / "mlflow.db"
    mlflow_stores.look_at(f"sqlite:///{moved}")
    [parent, *_] = mlflow_tables.find_runs(moved, tag=("kind", "repeats"))
    files = mlflow_tables.local_path(parent.artifacts)
    assert files is not None
    assert files.is_relative_to(moved.parent)
    assert (files / "note.txt").read_text() == "kept"


@pytest.mark.parametrize("revisions", [[], ["0" * 12]])
def test_a_store_of_another_schema_is_left_to_mlflow(
    client: "MlflowClient", tmp_path: Path, revisions: list[str]
) -> None:
    other = Path(shutil.copy(_file(client), tmp_path / "other.db"))
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("DELETE FROM alembic_version")
        for revision in revisions:
            database.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    assert mlflow_tables.readable(f"sqlite:///{other}") is None


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "postgresql://host/x", "sqlite:///:memory:"])
def test_a_store_that_is_no_file_is_left_to_mlflow(uri: str) -> None:
    assert mlflow_tables.readable(uri) is None


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/a/b c", "/a/b c"),
        ("file:///a/b%20c", "/a/b c"),
        ("file://host/a", None),
        ("s3://bucket/a", None),
        ("mlflow-artifacts:/1", None),
        ("runs:/1/a", None),
    ],
)
def test_only_local_files_have_a_path(location: str, path: str | None) -> None:
    assert mlflow_tables.local_path(location) == (None if path is None else Path(path))


WRITE_AND_DIE = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 10")  # so that the file is written to before the end
for number in range(5000):
    database.execute("INSERT INTO tags VALUES (?, ?, ?)", [f"{number}", "x" * 200, sys.argv[2]])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_half_written_is_undone(
    client: "MlflowClient", tmp_path: Path
) -> None:
    local = Path(shutil.copy(_file(client), tmp_path / "mlflow.db"))
    before = mlflow_tables.find_runs(local)
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(local), before[0].id], check=False)
    assert local.with_name("mlflow.db-journal").exists()
    assert list(map(_by_sql, mlflow_tables.find_runs(local))) == list(map(_by_sql, before))
