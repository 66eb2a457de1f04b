"""What goes on inside a network while it learns: sizes of gradients, weights and steps, dead units.

Looks at one batch between two epochs, on copies: training goes on as if nobody had looked.
"""

from dataclasses import dataclass

import numpy as np

from perceptune.nn.layout import Array
from perceptune.nn.losses import target_table
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Optimizer, State

_FLAT = 0.01  # of the steepest slope there is in the batch


@dataclass(frozen=True)
class LayerState:
    """One layer on one batch.

    Attributes:
        gradient_norm, weight_norm: Euclidean norms of ∂L/∂W and W, biases included.
        update_ratio: ‖ΔW‖ / ‖W‖ of the step that the optimizer would make; around 1e-3 is usual.
        dead: share of units whose slope is flat for every sample, so that nothing can be learnt
            there; None for the output layer.
        saturated: share of all answers of all units whose slope is flat; None for the output.
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
    """Every layer's state on a batch, input side first; nothing that is passed in is changed.

    Args:
        network: without dropout it is looked at, whatever it trains with.
        theta: (size,) its parameters.
        images, labels: the batch, (samples, inputs) and (samples,).
        optimizer, state, lr: what the next step would be made with.
    """
    quiet = without_dropout(network)
    layers = quiet.layout.layers(theta)
    gradient = quiet.layout.zeros(quiet.dtype)
    targets = target_table(quiet.widths[-1], dtype=quiet.dtype.type)[labels]
    work = quiet.read(images, slice(None))
    with np.errstate(all="ignore"):
        slopes = quiet.layout.layers(gradient)
        quiet.loss_and_gradient(layers, slopes, work, targets, np.random.default_rng(0))
        norms = [float(np.linalg.norm(slope.matrix)) for slope in slopes]
        moved = theta.copy()
        memory = {name: array.copy() for name, array in state.items()}
        optimizer.step(moved, gradient, memory, lr)
        moved -= theta
    found = []
    for index, (layer, step) in enumerate(zip(layers, quiet.layout.layers(moved), strict=True)):
        size = float(np.linalg.norm(layer.matrix))
        flat = None
        if index < len(layers) - 1:
            steep = np.abs(work.slopes[index])
            flat = steep <= _FLAT * steep.max()  # with all at 0, all are flat
        found.append(
            LayerState(
                gradient_norm=norms[index],
                weight_norm=size,
                update_ratio=float(np.linalg.norm(step.matrix)) / size if size else 0.0,
                dead=None if flat is None else float(flat.all(axis=0).mean()),
                saturated=None if flat is None else float(flat.mean()),
            )
        )
    return found


def answers(network: Network, theta: Array, images: Array) -> list[Array]:
    """Activations (samples, units) of every hidden layer, as at prediction."""
    quiet = without_dropout(network)
    work = quiet.read(images, slice(None))
    quiet.forward(quiet.layout.layers(theta), work)
    return [output.copy() for output in work.outputs[1:]]


def without_dropout(network: Network) -> Network:
    """The same network with all units at work, and working memory of its own."""
    return Network(
        network.widths,
        network.activation,
        scale=network.scale,
        shift=network.shift,
        dtype=network.dtype,
    )
