"""Keras on JAX, TensorFlow or PyTorch, by one `fit` per epoch.

`fit` compiles the step where its backend can; many steps per execution avoid returning to Python
after each. Samples are passed in the order of the epoch, with Keras's own shuffling off: other
libraries could not reproduce it.
"""

from typing import Any

import keras

from perceptune.backends.backend import Backend, batch_size, function_of, pack, samples, unsupported
from perceptune.nn import optimizers as opt
from perceptune.nn.layout import Array
from perceptune.nn.recipe import Recipe
from perceptune.runs.training import Training

_STEPS_PER_EXECUTION = 64  # PyTorch supports 1 alone


class KerasBackend:
    """A `Sequential` of our widths that starts from our weights."""

    def __init__(self, training: Training) -> None:
        self._network, self._batch = training.network, batch_size(training)
        keras.config.set_floatx(self._network.dtype.name)
        self._images, self._labels = samples(training)
        inputs, *hidden, outputs = self._network.widths
        activation = function_of(self._network.activation, keras.activations)
        dense = [keras.layers.Dense(width, activation) for width in hidden]
        self._model = keras.Sequential(
            [keras.Input((inputs,)), *dense, keras.layers.Dense(outputs)]
        )
        layers = self._network.layout.layers(training.state.theta)
        self._model.set_weights([part for each in layers for part in (each.weight, each.bias)])
        on_torch = keras.backend.backend() == "torch"
        self._model.compile(
            optimizer=_optimizer(training.config.recipe),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=1 if on_torch else _STEPS_PER_EXECUTION,
            jit_compile="auto",
        )

    def run_epoch(self, order: Array) -> float:
        """See `Backend`."""
        history = self._model.fit(
            self._images[order], self._labels[order], self._batch, shuffle=False, verbose=0
        )
        return float(history.history["loss"][0])

    def theta(self) -> Array:
        """See `Backend`."""
        return pack(self._network, self._model.get_weights())


def _optimizer(recipe: Recipe) -> Any:
    """Keras's optimizer, with ε as close to ours as its arguments allow.

    RMSprop and AdaGrad add ε under the root, so they get ε²: √(v + ε²) ≈ √v + ε, except for v near
    ε². Adam and AdamW add ε to √v before the bias correction by 1 - β₂ᵗ, so their effective ε is
    √(1 - β₂ᵗ) times ours; no argument can change that.
    """
    lr, optimizers = recipe.lr, keras.optimizers
    match recipe.optimizer:
        case opt.Sgd():
            return optimizers.SGD(lr)
        case opt.Momentum(momentum):
            return optimizers.SGD(lr, momentum)
        case opt.Nesterov(momentum):
            return optimizers.SGD(lr, momentum, nesterov=True)
        case opt.RmsProp(decay, eps):
            return optimizers.RMSprop(lr, decay, epsilon=eps**2)
        case opt.AdaGrad(eps):
            return optimizers.Adagrad(lr, initial_accumulator_value=0.0, epsilon=eps**2)
        case opt.Adam(beta1, beta2, eps):
            return optimizers.Adam(lr, beta1, beta2, eps)
        case opt.AdamW(beta1, beta2, eps, weight_decay):
            return optimizers.AdamW(lr, weight_decay, beta1, beta2, eps)
    raise unsupported(recipe.optimizer)


build: type[Backend] = KerasBackend
