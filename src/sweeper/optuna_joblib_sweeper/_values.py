"""Config values as override text, and back from Hydra's parser; knows no space and no study."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

_BARE = re.compile(r"[A-Za-z_][\w./-]*\Z")
_RESERVED = {"null", "true", "false", "nan", "inf"}


def override_text(value: Any) -> str:
    """Write `value` so that Hydra's override grammar reads the same value again.

    Strings are quoted wherever the bare word would be read as something else.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        pairs = (f"{override_text(key)}:{override_text(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(override_text, value)) + "]"
    text = str(value)
    if _BARE.match(text) and text.lower() not in _RESERVED:
        return text
    return QuotedString(text, Quote.single).with_quotes()


def short_text(key: str, value: Any) -> str:
    """A compact `key=value` for names of runs and tables: last part of the key, three digits."""
    name = re.split(r"[./]", key.lstrip("+~").split("@")[0])[-1]
    return f"{name}={short_value(value)}"


def short_value(value: Any) -> str:
    """A value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else override_text(value)
