"""Make the page bitonal: ink black, paper white, pictures in fine dots."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.analysis import Analysis, analysis_of, ink_parts, level_at, reduced, sharpness
from stages.ink_threshold import (
    PAPER,
    STATISTICS_DPI,
    STRONG_DEPTH_LEVELS,
    Flat,
    all_below_nick,
    flattened,
    ink_by_depth,
    ink_by_nick,
    ink_by_otsu,
)
from stages.maps import NEIGHBOURS, Grey, Mask, Surface, mean_over, share, shrunk, spread
from stages.page_image import MM_PER_INCH, Box, PageImage, Reading
from stages.settings import StageSettings
from stages.tone_pictures import dithered, is_picture, pictures_in

# A colour mix other than luminance is used only where the writing has much more contrast in it (yellow, light blue).
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as `PageImage.grey`
COLOUR_GAIN = 1.5
COLOUR_INK_PERCENT = 2.0

MIDDLE_DPI = 25.0
DARK_PAGE_LEVEL = 96.0  # a page whose middle level is darker may show light letters on dark: a negative
DETAIL_MM = 2.0  # and it does where its strongest detail of this size is light; grain has no skewness
LIGHT_SKEWNESS = 0.3

# The guard of IMAGING 2.7, step 7
LETTER_HEIGHT_MM = (0.9, 9.0)
LETTER_WIDTH_MM = (0.25, 12.0)
LETTER_DEPTH_SHARE = 0.5  # print that shines through from the other side is mostly paler than this, and may go
FAINT_DEPTH_SHARE = 0.25  # from here on marks are given back, but no page stays grey for them
LETTER_DEEP_SHARE = 0.1
LETTER_SHARPNESS = 0.65  # of what most letters of the page have, or of a whole step within three analysis pixels
FAINT_SHARPNESS = 0.4  # and as sharp as this: on grainy film letters are hardly sharper than stains
LETTER_KEPT_SHARE = 0.5
# Where paper is darker than this on a twentieth of the page, what is faint there has too few levels to be counted
DARK_PAPER_LEVEL, DARK_PAPER_PERCENT = 150.0, 5
INK_SHARE_LIMITS = (0.25, 4.0)

# One is tried after the other, until one keeps the letters. Of NICK's parts those that hardly stand out are left out.
# Here and there that is a letter: it is given back, because all of NICK keeps the dirt of the whole page.
NICK_KEPT_MIN_FRACTION = 0.9
WAYS = {"depth": ink_by_depth, "nick": ink_by_nick, "nick-all": all_below_nick, "otsu": ink_by_otsu}


class Settings(StageSettings):
    """Settings of `binarize`.

    `dither_pictures` gives sure pictures in dots of black and white; without it they are cut by the threshold.
    `letters_kept_min_fraction` is the share of letter-like marks that must still be there afterwards, or another way
    is tried.
    """

    dither_pictures: bool = True
    letters_kept_min_fraction: float = Field(0.97, ge=0, le=1)


def binarize(page: PageImage, settings: Settings) -> PageImage:
    """Make the page bitonal: ink is what is about half as deep as the middle of its stroke.

    Grey or colour in, bool of the same size out (True white). A bitonal page comes back as it is, with its scanner's
    stream. Noise is smoothed and the paper evened out first, stains included; where grain or print of the other side
    is seen, ink has to stand out more. A dark lid beside the sheet comes out white. Then the letters are counted: if
    few are lost, they are given back as NICK sees them; if more, NICK, all of NICK with its dirt, and then Otsu are
    tried, and if they fail too the page stays grey, with `binarize.method` = "kept-grey" for a person to see. So does a
    page that is one picture with hardly a letter on it: no threshold does it justice.

    Readings: `method` ("bitonal", "depth", "nick", "nick-all", "otsu", "kept-grey", or "blank" where nothing stands out
    from the paper), `threshold` (Otsu's, with paper at 255), `noise_levels`, `ink_fraction`, `letters_kept_fraction`,
    `pictures` (how many were dithered), `lid_fraction` (of the page, made white).

    Source: Khurshid et al. 2009, doi:10.1117/12.805827 (NICK); Otsu 1979, doi:10.1109/TSMC.1979.4310076. The half
    depth is where a soft edge lies in truth.
    """
    if page.is_bitonal:
        return page.with_readings("binarize", method="bitonal")
    if is_picture(analysis_of(page)):
        return page.with_readings("binarize", method="kept-grey", pictures=1)
    plain, is_negative = _dark_on_light(page)
    grey = plain.grey()
    analysis = analysis_of(plain)
    flat = flattened(grey, analysis, page.dpi)
    pictures = pictures_in(analysis) if settings.dither_pictures else []
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
        white[rows, cols] = dithered(grey[rows, cols], paper_level)
    if is_negative:
        white = ~white
    return page.with_pixels(white).with_readings(
        "binarize",
        ink_fraction=1.0 - share(white),
        pictures=len(pictures),
        lid_fraction=0.0 if flat.lid is None else share(flat.lid),
        **readings,
    )


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
    small = shrunk(grey, dpi / STATISTICS_DPI).astype(np.float32)
    detail = small - mean_over(small, max(3, round(DETAIL_MM * min(dpi, STATISTICS_DPI) / MM_PER_INCH) | 1))
    deviation = math.sqrt(float(np.mean(detail**2)))
    return float(np.mean(detail**3)) > LIGHT_SKEWNESS * deviation**3


def _channel_weights(page: PageImage) -> Surface | None:
    """How to mix red, green and blue where luminance would lose the writing; None where luminance does."""
    if not page.is_colour:
        return None
    small = shrunk(np.asarray(page.pixels, dtype=np.uint8), page.dpi / STATISTICS_DPI)
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


def _first_sound(
    flat: Flat, analysis: Analysis, pictures: list[Box], kept_min_fraction: float
) -> tuple[str, Mask | None, float]:
    """The first way that keeps the letters: its name, its ink, and the share it kept."""
    letters = _letters(_evened(analysis, flat), pictures, flat.lid)
    marked_share = max(share(analysis.ink), 1 / analysis.ink.size)
    best_fraction = 0.0
    for method, ink_of in WAYS.items():
        ink = ink_of(flat)
        lost = None if letters is None else letters.lost(ink)
        if letters is not None and lost is not None and lost.any() and method in ("depth", "nick"):
            least = kept_min_fraction if method == "depth" else min(kept_min_fraction, NICK_KEPT_MIN_FRACTION)
            if letters.kept_fraction(lost) < least:
                # no way for this page: with the letters it lost goes other writing, too faint to be counted
                best_fraction = max(best_fraction, letters.kept_fraction(lost))
                continue
            # all of NICK is closer to the paper
            letters.give_back(lost, ink, all_below_nick(flat))
            lost = letters.lost(ink)
        if flat.lid is not None:
            ink[spread(flat.lid, ink.shape)] = False
        if letters is None or lost is None:
            # nothing to lose; but Otsu and NICK cut the grain of empty paper in two, so only the first way is asked
            return method if ink.any() else "blank", ink, 1.0
        kept_fraction = letters.kept_fraction(lost)
        best_fraction = max(best_fraction, kept_fraction)
        ink_ratio = share(ink) / marked_share
        if kept_fraction >= kept_min_fraction and INK_SHARE_LIMITS[0] <= ink_ratio <= INK_SHARE_LIMITS[1]:
            return method, ink, kept_fraction
    return "kept-grey", None, best_fraction


def _evened(analysis: Analysis, flat: Flat) -> Analysis:
    """The analysis of the page with its paper evened out, where that is dark: faint writing has few levels there.

    On white paper it would be the same, and cost a labelling.
    """
    if level_at(analysis.paper, DARK_PAPER_PERCENT) >= DARK_PAPER_LEVEL:
        return analysis
    levels, _ = reduced(flat.levels, flat.dpi)  # on the same grid, as size and dpi are the same
    parts = ink_parts(levels, analysis.dpi)
    return replace(
        analysis, grey=levels, paper=np.full_like(levels, PAPER), ink=parts.ink, labels=parts.labels, stats=parts.stats
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letters:
    """The deep pixels of letter-like marks of the page as it was.

    `places` are flat places on the analysis' grid of `shape`, `numbers` says whose each is, and `deep_px` how many
    each mark has. `sure` are the letters that are about as dark as most.
    """

    places: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.intp]
    deep_px: npt.NDArray[np.intp]
    sure: Mask
    shape: tuple[int, int]

    def kept_fraction(self, lost: Mask) -> float:
        """The share of the sure letters that are not lost."""
        return 1.0 - int(np.count_nonzero(lost & self.sure)) / max(1, int(np.count_nonzero(self.sure)))

    def lost(self, ink: Mask) -> Mask:
        """Of which letters, by number, most is no ink."""
        small = cv2.resize(ink.view(np.uint8) * np.uint8(PAPER), self.shape[::-1], interpolation=cv2.INTER_AREA)
        black = np.asarray(small).ravel()[self.places] >= PAPER // 4
        left_px = np.bincount(self.numbers[black], minlength=self.deep_px.size)
        return np.asarray(left_px < LETTER_KEPT_SHARE * self.deep_px)

    def give_back(self, lost: Mask, ink: Mask, looser: Mask) -> None:
        """Add to `ink` what another way finds where the `lost` letters are."""
        places = np.zeros(self.shape, np.uint8)
        places.ravel()[self.places[lost[self.numbers]]] = 1
        np.logical_or(ink, looser & spread(cv2.dilate(places, NEIGHBOURS) > 0, ink.shape), out=ink)


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
        written[spread(lid, written.shape)] = False
    places = analysis.inked if written is analysis.ink else np.flatnonzero(written)
    places = places[is_letter[analysis.labels.ravel()[places]]]
    if not places.size:
        return None
    numbers = analysis.labels.ravel()[places].astype(np.intp)
    depth = cv2.subtract(analysis.paper, analysis.grey).ravel()[places]
    sharp = sharpness(analysis, places, numbers)
    sharp /= min(1.0, float(np.percentile(sharp[is_letter], 75)))
    usual = level_at(np.asarray(depth[::4], dtype=np.uint8), 75)
    least_px = np.maximum(LETTER_DEEP_SHARE * stats[:, cv2.CC_STAT_AREA], 1)
    depth[sharp[numbers] < FAINT_SHARPNESS] = 0
    sure = np.bincount(numbers[depth > LETTER_DEPTH_SHARE * usual], minlength=stats.shape[0]) >= least_px
    sure &= sharp >= LETTER_SHARPNESS
    chosen = depth > np.where(sure, LETTER_DEPTH_SHARE, FAINT_DEPTH_SHARE)[numbers] * usual
    places, numbers = places[chosen], numbers[chosen]
    deep_px = np.bincount(numbers, minlength=stats.shape[0])
    deep_px[deep_px < least_px] = 0
    rows, cols = analysis.grey.shape
    letters = _Letters(places=places, numbers=numbers, deep_px=deep_px, sure=sure, shape=(rows, cols))
    return letters if deep_px.any() else None


def _slices(box: Box, scale: float) -> tuple[slice, slice]:
    """Rows and columns of a box, `scale` times as large."""
    return (
        slice(round(box.top * scale), round(box.bottom * scale)),
        slice(round(box.left * scale), round(box.right * scale)),
    )
