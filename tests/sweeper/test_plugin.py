"""The plugin as Hydra finds it: discovery, its configs, its neighbours, the wheel."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.test_utils import TSweepRunner
from omegaconf import OmegaConf

from hydra_plugins.optuna_joblib_sweeper.config import PRUNERS, SAMPLERS
from hydra_plugins.optuna_joblib_sweeper.sweeper import OptunaJoblibSweeper

ROOT = Path(__file__).parents[2]


def test_hydra_discovers_the_sweeper_and_its_neighbour() -> None:
    names = {plugin.__name__ for plugin in Plugins.instance().discover()}
    assert {OptunaJoblibSweeper.__name__, "JoblibLauncher"} <= names
    assert OptunaJoblibSweeper.__name__ in {
        p.__name__ for p in Plugins.instance().discover(Sweeper)
    }


def test_the_namespace_package_is_open_to_other_plugins() -> None:
    assert not (ROOT / "src" / "sweeper" / "hydra_plugins" / "__init__.py").exists()


def test_discovery_imports_neither_optuna_nor_joblib() -> None:
    code = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance();"
        "import hydra_plugins.optuna_joblib_sweeper.sweeper, optuna_joblib_sweeper;"
        "assert not {'optuna', 'joblib', 'mlflow', 'matplotlib', 'rich.console'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_task_imports_is_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import optuna_joblib_sweeper;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "strangers = new - sys.stdlib_module_names - {'optuna_joblib_sweeper'};"
        "assert not strangers, strangers"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("table", [SAMPLERS, PRUNERS])
def test_every_setting_of_the_configs_is_an_argument_of_optuna(table: Any) -> None:
    import inspect

    from hydra.utils import get_class

    for config in table.values():
        settings = {key for key in config if not key.startswith("_")}
        if config["_target_"].endswith("NopPruner"):
            continue
        known = set(inspect.signature(get_class(config["_target_"])).parameters)
        assert settings <= known, config["_target_"]


def test_an_optuna_plugin_that_was_there_first_keeps_its_configs(
    hydra_restore_singletons: None,
) -> None:
    from hydra_plugins.optuna_joblib_sweeper import config

    store = ConfigStore.instance()
    del store.repo["hydra"]["sweeper"]["sampler"]["tpe.yaml"]
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
