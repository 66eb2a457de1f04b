"""The multilayer perceptron: forward pass, loss, and the gradient by the chain rule.

Parameters come from outside as views of θ (`layout`), so the network itself holds only its shape
and its working memory. It knows neither optimizers nor epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceptune.nn.activations import Activation
from perceptune.nn.checks import check, check_below_one
from perceptune.nn.initializers import Initializer
from perceptune.nn.layout import Array, Layer, Layout
from perceptune.nn.losses import cross_entropy, softmax
from perceptune.nn.workspace import Workspace, Workspaces

_WIDEST = 65_536
_DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class NetworkSpec:
    """A network before its data is known.

    Attributes:
        hidden: units of each hidden layer, input side first; none makes softmax regression.
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
            ValueError: no inputs, or no classes.
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
        activation: what hidden layers apply.
        scale, shift: a stored pixel p enters as p · scale + shift.
        dropout: share of each hidden layer's units switched off in training, [0, 1).
        input_dropout: the same for the inputs.
        dtype: of all arithmetic; float64 is for checking gradients.

    Raises:
        ValueError: widths as for `Layout`, or a dropout outside [0, 1).
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
        self._factor = self.dtype.type(scale)  # a plain float would make NumPy scale in float64
        self._workspaces = Workspaces(self.layout.widths, dtype)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer, input first."""
        return self.layout.widths

    def read(self, images: Array, rows: Array | slice) -> Workspace:
        """Bring samples `rows` of `images` (samples, inputs) into a workspace, scaled.

        uint8 is gathered as bytes first: a quarter of the memory traffic of float32.
        """
        if isinstance(rows, slice):
            batch = images[rows]
            work = self._workspaces[len(batch)]
        else:
            work = self._workspaces[len(rows)]
            batch = images[rows] if images.dtype != np.uint8 else work.pixels
            if batch is work.pixels:
                images.take(rows, axis=0, out=batch, mode="clip")
        np.multiply(batch, self._factor, out=work.outputs[0], casting="same_kind")
        if self.shift:
            work.outputs[0][:] += self.shift
        return work

    def forward(self, layers: list[Layer], work: Workspace) -> Array:
        """Logits (batch, classes) of the samples in `work`, as at prediction."""
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
        """Mean cross-entropy of a batch in training; its gradient is written to `gradient`.

        Args:
            layers: views of θ.
            gradient: views of ∂L/∂θ, overwritten.
            work: holds the samples (see `read`); its `predicted` then holds the classes found.
            targets: (batch, classes) distributions.
            rng: draws which units dropout switches off.
            scale: factor on the gradient, not on the loss.
        """
        self._drop(work, 0, rng)
        for index, layer in enumerate(layers[:-1]):
            np.dot(work.inputs[index], layer.matrix, out=work.z[index])
            self.activation.forward(work.z[index], work.outputs[index + 1], work.slopes[index])
            self._drop(work, index + 1, rng)
        np.dot(work.inputs[-1], layers[-1].matrix, out=work.z[-1])
        work.z[-1].argmax(axis=1, out=work.predicted)

        loss = cross_entropy(work.z[-1], targets, work.column) / len(work)

        # Backwards: `error` is ∂L/∂z of layer `index`. It lies where z was, which the forward
        # pass has no more use for.
        error = work.z[-1]
        error *= scale / len(work)
        for index in reversed(range(len(layers))):
            np.dot(work.inputs[index].T, error, out=gradient[index].matrix)
            if index > 0:
                below = work.z[index - 1]
                np.dot(error, layers[index].weight.T, out=below)
                below *= work.slopes[index - 1]
                error = below
        return loss

    def probabilities(self, theta: Array, images: Array, chunk: int = 1000) -> Array:
        """Class probabilities (samples, classes) of `images` (samples, inputs)."""
        layers = self.layout.layers(theta)
        result = np.empty((len(images), self.widths[-1]), self.dtype)
        for start in range(0, len(images), chunk):
            rows = slice(start, start + chunk)
            result[rows] = softmax(self.forward(layers, self.read(images, rows)))
        return result

    def _drop(self, work: Workspace, index: int, rng: np.random.Generator) -> None:
        """Inverted dropout (Srivastava et al. 2014): what stays is scaled up by 1 / (1 - rate)."""
        rate = self.dropout[index]
        if rate == 0:
            return
        keep = work.masks[index]
        rng.random(dtype=self.dtype.type, out=keep)
        np.greater_equal(keep, rate, out=keep)
        keep *= 1 / (1 - rate)
        work.outputs[index][:] *= keep
        if index > 0:
            work.slopes[index - 1][:] *= keep
