"""Perceptune: from-scratch NumPy perceptrons, composed by Hydra, tracked in MLflow."""

__version__ = "0.1.0"
