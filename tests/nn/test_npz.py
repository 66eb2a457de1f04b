"""Archives of arrays are looked at before anything is unpacked."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from perceptune.nn.npz import heads, read


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray, *, claim: tuple[int, ...] | None = None) -> bytes:
    """An array's file, whose head may claim another shape."""
    buffer = io.BytesIO()
    head = {"descr": array.dtype.str, "fortran_order": False, "shape": claim or array.shape}
    np.lib.format.write_array_header_1_0(buffer, head)
    return buffer.getvalue() + array.tobytes()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_heads_are_those_of_the_arrays(save: object, tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array("text"), "c": np.zeros((0, 4), int)}
    save(tmp_path / "a.npz", **arrays)  # type: ignore[operator]
    found = heads(tmp_path / "a.npz")
    assert {name: (head.shape, head.dtype) for name, head in found.items()} == {
        name: (array.shape, array.dtype) for name, array in arrays.items()
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(read(tmp_path / "a.npz", name), array)


def test_a_missing_file_is_another_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        heads(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.zeros(3), claim=(4,)), "not those of its array"),
        (npy(np.zeros(3), claim=(2,)), "not those of its array"),
        (npy(np.zeros(3), claim=(10**9, 10**9)), "not those of its array"),
        (npy(np.zeros(3), claim=(-3, -1)), "not those of its array"),
        (npy(np.zeros(0, "U0"), claim=(10**12,)), "not those of its array"),
        (npy(np.zeros(1 << 27, np.uint8)), "would unpack to 134 MB"),
        (npy(np.zeros(3))[:40], "EOF"),
        (b"no array", "magic string"),
        (b"", "EOF"),
    ],
)
def test_an_array_that_is_not_what_it_claims_is_refused(
    content: bytes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        heads(archive(tmp_path / "a.npz", a=npy(np.zeros(3)), b=content))
    assert "\n" not in str(caught.value)


def test_objects_and_repeated_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="holds objects"):
        heads(tmp_path / "a.npz")
    with (
        zipfile.ZipFile(archive(tmp_path / "b.npz", a=npy(np.zeros(3))), "a") as file,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        file.writestr("a.npy", npy(np.ones(3)))
    with pytest.raises(ValueError, match="two arrays of one name"):
        heads(tmp_path / "b.npz")


def test_data_that_was_damaged_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(1000))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[4000] ^= 255
    (tmp_path / "a.npz").write_bytes(raw)
    assert heads(tmp_path / "a.npz")["a"].shape == (1000,)
    with pytest.raises(ValueError, match=r"^a: .*CRC"):
        read(tmp_path / "a.npz", "a")
