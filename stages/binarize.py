"""Make the page bitonal: ink black, paper white, pictures in fine dots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from stages.analysis import Analysis, analysis_of, letter_like
from stages.page_image import MM_PER_INCH, Box, PageImage, Reading
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Surface = npt.NDArray[np.float32]

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

# Solid black must not be taken for dark paper and come out hollow; a shadow deeper than this stays black.
DARKEST_PAPER_SHARE = 0.4
DARKEST_PAPER_LEVEL = 20.0  # a gain of at most 12.7 (IMAGING 2.6, step 4)
MIDDLE_DPI = 25.0
DARK_PAGE_LEVEL = 96.0  # a page whose middle level is darker shows light letters on dark: a negative

# Lids, bars and headlines: wider than any pen stroke, they would set the ink level of the whole page.
SOLID_MM = 3.0
SOLID_DPI = 50.0
SOLID_REST_SHARE = 0.05

# IMAGING 2.7, steps 2 to 5, as measured there on DIBCO 2009 and 2011 and on Tesseract's errors
EDGE_WINDOW_MM = 0.93
EDGE_WINDOW_STROKES = 5.0
STROKE_LIMITS_PX = (1.5, 40.0)
EDGE_SPREADS = 0.5  # IMAGING has 0.8: drawn strokes came out a third too wide, and 7.5-point print was read worse
TOWARDS_PAPER = 0.35
EDGELESS_SHARE = 0.9
STRONG_DEPTH = 0.35  # IMAGING has 0.7, which dropped thin letters of a newspaper on film; F is the same within 0.2
STRONG_SHARE = 0.03
HALVING_DPI = 200.0  # from here on components are labelled at half size

# Nothing fainter than this is ink, however clean the page: paper grain and JPEG noise (IMAGING 1, step 4).
WEAK_DEPTH_LEVELS = 10.0
WEAK_DEPTH_NOISES = 4.0
STRONG_DEPTH_LEVELS = 18.0
STRONG_DEPTH_NOISES = 6.0

NICK_WINDOW_MM = 6.35
NICK_K = -0.1

# The guard of IMAGING 2.7, step 7
LETTER_HEIGHT_MM = (0.9, 9.0)
LETTER_WIDTH_MM = (0.25, 12.0)
LETTER_DEPTH_SHARE = 0.45  # print that shines through from the other side is paler than this, and may go
LETTER_DEEP_SHARE = 0.1
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
PICTURE_DETAIL_LEVELS = 5.0  # two photographs have 9 and 12, text in a deep gutter shadow 2


# A page that is a picture: hardly any letters, and a good part of it neither paper nor ink. Of the real scans with so
# few letters, written ones have at most 0.05 of their pixels between these shares of the brightest part, pictures 0.59.
# Stray edges in a picture count as letters too, so with more of them more of it must be toned: a Kodak grey scale has
# 96 and 0.87, photographs 35 and 0.57 and 37 and 0.91; handwriting on dark paper has 575 and 0.7, and must be cut.
PICTURE_TIERS = ((30, 0.25), (150, 0.5))  # up to so many letters, more than this share of middle tones
TONE_SHARES = (0.12, 0.85)


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

    `levels` has its paper at 255; `edges`, half as large, is 255 on edges among every second pixel of it. `otsu` and
    `ink` are levels of it. Ink is never brighter than `weak_limit` and never sure above `strong_limit`. `noise` was
    measured on the page as it came; `stroke_px` is the usual stroke.
    """

    levels: Grey
    edges: Grey
    noise: float
    otsu: float
    ink: float
    weak_limit: float
    strong_limit: float
    stroke_px: float
    dpi: float

    def px(self, mm: float) -> float:
        return mm * self.dpi / MM_PER_INCH


