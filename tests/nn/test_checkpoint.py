"""Files of networks and training states: complete or refused, and never a pickle."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from members import ACTIVATIONS

from perceptune.nn.activations import Activation, Elu, LeakyRelu
from perceptune.nn.checkpoint import (
    load,
    load_network,
    load_training,
    save,
    save_network,
    save_training,
)
from perceptune.nn.checks import NotFiniteError
from perceptune.nn.network import Network
from perceptune.nn.state import TrainingState

WIDTHS = (3, 4, 2)
METADATA = {"data": "digits", "best": 0.5, "classes": ["ä", "β"], "nothing": None}


def network_file(
    path: Path, activation: Activation | None = None, dtype: type = np.float32
) -> Path:
    net = Network(WIDTHS, activation or Elu(0.5), scale=1 / 255, shift=-0.5, dtype=dtype)
    theta = np.random.default_rng(0).normal(size=net.layout.size).astype(dtype)
    save_network(path, net, theta, METADATA)
    return path


def training(dtype: type = np.float32) -> TrainingState:
    rng = np.random.default_rng(1)
    state = TrainingState(
        theta=rng.normal(size=26).astype(dtype),
        optimizer={"first_moment": rng.normal(size=26).astype(dtype), "steps": np.array([7])},
        average=rng.normal(size=26).astype(dtype),
        epoch=3,
        order=np.random.default_rng(2),
        noise=np.random.default_rng(3),
    )
    state.noise.random(5, dtype=np.float32)  # leaves half a 64-bit number over
    return state


def training_file(path: Path) -> Path:
    save_training(path, training(), {"best": np.arange(4.0)}, METADATA)
    return path


# Round trips


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "activation",
    [*(row.value for row in ACTIVATIONS.values()), LeakyRelu(0.3), Elu(2.0)],
    ids=repr,
)
def test_a_network_comes_back_whole(activation: Activation, dtype: type, tmp_path: Path) -> None:
    path = network_file(tmp_path / "network.npz", activation, dtype)
    saved = load_network(path)
    assert saved.network.widths == WIDTHS
    assert saved.network.activation == activation
    assert (saved.network.scale, saved.network.shift) == (1 / 255, -0.5)
    assert saved.network.dtype == saved.theta.dtype == dtype
    assert saved.metadata == METADATA
    expected = np.random.default_rng(0).normal(size=26).astype(dtype)
    assert np.array_equal(saved.theta, expected)
    original = Network(WIDTHS, activation, scale=1 / 255, shift=-0.5, dtype=dtype)
    images = np.random.default_rng(4).integers(0, 256, (9, 3), dtype=np.uint8)
    found = saved.network.probabilities(saved.theta, images)
    assert np.array_equal(found, original.probabilities(expected, images))


def test_anyone_finds_the_weights_of_a_network_by_their_names(tmp_path: Path) -> None:
    with np.load(network_file(tmp_path / "network.npz")) as archive:
        shapes = {name: archive[name].shape for name in archive.files if name != "meta"}
    assert shapes == {"weight_1": (3, 4), "bias_1": (4,), "weight_2": (4, 2), "bias_2": (2,)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("averaged", [True, False])
def test_a_training_comes_back_whole(averaged: bool, dtype: type, tmp_path: Path) -> None:
    state = training(dtype)
    if not averaged:
        state.average = None
    path = tmp_path / "training.npz"
    save_training(path, state, {"best": np.arange(4.0), "a.b": np.array(2)}, METADATA)
    loaded, arrays, metadata = load_training(path)
    assert np.array_equal(loaded.theta, state.theta)
    assert loaded.theta.dtype == dtype
    assert loaded.optimizer.keys() == state.optimizer.keys()
    for name, array in state.optimizer.items():
        assert np.array_equal(loaded.optimizer[name], array)
        assert loaded.optimizer[name].dtype == array.dtype
    assert (loaded.average is not None) == averaged
    assert np.array_equal(loaded.weights, state.weights)
    assert loaded.epoch == 3
    assert arrays.keys() == {"best", "a.b"}
    assert np.array_equal(arrays["best"], np.arange(4.0))
    assert metadata == METADATA
    for ours, theirs in ((loaded.order, state.order), (loaded.noise, state.noise)):
        assert np.array_equal(ours.random(9, dtype=np.float32), theirs.random(9, dtype=np.float32))


def test_a_training_whose_optimizer_has_no_state_comes_back_without(tmp_path: Path) -> None:
    state = training()
    state.optimizer = {}
    save_training(tmp_path / "training.npz", state, {}, {})
    loaded, arrays, metadata = load_training(tmp_path / "training.npz")
    assert (loaded.optimizer, arrays, metadata) == ({}, {}, {})


def test_what_was_loaded_can_be_trained_on_and_shares_nothing_with_the_file(
    tmp_path: Path,
) -> None:
    path = training_file(tmp_path / "training.npz")
    before = path.read_bytes()
    loaded, _, _ = load_training(path)
    loaded.theta += 1
    loaded.optimizer["first_moment"] *= 2
    assert path.read_bytes() == before


def test_folders_on_the_way_are_made_and_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "weights.bin"
    network_file(path)
    network_file(path)
    assert [found.name for found in path.parent.iterdir()] == ["weights.bin"]


def test_a_later_save_replaces_the_earlier(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    save(path, {"a": np.zeros(1000)}, {"number": 1})
    save(path, {"b": np.ones(2)}, {"number": 2})
    arrays, meta = load(path)
    assert arrays.keys() == {"b"}
    assert meta == {"number": 2}


def test_a_missing_file_and_a_damaged_one_raise_different_errors(tmp_path: Path) -> None:
    for loads in (load, load_network, load_training):
        with pytest.raises(FileNotFoundError):
            loads(tmp_path / "none.npz")


# Damage

KINDS = [(network_file, load_network), (training_file, load_training)]
both = pytest.mark.parametrize(("write", "read"), KINDS, ids=["network", "training"])
Write, Read = Callable[[Path], Path], Callable[[Path], Any]


def refused(read: Read, path: Path) -> str:
    """The one-line error of a damaged file."""
    with pytest.raises(ValueError, match=path.name) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def content(value: Any) -> Any:
    """Everything read from a file, for comparison."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, dict):
        return {name: content(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [content(part) for part in value]
    if isinstance(value, Network):
        return value.widths, value.activation, value.scale, value.shift
    if hasattr(value, "__dataclass_fields__"):
        return content(vars(value))
    return value


@both
def test_a_truncated_file_is_refused_at_whatever_length(
    write: Write, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "whole.npz")
    data = path.read_bytes()
    cut = tmp_path / "cut.npz"
    for length in [*range(0, len(data), 41), len(data) - 1]:
        cut.write_bytes(data[:length])
        refused(read, cut)


@both
@pytest.mark.parametrize(
    "first", [0, *[pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3)]]
)
def test_a_flipped_bit_anywhere_is_refused_or_does_no_harm(
    write: Write, read: Read, tmp_path: Path, first: int
) -> None:
    """Arrays are covered by a checksum; the dates in the archive, for example, are not."""
    path = write(tmp_path / "whole.npz")
    data, expected = path.read_bytes(), content(read(path))
    directory = data.index(b"PK\x01\x02")  # which no checksum covers
    places = [(place, place % 8) for place in range(directory)]
    places += [(place, bit) for place in range(directory, len(data)) for bit in (0, 3, 7)]
    flipped = tmp_path / "flipped.npz"
    damaged = bytearray(data)
    refusals = []
    for place, bit in places[first::4]:
        damaged[place] ^= 1 << bit
        flipped.write_bytes(damaged)
        damaged[place] ^= 1 << bit
        try:
            found = content(read(flipped))
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert found == expected, f"bit {bit} of byte {place}"
    assert len(refusals) > len(places) / 8
    assert all("flipped.npz" in text and "\n" not in text for text in refusals)


@both
@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"label,pixel0\n1,0\n", bytes(4096)],
    ids=["empty", "a zero", "a zip's first bytes", "an empty zip", "a table", "zeros"],
)
def test_what_is_no_archive_is_refused(
    data: bytes, write: Write, read: Read, tmp_path: Path
) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(data)
    refused(read, path)


