"""Take off a side of a sheet what shows through it of the print on the other side, so that the rest can be judged.

Pages are prepared one by one, each in a process of its own, so a page leaves a map of its ink in its readings: whoever
has the readings of both sides knows which sheets are worth a look at the images.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import Analysis, analysis_of
from stages.page_image import Affine, PageImage, Reading

Grey = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.float32]
Places = npt.NDArray[np.float64]

# The map: mean depth of the ink on a grid, in steps of the page's deepest place; 1 to 3 KB for a full page of print.
GRID_MM = 2.0
STEPS = 15
MOST_CELLS = 40_000  # a drawing of 400 x 400 mm; larger sheets leave no map, and nothing is proved of them
HEADER = struct.Struct("<HHf")  # rows, columns, depth of one step

# By the maps, on a grid of 1 mm. IMAGING 2.8, step 8
FINE = 2
REGISTER_MM = 3.0
SIZES_DIFFER_MM = 6.0  # the sides were cropped apart
LEAST_MAP_CORRELATION = 0.4

# The other side is laid on this one by cells of 1 mm, turned by so much each way (levelled apart, the sides of a sheet
# lie askew to each other), then by the shifts of tiles, at half the size and at the full one.
CELL_MM, TURNS_DEG = 1.0, np.arange(-2.0, 2.01, 0.5)
COARSE_REACH_MM = 8.0
LEAST_CORRELATION = 0.5  # drawn sheets, however faint, had 0.73 or more
TILE_MM, LEAST_TILES = 20.0, 6
LEAST_TILE_CORRELATION = 0.25
FITTING = ((2, 2.0), (1, 0.5))  # reduced by, reach in mm
ROUNDS = 4
STRAY_MM = 0.15  # a tile that lies farther off than the others has found something else
INKED_SHARE, INKED_TILE = 0.15, 0.01  # of the deepest ink; of a tile
EVEN_MM = 6.0  # shading and tints are broader than letters

# How ink comes through: scattered by the paper, and faint. Drawn: 0.20 or 0.25 mm, share 0.04 to 0.25. What is as sharp
# or as dark as on its own side was printed on both.
SCATTER_MM = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
LEAST_SCATTER_MM = 0.1
MOST_STRENGTH = 0.5
# Paper is uneven, and a sheet runs through a scanner unevenly: what lies so near is the likeness, and may be so much
# deeper or paler. At 0.3 a number hardly paler than its paper was lost between lines that showed through.
OFF_MM, TOLERANCE, SMOOTH_PX = 0.2, 0.2, 1.0
BARE = 1.0  # levels of ink: less is paper


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


def unpacked(text: Reading) -> Levels | None:
    """The depth of the ink on the grid of an `ink_map`; None where a page left none."""
    if not isinstance(text, str) or not text:
        return None
    packed = zlib.decompress(base64.b85decode(text))
    rows, cols, step = HEADER.unpack_from(packed)
    cells = np.frombuffer(packed, np.uint8, offset=HEADER.size).reshape(rows, cols)
    return np.asarray(cells * np.float32(step), np.float32)


def may_show_through(page: Mapping[str, Reading], other_side: Mapping[str, Reading]) -> bool:
    """Whether the ink of one side may be that of the other side, mirrored; arguments are the readings of both.

    True proves nothing: it says that the images are worth a look.
    """
    marks, ink = (unpacked(side.get("blank.ink_map")) for side in (page, other_side))
    if marks is None or ink is None:
        return False
    fine = _enlarged(marks)
    return any(
        _map_correlation(fine, _enlarged(np.rot90(ink[:, ::-1], turns))) >= LEAST_MAP_CORRELATION for turns in range(4)
    )


def without_other_side(page: PageImage, other_side: PageImage) -> PageImage | None:
    """The page, at the size that is analysed, less what shows through of the other side; None if that cannot be told.

    The other side is laid on the page mirrored, however either was turned. Its ink is taken off scattered and at one
    strength for the page, those that explain most of what is seen, with a tolerance of a fifth of it. So a mark that
    the other side does not have stays as it is, and one on top of what shows through loses that fifth at most. None
    also where the likeness would be as dark or as sharp as on its own side: it was printed on both.
    """
    if page.is_bitonal or other_side.is_bitonal:  # nothing is faint there
        return None
    maps = analysis_of(page)
    marks, mm = _ink(maps), maps.px(1.0)
    through = _laid(marks, _ink_at(analysis_of(other_side), maps.dpi), mm)
    fit = None if through is None else _fit(marks, through, mm)
    if fit is None:
        return None
    rows, cols = maps.grey.shape
    used = page.pixels[: round(rows * maps.scale), : round(cols * maps.scale)]
    pixels = cv2.resize(used.view(np.uint8), (cols, rows), interpolation=cv2.INTER_AREA)
    lighter = _explained(marks, fit, mm)
    pixels = np.clip(pixels + (lighter if pixels.ndim == 2 else lighter[..., None]), 0, 255)
    return PageImage(pixels=np.rint(pixels).astype(np.uint8), dpi=maps.dpi, readings=page.readings)


def _enlarged(cells: Levels) -> Levels:
    size = (cells.shape[1] * FINE, cells.shape[0] * FINE)
    return np.asarray(cv2.resize(np.ascontiguousarray(cells), size, interpolation=cv2.INTER_LINEAR), np.float32)


def _map_correlation(marks: Levels, through: Levels) -> float:
    """How well two maps agree where they agree best, within a few millimetres; 0 for sides of other sizes."""
    if _sizes_differ(marks, through, SIZES_DIFFER_MM / GRID_MM * FINE):
        return 0.0
    best, _ = _best_shift(marks, through, round(REGISTER_MM / GRID_MM * FINE))
    return best


def _sizes_differ(one: Levels, other: Levels, most: float) -> bool:
    return any(abs(a - b) > most for a, b in zip(one.shape, other.shape, strict=True))


def _best_shift(marks: Levels, through: Levels, reach: int) -> tuple[float, tuple[int, int]]:
    """How well the other side's ink agrees with the marks at the best shift, and that shift: to the right, down."""
    spare = [max(0, a - b) for a, b in zip(marks.shape, through.shape, strict=True)]
    around = cv2.copyMakeBorder(
        through, reach, reach + spare[0], reach, reach + spare[1], cv2.BORDER_CONSTANT, value=(0.0,)
    )
    _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(around, marks, cv2.TM_CCOEFF_NORMED))
    return best, (x - reach, y - reach)


