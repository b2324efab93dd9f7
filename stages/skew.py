"""How far the lines on a page are turned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import (
    AREA,
    HEIGHT,
    LEFT,
    TOP,
    WIDTH,
    Analysis,
    InkParts,
    analysis_of,
    ink_parts,
    letter_like,
    level_at,
)
from stages.lid import PAPER_PERCENTILE, lid_of
from stages.page_image import MM_PER_INCH, PageImage

Mask = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# What may vote (IMAGING 2.1, steps 1 and 2).
LETTERS_TO_VOTE = 25
DARK_PAGE_LEVEL = 110
POLARITY_GAIN = 1.3
FEW_LETTERS = 200  # a tenth of a typed page
SMALLER_LETTERS = 2.0  # what the stated resolution may be too high by
MORE_SMALL_LETTERS = 3  # as many more of them, and they are the letters; a dusty page has twice as many specks
PICTURE_MM = 12.0
PICTURE_FILL = 0.25
RULE_MM = 10.0
SPREAD_PERCENTILES = (5, 95)
LINES_SPREAD_MM = 5.0  # two lines of type

# A block of the page is picture when most of it is neither ink nor paper: no letter of 31 real pages lay in one.
PICTURE_BLOCK_MM = 5.0
PICTURE_TONES = (0.3, 0.8)  # of the paper's level
PICTURE_SHARE = 0.5
# Where so much of the image has one middle tone, that is the paper, and what is brighter lies around the sheet.
TINTED_SHARE = 0.2
TINTED_SPREAD_LEVELS = 12

# At the edge of a sheet that lies on another ground the level of the paper leaps: pieces of the edge are no letters.
EDGE_REACH_MM = 5.0
EDGE_LEVELS = 16  # across both reaches; shading by a third of the light across a sheet makes 4

LID_SHARE = 0.5  # a component with more of itself in the lid does not vote

# The fan of rays over the Fourier magnitude (step 3).
FAN_DPI = 100.0
FAN_SIZE = 1024  # letter paper at 93 dpi
FAN_RANGE_DEG = 45.0
FAN_STEP_DEG = 0.1
FAN_RADII = (1 / 12, 0.47)  # of FAN_SIZE: without the mean and the layout of the page
ACROSS_WEIGHT_TEXT = 0.35
ACROSS_WEIGHT_RULES = 0.5
PEAK_WIDTH_DEG = 1.5

# How text and rules are brought together (step 4).
AGREE_DEG = 0.35
ALONE_PROMINENCE = 1.4
RULES_LEAD = 2.0
TEXT_ALONE_TRUST = 0.7
RULES_ALONE_TRUST = 0.5
CLEAR_PROMINENCE = 3.0  # letters this clear need no second opinion: same errors on 117 real pages, 12 ms less

# The gate (step 7).
MIN_CONFIDENCE = 1.5
MAX_STANDARD_ERROR_DEG = 0.25
LARGE_ANGLE_DEG = 10.0
# Letters strewn at random and dust reach a confidence of 1.3, pen strokes at random 1.8 but never square ones.
LARGE_ANGLE_CONFIDENCE = 2.5
LARGE_ANGLE_SQUARE_CONFIDENCE = 2.0
LARGE_ANGLE_SQUARE_CONTRAST = 1.25
# How much sharper the edges fall together at the angle than far from it: dust, texture and strewn letters reach 1.07,
# a microfilmed newspaper has 1.12, running text 1.4 to 2.2.
MIN_CONTRAST = 1.08
SEVERAL_SKEWS_DEG = 0.5
# A turn of fewer standard errors than this makes the page worse about as often as one time in four. Of 46 real pages as
# they are two are left for it: one that was turned from 0.01 to 0.12 degrees, and one that stays at 0.2.
LEAST_STANDARD_ERRORS = 1.5

# Letters that stand in lines: how many pairs of near letters lie at the angle, against how many lie at any other. Cards
# of five short lines have 14 deviations and 4 times as many; 255 pages without text that none of this was chosen on
# were left or turned rightly.
PAIR_REACH_HEIGHTS = (3.0, 12.0)  # further apart than neighbours, whose heights differ; nearer than the line is long
PAIR_SPREAD_DEG = 2.0
PAIR_STEP_DEG = 0.5
PAIR_LETTERS = 600  # one band of the page holds them; more take longer and say the same
PAIR_LEAST_DEVIATIONS = 10.0
PAIR_LEAST_TIMES = 2.2
PAIR_LEAST_OF_BEST = 0.75
IN_LINES_TRUST = LARGE_ANGLE_CONFIDENCE

# The fine search on edge points (steps 5 and 6).
MAX_EDGE_POINTS = 50_000  # of each kind
MIN_EDGE_POINTS = 900  # a page number has 300, one line of 60 letters 1,000
COARSE_SEARCH_DEG = (1.0, 0.1)  # range either way, step
FAR_DEG = (-7.0, -4.5, -2.5, 2.5, 4.5, 7.0)  # where no line of the page falls together
FINE_SEARCH_DEG = (0.08, 0.02)
# Edges lie on whole rows, which makes 0 degrees look too good; spread over 1.5 rows they no longer do
# (117 turns of real pages: worst error from 0.118 to 0.097 degrees, mean from 0.011 to 0.009).
LATTICE_SPREAD_PX = 1.5
MAX_DRIFT_DEG = 0.7
DRIFT_TRUST = 0.5
BANDS, SIDES = 3, 2
SHARP_PART = 1.15  # best over middling sharpness of a part that has lines of its own; 44 real pages: text from 1.17 on
UNEVEN_DEG = 0.3  # bands further apart than this: the middle one is steadier than the whole (curled book pages)


class Declined(StrEnum):
    """Why a page was left as it is."""

    NOTHING_TO_ALIGN = "nothing-to-align"
    UNSURE = "unsure"
    SEVERAL_SKEWS = "several-skews"
    LEVEL = "level"
    RECORDED_ONLY = "recorded-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """How far the content of a page is turned counter-clockwise, and how sure that is.

    `declined` says why the page should not be turned by it; None when it should.
    """

    angle_deg: float
    confidence: float
    standard_error_deg: float
    declined: Declined | None


def skew_of(page: PageImage) -> Skew:
    """How far the lines on the page are turned counter-clockwise, within 45 degrees either way.

    Letters and rules vote apart, by the ridge their lines make in the Fourier magnitude; what they agree on is refined
    on the upper and lower edges of the ink, and the parts of the page must agree on it.

    Source: the ridge after jdeskew's adaptive radial projection, arXiv 2603.05942; the sharpness of the edges after
    Postl 1986 (squared sums along lines).
    """
    view = analysis_of(page)
    coarse = _coarse(_voters(view), view.dpi)
    edges = None if coarse is None else _edges(coarse)
    if coarse is None or edges is None:
        return Skew(angle_deg=0.0, confidence=0.0, standard_error_deg=0.0, declined=Declined.NOTHING_TO_ALIGN)
    return _judged(coarse, edges)


# ---- who votes


class _Voters(NamedTuple):
    """Masks (0 or 255) of letters, None if they are few, and of all ink without pictures; middles of their parts.

    `letter_height` is that of most letters, in pixels.
    """

    letters: Mask | None
    ink: Mask
    letter_places: npt.NDArray[np.float64]
    letter_height: float
    rule_places: npt.NDArray[np.float64]


def _voters(view: Analysis) -> _Voters:
    """What on the page may say how it is turned.

    A page of light letters on a dark ground is looked at inverted, if that shows clearly more letters.
    """
    grey, parts = view.grey, InkParts(view.ink, view.labels, view.stats)
    chosen = letter_like(parts.stats, shape=grey.shape, dpi=view.dpi)
    count = int(chosen.sum())
    if count < LETTERS_TO_VOTE or level_at(grey[::4, ::4], 50) < DARK_PAGE_LEVEL:
        inverted_grey = np.asarray(cv2.bitwise_not(grey), dtype=np.uint8)
        inverted = ink_parts(inverted_grey, view.dpi)
        light = letter_like(inverted.stats, shape=grey.shape, dpi=view.dpi)
        if int(light.sum()) > POLARITY_GAIN * count:
            grey, parts, chosen = inverted_grey, inverted, light
    if count < FEW_LETTERS:
        # A stated resolution that is far too high makes letters of dust: where there is so much more of it, it votes.
        small = letter_like(parts.stats, shape=grey.shape, dpi=view.dpi / SMALLER_LETTERS)
        if int(small.sum()) > MORE_SMALL_LETTERS * count:
            chosen = chosen | small
    outside = ~_in_pictures(grey, parts.stats, view.px(PICTURE_BLOCK_MM)) & ~_on_paper_edge(view, parts.stats)
    lid = lid_of(view)
    if lid is not None:
        in_lid = np.bincount(parts.labels[lid], minlength=len(parts.stats))
        outside &= in_lid <= LID_SHARE * parts.stats[:, AREA]
    left, top, width, height, area = parts.stats.T
    side = view.px(PICTURE_MM)
    voting = outside & ~((width > side) & (height > side) & (area > PICTURE_FILL * width * height))
    voting[0] = False
    chosen = chosen & outside
    enough = int(chosen.sum()) >= LETTERS_TO_VOTE
    inked = view.inked if parts.ink is view.ink else np.flatnonzero(parts.ink)
    long = voting & (np.maximum(width, height) > view.px(RULE_MM))
    places = np.stack([left + width / 2, top + height / 2], axis=1)
    ink = _mask(parts.ink) if voting[1:].all() else _mask_of(parts, inked, voting)
    letters = _mask_of(parts, inked, chosen) if enough else None
    letter_height = float(np.median(height[chosen])) if enough else 0.0
    return _Voters(letters, ink, places[chosen], letter_height, places[long])


def _in_pictures(grey: npt.NDArray[np.uint8], stats: npt.NDArray[np.int32], block: float) -> npt.NDArray[np.bool_]:
    """Which components have their middle in or beside a picture; lines in a picture are not lines of the page."""
    paper = _paper_tone(grey)
    # every other pixel tells as much, in a quarter of the time
    tones = cv2.inRange(grey[::2, ::2], int(PICTURE_TONES[0] * paper), int(PICTURE_TONES[1] * paper))
    cols, rows = (max(1, round(side / block)) for side in (grey.shape[1], grey.shape[0]))
    share = cv2.resize(tones, (cols, rows), interpolation=cv2.INTER_AREA)
    picture = cv2.dilate((share > PICTURE_SHARE * 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    across = (stats[:, LEFT] + stats[:, WIDTH] / 2) * cols / grey.shape[1]
    down = (stats[:, TOP] + stats[:, HEIGHT] / 2) * rows / grey.shape[0]
    return np.asarray(
        picture[np.clip(down.astype(int), 0, rows - 1), np.clip(across.astype(int), 0, cols - 1)], dtype=np.bool_
    )


def _on_paper_edge(view: Analysis, stats: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which components have their middle where one ground ends and another begins."""
    rows, cols = view.grey.shape
    reach = round(view.px(EDGE_REACH_MM))
    x, y = stats[:, LEFT] + stats[:, WIDTH] // 2, stats[:, TOP] + stats[:, HEIGHT] // 2
    left, right = np.maximum(x - reach, 0), np.minimum(x + reach, cols - 1)
    above, below = np.maximum(y - reach, 0), np.minimum(y + reach, rows - 1)
    west, east, north, south = (
        view.paper[place].astype(np.int16) for place in ((y, left), (y, right), (above, x), (below, x))
    )
    leap = np.abs(west - east) + np.abs(north - south)
    return np.asarray(leap > EDGE_LEVELS, dtype=np.bool_)


