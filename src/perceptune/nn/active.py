"""The active inputs of a batch: those that are not 0 in all of its samples.

Any other adds nothing to the first layer's pre-activations, and its weights' gradient is 0, so the
two products of that layer leave it out, exactly. In 32 digits of MNIST 42 % of the pixels are
inactive, in 128 digits 33 %. Knows the first layer only.
"""

from functools import cached_property
from typing import Any

import numpy as np

from perceptune.nn.layout import Array

# Below these sizes, or with more active inputs, the copies take longer than what they save.
_FEWEST_SAMPLES, _FEWEST_OUTPUTS, _LARGEST_FRACTION = 16, 64, 0.8


class ActiveInputs:
    """The active inputs of the batch that was read last, with the rows of the first layer's matrix.

    Args:
        shape: (inputs + 1, outputs), that of the matrix.
        dtype: of all arithmetic.

    Attributes:
        samples: (batch, active + 1), scaled; the last column is 1 and meets the bias.
        matrix: (active + 1, outputs), the rows of the active inputs and the bias.
    """

    def __init__(self, shape: tuple[int, int], dtype: Any) -> None:
        self._shape, self._dtype = shape, dtype

    @cached_property  # made by the first training: a damaged file may name any shape
    def _used(self) -> Array:
        """(inputs + 1,) True for active inputs; the last is that of the bias."""
        return np.ones(self._shape[0], bool)

    @cached_property
    def _rows(self) -> Array:
        """(inputs + 2, outputs): row 0 stays 0, `matrix` follows."""
        return np.zeros((self._shape[0] + 1, self._shape[1]), self._dtype)

    def read(self, pixels: Array, factor: Any) -> bool:
        """Copy the active ones of `pixels` (batch, inputs), times `factor`; False: it does not pay.

        `pixels` are uint8, `factor` is a NumPy scalar.
        """
        if len(pixels) < _FEWEST_SAMPLES or self._shape[1] < _FEWEST_OUTPUTS:
            return False
        self._used[:-1] = np.bitwise_or.reduce(pixels, axis=0)
        self._index = self._used.nonzero()[0]
        if len(self._index) > _LARGEST_FRACTION * len(self._used):
            return False
        active = pixels.take(self._index, axis=1, mode="clip")  # there is no pixel for the bias
        self.samples = np.multiply(active, factor)
        self.samples[:, -1] = 1
        self.matrix = self._rows[1 : len(self._index) + 1]
        return True

    def gather(self, matrix: Array) -> None:
        """Fill `matrix` from that of all inputs, (inputs + 1, outputs)."""
        matrix.take(self._index, axis=0, out=self.matrix, mode="clip")

    def scatter(self, out: Array) -> None:
        """Copy `matrix` to `out`, for all inputs, with zeros in the rows of the inactive ones."""
        self._rows.take(self._used.cumsum() * self._used, axis=0, out=out, mode="clip")
