"""Range checks of the values that describe a training: one error class, one function per range.

Knows no key of a configuration: an error names the field alone.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np


class RangeError(ValueError):
    """A field whose value is outside its range.

    >>> raise RangeError("momentum", "in [0, 1)", 1.5)
    Traceback (most recent call last):
    perceptune.nn.checks.RangeError: momentum must be in [0, 1), got 1.5

    Attributes:
        field: its name in its dataclass.
        rule: the range in words, such as "in [0, 1)".
        value: the refused value.
    """

    def __init__(self, field: str, rule: str, value: object) -> None:
        super().__init__(field, rule, value)
        self.field, self.rule, self.value = field, rule, value

    def __str__(self) -> str:
        return f"{self.field} must be {self.rule}, got {self.value}"


class NotFiniteError(ValueError):
    """Numbers that are infinite or NaN where a network or its predictions would be made of them."""


def check_finite(what: str, *arrays: np.ndarray) -> None:
    """Refuse arrays of numbers, of any shape, that hold an infinity or a NaN.

    Raises:
        NotFiniteError: one does; `what` names them.
    """
    if not all(np.isfinite(array).all() for array in arrays if array.dtype.kind in "fc"):
        raise NotFiniteError(f"{what} not finite")


def check(holds: bool, field: str, rule: str, value: object) -> None:
    """Refuse `value` unless the rule `holds`.

    Raises:
        RangeError: it does not.
    """
    if not holds:
        raise RangeError(field, rule, value)


def check_positive(**fields: float) -> None:
    """Refuse fields that are not above 0 and finite.

    Raises:
        RangeError: names the first such field.
    """
    _check_all(fields, lambda value: 0 < value < math.inf, "above 0")


def check_nonnegative(**fields: float) -> None:
    """Refuse fields that are below 0 or not finite.

    Raises:
        RangeError: names the first such field.
    """
    _check_all(fields, lambda value: 0 <= value < math.inf, "0 or more")


def check_count(**fields: int) -> None:
    """Refuse fields below 1.

    Raises:
        RangeError: names the first such field.
    """
    _check_all(fields, lambda value: value >= 1, "1 or more")


def check_fraction(**fields: float) -> None:
    """Refuse fields outside [0, 1].

    Raises:
        RangeError: names the first such field.
    """
    _check_all(fields, lambda value: 0 <= value <= 1, "in [0, 1]")


def check_below_one(**fields: float) -> None:
    """Refuse fields outside [0, 1), such as a decay rate or a dropout rate of 1.

    Raises:
        RangeError: names the first such field.
    """
    _check_all(fields, lambda value: 0 <= value < 1, "in [0, 1)")


def _check_all(fields: Mapping[str, float], holds: Callable[[float], bool], rule: str) -> None:
    for name, value in fields.items():
        check(holds(value), name, rule, value)
