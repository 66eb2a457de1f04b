"""A backend: one training in some library, made to take the same steps as ours.

Holds the protocol, code common to all libraries, and the refusal of unsupported settings. Each
library is imported by its own module alone, in a process of its own (`process`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from perceptune.backends.specs import BackendSpec, spec_of
from perceptune.config import Config
from perceptune.errors import UserError
from perceptune.nn import activations as act
from perceptune.nn.activations import ACTIVATIONS, Activation
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.nn.optimizers import OPTIMIZERS
from perceptune.nn.schedules import Constant
from perceptune.runs.training import Training

# Fields of a recipe and of a network that every library supports. Any other field is refused unless
# it has its default, so a new field needs no line here.
_SHARED = {
    *("optimizer", "lr", "schedule", "epochs", "batch_size", "metrics_every"),
    *("hidden", "activation", "initializer", "dtype"),
}


class Backend(Protocol):
    """A training in some library, before its first step or between two epochs."""

    def run_epoch(self, order: Array) -> float:
        """Train on the samples `order` (samples,), positions in the training part, in that order.

        They are split into batches of `train.batch_size`, of which the last may be smaller. Returns
        the mean loss, each batch's measured just before its own step.
        """

    def theta(self) -> Array:
        """Return the current weights (size,), in the layout of `nn.layout`."""


def build(name: str, training: Training) -> Backend:
    """Make the backend `name` of `training`, before its first step.

    Raises:
        UserError: the backend does not support the training.
    """
    spec = spec_of(name)
    module = import_module(f"perceptune.backends.{spec.module}")
    backend: Backend = module.build(training, **spec.options)
    return backend


def refusal(name: str, config: Config) -> str | None:
    """The first setting that backend `name` does not support, with the remedy; None if none.

    Unsupported are settings that draw random numbers in each step, that change the update rule from
    step to step, or that libraries define differently.
    """
    spec = spec_of(name)
    return None if spec.module == "numpy" else next(_refusals(spec, config), None)


def unsupported(value: object) -> UserError:
    """The error for an optimizer or activation that a backend has no case for."""
    return UserError(f"it has no {type(value).__name__}")


def samples(training: Training) -> tuple[Array, Array]:
    """The training part in the form that is fastest for other libraries: scaled once.

    Returns (samples, pixels) of the network's dtype, and (samples,) int64 labels. `nn` reads bytes
    and scales each batch, for a quarter of the memory.
    """
    part, network = training.parts.train, training.network
    images = part.images[part.rows].astype(network.dtype)
    images *= network.dtype.type(network.scale)
    images += network.dtype.type(network.shift)
    return images, part.labels[part.rows].astype("int64")


def batch_size(training: Training) -> int:
    """Samples per step; all of them for a full batch."""
    count = len(training.parts.train)
    return min(training.config.recipe.batch_size or count, count)


def pack(network: Network, parts: Sequence[Any]) -> Array:
    """Pack a network's parameters into one vector (size,), in the layout of `nn.layout`.

    `parts` holds the weights (inputs, units) and the bias (units,) of each layer in turn.
    """
    theta = network.layout.zeros(network.dtype)
    for index, layer in enumerate(network.layout.layers(theta)):
        layer.weight[:], layer.bias[:] = parts[2 * index], parts[2 * index + 1]
    return theta


def function_of(activation: Activation, library: Any, approximate: Any = True) -> Any:
    """The function for `activation` in jax.nn, keras.activations or torch.nn.functional.

    Names and keywords are the same, but for the value of `approximate` that selects the tanh form
    of GELU.

    Raises:
        UserError: the activation is not supported.
    """
    match activation:
        case act.LeakyRelu(negative_slope):
            return partial(library.leaky_relu, negative_slope=negative_slope)
        case act.Elu(alpha):
            return partial(library.elu, alpha=alpha)
        case act.Gelu():
            return partial(library.gelu, approximate=approximate)
        case act.Sigmoid() | act.Tanh() | act.Relu() | act.Silu() | act.Softplus():
            return getattr(library, type(activation).__name__.lower())
    raise unsupported(activation)


def _refusals(spec: BackendSpec, config: Config) -> Iterator[str]:
    recipe, network = config.recipe, config.network
    for key, value, supported, table in (
        ("optimizer", recipe.optimizer, spec.optimizers, OPTIMIZERS),
        ("model.activation", network.activation, spec.activations, ACTIVATIONS),
    ):
        if type(value) not in supported:
            names = ", ".join(name for name, kind in table.items() if kind in supported)
            yield f"{unsupported(value)}; set {key} to one of {names}"
    if type(recipe.schedule) is not Constant:
        yield f"{unsupported(recipe.schedule)}; set schedule=constant schedule.warmup=0"
    for group, settings in (("train", recipe), ("model", network)):
        for field in fields(settings):
            value, neutral = getattr(settings, field.name), _neutral(field)
            if field.name not in _SHARED and value != neutral:
                key = f"{group}.{field.name}"
                yield f"it has no {key}={value}; set {key}={neutral}"


def _neutral(field: Field[Any]) -> Any:
    """The value that turns a setting off: its default, or 0 if it has none."""
    return 0.0 if field.default is MISSING else field.default
