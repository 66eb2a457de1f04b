"""`perceptune report`: a page of one study, of several compared, or of all finished runs."""

import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune.commands.parser import Parser
from perceptune.errors import UserError
from perceptune.reports.page import published
from perceptune.tracking.store import default_uri, refuse_absent

if TYPE_CHECKING:
    from perceptune.reports.trials import StudyRecord

_JOURNAL = "mlruns/optuna.journal"
_FOLDER = "mlruns/report"


def main(arguments: Sequence[str]) -> None:
    """Write the page and say where it is.

    Raises:
        UserError: nothing to report, an unknown study, a damaged storage, or somebody's folder.
    """
    asked = _parse(arguments)
    if not asked.studies:
        _results(asked)
    else:
        _studies(asked)


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("perceptune report", description=__doc__)
    parser.add_argument(
        "studies",
        nargs="*",
        metavar="STUDY",
        help="a study's name; several are compared; without one all finished runs are listed",
    )
    parser.add_argument("--output", type=Path, help=f"folder of the page ({_FOLDER}/NAME)")
    parser.add_argument("--storage", default=_JOURNAL, help="journal or database of the studies")
    parser.add_argument("--store", help="MLflow's store")
    return parser.parse_args(list(arguments))


def _studies(asked: Namespace) -> None:
    from perceptune.reports import comparison
    from perceptune.reports import study as one
    from perceptune.reports.trials import read_study

    names = list(dict.fromkeys(asked.studies))
    studies = [read_study(asked.storage, name) for name in names]
    tracked = [one.find_tracked(study, _places(asked.store, study)) for study in studies]
    folder = asked.output or Path(_FOLDER) / (re.sub(r"[^\w-]+", "-", "+".join(names)) or "-")
    with published(folder) as page:
        if len(studies) > 1:
            comparison.write(page, studies, tracked)
        else:
            one.write(page, studies[0], tracked[0], folder)
    counts = [f"{study.name} ({len(study.trials)} trials)" for study in studies]
    print(f"     studied  {', '.join(counts)}")
    print(f"        page  {folder}")


def _places(store: str | None, study: "StudyRecord") -> list[str]:
    """Stores that may have the study's run: its folder may have been moved since it noted one."""
    if store is not None:
        refuse_absent(store)  # named, so not to be passed over
        return [store]
    noted = study.attributes.get("mlflow_uri")
    return [uri for uri in (str(noted), _store()) if _is_there(uri)] if noted else []


def _results(asked: Namespace) -> None:
    from perceptune.reports import results
    from perceptune.tracking.reading import all_runs

    found = results.gather(all_runs(asked.store or _store()))
    folder = asked.output or Path(_FOLDER) / "results"
    with published(folder) as page:
        results.write(page, found)
    _print(*results.rows(found))
    print(f"        page  {folder}")


def _store() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def _is_there(uri: str) -> bool:
    try:
        refuse_absent(uri)
    except UserError:
        return False
    return True


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column in ("parameters", "test accuracy", "minutes")
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table, markup=False)
