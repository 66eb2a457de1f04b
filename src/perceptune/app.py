"""Integration with Hydra: the location of the configuration, and its composition for a command.

Importing this module registers the resolvers `${perceptune.…:}`, in every process that composes.
"""

import os
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from optuna_joblib_sweeper.leftovers import own_temporaries
from optuna_joblib_sweeper.secrets import masked
from perceptune.config import CHOICES, FORMER, Config, parse, warn_of_former
from perceptune.errors import UserError, fail
from perceptune.overrides import mistakes, options, unreadable, words
from perceptune.overrides.known import known
from perceptune.tracking.store import (
    artifacts_beside,
    clear_partial_files,
    default_experiment,
    default_uri,
)

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `conf` and `sweeps`.

    A checkout comes first: an editable install leaves stale copies in the package. In a wheel the
    folder holds nothing else, for Hydra would take it for a group of configurations.
    """
    repository = _PACKAGE.parents[1]
    checkout = (repository / "conf" / "config.yaml").is_file()
    return repository if checkout else _PACKAGE / "configs"


def run(command: str, given: Namespace, job: Callable[..., Any]) -> None:
    """Run `job` with each configuration that Hydra composes from what was `given`.

    Raises:
        UserError: an override that Hydra refuses.
    """
    import hydra

    from perceptune.commands._private import MAIN, checked_configs, text_helps

    if given.help:
        print(_help_of(given), end="")
        return
    clear_partial_files()
    # A password is passed on by the environment alone, which no file keeps.
    given.overrides = [_without_password(word) for word in given.overrides]
    # These groups are in the defaults list already, so Hydra would refuse the `+`.
    typed = [re.sub(r"^\+(?=(experiment|sweeps)=)", "", word) for word in given.overrides]
    many = None if command == "compare" else given.multirun
    overrides = words.readable(_without_former(typed), many=bool(many))
    sys.argv = [f"perceptune {command}", *options.for_hydra(given), *overrides]
    decorate = hydra.main(config_path=str(root() / "conf"), config_name="config", **MAIN)
    with _explained(overrides, given.config_dir, many=many), checked_configs(), text_helps():
        decorate(job)()


def _without_password(word: str) -> str:
    key, _, value = word.partition("=")
    if key.lstrip("+") != "tracking.uri" or masked(value) == value:
        return word
    os.environ["MLFLOW_TRACKING_URI"] = value.strip("'\"")
    return f"{key}=${{perceptune.store:}}"


@contextmanager
def refusals() -> Iterator[None]:
    """For a job that Hydra runs alone: a mistake ends it in one line.

    If nothing has been trained, the records that Hydra wrote for it are removed. A study that was
    typed is refused, since it has many jobs; the overlay of a winner still names the study.

    Raises:
        SystemExit: in place of a UserError.
    """
    from hydra.core.hydra_config import HydraConfig

    try:
        typed: Any = OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)
        for word in (*typed["task"], *typed["hydra"]):
            _refuse_study(word)
        yield
    except UserError as error:
        if not hasattr(error, "outcome"):
            _remove_records()
        fail(str(error))  # SystemExit, which Hydra does not report


def _refuse_study(word: str) -> None:
    _, group, option = words.split(word)
    if option != {"sweeps": "null", "hydra/sweeper": "basic"}.get(group, option):
        study = f"{group}={option}"
        raise UserError(f"{study} is a study; add -m: perceptune train -m {study}")


def _remove_records() -> None:
    """Remove the files that Hydra wrote for a job that never ran, and folders that are empty."""
    from hydra.core.hydra_config import HydraConfig

    settings = HydraConfig.get()
    folder, here = Path(settings.runtime.output_dir), Path(settings.runtime.cwd)
    if settings.output_subdir:
        shutil.rmtree(folder / settings.output_subdir, ignore_errors=True)
    for place in (folder, *folder.parents):
        if here not in place.parents:
            return
        try:
            place.rmdir()
        except OSError:  # it holds other files
            return


def in_start_folder(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Make `job` run in the folder where the command was started, in every process.

    A relative path then has one meaning, whatever `hydra.job.chdir` says. Temporary files are in a
    folder of the process, so that the next start finds those of a killed one.
    """

    from hydra.core.hydra_config import HydraConfig

    @wraps(job)
    def located(composed: DictConfig) -> Any:
        with chdir(HydraConfig.get().runtime.cwd), own_temporaries("perceptune"):
            return job(composed)

    return located


