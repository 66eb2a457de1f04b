"""The examples in docstrings: each runs, and the parts that others build on have one."""

import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part not in ("sweeper", "__init__"))


MODULES = sorted(
    module_of(path) for path in SOURCE.rglob("*.py") if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted
    assert not results.failed


@pytest.mark.parametrize(
    "name",
    [
        "perceptune.nn",
        "perceptune.nn.layout",
        "perceptune.nn.schedules",
        "perceptune.evaluation",
        "perceptune.config",
        "optuna_joblib_sweeper.current",
    ],
)
def test_what_others_build_on_has_an_example(name: str) -> None:
    assert name in MODULES
