"""Files of networks and of training states: one .npz each, never a pickle.

A file holds arrays by name plus `meta`, a JSON string that also lists their names. It is written
under a temporary name and then renamed, so that readers never see a partial file. Knows nothing of
the metadata that others put into it.
"""

import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perceptune.nn import npz
from perceptune.nn.activations import ACTIVATIONS
from perceptune.nn.checks import check_finite
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.nn.state import TrainingState

_META = "meta"
_NAMES = "arrays"  # within meta
_NETWORK = "perceptune network 1"
_TRAINING = "perceptune training 2"  # raise it when the contents of a checkpoint change

# What wrong keys, types, sizes and numbers in a file raise where values are made of them.
_FAULTS = (KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError)


def save(path: Path, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
    """Write `arrays`, of any shape, and `meta` to `path` atomically.

    Raises:
        OSError: the file cannot be written.
        NotFiniteError: an array holds an infinity or a NaN.
    """
    for name, array in arrays.items():
        check_finite(f"{name} cannot be saved: it is", array)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}")
    try:
        with partial.open("wb") as file:
            text = np.array(json.dumps(meta | {_NAMES: sorted(arrays)}))
            np.savez(file, allow_pickle=False, **{_META: text}, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:  # of a full disk it does not say where
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the arrays and `meta` of a file that `save` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or was not written by `save`.
    """
    try:
        heads = npz.heads(path)
        whole = _META in heads and heads[_META].dtype.kind == "U" and heads[_META].shape == ()
        size = sum(math.prod(head.shape) * head.dtype.itemsize for head in heads.values())
        if not whole or size > path.stat().st_size:  # `save` does not compress
            raise ValueError("it has no meta, or is packed")
        meta = json.loads(str(npz.read(path, _META)))
        # A wrong length in the archive's directory hides arrays without an error.
        if not isinstance(meta, dict) or meta.pop(_NAMES, None) != sorted(heads.keys() - {_META}):
            raise ValueError("its meta does not name its arrays")
        arrays = {name: npz.read(path, name) for name in heads if name != _META}
        for name, array in arrays.items():
            check_finite(f"{name} is", array)
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is damaged, or not a Perceptune file: {reason}") from error
    return arrays, meta


@dataclass(frozen=True)
class SavedNetwork:
    """A network from a file.

    Attributes:
        network: without dropout.
        theta: (size,) its parameters.
        metadata: added by the writer of the file.
    """

    network: Network
    theta: Array
    metadata: dict[str, Any]


def save_network(path: Path, network: Network, theta: Array, metadata: dict[str, Any]) -> None:
    """Write the weights and biases of `theta` (size,) by layer, and the network's shape.

    `metadata` must be JSON-serializable.

    Raises:
        OSError: the file cannot be written.
    """
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
    save(path, arrays, {"format": _NETWORK, "network": spec, "notes": metadata})


def load_network(path: Path) -> SavedNetwork:
    """Read what `save_network` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, holds no network, or its parts do not fit together.
    """
    arrays, meta = load(path)
    if meta.get("format") != _NETWORK:
        raise ValueError(f"{path} does not hold a Perceptune network")
    try:
        network = _network(meta["network"], arrays["weight_1"].dtype)
        return SavedNetwork(network, _parameters(network, arrays), _metadata(meta))
    except _FAULTS as error:
        raise ValueError(f"{path} is damaged or inconsistent: {error}") from error


def _network(spec: dict[str, Any], dtype: np.dtype) -> Network:
    """Make the network that `spec` describes, for weights of `dtype`."""
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"type {dtype}")
    widths = spec["widths"]
    if not isinstance(widths, list) or not all(type(width) is int for width in widths):
        raise TypeError("widths")
    for name in ("scale", "shift"):
        if isinstance(spec[name], bool) or not abs(spec[name]) <= np.finfo(dtype).max:
            raise ValueError(name)
    activation = ACTIVATIONS[spec["activation"]](**spec["activation_options"])
    return Network(widths, activation, scale=spec["scale"], shift=spec["shift"], dtype=dtype)


def _parameters(network: Network, arrays: dict[str, Array]) -> Array:
    """Collect weights and biases in one θ (size,)."""
    parts = []
    for number, (rows, columns) in enumerate(network.layout.shapes, start=1):
        for name, shape in (("weight", (rows - 1, columns)), ("bias", (columns,))):
            array = arrays[f"{name}_{number}"]
            if array.shape != shape or array.dtype != network.dtype:
                raise ValueError(f"{name}_{number}")
            parts.append(array.ravel())
    if len(arrays) != len(parts):
        raise ValueError(f"widths {list(network.widths)}")
    return np.concatenate(parts)


def save_training(
    path: Path, state: TrainingState, arrays: dict[str, Array], metadata: dict[str, Any]
) -> None:
    """Write `state`, further `arrays` of any shape, and JSON-serializable `metadata`.

    Raises:
        OSError: the file cannot be written.
    """
    parts = {"theta": state.theta}
    parts |= {f"optimizer.{name}": array for name, array in state.optimizer.items()}
    if state.average is not None:
        parts["average"] = state.average
    parts |= {f"extra.{name}": array for name, array in arrays.items()}
    meta = {
        "format": _TRAINING,
        "epoch": state.epoch,
        "order": state.order.bit_generator.state,
        "noise": state.noise.bit_generator.state,
        "notes": metadata,
    }
    save(path, parts, meta)


def load_training(path: Path) -> tuple[TrainingState, dict[str, Array], dict[str, Any]]:
    """Read the state, the further arrays and the metadata that `save_training` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, not a checkpoint, or in the format of another version.
    """
    arrays, meta = load(path)
    found = str(meta.get("format"))
    if not found.startswith("perceptune training "):
        raise ValueError(f"{path} is not a training checkpoint")
    if found != _TRAINING:
        raise ValueError(
            f"{path} has the format {found!r}, this version reads {_TRAINING!r}; resume with the "
            "version that wrote it, or start a new training"
        )
    try:
        return _state(arrays, meta), _with_prefix("extra.", arrays), _metadata(meta)
    except _FAULTS as error:
        raise ValueError(f"{path} is damaged or inconsistent: {error}") from error


def _state(arrays: dict[str, Array], meta: dict[str, Any]) -> TrainingState:
    theta, average, epoch = arrays["theta"], arrays.get("average"), meta["epoch"]
    for array in (theta, theta if average is None else average):
        if array.ndim != 1 or array.shape != theta.shape or array.dtype.kind != "f":
            raise ValueError("theta or its average")
    if type(epoch) is not int or epoch < 0:
        raise ValueError(f"epoch {epoch}")
    return TrainingState(
        theta=theta,
        optimizer=_with_prefix("optimizer.", arrays),
        average=average,
        epoch=epoch,
        order=_generator(meta["order"]),
        noise=_generator(meta["noise"]),
    )


def _with_prefix(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _metadata(meta: dict[str, Any]) -> dict[str, Any]:
    metadata = meta["notes"]
    if not isinstance(metadata, dict):
        raise TypeError("notes")
    return metadata


def _generator(state: dict[str, Any]) -> np.random.Generator:
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator
