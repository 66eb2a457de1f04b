"""`perceptune compare`: the table of one training in several libraries."""

import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune import machine
from perceptune.commands.composition import composed
from perceptune.compare import Comparison, Contestant, compare
from perceptune.config import Config, parse
from perceptune.errors import UserError, fail

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(arguments: list[str]) -> None:
    """Compare as `arguments` say."""
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("compare runs all of backends=[…] and repeats=… by itself; leave out -m")
    composed("compare", arguments, _job)()


def _job(config_of_job: "DictConfig") -> None:
    """What Hydra calls."""
    from hydra.core.hydra_config import HydraConfig

    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    try:
        _compare(parse(config_of_job), list(settings.overrides.task), folder)
    except UserError as error:
        fail(str(error))  # leaves by SystemExit, past Hydra's own report


def _compare(config: Config, overrides: Sequence[str], folder: Path) -> None:
    """Compare, and print the table."""
    from rich.console import Console

    with Console(stderr=True).status("comparing") as status:
        result = compare(config, overrides, folder, lambda what: status.update(f"{what} …"))
    _print(config, result)


def _print(config: Config, result: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("backend", box=None, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for name, contestant in result.contestants.items():
        if contestant.trained:
            table.add_row(name, *_cells(contestant))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    for name, contestant in result.contestants.items():
        if contestant.reason:
            print(f"{name} left out: {contestant.reason}")
    seeds = f"seed {config.seed}"
    if config.repeats > 1:
        seeds += f" to {config.seed + config.repeats - 1}, median ± standard deviation"
    print(f"parity: against float64, over the first {result.steps} steps; {seeds}")
    print(_conditions(config, result))
    if result.run.id is not None:
        print(f"run {result.run.id} in {result.run.store}; look at it: perceptune ui")
    else:
        print(f"files in {getattr(result.run, 'folder', '')}")


def _cells(contestant: Contestant) -> list[str]:
    typical = contestant.typical()
    cells = []
    for key, form in _COLUMNS.values():
        text = format(typical[key], form) if key in typical else "?"
        spread = contestant.spread(key) if key in _WITH_SPREAD else None
        cells.append(text if spread is None else f"{text} ± {spread:{form}}")
    return cells


def _conditions(config: Config, result: Comparison) -> str:
    """What the numbers were measured on."""
    versions = {
        package: version
        for contestant in result.contestants.values()
        for measured in contestant.trained[:1]
        for package, version in measured.versions.items()
    }
    blas = machine.blas()
    parts = [
        f"{config.threads} thread{'s' * (config.threads > 1)} each, on as many cores",
        f"{blas['library']} {blas['version']} {blas['kernel']}",
        f"Python {platform.python_version()}",
        *(f"{package} {version}" for package, version in versions.items()),
    ]
    pins = machine.blas_pins()
    if pins:
        parts.append(f"{', '.join(pins)} set: `perceptune info` tells what that costs")
    return "; ".join(parts)


_COLUMNS = {
    "test accuracy": ("test/accuracy", ".4f"),
    "train loss": ("final_loss", ".4f"),
    "s/epoch": ("median_epoch_seconds", ".3f"),
    "first": ("first_epoch_seconds", ".3f"),
    "samples/s": ("samples_per_second", ",.0f"),
    "start-up s": ("startup_seconds", ".1f"),
    "all s": ("total_seconds", ".1f"),
    "MB": ("peak_megabytes", ".0f"),
    "parity: loss": ("parity/loss", ".1e"),
    "weights": ("parity/weights", ".1e"),
}
_WITH_SPREAD = ("test/accuracy", "final_loss", "median_epoch_seconds")
