"""The multilayer perceptron: forward pass, loss, and the gradient by the chain rule.

Parameters are passed in as views of θ (`layout`); the network itself holds only its shape and its
workspace. Knows neither optimizers nor epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceptune.nn.activations import Activation
from perceptune.nn.active import ActiveInputs
from perceptune.nn.checks import check, check_below_one, check_finite
from perceptune.nn.initializers import Initializer
from perceptune.nn.layout import Array, Layer, Layout
from perceptune.nn.losses import cross_entropy, softmax
from perceptune.nn.workspace import Workspace, Workspaces

_WIDEST = 65_536
_DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class NetworkSpec:
    """A network's architecture; the data adds numbers of inputs and classes, and pixel scaling.

    Attributes:
        hidden: units of each hidden layer, input side first; an empty list makes softmax
            regression.
        activation: of every hidden layer.
        initializer: draws the weights before the first step.
        dropout: fraction of each hidden layer's units dropped in training; usual 0–0.5.
        input_dropout: the same for the inputs; usual 0–0.2.
        dtype: of all arithmetic, "float32" or "float64".

    Raises:
        RangeError: a width outside 1–65,536, a dropout outside [0, 1), or another dtype.
    """

    hidden: list[int]
    activation: Activation
    initializer: Initializer
    dropout: float
    input_dropout: float
    dtype: str

    def __post_init__(self) -> None:
        whole = all(isinstance(width, int) and 1 <= width <= _WIDEST for width in self.hidden)
        check(whole, "hidden", f"a list of whole numbers from 1 to {_WIDEST}", self.hidden)
        check_below_one(dropout=self.dropout, input_dropout=self.input_dropout)
        check(self.dtype in _DTYPES, "dtype", " or ".join(_DTYPES), self.dtype)

    def build(self, inputs: int, classes: int, scale: float, shift: float) -> "Network":
        """Make the network for samples of `inputs` pixels p, which enter as p · scale + shift.

        Raises:
            RangeError: no inputs, or no classes.
        """
        return Network(
            [inputs, *self.hidden, classes],
            self.activation,
            scale=scale,
            shift=shift,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            dtype=self.dtype,
        )


class Network:
    """Dense layers with one activation between them and a softmax at the end.

    Args:
        widths: units of every layer, input first and output last, e.g. (784, 128, 64, 10).
        activation: of every hidden layer.
        scale, shift: a stored pixel p enters as p · scale + shift.
        dropout: fraction of each hidden layer's units dropped in training, in [0, 1).
        input_dropout: the same for the inputs.
        dtype: of all arithmetic, float32 or float64 (slower, for gradient checks).

    Raises:
        RangeError: widths as for `Layout`, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: Activation,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        dtype: Any = np.float32,
    ) -> None:
        check_below_one(dropout=dropout, input_dropout=input_dropout)
        self.layout = Layout(widths)
        self.activation = activation
        self.scale, self.shift = scale, shift
        self.dropout = [input_dropout, *[dropout] * (len(widths) - 2)]
        self.dtype = np.dtype(dtype)
        self._factor = self.dtype.type(scale)  # a Python float would make NumPy scale in float64
        self._workspaces = Workspaces(self.layout.widths, dtype)
        self._active = ActiveInputs(self.layout.shapes[0], dtype)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer, input first."""
        return self.layout.widths

    def read(self, images: Array, rows: Array | slice, train: bool = False) -> Workspace:
        """Copy samples `rows` (batch,) of `images` (n_total, inputs) to a workspace, scaled.

        uint8 is gathered as bytes first: a quarter of the memory traffic of float32. With `train`
        the workspace is for `loss_and_gradient` alone: it may hold the active inputs only.
        """
        if isinstance(rows, slice) or images.dtype != np.uint8:
            batch = images[rows]
            work = self._workspaces[len(batch)]
        else:
            work = self._workspaces[len(rows)]
            batch = images.take(rows, axis=0, out=work.pixels, mode="clip")
        work.active = None
        zero_stays = batch.dtype == np.uint8 and not (self.shift or self.dropout[0])
        if train and zero_stays and self._active.read(batch, self._factor):
            work.active = self._active
            return work
        np.multiply(batch, self._factor, out=work.outputs[0], casting="same_kind")
        if self.shift:
            work.outputs[0][:] += self.shift
        return work

    def forward(self, layers: list[Layer], work: Workspace) -> Array:
        """Compute the logits (batch, classes) of the samples in `work`, without dropout.

        `layers` are views of θ.
        """
        for index, layer in enumerate(layers):
            np.dot(work.inputs[index], layer.matrix, out=work.z[index])
            if index < len(layers) - 1:
                self.activation.forward(work.z[index], work.outputs[index + 1])
        return work.z[-1]

    def loss_and_gradient(
        self,
        layers: list[Layer],
        gradient: list[Layer],
        work: Workspace,
        targets: Array,
        rng: np.random.Generator,
        scale: float = 1.0,
    ) -> float:
        """Compute a batch's mean cross-entropy with dropout; write its gradient to `gradient`.

        Args:
            layers: views of θ.
            gradient: views of ∂L/∂θ, overwritten.
            work: holds the samples (see `read`); `work.predicted` gets the predicted classes.
            targets: (batch, classes) distributions.
            rng: draws which units dropout drops.
            scale: factor on the gradient, not on the loss.
        """
        inputs, active = list(work.inputs), work.active
        matrices, slopes = [each.matrix for each in layers], [each.matrix for each in gradient]
        if active:
            active.gather(matrices[0])
            inputs[0], matrices[0], slopes[0] = active.samples, active.matrix, active.matrix

        self._drop(work, 0, rng)
        for index, matrix in enumerate(matrices[:-1]):
            np.dot(inputs[index], matrix, out=work.z[index])
            self.activation.forward(work.z[index], work.outputs[index + 1], work.derivatives[index])
            self._drop(work, index + 1, rng)
        np.dot(inputs[-1], matrices[-1], out=work.z[-1])
        work.z[-1].argmax(axis=1, out=work.predicted)

        loss = cross_entropy(work.z[-1], targets, work.column) / len(work)

        # Backward pass: `error` is ∂L/∂z of layer `index`, (batch, width). It overwrites z, which
        # is no longer needed.
        error = work.z[-1]
        error *= scale / len(work)
        for index in reversed(range(len(layers))):
            np.dot(inputs[index].T, error, out=slopes[index])
            if index > 0:
                below = work.z[index - 1]
                np.dot(error, layers[index].weight.T, out=below)
                below *= work.derivatives[index - 1]
                error = below
        if active:
            active.scatter(gradient[0].matrix)
        return loss

    def probabilities(self, theta: Array, images: Array, chunk: int = 1000) -> Array:
        """Compute class probabilities (samples, classes) of `images` (samples, inputs).

        `theta` is (size,). `chunk` samples are computed at a time, to bound memory.

        Raises:
            NotFiniteError: a weight is not finite, or so large that a logit is not.
        """
        layers = self.layout.layers(theta)
        result = np.empty((len(images), self.widths[-1]), self.dtype)
        with np.errstate(all="ignore"):
            for start in range(0, len(images), chunk):
                rows = slice(start, start + chunk)
                result[rows] = softmax(self.forward(layers, self.read(images, rows)))
        check_finite("the network's weights are too large: its predictions are", theta, result)
        return result

    def _drop(self, work: Workspace, index: int, rng: np.random.Generator) -> None:
        """Apply inverted dropout (Srivastava et al. 2014): scale kept units by 1 / (1 - rate)."""
        rate = self.dropout[index]
        if rate == 0:
            return
        keep = work.masks[index]
        rng.random(dtype=self.dtype.type, out=keep)
        np.greater_equal(keep, rate, out=keep)
        keep *= 1 / (1 - rate)
        work.outputs[index][:] *= keep
        if index > 0:
            work.derivatives[index - 1][:] *= keep
