"""What all detectors look at: one reduced grey copy of the page, its paper level, its ink and one labelling of it.

The analysis of a page is made once and kept while the same pixels are in use, so a list of detectors pays for it once.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.maps import span
from stages.page_image import MM_PER_INCH, PageImage, Pixels

ANALYSIS_DPI = 150.0
ANALYSIS_MAX_MEGAPIXELS = 16.0  # a 24 x 36 in drawing at 150 dpi is 19; a wrong dpi in a file must not cost a minute
WHOLE_FACTOR_TOLERANCE = 0.005  # 299.999 dpi is reduced by exactly 2: whole factors are 20 times quicker than others
INK_WINDOW_MM = 2.5
INK_DEPTH_LEVELS = 18  # below this, JPEG noise and paper grain count as ink (IMAGING 1, step 4)

# Sizes of what may be a letter, a word or letters run together (IMAGING 2.1, step 1; 3 pt type to 25 pt capitals).
LETTER_HEIGHT_MM = (0.7, 9.0)
LETTER_WIDTH_MM = (0.25, 60.0)
LETTER_MAX_ASPECT = 40.0
LETTER_MIN_FILL = 0.08
SOLID_MM = 4.0
SOLID_FILL = 0.7

USUAL_PAPER_PERCENT = 75.0

LEFT, TOP, WIDTH, HEIGHT, AREA = range(5)  # columns of `stats`

Counts = npt.NDArray[np.int64]

_kept = threading.local()


class InkParts(NamedTuple):
    """Ink and its connected parts, as in `Analysis`."""

    ink: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int32]
    stats: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)  # not slotted: what only some ask for is made on first use and kept
class Analysis:
    """Maps of one page at `dpi`; `scale` full-size pixels make one analysis pixel.

    `grey` and `paper` are `(rows, cols)` uint8; `ink` is bool of the same shape; `labels` is int32 with 0 for no ink;
    `stats` is `(components, 5)` int32: left, top, width, height, area, row 0 being the background.
    Analysis pixel `i` covers the full-size pixels from `i * scale` to `(i + 1) * scale`; up to `scale` pixels of the
    last rows and columns may be left over.
    """

    grey: npt.NDArray[np.uint8]
    paper: npt.NDArray[np.uint8]
    ink: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int32]
    stats: npt.NDArray[np.int32]
    dpi: float
    scale: float

    def px(self, mm: float) -> float:
        """How many analysis pixels `mm` millimetres are."""
        return mm * self.dpi / MM_PER_INCH

    @functools.cached_property
    def usual_paper(self) -> float:
        """How bright the paper usually is: three quarters of the page lie on no brighter one."""
        return level_at(self.paper[::4, ::4], USUAL_PAPER_PERCENT)

    @functools.cached_property
    def inked(self) -> npt.NDArray[np.intp]:
        """Where there is ink, in places of the flattened maps: a twentieth of a page."""
        return np.flatnonzero(self.ink)


def analysis_of(page: PageImage) -> Analysis:
    """The page's analysis, made on first use."""
    held: tuple[weakref.ref[Pixels], float, Analysis] | None = getattr(_kept, "last", None)
    if held is not None and held[0]() is page.pixels and held[1] == page.dpi:
        return held[2]
    made = _analyse(page)
    _kept.last = (weakref.ref(page.pixels), page.dpi, made)
    return made


def _analyse(page: PageImage) -> Analysis:
    grey, scale = reduced(page.grey(), page.dpi)
    dpi = page.dpi / scale
    parts = ink_parts(grey, dpi)
    return Analysis(
        grey=grey,
        paper=paper_level(grey, dpi),
        ink=parts.ink,
        labels=parts.labels,
        stats=parts.stats,
        dpi=dpi,
        scale=scale,
    )


