"""Photographs of handwritten digits, drawn: each kind is what somebody's camera or scanner makes.

A kind takes a digit as MNIST has it, (28, 28) uint8, and a generator; it returns a picture and how
to save it. Everything that varies is drawn from the generator.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

Array = np.ndarray
Made = tuple[Image.Image, str, dict[str, Any]]  # a picture, its suffix, options of saving it
Kind = Callable[[Array, np.random.Generator], Made]

BLACK, BLUE, RED, GREEN, YELLOW = (
    (0.12, 0.12, 0.14),
    (0.15, 0.22, 0.62),
    (0.80, 0.15, 0.17),
    (0.13, 0.50, 0.25),
    (0.97, 0.90, 0.25),
)
_UNDO = {  # of EXIF's orientations
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def save(made: Made, folder: Path, stem: str) -> Path:
    """Write what a kind made; `stem` is the file's name without its ending."""
    picture, suffix, options = made
    path = folder / f"{stem}{suffix}"
    picture.save(path, **options)
    return path


def stroke(digit: Array, side: int) -> Array:
    """`digit` in a frame of `side` pixels with the edges of a pen: (side, side), 0 to 1."""
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    soft = ndimage.gaussian_filter(np.asarray(large, np.float32) / 255, side / 120)
    return np.clip((soft - 0.22) / 0.2, 0, 1)


def thin_stroke(digit: Array, side: int, width: float) -> Array:
    """The middle line of `digit`, `width` pixels wide."""
    depth = ndimage.distance_transform_edt(stroke(digit, side) > 0.5)
    depth = ndimage.gaussian_filter(depth, side / 150)
    slopes = np.hypot(*np.gradient(depth))
    ridge = (depth > 0.012 * side) & (slopes < 0.62)
    ridge = ndimage.binary_closing(np.pad(ridge, 40), iterations=round(0.025 * side))[
        40:-40, 40:-40
    ]
    away = ndimage.distance_transform_edt(~ridge)
    return np.clip(width / 2 - away + 0.5, 0, 1)


def sheet(
    ink: Array,
    rng: np.random.Generator,
    size: tuple[int, int],
    pen: tuple[float, ...] = BLACK,
    ruling: Array | float = 0.0,
    turn: float = 6,
) -> Array:
    """A sheet of paper with `ink` somewhere about its middle, (rows, columns, 3) from 0 to 1.

    Args:
        ink: (side, side), turned by up to `turn` degrees.
        rng: for the place and the turn.
        size: rows and columns of the sheet.
        pen: its colour.
        ruling: (rows, columns, 1), how much of the light printed lines take.
        turn: degrees.
    """
    ink = np.clip(ndimage.rotate(ink, rng.uniform(-turn, turn), reshape=False, order=1), 0, 1)
    rows, columns = size
    side = len(ink)
    top = int(rng.uniform(0.25, 0.75) * (rows - side))
    left = int(rng.uniform(0.25, 0.75) * (columns - side))
    cover = np.zeros((rows, columns, 1), np.float32)
    cover[top : top + side, left : left + side, 0] = ink
    paper = np.array([0.93, 0.92, 0.89]) * (1 - ruling)
    return paper * (1 - cover) + paper * np.array(pen) * cover


def photo(page: Array, rng: np.random.Generator, noise: float = 0.015) -> Image.Image:
    """What a camera makes of `page`: a little blur, noise, 8 bits."""
    seen = ndimage.gaussian_filter(page, (0.7, 0.7, 0))
    seen = seen + rng.normal(0, noise, seen.shape)
    return Image.fromarray(np.round(np.clip(seen, 0, 1) * 255).astype(np.uint8))


def jpeg(page: Array, rng: np.random.Generator, **options: Any) -> Made:
    return photo(page, rng), ".jpg", {"quality": int(rng.integers(75, 95)), **options}


def plain(digit: Array, rng: np.random.Generator) -> Made:
    """Black on white, enlarged: what a drawing program saves."""
    large = Image.fromarray(255 - digit).resize((140, 140), Image.Resampling.BICUBIC)
    return large, ".png", {}


def fall_off(digit: Array, rng: np.random.Generator) -> Made:
    """A lamp at one side: half the light at the other."""
    page = sheet(stroke(digit, 260), rng, (480, 640))
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.mgrid[-1:1:480j, -1:1:640j]
    along = (down * np.sin(angle) + across * np.cos(angle)) / 1.4
    return jpeg(page * (0.62 + 0.36 * along)[..., None], rng)