def binarize(page: PageImage, settings: Settings) -> PageImage:
    """Make the page bitonal by a threshold that follows the edges of the letters.

    Grey or colour in, bool of the same size out (True white). A bitonal page comes back as it is, with its scanner's
    stream. The paper is evened out inside, noise is smoothed first, and faint marks live where they hang on to sure
    ink. Then the letters are counted: if too few are left, NICK and then Otsu are tried, and if they fail too the page
    stays grey, with `binarize.method` = "kept-grey" for a person to see. So does a page that is one picture with hardly
    a letter on it: no threshold does it justice.

    Readings: `method` ("bitonal", "edges", "nick", "otsu", "kept-grey", or "blank" where nothing stands out from the
    paper), `threshold` (Otsu's, with paper at 255), `noise_levels`, `ink_fraction`, `letters_kept_fraction`,
    `pictures` (how many were dithered).

    Source: Su, Lu and Tan 2010, doi:10.1145/1815330.1815351 (edge statistics); Khurshid et al. 2009,
    doi:10.1117/12.805827 (NICK); Otsu 1979, doi:10.1109/TSMC.1979.4310076.
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
    paper_level = _paper_level(analysis)
    for picture in pictures:
        rows, cols = _slices(picture, analysis.scale)
        white[rows, cols] = _dithered(grey[rows, cols], paper_level)
    if is_negative:
        white = ~white
    return page.with_pixels(white).with_readings(
        "binarize", ink_fraction=1.0 - _share(white), pictures=len(pictures), **readings
    )


def _is_picture(analysis: Analysis) -> bool:
    """Whether the page is a photograph, a tone scale or a coloured sheet rather than writing."""
    like = letter_like(analysis.stats, shape=analysis.grey.shape, dpi=analysis.dpi)
    letters = int(np.count_nonzero(like))
    least_tone = next((share for most_letters, share in PICTURE_TIERS if letters <= most_letters), None)
    if least_tone is None:
        return False
    sample = analysis.grey[::2, ::2]
    brightest = float(np.percentile(sample, 95))
    if letters <= PICTURE_TIERS[0][0] and brightest < DARK_PAGE_LEVEL:
        return True  # not even the lightest part is paper
    dark, light = (share * brightest for share in TONE_SHARES)
    return _share((sample > math.floor(dark)) & _below(sample, light)) > least_tone


def _dark_on_light(page: PageImage) -> tuple[PageImage, bool]:
    """The page with dark letters on light paper, and whether it had to be turned to its negative for that.

    The page itself is handed on where it can be, because its analysis is already made.
    """
    weights = _channel_weights(page)
    plain = page if weights is None else page.with_pixels(_mixed(page, weights))
    grey = plain.grey()
    step = max(1, round(page.dpi / MIDDLE_DPI))
    if float(np.median(grey[::step, ::step])) < DARK_PAGE_LEVEL:
        return page.with_pixels(np.asarray(cv2.bitwise_not(grey), dtype=np.uint8)), True
    return plain, False


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
    darkest = max(DARKEST_PAPER_LEVEL, DARKEST_PAPER_SHARE * _paper_level(analysis))
    paper = np.maximum(analysis.paper, np.uint8(darkest))
    levels = _stretched(paper, grey.shape)
    cv2.divide(grey, levels, dst=levels, scale=PAPER)  # in place: fresh memory of that size costs as much again
    sample = _without_solids(levels, dpi)
    otsu = _otsu(sample)
    noise_left = _noise_levels(levels)
    return _Flat(
        levels=levels,
        edges=_edges(levels),
        noise=noise,
        otsu=otsu,
        ink=_median_below(sample, otsu),
        weak_limit=PAPER - max(WEAK_DEPTH_LEVELS, WEAK_DEPTH_NOISES * noise_left),
        strong_limit=PAPER - max(STRONG_DEPTH_LEVELS, STRONG_DEPTH_NOISES * noise_left),
        stroke_px=_stroke_width_px(levels, otsu),
        dpi=dpi,
    )


def _paper_level(analysis: Analysis) -> float:
    """How bright the paper usually is."""
    return float(np.percentile(analysis.paper[::4, ::4], 75))


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


def _median_below(levels: Grey, limit: float) -> float:
    """The median of the levels below `limit`; half the limit if there are none."""
    counts = cv2.calcHist([levels], [0], None, [PAPER + 1], [0, PAPER + 1]).ravel()[: round(limit)]
    if not counts.any():
        return limit / 2
    sums = np.cumsum(counts)
    return float(np.searchsorted(sums, sums[-1] / 2))


def _without_solids(levels: Grey, dpi: float) -> Grey:
    """Every second pixel as one row, but for areas that are black for millimetres on end."""
    sample = _every_second(levels)
    small = _reduced(levels, dpi / SOLID_DPI)
    side = max(3, round(SOLID_MM * SOLID_DPI / MM_PER_INCH))
    dark = (small < _otsu(small)).view(np.uint8)
    solid = cv2.dilate(cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.ones((5, 5)))
    if not solid.any():
        return sample.reshape(1, -1)
    rest = sample[cv2.resize(solid, sample.shape[::-1], interpolation=cv2.INTER_NEAREST) == 0]
    # where nearly all is solid, the solids are what there is to measure
    return rest[None] if rest.size > SOLID_REST_SHARE * sample.size else sample.reshape(1, -1)


def _stroke_width_px(levels: Grey, threshold: float) -> float:
    """Ink divided by the number of its runs, along rows or columns, whichever crosses the strokes."""
    widths = []
    for lines in (levels[::16], levels[:, ::16].T):
        ink = lines < threshold
        runs = int(np.count_nonzero(ink[:, 1:] & ~ink[:, :-1])) + int(np.count_nonzero(ink[:, :1]))
        widths.append(int(np.count_nonzero(ink)) / max(1, runs))
    narrowest, widest = STROKE_LIMITS_PX
    return min(max(narrowest, min(widths)), widest)


def _first_sound(
    flat: _Flat, analysis: Analysis, pictures: list[Box], kept_min_fraction: float
) -> tuple[str, Mask | None, float]:
    """The first way that keeps the letters: its name, its ink, and the share it kept."""
    letters = _letters(analysis, pictures)
    edge_share = max(_share(flat.edges), 1 / flat.edges.size)
    best_fraction = 0.0
    for method, ink_of in (("edges", _ink_by_edges), ("nick", _ink_by_nick), ("otsu", _ink_by_otsu)):
        ink = ink_of(flat)
        if letters is None:
            # nothing to lose; but Otsu and NICK cut the grain of empty paper in two, so only the first way is asked
            return method if ink.any() else "blank", ink, 1.0
        kept_fraction = letters.kept_fraction(ink)
        best_fraction = max(best_fraction, kept_fraction)
        ink_ratio = _share(ink) / edge_share
        if kept_fraction >= kept_min_fraction and INK_SHARE_LIMITS[0] <= ink_ratio <= INK_SHARE_LIMITS[1]:
            return method, ink, kept_fraction
    return "kept-grey", None, best_fraction


def _ink_by_edges(flat: _Flat) -> Mask:
    """Ink is darker than the edges around it, and hangs on to pixels that are sure.

    Edge pixels lie between paper and ink in brightness, whatever the contrast of the place.
    """
    levels = flat.levels
    on_edges = cv2.bitwise_and(_every_second(levels), flat.edges)
    squares = cv2.multiply(on_edges, on_edges, scale=1 / PAPER)
    scale = max(1.0, flat.dpi / STATISTICS_DPI)
    window = max(3, round(max(flat.px(EDGE_WINDOW_MM), EDGE_WINDOW_STROKES * flat.stroke_px) / scale) | 1)
    share = _mean(_reduced(flat.edges, scale / 2), window) / PAPER
    some = np.maximum(share, 1e-4)
    mean = _mean(_reduced(np.asarray(on_edges, dtype=np.uint8), scale / 2), window) / some
    square = _mean(_reduced(np.asarray(squares, dtype=np.uint8), scale / 2), window) * PAPER / some
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    beside_edges = np.minimum(mean + EDGE_SPREADS * spread, flat.otsu + TOWARDS_PAPER * (PAPER - flat.otsu))
    has_edges = share > 1.0 / (window * scale)
    strong_level = min(flat.otsu - STRONG_DEPTH * (flat.otsu - flat.ink), flat.strong_limit)
    # what is sure is ink even where grain in solid black looks like edges
    threshold = np.maximum(np.where(has_edges, beside_edges, flat.otsu * EDGELESS_SHARE), strong_level)
    return _attached(_darker(flat, threshold), levels, strong_level, halve=flat.dpi >= HALVING_DPI)


def _edges(levels: Grey) -> Grey:
    """Of every second pixel both ways: 255 where the local contrast stands out by its own Otsu, else 0."""
    brightest = _every_second_column(cv2.dilate(_three_rows(levels, np.maximum), NEIGHBOURS[:1]))
    darkest = _every_second_column(cv2.erode(_three_rows(levels, np.minimum), NEIGHBOURS[:1]))
    middle = cv2.addWeighted(brightest, 0.5, darkest, 0.5, 1)
    contrast = np.asarray(cv2.divide(cv2.subtract(brightest, darkest), middle, scale=PAPER / 2), dtype=np.uint8)
    return np.asarray(cv2.threshold(contrast, _otsu(contrast), PAPER, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _three_rows(levels: Grey, chosen: np.ufunc) -> Grey:
    """Every second row, each pixel the brightest or darkest of itself and those above and below."""
    rows, between = levels[::2].copy(), levels[1::2]
    for part, others in ((rows[: len(between)], between), (rows[1:], between[: len(rows) - 1])):
        chosen(part, others, out=part)
    return rows


def _every_second(pixels: npt.NDArray[Any]) -> Grey:
    return _every_second_column(pixels[::2])


def _every_second_column(pixels: npt.NDArray[Any]) -> Grey:
    if pixels.shape[1] % 2 == 0 and pixels.strides[1] == 1:
        # two columns are one number of 16 bits, and its low byte is the first: twice as fast as picking bytes
        return pixels.view("<u2").astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::2], dtype=np.uint8)


def _attached(weak: Mask, levels: Grey, strong_level: float, *, halve: bool) -> Mask:
    """`weak` with those components cleared of which not even a few pixels are darker than `strong_level`."""
    strong = _below(levels, strong_level)
    small, sure = (_pooled(weak), _pooled(strong)) if halve else (weak, strong)
    count, labels = cv2.connectedComponents(small.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    inked = np.flatnonzero(small)
    numbers = np.asarray(labels, dtype=np.int32).ravel()[inked]
    # counted here: boxes and centres, which OpenCV gives along with the areas, take four times as long as the labels
    sure_px = np.bincount(numbers[sure.ravel()[inked]], minlength=count)
    kept = sure_px > STRONG_SHARE * np.bincount(numbers, minlength=count)
    step = 2 if halve else 1
    rows, cols = np.divmod(inked[~kept[numbers]], small.shape[1])
    for y, x in np.ndindex(step, step):
        # an odd page's last row was doubled
        weak[np.minimum(rows * step + y, weak.shape[0] - 1), np.minimum(cols * step + x, weak.shape[1] - 1)] = False
    return weak


def _ink_by_nick(flat: _Flat) -> Mask:
    """Ink below NICK's local threshold: `m + k sqrt(variance + m^2)`."""
    small = _reduced(flat.levels, max(1.0, flat.dpi / STATISTICS_DPI)).astype(np.float32)
    window = max(3, round(NICK_WINDOW_MM * min(flat.dpi, STATISTICS_DPI) / MM_PER_INCH) | 1)
    return _darker(flat, _mean(small, window) + NICK_K * np.sqrt(_mean(small * small, window)))


