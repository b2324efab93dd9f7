"""How good the scan is: sharpness, contrast, noise, size of the letters, text cut off. Nothing is changed."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.analysis import (
    AREA,
    HEIGHT,
    INK_DEPTH_LEVELS,
    LEFT,
    LETTER_HEIGHT_MM,
    LETTER_WIDTH_MM,
    TOP,
    WIDTH,
    Analysis,
    analysis_of,
    letter_like,
)
from stages.errors import CutEdge, QualityTooLow
from stages.page_image import MM_PER_INCH, PageImage, Pixels
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]

# Where it is measured: the tiles with most letters, at full size.
TILE_MM = 20.0
TILES = 8
TILE_MIN_LETTERS = 4

# Edges: across a clear edge, the rise of the whole contrast at the steepest slope.
EDGE_REACH_MM = 0.8
EDGE_MIN_CONTRAST = 0.5  # of the tile's own
EDGE_MIN_SLOPE = 0.05  # of the rise, a pixel: flatter is shading
SCHARR_SUM = 32.0  # a ramp of 1 level a pixel answers with this

# Noise after Immerkaer 1996, doi:10.1006/cviu.1996.0060: what is left of plain paper under this mask.
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
NOISE_MASK_GAIN = 6.0
PAPER_CLEARANCE_MM = 0.6
CLIP_STEP = 4  # one pixel in 16 is enough for a share

# Letters: the size most letters share, between the smallest type and headings.
X_HEIGHT_MM = (0.7, 6.0)
X_HEIGHT_MIN_LETTERS = 30
X_HEIGHT_MIN_SHARE = 0.5  # of the letters of the commonest height
X_HEIGHT_SPREAD = 1.12

# Quality index QI = 0.039 dpi h / 2 on grey, / 3 on bitonal scans, h in mm (Cornell and AIIM; DOMAIN 2.8).
INDEX_FACTOR = 0.039
INDEX_DIVISOR_GREY = 2.0
INDEX_DIVISOR_BITONAL = 3.0

# Text cut off: at least so many letters touch the frame.
CUT_MIN_LETTERS = 3
CUT_MIN_ROW = 8
CUT_MIN_DEPTH_MM = 0.4
CUT_MAX_LENGTH_MM = 20.0
CUT_NEIGHBOUR_MM = 8.0
CUT_LOOKED_AT = 200

PAGE_SIZES_MM = {
    "letter": (215.9, 279.4),
    "legal": (215.9, 355.6),
    "tabloid": (279.4, 431.8),
    "half-letter": (139.7, 215.9),
    "a3": (297.0, 420.0),
    "a4": (210.0, 297.0),
    "a5": (148.0, 210.0),
}
PAGE_SIZE_TOLERANCE = 0.02  # letter and A4 differ by 3 and 6 %


class Settings(StageSettings):
    """Limits below which a person must decide; None measures only."""

    min_contrast: float | None = Field(None, gt=0, le=1)
    max_blur_mm: float | None = Field(None, gt=0)
    max_noise_levels: float | None = Field(None, gt=0)
    max_clipped_fraction: float | None = Field(None, ge=0, le=1)
    min_index: float | None = Field(None, gt=0)
    refuse_cut_edge: bool = False


class _Tile(NamedTuple):
    """What one tile with letters shows; levels are grey levels, sizes pixels of the page."""

    paper: float
    ink: float
    blur_px: float | None
    heights_px: npt.NDArray[np.float64]


def quality(page: PageImage, settings: Settings) -> PageImage:
    """Measure the scan; the pixels stay as they are.

    Best placed before stages that change pixels: afterwards it measures what they left.
    Readings: `page_size` (letter, legal, a4, ... or other), `cut_edge` (sides where text runs off the frame),
    `x_height_mm` of the commonest small letters and the legibility `index` (5 good, 8 excellent) it gives at this
    resolution, `contrast` (paper minus ink, 1 being white and black), `blur_mm` (width of an edge), `noise_levels`
    (standard deviation of the paper's grain), `clipped_fraction` of pixels that are fully white or black. None where
    there is nothing to measure it on: no letters, or no grey on a bitonal page.

    Raises:
        CutEdge: text runs off the frame and `settings.refuse_cut_edge` says that a person must look.
        QualityTooLow: a reading passes its limit in the settings.
    """
    view = analysis_of(page)
    letters = letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi)
    with_letters, others = _tiles(page, view, letters)
    measured = [_measured(tile, page) for tile in with_letters]
    x_height_mm = _x_height_mm([tile.heights_px for tile in measured], page.dpi)
    divisor = INDEX_DIVISOR_BITONAL if page.is_bitonal else INDEX_DIVISOR_GREY
    index = None if x_height_mm is None else INDEX_FACTOR * page.dpi * x_height_mm / divisor
    contrast = blur_mm = noise_levels = clipped_fraction = None
    if not page.is_bitonal:
        contrast = _middle([(tile.paper - tile.ink) / 255 for tile in measured])
        blur_px = _middle([tile.blur_px for tile in measured if tile.blur_px is not None])
        blur_mm = None if blur_px is None else blur_px * MM_PER_INCH / page.dpi
        noise_levels = _middle([noise for tile in with_letters + others if (noise := _noise(tile, page)) is not None])
        clipped_fraction = _clipped_fraction(page)
    cut_edge = _cut_sides(view, letters)
    if cut_edge and settings.refuse_cut_edge:
        raise CutEdge(cut_edge)
    _refuse_below("contrast", contrast, settings.min_contrast)
    _refuse_above("blur", blur_mm, settings.max_blur_mm, "mm")
    _refuse_above("noise", noise_levels, settings.max_noise_levels, "levels")
    _refuse_above("clipped part", clipped_fraction, settings.max_clipped_fraction)
    _refuse_below("legibility index", index, settings.min_index)
    return page.with_readings(
        "quality",
        page_size=_page_size(page),
        cut_edge=cut_edge,
        x_height_mm=x_height_mm,
        index=index,
        contrast=contrast,
        blur_mm=blur_mm,
        noise_levels=noise_levels,
        clipped_fraction=clipped_fraction,
    )


def _refuse_below(what: str, measured: float | None, limit: float | None) -> None:
    if measured is not None and limit is not None and measured < limit:
        raise QualityTooLow(what, f"{measured:.2f}", f"no less than {limit:g}")


def _refuse_above(what: str, measured: float | None, limit: float | None, unit: str = "") -> None:
    if measured is not None and limit is not None and measured > limit:
        raise QualityTooLow(what, f"{measured:.2f} {unit}".strip(), f"at most {limit:g} {unit}".strip())


def _middle(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _tiles(page: PageImage, view: Analysis, letters: npt.NDArray[np.bool_]) -> tuple[list[Grey], list[Grey]]:
    """Full-size tiles with letters, those with most first, and tiles without; `TILES` together."""
    # A wrong resolution must not make tiles of nothing.
    rows, cols = (min(side, max(1, round(side / view.px(TILE_MM)))) for side in view.grey.shape)
    stats = view.stats[letters]
    down = ((stats[:, TOP] + stats[:, HEIGHT] / 2) * rows / view.grey.shape[0]).astype(int)
    across = ((stats[:, LEFT] + stats[:, WIDTH] / 2) * cols / view.grey.shape[1]).astype(int)
    counts = np.bincount(down * cols + across, minlength=rows * cols)
    order = np.argsort(-counts, kind="stable")[:TILES]
    found: tuple[list[Grey], list[Grey]] = [], []
    for place in order:
        row, col = divmod(int(place), cols)
        part: Pixels = page.pixels[
            row * page.height_px // rows : (row + 1) * page.height_px // rows,
            col * page.width_px // cols : (col + 1) * page.width_px // cols,
        ].copy()
        grey = PageImage(pixels=part, dpi=page.dpi).grey()
        found[int(counts[place] < TILE_MIN_LETTERS)].append(grey)
    return found


def _measured(tile: Grey, page: PageImage) -> _Tile:
    """Levels of paper and ink, width of the edges and heights of the letters on one tile."""
    threshold, _ = cv2.threshold(tile, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    light, dark = tile[tile > threshold], tile[tile <= threshold]
    paper = float(np.median(light)) if light.size else 255.0
    # The darker half of the dark: thin strokes never reach the level of the ink.
    ink = float(np.percentile(dark, 25)) if dark.size else paper
    binary = (tile < (paper + ink) / 2).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    left, top, width, height, area = stats[1:].T
    letters = (
        (height >= page.px(X_HEIGHT_MM[0]))
        & (height <= page.px(X_HEIGHT_MM[1]))
        & (width >= page.px(LETTER_WIDTH_MM[0]))
        & (width <= 2 * height)
        & (area > 0)
        & (left > 0)
        & (top > 0)
        & (left + width < tile.shape[1])
        & (top + height < tile.shape[0])
    )
    blur_px = None if page.is_bitonal else _edge_width_px(tile, paper - ink, page)
    return _Tile(paper, ink, blur_px, height[letters].astype(np.float64))


def _edge_width_px(tile: Grey, contrast: float, page: PageImage) -> float | None:
    """How many pixels the steepest slope would take for the whole rise of its edge; 2 for a perfect step."""
    across, down = (cv2.Scharr(tile, cv2.CV_32F, dx, dy) for dx, dy in ((1, 0), (0, 1)))
    slope = cv2.magnitude(across, down) / np.float32(SCHARR_SUM)
    reach = 2 * max(1, round(page.px(EDGE_REACH_MM))) + 1
    around = np.ones((reach, reach), np.uint8)
    rise = cv2.subtract(cv2.dilate(tile, around), cv2.erode(tile, around)).astype(np.float32)
    crest = (slope >= cv2.dilate(slope, np.ones((3, 3), np.uint8))) & (slope > 0)
    edges = crest & (rise >= EDGE_MIN_CONTRAST * contrast) & (slope >= EDGE_MIN_SLOPE * rise)
    if not edges.any():
        return None
    return float(np.median(rise[edges] / slope[edges]))


def _noise(tile: Grey, page: PageImage) -> float | None:
    """Standard deviation of the grain on the plain paper of a tile; None without paper."""
    reach = 2 * max(1, round(page.px(PAPER_CLEARANCE_MM))) + 1
    strange = (tile < np.median(tile) - INK_DEPTH_LEVELS).astype(np.uint8)
    paper = cv2.dilate(strange, np.ones((reach, reach), np.uint8)) == 0
    if paper.sum() < reach * reach:
        return None
    rest = np.abs(cv2.filter2D(tile, cv2.CV_32F, NOISE_MASK))[paper]
    return float(np.sqrt(np.pi / 2) * rest.mean() / NOISE_MASK_GAIN)


def _x_height_mm(heights_px: list[npt.NDArray[np.float64]], dpi: float) -> float | None:
    """Height that most small letters share; None when there are few letters."""
    heights = np.sort(np.concatenate(heights_px)) if heights_px else np.zeros(0)
    if len(heights) < X_HEIGHT_MIN_LETTERS:
        return None
    ends = np.searchsorted(heights, heights * X_HEIGHT_SPREAD, side="right")
    counts = ends - np.arange(len(heights))
    # Letters of one height and their overshoots are a cluster; the lowest well filled one is the lower case.
    first = int(np.flatnonzero(counts >= X_HEIGHT_MIN_SHARE * counts.max())[0])
    start = first + int(counts[first : ends[first]].argmax())
    return float(np.median(heights[start : ends[start]])) * MM_PER_INCH / dpi


def _clipped_fraction(page: PageImage) -> float:
    sample = page.pixels[::CLIP_STEP, ::CLIP_STEP].reshape(-1, 3 if page.is_colour else 1)
    return float(((sample == 0) | (sample == 255)).all(axis=1).mean())


def _cut_sides(view: Analysis, letters: npt.NDArray[np.bool_]) -> list[str]:
    """Sides at which letters touch the frame.

    At left and right each of them must have a letter beside it, as in a line of text; at top and bottom there must be
    a row of them.
    """
    rows, cols = view.grey.shape
    left, top, width, height = (view.stats[:, column] for column in (LEFT, TOP, WIDTH, HEIGHT))
    sized = (height <= view.px(LETTER_HEIGHT_MM[1])) & (width <= view.px(CUT_MAX_LENGTH_MM))
    sized &= (np.minimum(width, height) >= view.px(CUT_MIN_DEPTH_MM)) & (view.stats[:, AREA] > 0)
    sized[0] = False
    middle = top + height / 2
    near_px = view.px(CUT_NEIGHBOUR_MM)
    sides = []
    for side, touching in (
        ("left", sized & (left == 0)),
        ("top", sized & (top == 0)),
        ("right", sized & (left + width == cols)),
        ("bottom", sized & (top + height == rows)),
    ):
        if side in ("left", "right"):
            inward = letters & (left <= near_px if side == "left" else left + width >= cols - near_px)
            beside = [
                bool((np.abs(middle[inward] - middle[part]) < np.maximum(height[inward], height[part]) / 2).any())
                for part in np.flatnonzero(touching)[:CUT_LOOKED_AT]
            ]
            cut = sum(beside) >= CUT_MIN_LETTERS
        else:
            cut = int(touching.sum()) >= CUT_MIN_ROW
        if cut:
            sides.append(side)
    return sides


def _page_size(page: PageImage) -> str:
    """Name of the paper format of the frame, upright or across."""
    short, long = sorted((page.width_px / page.px(1), page.height_px / page.px(1)))
    for name, (width, height) in PAGE_SIZES_MM.items():
        if abs(short / width - 1) <= PAGE_SIZE_TOLERANCE and abs(long / height - 1) <= PAGE_SIZE_TOLERANCE:
            return name
    return "other"
