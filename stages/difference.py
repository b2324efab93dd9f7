"""What the steps did to a page, as a picture for a person: the scan, the page delivered, and what changed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import ANALYSIS_DPI, ink_of
from stages.page_image import MM_PER_INCH, PageImage
from stages.places import Places, taken_over

Levels = npt.NDArray[np.uint8]

REMOVED = (208, 0, 0)
ADDED = (0, 72, 220)
KEPT_SHADE = 0.6  # ink that stayed is greyed by so much, so that what changed stands out
GAP_MM = 4.0
GAP_LEVEL = 160


def before_and_after(scan: PageImage, delivered: PageImage, to_scan: Places) -> PageImage:
    """Three pictures side by side, RGB at the analysis' resolution: scan, page delivered, difference.

    `to_scan` maps places on the delivered page to places on the scan, which is shown in the delivered page's frame:
    straight and upright. In the difference ink that was removed is red, ink that was added blue, what stayed grey.
    """
    shape = (delivered.height_px, delivered.width_px, *scan.pixels.shape[2:])
    source = scan.grey() if scan.is_bitonal else np.asarray(scan.pixels, dtype=np.uint8)
    laid = PageImage(pixels=taken_over(source, to_scan, np.empty(shape, np.uint8)), dpi=delivered.dpi)
    before, after = (_small(page) for page in (laid, delivered))
    dpi = min(ANALYSIS_DPI, delivered.dpi)
    changed = difference(_grey(before), _grey(after), dpi=dpi)
    gap = np.full((before.shape[0], max(1, round(GAP_MM * dpi / MM_PER_INCH)), 3), GAP_LEVEL, np.uint8)
    return PageImage(pixels=np.hstack([before, gap, after, gap, changed]), dpi=dpi)


def difference(before: Levels, after: Levels, *, dpi: float) -> Levels:
    """Two grey pictures of the same size and place as one in RGB: red was removed, blue was added."""
    inks = [ink_of(grey, dpi) for grey in (before, after)]
    # a stroke that came out a little thinner or wider is the same stroke
    near = [cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0 for ink in inks]
    shade = 255 - KEPT_SHADE * (255 - np.minimum(before, after).astype(np.float32))
    picture = np.repeat(shade.astype(np.uint8)[..., None], 3, axis=2)
    picture[inks[0] & ~near[1]] = REMOVED
    picture[inks[1] & ~near[0]] = ADDED
    return picture


def _small(page: PageImage) -> Levels:
    """The page in RGB, at the analysis' resolution or its own."""
    scale = min(1.0, ANALYSIS_DPI / page.dpi)
    pixels = page.pixels if page.is_colour else page.grey()
    size = (max(1, round(page.width_px * scale)), max(1, round(page.height_px * scale)))
    small = cv2.resize(np.asarray(pixels, dtype=np.uint8), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small if page.is_colour else cv2.cvtColor(small, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _grey(picture: Levels) -> Levels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
