"""`perceptune report [STUDY ...] [--output FOLDER] [--storage STORAGE] [--store URI]`

A page on one study, on several compared, or, without a name, on all finished runs.
"""

import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_joblib_sweeper.paths import sqlite_file
from optuna_joblib_sweeper.secrets import is_masked
from perceptune.errors import UserError
from perceptune.reports.page import published
from perceptune.terminal import Parser, print_table
from perceptune.tracking.store import default_uri

if TYPE_CHECKING:
    from optuna_joblib_sweeper import SweepResult

_JOURNAL = "mlruns/optuna.journal"
_FOLDER = "mlruns/report"
_REMEDY = (
    "`perceptune train -m sweeps=digits` makes one; --storage names another journal or database"
)


def main(arguments: Sequence[str]) -> None:
    """Write the page and print where it is.

    Raises:
        UserError: nothing to report, or `--output` holds other files.
        SweepError: no such study, or a damaged storage.
    """
    parsed = _parse(arguments)
    if parsed.studies:
        _report_studies(parsed)
    else:
        _report_results(parsed)


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
    parser.add_argument("--store", help="URI of the MLflow store")
    return parser.parse_args(list(arguments))


def _report_studies(parsed: Namespace) -> None:
    from optuna_joblib_sweeper import load_study
    from perceptune.reports import comparison
    from perceptune.reports import study as one
    from perceptune.reports.tracked import TrackedStudy

    names = list(dict.fromkeys(parsed.studies))
    if "://" not in parsed.storage and not Path(parsed.storage).exists():
        raise UserError(f"no studies in {parsed.storage}; {_REMEDY}")
    results = [load_study(parsed.storage, name) for name in names]
    studies = [TrackedStudy.find(result, _stores(parsed.store, result)) for result in results]
    folder = parsed.output or Path(_FOLDER) / (re.sub(r"[^\w-]+", "-", "+".join(names)) or "-")
    with published(folder) as page:
        if len(studies) > 1:
            comparison.write(page, studies)
        else:
            one.write(page, studies[0], folder)
    counts = [f"{result.name} ({len(result.trials)} trials)" for result in results]
    print(f"     studies  {', '.join(counts)}")
    print(f"        page  {folder}")


def _stores(named: str | None, result: "SweepResult") -> list[str]:
    """Stores that may have the study's run: the one in use, then its own, which may be gone."""
    if named is not None:
        return [named]
    known = result.tracking_uri is not None and not is_masked(result.tracking_uri)
    noted = [str(result.tracking_uri)] if known else []
    return [uri for uri in (default_uri(), *noted) if _is_there(uri)]


def _report_results(parsed: Namespace) -> None:
    from perceptune.reports import results
    from perceptune.tracking.reading import tested_runs

    found = results.gather(tested_runs(parsed.store or default_uri()))
    folder = parsed.output or Path(_FOLDER) / "results"
    with published(folder) as page:
        results.write(page, found)
    columns, rows = results.rows(found)
    print_table(columns, rows, left=columns[: results.TEXTS])
    print(f"        page  {folder}")


def _is_there(uri: str) -> bool:
    local = sqlite_file(uri)
    return local is None or local.exists()