def _ink(maps: Analysis) -> Levels:
    """How much darker than the paper each place is."""
    return np.asarray(cv2.subtract(maps.paper, maps.grey), np.float32)


def _ink_at(maps: Analysis, dpi: float) -> Levels:
    ink, scale = _ink(maps), dpi / maps.dpi
    return ink if scale == 1.0 else np.asarray(cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _laid(marks: Levels, ink: Levels, mm: float) -> Levels | None:
    """The other side's ink where it lies on this side; None where it is not to be found there."""
    best, laid_by, mirrored = LEAST_CORRELATION, None, ink
    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(ink[:, ::-1], turns))
        if not _sizes_differ(marks, turned, SIZES_DIFFER_MM * mm):
            correlation, places = _coarse_places(marks, turned, mm)
            if correlation > best:
                best, laid_by, mirrored = correlation, places, turned
    for reduced_by, reach_mm in FITTING:
        if laid_by is not None:
            laid_by = _finer_places(marks, mirrored, laid_by, mm, reduced_by=reduced_by, reach_mm=reach_mm)
    return None if laid_by is None else _taken_over(mirrored, laid_by, marks.shape)


def _coarse_places(marks: Levels, ink: Levels, mm: float) -> tuple[float, Affine]:
    """How well the sides agree at the best turn and shift, and the map of places on the one to the other."""
    side = max(1, round(CELL_MM * mm))
    cells, there = (_in_cells(each, side) for each in (marks, ink))
    reach = round(COARSE_REACH_MM * mm / side)
    best, places = -1.0, Affine()
    for turn_deg in TURNS_DEG:
        turn = _turn(turn_deg, there.shape)
        correlation, (right, down) = _best_shift(cells, _taken_over(there, turn, there.shape), reach)
        if correlation > best:
            best, places = correlation, turn.after(Affine(c=right, f=down))
    return best, Affine(a=side, e=side).after(places).after(Affine(a=1 / side, e=1 / side))


