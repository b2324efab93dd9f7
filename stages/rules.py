"""Take the ruled lines of crowded tables and boxes off the copy that is read, and leave the letters that cross them.

Tesseract takes lines away by itself, and well where there is room between them: on drawn forms with lines 8 mm and
more apart it read no better without them, and on real typescripts worse. On tables with 5 mm rows, and on boxes for
single letters, it fails. So this works on crowded grids only (figures: `bench/rules.py`).
"""

from __future__ import annotations

import math
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.analysis import ANALYSIS_DPI, INK_DEPTH_LEVELS, INK_WINDOW_MM
from stages.page_image import MM_PER_INCH, PageImage
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# What is a rule (IMAGING 2.12).
RULE_MIN_MM = 12.0
RULE_MAX_THICKNESS_MM = 1.2  # IMAGING has 0.8; the frames of real tables reach 1.1
RULE_MIN_DEPTH = 30  # levels below the paper
RUN_SHARE = 0.9  # of its length that is ink: folds and thresholds break rules
MAX_CLIMB = 0.02  # rows a column: 1.1 degrees; what climbs more is a stroke of a drawing
GAP_MM = 1.0  # pieces nearer than this are one rule
TICK_MIN_MM = 3.5  # an upright of a box for one letter; it must reach from one level rule to the next
TICK_REACH_MM = 0.5

# When rules crowd the letters.
GRID_MIN_RULES = 3  # each way
CROSSING_STEP_MM = 5.0
DOUBLE_RULE_MM = 1.5  # two lines this near are one double line, not a row

# How a rule is followed at full size.
REACH_MM = 1.3  # the thickest rule, and beyond it the beginning of a stroke
SMOOTH_MM = 4.0
BLOCK_MM = 5.0  # over which its place and thickness are taken as one
BLOCK_MIN_INK = 0.1
THICKNESS_PERCENTILE = 35  # letters that stand on the rule thicken it in places
BARE_PERCENTILE = 10
SLACK_MM = 0.09  # one pixel at 300 dpi: the roughness of its edges
EDGE_MM = 0.13  # half tones beside it
FOOT_MM = 0.4  # as far as the foot of a letter may be hidden in it, beside the stroke that shows
JOIN_MM = 0.35  # strokes nearer than this are kept as one (IMAGING 2.12)
MOST_KEPT = 0.6  # where this much of a rule is crossed, it is none


class Declined(StrEnum):
    """Why a page was left as it is."""

    NO_GRID = "no-grid"
    ROOMY = "roomy"
    SKEWED = "skewed"


class Settings(StageSettings):
    """When rules are taken off.

    `max_skew_deg` is how far the page's own rules may lean; `max_spacing_mm` how far apart they may be, since roomy
    forms read no better without their rules.
    """

    max_skew_deg: float = Field(0.1, gt=0, le=0.5)
    max_spacing_mm: float = Field(8.0, gt=0)


class _Rule(NamedTuple):
    """A level rule on the reduced copy: its first column, and its middle row in each column from there."""

    first: int
    middles: Floats


class _Band(NamedTuple):
    """A rule at full size.

    `along` are its columns; `rows` `(2 reach + 1, columns)` the rows around its middle, and `dark` where ink is there.
    `up` and `down` say for each column how thick the rule is above and below its middle, `most_up` and `most_down` the
    same with the neighbouring blocks; `ink_up` and `ink_down` how far ink goes on. `sound`: the rule was found there.
    """

    along: Whole
    rows: Whole
    dark: Mask
    up: Whole
    down: Whole
    most_up: Whole
    most_down: Whole
    ink_up: Whole
    ink_down: Whole
    sound: Mask
    paper: int


