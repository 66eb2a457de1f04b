"""What trainings that differ by their seeds come to, from notes made by hand."""

from pathlib import Path

import pytest

from perceptune.seeds import Note, Setting, Spread, in_words, labels, notes, settings_of, summary


def _note(seed: int, test: float, words: tuple[str, ...] = (), **settings: object) -> Note:
    metrics = {"val/accuracy": 0.5 + seed / 100, "test/accuracy": test}
    return Note(seed, list(words), dict(settings), metrics, [], f"run-{seed}", {})


def test_the_deviation_of_a_spread_is_that_of_a_sample() -> None:
    spread = Spread.of([1.0, 2.0, 3.0])
    assert spread.metrics("a") == {"a/mean": 2.0, "a/sd": 1.0, "a/min": 1.0, "a/max": 3.0}


def test_a_note_comes_back_as_it_was_left(tmp_path: Path) -> None:
    left = [_note(0, 0.9, ("lr=1",), lr=1.0), _note(1, 0.8, ("lr=1",), lr=1.0)]
    for note in left:
        note.leave(tmp_path)
    assert sorted(notes(tmp_path), key=lambda note: note.seed) == left


def test_only_what_differs_by_seed_alone_is_one_setting() -> None:
    found = [_note(1, 0.9, lr=1), _note(0, 0.8, lr=1), _note(0, 0.7, lr=2), _note(0, 0.7, lr=3)]
    [setting] = settings_of([*found, _note(0, 0.8, lr=1)])  # the same seed twice counts once
    assert setting.seeds == [0, 1]
    assert setting.spreads["test/accuracy"].mean == pytest.approx(0.85)


def test_the_best_run_is_chosen_on_validation_samples() -> None:
    assert Setting([_note(0, 0.99), _note(1, 0.9)]).best_run == "run-1"


def test_one_setting_is_said_in_a_line() -> None:
    setting = Setting([_note(seed, 0.979 + seed / 1000) for seed in range(3)])
    assert summary([setting]) == (
        "test accuracy 98.00 % ± 0.10 (3 seeds: 0–2), range 97.90–98.10 %"
    )
    assert "(2 seeds: 1, 5)" in in_words("", Spread.of([0.1, 0.2]), [1, 5])


def test_several_settings_are_told_apart_by_the_users_own_words() -> None:
    found = [
        _note(seed, 0.9, (f"lr={lr}", "epochs=2"), lr=lr) for lr in (1, 2) for seed in range(2)
    ]
    settings = settings_of(found)
    assert labels(settings) == ["lr=1", "lr=2"]
    title, *lines = summary(settings).splitlines()
    assert "mean ± standard deviation" in title
    assert [line.split()[0] for line in lines] == ["lr=1", "lr=2"]
