"""The table of results: its groups and its numbers."""

import statistics
from typing import Any

import pytest

from perceptune.errors import UserError
from perceptune.reports.results import gather, rows
from perceptune.tracking.reading import PARENT_TAG, RunRecord


def _run(number: int, accuracy: float | None, **changed: Any) -> RunRecord:
    metrics = {} if accuracy is None else {"test/accuracy": accuracy, "fit_seconds": 30.0}
    params = {"data.name": "mnist", "model.hidden": "[128, 64]", "model.activation": "relu"}
    params |= {"model.parameters": "109386", "seed": str(number)} | changed.pop("params", {})
    parent = changed.pop("parent", None)
    tags = changed.pop("tags", {}) | ({PARENT_TAG: parent} if parent else {})
    plain = {"name": f"adam lr=0.001 seed={number}", "status": "FINISHED", "artifacts": ""}
    return RunRecord(
        **{"id": str(number), **plain, "params": params, "metrics": metrics, "tags": tags} | changed
    )


PARENT = _run(9, None, name="ann", tags={"kind": "repeats", "preset": "ann_128_64"})
SCORES = (0.98, 0.982, 0.987)


def test_seeds_of_one_parent_are_one_row_with_their_sample_sd() -> None:
    runs = [PARENT, *(_run(seed, score, parent="9") for seed, score in enumerate(SCORES))]
    [result] = gather(runs)
    assert result.name == "ann_128_64"
    assert result.parameters == 109_386
    columns, [row] = rows([result])
    mean, sd = statistics.mean(SCORES), statistics.stdev(SCORES)
    assert row[columns.index("test accuracy")] == f"{mean:.2%} ± {100 * sd:.2f} (n = 3)"
    assert row[columns.index("minutes")] == "0.50"
    assert row[columns.index("network")] == "128-64 relu"


def test_other_settings_and_other_parents_are_other_rows() -> None:
    parent = _run(9, None, tags={"kind": "multirun"})
    runs = [parent, *(_run(seed, score, parent="9") for seed, score in enumerate(SCORES))]
    runs.append(_run(3, 0.9, parent="9", params={"model.activation": "tanh"}))
    runs.append(_run(4, 0.91))
    found = gather(runs)
    assert [len(result.accuracies) for result in found] == [3, 1, 1]
    assert [result.name for result in found] == ["adam lr=0.001"] * 3
    assert rows(found)[1][1][4] == "91.00% (n = 1)"


def test_runs_started_one_by_one_are_one_row_and_of_a_seed_the_latest_counts() -> None:
    runs = [_run(seed, score) for seed, score in enumerate((0.5, *SCORES[1:]))]
    again = _run(0, SCORES[0], id="again")
    [result] = gather([*runs, again])
    assert sorted(result.accuracies) == sorted(SCORES)
    other = _run(3, 0.9, tags={"perceptune.version": "0.0.1"})
    assert [len(found.accuracies) for found in gather([*runs, other])] == [1, 3]


def test_runs_that_failed_or_read_no_test_set_are_left_out() -> None:
    with pytest.raises(UserError, match="no finished run"):
        gather([_run(0, 0.9, status="FAILED"), _run(1, None), PARENT])
