"""Private doors of other packages: after an upgrade this file fails first, by the door's name."""

import functools
import importlib
import inspect
import platform
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

import optuna_joblib_sweeper
from versions import REGISTER

FOLDER = Path(optuna_joblib_sweeper.__file__).parent
DOORS = [
    ("hydra-core", "hydra._internal.utils", "_locate"),
    ("hydra-core", "hydra.core.utils", "JobReturn._return_value"),
    ("hydra-core", "hydra.core.override_parser.types", "Override._convert_value"),
    ("hydra-core", "hydra.core.utils", "run_job"),
    ("hydra-core", "hydra.core.utils", "setup_globals"),
    ("hydra-core", "hydra.core.singleton", "Singleton.get_state"),
    ("Python", "multiprocessing.spawn", "get_preparation_data"),
    ("Python", "multiprocessing.spawn", "prepare"),
    ("omegaconf", "omegaconf.basecontainer", "BaseContainer._resolvers"),
    ("omegaconf", "omegaconf", "ValueNode._set_value"),
    ("omegaconf", "omegaconf", "ValueNode._deepcopy_impl"),
    ("omegaconf", "omegaconf", "DictConfig._content"),
    ("optuna", "optuna.trial", "FrozenTrial._trial_id"),
    ("optuna", "optuna.trial", "Trial.relative_params"),
    ("joblib", "joblib._parallel_backends", "LokyBackend.configure"),
    ("joblib", "joblib._parallel_backends", "LokyBackend._prepare_worker_env"),
    ("joblib", "joblib.executor", "get_memmapping_executor"),
    ("joblib", "joblib.externals.loky.process_executor", "TerminatedWorkerError"),
]
if version("hydra-core") < "1.4":  # later ones have an interpolation in its place
    DOORS.append(("hydra-core", "hydra._internal.config_loader_impl", "get_overrides_dirname"))


@pytest.mark.parametrize(("distribution", "module", "name"), DOORS)
def test_a_door_is_where_it_was(distribution: str, module: str, name: str) -> None:
    owner = importlib.import_module(module)
    first, _, rest = name.partition(".")
    found = getattr(owner, first, None)
    # Fields and what a constructor sets stand in the class's source, not on the class.
    there = found is not None and (
        not rest or hasattr(found, rest) or rest in inspect.getsource(found)
    )
    assert there, (
        f"{distribution} {_version(distribution)} has no {module}.{name} any more: find what took "
        f"its place, and change optuna_joblib_sweeper/_private.py, or _nodes.py"
    )


def _version(distribution: str) -> str:
    return platform.python_version() if distribution == "Python" else version(distribution)


def test_every_door_is_opened_in_one_module_alone() -> None:
    """Underscored modules and names of other packages are imported by `_private.py` only."""
    marks = ("hydra._internal", "._parallel_backends", "joblib.externals", "basecontainer")
    marks += ("_return_value", "._trial_id", "joblib.executor", "._resolvers", "_convert_value")
    users = {
        path.name for path in FOLDER.glob("*.py") if any(mark in path.read_text() for mark in marks)
    }
    assert users == {"_private.py"}
    # Apart, because every Hydra app loads it, and `_private` imports Optuna and joblib.
    marks = ("_set_value", "_deepcopy_impl", '"_content"')
    users = {
        path.name for path in FOLDER.glob("*.py") if any(mark in path.read_text() for mark in marks)
    }
    assert users == {"_nodes.py"}


def test_optuna_still_makes_the_trial_that_a_storage_has() -> None:
    import optuna

    from optuna_joblib_sweeper import _private

    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5})
    study.ask()
    [waiting] = study.trials
    trial = _private.optuna_trial(study, waiting)
    assert trial.suggest_float("x", 0, 1) == 0.5
    assert _private.trial_id(waiting) == 0


def test_hydras_state_holds_the_resolvers_that_can_be_sent() -> None:
    import cloudpickle
    from omegaconf import OmegaConf

    from optuna_joblib_sweeper import _private

    lock = threading.Lock()
    getattr(OmegaConf, REGISTER)("doubled_here", lambda value: 2 * value)
    getattr(OmegaConf, REGISTER)("locked_here", lambda value: lock and value)
    try:
        state, whole = _private.singletons()
        assert not whole
        sent = cloudpickle.loads(cloudpickle.dumps(state))
        OmegaConf.clear_resolver("doubled_here")
        _private.set_singletons(sent)
        assert OmegaConf.create({"four": "${doubled_here:2}"}).four == 4
        assert OmegaConf.create({"two": "${locked_here:2}"}).two == 2  # this process's own stays
    finally:
        OmegaConf.clear_resolver("doubled_here")
        OmegaConf.clear_resolver("locked_here")


def test_what_only_the_running_script_knows_can_not_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import cloudpickle

    from optuna_joblib_sweeper import _private

    main = sys.modules["__main__"]
    found = functools.cache(len)
    found.__module__, found.__qualname__ = "__main__", "only_here"
    monkeypatch.setattr(main, "only_here", found, raising=False)
    assert not _private.can_be_sent(cloudpickle.dumps(found))
    assert _private.can_be_sent(cloudpickle.dumps(lambda: 1))
    assert sys.modules["__main__"] is main


@pytest.mark.parametrize("name", ["TPESampler", "NSGAIISampler"])
def test_samplers_that_share_what_they_know_of_a_space_suggest_as_fresh_ones(name: str) -> None:
    import optuna

    from optuna_joblib_sweeper import _private

    made, kept = getattr(optuna.samplers, name), {}  # type: ignore[var-annotated]
    drawn = []
    for shares in (False, True):
        study = optuna.create_study()
        for number in range(30):
            study.sampler = made(seed=number)
            if shares:
                _private.share_search_spaces(study.sampler, kept)
            trial = study.ask()
            x = trial.suggest_float("x", 0, 1)
            y = trial.suggest_int("y", 0, 9) if number > 20 else 0
            study.tell(trial, x + y)
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]
    assert kept
