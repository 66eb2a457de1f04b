"""What is written differently for the versions of Hydra and OmegaConf that are supported."""

import inspect
from typing import Any

import hydra
from omegaconf import OmegaConf

VERSION_BASE: dict[str, Any] = {"version_base": None} if hydra.__version__ < "1.4" else {}
"""For `hydra.initialize` and its like: 1.3 warns without it, 1.4 with it."""

_NEWER = "replace" in inspect.signature(OmegaConf.register_resolver).parameters
REGISTER = "register_resolver" if _NEWER else "register_new_resolver"
"""Name of the function of `OmegaConf`; 2.3 has an older one of the newer name."""
