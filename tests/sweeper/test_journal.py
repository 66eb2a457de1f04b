"""Journals and what else a storage may name: nothing of a user's is lost, each fault has a line."""

import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from apps import Sweeps

from optuna_joblib_sweeper import current_trial, load_study
from optuna_joblib_sweeper._journal import Journal, drop_torn_end
from optuna_joblib_sweeper.errors import SweepError

OTHER_FILES = {
    "text": b"Chapter 1\nIt was a dark and stormy night.\n",
    "text without an end": b"one line",
    "csv": b"label,pixel\n1,0\n",
    "json": b'{"a": 1}\n',
    "json lines": b'{"op": 0}\n{"op": 1}\n',
    "json array": b'[{"op_code":0}]\n',
    "numbers": b"0\n1\n",
    "binary": bytes(range(256)) * 40,
    "a long line": b"x" * 3_000_000,
    "deep": b"[" * 100_000 + b"\n",
    "zeros": bytes(4096),
}


def task(config: Any) -> float:
    return float(config.x)


def refused(sweep: Sweeps, storage: str, *overrides: str) -> str:
    """The refusal of a start on `storage`, which leaves every file as it was."""
    before = contents(sweep.folder)
    with pytest.raises(SweepError) as refusal:
        sweep(task, "x=1,2", f"hydra.sweeper.storage={storage}", *overrides)
    assert contents(sweep.folder) == before
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    return message


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != "optimization_results.yaml"  # which the fixture removes
    }


def make_journal(path: Path) -> list[bytes]:
    """A journal of one study with two trials, each with a value; returns its lines."""
    study = optuna.create_study(study_name="test", storage=Journal(path))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_that_is_no_journal_is_refused_untouched(sweep: Sweeps, kind: str) -> None:
    file = sweep.folder / "thesis.txt"
    file.write_bytes(OTHER_FILES[kind])
    assert "thesis.txt is no journal of Optuna's, and stays as it is" in refused(sweep, file.name)
    with pytest.raises(SweepError, match="is no journal"):
        load_study(str(file), "test")


def test_what_is_no_file_is_refused(sweep: Sweeps) -> None:
    (sweep.folder / "folder").mkdir()
    os.mkfifo(sweep.folder / "pipe")
    for name in ("folder", "pipe", "/dev/null"):
        assert "not a regular file" in refused(sweep, name)
    assert "is no database" in refused(sweep, f"sqlite:///{sweep.folder}/folder")
    (sweep.folder / "file").touch()
    assert "file can't be written" in refused(sweep, "file/below.journal")


def test_databases_of_other_programs_are_refused_untouched(sweep: Sweeps) -> None:
    file = sweep.folder / "photos.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE photos (name TEXT)")
    assert f"is named by sqlite:///{file}" in refused(sweep, "photos.db")
    assert "another program's database" in refused(sweep, "sqlite:///photos.db")
    (sweep.folder / "notes.db").write_text("no database at all, but a text of some length\n")
    assert "file is not a database" in refused(sweep, "sqlite:///notes.db")


def test_files_that_bear_the_names_of_locks_are_not_touched(sweep: Sweeps) -> None:
    for name in ("uv.lock", "notes.trials", "notes.driver", "notes.lockfile"):
        (sweep.folder / name).write_text("mine\n")
    assert "uv.lock is in the way" in refused(sweep, "uv")
    sweep(task, "x=1,2", "hydra.sweeper.storage=notes")
    for name in ("uv.lock", "notes.trials", "notes.driver", "notes.lockfile"):
        assert (sweep.folder / name).read_text() == "mine\n"


def test_an_empty_file_becomes_a_journal(sweep: Sweeps) -> None:
    (sweep.folder / "optuna.journal").touch()  # as a kill before the first line leaves it
    sweep(task, "x=1,2")
    assert len(sweep.study().trials) == 2


@pytest.mark.parametrize("torn", [b"{", b'{"op_code":0,"wor', b'{"op_code":6,"worker_id":"\xff\0'])
def test_a_torn_last_line_is_dropped_and_the_file_kept(sweep: Sweeps, torn: bytes) -> None:
    journal = sweep.folder / "optuna.journal"
    sweep(task, "x=1,2", "hydra.sweeper.n_trials=1")
    kept: list[bytes] = []
    for _ in range(2):
        journal.write_bytes(journal.read_bytes() + torn)
        kept.append(journal.read_bytes())
        assert len(load_study(str(journal), "test").trials) == 1
        assert journal.read_bytes() == kept[-1]  # a reader changes nothing
        sweep(task, "x=1,2", "hydra.sweeper.n_trials=1")
    copies = sorted(sweep.folder.glob("optuna.journal.damaged-*"))
    assert [copy.read_bytes() for copy in copies] == kept
    sweep(task, "x=1,2", "hydra.sweeper.n_trials=2")
    assert [trial.value for trial in sweep.study().trials] == [1.0, 2.0]


def test_a_first_line_that_is_torn_is_dropped_as_well(sweep: Sweeps) -> None:
    (sweep.folder / "optuna.journal").write_bytes(b'{"op_code":0,"worker_id":"5')
    sweep(task, "x=1,2")
    assert len(sweep.study().trials) == 2


