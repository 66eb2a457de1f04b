"""The plugin as Hydra finds it: discovery, its configs, its neighbours, the wheel."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.test_utils import TSweepRunner
from omegaconf import OmegaConf

from hydra_plugins.optuna_joblib_sweeper.config import PRUNERS, SAMPLERS
from hydra_plugins.optuna_joblib_sweeper.sweeper import OptunaJoblibSweeper

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "optuna_joblib_sweeper" / "example_app" / "app.py"


def test_hydra_discovers_the_sweeper_and_its_neighbour() -> None:
    names = {plugin.__name__ for plugin in Plugins.instance().discover()}
    assert {OptunaJoblibSweeper.__name__, "JoblibLauncher"} <= names
    assert OptunaJoblibSweeper.__name__ in {
        p.__name__ for p in Plugins.instance().discover(Sweeper)
    }


def test_the_namespace_package_is_open_to_other_plugins() -> None:
    assert not (ROOT / "src" / "hydra_plugins" / "__init__.py").exists()


def test_discovery_imports_neither_optuna_nor_joblib() -> None:
    code = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance();"
        "import hydra_plugins.optuna_joblib_sweeper.sweeper, optuna_joblib_sweeper;"
        "assert not {'optuna', 'mlflow', 'rich.console'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("kind", "table"), [("sampler", SAMPLERS), ("pruner", PRUNERS)])
def test_every_knob_of_the_configs_is_an_argument_of_optuna(kind: str, table: object) -> None:
    import inspect

    from hydra.utils import get_class

    for config in dict(table).values():  # type: ignore[call-overload]
        knobs = {key for key in config if not key.startswith("_")}
        if config["_target_"].endswith("NopPruner"):
            continue
        known = set(inspect.signature(get_class(config["_target_"])).parameters)
        assert knobs <= known, config["_target_"]


def test_an_optuna_plugin_that_was_there_first_keeps_its_configs(
    hydra_restore_singletons: None,
) -> None:
    from hydra_plugins.optuna_joblib_sweeper import config

    store = ConfigStore.instance()
    store.store("tpe", {"_target_": "theirs"}, group="hydra/sweeper/sampler", provider="theirs")
    config._store()
    loaded = store.load("hydra/sweeper/sampler/tpe.yaml")
    assert loaded.provider == "theirs"
    assert OmegaConf.to_container(loaded.node) == {"_target_": "theirs"}
    assert store.load("hydra/sweeper/pruner/median.yaml").provider == "optuna_joblib_sweeper"


def test_hydras_own_app_of_the_test_utilities_runs(hydra_sweep_runner: TSweepRunner) -> None:
    sweep = hydra_sweep_runner(
        calling_file=None,
        calling_module="hydra.test_utils.a_module",
        config_path="configs",
        config_name="compose.yaml",
        task_function=None,
        overrides=[
            "hydra/sweeper=optuna_joblib",
            "hydra/launcher=basic",
            "hydra.sweeper.n_trials=8",
            "hydra.sweeper.n_jobs=3",
        ],
    )
    with sweep:
        assert sweep.returns is None


@pytest.mark.slow
def test_the_wheel_brings_the_plugin(tmp_path: Path) -> None:
    build = ["uv", "build", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert not (site / "hydra_plugins" / "__init__.py").exists()
    # -I and -S leave the editable install out; its dependencies come back by their path.
    code = (
        f"import sys, runpy; sys.path[:0] = [{str(site)!r}, {sysconfig.get_path('purelib')!r}];"
        f"sys.argv = [{str(EXAMPLE)!r}, '--multirun', 'hydra.sweeper.n_jobs=1'];"
        f"import optuna_joblib_sweeper as found;"
        f"assert found.__file__.startswith({str(site)!r}), found.__file__;"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "12/12" in done.stdout
