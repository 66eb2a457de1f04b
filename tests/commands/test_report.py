"""The report: its numbers are those of the stores, and what cannot be told is said in one line."""

import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from PIL import Image

from perceptune import cli
from reports.studies import by_lr, made
from support import Perceptune, runs_in, store_of

# In one process: how studies run on several is tested elsewhere, and each would import MLflow.
STUDY = """
    train -m sweeps=digits hydra.sweeper.n_trials=9 train.epochs=5 hydra.sweeper.mlflow.plots=false
    hydra.sweeper.backend=sequential tracking.figures=none
    hydra.sweeper.pruner.n_startup_trials=2 hydra.sweeper.pruner.n_warmup_steps=1
    hydra.sweeper.confirm.top=2 hydra.sweeper.confirm.seeds=2
"""
MULTIRUN = "train -m seed=0,1 train.epochs=2 tracking.figures=none hydra.launcher.n_jobs=1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a study and a small multirun have run."""
    place = tmp_path_factory.mktemp("reported")
    for command in (STUDY, MULTIRUN):
        words = [sys.executable, "-m", "perceptune", *command.split()]
        subprocess.run(words, cwd=place, check=True, capture_output=True)
    return place


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in a folder; gives its exit code, its words and its complaints."""

    def run(place: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["perceptune", "report", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def _study(folder: Path, name: str = "digits") -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(folder / "mlruns" / "optuna.journal")))
    return optuna.load_study(study_name=name, storage=storage)


def _refuse_broken_pictures(page: Path) -> None:
    names = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())
    assert names
    for name in names:
        with Image.open(page.parent / name) as picture:
            assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 5


def test_the_page_of_a_study_says_what_the_stores_say(
    folder: Path, report: Any, tmp_path: Path
) -> None:
    code, said, complaint = report(folder, "digits", "--output", str(tmp_path / "page"))
    assert (code, complaint) == (0, "")
    assert f"page  {tmp_path / 'page'}" in said
    page = tmp_path / "page" / "README.md"
    text = page.read_text()
    _refuse_broken_pictures(page)

    from mlflow import MlflowClient

    client, study, runs = MlflowClient(store_of(folder)), _study(folder), runs_in(folder)
    [parent] = [run for run in runs if run.info.run_name == "digits"]
    trials = [run for run in runs if run.data.tags.get("study") == "digits" and run is not parent]
    assert len(trials) == 9
    for outcome, state in (("finished", "complete"), ("pruned", "pruned")):
        count = sum(run.data.tags["outcome"] == outcome for run in trials)
        assert (f"| {state} | {count} |" in text) == (count > 0)

    lengths = [
        max(m.step for m in client.get_metric_history(run.info.run_id, "train/loss"))
        for run in trials
    ]
    assert f"{sum(lengths)} epochs were trained." in text
    assert "pruned" in {run.data.tags["outcome"] for run in trials}
    assert f"would have had 45: pruning saved {1 - sum(lengths) / 45:.1%}." in text

    confirmed = study.user_attrs["confirmed"]
    number = max(confirmed, key=lambda key: statistics.mean(confirmed[key]))
    assert f"| trial {number} |" in text
    fresh = confirmed[number]
    shown = f"{statistics.mean(fresh):.4f} ± {statistics.stdev(fresh):.4f} (n = 2)"
    assert f"| val/accuracy with fresh seeds | {shown} |" in text
    [winner] = [run for run in trials if run.data.tags["trial"] == number]
    value = winner.data.metrics["best/val_accuracy"]
    assert f"| val/accuracy in the study | {value:.6g} |" in text
    assert f"| test/accuracy | {parent.data.metrics['test/accuracy']:.6g} |" in text
    assert "TPESampler, seed 0" in text
    assert "MedianPruner" in text


@pytest.mark.slow
def test_the_command_on_the_page_trains_the_winner_again(
    folder: Path, report: Any, perceptune: Perceptune, tmp_path: Path
) -> None:
    report(folder, "digits", "--output", str(tmp_path / "page"))
    [command] = re.findall(r"```sh\n(.*)\n```", (tmp_path / "page" / "README.md").read_text())
    answer = perceptune(*shlex.split(command)[1:])
    assert answer.returncode == 0, answer.stderr
    [run] = runs_in(tmp_path)
    [parent] = [run for run in runs_in(folder) if run.info.run_name == "digits"]
    assert run.data.metrics["test/accuracy"] == parent.data.metrics["test/accuracy"]


def test_the_results_are_those_of_the_runs(folder: Path, report: Any) -> None:
    code, said, complaint = report(folder)
    assert (code, complaint) == (0, "")
    page = folder / "mlruns" / "report" / "results" / "README.md"
    _refuse_broken_pictures(page)
    scores = [
        run.data.metrics["test/accuracy"]
        for run in runs_in(folder)
        if "fit_seconds" in run.data.metrics and "test/accuracy" in run.data.metrics
    ]
    assert len(scores) == 2  # neither the trials nor the study's own test are runs of their own
    shown = f"{statistics.mean(scores):.2%} ± {100 * statistics.stdev(scores):.2f} (n = 2)"
    assert f"| {shown} |" in page.read_text()
    assert "128-64 relu" in page.read_text()
    assert "results" in said


def test_a_study_with_two_objectives_gets_its_front(report: Any, tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 64)
        return 1 - 1 / width, width * 100.0

    made(tmp_path, objective, 12, directions=("maximize", "minimize"))
    code, _, complaint = report(tmp_path, "small", "--storage", "optuna.journal")
    assert (code, complaint) == (0, "")
    page = tmp_path / "mlruns" / "report" / "small" / "README.md"
    _refuse_broken_pictures(page)
    widths = len({trial.params["width"] for trial in _front(tmp_path)})
    assert f"{widths} of 12 complete trials are beaten by no other" in page.read_text()
    assert "not tracked in MLflow" in page.read_text()


def _front(folder: Path) -> list[Any]:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name="small", storage=storage).best_trials


def test_several_studies_are_compared_by_the_epochs_that_they_trained(
    report: Any, tmp_path: Path
) -> None:
    made(tmp_path, by_lr, 8)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    optuna.copy_study(
        from_study_name="small", from_storage=storage, to_storage=storage, to_study_name="twin"
    )
    code, _, complaint = report(tmp_path, "small", "twin", "--storage", "optuna.journal")
    assert (code, complaint) == (0, "")
    page = tmp_path / "mlruns" / "report" / "small-twin" / "README.md"
    _refuse_broken_pictures(page)
    best = optuna.load_study(study_name="small", storage=storage).best_value
    for name in ("small", "twin"):
        assert f"| {name} |  |  | 8 | 1 | 64 | {1 - 64 / 70:.1%} | {best:.4f} |" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no store"),
        (["digits"], "no studies in mlruns/optuna.journal"),
        (["--store", "sqlite:///optuna.journal"], "cannot be used"),
        (["--store", "nosuch://store"], "cannot be used"),
        (["small", "--storage", "optuna.journal", "--store", "sqlite:///none.db"], "no store"),
        (["--fast"], "unrecognized arguments"),
        (["large", "--storage", "optuna.journal"], "no study large"),
        (["small", "--storage", "optuna.journal", "--output", "optuna.journal"], "is a file"),
        (["small", "--storage", "optuna.journal", "--output", "."], "which no report made"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_leaves_nothing(
    arguments: list[str], complaint: str, report: Any, tmp_path: Path
) -> None:
    made(tmp_path, by_lr, 2)
    code, said, complained = report(tmp_path, *arguments)
    assert (code, said) == (1, "")
    assert complaint in complained
    assert len(complained.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.journal"]


def test_a_study_without_a_complete_trial_is_told_as_it_is(report: Any, tmp_path: Path) -> None:
    def fails(trial: optuna.Trial) -> float:
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1)
        raise ArithmeticError

    made(tmp_path, fails, 2)
    code, _, complaint = report(tmp_path, "small", "--storage", "optuna.journal")
    assert (code, complaint) == (0, "")
    text = (tmp_path / "mlruns" / "report" / "small" / "README.md").read_text()
    assert "| fail | 2 |" in text
    assert "No trial is complete" in text