def rules(page: PageImage, settings: Settings) -> PageImage:
    """The page with the rules of a crowded grid painted over with paper; every other page as it is.

    For the copy that recognition reads, grey or bitonal; a colour page comes out grey. Where ink goes on beyond a
    rule, the rule is left in these columns, so that no stroke is cut; the foot of a letter that lies wholly inside a
    rule cannot be seen and goes with it.
    Readings: `found` (rules), `skew_deg` (their middle lean), `spacing_mm` (middle gap between neighbours), and
    `declined` with the reason when nothing was done.
    """
    grey = page.grey()
    scale = max(1.0, page.dpi / ANALYSIS_DPI)
    size = (max(1, round(page.width_px / scale)), max(1, round(page.height_px / scale)))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    per_mm = page.dpi / scale / MM_PER_INCH
    window = max(3, round(INK_WINDOW_MM * per_mm)) | 1
    depth = cv2.subtract(cv2.blur(small, (window, window)), small)
    ink = (depth > INK_DEPTH_LEVELS).astype(np.uint8) * np.uint8(255)
    upright_ink = np.ascontiguousarray(ink.T)
    level = _found(ink, per_mm, RULE_MIN_MM)
    plumb = _found(upright_ink, per_mm, RULE_MIN_MM) if len(level) >= GRID_MIN_RULES else []
    ticks = _ticks(upright_ink, level, per_mm) if len(level) >= GRID_MIN_RULES else []
    if len(level) < GRID_MIN_RULES or len(plumb) + len(ticks) < GRID_MIN_RULES:
        return page.with_readings("rules", found=len(level) + len(plumb), declined=str(Declined.NO_GRID))
    plumb += ticks
    skew_deg = _skew_deg([*level, *plumb])
    spacing_mm = min(_spacing_mm(level, ink.shape[1], per_mm), _spacing_mm(plumb, ink.shape[0], per_mm))
    declined: Declined | None = None
    if skew_deg > settings.max_skew_deg:
        declined = Declined.SKEWED
    elif spacing_mm > settings.max_spacing_mm:
        declined = Declined.ROOMY
    cleaned = page
    if declined is None:
        across, down = page.width_px / size[0], page.height_px / size[1]
        bare = _without(page, grey, _bands(grey, level, across, down, page), _bands(grey.T, plumb, down, across, page))
        cleaned = page.with_pixels(bare)
    return cleaned.with_readings(
        "rules",
        found=len(level) + len(plumb),
        skew_deg=skew_deg,
        spacing_mm=spacing_mm,
        declined=None if declined is None else str(declined),
    )


# ---- where rules are


