"""Take away the scanner's lid around the sheet, and black bands along the frame."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import (
    AREA,
    HEIGHT,
    LEFT,
    LETTER_HEIGHT_MM,
    LETTER_WIDTH_MM,
    TOP,
    WIDTH,
    Analysis,
    analysis_of,
    below,
    letter_like,
    level_at,
)
from stages.page_image import MM_PER_INCH, Affine, PageImage, Pixels
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

SIDES = ("left", "top", "right", "bottom")

# Finding the edges of the sheet (IMAGING 2.3, steps 1 to 4).
EDGE_DPI = 75.0
SMOOTHING_PX = 5
PAPER_PERCENTILE = 80
LID_CONTRAST_LEVELS = 25
LID_MIN_SHARE = 0.15
LID_SPREAD_LEVELS = 15
SEARCH_SHARE = 0.35
PAPER_RUN_MM = 3.0
LINE_POINTS = 60
MIN_POINTS = 12
MIN_FOUND_SHARE = 0.3
TRIMS_PX = (4.0, 2.0, 1.2)
MIN_SUPPORT = 0.6
MAX_SLOPE = math.tan(math.radians(20.0))
MAX_APART_DEG = 0.75  # from the middle of all sides, so opposite sides may differ by twice as much

# What must not be cut (step 5).
STRANGE_LEVELS = 30
STRANGE_LETTERS = 3
STROKE_MM = 3.0
RIM_MM = 1.0
STICKING_OUT_MAX_SHARE = 0.3  # of the side's length; a line with more paper beyond it is no edge of the sheet
STICKING_OUT_MIN_SUPPORT = 0.75  # an edge that is half guessed and has paper beyond it may be a fold
WAVE_MM = 4.0  # how far a sheet that is not flat may bulge beyond its edge
LETTER_INSIDE_SHARE = 0.3
DEEP_SHARE = 0.25  # of the paper's level; print is darker than its paper by more, the rim of a shadow by less
LID_MAX_CHROMA_LEVELS = 30  # between the highest and the lowest channel

# Black bands along the frame (step 7).
BAND_DARKNESS = 0.5  # of the paper's level
BAND_MAX_DEPTH_MM = 12.0
BAND_MIN_LENGTH_MM = 10.0
NECK_MM = 2.0
BAND_MARGIN_MM = (0.7, 2.0)
BAND_MARGIN_SHARE = 0.85
BAND_PAPER = 0.75  # of the paper's level
PICTURE_REACH_MM = 25.0  # the dark pieces of one picture lie no farther apart
BLOTCH_MM = 4.0  # no stroke of a letter is so thick (`analysis.SOLID_MM`)

# Filling and cutting.
INSIDE_MM = 0.35  # the worst edge of 24 drawn scans lay so far off (95 in 100)
BAND_RIM_MM = 0.5
TOOTH_MM = 1.2  # ragged edges of copied bands reach out so far; a letter that joins a band reaches farther
TEXT_REACH_MM = 5.0  # from the middle of a letter: what sticks out of a band here may be part of another
OUTSIDE_MM = 1.0
FILL_DPI = 25.0
FILL_REACH_MM = 25.0


class Settings(StageSettings):
    """What becomes of the lid: kept and reported, cut off, or filled with the colour of the paper beside it.

    `blotches` paints, when filling, solid black along the frame however deep it reaches, a picture's too: only for a
    copy that is read and not delivered.
    """

    mode: Literal["keep", "crop", "fill"] = "fill"
    blotches: bool = False


class Declined(StrEnum):
    """Why lid that was seen was left on the page."""

    CONTENT = "content"
    UNSURE = "unsure"
    RECORDED_ONLY = "recorded-only"


class _Edge(NamedTuple):
    """A straight edge of the sheet: paper begins `slope * along + offset` pixels inward from one side of the frame."""

    slope: float
    offset: float
    support: float
    lid: float

    def depth(self, along: float) -> float:
        """How far inward the paper begins, at a place along the side."""
        return self.slope * along + self.offset


class _Look(NamedTuple):
    """The grey copy the lid is looked for on; `scale` full-size pixels make one of its pixels."""

    grey: Grey
    dpi: float
    scale: float
    paper: float

    def px(self, mm: float) -> float:
        """How many of its pixels `mm` millimetres are."""
        return mm * self.dpi / MM_PER_INCH


def crop(page: PageImage, settings: Settings) -> PageImage:
    """Fill or cut off what lies around the sheet; nothing is touched on a side where that is not sure.

    `fill` keeps the size and paints the lid, up to the edges of the sheet however it lies, with the colour of the
    paper beside it (white on a bitonal page); what sticks out beyond an edge is kept. Black bands along the frame that
    no edge of the sheet explains are painted too. `crop` cuts whole rows and columns, 1 mm outside the sheet, without
    resampling. `keep` only reports.
    Readings: `edges_mm` (how much lid there is left, top, right, bottom), `corners_mm` (x and y of the sheet's corners
    on the scan, clockwise from the top left, a side without lid ending at the frame; empty without any lid),
    `support` (share of scan lines that agree with the worst edge used), `done`, and `declined` with the reason where
    lid was left.
    """
    view = analysis_of(page)
    look = _look(view)
    smooth = np.asarray(cv2.medianBlur(look.grey, SMOOTHING_PX), dtype=np.int16)
    seen = {side: _edge(look, smooth, side) for side in SIDES}
    edges = _consistent({side: edge for side, edge in seen.items() if edge is not None})
    kept = np.zeros(look.grey.shape, np.bool_)
    clear: dict[str, _Edge] = {}
    for side, edge in edges.items():
        beyond = _sticking_out(look, side, edge)
        outside = _outside({side: edge}, shape=look.grey.shape, scale=1.0, inside=0.0)
        if beyond is not None and not _coloured(page, look, outside):
            clear[side] = edge
            kept |= beyond
    bands, sure = _bands(look, clear, kept, blotches=settings.blotches)
    if _coloured(page, look, bands):
        bands, sure = np.zeros_like(bands), False
    edges_mm = _edges_mm(look, edges, bands)
    bands = _with_rim(view, look, bands, clear)
    if clear or bands.any():
        kept |= _letters(view, look, bands | _outside(clear, shape=look.grey.shape, scale=1.0, inside=0.0))
    declined: Declined | None = None
    cuttable = {side: edge for side, edge in clear.items() if not _any_outside(side, edge, kept)}
    if len(clear) < len(edges) or (settings.mode == "crop" and len(cuttable) < len(clear)):
        declined = Declined.CONTENT
    elif not sure or len(edges) < sum(edge is not None for edge in seen.values()):
        declined = Declined.UNSURE
    found = bool(clear) or bool(bands.any())
    if found and settings.mode == "keep":
        declined = Declined.RECORDED_ONLY
    done = found and settings.mode != "keep"
    if done and settings.mode == "crop":
        page, done = _cut(page, look, cuttable)
    elif done:
        page = _filled(page, look, clear, bands, kept)
    return page.with_readings(
        "crop",
        edges_mm=edges_mm,
        corners_mm=_corners_mm(look, edges),
        support=min((edge.support for edge in clear.values()), default=0.0),
        done=done,
        declined=None if declined is None else str(declined),
    )


def _look(view: Analysis) -> _Look:
    factor = max(1, round(view.dpi / EDGE_DPI))
    rows, cols = (max(1, side // factor) for side in view.grey.shape)
    # Whole factors only; what is left over of the last row is less than a pixel of the copy.
    used = view.grey[: rows * factor, : cols * factor] if min(view.grey.shape) >= factor else view.grey
    grey = np.asarray(cv2.resize(used, (cols, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    centre = grey[rows // 5 : rows - rows // 5, cols // 5 : cols - cols // 5]
    paper = level_at(centre if centre.size else grey, PAPER_PERCENTILE)
    return _Look(grey, view.dpi / factor, view.scale * factor, paper)


def _from_side(grey: npt.NDArray[Any], side: str) -> npt.NDArray[Any]:
    """A view of the copy in which the side lies at the left: rows run along it, columns inward."""
    if side in ("top", "bottom"):
        grey = grey.T
    return grey[:, ::-1] if side in ("right", "bottom") else grey


# ---- the edges of the sheet


def _edge(look: _Look, smooth: npt.NDArray[np.int16], side: str) -> _Edge | None:
    """The edge of the sheet on one side; None when no lid is seen there or its edge is not straight."""
    band = _from_side(smooth, side)
    band = band[:, : max(1, int(band.shape[1] * SEARCH_SHARE))]
    dark = band[:, 0] < look.paper - LID_CONTRAST_LEVELS
    if dark.mean() < LID_MIN_SHARE:
        return None
    lid = float(np.median(band[dark, 0]))
    middle = (lid + look.paper) / 2
    run = max(1, round(look.px(PAPER_RUN_MM)))
    if run >= band.shape[1]:
        return None
    light = np.zeros((len(band), band.shape[1] + 1), np.int32)
    np.cumsum(np.ascontiguousarray(band > math.floor(middle)), axis=1, out=light[:, 1:])
    begins: Flags = light[:, run:] - light[:, :-run] == run  # paper here and for 3 mm on
    first = np.where(begins.any(axis=1), begins.argmax(axis=1), 0)
    along = np.flatnonzero(first > 0)
    if along.size < max(MIN_POINTS, MIN_FOUND_SHARE * len(first)):
        return None
    before = band[along, first[along] - 1].astype(np.float64)
    after = band[along, first[along]].astype(np.float64)
    crossing = np.clip((middle - before) / np.maximum(after - before, 1.0), 0.0, 1.0)
    # Counted from the side of the frame; the middle of pixel 0 lies half a pixel inward.
    line = _line(along + 0.5, first[along] - 0.5 + crossing)
    if line is None or line[2] < MIN_SUPPORT or abs(line[0]) > MAX_SLOPE:
        return None
    return _Edge(*line, lid)


def _line(
    along: npt.NDArray[np.floating[Any]], depth: npt.NDArray[np.floating[Any]]
) -> tuple[float, float, float] | None:
    """Slope, offset and support of the line most places lie on: Theil-Sen, then least squares, trimmed ever closer."""
    chosen = np.linspace(0, len(along) - 1, LINE_POINTS).astype(int)
    u, v = along[chosen], depth[chosen]
    run = u[:, None] - u[None]
    far = np.abs(run) > (u.max() - u.min()) / 5
    if not far.any():
        return None
    slope = float(np.median((v[:, None] - v[None])[far] / run[far]))
    offset = float(np.median(depth - slope * along))
    support = 0.0
    for trim in TRIMS_PX:
        near = np.abs(depth - slope * along - offset) < trim
        if near.sum() < MIN_POINTS:
            return None
        slope, offset = (float(value) for value in np.polyfit(along[near], depth[near], 1))
        support = float(near.mean())
    return slope, offset, support


def _consistent(edges: dict[str, _Edge]) -> dict[str, _Edge]:
    """The edges that may belong to one rectangular sheet: all others lie square to them or along them."""
    # A sheet turned counter-clockwise leans its left edge outward at the bottom, its right edge outward at the top.
    turns = {"left": 1.0, "right": -1.0, "top": -1.0, "bottom": 1.0}
    angles = {side: turns[side] * math.degrees(math.atan(edge.slope)) for side, edge in edges.items()}
    if not angles:
        return {}
    middle = float(np.median(list(angles.values())))
    return {side: edge for side, edge in edges.items() if abs(angles[side] - middle) <= MAX_APART_DEG}


def _sticking_out(look: _Look, side: str, edge: _Edge) -> Flags | None:
    """What sticks out of the sheet beyond its edge, a note or a wave of the paper, with a margin around it.

    None where that cannot be told: print lies on the lid, or so much paper beyond the edge that it is none.
    """
    band = _from_side(look.grey, side)
    reach = min(band.shape[1], math.ceil(max(edge.depth(0), edge.depth(len(band)), 1)))
    band = np.ascontiguousarray(band[:, :reach]).astype(np.int16)
    limit = edge.slope * (np.arange(len(band)) + 0.5) + edge.offset - look.px(RIM_MM)
    strange = (np.abs(band - edge.lid) > STRANGE_LEVELS) & (np.arange(reach)[None] < limit[:, None])
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strange.astype(np.uint8), connectivity=8)
    kept = np.zeros(look.grey.shape, np.uint8)
    if count == 1:
        return kept.view(np.bool_)
    attached = np.zeros(count, np.bool_)
    attached[labels[strange & (np.arange(reach)[None] >= limit[:, None] - 2)]] = True
    width, height = stats[:, WIDTH], stats[:, HEIGHT]
    large, small = np.maximum(width, height), np.minimum(width, height)
    large_enough = (large >= look.px(LETTER_HEIGHT_MM[0])) & (small >= look.px(LETTER_WIDTH_MM[0]))
    loose = ~attached
    loose[0] = False
    letters = loose & large_enough & (stats[:, AREA] > 1)
    if (loose & (large > look.px(STROKE_MM))).any() or letters.sum() >= STRANGE_LETTERS:
        return None
    attached &= large_enough
    if attached.any() and edge.support < STICKING_OUT_MIN_SUPPORT:
        return None
    if height[attached].sum() > STICKING_OUT_MAX_SHARE * len(band):
        return None
    # Beyond the outline two pixels are kept, and inward all up to where the fill begins.
    inward_px = math.ceil(look.px(RIM_MM + INSIDE_MM)) + 1
    square = np.ones((5, inward_px + 3), np.uint8)
    there = _from_side(kept, side)[:, : reach + inward_px]
    for number in np.flatnonzero(attached):
        left, top, wide, high = stats[number, :4]
        places = np.argwhere(labels[top : top + high, left : left + wide] == number)[:, ::-1] + (left, top)
        hull = np.zeros(there.shape, np.uint8)
        hull[places[:, 1], places[:, 0]] = 1
        if wide > look.px(WAVE_MM):
            # dark print on a note is no darker than the lid, so all within its outline is kept
            cv2.fillConvexPoly(hull, cv2.convexHull(places.astype(np.int32)), 1)
        there |= cv2.dilate(hull, square, anchor=(inward_px, 2))
    return kept.view(np.bool_)


def _coloured(page: PageImage, look: _Look, where: Flags) -> bool:
    """Whether a place on the copy is coloured on the page: a printed margin, for a lid is black or grey."""
    if not page.is_colour:
        return False
    rows, cols = np.nonzero(where)
    if not rows.size:
        return False
    rows, cols = (
        np.minimum(((places + 0.5) * look.scale).astype(int), length - 1)
        for places, length in ((rows, page.height_px), (cols, page.width_px))
    )
    colour = np.median(page.pixels[rows, cols], axis=0)
    return bool(np.ptp(colour) > LID_MAX_CHROMA_LEVELS)


# ---- black bands


def _bands(look: _Look, edges: dict[str, _Edge], kept: Flags, *, blotches: bool) -> tuple[Flags, bool]:
    """Dark parts that lie along the frame and are no deeper than a band, cut off from ink that joins them; and if sure.

    What lies outside the edges of the sheet counts as frame. A band with light letters in it is content.
    """
    dark = below(look.grey, BAND_DARKNESS * look.paper)
    for edge in edges.values():
        least, most = math.ceil(edge.lid - LID_SPREAD_LEVELS), math.floor(edge.lid + LID_SPREAD_LEVELS)
        dark |= cv2.inRange(look.grey, max(0, least), min(255, most)) > 0
    outside = _outside(edges, shape=dark.shape, scale=1.0, inside=0.0)
    frame = cv2.dilate(np.pad(outside.astype(np.uint8), 1, constant_values=1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    usable = dark & ~outside & ~kept
    bands = np.zeros(dark.shape, np.bool_)
    labels, along_frame = _along_frame(look, usable, dark | outside, frame > 0, NECK_MM)
    if not along_frame.size:
        return bands, True
    depth = cv2.distanceTransform(np.pad(1 - outside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    paper = ~below(look.grey, math.floor(BAND_PAPER * look.paper) + 1) & ~outside
    unsure = np.zeros(dark.shape, np.uint8)
    parts = []
    for label in along_frame:
        part = labels == label
        shallow = depth[part].max() <= look.px(BAND_MAX_DEPTH_MM)
        if shallow and _beside_paper(look, part, paper, outside) and not _light_letters(look, part):
            parts.append(part)
        else:
            unsure[part] = 1
    # A picture that bleeds off the page is dark in many pieces: near one that is no band, none is.
    near = unsure
    if unsure.any() and parts:
        far_px = cv2.distanceTransform(1 - unsure, cv2.DIST_L2, 3)
        near = (far_px <= look.px(PICTURE_REACH_MM)).view(np.uint8)
    for part in parts:
        if not (near[part] > 0).any():
            bands |= part
    if blotches:
        labels, along_frame = _along_frame(look, usable, dark | outside, frame > 0, BLOTCH_MM)
        bands |= np.isin(labels, along_frame)
    return bands, not unsure.any()


def _along_frame(
    look: _Look, usable: Flags, dark: Flags, frame: Flags, neck_mm: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
    """Dark parts after those thinner than the neck were opened away, and the numbers of those along the frame."""
    neck = round(look.px(neck_mm)) | 1  # odd, so that opening does not shift what it leaves
    # The dark is thought to go on beyond the frame, so that a band thinner than the neck is not opened away.
    padded = np.pad(dark.astype(np.uint8), neck, constant_values=1)
    core = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((neck, neck), np.uint8))[neck:-neck, neck:-neck]
    count, labels = cv2.connectedComponents(((core > 0) & usable).astype(np.uint8), connectivity=8)
    contact = np.bincount(labels[frame], minlength=count)
    return np.asarray(labels, dtype=np.int32), 1 + np.flatnonzero(contact[1:] >= look.px(BAND_MIN_LENGTH_MM))


def _with_rim(view: Analysis, look: _Look, bands: Flags, edges: dict[str, _Edge]) -> Flags:
    """The bands with their soft and ragged rims, but for the rim beside ink that joins them."""
    if not bands.any():
        return bands
    outside = _outside(edges, shape=bands.shape, scale=1.0, inside=0.0)
    paper = ~below(look.grey, math.floor(BAND_PAPER * look.paper) + 1) | outside
    near = cv2.dilate(bands.astype(np.uint8), np.ones((3, 3), np.uint8))
    tooth_px = math.ceil(look.px(TOOTH_MM))
    reach = cv2.dilate(near, np.ones((2 * tooth_px - 1, 2 * tooth_px - 1), np.uint8))
    count, labels = cv2.connectedComponents((~paper & (near == 0)).astype(np.uint8), connectivity=8)
    joining, ink = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    joining[labels[cv2.dilate(near, np.ones((3, 3), np.uint8)) > 0]] = True
    ink[labels[(reach == 0) | _near_text(view, look, bands)]] = True
    joining[0] = False
    wide = bands | (joining & ~ink)[labels]
    rim = 2 * max(1, math.ceil(look.px(BAND_RIM_MM))) + 1
    square = np.ones((rim, rim), np.uint8)
    wide = cv2.dilate(wide.astype(np.uint8), square) > 0
    beside_ink = cv2.dilate((joining & ink)[labels].astype(np.uint8), square) > 0
    return bands | (wide & ~beside_ink)


def _near_text(view: Analysis, look: _Look, bands: Flags) -> Flags:
    """What lies near letters that stand clear of the bands."""
    stats = view.stats[letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi)]
    rows, cols = (
        np.minimum(((stats[:, first] + stats[:, size] / 2) * view.scale / look.scale).astype(int), length - 1)
        for first, size, length in ((TOP, HEIGHT, bands.shape[0]), (LEFT, WIDTH, bands.shape[1]))
    )
    middles = np.zeros(bands.shape, np.uint8)
    middles[rows, cols] = 1
    middles[cv2.dilate(bands.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = 0
    reach = 2 * round(look.px(TEXT_REACH_MM)) + 1
    return np.asarray(cv2.dilate(middles, np.ones((reach, reach), np.uint8)) > 0)


def _beside_paper(look: _Look, part: Flags, paper: Flags, outside: Flags) -> bool:
    """Whether the part borders on clear paper nearly everywhere; beside the dark parts of a picture is more picture."""
    near, far = (
        cv2.dilate(part.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
        for reach in (max(1, round(look.px(mm))) for mm in BAND_MARGIN_MM)
    )
    margin = far & ~near & ~outside
    return bool(margin.any()) and float(paper[margin].mean()) >= BAND_MARGIN_SHARE


def _light_letters(look: _Look, part: Flags) -> bool:
    """Whether the part has holes the size of letters."""
    contours, tree = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    least, most = look.px(LETTER_HEIGHT_MM[0]), look.px(LETTER_HEIGHT_MM[1])
    holes = 0
    for contour, links in zip(contours, tree.reshape(-1, 4) if tree is not None else [], strict=True):
        _, _, width, height = cv2.boundingRect(contour)
        holes += int(links[3] >= 0 and least <= max(width, height) <= most)
    return holes >= STRANGE_LETTERS


def _letters(view: Analysis, look: _Look, where: Flags) -> Flags:
    """Letters that lie mostly in a place on the copy, with a margin: they are never painted over."""
    step = round(look.scale / view.scale)
    like = letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi)
    # one pixel in each of the copy's stands for the others, so the half is asked for with a margin
    sampled = view.labels[::step, ::step][: where.shape[0], : where.shape[1]]
    inside = np.bincount(sampled[where], minlength=len(view.stats)) * step * step
    found = like & (inside > LETTER_INSIDE_SHARE * view.stats[:, AREA])
    kept = np.zeros(where.shape, np.uint8)
    for number in np.flatnonzero(found):
        left, top, width, height = (int(value) for value in view.stats[number, :4])
        place = np.s_[top : top + height, left : left + width]
        ink = view.labels[place] == number
        if not (ink & (view.paper[place] - view.grey[place].astype(np.int16) > DEEP_SHARE * look.paper)).any():
            continue
        kept[(np.nonzero(ink)[0] + top) // step, (np.nonzero(ink)[1] + left) // step] = 1
    return np.asarray(cv2.dilate(kept, np.ones((3, 3), np.uint8)) > 0)


# ---- what is done about it


def _outside(edges: dict[str, _Edge], *, shape: tuple[int, ...], scale: float, inside: float) -> Flags:
    """What lies outside the edges, and `inside` pixels within them, on an image of `scale` times the copy's size."""
    mask = np.zeros(shape, np.uint8)
    rows, cols = shape
    for side, edge in edges.items():
        end = cols if side in ("top", "bottom") else rows
        near, far = (edge.depth(along / scale) * scale + inside for along in (0, end))
        # In the frame of the side: along it, then inward; `beyond` makes the polygon reach over the frame.
        corners = {
            "left": [(-1, 0), (near, 0), (far, end), (-1, end)],
            "right": [(cols, 0), (cols - near, 0), (cols - far, end), (cols, end)],
            "top": [(0, -1), (0, near), (end, far), (end, -1)],
            "bottom": [(0, rows), (0, rows - near), (end, rows - far), (end, rows)],
        }[side]
        cv2.fillPoly(mask, [np.round(np.array(corners)).astype(np.int32)], 1)
    return mask.view(np.bool_)


