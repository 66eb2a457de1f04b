"""Options of `train` and `compare`: Hydra's, in full, and none that loads code."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from perceptune import cli
from perceptune.errors import UserError
from perceptune.overrides.options import for_hydra, parse_options

RERUN = "--experimental-rerun"


class _Trap:
    """A pickle that leaves a file behind when it is loaded."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("loaded"),)


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("between", ["=", " "])
@pytest.mark.parametrize("length", [3, 4, 5, 8, 14, 16, len(RERUN)])
def test_no_abbreviation_loads_a_pickle(
    command: str,
    between: str,
    length: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(_Trap()))
    words = f"{RERUN[:length]}{between}config.pickle".split()
    for order in ([*words, "seed=1"], ["seed=1", *words]):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["perceptune", command, *order])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 1
        assert "is refused: it would load a pickle" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.pickle"]


@pytest.mark.parametrize(
    "word", ["--config-path=x", "-cp=x", "--config-name=x", "-cn", "-sc", "--run", "--hydra-help"]
)
def test_options_of_hydra_that_are_of_no_use_are_refused(word: str) -> None:
    with pytest.raises(UserError, match=r"no option|no dashes|invalid choice|expected one"):
        parse_options("train", "", [word])


def test_options_may_stand_between_overrides(tmp_path: Path) -> None:
    given = parse_options("train", "", ["seed=0,1", "-m", "x=1", "--config-dir", str(tmp_path)])
    assert given.overrides == ["seed=0,1", "x=1"]
    assert for_hydra(given) == ["--multirun", f"--config-dir={tmp_path}"]


def test_printing_and_training_exclude_each_other() -> None:
    with pytest.raises(UserError, match="leave out one of them"):
        parse_options("train", "", ["-m", "--cfg", "job"])


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["seed=1", "-h"], ["-m", "--help"]])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_help_prints_the_usage_and_every_group(
    command: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["perceptune", command, *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    printed = capfd.readouterr().out
    assert printed.startswith(f"usage: perceptune {command} ")
    assert "optimizer   adagrad, adam" in printed
    assert "sweeps      accuracy_vs_size" in printed
    assert not list(tmp_path.iterdir())
