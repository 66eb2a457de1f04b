"""Words of the command line in the form that Hydra's grammar reads. Knows no configuration.

A file's name may hold what the grammar refuses or takes for a sweep; it is quoted for the user.
"""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from perceptune.errors import UserError, shorten

# Settings whose value is text; each is taken as it is written.
TEXTS = (
    *("data.path", "data.dir", "resume", "register", "tracking.uri", "tracking.experiment"),
    *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweeper.storage", "hydra.sweeper.study_name"),
)
GROUPS = ("data", "model", "optimizer", "schedule", "train", "tracking")
_LIST_OF_ONE = re.compile(rf"({'|'.join(GROUPS)})=\[([\w-]*)\]")
# Unicode without control characters, and without what is left of bytes that are not UTF-8.
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
_KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@:/-]*", re.ASCII)


def readable(words: Sequence[str], *, many: bool) -> list[str]:
    """Quote values that Hydra would refuse, or would not take as the text that they are.

    Args:
        words: overrides as they were typed.
        many: for a multirun, where a comma separates values.

    Raises:
        UserError: characters that no setting can hold, or a list where a group takes one option.
    """
    for word in words:
        if not _TEXT.fullmatch(word):
            raise UserError(f"{shorten(repr(word))} has characters that no setting can hold")
        if word.startswith("-"):
            raise UserError(f"an override has no dashes: {shorten(word.lstrip('-'))}")
        if word.startswith(("hydra.sweeper=", "hydra.launcher=")):
            raise UserError(f"{shorten(word)} would replace all its settings; name one of them")
        if one := _LIST_OF_ONE.fullmatch(word):
            raise UserError(f"{word} is a list; write {one[1]}={one[2] or 'OPTION'}")
    return [_readable(word, many=many) for word in words]


def parsed(word: str) -> Override | None:
    """The override as Hydra understands it, or None where its grammar refuses `word`."""
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, RecursionError):
        return None


def split(word: str) -> tuple[str, str, str]:
    """The marks, the key and the value of an override.

    >>> split("++optimizer.lr=0.1")
    ('++', 'optimizer.lr', '0.1')
    """
    key, _, value = word.partition("=")
    name = key.lstrip("+~")
    return key[: len(key) - len(name)], name, value


def open_mark(text: str) -> str | None:
    """The first bracket or quote of `text` that has no partner.

    >>> open_mark("[64,[32]")
    '['
    """
    marks, quote = [], None
    for mark in text:
        if quote or mark in "'\"":
            quote = None if mark == quote else quote or mark
        elif mark in _CLOSING.values():
            marks.append(mark)
        elif mark in _CLOSING and (not marks or marks.pop() != _CLOSING[mark]):
            return mark
    return quote or (marks[0] if marks else None)


def _readable(word: str, *, many: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals or not value or not _KEY.fullmatch(key):
        return word
    override = parsed(word)
    if override is None:
        pieces = [value] if not many or set(value) & set("([{'\"") else value.split(",")
        return f"{key}=" + ",".join(p if parsed(f"{key}={p}") else _quoted(key, p) for p in pieces)
    is_other = not many and override.is_sweep_override()
    if key in TEXTS and (is_other or isinstance(override.value(), int | float)):
        return f"{key}={_quoted(key, value)}"
    return word


def _quoted(key: str, value: str) -> str:
    """The value as text; where any text would be wrong, a mark without partner is left as it is."""
    if key not in TEXTS and open_mark(value):
        return value
    return QuotedString(value, Quote.single).with_quotes()


_CLOSING = {")": "(", "]": "[", "}": "{"}
