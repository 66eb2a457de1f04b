"""JAX: a whole epoch as one compiled scan over its batches, the strongest form that we know.

Nothing returns to Python between two steps, and weights and the optimizer's memory are donated,
so that each epoch works in place. The optimizers are Optax's.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from perceptune.backends.backend import Backend, batch_size, samples
from perceptune.nn.layout import Array
from perceptune.training import Training


class JaxBackend:
    """Weights as a list of (weight, bias), trained by a function of them and of the order."""

    def __init__(self, training: Training) -> None:
        if training.network.dtype == np.float64:
            jax.config.update("jax_enable_x64", True)
        images, labels = samples(training)
        self._images, self._labels = jnp.asarray(images), jnp.asarray(labels, "int32")
        self._layout, self._batch = training.network.layout, batch_size(training)
        layers = self._layout.layers(training.state.theta)
        self._weights = [(jnp.array(each.weight), jnp.array(each.bias)) for each in layers]
        self._rule = _optimizer(training.config.optimizer)
        self._memory = self._rule.init(self._weights)
        self._activation = _activation(training)
        self._compiled = jax.jit(self._epoch, donate_argnums=(0, 1))

    def one_pass(self, order: Array) -> float:
        """See `Backend`."""
        whole = len(order) // self._batch * self._batch
        batches = jnp.asarray(order[:whole].reshape(-1, self._batch), "int32")
        rest = jnp.asarray(order[whole:], "int32")
        self._weights, self._memory, total = self._compiled(
            self._weights, self._memory, self._images, self._labels, batches, rest
        )
        return float(total) / len(order)

    def theta(self) -> Array:
        """See `Backend`."""
        theta = self._layout.empty(self._images.dtype)
        pairs = zip(self._layout.layers(theta), self._weights, strict=True)
        for layer, (weight, bias) in pairs:
            layer.weight[:], layer.bias[:] = weight, bias
        return theta

    def _epoch(
        self, weights: Any, memory: Any, images: Any, labels: Any, batches: Any, rest: Any
    ) -> Any:
        """All steps of a pass; the sum of their losses over the samples."""

        def step(carry: Any, rows: Any) -> Any:
            weights, memory = carry
            loss, slopes = jax.value_and_grad(self._loss)(weights, images[rows], labels[rows])
            updates, memory = self._rule.update(slopes, memory, weights)
            return (optax.apply_updates(weights, updates), memory), loss * len(rows)

        carry, losses = jax.lax.scan(step, (weights, memory), batches)
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


def _activation(training: Training) -> Any:
    model = training.config.model
    table = {
        "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=model.negative_slope),
        "elu": partial(jax.nn.elu, alpha=model.alpha),
        "gelu": partial(jax.nn.gelu, approximate=True),
    }
    return table.get(model.activation) or getattr(jax.nn, model.activation)


def _optimizer(options: dict[str, Any]) -> optax.GradientTransformation:
    """Optax's, told to put ε where ours does; AdaGrad's, under the root, gets ε² for that."""
    name, lr = options["name"], options["lr"]
    if name in ("sgd", "momentum", "nesterov"):
        return optax.sgd(lr, momentum=options.get("momentum"), nesterov=name == "nesterov")
    eps = options["eps"]
    if name == "rmsprop":
        return optax.rmsprop(lr, decay=options["decay"], eps=eps, eps_in_sqrt=False)
    if name == "adagrad":
        return optax.adagrad(lr, initial_accumulator_value=0.0, eps=eps**2)
    betas = (options["beta1"], options["beta2"])
    if name == "adamw":
        return optax.adamw(lr, *betas, eps=eps, weight_decay=options["weight_decay"])
    return optax.adam(lr, *betas, eps=eps)


def build(training: Training) -> Backend:
    """See `backends.build`."""
    return JaxBackend(training)
