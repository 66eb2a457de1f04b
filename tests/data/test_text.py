"""Lines of text files: of any encoding and packing, and never more than was looked at."""

import bz2
import gzip
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from perceptune.data.text import lines
from perceptune.errors import UserError

TEXT = "label,pixel0\r\n\n1,ä\n0,7"
LINES = [(1, "label,pixel0"), (3, "1,ä"), (4, "0,7")]


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "encode",
    [
        lambda raw: raw,
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.decode().encode("utf-16"),
        lambda raw: b"\xfe\xff" + raw.decode().encode("utf-16-be"),
        lambda raw: raw.decode().encode("utf-32"),
        gzip.compress,
        lambda raw: gzip.compress(raw[:9]) + gzip.compress(raw[9:]),
    ],
)
def test_every_common_encoding_is_read(encode: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(encode(TEXT.encode()))
    assert list(lines(path, remedy="")) == LINES


def test_a_zip_with_one_table_is_read_as_kaggle_delivers_it(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    zipped(path, {"train.csv": TEXT.encode()})
    assert list(lines(path, remedy="")) == LINES
    zipped(path, {"a/train.csv": TEXT.encode(), "read.me": b"?", "__MACOSX/train.csv": b"?"})
    assert list(lines(path, remedy="")) == LINES


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(lines(path, remedy="see the README"))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_zip_with_several_tables_is_refused_by_their_names(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"train.csv": b"1", "test.csv": b"2"})
    assert "is a zip of train.csv, test.csv; unpack it" in refusal(tmp_path / "a.zip")
    zipped(tmp_path / "b.zip", {"x.npy": b"1", "y.npy": b"2"})
    assert "read it with data=npz" in refusal(tmp_path / "b.zip")
    zipped(tmp_path / "c.zip", {})
    assert "a zip of nothing" in refusal(tmp_path / "c.zip")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; see the README"),
        (bz2.compress(TEXT.encode()), "is a bzip2 archive; unpack it"),
        (lzma.compress(TEXT.encode()), "is an xz archive; unpack it"),
        (b"PAR1....", "is a Parquet file; save it as CSV"),
        (b"\x89PNG\r\n\x1a\n", "is a picture"),
        (b"1,2\n3,\0\n", "line 2, holds null bytes"),
        (TEXT.encode("utf-16-le"), "line 1, holds null bytes"),
        (b"\x1f\x8b\x08 no more", "cannot read"),
        (gzip.compress(TEXT.encode())[:-9], "cannot read"),
        (b"PK\x03\x04 no more", "cannot read"),
        (b"1," * (1 << 23), "line 1, is longer than any image"),
        (gzip.compress(bytes(1 << 27), 1), "line 1, holds null bytes"),
        (gzip.compress(b"\n" * (1 << 27), 1), "unpacks to more than 67 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time of day
)
def test_what_is_no_table_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    assert words in refusal(path)


def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere")
    for name in ("pipe.csv", "dangling.csv", "."):
        assert "see the README" in refusal(tmp_path / name)
