"""How the commands that take overrides have Hydra compose their configuration."""

import sys
from typing import Any

from perceptune.errors import UserError
from perceptune.paths import register_resolvers, root


def composed(command: str, arguments: list[str], job: Any) -> Any:
    """What runs `job` with the configuration that Hydra composes from `arguments`."""
    if any(argument.startswith("--experimental-rerun") for argument in arguments):
        raise UserError("--experimental-rerun is refused: it would load a pickle")
    import hydra

    register_resolvers()
    # Our presets are a group that is there already, so Hydra would refuse the `+`.
    overrides = [
        word.removeprefix("+") if word.startswith("+experiment=") else word for word in arguments
    ]
    sys.argv = [f"perceptune {command}", *overrides]
    conf = str(root() / "conf")
    return hydra.main(config_path=conf, config_name="config", version_base="1.3")(job)
