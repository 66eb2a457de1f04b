"""`perceptune report`: a page of a study, or the table of finished runs, from what was recorded."""

import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from perceptune.commands.parser import Parser
from perceptune.errors import UserError
from perceptune.reports.page import published
from perceptune.tracking.store import default_uri, refuse_absent

_JOURNAL = "mlruns/optuna.journal"
_FOLDER = "mlruns/report"


def main(arguments: Sequence[str]) -> None:
    """Write the page and say where it is.

    Raises:
        UserError: nothing to report, an unknown study, a damaged storage, or somebody's folder.
    """
    asked = _parse(arguments)
    if asked.study is None:
        _results(asked)
    else:
        _study(asked)


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("perceptune report", description=__doc__)
    parser.add_argument("study", nargs="?", help="a study's name; without one: all finished runs")
    parser.add_argument("--output", type=Path, help=f"folder of the page ({_FOLDER}/NAME)")
    parser.add_argument("--storage", default=_JOURNAL, help="journal or database of the study")
    parser.add_argument("--store", help="MLflow's store")
    return parser.parse_args(list(arguments))


def _study(asked: Namespace) -> None:
    from perceptune.reports import study as study_page
    from perceptune.reports.trials import read_study

    study = read_study(asked.storage, asked.study)
    folder = asked.output or Path(_FOLDER) / re.sub(r"[^\w.-]+", "-", asked.study)
    # The folder may have been moved since the study noted where its store was.
    noted = study.attributes.get("mlflow_uri")
    places = [asked.store] if asked.store else [noted, _store()] if noted else []
    tracked = study_page.find_tracked(study, list(filter(_is_there, places)))
    with published(folder) as page:
        study_page.write(page, study, tracked, folder)
    print(f"     studied  {len(study.trials)} trials of {study.name}")
    print(f"        page  {folder}")


def _results(asked: Namespace) -> None:
    from perceptune.reports import results
    from perceptune.tracking.reading import all_runs

    uri = asked.store or _store()
    refuse_absent(uri)
    found = results.gather(all_runs(uri))
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
