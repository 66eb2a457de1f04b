"""The cache: complete or absent, for any number of processes, even if one is killed."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from specs import spec

from perceptune.data import cache
from perceptune.data.cache import cache_folder, cached
from perceptune.data.dataset import Decoded, numbered
from perceptune.data.sources import Dataset, load
from perceptune.errors import UserError


def entries(folder: Path) -> list[Path]:
    """The folders that could be decoded data sets, hidden ones included."""
    return sorted(path for path in (folder / "decoded").iterdir() if path.is_dir())


def small(value: int = 3) -> Decoded:
    images = np.full((4, 6), value, np.uint8)
    return Decoded(images, np.array([0, 1, 0, 1], np.uint8), (2, 3), numbered(2), pixel_max=9)


def refuse() -> Decoded:
    raise AssertionError("decoded again, though the cache has it")


def test_a_second_start_decodes_nothing(private_cache: Path) -> None:
    first = cached("csv", ["abc"], small, cache=None, origin="here")
    second = cached("csv", ["abc"], refuse, cache=None, origin="there")
    assert second.digest == first.digest
    assert (first.origin, second.origin) == ("here", "there")
    assert (second.shape, second.classes, second.pixel_max) == ((2, 3), ("0", "1"), 9)
    assert len(entries(private_cache)) == 1


def test_other_files_sources_and_formats_have_entries_of_their_own(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached("csv", ["abc"], small, cache=None, origin="")
    cached("csv", ["abd"], small, cache=None, origin="")
    cached("npz", ["abc"], small, cache=None, origin="")
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    cached("csv", ["abc"], small, cache=None, origin="")
    assert len(entries(private_cache)) == 4


def test_the_argument_takes_precedence_over_the_environment(
    private_cache: Path, tmp_path: Path
) -> None:
    assert cache_folder() == private_cache.resolve()
    assert cache_folder(tmp_path / "mine") == (tmp_path / "mine").resolve()


def test_without_either_the_cache_is_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PERCEPTUNE_CACHE_DIR", "")
    assert cache_folder().name == "perceptune"


def test_a_failed_decoding_leaves_nothing(private_cache: Path) -> None:
    def fail() -> Decoded:
        raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        cached("csv", ["abc"], fail, cache=None, origin="")
    assert entries(private_cache) == []


def shorten(file: str) -> Callable[[Path], object]:
    return lambda entry: os.truncate(entry / file, (entry / file).stat().st_size - 1)


def remove(file: str) -> Callable[[Path], object]:
    return lambda entry: (entry / file).unlink()


def overwrite(file: str, text: str) -> Callable[[Path], object]:
    return lambda entry: (entry / file).write_text(text)


def spoil_head(entry: Path) -> None:
    with (entry / "images.npy").open("r+b") as file:
        file.write(b"garbage")


def claim_other_shape(entry: Path) -> None:
    meta = json.loads((entry / "meta.json").read_text())
    (entry / "meta.json").write_text(json.dumps(meta | {"shape": [5, 5]}))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(shorten("images.npy"), id="images truncated"),
        pytest.param(shorten("labels.npy"), id="labels truncated"),
        pytest.param(overwrite("images.npy", ""), id="images empty"),
        pytest.param(remove("labels.npy"), id="labels gone"),
        pytest.param(remove("meta.json"), id="meta gone"),
        pytest.param(overwrite("meta.json", ""), id="meta empty"),
        pytest.param(overwrite("meta.json", "{}"), id="meta without keys"),
        pytest.param(overwrite("meta.json", "[1]"), id="meta of another kind"),
        pytest.param(spoil_head, id="images without head"),
        pytest.param(claim_other_shape, id="another shape"),
    ],
)
def test_a_damaged_entry_is_rebuilt(
    damage: Callable[[Path], object], private_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = cached("csv", ["abc"], small, cache=None, origin="")
    (entry,) = entries(private_cache)
    damage(entry)
    mended = cached("csv", ["abc"], small, cache=None, origin="")
    assert mended.digest == whole.digest
    np.testing.assert_array_equal(mended.images, small().images)
    assert "is rebuilt" in caplog.text
    assert entries(private_cache) == [entry]
    cached("csv", ["abc"], refuse, cache=None, origin="")


def test_a_cache_that_cannot_be_written_costs_memory_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "file"  # a folder cannot be made below a file, not even by root
    obstacle.write_text("")
    dataset = cached("csv", ["abc"], small, cache=obstacle / "cache", origin="here")
    np.testing.assert_array_equal(dataset.images, small().images)
    assert not dataset.images.flags.writeable
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "PERCEPTUNE_CACHE_DIR" in warnings[-1].getMessage()


def test_a_full_disk_costs_memory_and_a_warning(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", save)
    dataset = cached("csv", ["abc"], small, cache=None, origin="here")
    np.testing.assert_array_equal(dataset.images, small().images)
    assert "No space left on device" in caplog.text
    assert entries(private_cache) == []


# A child that stops forever at a chosen moment of the writing, and prints that it has.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from perceptune.data import cache
from perceptune.data.sources import DataSpec, load

moment, path = sys.argv[1:]
save, rename = np.save, Path.rename

def stop():
    print("here", flush=True)
    sys.stdin.read()

def save_half(file, array, **options):
    if file.name == moment:
        file.write_bytes(bytes(100))
        stop()
    save(file, array, **options)

def rename_never(self, target):
    if moment == "rename":
        stop()
    return rename(self, target)

np.save, Path.rename = save_half, rename_never
load(DataSpec("npz", 0.1, 0, False, None, path))
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python of its own, with this process's environment and pipes to it."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("moment", ["images.npy", "test_labels.npy", "rename"])
def test_a_process_killed_while_writing_leaves_no_half_entry(
    moment: str, npz_file: Path, private_cache: Path
) -> None:
    with python(WRITER, moment, npz_file) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "here\n"
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    (left,) = entries(private_cache)
    assert left.name.startswith(".")  # no reader looks there
    dataset = load(spec("npz", path=npz_file))
    assert dataset.images.shape == (200, 30)
    (entry,) = entries(private_cache)  # and the next writer cleans up
    assert not entry.name.startswith(".")


READER = """
import sys
from pathlib import Path
from perceptune.data import archive
from perceptune.data.sources import DataSpec, load

decoded = []
decode = archive._decode
archive._decode = lambda path, white: decoded.append(path) or decode(path, white)
print("ready", flush=True)
sys.stdin.readline()
dataset = load(DataSpec("npz", 0.1, 0, False, None, sys.argv[1]))
print(dataset.digest, dataset.images.filename.name, len(decoded), flush=True)
"""


def test_four_first_starts_at_once_decode_once_and_agree(
    npz_file: Path, private_cache: Path
) -> None:
    readers = [python(READER, npz_file) for _ in range(4)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    answers = []
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
    for reader in readers:
        output, _ = reader.communicate(timeout=300)
        assert reader.returncode == 0
        answers.append(output.split())
    digests, files, decodings = zip(*answers, strict=True)
    dataset: Dataset = load(spec("npz", path=npz_file))
    assert set(digests) == {dataset.digest}
    assert set(files) == {"images.npy"}
    assert sorted(decodings) == ["0", "0", "0", "1"]
    assert len(entries(private_cache)) == 1