@both
def test_a_folder_is_refused(write: Write, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "folder.npz"
    path.mkdir()
    refused(read, path)


@both
def test_a_single_array_is_refused(write: Write, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(3))
    refused(read, path)


@both
def test_an_archive_of_something_else_is_refused(write: Write, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, x_train=np.zeros(3))
    refused(read, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("meta.npy", "no array")
    refused(read, path)


def test_one_kind_of_file_is_not_taken_for_the_other(tmp_path: Path) -> None:
    refused(load_training, network_file(tmp_path / "network.npz"))
    refused(load_network, training_file(tmp_path / "training.npz"))


def test_a_checkpoint_of_an_older_format_is_refused_with_both_names(tmp_path: Path) -> None:
    path = training_file(tmp_path / "training.npz")
    edited(path, lambda arrays, meta: meta.update(format="perceptune training 1"))
    line = refused(load_training, path)
    assert "'perceptune training 1'" in line
    assert "'perceptune training 2'" in line
    assert "start a new training" in line


def edited(path: Path, edit: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """The file with its arrays and meta changed by `edit`, and all checksums right."""
    arrays, meta = load(path)
    edit(arrays, meta)
    text = np.array(json.dumps(meta | {"arrays": sorted(arrays)}))
    np.savez(path, meta=text, **arrays)  # not by `save`, which refuses some of it
    return path


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays, meta: arrays.pop("weight_1"),
        lambda arrays, meta: arrays.pop("weight_2"),
        lambda arrays, meta: arrays.pop("bias_2"),
        lambda arrays, meta: arrays.update(weight_1=np.zeros((4, 3), np.float32)),
        lambda arrays, meta: arrays.update(weight_2=np.zeros((5, 2), np.float32)),
        lambda arrays, meta: arrays.update(bias_1=np.zeros((1, 4), np.float32)),
        lambda arrays, meta: arrays.update(bias_1=np.zeros(1, np.float32)),
        lambda arrays, meta: arrays.update(weight_1=np.full((3, 4), "x")),
        lambda arrays, meta: arrays.update(weight_1=np.zeros((3, 4), int)),
        lambda arrays, meta: arrays.update(weight_1=np.zeros((3, 4), complex)),
        lambda arrays, meta: arrays.update(bias_2=np.array(["x", "y"])),
        lambda arrays, meta: arrays["weight_1"].fill(np.nan),
        lambda arrays, meta: arrays["bias_2"].fill(np.inf),
        lambda arrays, meta: meta.update(format="perceptune network 99"),
        lambda arrays, meta: meta.pop("format"),
        lambda arrays, meta: meta.pop("network"),
        lambda arrays, meta: meta.pop("notes"),
        lambda arrays, meta: meta.update(notes=[]),
        lambda arrays, meta: meta.update(network=[]),
        lambda arrays, meta: meta["network"].update(widths=[3, 5, 2]),
        lambda arrays, meta: meta["network"].update(widths=[3, 4, 2, 2]),
        lambda arrays, meta: meta["network"].update(widths=[3, 4]),
        lambda arrays, meta: meta["network"].update(widths=[]),
        lambda arrays, meta: meta["network"].update(widths="342"),
        lambda arrays, meta: meta["network"].update(widths=[3.0, 4.0, 2.0]),
        lambda arrays, meta: meta["network"].update(widths=[10**9, 10**9, 2]),
        lambda arrays, meta: meta["network"].update(activation="magic"),
        lambda arrays, meta: meta["network"].update(activation=["elu"]),
        lambda arrays, meta: meta["network"].update(activation_options={"alpha": -1}),
        lambda arrays, meta: meta["network"].update(activation_options={"beta": 1}),
        lambda arrays, meta: meta["network"].update(activation_options=[]),
        lambda arrays, meta: meta["network"].update(activation_options={"alpha": "x"}),
        lambda arrays, meta: meta["network"].update(scale=None),
        lambda arrays, meta: meta["network"].update(scale="x"),
        lambda arrays, meta: meta["network"].update(scale=float("nan")),
        lambda arrays, meta: meta["network"].update(shift="x"),
        lambda arrays, meta: meta["network"].update(shift=None),
        lambda arrays, meta: meta["network"].update(shift=float("inf")),
    ],
)  # fmt: skip
def test_a_network_whose_parts_do_not_fit_is_refused(
    edit: Callable[[dict[str, Any], dict[str, Any]], object], tmp_path: Path
) -> None:
    refused(load_network, edited(network_file(tmp_path / "network.npz"), edit))


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays, meta: arrays.pop("theta"),
        lambda arrays, meta: arrays.update(theta=np.full(26, "x")),
        lambda arrays, meta: arrays.update(theta=np.zeros((2, 13), np.float32)),
        lambda arrays, meta: arrays.update(theta=np.zeros(25, np.float32)),
        lambda arrays, meta: arrays.update(average=np.zeros(25, np.float32)),
        lambda arrays, meta: arrays["theta"].fill(np.nan),
        lambda arrays, meta: arrays["average"].fill(np.inf),
        lambda arrays, meta: meta.update(format="perceptune training 99"),
        lambda arrays, meta: meta.pop("format"),
        lambda arrays, meta: meta.pop("epoch"),
        lambda arrays, meta: meta.update(epoch="x"),
        lambda arrays, meta: meta.update(epoch=None),
        lambda arrays, meta: meta.update(epoch=-1),
        lambda arrays, meta: meta.pop("order"),
        lambda arrays, meta: meta.update(order=None),
        lambda arrays, meta: meta.update(order={}),
        lambda arrays, meta: meta["noise"].update(bit_generator="MT19937"),
        lambda arrays, meta: meta["noise"].pop("state"),
        lambda arrays, meta: meta["noise"].update(state={"state": -1, "inc": 2**200}),
        lambda arrays, meta: meta.pop("notes"),
    ],
)  # fmt: skip
def test_a_training_whose_parts_do_not_fit_is_refused(
    edit: Callable[[dict[str, Any], dict[str, Any]], object], tmp_path: Path
) -> None:
    refused(load_training, edited(training_file(tmp_path / "training.npz"), edit))


