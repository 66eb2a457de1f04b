"""Asynchronous, pruned, resumable, crash-proof Optuna studies for any Hydra app."""