def _paper_tone(grey: npt.NDArray[np.uint8]) -> float:
    """The level of the paper: the bright end of all, or the tone of a tinted sheet on a brighter surround."""
    counts = np.bincount(grey[::4, ::4].ravel(), minlength=256)
    total = counts.sum()
    bright = int(np.searchsorted(counts.cumsum(), PAPER_PERCENTILE / 100 * total))
    least, most = int(PICTURE_TONES[0] * bright), int(PICTURE_TONES[1] * bright)
    near = np.convolve(counts, np.ones(2 * TINTED_SPREAD_LEVELS + 1), "same")[least : most + 1]
    tone = least + int(near.argmax())
    return float(tone if near.max() > TINTED_SHARE * total and near.argmax() > 0 else bright)


def _mask(chosen: npt.NDArray[np.bool_]) -> Mask:
    return chosen.view(np.uint8) * np.uint8(255)


def _mask_of(parts: InkParts, inked: npt.NDArray[np.intp], chosen: npt.NDArray[np.bool_]) -> Mask:
    """The components that are chosen; looked up where there is ink only."""
    mask = np.zeros(parts.labels.shape, np.uint8)
    mask.ravel()[inked] = _mask(chosen)[parts.labels.ravel()[inked]]
    return mask


# ---- the coarse angle