def _ink_by_otsu(flat: _Flat) -> Mask:
    """Ink below one threshold for the whole page."""
    return _below(flat.levels, min(flat.otsu, flat.weak_limit))


def _darker(flat: _Flat, threshold: npt.NDArray[np.floating[Any]]) -> Mask:
    """Where the page is darker than a threshold given on a smaller grid and never above the weak limit."""
    surface = _stretched(np.clip(threshold, 0.0, flat.weak_limit).astype(np.uint8), flat.levels.shape)
    return np.asarray(np.less(flat.levels, surface, out=surface.view(np.bool_)))


def _below(levels: Grey, limit: float) -> Mask:
    """Where levels are below a limit that need not be whole; against a float numpy would widen every pixel."""
    return np.asarray(levels < math.ceil(limit))


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


def _letters(analysis: Analysis, pictures: list[Box]) -> _Letters | None:
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
    if pictures:
        written = written.copy()
        for picture in pictures:
            written[_slices(picture, 1.0)] = False
    places = np.flatnonzero(written)
    places = places[is_letter[analysis.labels.ravel()[places]]]
    if not places.size:
        return None
    depth = cv2.subtract(analysis.paper, analysis.grey).ravel()[places]
    usual = float(np.percentile(depth[::4], 75))
    places = places[depth > LETTER_DEPTH_SHARE * usual]
    numbers = analysis.labels.ravel()[places].astype(np.intp)
    deep_px = np.bincount(numbers, minlength=stats.shape[0])
    deep_px[deep_px < LETTER_DEEP_SHARE * stats[:, cv2.CC_STAT_AREA]] = 0
    grey = analysis.grey
    letters = _Letters(places=places, numbers=numbers, deep_px=deep_px, shape=(grey.shape[0], grey.shape[1]))
    return letters if deep_px.any() else None


