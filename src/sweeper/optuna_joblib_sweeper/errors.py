"""Errors of a sweep that a user can mend."""

from hydra.errors import CompactHydraException


class SweepError(CompactHydraException):
    """A mistake that the user can mend: value, rule, remedy. Hydra prints it without traceback."""


def reason_of(error: BaseException) -> str:
    """An error in one line, with its class."""
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return text.splitlines()[0][:500]


def one_line(text: str) -> str:
    """`text` with every run of white space as one blank, cut after 500 characters."""
    return " ".join(text.split())[:500]