class _Peak(NamedTuple):
    """The best angle on the fan and how far it stands out.

    `down`: its lines run down the page instead of across. `square`: others stand square on them, as in a frame.
    """

    angle_deg: float
    prominence: float
    down: bool
    square: bool


class _Coarse(NamedTuple):
    """The angle to start the fine search from, and the mask it was found on.

    `is_text`: several lines of letters whose upright strokes stand square on them.
    """

    mask: Mask
    angle_deg: float
    confidence: float
    down: bool
    is_text: bool


def _coarse(voters: _Voters, dpi: float) -> _Coarse | None:
    """What letters and rules say together; None when neither says anything clear."""
    letters, ink, letter_places, letter_height, rule_places = voters
    text = None if letters is None else _peak(letters, dpi, ACROSS_WEIGHT_TEXT)
    is_text = text is not None and text.square
    if text is not None and _spread_mm(letter_places, text, dpi) < LINES_SPREAD_MM:
        # One line of text is good for a small angle only; one down the page may be a fold in pieces, without uprights.
        capped = text._replace(prominence=min(text.prominence, LARGE_ANGLE_CONFIDENCE - 0.1))
        text = None if text.down and not text.square else capped
        is_text = False
    if letters is not None and text is not None and text.prominence >= CLEAR_PROMINENCE:
        return _Coarse(letters, text.angle_deg, text.prominence, text.down, is_text)
    rules = _peak(ink, dpi, ACROSS_WEIGHT_RULES)
    if rules is not None and not rules.square and _spread_mm(rule_places, rules, dpi) < LINES_SPREAD_MM:
        rules = None
    if letters is not None and text is not None:
        agreed = rules is not None and abs(text.angle_deg - rules.angle_deg) <= AGREE_DEG
        trust = TEXT_ALONE_TRUST * text.prominence
        if rules is not None and agreed:
            # music and ruled tables: the rules are many times as sharp as the letters between them
            if rules.prominence > RULES_LEAD * text.prominence:
                return _Coarse(ink, rules.angle_deg, rules.prominence, rules.down, is_text)
            trust = max(text.prominence, rules.prominence)
        needed = LARGE_ANGLE_CONFIDENCE if abs(text.angle_deg) > LARGE_ANGLE_DEG - MAX_DRIFT_DEG else MIN_CONFIDENCE
        if trust < needed and _stand_in_lines(letter_places, letter_height, text, dpi):
            return _Coarse(letters, text.angle_deg, IN_LINES_TRUST, text.down, is_text)
        if agreed or text.prominence >= ALONE_PROMINENCE:
            return _Coarse(letters, text.angle_deg, trust, text.down, is_text)
    if rules is not None and rules.prominence >= ALONE_PROMINENCE:
        return _Coarse(ink, rules.angle_deg, RULES_ALONE_TRUST * rules.prominence, rules.down, False)
    return None


