"""The start and the resumption of a training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceptune.errors import UserError
from perceptune.nn.fit import fit
from perceptune.runs.training import Training, restore_attempt, resume, save, start
from support import configure, working_in


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    with working_in(tmp_path):
        training = start(configure(tmp_path, "train.epochs=5"), [])
        training.checkpoint = tmp_path / "checkpoint.npz"
        save(training)
        config = configure(tmp_path, "resume=checkpoint.npz", "optimizer.lr=0.5")
        with pytest.raises(UserError, match=r"resume keeps optimizer.lr=0.001, got 0.5"):
            resume(config, ["resume=checkpoint.npz", "optimizer.lr=0.5"])


SETTINGS = ("train.epochs=5", "train.ema=0.9", "model.hidden=[8]")


def interrupted(folder: Path) -> Training:
    """A training after its second epoch, with its checkpoint."""
    training = start(configure(folder, *SETTINGS), [*SETTINGS])
    epochs = fit(training.network, training.state, training.config.recipe, training.parts.train)
    training.checkpoint = folder / "checkpoint.npz"
    for _ in range(2):
        training.record_epoch(next(epochs))
    save(training)
    return training


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The arrays of a checkpoint, `meta` among them."""
    folder = tmp_path_factory.mktemp("whole")
    with working_in(folder):
        interrupted(folder)
    with np.load(folder / "checkpoint.npz") as file:
        return dict(file)


def notes(**changes: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda arrays, meta: meta["notes"].update(changes)


def without(name: str) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda arrays, meta: meta["notes"].pop(name)


EDITS = {
    **{f"no {name}": without(name) for name in (
        *("config", "overrides", "data", "run_id", "best", "seconds", "history"),
    )},
    **{f"{name} of another type": notes(**{name: 5.0}) for name in (
        *("config", "overrides", "data", "run_id", "best", "history"),
    )},
    "one more note": notes(more=1),
    "an empty configuration": notes(config={}),
    "a configuration of text": notes(config="seed: 0"),
    "overrides that are numbers": notes(overrides=[1]),
    "seconds in words": notes(seconds="5"),
    "negative seconds": notes(seconds=-1.0),
    "no seconds": notes(seconds=None),
    "seconds that are not a number": notes(seconds=float("nan")),
    "a best epoch to come": lambda arrays, meta: meta["notes"]["best"].update(epoch=3),
    "a best epoch in words": lambda arrays, meta: meta["notes"]["best"].update(epoch="2"),
    "no best epoch's metrics": lambda arrays, meta: meta["notes"]["best"].update(metrics=None),
    "metrics in words": lambda arrays, meta: meta["notes"]["best"].update(metrics={"lr": "1"}),
    "an age of half an epoch": lambda arrays, meta: meta["notes"]["best"].update(age=0.5),
    "one more about the best": lambda arrays, meta: meta["notes"]["best"].update(x=1),
    "an empty history": notes(history=[]),
    "a history of numbers": notes(history=[1, 2]),
    "a history without epochs": notes(history=[{"lr": 0.1}]),
    "more epochs than in all": lambda arrays, meta: meta.update(epoch=9),
    "true epochs": lambda arrays, meta: meta.update(epoch=True),
    "no best weights": lambda arrays, meta: arrays.pop("extra.best"),
    "few best weights": lambda arrays, meta: arrays.update({"extra.best": np.zeros(3, "f4")}),
    "infinite best weights": lambda arrays, meta: arrays["extra.best"].fill(np.inf),
    "best weights of 64 bit": lambda arrays, meta: arrays.update(
        {"extra.best": arrays["extra.best"].astype(float)}
    ),
    "no average": lambda arrays, meta: arrays.pop("average"),
    "no first moment": lambda arrays, meta: arrays.pop("optimizer.first_moment"),
    "a first moment too many": lambda arrays, meta: arrays.update(
        {"optimizer.third_moment": np.zeros(3, "f4")}
    ),
    "a short first moment": lambda arrays, meta: arrays.update(
        {"optimizer.first_moment": np.zeros(3, "f4")}
    ),
    "a first moment of integers": lambda arrays, meta: arrays.update(
        {"optimizer.first_moment": np.zeros(arrays["theta"].size, int)}
    ),
    "a moment that is not a number": lambda arrays, meta: arrays["optimizer.first_moment"].fill(
        np.nan
    ),
    "weights of another network": lambda arrays, meta: arrays.update(
        {name: array[:-1] for name, array in arrays.items() if array.size > 1}
    ),
    "no generator": lambda arrays, meta: meta.update(order=[]),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_checkpoint_is_checked_as_a_whole_before_anything_starts(
    what: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    arrays = {name: array.copy() for name, array in whole.items()}
    meta = json.loads(str(arrays.pop("meta")))
    EDITS[what](arrays, meta)
    text = np.array(json.dumps(meta | {"arrays": sorted(arrays)}))
    np.savez(tmp_path / "checkpoint.npz", meta=text, **arrays)
    config = configure(tmp_path, "resume=checkpoint.npz")
    with (
        working_in(tmp_path),
        pytest.raises(UserError, match=r"^resume=checkpoint\.npz: ") as caught,
    ):
        resume(config, ["resume=checkpoint.npz"])
    assert "\n" not in str(caught.value)
    # A further attempt at a trial starts from the beginning instead.
    training = start(configure(tmp_path, *SETTINGS), [*SETTINGS])
    training.checkpoint = tmp_path / "checkpoint.npz"
    restore_attempt(training)
    assert (training.state.epoch, training.history) == (0, [])


def test_a_whole_checkpoint_is_resumed(whole: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "checkpoint.npz", **whole)
    with working_in(tmp_path):
        training = resume(configure(tmp_path, "resume=checkpoint.npz"), ["resume=checkpoint.npz"])
    assert training.state.epoch == len(training.history) == 2


@pytest.mark.parametrize("name", [".", "/dev/null", "nul\0l", "x" * 300, "../../x", "~/none.npz"])
def test_what_is_no_checkpoint_is_refused_unread(name: str, tmp_path: Path) -> None:
    config = configure(tmp_path).changed(resume=name)
    with working_in(tmp_path), pytest.raises(UserError) as caught:
        resume(config, [])
    assert len(str(caught.value).splitlines()) == 1