def reduced(grey: npt.NDArray[np.uint8], dpi: float) -> tuple[npt.NDArray[np.uint8], float]:
    """The page at `ANALYSIS_DPI` or below by area averaging, and the factor it was reduced by."""
    rows, cols = grey.shape
    scale = max(1.0, dpi / ANALYSIS_DPI, math.sqrt(rows * cols / (ANALYSIS_MAX_MEGAPIXELS * 1e6)))
    whole = round(scale)
    if abs(scale - whole) <= WHOLE_FACTOR_TOLERANCE * scale:
        scale = float(whole)
    scale = min(scale, float(min(rows, cols)))  # one pixel at least is left of a sliver
    if scale <= 1.0:
        return grey, 1.0
    size = (int(cols / scale), int(rows / scale))
    # The rest that fills no analysis pixel is left over, so that the factor is the same down and across.
    used = grey[: round(size[1] * scale), : round(size[0] * scale)]
    return np.asarray(cv2.resize(used, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def ink_of(grey: npt.NDArray[np.uint8], dpi: float) -> npt.NDArray[np.bool_]:
    """What is darker than its surroundings, as in `ink_parts`, without its parts."""
    window = max(3, round(INK_WINDOW_MM * dpi / MM_PER_INCH)) | 1
    depth = cv2.subtract(cv2.blur(grey, (window, window)), grey)
    return np.asarray(depth > INK_DEPTH_LEVELS, dtype=np.bool_)


def ink_parts(grey: npt.NDArray[np.uint8], dpi: float) -> InkParts:
    """What is darker than its surroundings, whatever the shading, and its connected parts (8 neighbours).

    Only the rim of a dark area wider than `INK_WINDOW_MM` is ink: such an area has no darker side.
    """
    ink = ink_of(grey, dpi)
    # Grana's block labelling took half the time of the default on 150-dpi pages of the real scans.
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        ink.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    return InkParts(ink, np.asarray(labels, dtype=np.int32), np.asarray(stats, dtype=np.int32))


def letter_like(stats: npt.NDArray[np.int32], *, shape: tuple[int, ...], dpi: float) -> npt.NDArray[np.bool_]:
    """Which components have the size and shape of letters or words and stand clear of the image's frame."""
    mm = dpi / MM_PER_INCH
    left, top, width, height, area = stats.T
    box = width.astype(np.int64) * height
    solid = (width > SOLID_MM * mm) & (height > SOLID_MM * mm) & (area > SOLID_FILL * box)
    like = (
        (height >= LETTER_HEIGHT_MM[0] * mm)
        & (height <= LETTER_HEIGHT_MM[1] * mm)
        & (width >= LETTER_WIDTH_MM[0] * mm)
        & (width <= LETTER_WIDTH_MM[1] * mm)
        & (width < LETTER_MAX_ASPECT * height)
        & (area >= LETTER_MIN_FILL * box)
        & ~solid
        & (left > 0)
        & (top > 0)
        & (left + width < shape[1])
        & (top + height < shape[0])
    )
    like[0] = False
    return np.asarray(like, dtype=np.bool_)


def sharpness(view: Analysis, places: npt.NDArray[np.intp], numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """How sharp the edges of each component are: 1 and more is a whole step within three analysis pixels.

    `places` are flat places of ink, `numbers` says whose each is. A stain, a shadow or print of the other side may be
    as large and as dark as a letter, but its edge is softer.
    """
    depth = cv2.subtract(view.paper, view.grey).ravel()[places]
    spans = np.bincount(numbers, weights=span(view.grey).ravel()[places], minlength=len(view.stats))
    return np.asarray(spans / np.maximum(np.bincount(numbers, weights=depth, minlength=len(view.stats)), 1.0))


def level_at(levels: npt.NDArray[np.uint8], percent: float) -> float:
    """`np.percentile` of bytes, which need not be sorted for it: counting them takes a tenth of the time."""
    return level_of_counts(level_counts(levels), percent)


def below(levels: npt.NDArray[np.uint8], limit: float) -> npt.NDArray[np.bool_]:
    """Where levels are below a limit that need not be whole; against a float numpy would widen every pixel."""
    return np.asarray(levels < math.ceil(limit))


def level_counts(levels: npt.NDArray[np.uint8]) -> Counts:
    """How often each of the 256 levels occurs."""
    # as one row: as one column it takes twice as long
    counts = cv2.calcHist([np.ascontiguousarray(levels).reshape(1, -1)], [0], None, [256], [0, 256])
    return np.asarray(counts, dtype=np.int64).ravel()


def level_of_counts(counts: Counts, percent: float) -> float:
    """`level_at` of levels that have been counted."""
    running = np.cumsum(counts)
    place = (int(running[-1]) - 1) * (percent / 100)
    below = math.floor(place)
    lower, upper = (int(level) for level in np.searchsorted(running, (below, below + 1), side="right"))
    share = place - below
    # as numpy does it, so that it is the same number to the last bit
    if share == 0:
        return float(lower)
    return lower + (upper - lower) * share if share < 0.5 else upper - (upper - lower) * (1 - share)


def paper_level(grey: npt.NDArray[np.uint8], dpi: float) -> npt.NDArray[np.uint8]:
    """Brightness of the paper at each place, `(rows, cols)` uint8, ink bridged over.

    A bright-side rank filter on a copy of about 20 dpi, then a median and a smoothing over 10 mm: good enough to tell
    ink from paper; `stages.background` fits it more closely where pixels are changed by it.
    """
    factor = max(1, round(dpi / 20.0))
    size = (max(1, grey.shape[1] // factor), max(1, grey.shape[0] // factor))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    small = cv2.dilate(small, np.ones((5, 5), np.uint8))
    small = cv2.blur(cv2.medianBlur(small, 9), (9, 9))
    return np.asarray(cv2.resize(small, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
