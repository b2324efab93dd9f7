"""Make the page bitonal: ink black, paper white, pictures in fine dots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from stages.analysis import Analysis, analysis_of, below, letter_like, level_at
from stages.page_image import MM_PER_INCH, Box, PageImage, Reading
from stages.paper_under_ink import beside_sheet, close_paper_level
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Surface = npt.NDArray[np.float32]
Pixel = TypeVar("Pixel", np.uint8, np.uint16)

PAPER = 255  # where the paper lies once the page has been divided by it
NEIGHBOURS = np.ones((3, 3), np.uint8)
STATISTICS_DPI = 75.0
NO_REDUCTION = 1.01  # one row in a hundred more or less is not worth another resampling

# A colour mix other than luminance is used only where the writing has much more contrast in it (yellow, light blue).
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as `PageImage.grey`
COLOUR_GAIN = 1.5
COLOUR_INK_PERCENT = 2.0

# IMAGING 2.7, step 1: from 4 levels of noise on, small print breaks up, and a blur of 0.07 mm mends it
NOISY_LEVELS = 4.0
NOISE_BLUR_MM = 0.07
MEDIAN_TO_DEVIATION = 0.6745

MIDDLE_DPI = 25.0
DARK_PAGE_LEVEL = 96.0  # a page whose middle level is darker may show light letters on dark: a negative
DETAIL_MM = 2.0  # and it does where its strongest detail of this size is light; grain has no skewness
LIGHT_SKEWNESS = 0.3

# Lids, bars and headlines: wider than any pen stroke, they would set the ink level of the whole page.
SOLID_MM = 3.0
SOLID_DPI = 50.0
SOLID_REST_SHARE = 0.05

# Ink is what is at least half as deep as the ink about it. Measured with `bench.binarise` (42 drawn old papers, 4 real)
# and on 16 drawn office pages, good, poor, shining through and faint, of which no mark of 6 pixels and more is lost.
INK_SHARE_OF_DEPTH = 0.5
INK_WINDOW_MM = 4.0
THIN_SHARE_OF_DEPTH = 0.3  # of thin strokes that ran dry beside fuller ones: typescript, pens
THIN_RISE = 0.15
THIN_WINDOW_MM = 0.6
THIN_WINDOW_LEAST_PX = 5
GRAIN_WINDOW_MM = 6.0
LARGEST_GRAIN_LEVELS = 32.0
STRONG_DEPTH = 0.35  # IMAGING has 0.7, which dropped thin letters of a newspaper on film; F is the same within 0.2
STRONG_SHARE = 0.1
HALVING_DPI = 200.0  # from here on components are labelled at half size

# Nothing fainter than this is ink, however clean the page: paper grain and JPEG noise (IMAGING 1, step 4). Grain and
# what shines through is measured at each place; where it is nearly as deep as ink, ink is still told by its depth.
WEAK_DEPTH_LEVELS = 10.0
WEAK_DEPTH_NOISES = 4.0
WEAK_DEPTH_GRAINS = 2.0
THIN_DEPTH_GRAINS = 4.0
STRONG_DEPTH_LEVELS = 16.0
STRONG_DEPTH_NOISES = 6.0
STRONG_DEPTH_GRAINS = 6.0
LEAST_STRONG_GRAINS = 4.0
STRONG_SHARE_OF_DEPTH = 0.65

NICK_WINDOW_MM = 6.35
NICK_K = -0.1

# The guard of IMAGING 2.7, step 7
LETTER_HEIGHT_MM = (0.9, 9.0)
LETTER_WIDTH_MM = (0.25, 12.0)
LETTER_DEPTH_SHARE = 0.5  # print that shines through from the other side is paler than this, and may go
LETTER_DEEP_SHARE = 0.1
LETTER_SHARPNESS = 0.65  # of what most letters of the page have, or of a whole step within three analysis pixels
LETTER_KEPT_SHARE = 0.5
INK_SHARE_LIMITS = (0.25, 4.0)

# The tone test of IMAGING 2.13, step 1, made stricter: a stain or a shadow must not be taken for a picture.
PICTURE_TONES = (0.15, 0.85)
PICTURE_SMOOTH_SHARE = 0.12
PICTURE_TILE_MM = 4.0
PICTURE_TILE_SHARE = 0.12
PICTURE_JOIN_MM = 6.0
PICTURE_SMALLEST_MM = 15.0
PICTURE_FILLED_SHARE = 0.7
PICTURE_SPREAD_LEVELS = 14.0
PICTURE_DETAIL_MM = (2.0, 6.0)  # letters are closed over, then what is left is held against its surroundings
PICTURE_LETTERS_SHARE = 0.06  # letters in stains cover 0.09 of them and more, what looks like letters in pictures 0.04
# A drawn picture in flat tones has little detail; but its mean tone changes at its edges, all along, within a hair.
PICTURE_EDGE_REACH_MM = 4.0
PICTURE_EDGE_RISE_MM = 0.5
PICTURE_EDGE_LEVELS = 25.0
PICTURE_EDGES = 3
PICTURE_DETAIL_LEVELS = 5.0  # two photographs have 9 and 12, text in a deep gutter shadow 2


# A page that is a picture: hardly any letters, and a good part of it neither paper nor ink. Of the real scans with so
# few letters, written ones have at most 0.05 of their pixels between these shares of the brightest part, pictures 0.59.
# Stray edges in a picture count as letters too, so with more of them more of it must be toned: a Kodak grey scale has
# 96 and 0.87, photographs 35 and 0.57 and 37 and 0.91; handwriting on dark paper has 575 and 0.7, and must be cut.
PICTURE_TIERS = ((30, 0.25), (150, 0.5))  # up to so many letters, more than this share of middle tones
TONE_SHARES = (0.12, 0.85)
# Writing in stains has middle tones too, but its marks cover more of the page than those of most pictures, are most of
# what is dark, and have sharp edges: at least 0.069, 0.57 and 0.72 on 42 drawn old papers and as many pieces of them;
# of the photographs with as much cover one has 0.41 of its ink in such marks, the other a sharpness of 0.49.
WRITTEN_COVER = 0.06
WRITTEN_INK_SHARE = 0.5
WRITTEN_SHARPNESS = 0.65


class Settings(StageSettings):
    """Settings of `binarize`.

    `dither_pictures` gives sure pictures in dots of black and white; without it they are cut by the threshold.
    `letters_kept_min_fraction` is the share of letter-like marks that must still be there afterwards, or another way
    is tried.
    """

    dither_pictures: bool = True
    letters_kept_min_fraction: float = Field(0.97, ge=0, le=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flat:
    """The page divided by its paper, and the figures every threshold is made from.

    `levels` has its paper at 255. `otsu` is a level of it. Ink is never brighter than `weak_limit` and never sure above
    `strong_limit`. `noise` was measured on the page as it came. `solid` and `lid`, each on a small grid of its own,
    are what is black for millimetres on end and what lies beside the sheet.
    """

    levels: Grey
    noise: float
    otsu: float
    weak_limit: float
    strong_limit: float
    solid: Mask | None
    lid: Mask | None
    dpi: float

    @property
    def reduction(self) -> float:
        """How many pixels of the page make one of the statistics."""
        return max(1.0, self.dpi / STATISTICS_DPI)

    @property
    def is_halved(self) -> bool:
        """Whether strokes are wide enough to be looked at in half the size."""
        return self.dpi >= HALVING_DPI

    def window(self, mm: float) -> int:
        """The odd number of pixels of the statistics that is about `mm` millimetres."""
        return max(3, round(mm * self.dpi / MM_PER_INCH / self.reduction) | 1)


def binarize(page: PageImage, settings: Settings) -> PageImage:
    """Make the page bitonal: ink is what is at least half as deep as the ink around it.

    Grey or colour in, bool of the same size out (True white). A bitonal page comes back as it is, with its scanner's
    stream. Noise is smoothed and the paper evened out first, stains included; where grain or print of the other side
    is seen, ink has to be deeper; and faint marks live where they hang on to sure ink. A dark lid beside the sheet
    comes out white. Then the letters are counted: if too few are left, NICK and then Otsu are tried, and if they fail
    too the page stays grey, with `binarize.method` = "kept-grey" for a person to see. So does a page that is one
    picture with hardly a letter on it: no threshold does it justice.

    Readings: `method` ("bitonal", "depth", "nick", "otsu", "kept-grey", or "blank" where nothing stands out from the
    paper), `threshold` (Otsu's, with paper at 255), `noise_levels`, `ink_fraction`, `letters_kept_fraction`,
    `pictures` (how many were dithered), `lid_fraction` (of the page, made white).

    Source: Khurshid et al. 2009, doi:10.1117/12.805827 (NICK); Otsu 1979, doi:10.1109/TSMC.1979.4310076. The half
    depth is where a soft edge lies in truth.
    """
    if page.is_bitonal:
        return page.with_readings("binarize", method="bitonal")
    if _is_picture(analysis_of(page)):
        return page.with_readings("binarize", method="kept-grey", pictures=1)
    plain, is_negative = _dark_on_light(page)
    grey = plain.grey()
    analysis = analysis_of(plain)
    flat = _flattened(grey, analysis, page.dpi)
    pictures = _pictures(analysis) if settings.dither_pictures else []
    method, ink, kept_fraction = _first_sound(flat, analysis, pictures, settings.letters_kept_min_fraction)
    readings: dict[str, Reading] = {
        "method": method,
        "threshold": flat.otsu,
        "noise_levels": flat.noise,
        "letters_kept_fraction": kept_fraction,
    }
    if ink is None:
        return page.with_readings("binarize", **readings)
    white = ~ink
    paper_level = analysis.usual_paper
    for picture in pictures:
        rows, cols = _slices(picture, analysis.scale)
        white[rows, cols] = _dithered(grey[rows, cols], paper_level)
    if is_negative:
        white = ~white
    return page.with_pixels(white).with_readings(
        "binarize",
        ink_fraction=1.0 - _share(white),
        pictures=len(pictures),
        lid_fraction=0.0 if flat.lid is None else _share(flat.lid),
        **readings,
    )


def _is_picture(analysis: Analysis) -> bool:
    """Whether the page is a photograph, a tone scale or a coloured sheet rather than writing."""
    like = letter_like(analysis.stats, shape=analysis.grey.shape, dpi=analysis.dpi)
    letters = int(np.count_nonzero(like))
    least_tone = next((share for most_letters, share in PICTURE_TIERS if letters <= most_letters), None)
    if least_tone is None:
        return False
    sample = analysis.grey[::2, ::2]
    brightest = level_at(sample, 95)
    if letters <= PICTURE_TIERS[0][0] and brightest < DARK_PAGE_LEVEL:
        return True  # not even the lightest part is paper
    dark, light = (share * brightest for share in TONE_SHARES)
    if _share((sample > math.floor(dark)) & below(sample, light)) <= least_tone:
        return False
    return not _is_written(analysis, like)


def _is_written(analysis: Analysis, like: Mask) -> bool:
    """Whether the letter-like marks cover the page, are most of its ink, and have sharp edges."""
    places = analysis.inked
    places = places[like[analysis.labels.ravel()[places]]]
    marked, inked = places.size, int(np.count_nonzero(analysis.ink))
    if marked < WRITTEN_COVER * analysis.ink.size or marked < WRITTEN_INK_SHARE * inked:
        return False
    depth = np.maximum(cv2.subtract(analysis.paper, analysis.grey).ravel()[places], 1)
    return float(np.mean(_span(analysis.grey).ravel()[places] / depth)) >= WRITTEN_SHARPNESS


def _span(grey: Grey) -> Grey:
    """By how much the pixels about each differ."""
    return np.asarray(cv2.subtract(cv2.dilate(grey, NEIGHBOURS), cv2.erode(grey, NEIGHBOURS)), dtype=np.uint8)


def _dark_on_light(page: PageImage) -> tuple[PageImage, bool]:
    """The page with dark letters on light paper, and whether it had to be turned to its negative for that.

    The page itself is handed on where it can be, because its analysis is already made.
    """
    weights = _channel_weights(page)
    plain = page if weights is None else page.with_pixels(_mixed(page, weights))
    grey = plain.grey()
    step = max(1, round(page.dpi / MIDDLE_DPI))
    if float(np.median(grey[::step, ::step])) < DARK_PAGE_LEVEL and _details_are_light(grey, page.dpi):
        return page.with_pixels(np.asarray(cv2.bitwise_not(grey), dtype=np.uint8)), True
    return plain, False


def _details_are_light(grey: Grey, dpi: float) -> bool:
    """Whether what differs most from its surroundings is lighter than they are."""
    small = _reduced(grey, dpi / STATISTICS_DPI).astype(np.float32)
    detail = small - _mean(small, max(3, round(DETAIL_MM * min(dpi, STATISTICS_DPI) / MM_PER_INCH) | 1))
    deviation = math.sqrt(float(np.mean(detail**2)))
    return float(np.mean(detail**3)) > LIGHT_SKEWNESS * deviation**3


def _channel_weights(page: PageImage) -> Surface | None:
    """How to mix red, green and blue where luminance would lose the writing; None where luminance does."""
    if not page.is_colour:
        return None
    small = _reduced(np.asarray(page.pixels, dtype=np.uint8), page.dpi / STATISTICS_DPI)
    small = np.ascontiguousarray(small[::3, ::3]).reshape(-1, 3)
    depth = np.percentile(small, 75, axis=0) - small
    deepest = depth.max(axis=1)
    inky = max(float(np.percentile(deepest, 100.0 - COLOUR_INK_PERCENT)), STRONG_DEPTH_LEVELS)
    ink = depth[deepest >= inky]
    if not ink.size:
        return None
    mean = np.maximum(ink.mean(axis=0), 0.0)
    if mean.max() <= COLOUR_GAIN * float(mean @ LUMINANCE):
        return None
    return np.asarray(mean / mean.sum(), dtype=np.float32)


def _mixed(page: PageImage, weights: Surface) -> Grey:
    return np.asarray(cv2.transform(np.asarray(page.pixels, dtype=np.uint8), weights[None]), dtype=np.uint8)


def _flattened(grey: Grey, analysis: Analysis, dpi: float) -> _Flat:
    """Smooth the noise, divide the page by its paper, and measure it."""
    noise = _noise_levels(grey)
    if noise > NOISY_LEVELS:
        sigma_px = max(0.3, NOISE_BLUR_MM * dpi / MM_PER_INCH)
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px), dtype=np.uint8)
    small = _reduced(grey, dpi / STATISTICS_DPI)
    small_dpi = dpi * small.shape[0] / grey.shape[0]
    levels = _stretched(close_paper_level(small, analysis, small_dpi), grey.shape)
    cv2.divide(grey, levels, dst=levels, scale=PAPER)  # in place: fresh memory of that size costs as much again
    noise_left = _noise_levels(levels)
    solid = _solids(levels, dpi)
    return _Flat(
        levels=levels,
        noise=noise,
        otsu=_otsu(_without_solids(levels, solid)),
        solid=solid,
        weak_limit=PAPER - max(WEAK_DEPTH_LEVELS, WEAK_DEPTH_NOISES * noise_left),
        strong_limit=PAPER - max(STRONG_DEPTH_LEVELS, STRONG_DEPTH_NOISES * noise_left),
        lid=beside_sheet(small, analysis, small_dpi),
        dpi=dpi,
    )


def _noise_levels(grey: Grey) -> float:
    """Deviation of the noise: median second difference along every 32nd row, so that letters do not count."""
    rows = grey[::32].astype(np.int16)
    if rows.shape[1] < 3:
        return 0.0
    second = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])
    return float(_median(second) / MEDIAN_TO_DEVIATION / np.sqrt(1 + 4 + 1))  # what differencing adds up


def _median(counted: npt.NDArray[np.int16]) -> float:
    """The median of numbers from 0 up, by counting them: six times as fast as by sorting."""
    sums = np.cumsum(np.bincount(counted.ravel()))
    middle = np.array([(counted.size - 1) // 2, counted.size // 2])
    return float(np.searchsorted(sums, middle, side="right").mean())


def _solids(levels: Grey, dpi: float) -> Mask | None:
    """On a small grid, areas that are black for millimetres on end, with a rim; None if there are none."""
    small = _reduced(levels, dpi / SOLID_DPI)
    side = max(3, round(SOLID_MM * SOLID_DPI / MM_PER_INCH))
    dark = (small < _otsu(small)).view(np.uint8)
    solid = cv2.dilate(cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.ones((5, 5)))
    return np.asarray(solid > 0) if solid.any() else None


def _without_solids(levels: Grey, solid: Mask | None) -> Grey:
    """Every second pixel as one row, but for solid areas."""
    sample = _every_second(levels)
    if solid is None:
        return sample.reshape(1, -1)
    rest = sample[~_spread(solid, sample.shape)]
    # where nearly all is solid, the solids are what there is to measure
    return rest[None] if rest.size > SOLID_REST_SHARE * sample.size else sample.reshape(1, -1)


def _first_sound(
    flat: _Flat, analysis: Analysis, pictures: list[Box], kept_min_fraction: float
) -> tuple[str, Mask | None, float]:
    """The first way that keeps the letters: its name, its ink, and the share it kept."""
    letters = _letters(analysis, pictures, flat.lid)
    marked_share = max(_share(analysis.ink), 1 / analysis.ink.size)
    best_fraction = 0.0
    for method, ink_of in (("depth", _ink_by_depth), ("nick", _ink_by_nick), ("otsu", _ink_by_otsu)):
        ink = ink_of(flat)
        if flat.lid is not None:
            ink[_spread(flat.lid, ink.shape)] = False
        if letters is None:
            # nothing to lose; but Otsu and NICK cut the grain of empty paper in two, so only the first way is asked
            return method if ink.any() else "blank", ink, 1.0
        kept_fraction = letters.kept_fraction(ink)
        best_fraction = max(best_fraction, kept_fraction)
        ink_ratio = _share(ink) / marked_share
        if kept_fraction >= kept_min_fraction and INK_SHARE_LIMITS[0] <= ink_ratio <= INK_SHARE_LIMITS[1]:
            return method, ink, kept_fraction
    return "kept-grey", None, best_fraction


def _ink_by_depth(flat: _Flat) -> Mask:
    """Ink is at least half as deep as the sure ink around it, deeper than the grain, and hangs on to sure pixels.

    A thin stroke that has run dry may be paler, if it stands out from what lies close by.
    """
    means, halves = _reduced(flat.levels, 2.0), _darkest_of_four(flat.levels)
    grain = _grain_levels(flat, means)
    usual_depth = PAPER - flat.otsu
    sure_depth = np.maximum(STRONG_DEPTH_GRAINS * grain, STRONG_DEPTH * usual_depth)
    depth, usual_depth = _ink_depth(flat, halves, sure_depth)
    least_depth = WEAK_DEPTH_GRAINS * grain
    grid = means if flat.is_halved else flat.levels
    side = max(THIN_WINDOW_LEAST_PX, round(THIN_WINDOW_MM * flat.dpi / MM_PER_INCH)) / (2 if flat.is_halved else 1)
    about = cv2.blur(grid, (int(side) | 1, int(side) | 1))
    thin = cv2.min(
        cv2.subtract(about, _levels_of(THIN_RISE * depth, grid.shape)),
        _levels_of(PAPER - np.maximum(THIN_SHARE_OF_DEPTH * depth, THIN_DEPTH_GRAINS * grain), grid.shape),
    )
    limits = cv2.max(thin, _levels_of(PAPER - np.maximum(INK_SHARE_OF_DEPTH * depth, least_depth), grid.shape))
    # where grain is nearly as deep as ink, ink may be as little above it as is safe on an empty page
    sure_of_grain = np.clip(STRONG_SHARE_OF_DEPTH * depth, LEAST_STRONG_GRAINS * grain, STRONG_DEPTH_GRAINS * grain)
    strong_depth = np.maximum(sure_of_grain, STRONG_DEPTH * usual_depth)
    strong_levels = np.clip(PAPER - strong_depth, 0.0, flat.strong_limit).astype(np.uint8)
    return _attached(_darker(flat, np.asarray(limits)), flat, halves, strong_levels)


def _grain_levels(flat: _Flat, means: Grey) -> Surface:
    """Deviation of the bare paper at each place of the statistics: fibres, film grain, print of the other side."""
    depth = cv2.bitwise_not(means)
    inked = cv2.threshold(depth, max(PAPER - flat.otsu, WEAK_DEPTH_LEVELS), PAPER, cv2.THRESH_BINARY)[1]
    bare = cv2.bitwise_not(cv2.dilate(inked, NEIGHBOURS))
    depth = cv2.bitwise_and(depth, bare)
    # squares of up to the largest grain fill a byte
    unit = LARGEST_GRAIN_LEVELS**2 / PAPER
    squares = cv2.multiply(depth, depth, scale=1 / unit)
    window = flat.window(GRAIN_WINDOW_MM)
    share = np.maximum(_mean(_at_statistics(bare, flat), window) / PAPER, 1e-3)
    square = _mean(_at_statistics(squares, flat), window) / share * unit
    return np.sqrt(2.0 * square)  # half of the grain lies above the paper, where levels end


def _ink_depth(flat: _Flat, halves: Grey, sure_depth: Surface) -> tuple[Surface, float]:
    """How deep ink is at each place of the statistics, and on the page; deep pixels, in mid-stroke, count for more."""
    surface = np.clip(PAPER - sure_depth, 0.0, flat.strong_limit).astype(np.uint8)
    sure = np.asarray(cv2.compare(halves, _stretched(surface, halves.shape), cv2.CMP_LT), dtype=np.uint8)
    if flat.solid is not None:
        sure[_spread(flat.solid, sure.shape)] = 0  # a lid or a bar would ask of faint letters to be as deep
    depth = cv2.bitwise_and(cv2.bitwise_not(halves), sure)
    # of 16 bits each: the square of a faint stroke's depth is small beside that of a black one
    tables = (np.arange(PAPER + 1.0) ** 2, np.arange(PAPER + 1.0) ** 3 / PAPER)
    window = flat.window(INK_WINDOW_MM)
    weight, amount = (_mean(_at_statistics(cv2.LUT(depth, table.astype(np.uint16)), flat), window) for table in tables)
    on_page = PAPER * float(amount.sum()) / max(float(weight.sum()), 1.0)
    return np.where(weight > 1.0, PAPER * amount / np.maximum(weight, 1.0), on_page), on_page


def _at_statistics(halves: npt.NDArray[Any], flat: _Flat) -> npt.NDArray[Any]:
    """A map of every second pixel both ways, on the grid of the statistics."""
    rows, cols = (max(1, round(length / flat.reduction)) for length in flat.levels.shape)
    return np.asarray(cv2.resize(_reduced(halves, flat.reduction / 2), (cols, rows), interpolation=cv2.INTER_AREA))


def _darkest_of_four(levels: Grey) -> Grey:
    """Half the size: the darkest of 2 x 2 pixels."""
    rows, between = levels[::2].copy(), levels[1::2]
    np.minimum(rows[: len(between)], between, out=rows[: len(between)])
    return _every_second_column(cv2.erode(rows, NEIGHBOURS[:1, :2], anchor=(0, 0)))


def _every_second(pixels: npt.NDArray[Any]) -> Grey:
    return _every_second_column(pixels[::2])


def _every_second_column(pixels: npt.NDArray[Any]) -> Grey:
    if pixels.shape[1] % 2 == 0 and pixels.strides[1] == 1:
        # two columns are one number of 16 bits, and its low byte is the first: twice as fast as picking bytes
        return pixels.view("<u2").astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::2], dtype=np.uint8)


def _attached(weak: Mask, flat: _Flat, halves: Grey, strong_levels: Grey) -> Mask:
    """`weak` with those components cleared of which not even a few pixels are darker than `strong_levels`."""
    levels = halves if flat.is_halved else flat.levels
    sure = cv2.compare(levels, _stretched(strong_levels, levels.shape), cv2.CMP_LT)
    small = _pooled(weak) if flat.is_halved else weak
    count, labels = cv2.connectedComponents(small.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    inked = np.flatnonzero(small)
    numbers = np.asarray(labels, dtype=np.int32).ravel()[inked]
    # counted here: boxes and centres, which OpenCV gives along with the areas, take four times as long as the labels
    step = 2 if flat.is_halved else 1
    sure_px = np.bincount(numbers[sure.ravel()[inked] > 0], minlength=count)
    kept = sure_px > STRONG_SHARE * np.bincount(numbers, minlength=count)
    rows, cols = np.divmod(inked[~kept[numbers]], small.shape[1])
    for y, x in np.ndindex(step, step):
        # an odd page's last row was doubled
        weak[np.minimum(rows * step + y, weak.shape[0] - 1), np.minimum(cols * step + x, weak.shape[1] - 1)] = False
    return weak


def _ink_by_nick(flat: _Flat) -> Mask:
    """Ink below NICK's local threshold: `m + k sqrt(variance + m^2)`."""
    small = _reduced(flat.levels, flat.reduction).astype(np.float32)
    window = flat.window(NICK_WINDOW_MM)
    return _darker(flat, _mean(small, window) + NICK_K * np.sqrt(_mean(small * small, window)))


def _ink_by_otsu(flat: _Flat) -> Mask:
    """Ink below one threshold for the whole page."""
    return below(flat.levels, min(flat.otsu, flat.weak_limit))


def _levels_of(values: Surface, shape: tuple[int, ...]) -> Grey:
    return _stretched(np.clip(values, 0.0, PAPER).astype(np.uint8), shape)


def _darker(flat: _Flat, threshold: npt.NDArray[Any]) -> Mask:
    """Where the page is darker than a threshold given on a smaller grid and never above the weak limit."""
    surface = _stretched(np.clip(threshold, 0.0, flat.weak_limit).astype(np.uint8), flat.levels.shape)
    return np.asarray(np.less(flat.levels, surface, out=surface.view(np.bool_)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letters:
    """The deep pixels of letter-like marks of the page as it was.

    `places` are flat places on the analysis' grid of `shape`, `numbers` says whose each is, and `deep_px` how many
    each mark has.
    """

    places: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.intp]
    deep_px: npt.NDArray[np.intp]
    shape: tuple[int, int]

    def kept_fraction(self, ink: Mask) -> float:
        """The share of the letters of which most is still ink."""
        small = cv2.resize(ink.view(np.uint8) * np.uint8(PAPER), self.shape[::-1], interpolation=cv2.INTER_AREA)
        black = np.asarray(small).ravel()[self.places] >= PAPER // 4
        left_px = np.bincount(self.numbers[black], minlength=self.deep_px.size)
        letters = self.deep_px > 0
        return float(np.mean(left_px[letters] >= LETTER_KEPT_SHARE * self.deep_px[letters]))


def _letters(analysis: Analysis, pictures: list[Box], lid: Mask | None) -> _Letters | None:
    """The letter-like marks outside pictures; None if there are none."""
    stats = analysis.stats
    height, width = stats[:, cv2.CC_STAT_HEIGHT], stats[:, cv2.CC_STAT_WIDTH]
    is_letter = (
        (height >= analysis.px(LETTER_HEIGHT_MM[0]))
        & (height <= analysis.px(LETTER_HEIGHT_MM[1]))
        & (width >= analysis.px(LETTER_WIDTH_MM[0]))
        & (width <= analysis.px(LETTER_WIDTH_MM[1]))
    )
    is_letter[0] = False
    written = analysis.ink
    if pictures or lid is not None:
        written = written.copy()
    for picture in pictures:
        written[_slices(picture, 1.0)] = False
    if lid is not None:
        written[_spread(lid, written.shape)] = False
    places = analysis.inked if written is analysis.ink else np.flatnonzero(written)
    places = places[is_letter[analysis.labels.ravel()[places]]]
    if not places.size:
        return None
    numbers = analysis.labels.ravel()[places].astype(np.intp)
    depth = cv2.subtract(analysis.paper, analysis.grey).ravel()[places]
    # a stain, a shadow or print of the other side may be as large and as dark as a letter, but its edge is softer
    span = np.bincount(numbers, weights=_span(analysis.grey).ravel()[places], minlength=stats.shape[0])
    sharpness = span / np.maximum(np.bincount(numbers, weights=depth, minlength=stats.shape[0]), 1.0)
    soft = sharpness < LETTER_SHARPNESS * min(1.0, float(np.percentile(sharpness[is_letter], 75)))
    usual = level_at(np.asarray(depth[::4], dtype=np.uint8), 75)
    chosen = (depth > LETTER_DEPTH_SHARE * usual) & ~soft[numbers]
    places, numbers = places[chosen], numbers[chosen]
    deep_px = np.bincount(numbers, minlength=stats.shape[0])
    deep_px[deep_px < LETTER_DEEP_SHARE * stats[:, cv2.CC_STAT_AREA]] = 0
    grey = analysis.grey
    letters = _Letters(places=places, numbers=numbers, deep_px=deep_px, shape=(grey.shape[0], grey.shape[1]))
    return letters if deep_px.any() else None


def _pictures(analysis: Analysis) -> list[Box]:
    """Where a picture is sure, in pixels of the analysis: smooth middle tones, many of them, with detail, in a box."""
    grey = analysis.grey
    paper = analysis.usual_paper
    span = _span(grey)
    no_paper = below(grey, PICTURE_TONES[1] * paper)
    tone = (grey > math.floor(PICTURE_TONES[0] * paper)) & no_paper & below(span, PICTURE_SMOOTH_SHARE * paper)
    if np.count_nonzero(tone) < PICTURE_TILE_SHARE * analysis.px(PICTURE_SMALLEST_MM) ** 2:
        return []
    tile = max(1, round(analysis.px(PICTURE_TILE_MM)))
    toned = cv2.blur(tone.view(np.uint8) * np.uint8(255), (tile, tile)) > PICTURE_TILE_SHARE * 255
    side = max(1, round(analysis.px(PICTURE_JOIN_MM)))
    kernel = np.ones((side, side), np.uint8)
    side_solid = max(1, round(analysis.px(SOLID_MM)))
    solid = cv2.morphologyEx(no_paper.view(np.uint8), cv2.MORPH_OPEN, np.ones((side_solid, side_solid), np.uint8))
    joined = cv2.morphologyEx(cv2.bitwise_or(toned.view(np.uint8), solid), cv2.MORPH_CLOSE, kernel)
    regions = cv2.morphologyEx(joined, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(regions, 8, cv2.CV_32S, cv2.CCL_GRANA)
    detail: Surface | None = None
    lettered: Mask | None = None
    smallest = analysis.px(PICTURE_SMALLEST_MM)
    found = []
    for number in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[number])
        if width < smallest or height < smallest or area < PICTURE_FILLED_SHARE * width * height:
            continue
        inside = np.s_[top : top + height, left : left + width]
        chosen = tone[inside] & (labels[inside] == number)
        if np.count_nonzero(chosen) < PICTURE_TILE_SHARE * area:
            continue
        if float(grey[inside][chosen].std()) < PICTURE_SPREAD_LEVELS:
            continue
        if lettered is None:
            lettered = letter_like(analysis.stats, shape=grey.shape, dpi=analysis.dpi)[analysis.labels]
        if _share(lettered[inside]) > PICTURE_LETTERS_SHARE:
            continue
        detail = _detail(analysis) if detail is None else detail
        box = Box(left, top, left + width, top + height)
        if float(detail[inside][chosen].mean()) >= PICTURE_DETAIL_LEVELS or _is_cut_out(analysis, box):
            found.append(box)
    return found


def _is_cut_out(analysis: Analysis, box: Box) -> bool:
    """Whether the tones end at straight, sharp edges on three sides, as a print does and no stain or shadow."""
    reach = round(analysis.px(PICTURE_EDGE_REACH_MM))
    rise = max(1, round(analysis.px(PICTURE_EDGE_RISE_MM)))
    left, top, right, bottom = (round(side) for side in box)
    across, down = slice(left, right), slice(top, bottom)
    strips = [analysis.grey[max(0, at - reach) : at + reach, across] for at in (top, bottom)]
    strips += [analysis.grey[down, max(0, at - reach) : at + reach].T for at in (left, right)]
    profiles = [strip.mean(axis=1) for strip in strips]
    rises = [profile[rise:] - profile[:-rise] for profile in profiles if profile.size > rise]
    return sum(float(np.abs(each).max()) >= PICTURE_EDGE_LEVELS for each in rises) >= PICTURE_EDGES


def _detail(analysis: Analysis) -> Surface:
    """How far each place differs from its surroundings, writing aside: a shadow hardly does, a photograph much."""
    closing, blurring = (max(1, round(analysis.px(mm))) for mm in PICTURE_DETAIL_MM)
    bridged = cv2.morphologyEx(analysis.grey, cv2.MORPH_CLOSE, np.ones((closing, closing), np.uint8))
    return np.asarray(cv2.absdiff(bridged, cv2.blur(bridged, (blurring, blurring))), dtype=np.float32)


def _dithered(grey: Grey, paper_level: float) -> Mask:
    """The piece in dots, paper free of them, by the error diffusion of Floyd and Steinberg 1976."""
    bright = np.asarray(cv2.convertScaleAbs(grey, alpha=PAPER / max(1.0, paper_level)), dtype=np.uint8)
    # compared, not read as bool: Pillow's own bool arrays hold bytes of 255, and `PageImage` counts on 0 and 1
    return np.asarray(Image.fromarray(bright).convert("1")).view(np.uint8) > 0


def _slices(box: Box, scale: float) -> tuple[slice, slice]:
    """Rows and columns of a box, `scale` times as large."""
    return (
        slice(round(box.top * scale), round(box.bottom * scale)),
        slice(round(box.left * scale), round(box.right * scale)),
    )


def _share(marked: Grey | Mask) -> float:
    return int(np.count_nonzero(marked)) / marked.size


def _otsu(levels: Grey) -> float:
    return float(cv2.threshold(levels, 0, PAPER, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])


def _mean(values: npt.NDArray[Any], side: int) -> Surface:
    mean = cv2.boxFilter(values, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, dtype=np.float32)


def _reduced(pixels: npt.NDArray[Pixel], factor: float) -> npt.NDArray[Pixel]:
    while factor >= 2.0 and min(pixels.shape[:2]) >= 2:
        # halving is ten times as fast as reducing to a quarter at once
        rows, cols = pixels.shape[0] // 2, pixels.shape[1] // 2
        even = pixels[: rows * 2, : cols * 2]
        pixels = np.asarray(cv2.resize(even, (cols, rows), interpolation=cv2.INTER_AREA), dtype=pixels.dtype)
        factor /= 2.0
    if factor < NO_REDUCTION:
        return pixels
    size = (max(1, round(pixels.shape[1] / factor)), max(1, round(pixels.shape[0] / factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=pixels.dtype)


def _stretched(pixels: Grey, shape: tuple[int, ...]) -> Grey:
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _spread(mask: Mask, shape: tuple[int, ...]) -> Mask:
    spread = cv2.resize(mask.view(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(spread > 0)


def _pooled(marked: Mask) -> Mask:
    """Half the size: whether any of 2 x 2 pixels is marked."""
    levels = marked.view(np.uint8)
    if marked.shape[0] % 2 or marked.shape[1] % 2:
        levels = np.pad(levels, ((0, marked.shape[0] % 2), (0, marked.shape[1] % 2)))
    pairs = np.asarray(cv2.bitwise_or(levels[::2], levels[1::2]))
    return np.asarray(pairs.view(np.uint16) != 0)  # two columns read as one number of 16 bits
