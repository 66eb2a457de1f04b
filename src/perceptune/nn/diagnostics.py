"""Diagnostics of a network on one batch: norms of gradients, weights and updates, dead units.

Works on copies between two epochs, so it does not change the training.
"""

from dataclasses import dataclass

import numpy as np

from perceptune.nn.layout import Array
from perceptune.nn.losses import target_table
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Optimizer, State

_FLAT = 0.01  # as a fraction of the largest derivative in the batch


@dataclass(frozen=True)
class LayerState:
    """One layer on one batch.

    Attributes:
        gradient_norm, weight_norm: Euclidean norms of ∂L/∂W and W, biases included.
        update_ratio: ‖ΔW‖ / ‖W‖ of the step that the optimizer would make; usual: about 1e-3.
        dead: fraction of units whose activation is flat for every sample, so that their weights
            cannot learn; None for the output layer.
        saturated: fraction of all activations that are flat; None for the output layer.
    """

    gradient_norm: float
    weight_norm: float
    update_ratio: float
    dead: float | None
    saturated: float | None


def inspect(
    network: Network,
    theta: Array,
    images: Array,
    labels: Array,
    optimizer: Optimizer,
    state: State,
    lr: float,
) -> list[LayerState]:
    """Measure every layer on a batch, input side first; no argument is changed.

    Args:
        network: measured without its dropout.
        theta: (size,) its parameters.
        images, labels: the batch, (samples, inputs) and (samples,).
        optimizer, state, lr: of the next step.
    """
    network = without_dropout(network)
    layers = network.layout.layers(theta)
    gradient, update = network.layout.zeros(network.dtype), theta.copy()
    gradients = network.layout.layers(gradient)
    targets = target_table(network.widths[-1], dtype=network.dtype.type)[labels]
    work = network.read(images, slice(None))
    with np.errstate(all="ignore"):
        network.loss_and_gradient(layers, gradients, work, targets, np.random.default_rng(0))
        gradient_norms = [float(np.linalg.norm(layer.matrix)) for layer in gradients]
        optimizer.step(update, gradient, {name: a.copy() for name, a in state.items()}, lr)
        update -= theta
    flat = [_flat(derivatives) for derivatives in work.derivatives]
    found = []
    updates = network.layout.layers(update)
    for index, (layer, step) in enumerate(zip(layers, updates, strict=True)):
        norm, hidden = float(np.linalg.norm(layer.matrix)), index < len(flat)
        found.append(
            LayerState(
                gradient_norm=gradient_norms[index],
                weight_norm=norm,
                update_ratio=float(np.linalg.norm(step.matrix)) / norm if norm else 0.0,
                dead=float(flat[index].all(axis=0).mean()) if hidden else None,
                saturated=float(flat[index].mean()) if hidden else None,
            )
        )
    return found


def activations(network: Network, theta: Array, images: Array) -> list[Array]:
    """Compute the activations (samples, units) of every hidden layer, without dropout.

    `theta` is (size,), `images` (samples, inputs).
    """
    network = without_dropout(network)
    work = network.read(images, slice(None))
    network.forward(network.layout.layers(theta), work)
    return [output.copy() for output in work.outputs[1:]]


def without_dropout(network: Network) -> Network:
    """Make the same network without dropout and with a workspace of its own."""
    return Network(
        network.widths,
        network.activation,
        scale=network.scale,
        shift=network.shift,
        dtype=network.dtype,
    )


def _flat(derivatives: Array) -> Array:
    """Mark flat activations: booleans of the shape of `derivatives`, (samples, units)."""
    steepness = np.abs(derivatives)
    flat: Array = steepness <= _FLAT * steepness.max()  # with all at 0, all are flat
    return flat
