"""Errors that end a command in one line, without a traceback. Knows nothing of their causes.

UserError           a mistake that the user can fix
├── StoreError      the MLflow store, or what was looked up in it
└── DivergedError   a training whose loss is no longer finite; its run ends as `diverged`
"""

import sys
from typing import NoReturn


class UserError(Exception):
    """A mistake that the user can fix; its text names the value, the rule and the remedy."""


class StoreError(UserError):
    """An MLflow store that cannot be used, or that lacks the run or model that was named."""


class DivergedError(UserError):
    """A training whose loss is no longer finite.

    Attributes:
        outcome: of the run that it ends; other errors have none, and their runs have `failed`.
    """

    outcome = "diverged"


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message and exit.

    Raises:
        SystemExit: always, with `code`.
    """
    print(f"perceptune: {message}", file=sys.stderr)
    raise SystemExit(code)
