"""Runs are read back as they were recorded, from a store and from a folder alike."""

import math
from pathlib import Path

import numpy as np
import pytest

from perceptune.errors import StoreError
from perceptune.tracking.lifecycle import open_folder, open_run
from perceptune.tracking.reading import (
    RunRecord,
    all_runs,
    children_of,
    fetch_file,
    find_experiment,
    find_run,
    history,
    last_epoch,
    overrides_of,
    read_folder,
    read_folders,
)
from perceptune.tracking.runs import Run
from perceptune.tracking.store import ExperimentRef, client_of

ROWS = [{"epoch": epoch, "train/loss": 1 / epoch, "lr": 0.1} for epoch in (1, 2, 3)]


def _record(run: Run, tmp_path: Path) -> None:
    run.log_params({"optimizer.lr": 0.1, "model.hidden": [8, 4], "name": "x", "none": None})
    for row in ROWS:
        metrics = {name: value for name, value in row.items() if name != "epoch"}
        run.log_metrics({**metrics, "infinite": math.inf}, int(row["epoch"]))
    run.log_metrics({"test/accuracy": np.float32(0.5), "nothing": math.nan})
    run.log_data("digits", "d" * 64, "scikit-learn", {"train": 5})
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text("- seed=3\n- '+a.b=[1,2]'\n- 1\n")
    run.log_file(overrides)
    run.log_table("tables/mistakes.json", ["index", "true"], [[1, "a"], [2, "b"]])
    run.log_figure("curves", lambda path: path.write_bytes(b"PNG"))


def _is_as_recorded(record: RunRecord) -> None:
    assert record.params == {
        "optimizer.lr": "0.1",
        "model.hidden": "[8, 4]",
        "name": "x",
        "none": "null",
    }
    assert record.metrics == {"train/loss": 1 / 3, "lr": 0.1, "test/accuracy": 0.5}
    assert record.tags["data.sha256"] == "d" * 64


@pytest.mark.usefixtures("reader")
def test_a_store_gives_back_what_was_recorded(ref: ExperimentRef, tmp_path: Path) -> None:
    with open_run(ref, name="read", tags={}) as run:
        _record(run, tmp_path)
    [record] = [each for each in all_runs(ref.uri) if each.id == run.id]
    assert record == find_run(ref.uri, run.id)
    _is_as_recorded(record)
    assert history(ref.uri, run.id) == ROWS
    assert last_epoch(ref.uri, run.id) == 3
    assert overrides_of(ref.uri, run.id) == ["seed=3", "+a.b=[1,2]", "1"]
    curves = fetch_file(ref.uri, run.id, "plots/curves.png", tmp_path)
    assert curves is not None
    assert curves.read_bytes() == b"PNG"
    table = fetch_file(ref.uri, run.id, "tables/mistakes.json", tmp_path)
    assert table is not None
    assert table.read_text() == '{"columns": ["index", "true"], "data": [[1, "a"], [2, "b"]]}'
    assert "tables/mistakes.json" in record.tags["mlflow.loggedArtifacts"]


def test_a_folder_gives_back_what_was_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "seed_0"
    with open_folder(folder, name="untracked", tags={"a": "1"}) as run:
        _record(run, tmp_path)
        assert not (folder / "run.json").exists()
    [record] = read_folders(folder.parent)
    _is_as_recorded(record)
    assert (record.id, record.name, record.status) == (str(folder), "untracked", "FINISHED")
    assert record.tags["a"] == "1"
    assert read_folder(folder) == (["seed=3", "+a.b=[1,2]", "1"], ROWS)
    assert (folder / "plots" / "curves.png").read_bytes() == b"PNG"
    assert {path.name for path in folder.iterdir()} == {
        "run.json",
        "overrides.yaml",
        "plots",
        "tables",
    }


def test_folders_are_read_by_name_and_others_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("b", "a"):
        with open_folder(tmp_path / name, name=name, tags={}):
            pass
    assert [record.name for record in read_folders(tmp_path)] == ["a", "b"]


@pytest.mark.usefixtures("reader")
def test_what_a_store_does_not_have(ref: ExperimentRef, tmp_path: Path) -> None:
    with open_run(ref, name="empty", tags={}) as run:
        pass
    assert find_run(ref.uri, "0" * 32) is None
    assert last_epoch(ref.uri, run.id) is None
    assert history(ref.uri, run.id) == []
    assert overrides_of(ref.uri, run.id) == []
    assert fetch_file(ref.uri, run.id, "config.yaml", tmp_path) is None
    assert children_of(ref.uri, run.id) == []
    with pytest.raises(StoreError, match="cannot be used"):
        history(ref.uri, "0" * 32)


@pytest.mark.usefixtures("reader")
def test_children_are_read_oldest_first(ref: ExperimentRef) -> None:
    other = ExperimentRef(ref.uri, f"{ref.experiment} again")
    assert find_experiment(ref) is None
    with open_run(ref, name="parent", tags={}) as parent:
        for where, name in ((ref, "first"), (other, "second")):
            with open_run(where, name=name, tags={}, parent=parent.id):
                pass
    found = children_of(ref.uri, parent.id)
    assert [(child.name, child.parent) for child in found] == [
        ("first", parent.id),
        ("second", parent.id),
    ]
    found_there = client_of(ref.uri).get_run(parent.id).info.experiment_id
    assert find_experiment(ref) == found_there