def _stand_in_lines(middles: npt.NDArray[np.float64], height: float, peak: _Peak, dpi: float) -> bool:
    """Whether the letters stand in several lines at the peak's angle, by the directions from each to those near it.

    A second opinion of another kind: it takes no notice of strokes, and a few short lines are enough for it.

    Source: O'Gorman 1993, doi:10.1109/34.244677 (the directions of near neighbours).
    """
    x, y = middles.T
    u, v = (-y, x) if peak.down else (x, y)
    if len(u) > PAIR_LETTERS:
        first = (len(u) - PAIR_LETTERS) // 2
        band = np.argsort(v)[first : first + PAIR_LETTERS]
        u, v = u[band], v[band]
    across, down = u[None, :] - u[:, None], v[None, :] - v[:, None]
    apart = np.hypot(across, down)
    near = (across > 0) & (apart > PAIR_REACH_HEIGHTS[0] * height) & (apart < PAIR_REACH_HEIGHTS[1] * height)
    directions_deg = np.degrees(np.arctan2(-down[near], across[near]))
    steps = round(180 / PAIR_STEP_DEG)
    counts = np.bincount(((directions_deg + 90) / PAIR_STEP_DEG).astype(np.int64) % steps, minlength=steps)
    reach = round(PAIR_SPREAD_DEG / PAIR_STEP_DEG)
    around = np.convolve(np.pad(counts, reach, mode="wrap"), np.ones(2 * reach + 1), "valid")
    there = float(around[int((peak.angle_deg + 90) / PAIR_STEP_DEG) % steps])
    usual = float(np.median(around))
    if (
        there < usual + PAIR_LEAST_DEVIATIONS * math.sqrt(usual + 1)
        or there < PAIR_LEAST_TIMES * (usual + 1)
        or there < PAIR_LEAST_OF_BEST * float(around.max())
    ):
        return False
    ends = np.nonzero(near)[0][np.abs(directions_deg - peak.angle_deg) <= PAIR_SPREAD_DEG]
    return _spread_mm(np.stack([u[ends], v[ends]], axis=1), peak._replace(down=False), dpi) >= LINES_SPREAD_MM


