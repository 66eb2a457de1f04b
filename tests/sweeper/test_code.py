"""Code that a config names: refused before it is called, or its module even imported."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from apps import App, Sweeps
from hydra.errors import HydraException

from optuna_joblib_sweeper._code import AppCode, build, check_targets
from optuna_joblib_sweeper.errors import SweepError

SAMPLER = "hydra.sweeper.sampler"
MADE = "made_by_a_config.txt"
NAMED_IN_A_CONFIG = [
    [f"{SAMPLER}._target_=logging.FileHandler", f"+{SAMPLER}.filename={MADE}"],
    ["hydra.sweeper.pruner._target_=logging.FileHandler", f"+hydra.sweeper.pruner.filename={MADE}"],
    [f"{SAMPLER}._target_=pathlib.Path.touch", f"{SAMPLER}._args_=[{MADE}]"],
    [f"{SAMPLER}._target_=evil.GridSampler"],
    [f"{SAMPLER}._target_=optuna.samplers._base.np.load", f"+{SAMPLER}.file={MADE}"],
    [f"{SAMPLER}._target_=optuna.study.Study"],
    [f"{SAMPLER}._target_=optuna.create_study"],
    [f"{SAMPLER}._target_=optuna.pruners.NopPruner"],
    [f"{SAMPLER}._target_=optuna.samplers.RandomSampler", f"{SAMPLER}._args_=[1]"],
    [f"{SAMPLER}.gamma={{_target_:logging.FileHandler,filename:{MADE}}}"],
    [f"{SAMPLER}.search_space={{a:[{{_target_:logging.FileHandler,filename:{MADE}}}]}}"],
    [
        f"{SAMPLER}._target_=optuna.samplers.CmaEsSampler",
        f"{SAMPLER}.independent_sampler={{_target_:logging.FileHandler,filename:{MADE}}}",
    ],
    [
        "hydra/sweeper/pruner=patient",
        f"hydra.sweeper.pruner.wrapped_pruner={{_target_:logging.FileHandler,filename:{MADE}}}",
    ],
    [
        f"{SAMPLER}._target_=logging.FileHandler",
        f"{SAMPLER}.filename={MADE}",
        "hydra.sweeper._recursive_=true",
    ],
    ["hydra.sweeper._recursive_=${x}"],
]


@pytest.mark.parametrize("dry", ["true", "false"])
@pytest.mark.parametrize("overrides", NAMED_IN_A_CONFIG, ids=str)
def test_a_sampler_or_pruner_is_optunas_own_and_nothing_else_is_called(
    sweep: Sweeps, overrides: list[str], dry: str
) -> None:
    with pytest.raises(HydraException, match=r"Optuna's|_args_|_recursive_") as refusal:
        sweep(lambda config: 1.0, *overrides, "x=1,2", f"hydra.sweeper.dry_run={dry}")
    assert len(str(refusal.value).splitlines()) == 1
    assert sorted(path.name for path in sweep.folder.iterdir()) == ["conf"]


def test_a_module_of_others_is_not_even_imported(tmp_path: Path, modules: Path) -> None:
    (modules / "noticed.py").write_text(f"open({str(tmp_path / MADE)!r}, 'w')\n")
    with pytest.raises(SweepError, match="Optuna's"):
        check_targets({"_target_": "noticed.Sampler"}, SAMPLER)
    with pytest.raises(SweepError, match="is refused"):
        AppCode.of(echo).function("hydra.sweeper.check", "noticed.check")
    assert not (tmp_path / MADE).exists()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_objects_of_optunas_are_made_in_arguments_too() -> None:
    nested = {"_target_": "optuna.samplers.RandomSampler", "seed": 3, "_convert_": "all"}
    config = {"_target_": "optuna.samplers.QMCSampler", "independent_sampler": nested}
    check_targets(config, SAMPLER)
    made = build(config, optuna.samplers.BaseSampler, SAMPLER)
    assert isinstance(made._independent_sampler, optuna.samplers.RandomSampler)


def test_a_setting_that_no_sampler_has_is_refused_and_that_of_another_is_left_out(
    sweep: Sweeps,
) -> None:
    with pytest.raises(SweepError, match="did you mean n_startup_trials"):
        sweep(echo, "hydra/sweeper/sampler=tpe", f"{SAMPLER}.n_startup_trial=3", "x=1,2")
    sweep(echo, "hydra/sweeper/sampler=random", f"{SAMPLER}.n_startup_trials=3", "x=1,2")
    assert len(sweep.study().trials) == 20


def echo(config: Any) -> float:
    return 1.0


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be imported; not the current one."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppCode]:
    """An app's folder with a module, a package, and an environment that it keeps there."""
    folder = tmp_path / "own_app"
    installed = folder / ".venv" / "lib" / "site-packages"
    (folder / "own_package").mkdir(parents=True)
    installed.mkdir(parents=True)
    source = "import os, subprocess, functools\nfrom os import system\n"
    source += "def hook(*found): pass\nshell = functools.partial(system)\nLIMIT = 3\n"
    source += "class Hook:\n    def __call__(self, found): pass\nready = Hook()\n"
    (folder / "own_module.py").write_text(source)
    (folder / "own_package" / "hooks.py").write_text(source)
    (installed / "own_tool.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.syspath_prepend(installed)
    yield AppCode("__main__", folder)
    for name in ("own_module", "own_package", "own_package.hooks", "own_tool"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["own_module.hook", "own_package.hooks.hook", "own_module.ready"])
def test_functions_in_the_apps_folder_are_its_own(own: AppCode, path: str) -> None:
    assert own.function("hydra.sweeper.check", path)


@pytest.mark.parametrize(
    "path",
    [
        *("os.system", "subprocess.run", "builtins.eval", "builtins.exec", "posix.system"),
        *("own_module.os.system", "own_module.system", "own_module.subprocess.Popen"),
        *("own_module.shell", "own_package.hooks.os.system", "own_module.hook.__globals__.clear"),
        *("own_tool.hook", "pytest.main", "optuna.create_study", "hydra.utils.instantiate"),
        "optuna_joblib_sweeper.load_study",
    ],
)
def test_code_of_others_is_no_hook_however_it_is_named(own: AppCode, path: str) -> None:
    with pytest.raises(SweepError, match=r"is refused; name a function of the app's own"):
        own.function("hydra.sweeper.check", path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("own_module.LIMIT", "not a function, but 3"),
        ("own_module.nothing", "No module named 'own_module.nothing'"),
        ("no_such_module.hook", "No module named 'no_such_module'"),
        ("", "Empty path"),
    ],
)
def test_a_hook_that_is_none_is_refused_with_the_reason(
    own: AppCode, path: str, reason: str
) -> None:
    with pytest.raises(SweepError, match=reason):
        own.function("hydra.sweeper.check", path)


