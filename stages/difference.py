"""What the steps did to a page, as a picture for a person: the scan, the page delivered, and what changed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import ANALYSIS_DPI, ink_of
from stages.page_image import MM_PER_INCH, PageImage
from stages.places import Places, taken_over

Levels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

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
    before, after, dpi = _side_by_side(scan, delivered, to_scan)
    changed = difference(_grey(before), _grey(after), dpi=dpi)
    gap = np.full((before.shape[0], max(1, round(GAP_MM * dpi / MM_PER_INCH)), 3), GAP_LEVEL, np.uint8)
    return PageImage(pixels=np.hstack([before, gap, after, gap, changed]), dpi=dpi)


def ink_removed(scan: PageImage, delivered: PageImage, to_scan: Places) -> tuple[Mask, Mask, float]:
    """The scan's ink in the delivered page's frame, which of it is not on that page, and the maps' resolution in dpi.

    `to_scan` as in `before_and_after`.
    """
    before, after, dpi = _side_by_side(scan, delivered, to_scan)
    (ink, _), (_, near) = (_ink_and_near(_grey(picture), dpi) for picture in (before, after))
    return ink, ink & ~near, dpi


def difference(before: Levels, after: Levels, *, dpi: float) -> Levels:
    """Two grey pictures of the same size and place as one in RGB: red was removed, blue was added."""
    inks, near = zip(*(_ink_and_near(grey, dpi) for grey in (before, after)), strict=True)
    shade = 255 - KEPT_SHADE * (255 - np.minimum(before, after).astype(np.float32))
    picture = np.repeat(shade.astype(np.uint8)[..., None], 3, axis=2)
    picture[inks[0] & ~near[1]] = REMOVED
    picture[inks[1] & ~near[0]] = ADDED
    return picture


def _side_by_side(scan: PageImage, delivered: PageImage, to_scan: Places) -> tuple[Levels, Levels, float]:
    """Scan and page in RGB, both in the page's frame, and their resolution: the analysis' own, or the page's."""
    shape = (delivered.height_px, delivered.width_px, *scan.pixels.shape[2:])
    source = scan.grey() if scan.is_bitonal else np.asarray(scan.pixels, dtype=np.uint8)
    # where the frame grew there was no scan: white, not its last row drawn out, which would be shown as removed
    laid = PageImage(
        pixels=taken_over(source, to_scan, np.full(shape, 255, np.uint8), border=cv2.BORDER_TRANSPARENT),
        dpi=delivered.dpi,
    )
    return _small(laid), _small(delivered), min(ANALYSIS_DPI, delivered.dpi)


def _ink_and_near(grey: Levels, dpi: float) -> tuple[Mask, Mask]:
    """The ink of a picture, and where any is near: a stroke a little thinner or wider is the same stroke."""
    ink = ink_of(grey, dpi)
    return ink, cv2.dilate(ink.view(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _small(page: PageImage) -> Levels:
    """The page in RGB, at the analysis' resolution or its own."""
    scale = min(1.0, ANALYSIS_DPI / page.dpi)
    pixels = page.pixels if page.is_colour else page.grey()
    size = (max(1, round(page.width_px * scale)), max(1, round(page.height_px * scale)))
    small = cv2.resize(np.asarray(pixels, dtype=np.uint8), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small if page.is_colour else cv2.cvtColor(small, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _grey(picture: Levels) -> Levels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
