"""One .npz file holds a network, or a whole training between two epochs. Never a pickle.

A file is arrays by name plus `meta`, a JSON text that lists them too. It is written beside its
place and then moved there, so a reader, or a next start after a crash, meets the old file or the
new one, whole.
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perceptune.nn.activations import ACTIVATIONS
from perceptune.nn.layout import Array, Layout
from perceptune.nn.network import Network
from perceptune.nn.state import TrainingState

_META = "meta"
_NAMES = "arrays"  # within meta


def save(path: Path, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
    """Write `arrays` and `meta` to `path` in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            text = np.array(json.dumps(meta | {_NAMES: sorted(arrays)}))
            np.savez(file, allow_pickle=False, **{_META: text}, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and `meta` of a file that `save` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or something else.
    """
    try:
        # Opened here because NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(str(arrays.pop(_META)))
    except FileNotFoundError:
        raise
    except Exception as error:  # one flipped byte makes zipfile raise nearly anything
        raise ValueError(f"{path} is damaged, or not a file of Perceptune's") from error
    # A wrong length in the archive's directory hides arrays without a word. What is no array
    # comes out of NumPy as plain bytes.
    whole = isinstance(meta, dict) and meta.pop(_NAMES, None) == sorted(arrays)
    if not whole or any(isinstance(array, bytes) for array in arrays.values()):
        raise ValueError(f"{path} is not a file of Perceptune's")
    return arrays, meta


@dataclass(frozen=True)
class SavedNetwork:
    """A network, its parameters, and what else was noted about it."""

    network: Network
    theta: Array
    notes: dict[str, Any]


def save_network(path: Path, network: Network, theta: Array, notes: dict[str, Any]) -> None:
    """Write weights and biases by layer, as anyone would look for them, and how to use them."""
    arrays = {}
    for number, layer in enumerate(network.layout.layers(theta), start=1):
        arrays[f"weight_{number}"] = layer.weight
        arrays[f"bias_{number}"] = layer.bias
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    spec = {
        "widths": network.widths,
        "activation": names[type(network.activation)],
        "activation_options": asdict(network.activation),  # type: ignore[call-overload]
        "scale": network.scale,
        "shift": network.shift,
    }
    save(path, arrays, {"format": "perceptune network 1", "network": spec, "notes": notes})


def load_network(path: Path) -> SavedNetwork:
    """Read what `save_network` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, of another kind, or its parts do not fit together.
    """
    arrays, meta = load(path)
    if meta.get("format") != "perceptune network 1":
        raise ValueError(f"{path} holds no network of Perceptune's")
    try:
        spec = meta["network"]
        activation = ACTIVATIONS[spec["activation"]](**spec["activation_options"])
        layout = Layout(spec["widths"])
        dtype = arrays["weight_1"].dtype
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"the type {dtype}")
        if not (math.isfinite(spec["scale"]) and math.isfinite(spec["shift"])):
            raise ValueError("the scaling of pixels")
        theta = layout.zeros(dtype)
        for number, layer in enumerate(layout.layers(theta), start=1):
            for name, view in (("weight", layer.weight), ("bias", layer.bias)):
                array = arrays[f"{name}_{number}"]
                if array.shape != view.shape or not np.isfinite(array).all():
                    raise ValueError(f"{name}_{number}")
                view[:] = array
        if len(arrays) != 2 * len(layout.shapes):
            raise ValueError(f"widths {spec['widths']}")
        network = Network(
            spec["widths"],
            activation,
            scale=spec["scale"],
            shift=spec["shift"],
            dtype=dtype,
        )
        return SavedNetwork(network, theta, _notes(meta))
    except (KeyError, TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"{path} is damaged: {error} does not fit the rest") from error


def save_training(
    path: Path, state: TrainingState, arrays: dict[str, Array], notes: dict[str, Any]
) -> None:
    """Write all of `state`, and whatever else its owner wants back."""
    parts = {"theta": state.theta}
    parts |= {f"optimizer.{name}": array for name, array in state.optimizer.items()}
    if state.average is not None:
        parts["average"] = state.average
    parts |= {f"extra.{name}": array for name, array in arrays.items()}
    meta = {
        "format": "perceptune training 1",
        "epoch": state.epoch,
        "order": state.order.bit_generator.state,
        "noise": state.noise.bit_generator.state,
        "notes": notes,
    }
    save(path, parts, meta)


def load_training(path: Path) -> tuple[TrainingState, dict[str, Array], dict[str, Any]]:
    """The state, the other arrays and the notes that `save_training` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of another kind.
    """
    arrays, meta = load(path)
    if meta.get("format") != "perceptune training 1":
        raise ValueError(f"{path} is no checkpoint of a training")
    try:
        theta, average, epoch = arrays["theta"], arrays.get("average"), meta["epoch"]
        for array in (theta, theta if average is None else average):
            if array.ndim != 1 or array.shape != theta.shape or not np.isfinite(array).all():
                raise ValueError("theta or its average")
        if not isinstance(epoch, int) or epoch < 0:
            raise ValueError(f"epoch {epoch}")
        state = TrainingState(
            theta=theta,
            optimizer=_with_prefix("optimizer.", arrays),
            average=average,
            epoch=epoch,
            order=_generator(meta["order"]),
            noise=_generator(meta["noise"]),
        )
        return state, _with_prefix("extra.", arrays), _notes(meta)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {error} does not fit the rest") from error


def _with_prefix(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _notes(meta: dict[str, Any]) -> dict[str, Any]:
    notes = meta["notes"]
    if not isinstance(notes, dict):
        raise TypeError("notes")
    return notes


def _generator(state: dict[str, Any]) -> np.random.Generator:
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator
