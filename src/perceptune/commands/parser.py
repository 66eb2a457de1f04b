"""Command lines that are no overrides: mistakes in them are told as everywhere else."""

from argparse import ArgumentParser
from typing import NoReturn

from perceptune.errors import UserError


class Parser(ArgumentParser):
    """Ends a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse.

        Raises:
            UserError: always.
        """
        usage = " ".join(self.format_usage().split())
        raise UserError(f"{message}; {usage}")
