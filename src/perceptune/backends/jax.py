"""JAX: a whole epoch as one compiled scan over its batches, the fastest form that we know.

Nothing returns to Python between two steps; weights and the optimizer's moments are donated, so
that they are updated in place. The optimizers are Optax's.
"""

from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from perceptune.backends.backend import Backend, batch_size, function_of, pack, samples, unsupported
from perceptune.nn import optimizers as opt
from perceptune.nn.layout import Array
from perceptune.nn.recipe import Recipe
from perceptune.runs.training import Training


class JaxBackend:
    """Weights as a list of (weight, bias), trained by a function of them and of the order."""

    def __init__(self, training: Training) -> None:
        if training.network.dtype == np.float64:
            jax.config.update("jax_enable_x64", True)
        images, labels = samples(training)
        self._images, self._labels = jnp.asarray(images), jnp.asarray(labels, "int32")
        self._network, self._batch = training.network, batch_size(training)
        layers = self._network.layout.layers(training.state.theta)
        self._weights = [(jnp.array(each.weight), jnp.array(each.bias)) for each in layers]
        self._optimizer = _optimizer(training.config.recipe)
        self._moments = self._optimizer.init(self._weights)
        self._activation = function_of(self._network.activation, jax.nn)
        self._compiled = jax.jit(self._epoch, donate_argnums=(0, 1))

    def run_epoch(self, order: Array) -> float:
        """See `Backend`."""
        whole = len(order) // self._batch * self._batch
        batches = jnp.asarray(order[:whole].reshape(-1, self._batch), "int32")
        rest = jnp.asarray(order[whole:], "int32")
        self._weights, self._moments, total = self._compiled(
            self._weights, self._moments, self._images, self._labels, batches, rest
        )
        return float(total) / len(order)

    def theta(self) -> Array:
        """See `Backend`."""
        return pack(self._network, [part for layer in self._weights for part in layer])

    def _epoch(
        self, weights: Any, moments: Any, images: Any, labels: Any, batches: Any, rest: Any
    ) -> Any:
        """All steps of an epoch; the sum of their losses over the samples."""

        def step(carry: Any, rows: Any) -> Any:
            weights, moments = carry
            loss, slopes = jax.value_and_grad(self._loss)(weights, images[rows], labels[rows])
            updates, moments = self._optimizer.update(slopes, moments, weights)
            return (optax.apply_updates(weights, updates), moments), loss * len(rows)

        carry, losses = jax.lax.scan(step, (weights, moments), batches)
        total = losses.sum()
        if len(rest):
            carry, loss = step(carry, rest)
            total += loss
        return *carry, total

    def _loss(self, weights: Any, images: Any, labels: Any) -> Any:
        x = images
        for weight, bias in weights[:-1]:
            x = self._activation(x @ weight + bias)
        logits = x @ weights[-1][0] + weights[-1][1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Optax's optimizer, with ε where ours has it.

    Its AdaGrad has ε under the root, and gets ε²: √(v + ε²) ≈ √v + ε, except for v near ε².
    """
    lr = recipe.lr
    match recipe.optimizer:
        case opt.Sgd():
            return optax.sgd(lr)
        case opt.Momentum(momentum):
            return optax.sgd(lr, momentum)
        case opt.Nesterov(momentum):
            return optax.sgd(lr, momentum, nesterov=True)
        case opt.RmsProp(decay, eps):
            return optax.rmsprop(lr, decay, eps, eps_in_sqrt=False)
        case opt.AdaGrad(eps):
            return optax.adagrad(lr, initial_accumulator_value=0.0, eps=eps**2)
        case opt.Adam(beta1, beta2, eps):
            return optax.adam(lr, beta1, beta2, eps)
        case opt.AdamW(beta1, beta2, eps, weight_decay):
            return optax.adamw(lr, beta1, beta2, eps, weight_decay=weight_decay)
    raise unsupported(recipe.optimizer)


build: type[Backend] = JaxBackend
