"""A trained network as an MLflow model: the code that runs wherever the model is loaded.

It is copied into the model with `perceptune.nn` and may import nothing else of Perceptune: loading
the model needs its listed requirements alone.
"""

import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from perceptune.nn.checkpoint import load_network
from perceptune.nn.layout import Array


class Classifier(PythonModel):
    """Predicts for each image its class, and the probability of that class."""

    # Otherwise MLflow takes the type hint of `model_input` as a schema, and converts or refuses.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Read the weights."""
        self.saved = load_network(Path(context.artifacts["network"]))

    def predict(self, context, model_input, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]
        """Predict a row per image: `label`, `probability`, and optionally `p_<class>` by class.

        Args:
            context: unused.
            model_input: pixels in the range of the training data, of any integer or float type: an
                array (images, pixels) or (images, height, width), a single image, nested lists,
                or a table with a column per pixel.
            params: `probabilities: true` adds the probabilities of all classes.

        Raises:
            ValueError: another number of pixels, or values out of range.
        """
        metadata = self.saved.metadata
        pixels = as_pixels(model_input, metadata["shape"], metadata["pixel_max"])
        probabilities = self.saved.network.probabilities(self.saved.theta, pixels)
        best = probabilities.argmax(axis=1)
        names = np.array(metadata["classes"], dtype=object)
        table = pd.DataFrame(
            {"label": names[best], "probability": probabilities.max(axis=1).astype(np.float64)}
        )
        if params and params.get("probabilities"):
            table[[f"p_{name}" for name in names]] = probabilities.astype(np.float64)
        return table


def as_pixels(given: Any, shape: tuple[int, int], highest: int) -> Array:
    """Convert images in any supported form to (images, pixels), uint8 or float32.

    Args:
        given: see `Classifier.predict`.
        shape: (height, width) of an image.
        highest: the largest value a pixel can have.

    Raises:
        ValueError: see `Classifier.predict`.
    """
    array = np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)
    size = math.prod(shape)
    if array.shape in ((size,), tuple(shape)) or array.shape[1:] in ((size,), tuple(shape)):
        array = array.reshape(-1, size)
    else:
        raise ValueError(
            f"images must be (n, {size}) or (n, {shape[0]}, {shape[1]}), got {array.shape}"
        )
    if array.dtype == np.uint8:
        pixels: Array = array
    else:
        try:
            pixels = array.astype(np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"pixels must be numbers from 0 to {highest}") from None
    if not len(pixels):
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= highest):  # a NaN fails as well
        raise ValueError(f"pixels must be from 0 to {highest}, got {low:g} to {high:g}")
    if pixels.dtype != np.uint8 and 0 < high <= 1 < highest and (pixels % 1).any():
        raise ValueError(f"pixels must be from 0 to {highest}, not from 0 to 1; multiply them")
    return pixels


# Imported as part of Perceptune, as by tests, the module declares no model.
if __name__ != "perceptune.tracking.pyfunc_model":
    mlflow.models.set_model(Classifier())
