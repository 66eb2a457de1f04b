"""The start and the resumption of a training."""

from pathlib import Path

import pytest

from perceptune.errors import UserError
from perceptune.runs.training import resume, save, start
from support import configure, working_in


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    with working_in(tmp_path):
        training = start(configure(tmp_path, "train.epochs=5"), [])
        training.checkpoint = tmp_path / "checkpoint.npz"
        save(training)
        config = configure(tmp_path, "resume=checkpoint.npz", "optimizer.lr=0.5")
        with pytest.raises(UserError, match=r"resume keeps optimizer.lr=0.001, got 0.5"):
            resume(config, ["resume=checkpoint.npz", "optimizer.lr=0.5"])
