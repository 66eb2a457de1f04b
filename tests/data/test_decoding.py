"""Files of pictures: every mode and turn is read; bombs and damaged files are one line, in time."""

import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceptune.data.decoding import FORMATS, decode
from perceptune.errors import UserError

# In a process of its own: how far the peak of memory rises while one file is decoded.
MEASURED = """
import sys
from pathlib import Path
from PIL import Image
from perceptune.data.decoding import decode
from perceptune.errors import UserError

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000

Image.init()
before = peak()
try:
    print("read", decode(Path(sys.argv[1])).size)
except UserError as error:
    print(error)
print(peak() - before)
"""


def _picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    return Image.fromarray(pixels).resize(size)


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _png(width: int, height: int, bits: int, kind: int, rows: bytes) -> bytes:
    """A PNG file from its parts; `rows` is the compressed content."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + check

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, kind, 0, 0, 0])
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(10**6)) for _ in range(count // 10**6)) + packer.flush()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_any_mode_becomes_the_same_grey(tmp_path: Path, mode: str) -> None:
    grey = np.zeros((40, 60), np.uint8)
    grey[10:30, 20:40] = 255
    picture = Image.fromarray(grey)
    if mode in ("I;16", "I"):
        picture = Image.fromarray(grey.astype(np.uint16) * 257).convert(mode)
    elif mode != "L":
        picture = picture.convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F", "I") else "a.png")
    picture.save(path)
    found = decode(path)
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found.convert("L")).astype(int) - grey).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path: Path, turn: int) -> None:
    stored = _picture()
    tags = Image.Exif()
    tags[0x0112] = turn
    stored.save(tmp_path / "a.png", exif=tags)
    expected = {  # what a viewer does, by the standard's table of rows and columns
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[turn](np.asarray(stored))
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "a.png")), expected)


def test_paper_below_transparent_ink_lets_it_be_seen(tmp_path: Path) -> None:
    for ink in (0, 255):
        pixels = np.full((40, 40, 4), ink, np.uint8)
        pixels[..., 3] = 0
        pixels[10:30, 18:22, 3] = 255
        Image.fromarray(pixels).save(tmp_path / "a.png")
        found = np.asarray(decode(tmp_path / "a.png"))
        assert found[20, 20].tolist() == [ink] * 3
        assert found[0, 0].tolist() == [255 - ink] * 3


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        frames = [Image.new("RGB", (30, 20), colour) for colour in ("white", "black")]
        path = tmp_path / f"a.{form.lower()}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert np.asarray(decode(path)).min() > 250


def test_a_wrong_suffix_makes_no_difference(tmp_path: Path) -> None:
    picture = _picture()
    (tmp_path / "a.jpg").write_bytes(_saved(picture, "PNG"))
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "a.jpg")), np.asarray(picture))


def test_a_large_picture_is_reduced_not_cut(tmp_path: Path) -> None:
    pixels = np.zeros((3000, 4000), np.uint8)
    pixels[:1500] = 255
    for name in ("a.png", "a.jpg"):
        Image.fromarray(pixels).save(tmp_path / name)
        found = decode(tmp_path / name)
        assert found.width / found.height == pytest.approx(4 / 3, rel=0.01)
        assert 1024 <= found.width < 2100
        assert 0.49 < np.asarray(found).mean() / 255 < 0.51


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "of type HEIC .save it as PNG or JPEG"),
        ("a.jpg", b"\0\0\0\x1cftypavif\0\0\0\0mif1", "of type AVIF"),
        ("a.svg", b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "type SVG"),
        ("a.png", b"%PDF-1.7\n", "of type PDF"),
        ("a.png", b"", "is empty; choose a picture"),
        ("a.png", b"hello", "is not a picture, expected PNG, JPEG"),
        ("a.png", _saved(_picture(), "PNG")[:300], "is a damaged picture"),
        ("a.jpg", _saved(_picture(), "JPEG")[:500], "is a damaged picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_and_damaged_files_are_named(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint) as refusal:
        decode(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "missing.png"):
        with pytest.raises(UserError, match=name):
            decode(tmp_path / name)


def _square_png() -> bytes:
    return _png(13_300, 13_300, 8, 0, _zeros(13_300 * 13_301))


def _wide_png() -> bytes:
    return _png(2**31 - 1, 2, 8, 0, _zeros(10**6))


def _long_png() -> bytes:
    """Far more content than its head says."""
    return _png(100, 100, 8, 2, _zeros(6 * 10**8))


def _text_png() -> bytes:
    """A comment that unpacks to more than the memory that is allowed."""
    text = b"a\0\0" + _zeros(6 * 10**8)
    chunk = len(text).to_bytes(4, "big") + b"zTXt" + text
    png = _png(10, 10, 8, 0, zlib.compress(bytes(110)))
    return png[:33] + chunk + zlib.crc32(b"zTXt" + text).to_bytes(4, "big") + png[33:]


def _large_bmp() -> bytes:
    content = bytearray(_saved(_picture(), "BMP"))
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    return bytes(content)


def _large_gif() -> bytes:
    content = bytearray(_saved(_picture(), "GIF"))
    content[6:10] = b"\xff\xff\xff\xff"
    return bytes(content)


def _large_tiff() -> bytes:
    picture = Image.new("L", (13_300, 13_300))
    return _saved(picture, "TIFF", compression="tiff_adobe_deflate")


def _large_webp() -> bytes:
    content = bytearray(_saved(_picture(), "WEBP", lossless=True))
    content[21:24] = b"\xff\xff\xff"  # 14 bits of width, 14 of height
    return bytes(content)


def _large_jpeg() -> bytes:
    return _saved(Image.new("L", (13_300, 13_300)), "JPEG")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize(
    "bomb",
    [
        _square_png,
        _wide_png,
        _long_png,
        _text_png,
        _large_bmp,
        _large_gif,
        _large_tiff,
        _large_webp,
        _large_jpeg,
    ],
)
def test_a_bomb_takes_little_memory(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    command = [sys.executable, "-c", MEASURED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer, megabytes = done.stdout.splitlines()
    assert float(megabytes) < 500, answer
    if bomb is not _long_png:  # which is a sound picture with something behind it
        assert "pixels" in answer or "picture" in answer


def test_broken_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """Truncated, with flipped bytes, with the head of another format, or with a piece repeated."""
    rng = np.random.default_rng(11)
    sound = [_saved(_picture(seed), form) for seed, form in enumerate(FORMATS)]
    path = tmp_path / "broken.png"
    lines = []
    for number in range(300):
        content = bytearray(sound[number % len(sound)])
        place = int(rng.integers(1, len(content)))
        match number // len(sound) % 4:
            case 0:
                del content[place:]
            case 1:
                for at in rng.integers(0, len(content), rng.integers(1, 20)):
                    content[at] = rng.integers(0, 256)
            case 2:
                other, length = sound[int(rng.integers(len(sound)))], int(rng.integers(4, 64))
                content[:length] = other[:length]
            case 3:
                content[place:place] = content[place // 2 : place]
        path.write_bytes(content)
        try:
            assert decode(path).mode == "RGB"
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 100  # or the files are not broken enough for a test
    assert all(str(path) in line and "\n" not in line for line in lines)
