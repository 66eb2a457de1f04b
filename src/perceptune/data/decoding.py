"""Files of pictures, decoded: upright, on paper, in 8 bits a colour, and never too large.

A file's kind and size are looked at before it is decoded. Knows nothing of what a picture shows.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.data.files import reason, regular_file
from perceptune.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
OTHERS = {  # what Pillow cannot decode, by bytes near the beginning of the file
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"ftyphei": "HEIC",
    b"ftyphev": "HEIC",
    b"ftypmif1": "HEIC",
    b"ftypavif": "AVIF",
}
OTHER_SUFFIXES = (".pdf", ".svg", ".heic", ".heif", ".avif")
_MOST_PIXELS = 50_000_000  # as many as phones take; up to four bytes each while they are decoded
_MOST_BYTES = 200_000_000
_ENOUGH = 1024  # pixels of the longer side
_THUMBNAIL = 200
_REMEDY = "save it as PNG or JPEG"


def decode(path: Path) -> "Image":
    """Read the picture at `path` as RGB, the way up that its EXIF orientation says.

    A large one is reduced, to `_ENOUGH` pixels of the longer side or some more. Of an animation the
    first frame is read.

    Raises:
        UserError: no regular file, not a picture, or too large a one.
    """
    from PIL import Image, UnidentifiedImageError

    regular_file(path, remedy="choose a picture", most_bytes=_MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's limit is above ours; tags may be damaged
            with Image.open(path, formats=FORMATS) as opened:
                _refuse_large(path, *opened.size)
                opened.draft("RGB", (_ENOUGH, _ENOUGH))
                return _upright(_opaque(_reduced(opened)))
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{path} is {_kind(path)}, expected {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise almost any exception
        raise UserError(f"{path} is a damaged picture: {reason(error)[:120]}") from None


def thumbnail(path: Path) -> np.ndarray:
    """Read the picture at `path` in `_THUMBNAIL` pixels a side or fewer, (rows, columns, 3) uint8.

    Raises:
        UserError: as `decode`.
    """
    image = decode(path)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(image)


def _refuse_large(path: Path, width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise UserError(
            f"{path} has {width:,} × {height:,} pixels, expected {_MOST_PIXELS // 10**6} million "
            "at most; make it smaller"
        )


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1024)
    found = next((name for mark, name in OTHERS.items() if mark in head), None)
    return f"a file of type {found} ({_REMEDY})" if found else "not a picture"


def _reduced(image: "Image") -> "Image":
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    factor = max(image.size) // _ENOUGH
    if factor < 2:
        return image
    if image.mode in ("1", "P", "PA"):  # their pixels are no quantities
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.reduce(factor)


def _opaque(image: "Image") -> "Image":
    """Bring any mode of Pillow's to RGB; below what is transparent, paper comes to light.

    The paper has the picture's own colour where most of it is opaque. Where most is transparent,
    the opaque part is ink, and the paper is black below light ink, white below dark.
    """
    from PIL import Image

    if image.mode in ("I", "F"):
        grey = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0).clip(0)
        grey8 = (grey / max(grey.max(), 1e-9) * 255).astype(np.uint8)
        return Image.fromarray(grey8).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    pixels = np.asarray(image)
    seen = pixels[pixels[..., 3] > 127, :3]
    if len(seen) > 0.5 * image.width * image.height:
        paper = tuple(np.median(seen, axis=0).astype(int).tolist())
    else:
        paper = (0, 0, 0) if len(seen) and seen.mean() > 127 else (255, 255, 255)
    page = Image.new("RGBA", image.size, (*paper, 255))
    page.alpha_composite(image)
    return page.convert("RGB")


def _upright(image: "Image") -> "Image":
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged tag raises almost any exception; the picture is sound
        return image
