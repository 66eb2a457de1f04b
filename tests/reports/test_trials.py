"""A study read back is the study that Optuna has."""

from pathlib import Path

import optuna
import pytest

from perceptune.errors import UserError
from perceptune.reports.trials import read_study
from reports.studies import by_lr, made


def test_a_study_is_read_with_its_space_objective_and_states(tmp_path: Path) -> None:
    study = made(tmp_path, by_lr, 8)
    assert study.objectives == ("val/accuracy",)
    assert study.space == (
        ("model.activation", "choice(relu,tanh)"),
        ("optimizer.lr", "float from 0.001 to 0.1, log"),
    )
    assert [trial.number for trial in study.of("pruned")] == [3]
    assert [trial.number for trial in study.of("fail")] == [5]
    assert {trial.planned for trial in study.trials} == {10}
    assert list(study.trials[3].curve) == [1, 2, 3, 4]
    rate, activation = study.axes
    assert (rate.name, rate.log, rate.low, rate.high) == ("optimizer.lr", True, 1e-3, 1e-1)
    assert activation.choices == ("relu", "tanh")
    assert study.winner() is not None
    assert study.winner() == study.trials[study.study.best_trial.number]


def test_fresh_seeds_crown_another_winner(tmp_path: Path) -> None:
    study = made(tmp_path, by_lr, 8)
    first, second, *_ = study.ranked()
    study.study.set_user_attr(
        "confirmed", {str(first.number): [0.5, 0.6], str(second.number): [0.7, 0.8]}
    )
    again = read_study(str(tmp_path / "optuna.journal"), "small")
    winner = again.winner()
    assert winner is not None
    assert winner.number == second.number


def test_the_front_is_optunas_without_repetitions(tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 12)
        return round(1 - 1 / width + 0.1 * (trial.number % 3), 3), width

    study = made(tmp_path, objective, 30, directions=("maximize", "minimize"))
    assert study.objectives == ("val/accuracy", "model/parameters")
    points = [trial.values for trial in study.front()]
    assert len(points) == len(set(points)) > 1
    assert set(points) == {tuple(trial.values) for trial in study.study.best_trials}


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    made(tmp_path, by_lr, 1)
    journal = tmp_path / "optuna.journal"
    torn = tmp_path / "torn.journal"
    torn.write_bytes(journal.read_bytes()[:200] + b"\n" + journal.read_bytes()[200:])
    binary = tmp_path / "binary.journal"
    binary.write_bytes(bytes(range(256)) * 8 + b"\n\n")
    foreign = tmp_path / "foreign.db"
    foreign.write_text("not a database, for which SQLite would need a header of its own\n" * 9)
    for storage, name, complaint in (
        (journal, "large", "there are: small"),
        (tmp_path / "none.journal", "small", "no studies in"),
        (tmp_path, "small", "no studies in"),
        (torn, "small", "cannot be read"),
        (binary, "small", "cannot be read"),
        (f"sqlite:///{foreign}", "small", "cannot be read"),
        (f"sqlite:///{tmp_path}/none.db", "small", "no studies in"),
        ("nosuch://database", "small", "cannot be read"),
    ):
        with pytest.raises(UserError) as error:
            read_study(str(storage), name)
        assert complaint in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "none.db").exists()
    assert not (tmp_path / "none.journal").exists()
