"""How to train, as one value: optimizer, schedule, length, and what keeps the weights small."""

import math
from dataclasses import dataclass

from perceptune.nn.optimizers import Optimizer
from perceptune.nn.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        lr: step size, which `schedule` multiplies.
        epochs: passes over the data.
        batch_size: samples a step; None means all of them.
        metrics_every: epochs between two records; the last epoch is always reported.
        l1, l2: strength of the penalties on weights.
        weight_decay: decoupled decay of weights, not biases, times the step size, at every step.
        clip_norm: largest norm of the gradient; 0 means any.
        max_norm: largest norm of one unit's incoming weights; 0 means any.
        label_smoothing: see `losses.target_table`.
        ema: decay of the running average of θ that is evaluated in its place; 0 means none.

    Raises:
        ValueError: a number outside its range.
    """

    optimizer: Optimizer
    lr: float
    schedule: Schedule
    epochs: int
    batch_size: int | None = 32
    metrics_every: int = 1
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    max_norm: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "metrics_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        for name in ("l1", "l2", "weight_decay", "clip_norm", "max_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0, got {self.lr}")
