"""Mutated data files, networks and checkpoints: whatever is in them, a command ends in one line.

    python tests/fuzz_files.py 300 [FIRST]     seeds FIRST, FIRST + 1, …

`test_fuzz_files.py` runs a few of them. A seed makes one broken file, reads it as its command does,
and answers what happened: refused in one line, or read, and then as what.
"""

import gzip
import io
import json
import os
import random
import resource
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perceptune import networks
from perceptune.config import Config
from perceptune.data import idx
from perceptune.data.archive import pixels as array_pixels
from perceptune.data.sources import DataSpec, load
from perceptune.data.table import pixels as table_pixels
from perceptune.errors import UserError
from perceptune.nn.checkpoint import save_network
from perceptune.nn.fit import fit
from perceptune.runs.results import metadata
from perceptune.runs.training import Training, resume, save, start
from support import configure, working_in

MOST_MEGABYTES = 500
SIDE = 4


@dataclass(frozen=True)
class Case:
    """One broken file: what was done to which kind, and what came of it."""

    kind: str
    mutation: str
    outcome: str


def run(seed: int, folder: Path, config: Config) -> Case:
    """Break a file by `seed` in `folder`, and read it.

    Raises:
        Exception: other than the line that a user is to see.
    """
    rng = random.Random(seed)
    kind = rng.choice(list(KINDS))
    make, read = KINDS[kind]
    path = folder / f"{seed}{Path(kind).suffix or '.npz'}"
    arrays = make(path, config, rng)
    names = [*RAW, *(ARRAYS if arrays is not None else TEXTS if kind == "a.csv" else ())]
    mutation = rng.choice(names)
    if arrays is not None and mutation in ARRAYS:
        meta = json.loads(str(arrays["meta"])) if "meta" in arrays else None
        ARRAYS[mutation](arrays, meta, rng)
        if meta is not None:
            arrays["meta"] = np.array(json.dumps(meta))
        with path.open("wb") as file:
            np.savez(file, **arrays)
    elif mutation in TEXTS:
        path.write_text(TEXTS[mutation](path.read_text(), rng), encoding="utf-8")
    else:
        path.write_bytes(RAW[mutation](path.read_bytes(), rng))
    try:
        outcome = read(path, config)
    except UserError as error:
        line = str(error)
        assert "\n" not in line, line
        assert len(line) < 1000, line
        outcome = "refused"
    return Case(kind, mutation, outcome)


# Valid files of each kind, made by `rng`; archives also return their arrays.


def make_csv(path: Path, config: Config, rng: random.Random) -> None:
    names = ["label", *(f"pixel{n}" for n in range(SIDE * SIDE))]
    rows = [[n % 3, *(rng.randrange(256) for _ in names[1:])] for n in range(40)]
    if rng.random() < 0.3:
        rng.shuffle(names)
    path.write_text("\n".join(",".join(map(str, row)) for row in [names, *rows]) + "\n")


def make_unlabelled(path: Path, config: Config, rng: random.Random) -> None:
    rows = [[rng.randrange(256) for _ in range(SIDE * SIDE)] for _ in range(9)]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")


def make_npz(path: Path, config: Config, rng: random.Random) -> dict[str, Any]:
    draw = np.random.default_rng(rng.randrange(2**32))
    arrays = {}
    for part, count in (("train", 40), ("test", 10)):
        arrays[f"x_{part}"] = draw.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 3
    np.savez(path, **arrays)
    return arrays


def make_npy(path: Path, config: Config, rng: random.Random) -> None:
    np.save(path, np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (9, SIDE, SIDE)))


def make_idx(path: Path, config: Config, rng: random.Random) -> None:
    head = bytes([0, 0, 8, 3]) + np.array([9, SIDE, SIDE], ">i4").tobytes()
    raw = head + rng.randbytes(9 * SIDE * SIDE)
    path.write_bytes(gzip.compress(raw) if rng.random() < 0.5 else raw)


def trained(config: Config) -> Training:
    training = start(config, ["train.epochs=3"])
    epochs = fit(training.network, training.state, config.recipe, training.parts.train)
    for _ in range(2):
        training.record_epoch(next(epochs))
    return training


def make_network(path: Path, config: Config, rng: random.Random) -> dict[str, Any]:
    training = trained(config)
    save_network(path, training.network, training.best.theta, metadata(training))
    with np.load(path) as file:
        return dict(file)


def make_checkpoint(path: Path, config: Config, rng: random.Random) -> dict[str, Any]:
    training = trained(config)
    training.checkpoint = path
    save(training)
    with np.load(path) as file:
        return dict(file)


# How each is read; the answer describes what was read, which must be whole.


