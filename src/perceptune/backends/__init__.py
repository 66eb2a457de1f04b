"""The network of a training in other libraries: same weights at the start, same batches, same rule.

Here stand the protocol, the names, and what each library cannot express. A library itself is
imported by its own module alone, in a process of its own (`process`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from perceptune.config import Config, flatten, to_dict
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from perceptune.training import Training


class Backend(Protocol):
    """A training in some library, ready for its first step."""

    def one_pass(self, order: Array) -> float:
        """Train on the samples `order` (samples,), positions in the training part, in that order.

        Cut into batches of `train.batch_size`, the last maybe smaller. Returns the mean loss, each
        batch's measured just before its own step.
        """

    def theta(self) -> Array:
        """(size,) the weights as they are now, in this package's own layout."""


@dataclass(frozen=True)
class Kind:
    """A name that `backends` may hold.

    Attributes:
        module: its file in this package.
        packages: what must be installed, by the names of installers.
        options: what its module's `build` is told.
        environment: variables that must be set before the library is imported.
        activations, optimizers: the only ones that it has; None: all of ours.
    """

    module: str
    packages: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    activations: tuple[str, ...] | None = None
    optimizers: tuple[str, ...] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of `packages` that are not installed."""
        return tuple(name for name in self.packages if not _is_installed(name))


def kind_of(name: str) -> Kind:
    """What `name`, one of `NAMES`, stands for on this machine."""
    return KINDS[_keras_here() if name == "keras" else name]


def refusal(name: str, config: Config) -> str | None:
    """The setting that backend `name` cannot express, in words; None if it can express them all.

    What draws random numbers in each step, changes the rule from step to step, or is defined by
    nobody else in the same way would not be the same training.
    """
    if name == "numpy":
        return None
    kind, settings = kind_of(name), flatten(to_dict(config))
    for key, neutral in _OURS_ALONE.items():
        if settings[key] != neutral:
            return f"{key}={settings[key]} is known to numpy alone; set {key}={neutral}"
    for key, allowed in (
        ("model.activation", kind.activations),
        ("optimizer.name", kind.optimizers),
    ):
        if allowed is not None and settings[key] not in allowed:
            return f"it has no {key}={settings[key]}; it has {', '.join(allowed)}"
    return None


def build(name: str, training: "Training") -> Backend:
    """`training` in the library of `name`, before its first step."""
    kind = kind_of(name)
    module = import_module(f"perceptune.backends.{kind.module}")
    backend: Backend = module.build(training, **kind.options)
    return backend


def samples(training: "Training") -> tuple[Array, Array]:
    """The training part as other libraries like it best: scaled once, before the first epoch.

    Returns (samples, pixels) of the network's dtype, and (samples,) int64 labels. Ours reads bytes
    and scales each batch: a quarter of the memory.
    """
    part, network = training.parts.train, training.network
    images = part.images[part.rows].astype(network.dtype)
    images *= network.dtype.type(network.scale)
    images += network.dtype.type(network.shift)
    return images, part.labels[part.rows].astype("int64")


def batch_size(training: "Training") -> int:
    """Samples a step; full batch is all of them."""
    count = len(training.parts.train)
    return min(training.config.train.batch_size or count, count)


def _keras_here() -> str:
    """Keras on what KERAS_BACKEND names, else on the first of these that is installed."""
    chosen = os.environ.get("KERAS_BACKEND", "")
    if f"keras_{chosen}" in KINDS:
        return f"keras_{chosen}"
    kinds = [name for name in KINDS if name.startswith("keras_")]
    return next((name for name in kinds if not KINDS[name].missing), kinds[0])


def _is_installed(package: str) -> bool:
    module = {"scikit-learn": "sklearn", "tensorflow-cpu": "tensorflow"}.get(package, package)
    return find_spec(module) is not None  # finds it without importing it


def _keras(package: str, backend: str) -> Kind:
    return Kind("keras", ("keras", package), environment={"KERAS_BACKEND": backend})


_OURS_ALONE = {
    "schedule.name": "constant",
    "schedule.warmup": 0,
    "model.dropout": 0.0,
    "model.input_dropout": 0.0,
    "train.l1": 0.0,
    "train.l2": 0.0,
    "train.weight_decay": 0.0,
    "train.clip_norm": 0.0,
    "train.max_norm": 0.0,
    "train.label_smoothing": 0.0,
    "train.ema": 0.0,
    "augment.name": "none",
}

KINDS: dict[str, Kind] = {
    "numpy": Kind("numpy"),
    "torch": Kind("torch", ("torch",)),
    "torch_compiled": Kind("torch", ("torch",), options={"compiled": True}),
    "jax": Kind("jax", ("jax", "optax")),
    "sklearn": Kind(
        "sklearn",
        ("scikit-learn",),
        activations=("relu", "tanh", "sigmoid"),
        optimizers=("sgd", "momentum", "nesterov", "adam"),
    ),
    "keras_jax": _keras("jax", "jax"),
    "keras_tensorflow": _keras("tensorflow-cpu", "tensorflow"),
    "keras_torch": _keras("torch", "torch"),
}

NAMES = (*KINDS, "keras")
