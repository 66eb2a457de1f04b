"""The loop over several seeds of one trial: their means at every epoch, also after a kill."""

from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from optuna_joblib_sweeper.testing import FakeTrial
from perceptune.nn.checkpoint import load_network
from perceptune.runs import loop
from perceptune.runs.results import weights_folder
from perceptune.runs.run import Result
from support import run

SETTINGS = ("tracking.enabled=false", "train.epochs=4", "model.hidden=[16]", "model.dropout=0.1")


class Killed(BaseException):
    pass


def _train(folder: Path, *overrides: str, **trial: Any) -> tuple[Result, FakeTrial]:
    """Three seeds of one trial, whose folder is `folder/trial`."""
    fake = FakeTrial(folder=folder / "trial", **trial)
    return run(folder, *SETTINGS, "repeats=3", *overrides, trial=fake), fake


def _alone(tmp_path: Path, seed: int) -> tuple[Result, Path]:
    folder = tmp_path / f"alone_{seed}"
    folder.mkdir()
    return run(folder, *SETTINGS, f"seed={seed}"), folder / "output" / "weights"


def _weights(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*.npz"))
    return {str(f.relative_to(folder)): load_network(f).theta.tobytes() for f in files}


def test_reports_and_result_are_the_means_of_the_seeds_alone(tmp_path: Path) -> None:
    result, trial = _train(tmp_path)
    alone = [_alone(tmp_path, seed) for seed in range(3)]
    for epoch, value in trial.reports.items():
        measured = [done.history[epoch - 1]["val/accuracy"] for done, _ in alone]
        assert value == pytest.approx(mean(measured)), epoch
    assert list(trial.reports) == [1, 2, 3, 4]
    best = [done.metrics["val/accuracy"] for done, _ in alone]
    assert result.metrics["val/accuracy"] == pytest.approx(mean(best))
    for seed, (_, folder) in enumerate(alone):
        for name, theta in _weights(folder).items():
            together = load_network(tmp_path / "trial" / weights_folder(seed) / name).theta
            assert together.tobytes() == theta
    assert not [name for name in result.metrics if name.startswith("test/")]


def test_a_killed_trial_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
    _, whole = _train(straight)
    with pytest.raises(KeyboardInterrupt):
        _train(killed, "train.checkpoint_seconds=0", die_at=3)
    _, resumed = _train(killed, "train.checkpoint_seconds=0")
    assert resumed.reports == {epoch: whole.reports[epoch] for epoch in (3, 4)}
    assert _weights(killed / "trial") == _weights(straight / "trial")
    assert not list(killed.rglob("checkpoint*"))


def test_seeds_whose_checkpoints_differ_catch_up_before_a_mean_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
    _, whole = _train(straight)
    saved: list[int] = []
    save = loop.save

    def dies_between_two(training: Any) -> None:
        if len(saved) == 4:  # three seeds after epoch 1, one of them after epoch 2
            raise Killed
        saved.append(training.state.epoch)
        save(training)

    monkeypatch.setattr(loop, "save", dies_between_two)
    with pytest.raises(Killed):
        _train(killed, "train.checkpoint_seconds=0")
    assert saved == [1, 1, 1, 2]
    monkeypatch.setattr(loop, "save", save)
    _, resumed = _train(killed, "train.checkpoint_seconds=0")
    assert resumed.reports == {epoch: whole.reports[epoch] for epoch in (2, 3, 4)}
    assert _weights(killed / "trial") == _weights(straight / "trial")


def test_pruning_stops_all_seeds_at_once(tmp_path: Path) -> None:
    result, trial = _train(tmp_path, prune_at=2)
    assert (result.outcome, result.epochs, len(trial.reports)) == ("pruned", 2, 2)


def test_a_seed_that_stops_early_keeps_its_last_measurement(tmp_path: Path) -> None:
    result, trial = _train(tmp_path, "train.epochs=60", "train.patience=2")
    assert list(trial.reports) == list(range(1, result.epochs + 1))
    assert result.outcome == "stopped_early"
