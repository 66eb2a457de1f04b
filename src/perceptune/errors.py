"""The one error that a user's mistake ends in: a line, never a traceback."""


class UserError(Exception):
    """A mistake that the user can mend; its text names the value, the rule and the remedy."""
