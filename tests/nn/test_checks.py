"""Range checks: each accepts its interval, refuses all else by name, and survives a process."""

import math
import pickle
from collections.abc import Callable

import pytest

from perceptune.nn.checks import (
    RangeError,
    check_below_one,
    check_count,
    check_fraction,
    check_nonnegative,
    check_positive,
)

CHECKS: list[tuple[Callable[..., None], str, list[float], list[float]]] = [
    (check_positive, "above 0", [1e-300, 1, 1e300], [0, -1, math.nan, math.inf]),
    (check_nonnegative, "0 or more", [0, 1e300], [-1e-9, math.nan, math.inf]),
    (check_count, "1 or more", [1, 7], [0, -1]),
    (check_fraction, "in [0, 1]", [0, 0.5, 1], [-1e-9, 1.1, math.nan, math.inf]),
    (check_below_one, "in [0, 1)", [0, 0.999], [-1e-9, 1, math.nan, math.inf]),
]


@pytest.mark.parametrize(("check", "rule", "inside", "outside"), CHECKS)
def test_a_range_ends_where_it_says(
    check: Callable[..., None], rule: str, inside: list[float], outside: list[float]
) -> None:
    for value in inside:
        check(first=value, second=value)
    for value in outside:
        with pytest.raises(RangeError) as caught:
            check(first=inside[0], second=value)
        error = caught.value
        assert (error.field, error.rule, error.value) == ("second", rule, value)
        assert str(error) == f"second must be {rule}, got {value}"


def test_an_error_reaches_another_process_whole() -> None:
    error = pickle.loads(pickle.dumps(RangeError("eps", "above 0", -1.0)))
    assert str(error) == "eps must be above 0, got -1.0"
    assert isinstance(error, ValueError)
