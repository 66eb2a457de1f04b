"""One line for a configuration file that cannot be read: file, line, reason."""

import traceback

from yaml import YAMLError
from yaml.error import MarkedYAMLError

_KINDS = (YAMLError, UnicodeError, RecursionError, ValueError, TypeError, AssertionError)


def fault_of(error: BaseException) -> str | None:
    """The line for an error in a configuration file; None for errors of other origin.

    Hydra passes on what YAML raises, and most of that without the name of the file.
    """
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        place = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}"
        return f"{place}: {_reason(error.problem or 'cannot be read')}"
    file = _file_of(error) if isinstance(error, _KINDS) else None
    if file is None:
        return None
    if isinstance(error, RecursionError):
        return f"{file}: it is nested too deeply, or contains itself"
    reason = "it is no UTF-8 text" if isinstance(error, UnicodeError) else str(error)
    return f"{file}: {_reason(reason)}"


def _reason(text: str) -> str:
    tag = text.partition("constructor for the tag ")[2]
    return f"the tag {tag} is refused: a configuration holds values alone" if tag else text


def _file_of(error: BaseException) -> str | None:
    """The file that Hydra was reading, or what it calls the one whose defaults it was reading."""
    found: dict[str, str] = {}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "load_config":
            found |= {name: frame.f_locals[name] for name in _LOCALS if name in frame.f_locals}
    return next((found[name] for name in _LOCALS if found.get(name)), None)


_LOCALS = ("full_path", "config_path")  # of Hydra's functions of that name
