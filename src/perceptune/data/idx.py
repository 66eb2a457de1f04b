"""MNIST and Fashion-MNIST: four IDX files each, from a folder or from the mirrors.

Refuses a file that is not byte for byte the published one.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from perceptune.data.cache import cache_folder, cached
from perceptune.data.dataset import Dataset, Decoded, numbered
from perceptune.data.download import fetch
from perceptune.data.files import expanded, fingerprint, reason
from perceptune.errors import UserError

# File name → the array in it, and its shape.
CONTENTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "train-images-idx3-ubyte.gz": ("images", (60_000, 28, 28)),
    "train-labels-idx1-ubyte.gz": ("labels", (60_000,)),
    "t10k-images-idx3-ubyte.gz": ("test_images", (10_000, 28, 28)),
    "t10k-labels-idx1-ubyte.gz": ("test_labels", (10_000,)),
}
_LARGEST = 16 + 60_000 * 28 * 28  # bytes of a file, unpacked
_DEEPEST, _MOST_FILES = 4, 10_000  # folders to look into, and files in each depth


@dataclass(frozen=True)
class IdxSet:
    """A published data set of four IDX files with the names and shapes in `CONTENTS`.

    Attributes:
        name: its key in `sources.SOURCES`.
        title: its name in messages.
        classes: names of the classes.
        mirrors: URLs without the file name at the end.
        packed: SHA-256 of each .gz file, by its name.
        unpacked: SHA-256 of each file after decompression, by its name with .gz, where known.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    packed: Mapping[str, str]
    unpacked: Mapping[str, str]


def load(
    kind: IdxSet,
    *,
    folder: Path | None = None,
    cache: Path | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = 10.0,
) -> Dataset:
    """Read the set from `folder`, or download it into the cache first if that is None.

    Files may be unpacked, and in folders below it, see `_find`. Both sets have the same file names:
    where both are there, those of Fashion-MNIST are in a folder with fashion in its name.

    Raises:
        UserError: a file is missing, cannot be downloaded, or is not the published one.
    """
    if folder is None:
        place = cache_folder(cache) / "downloads" / kind.name
        paths = fetch(kind.packed, mirrors=mirrors or kind.mirrors, folder=place, timeout=timeout)
    else:
        place, paths = _find(kind, expanded(folder).absolute())
    fingerprints = [_verify(kind, file, path) for file, path in paths.items()]
    return cached(
        kind.name, fingerprints, lambda: _decode(kind, paths), cache=cache, origin=str(place)
    )


