"""The rules on imports, checked in the source: which part may import which."""

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# What files below a folder may import beside the standard library.
ALLOWED = {
    "perceptune/nn/": {"numpy", "perceptune.nn"},
    "perceptune/data/": {
        "numpy",
        "pooch",
        "PIL",
        "scipy",  # ndimage: finds the ink of photographs
        "filelock",
        "tqdm",  # pooch's own progress bar
        "perceptune.data",
        "perceptune.errors",
        "perceptune.nn.checks",
        "perceptune.nn.npz",
    },
    "sweeper/": {
        "hydra",
        "omegaconf",
        "optuna",
        "sqlalchemy",  # what Optuna opens databases with
        "joblib",
        "rich",
        "threadpoolctl",
        "filelock",
        "numpy",
        "psutil",
        "cloudpickle",  # joblib's own way of sending tasks
        "yaml",
        "mlflow",  # these two in few files only, see below
        "matplotlib",
        "optuna_joblib_sweeper",
    },
    # What runs whenever anything of theirs is imported.
    "perceptune/__init__.py": set(),
    "perceptune/backends/__init__.py": set(),
    "sweeper/optuna_joblib_sweeper/__init__.py": {"optuna_joblib_sweeper"},  # see test_plugin
    "sweeper/optuna_joblib_sweeper/current.py": set(),
}

# The only files that may import a package.
ONLY = {
    "mlflow": (
        "perceptune/tracking/",
        "sweeper/optuna_joblib_sweeper/_mlflow.py",
        "sweeper/optuna_joblib_sweeper/mlflow_runs.py",
    ),
    "matplotlib": (
        "perceptune/figures/",
        "sweeper/optuna_joblib_sweeper/_analysis.py",
        "sweeper/optuna_joblib_sweeper/result.py",  # a type's name
    ),
    "jax": ("perceptune/backends/jax.py",),
    "keras": ("perceptune/backends/keras.py",),
    "sklearn": ("perceptune/backends/sklearn.py",),
    "optax": ("perceptune/backends/jax.py",),
    "torch": ("perceptune/backends/torch.py",),
    "hydra_plugins": (),
    "hydra._internal": (
        "perceptune/commands/_private.py",
        "sweeper/optuna_joblib_sweeper/_private.py",
    ),
    "joblib._parallel_backends": ("sweeper/optuna_joblib_sweeper/_private.py",),
    "joblib.executor": ("sweeper/optuna_joblib_sweeper/_private.py",),
    "joblib.externals": ("sweeper/optuna_joblib_sweeper/_private.py",),
}


def imported(source: str, package: str) -> set[str]:
    """The modules that `source`, a file of `package`, imports, wherever in it that happens."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                module = f"{base}.{alias.name}"
                places = [top.joinpath(*module.split(".")) for top in (SOURCE, SOURCE / "sweeper")]
                ours = any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)
                found.add(module if ours else base)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            target = node.args[0]
            if name in ("import_module", "__import__") and isinstance(target, ast.Constant):
                found.add(str(target.value))
    return found


def without_type_checking(source: str) -> str:
    """`source` without what only a type checker reads."""
    tree = ast.parse(source)

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if is_for_types else self.generic_visit(node)

    return ast.unparse(Remover().visit(tree)) or "pass"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    parts = parts[1:] if parts[0] == "sweeper" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run_time_imports() -> dict[str, set[str]]:
    """For each of our modules those of ours that it imports, wherever in it that happens."""
    files = {module_name(path): path for path in SOURCE.rglob("*.py")}
    graph = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = imported(without_type_checking(path.read_text("utf-8")), package)
        graph[name] = {module for module in found if module in files and module != name}
    return graph


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A path of imports that leads back to its start, if there is one."""
    done: set[str] = set()

    def walk(name: str, above: list[str]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name not in done:
            for other in sorted(graph[name]):
                if found := walk(other, [*above, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def of_file(path: Path) -> set[str]:
    package = ".".join(path.relative_to(SOURCE).parts[:-1]).removeprefix("sweeper.")
    return imported(path.read_text("utf-8"), package)


IMPORTS = {path.relative_to(SOURCE).as_posix(): of_file(path) for path in SOURCE.rglob("*.py")}


@pytest.mark.parametrize("place", ALLOWED)
def test_a_part_imports_only_what_it_may(place: str) -> None:
    files = {name: modules for name, modules in IMPORTS.items() if name.startswith(place)}
    assert files
    allowed = ALLOWED[place] | set(sys.stdlib_module_names)
    strangers = {
        name: sorted(module for module in modules if not within(module, allowed))
        for name, modules in files.items()
    }
    assert not {name: modules for name, modules in strangers.items() if modules}


@pytest.mark.parametrize("package", ONLY)
def test_a_package_is_imported_only_where_it_may_be(package: str) -> None:
    users = {
        name for name, modules in IMPORTS.items() if any(within(m, {package}) for m in modules)
    }
    assert {name for name in users if not name.startswith(ONLY[package])} == set()


def test_the_namespace_of_plugins_has_no_init() -> None:
    """With one it would shadow the plugins of other distributions."""
    assert not (SOURCE / "sweeper" / "hydra_plugins" / "__init__.py").exists()


def test_no_import_leads_back_to_its_start_even_inside_functions() -> None:
    assert not cycle(run_time_imports())


def test_a_cycle_would_be_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import a, b.c as d", {"a", "b.c"}),
        ("from a import b", {"a"}),
        ("def f():\n    if g:\n        import a.b", {"a.b"}),
        ("if TYPE_CHECKING:\n    from a.b import C", {"a.b"}),
        ("import importlib\nimportlib.import_module('a.b')", {"importlib", "a.b"}),
        ("__import__('a')", {"a"}),
        ("from perceptune import nn, __version__", {"perceptune.nn", "perceptune"}),
        ("from perceptune.nn import fit", {"perceptune.nn.fit"}),
        ("from . import losses", {"perceptune.nn.losses"}),
        ("from .losses import softmax", {"perceptune.nn.losses"}),
        ("from ..data import sources", {"perceptune.data.sources"}),
        ("'import a'  # import b", set()),
    ],
)
def test_every_way_of_importing_is_found(source: str, modules: set[str]) -> None:
    assert imported(source, "perceptune.nn") == modules