def _edges_mm(look: _Look, edges: dict[str, _Edge], bands: Flags) -> list[float]:
    """Depth of the lid at the middle of each side; where only a band was found, how deep that is."""
    depths = []
    for side in SIDES:
        band = _from_side(bands, side)
        if side in edges:
            depth = max(0.0, edges[side].depth(len(band) / 2))
        else:
            depths_px = np.cumprod(band[:, : math.ceil(look.px(BAND_MAX_DEPTH_MM)) + 1], axis=1).sum(axis=1)
            # What runs on past the greatest depth belongs to a band along the neighbouring side.
            own = depths_px[(depths_px > 0) & (depths_px < look.px(BAND_MAX_DEPTH_MM))]
            depth = float(np.median(own)) if len(own) >= look.px(BAND_MIN_LENGTH_MM) else 0.0
        depths.append(round(depth / look.px(1.0), 2))
    return depths


def _corners_mm(look: _Look, edges: dict[str, _Edge]) -> list[float]:
    """Where the sheet's edges cross, clockwise from its top left, each x then y; the frame where no edge was found."""
    if not edges:
        return []
    rows, cols = look.grey.shape
    flat = _Edge(0.0, 0.0, 0.0, 0.0)
    left, top, right, bottom = (edges.get(side, flat) for side in SIDES)
    corners: list[float] = []
    for across, down, from_right, from_bottom in (
        (left, top, False, False),
        (right, top, True, False),
        (right, bottom, True, True),
        (left, bottom, False, True),
    ):
        # the upright edge as x = a y + b, the level one as y = c x + d
        a, b = (-across.slope, cols - across.offset) if from_right else (across.slope, across.offset)
        c, d = (-down.slope, rows - down.offset) if from_bottom else (down.slope, down.offset)
        x = (a * d + b) / (1 - a * c)
        corners += [round(value / look.px(1.0), 3) for value in (x, c * x + d)]
    return corners