def read(path: Path, shape: tuple[int, ...], *, remedy: str) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not: `shape` uint8.

    The header is 0, 0, 8 (unsigned byte), the number of axes, then each length as a big-endian
    32-bit integer (format described on the MNIST page of LeCun, Cortes and Burges).

    Raises:
        UserError: not IDX, not of this shape, truncated or too long; `remedy` ends the message.
    """
    raw = _bytes(path, remedy)
    head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    if raw[: len(head)] != head:
        found = raw[: len(head)].hex(" ", 4) or "nothing"
        raise UserError(
            f"{path} is not an IDX file of shape {shape}: expected it to begin with "
            f"{head.hex(' ', 4)}, found {found}; {remedy}"
        )
    size = len(head) + math.prod(shape)
    if len(raw) != size:
        raise UserError(f"{path} holds {len(raw)} bytes, expected {size}; {remedy}")
    return np.frombuffer(raw, np.uint8, offset=len(head)).reshape(shape)


def _find(kind: IdxSet, folder: Path) -> tuple[Path, dict[str, Path]]:
    """Find the four files in `folder` or below it; return the folder of the first, too.

    As torchvision (MNIST/raw), Kaggle (each in a folder of its own, `-idx3-` as `.idx3-`) and the
    original pages have them, with or without .gz.
    """
    remedy = (
        f"put the four {kind.title} files there, or unset PERCEPTUNE_DATA_DIR and data.dir to "
        f"download them"
    )
    if not folder.is_dir():
        raise UserError(f"no folder {folder}; {remedy}")
    candidates: dict[str, list[Path]] = {file: [] for file in CONTENTS}
    for path in _below(folder):
        file = path.name.replace(".idx", "-idx").removesuffix(".gz") + ".gz"
        candidates.get(file, []).append(path)
    paths = {}
    for file, found in candidates.items():
        if not found:
            raise UserError(f"no file {folder / file}; {_other_form(folder)}{remedy}")
        paths[file] = min(found, key=lambda path: _likeness(kind, path.relative_to(folder)))
    return paths[next(iter(CONTENTS))].parent, paths


def _below(folder: Path) -> Iterator[Path]:
    """The files in `folder`, then those in the folders in it, and so on."""
    for depth in range(1, _DEEPEST + 1):
        found = islice(folder.glob("/".join("*" * depth)), _MOST_FILES)
        yield from (path for path in sorted(found) if path.is_file())


def _likeness(kind: IdxSet, path: Path) -> tuple[bool, int, str]:
    """A key that is lowest for the likeliest of several files of one name."""
    fashion = "fashion" in str(path.parent).lower()
    return fashion != ("fashion" in kind.name), len(path.parts), str(path)


def _other_form(folder: Path) -> str:
    """What to do with a file of another form that is there instead, as the start of a remedy."""
    for path in _below(folder):
        form = path.suffix[1:]
        if form in ("npz", "csv"):
            return f"{path} is there: read it with data={form} data.path={path}; or "
    return ""


def _verify(kind: IdxSet, file: str, path: Path) -> str:
    """Compute the file's SHA-256 and compare it with the published one."""
    remedy = _remedy(kind)
    found = fingerprint(path, remedy=remedy)
    packed = path.suffix == ".gz"
    known = kind.packed[file] if packed else kind.unpacked.get(file)
    if known in (found, None):
        return found
    if packed and _holds(kind, file, path):  # packed again, by another gzip
        return found
    raise UserError(
        f"{path} is not {kind.title}'s {path.name}: expected SHA-256 {known}, "
        f"found {found} ({path.stat().st_size} bytes); {remedy}"
    )


def _holds(kind: IdxSet, file: str, path: Path) -> bool:
    """True if the packed file `path` holds the published one."""
    try:
        raw = _bytes(path, "")
    except UserError:
        return False
    return hashlib.sha256(raw).hexdigest() == kind.unpacked.get(file)


def _bytes(path: Path, remedy: str) -> bytes:
    """Read a file, unpacked if it is packed; more than any of the four is cut off."""
    try:
        with path.open("rb") as file:
            head = file.read(2)
            file.seek(0)
            return (gzip.open(file) if head == b"\x1f\x8b" else file).read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {reason(error)}; {remedy}") from None


def _decode(kind: IdxSet, paths: Mapping[str, Path]) -> Decoded:
    remedy = _remedy(kind)
    arrays = {
        array: read(paths[file], shape, remedy=remedy) for file, (array, shape) in CONTENTS.items()
    }
    for file, (array, shape) in CONTENTS.items():
        if len(shape) == 1 and (highest := int(arrays[array].max())) >= len(kind.classes):
            raise UserError(
                f"{paths[file]} has the label {highest}, expected labels below "
                f"{len(kind.classes)}; {remedy}"
            )
    return Decoded(
        images=arrays["images"].reshape(-1, 28 * 28),
        labels=arrays["labels"],
        test_images=arrays["test_images"].reshape(-1, 28 * 28),
        test_labels=arrays["test_labels"],
        shape=(28, 28),
        classes=kind.classes,
    )


def _remedy(kind: IdxSet) -> str:
    return (
        f"put the original {kind.title} file in its place, or unset PERCEPTUNE_DATA_DIR and "
        f"data.dir to download it"
    )


def _by_file(*hashes: str) -> dict[str, str]:
    return dict(zip(CONTENTS, hashes, strict=True))


MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    classes=numbered(10),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    # Computed from the real files; the same as TensorFlow Datasets publishes.
    packed=_by_file(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    unpacked=_by_file(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    # As TensorFlow Datasets and torchvision publish them.
    packed=_by_file(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    unpacked={},  # not published anywhere: only header, length and labels are checked
)
