"""Benchmarks print a small table at the end; noisy machines make no test fail."""

import pytest
from benchmarking import Show

_ROWS: list[tuple[str, str, str]] = []


@pytest.fixture
def show() -> Show:
    """Add a result to the table at the end."""

    def add(what: str, value: float, unit: str, goal: str) -> None:
        _ROWS.append((what, f"{value:.3g} {unit}", goal))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _ROWS:
        return
    terminalreporter.section("results")
    for what, value, goal in _ROWS:
        terminalreporter.write_line(f"{what:<56}{value:>16}   goal {goal}")
