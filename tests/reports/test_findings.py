"""The findings of a study follow from its trials."""

import optuna
import pytest

from optuna_joblib_sweeper.result import Importance, SweptParameter
from perceptune.reports import findings
from perceptune.reports.tracked import TrackedStudy
from reports.studies import PARAMETERS, by_lr, made


def test_pruning_saves_the_epochs_that_were_not_trained() -> None:
    epochs = findings.count_epochs(TrackedStudy(made(by_lr, 8)))
    # Six complete trials of ten epochs, one stopped after the fourth; the failed one counts not.
    assert epochs == findings.Epochs(trained=64, unpruned=70)
    assert epochs.saved == 1 - 64 / 70


def test_epochs_are_unknown_where_nothing_was_reported() -> None:
    study = made(lambda trial: trial.suggest_float("x", 0, 1), 4)
    assert findings.count_epochs(TrackedStudy(study)) is None


@pytest.mark.parametrize(
    ("config", "planned"), [({"train": {"epochs": 10}}, 10), ({"train": {}}, None), ({}, None)]
)
def test_planned_epochs_are_those_of_the_config_unless_they_are_swept(
    config: dict[str, object], planned: int | None
) -> None:
    fixed = made(by_lr, 1, config=config)
    assert findings.planned_epochs(fixed, fixed.trials[0]) == planned
    swept = made(lambda trial: trial.suggest_int("train.epochs", 7, 7), 1, config=config)
    assert findings.planned_epochs(swept, swept.trials[0]) == 7


def test_the_parameter_that_decides_is_found_and_described() -> None:
    study = made(by_lr, 40)
    found = study.importances()
    assert [one.name for one in found] == ["optimizer.lr", "model.activation"]
    assert abs(sum(one.fraction for one in found) - 1) < 1e-9
    assert found[0].fraction > 0.9  # the other moves the value by 1e-4, this one by 0.09
    best = [trial.params["optimizer.lr"] for trial in study.ranked()[: 38 // 4]]
    span = f"the best 9 have {min(best):.3g} to {max(best):.3g}"
    words = findings.words_on(PARAMETERS[0], study)
    assert words == f"{span}, searched on a log scale from 0.001 to 0.1"
    text = findings.lesson(found, 38)
    assert text.startswith("Over 38 complete trials `optimizer.lr` matters most: ")
    assert text.endswith("Below 5%: `model.activation`.")


def test_the_best_of_few_trials_is_one() -> None:
    study = made(by_lr, 4)
    best = study.ranked()[0].params["optimizer.lr"]
    words = findings.words_on(PARAMETERS[0], study)
    assert words.startswith(f"the best has {best:.3g}, searched")


def test_choices_are_described_by_their_medians_best_first() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("hidden", [0, 1])
        return {0: 0.5, 1: 0.75, 2: 0.25}[trial.number % 3]

    study = made(objective, 9)
    for trial in study.trials:  # as they arrive in the config, where a choice may be a list
        trial.params["hidden"] = [[64], [128, 64], None][trial.number % 3]
    words = findings.words_on(SweptParameter("hidden", choices=([64], [128, 64], None)), study)
    assert words == "medians (and trials): [128, 64] 0.7500 (3), [64] 0.5000 (3), None 0.2500 (3)"


def test_few_or_equal_trials_have_no_importances() -> None:
    def equal(trial: optuna.Trial) -> float:
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1)
        return 0.5

    for study in (made(by_lr, 3), made(equal, 9)):
        assert study.importances() == []
    assert findings.lesson([], 3).startswith("Too few complete trials")
    few = findings.lesson([Importance("optimizer.lr", 1.0, 0.0)], 4)
    assert few.endswith("With so few trials this is only a hint.")
