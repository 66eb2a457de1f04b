"""Models in a store: no pickles, the better one is champion, weights are found by every name."""

from pathlib import Path

import mlflow
import numpy as np
import pytest

from optuna_joblib_sweeper.mlflow_runs import winner_tags
from perceptune.errors import StoreError
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.registry import CHAMPION, Registration, fetch_weights
from perceptune.tracking.store import ExperimentRef, client_of

IMAGES = np.zeros((2, 4), np.uint8)


@pytest.mark.slow
def test_the_champion_is_replaced_only_by_a_better_one_on_the_same_data(
    ref: ExperimentRef, weights: Path
) -> None:
    expected = [
        (0.9583333333333334, "a", "new champion", "1"),
        (0.9583333333333334, "a", "0.9583 is not beaten", "1"),
        (None, "a", "is not beaten", "1"),
        (0.99, "b", "trained on other data", "1"),
        (0.96, "a", "new champion", "5"),
    ]
    with open_run(ref, name="promoted", tags={}) as run:
        for accuracy, digest, words, version in expected:
            registration = Registration("promoted", accuracy, digest, promote=True)
            run.log_model(weights, IMAGES, registration)
            assert words in run.registered
            champion = client_of(ref.uri).get_model_version_by_alias("promoted", CHAMPION)
            assert str(champion.version) == version


@pytest.mark.usefixtures("reader")
def test_weights_are_found_by_every_name_of_a_model_in_the_store_that_is_named(
    ref: ExperimentRef, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(ref, name="named", tags={}) as run:
        run.log_file(weights, "weights")
        run.log_model(weights, IMAGES, Registration("named", 0.5, "a", promote=True))
    with open_run(ref, name="parent", tags=winner_tags(run.id)) as parent:
        pass
    [logged] = client_of(ref.uri).get_run(run.id).outputs.model_outputs
    names = [run.id, parent.id, f"models:/{logged.model_id}", "models:/named/1"]
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/another.db")
    try:
        for number, name in enumerate([*names, f"models:/named@{CHAMPION}"]):
            found = fetch_weights(ref.uri, name, tmp_path / str(number))
            assert found.read_bytes() == weights.read_bytes()
    finally:
        mlflow.set_tracking_uri("")
    assert not (tmp_path / "another.db").exists()


def test_a_model_that_is_not_registered_has_nothing_to_tell(
    ref: ExperimentRef, weights: Path
) -> None:
    with open_run(ref, name="kept", tags={}) as run:
        run.log_model(weights, IMAGES, None)
    assert run.registered == ""
    assert len(client_of(ref.uri).get_run(run.id).outputs.model_outputs) == 1


@pytest.mark.usefixtures("reader")
def test_what_has_no_weights_is_refused_in_a_line(ref: ExperimentRef, tmp_path: Path) -> None:
    with open_run(ref, name="without", tags={}) as run:
        pass
    for name, words in [
        (run.id, r"has no weights/best\.npz; it did not finish"),
        ("0" * 32, "no model 0+ in sqlite"),
        ("models:/nobody/1", "no model models:/nobody/1 in"),
        ("models:/nobody@champion", "no model models:/nobody@champion in"),
    ]:
        with pytest.raises(StoreError, match=words) as error:
            fetch_weights(ref.uri, name, tmp_path)
        assert "\n" not in str(error.value)


def test_a_model_that_cannot_be_built_is_marked_as_failed(
    ref: ExperimentRef, tmp_path: Path
) -> None:
    with open_run(ref, name="failed", tags={}) as run, pytest.raises(StoreError):
        run.log_model(tmp_path / "missing.npz", IMAGES, None)
    [logged] = client_of(ref.uri).get_run(run.id).outputs.model_outputs
    assert str(client_of(ref.uri).get_logged_model(logged.model_id).status) == "FAILED"
