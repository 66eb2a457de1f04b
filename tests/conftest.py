"""Fixtures of every test: which tests a plain `pytest` leaves out, and where they may write."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from support import COMMAND, Perceptune

LEFT_OUT = ("slow", "browser", "cluster", "peers")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run benchmarks in one process, and everything else in parallel."""
    if any("benchmarks" in str(argument) for argument in config.args):
        config.option.dist = "no"
        return 0
    return None


def pytest_configure() -> None:
    """Restore the handler of SIGINT, which background processes of a shell inherit as ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help=f"also run {', '.join(LEFT_OUT)} tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not _leaves_out(config):
        return
    left_out = [item for item in items if any(map(item.get_closest_marker, LEFT_OUT))]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _leaves_out(terminalreporter.config):
        terminalreporter.write_line(
            f"Longer tests ({', '.join(LEFT_OUT)}) were left out; "
            "`uv run pytest --all` runs them too."
        )


def _leaves_out(config: pytest.Config) -> bool:
    return not (config.getoption("--all") or config.getoption("-m"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or left in the user's cache; stores are where a test runs."""
    os.environ["PERCEPTUNE_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def perceptune(tmp_path: Path) -> Perceptune:
    """The real command, in an empty folder."""

    def run(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        command = [*COMMAND, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )

    return run


@pytest.fixture
def mnist() -> Path:
    """The folder with the four real files."""
    folder = os.environ.get("PERCEPTUNE_DATA_DIR")
    if not folder:
        pytest.skip("set PERCEPTUNE_DATA_DIR to a folder with the four MNIST files")
    return Path(folder)
