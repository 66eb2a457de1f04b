"""A trained network as an MLflow model: the code that runs wherever the model is loaded.

It is copied into the model with `perceptune.nn` and `perceptune.data.inputs`, and may import
nothing else of Perceptune: loading the model needs its listed requirements alone.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from perceptune.data.inputs import as_pixels
from perceptune.nn.checkpoint import load_network


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
                or a table with a column per pixel, in any order if its columns have names.
            params: `probabilities: true` adds the probabilities of all classes.

        Raises:
            ValueError: another number of pixels, other columns, or another range.
        """
        metadata = self.saved.metadata
        pixels = as_pixels(model_input, metadata)
        probabilities = self.saved.network.probabilities(self.saved.theta, pixels)
        best = probabilities.argmax(axis=1)
        names = np.array(metadata["classes"], dtype=object)
        table = pd.DataFrame(
            {"label": names[best], "probability": probabilities.max(axis=1).astype(np.float64)}
        )
        if params and params.get("probabilities"):
            table[[f"p_{name}" for name in names]] = probabilities.astype(np.float64)
        return table


# Imported as part of Perceptune, as by tests, the module declares no model.
if __name__ != "perceptune.tracking.pyfunc_model":
    mlflow.models.set_model(Classifier())
