"""The report: its numbers are those of the stores, and its errors are one line."""

import re
import shlex
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from figures.pixels import is_drawn
from optuna_joblib_sweeper import load_study
from perceptune import cli
from support import Perceptune, runs_in, store_of
from warm import WarmProcess

# In one process: how studies run on several is tested elsewhere, and each would import MLflow.
STUDY = """
    train -m sweeps=digits hydra.sweeper.n_trials=9 train.epochs=5 hydra.sweeper.mlflow.plots=false
    hydra.sweeper.backend=sequential tracking.figures=none
    hydra.sweeper.pruner.n_startup_trials=2 hydra.sweeper.pruner.n_warmup_steps=1
    hydra.sweeper.confirm.top=2 hydra.sweeper.confirm.seeds=2
"""
MULTIRUN = "train -m seed=0,1 train.epochs=2 tracking.figures=none hydra.launcher.n_jobs=1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, warm: WarmProcess) -> Path:
    """A folder where a study and a small multirun have run."""
    place = tmp_path_factory.mktemp("reported")
    for command in (STUDY, MULTIRUN):
        warm.run(command.split(), place).check_returncode()
    return place


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in a folder, as a function; returns its exit code, output and errors."""

    def run(place: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["perceptune", "report", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def _refuse_broken_figures(page: Path) -> None:
    names = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())
    assert names
    for name in names:
        assert is_drawn(page.parent / name)


def test_the_page_of_a_study_agrees_with_the_stores(
    folder: Path, report: Any, tmp_path: Path
) -> None:
    code, printed, complaint = report(folder, "digits", "--output", str(tmp_path / "page"))
    assert (code, complaint) == (0, "")
    assert f"page  {tmp_path / 'page'}" in printed
    page = tmp_path / "page" / "README.md"
    text = page.read_text()
    _refuse_broken_figures(page)

    from mlflow import MlflowClient

    client, runs = MlflowClient(store_of(folder)), runs_in(folder)
    study = load_study(str(folder / "mlruns" / "optuna.journal"), "digits")
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

    confirmed = {trial.number: trial.confirmed for trial in study.trials if trial.confirmed}
    number = max(confirmed, key=lambda key: statistics.mean(confirmed[key]))
    assert len(confirmed) == 2
    assert f"| trial {number} |" in text
    fresh = confirmed[number]
    shown = f"{statistics.mean(fresh):.4f} ± {statistics.stdev(fresh):.4f} (n = 2)"
    assert f"| val/accuracy with fresh seeds | {shown} |" in text
    [winner] = [run for run in trials if run.data.tags["trial"] == str(number)]
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
    code, printed, complaint = report(folder)
    assert (code, complaint) == (0, "")
    page = folder / "mlruns" / "report" / "results" / "README.md"
    _refuse_broken_figures(page)
    scores = [
        run.data.metrics["test/accuracy"]
        for run in runs_in(folder)
        if "fit_seconds" in run.data.metrics and "test/accuracy" in run.data.metrics
    ]
    assert len(scores) == 2  # neither the trials nor the study's own test are runs of their own
    shown = f"{statistics.mean(scores):.2%} ± {100 * statistics.stdev(scores):.2f} (n = 2)"
    assert f"| {shown} |" in page.read_text()
    assert "128-64 relu" in page.read_text()
    assert "results" in printed


def test_several_studies_are_compared_on_one_page(
    folder: Path, report: Any, tmp_path: Path
) -> None:
    journal = str(tmp_path / "optuna.journal")
    shutil.copy(folder / "mlruns" / "optuna.journal", journal)
    storage = JournalStorage(JournalFileBackend(journal))
    optuna.copy_study(
        from_study_name="digits", from_storage=storage, to_storage=storage, to_study_name="twin"
    )
    code, printed, complaint = report(tmp_path, "digits", "twin", "--storage", journal)
    assert (code, complaint) == (0, "")
    assert "digits (9 trials), twin (9 trials)" in printed
    page = tmp_path / "mlruns" / "report" / "digits-twin" / "README.md"
    _refuse_broken_figures(page)
    rows = [line for line in page.read_text().splitlines() if line.startswith(("| dig", "| tw"))]
    assert [row.split(" | ")[1:3] for row in rows] == [["TPESampler", "MedianPruner"]] * 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--store", "sqlite:///mlruns/optuna.journal"], "cannot be used"),
        (["--store", "nosuch://store"], "cannot be used"),
        (["digits", "--store", "sqlite:///none.db"], "no store"),
        (["--fast"], "no option --fast"),
        (["large"], "large"),
        (["digits", "--output", "mlruns/optuna.journal"], "is a file"),
        (["digits", "--output", "."], "which no report made"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_leaves_nothing(
    arguments: list[str], complaint: str, folder: Path, report: Any
) -> None:
    before = sorted(folder.rglob("*"))
    code, printed, complained = report(folder, *arguments)
    assert (code, printed) == (1, "")
    assert complaint in complained
    assert len(complained.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "complaint"), [([], "no store"), (["digits"], "journal")])
def test_where_nothing_was_trained_nothing_is_made(
    arguments: list[str], complaint: str, report: Any, tmp_path: Path
) -> None:
    code, printed, complained = report(tmp_path, *arguments)
    assert (code, printed) == (1, "")
    assert complaint in complained
    assert len(complained.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
