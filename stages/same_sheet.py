"""Tell whether two scans show one sheet: by the small maps of their ink and, where these agree, by the print itself.

Maps are at hand for all pages of a batch, and tell most sheets apart; those of one layout with other words they do not.
"""

from __future__ import annotations

import cv2
import numpy as np

from stages.bleed_through import GRID_MM, Levels, unpacked
from stages.page_image import MM_PER_INCH, PageImage, Reading

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
# Of the print itself, in every tile that bears ink: drawn sheets scanned twice, askew and with dirt, had 0.98 or more;
# other sheets of their kind 0.66 or less in some tile (letters, forms, tables, typescripts)
PRINT_DPI = 100.0  # letters have their shapes, and their edges are soft enough to lie a pixel off
PRINT_REACH_MM = 6.0
PRINTED_SHARE = 0.01  # of a tile; less is dirt
LEAST_PRINT_CORRELATION = 0.85
PAPER_PX = 31


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


def is_same_print(one: PageImage, other: PageImage) -> bool:
    """Whether the same stands on both pages, letter by letter, in every part that bears ink on the one or the other."""
    first, second = (_print_of(page) for page in (one, other))
    return _stands_on(first, second) and _stands_on(second, first)


def _print_of(page: PageImage) -> Levels:
    scale = PRINT_DPI / page.dpi
    small = cv2.resize(page.grey(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    darker = cv2.subtract(cv2.medianBlur(small, PAPER_PX), small)
    return np.asarray(cv2.GaussianBlur(darker, (0, 0), 1.0), np.float32)


def _stands_on(one: Levels, other: Levels) -> bool:
    """Whether every printed tile of one page is found near its place on the other."""
    tile, reach = (round(mm * PRINT_DPI / MM_PER_INCH) for mm in (TILE_MM, PRINT_REACH_MM))
    printed = one > INKED_SHARE * float(one.max())
    rows, cols = one.shape
    far = [max(0, size - there) + tile + reach for size, there in zip(one.shape, other.shape, strict=True)]
    around = cv2.copyMakeBorder(other, reach, far[0], reach, far[1], cv2.BORDER_CONSTANT, value=0)
    found = 0
    for top in range(0, rows - tile // 2, tile):
        for left in range(0, cols - tile // 2, tile):
            if printed[top : top + tile, left : left + tile].mean() < PRINTED_SHARE:
                continue
            here = one[top : top + tile, left : left + tile]
            there = around[top : top + here.shape[0] + 2 * reach, left : left + here.shape[1] + 2 * reach]
            if cv2.matchTemplate(there, here, cv2.TM_CCOEFF_NORMED).max() < LEAST_PRINT_CORRELATION:
                return False
            found += 1
    return found > 0


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
