"""The table of finished runs: one row per configuration, over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perceptune.errors import UserError
from perceptune.figures import studies
from perceptune.nn.layout import Array
from perceptune.reports.page import Page, mean_and_sd, table
from perceptune.tracking.reading import TESTED, RunRecord

TEXTS = 3  # columns of text, before those of numbers
_ACCURACY, _SECONDS = TESTED
_SEED = "seed"  # the only setting that differs between runs of one configuration

Group = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Result:
    """The results of one configuration.

    Attributes:
        name: its preset, or the name of its run.
        data: the data set.
        network: its hidden layers and activation.
        parameters: number of weights and biases.
        accuracies: (seeds,) on the test set.
        seconds: (seeds,) of training.
    """

    name: str
    data: str
    network: str
    parameters: int
    accuracies: Array
    seconds: Array


def gather(runs: Sequence[RunRecord]) -> list[Result]:
    """Group finished, tested trainings by command and configuration, best first by data set.

    Runs of one command that differ by seed alone are one result, and so are runs that were started
    one by one, by the same version; of runs with the same seed the latest counts.

    Args:
        runs: those of `reading.tested_runs`, or all of a store, oldest first.

    Raises:
        UserError: there is no such run.
    """
    by_id = {run.id: run for run in runs}
    groups: dict[Group, dict[str, RunRecord]] = {}
    for run in runs:
        if run.status == "FINISHED" and _ACCURACY in run.metrics and _SECONDS in run.metrics:
            groups.setdefault(_group_of(run), {})[run.params.get(_SEED, run.id)] = run
    if not groups:
        raise UserError("no finished run with a test accuracy yet; `perceptune train` makes one")
    found = [_result(list(members.values()), by_id) for members in groups.values()]
    return sorted(found, key=lambda result: (result.data, -result.accuracies.mean()))


def rows(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of the table, as text."""
    columns = ["configuration", "data", "network", "parameters", "test accuracy", "minutes"]
    cells = [
        [
            result.name,
            result.data,
            result.network,
            f"{result.parameters:,}",
            mean_and_sd(result.accuracies.tolist(), percent=True),
            f"{result.seconds.mean() / 60:.2f}",
        ]
        for result in results
    ]
    return columns, cells


def write(page: Page, results: Sequence[Result]) -> None:
    """Add the table, and for each data set a figure of every seed."""
    page.add("# Results", table(*rows(results), left=TEXTS))
    page.add(
        "Test accuracy of the weights that were best on the validation samples: mean ± sample "
        "standard deviation over n seeds; minutes of training, the mean over the runs."
    )
    for data in dict.fromkeys(result.data for result in results):
        there = [result for result in results if result.data == data]
        page.add(f"On {data}: a dot for each seed, a bar at the mean.")
        path = page.figure(f"scores_{data}", f"Test accuracy on {data}, every seed")
        studies.scores(
            path,
            [result.name[:48] for result in there],
            [result.accuracies * 100 for result in there],
            "test accuracy, %",
        )


def _group_of(run: RunRecord) -> Group:
    """What runs of one configuration and command have in common."""
    settings = frozenset(run.params.items()) - {(_SEED, run.params.get(_SEED, ""))}
    return run.parent or run.tags.get("perceptune.version", ""), settings


def _result(members: Sequence[RunRecord], by_id: Mapping[str, RunRecord]) -> Result:
    first = members[0]
    parent = by_id.get(first.parent or "")
    repeated = parent is not None and parent.tags.get("kind") == "repeats"
    tags: Mapping[str, str] = {**(parent.tags if parent is not None else {}), **first.tags}
    name = tags.get("preset") or (parent.name if repeated and parent else first.name)
    words = [word for word in name.split() if not word.startswith(f"{_SEED}=")]
    return Result(
        name=" ".join(words),
        data=first.params.get("data.name", "?"),
        network=_network(first.params),
        parameters=int(float(first.params.get("model.parameters", "0"))),
        accuracies=np.array([run.metrics[_ACCURACY] for run in members]),
        seconds=np.array([run.metrics[_SECONDS] for run in members]),
    )


def _network(params: Mapping[str, str]) -> str:
    hidden = params.get("model.hidden", "?").strip("[]").replace(" ", "").replace(",", "-")
    return f"{hidden or 'no hidden layer'} {params.get('model.activation', '')}".strip()
