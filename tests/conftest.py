"""Fixtures of every test: which tests a plain `pytest` leaves out, and where they may write."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stores import copy_new_stores
from support import Perceptune
from warm import WarmProcess

LEFT_OUT = ("slow", "browser", "cluster", "peers")
# Files with the longest tests: where files run in parallel, none of them should be the last.
FIRST = ("test_extending.py", "test_ink.py", "test_kill_matrix.py", "test_far_stores.py")


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
    items.sort(key=lambda item: item.path.name not in FIRST)
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


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of which new stores are copies, one for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    return (base.parent if parallel else base) / "new.db"


@pytest.fixture(scope="session", autouse=True)
def _copied_stores(template: Path) -> None:
    copy_new_stores(template)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or left in the user's cache; stores are where a test runs."""
    os.environ["PERCEPTUNE_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def warm(template: Path) -> Iterator[WarmProcess]:
    """The process from which commands are forked."""
    process = WarmProcess(template)
    yield process
    process.stop()


@pytest.fixture
def perceptune(tmp_path: Path, warm: WarmProcess) -> Perceptune:
    """The command, in an empty folder."""

    def run(*arguments: str, folder: Path = tmp_path) -> "subprocess.CompletedProcess[str]":
        return warm.run(arguments, folder)

    return run


@pytest.fixture
def mnist() -> Path:
    """The folder with the four real files."""
    folder = os.environ.get("PERCEPTUNE_DATA_DIR")
    if not folder:
        pytest.skip("set PERCEPTUNE_DATA_DIR to a folder with the four MNIST files")
    return Path(folder)
