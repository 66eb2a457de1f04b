"""Runs opened and closed truthfully: alone, below a parent, or again after an interruption.

Only MLflow's client is used: nothing is left to exit hooks and global state.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import perceptune
from perceptune import machine
from perceptune.errors import UserError
from perceptune.tracking.interrupts import interrupts_wait
from perceptune.tracking.run import MlflowRun
from perceptune.tracking.store import Place, alone, client_of, errors_of, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OWNER_TAGS = tuple(machine.identity())


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


def log_to(uri: str, run_id: str) -> MlflowRun:
    """A run that somebody else holds open, to write to."""
    return MlflowRun(client_of(uri), run_id, uri)


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
    with alone(place.uri):
        client = client_of(place.uri)
        experiment = experiment_id(client, place)
        close_dead_runs(client, experiment)
        return client, experiment, _parent(client, experiment, place, group)


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
