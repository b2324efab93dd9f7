"""Tell whether what shows on one side of a sheet is only the ink of its other side, from small maps of both.

Pages are prepared one by one, each in a process of its own, so a page leaves a map of its ink in its readings, and
whoever has the readings of both sides decides without opening an image.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from stages.page_image import Reading

Grey = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.float32]

# The map: mean depth of the ink on a grid, in steps of the page's deepest place; 1 to 3 KB for a full page of print.
GRID_MM = 2.0
STEPS = 15
MOST_CELLS = 40_000  # a drawing of 400 x 400 mm; larger sheets leave no map, and nothing is proved of them
HEADER = struct.Struct("<HHf")  # rows, columns, depth of one step

# IMAGING 2.8, step 8. Registered on a grid of 1 mm.
FINE = 2
REGISTER_MM = 3.0
SIZES_DIFFER_MM = 6.0  # the sides were cropped apart
LEAST_CORRELATION = 0.85  # IMAGING has 0.5; drawn sheets that only showed through had 0.97 or more
LEAST_PRINT_DEPTH = 20.0  # mean depth of the darkest place of print; what is paler does not show through
MOST_STRENGTH = 0.5  # ink that is half as dark as on its own side is no bleed-through

# What is left of a place when its share of bleed-through is taken off
LEFT_SHARE = 0.5
LEFT_DEPTH = 2.0
TILE_MM = 16.0
TILE_CORRELATION = 0.55  # the same sheets had 0.58 or more
TILE_DEPTH = 2.0

SOFT_MARKS = "soft marks, as of ink showing through"


def ink_map(grey: Grey, paper: Grey, px_per_mm: float) -> str:
    """How deep the ink lies at each place of a grid, as text for a reading; empty for a sheet too large."""
    rows, cols = grey.shape
    size = (math.floor(cols / px_per_mm / GRID_MM), math.floor(rows / px_per_mm / GRID_MM))
    if min(size) < 1 or size[0] * size[1] > MOST_CELLS:
        return ""
    # the rest that fills no cell is left over on both sides alike, so that a page that is turned has the same cells
    wide, high = (round(cells * GRID_MM * px_per_mm) for cells in size)
    left, top = (cols - wide) // 2, (rows - high) // 2
    depth = np.asarray(cv2.subtract(paper, grey))[max(0, top) : top + high, max(0, left) : left + wide]
    cells = cv2.resize(depth.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    step = max(float(cells.max()) / STEPS, 1e-3)
    packed = HEADER.pack(size[1], size[0], step) + np.rint(cells / step).astype(np.uint8).tobytes()
    return base64.b85encode(zlib.compress(packed, 9)).decode("ascii")


def proved_blank(page: Mapping[str, Reading], other_side: Mapping[str, Reading]) -> bool:
    """Whether a side that may be blank surely is: all its soft marks are the mirrored ink of the sheet's other side.

    Both arguments are the readings of stage `blank`. The other side is laid on the page mirrored, however either was
    turned, and shifted by up to 3 mm. The maps must agree as a whole and in every part that bears marks, and nothing
    may be left that the other side's ink, at one strength for the page, does not explain. Sides with marks like
    strokes, of unsure size, or that are `maybe` for any other reason are never proved.

    Source: IMAGING 2.8, step 8.
    """
    if page.get("blank.verdict") != "maybe" or page.get("blank.reason") != SOFT_MARKS:
        return False
    if other_side.get("blank.verdict") != "content":
        return False
    marks, ink = (unpacked(side.get("blank.ink_map")) for side in (page, other_side))
    if marks is None or ink is None or ink.max() < LEAST_PRINT_DEPTH:
        return False
    fine = _enlarged(marks)
    for turns in range(4):
        through = _enlarged(np.rot90(ink[:, ::-1], turns))
        most = SIZES_DIFFER_MM / GRID_MM * FINE
        if all(abs(a - b) <= most for a, b in zip(fine.shape, through.shape, strict=True)):
            laid = _registered(fine, through)
            if laid is not None and _explains(laid, fine):
                return True
    return False


def unpacked(text: Reading) -> Levels | None:
    """The depth of the ink on the grid of an `ink_map`; None where a page left none."""
    if not isinstance(text, str) or not text:
        return None
    packed = zlib.decompress(base64.b85decode(text))
    rows, cols, step = HEADER.unpack_from(packed)
    cells = np.frombuffer(packed, np.uint8, offset=HEADER.size).reshape(rows, cols)
    return np.asarray(cells * np.float32(step), np.float32)


def _enlarged(cells: Levels) -> Levels:
    size = (cells.shape[1] * FINE, cells.shape[0] * FINE)
    return np.asarray(cv2.resize(np.ascontiguousarray(cells), size, interpolation=cv2.INTER_LINEAR), np.float32)


def _registered(marks: Levels, through: Levels) -> Levels | None:
    """The other side's ink shifted to where it agrees best with the marks; None if it agrees badly."""
    reach = round(REGISTER_MM / GRID_MM * FINE)
    spare = [abs(a - b) for a, b in zip(marks.shape, through.shape, strict=True)]
    down, across = (reach + each for each in spare)
    around = cv2.copyMakeBorder(
        through, down, down + spare[0], across, across + spare[1], cv2.BORDER_CONSTANT, value=(0.0,)
    )
    found = cv2.matchTemplate(around, marks, cv2.TM_CCOEFF_NORMED)
    _, best, _, (left, top) = cv2.minMaxLoc(found)
    if not best >= LEAST_CORRELATION:
        return None
    return np.asarray(around[top : top + marks.shape[0], left : left + marks.shape[1]], np.float32)


def _explains(through: Levels, marks: Levels) -> bool:
    """Whether the marks are the ink that shines through, everywhere at the same strength."""
    base = float(np.median(marks[through <= np.median(through)]))
    above = np.maximum(marks - base, 0)
    strength = float((above * through).sum() / max(float((through * through).sum()), 1e-6))
    if not 0 < strength <= MOST_STRENGTH:
        return False
    # the scan shifts and blurs within a cell or two
    most = strength * cv2.dilate(through, np.ones((2 * FINE + 1, 2 * FINE + 1), np.uint8))
    noise = 1.4826 * float(np.median(np.abs(marks - base)[through <= np.median(through)]))
    allowed = (1 + LEFT_SHARE) * most + max(LEFT_DEPTH, 4 * noise)
    if (above > allowed).any():
        return False
    tile = round(TILE_MM / GRID_MM * FINE)
    for top in range(0, marks.shape[0], tile // 2):
        for left in range(0, marks.shape[1], tile // 2):
            one, other = (part[top : top + tile, left : left + tile] for part in (above, through))
            if one.max() < max(TILE_DEPTH, 4 * noise):
                continue
            if other.std() <= 0 or one.std() <= 0:
                return False
            if float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < TILE_CORRELATION:
                return False
    return True