def _pictures(analysis: Analysis) -> list[Box]:
    """Where a picture is sure, in pixels of the analysis: smooth middle tones, many of them, with detail, in a box."""
    grey = analysis.grey
    paper = _paper_level(analysis)
    span = np.asarray(cv2.subtract(cv2.dilate(grey, NEIGHBOURS), cv2.erode(grey, NEIGHBOURS)), dtype=np.uint8)
    no_paper = _below(grey, PICTURE_TONES[1] * paper)
    tone = (grey > math.floor(PICTURE_TONES[0] * paper)) & no_paper & _below(span, PICTURE_SMOOTH_SHARE * paper)
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
        detail = _detail(analysis) if detail is None else detail
        if float(detail[inside][chosen].mean()) >= PICTURE_DETAIL_LEVELS:
            found.append(Box(left, top, left + width, top + height))
    return found


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


def _mean(values: Grey | Surface, side: int) -> Surface:
    mean = cv2.boxFilter(values, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, dtype=np.float32)


def _reduced(pixels: Grey, factor: float) -> Grey:
    while factor >= 2.0 and min(pixels.shape[:2]) >= 2:
        # halving is ten times as fast as reducing to a quarter at once
        rows, cols = pixels.shape[0] // 2, pixels.shape[1] // 2
        even = pixels[: rows * 2, : cols * 2]
        pixels = np.asarray(cv2.resize(even, (cols, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        factor /= 2.0
    if factor < NO_REDUCTION:
        return pixels
    size = (max(1, round(pixels.shape[1] / factor)), max(1, round(pixels.shape[0] / factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _stretched(pixels: Grey, shape: tuple[int, ...]) -> Grey:
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _pooled(marked: Mask) -> Mask:
    """Half the size: whether any of 2 x 2 pixels is marked."""
    levels = marked.view(np.uint8)
    if marked.shape[0] % 2 or marked.shape[1] % 2:
        levels = np.pad(levels, ((0, marked.shape[0] % 2), (0, marked.shape[1] % 2)))
    pairs = np.asarray(cv2.bitwise_or(levels[::2], levels[1::2]))
    return np.asarray(pairs.view(np.uint16) != 0)  # two columns read as one number of 16 bits
