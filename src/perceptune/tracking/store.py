"""The MLflow store: made once, by one process at a time; runs opened and closed truthfully.

MLflow is imported only when a run is opened, and only its client is used: nothing is left to
exit hooks and global state.
"""

import json
import logging
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import perceptune
from perceptune import machine
from perceptune.errors import UserError
from perceptune.tracking.interrupts import interrupts_wait
from perceptune.tracking.run import MlflowRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OWNER_TAGS = tuple(machine.identity())


@dataclass(frozen=True)
class Place:
    """Where runs go: a store and an experiment in it."""

    uri: str
    experiment: str


@dataclass(frozen=True)
class Group:
    """Several runs started by one command; their parent is opened by the first that gets so far.

    Attributes:
        folder: a folder that all their processes share while the command runs.
        name: the parent's name.
        owner: `machine.identity` of the process that started them.
    """

    folder: Path
    name: str
    owner: Mapping[str, str] = field(default_factory=machine.identity)

    def save(self) -> None:
        """Leave a note in the folder for the processes of the group."""
        note = {"name": self.name, "owner": dict(self.owner)}
        (self.folder / "group.json").write_text(json.dumps(note))

    @classmethod
    def load(cls, folder: Path) -> "Group":
        """The group whose folder this is."""
        return cls(folder, **json.loads((folder / "group.json").read_text()))


@contextmanager
def open_run(
    place: Place,
    *,
    name: str,
    tags: Mapping[str, str],
    group: Group | None = None,
    parent: str | None = None,
    run_id: str | None = None,
    borrowed: bool = False,
) -> Iterator[MlflowRun]:
    """A run that is closed truthfully however the block ends.

    Args:
        place: the store and experiment, made if they do not exist.
        name: the run's name, for a new one.
        tags: recorded at once, beside the process that owns the run.
        group: the command it is part of.
        parent: the id of the run below which it is shown, where no group says so.
        run_id: an existing run to go on with.
        borrowed: whoever made that run also closes it.

    Raises:
        UserError: the store cannot be opened, or has no such run.
    """
    run: MlflowRun | None = None
    try:
        with errors_of(place), interrupts_wait():  # MLflow is imported by the first, in seconds
            if run_id is None:
                run = _create(place, name, tags, group, parent)
            else:
                run = _reopen(client_of(place.uri), run_id, place, tags, borrowed)
        yield run
    except BaseException as error:
        if run is None:
            raise
        by_signal = isinstance(error, KeyboardInterrupt | SystemExit)
        run.outcome = getattr(error, "outcome", "failed")
        reason = "interrupted" if by_signal else f"{type(error).__name__}: {error}"
        _close(run, "KILLED" if by_signal else "FAILED", borrowed, {"reason": reason[:500]})
        raise
    _close(run, "FINISHED", borrowed, {})


def default_uri() -> str:
    """The store that is used where no other is named: below the current folder.

    Raises:
        UserError: the folder's name holds what a URI gives another meaning.
    """
    folder = str(Path.cwd())
    if "?" in folder or "%" in folder:
        raise UserError(f"a store cannot be below {folder!r}: rename it, or set tracking.uri")
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def refuse_absent(uri: str) -> None:
    """A store that is only to be read must be there.

    Raises:
        UserError: it is a local file that does not exist.
    """
    local = _sqlite_file(uri)
    if local is not None and not local.exists():
        raise UserError(f"no store {local} yet; the first `perceptune train` makes it")


def prepare(uri: str) -> None:
    """Make the store, if it is not there, before several processes look for it at once."""
    with errors_of(Place(uri, "")), _alone(uri):
        client_of(uri).search_experiments(max_results=1)


def client_to_read(uri: str) -> "MlflowClient":
    """A client of a store that is there already: whoever only reads makes none.

    Raises:
        UserError: there is no such store, or it cannot be opened.
    """
    refuse_absent(uri)
    local = _sqlite_file(uri)
    with errors_of(Place(uri, "")):
        if local is not None:
            _refuse_broken(local)
        return client_of(uri)


def find_experiment(place: Place) -> str | None:
    """The experiment's id, if there is one of that name."""
    with errors_of(place):
        found = client_of(place.uri).get_experiment_by_name(place.experiment)
    return str(found.experiment_id) if found else None


def log_to(uri: str, run_id: str) -> MlflowRun:
    """A run that somebody else holds open, to write to."""
    return MlflowRun(client_of(uri), run_id, uri)


def artifacts_beside(uri: str) -> str | None:
    """Where a local store keeps its artifacts; MLflow's own default depends on the folder."""
    local = _sqlite_file(uri)
    return (local.parent / "artifacts").as_uri() if local else None


def parent_of(group: Group) -> MlflowRun | None:
    """The parent of a group, if any of its runs got so far as to need one."""
    note = group.folder / "parent.json"
    if not note.exists():
        return None
    parent = json.loads(note.read_text())
    return log_to(parent["uri"], parent["run_id"])


@interrupts_wait()
def close_group(group: Group, status: str) -> None:
    """Close the parent of a group, if there is one.

    With a `status` other than FINISHED, runs may be left whose processes were ended with it.
    """
    parent = parent_of(group)
    if parent is None:
        return
    if status != "FINISHED":
        close_dead_runs(parent.client, parent.client.get_run(parent.id).info.experiment_id)
    parent.outcome = "finished" if status == "FINISHED" else "failed"
    _close(parent, status, borrowed=False, tags={})