def _spread_mm(middles: npt.NDArray[np.float64], peak: _Peak, dpi: float) -> float:
    """How far apart the parts that made the peak lie across its lines: next to nothing for one line."""
    if not len(middles):
        return 0.0
    x, y = middles.T.astype(np.float32)
    u, v = (-y, x) if peak.down else (x, y)
    low, high = np.percentile(_across(u, v, peak.angle_deg), SPREAD_PERCENTILES)
    return float(high - low) * MM_PER_INCH / dpi


def _peak(mask: Mask, dpi: float, across_weight: float) -> _Peak | None:
    """Where lines, words and strokes make a ridge in the magnitude of the mask's Fourier transform.

    Magnitude, not power: power lets a few strong frequencies decide (arXiv 2603.05942: 47 against 28 % within 0.1
    degree). The ridge of lines stands across them; that of upright strokes, along them, votes with `across_weight`.
    """
    scale = min(1.0, FAN_DPI / dpi, FAN_SIZE / max(mask.shape))
    if scale < 1.0:
        rows, cols = (max(1, round(side * scale)) for side in mask.shape)
        mask = np.asarray(cv2.resize(mask, (cols, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    magnitude = _magnitude(mask[:FAN_SIZE, :FAN_SIZE])
    angles, lines_x, lines_y, strokes_x, strokes_y = _fan_maps()
    lines = cv2.remap(magnitude, lines_x, lines_y, cv2.INTER_LINEAR).sum(axis=1)
    strokes = cv2.remap(magnitude, strokes_x, strokes_y, cv2.INTER_LINEAR).sum(axis=1)
    if not lines.any():
        return None
    lines, strokes = lines / max(float(np.median(lines)), 1e-9), strokes / max(float(np.median(strokes)), 1e-9)
    score = lines + across_weight * strokes
    down = bool(strokes.max() > lines.max())
    score = strokes + across_weight * lines if down else lines + across_weight * strokes
    best = int(score.argmax())
    middle = float(np.median(score))
    rival = float(score[np.abs(angles - angles[best]) > PEAK_WIDTH_DEG].max())
    return _Peak(
        angle_deg=float(angles[best]),
        prominence=(float(score[best]) - middle) / (rival - middle + 1e-9),
        down=down,
        square=abs(float(angles[lines.argmax()] - angles[strokes.argmax()])) <= AGREE_DEG,
    )


def _magnitude(mask: Mask) -> Floats:
    """Of the Fourier transform: a column a frequency across from 0 up, frequency 0 down in row `FAN_SIZE / 2`.

    OpenCV packs a real transform into the size of its input, each number beside its imaginary part, in a fifth of
    numpy's time. Column 0 holds the frequencies down alone: number 0, then pairs one below the other.
    """
    padded = np.zeros((FAN_SIZE, FAN_SIZE), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    packed = cv2.dft(padded)
    half = FAN_SIZE // 2
    magnitude = np.empty((FAN_SIZE, half), np.float32)
    pairs = packed[:, 1:-1].view(np.complex64)
    magnitude[half:, 1:], magnitude[:half, 1:] = np.abs(pairs[:half]), np.abs(pairs[half:])
    down = packed[:, 0]
    magnitude[half, 0], magnitude[0, 0] = abs(down[0]), abs(down[-1])
    magnitude[half + 1 :, 0] = np.hypot(down[1:-1:2], down[2::2])
    magnitude[1:half, 0] = magnitude[:half:-1, 0]
    return magnitude


@lru_cache(maxsize=1)
def _fan_maps() -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """The angles of the fan in degrees; then column and row of every sample on the rays of lines and of strokes.

    One row of samples a ray, on a half spectrum whose rows are shifted so that frequency 0 is row `FAN_SIZE / 2`.
    """
    count = round(2 * FAN_RANGE_DEG / FAN_STEP_DEG) + 1
    angles = np.linspace(-FAN_RANGE_DEG, FAN_RANGE_DEG, count)
    radians = np.radians(angles)
    radii = np.arange(int(FAN_RADII[0] * FAN_SIZE), int(FAN_RADII[1] * FAN_SIZE))
    across, along = np.outer(np.sin(radians), radii), np.outer(np.cos(radians), radii)
    middle = FAN_SIZE // 2
    # Only columns of frequency 0 and up are kept; the other half is the same turned about the origin.
    maps = (np.abs(across), middle + np.where(across > 0, along, -along), along, middle - across)
    lines_x, lines_y, strokes_x, strokes_y = (samples.astype(np.float32) for samples in maps)
    return angles.astype(np.float32), lines_x, lines_y, strokes_x, strokes_y


# ---- the fine angle


class _Edges(NamedTuple):
    """Places on the edges of ink: `u` along the lines, `v` across.

    `group` numbers the band of the page, then the side of it, then the kind of edge.
    """

    u: Floats
    v: Floats
    group: npt.NDArray[np.int64]


def _edges(coarse: _Coarse) -> _Edges | None:
    """Upper and lower edges of the ink of the coarse mask; None if there are few.

    They are parted into bands that lie across the lines and sides that part the lines, each holding as many.
    """
    mask = np.ascontiguousarray(coarse.mask.T) if coarse.down else coarse.mask
    kinds = [_places(mask[:-1] & ~mask[1:]), _places(mask[1:] & ~mask[:-1])]
    if sum(len(places) for places in kinds) < MIN_EDGE_POINTS:
        return None
    places = np.concatenate(kinds)
    kind = np.repeat(np.arange(2), [len(part) for part in kinds])
    # A page whose lines run down is looked at mirrored, which turns the sense of the angle.
    u = -places[:, 0] if coarse.down else places[:, 0]
    spread = np.random.default_rng(0).random(len(places), dtype=np.float32) - np.float32(0.5)
    v = places[:, 1] + np.float32(LATTICE_SPREAD_PX) * spread
    across = _across(u, v, coarse.angle_deg)
    band = np.searchsorted(np.quantile(across[::8], np.arange(1, BANDS) / BANDS), across)
    side = u > np.median(u[::8])
    return _Edges(u, v, (band * SIDES + side) * 2 + kind)


def _places(edge: Mask) -> Floats:
    found = cv2.findNonZero(edge)
    if found is None:
        return np.zeros((0, 2), np.float32)
    return np.asarray(found.reshape(-1, 2)[:: math.ceil(len(found) / MAX_EDGE_POINTS)], dtype=np.float32)


def _across(u: Floats, v: Floats, angle_deg: float) -> Floats:
    """Where the places lie across lines that climb by the angle."""
    angle = math.radians(angle_deg)
    return np.asarray(v * np.float32(math.cos(angle)) + u * np.float32(math.sin(angle)), dtype=np.float32)


def _sharpness(edges: _Edges, angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How sharply the edges fall together: a row an angle, of the whole page, then of its bands, then of its sides."""
    sharp = np.empty((len(angles), 1 + BANDS + SIDES))
    for index, angle in enumerate(angles):
        across = _across(edges.u, edges.v, float(angle))
        row = (across - across.min()).astype(np.int64)
        rows = int(row.max()) + 1
        counts = np.bincount(edges.group * rows + row, minlength=BANDS * SIDES * 2 * rows)
        counts = counts.reshape(BANDS, SIDES, 2 * rows).astype(np.float64)
        bands, sides = counts.sum(axis=1), counts.sum(axis=0)
        whole = bands.sum(axis=0)
        sharp[index] = whole @ whole, *np.square(bands).sum(axis=1), *np.square(sides).sum(axis=1)
    return sharp


def _summit(angles: npt.NDArray[np.float64], sharp: npt.NDArray[np.float64]) -> float:
    """The angle of the greatest sharpness, between the steps by a parabola."""
    best = int(sharp.argmax())
    if not 0 < best < len(angles) - 1:
        return float(angles[best])
    before, here, after = sharp[best - 1 : best + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(angles[best] + shift * (angles[1] - angles[0]))


def _judged(coarse: _Coarse, edges: _Edges) -> Skew:
    """The fine angle and whether it is good enough to turn the page by."""
    angles = _steps(coarse.angle_deg, *COARSE_SEARCH_DEG)
    sharp = _sharpness(edges, angles)
    far = _sharpness(edges, coarse.angle_deg + np.array(FAR_DEG))
    contrast = float(sharp[:, 0].max() / far[:, 0].max())
    part_deg = np.array([_summit(angles, part) for part in sharp.T[1:]])
    has_lines = sharp[:, 1:].max(axis=0) >= SHARP_PART * np.median(sharp[:, 1:], axis=0)
    band_deg = part_deg[:BANDS]
    if has_lines[:BANDS].any() and np.ptp(band_deg[has_lines[:BANDS]]) > UNEVEN_DEG:
        angle_deg = float(np.median(band_deg))
    else:
        near = _steps(_summit(angles, sharp[:, 0]), *FINE_SEARCH_DEG)
        angle_deg = _summit(near, _sharpness(edges, near)[:, 0])
    confidence = coarse.confidence
    if abs(angle_deg - coarse.angle_deg) > MAX_DRIFT_DEG:
        angle_deg, confidence = coarse.angle_deg, DRIFT_TRUST * confidence
    error_deg = float(np.std(band_deg)) / math.sqrt(BANDS)
    is_clear = confidence >= LARGE_ANGLE_CONFIDENCE or (
        coarse.is_text and (confidence >= LARGE_ANGLE_SQUARE_CONFIDENCE or contrast >= LARGE_ANGLE_SQUARE_CONTRAST)
    )
    declined: Declined | None = None
    if confidence < MIN_CONFIDENCE or contrast < MIN_CONTRAST:
        angle_deg, declined = 0.0, Declined.NOTHING_TO_ALIGN
    elif abs(angle_deg) > LARGE_ANGLE_DEG and not is_clear:
        declined = Declined.UNSURE
    elif _has_several_skews(part_deg[has_lines], angle_deg):
        declined = Declined.SEVERAL_SKEWS
    elif error_deg > MAX_STANDARD_ERROR_DEG:
        declined = Declined.UNSURE
    elif abs(angle_deg) < LEAST_STANDARD_ERRORS * error_deg:
        declined = Declined.LEVEL
    return Skew(angle_deg=angle_deg, confidence=confidence, standard_error_deg=error_deg, declined=declined)


def _has_several_skews(part_deg: npt.NDArray[np.float64], angle_deg: float) -> bool:
    """Whether parts of the page are turned so differently that levelling one of them would tilt another."""
    if len(part_deg) < 2 or np.ptp(part_deg) <= SEVERAL_SKEWS_DEG:
        return False
    return bool((np.abs(part_deg - angle_deg) > np.abs(part_deg)).any())


def _steps(middle: float, reach: float, step: float) -> npt.NDArray[np.float64]:
    count = round(reach / step)
    return np.linspace(middle - count * step, middle + count * step, 2 * count + 1)
