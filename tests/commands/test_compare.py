"""`perceptune compare`: its table, its refusals, and its preset."""

import math
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from perceptune import app, cli
from perceptune.backends import runner
from perceptune.nn.initializers import XavierUniform
from support import Perceptune, configure

SETTINGS = ("model.hidden=[16]", "train.epochs=2")

REFUSED: list[tuple[list[str], str]] = [
    (["backends=[foo]"], "backends must be one of numpy, torch"),
    (["backends=[]"], "backends must be at least one of"),
    (["backends=[numpy,numpy]"], "backends must be at least one of"),
    (["backends=numpy"], "backends"),
    (["repeats=0"], "repeats must be 1 or more"),
    (["train.patience=3"], "set train.patience=null"),
    (["resume=abc"], "compare takes no resume"),
    (["register=abc"], "compare takes no register"),
    (["train.evaluate_test=false"], "leave out train.evaluate_test"),
    (["backends=[sklearn]", "optimizer=adamw"], "no backend can be run: sklearn: it has no"),
    (["-m", "seed=0,1"], "leave out -m"),
    (["data=csv", "data.path=nothing.csv"], "nothing.csv"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=str)
def test_a_mistake_is_refused_before_anything_is_trained(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a training was started")

    monkeypatch.setattr(runner, "train", never)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["perceptune", "compare", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    outcome = capfd.readouterr()
    assert end.value.code not in (0, None)
    assert message in outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert not list(tmp_path.glob("mlruns/mlflow.db"))


@pytest.mark.slow
def test_the_command_prints_a_table(perceptune: Perceptune) -> None:
    answer = perceptune("compare", "backends=[numpy,sklearn]", "tracking.enabled=false", *SETTINGS)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].split()[:3] == ["backend", "test", "accuracy"]
    for line, name in zip(lines[1:3], ("numpy", "sklearn"), strict=True):
        cells = line.split()
        assert cells[0] == name
        assert all(math.isfinite(float(cell.replace(",", ""))) for cell in cells[1:])
    assert "parity: against float64, over the first 82 steps; seed 0" in answer.stdout


def test_the_keras_preset_is_what_keras_does_by_default(tmp_path: Path) -> None:
    text = (app.root() / "conf" / "experiment" / "keras_20.yaml").read_text().splitlines()
    assert text[1] == "# perceptune train experiment=keras_20"
    assert text[2].startswith("# perceptune compare experiment=keras_20 ")
    config = configure(tmp_path, "experiment=keras_20")
    assert (config.network.hidden, config.network.initializer) == ([20], XavierUniform())
    assert (config.recipe.batch_size, config.recipe.lr) == (32, 0.001)


@pytest.mark.slow
def test_the_keras_preset_runs(perceptune: Perceptune) -> None:
    words = text_of_command("keras_20")
    answer = perceptune(
        *words, "data=digits", "data.validation=0.1", "train.epochs=2", "tracking.enabled=false"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[1].split()[0] == "numpy"


def text_of_command(preset: str) -> list[str]:
    """The `compare` that the file opens with."""
    text = (app.root() / "conf" / "experiment" / f"{preset}.yaml").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("# perceptune compare")]
    return shlex.split(line.removeprefix("# perceptune"))