def close_dead_runs(client: "MlflowClient", experiment_id: str) -> None:
    """End the runs whose process was killed: nobody else will. Live ones are left alone."""
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        owner = {key: run.data.tags.get(key, "") for key in _OWNER_TAGS}
        if owner["pid"] and not machine.may_be_alive(owner):
            client.set_tag(run.info.run_id, "outcome", "failed")
            client.set_tag(run.info.run_id, "reason", f"process {owner['pid']} was killed")
            client.set_terminated(run.info.run_id, "FAILED")


def _create(
    place: Place, name: str, tags: Mapping[str, str], group: Group | None, parent: str | None
) -> MlflowRun:
    client, experiment_id, parent_of_group = _prepare(place, group)
    above = parent_of_group or parent
    parent_tag = {"mlflow.parentRunId": above} if above else {}
    run = client.create_run(
        experiment_id,
        tags={**_context_tags(), **machine.identity(), **tags, **parent_tag},
        run_name=name,
    )
    return MlflowRun(client, run.info.run_id, place.uri)


def _prepare(place: Place, group: Group | None) -> tuple["MlflowClient", str, str | None]:
    """Client, experiment and parent."""
    with _alone(place.uri):
        client = client_of(place.uri)
        experiment_id = _experiment(client, place)
        close_dead_runs(client, experiment_id)
        return client, experiment_id, _parent(client, experiment_id, place, group)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time: on a new SQLite file all others would fail."""
    local = _sqlite_file(uri)
    if local is None:
        yield
        return
    from filelock import FileLock

    local.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{local}.lock"):
        _refuse_broken(local)
        yield


def _refuse_broken(local: Path) -> None:
    """MLflow would try for minutes to open what SQLite refuses at once."""
    if local.is_dir():
        raise IsADirectoryError(f"{local} is a folder")
    try:
        with closing(sqlite3.connect(local)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise OSError(f"{local}: {error}") from None


def client_of(uri: str) -> "MlflowClient":
    """A client of the store; MLflow is imported here, and told to be quiet."""
    # Nothing of a user's training is reported to anyone, unless the user has said so.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(uri)


def _experiment(client: "MlflowClient", place: Place) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(place.experiment)
    if found is None:
        artifacts = artifacts_beside(place.uri)
        try:
            return str(client.create_experiment(place.experiment, artifact_location=artifacts))
        except MlflowException:
            found = client.get_experiment_by_name(place.experiment)  # somebody was faster
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(
            f"tracking.experiment={place.experiment} was deleted in the store; "
            "restore it there or choose another name"
        )
    return str(found.experiment_id)


def _parent(
    client: "MlflowClient", experiment_id: str, place: Place, group: Group | None
) -> str | None:
    if group is None:
        return None
    from filelock import FileLock

    note = group.folder / "parent.json"
    with FileLock(group.folder / "lock"):
        if not note.exists():
            tags = {**_context_tags(), **group.owner, "kind": "multirun"}
            parent = client.create_run(experiment_id, tags=tags, run_name=group.name)
            note.write_text(json.dumps({"uri": place.uri, "run_id": parent.info.run_id}))
    return str(json.loads(note.read_text())["run_id"])


def _reopen(
    client: "MlflowClient", run_id: str, place: Place, tags: Mapping[str, str], borrowed: bool
) -> MlflowRun:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
    except MlflowException:
        raise UserError(f"run {run_id} does not exist in {place.uri}") from None
    if not borrowed:
        owner = {key: found.data.tags.get(key, "") for key in _OWNER_TAGS}
        if found.info.status == "RUNNING" and owner["pid"] and machine.may_be_alive(owner):
            raise UserError(f"run {run_id} is still being trained, by process {owner['pid']}")
        client.update_run(run_id, status="RUNNING")
        for stale in ("outcome", "reason"):
            if stale in found.data.tags:
                client.delete_tag(run_id, stale)
        tags = {**tags, **machine.identity()}
    else:
        tags = {**_context_tags(), **tags}
    history = client.get_metric_history(run_id, "train/loss")
    run = MlflowRun(client, run_id, place.uri)
    run.logged_epochs = max((entry.step for entry in history), default=0)
    run.log_tags(tags)
    return run


@interrupts_wait()
def _close(run: MlflowRun, status: str, borrowed: bool, tags: Mapping[str, str]) -> None:
    run.log_tags({"outcome": run.outcome, **tags})
    if not borrowed:
        run.client.set_terminated(run.id, status)


@contextmanager
def errors_of(place: Place) -> Iterator[None]:
    """A store that cannot be reached is the user's to mend."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"tracking.uri={place.uri} cannot be used: {reason}") from error


def _sqlite_file(uri: str) -> Path | None:
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if uri.startswith("sqlite:///") else None


@cache
def _context_tags() -> dict[str, str]:
    """What MLflow's own `start_run` would note, and the version."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    tags = {
        "mlflow.source.name": "perceptune",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": os.environ.get("USER", "unknown"),
        "perceptune.version": perceptune.__version__,
    }
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def contents(uri: str) -> str:
    """What a store holds, in words; an absent one is not made."""
    local = _sqlite_file(uri)
    if local and not local.exists():
        return "none yet; the first `perceptune train` makes the store"
    place = Place(uri, "")
    with errors_of(place):
        client = client_of(uri)
        counts = []
        for experiment in client.search_experiments():
            runs = client.search_runs([experiment.experiment_id], max_results=50_000)
            if runs:
                counts.append(f"{len(runs)} in {experiment.name}")
    return ", ".join(counts) or "none"
