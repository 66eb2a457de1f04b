"""The cache of decoded data sets: each written once, atomically, then memory-mapped.

Knows a source file by its fingerprint only, not by its format or path. Processes that decode at the
same time wait for one another on a `filelock`, which the operating system frees when a process is
killed; a lock that is only a file would be left behind.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perceptune.data.dataset import ARRAYS, Dataset, Decoded, finish
from perceptune.data.files import expanded, reason

FORMAT = 2  # raise it when the decoded arrays or the layout of an entry change
META = "meta.json"
_FACTS = (
    "name",
    "shape",
    "classes",
    "pixel_max",
    "digest",
    "columns",
)  # of a data set, beside its arrays

log = logging.getLogger(__name__)


def cache_folder(cache: Path | None = None) -> Path:
    """Choose the given folder, else PERCEPTUNE_CACHE_DIR, else the user's cache directory."""
    chosen = cache or os.environ.get("PERCEPTUNE_CACHE_DIR")
    if not chosen:
        import pooch  # 0.1 s

        chosen = pooch.os_cache("perceptune")
    return expanded(chosen).resolve()


def cached(
    name: str,
    fingerprints: Sequence[str],
    decode: Callable[[], Decoded],
    *,
    cache: Path | None,
    origin: str,
) -> Dataset:
    """Load the data set of these source files from the cache, decoding it there first if needed.

    Any number of processes may call this at the same time; one decodes and the others wait. If the
    cache cannot be written, the arrays stay in memory, with a warning.

    Raises:
        UserError: raised by `decode`.
    """
    key = hashlib.sha256("\n".join([f"{FORMAT} {name}", *fingerprints]).encode()).hexdigest()[:32]
    entry = cache_folder(cache) / "decoded" / key
    dataset = _read(entry, origin)
    if dataset is not None:
        return dataset
    fresh: Dataset | None = None
    try:
        with _lock(entry):
            dataset = _read(entry, origin)  # another process may have been first
            if dataset is None:
                fresh = finish(decode(), name=name, origin=origin)
                _write(entry, fresh)
                dataset = _read(entry, origin)
    except OSError as error:
        log.warning(
            "cannot cache %s in %s (%s); it is decoded again in every process; "
            "set PERCEPTUNE_CACHE_DIR to a writable folder",
            name,
            entry.parent,
            reason(error),
        )
    return dataset or fresh or finish(decode(), name=name, origin=origin)


def _lock(entry: Path) -> Any:
    """Make the lock of an entry."""
    from filelock import FileLock  # 0.1 s

    entry.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(entry.with_name(entry.name + ".lock"))


def _write(entry: Path, dataset: Dataset) -> None:
    """Write beside the entry, then rename, so that readers find a complete entry or none.

    Called under the lock only, so other partly written folders are of processes that were killed.
    """
    for leftover in entry.parent.glob(f".{entry.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        complete = work / "complete"
        complete.mkdir()
        for name, array in dataset.arrays().items():
            np.save(complete / f"{name}.npy", array, allow_pickle=False)
        (complete / META).write_text(
            json.dumps(_meta(dataset, complete), indent=2), encoding="utf-8"
        )
        if entry.exists():  # damaged, else it would have been read
            entry.rename(work / "damaged")
        complete.rename(entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _meta(dataset: Dataset, folder: Path) -> dict[str, Any]:
    sizes = {file.name: file.stat().st_size for file in folder.glob("*.npy")}
    return {name: getattr(dataset, name) for name in _FACTS} | {"bytes": sizes}


def _read(entry: Path, origin: str) -> Dataset | None:
    """Open an entry; None if there is none or it is damaged."""
    try:
        return replace(_open(entry), origin=origin) if entry.exists() else None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("the cache entry %s is damaged and is rebuilt: %s", entry, reason(error))
        return None


def _open(entry: Path) -> Dataset:
    meta = json.loads((entry / META).read_text(encoding="utf-8"))
    for file, size in meta["bytes"].items():
        found = (entry / file).stat().st_size
        if found != size:
            raise ValueError(f"{file} has {found} bytes, {size} were written")
    arrays = {
        name: np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ARRAYS
        if f"{name}.npy" in meta["bytes"]
    }
    height, width = meta["shape"]
    for images, labels in (("images", "labels"), ("test_images", "test_labels")):
        if images in arrays:
            expected = (len(arrays[labels]), height * width)
            if arrays[images].shape != expected or arrays[labels].dtype != np.uint8:
                raise ValueError(f"{images} has shape {arrays[images].shape}, expected {expected}")
    facts = {name: meta[name] for name in _FACTS}
    facts |= {"shape": (height, width), "classes": tuple(meta["classes"])}
    facts["columns"] = meta["columns"] and tuple(meta["columns"])
    return Dataset(**{**dict.fromkeys(ARRAYS), **arrays, **facts}, origin="")
