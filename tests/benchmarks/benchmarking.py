"""What benchmarks share: figures are shown beside their goals, never asserted."""

from collections.abc import Callable

Show = Callable[[str, float, str, str], None]
"""Note a figure: what was measured, its value, its unit, the goal."""
