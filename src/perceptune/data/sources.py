"""The sources of data, by name, and the one function that reads any of them.

It knows neither file formats nor the network: each source has a module of its own.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from perceptune.data import archive, idx, table
from perceptune.data.dataset import Dataset, Decoded, finish, numbered
from perceptune.errors import UserError

__all__ = ["CSV_PATH", "NPZ_PATH", "SOURCES", "Dataset", "load"]

CSV_PATH = Path("dataset/train.csv")
NPZ_PATH = Path("~/.keras/datasets/mnist.npz")


def load(
    name: str,
    *,
    folder: Path | None = None,
    path: Path | None = None,
    cache: Path | None = None,
) -> Dataset:
    """Read a data set, and verify it.

    Args:
        name: A key of `SOURCES`.
        folder: Where the files of mnist and fashion_mnist are; None downloads them.
        path: The file of csv or npz; None is the usual place of each.
        cache: Folder for downloads and decoded arrays; None is PERCEPTUNE_CACHE_DIR, else the
            operating system's place for caches.

    Raises:
        UserError: no such source, or its files are missing, damaged or not what they should be.
    """
    if name not in SOURCES:
        raise UserError(f"no data set {name!r}; set data to one of {', '.join(SOURCES)}")
    return SOURCES[name](folder=folder, path=path, cache=cache)


def digits(
    *, folder: Path | None = None, path: Path | None = None, cache: Path | None = None
) -> Dataset:
    """The 1,797 real scans of 8 × 8 pixels, 0 … 16, that scikit-learn ships.

    E. Alpaydin & C. Kaynak 1998, the test part of UCI's "Optical Recognition of Handwritten
    Digits". Decoding takes milliseconds, less than importing scikit-learn or asking a cache.
    """
    spec = find_spec("sklearn")  # finds it without importing it
    homes = (spec and spec.submodule_search_locations) or []
    for home in map(Path, homes):
        file = home / "datasets" / "data" / "digits.csv.gz"
        try:
            rows = np.loadtxt(file, dtype=np.uint8, delimiter=",")  # (1797, 65)
        except (OSError, EOFError, ValueError):
            continue
        if rows.shape == (1797, 65) and rows[:, :-1].max() <= 16 and rows[:, -1].max() <= 9:
            decoded = Decoded(rows[:, :-1], rows[:, -1], (8, 8), numbered(10), pixel_max=16)
            return finish(decoded, name="digits", origin="scikit-learn's digits")
    raise UserError(
        "the digits that scikit-learn ships are not there or damaged; install scikit-learn again"
    )


def mnist(
    *, folder: Path | None = None, path: Path | None = None, cache: Path | None = None
) -> Dataset:
    """MNIST: 60,000 + 10,000 digits of 28 × 28 (LeCun, Cortes & Burges 1998)."""
    return idx.load(idx.MNIST, folder=folder, cache=cache)


def fashion_mnist(
    *, folder: Path | None = None, path: Path | None = None, cache: Path | None = None
) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 garments (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747)."""
    return idx.load(idx.FASHION_MNIST, folder=folder, cache=cache)


def csv(
    *, folder: Path | None = None, path: Path | None = None, cache: Path | None = None
) -> Dataset:
    """A table as Kaggle's "Digit Recognizer" has it; no test part of its own."""
    return table.load(path or CSV_PATH, cache=cache)


def npz(
    *, folder: Path | None = None, path: Path | None = None, cache: Path | None = None
) -> Dataset:
    """Keras's mnist.npz, by default where Keras keeps it."""
    return archive.load(path or NPZ_PATH, cache=cache)


SOURCES: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "csv": csv,
    "npz": npz,
}
