"""OmegaConf resolvers of the app, on their way to the workers."""

import contextlib
from collections.abc import Callable
from typing import Any


def shippable_resolvers() -> dict[str, Callable[..., Any]]:
    """OmegaConf resolvers that the app registered; workers never run the app's main module."""
    import cloudpickle
    from omegaconf.basecontainer import BaseContainer

    found = {}
    for name, resolver in getattr(BaseContainer, "_resolvers", {}).items():
        if name.startswith("oc.") or name in ("now", "hydra", "python_version"):
            continue
        wrapped = _unwrapped(resolver)
        with contextlib.suppress(Exception):
            cloudpickle.dumps(wrapped)
            found[name] = wrapped
    return found


def _unwrapped(resolver: Callable[..., Any]) -> Callable[..., Any]:
    """The function that was registered, out of OmegaConf's wrapper around it."""
    code = getattr(resolver, "__code__", None)
    cells = getattr(resolver, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        if name == "resolver":
            inner: Callable[..., Any] = cell.cell_contents
            return inner
    return resolver
