"""What a finished study leaves: the results file, the winner's overlay, a table, a command."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper._values import override_text, short_text


@dataclass(frozen=True)
class Confirmed:
    """What the confirmation runs gave: per trial number the values, one a seed."""

    values: Mapping[int, Sequence[float]]

    def mean(self, number: int) -> float:
        """The mean over the seeds."""
        values = self.values[number]
        return sum(values) / len(values)


def results(
    best: Sequence[FrozenTrial], space: Space, several: bool, confirmed: Confirmed | None
) -> dict[str, Any]:
    """The content of `optimization_results.yaml`: the keys of Hydra's own plugin, and more."""
    if several:
        solutions = [
            {
                "params": space.decoded(trial.params),
                "values": list(trial.values),
                "trial": trial.number,
                "run_id": trial.user_attrs.get("mlflow_run_id"),
            }
            for trial in best
        ]
        return {"name": "optuna", "solutions": solutions}
    winner = best[0]
    found = {
        "name": "optuna",
        "best_params": space.decoded(winner.params),
        "best_value": winner.value,
        "best_trial": winner.number,
        "best_run_id": winner.user_attrs.get("mlflow_run_id"),
    }
    if confirmed is not None and winner.number in confirmed.values:
        found["confirmed_value"] = confirmed.mean(winner.number)
        found["confirmed_values"] = list(confirmed.values[winner.number])
    return found


@dataclass(frozen=True)
class Overlay:
    """The winner as a config of the experiment kind."""

    path: Path
    command: str


def write_overlay(
    folder: Path, study_name: str, composer: Composer, winner: FrozenTrial, command: str | None
) -> Overlay:
    """Write `<folder>/experiment/<study>.yaml`, which `--config-dir folder` makes choosable."""
    name = re.sub(r"[^\w-]+", "-", study_name)
    groups, values, rest = _sorted_out(composer, winner.user_attrs["overrides"])
    again = " ".join(
        [
            command or invocation(),
            "--config-dir",
            shlex.quote(str(folder)),
            shlex.quote(f"+experiment={name}"),
            *map(shlex.quote, rest),
        ]
    )
    path = folder / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = ", ".join(f"{value:.6g}" for value in winner.values or ())
    path.write_text(
        f"# @package _global_\n"
        f"# Trial {winner.number} of study {study_name}: {shown}\n"
        f"#   {again}\n"
        + OmegaConf.to_yaml({"defaults": [*groups, "_self_"]})
        + (OmegaConf.to_yaml(values) if values else "")
    )
    return Overlay(path, again)


def _sorted_out(
    composer: Composer, overrides: Sequence[str]
) -> tuple[list[dict[str, Any]], DictConfig, list[str]]:
    """All overrides of a trial as group choices, values, and the rest; the last of a key wins."""
    groups: list[dict[str, Any]] = []
    values = OmegaConf.create({})
    rest: list[str] = []  # what a file can't say: removals
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


def print_table(
    console: Console, best: Sequence[FrozenTrial], space: Space, confirmed: Confirmed | None
) -> None:
    """The best trials, best first."""
    keys = list(dict.fromkeys(key for trial in best for key in trial.params))
    table = Table(title=None, box=None, header_style="bold", pad_edge=False)
    table.add_column("trial", justify="right")
    for index in range(len(best[0].values)):
        table.add_column("value" if len(best[0].values) == 1 else f"value {index}", justify="right")
    if confirmed is not None:
        table.add_column("confirmed", justify="right")
    leaves = [key.rsplit(".", 1)[-1] for key in keys]
    for key, leaf in zip(keys, leaves, strict=True):
        # Whole keys would not fit beside each other; the last word does where it is clear.
        table.add_column(leaf if leaves.count(leaf) == 1 else key.lstrip("+"), overflow="fold")
    for trial in best:
        row = [str(trial.number), *(f"{value:.6g}" for value in trial.values)]
        if confirmed is not None:
            known = trial.number in confirmed.values
            row.append(f"{confirmed.mean(trial.number):.6g}" if known else "")
        for key in keys:
            shown = ""
            if key in trial.params:
                shown = short_text(key, space.decode(key, trial.params[key])).partition("=")[2]
            row.append(shown)
        table.add_row(*row)
    console.print(table)


def params_text(space: Space, trial: FrozenTrial) -> str:
    """The winner's parameters in one line."""
    decoded = space.decoded(trial.params)
    return " ".join(f"{key}={override_text(value)}" for key, value in decoded.items())