def _cut(page: PageImage, look: _Look, edges: dict[str, _Edge]) -> tuple[PageImage, bool]:
    """The page without the rows and columns that hold nothing but lid, and whether there were any."""
    margins = []
    for side in SIDES:
        length = _from_side(look.grey, side).shape[0]
        depth = min(edges[side].depth(0), edges[side].depth(length)) if side in edges else 0.0
        margins.append(max(0, math.floor(depth * look.scale - page.px(OUTSIDE_MM))))
    left, top, right, bottom = margins
    if not any(margins):
        return page, False
    pixels: Pixels = page.pixels[top : page.height_px - bottom, left : page.width_px - right].copy()
    return page.with_pixels(pixels, moved_by=Affine(c=left, f=top)), True


def _any_outside(side: str, edge: _Edge, kept: Flags) -> bool:
    """Whether something that is kept lies outside an edge."""
    return bool(kept.any()) and bool((kept & _outside({side: edge}, shape=kept.shape, scale=1.0, inside=0.0)).any())


def _filled(page: PageImage, look: _Look, edges: dict[str, _Edge], bands: Flags, kept: Flags) -> PageImage:
    """The page with lid and bands painted over."""
    shape = page.pixels.shape[:2]
    mask = _outside(edges, shape=shape, scale=look.scale, inside=page.px(INSIDE_MM))
    if bands.any():
        mask |= _full_size(bands, look, shape)
    if kept.any():
        mask &= ~_full_size(kept, look, shape)
    pixels: Pixels
    if page.is_bitonal:
        pixels = np.asarray(page.pixels | mask, dtype=np.bool_)
    else:
        colours = _paper_colours(page, look, mask)
        pixels = np.array(page.pixels, dtype=np.uint8)
        cv2.copyTo(colours, mask.view(np.uint8), pixels)
    return page.with_pixels(pixels)


