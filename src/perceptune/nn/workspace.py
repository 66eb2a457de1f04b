"""The arrays that one batch passes through, made once and used again for every step.

Shapes only: what is written into them, and why, stands in `network`.
"""

from typing import Any

import numpy as np


class Workspace:
    """Buffers for up to `batch` samples of a network with the given widths.

    Attributes:
        pixels: (batch, inputs) uint8, samples as they were stored.
        inputs: for each layer, what it is given, (batch, width + 1); the last column stays 1 and
            meets the bias, the last row of the layer's matrix.
        outputs: the same arrays without that column, (batch, width): samples, then activations.
        z: for each layer, its pre-activations, (batch, width); the last are the logits.
        slopes: for each hidden layer, the activation's derivative, (batch, width).
        masks: for the input and each hidden layer, what dropout multiplies by, (batch, width).
        targets: (batch, classes), the distributions to be learnt.
        predicted, hits, column: (batch,), (batch,) and (batch, 1), for the score and the softmax.
    """

    def __init__(self, widths: tuple[int, ...], batch: int, dtype: Any) -> None:
        self._widths, self._dtype = widths, dtype
        self.pixels = np.empty((batch, widths[0]), np.uint8)
        self.inputs = [np.ones((batch, width + 1), dtype) for width in widths[:-1]]
        self.z = [np.empty((batch, width), dtype) for width in widths[1:]]
        self.slopes = [np.empty((batch, width), dtype) for width in widths[1:-1]]
        # Untouched pages of these cost no memory when there is no dropout.
        self.masks = [np.empty((batch, width), dtype) for width in widths[:-1]]
        self.targets = np.empty((batch, widths[-1]), dtype)
        self.predicted = np.empty(batch, np.intp)
        self.hits = np.empty(batch, bool)
        self.column = np.empty((batch, 1), dtype)
        self.outputs = [joined[:, :-1] for joined in self.inputs]

    def __len__(self) -> int:
        return len(self.predicted)

    def head(self, count: int) -> "Workspace":
        """A workspace for `count` samples in the same memory."""
        view = Workspace(self._widths, 0, self._dtype)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(view, name, value[:count])
            elif isinstance(value, list):
                setattr(view, name, [array[:count] for array in value])
        return view


class Workspaces:
    """Workspaces by batch size: one block of memory, and views of it for smaller batches."""

    def __init__(self, widths: tuple[int, ...], dtype: Any) -> None:
        self._widths, self._dtype = widths, dtype
        self._largest = Workspace(widths, 0, dtype)
        self._views: dict[int, Workspace] = {}

    def __getitem__(self, count: int) -> Workspace:
        if count > len(self._largest):
            self._largest = Workspace(self._widths, count, self._dtype)
            self._views.clear()
        if count not in self._views:
            self._views[count] = self._largest.head(count)
        return self._views[count]
