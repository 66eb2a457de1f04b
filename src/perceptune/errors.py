"""How a user's mistake ends: in a line, never a traceback."""

import sys
from typing import NoReturn


class UserError(Exception):
    """A mistake that the user can mend; its text names the value, the rule and the remedy."""


def fail(message: str, code: int = 1) -> NoReturn:
    """Leave the program with a message."""
    print(f"perceptune: {message}", file=sys.stderr)
    raise SystemExit(code)
