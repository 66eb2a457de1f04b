"""A trial with several seeds: true means at every epoch, through every death."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

import pytest

import optuna_joblib_sweeper
from perceptune import experiment, together
from perceptune.experiment import Result
from perceptune.nn.checkpoint import load_network
from support import configure, run, working_in

WORDS = ("tracking.enabled=false", "train.epochs=4", "model.hidden=[16]", "model.dropout=0.1")


class Killed(BaseException):
    pass


class Trial(optuna_joblib_sweeper.CurrentTrial):
    """A trial whose reports are kept, and which may be told when to die or to stop."""

    folder: ClassVar[Path]  # type: ignore[misc]
    reports: ClassVar[list[tuple[int, float]]]
    on_report: ClassVar[Callable[[int], None]]
    prunes_at: ClassVar[int | None]

    def __bool__(self) -> bool:
        return True

    def report(self, value: float, step: int) -> None:
        type(self).reports.append((step, value))
        type(self).on_report(step)

    def should_prune(self) -> bool:
        return self.reports[-1][0] == self.prunes_at


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Trial]:
    folder = tmp_path / "trial"
    folder.mkdir()
    Trial.folder, Trial.reports, Trial.prunes_at = folder, [], None
    Trial.on_report = lambda step: None
    for module in (experiment, together):
        monkeypatch.setattr(module, "current_trial", Trial)
    return Trial


def _train(folder: Path, *words: str) -> Result:
    with working_in(folder):
        return together.train(configure(folder, *WORDS, "repeats=3", *words), [], {})


def _alone(tmp_path: Path, seed: int, *words: str) -> tuple[Result, Path]:
    folder = tmp_path / f"alone_{seed}"
    folder.mkdir()
    return run(folder, *WORDS, *words, f"seed={seed}"), folder / "output" / "weights"


def _weights(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*.npz"))
    return {str(f.relative_to(folder)): load_network(f).theta.tobytes() for f in files}


def test_reports_and_result_are_the_means_of_what_the_seeds_do_alone(
    trial: type[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _train(tmp_path)
    monkeypatch.undo()
    alone = [_alone(tmp_path, seed) for seed in range(3)]
    for epoch, value in trial.reports:
        measured = [done.history[epoch - 1]["val/accuracy"] for done, _ in alone]
        assert value == pytest.approx(mean(measured)), epoch
    assert [epoch for epoch, _ in trial.reports] == [1, 2, 3, 4]
    best = [done.metrics["val/accuracy"] for done, _ in alone]
    assert result.metrics["val/accuracy"] == pytest.approx(mean(best))
    for seed, (_, folder) in enumerate(alone):
        for name, theta in _weights(folder).items():
            together_ = load_network(trial.folder / together.weights_folder(seed) / name).theta
            assert together_.tobytes() == theta
    assert not [name for name in result.metrics if name.startswith("test/")]


def test_a_killed_trial_goes_on_to_the_same_bits(trial: type[Trial], tmp_path: Path) -> None:
    _train(tmp_path)
    straight, whole = _weights(trial.folder), trial.reports

    def die(step: int) -> None:
        if step == 3:
            raise Killed

    trial.reports, trial.on_report = [], die  # type: ignore[assignment]
    with pytest.raises(Killed):
        _train(tmp_path, "train.checkpoint_seconds=0")
    trial.reports, trial.on_report = [], lambda step: None
    _train(tmp_path, "train.checkpoint_seconds=0")
    assert trial.reports == whole[2:]
    assert _weights(trial.folder) == straight
    assert not list(trial.folder.glob("checkpoint*"))


def test_seeds_whose_checkpoints_differ_catch_up_before_a_mean_is_told(
    trial: type[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(tmp_path)
    straight, whole = _weights(trial.folder), trial.reports
    saved: list[int] = []
    save = together.save

    def dies_between_two(training: Any) -> None:
        if len(saved) == 4:  # three seeds after epoch 1, one of them after epoch 2
            raise Killed
        saved.append(training.state.epoch)
        save(training)

    trial.reports = []
    monkeypatch.setattr(together, "save", dies_between_two)
    with pytest.raises(Killed):
        _train(tmp_path, "train.checkpoint_seconds=0")
    assert saved == [1, 1, 1, 2]
    monkeypatch.setattr(together, "save", save)
    trial.reports = []
    _train(tmp_path, "train.checkpoint_seconds=0")
    assert trial.reports == whole[1:]
    assert _weights(trial.folder) == straight


def test_a_verdict_stops_all_seeds_at_once(trial: type[Trial], tmp_path: Path) -> None:
    trial.prunes_at = 2
    result = _train(tmp_path)
    assert (result.outcome, result.epochs, len(trial.reports)) == ("pruned", 2, 2)


def test_a_seed_that_loses_patience_keeps_its_last_measurement(
    trial: type[Trial], tmp_path: Path
) -> None:
    result = _train(tmp_path, "train.epochs=60", "train.patience=2")
    steps = [epoch for epoch, _ in trial.reports]
    assert steps == list(range(1, result.epochs + 1))
    assert result.outcome == "stopped_early"
