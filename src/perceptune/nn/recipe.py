"""The recipe of a training as one value: optimizer, schedule, length and regularization."""

from dataclasses import dataclass

from perceptune.nn.checks import (
    check,
    check_below_one,
    check_count,
    check_nonnegative,
    check_positive,
)
from perceptune.nn.optimizers import Optimizer
from perceptune.nn.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """The recipe of a training; a regularization of 0 is off.

    Attributes:
        optimizer: turns gradients into steps.
        lr: learning rate, which `schedule` multiplies.
        schedule: the factor of `lr` over the training.
        epochs: passes over the data.
        batch_size: samples per step; None means all of them.
        metrics_every: epochs between two records; the last epoch always has one.
        l1, l2: strengths of the penalties on weights.
        weight_decay: decoupled decay of weights, not of biases: each step takes the fraction
            lr · weight_decay of them away. Optimizers with a `weight_decay` of their own decay
            every parameter; only one of the two may be above 0.
        clip_norm: largest Euclidean norm of the gradient.
        max_norm: largest Euclidean norm of one unit's incoming weights.
        label_smoothing: see `losses.target_table`.
        ema: decay rate of the running average of θ that is evaluated in place of θ.

    Raises:
        RangeError: a number outside its range, or two weight decays at once.
    """

    optimizer: Optimizer
    lr: float
    schedule: Schedule
    epochs: int
    batch_size: int | None
    metrics_every: int = 1
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    max_norm: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        check_positive(lr=self.lr)
        check_count(epochs=self.epochs, metrics_every=self.metrics_every)
        if self.batch_size is not None:
            check_count(batch_size=self.batch_size)
        check_nonnegative(l1=self.l1, l2=self.l2, weight_decay=self.weight_decay)
        check_nonnegative(clip_norm=self.clip_norm, max_norm=self.max_norm)
        check_below_one(label_smoothing=self.label_smoothing, ema=self.ema)
        twice = self.weight_decay > 0 and getattr(self.optimizer, "weight_decay", 0.0) > 0
        rule = "0 with an optimizer whose own weight_decay is above 0"
        check(not twice, "weight_decay", rule, self.weight_decay)