def _full_size(flags: Flags, look: _Look, shape: tuple[int, ...]) -> Flags:
    """What is flagged on the copy, on the page."""
    size = (math.ceil(flags.shape[1] * look.scale), math.ceil(flags.shape[0] * look.scale))
    full = np.asarray(cv2.resize(flags.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)).view(np.bool_)
    # The copy leaves out what fills none of its pixels; the last row and column speak for the rest.
    missing = [(0, max(0, want - have)) for want, have in zip(shape, full.shape, strict=True)]
    return np.pad(full, missing, mode="edge")[: shape[0], : shape[1]]


def _paper_colours(page: PageImage, look: _Look, mask: Flags) -> npt.NDArray[np.uint8]:
    """The colour of the nearest paper at every place, as an image like the page's."""
    step = max(1, round(page.dpi / FILL_DPI))
    sample = np.asarray(page.pixels[step // 2 :: step, step // 2 :: step], dtype=np.uint8)
    grey = PageImage(pixels=sample, dpi=FILL_DPI).grey()
    wide = cv2.dilate(mask[step // 2 :: step, step // 2 :: step].astype(np.uint8), np.ones((3, 3), np.uint8))
    paper = (wide == 0) & (np.abs(grey.astype(np.int16) - look.paper) <= LID_CONTRAST_LEVELS)
    if not paper.any():
        paper = wide == 0
    common = np.median(sample[paper], axis=0) if paper.any() else np.full(sample.shape[2:], look.paper)
    planes = sample.reshape(*grey.shape, -1).astype(np.float32)
    reach = 2 * round(FILL_REACH_MM * FILL_DPI / MM_PER_INCH) + 1
    weight = cv2.blur(paper.astype(np.float32), (reach, reach)) + np.float32(1e-3)
    filled = [
        (cv2.blur(planes[..., i] * paper, (reach, reach)) + np.float32(1e-3) * value) / weight
        for i, value in enumerate(np.atleast_1d(common))
    ]
    small = np.clip(np.dstack(filled) if len(filled) > 1 else filled[0], 0, 255).astype(np.uint8)
    size = (page.width_px, page.height_px)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
