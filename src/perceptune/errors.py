"""Errors that end a command in one line, without a traceback. Knows nothing of their causes.

UserError           a mistake that the user can fix
├── StoreError      the MLflow store, or what was looked up in it
│   └── UnrecordedError     a store that failed in a training
└── DivergedError   a training whose loss is no longer finite; its run ends as `diverged`
"""

import re
import sys
from typing import NoReturn

_MOST = 60  # characters of a user's word in a message


class UserError(Exception):
    """A mistake that the user can fix; its text names the value, the rule and the remedy."""


class StoreError(UserError):
    """An MLflow store that cannot be used, or that lacks the run or model that was named."""


class UnrecordedError(StoreError):
    """A store, or the disk below it, that failed in a training; the text says what was kept.

    Attributes:
        outcome: of the run, whose training had begun.
    """

    outcome = "failed"


class DivergedError(UserError):
    """A training whose loss is no longer finite.

    Attributes:
        outcome: of the run that it ends; other errors have none, and their runs have `failed`.
    """

    outcome = "diverged"


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message in one line and exit.

    Raises:
        SystemExit: always, with `code`.
    """
    from optuna_joblib_sweeper.secrets import masked

    print(f"perceptune: {masked(one_line(message))}", file=sys.stderr)
    raise SystemExit(code)


def one_line(text: str) -> str:
    """Join the lines of a text; characters that a terminal would obey are replaced.

    >>> one_line("no such key\\n    full_key: x")
    'no such key; full_key: x'
    """
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    joined = re.sub(r"([:;,.]);", r"\1", "; ".join(lines))
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", joined)


def shorten(word: str) -> str:
    """Cut a word that is too long for a message.

    >>> len(shorten("x" * 1000))
    60
    """
    return word if len(word) <= _MOST else f"{word[: _MOST - 1]}…"
