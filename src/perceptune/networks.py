"""Trained networks by the names that users give them, and the mean of several.

A name is an MLflow run id, a `models:/…` URI or an .npz file. Only arrays are read: no code from a
store is run.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from perceptune.data.files import expanded, regular_file
from perceptune.errors import UserError
from perceptune.nn.checkpoint import SavedNetwork, load_network
from perceptune.nn.checks import NotFiniteError
from perceptune.nn.layout import Array


def load(name: str, store: str) -> SavedNetwork:
    """Load the network `name`; runs and registered models are looked up in `store`.

    Raises:
        UserError: there is no such network, or its file is damaged.
    """
    try:
        path = expanded(name)
        if name.endswith(".npz") or path.is_file():
            regular_file(path, remedy="expected a network's file, such as a run's weights/best.npz")
            return _checked(load_network(path), name)
        from perceptune.tracking.registry import fetch_weights

        with tempfile.TemporaryDirectory() as scratch:
            return _checked(load_network(fetch_weights(store, name, Path(scratch))), name)
    except FileNotFoundError:
        raise UserError(f"no file {name}") from None
    except (OSError, ValueError) as error:
        raise UserError(str(error).splitlines()[0]) from None


def mean_probabilities(networks: Sequence[SavedNetwork], images: Array, pixel_max: int) -> Array:
    """Mean over `networks` of their class probabilities, (images, classes).

    Args:
        networks: all for images of one shape, and for the same classes.
        images: (images, pixels), values from 0 to `pixel_max`.
        pixel_max: the images are rescaled for networks trained on another range.

    Raises:
        UserError: the predictions of one are not finite.
    """
    total = np.zeros((len(images), networks[0].network.widths[-1]))
    for saved in networks:
        own = saved.metadata["pixel_max"]
        scaled = images if own == pixel_max else images * np.float32(own / pixel_max)
        try:
            total += saved.network.probabilities(saved.theta, scaled)
        except NotFiniteError as error:
            raise UserError(str(error)) from None
    mean: Array = total / len(networks)
    return mean


def refuse_mixture(networks: Sequence[SavedNetwork], names: Sequence[str]) -> None:
    """Refuse networks that disagree on the shape of an image or on the classes.

    Raises:
        UserError: two of them do not.
    """
    first = networks[0].metadata
    for saved, name in zip(networks[1:], names[1:], strict=True):
        for key in ("shape", "classes"):
            if saved.metadata[key] != first[key]:
                raise UserError(
                    f"{name} and {names[0]} do not go together: {key} {saved.metadata[key]} "
                    f"and {first[key]}"
                )


def _checked(saved: SavedNetwork, name: str) -> SavedNetwork:
    """Refuse a file whose metadata do not fit its weights: it may come from anywhere."""
    try:
        fits = all(_facts(saved.metadata, saved.network.widths))
    except (KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise UserError(f"{name} lacks the shape and classes of its images, or is damaged")
    return saved


def _facts(metadata: dict[str, Any], widths: Sequence[int]) -> Iterator[bool]:
    """What must be true of the metadata of a network with these widths."""
    shape, classes, white = (metadata[key] for key in ("shape", "classes", "pixel_max"))
    yield len(shape) == 2 and all(type(side) is int and side > 0 for side in shape)
    yield math.prod(shape) == widths[0]
    yield type(classes) is list and len(classes) == widths[-1]
    yield all(type(name) is str for name in classes)
    yield type(white) is int and 0 < white <= 65_535
    columns = metadata.get("columns")
    yield columns is None or (len(columns) == widths[0] and all(type(c) is str for c in columns))
    accuracy, data = metadata.get("val/accuracy"), metadata.get("data", {})
    yield accuracy is None or 0 <= accuracy <= 1
    yield all(type(data.get(key, "")) in (str, NoneType) for key in _TEXTS)
    yield str(data.get("name") or "_").isidentifier()
    yield type(data.get("split_seed", 0)) is int and data.get("split_seed", 0) >= 0


_TEXTS = ("name", "digest", "path", "dir", "origin")
