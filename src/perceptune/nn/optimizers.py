"""Optimizers: each moves one flat parameter vector, in place.

An optimizer is a frozen value. Its state between steps is explicit: a dict of arrays, saved as
they are in a checkpoint. None of them knows about layers, losses or schedules. A new one is a
class here, its row in `OPTIMIZERS` and a file in conf/optimizer with its learning rate and fields.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from perceptune.nn.checks import check_below_one, check_nonnegative, check_positive
from perceptune.nn.layout import Array

State = dict[str, Array]

_NEGLIGIBLE = 1e-30  # far below Adam's ε: such a first moment moves no parameter
_STEPS_BETWEEN_FLUSHES = 64


class Optimizer(Protocol):
    """An update rule."""

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """Make the state before the first step, for `size` parameters."""

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """Move `params` (size,) against `gradient` (size,), both in place.

        `lr` is the learning rate of this step. `gradient` is scratch afterwards; the arrays of
        `state` are updated in place.
        """


@dataclass(frozen=True)
class Sgd:
    """Gradient descent, stochastic if the gradient is that of a batch.

    θ ← θ - lr · g
    """

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        gradient *= lr
        params -= gradient


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum (Polyak 1964), in PyTorch's form.

    u ← μu + g
    θ ← θ - lr · u

    Keras folds lr into u; the two differ when lr changes. Usual: μ = 0.9.

    Raises:
        RangeError: momentum outside [0, 1).
    """

    momentum: float

    def __post_init__(self) -> None:
        check_below_one(momentum=self.momentum)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {"velocity": np.zeros(size, dtype)}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        np.multiply(velocity, lr, out=gradient)
        params -= gradient


@dataclass(frozen=True)
class Nesterov:
    """Momentum that looks one step ahead (Sutskever et al. 2013), in PyTorch's form.

    u ← μu + g
    θ ← θ - lr · (g + μu)

    Usual: μ = 0.9.

    Raises:
        RangeError: momentum outside [0, 1).
    """

    momentum: float

    def __post_init__(self) -> None:
        check_below_one(momentum=self.momentum)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {"velocity": np.zeros(size, dtype)}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        gradient *= lr
        params -= gradient
        np.multiply(velocity, lr * self.momentum, out=gradient)
        params -= gradient


@dataclass(frozen=True)
class RmsProp:
    """RMSprop (Hinton 2012, lecture 6e), in PyTorch's form.

    v ← ρv + (1-ρ)g²
    θ ← θ - lr · g / (√v + ε)

    Keras adds ε under the root. Usual: ρ = 0.9, ε = 1e-8; ρ is `decay`.

    Raises:
        RangeError: decay outside [0, 1), or eps not above 0.
    """

    decay: float
    eps: float

    def __post_init__(self) -> None:
        check_below_one(decay=self.decay)
        check_positive(eps=self.eps)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {"second_moment": np.zeros(size, dtype), "scratch": np.zeros(size, dtype)}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        second, scratch = state["second_moment"], state["scratch"]
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - self.decay
        second *= self.decay
        second += scratch
        _descend(params, gradient, second, self.eps, lr, scratch)


@dataclass(frozen=True)
class AdaGrad:
    """AdaGrad (Duchi et al. 2011): steps shrink with the sum of all squared gradients so far.

    v ← v + g²
    θ ← θ - lr · g / (√v + ε)

    Usual: ε = 1e-10.

    Raises:
        RangeError: eps not above 0.
    """

    eps: float

    def __post_init__(self) -> None:
        check_positive(eps=self.eps)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {"squares": np.zeros(size, dtype), "scratch": np.zeros(size, dtype)}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        squares, scratch = state["squares"], state["scratch"]
        np.multiply(gradient, gradient, out=scratch)
        squares += scratch
        _descend(params, gradient, squares, self.eps, lr, scratch)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2014, arXiv:1412.6980, Algorithm 1).

    m ← β₁m + (1-β₁)g        v ← β₂v + (1-β₂)g²
    θ ← θ - lr · m̂ / (√v̂ + ε)      with m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ)

    Keras and scikit-learn add ε to the uncorrected √v. Usual: β₁ = 0.9, β₂ = 0.999, ε = 1e-8.

    Raises:
        RangeError: a beta outside [0, 1), or eps not above 0.
    """

    beta1: float
    beta2: float
    eps: float

    def __post_init__(self) -> None:
        check_below_one(beta1=self.beta1, beta2=self.beta2)
        check_positive(eps=self.eps)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {
            "first_moment": np.zeros(size, dtype),
            "second_moment": np.zeros(size, dtype),
            "steps": np.zeros(1, np.int64),
        }

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        # The state keeps m/(1-β₁) and v/(1-β₂): two passes fewer over the parameters. These factors
        # and the bias correction are folded into two scalars, `rate` and `eps`.
        state["steps"] += 1
        steps = int(state["steps"][0])
        first_scale = (1 - self.beta1) / (1 - self.beta1**steps)
        root_scale = ((1 - self.beta2) / (1 - self.beta2**steps)) ** 0.5
        rate, eps = lr * first_scale / root_scale, self.eps / root_scale
        first, second = state["first_moment"], state["second_moment"]
        if steps % _STEPS_BETWEEN_FLUSHES == 0:
            # First moments decay towards 0 for weights whose pixels are nearly always 0, and become
            # denormal numbers, which are slow: 6 % of them, as after two epochs on MNIST, make a
            # step take 177 µs instead of 152.
            first[np.abs(first) < _NEGLIGIBLE] = 0
        first *= self.beta1
        first += gradient
        gradient *= gradient
        second *= self.beta2
        second += gradient
        _descend(params, first, second, eps, rate, gradient)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay λ (Loshchilov & Hutter 2019, arXiv:1711.05101).

    θ ← (1 - lr·λ)θ, then a step of Adam

    λ is `weight_decay`. As in PyTorch and Optax, every parameter decays, biases too. Usual: as for
    Adam, and λ = 0.01.

    Raises:
        RangeError: a beta outside [0, 1), eps not above 0, or weight_decay below 0.
    """

    beta1: float
    beta2: float
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        self._adam()
        check_nonnegative(weight_decay=self.weight_decay)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return self._adam().init(size, dtype)

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        params *= 1 - lr * self.weight_decay
        self._adam().step(params, gradient, state, lr)

    def _adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.eps)


def _descend(params: Array, m: Array, v: Array, eps: float, lr: float, scratch: Array) -> None:
    """θ ← θ - lr · m / (√v + ε); all arrays are (size,); `scratch` is none of the others."""
    np.sqrt(v, out=scratch)
    scratch += eps
    np.divide(m, scratch, out=scratch)
    scratch *= lr
    params -= scratch


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RmsProp,
    "adagrad": AdaGrad,
    "adam": Adam,
    "adamw": AdamW,
}
