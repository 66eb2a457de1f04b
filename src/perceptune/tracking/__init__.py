"""Experiment tracking: runs, and trained networks, in an MLflow store or in plain folders.

Only this package imports MLflow.
"""
