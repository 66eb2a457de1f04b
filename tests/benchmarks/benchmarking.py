"""The type that benchmarks share: results are shown beside their goals, never asserted."""

from collections.abc import Callable

Show = Callable[[str, float, str, str], None]
"""Show a result: what was measured, its value, its unit, the goal."""
