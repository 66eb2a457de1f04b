"""The page of a study agrees with its trials and its run, in figures and in text."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from figures.pixels import is_drawn
from perceptune.reports import study as one
from perceptune.reports.page import Page
from perceptune.reports.tracked import TrackedStudy
from reports.studies import by_lr, made, with_runs

FIGURES = {"history", "intermediate_values", "importances", "slice", "parallel_coordinate"}


def _page_of(study: TrackedStudy, folder: Path) -> Page:
    page = Page(folder)
    one.write(page, study, folder)
    return page


def _figures_of(page: Page) -> list[str]:
    names = re.findall(r"!\[.*?\]\((.*?)\.png\)", page.text)
    assert all(is_drawn(page.folder / f"{name}.png") for name in names)
    return names


def test_the_page_of_one_objective_has_every_figure_and_the_winner(tmp_path: Path) -> None:
    result = made(by_lr, 20)
    page = _page_of(TrackedStudy(result), tmp_path)
    assert set(_figures_of(page)) == FIGURES
    assert result.winner is not None
    assert f"| trial {result.winner.number} |" in page.text
    assert f"| val/accuracy in the study | {result.winner.values[0]:.6g} |" in page.text
    assert "| objective | maximize `val/accuracy` |" in page.text
    assert "| sampler | RandomSampler, seed 0 |" in page.text
    assert "| budget | 20 trials, up to 10 epochs each |" in page.text
    assert "not tracked in MLflow" in page.text


def test_fresh_seeds_make_another_winner(tmp_path: Path) -> None:
    result = made(by_lr, 8)
    first, second, *_ = result.ranked()
    fresh = {first.number: (0.5, 0.6), second.number: (0.7, 0.8)}
    trials = (replace(t, confirmed=fresh.get(t.number, ())) for t in result.trials)
    page = _page_of(TrackedStudy(replace(result, trials=tuple(trials))), tmp_path)
    assert f"| trial {second.number} |" in page.text
    assert "| val/accuracy with fresh seeds | 0.7500 ± 0.0707 (n = 2) |" in page.text
    assert "| fresh seeds |" in page.text


def test_the_winner_s_test_accuracy_is_on_the_page(tmp_path: Path) -> None:
    study = with_runs(made(by_lr, 8), **{"test/accuracy": 0.875})
    assert "| test/accuracy | 0.875 |" in _page_of(study, tmp_path).text


def test_the_page_of_two_objectives_has_the_front_with_its_test_accuracies(tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 64)
        return 1 - 1 / width, width * 100.0

    result = made(objective, 12, directions=("maximize", "minimize"))
    number = result.front()[0].number
    study = with_runs(result, **{f"trial_{number}/test/accuracy": 0.625})
    # Nothing is reported with two objectives, so epochs would be read from the runs.
    page = _page_of(replace(study, uri=None), tmp_path)
    assert _figures_of(page) == ["pareto_front"]
    assert f"{len(result.front())} of 12 complete trials are not dominated by any" in page.text
    assert "| test accuracy |" in page.text
    assert "| 0.625 |" in page.text


def test_the_command_on_the_page_uses_the_file_beside_it(tmp_path: Path) -> None:
    command = "perceptune train --config-dir /elsewhere +experiment=small '~train.patience'"
    overlay = f"# @package _global_\n#   {command}\noptimizer:\n  lr: 0.01\n"
    result = made(by_lr, 8, winner_command=command, winner_overlay=overlay)
    folder = tmp_path / "a page"
    folder.mkdir()
    page = _page_of(TrackedStudy(result), folder)
    [again] = re.findall(r"```sh\n(.*)\n```", page.text)
    expected = ["--config-dir", str(folder), "+experiment=small", "~train.patience"]
    assert shlex.split(again) == ["perceptune", "train", *expected]
    written = (folder / "experiment" / "small.yaml").read_text()
    assert written == overlay.replace(command, again)


def test_a_study_without_a_complete_trial_has_a_page_as_well(tmp_path: Path) -> None:
    def fails(trial: optuna.Trial) -> float:
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1)
        raise ArithmeticError

    page = _page_of(TrackedStudy(made(fails, 2)), tmp_path)
    assert "| fail | 2 |" in page.text
    assert "No trial is complete" in page.text
    assert _figures_of(page) == []


@pytest.mark.parametrize("trials", [1, 2])
def test_the_smallest_studies_have_a_page(tmp_path: Path, trials: int) -> None:
    page = _page_of(TrackedStudy(made(by_lr, trials)), tmp_path)
    assert "history" in _figures_of(page)
    assert "Too few complete trials" in page.text
