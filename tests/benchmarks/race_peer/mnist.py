"""MNIST from its own files; in a module of its own, so that a worker keeps it between jobs."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

Part = tuple[torch.Tensor, torch.Tensor]


@cache
def mnist(folder: str) -> tuple[Part, Part]:
    """Training and validation samples, pixels in [0, 1]; both sides hold out the same rows."""
    images = np.fromfile(Path(folder, "train-images-idx3-ubyte"), np.uint8)[16:]
    labels = np.fromfile(Path(folder, "train-labels-idx1-ubyte"), np.uint8)[8:]
    x = torch.from_numpy(images.reshape(-1, 784)).float().div_(255)
    y = torch.from_numpy(labels).long()
    held = torch.zeros(len(y), dtype=torch.bool)
    held[np.load(Path(folder, "validation.npy"))] = True
    return (x[~held], y[~held]), (x[held], y[held])
