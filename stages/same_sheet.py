"""Tell whether two scans show the same sheet, from the small maps of their ink: nobody opens the images again."""

from __future__ import annotations

import cv2
import numpy as np

from stages.bleed_through import GRID_MM, Levels, unpacked
from stages.page_image import Reading

FINE = 3  # a sheet lies elsewhere each time by parts of a cell
BLUR_MM = 1.7  # what is left of a line of text half a cell off
REGISTER_MM = 4.0
SIZES_DIFFER_MM = 6.0  # cropped apart
LEAST_CORRELATION = 0.9  # of the whole; filled-in forms of one kind have 0.94 among each other
# In each tile that bears ink. Drawn sheets scanned twice, askew by up to 2.4 degrees and with dirt, had 0.70 or more;
# filled-in forms and tables of one kind 0.43 or less in some tile (20 sheets of 5 kinds, bench/alarms.py).
TILE_MM = 24.0
LEAST_TILE_CORRELATION = 0.6
INKED_SHARE = 0.3  # of the deepest place of either: below it a tile bears grain
COARSE_CELLS = 4  # averaged together for a first look: most pairs end there
LEAST_COARSE_CORRELATION = 0.7


def is_same_sheet(one: Reading, other: Reading) -> bool:
    """Whether two pages are scans of one sheet; arguments are their readings `blank.ink_map`.

    The maps must agree as a whole and in every part that bears ink: two sheets of the same form do not. A page without
    ink, or without a map, is nobody's likeness.
    """
    maps = [unpacked(one), unpacked(other)]
    if any(cells is None or not cells.any() for cells in maps):
        return False
    first, second = (np.asarray(cells, np.float32) for cells in maps)
    most = SIZES_DIFFER_MM / GRID_MM
    if any(abs(a - b) > most for a, b in zip(first.shape, second.shape, strict=True)):
        return False
    if _coarse_correlation(first, second) < LEAST_COARSE_CORRELATION:
        return False
    first, second = _smooth(first), _smooth(second)
    rows, cols = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    reach = round(REGISTER_MM / GRID_MM * FINE)
    around = cv2.copyMakeBorder(first[:rows, :cols], reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    second = second[:rows, :cols]
    _, best, _, (left, top) = cv2.minMaxLoc(cv2.matchTemplate(around, second, cv2.TM_CCOEFF_NORMED))
    return best >= LEAST_CORRELATION and _agree(
        np.asarray(around[top : top + rows, left : left + cols], np.float32), second
    )


def _coarse_correlation(one: Levels, other: Levels) -> float:
    size = (max(2, one.shape[1] // COARSE_CELLS), max(2, one.shape[0] // COARSE_CELLS))
    small = [cv2.resize(cells, size, interpolation=cv2.INTER_AREA).ravel() for cells in (one, other)]
    return _correlation(np.asarray(small[0], np.float32), np.asarray(small[1], np.float32))


def _smooth(cells: Levels) -> Levels:
    fine = cv2.resize(cells, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), BLUR_MM / GRID_MM * FINE), np.float32)


def _agree(one: Levels, other: Levels) -> bool:
    """Whether every tile that bears ink on either shows the same on both."""
    inked = INKED_SHARE * max(float(one.max()), float(other.max()))
    tile = round(TILE_MM / GRID_MM * FINE)
    for top in range(0, one.shape[0] - tile // 2, tile // 2):
        for left in range(0, one.shape[1] - tile // 2, tile // 2):
            here, there = (cells[top : top + tile, left : left + tile] for cells in (one, other))
            if max(float(here.max()), float(there.max())) < inked:
                continue
            if _correlation(here.ravel(), there.ravel()) < LEAST_TILE_CORRELATION:
                return False
    return True


def _correlation(one: Levels, other: Levels) -> float:
    """Pearson's; 0 where either is even throughout."""
    if one.std() < 1e-6 or other.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
