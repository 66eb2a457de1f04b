"""The layout of a network's parameters: one flat vector θ, each layer a view of it.

Optimizers, averaging, clipping and checkpoints work on the vector without knowing of layers. This
module knows shapes only.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceptune.nn.checks import check

Array = NDArray[Any]


class Layer(NamedTuple):
    """Views of one dense layer's parameters, or of their gradient.

    `weight` is all rows of `matrix` but the last, and `bias` is the last: a bias is the weight of
    one more input that is always 1. So `[x, 1] @ matrix` equals `x @ weight + bias`, in one call.
    """

    weight: Array  # (inputs, outputs)
    bias: Array  # (outputs,)
    matrix: Array  # (inputs + 1, outputs)


class Layout:
    """The positions in θ of each layer's parameters.

    >>> layout = Layout((784, 128, 10))
    >>> layout.size == (784 + 1) * 128 + (128 + 1) * 10
    True
    >>> theta = layout.zeros()
    >>> first, last = layout.layers(theta)
    >>> first.weight.shape, first.bias.shape, last.matrix.shape
    ((784, 128), (128,), (129, 10))
    >>> last.bias[:] = 1  # a view: θ has changed
    >>> float(theta.sum())
    10.0

    Args:
        widths: units of every layer, input first and output last, e.g. (784, 128, 64, 10).

    Raises:
        RangeError: fewer than two widths, or a width below 1.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        holds = len(widths) >= 2 and min(widths) >= 1
        check(holds, "widths", "two or more positive numbers", list(widths))
        self.widths = tuple(widths)
        self.shapes = [(inputs + 1, outputs) for inputs, outputs in pairwise(self.widths)]
        self.size = sum(rows * columns for rows, columns in self.shapes)

    def layers(self, theta: Array) -> list[Layer]:
        """Return views of `theta` (size,), input side first; writing to them writes to `theta`."""
        layers, start = [], 0
        for rows, columns in self.shapes:
            matrix = theta[start : start + rows * columns].reshape(rows, columns)
            layers.append(Layer(weight=matrix[:-1], bias=matrix[-1], matrix=matrix))
            start += rows * columns
        return layers

    def zeros(self, dtype: Any = np.float32) -> Array:
        """Make a vector of zeros, (size,), for parameters, a gradient or an average."""
        return np.zeros(self.size, dtype)
