"""How good the scan is: sharpness, contrast, noise, size of the letters, text cut off, ink in colour, true size.

Nothing is changed.
"""

from __future__ import annotations

import math
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
    Counts,
    analysis_of,
    below,
    letter_like,
    level_at,
    level_counts,
    level_of_counts,
)
from stages.errors import CutEdge, Illegible, QualityTooLow, SizeDoubtful
from stages.page_image import MM_PER_INCH, PageImage, Pixels
from stages.settings import StageSettings
from stages.streaks import streaks_mm

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
COARSE_GRAIN = 0.1  # of the contrast: above, the threshold cuts grains out of the paper
GRAIN_MM = 0.25
PAPER_PERCENTILE = 90
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

# Legibility: the share of characters that a recogniser is likely to read, by a logistic model. Weights fitted to
# Tesseract's errors on drawn pages by bench/quality.py; `specks` are parts smaller than letters, for one letter.
LEGIBILITY_GREY = {"offset": 3.77, "specks": -1.31, "blur": -1.24, "faint": -1.26}
LEGIBILITY_BITONAL = {"offset": -2.99, "specks": -0.71, "x_height": 2.82}
FAINTEST_CONTRAST = 0.02

# Ink whose colour means something: red pen, stamps, highlighter (IMAGING 3, rule 8).
COLOUR_DPI = 75.0
COLOUR_MIN_CHROMA = 20.0  # CIE 1976, from the paper's own tint
COLOUR_MIN_PART_MM2 = 0.4  # a stroke of a pen 1 mm long; fringes of black letters come to less
COLOUR_STROKE_MM = 0.5  # what a pen draws, and wider than the fringe of a letter
COLOUR_PAPER_MM = 40.0  # wider than stamps and most stains
PICTURE_MM = 15.0
PICTURE_TONES = (0.25, 0.85)  # of the paper
PICTURE_SHARE = 0.6
PICTURE_MIN_SPREAD = 0.03  # of the paper: a highlighter's stripe and a stamp's pad are even, photographs are not

# Resolution against size: a sheet that would be a common one at another of the usual resolutions, with letters that
# are too large or too small as it is and usual then.
DPI_FACTORS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0, 3.0, 4.0)
USUAL_SHEETS = ("letter", "legal", "a4")
USUAL_X_HEIGHT_MM = (1.1, 2.7)  # 7 to 16 pt
ODD_X_HEIGHT_MM = (0.85, 3.2)

# Text cut off: at least so many letters touch the frame.
CUT_MIN_LETTERS = 3
CUT_MIN_ROW = 8
CUT_MIN_DEPTH_MM = 0.4
CUT_MAX_LENGTH_MM = 20.0
CUT_NEIGHBOUR_MM = 8.0
CUT_LOOKED_AT = 200
CUT_MAX_SPECKS = 1.0  # for one letter
CUT_TALLER = 2.0
CUT_ROW_TALLER = 3.5  # of a row cut below its x-height little is left but of the ascenders
CUT_WIDER = 6.0  # two or three letters run together, one behind the other
CUT_MIN_SHARE = 0.6

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
    """Limits below which a person must decide; None measures only.

    `min_legibility` is for pages that no reader could read, not for poor ones: 0.05 means 1 letter in 20 read right.
    """

    min_contrast: float | None = Field(None, gt=0, le=1)
    max_blur_mm: float | None = Field(None, gt=0)
    max_noise_levels: float | None = Field(None, gt=0)
    max_clipped_fraction: float | None = Field(None, ge=0, le=1)
    min_index: float | None = Field(None, gt=0)
    min_legibility: float | None = Field(None, gt=0, le=1)
    refuse_cut_edge: bool = False
    refuse_doubtful_size: bool = False


class _Tile(NamedTuple):
    """What one tile with letters shows; levels are grey levels, sizes pixels of the page."""

    paper: float
    ink: float
    blur_px: float | None
    heights_px: npt.NDArray[np.float64]
    specks: int


