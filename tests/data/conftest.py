"""Small data files made on the spot, and the folder with the real MNIST."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from perceptune.data.idx import CONTENTS


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, so that no test sees another's, or the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PERCEPTUNE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with the four real MNIST files."""
    folder = os.environ.get("PERCEPTUNE_DATA_DIR")
    if not folder:
        pytest.skip("PERCEPTUNE_DATA_DIR does not name a folder with the four MNIST files")
    return Path(folder)


@pytest.fixture(scope="session")
def imitation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four .gz files of MNIST's shapes, with a pattern in place of images."""
    folder = tmp_path_factory.mktemp("imitation")
    for file, (_, shape) in CONTENTS.items():
        limit = 10 if len(shape) == 1 else 251
        values = np.resize(np.arange(limit, dtype=np.uint8), shape)
        head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        (folder / file).write_bytes(gzip.compress(head + values.tobytes(), 1, mtime=0))
    return folder


@pytest.fixture(scope="session")
def npz_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keras's keys with 200 + 40 images of 6 × 5 pixels and four classes."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("npz") / "mnist.npz"
    np.savez(
        path,
        x_train=rng.integers(0, 256, (200, 6, 5), dtype=np.uint8),
        y_train=np.arange(200) % 4,
        x_test=rng.integers(0, 256, (40, 6, 5), dtype=np.uint8),
        y_test=np.arange(40) % 4,
    )
    return path


@pytest.fixture(scope="session")
def csv_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's columns with 100 images of 4 × 4 pixels and five classes."""
    rng = np.random.default_rng(2)
    table = np.column_stack([np.arange(100) % 5, rng.integers(0, 256, (100, 16))])
    path = tmp_path_factory.mktemp("csv") / "train.csv"
    header = "label," + ",".join(f"pixel{number}" for number in range(16))
    np.savetxt(path, table, fmt="%d", delimiter=",", header=header, comments="")
    return path