def vignette(digit: Array, rng: np.random.Generator) -> Made:
    """A cheap lens: dark corners."""
    page = sheet(stroke(digit, 240), rng, (480, 640))
    down, across = np.mgrid[-1:1:480j, -1:1:640j]
    return jpeg(page * (1 - 0.35 * (down**2 + across**2))[..., None], rng)


def hand_shadow(digit: Array, rng: np.random.Generator) -> Made:
    """The shadow of the hand that holds the phone, across the digit."""
    page = sheet(stroke(digit, 260), rng, (640, 480))
    down, across = np.mgrid[0:1:640j, 0:1:480j]
    middle, tilt = rng.uniform(0.3, 0.7), rng.uniform(-0.5, 0.5)
    height = rng.uniform(0.25, 0.6)
    distance = np.hypot(
        (across - middle + tilt * (1 - down)) / 0.28, np.clip(height - down, 0, 1) / 0.3
    )
    dark = 1 / (1 + np.exp((distance - 1) / rng.uniform(0.02, 0.12)))
    return jpeg(page * (1 - rng.uniform(0.35, 0.55) * dark)[..., None], rng)


def tilted(digit: Array, rng: np.random.Generator) -> Made:
    """A sheet lying askew on a darker table, seen at an angle."""
    page = sheet(stroke(digit, 300), rng, (600, 600), turn=0)
    angle = np.deg2rad(rng.uniform(6, 15) * rng.choice([-1, 1]))
    down, across = np.mgrid[-1:1:600j, -1:1:600j]
    depth = 1 + rng.uniform(-0.15, 0.15) * down + rng.uniform(-0.15, 0.15) * across
    x = (np.cos(angle) * across - np.sin(angle) * down) * depth * 1.15
    y = (np.sin(angle) * across + np.cos(angle) * down) * depth * 1.15
    places = [(y + 1) * 299.5, (x + 1) * 299.5]
    table = np.array([0.36, 0.25, 0.17]) * (1 + 0.1 * np.sin(40 * across + 6 * down))[..., None]
    inside = ((np.abs(x) < 1) & (np.abs(y) < 1))[..., None]
    seen = [
        ndimage.map_coordinates(page[..., channel], places, order=1, mode="nearest")
        for channel in range(3)
    ]
    return jpeg(np.where(inside, np.stack(seen, axis=-1), table), rng)


def exif(digit: Array, rng: np.random.Generator) -> Made:
    """A phone held in any way: pixels as the sensor has them, and a tag that says how to turn."""
    picture = photo(sheet(stroke(digit, 260), rng, (480, 400)), rng)
    turn = int(rng.integers(1, 9))
    if turn in _UNDO:
        picture = picture.transpose(_UNDO[turn])
    tags = Image.Exif()
    tags[274] = turn
    return picture, ".jpg", {"exif": tags, "quality": 90}


def _pen(colour: tuple[float, ...]) -> Kind:
    def kind(digit: Array, rng: np.random.Generator) -> Made:
        page = sheet(stroke(digit, 260), rng, (480, 640), colour)
        light = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), 640)[None, :, None]
        return jpeg(page * light, rng)

    return kind


def ballpoint(digit: Array, rng: np.random.Generator) -> Made:
    """A thin line, a hundredth of the digit's height or two, in blue or black."""
    side = int(rng.integers(260, 420))
    ink = thin_stroke(digit, side, rng.uniform(0.012, 0.025) * side) * 0.8
    pen = BLUE if rng.random() < 0.5 else BLACK
    return jpeg(sheet(ink, rng, (640, 640), pen), rng)


def pencil(digit: Array, rng: np.random.Generator) -> Made:
    """Grey and thin on white."""
    ink = thin_stroke(digit, 320, 0.03 * 320) * rng.uniform(0.35, 0.5)
    return jpeg(sheet(ink, rng, (480, 640)), rng)


def _lines(rows: int, columns: int, gap: float, width: float, slope: float, start: float) -> Array:
    down, across = np.mgrid[0:rows, 0:columns]
    height = (down + slope * across - start) % gap
    near = np.minimum(height, gap - height)
    return np.clip(width / 2 - near + 0.5, 0, 1).astype(np.float32)


