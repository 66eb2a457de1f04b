"""Initializers: the weights before the first step.

Each draws one weight matrix and knows nothing of the rest of the network; biases start at 0. A new
one is a class here and its row in `INITIALIZERS`; a field, if it has one, is a line in
conf/model/mlp.yaml, with the prefix `init_`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perceptune.nn.checks import check_positive
from perceptune.nn.layout import Array, Layout


class Initializer(Protocol):
    """A distribution of weights."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """Draw a weight matrix (inputs, outputs), float64."""


@dataclass(frozen=True)
class Zeros:
    """All weights 0, as a counterexample: all hidden units get the same gradient and stay equal."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return np.zeros((inputs, outputs))


@dataclass(frozen=True)
class Normal:
    """N(0, std²), independent of the layer's width. Usual: std 0.01.

    Raises:
        RangeError: std not above 0.
    """

    std: float

    def __post_init__(self) -> None:
        check_positive(std=self.std)

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return rng.normal(0, self.std, (inputs, outputs))


@dataclass(frozen=True)
class XavierUniform:
    """U(-a, a), a = √(6 / (inputs + outputs)) (Glorot & Bengio 2010, equation 16)."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return _uniform(rng, inputs, outputs, variance=2 / (inputs + outputs))


@dataclass(frozen=True)
class XavierNormal:
    """N(0, 2 / (inputs + outputs)) (Glorot & Bengio 2010, equation 12)."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return rng.normal(0, math.sqrt(2 / (inputs + outputs)), (inputs, outputs))


@dataclass(frozen=True)
class HeUniform:
    """U(-a, a), a = √(6 / inputs), for rectifiers (He et al. 2015, arXiv:1502.01852)."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return _uniform(rng, inputs, outputs, variance=2 / inputs)


@dataclass(frozen=True)
class HeNormal:
    """N(0, 2 / inputs), for rectifiers (He et al. 2015, arXiv:1502.01852, equation 10)."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return rng.normal(0, math.sqrt(2 / inputs), (inputs, outputs))


@dataclass(frozen=True)
class LecunNormal:
    """N(0, 1 / inputs) (LeCun et al. 1998, "Efficient BackProp", equation 16)."""

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        return rng.normal(0, math.sqrt(1 / inputs), (inputs, outputs))


@dataclass(frozen=True)
class Orthogonal:
    """Orthonormal rows or columns, whichever are fewer (Saxe et al. 2014, arXiv:1312.6120).

    `gain` is their length. Usual: gain 1.

    Raises:
        RangeError: gain not above 0.
    """

    gain: float

    def __post_init__(self) -> None:
        check_positive(gain=self.gain)

    def draw(self, rng: np.random.Generator, inputs: int, outputs: int) -> Array:
        """See `Initializer`."""
        tall = rng.normal(size=(max(inputs, outputs), min(inputs, outputs)))
        q, r = np.linalg.qr(tall)
        # QR fixes the columns' signs arbitrarily; this makes Q uniformly distributed.
        q *= np.sign(np.diag(r))
        return self.gain * (q if inputs >= outputs else q.T)


def initialize(layout: Layout, initializer: Initializer, rng: np.random.Generator) -> Array:
    """Make a float32 θ (size,): every weight drawn, every bias 0."""
    theta = layout.zeros()
    for layer in layout.layers(theta):
        layer.weight[:] = initializer.draw(rng, *layer.weight.shape)
    return theta


def _uniform(rng: np.random.Generator, inputs: int, outputs: int, variance: float) -> Array:
    limit = math.sqrt(3 * variance)  # U(-a, a) has the variance a²/3
    return rng.uniform(-limit, limit, (inputs, outputs))


INITIALIZERS: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "normal": Normal,
    "xavier_uniform": XavierUniform,
    "xavier_normal": XavierNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
}
