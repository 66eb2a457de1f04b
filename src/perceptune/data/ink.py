"""The ink of a photograph: one digit, without paper, shadows, printed lines, dust and dark edges.

Knows neither files nor data sets. Lengths in pixels are those of a picture whose longer side has
`SIDE` pixels.
"""

import numpy as np

SIDE = 512
_STROKE = 0.28  # of the shorter side: wider than strokes, narrower than most shadows
_BRIGHT = 0.85  # of the lightest part: paper that is brighter has no light ink
_FAINT = 0.08  # of the paper's light: ink takes more
_NOISE = 5.0  # standard deviations of the paper's own noise: ink stands out by more
_DIGIT = 0.06  # of the longer side: a digit is longer,
_PIXELS = 5  # and has more pixels of a picture that was enlarged
_FRAME = 0.03  # of the shorter side: what lies along the border for longer is a table or an edge,
_SMALL_FRAME = 0.3  # but not in small pictures, which may be cut close to the digit
_FADING = 8.0  # pixels: an edge of ink in focus is narrower, a shadow's is not
_WEAK = 0.4  # of the pen's strength: where it was pressed least
_PEN = 0.75  # of its strength: a second digit is as dark somewhere, a shadow hardly
_APART = 0.16  # of the largest stroke's length: strokes of one digit are closer together
_RIVAL = 0.5  # of the largest stroke's length: a second digit is as long

Array = np.ndarray


class NoInkError(ValueError):
    """A picture without a digit, or with several; its text is a predicate: "shows no digit"."""


def find(picture: Array, enlarged: float = 1.0) -> Array:
    """Find the ink of the one digit in `picture`, (rows, columns, 3) from 0 to 1.

    Returns (rows, columns): 1 where there is ink, 0 elsewhere, between them at its edges.

    Args:
        picture: what was read, scaled to `SIDE`.
        enlarged: by what factor, at least 1; edges are as much less sharp.

    Raises:
        NoInkError: there is no digit, or there are several.
    """
    from scipy import ndimage

    taken = _light_taken(picture)
    smooth = ndimage.gaussian_filter(taken, 1)
    noise = 1.48 * np.median(np.abs(smooth - np.median(smooth)))  # sd, if most of it is paper
    floor = max(_FAINT, _NOISE * noise)
    smooth = smooth - _printed_lines(smooth) - _printed_lines(smooth.T).T
    for level in np.geomspace(1, floor, 14):
        if len(_strokes(smooth, level, enlarged)[1]):
            regions, large = _strokes(smooth, max(_WEAK * level, floor), enlarged)
            digit = _one_digit(regions, large, as_dark=np.unique(regions[smooth > _PEN * level]))
            soft = np.clip((taken / level - 0.25) / 0.5, 0, 1)
            return np.asarray(soft * ndimage.binary_dilation(digit, iterations=2))
    raise NoInkError("shows no digit: nothing of a digit's size stands out from paper around it")


def _light_taken(picture: Array) -> Array:
    """Compute the fraction of the paper's light that is missing, in the colour that lacks most.

    A yellow pen is seen in blue that way.
    """
    from scipy import ndimage

    if _is_light_on_dark(picture.mean(axis=-1)):
        picture = 1 - picture
    # The paper's colour, as if nothing were written on it: a closing covers all that is narrow.
    reach = round(_STROKE * min(picture.shape[:2])) + 1
    smooth = ndimage.uniform_filter(picture, (5, 5, 1), mode="nearest")
    paper = ndimage.grey_closing(smooth, (reach, reach, 1), mode="nearest")
    paper = ndimage.uniform_filter(paper, (21, 21, 1), mode="nearest")
    taken: Array = (1 - picture / np.maximum(paper, 0.05)).max(axis=-1)
    return taken


