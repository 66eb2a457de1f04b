"""What a finished study writes and prints: results file, the winner's overlay, tables, a command.

It refuses to know who won: that is for `SweepResult`.
"""

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._job import StudyPlan
from optuna_joblib_sweeper._values import short_value
from optuna_joblib_sweeper.result import SweepResult, TrialResult
from optuna_joblib_sweeper.secrets import masked

SHOWN_TRIALS = 5
_ABSENT = object()


def results(result: SweepResult) -> dict[str, Any]:
    """The content of `optimization_results.yaml`: the keys of Hydra's own plugin, and more."""
    if len(result.directions) > 1:
        return {"name": "optuna", "solutions": [_solution(trial) for trial in result.winners]}
    [winner] = map(_solution, result.winners)
    [winner["value"]] = winner.pop("values")
    found = {f"best_{key}": winner[key] for key in ("params", "value", "trial", "run_id")}
    confirmed, mean = list(result.winners[0].confirmed), result.winners[0].confirmed_mean
    seeds = {"confirmed_value": mean, "confirmed_values": confirmed} if confirmed else {}
    return {"name": "optuna", **found, **seeds}


def _solution(trial: TrialResult) -> dict[str, Any]:
    params, values = dict(trial.params), list(trial.values)
    return {"params": params, "values": values, "trial": trial.number, "run_id": trial.run_id}


def winner_files(plan: StudyPlan, winner: TrialResult) -> tuple[str, str]:
    """The winner's command and its overlay, a config of the experiment kind.

    `--config-dir`, as the command has it, makes the overlay choosable.
    """
    paths = plan.paths
    groups, values, rest = _sorted_out(plan.composer, winner.overrides)
    chosen = ["--config-dir", str(paths.overlays), f"+experiment={paths.overlay_name}", *rest]
    again = f"{plan.settings.command or invocation()} {shlex.join(chosen)}"
    shown = ", ".join(f"{value:.6g}" for value in winner.values)
    head = f"# @package _global_\n# Trial {winner.number} of study {paths.study_name}: {shown}\n"
    defaults = OmegaConf.to_yaml({"defaults": [*groups, "_self_"]})
    own = OmegaConf.to_yaml(values) if values else ""
    return masked(again), masked(f"{head}#   {again}\n{defaults}{own}")


def _sorted_out(composer: Composer, overrides: Sequence[str]) -> tuple[list[Any], Any, list[str]]:
    """All overrides of a trial as group choices, values, and the rest; the last of a key wins."""
    groups: list[dict[str, Any]] = []
    values = OmegaConf.create({})
    rest: list[str] = []  # what a file can't express: removals
    parser = OverridesParser.create(config_loader=composer.context.config_loader)
    latest: dict[str, tuple[Override, str]] = {}
    for text in [*composer.fixed, *overrides]:
        override = parser.parse_overrides([text])[0]
        key = override.get_key_element()
        latest.pop(key.lstrip("+~"), None)
        latest[key.lstrip("+~")] = (override, text)
    for key, (override, text) in latest.items():
        if override.is_delete():
            rest.append(text)
        elif composer.is_group(key):
            added = override.is_add() or override.is_force_add()
            groups.append({f"/{key}" if added else f"override /{key}": override.value()})
        else:
            OmegaConf.update(values, key, override.value(), force_add=True)
    return groups, values, rest


def invocation() -> str:
    """How the user called the app, without its overrides."""
    script = sys.argv[0]
    parts = ["python", shlex.quote(script)] if script.endswith(".py") else [Path(script).name]
    options = ("--config-name", "-cn", "--config-path", "-cp")
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        if argument in options:
            parts += [argument, shlex.quote(next(arguments, ""))]
        elif argument.startswith(tuple(f"{option}=" for option in options)):
            parts.append(shlex.quote(argument))
    return " ".join(parts)


def print_table(console: Console, result: SweepResult) -> None:
    """The best trials, best first."""
    best = result.standing()[: None if len(result.directions) > 1 else SHOWN_TRIALS]
    confirmed = any(trial.confirmed for trial in result.trials)
    keys = list(dict.fromkeys(key for trial in best for key in trial.params))
    table = Table(title=None, box=None, header_style="bold", pad_edge=False)
    for name in ["trial", *result.objectives, *(["confirmed"] if confirmed else [])]:
        table.add_column(name, justify="right")
    leaves = [key.rsplit(".", 1)[-1] for key in keys]
    for key, leaf in zip(keys, leaves, strict=True):
        # Whole keys would not fit beside each other; the last word does where it is clear.
        table.add_column(leaf if leaves.count(leaf) == 1 else key.lstrip("+"), overflow="fold")
    for trial in best:
        mean = trial.confirmed_mean
        shown = [f"{value:.6g}" for value in trial.values]
        shown += ["" if mean is None else f"{mean:.6g}"] if confirmed else []
        params = (trial.params.get(key, _ABSENT) for key in keys)
        shown += ["" if value is _ABSENT else short_value(value) for value in params]
        table.add_row(str(trial.number), *shown)
    console.print(table)


def trials_csv(result: SweepResult) -> str:
    """All trials, one a row."""
    rows = [_row(trial, len(result.directions) > 1) for trial in result.trials]
    out = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(out, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return masked(out.getvalue())


def _row(trial: TrialResult, several: bool) -> dict[str, Any]:
    row = {"trial": trial.number, "state": trial.state.upper()}
    values = {f"value_{i}" if several else "value": v for i, v in enumerate(trial.values)}
    started, ended = trial.started, trial.ended
    seconds = (ended - started).total_seconds() if started and ended else None
    rest = {"seconds": seconds, "run_id": trial.run_id, "reason": trial.reason}
    return row | values | dict(trial.params) | rest