def quality(page: PageImage, settings: Settings) -> PageImage:
    """Measure the scan; the pixels stay as they are.

    Best placed before stages that change pixels: afterwards it measures what they left.
    Readings: `page_size` (letter, legal, a4, ... or other), `cut_edge` (sides where text runs off the frame),
    `x_height_mm` of the commonest small letters and the legibility `index` (5 good, 8 excellent) it gives at this
    resolution, `paper` (its level about the letters, 1 being white; without letters that of the lightest tenth),
    `contrast` (paper minus ink, 1 being white and black), `black_fraction` of a bitonal page, `blur_mm` (width of an
    edge), `noise_levels` (standard deviation of the paper's grain), `clipped_fraction` of pixels that are fully white
    or black, `specks_per_letter` (parts smaller than letters), `legibility` (0 to 1: the share of characters that is
    likely to be read), `coloured_ink_mm2` (0 where there is no colour), `streaks_mm` (see `stages.streaks`),
    `skew_left_deg` as `deskew` left it, if it ran before, and `likely_dpi` where the stated resolution makes an
    unlikely sheet. None where there is nothing to measure it on: no letters, or no grey on a bitonal page.

    Raises:
        Illegible: there are letters, but `legibility` is below its limit.
        SizeDoubtful: there is a `likely_dpi`, the file states another, and `settings.refuse_doubtful_size` says so.
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
    paper = contrast = blur_mm = noise_levels = clipped_fraction = black_fraction = None
    if page.is_bitonal:
        black_fraction = 1.0 - float(np.count_nonzero(page.pixels)) / page.pixels.size
    else:
        paper = _middle([tile.paper / 255 for tile in measured]) or level_at(view.grey, PAPER_PERCENTILE) / 255
        contrast = _middle([(tile.paper - tile.ink) / 255 for tile in measured])
        blur_px = _middle([tile.blur_px for tile in measured if tile.blur_px is not None])
        blur_mm = None if blur_px is None else blur_px * MM_PER_INCH / page.dpi
        noise_levels = _middle([noise for tile in with_letters + others if (noise := _noise(tile, page)) is not None])
        clipped_fraction = _clipped_fraction(page)
    legibility = specks_per_letter = None
    if x_height_mm is not None:
        specks_per_letter = sum(tile.specks for tile in measured) / sum(len(tile.heights_px) for tile in measured)
        signs = legibility_signs(
            page, x_height_mm=x_height_mm, specks_per_letter=specks_per_letter, blur_mm=blur_mm, contrast=contrast
        )
        legibility = _legibility(signs, page)
    likely_dpi = _likely_dpi(page, x_height_mm)
    # among dust and grain whatever touches the frame is dust and grain
    readable = specks_per_letter is not None and specks_per_letter <= CUT_MAX_SPECKS
    cut_edge = _cut_sides(view, letters) if readable else []
    if cut_edge and settings.refuse_cut_edge:
        raise CutEdge(cut_edge)
    if likely_dpi is not None and settings.refuse_doubtful_size and page.readings.get("read.dpi_source") == "file":
        raise SizeDoubtful(page.width_px / page.px(1), page.height_px / page.px(1), page.dpi, likely_dpi)
    if legibility is not None and settings.min_legibility is not None and legibility < settings.min_legibility:
        raise Illegible(legibility, settings.min_legibility)
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
        paper=paper,
        contrast=contrast,
        black_fraction=black_fraction,
        blur_mm=blur_mm,
        noise_levels=noise_levels,
        clipped_fraction=clipped_fraction,
        specks_per_letter=specks_per_letter,
        legibility=legibility,
        coloured_ink_mm2=_coloured_ink_mm2(page) if page.is_colour else 0.0,
        streaks_mm=streaks_mm(page),
        skew_left_deg=_skew_left_deg(page),
        likely_dpi=likely_dpi,
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
    grain = None if page.is_bitonal else _noise(tile, page)
    light, dark = _parted(tile, threshold)
    if grain is not None and grain > COARSE_GRAIN * (_mean(light) - _mean(dark)):
        side = max(3, round(page.px(GRAIN_MM)) | 1)  # or grains would be counted as letters
        tile = np.asarray(cv2.blur(tile, (side, side)), dtype=np.uint8)
        threshold, _ = cv2.threshold(tile, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        light, dark = _parted(tile, threshold)
    paper = level_of_counts(light, 50) if light.any() else 255.0
    # The darker half of the dark: thin strokes never reach the level of the ink.
    ink = level_of_counts(dark, 25) if dark.any() else paper
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
    specks = int(np.count_nonzero(np.maximum(width, height) < page.px(X_HEIGHT_MM[0])))
    return _Tile(paper, ink, blur_px, height[letters].astype(np.float64), specks)


def _parted(tile: Grey, threshold: float) -> tuple[Counts, Counts]:
    """How often each level occurs above the threshold, and how often each up to it."""
    counts, is_light = level_counts(tile), np.arange(256) > threshold
    return counts * is_light, counts * ~is_light


def _mean(counts: Counts) -> float:
    return float(counts @ np.arange(256)) / int(counts.sum()) if counts.any() else math.nan


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
    smooth = np.asarray(cv2.blur(tile, (reach, reach)), dtype=np.uint8)  # grain by itself is no ink, however coarse
    strange = below(smooth, level_at(smooth, 50) - INK_DEPTH_LEVELS).astype(np.uint8)
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

    At left and right each of them must have a letter of its size beside it, as in a line of text; at top and bottom
    there must be a row of them. Most of the ink that touches that side must be such letters: dirt, a
    picture and the shadow of a lid come in all sizes.
    """
    rows, cols = view.grey.shape
    left, top, width, height, area = (view.stats[:, column] for column in (LEFT, TOP, WIDTH, HEIGHT, AREA))
    thin = np.minimum(width, height) < view.px(CUT_MIN_DEPTH_MM)  # such a slice says nothing either way
    sized = (height <= view.px(LETTER_HEIGHT_MM[1])) & (width <= view.px(CUT_MAX_LENGTH_MM))
    sized &= ~thin & (area > 0)
    sized[0] = False
    near_px = view.px(CUT_NEIGHBOUR_MM)
    sides = []
    for side, touching in (
        ("left", left == 0),
        ("top", top == 0),
        ("right", left + width == cols),
        ("bottom", top + height == rows),
    ):
        parts = np.flatnonzero(touching & sized)[:CUT_LOOKED_AT]
        if side in ("left", "right"):
            inward = letters & (left <= near_px if side == "left" else left + width >= cols - near_px)
            parts = np.array([part for part in parts if _has_neighbour(view, int(part), inward)], dtype=np.int64)
            enough = CUT_MIN_LETTERS
        else:
            usual = float(np.median(height[parts])) if len(parts) else 0.0
            parts = parts[(height[parts] <= CUT_ROW_TALLER * usual) & (width[parts] <= CUT_WIDER * usual)]
            enough = CUT_MIN_ROW
        touching[0] = False
        if len(parts) >= enough and area[parts].sum() >= CUT_MIN_SHARE * area[touching & ~thin].sum():
            sides.append(side)
    return sides


