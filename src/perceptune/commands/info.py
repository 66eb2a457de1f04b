"""`perceptune info`: versions, cores, BLAS and its kernel, locations of data and store."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import perceptune
from perceptune.terminal import Parser, console
from perceptune.tracking import ownership

_PACKAGES = ("numpy", "hydra-core", "mlflow", "optuna", "joblib")


def main(arguments: list[str]) -> None:
    """Print a table of them.

    Raises:
        UserError: an argument, of which it takes none, or a store that cannot be read.
    """
    Parser("perceptune info", description=__doc__).parse_args(arguments)
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", justify="right")
    grid.add_column(overflow="fold")
    for label, value in [*_software(), *_hardware(), *_data(), *_store(), *_cleared()]:
        grid.add_row(label, value)
    console().print(grid, markup=False)


def _software() -> list[tuple[str, str]]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        ("perceptune", f"{perceptune.__version__}, Python {platform.python_version()}"),
        ("built on", packages),
    ]


def _hardware() -> list[tuple[str, str]]:
    from joblib import cpu_count

    blas = ownership.blas()
    rows = [
        ("cores", str(cpu_count())),
        ("BLAS", f"{blas['library']} {blas['version']}, {blas['threads']} threads"),
        ("kernel", str(blas["kernel"])),
    ]
    pins = ownership.blas_pins()
    if pins:
        free = _kernel_without(pins)
        names = ", ".join(f"{name}={value}" for name, value in pins.items())
        text = f"{names} in the environment"
        if free != blas["kernel"]:
            text += f": without it the kernel would be {free}, which may be twice as fast; unset it"
        rows.append(("warning", text))
    return rows


def _kernel_without(pins: dict[str, str]) -> str:
    """The kernel that BLAS chooses without `pins`, found in a fresh process: it chooses once."""
    code = "from perceptune.tracking.ownership import blas; print(blas()['kernel'])"
    environment = {key: value for key, value in os.environ.items() if key not in pins}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def _data() -> list[tuple[str, str]]:
    from perceptune.data.cache import cache_folder

    given = os.environ.get("PERCEPTUNE_DATA_DIR")
    cache = cache_folder()
    held = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    rows = [("data cache", f"{cache}, {held / 1e6:.0f} MB")]
    if given:
        files = sorted(path.name for path in Path(given).glob("*ubyte*"))
        rows.append(("data folder", f"{given}: {', '.join(files) or 'none of the four files'}"))
    return rows


def _cleared() -> list[tuple[str, str]]:
    """What killed processes had left, if there was anything."""
    from optuna_joblib_sweeper import leftovers
    from perceptune.tracking.store import clear_partial_files

    clear_partial_files()
    names = sorted(leftovers.cleared)
    return [("cleared", f"what killed processes left: {', '.join(names)}")] if names else []


def _store() -> list[tuple[str, str]]:
    from optuna_joblib_sweeper.secrets import masked
    from perceptune.tracking.store import contents, default_uri

    uri = default_uri()
    return [("store", masked(uri)), ("runs", contents(uri))]
