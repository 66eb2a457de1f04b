"""Backend specs: the library behind each name in `backends`, and what it supports.

A class that its spec does not list is refused by name. Imports no library, and knows no
configuration.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from perceptune.nn import activations as act
from perceptune.nn import optimizers as opt
from perceptune.nn.activations import Activation
from perceptune.nn.optimizers import Optimizer

# Written out, so that a class added to `nn` is refused until a backend has a case for it.
_FEW_OPTIMIZERS = (opt.Sgd, opt.Momentum, opt.Nesterov, opt.Adam)
_OPTIMIZERS = (*_FEW_OPTIMIZERS, opt.RmsProp, opt.AdaGrad, opt.AdamW)
_FEW_ACTIVATIONS = (act.Sigmoid, act.Tanh, act.Relu)
_ACTIVATIONS = (*_FEW_ACTIVATIONS, act.LeakyRelu, act.Elu, act.Gelu, act.Silu, act.Softplus)

# Modules whose names differ from those of their packages.
_MODULES = {"scikit-learn": "sklearn", "tensorflow-cpu": "tensorflow"}


@dataclass(frozen=True)
class BackendSpec:
    """A library as a backend.

    Attributes:
        module: its file in this package.
        packages: the packages that must be installed, by distribution name.
        options: further arguments of its module's `build`.
        environment: variables that must be set before the library is imported.
        optimizers, activations: the classes that its module supports.
    """

    module: str
    packages: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    optimizers: tuple[type[Optimizer], ...] = _OPTIMIZERS
    activations: tuple[type[Activation], ...] = _ACTIVATIONS

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return tuple(name for name in self.packages if not is_installed(name))


def spec_of(name: str) -> BackendSpec:
    """The spec of `name`, one of `NAMES`, on this machine."""
    return SPECS[_default_keras() if name == "keras" else name]


def is_installed(package: str) -> bool:
    """True if the package is installed; it is not imported."""
    return find_spec(_MODULES.get(package, package)) is not None


def _default_keras() -> str:
    """The name of Keras on the library in KERAS_BACKEND, else on the first installed one."""
    chosen = f"keras_{os.environ.get('KERAS_BACKEND', '')}"
    if chosen in SPECS:
        return chosen
    names = [name for name in SPECS if name.startswith("keras_")]
    return next((name for name in names if not SPECS[name].missing), names[0])


def _keras(package: str, backend: str) -> BackendSpec:
    return BackendSpec("keras", ("keras", package), environment={"KERAS_BACKEND": backend})


SPECS: dict[str, BackendSpec] = {
    "numpy": BackendSpec("numpy", ()),
    "torch": BackendSpec("torch", ("torch",)),
    "torch_compiled": BackendSpec("torch", ("torch",), options={"compiled": True}),
    "jax": BackendSpec("jax", ("jax", "optax")),
    "sklearn": BackendSpec(
        "sklearn", ("scikit-learn",), optimizers=_FEW_OPTIMIZERS, activations=_FEW_ACTIVATIONS
    ),
    "keras_jax": _keras("jax", "jax"),
    "keras_tensorflow": _keras("tensorflow-cpu", "tensorflow"),
    "keras_torch": _keras("torch", "torch"),
}

NAMES = (*SPECS, "keras")