def _has_neighbour(view: Analysis, part: int, letters: npt.NDArray[np.bool_]) -> bool:
    """Whether a letter of its height stands beside the part on its line."""
    top, height = view.stats[:, TOP], view.stats[:, HEIGHT]
    middle = top + height / 2
    beside = letters & (np.abs(middle - middle[part]) < np.maximum(height, height[part]) / 2)
    beside &= (height <= CUT_TALLER * height[part]) & (height[part] <= CUT_TALLER * height)
    beside[part] = False
    return bool(beside.any())


def _page_size(page: PageImage) -> str:
    """Name of the paper format of the frame, upright or across."""
    short, long = sorted((page.width_px / page.px(1), page.height_px / page.px(1)))
    for name, (width, height) in PAGE_SIZES_MM.items():
        if abs(short / width - 1) <= PAGE_SIZE_TOLERANCE and abs(long / height - 1) <= PAGE_SIZE_TOLERANCE:
            return name
    return "other"


def legibility_signs(
    page: PageImage,
    *,
    x_height_mm: float,
    specks_per_letter: float,
    blur_mm: float | None,
    contrast: float | None,
) -> dict[str, float]:
    """What the legibility of a page is predicted by, from its readings."""
    signs = {"offset": 1.0, "specks": math.log1p(specks_per_letter)}
    if page.is_bitonal:
        signs["x_height"] = math.log(max(1.0, page.px(x_height_mm)))
    else:
        # small letters count by their blur: an edge takes two pixels at the least
        signs["blur"] = (blur_mm or 0.0) / x_height_mm
        signs["faint"] = -math.log(max(FAINTEST_CONTRAST, contrast or 0.0))
    return signs


def _legibility(signs: dict[str, float], page: PageImage) -> float:
    """The share of characters that are likely to be read."""
    weights = LEGIBILITY_BITONAL if page.is_bitonal else LEGIBILITY_GREY
    return 1 / (1 + math.exp(-sum(weight * signs[name] for name, weight in weights.items())))