def _in_cells(levels: Levels, side: int) -> Levels:
    """The mean of each cell of so many pixels; the rest that fills none is left over."""
    rows, cols = (length // side for length in levels.shape)
    return np.asarray(cv2.resize(levels[: rows * side, : cols * side], (cols, rows), interpolation=cv2.INTER_AREA))


def _turn(turn_deg: float, shape: tuple[int, ...]) -> Affine:
    """A turn about the middle of an image."""
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    y, x = (length / 2 for length in shape)
    return Affine(cos, sin, x, -sin, cos, y).after(Affine(c=-x, f=-y))


def _taken_over(levels: Levels, places: Affine, shape: tuple[int, ...]) -> Levels:
    # OpenCV counts places from the middle of the first pixel, the house from its corner
    there = Affine(c=-0.5, f=-0.5).after(places).after(Affine(c=0.5, f=0.5))
    taken = cv2.warpAffine(
        levels, np.array([there[:3], there[3:]]), shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(taken, np.float32)


def _finer_places(
    marks: Levels, ink: Levels, places: Affine, mm: float, *, reduced_by: int, reach_mm: float
) -> Affine | None:
    """The map bettered by where the tiles of one side are found on the other; None where too few are."""
    through = cv2.GaussianBlur(_taken_over(ink, places, marks.shape), (0, 0), SCATTER_MM[-1] / 2 * mm)
    mm /= reduced_by
    through, marks = (_even(_in_cells(each, reduced_by), mm) for each in (np.asarray(through, np.float32), marks))
    tile, reach = round(TILE_MM * mm), max(2, round(reach_mm * mm))
    inked = through > INKED_SHARE * float(through.max())
    at, found = [], []
    for top in range(0, marks.shape[0] - tile // 2, tile):
        for left in range(0, marks.shape[1] - tile // 2, tile):
            if inked[top : top + tile, left : left + tile].mean() < INKED_TILE:
                continue
            here = marks[top : top + tile, left : left + tile]
            rows, cols = here.shape
            upper, before = max(0, top - reach), max(0, left - reach)
            around = through[upper : top + rows + reach, before : left + cols + reach]
            shift = _exact_shift(np.asarray(cv2.matchTemplate(around, here, cv2.TM_CCOEFF_NORMED), np.float32))
            if shift is not None:
                x, y = left + cols / 2, top + rows / 2
                at.append((x, y, 1.0))
                found.append((x + before - left + shift[0], y + upper - top + shift[1]))
    finer = _flat_map(np.array(at), np.array(found), STRAY_MM * mm) if len(at) >= LEAST_TILES else None
    if finer is None:
        return None
    up, down = Affine(a=reduced_by, e=reduced_by), Affine(a=1 / reduced_by, e=1 / reduced_by)
    return places.after(up).after(finer).after(down)


def _even(levels: Levels, mm: float) -> Levels:
    """What differs from its surroundings."""
    side = round(EVEN_MM * mm) | 1
    return np.asarray(levels - cv2.blur(levels, (side, side)), np.float32)


def _exact_shift(likeness: Levels) -> tuple[float, float] | None:
    """Where the likeness is greatest, to parts of a pixel; None where it is small, or greatest at the rim."""
    _, best, _, (x, y) = cv2.minMaxLoc(likeness)
    rows, cols = likeness.shape
    if best < LEAST_TILE_CORRELATION or not (0 < x < cols - 1 and 0 < y < rows - 1):
        return None
    return x + _vertex(likeness[y, x - 1 : x + 2]), y + _vertex(likeness[y - 1 : y + 2, x])


def _vertex(three: Levels) -> float:
    """Where between -1 and 1 the parabola through three values is greatest, whose middle one is the greatest."""
    before, middle, after = (float(value) for value in three)
    bend = before - 2 * middle + after
    return (before - after) / (2 * bend) if bend else 0.0


def _flat_map(at: Places, found: Places, stray: float) -> Affine | None:
    """The flat map that takes most places `at` (x, y, 1) to where they were found; None where too few agree."""
    kept = np.ones(len(at), np.bool_)
    for _ in range(ROUNDS):
        solved = np.linalg.lstsq(at[kept], found[kept], rcond=None)[0]
        off = np.hypot(*(at @ solved - found).T)
        kept = off <= max(stray, 2 * float(np.median(off[kept])))
        if np.count_nonzero(kept) < LEAST_TILES:
            return None
    (a, d), (b, e), (c, f) = solved.tolist()
    return Affine(a, b, c, d, e, f)


def _explained(marks: Levels, fit: _Fit, mm: float) -> Levels:
    """What of the marks is the other side's ink: as deep as it is, by its share and a tolerance."""
    ink = fit.strength * fit.through
    off_px = 2 * round(OFF_MM * mm) + 1
    around = np.ones((off_px, off_px), np.uint8)
    least, most = (1 - TOLERANCE) * cv2.erode(ink, around), (1 + TOLERANCE) * cv2.dilate(ink, around)
    paper = marks[most < BARE]
    grain = np.median(paper) if paper.size else np.float32(0)
    smooth = cv2.GaussianBlur(marks - grain, (0, 0), SMOOTH_PX)
    return np.asarray(np.clip(smooth, least, most), np.float32)


class _Fit(NamedTuple):
    """The other side's ink as the paper scatters it, and which share of it is seen."""

    through: Levels
    strength: float


def _fit(marks: Levels, laid: Levels, mm: float) -> _Fit | None:
    """The scatter and the strength that explain most of the marks; None for what is no ink seen through paper."""
    near = round(2 * SCATTER_MM[-1] * mm) | 1
    inked = cv2.dilate((laid > INKED_SHARE * float(laid.max())).view(np.uint8), np.ones((near, near), np.uint8)) > 0
    seen = _even(marks, mm)[inked]
    best, scatter_mm, fit = 0.0, 0.0, None
    for each_mm in SCATTER_MM:
        through = np.asarray(cv2.GaussianBlur(laid, (0, 0), each_mm * mm) if each_mm else laid, np.float32)
        explained = _even(through, mm)[inked]
        power = float(explained @ explained)
        likeness = float(seen @ explained) / math.sqrt(power) if power else 0.0
        if likeness > best:
            best, scatter_mm, fit = likeness, each_mm, _Fit(through, likeness / math.sqrt(power))
    if fit is None or scatter_mm < LEAST_SCATTER_MM or fit.strength > MOST_STRENGTH:
        return None
    return fit