def _ruled(squared: bool) -> Kind:
    def kind(digit: Array, rng: np.random.Generator) -> Made:
        gap, width = rng.uniform(35, 75), rng.uniform(1.5, 3)
        slope, start = rng.uniform(-0.04, 0.04), rng.uniform(0, 30)
        ruling = _lines(640, 640, gap, width, slope, start)
        if squared:
            ruling = np.maximum(ruling, _lines(640, 640, gap, width, slope, start).T[:, ::-1])
        colour = np.array([0.5, 0.35, 0.2]) if rng.random() < 0.5 else np.array([0.35, 0.35, 0.35])
        side = int(rng.integers(200, 420))
        ink = stroke(digit, side)
        if rng.random() < 0.5:
            ink = thin_stroke(digit, side, rng.uniform(0.03, 0.05) * side)
        pen = BLUE if rng.random() < 0.5 else BLACK
        return jpeg(sheet(ink, rng, (640, 640), pen, ruling[..., None] * colour), rng)

    return kind


def grey16(digit: Array, rng: np.random.Generator) -> Made:
    """A scanner's 16 bits, dark on light."""
    page = sheet(stroke(digit, 200), rng, (300, 300)).mean(axis=-1)
    page = np.clip(page + rng.normal(0, 0.01, page.shape), 0, 1)
    return Image.fromarray(np.round(page * 65535).astype(np.uint16)), ".png", {}


def transparent(digit: Array, rng: np.random.Generator) -> Made:
    """White ink on nothing, or black."""
    ink = np.round(stroke(digit, 220) * 255).astype(np.uint8)
    value = 255 if rng.random() < 0.7 else 0
    full = np.full_like(ink, value)
    return Image.fromarray(np.stack([full, full, full, ink], axis=-1)), ".png", {}


def dusty(digit: Array, rng: np.random.Generator) -> Made:
    """Specks all over the sheet."""
    page = sheet(stroke(digit, 240), rng, (480, 480))
    down, across = np.mgrid[0:480, 0:480]
    for _ in range(rng.integers(8, 30)):
        y, x, radius = rng.uniform(0, 480), rng.uniform(0, 480), rng.uniform(1, 4)
        speck = np.clip(radius - np.hypot(down - y, across - x) + 0.5, 0, 1)
        page = page * (1 - 0.85 * speck[..., None])
    return jpeg(page, rng)


def black_edge(digit: Array, rng: np.random.Generator) -> Made:
    """A scan whose sheet did not cover the glass: black on one side, two or all."""
    page = sheet(stroke(digit, 260), rng, (560, 480))
    for side in range(4):
        if rng.random() < 0.6:
            width = int(rng.integers(6, 40))
            band = np.rot90(page, side)
            band[:width] = 0.04
    return jpeg(page, rng)


def corner28(digit: Array, rng: np.random.Generator) -> Made:
    """A small digit off the middle, in as many pixels as MNIST's images have."""
    side = int(rng.integers(16, 21))
    small = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.LANCZOS))
    image = np.zeros((28, 28), np.uint8)
    down, across = (int(rng.choice([0, 28 - side])) for _ in range(2))
    image[down : down + side, across : across + side] = small
    return Image.fromarray(255 - image if rng.random() < 0.5 else image), ".png", {}


def phone(digit: Array, rng: np.random.Generator) -> Made:
    """Twelve megapixels, the digit in a part of them."""
    side = int(rng.integers(600, 1800))
    page = sheet(stroke(digit, side), rng, (3000, 4000)).astype(np.float32)
    light = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), 4000, dtype=np.float32)
    page *= light[None, :, None]
    page += rng.standard_normal(page.shape, np.float32) * np.float32(0.02)
    picture = Image.fromarray((np.clip(page, 0, 1) * 255).astype(np.uint8))
    return picture, ".jpg", {"quality": 85}


def chalk(digit: Array, rng: np.random.Generator) -> Made:
    """Chalk on a blackboard with uneven light."""
    page = sheet(stroke(digit, 260), rng, (480, 640))
    board = 0.1 + 0.75 * (0.93 - page)
    down, _ = np.mgrid[0.6:1:480j, 0:1:640j]
    return jpeg(board * down[..., None], rng)


KINDS: dict[str, Kind] = {
    "plain": plain,
    "fall-off": fall_off,
    "vignette": vignette,
    "hand shadow": hand_shadow,
    "tilted sheet": tilted,
    "exif": exif,
    "yellow marker": _pen(YELLOW),
    "ballpoint": ballpoint,
    "pencil": pencil,
    "squared paper": _ruled(squared=True),
    "lined paper": _ruled(squared=False),
    "red pen": _pen(RED),
    "blue pen": _pen(BLUE),
    "green pen": _pen(GREEN),
    "16 bits": grey16,
    "transparent": transparent,
    "dust": dusty,
    "black edge": black_edge,
    "corner of 28 × 28": corner28,
    "phone": phone,
    "chalk": chalk,
}
