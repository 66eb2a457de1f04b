"""Workspace of a network: the arrays of one batch, allocated once and reused by every step.

Knows their shapes only; `network` fills them.
"""

from typing import Any

import numpy as np

from perceptune.nn.active import ActiveInputs


class Workspace:
    """Buffers for up to `batch` samples of a network with the given widths.

    Attributes:
        pixels: (batch, inputs) uint8, samples as stored.
        inputs: the input of each layer, (batch, width + 1); the last column stays 1 and meets the
            bias, the last row of the layer's matrix.
        outputs: the same arrays without that column, (batch, width): samples, then activations.
        z: the pre-activations of each layer, (batch, width); the last are the logits.
        derivatives: the activation's derivative in each hidden layer, (batch, width).
        masks: dropout masks of the inputs and of each hidden layer, (batch, width).
        targets: (batch, classes), target distributions.
        predicted, hits: (batch,), predicted classes, and which of them are correct.
        column: (batch, 1), scratch of the softmax.
        active: the active inputs, in place of `inputs[0]`; None: all are there.
    """

    active: ActiveInputs | None = None

    def __init__(self, widths: tuple[int, ...], batch: int, dtype: Any) -> None:
        self._widths, self._dtype = widths, dtype
        self.pixels = np.empty((batch, widths[0]), np.uint8)
        self.inputs = [np.ones((batch, width + 1), dtype) for width in widths[:-1]]
        self.z = [np.empty((batch, width), dtype) for width in widths[1:]]
        self.derivatives = [np.empty((batch, width), dtype) for width in widths[1:-1]]
        # Without dropout these are never written, and then cost no memory.
        self.masks = [np.empty((batch, width), dtype) for width in widths[:-1]]
        self.targets = np.empty((batch, widths[-1]), dtype)
        self.predicted = np.empty(batch, np.intp)
        self.hits = np.empty(batch, bool)
        self.column = np.empty((batch, 1), dtype)
        self.outputs = [joined[:, :-1] for joined in self.inputs]

    def __len__(self) -> int:
        return len(self.predicted)

    def head(self, count: int) -> "Workspace":
        """Return a workspace for `count` samples in the same memory."""
        view = Workspace(self._widths, 0, self._dtype)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(view, name, value[:count])
            elif isinstance(value, list):
                setattr(view, name, [array[:count] for array in value])
        return view


class Workspaces:
    """Workspaces by batch size, as views of the memory of the largest."""

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
