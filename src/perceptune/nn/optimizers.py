"""Optimizers: each moves one flat parameter vector, in place.

An optimizer is a frozen value; what it remembers between steps is an explicit `State`, a dict of
arrays that a checkpoint can save as it is. None of them knows about layers, losses or schedules.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from perceptune.nn.checks import check_below_one, check_nonnegative, check_positive
from perceptune.nn.layout import Array

State = dict[str, Array]

_FADED = 1e-30  # moves nothing: beside it even Adam's ε is large
_STEPS_BETWEEN_FLUSHES = 64


class Optimizer(Protocol):
    """A rule that turns a gradient into a move of the parameters."""

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """What the optimizer remembers before its first step."""

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """Move `params` (size,) against `gradient` (size,), which is used up as scratch.

        `lr` is the step size of this very step. Both arrays and `state` change in place.
        """


@dataclass(frozen=True)
class Sgd:
    """Gradient descent, on however many samples the gradient came from.

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

    Keras takes lr into u; the two part ways when lr changes.

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

    Keras adds ε under the root.

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
        return {"square": np.zeros(size, dtype), "scratch": np.zeros(size, dtype)}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        square, scratch = state["square"], state["scratch"]
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - self.decay
        square *= self.decay
        square += scratch
        np.sqrt(square, out=scratch)
        scratch += self.eps
        gradient /= scratch
        gradient *= lr
        params -= gradient


@dataclass(frozen=True)
class AdaGrad:
    """AdaGrad (Duchi et al. 2011): the step shrinks with the squares of all gradients so far.

    v ← v + g²
    θ ← θ - lr · g / (√v + ε)

    Raises:
        RangeError: eps not above 0.
    """

    eps: float

    def __post_init__(self) -> None:
        check_positive(eps=self.eps)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        """See `Optimizer`."""
        return {"square": np.zeros(size, dtype), "scratch": np.zeros(size, dtype)}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        square, scratch = state["square"], state["scratch"]
        np.multiply(gradient, gradient, out=scratch)
        square += scratch
        np.sqrt(square, out=scratch)
        scratch += self.eps
        gradient /= scratch
        gradient *= lr
        params -= gradient


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2014, arXiv:1412.6980, Algorithm 1).

    m ← β₁m + (1-β₁)g        v ← β₂v + (1-β₂)g²
    θ ← θ - lr · m̂ / (√v̂ + ε)      with m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ)

    Keras and scikit-learn add ε to the uncorrected √v.

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
            "mean": np.zeros(size, dtype),
            "square": np.zeros(size, dtype),
            "steps": np.zeros(1, np.int64),
        }

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        """See `Optimizer`."""
        # The state keeps m/(1-β₁) and v/(1-β₂): two passes fewer over all parameters. What that
        # and the bias correction come to are two numbers, `rate` and `eps`, for the whole step.
        state["steps"] += 1
        steps = int(state["steps"][0])
        mean_scale = (1 - self.beta1) / (1 - self.beta1**steps)
        root_scale = ((1 - self.beta2) / (1 - self.beta2**steps)) ** 0.5
        rate, eps = lr * mean_scale / root_scale, self.eps / root_scale
        mean, square = state["mean"], state["square"]
        if steps % _STEPS_BETWEEN_FLUSHES == 0:
            # Means of weights from pixels that are seldom lit fade away. On their way to 0 they
            # become denormal numbers, with which a processor is slow: 6 % of them, as after two
            # epochs on MNIST, make a step take 177 µs instead of 152.
            mean[np.abs(mean) < _FADED] = 0
        mean *= self.beta1
        mean += gradient
        gradient *= gradient
        square *= self.beta2
        square += gradient
        np.sqrt(square, out=gradient)
        gradient += eps
        np.divide(mean, gradient, out=gradient)
        gradient *= rate
        params -= gradient


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay λ (Loshchilov & Hutter 2019, arXiv:1711.05101).

    θ ← (1 - lr·λ)θ, then a step of Adam

    As in PyTorch and Optax, every parameter decays, biases too.

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


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RmsProp,
    "adagrad": AdaGrad,
    "adam": Adam,
    "adamw": AdamW,
}
