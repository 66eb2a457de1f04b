"""Keras on JAX, TensorFlow or PyTorch, by one `fit` an epoch.

`fit` compiles the step where its backend can; many steps an execution spare it the way back to
Python after each. Samples come as one array in the order of the epoch, so that its own shuffling,
which nobody else could follow, stays off.
"""

from typing import Any

import keras

from perceptune.backends.backend import Backend, batch_size, samples
from perceptune.nn.layout import Array
from perceptune.training import Training

_STEPS_AN_EXECUTION = 64  # PyTorch takes no more than one


class KerasBackend:
    """A `Sequential` of our widths that starts from our weights."""

    def __init__(self, training: Training) -> None:
        network, theta = training.network, training.state.theta
        keras.config.set_floatx(network.dtype.name)
        self._images, self._labels = samples(training)
        self._layout, self._batch = network.layout, batch_size(training)
        hidden = [
            part
            for width in network.widths[1:-1]
            for part in (keras.layers.Dense(width), _activation(training))
        ]
        inputs, outputs = keras.Input((network.widths[0],)), keras.layers.Dense(network.widths[-1])
        self._model = keras.Sequential([inputs, *hidden, outputs])
        layers = self._layout.layers(theta)
        self._model.set_weights([part for each in layers for part in (each.weight, each.bias)])
        on_torch = keras.backend.backend() == "torch"
        self._model.compile(
            optimizer=_optimizer(training.config.optimizer),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=1 if on_torch else _STEPS_AN_EXECUTION,
            jit_compile="auto",
        )

    def one_pass(self, order: Array) -> float:
        """See `Backend`."""
        history = self._model.fit(
            self._images[order],
            self._labels[order],
            batch_size=self._batch,
            epochs=1,
            shuffle=False,
            verbose=0,
        )
        return float(history.history["loss"][0])

    def theta(self) -> Array:
        """See `Backend`."""
        weights = self._model.get_weights()
        theta = self._layout.empty(self._images.dtype)
        pairs = zip(weights[::2], weights[1::2], strict=True)
        for layer, (weight, bias) in zip(self._layout.layers(theta), pairs, strict=True):
            layer.weight[:], layer.bias[:] = weight, bias
        return theta


def _activation(training: Training) -> Any:
    model = training.config.model
    special = {
        "leaky_relu": lambda z: keras.ops.leaky_relu(z, negative_slope=model.negative_slope),
        "elu": lambda z: keras.ops.elu(z, alpha=model.alpha),
        "gelu": lambda z: keras.ops.gelu(z, approximate=True),
    }
    return keras.layers.Activation(special.get(model.activation, model.activation))


def _optimizer(options: dict[str, Any]) -> Any:
    """Keras's, with ε as near to ours as its arguments can bring it.

    RMSprop and AdaGrad add ε under the root, so they get ε²: √(v + ε²) is √v + ε but for v near
    ε². Adam and AdamW add ε to √v before the correction by 1 - β₂ᵗ, so theirs counts √(1 - β₂ᵗ)
    times as much as ours, which no argument can mend.
    """
    name, lr, optimizers = options["name"], options["lr"], keras.optimizers
    if name in ("sgd", "momentum", "nesterov"):
        return optimizers.SGD(lr, options.get("momentum", 0.0), nesterov=name == "nesterov")
    eps = options["eps"]
    if name == "rmsprop":
        return optimizers.RMSprop(lr, rho=options["decay"], epsilon=eps**2)
    if name == "adagrad":
        return optimizers.Adagrad(lr, initial_accumulator_value=0.0, epsilon=eps**2)
    betas = {"beta_1": options["beta1"], "beta_2": options["beta2"], "epsilon": eps}
    if name == "adamw":
        return optimizers.AdamW(lr, weight_decay=options["weight_decay"], **betas)
    return optimizers.Adam(lr, **betas)


def build(training: Training) -> Backend:
    """See `backends.build`."""
    return KerasBackend(training)
