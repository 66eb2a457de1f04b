"""Passwords in URIs: masked wherever a URI is shown or kept. Opens nothing."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

MASK = "***"
# A port is no password, and an interpolation is none yet. A password may hold @ and /.
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):(?!\d+[/?]|\$\{)[^\s@]*(?:@[^\s@/]*)*@(?=[^/\s])")
_WORD = r"[\w-]*(?:password|passwd|pwd|token|secret|key)[\w-]*"
_QUERY = re.compile(rf"(?i)([?&;]{_WORD}=)(?!\$\{{)[^&;\s'\"]*")


def masked(text: str) -> str:
    """`text` with `***` in place of every password in it.

    >>> masked("postgresql://me:secret@host/studies")
    'postgresql://me:***@host/studies'
    >>> masked("mysql://host/studies?user=me&password=secret")
    'mysql://host/studies?user=me&password=***'
    >>> masked("postgresql://me:${oc.env:PASSWORD}@host/studies")
    'postgresql://me:${oc.env:PASSWORD}@host/studies'
    """
    return _QUERY.sub(rf"\1{MASK}", _PASSWORD.sub(rf"\1:{MASK}@", text))


def is_masked(uri: str) -> bool:
    """Whether a URI was kept without its password, and so opens nothing."""
    return f":{MASK}@" in uri or f"={MASK}" in uri


def masked_value(value: Any) -> Any:
    """A copy of plain values, at any depth, with the passwords in their texts masked."""
    if isinstance(value, Mapping):
        return {key: masked_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked_value(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def mask_config(config: "DictConfig") -> None:
    """Mask every password in the texts of a config, in place."""
    from omegaconf import OmegaConf, read_write

    for path, text in list(_texts(OmegaConf.to_container(config, resolve=False), ())):
        if masked(text) != text:
            node: Any = config
            for key in path[:-1]:
                node = node[key]
            with read_write(node):
                node[path[-1]] = masked(text)


def masked_copy(config: "DictConfig") -> "DictConfig":
    """A copy of a config with its passwords masked."""
    copied = copy.deepcopy(config)
    mask_config(copied)
    return copied


def _texts(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, Mapping | list):
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in pairs:
            yield from _texts(value, (*path, key))