def _skew_left_deg(page: PageImage) -> float | None:
    """How far the page is still turned as far as `deskew` knows; None where it did not run before."""
    angle_deg, error_deg = page.readings.get("deskew.angle_deg"), page.readings.get("deskew.standard_error_deg")
    if not isinstance(angle_deg, float) or not isinstance(error_deg, float):
        return None
    return error_deg if page.readings.get("deskew.turned") else abs(angle_deg)


def _likely_dpi(page: PageImage, x_height_mm: float | None) -> float | None:
    """The resolution at which the page would be a usual sheet with letters of a usual size; None if it is one now."""
    if x_height_mm is None or ODD_X_HEIGHT_MM[0] <= x_height_mm <= ODD_X_HEIGHT_MM[1]:
        return None
    for factor in DPI_FACTORS:
        usual = USUAL_X_HEIGHT_MM[0] <= x_height_mm / factor <= USUAL_X_HEIGHT_MM[1]
        if usual and _page_size(PageImage(pixels=page.pixels, dpi=page.dpi * factor)) in USUAL_SHEETS:
            return page.dpi * factor
    return None


def _coloured_ink_mm2(page: PageImage) -> float:
    """How much ink there is whose colour is another than black's on this paper, photographs left out."""
    scale, small = 1.0, np.asarray(page.pixels, dtype=np.uint8)
    while page.dpi / scale >= 2 * COLOUR_DPI and min(small.shape[:2]) >= 2:
        # halving is far faster than any other reduction
        rows, cols = small.shape[0] // 2, small.shape[1] // 2
        small = np.asarray(cv2.resize(small[: rows * 2, : cols * 2], (cols, rows), interpolation=cv2.INTER_AREA))
        scale *= 2
    size = (small.shape[1], small.shape[0])
    per_mm = page.dpi / scale / MM_PER_INCH
    # on white paper: a stain or a tint is the paper's colour, and half tones of black on it are neutral
    tiny = cv2.resize(small, (max(1, size[0] // 4), max(1, size[1] // 4)), interpolation=cv2.INTER_AREA)
    window = max(3, round(COLOUR_PAPER_MM * per_mm / 4)) | 1
    paper = cv2.blur(cv2.dilate(tiny, np.ones((window, window), np.uint8)), (window, window))
    paper = cv2.resize(paper, size, interpolation=cv2.INTER_LINEAR)
    white = np.asarray(cv2.divide(small, paper, scale=255), dtype=np.uint8)
    lab = cv2.cvtColor(white, cv2.COLOR_RGB2LAB)
    a, b = (cv2.extractChannel(lab, channel).astype(np.float32) - 128 for channel in (1, 2))
    chroma = cv2.magnitude(a, b)
    coloured = (chroma > COLOUR_MIN_CHROMA).astype(np.uint8)
    if not coloured.any():
        return 0.0
    stroke = max(1, round(COLOUR_STROKE_MM * per_mm))
    solid = cv2.morphologyEx(coloured, cv2.MORPH_OPEN, np.ones((stroke, stroke), np.uint8))
    if solid.any():
        solid[_photographs(white, per_mm)] = 0
    count, _, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    areas_mm2 = stats[1:count, AREA] / per_mm**2
    return float(areas_mm2[areas_mm2 >= COLOUR_MIN_PART_MM2].sum())


def _photographs(white: Grey, per_mm: float) -> npt.NDArray[np.bool_]:
    """Where half tones of many levels lie together over `PICTURE_MM`."""
    grey = cv2.cvtColor(white, cv2.COLOR_RGB2GRAY)
    rows, cols = grey.shape
    window = max(3, round(PICTURE_MM * per_mm)) | 1
    low, high = (round(share * 255) for share in PICTURE_TONES)
    share = cv2.blur(cv2.inRange(grey, low, high), (window, window))
    level = cv2.blur(grey.astype(np.float32), (window, window))
    squares = cv2.blur(cv2.multiply(grey, grey, dtype=cv2.CV_32F), (window, window))
    spread = np.sqrt(np.maximum(squares - level * level, 0))
    core = ((share > PICTURE_SHARE * 255) & (spread > PICTURE_MIN_SPREAD * 255)).astype(np.uint8)
    return np.asarray(cv2.dilate(core, np.ones((window, window), np.uint8))[:rows, :cols] > 0, dtype=np.bool_)
