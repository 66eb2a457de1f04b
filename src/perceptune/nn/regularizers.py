"""Regularization of weights: penalties, decay and norms, in place.

Works on views of θ or of its gradient; knows no recipe. Biases are never regularized; `clip_norm`
scales the whole gradient.
"""

import math

import numpy as np

from perceptune.nn.layout import Array, Layer


def add_penalty(
    layers: list[Layer], gradient: list[Layer], l1: float, l2: float, scratch: list[Layer]
) -> float:
    """Compute l1·Σ|w| + l2/2·Σw² and add its gradient to `gradient`.

    `layers`, `gradient` and `scratch` are views of three vectors (size,); `scratch` is overwritten.
    """
    value = 0.0
    for layer, total, term in zip(layers, gradient, scratch, strict=True):
        if l2:
            np.multiply(layer.weight, l2, out=term.weight)
            total.weight[:] += term.weight
            value += float(np.vdot(term.weight, layer.weight)) / 2
        if l1:
            np.sign(layer.weight, out=term.weight)
            term.weight[:] *= l1
            total.weight[:] += term.weight
            value += float(np.vdot(term.weight, layer.weight))  # |w| = w · sign w
    return value


def decay(layers: list[Layer], amount: float) -> None:
    """Shrink every weight by the fraction `amount` of itself (arXiv:1711.05101)."""
    for layer in layers:
        layer.weight[:] *= 1 - amount


def clip_norm(gradient: Array, limit: float) -> None:
    """Scale `gradient` (size,) down to the Euclidean norm `limit` if it is longer."""
    square = float(np.vdot(gradient, gradient))
    norm = math.sqrt(square)
    if math.isinf(square) and math.isfinite(largest := float(np.abs(gradient).max())):
        # Squares above 3.4e38 overflow float32: take the norm of the scaled-down gradient.
        norm = largest * float(np.linalg.norm(gradient / largest))
    if norm > limit:
        gradient *= limit / norm


def limit_unit_norms(layers: list[Layer], limit: float) -> None:
    """Scale each unit's incoming weights down to the norm `limit` (Srivastava et al. 2014)."""
    for layer in layers:
        norms = np.sqrt(np.einsum("ij,ij->j", layer.weight, layer.weight))  # (outputs,)
        layer.weight[:] *= limit / np.maximum(norms, limit)
