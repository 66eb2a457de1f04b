"""The members of each family, one row each: a value with its usual numbers, and its known results.

Every row takes every test of its family's contract; `test_members.py` keeps these tables and those
of `perceptune.nn` alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from perceptune.nn.activations import (
    Activation,
    Elu,
    Gelu,
    LeakyRelu,
    Relu,
    Sigmoid,
    Silu,
    Softplus,
    Tanh,
)
from perceptune.nn.initializers import (
    HeNormal,
    HeUniform,
    Initializer,
    LecunNormal,
    Normal,
    Orthogonal,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from perceptune.nn.optimizers import (
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RmsProp,
    Sgd,
)
from perceptune.nn.schedules import Constant, Cosine, Exponential, OneCycle, Schedule, Step


@dataclass(frozen=True)
class OptimizerRow:
    """An optimizer.

    Attributes:
        worked: θ after one and two steps, worked by hand: from 1, with the gradients 0.5 and -0.25
            and a learning rate of 0.1; ε is too small to be seen in seven places.
        lr: a learning rate that suits three rings of points in the plane.
    """

    value: Optimizer
    worked: tuple[float, float]
    lr: float = 0.02


OPTIMIZERS = {
    "sgd": OptimizerRow(Sgd(), (0.95, 0.975), lr=0.3),
    "momentum": OptimizerRow(Momentum(0.9), (0.95, 0.93), lr=0.05),
    "nesterov": OptimizerRow(Nesterov(0.9), (0.905, 0.912), lr=0.05),
    "rmsprop": OptimizerRow(
        RmsProp(0.9, 1e-8),
        (1 - 0.1 * math.sqrt(10), 1 - 0.1 * math.sqrt(10) + 0.025 / math.sqrt(0.02875)),
    ),
    "adagrad": OptimizerRow(AdaGrad(1e-10), (0.9, 0.9 + 0.1 / math.sqrt(5)), lr=0.1),
    "adam": OptimizerRow(
        Adam(0.9, 0.999, 1e-8), (0.9, 0.9 - 0.002 / 0.19 / math.sqrt(0.00031225 / 0.001999))
    ),
    "adamw": OptimizerRow(
        AdamW(0.9, 0.999, 1e-8, 0.01),
        (0.899, 0.899 * 0.999 - 0.002 / 0.19 / math.sqrt(0.00031225 / 0.001999)),
    ),
}


@dataclass(frozen=True)
class ActivationRow:
    """An activation.

    Attributes:
        formula: f straight from its definition, for one number, without regard to overflow.
        worked: values of f by z, from tables and pocket calculators, to ten places.
    """

    value: Activation
    formula: Callable[[float], float]
    worked: dict[float, float]


def _gelu(z: float) -> float:
    return 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)))


ACTIVATIONS = {
    "sigmoid": ActivationRow(
        Sigmoid(), lambda z: 1 / (1 + math.exp(-z)), {0: 0.5, math.log(3): 0.75, -math.log(4): 0.2}
    ),
    "tanh": ActivationRow(
        Tanh(),
        lambda z: (math.exp(z) - math.exp(-z)) / (math.exp(z) + math.exp(-z)),
        {0: 0, math.log(2): 0.6, -math.log(3): -0.8},
    ),
    "relu": ActivationRow(Relu(), lambda z: z if z > 0 else 0, {-2: 0, 0: 0, 3.5: 3.5}),
    "leaky_relu": ActivationRow(
        LeakyRelu(0.01), lambda z: z if z > 0 else 0.01 * z, {-2: -0.02, 0: 0, 3.5: 3.5}
    ),
    "elu": ActivationRow(
        Elu(1.0), lambda z: z if z > 0 else math.exp(z) - 1, {-math.log(2): -0.5, 0: 0, 3.5: 3.5}
    ),
    "gelu": ActivationRow(Gelu(), _gelu, {0: 0, 1: 0.8411919906, -1: -0.1588080094}),
    "silu": ActivationRow(
        Silu(),
        lambda z: z / (1 + math.exp(-z)),
        {0: 0, math.log(3): 0.75 * math.log(3), -math.log(4): -0.2 * math.log(4)},
    ),
    "softplus": ActivationRow(
        Softplus(),
        lambda z: math.log(1 + math.exp(z)),
        {0: math.log(2), math.log(3): math.log(4), -math.log(4): math.log(1.25)},
    ),
}


@dataclass(frozen=True)
class InitializerRow:
    """An initializer.

    Attributes:
        variance: of a weight, by the numbers of inputs and outputs; the mean is 0.
    """

    value: Initializer
    variance: Callable[[int, int], float]


INITIALIZERS = {
    "zeros": InitializerRow(Zeros(), lambda inputs, outputs: 0),
    "normal": InitializerRow(Normal(0.01), lambda inputs, outputs: 0.01**2),
    "xavier_uniform": InitializerRow(
        XavierUniform(), lambda inputs, outputs: 2 / (inputs + outputs)
    ),
    "xavier_normal": InitializerRow(XavierNormal(), lambda inputs, outputs: 2 / (inputs + outputs)),
    "he_uniform": InitializerRow(HeUniform(), lambda inputs, outputs: 2 / inputs),
    "he_normal": InitializerRow(HeNormal(), lambda inputs, outputs: 2 / inputs),
    "lecun_normal": InitializerRow(LecunNormal(), lambda inputs, outputs: 1 / inputs),
    # The squares of min(inputs, outputs) vectors of length 1, over all weights.
    "orthogonal": InitializerRow(Orthogonal(1.0), lambda inputs, outputs: 1 / max(inputs, outputs)),
}


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule.

    Attributes:
        worked: factors by epoch in a training of 30 epochs, worked by hand.
        rises, jumps: True if the factor ever rises, or is not continuous.
    """

    value: Schedule
    worked: dict[float, float]
    rises: bool = False
    jumps: bool = False


SCHEDULES = {
    "constant": ScheduleRow(Constant(), {0: 1, 17.3: 1}),
    "step": ScheduleRow(Step(10, 0.1), {0: 1, 9.9: 1, 10: 0.1, 19.9: 0.1, 20: 0.01}, jumps=True),
    "exponential": ScheduleRow(Exponential(0.95), {0: 1, 1: 0.95, 2: 0.9025, 0.5: 0.95**0.5}),
    "cosine": ScheduleRow(Cosine(0.0), {0: 1, 10: 0.75, 15: 0.5, 20: 0.25, 30: 0}),
    "one_cycle": ScheduleRow(
        OneCycle(0.04, 0.3, 0.0001),
        {0: 0.04, 4.5: 0.52, 9: 1, 19.5: 0.50005, 30: 0.0001},
        rises=True,
    ),
}
