"""Passwords in URIs: masked wherever a URI is shown or kept. Opens nothing."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

MASK = "***"
# A port is no password, and an interpolation is none yet. A password may hold @ and /.
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):(?!\d+[/?]|\$\{)[^\s@]*(?:@[^\s@/]*)*@(?=[^/\s])")
_WORD = r"[\w-]*(?:password|passwd|pwd|token|secret|key)[\w-]*"
_QUERY = re.compile(rf"(?i)([?&;]{_WORD}=)(?!\$\{{)[^&;\s'\"]*")
Hidden = Sequence[tuple[tuple[Any, ...], str]]


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


def mask_config(config: "DictConfig") -> Hidden:
    """Mask every password in the texts of a config, in place.

    Returns:
        Where they were, and the texts, for `unmask_config`.
    """
    from omegaconf import OmegaConf

    texts = _texts(OmegaConf.to_container(config, resolve=False), ())
    hidden = [(path, text) for path, text in texts if masked(text) != text]
    _put(config, [(path, masked(text)) for path, text in hidden])
    return hidden


def unmask_config(config: "DictConfig", hidden: Hidden) -> None:
    """Undo `mask_config`, wherever `config` still has the place."""
    _put(config, [(path, text) for path, text in hidden if path[0] in config])


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


def _put(config: "DictConfig", texts: Hidden) -> None:
    from omegaconf import read_write

    for path, text in texts:
        node: Any = config
        for key in path[:-1]:
            node = node[key]
        with read_write(node):
            node[path[-1]] = text
