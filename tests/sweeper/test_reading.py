"""A study read from its storage: what there is, and what is refused in a line."""

from pathlib import Path

import optuna
import pytest
from apps import Sweeps

from optuna_joblib_sweeper import load_study
from optuna_joblib_sweeper.errors import SweepError


def test_a_study_is_read_with_all_that_its_settings_were(sweep: Sweeps) -> None:
    sweep(
        lambda c: len(c.x) if c.y == "a" else 1 / 0,
        "x=[1,2],[3]",
        "y=a,b",
        "seed=4",
        "hydra.sweeper.objective=length",
        "hydra.sweeper.direction=maximize",
        "hydra.sweeper.backend=loky",
    )
    result = load_study("optuna.journal", "test")
    assert (result.objectives, result.directions) == (("length",), ("maximize",))
    assert dict(result.space) == {"x": "choice([1,2],[3])", "y": "choice(a,b)"}
    assert [(p.name, list(p.choices or ())) for p in result.parameters] == [
        ("x", [[1, 2], [3]]),
        ("y", ["a", "b"]),
    ]
    assert result.config["seed"] == 4
    assert (result.sampler, result.n_trials, result.n_jobs) == ("GridSampler", 4, 2)
    assert (result.tracking_uri, result.run_id) == (None, None)

    first, failed, second, _ = result.trials
    assert (first.params, first.values) == ({"x": [1, 2], "y": "a"}, (2.0,))
    assert second.overrides == ("x=[3]", "y=a")
    assert (failed.state, failed.values) == ("fail", ())
    assert failed.reason == "ZeroDivisionError: division by zero"
    assert result.winner == first
    assert first.folder == sweep.folder / "sweep" / "trials" / "test" / "0"
    assert result.winner_command is not None
    overlay = sweep.folder / "sweep" / "best" / "experiment" / "test.yaml"
    assert result.winner_overlay == overlay.read_text()


def test_what_plain_optuna_made_is_read_as_well(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="plain", storage=url)
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=6)
    result = load_study(url, "plain")
    assert result.objectives == ("value",)
    assert [(p.name, p.low, p.high) for p in result.parameters] == [("x", 0, 1)]
    assert result.winner is not None
    assert result.winner.values == (study.best_value,)
    [importance] = result.importances()
    assert (importance.name, importance.fraction) == ("x", pytest.approx(1))


def test_figures_are_drawn_by_the_numbers_of_the_importances(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="plain", storage=url)

    def objective(trial: optuna.Trial) -> float:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        trial.report(x, 0)
        return x + y / 10

    study.optimize(objective, n_trials=8)
    result = load_study(url, "plain")
    drawn = {}
    for name, figure in result.figures():
        bars = [bar.get_width() for bar in figure.axes[0].patches]
        drawn[name] = bars
    assert set(drawn) == {
        "history",
        "parallel_coordinate",
        "slice",
        "intermediate_values",
        "importances",
    }
    assert drawn["importances"] == [one.fraction for one in result.importances()]


@pytest.mark.parametrize(
    ("storage", "name", "message"),
    [
        ("nowhere.journal", "x", "no studies in nowhere.journal"),
        ("sqlite:///nowhere.db", "x", "no studies in nowhere.db"),
        ("study.journal", "other", "no study other in study.journal; there are: test"),
        ("text.journal", "x", "text.journal is no journal of Optuna's"),
        ("nonsense://x", "x", "storage nonsense://x can't be opened: "),
    ],
)
def test_what_is_not_there_is_refused_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, name: str, message: str
) -> None:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    monkeypatch.chdir(tmp_path)
    journal = JournalStorage(JournalFileBackend("study.journal"))
    for existing in ("test", "test-confirm-0123abcd"):
        optuna.create_study(study_name=existing, storage=journal)
    Path("text.journal").write_text("no journal\n" * 2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SweepError) as refusal:
        load_study(storage, name)
    assert str(refusal.value).startswith(message)
    assert sorted(tmp_path.iterdir()) == before
