"""Errors of a sweep that a user can mend."""

from hydra.errors import CompactHydraException


class SweepError(CompactHydraException):
    """A mistake that the user can mend: value, rule, remedy. Hydra prints it without traceback."""


def reason_of(error: BaseException) -> str:
    """An error in one line, with its class."""
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return text.splitlines()[0][:500]
