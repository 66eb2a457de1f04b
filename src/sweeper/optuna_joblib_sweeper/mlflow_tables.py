"""MLflow's tables in a SQLite file, read and mended by SQL: the one place that knows them.

MLflow's import alone takes longer than most commands. Imports the standard library alone. Answers
are those of MLflow's client; a store in another place, or of a schema that is not listed here, is
for the client to read.
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from optuna_joblib_sweeper.paths import sqlite_file

PARENT_TAG = "mlflow.parentRunId"
FOLDER_TAG = "store.folder"  # of an experiment: the store's folder when its records were written
# Alembic's revision in MLflow 3.15, 3.16, 3.17 and 3.18.
_SCHEMAS = {"6f8d9c3b2a1e", "b7e2c1a4d9f3", "dc11669786a5", "f4a9b2c7d1e6"}
_TABLES = {"alembic_version", "experiments", "metrics", "params", "runs", "tags"}
_ACTIVE = """
    FROM runs JOIN experiments USING (experiment_id)
    WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
"""
_COUNT = f"SELECT experiments.name, COUNT(*) {_ACTIVE} GROUP BY experiment_id"
_RUNS = """
    SELECT run_uuid, COALESCE(NULLIF(name, ''), run_uuid), status, artifact_uri FROM runs
    WHERE run_uuid IN ({})
    ORDER BY start_time IS NULL, start_time, run_uuid
"""
# As JSON, which is decoded in half the time that rows take; it would round numbers.
_TEXTS = "SELECT run_uuid, json_group_object(key, value) FROM {} WHERE run_uuid IN ({}) GROUP BY 1"
_METRICS = """
    SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics
    WHERE run_uuid IN ({})
"""
_VERSION = "SELECT source FROM model_versions {} WHERE current_stage != 'Deleted_Internal'"
_ALIASES = "JOIN registered_model_aliases USING (workspace, name, version)"
# Columns with the locations of artifacts.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        id, name, status: as in MLflow.
        artifacts: the location of its files, a path or a URI.
        params, metrics, tags: by name; the last value of each metric.
    """

    id: str
    name: str
    status: str
    artifacts: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str | None:
        """The id of its parent run, if it has one."""
        return self.tags.get(PARENT_TAG)


def readable(uri: str) -> Path | None:
    """The file of a store that is read here; None for any other.

    Raises:
        OSError: the file is no store.
    """
    local = sqlite_file(uri)
    if local is None or not local.exists():
        return None
    refuse_broken(local)
    found = {revision for (revision,) in _query(local, "SELECT version_num FROM alembic_version")}
    return local if found and found <= _SCHEMAS else None


def find_run(local: Path, run_id: str) -> RunRecord | None:
    """The run with that id, deleted or not."""
    return next(iter(_runs(local, "?", [run_id])), None)


def find_runs(
    local: Path, *, tag: tuple[str, str] | None = None, finished_with: Sequence[str] = ()
) -> list[RunRecord]:
    """The runs that were not deleted, oldest first.

    Args:
        local: the store's file.
        tag: a tag that they have, with its value.
        finished_with: metrics of those that finished, which are the only ones that are read.
    """
    chosen, values = f"SELECT run_uuid {_ACTIVE}", [*(tag or ()), *finished_with]
    if tag:
        chosen += " AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)"
    if finished_with:
        chosen += " AND status = 'FINISHED'"
    for _ in finished_with:
        chosen += " AND run_uuid IN (SELECT run_uuid FROM latest_metrics WHERE key = ?)"
    return _runs(local, chosen, values, finished_with)


def _runs(
    local: Path, chosen: str, values: Sequence[str], metrics: Sequence[str] = ()
) -> list[RunRecord]:
    """The runs whose ids the SQL `chosen` gives, of one moment; `metrics` restricts theirs."""
    names = f" AND key IN ({', '.join('?' * len(metrics))})" if metrics else ""
    with _opened(local) as database:
        database.execute("BEGIN")
        runs = {row[0]: RunRecord(*row) for row in database.execute(_RUNS.format(chosen), values)}
        for table in ("params", "tags"):
            for run_id, texts in database.execute(_TEXTS.format(table, chosen), values):
                getattr(runs[run_id], table).update(json.loads(texts))
        numbers = database.execute(_METRICS.format(chosen) + names, [*values, *metrics])
        for run_id, key, value in numbers:
            runs[run_id].metrics[key] = math.nan if value is None else value
    return list(runs.values())


def last_step(local: Path, run_id: str, metric: str) -> int | None:
    """The last step for which a run has recorded a metric, if it has."""
    asked = "SELECT step FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step DESC LIMIT 1"
    return next((int(step) for (step,) in _query(local, asked, [run_id, metric])), None)


