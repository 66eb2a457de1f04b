"""The layout of the tree: few modules at the top, tests that mirror modules, limited sizes."""

import ast
import statistics
from pathlib import Path

import pytest

import code_size

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGES = ("perceptune", "optuna_joblib_sweeper", "hydra_plugins")

# Modules without a test file of their name: the file that tests them from above, their folder,
# their names, and the reason.
TESTED_FROM_ABOVE = [
    (
        "test_cli.py",
        "perceptune",
        "app errors terminal commands/info",
        "commands are run as a user runs them, and each mistake ends in a line",
    ),
    (
        "commands/test_evaluate_predict.py",
        "perceptune",
        "networks commands/evaluate commands/predict",
        "both commands take the same networks, by all their names",
    ),
    (
        "runs/test_run.py",
        "perceptune",
        "commands/train runs/results runs/diagnostics",
        "what a run records is read in its store",
    ),
    (
        "tracking/test_recorder.py",
        "perceptune/tracking",
        "recorded recording",
        "a recorder is tested as a whole: its process, and the run seen from the other one",
    ),
    (
        "data/test_sources.py",
        "perceptune/data",
        "archive dataset idx",
        "every source takes one contract, whatever its format",
    ),
    (
        "data/test_pictures.py",
        "perceptune",
        "data/centring",
        "photographs go through all of them, and what comes out is compared",
    ),
    (
        "nn/test_fit.py",
        "perceptune/nn",
        "recipe state trainer",
        "a step, its recipe and its state show in what a training does",
    ),
    (
        "nn/test_network.py",
        "perceptune/nn",
        "workspace",
        "buffers are right when the gradient of every batch is",
    ),
    (
        "backends/test_backend.py",
        "perceptune/backends",
        "jax keras numpy sklearn torch",
        "every library takes our steps, or refuses",
    ),
    (
        "sweeper/test_plugin.py",
        "hydra_plugins/optuna_joblib_sweeper",
        "config launcher sweeper",
        "Hydra finds the plugin, and its configurations are Optuna's arguments",
    ),
    (
        "sweeper/test_sweeps.py",
        "optuna_joblib_sweeper",
        "_confirm _driver _fingerprint _outputs _plan _samplers _trial "
        "current errors paths settings",
        "whole sweeps in one process: what arrives in the task, what is refused, what is left",
    ),
    (
        "sweeper/test_studies.py",
        "optuna_joblib_sweeper",
        "_engine _job _progress _record _study _worker",
        "whole studies by an app's command line, with processes for workers",
    ),
    (
        "sweeper/test_kills.py",
        "optuna_joblib_sweeper",
        "_storage",
        "a storage is mended after real kills",
    ),
    (
        "sweeper/test_space.py",
        "optuna_joblib_sweeper",
        "_space_syntax _values",
        "each way to write a space shows in the space, each value in its override",
    ),
    (
        "reports/test_study.py",
        "optuna_joblib_sweeper",
        "_analysis",
        "figures and importances are read on the page of a study",
    ),
]

LIMITS = {"nn": 1250, "perceptune": 6700, "backends": 850, "sweeper": 4250}


def modules() -> dict[str, Path]:
    """The file of every module that is not a package, by its path from its distribution."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        parts = parts[1:] if parts[0] == "sweeper" else parts
        assert parts[0] in PACKAGES, path
        if parts[-1] != "__init__":
            found["/".join(parts)] = path
    return found


def own_test(module: str) -> Path:
    """The test file that bears the name of `module`, whether it is there or not."""
    package, *folders, name = module.split("/")
    where = folders if package == "perceptune" else ["sweeper"]
    return Path(ROOT, "tests", *where, f"test_{name.lstrip('_')}.py")


MODULES = modules()
LISTED = [f"{folder}/{name}" for _, folder, names, _ in TESTED_FROM_ABOVE for name in names.split()]


def test_the_top_of_perceptune_holds_ten_modules_or_fewer() -> None:
    assert len(list((SOURCE / "perceptune").glob("*.py"))) <= 10


def test_every_module_has_a_test_of_its_name_or_is_tested_from_above() -> None:
    alone = {module for module in MODULES if not own_test(module).is_file()}
    assert sorted(alone - set(LISTED)) == []


def test_the_list_of_those_tested_from_above_is_not_stale() -> None:
    assert sorted(set(LISTED) - MODULES.keys()) == []
    assert [module for module in LISTED if own_test(module).is_file()] == []
    assert len(LISTED) == len(set(LISTED))
    for test, _, _, reason in TESTED_FROM_ABOVE:
        assert (ROOT / "tests" / test).is_file()
        assert reason


def test_packages_define_nothing_themselves() -> None:
    """So that a name has one place, in the module that a test mirrors."""
    definitions = (ast.FunctionDef, ast.ClassDef)
    for path in SOURCE.rglob("__init__.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert not [node.name for node in tree.body if isinstance(node, definitions)], path


@pytest.mark.parametrize("part", LIMITS)
def test_a_part_has_no_more_lines_than_agreed(part: str) -> None:
    texts = [path.read_text("utf-8") for path in code_size.parts()[part]]
    assert sum(len(code_size.code_lines(text)) for text in texts) <= LIMITS[part]


def test_functions_are_short() -> None:
    bodies = [
        (size, f"{path.relative_to(SOURCE)}:{name}")
        for files in code_size.parts().values()
        for path in files
        for name, size in code_size.functions(path.read_text("utf-8"))
    ]
    assert statistics.median(size for size, _ in bodies) <= 6
    assert [where for size, where in bodies if size > 40] == []
