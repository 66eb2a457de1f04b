"""Data sets by name, their specification, and the function that loads them.

Knows neither file formats nor the network: each format has a module of its own. A new data set is
a function here that takes a `DataSpec`, its row in `SOURCES`, and a file in conf/data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from perceptune.data import archive, idx, table
from perceptune.data.dataset import Dataset, Decoded, finish, numbered
from perceptune.data.split import check_validation
from perceptune.errors import UserError
from perceptune.nn.checks import check, check_nonnegative

__all__ = ["SOURCES", "DataSpec", "Dataset", "load"]


@dataclass(frozen=True)
class DataSpec:
    """A data set and its division, before any file is read.

    Attributes:
        name: a key of `SOURCES`.
        validation: size of the validation part: a fraction in [0, 1) of what is not test, or a
            whole number of samples from 1; 0 means none.
        split_seed: seed of the division into parts, 0 or more.
        standardize: scale pixels to mean 0 and standard deviation 1 instead of to [0, 1].
        dir: folder with the files of a downloadable set; None downloads them.
        path: file of a set in a single file.
        pixel_max: the value of white in that file; None takes it from the pixels.

    Raises:
        RangeError: an unknown name, or a number outside its range.
    """

    name: str
    validation: float
    split_seed: int
    standardize: bool
    dir: str | None
    path: str | None
    pixel_max: int | None = None

    def __post_init__(self) -> None:
        check(self.name in SOURCES, "name", "one of " + ", ".join(SOURCES), self.name)
        check_validation(self.validation)
        check_nonnegative(split_seed=self.split_seed)
        holds = self.pixel_max is None or 1 <= self.pixel_max <= 65_535
        check(holds, "pixel_max", "from 1 to 65535, or null", self.pixel_max)


def load(spec: DataSpec, *, cache: Path | None = None) -> Dataset:
    """Read and verify the data set of `spec`.

    Args:
        spec: names the data set and where its files are.
        cache: folder for downloads and decoded arrays; None is PERCEPTUNE_CACHE_DIR, else the
            user's cache directory.

    Raises:
        UserError: its files are missing, damaged or not the expected ones, or a setting would have
            no effect.
    """
    for field in _IDLE.get(spec.name, ()):
        if (value := getattr(spec, field)) is not None:
            raise UserError(f"data={spec.name} has no use for data.{field}={value}; leave it out")
    return SOURCES[spec.name](spec, cache)


def digits(spec: DataSpec, cache: Path | None) -> Dataset:
    """The 1,797 scans of 8 × 8 pixels, 0 … 16, that scikit-learn ships.

    E. Alpaydin & C. Kaynak 1998, the test part of UCI's "Optical Recognition of Handwritten
    Digits". Decoding takes milliseconds, less than importing scikit-learn or reading a cache.
    """
    package = find_spec("sklearn")  # does not import it
    homes = (package and package.submodule_search_locations) or []
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
        "the digits that scikit-learn ships are missing or damaged; install scikit-learn again"
    )


def mnist(spec: DataSpec, cache: Path | None) -> Dataset:
    """MNIST: 60,000 + 10,000 digits of 28 × 28 pixels (LeCun, Cortes & Burges 1998)."""
    return idx.load(idx.MNIST, folder=_folder(spec), cache=cache)


def fashion_mnist(spec: DataSpec, cache: Path | None) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 garments (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747)."""
    return idx.load(idx.FASHION_MNIST, folder=_folder(spec), cache=cache)


def csv(spec: DataSpec, cache: Path | None) -> Dataset:
    """A table in the form of Kaggle's "Digit Recognizer"; it has no test part of its own."""
    return table.load(_file(spec), pixel_max=spec.pixel_max, cache=cache)


def npz(spec: DataSpec, cache: Path | None) -> Dataset:
    """An archive in the form of Keras's mnist.npz."""
    return archive.load(_file(spec), pixel_max=spec.pixel_max, cache=cache)


def _folder(spec: DataSpec) -> Path | None:
    return Path(spec.dir) if spec.dir else None


def _file(spec: DataSpec) -> Path:
    if not spec.path:
        raise UserError(f"data={spec.name} is read from a file; set data.path to it")
    return Path(spec.path)


# Settings that a set has no use for; a value would have no effect, so it is refused.
_IDLE = {
    "digits": ("dir", "path", "pixel_max"),
    "mnist": ("path", "pixel_max"),
    "fashion_mnist": ("path", "pixel_max"),
    "csv": ("dir",),
    "npz": ("dir",),
}

SOURCES: dict[str, Callable[[DataSpec, Path | None], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "csv": csv,
    "npz": npz,
}
