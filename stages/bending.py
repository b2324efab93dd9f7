"""How the lines of text on a level page are bent, and whether that is sure enough to bend them straight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.analysis import HEIGHT, LEFT, TOP, WIDTH, Analysis, analysis_of, letter_like
from stages.page_image import MM_PER_INCH, PageImage
from stages.places import Bend, spline_weights

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

# Which components are letters of running text: 5-point small letters to 17-point capitals.
LETTER_HEIGHT_MM = (0.9, 6.0)
MOST_LETTERS = 6000  # a newspaper page has 30,000, which say no more

# A letter's follower is the first letter to its right at one of these heights, no further away than a wide gap between
# words, level with it and of about its size.
LOOK_AT_HEIGHTS = (0.35, 0.65)
REACH_MM = 7.0
LEVEL_SHARE = 0.4
SIZE_RATIO = 2.5
LONGEST_LINE_DOUBLINGS = 10  # 1,024 letters

# What is a line, and how many of them can speak for a page.
LINE_LETTERS = 8
LINE_MM = 20.0
LEAST_LETTERS = 150
LEAST_LINES = 6
LEAST_EXTENT_MM = 60.0
COVER_CELLS = 8
LEAST_COVER = 0.5  # IMAGING 2.10, step 4: support
MARGIN_MM = 8.0  # page numbers and the ends of rules still follow the surface, which goes on straight from the text

# The surface: controls across and down, and how stiff it is. Finer nets and softer ones left the same error on 35 drawn
# curls (0.012 mm); stiffer ones left more at spines.
NET = (6, 11)  # rows, columns
STIFF_ACROSS, STIFF_DOWN, STIFF_ALL = 0.03, 1.0, 1e-4
# Letters that lie further from their line than this count nothing; wide at first, since a curl is not yet known, then
# below what descenders and commas reach down.
TRIMS_MM = (1.5, 1.2, 0.7, 0.45, 0.3, 0.3)
TRIMS_OF_TOPS_MM = (0.9, 0.45, 0.3)
LAST_TRIM_MM = 0.45  # what counts of a line when the lines themselves are looked at
# The lowest point of a letter on a slope lies below the line at the letter's middle, by this share of what the line
# falls over the letter's width. Where serifs stand at both sides it would be a half.
FOOT_SHARE = 0.4

# The gates: bend and standard error after IMAGING 2.10, step 4. Flat pages were found bent by 0.07 mm at most of 300
# drawn ones and 0.14 of 54 real ones. Pages that are no running text at all (sideways, tickets, two pages in one scan)
# show in the standard error, in the tops, or in the share of letters that stand straight: 0.4 to 0.67 of them against
# 0.88 and more on curled pages, drawn and real.
FLAT_MM = 0.25
MAX_STANDARD_ERROR_MM = 0.08
MAX_TOPS_APART_MM = 0.12
MIN_STRAIGHT_SHARE = 0.75
STRAIGHT_MM = 0.2
# Pieces pasted in at angles of their own leave lines that still slope: half of them on a drawn page with two pieces
# 0.9 degrees apart, none on 15 drawn curls, one in 40 on a curled page of a real book.
SLOPING_LINE_LETTERS = 20
SLOPING_MM = 0.3
MAX_SLOPING_SHARE = 0.1
# What the letters stand off their lines must fall on the whole, and may not rise in any third of the page.
MAX_SPREAD_LEFT = 0.8
WORSE_MM = 0.02
PARTS = 3
PART_LETTERS = 30
# Steeper than this is no paper on a scanner. A page turned as a whole is for `deskew`, but strongly bent lines show it
# no angle that it trusts; up to 3 degrees the bend then levels them too.
MAX_SLOPE_ACROSS = 0.5
MAX_SLOPE_DOWN = 0.25
MAX_TILT = 0.05
# A printed rule is straight; where the text is curled and the rule is not, the text was written so (step 6).
RULE_MM = 30.0
RULE_HEIGHT_MM = 6.0
RULE_THICK_MM = 1.0
RULE_WORSE_MM = 0.1
MOST_RULES = 40
LEAST_WEIGHT = 1e-9  # of a line all of whose letters are trimmed away
STORED_PLACES = 3  # decimals of a pixel
SURFACE_STEPS = 24  # points each way at which the surface is looked at

# First a coarse net in three rounds: nearly all pages are flat, and that shows.
COARSE_NET = (4, 7)
COARSE_TRIMS_MM = (1.5, 0.7, 0.35)
COARSE_FLAT_MM = 0.15


class Declined(StrEnum):
    """Why a page was left as it is."""

    FEW_LINES = "few-lines"
    FLAT = "flat"
    NOT_LEVEL = "not-level"
    UNSURE = "unsure"
    UNEXPLAINED = "unexplained"
    TOO_STEEP = "too-steep"
    STRAIGHT_RULES = "straight-rules"
    AT_THE_FRAME = "at-the-frame"
    RECORDED_ONLY = "recorded-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bending:
    """How the text on a page is bent.

    `rms_mm` is how far its lines depart from straight ones, `standard_error_mm` how well that is known,
    `tops_apart_mm` how far the tops of the letters contradict their feet, `straight_share` the share of letters that
    stand straight once the page is bent back. `bend` is the surface that does it. `declined` says why it should not be
    used; None when it should.
    """

    rms_mm: float = 0.0
    standard_error_mm: float = 0.0
    tops_apart_mm: float = 0.0
    straight_share: float = 0.0
    bend: Bend | None = None
    declined: Declined | None = None


def bending_of(page: PageImage) -> Bending:
    """How the lines of text on a level page are bent.

    The feet of the letters of each line are to lie on one level: a smooth surface over the page is fitted that says
    how much lower they do lie, every line free to stand where it stands. The tops of the letters, which had no part in
    it, must say the same.

    Source: own; that lines of text show the curl of a page follows Leptonica's `dewarp.c` and page-dewarp.
    """
    view = analysis_of(page)
    text = _text(view)
    if text is None:
        return Bending(declined=Declined.FEW_LINES)
    coarse_mm = _rms(_untilted(_surface(text, _fitted(text, text.feet_mm, COARSE_TRIMS_MM, net=COARSE_NET).net)))
    if coarse_mm < COARSE_FLAT_MM:
        return Bending(rms_mm=coarse_mm, declined=Declined.FLAT)
    fit = _fitted(text, text.feet_mm, TRIMS_MM, net=NET)
    rest_of_tops_mm = text.tops_mm - _at_letters(text, fit)
    tops = _fitted(text, rest_of_tops_mm, TRIMS_OF_TOPS_MM, net=NET, foot_share=0.0, level_mm=fit.level_mm)
    bending = Bending(
        rms_mm=_rms(_untilted(_surface(text, fit.net))),
        standard_error_mm=_rms(_surface(text, fit.halves[0]) - _surface(text, fit.halves[1])) / 2,
        tops_apart_mm=_rms(_surface(text, tops.net)),
        straight_share=float((np.abs(fit.left_mm) <= STRAIGHT_MM).mean()),
        bend=_bend(text, fit, px_per_mm=page.px(1.0)),
    )
    return replace(bending, declined=_declined(bending, text, fit, view))


def _declined(bending: Bending, text: _Text, fit: _Fit, view: Analysis) -> Declined | None:
    left, top, right, bottom = text.frame
    surface = _surface(text, fit.net)
    across = np.diff(surface, axis=1) * (SURFACE_STEPS - 1) / (right - left - 2 * MARGIN_MM)
    down = np.diff(surface, axis=0) * (SURFACE_STEPS - 1) / (bottom - top - 2 * MARGIN_MM)
    if bending.rms_mm < FLAT_MM:
        return Declined.FLAT
    if np.abs(across).max() > MAX_SLOPE_ACROSS or np.abs(down).max() > MAX_SLOPE_DOWN:
        return Declined.TOO_STEEP
    if abs(float(across.mean())) > MAX_TILT:
        return Declined.NOT_LEVEL
    if bending.standard_error_mm > MAX_STANDARD_ERROR_MM:
        return Declined.UNSURE
    if (
        bending.straight_share < MIN_STRAIGHT_SHARE
        or bending.tops_apart_mm > MAX_TOPS_APART_MM
        or _sloping_share(text, fit) > MAX_SLOPING_SHARE
        or not _straighter_everywhere(text, fit)
    ):
        return Declined.UNEXPLAINED
    return Declined.STRAIGHT_RULES if _bends_a_rule(view, text, fit) else None


# ---- lines of text


class _Text(NamedTuple):
    """Letters, line by line: the middle, the foot, the top and the width of each in mm from the top left.

    `line` numbers the line of each letter, `starts` are the first letters of the lines, `frame` is the rectangle
    around all, with a margin: left, top, right, bottom.
    """

    x_mm: Floats
    feet_mm: Floats
    tops_mm: Floats
    width_mm: Floats
    line: Numbers
    starts: Numbers
    frame: tuple[float, float, float, float]

    def across(self, x_mm: Floats) -> Floats:
        """Where places lie between the left and the right of the frame, 0 to 1."""
        return (x_mm - self.frame[0]) / (self.frame[2] - self.frame[0])

    def down(self, y_mm: Floats) -> Floats:
        """Where places lie between the top and the bottom of the frame, 0 to 1."""
        return (y_mm - self.frame[1]) / (self.frame[3] - self.frame[1])


def _text(view: Analysis) -> _Text | None:
    """The running text of the page; None where there is too little to speak for it."""
    mm = view.dpi / MM_PER_INCH
    heights = view.stats[:, HEIGHT]
    chosen = letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi)
    chosen &= (heights >= LETTER_HEIGHT_MM[0] * mm) & (heights <= LETTER_HEIGHT_MM[1] * mm)
    letters = np.flatnonzero(chosen)
    if len(letters) < LEAST_LETTERS:
        return None
    line = _chained(view, letters, reach_px=round(REACH_MM * mm))
    left, top, width, height = (view.stats[letters, column] / mm for column in (LEFT, TOP, WIDTH, HEIGHT))
    x = left + width / 2
    count = np.bincount(line)
    first, last = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(first, line, x)
    np.maximum.at(last, line, x)
    long = (count >= LINE_LETTERS) & (last - first >= LINE_MM)
    order = np.argsort(line, kind="stable")
    order = order[long[line[order]]]
    order = order[:: max(1, -(-len(order) // MOST_LETTERS))]
    if len(order) < LEAST_LETTERS:
        return None
    x, feet = x[order], (top + height)[order]
    _, starts, line = np.unique(line[order], return_index=True, return_inverse=True)
    frame = (
        float(x.min()) - MARGIN_MM,
        float(feet.min()) - MARGIN_MM,
        float(x.max()) + MARGIN_MM,
        float(feet.max()) + MARGIN_MM,
    )
    text = _Text(x, feet, top[order], width[order], line, starts, frame)
    return text if len(starts) >= LEAST_LINES and _covers(text) else None


def _chained(view: Analysis, letters: Numbers, *, reach_px: int) -> Numbers:
    """For each letter the number of the line it stands in."""
    count = len(letters)
    number = np.full(len(view.stats), -1, np.int64)
    number[letters] = np.arange(count)
    left, top, width, height = (view.stats[letters, column].astype(np.int64) for column in (LEFT, TOP, WIDTH, HEIGHT))
    beside = np.minimum((left + width)[:, None] + np.arange(reach_px), view.grey.shape[1] - 1)
    follower, distance = np.full(count, -1), np.full(count, reach_px)
    for share in LOOK_AT_HEIGHTS:
        row = top + (share * height).astype(np.int64)
        seen = number[view.labels[row[:, None], beside]]
        seen[seen == np.arange(count)[:, None]] = -1
        first = (seen >= 0).argmax(axis=1)
        met = seen[np.arange(count), first]
        nearer = (met >= 0) & (first < distance)
        follower[nearer], distance[nearer] = met[nearer], first[nearer]
    smaller, larger = np.minimum(height, height[follower]), np.maximum(height, height[follower])
    common = np.minimum(top + height, (top + height)[follower]) - np.maximum(top, top[follower])
    follows = (
        (follower >= 0)
        & (common >= LEVEL_SHARE * smaller)
        & (larger <= SIZE_RATIO * smaller)
        & ((2 * left + width)[follower] > 2 * left + width)
    )
    # of two letters with the same follower the nearer one keeps it
    nearest_last = np.argsort(-distance, kind="stable")
    nearest_last = nearest_last[follows[nearest_last]]
    leader = np.arange(count)
    leader[follower[nearest_last]] = nearest_last
    for _ in range(LONGEST_LINE_DOUBLINGS):
        leader = leader[leader]
    return np.unique(leader, return_inverse=True)[1]


def _covers(text: _Text) -> bool:
    """Whether the lines speak for the rectangle around them, and that is no small part of a page."""
    left, top, right, bottom = text.frame
    if min(right - left, bottom - top) < LEAST_EXTENT_MM:
        return False
    cells = [
        np.minimum((share * COVER_CELLS).astype(np.int64), COVER_CELLS - 1)
        for share in (text.across(text.x_mm), text.down(text.feet_mm))
    ]
    return len(np.unique(cells[1] * COVER_CELLS + cells[0])) >= LEAST_COVER * COVER_CELLS**2


# ---- the surface


class _Fit(NamedTuple):
    """A surface over the frame of the text: its net of controls in mm, and the nets from each half of the lines.

    `level_mm` is where the lines stand on the flat page, `left_mm` what is left over of each letter.
    """

    net: Floats
    halves: tuple[Floats, Floats]
    level_mm: Floats
    left_mm: Floats


def _fitted(
    text: _Text,
    heights_mm: Floats,
    trims_mm: tuple[float, ...],
    *,
    net: tuple[int, int],
    foot_share: float = FOOT_SHARE,
    level_mm: Floats | None = None,
) -> _Fit:
    """The surface over which the heights of each line are level, by least squares with trimming.

    What is left over of a letter takes its weight smoothly, down to nothing at the trim (Tukey's biweight).
    `level_mm` is where the lines stand on the flat page, if that is known.
    """
    rows, columns = net
    across = spline_weights(text.across(text.x_mm), columns)
    slope = spline_weights(text.across(text.x_mm + 0.5), columns) - spline_weights(
        text.across(text.x_mm - 0.5), columns
    )
    stiff = _stiffness(rows, columns)
    weights, heights = np.ones(len(text.x_mm)), heights_mm
    level = np.add.reduceat(text.feet_mm, text.starts) / np.diff(text.starts, append=len(weights))
    for trim_mm in trims_mm:
        down = spline_weights(text.down(level if level_mm is None else level_mm), rows)
        weighted = across * weights[:, None]
        weight = np.add.reduceat(weights, text.starts) + LEAST_WEIGHT
        place = np.add.reduceat(weighted, text.starts) / weight[:, None]
        height = np.add.reduceat(weights * heights, text.starts) / weight
        # every line is free to stand where it stands: only what differs along it counts
        both = np.add.reduceat(weighted[:, :, None] * across[:, None, :], text.starts)
        both -= weight[:, None, None] * place[:, :, None] * place[:, None, :]
        pull = np.add.reduceat(weighted * heights[:, None], text.starts) - (weight * height)[:, None] * place
        found = _solved(down, both, pull, stiff)
        controls = down @ found
        level = height - (controls * place).sum(axis=1)
        left = heights - (controls[text.line] * across).sum(axis=1) - level[text.line]
        weights = np.square(np.clip(1 - np.square(left / trim_mm), 0, None))
        heights = heights_mm - foot_share * np.abs((controls[text.line] * slope).sum(axis=1)) * text.width_mm
    odd, even = (_solved(down[part::2], both[part::2], pull[part::2], stiff) for part in (1, 0))
    return _Fit(found, (odd, even), level, left)


def _stiffness(rows: int, columns: int) -> Floats:
    """What bending the net costs: the squares of its second differences either way, and a trace of its height."""
    across, down = (np.diff(np.eye(count), 2, axis=0) for count in (columns, rows))
    return np.asarray(
        STIFF_ACROSS * np.kron(np.eye(rows), across.T @ across)
        + STIFF_DOWN * np.kron(down.T @ down, np.eye(columns))
        + STIFF_ALL * np.eye(rows * columns),
        dtype=np.float64,
    )


def _solved(down: Floats, both: Floats, pull: Floats, stiff: Floats) -> Floats:
    """The net of the normal equations that the lines make together, level on the average of every height."""
    rows, columns = down.shape[1], both.shape[1]
    pairs = (down[:, :, None] * down[:, None, :]).reshape(len(down), -1)
    sums = (pairs.T @ both.reshape(len(both), -1)).reshape(rows, rows, columns, columns)
    normal = sums.transpose(0, 2, 1, 3).reshape(rows * columns, rows * columns) + stiff
    net = np.linalg.solve(normal, (down.T @ pull).ravel()).reshape(rows, columns)
    mean = spline_weights(_steps(), columns).mean(axis=0)
    return np.asarray(net - (net @ mean)[:, None], dtype=np.float64)


def _at_letters(text: _Text, fit: _Fit) -> Floats:
    """The surface where the letters stand, in mm."""
    across = spline_weights(text.across(text.x_mm), fit.net.shape[1])
    controls = spline_weights(text.down(fit.level_mm), fit.net.shape[0]) @ fit.net
    return np.asarray((controls[text.line] * across).sum(axis=1), dtype=np.float64)


def _steps() -> Floats:
    return np.linspace(0.0, 1.0, SURFACE_STEPS)


def _surface(text: _Text, net: Floats) -> Floats:
    """The surface in mm at evenly spread points of the text: `(SURFACE_STEPS, SURFACE_STEPS)`."""
    left, top, right, bottom = text.frame
    across = text.across(left + MARGIN_MM + _steps() * (right - left - 2 * MARGIN_MM))
    down = text.down(top + MARGIN_MM + _steps() * (bottom - top - 2 * MARGIN_MM))
    surface = spline_weights(down, net.shape[0]) @ net @ spline_weights(across, net.shape[1]).T
    return np.asarray(surface, dtype=np.float64)


def _untilted(surface: Floats) -> Floats:
    """What is left of a surface when it is turned level as a whole, every row about its middle."""
    level = surface - surface.mean(axis=1, keepdims=True)
    across = _steps() - 0.5
    tilt = float((level @ across).mean() / np.square(across).sum())
    return np.asarray(level - tilt * across, dtype=np.float64)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _bend(text: _Text, fit: _Fit, *, px_per_mm: float) -> Bend:
    left, top, right, bottom = (round(side * px_per_mm, STORED_PLACES) for side in text.frame)
    heights = tuple(round(float(height) * px_per_mm, STORED_PLACES) for height in fit.net.ravel())
    return Bend(left=left, top=top, right=right, bottom=bottom, columns=fit.net.shape[1], heights_px=heights)


# ---- the gates


def _sloping_share(text: _Text, fit: _Fit) -> float:
    """The share of long lines that climb or fall clearly from end to end though the page is bent."""
    weights = (np.abs(fit.left_mm) <= LAST_TRIM_MM).astype(np.float64)
    weight = np.add.reduceat(weights, text.starts) + LEAST_WEIGHT

    def about_middle(values: Floats) -> Floats:
        return np.asarray(
            values - (np.add.reduceat(weights * values, text.starts) / weight)[text.line], dtype=np.float64
        )

    x, left = about_middle(text.x_mm), about_middle(fit.left_mm)
    slope = np.add.reduceat(weights * x * left, text.starts) / (
        np.add.reduceat(weights * x * x, text.starts) + LEAST_WEIGHT
    )
    length_mm = np.maximum.reduceat(text.x_mm, text.starts) - np.minimum.reduceat(text.x_mm, text.starts)
    long = np.bincount(text.line) >= SLOPING_LINE_LETTERS
    return float((np.abs(slope * length_mm)[long] > SLOPING_MM).mean()) if long.any() else 0.0


def _straighter_everywhere(text: _Text, fit: _Fit) -> bool:
    """Whether the letters stand clearly straighter on the whole, and in no part of the page less so."""
    before, after = (_off_line(text, heights) for heights in (text.feet_mm, text.feet_mm - _at_letters(text, fit)))
    if after.mean() > MAX_SPREAD_LEFT * before.mean():
        return False
    part = np.minimum((text.down(text.feet_mm) * PARTS).astype(np.int64), PARTS - 1)
    return all(
        after[part == number].mean() <= before[part == number].mean() + WORSE_MM
        for number in range(PARTS)
        if np.count_nonzero(part == number) >= PART_LETTERS
    )


def _off_line(text: _Text, heights_mm: Floats) -> Floats:
    """How far each letter stands from the middle height of its line, counted up to the first trim."""
    ends = np.append(text.starts[1:], len(heights_mm))
    middle = np.array([np.median(heights_mm[a:b]) for a, b in zip(text.starts, ends, strict=True)])
    return np.asarray(np.minimum(np.abs(heights_mm - middle[text.line]), TRIMS_MM[0]), dtype=np.float64)


def _bends_a_rule(view: Analysis, text: _Text, fit: _Fit) -> bool:
    """Whether a printed rule would come out less straight than it is."""
    mm = view.dpi / MM_PER_INCH
    left, top, width, height, area = view.stats.T
    rules = np.flatnonzero(
        (width >= RULE_MM * mm) & (height <= RULE_HEIGHT_MM * mm) & (area <= RULE_THICK_MM * mm * width)
    )
    for number in rules[np.argsort(-width[rules])][:MOST_RULES]:
        part = view.labels[top[number] : top[number] + height[number], left[number] : left[number] + width[number]]
        ink = part == number
        thick = ink.sum(axis=0)
        column = np.flatnonzero(thick)
        y = (np.arange(len(ink)) @ ink)[column] / thick[column]
        x_mm, y_mm = (left[number] + column + 0.5) / mm, (top[number] + y + 0.5) / mm
        across = spline_weights(text.across(x_mm), fit.net.shape[1])
        down = spline_weights(text.down(y_mm), fit.net.shape[0])
        bent_mm = y_mm - ((down @ fit.net) * across).sum(axis=1)
        if _bow_mm(x_mm, bent_mm) > _bow_mm(x_mm, y_mm) + RULE_WORSE_MM:
            return True
    return False


def _bow_mm(x_mm: Floats, y_mm: Floats) -> float:
    """How far a line departs from the straight line through it."""
    return _rms(y_mm - np.polyval(np.polyfit(x_mm - x_mm.mean(), y_mm, 1), x_mm - x_mm.mean()))
