"""What a study is said to teach follows from its trials."""

from pathlib import Path

import optuna

from perceptune.reports import findings
from reports.studies import MEMORY, by_lr, made


def test_pruning_saves_the_epochs_that_were_not_trained(tmp_path: Path) -> None:
    study = made(tmp_path, by_lr, 8)
    epochs = findings.count_epochs(study, None)
    # Six complete trials of ten epochs, one stopped after the fourth; the failed one counts not.
    assert epochs == findings.Epochs(trained=64, unpruned=70)
    assert epochs.saved == 1 - 64 / 70


def test_epochs_are_unknown_where_nothing_was_reported(tmp_path: Path) -> None:
    study = made(tmp_path, lambda trial: trial.suggest_float("x", 0, 1), 4)
    assert findings.count_epochs(study, None) is None


def test_the_parameter_that_decides_is_found_and_described(tmp_path: Path) -> None:
    study = made(tmp_path, by_lr, 40)
    found = findings.importances(study)
    assert [one.axis.name for one in found] == ["optimizer.lr", "model.activation"]
    assert abs(sum(one.share for one in found) - 1) < 1e-9
    assert found[0].share > 0.9  # the other moves the value by 1e-4 where this moves it by 0.09
    best = [trial.params["optimizer.lr"] for trial in study.ranked()[: 38 // 4]]
    span = f"the best 9 have {min(best):.3g} to {max(best):.3g}"
    assert found[0].words == f"{span}, searched on a log scale from 0.001 to 0.1"
    text = findings.lesson(found, 38)
    assert text.startswith("Over 38 complete trials `optimizer.lr` matters most: ")
    assert text.endswith("Below 5%: `model.activation`.")


def test_nothing_is_taught_by_few_or_equal_trials(tmp_path: Path) -> None:
    def equal(trial: optuna.Trial) -> float:
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1)
        return 0.5

    (tmp_path / "few").mkdir()
    few = made(tmp_path / "few", by_lr, 3)
    same = made(tmp_path, equal, 9, memory=MEMORY.format(objective="val/accuracy"))
    for study in (few, same):
        assert findings.importances(study) == []
    assert findings.lesson([], 3).startswith("Too few complete trials")