def check_images(images: np.ndarray, highest: float) -> None:
    assert images.ndim == 2
    assert len(images)
    assert np.isfinite(images).all()
    assert 0 <= images.min() <= images.max() <= highest


def read_data(path: Path, config: Config) -> str:
    name = path.suffix[1:]
    data = load(DataSpec(name, 0.1, 0, False, None, str(path)), cache=path.parent / "cache")
    check_images(data.images, data.pixel_max)
    assert len(data.labels) == len(data.images)
    assert data.labels.max() < len(data.classes) <= 256
    assert data.shape[0] * data.shape[1] == data.images.shape[1]
    return f"read {len(data.images)} images, range {data.pixel_max}"


def read_unlabelled(path: Path, config: Config) -> str:
    check_images(table_pixels(path, (SIDE, SIDE), 255), 255)
    return "read"


def read_npy(path: Path, config: Config) -> str:
    check_images(array_pixels(path, (SIDE, SIDE), 255), 255)
    return "read"


def read_idx(path: Path, config: Config) -> str:
    assert idx.read(path, (9, SIDE, SIDE), remedy="mend it").shape == (9, SIDE, SIDE)
    return "read"


def read_network(path: Path, config: Config) -> str:
    saved = networks.load(str(path), "")
    images = np.full((2, saved.network.widths[0]), 16, np.uint8)
    found = networks.mean_probabilities([saved], images, saved.metadata["pixel_max"])
    assert np.isfinite(found).all()
    return "read"


def read_checkpoint(path: Path, config: Config) -> str:
    training = resume(config.changed(resume=str(path)), [])
    for record in fit(
        training.network, training.state, training.config.recipe, training.parts.train
    ):
        training.record_epoch(record)
    return "read"


KINDS: dict[str, tuple[Callable[..., Any], Callable[[Path, Config], str]]] = {
    "a.csv": (make_csv, read_data),
    "unlabelled.csv": (make_unlabelled, read_unlabelled),
    "a.npz": (make_npz, read_data),
    "a.npy": (make_npy, read_npy),
    "idx": (make_idx, read_idx),
    "network": (make_network, read_network),
    "checkpoint": (make_checkpoint, read_checkpoint),
}


# Mutations of a file's bytes.


