"""Names that a mistyped word may stand for. Imports nothing slow: `cli` uses it."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

_MOST = 60  # characters of a word that are compared
_FEW = 3  # names that are suggested
_LIKE, _AS_LIKE = 0.66, 0.1  # the likeness that a suggestion needs; how far another may be behind


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The few names that a mistyped `word` may stand for, by their last part if they are dotted.

    >>> nearest("lr", ["seed", "optimizer.lr"]), nearest("adamm", ["sgd", "adam"])
    (['optimizer.lr'], ['adam'])
    """
    by_name = {name.lower(): name for name in names}
    whole, last = word.lower()[:_MOST], _last(word.lower())[:_MOST]
    close = _closest({name: _likeness(whole, name) for name in by_name})
    close = close or [name for name in by_name if last and _last(name) == last]
    if "." not in word:
        close = close or _closest({name: _likeness(last, _last(name)) for name in by_name})
    begun = [name for name in by_name if len(last) > 2 and _last(name).startswith(last)]
    return [by_name[name] for name in close or begun][:_FEW]


def or_list(names: Sequence[str]) -> str:
    """Join names for a sentence.

    >>> or_list(["a", "b", "c"])
    'a, b or c'
    """
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _likeness(word: str, name: str) -> float:
    """The likeness of the parts that are least alike; 0 for different numbers of parts."""
    parts, others = word.split("."), name.split(".")
    if len(parts) != len(others):
        return 0
    return min(SequenceMatcher(None, b, a).ratio() for a, b in zip(parts, others, strict=True))


def _closest(likeness: Mapping[str, float]) -> list[str]:
    """The names that are most like a word, the likest first, if any is like it."""
    most = max(likeness.values(), default=0)
    names = sorted(likeness, key=lambda name: -likeness[name])
    return [name for name in names if likeness[name] >= max(_LIKE, most - _AS_LIKE)]
