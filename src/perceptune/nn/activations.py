"""Activation functions and their derivatives, written into arrays that the caller owns.

Each is a frozen value with one method and knows nothing of layers, weights or losses. A new one is
a class here and its row in `ACTIVATIONS`; a field, if it has one, is a line in conf/model/mlp.yaml.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perceptune.nn.checks import check_fraction, check_positive
from perceptune.nn.layout import Array


class Activation(Protocol):
    """An elementwise function f."""

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """Write f(z) to `out` and, in training, f′(z) to `derivative`.

        All are (batch, units) and share no memory. `z` may be overwritten as scratch. The backward
        pass is then the same for every activation: ∂L/∂z = ∂L/∂a · f′(z).
        """


@dataclass(frozen=True)
class Sigmoid:
    """Logistic sigmoid, f(z) = 1 / (1 + e⁻ᶻ), f′ = f(1 - f)."""

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        # Computed as (1 + tanh(z/2)) / 2, which cannot overflow.
        np.multiply(z, 0.5, out=out)
        np.tanh(out, out=out)
        out += 1
        out *= 0.5
        if derivative is not None:
            np.subtract(1, out, out=derivative)
            derivative *= out


@dataclass(frozen=True)
class Tanh:
    """Hyperbolic tangent, f(z) = tanh z, f′ = 1 - f²."""

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        np.tanh(z, out=out)
        if derivative is not None:
            np.multiply(out, out, out=derivative)
            np.subtract(1, derivative, out=derivative)


@dataclass(frozen=True)
class Relu:
    """Rectified linear unit, f(z) = max(z, 0), f′ = 1 for z > 0, else 0."""

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        if derivative is None:
            np.maximum(z, 0, out=out)
        else:
            np.greater(z, 0, out=derivative)
            np.multiply(z, derivative, out=out)  # twice as fast as np.maximum


@dataclass(frozen=True)
class LeakyRelu:
    """Leaky ReLU (Maas et al. 2013), f(z) = z for z > 0, else λz; λ is `negative_slope`.

    Usual: λ = 0.01.

    Raises:
        RangeError: a negative_slope outside [0, 1].
    """

    negative_slope: float

    def __post_init__(self) -> None:
        check_fraction(negative_slope=self.negative_slope)

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        if derivative is None:
            np.multiply(z, self.negative_slope, out=out)
            np.maximum(z, out, out=out)  # with λ ≤ 1 the larger of z and λz is f(z)
        else:
            np.greater(z, 0, out=derivative)
            derivative *= 1 - self.negative_slope
            derivative += self.negative_slope
            np.multiply(z, derivative, out=out)


@dataclass(frozen=True)
class Elu:
    """Exponential linear unit (Clevert et al. 2016, arXiv:1511.07289).

    f(z) = z for z > 0, else α(eᶻ - 1);  f′ = 1 for z > 0, else αeᶻ

    Usual: α = 1.

    Raises:
        RangeError: alpha not above 0.
    """

    alpha: float

    def __post_init__(self) -> None:
        check_positive(alpha=self.alpha)

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        np.minimum(z, 0, out=out)
        np.expm1(out, out=out)
        out *= self.alpha  # α(eᶻ - 1) below 0, else 0
        if derivative is not None:
            np.greater(z, 0, out=derivative)
            derivative *= 1 - self.alpha
            derivative += self.alpha  # α below 0, else 1
            derivative += out
        np.maximum(z, 0, out=z)
        out += z


_GELU_SCALE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715  # arXiv:1606.08415, section 2


@dataclass(frozen=True)
class Gelu:
    """Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv:1606.08415), tanh form.

    f(z) = z·h,  h = (1 + tanh u)/2,  u = √(2/π) · (z + 0.044715 z³)
    f′   = h + 2zu′ · h(1 - h)

    NumPy has no erf; this form differs from z·Φ(z) by less than 5e-4.
    """

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        np.multiply(z, z, out=out)
        if derivative is not None:
            np.multiply(out, 6 * _GELU_CUBIC * _GELU_SCALE, out=derivative)
            derivative += 2 * _GELU_SCALE
            derivative *= z  # 2zu′
        out *= _GELU_CUBIC * _GELU_SCALE
        out += _GELU_SCALE
        out *= z  # u
        np.tanh(out, out=out)
        out += 1
        out *= 0.5  # h
        z *= out  # f, kept in z while the derivative still needs h
        if derivative is not None:
            derivative *= out
            np.subtract(1, out, out=out)
            derivative *= out
            np.subtract(1, out, out=out)
            derivative += out
        np.copyto(out, z)


@dataclass(frozen=True)
class Silu:
    """Sigmoid linear unit, or swish (Elfwing et al. 2017, arXiv:1702.03118).

    f(z) = z·σ(z),  f′ = σ(1 + z(1 - σ))
    """

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        Sigmoid().forward(z, out)
        if derivative is not None:
            np.subtract(1, out, out=derivative)
            derivative *= z
            derivative += 1
            derivative *= out
        out *= z


@dataclass(frozen=True)
class Softplus:
    """Softplus, f(z) = ln(1 + eᶻ), f′ = σ(z) = 1 - e⁻ᶠ."""

    def forward(self, z: Array, out: Array, derivative: Array | None = None) -> None:
        """See `Activation`."""
        np.logaddexp(z, 0, out=out)
        if derivative is not None:
            np.negative(out, out=derivative)
            np.expm1(derivative, out=derivative)
            np.negative(derivative, out=derivative)


ACTIVATIONS: dict[str, type[Activation]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "elu": Elu,
    "gelu": Gelu,
    "silu": Silu,
    "softplus": Softplus,
}
