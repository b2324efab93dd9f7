"""Even out the paper of grey and colour pages, so that shadows and stains of light do not show."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.analysis import Analysis, analysis_of
from stages.page_image import MM_PER_INCH, PageImage, Pixels
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Surface = npt.NDArray[np.float32]

WHITE = 255.0
GAIN_UNITS = 8192.0
STRIP_ROWS = 128  # a strip of floating-point rows stays in the processor's cache

# IMAGING 2.6, step 5: paper is mapped to 250 and nothing is clipped. On noisy pages half of the grain lies above the
# paper, so the target comes down until hardly any pixel has to be pressed.
PAPER_TARGET = 250.0
LOWEST_TARGET = 235.0
GRAIN_PERCENTILE = 99.5
GRAIN_TOP = 252.0

# IMAGING 2.6, step 2: the smallest window with enough paper in it decides
FIT_DPI = 37.5
WINDOWS_MM = (6.0, 17.0, 51.0, 153.0)
WINDOW_PAPER_SHARE = 0.15

# Paper is the bright side of its surroundings: writing narrower than this is bridged over, and marks fainter than the
# tolerance are taken for paper (they lose that much contrast at most; IMAGING 2.6 measures marks of 4 levels).
BRIDGED_MM = 6.0
TOLERANCE_LEVELS = 2.5
INK_SHARE = 0.5

# Paper is calm and wide; a picture is not calm, or its calm places are islands.
CALM_SHARE = 0.04
WIDE_SHARE = 0.05
BOX_SHARE = 0.85
DARKEST_PAPER_SHARE = 0.5  # of what is usual; a lid, a solid, or a shadow too deep to mend
DARKEST_PAGE_LEVEL = PAPER_TARGET / 3.0  # a gain above 3 brings out grain, not paper (IMAGING 2.6, step 4)
LEAST_PAPER_SHARE = 0.3
PICTURE_SMALLEST_MM = 6.0
PICTURE_RIM_MM = 1.5


class Settings(StageSettings):
    """Settings of `background`: paper that varies by less than `min_shading_levels` is left alone."""

    min_shading_levels: float = Field(6.0, ge=0, le=255)


def background(page: PageImage, settings: Settings) -> PageImage:
    """Divide grey and colour pages by their paper, so that it lies at 250 everywhere; size and dpi stay.

    Faint marks keep their contrast to the paper, since both are divided by the same. What is brighter than paper is
    pressed into the five levels left above it, so nothing is clipped. The three channels of a colour page get the same
    gain, measured on the brightest, so that hues stay. Pictures and solids are left as they are, to the pixel.

    Readings: `shading_levels` (how much the paper varies; None where it was not measured), `done`, `declined` (why
    not, else None).
    """
    if page.is_bitonal:
        return _declined(page, None, "bitonal")
    analysis = analysis_of(page)
    if analysis.usual_paper < DARKEST_PAGE_LEVEL:
        return _declined(page, None, "dark page")
    scale = max(1.0, analysis.dpi / FIT_DPI)
    dpi = analysis.dpi / scale
    level, inked = _unwritten(page, analysis, scale)
    bridged = _closed(level, dpi)
    wide = _wide_paper(bridged)
    if float(wide.mean()) < LEAST_PAPER_SHARE:
        return _declined(page, None, "hardly any paper")
    is_paper = wide & ~inked & (level >= bridged - TOLERANCE_LEVELS)
    surface = _surface(level, is_paper, dpi)
    kept = _pictures(wide, dpi)
    shading = _shading_levels(surface, wide)
    if shading < settings.min_shading_levels:
        return _declined(page, shading, "even enough")
    evened = _evened(page.pixels, surface, kept)
    return page.with_pixels(evened).with_readings("background", shading_levels=shading, done=True, declined=None)


def _declined(page: PageImage, shading: float | None, reason: str) -> PageImage:
    return page.with_readings("background", shading_levels=shading, done=False, declined=reason)


def _unwritten(page: PageImage, analysis: Analysis, scale: float) -> tuple[Surface, Mask]:
    """On a small grid: how bright the page is between the ink (by its brightest channel), and where all is ink."""
    brightest = analysis.grey
    if page.is_colour:
        shape = (brightest.shape[1], brightest.shape[0])
        small = cv2.resize(np.asarray(page.pixels, dtype=np.uint8), shape, interpolation=cv2.INTER_AREA)
        brightest = np.asarray(small.max(axis=2), dtype=np.uint8)
    blank = (cv2.dilate(analysis.ink.view(np.uint8), np.ones((3, 3), np.uint8)) == 0).view(np.uint8)
    share = _resized(blank.astype(np.float32), scale)
    amount = _resized((brightest * blank).astype(np.float32), scale)
    everything = _resized(brightest.astype(np.float32), scale)
    inked = share < 1.0 - INK_SHARE
    return np.where(inked, everything, amount / np.maximum(share, 1e-6)), inked


def _closed(level: Surface, dpi: float) -> Surface:
    """The level with everything dark bridged over that is narrower than `BRIDGED_MM`."""
    side = max(3, round(BRIDGED_MM * dpi / MM_PER_INCH) | 1)
    smooth = cv2.blur(level, (3, 3))
    return np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)), dtype=np.float32)


def _wide_paper(bridged: Surface) -> Mask:
    """The largest calm area, and others of some size that are about as bright: a shaded box keeps its shade."""
    usual = float(np.percentile(bridged, 75))
    span = cv2.dilate(bridged, np.ones((3, 3), np.uint8)) - cv2.erode(bridged, np.ones((3, 3), np.uint8))
    calm = (span <= CALM_SHARE * bridged) & (bridged >= DARKEST_PAPER_SHARE * usual)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(calm.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    areas = stats[:, cv2.CC_STAT_AREA]
    wide = areas >= WIDE_SHARE * bridged.size
    for number in np.flatnonzero(wide):
        wide[number] = float(np.median(bridged[labels == number])) >= BOX_SHARE * usual
    if count > 1:
        wide[1 + int(np.argmax(areas[1:]))] = True
    wide[0] = False
    return np.asarray(wide[labels])


def _surface(level: Surface, is_paper: Mask, dpi: float) -> Surface:
    """How bright the paper is at each place, whatever lies on it."""
    weight = is_paper.astype(np.float32)
    surface = np.zeros_like(level)
    fitted = np.zeros(level.shape, np.bool_)
    for window_mm in WINDOWS_MM:
        side = max(3, round(window_mm * dpi / MM_PER_INCH) | 1)
        there = _mean(weight, side)
        chosen = (there > WINDOW_PAPER_SHARE) & ~fitted
        surface[chosen] = (_mean(level * weight, side) / np.maximum(there, 1e-6))[chosen]
        fitted |= chosen
    surface[~fitted] = np.median(surface[fitted]) if fitted.any() else WHITE
    return _mean(surface, max(3, round(WINDOWS_MM[0] / 2 * dpi / MM_PER_INCH) | 1))


def _pictures(wide: Mask, dpi: float) -> Mask:
    """Where no paper is over several millimetres both ways, with a rim around it."""
    side = max(3, round(PICTURE_SMALLEST_MM * dpi / MM_PER_INCH) | 1)
    bare = cv2.morphologyEx((~wide).view(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    rim = 2 * max(1, round(PICTURE_RIM_MM * dpi / MM_PER_INCH)) + 1
    return np.asarray(cv2.dilate(bare, np.ones((rim, rim), np.uint8)) > 0)


def _shading_levels(surface: Surface, wide: Mask) -> float:
    """By how much the paper varies, but for the twentieth part at either end."""
    low, high = np.percentile(surface[wide], (5, 95))
    return float(high - low)


def _target(pixels: Pixels, gain: Surface) -> float:
    """How bright the paper shall be: 250, or less where its grain would not find room above."""
    sample = pixels[::8, ::8]
    size = (sample.shape[1], sample.shape[0])
    factor = np.asarray(cv2.resize(gain, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    top = float(np.percentile(sample * (factor if sample.ndim == 2 else factor[..., None]), GRAIN_PERCENTILE))
    return max(LOWEST_TARGET, PAPER_TARGET * min(1.0, GRAIN_TOP / top))


def _evened(pixels: Pixels, surface: Surface, kept: Mask) -> Grey:
    """The page with its paper at `PAPER_TARGET`, and where `kept`, as it was."""
    rows, cols = pixels.shape[:2]
    small_gain = np.asarray(PAPER_TARGET / surface, dtype=np.float32)
    target = _target(pixels, small_gain)
    # as whole numbers of a small unit: half the memory of floating point, and finer than any level
    gain = cv2.resize((small_gain * GAIN_UNITS).astype(np.uint16), (cols, rows), interpolation=cv2.INTER_LINEAR)
    unit = target / PAPER_TARGET / GAIN_UNITS
    kept_full = cv2.resize(kept.view(np.uint8), (cols, rows), interpolation=cv2.INTER_NEAREST) > 0
    # straight up to 250; what lies above is pressed into the levels left
    above = float(small_gain.max()) * target / PAPER_TARGET * WHITE - PAPER_TARGET
    press = (WHITE - PAPER_TARGET) / max(above, WHITE - PAPER_TARGET)
    evened = np.empty(pixels.shape, np.uint8)
    for top in range(0, rows, STRIP_ROWS):
        strip = slice(top, min(top + STRIP_ROWS, rows))
        factor = gain[strip] if pixels.ndim == 2 else cv2.merge([gain[strip]] * 3)
        lifted = cv2.multiply(np.asarray(pixels[strip], dtype=np.uint8), factor, scale=unit, dtype=cv2.CV_32F)
        pressed = cv2.addWeighted(np.minimum(lifted, PAPER_TARGET), 1.0 - press, lifted, press, 0.0)
        cv2.convertScaleAbs(pressed, evened[strip])
        evened[strip][kept_full[strip]] = pixels[strip][kept_full[strip]]
    return evened


def _mean(values: Surface, side: int) -> Surface:
    mean = cv2.boxFilter(values, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, dtype=np.float32)


def _resized(values: Surface, factor: float) -> Surface:
    while factor >= 2.0 and min(values.shape) >= 2:
        # halving is far faster than any other reduction
        rows, cols = values.shape[0] // 2, values.shape[1] // 2
        values = np.asarray(cv2.resize(values[: rows * 2, : cols * 2], (cols, rows), interpolation=cv2.INTER_AREA))
        factor /= 2.0
    if factor <= 1.0:
        return values
    size = (max(1, round(values.shape[1] / factor)), max(1, round(values.shape[0] / factor)))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
