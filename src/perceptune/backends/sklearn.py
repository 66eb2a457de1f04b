"""scikit-learn's `MLPClassifier`, by one `partial_fit` per epoch.

With `shuffle=False` one call goes over its samples in batches, in order, and keeps the optimizer's
state; `fit` with `warm_start` would reset it each time.
"""

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from perceptune.backends.backend import Backend, batch_size, pack, samples, unsupported
from perceptune.errors import UserError
from perceptune.nn import activations as act
from perceptune.nn import optimizers as opt
from perceptune.nn.activations import Activation
from perceptune.nn.layout import Array
from perceptune.nn.recipe import Recipe
from perceptune.runs.training import Training


class SklearnBackend:
    """An `MLPClassifier` that starts from our weights."""

    def __init__(self, training: Training) -> None:
        network = training.network
        if network.widths[-1] < 3:
            raise UserError("sklearn: its loss for two classes differs; use data with more classes")
        self._network, self._batch = network, batch_size(training)
        self._images, self._labels = samples(training)
        activation, solver = _activation(network.activation), _solver(training.config.recipe)
        self._model = MLPClassifier(
            network.widths[1:-1], activation, alpha=0.0, batch_size=1, shuffle=False, **solver
        )
        self._set_weights(training.state.theta)

    def run_epoch(self, order: Array) -> float:
        """See `Backend`."""
        self._model.batch_size = min(self._batch, len(order))
        self._model.partial_fit(self._images[order], self._labels[order])
        return float(self._model.loss_)

    def theta(self) -> Array:
        """See `Backend`."""
        pairs = zip(self._model.coefs_, self._model.intercepts_, strict=True)
        return pack(self._network, [part for pair in pairs for part in pair])

    def _set_weights(self, theta: Array) -> None:
        """Set the parameters to `theta` (size,); a first step, then discarded, makes its arrays."""
        model, classes = self._model, self._network.widths[-1]
        model.partial_fit(self._images[:1], self._labels[:1], classes=np.arange(classes))
        for index, layer in enumerate(self._network.layout.layers(theta)):
            model.coefs_[index][:], model.intercepts_[index][:] = layer.weight, layer.bias
        del model._optimizer  # the next step makes a fresh one


def _activation(activation: Activation) -> str:
    match activation:
        case act.Sigmoid():
            return "logistic"
        case act.Tanh():
            return "tanh"
        case act.Relu():
            return "relu"
    raise unsupported(activation)


def _solver(recipe: Recipe) -> dict[str, Any]:
    """Its arguments for our optimizer.

    Its Adam adds ε to √v before, not after, the bias correction by 1 - β₂ᵗ, so its effective ε is
    √(1 - β₂ᵗ) times ours; no argument can change that.
    """
    sgd = {"solver": "sgd", "learning_rate_init": recipe.lr}
    match recipe.optimizer:
        case opt.Sgd():
            return sgd | {"momentum": 0.0}
        case opt.Momentum(momentum):
            return sgd | {"momentum": momentum, "nesterovs_momentum": False}
        case opt.Nesterov(momentum):
            return sgd | {"momentum": momentum, "nesterovs_momentum": True}
        case opt.Adam(beta1, beta2, eps):
            betas = {"beta_1": beta1, "beta_2": beta2, "epsilon": eps}
            return sgd | {"solver": "adam", **betas}
    raise unsupported(recipe.optimizer)


build: type[Backend] = SklearnBackend
