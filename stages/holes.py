"""Find punched holes at the edges of the page, and close them with paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import analysis_of, below
from stages.page_image import MM_PER_INCH, PageImage, Pixels
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# IMAGING 2.4, steps 1 to 3: 94 of 94 drawn holes found, none on 44 real pages without holes
SEARCH_DPI = 100.0
DARK_SHARE = 0.62
LIGHTER_LEVELS = 18
TINTED_PAPER_LEVEL = 225.0
WHITE_LEVEL = 250.0
SHADING_STEP_MM = 5.0
OPENING_MM = 2.2
DIAMETER_MM = (4.0, 9.5)
AXES_DIFFERENCE = 0.22
EDGE_MM = 28.0
OUTLINE_SPREAD = 0.085
CORE_SPREAD_LEVELS = 14.0
RING_MM = (0.5, 1.2)
RING_PAPER_TOLERANCE = 0.25
RING_PAPER_SHARE = 0.82
PAIR_DISTANCE_MM = 15.0
PAIR_TURN = 0.26  # sine of 15 degrees
PAIR_RADIUS_MM = 0.7
PAIR_LEVELS = 25.0
SINGLE_EDGE_MM = 18.0
SINGLE_LEVELS = 10.0

# The outline once more, at the analysis' own resolution: a punch cuts a circle, and nothing is drawn around it
ROUND_ANGLES = 96
ROUND_STEP_MM = 0.05
ROUND_REACH = (0.6, 1.35)  # of the radius
ROUND_SMOOTHING = (7, 3)  # steps outward and angles
ROUND_HARMONICS = slice(3, 9)  # three to eight corners; the second is a scan drawn out one way
CORNERS_SHARE = 0.025  # of the radius; hexagons have 0.05, octagons 0.03; of 837 drawn holes at most 6 had more
HALO_MM = (0.4, 4.0)
HALO_DARK_SHARE = 0.85  # of the paper's level
HALO_AROUND_SHARE = 0.6

# What lies behind the sheet, seen along the rim of the image
RIM_MM = 1.0
LID_SHARE = 0.05
LID_LEVELS = 25.0

FILL_MM = 0.4
FILL_INK_MM = 0.7
WHITE = 255


class Settings(StageSettings):
    """Settings of `holes`: with `fill` off they are only found and reported, as archive copies need it."""

    fill: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hole:
    """A punched hole: centre and radius in mm from the top left, and the brightness seen through it."""

    x_mm: float
    y_mm: float
    radius_mm: float
    level: float
    edge_mm: float


def holes(page: PageImage, settings: Settings) -> PageImage:
    """Find round holes of one colour near the edges, and fill those that are sure with the paper around them.

    Size and dpi stay. A spot with corners, or with a circle drawn around it, is no hole. A hole is sure when another
    of its size and colour lies in line with it along an edge, or when it shows the very colour of the lid seen beside
    the sheet; a single round spot is reported and left.

    Readings: `found`, `places_mm` (x and y of each, from the top left, one after the other), `filled`.

    Source: hole sizes and distances of ISO 838 and of US practice (two and three holes).
    """
    analysis = analysis_of(page)
    paper = analysis.usual_paper
    spots = _found(analysis.grey, analysis.dpi, paper, _shading(analysis.paper, analysis.dpi))
    found = [hole for spot in spots if (hole := _as_punched(analysis.grey, analysis.dpi, spot)) is not None]
    lid = _lid_level(analysis.grey, paper, analysis.px(RIM_MM))
    if lid is not None:
        found = [hole for hole in found if abs(hole.level - lid) <= LID_LEVELS]
    sure = [hole for hole in found if _has_partner(hole, found) or _shows_lid(hole, lid)]
    filled = len(sure) if settings.fill and not page.is_dpi_guessed else 0
    if filled:
        page = page.with_pixels(_filled(page, sure))
    places = [round(value, 1) for hole in found for value in (hole.x_mm, hole.y_mm)]
    return page.with_readings("holes", found=len(found), places_mm=places, filled=filled)


def _shading(paper: Grey, dpi: float) -> Grey:
    """Brightness of the paper over a few centimetres, small: wide enough that no white hole is taken for paper."""
    step = max(1, round(SHADING_STEP_MM * dpi / MM_PER_INCH))
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(paper[::step, ::step]), 9), np.uint8)


def _found(grey: Grey, dpi: float, paper: float, shading: Grey) -> list[_Hole]:
    """Every spot that looks like a hole, dark ones and, on tinted paper, light ones."""
    if dpi > SEARCH_DPI:
        size = (max(1, round(grey.shape[1] * SEARCH_DPI / dpi)), max(1, round(grey.shape[0] * SEARCH_DPI / dpi)))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        dpi = SEARCH_DPI
    classes = [below(grey, DARK_SHARE * paper)]
    if paper < TINTED_PAPER_LEVEL:
        # beside a white lid the shading is the lid's, so it only counts where it is darker
        level = np.asarray(cv2.resize(shading, grey.shape[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        most = math.floor(min(paper + LIGHTER_LEVELS, WHITE_LEVEL))
        classes.append(grey > np.minimum(level, most - LIGHTER_LEVELS) + np.uint8(LIGHTER_LEVELS))
    side = max(3, round(OPENING_MM * dpi / MM_PER_INCH) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    found = []
    for spots in classes:
        opened = cv2.morphologyEx(spots.view(np.uint8), cv2.MORPH_OPEN, disc)
        # outlines are found ten times as fast as boxes and centres, and on most pages none has the size of a hole
        outlines, _ = cv2.findContours(opened, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        if not any(_has_hole_size(cv2.boundingRect(outline), dpi) for outline in outlines):
            continue
        count, labels, stats, centres = cv2.connectedComponentsWithStatsWithAlgorithm(
            opened, 8, cv2.CV_32S, cv2.CCL_GRANA
        )
        for number in range(1, count):
            hole = _measured(
                grey, dpi, paper, np.asarray(labels, dtype=np.int32), number, stats[number], centres[number]
            )
            if hole is not None:
                found.append(hole)
    return found


def _has_hole_size(box: Sequence[int], dpi: float) -> bool:
    """Whether a spot may be a hole by its box: left, top, width, height."""
    mm = dpi / MM_PER_INCH
    return DIAMETER_MM[0] * mm <= min(box[2:4]) and max(box[2:4]) <= DIAMETER_MM[1] * mm


def _measured(
    grey: Grey,
    dpi: float,
    paper: float,
    labels: npt.NDArray[np.int32],
    number: int,
    stats: npt.NDArray[np.int32],
    centre: npt.NDArray[np.float64],
) -> _Hole | None:
    """The spot as a hole; None unless size, place, outline, colour and surroundings are those of one."""
    mm = dpi / MM_PER_INCH
    left, top, width, height, _ = (int(v) for v in stats)
    if not _has_hole_size((left, top, width, height), dpi):
        return None
    if abs(width - height) > AXES_DIFFERENCE * max(width, height):
        return None
    x, y = float(centre[0]), float(centre[1])
    edge_mm = min(x, y, grey.shape[1] - x, grey.shape[0] - y) / mm
    if edge_mm > EDGE_MM:
        return None
    spot = (labels[top : top + height, left : left + width] == number).view(np.uint8)
    outlines, _ = cv2.findContours(spot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len).reshape(-1, 2)
    radii = np.hypot(outline[:, 0] - (x - left), outline[:, 1] - (y - top))
    if float(radii.std()) > OUTLINE_SPREAD * float(radii.mean()):
        return None
    core = grey[top + height // 4 : top + height - height // 4, left + width // 4 : left + width - width // 4]
    if float(core.std()) > CORE_SPREAD_LEVELS:
        return None
    radius = (width + height) / 4
    around = _ring(grey, x, y, radius + RING_MM[0] * mm, radius + RING_MM[1] * mm).astype(np.float32)
    if not around.size or float(np.mean(np.abs(around - paper) <= RING_PAPER_TOLERANCE * paper)) < RING_PAPER_SHARE:
        return None
    return _Hole(
        x_mm=(x + 0.5) / mm,
        y_mm=(y + 0.5) / mm,
        radius_mm=radius / mm,
        level=float(core.mean()),
        edge_mm=edge_mm,
    )


def _as_punched(grey: Grey, dpi: float, spot: _Hole) -> _Hole | None:
    """The spot with its centre and radius more exactly; None if it has corners or something is drawn around it."""
    mm = dpi / MM_PER_INCH
    angles = np.linspace(0, 2 * np.pi, ROUND_ANGLES, endpoint=False, dtype=np.float32)
    inner, outer = ROUND_REACH[0] * spot.radius_mm, spot.radius_mm + HALO_MM[1]
    radii_mm = np.arange(inner, outer, ROUND_STEP_MM, dtype=np.float32)
    across = spot.x_mm * mm - 0.5 + np.cos(angles)[:, None] * radii_mm * mm
    down = spot.y_mm * mm - 0.5 + np.sin(angles)[:, None] * radii_mm * mm
    rays = cv2.remap(
        grey,
        across.astype(np.float32),
        down.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    rays = cv2.blur(rays, ROUND_SMOOTHING)  # of a white hole in tinted paper noise would be the outline
    ring = (radii_mm >= spot.radius_mm + RING_MM[0]) & (radii_mm <= spot.radius_mm + RING_MM[1])
    paper = float(np.median(rays[:, ring]))
    halo = rays[:, radii_mm > spot.radius_mm + HALO_MM[0]] < HALO_DARK_SHARE * paper
    if halo.mean(axis=0).max(initial=0.0) > HALO_AROUND_SHARE:
        return None
    middle = (spot.level + paper) / 2
    beyond = rays > middle if spot.level < paper else rays < middle
    beyond[:, radii_mm > ROUND_REACH[1] * spot.radius_mm] = True
    outline_mm = radii_mm[beyond.argmax(axis=1)]
    waves = np.fft.rfft(outline_mm) / ROUND_ANGLES
    radius_mm = float(waves[0].real)
    if 2 * float(np.abs(waves[ROUND_HARMONICS]).max()) > CORNERS_SHARE * radius_mm:
        return None
    # the first wave says how far the middle lies from where it was thought to be
    return replace(
        spot,
        x_mm=spot.x_mm + 2 * float(waves[1].real),
        y_mm=spot.y_mm - 2 * float(waves[1].imag),
        radius_mm=radius_mm,
    )


def _ring(grey: Grey, x: float, y: float, inner: float, outer: float) -> Grey:
    """The pixels between two circles, as far as they lie on the page."""
    rows = np.arange(max(0, int(y - outer)), min(grey.shape[0], int(y + outer) + 2))
    cols = np.arange(max(0, int(x - outer)), min(grey.shape[1], int(x + outer) + 2))
    distance = np.hypot(rows[:, None] - y, cols[None] - x)
    return grey[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1][(distance >= inner) & (distance <= outer)]


def _lid_level(grey: Grey, paper: float, rim_px: float) -> float | None:
    """How bright the dark lid beside the sheet is; None where none is seen."""
    rim = max(1, round(rim_px))
    sides = (grey[:rim].ravel(), grey[-rim:].ravel(), grey[:, :rim].ravel(), grey[:, -rim:].ravel())
    pixels = np.concatenate(sides)
    dark = pixels[below(pixels, DARK_SHARE * paper)]
    return float(np.median(dark)) if dark.size > LID_SHARE * pixels.size else None


def _has_partner(hole: _Hole, found: list[_Hole]) -> bool:
    """Whether another hole like it lies in line with it along an edge."""
    for other in found:
        across, down = abs(hole.x_mm - other.x_mm), abs(hole.y_mm - other.y_mm)
        distance = float(np.hypot(across, down))
        if (
            distance >= PAIR_DISTANCE_MM
            and min(across, down) <= PAIR_TURN * distance
            and abs(hole.radius_mm - other.radius_mm) <= PAIR_RADIUS_MM
            and abs(hole.level - other.level) <= PAIR_LEVELS
        ):
            return True
    return False


def _shows_lid(hole: _Hole, lid: float | None) -> bool:
    return lid is not None and hole.edge_mm <= SINGLE_EDGE_MM and abs(hole.level - lid) <= SINGLE_LEVELS


def _filled(page: PageImage, sure: list[_Hole]) -> Pixels:
    """A copy of the page with these holes covered."""
    pixels = page.pixels.copy()
    for hole in sure:
        outer = page.px(hole.radius_mm + RING_MM[1])
        x, y = page.px(hole.x_mm) - 0.5, page.px(hole.y_mm) - 0.5
        rows = slice(max(0, int(y - outer)), min(page.height_px, int(y + outer) + 2))
        cols = slice(max(0, int(x - outer)), min(page.width_px, int(x + outer) + 2))
        down, across = np.mgrid[rows, cols]
        distance_mm = np.hypot(down - y, across - x) * MM_PER_INCH / page.dpi
        if page.is_bitonal:
            pixels[rows, cols] |= distance_mm <= hole.radius_mm + FILL_MM
        else:
            patch = pixels[rows, cols]
            patch[...] = _covered(patch.astype(np.float32), down, across, distance_mm - hole.radius_mm, hole.level)
    return pixels


def _covered(
    patch: npt.NDArray[np.float32],
    down: npt.NDArray[np.intp],
    across: npt.NDArray[np.intp],
    outside_mm: npt.NDArray[np.float64],
    hole_level: float,
) -> npt.NDArray[np.float32]:
    """The patch with its hole covered by the plane of the paper around it, grain and all.

    Where ink comes close to the hole, only pixels of the hole's own brightness are covered.
    """
    level = patch if patch.ndim == 2 else patch.mean(axis=2)
    ring = (outside_mm >= RING_MM[0]) & (outside_mm <= RING_MM[1])
    usual = float(np.median(level[ring]))
    is_paper = np.abs(level - usual) <= RING_PAPER_TOLERANCE * usual
    paper = ring & is_paper
    places = np.stack([down, across, np.ones_like(down)], axis=-1).astype(np.float64)
    plane, *_ = np.linalg.lstsq(places[paper], patch[paper].astype(np.float64), rcond=None)
    grain = patch[paper] - places[paper] @ plane
    hidden = outside_mm <= FILL_MM
    if not is_paper[(outside_mm > FILL_MM) & (outside_mm <= FILL_INK_MM)].all():
        hidden &= (outside_mm < 0) | (np.abs(level - hole_level) < np.abs(level - usual))
    # a fixed seed: the same scan must give the same bytes
    drawn = np.random.default_rng(0).integers(len(grain), size=int(np.count_nonzero(hidden)))
    covered = patch.copy()
    covered[hidden] = np.clip(np.rint(places[hidden] @ plane + grain[drawn]), 0, WHITE)
    return covered
