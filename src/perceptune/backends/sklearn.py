"""scikit-learn's `MLPClassifier`, by one `partial_fit` an epoch.

With `shuffle=False` one call goes over what it is given in batches, in order, and keeps the
optimizer's memory; `fit` with `warm_start` would forget it each time.
"""

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from perceptune.backends.backend import Backend, batch_size, samples
from perceptune.errors import UserError
from perceptune.nn.layout import Array
from perceptune.training import Training

_ACTIVATIONS = {"sigmoid": "logistic"}  # where its name is another


class SklearnBackend:
    """An `MLPClassifier` that starts from our weights."""

    def __init__(self, training: Training) -> None:
        network = training.network
        if network.widths[-1] < 3:
            raise UserError("sklearn: for two classes it has another loss; use more classes")
        self._layout, self._batch = network.layout, batch_size(training)
        self._images, self._labels = samples(training)
        activation = training.config.model.activation
        self._model = MLPClassifier(
            network.widths[1:-1],
            activation=_ACTIVATIONS.get(activation, activation),
            alpha=0.0,
            batch_size=1,
            shuffle=False,
            **_solver(training.config.optimizer),
        )
        self._take_weights(training.state.theta)

    def one_pass(self, order: Array) -> float:
        """See `Backend`."""
        self._model.batch_size = min(self._batch, len(order))
        self._model.partial_fit(self._images[order], self._labels[order])
        return float(self._model.loss_)

    def theta(self) -> Array:
        """See `Backend`."""
        theta = self._layout.empty(self._images.dtype)
        pairs = zip(self._model.coefs_, self._model.intercepts_, strict=True)
        for layer, (weight, bias) in zip(self._layout.layers(theta), pairs, strict=True):
            layer.weight[:], layer.bias[:] = weight, bias
        return theta

    def _take_weights(self, theta: Array) -> None:
        """Its arrays come into being with a first step, which is then forgotten."""
        model, classes = self._model, self._layout.widths[-1]
        model.partial_fit(self._images[:1], self._labels[:1], classes=np.arange(classes))
        for index, layer in enumerate(self._layout.layers(theta)):
            model.coefs_[index][:], model.intercepts_[index][:] = layer.weight, layer.bias
        del model._optimizer  # the next step makes a fresh one


def _solver(optimizer: dict[str, Any]) -> dict[str, Any]:
    """Its arguments for our optimizer.

    Its Adam adds ε to √v before, not after, the correction by 1 - β₂ᵗ. So its ε counts √(1 - β₂ᵗ)
    times as much as ours; there is no argument for that.
    """
    if optimizer["name"] == "adam":
        own = {"beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps"}
        options = {theirs: optimizer[ours] for theirs, ours in own.items()}
        return {"solver": "adam", "learning_rate_init": optimizer["lr"], **options}
    return {
        "solver": "sgd",
        "learning_rate_init": optimizer["lr"],
        "momentum": optimizer.get("momentum", 0.0),
        "nesterovs_momentum": optimizer["name"] == "nesterov",
    }


def build(training: Training) -> Backend:
    """See `backends.build`."""
    return SklearnBackend(training)
