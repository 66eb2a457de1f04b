"""What may be named: groups, options and keys, with those that an option brings."""

from collections.abc import Iterator

import pytest
from hydra import initialize_config_dir

from perceptune import app
from perceptune.overrides.known import known


@pytest.fixture(autouse=True)
def _initialized() -> Iterator[None]:
    with initialize_config_dir(str(app.root() / "conf"), version_base="1.3"):
        yield


def test_an_option_brings_its_keys_and_groups() -> None:
    plain, study = known([]), known(["sweeps=digits", "optimizer=momentum", "seed=3"])
    assert study.words == ["sweeps=digits", "optimizer=momentum"]
    for key in ("optimizer.momentum", "hydra.sweeper.n_trials", "hydra.sweeper.sampler"):
        assert study.has(key)
        assert not plain.has(key)
    assert "hydra/sweeper/sampler" in study.groups
    assert "hydra/sweeper/sampler" not in plain.groups


def test_options_that_do_not_exist_are_left_out() -> None:
    assert known(["optimizer=adamm", "nothing=adam", "optimizer"]).words == []


def test_names_of_perceptune_are_apart_from_those_of_hydra() -> None:
    there = known([])
    assert {"optimizer", "optimizer.lr", "seed"} <= set(there.ours)
    assert not [name for name in there.ours if name.startswith("hydra")]
    assert "hydra.job.name" in there.of_hydra("hydra.jobname")
    assert there.of_hydra("n_jobs") == ["hydra.launcher.n_jobs"]


def test_the_options_that_bring_a_key_are_found() -> None:
    assert known([]).holders("optimizer", "optimizer.momentum") == ["momentum", "nesterov"]