def experiment_id(local: Path, name: str) -> str | None:
    """The id of the experiment with that name, deleted or not."""
    asked = "SELECT experiment_id FROM experiments WHERE name = ?"
    return next((str(number) for (number,) in _query(local, asked, [name])), None)


def model_location(local: Path, name: str) -> str | None:
    """Where the files of `NAME@ALIAS`, `NAME/VERSION` or a model's id are; None if it has none."""
    for mark, join, column in (("@", _ALIASES, "alias"), ("/", "", "version")):
        if mark in name:
            asked = f"{_VERSION.format(join)} AND name = ? AND {column} = ?"
            rows = _query(local, asked, name.split(mark, 1))
            break
    else:
        asked = "SELECT artifact_location FROM logged_models WHERE model_id = ?"
        rows = _query(local, f"{asked} AND lifecycle_stage != 'deleted'", [name])
    return str(rows[0][0]) if len(rows) == 1 else None


def local_path(location: str) -> Path | None:
    """The path of a location, if it is a local one."""
    parts = urlsplit(location)
    return None if parts.netloc or parts.scheme not in ("", "file") else _path_of(location)


def refuse_broken(local: Path) -> None:
    """Refuse at once what MLflow would try to open for minutes, or would make its tables in.

    Raises:
        OSError: the file is a folder, no database of SQLite's, or that of another program.
    """
    if local.exists() and not local.is_file():
        raise OSError(f"{local} is a folder or a device, expected a file")
    if not local.exists():
        return
    tables = {name for (name,) in _query(local, "SELECT name FROM sqlite_master")}
    lacking = sorted(_TABLES - tables)
    if tables and lacking:  # MLflow would make them, there and then
        what = f"{local} lacks the table {lacking[0]}"
        raise OSError(f"{what}; it is damaged, or a database of another program")


def run_counts(uri: str) -> dict[str, int] | None:
    """The number of runs by experiment, counted by the store; None if it is not a file.

    Raises:
        OSError: the file is no store.
    """
    local = sqlite_file(uri)
    if local is None:
        return None
    refuse_broken(local)
    return dict(_query(local, f"{_COUNT} ORDER BY experiment_id"))


@contextmanager
def _opened(local: Path) -> Iterator[sqlite3.Connection]:
    """A store to read. What a killed process had half written is undone, as every opening does.

    Raises:
        OSError: the file is no database, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{local.absolute().as_uri()}?mode=rw", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise OSError(f"{local}: {error}") from None


def _query(local: Path, query: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    with _opened(local) as database:
        return database.execute(query, values).fetchall()


def follow_move(local: Path) -> None:
    """Let the records of a store that was moved or copied name the artifacts that went with it.

    Without this a moved store finds none, and a copy reads and writes those of the original. A
    store that cannot be changed stays as it is.
    """
    here = local.parent.absolute()
    with suppress(sqlite3.Error), closing(sqlite3.connect(local)) as database, database:
        for before in _former_folders(database):
            if not _is_same(Path(before), here):
                _rename(database, before, str(here))


def _former_folders(database: sqlite3.Connection) -> set[str]:
    """Folders for which locations were recorded, also by versions that left no tag."""
    asked = "SELECT DISTINCT value FROM experiment_tags WHERE key = ?"
    tags = {folder for (folder,) in database.execute(asked, [FOLDER_TAG])}
    asked = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    found = [location for (location,) in database.execute(asked, ["file:///%/artifacts"])]
    return tags | {str(_path_of(one).parent) for one in found if not _path_of(one).exists()}


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return one == other


def _rename(database: sqlite3.Connection, before: str, here: str) -> None:
    """Replace the folder `before` in locations; what is only there stays there."""
    ours = "SELECT experiment_id FROM experiment_tags WHERE key = ? AND value = ?"
    tagged = {number for (number,) in database.execute(ours, [FOLDER_TAG, before])}
    names = [(before, here), (Path(before).as_uri(), Path(here).as_uri())]
    for table, column in _LOCATIONS:
        is_ours = "experiment_id" if table == "experiments" else "NULL"
        rows = database.execute(f"SELECT rowid, {column}, {is_ours} FROM {table}").fetchall()
        for row, location, experiment in rows:
            for old, new in names:
                if str(location).startswith(f"{old}/"):
                    moved = new + location.removeprefix(old)
                    only_there = _path_of(location).exists() and not _path_of(moved).exists()
                    if experiment in tagged or not only_there:
                        change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                        database.execute(change, [moved, row])
    change = "UPDATE experiment_tags SET value = ? WHERE key = ? AND value = ?"
    database.execute(change, [here, FOLDER_TAG, before])


def _path_of(location: str) -> Path:
    is_uri = location.startswith("file:")
    return Path(unquote(urlsplit(location).path) if is_uri else location)
