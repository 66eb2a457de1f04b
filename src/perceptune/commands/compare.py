"""`perceptune compare [OVERRIDE …]`: the same training in several libraries, as a table."""

import platform
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from optuna_joblib_sweeper.secrets import masked
from perceptune import app
from perceptune.backends.referee import BackendRuns, Comparison, compare
from perceptune.config import Config, parse
from perceptune.errors import UserError
from perceptune.overrides.options import parse_options
from perceptune.terminal import print_table
from perceptune.tracking.ownership import blas, blas_pins


def main(arguments: list[str]) -> None:
    """Compare as `arguments` say.

    Raises:
        UserError: an option or an override that does not exist.
        SystemExit: for any other mistake, with the line printed already.
    """
    given = parse_options("compare", __doc__, arguments)
    if given.multirun and not given.help:
        raise UserError("compare runs all of backends=[…] and repeats=… by itself; leave out -m")
    app.run("compare", given, _job)


@app.in_start_folder
def _job(composed: DictConfig) -> None:
    """The comparison, called by Hydra."""
    from rich.console import Console

    settings = HydraConfig.get()
    folder, overrides = Path(settings.runtime.output_dir), list(settings.overrides.task)
    with app.refusals():
        config = parse(composed)
        with Console(stderr=True).status("comparing") as status:
            result = compare(config, overrides, folder, lambda what: status.update(f"{what} …"))
    _print(config, result)


def _print(config: Config, result: Comparison) -> None:
    rows = [[name, *_cells(runs)] for name, runs in result.backends.items() if runs.results]
    print_table(["backend", *_COLUMNS], rows, left=["backend"])
    for name, runs in result.backends.items():
        if runs.reason:
            print(f"{name} left out: {runs.reason}")
    seeds = f"seed {config.seed}"
    if config.repeats > 1:
        seeds += f" to {config.seed + config.repeats - 1}, median ± standard deviation"
    print(f"parity: against float64, over the first {result.steps} steps; {seeds}")
    print(_conditions(config, result))
    if result.run.id is None:
        print(f"files in {result.run.store}")
    else:
        print(f"run {result.run.id} in {masked(result.run.store)}; look at it: perceptune ui")


def _cells(runs: BackendRuns) -> list[str]:
    medians, cells = runs.medians(), []
    for name, form in _COLUMNS.values():
        text = format(medians[name], form) if name in medians else "?"
        sd = runs.sd(name) if name in _WITH_SD else None
        cells.append(text if sd is None else f"{text} ± {sd:{form}}")
    return cells


def _conditions(config: Config, result: Comparison) -> str:
    """The conditions of the measurement: threads, BLAS, versions."""
    versions: dict[str, str] = {}
    for runs in result.backends.values():
        for trained in runs.results[:1]:
            versions |= trained.versions
    parts = [
        f"{config.threads} thread{'s' * (config.threads > 1)} each, on as many cores",
        "{library} {version} {kernel}".format_map(blas()),
        f"Python {platform.python_version()}",
        *(f"{package} {version}" for package, version in versions.items()),
    ]
    pins = blas_pins()
    if pins:
        parts.append(f"{', '.join(pins)} set: `perceptune info` shows its effect")
    return "; ".join(parts)


_COLUMNS = {
    "test accuracy": ("test/accuracy", ".4f"),
    "train loss": ("final_loss", ".4f"),
    "s/epoch": ("median_epoch_seconds", ".3f"),
    "first": ("first_epoch_seconds", ".3f"),
    "samples/s": ("samples_per_second", ",.0f"),
    "start-up s": ("startup_seconds", ".1f"),
    "total s": ("total_seconds", ".1f"),
    "MB": ("peak_megabytes", ".0f"),
    "parity: loss": ("parity/loss", ".1e"),
    "weights": ("parity/weights", ".1e"),
}
_WITH_SD = ("test/accuracy", "final_loss", "median_epoch_seconds")
