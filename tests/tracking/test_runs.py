"""The records of both kinds of run, in the place and form that readers expect."""

import json
import signal
from pathlib import Path

import pytest

from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.reading import fetch_file, find_run
from perceptune.tracking.runs import FolderRun
from perceptune.tracking.store import ExperimentRef, client_of


def test_many_and_long_settings_are_cut_to_what_mlflow_takes(ref: ExperimentRef) -> None:
    with open_run(ref, name="long", tags={}) as run:
        run.log_params({f"model.width_{number}": number for number in range(250)})
        run.log_params({"model.hidden": "1" * 7000})
    record = find_run(ref.uri, run.id)
    assert record is not None
    assert len(record.params) == 251
    assert record.params["model.hidden"] == "1" * 6000


def test_every_table_is_listed_once_for_the_ui(ref: ExperimentRef) -> None:
    with open_run(ref, name="tables", tags={}) as run:
        for name in ("a.json", "b.json", "a.json"):
            run.log_table(name, ["x"], [(1,)])
    record = find_run(ref.uri, run.id)
    assert record is not None
    listed = json.loads(record.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": name, "type": "table"} for name in ("a.json", "b.json")]


def test_the_data_set_is_an_input_of_the_run(ref: ExperimentRef) -> None:
    with open_run(ref, name="data", tags={}) as run:
        run.log_data("digits", "ab" * 32, "scikit-learn", {"train": 5})
    [dataset] = [
        given.dataset for given in client_of(ref.uri).get_run(run.id).inputs.dataset_inputs
    ]
    assert (dataset.name, dataset.digest) == ("digits", ("ab" * 32)[:36])
    assert json.loads(dataset.source) == {"origin": "scikit-learn"}
    assert json.loads(dataset.profile) == {"train": 5}


def test_a_signal_in_the_middle_of_a_write_takes_effect_after_it(
    ref: ExperimentRef, tmp_path: Path
) -> None:
    def draw(path: Path) -> None:
        path.write_bytes(b"PNG")

    with pytest.raises(KeyboardInterrupt), open_run(ref, name="written", tags={}) as run:
        write = run.client.log_artifact

        def write_and_interrupt(*arguments: str) -> None:
            signal.raise_signal(signal.SIGINT)
            write(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run.client, "log_artifact", write_and_interrupt)
            run.log_figure("curves", draw)
    path = fetch_file(ref.uri, run.id, "plots/curves.png", tmp_path)
    assert path is not None
    assert path.read_bytes() == b"PNG"


def test_a_figure_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    def draw(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError("no")

    run = FolderRun(tmp_path)
    with pytest.raises(ValueError, match="no"):
        run.log_figure("curves", draw)
    assert not list(tmp_path.iterdir())


def test_a_folder_keeps_one_row_for_an_epoch(tmp_path: Path) -> None:
    run = FolderRun(tmp_path)
    run.log_metrics({"train/loss": 1.0}, 2)
    run.log_metrics({"layer_1/gradient": 0.5}, 2)
    run.log_metrics({"train/loss": 2.0}, 1)
    run.close("FINISHED")
    rows = json.loads((tmp_path / "run.json").read_text())["history"]
    assert rows == [
        {"epoch": 1, "train/loss": 2.0},
        {"epoch": 2, "train/loss": 1.0, "layer_1/gradient": 0.5},
    ]


def test_a_record_that_is_written_again_is_whole(tmp_path: Path) -> None:
    run = FolderRun(tmp_path)
    run.close("FAILED", "a reason")
    run.close("FINISHED")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "FINISHED"