def flip(raw: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(raw)
    for _ in range(rng.choice((1, 3, 30))):
        damaged[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwrite(raw: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(raw)), rng.choice((1, 4, 64))
    return raw[:at] + rng.randbytes(size) + raw[at + size :]


def remove(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + raw[at + rng.choice((1, 7, 200)) :]


def zipped(raw: bytes, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in rng.choice((["a"], ["a.csv", "b.csv"], ["meta.npy"])):
            archive.writestr(name, raw)
    return buffer.getvalue()


def bomb(raw: bytes, rng: random.Random) -> bytes:
    """Some gigabyte of zeros, or of rows of zeros, in a megabyte."""
    row = rng.choice((b"\0" * 64, b"\n", (b"0," * SIDE * SIDE)[:-1] + b"\n", b"0"))
    block = row * ((1 << 20) // len(row))
    if rng.random() < 0.5:
        return gzip.compress(raw) + gzip.compress(block) * 1000
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        name = rng.choice(("a.csv", "meta.npy", "x_train.npy"))
        with archive.open(name, "w") as member:
            for _ in range(1000):
                member.write(block)
    return buffer.getvalue()


RAW: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncate": lambda raw, rng: raw[: rng.randrange(len(raw))],
    "flip": flip,
    "overwrite": overwrite,
    "remove": remove,
    "repeat": lambda raw, rng: raw * rng.choice((2, 50)),
    "append": lambda raw, rng: raw + rng.randbytes(rng.choice((1, 100))),
    "gzip": lambda raw, rng: gzip.compress(raw),
    "zip": zipped,
    "bomb": bomb,
    "utf-16": lambda raw, rng: raw.decode("latin-1").encode("utf-16"),
    "zeros": lambda raw, rng: bytes(len(raw)),
}


# Mutations of a table's text.


def another_cell(text: str, rng: random.Random) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.choice((1, 5))):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    return "\n".join(map(",".join, rows))


def another_row(text: str, rng: random.Random) -> str:
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = rng.choice(("", ",", "1,2", lines[at] + ",1", lines[at][:-3], "#", '"', " "))
    return "\n".join(lines)


CELLS = [
    "",
    "-1",
    "256",
    "300",
    "70000",
    "1e400",
    "nan",
    "inf",
    "x",
    "0.5",
    "１",
    '"',
    '"5"',
    "1 2",
]
CELLS += ["0x1f", "1_000", "label", "y", "pixel0", "\0", "9" * 5000, "-0", "1.", "é", "true"]

TEXTS: dict[str, Callable[[str, random.Random], str]] = {
    "cell": another_cell,
    "row": another_row,
    "header only": lambda text, rng: text.partition("\n")[0],
    "no header": lambda text, rng: text.partition("\n")[2],
    "separator": lambda text, rng: text.replace(",", rng.choice(";\t| ")),
    "quotes": lambda text, rng: '"' + text.rstrip().replace(",", '","').replace("\n", '"\n"') + '"',
}


# Mutations of an archive's arrays, and of what its meta says.


def drop(arrays: dict[str, Any], meta: Any, rng: random.Random) -> None:
    branch, key = a_place(arrays, meta, rng)
    del branch[key]


def replace_value(arrays: dict[str, Any], meta: Any, rng: random.Random) -> None:
    branch, key = a_place(arrays, meta, rng)
    branch[key] = rng.choice(VALUES)


def recast(arrays: dict[str, Any], meta: Any, rng: random.Random) -> None:
    name = rng.choice([name for name in arrays if name != "meta"])
    kind = rng.choice(("f8", "f4", "f2", "i8", "u1", "c8", "U9", "S3", "?", "O", "M8[s]"))
    try:
        arrays[name] = arrays[name].astype(kind)
    except (TypeError, ValueError):
        arrays[name] = np.zeros(arrays[name].shape, kind)


def reshape(arrays: dict[str, Any], meta: Any, rng: random.Random) -> None:
    name = rng.choice([name for name in arrays if name != "meta"])
    array = arrays[name]
    forms = [array[..., None], array[None], array.ravel(), array[:0], array[:-1], array.T]
    arrays[name] = rng.choice([*forms, array.ravel()[0], np.concatenate([array, array])])


def refill(arrays: dict[str, Any], meta: Any, rng: random.Random) -> None:
    name = rng.choice([name for name in arrays if name != "meta"])
    array = arrays[name].astype(rng.choice((np.float32, np.float64, np.int64)))
    with np.errstate(invalid="ignore"):
        array.ravel()[rng.randrange(max(array.size, 1)) :] = rng.choice(
            (-1, 0, 1, 300, 70_000, -(2**63))
            if array.dtype.kind == "i"
            else (-1, 0, 0.5, 1, 300, 70_000, 3e38, np.nan, np.inf, -np.inf)
        )
    arrays[name] = array


def rename(arrays: dict[str, Any], meta: Any, rng: random.Random) -> None:
    name = rng.choice(list(arrays))
    arrays[rng.choice((f"{name}_", name.upper(), "images", "labels", "../x"))] = arrays.pop(name)


def a_place(arrays: dict[str, Any], meta: Any, rng: random.Random) -> tuple[Any, Any]:
    """A key somewhere in the arrays or in the tree of meta."""
    if meta is None or rng.random() < 0.3:
        return arrays, rng.choice([name for name in arrays if name != "meta"])
    branch = meta
    while True:
        keys = list(branch) if isinstance(branch, dict) else list(range(len(branch)))
        key = rng.choice(keys)
        inner = branch[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return branch, key
        branch = inner


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    0.5,
    1e300,
    10**30,
    float("nan"),
    "",
    "x",
    "../x",
    [],
    {},
]
VALUES += [[1, 2], {"a": 1}, ["x"], [[[]]], "9" * 2000]

ARRAYS: dict[str, Callable[[dict[str, Any], Any, random.Random], None]] = {
    "drop": drop,
    "value": replace_value,
    "recast": recast,
    "reshape": reshape,
    "refill": refill,
    "rename": rename,
}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(count: int, first: int) -> int:
    """Run `count` seeds; prints what happened as JSON, and faults on stderr."""
    outcomes: dict[str, int] = {}
    faults = []
    with tempfile.TemporaryDirectory() as scratch, working_in(Path(scratch)):
        os.environ["PERCEPTUNE_CACHE_DIR"] = f"{scratch}/cache"
        settings = ("train.epochs=3", "train.ema=0.9", "model.hidden=[4]", "tracking.enabled=false")
        config = configure(Path(scratch), *settings)
        run(first, Path(scratch), config)  # whatever it imports
        before = peak_megabytes()
        for seed in range(first, first + count):
            try:
                case = run(seed, Path(scratch), config)
            except Exception:
                faults.append(seed)
                print(f"seed {seed}\n{traceback.format_exc()}", file=sys.stderr)
            else:
                key = f"{case.kind} {case.mutation}: {case.outcome}"
                outcomes[key] = outcomes.get(key, 0) + 1
        grown = peak_megabytes() - before
    print(json.dumps({"outcomes": outcomes, "faults": faults, "megabytes": round(grown)}))
    return 1 if faults or grown > MOST_MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