def test_nothing_is_glued_to_a_line_that_another_process_left_torn(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    storage = Journal(journal)
    study = optuna.create_study(study_name="test", storage=storage)
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert [trial.values for trial in load_study(str(journal), "test").trials] == [(1.0,)]
    drop_torn_end(journal)
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b"[1]", "it is no operation of Optuna's"),
        (b'{"op_code":"6","worker_id":"w"}', "it is no operation of Optuna's"),
        (b'{"op_code":99,"worker_id":"w"}', "does not know what it does; a newer one may"),
        (b'{"op_code":6,"worker_id":"w","trial_id":0}', "its state is missing or of another kind"),
        (b'{"op_code":2,"worker_id":"w","study_id":0,"user_attr":[]}', "its user_attr is missing"),
        (b'{"op_code":4,"worker_id":"w","study_id":0,"user_attrs":3}', "its user_attrs is of anot"),
        (b'{"op_code":5,"worker_id":"w","tri{"op_code":8,"worker_id":"w"}', "it is no JSON"),
        (b'{"op_code":7,"worker_id":"w","trial_id":0,"step":"0"}', "its step is missing"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_damage_before_the_end_is_refused_with_its_line(
    sweep: Sweeps, line: bytes, reason: str, last: bool
) -> None:
    journal = sweep.folder / "optuna.journal"
    lines = make_journal(journal)
    number = len(lines) + 1 if last else 5
    lines.insert(number - 1, line + b"\n")
    journal.write_bytes(b"".join(lines))
    message = refused(sweep, "optuna.journal")
    assert f"optuna.journal, line {number}: the journal is damaged: " in message
    assert reason in message
    with pytest.raises(SweepError, match=f"line {number}: "):
        load_study(str(journal), "test")


JUNK: list[Any] = [None, True, -1, 10**6, 1.5, float("nan"), "", "x", [], [1], {}, {"x": 1}]


def damage(lines: list[bytes], rng: random.Random) -> bytes:
    """The lines with one accident: cut, flipped, doubled, lost, swapped or of wrong types."""
    lines, at, other = list(lines), rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        return b"".join(lines)[: rng.randrange(1, sum(map(len, lines)))]
    if kind == 1:
        text = bytearray(b"".join(lines))
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
        return bytes(text)
    if kind == 2:
        lines.insert(at, lines[other])
    elif kind == 3:
        del lines[at]
    elif kind == 4:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = json.dumps(changed(json.loads(lines[at]), rng)).encode() + b"\n"
    return b"".join(lines)


def changed(record: Any, rng: random.Random) -> Any:
    """A record with one of its values, at any depth, replaced by junk."""
    if not isinstance(record, dict | list) or not record or rng.random() < 0.2:
        return rng.choice(JUNK)
    keys = list(record) if isinstance(record, dict) else list(range(len(record)))
    key = rng.choice(keys)
    record[key] = changed(record[key], rng)
    return record


@pytest.mark.slow
def test_damage_of_any_kind_is_refused_in_a_line_or_does_no_harm(sweep: Sweeps) -> None:
    def noisy(config: Any) -> Any:
        current_trial().report(config.x, 0)
        return 1 / (config.x - 2)

    arguments = ("x=range(5)", "hydra.sweeper.confirm.top=1", "hydra.sweeper.confirm.seeds=2")
    sweep(noisy, *arguments)
    journal = sweep.folder / "optuna.journal"
    lines, rng = journal.read_bytes().splitlines(keepends=True), random.Random(0)
    refusals: list[str] = []
    for _ in range(20):
        damaged = damage(lines, rng)
        journal.write_bytes(damaged)
        reading = read(journal)
        assert journal.read_bytes() == damaged
        starting = start(sweep, noisy, *arguments)
        kept = [copy.read_bytes() for copy in sweep.folder.glob("*.damaged-*")]
        assert damaged in kept or journal.read_bytes().startswith(damaged)
        refusals += [reading, starting]
        for copy in sweep.folder.glob("*.damaged-*"):
            copy.unlink()
    assert set(refusals) > {""}  # both occur
    long = [text for text in refusals if len(text.splitlines()) > 1]
    assert all("was built with another space or config" in text for text in long)


def read(journal: Path) -> str:
    """The refusal of `load_study`; empty if it reads a study whose results can be used."""
    try:
        result = load_study(str(journal), "test")
        assert len(result.winners) <= 1
        assert len(result.standing()) == len(result.ranked())
        result.importances()
    except SweepError as refusal:
        return str(refusal)
    return ""


def start(sweep: Sweeps, task: Callable[[Any], Any], *arguments: str) -> str:
    """The refusal of a start; empty if it ran to its end."""
    try:
        sweep(task, *arguments)
    except SweepError as refusal:
        return str(refusal)
    return ""


def test_what_is_held_is_written_at_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    storage, other = Journal(path), Journal(path)
    study = optuna.create_study(study_name="test", storage=storage)
    trial = study.ask()
    before = path.read_bytes()
    with storage.one_write():
        assert 0 <= trial.suggest_float("x", 0, 1) <= 1
        trial.suggest_int("y", 0, 9)
        assert path.read_bytes() == before
    assert path.read_bytes().count(b"\n") == before.count(b"\n") + 2
    for reader in (storage, other):
        assert list(reader.get_trial(trial._trial_id).params) == ["x", "y"]


def test_what_is_held_is_written_when_the_block_fails(tmp_path: Path) -> None:
    storage = Journal(tmp_path / "journal")
    study = optuna.create_study(study_name="test", storage=storage)
    trial = study.ask()
    with pytest.raises(KeyError), storage.one_write():
        trial.suggest_float("x", 0, 1)
        raise KeyError
    assert list(study.trials[0].params) == ["x"]