def test_the_package_of_the_task_is_the_apps_wherever_it_is_installed(modules: Path) -> None:
    package = modules / "site-packages" / "shop"
    package.mkdir(parents=True)
    (package / "hooks.py").write_text("def hook(): pass\n")
    sys.path.insert(0, str(package.parent))
    try:
        assert AppCode("shop.train", package).function("hydra.sweeper.check", "shop.hooks.hook")
    finally:
        sys.path.remove(str(package.parent))
        for name in ("shop", "shop.hooks"):
            sys.modules.pop(name, None)


def test_a_space_is_shaped_by_a_module_of_the_current_folder(app: App) -> None:
    elsewhere = app.folder.parent / "elsewhere"
    elsewhere.mkdir()
    shape = "def configure(config, trial):\n    trial.suggest_float('y', 2, 3)\n"
    (elsewhere / "my_space.py").write_text(shape)
    space = ("hydra.sweeper.custom_search_space=my_space.configure", "~hydra.sweeper.params.y")
    where = ("hydra.sweeper.storage=" + str(app.folder / "optuna.journal"), "x=1")
    done = app.run(*space, *where, cwd=elsewhere)
    assert "6/6" in done.stdout
    assert all(2 <= trial.params["y"] <= 3 for trial in app.study().trials)


def test_another_hook_comes_from_the_app_alone(app: App) -> None:
    elsewhere = app.folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "evil.py").write_text("open('imported', 'w')\ndef run(result): pass\n")
    done = app.run("hydra.sweeper.on_complete=evil.run", cwd=elsewhere, ok=False)
    assert "hydra.sweeper.on_complete=evil.run: No module named 'evil'" in done.stderr
    (app.folder / "hooks.py").write_text("def run(result): print('handed', len(result.trials))\n")
    assert "handed 6" in app.run("hydra.sweeper.on_complete=hooks.run").stdout
