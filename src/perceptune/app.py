"""Integration with Hydra: the location of the configuration, and its composition for a command.

Importing this module registers the resolvers `${perceptune.…:}`, in every process that composes.
"""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from perceptune.config import FORMER, Config, parse, warn_of_former
from perceptune.errors import UserError
from perceptune.tracking.store import artifacts_beside, default_uri

_PACKAGE = Path(__file__).resolve().parent
_VERSION_BASE = "1.3"


def root() -> Path:
    """The folder that holds `conf` and `sweeps`.

    A checkout comes first: an editable install leaves stale copies in the package.
    """
    repository = _PACKAGE.parents[1]
    return repository if (repository / "conf" / "config.yaml").is_file() else _PACKAGE


def hydra_app(command: str, arguments: Sequence[str], job: Callable[..., Any]) -> Callable[[], Any]:
    """Make a function that runs `job` with each configuration that Hydra composes from `arguments`.

    Raises:
        UserError: an argument would make Hydra load a pickle.
    """
    if any(argument.startswith("--experimental-rerun") for argument in arguments):
        raise UserError("--experimental-rerun is refused: it would load a pickle")
    import hydra

    # The group `experiment` is in the defaults list already, so Hydra would refuse the `+`.
    overrides = [re.sub(r"^\+(?=experiment=)", "", word) for word in _without_former(arguments)]
    sys.argv = [f"perceptune {command}", *overrides]
    decorate = hydra.main(
        config_path=str(root() / "conf"), config_name="config", version_base=_VERSION_BASE
    )
    app: Callable[[], Any] = decorate(job)
    return app


def in_start_folder(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Make `job` run in the folder where the command was started, in every process.

    A relative path then has one meaning, whatever `hydra.job.chdir` says.
    """

    @wraps(job)
    def located(composed: DictConfig) -> Any:
        with chdir(HydraConfig.get().runtime.cwd):
            return job(composed)

    return located


def compose(overrides: Sequence[str]) -> Config:
    """Compose and parse the configuration of `perceptune train` with these overrides.

    Raises:
        UserError: see `config.parse`.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(root() / "conf"), version_base=_VERSION_BASE):
        return parse(hydra_compose("config", _without_former(overrides)))


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
    "direction": _direction,
    "artifacts": artifacts_beside,
}
for _name, _resolver in _RESOLVERS.items():
    OmegaConf.register_new_resolver(f"perceptune.{_name}", _resolver, replace=True)