# Pickles


class Trap:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def with_object(path: Path, trap: Trap, place: str) -> Path:
    """The file with the array `place` turned into one of objects."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays[place] = np.array([trap], dtype=object)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


@both
@pytest.mark.parametrize("place", ["first", "meta", "extra"])
def test_objects_inside_are_refused_and_never_unpickled(
    place: str, write: Write, read: Read, tmp_path: Path
) -> None:
    trap = Trap(tmp_path / "sprung")
    if place == "first":
        place = "weight_1" if read is load_network else "theta"
    refused(read, with_object(write(tmp_path / "file.npz"), trap, place))
    assert not trap.path.exists()


@both
def test_a_bare_pickle_is_refused_and_never_unpickled(
    write: Write, read: Read, tmp_path: Path
) -> None:
    trap = Trap(tmp_path / "sprung")
    path = tmp_path / "pickle.npz"
    path.write_bytes(pickle.dumps(trap))
    refused(read, path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([trap], dtype=object), allow_pickle=True)
    path.write_bytes(buffer.getvalue())
    refused(read, path)
    assert not trap.path.exists()
    pickle.loads(pickle.dumps(trap))  # the trap works
    assert trap.path.exists()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_not_saved(number: float, tmp_path: Path) -> None:
    path = network_file(tmp_path / "network.npz")
    before = path.read_bytes()
    saved = load_network(path)
    saved.theta[-1] = number
    with pytest.raises(NotFiniteError, match="bias_2 cannot be saved"):
        save_network(path, saved.network, saved.theta, {})
    state = training()
    state.optimizer["first_moment"][3] = number
    with pytest.raises(NotFiniteError, match="first_moment cannot be saved"):
        save_training(path, state, {}, {})
    state = training()
    with pytest.raises(NotFiniteError, match="best cannot be saved"):
        save_training(path, state, {"best": np.array([1, number])}, {})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["network.npz"]


def test_objects_are_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    save(path, {"a": np.arange(3)}, {"number": 1})
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        save(path, {"a": np.array([{}], dtype=object)}, {"number": 2})
    assert load(path)[1] == {"number": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["file.npz"]


# Interrupted saves, in real processes

SAVE = """
import json, os, resource, signal, sys, zipfile
from pathlib import Path
import numpy as np
from perceptune.nn import checkpoint

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

path, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "amid the arrays":
    write = zipfile.ZipFile.open
    def open_or_die(archive, name, *arguments, **options):
        return die() if "b.npy" in str(name) else write(archive, name, *arguments, **options)
    zipfile.ZipFile.open = open_or_die
elif moment == "before the directory":
    zipfile.ZipFile.close = die
elif moment == "before it is on the disk":
    os.fsync = die
elif moment == "before the move":
    Path.replace = die
elif moment == "at the limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
elif moment == "on a full disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
checkpoint.save(path, {"a": np.ones(9999), "b": np.ones(9999)}, {"number": 2})
print("saved")
"""


def saving(path: Path, moment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SAVE, str(path), moment]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "moment",
    [
        "amid the arrays",
        "before the directory",
        "before it is on the disk",
        "before the move",
        "at the limit",
    ],
)
def test_a_killed_save_leaves_the_old_file_whole(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    save(path, {"a": np.arange(3)}, {"number": 1})
    before = path.read_bytes()
    process = saving(path, moment)
    expected = signal.SIGXFSZ if moment == "at the limit" else signal.SIGKILL
    assert process.returncode == -expected, process.stderr
    assert path.read_bytes() == before
    assert load(path)[1] == {"number": 1}
    # The next save succeeds.
    assert saving(path, "never").stdout == "saved\n"
    assert load(path)[1] == {"number": 2}


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_raises_and_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    save(path, {"a": np.arange(3)}, {"number": 1})
    process = saving(path, "on a full disk")
    assert process.returncode == 1
    assert "OSError" in process.stderr
    assert load(path)[1] == {"number": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["file.npz"]


def test_meta_is_plain_text_that_anything_can_read(tmp_path: Path) -> None:
    with np.load(network_file(tmp_path / "network.npz"), allow_pickle=False) as archive:
        meta = json.loads(str(archive["meta"]))
    assert meta["format"] == "perceptune network 1"
    assert meta["network"]["widths"] == [3, 4, 2]
    assert meta["network"]["activation"] == "elu"
