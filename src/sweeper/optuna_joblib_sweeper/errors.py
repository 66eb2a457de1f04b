"""How a sweep ends early: by a user's mistake, or by a signal."""

import signal

from hydra.errors import CompactHydraException


class SweepError(CompactHydraException):
    """A mistake that the user can mend: value, rule, remedy. Hydra prints it without traceback."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM reached the driver."""

    def __init__(self, signal_number: int) -> None:
        """Remember the signal, from which the exit code follows."""
        super().__init__(f"by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


def reason_of(error: BaseException) -> str:
    """An error in one line, with its class."""
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return text.splitlines()[0][:500]
