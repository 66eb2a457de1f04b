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
from perceptune import cli
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
