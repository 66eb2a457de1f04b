"""A test accuracy is shown for the trial that it was measured for, and for no other."""

from dataclasses import replace
from pathlib import Path

from perceptune.reports.tracked import TrackedStudy
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.store import ExperimentRef
from reports.studies import by_lr, made, with_runs


def test_the_test_accuracy_is_that_of_the_winner_when_the_test_set_was_read() -> None:
    study = with_runs(made(by_lr, 8), **{"test/accuracy": 0.875})
    first, second, *_ = study.result.ranked()
    assert study.test_accuracy(first) == 0.875
    assert study.test_accuracy(second) is None  # a study that was resumed may have another winner
    assert TrackedStudy(study.result).test_accuracy(first) is None


def test_each_trial_of_a_front_has_its_own_test_accuracy() -> None:
    study = with_runs(made(by_lr, 8), **{"trial_2/test/accuracy": 0.5})
    accuracies = [study.test_accuracy(trial) for trial in study.result.trials[:3]]
    assert accuracies == [None, None, 0.5]


def test_the_run_is_found_in_the_first_store_that_has_it(tmp_path: Path) -> None:
    uris = [f"sqlite:///{tmp_path}/{name}.db" for name in ("empty", "full")]
    for uri in uris:
        with open_run(ExperimentRef(uri, "mlp"), name="small", tags={}) as run:
            run.log_metrics({"test/accuracy": 0.75})
    result = replace(made(by_lr, 1), run_id=run.id)
    found = TrackedStudy.find(result, uris)
    assert found.run is not None
    assert (found.uri, found.run.id) == (uris[1], run.id)
    assert TrackedStudy.find(result, uris[:1]).run is None
    assert TrackedStudy.find(replace(result, run_id=None), uris).run is None
