"""Where the configuration lies, and what its files may ask of Python by `${perceptune.…:}`."""

from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `conf` and `sweeps`.

    A checkout comes first: an editable install leaves copies in the package that grow stale.
    """
    repository = _PACKAGE.parents[1]
    return repository if (repository / "conf" / "config.yaml").is_file() else _PACKAGE


def register_resolvers() -> None:
    """Make the resolvers known; every process that composes needs them."""
    from omegaconf import OmegaConf

    from perceptune.tracking.store import artifacts_beside, default_uri

    register = OmegaConf.register_new_resolver
    register("perceptune.root", lambda: str(root()), replace=True)
    register("perceptune.store", default_uri, replace=True)
    register("perceptune.direction", _direction, replace=True)
    register("perceptune.artifacts", artifacts_beside, replace=True)


def _direction(objective: Any) -> Any:
    """Which way a study goes for `objective`, one name or a list of them."""
    if isinstance(objective, str):
        return "maximize" if objective.endswith("accuracy") else "minimize"
    return [_direction(name) for name in objective]