def _found(ink: Grey, per_mm: float, least_mm: float) -> list[_Rule]:
    """Level rules of at least `least_mm` on an ink map of 0 and 255."""
    run = max(3, round(least_mm * per_mm))
    core = _runs(ink, run)
    whole = cv2.bitwise_and(cv2.dilate(core, np.ones((1, run), np.uint8)), ink)
    thick = round(RULE_MAX_THICKNESS_MM * per_mm) + 2
    whole = cv2.subtract(whole, cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8)))
    joined = cv2.dilate(whole, np.ones((1, 2 * round(GAP_MM * per_mm) + 1), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    found = []
    for number in range(1, count):
        left, top, width, height, _ = stats[number].tolist()
        if width < run or height > 3 + thick + MAX_CLIMB * width:
            continue
        there = (slice(top, top + height), slice(left, left + width))
        part = (labels[there] == number) & (whole[there] > 0)
        counts = part.sum(axis=0)
        columns = np.flatnonzero(counts)
        if len(columns) < run / 2:
            continue
        middles = (part * (np.arange(height) + 0.5)[:, None]).sum(axis=0)[columns] / counts[columns] + top
        every = np.arange(columns[0], columns[-1] + 1)
        smooth = _smoothed(np.interp(every, columns, middles), max(3, round(SMOOTH_MM * per_mm)) | 1)
        found.append(_Rule(left + int(columns[0]), smooth))
    return found


def _runs(ink: Grey, run: int) -> Grey:
    """Middles of level runs, which may step up or down by a pixel and have small gaps."""
    tall = cv2.dilate(ink, np.ones((3, 1), np.uint8))
    share = cv2.blur(tall, (run, 1), borderType=cv2.BORDER_CONSTANT)
    return np.asarray((share > RUN_SHARE * 255).astype(np.uint8) * np.uint8(255))


def _smoothed(values: Floats, window: int) -> Floats:
    places = np.arange(len(values))
    if len(values) <= window:
        return np.asarray(np.polyval(np.polyfit(places, values, 1), places), dtype=np.float64)
    padded = np.pad(values, window // 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, np.ones(window) / window, mode="valid")


def _ticks(upright_ink: Grey, level: list[_Rule], per_mm: float) -> list[_Rule]:
    """Short uprights that reach from one level rule to the next: no letter does."""
    near = np.zeros((upright_ink.shape[1], upright_ink.shape[0]), np.uint8)
    for rule in level:
        rows = np.clip(rule.middles.astype(np.int64), 0, near.shape[0] - 1)
        near[rows, np.arange(len(rows)) + rule.first] = 1
    reach = 2 * round(TICK_REACH_MM * per_mm) + 1
    near = np.asarray(cv2.dilate(near, np.ones((reach, reach), np.uint8)), dtype=np.uint8)
    ticks = []
    for rule in _found(upright_ink, per_mm, TICK_MIN_MM):
        last = rule.first + len(rule.middles) - 1
        columns = np.clip(rule.middles[[0, -1]].astype(np.int64), 0, near.shape[1] - 1)
        if len(rule.middles) < RULE_MIN_MM * per_mm and near[rule.first, columns[0]] and near[last, columns[1]]:
            ticks.append(rule)
    return ticks


def _skew_deg(found: list[_Rule]) -> float:
    """How far the rules lean, level or plumb: the middle of their length."""
    lengths = np.array([len(rule.middles) for rule in found])
    rises = np.array([rule.middles[-1] - rule.middles[0] for rule in found])
    leans = np.abs(np.degrees(np.arctan2(rises, lengths)))
    order = np.argsort(leans)
    reached = np.cumsum(lengths[order])
    return float(leans[order][np.searchsorted(reached, reached[-1] / 2)])


def _spacing_mm(found: list[_Rule], columns: int, per_mm: float) -> float:
    """The middle gap between neighbouring rules, along lines that cross them."""
    gaps: list[Floats] = []
    for column in range(0, columns, max(1, round(CROSSING_STEP_MM * per_mm))):
        rows = sorted(
            rule.middles[column - rule.first] for rule in found if 0 <= column - rule.first < len(rule.middles)
        )
        gaps.append(np.diff(rows) / per_mm)
    every = np.concatenate(gaps)
    every = every[every > DOUBLE_RULE_MM]
    return float(np.median(every)) if len(every) else math.inf


# ---- taking them off


def _bands(grey: Grey, found: list[_Rule], across: float, down: float, page: PageImage) -> list[_Band]:
    return [band for rule in found if (band := _band(grey, rule, across, down, page)) is not None]


def _band(grey: Grey, rule: _Rule, across: float, down: float, page: PageImage) -> _Band | None:
    """The rule at full size; None where it is not there, or is no line."""
    rows, columns = grey.shape
    along = np.arange(round(rule.first * across), min(columns, round((rule.first + len(rule.middles)) * across)))
    places = rule.first + 0.5 + np.arange(len(rule.middles))
    middle = np.floor(np.interp((along + 0.5) / across, places, rule.middles) * down).astype(np.int64)
    reach = max(3, round(page.px(REACH_MM)))
    offsets = np.arange(-reach, reach + 1)[:, None]
    strip = grey[np.clip(middle + offsets, 0, rows - 1), along]
    paper = round(float(np.percentile(strip[:, ::4], 80)))
    edges = np.linspace(0, len(along), max(1, round(len(along) / max(1.0, page.px(BLOCK_MM)))) + 1).astype(int)
    blocks = [slice(begin, end) for begin, end in pairwise(edges)]
    profile = np.stack([strip[:, block].mean(axis=1) for block in blocks])
    sway = max(2, reach // 3)
    shifts = profile[:, reach - sway : reach + sway + 1].argmin(axis=1) - sway
    core = float(np.median(profile[np.arange(len(blocks)), shifts + reach]))
    if paper - core < RULE_MIN_DEPTH:
        return None
    at = np.clip(middle + np.repeat(shifts, np.diff(edges)) + offsets, 0, rows - 1)
    dark = grey[at, along] < (paper + core) / 2
    ink_up, ink_down = (_going_on(half) for half in (dark[reach::-1], dark[reach:]))
    inked = ink_up >= 0
    if not inked.any():
        return None
    bare = np.percentile((ink_up + ink_down)[inked], BARE_PERCENTILE)
    up, down_ = np.zeros_like(along), np.zeros_like(along)
    sound = np.zeros(len(along), np.bool_)
    for block in blocks:
        there = inked[block]
        if there.mean() < BLOCK_MIN_INK:
            continue
        for percentile in (THICKNESS_PERCENTILE, BARE_PERCENTILE):
            up[block], down_[block] = (np.percentile(ink[block][there], percentile) for ink in (ink_up, ink_down))
            if up[block.start] + down_[block.start] <= bare + 1:
                break
        sound[block] = up[block.start] + down_[block.start] <= page.px(RULE_MAX_THICKNESS_MM)
    window = np.ones((1, 2 * round(page.px(BLOCK_MM)) + 1), np.uint8)
    most_up, most_down = (
        cv2.dilate(values.astype(np.uint8)[None], window)[0].astype(np.int64) for values in (up, down_)
    )
    return _Band(along, at, dark, up, down_, most_up, most_down, ink_up, ink_down, sound, paper)


def _going_on(half: Mask) -> Whole:
    """For how many pixels beyond the first there is ink without a break; -1 where there is none at all."""
    return np.asarray(np.minimum.accumulate(half, axis=0).sum(axis=0) - 1, dtype=np.int64)


def _without(page: PageImage, grey: Grey, level: list[_Band], plumb: list[_Band]) -> Grey | Mask:
    """The page's pixels with the rules painted over."""
    cleaned, covered = grey.copy(), np.zeros(grey.shape, np.uint8)
    for bands, sheet, mark in ((level, covered, 1), (plumb, covered.T, 2)):
        for band in bands:
            _cover(sheet, band, mark, page)
    for bands, sheet, cover, other in ((level, cleaned, covered, 2), (plumb, cleaned.T, covered.T, 1)):
        for band in bands:
            _paint_over(sheet, cover, band, other, page)
    return np.asarray(cleaned > 127, dtype=np.bool_) if page.is_bitonal else cleaned


def _offsets(band: _Band) -> Whole:
    return (np.arange(len(band.rows)) - len(band.rows) // 2)[:, None]


def _cover(sheet: Grey, band: _Band, mark: int, page: PageImage) -> None:
    """Note where the rule lies, so that other rules do not take it for a stroke."""
    rim = max(1, round(page.px(SLACK_MM)))
    offset = _offsets(band)
    row, column = np.nonzero((offset >= -band.most_up - rim) & (offset <= band.most_down + rim) & band.sound)
    sheet[band.rows[row, column], band.along[column]] |= mark


def _paint_over(sheet: Grey, covered: Grey, band: _Band, other: int, page: PageImage) -> None:
    """Paint the rule over but where strokes cross or touch it."""
    slack, edge = (max(1, round(page.px(mm))) for mm in (SLACK_MM, EDGE_MM))
    marks = covered[band.rows, band.along]
    letters = band.dark & (marks == 0)
    above, below = -band.most_up - slack - 1, band.most_down + slack + 1
    stroke = _at(letters, above) | _at(letters, below)
    uncrossed = band.dark & (marks & other == 0)
    foot = (_at(uncrossed, -band.up - 1) | _at(uncrossed, band.down + 1)) & _widened(stroke, page.px(FOOT_MM))
    kept = _closed(_touching(foot | stroke, stroke), page.px(JOIN_MM))
    if kept.mean() > MOST_KEPT:
        return
    offset = _offsets(band)
    top = -np.maximum(band.up, np.minimum(band.ink_up, band.most_up + slack)) - edge
    bottom = np.maximum(band.down, np.minimum(band.ink_down, band.most_down + slack)) + edge
    row, column = np.nonzero((offset >= top) & (offset <= bottom) & band.sound & ~kept)
    sheet[band.rows[row, column], band.along[column]] = band.paper


def _at(there: Mask, offset: Whole) -> Mask:
    """What is there at an offset from the middle row, which is another for each column."""
    rows = np.clip(len(there) // 2 + offset, 0, len(there) - 1)
    return np.asarray(there[rows, np.arange(there.shape[1])], dtype=np.bool_)


def _widened(there: Mask, reach_px: float) -> Mask:
    window = np.ones((1, 2 * max(1, round(reach_px)) + 1), np.uint8)
    return np.asarray(cv2.dilate(there.view(np.uint8)[None], window)[0] > 0, dtype=np.bool_)


def _closed(there: Mask, gap_px: float) -> Mask:
    window = np.ones((1, max(1, round(gap_px))), np.uint8)
    closed = cv2.morphologyEx(there.view(np.uint8)[None], cv2.MORPH_CLOSE, window, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(closed[0] > 0, dtype=np.bool_)


def _touching(there: Mask, sure: Mask) -> Mask:
    """The runs of `there` that hold something of `sure`."""
    number = np.cumsum(np.diff(there.astype(np.int8), prepend=0) == 1) * there
    alive = np.zeros(int(number.max(initial=0)) + 1, np.bool_)
    alive[number[sure]] = True
    alive[0] = False
    return np.asarray(alive[number], dtype=np.bool_)
