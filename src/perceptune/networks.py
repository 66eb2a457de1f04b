"""Trained networks by the names that users give them, and the mean of several.

A name is an MLflow run id, a `models:/…` URI or an .npz file. Only arrays are read: no code from a
store is run.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perceptune.errors import UserError
from perceptune.nn.checkpoint import SavedNetwork, load_network
from perceptune.nn.checks import NotFiniteError
from perceptune.nn.layout import Array

_METADATA = {"shape", "classes", "pixel_max"}


def load(name: str, store: str) -> SavedNetwork:
    """Load the network `name`; runs and registered models are looked up in `store`.

    Raises:
        UserError: there is no such network, or its file is damaged.
    """
    try:
        if name.endswith(".npz"):
            return _checked(load_network(Path(name).expanduser()), name)
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
    metadata, widths = saved.metadata, saved.network.widths
    try:
        fits = (
            metadata.keys() >= _METADATA
            and len(metadata["shape"]) == 2
            and math.prod(metadata["shape"]) == widths[0]
            and len(metadata["classes"]) == widths[-1]
            and all(isinstance(name, str) for name in metadata["classes"])
            and 0 < metadata["pixel_max"] <= 65_535
            and isinstance(metadata.get("data", {}), dict)
        )
    except TypeError:
        fits = False
    if not fits:
        raise UserError(f"{name} lacks the shape and classes of its images, or is damaged")
    return saved
