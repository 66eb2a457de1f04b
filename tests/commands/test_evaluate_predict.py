"""`evaluate` and `predict` as a user types them, on one trained network."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from figures.pixels import is_drawn
from perceptune import cli, networks
from perceptune.errors import UserError
from perceptune.nn.checkpoint import load_network, save_network
from support import digits, run, runs_in


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with a trained network, registered and as a file, and its run."""
    folder = tmp_path_factory.mktemp("home")
    run(folder, "train.epochs=10", "register=digits", "tracking.figures=none", "data.split_seed=3")
    [record] = runs_in(folder)
    [weights] = folder.glob("mlruns/artifacts/*/artifacts/weights/best.npz")
    (folder / "net.npz").write_bytes(weights.read_bytes())
    return folder, record


@pytest.fixture
def call(home: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Any:
    """The command in that folder, as a function; returns its output and its exit code."""

    def call(*arguments: str) -> tuple[str, str, Any]:
        monkeypatch.chdir(home[0])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")
        monkeypatch.setattr(sys, "argv", ["perceptune", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        return out, err, end.value.code

    return call


def test_all_names_of_a_network_give_its_score(home: tuple[Path, Any], call: Any) -> None:
    folder, record = home
    before = len(runs_in(folder))
    accuracy = record.data.metrics["test/accuracy"]
    for name in (record.info.run_id, "models:/digits/1", "net.npz"):
        out, err, code = call("evaluate", name)
        assert code == 0, err
        assert f"accuracy  {accuracy:.4f}" in out
    runs = runs_in(folder)[before:]
    assert [found.data.tags["kind"] for found in runs] == ["evaluation"] * 3
    assert {found.data.metrics["test/accuracy"] for found in runs} == {accuracy}
    found = folder / "mlruns" / "artifacts" / runs[0].info.run_id / "artifacts"
    assert {path.name for path in found.rglob("*.*")} >= {"mistakes.json", "mistakes.png"}
    assert "mistakes.json" in runs[0].data.tags["mlflow.loggedArtifacts"]


def test_several_networks_are_scored_by_their_mean(home: tuple[Path, Any], call: Any) -> None:
    one, *_ = call("evaluate", "net.npz", "tracking.enabled=false")
    two, *_ = call("evaluate", "net.npz", "net.npz", "tracking.enabled=false")
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["evaluate"], "usage"),
        (["evaluate", "0123"], "no model 0123"),
        (["evaluate", "models:/nothing@champion"], "no model models:/nothing"),
        (["evaluate", "models:/digits/99"], "no model models:/digits/99"),
        (["evaluate", "nothing.npz"], "no file nothing.npz"),
        (["evaluate", "damaged.npz"], "is damaged"),
        (["evaluate", "net.npz", "data=npz", "data.path=large.npz"], "takes images of 8 × 8"),
        (["evaluate", "net.npz", "data.split_seed=4"], "set data.split_seed=3"),
        (["evaluate", "0123", "tracking.uri=nonsense://x"], "cannot be used"),
        (["predict", "0123", "good.npy", "--store", "nonsense://x"], "cannot be used"),
        (["predict", "0123", "good.npy", "--store", "sqlite:///new/x.db"], "no store new/x.db yet"),
        (["predict", "0123", "good.npy", "--store", "sqlite:///large.csv"], "not a database"),
        (["predict", "net.npz"], "required: input"),
        (["predict", "net.npz", "nowhere.png"], "no file or folder"),
        (["predict", "net.npz", "damaged.npz"], "is not a picture"),
        (["predict", "net.npz", "large.csv"], "expected 64"),
        (["predict", "net.npz", "good.npy", "--output", "no/where.csv"], "no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    home: tuple[Path, Any], call: Any, arguments: list[str], complaint: str
) -> None:
    folder, _ = home
    (folder / "damaged.npz").write_bytes((folder / "net.npz").read_bytes()[:900])
    (folder / "large.csv").write_text(",".join(["0"] * 784) + "\n")
    np.save(folder / "good.npy", np.zeros((1, 64), np.uint8))
    images, labels = np.zeros((20, 9, 9), np.uint8), np.arange(20) % 10
    np.savez(folder / "large.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    before = sorted(folder.rglob("*")), len(runs_in(folder))
    out, err, code = call(*arguments)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert complaint in err
    assert not out
    assert (sorted(folder.rglob("*")), len(runs_in(folder))) == before


@pytest.mark.parametrize(
    "notes",
    [
        *({name: None} for name in ("shape", "classes", "pixel_max", "data")),
        *({name: "8"} for name in ("shape", "classes", "pixel_max", "data", "columns")),
        {"shape": [-8, -8]},
        {"shape": [8.0, 8.0]},
        {"shape": [8, 8, 1]},
        {"shape": [4, 8]},
        {"classes": list("012345678")},
        {"classes": list(range(10))},
        {"pixel_max": True},
        {"pixel_max": 0},
        {"pixel_max": 1e300},
        {"columns": ["a"]},
        {"val/accuracy": "high"},
        {"val/accuracy": float("nan")},
        {"data": {"name": 5}},
        {"data": {"name": "digits data.dir=/"}},
        {"data": {"split_seed": "0"}},
        {"data": {"path": ["a.csv"]}},
    ],
    ids=str,
)
def test_metadata_that_do_not_fit_the_weights_are_refused(
    home: tuple[Path, Any], tmp_path: Path, notes: dict[str, Any]
) -> None:
    saved = load_network(home[0] / "net.npz")
    path = tmp_path / "other.npz"
    save_network(path, saved.network, saved.theta, saved.metadata | notes)
    with pytest.raises(UserError, match=r"other\.npz lacks the shape and classes .* or is damaged"):
        networks.load(str(path), "")


def test_a_network_whose_predictions_are_not_finite_is_refused(
    home: tuple[Path, Any], call: Any
) -> None:
    saved = load_network(home[0] / "net.npz")
    huge = np.full_like(saved.theta, 3e38)
    save_network(home[0] / "huge.npz", saved.network, huge, saved.metadata)
    np.save(home[0] / "good.npy", np.full((1, 64), 16, np.uint8))
    for arguments in (["evaluate", "huge.npz"], ["predict", "huge.npz", "good.npy"]):
        out, err, code = call(*arguments)
        assert (out, code) == ("", 1)
        assert len(err.splitlines()) == 1
        assert "predictions are not finite" in err


def test_a_table_becomes_a_submission(home: tuple[Path, Any], call: Any) -> None:
    data = digits()
    rows = "".join(",".join(map(str, row)) + "\n" for row in data.images[:200])
    (home[0] / "test.csv").write_text(",".join(f"pixel{n}" for n in range(64)) + "\n" + rows)
    out, err, code = call("predict", "net.npz", "test.csv", "--output", "submission.csv")
    assert code == 0, err
    assert "200 predictions" in out
    with (home[0] / "submission.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["ImageId"] for row in table] == [str(n) for n in range(1, 201)]
    hits = [row["Label"] == str(label) for row, label in zip(table, data.labels, strict=False)]
    assert np.mean(hits) > 0.9


def test_pictures_are_named_and_probabilities_sum_to_one(home: tuple[Path, Any], call: Any) -> None:
    folder = home[0] / "pictures"
    folder.mkdir()
    data = digits()
    for number in range(20):
        image = 255 - data.images[number].reshape(8, 8) * np.uint8(15)  # dark on light
        Image.fromarray(image).save(folder / f"{number:02}.png")
    out, err, code = call("predict", "net.npz", "pictures", "--probabilities")
    assert code == 0, err
    table = list(csv.DictReader(out.splitlines()))
    assert [row["file"] for row in table] == [f"{n:02}.png" for n in range(20)]
    sums = [sum(float(row[f"p_{digit}"]) for digit in range(10)) for row in table]
    np.testing.assert_allclose(sums, 1, atol=1e-5)  # six decimals each
    hits = [row["Label"] == str(label) for row, label in zip(table, data.labels, strict=False)]
    assert np.mean(hits) >= 0.8


# Tables: the network's own, and others.


@pytest.fixture(scope="module")
def tables(home: tuple[Path, Any]) -> Path:
    """Three tables of digits, of which a.csv, from 0 to 255, has trained the network csv.npz."""
    folder, _ = home
    data = digits()
    grey = np.round(data.images * (255 / 16)).astype(int)
    table(folder / "a.csv", data.labels[:900], grey[:900])
    table(folder / "b.csv", data.labels[900:1700], grey[900:1700])
    table(folder / "c.csv", data.labels[900:1700], data.images[900:1700])
    table(folder / "dark.csv", data.labels[900:1700], grey[900:1700] // 3)
    table(folder / "black.csv", data.labels[900:1700], grey[900:1700] // 20)
    run(folder, "data=csv", f"data.path={folder}/a.csv", "tracking.figures=none", "train.epochs=40")
    record = runs_in(folder)[-1]
    weights = folder / "mlruns" / "artifacts" / record.info.run_id / "artifacts/weights/best.npz"
    (folder / "csv.npz").write_bytes(weights.read_bytes())
    return folder


def table(path: Path, labels: Any, images: Any) -> None:
    names = ["label", *(f"pixel{n}" for n in range(images.shape[1]))]
    rows = np.column_stack([labels, images])[:, np.argsort(names)]
    lines = [",".join(sorted(names)), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))


def accuracy(out: str) -> float:
    [line] = [line for line in out.splitlines() if "accuracy" in line]
    return float(line.split()[1].rstrip(","))


def test_only_the_networks_own_data_is_split(tables: Path, call: Any) -> None:
    own, err, code = call("evaluate", "csv.npz", "tracking.enabled=false")
    assert (err, code) == ("", 0)
    assert "of 180 correct" in own
    (tables / "a_again.csv").write_bytes((tables / "a.csv").read_bytes())
    again, *_ = call("evaluate", "csv.npz", "data.path=a_again.csv", "tracking.enabled=false")
    assert again == own
    other, *_ = call("evaluate", "csv.npz", "data=csv", "data.path=b.csv", "tracking.enabled=false")
    assert "of 800 correct" in other
    assert accuracy(other) > 0.9
    few = (tables / "b.csv").read_text().splitlines()
    labels = [line.split(",")[0] for line in few]  # `label` comes before `pixel`
    few = [line for line, label in zip(few, labels, strict=True) if label in "label3210"]
    (tables / "few.csv").write_text("\n".join(few))
    out, *_ = call("evaluate", "csv.npz", "data.path=few.csv", "tracking.enabled=false")
    assert f"of {len(few) - 1} correct" in out
    assert accuracy(out) > 0.9


def test_other_ranges_are_scaled_or_asked_for(tables: Path, call: Any) -> None:
    command = ("evaluate", "csv.npz", "data=csv", "tracking.enabled=false")
    bright, *_ = call(*command, "data.path=b.csv")
    dark, *_ = call(*command, "data.path=dark.csv")
    assert "scaled" not in dark
    assert accuracy(dark) < accuracy(bright)
    out, err, code = call(*command, "data.path=c.csv")
    assert code == 1
    assert "has pixels up to 16, csv.npz was trained on 0 to 255; set data.pixel_max=16" in err
    out, err, code = call(*command, "data.path=c.csv", "data.pixel_max=16")
    assert code == 0, err
    assert "pixels from 0 to 16 are scaled to csv.npz's 0 to 255" in out
    assert accuracy(out) == pytest.approx(accuracy(bright), abs=0.01)
    out, err, code = call(*command, "data.path=black.csv", "data.pixel_max=255")
    assert code == 0, err
    assert "scaled" not in out
    wider, err, code = call("evaluate", "net.npz", *command[2:], "data.path=b.csv")
    assert code == 0, err
    assert "pixels from 0 to 255 are scaled to net.npz's 0 to 16" in wider
    assert accuracy(wider) > 0.9


def test_own_data_that_has_changed_is_refused_unless_named(tables: Path, call: Any) -> None:
    whole = (tables / "a.csv").read_text()
    (tables / "a.csv").write_text(whole + "\n" + whole.splitlines()[1])
    _, err, code = call("evaluate", "csv.npz", "tracking.enabled=false")
    named, *_ = call("evaluate", "csv.npz", "data=csv", "data.path=a.csv", "tracking.enabled=false")
    (tables / "a.csv").write_text(whole)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "has changed since csv.npz was trained on it" in err
    assert "of 901 correct" in named


def test_predict_asks_for_the_range_and_reads_columns_by_name(tables: Path, call: Any) -> None:
    data = digits()
    rows = (tables / "b.csv").read_text().splitlines()
    (tables / "test.csv").write_text("\n".join(line.partition(",")[2] for line in rows))
    out, err, code = call("predict", "csv.npz", "test.csv")
    assert code == 0, err
    labels = [row["Label"] for row in csv.DictReader(out.splitlines())]
    assert np.mean(labels == data.labels[900:1700].astype(str)) > 0.9
    for images, words in (
        (data.images, "not from 0 to 16; multiply them by 255/16"),
        (data.images / 16, "not from 0 to 1; multiply them by 255"),
        (data.images * 4000.0, "must be from 0 to 255, got 0 to 64000"),
        (data.images - 1.0, "must be from 0 to 255, got -1 to 15"),
    ):
        np.save(tables / "test.npy", images)
        _, err, code = call("predict", "csv.npz", "test.npy")
        assert code == 1
        assert words in err


def _digits_as_pictures(folder: Path, count: int) -> Any:
    """Pictures of the first digits, dark on light, in `folder`; their labels."""
    folder.mkdir(exist_ok=True)
    data = digits()
    for number in range(count):
        image = 255 - data.images[number].reshape(8, 8) * np.uint8(15)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return data.labels[:count]


def test_the_mean_of_several_networks_predicts(home: tuple[Path, Any], call: Any) -> None:
    _digits_as_pictures(home[0] / "mean", 5)
    one, _, code = call("predict", "net.npz", "mean", "--probabilities")
    several, err, second = call("predict", "net.npz", "net.npz", "mean", "--probabilities")
    assert (code, second) == (0, 0), err
    assert several == one
    saved = load_network(home[0] / "net.npz")
    letters = saved.metadata | {"classes": list("abcdefghij")}
    save_network(home[0] / "other.npz", saved.network, saved.theta, letters)
    out, err, code = call("predict", "net.npz", "other.npz", "mean")
    assert (out, code) == ("", 1)
    assert "do not go together" in err


def test_other_pictures_of_a_folder_are_answered(home: tuple[Path, Any], call: Any) -> None:
    folder = home[0] / "mixed"
    _digits_as_pictures(folder, 3)
    (folder / "01.png").write_bytes(b"hello")
    Image.new("L", (90, 60), "white").save(folder / "empty.png")
    out, err, code = call("predict", "net.npz", "mixed", "--output", "mixed.csv")
    assert code == 1
    assert "2 predictions in mixed.csv" in out
    written = (home[0] / "mixed.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in written] == ["file", "00.png", "02.png"]
    first, second, last = err.splitlines()
    assert "01.png is not a picture" in first
    assert "empty.png shows no digit" in second
    assert "2 of 4 pictures have no prediction" in last


def test_show_draws_what_the_network_sees(home: tuple[Path, Any], call: Any) -> None:
    folder = home[0]
    _digits_as_pictures(folder / "shown", 6)
    np.save(folder / "rows.npy", digits().images[:3])
    for inputs in ("shown", "shown/00.png", "rows.npy", "shown"):  # the last replaces its own
        out, err, code = call("predict", "net.npz", inputs, "--show", "seen.png")
        assert code == 0, err
        assert is_drawn(folder / "seen.png")
        assert len(out.splitlines()) > 1
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("option", ["--output", "--show"])
def test_a_users_file_is_not_replaced(home: tuple[Path, Any], call: Any, option: str) -> None:
    folder = home[0]
    _digits_as_pictures(folder / "kept", 1)
    (folder / "notes.csv").write_text("my,notes\n")
    Image.new("L", (9, 9)).save(folder / "photo.png")
    os.mkfifo(folder / f"pipe.{option[2:]}.png")
    for name in ("notes.csv", "photo.png", f"pipe.{option[2:]}.png", "kept"):
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        out, err, code = call("predict", "net.npz", "kept", option, name)
        assert (out, code) == ("", 1)
        assert len(err.splitlines()) == 1
        assert name in err
        assert not content or (folder / name).read_bytes() == content
