"""The settings as Hydra composes them: what is left in an app's config is answered in one line."""

import copy
from pathlib import Path

import pytest
from apps import CONFIG, App
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from optuna_joblib_sweeper._nodes import FixedError, settings_node
from versions import VERSION_BASE

PLUGINS = "hydra_plugins"
OURS = f"{PLUGINS}.optuna_joblib_sweeper.sweeper.OptunaJoblibSweeper"
HYDRAS = f"{PLUGINS}.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


def composed(folder: Path, settings: str, *overrides: str) -> DictConfig:
    head = "defaults:\n  - override hydra/sweeper: optuna_joblib\n  - _self_\nx: 1\nhydra:\n"
    (folder / "config.yaml").write_text(f"{head}  sweeper:\n    n_trials: 3\n{settings}")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), **VERSION_BASE):
        return compose("config", list(overrides), return_hydra_config=True).hydra.sweeper


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        (f"    _target_: {HYDRAS}\n", []),
        ("", [f"hydra.sweeper._target_={HYDRAS}"]),
        ("    _recursive_: true\n", []),
        ("    _recursive_: ${x}\n", []),
        ("", ["hydra.sweeper._recursive_=true"]),
        ("", ["hydra.sweeper={_recursive_:true}"]),
    ],
)
def test_what_hydra_obeys_at_once_is_fixed(
    tmp_path: Path, settings: str, overrides: list[str]
) -> None:
    with pytest.raises(FixedError) as refusal:
        composed(tmp_path, settings, *overrides)
    assert str(refusal.value).startswith("delete the setting hydra.sweeper._")
    assert len(str(refusal.value).splitlines()) == 1


def test_the_same_value_may_be_repeated(tmp_path: Path) -> None:
    found = composed(tmp_path, f"    _target_: {OURS}\n", "hydra.sweeper._recursive_=false")
    assert (found._target_, found._recursive_) == (OURS, False)
    assert OmegaConf.to_yaml(copy.deepcopy(found)) == OmegaConf.to_yaml(found)


def test_a_copy_is_fixed_too() -> None:
    node = copy.deepcopy(settings_node())
    with pytest.raises(FixedError):
        node._target_ = HYDRAS
    node.n_trials = 4
    assert node.n_trials == 4


@pytest.mark.parametrize(
    ("left", "answer"),
    [
        (f"_target_: {HYDRAS}", f"delete the setting hydra.sweeper._target_={HYDRAS}"),
        ("search_space: {x: 1}", "hydra.sweeper.search_space is no setting of this sweeper; "),
        ("max_trials: 30", "delete it and use hydra.sweeper.n_trials"),
        ("n_warmup_steps: 3", "delete it and use hydra.sweeper.pruner.n_warmup_steps"),
        ("n_trails: 3", "did you mean hydra.sweeper.n_trials?"),
        ("mlflow: {track: true}", "hydra.sweeper.mlflow.track is no setting of this sweeper; "),
        ("wholly_unknown: 3", "hydra.sweeper.wholly_unknown is no setting of this sweeper; delete"),
        (
            "storage: {_target_: optuna.storages.RDBStorage, url: 'mysql://me:secret@host/s'}",
            "hydra.sweeper.storage must be a journal's path or a database's URL, as text",
        ),
    ],
)
def test_a_setting_of_another_sweeper_is_answered_in_one_line(
    app: App, left: str, answer: str
) -> None:
    config = CONFIG.replace("    storage: optuna.journal\n", "")
    (app.folder / "conf" / "config.yaml").write_text(f"{config}    {left}\n")
    done = app.run(ok=False)
    assert done.returncode == 1
    [line, *hydras_own] = [line for line in done.stderr.splitlines() if line]
    assert answer in line
    assert "secret" not in done.stderr
    assert len(hydras_own) <= 1  # its remark on HYDRA_FULL_ERROR
    assert not (app.folder / "multirun").exists()