def _is_light_on_dark(grey: Array) -> bool:
    """True where pixels that stand out are lighter than those around them, in the middle part."""
    from scipy import ndimage

    small = ndimage.uniform_filter(grey, 12)[::12, ::12]
    apart = small - ndimage.median_filter(small, max(small.shape) // 2)
    rows, columns = (slice(side // 6, side - side // 6) for side in small.shape)
    skew = (apart[rows, columns] ** 3).sum()
    return bool(skew > 0 and np.median(grey) < _BRIGHT * np.percentile(small, 99.5))


def _printed_lines(taken: Array) -> Array:
    """The part of `taken` that is thin lines from left to right, a third as long as that or longer.

    They may lean by some degrees, and run on across ink. A stroke that crosses them is thick along
    its own column, so it stays; one that lies on a line loses no more than the line's own strength.
    """
    from scipy import ndimage

    thin = np.clip(taken - ndimage.grey_opening(taken, (11, 1)), 0, None)
    level = ndimage.uniform_filter1d(ndimage.grey_dilation(taken, (9, 1)), 9)
    lines = ndimage.grey_opening(level, (1, taken.shape[1] // 3))
    printed: Array = np.minimum(thin, 1.2 * lines)
    return printed


def _strokes(taken: Array, level: float, enlarged: float) -> tuple[Array, Array]:
    """Label what is above `level`, (rows, columns); choose the labels that may be of a digit."""
    from scipy import ndimage

    regions, _ = ndimage.label(taken > level, np.ones((3, 3)))
    along = np.bincount(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    along[0] = 0
    most = (_SMALL_FRAME if enlarged > 2 else _FRAME) * min(taken.shape)
    regions[np.isin(regions, np.flatnonzero(along > most))] = 0
    least = max(_DIGIT * max(taken.shape), _PIXELS * enlarged)
    large = np.flatnonzero(_lengths(regions) > least)
    return regions, large[_are_sharp(taken, regions, large, enlarged)] if len(large) else large


def _lengths(regions: Array) -> Array:
    """The longer side of each region's box, by its label; 0 for those that are not there."""
    from scipy import ndimage

    places = [None, *ndimage.find_objects(regions)]
    return np.array([max(s.stop - s.start for s in place) if place else 0 for place in places])


def _are_sharp(taken: Array, regions: Array, labels: Array, enlarged: float) -> Array:
    """True for regions whose edge is as sharp as a pen's: shadows and dark corners are soft.

    Ink may take some pixels to fade, or the larger part of its own width, as in an enlarged image.
    """
    from scipy import ndimage

    inside = np.isin(regions, labels)
    edge = inside & ~ndimage.binary_erosion(inside)
    steep = ndimage.median(ndimage.gaussian_gradient_magnitude(taken, 1), regions * edge, labels)
    fading = ndimage.maximum(taken, regions, labels) / np.maximum(steep, 1e-9)
    # In a band of width w the mean distance to its edge is w / 4.
    width = 4 * ndimage.mean(ndimage.distance_transform_edt(inside), regions, labels)
    return np.asarray(fading < np.maximum(_FADING * enlarged, 0.75 * width))


def _one_digit(regions: Array, large: Array, as_dark: Array) -> Array:
    """The pixels of the largest stroke and of those that continue it, (rows, columns) bool."""
    from scipy import ndimage

    if not len(large):
        raise NoInkError("shows no digit: what stands out from the paper is not like a pen's ink")
    areas, lengths = np.bincount(regions.ravel()), _lengths(regions)
    main = large[np.argmax(areas[large])]
    pieces = (regions > 0) & (areas > 0.01 * areas[main])[regions]
    # The bar of a 5 may be higher above it than the next digit is beside it.
    gap = ndimage.distance_transform_edt(~pieces, sampling=(0.5, 1))
    groups, _ = ndimage.label(gap < _APART / 2 * lengths[main])
    own = groups == groups[regions == main][0]
    others = np.intersect1d(large[lengths[large] > _RIVAL * lengths[main]], as_dark)
    apart = len(np.unique(groups[np.isin(regions, others) & ~own]))
    if apart:
        raise NoInkError(f"shows {apart + 1} digits or more; cut out one")
    found: Array = pieces & own
    return found
