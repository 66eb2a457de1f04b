"""One flat vector θ holds every parameter of a network; each layer is a view into it.

Optimizers, averaging, clipping and checkpoints work on the vector and need to know nothing of
layers. This module knows nothing of what the numbers mean.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Layer(NamedTuple):
    """Views of one dense layer's parameters, or of their gradient.

    `weight` and `bias` are the upper rows and the last row of `matrix`: a bias is the weight of
    one more input that is always 1. So `[x, 1] @ matrix` equals `x @ weight + bias`, in one call.
    """

    weight: Array  # (inputs, outputs)
    bias: Array  # (outputs,)
    matrix: Array  # (inputs + 1, outputs)


class Layout:
    """Where each layer of a network with the given widths lies in θ.

    Args:
        widths: units of every layer, input first and output last, e.g. (784, 128, 64, 10).

    Raises:
        ValueError: fewer than two widths, or a width below 1.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths must be two or more positive numbers, got {list(widths)}")
        self.widths = tuple(widths)
        self.shapes = [(inputs + 1, outputs) for inputs, outputs in pairwise(self.widths)]
        self.size = sum(rows * columns for rows, columns in self.shapes)

    def layers(self, theta: Array) -> list[Layer]:
        """Views of `theta` (size,), input side first; writing to them writes to `theta`."""
        layers, start = [], 0
        for rows, columns in self.shapes:
            matrix = theta[start : start + rows * columns].reshape(rows, columns)
            layers.append(Layer(weight=matrix[:-1], bias=matrix[-1], matrix=matrix))
            start += rows * columns
        return layers

    def zeros(self, dtype: Any = np.float32) -> Array:
        """A vector of zeros, (size,), for parameters, a gradient or an average."""
        return np.zeros(self.size, dtype)
