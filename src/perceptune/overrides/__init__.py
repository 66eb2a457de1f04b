"""Overrides as a user types them: options, quoting, completion, and what a wrong one meant."""