def compose(overrides: Sequence[str]) -> Config:
    """Compose and parse the configuration of `perceptune train` with these overrides.

    Raises:
        UserError: an override that Hydra refuses; see also `config.parse`.
    """
    from hydra import compose as hydra_compose

    overrides = words.readable(_without_former(overrides), many=False)
    for word in overrides:
        _refuse_study(word)
    with _explained(overrides), _initialized():
        return parse(hydra_compose("config", overrides))


def _help_of(given: Namespace) -> str:
    """The help of a command that takes overrides, with the options of all groups."""
    with _initialized():
        there = known(given.overrides)
        groups = {name: there.options(name) for name in there.groups if "/" not in name}
    return options.help_text(given, groups)


def names_beside(overrides: Sequence[str], key: str | None = None) -> list[str]:
    """The groups and keys that may be set beside `overrides`, or the values of `key`, if few."""
    with _initialized():
        there = known(overrides)
        if key is None:
            return [*there.groups, *there.keys]
        return there.options(key) if key in there.groups else list(CHOICES.get(key, ()))


@contextmanager
def _initialized() -> Iterator[None]:
    from hydra import initialize_config_dir

    from perceptune.commands._private import VERSION_BASE, checked_configs

    folder = str(root() / "conf")
    with checked_configs(), initialize_config_dir(folder, **VERSION_BASE):
        yield


@contextmanager
def _explained(
    overrides: list[str], folder: str | None = None, *, many: bool | None = None
) -> Iterator[None]:
    """Turn what Hydra says of `overrides` into a line; `folder` has configuration of the user's."""
    try:
        if any("+hydra." in word for word in overrides):
            with _initialized():
                mistakes.refuse_added(overrides)
        yield
    except Exception as error:
        if (fault := unreadable.fault_of(error)) is not None:
            raise UserError(fault) from error
        if not mistakes.is_of_hydra(error):
            raise
        beside = [f"hydra.searchpath=[{_file(root())},{_file(Path(folder))}]"] if folder else []
        with _initialized():
            line = mistakes.explain(error, [*overrides, *beside], many=many)
        raise UserError(line) from error


def _file(folder: Path) -> str:
    return f"'file://{folder.absolute()}'"


def _without_former(overrides: Sequence[str]) -> list[str]:
    """The overrides without settings of the previous version, which Hydra would refuse."""
    keys = [word.partition("=")[0].lstrip("+~") for word in overrides]
    for key in set(FORMER) & set(keys):
        warn_of_former(key)
    return [word for word, key in zip(overrides, keys, strict=True) if key not in FORMER]


def _direction(objective: Any) -> Any:
    """The direction of a study with this `objective`, or of each if it is a list."""
    if isinstance(objective, str):
        return "maximize" if objective.endswith("accuracy") else "minimize"
    return [_direction(name) for name in objective]


_RESOLVERS: dict[str, Callable[..., Any]] = {
    "root": lambda: str(root()),
    "store": default_uri,
    "experiment": default_experiment,
    "direction": _direction,
    "artifacts": artifacts_beside,
}
# OmegaConf 2.3 has an older function of the name that 2.4 prefers.
_NEWER = "replace" in signature(OmegaConf.register_resolver).parameters
_register = getattr(OmegaConf, "register_resolver" if _NEWER else "register_new_resolver")
for _name, _resolver in _RESOLVERS.items():
    _register(f"perceptune.{_name}", _resolver, replace=True)
