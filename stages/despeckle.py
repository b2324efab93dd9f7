"""Remove dirt of a few pixels from a bitonal page, and no dot that belongs to writing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.page_image import PageImage
from stages.settings import StageSettings

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Map = npt.NDArray[np.uint8]  # 1 where something is, on the grid of the labels
Sums = npt.NDArray[np.int32]  # of all that is above and to the left: one row and column more

HALVING_DPI = 200.0  # from here on components are labelled at half size: specks touching a letter stay with it

# What lies this near to larger ink is part of writing; in diameters of a round mark of the same area. Of 28,193 small
# marks of print (230 typefaces, 7 to 12 points, 150 to 600 dpi) 99 in 100 lie so near to ink that is safe by its size;
# the rest lie so near to one of those, or in a row.
REACH_DIAMETERS = (9.0, 3.0)  # sideways (a stop after a raised sign or a wide space), and up or down (accents)
ROUND = 0.7  # of both at once: a rough ellipse
REACH_ON = 0.5  # sideways from one small mark on to the next: the points of a spaced ellipsis lie 4.5 diameters apart
LEAST_REACH_MM = 0.75  # i-dots of light faces, one pixel at 150 dpi
STOP_MM = 0.22  # no full stop is smaller (7 points have 0.27 mm), so smaller marks need not lie far off sideways
NO_STOP_REACH_MM = 0.4
GRAIN_PX = 1.0  # of dots of a few pixels, size and centre are not known more finely
LEAST_REACH_PX = 1.5  # what is one pixel away from larger ink was cut from it by the grid
ROUNDS = 4
COMPARABLE_AREA = 0.175

# A dot of type is as thick as its letters' strokes or thicker; a mark much thinner than that is dirt or a splinter. How
# far sideways, and up or down, marks may lie whose diameter, half a pixel added, is below so many strokes. Of 14,000
# small marks of print that only their letters hold (84 pages in as many typefaces, 150 to 600 dpi) none measured less
# than 0.9 strokes, 1 in 300 less than 1.1, 1 in 50 less than 1.3, all of them within these reaches. Of the specks that
# older, longer reaches kept beside letters 2 in 3 are so thin.
THIN_REACH_MM = ((1.3, 0.75, 0.75), (1.1, 0.4, 0.75), (0.9, 0.15, 0.15))
# Up or down, thin marks of another size than the page's dots: over letters most specks lie farther off, few bits.
UNLIKE_REACH_MM, LIKE_TOLERANCE = 0.4, 0.15
# Where pixels are as large as dots, a dot as broad as strokes of so many of them covers two at least. A single pixel
# may still be a bit of the outline beside it, or all that is left of the dot of a small i.
PIXEL_MM, PIXEL_STROKES_PX, PIXEL_REACH_MM = 0.12, 1.6, (0.25, 0.4)
# Some faces have dots no thicker than their strokes: what is as large as the dots that stand at letters is not thin.
USUAL_DOTS, USUAL_DOT_STROKES, LEAST_STOP = 12, 1.6, 0.8
LEAST_DOT_STROKES = 0.9
# On a page whose thin strokes are broken, such marks lie around the letters; dirt lies everywhere. Where so many times
# as many, and some more, lie in one of these bands around letters as dirt far from them makes likely, all that are near
# writing are taken for splinters.
SPLINTER_STROKES = 1.1
SPLINTER_BANDS_MM, SPLINTER_RATIO, SPLINTER_MORE = ((0.0, 0.35), (0.35, 0.9)), 2.0, 4
THIN_WIDE_MM = 1.7
# Where more lie there than chance often brings, those in a letter live: their ink stands on two sides of them.
IN_LETTER_MM, IN_LETTER_SIDES = 1.0, 2
SPLINTER_DEVIATIONS = 1.5
SPLINTER_SAMPLE = 3  # of every so many rows and columns the area of the bands is taken
STROKE_TILE_MM = 5.0
STROKE_SAMPLE = 4  # of every so many rows and columns
STROKE_TILES = 3
STROKE_LEAST_INK = 0.01  # of tiles with less ink the stroke is not known
STROKE_QUANTILE = 0.25  # a headline or a black bar beside small print does not make its dots dirt
STROKE_MOST_MM = 0.5

# Beside a line of print dots stand on the feet of its letters, over a letter or, nearly touching it, under one. What
# stands elsewhere is held by the bits of letters beside it alone. Of 11,158 dots that larger ink holds sideways 78 in
# 100 stand on the feet and most others in rows, of 1,278 specks 7 in 100 (240 pages in as many faces).
OVER_ASIDE_MM = 0.45  # the dots of slanted faces, and those of a U, stand aside of what is below them
UNDER_MM = 0.35
ELSEWHERE_REACH_MM = 0.3
USUAL_TOLERANCE = 0.3  # of the diameter of the page's other dots. Such marks may be
COLON_MM, COLON_ASIDE_MM = 1.7, 0.3  # upper dots of colons,
TAIL_MM, TAIL_ASIDE_MM = 0.8, 0.3  # or tails that came off a y
FOOT_OPEN_MM = 0.35  # so far below a foot there is no ink,
FOOT_LETTER_MM = (0.7, 2.4)  # and so far above it there is, or it is a dash's
FOOT_ASIDE_MM, FOOT_LEVELS_MM = 6.0, 2.0  # around a mark in which the line's feet are looked for
FOOT_OFF_MM = 0.12
FOOT_LEAST_MM, FOOT_SHARE = 2.0, 0.25  # of feet on the level that has most; and of those, on a mark's own
# Quotes and primes hang from the heads of capitals: so many of those on their tops' level, to feet on theirs. Over a
# head there is more paper than within an a.
HEAD_SHARE, HEAD_OPEN_MM = 0.15, 0.9
# The stops of light faces are thin, but follow a letter, and stand as low as its foot. Where they are single pixels
# even the space before the point of .78 may lie between.
STOP_AFTER_MM, STOP_OFF_PX, PIXEL_STOP_MM = 0.6, 0.5, 1.1

# The two dots of an umlaut hold each other: level, of one size, over a letter
TWIN_GAP_MM, TWIN_OVER_MM, TWIN_ASIDE_MM = (0.2, 1.0), 0.95, 0.3
TWIN_OFF_MM, TWIN_OFF_PX = 0.03, 0.75
TWIN_TOLERANCE, TWIN_GRAIN_PX = 0.12, 0.5  # of diameters

# Dashes are no dust
DASH_SLENDER = 2.4  # length squared by area; a disc has 1.3
DASH_MM = 0.3
# and the bits of a hairline that fell apart lie end to end
HAIRLINE_GAP_MM = 0.3

# Pieces of one broken letter
PIECES_GAP_MM = 0.2

# Marks somewhat larger than dirt are safe, and keep smaller ones in their row
ROW_SIZES = 1.8

# Leaders, dotted rules, dot-matrix print: three evenly spaced on one level or plumb line
ROW_GAP_MM = (0.3, 12.0)  # wide leaders of wide faces stand 10.1 mm apart in 12 points
ROW_SLOPE = 0.05
ROW_OFF_MM = 0.08
ROW_GAP_TOLERANCE = 0.07
ROW_AREA_RATIO = 3.0
ROW_SMALLEST_MM2 = 0.02  # 3 pixels at 300 dpi: smaller ones fall into line by chance, unless five do at close pitch
ROW_BAND_MM = 0.5
ROW_NEIGHBOURS = 4
TINY_ROW_DOTS, TINY_GAP_MM = 5, 3.2

# Points alone in the cells of a table
LINE_REACH_MM = (70.0, 30.0)  # to a dot of the same size, level or plumb
LINE_OFF_MM, LINE_SLOPE = 0.1, 0.02
# All small marks of print tell how far its lines are turned, within 0.002 on 60 drawn pages; so fewer specks fall into
# line with a dot by chance.
SLOPE_MARKS, SLOPE_BIN_MM, SLOPE_STEP, SLOPE_PEAK = 30, 0.25, 0.001, 2.0
SLOPE_ERROR = 0.0025
LINE_SIZE_TOLERANCE, LINE_SIZE_GRAIN_PX = 0.09, 0.4  # of diameters
LINE_ROUNDS = 2  # the point of a row without other writing is held by the point above it
# One dot in line with a mark may be chance, the more so the smaller both are: dirt of one pixel has one size. Of 283
# specks that one dot held 90 measured less than 0.25 mm, of 30 points of tables none; but i-dots that stand high above
# light print measure 0.23.
LINE_LEAST_MM, LINE_SURE_MM = 0.1, STOP_MM  # smaller ones are no points; larger ones are held by one dot
LINE_DOTS = (2, 3)  # how many hold one between them, and one that is too thin for a stop
COLUMN_MM = (3.0, 15.0)  # and to other writing in its column

# Points of a diagram: most marks have one size, as dirt has not, and they stay out of the margins, as dirt does not
ALIKE_MM = 0.2
ALIKE_MARKS = 8
ALIKE_RATIO = 1.15
ALIKE_SHARE = 0.8
ALIKE_MARGIN_MM, ALIKE_IN_MARGIN = 10.0, 0.05

# Pale writing falls apart into such marks. So many, each so close to the next, are more than chance brings together
# where a hundred specks lie on 100 square centimetres. Where most of them are a row, the rest is dirt beside it.
GATHERED, GATHERED_GAP_MM, GATHERED_SHARE = 5, 1.0, 0.25
GATHERED_GRID_MM = 0.2

# Of print that hardly came out, marks as small as dirt are left, and dirt cannot be told from them by size. Of
# 1,780 pages as drawn eight whose print had vanished had 3 small living marks or more to each larger one; the others,
# with leaders, dotted rules and all, up to 1.4. Among much dirt on a page of few words some live by chance.
VANISHED_RATIO, VANISHED_SHARE = 2.0, 0.25

# What is left of print that vanished from a part of the page stands on the levels of its lines. By how many standard
# deviations more pairs stand level than chance brings there: on 716 dirty pages as drawn up to 5.4, on six of vanished
# print 9 to 58.
LEVEL_DEVIATIONS, LEVEL_MARKS, LEVEL_AROUND_MM = 7.0, 50, 15.0

# Step 5: where dots stand this close they are a picture
TILE_MM = 10.0
TILE_DOTS = 40  # 60 by IMAGING; a stippled drawing lost dots, dense print with accents stays below 30
TILE_GRID_MM = 1.0

# Where so few marks would go there is nothing to clean, and each may be the one point that no rule knew.
LEAST_MARKS = 8

# Step 6. What no rule above knows and what lies so far from all larger ink is most of the dirt of a dusty page, and
# there is the more of it, measured by the ink, the less is written.
LONE_MM = 3.0
TINY_MM = 0.17
BLOCK_PAIRS = 256


class Settings(StageSettings):
    """Settings of `despeckle`.

    Marks of `safe_mm` or more, across or along, are never touched. What would go from within 3 mm of larger ink might
    have been writing: if it is more than `cautious_ink_fraction` of the page's ink, only marks up to 0.17 mm go from
    there; beyond `most_ink_fraction` nothing goes at all. Dust falls on the sheet, however little is written on it, so
    what lies farther off is held against the sheet's area: beyond `most_sheet_fraction` of it the page may be a picture
    in dots, and nothing goes. If more than `cautious_marks` marks would go, only those up to 0.17 mm do.
    """

    safe_mm: float = Field(0.5, gt=0, le=2)
    cautious_ink_fraction: float = Field(0.003, ge=0, le=1)
    cautious_marks: int = Field(2000, ge=0)
    most_ink_fraction: float = Field(0.01, ge=0, le=1)
    most_sheet_fraction: float = Field(0.0005, ge=0, le=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """Marks too small to be safe: box, ink and centre of its ink of each, in full-size pixels.

    `rows` and `cols` list their pixels on the grid on which they were labelled; `owner` says whose each of them is.
    """

    left: Numbers
    top: Numbers
    right: Numbers
    bottom: Numbers
    area: Numbers
    across: Numbers
    down: Numbers
    rows: Indices
    cols: Indices
    owner: Indices

    def __len__(self) -> int:
        return len(self.area)


def despeckle(page: PageImage, settings: Settings) -> PageImage:
    """Remove small marks that lie out of reach of any writing; size and dpi stay.

    A small mark lives if something larger is near, the nearer the smaller it is, up and down less far than
    sideways, and so on from mark to mark (stops, dots, accents, quotes); among writing it must be about as thick as
    the strokes, and beside a line of print stand on its feet, over a letter or close under one. Thinner ones live
    as stops on the foot of a letter, as the two dots of an umlaut, and in letters where many lie there. It lives if
    it is a dash, a piece of a broken letter, one of an even row (leaders, dotted rules), level or plumb with a dot
    of its size in a table, touched by the frame of the image, one of a cluster (pale writing that fell apart) or of
    very many (a picture in dots), if most are of its size (a diagram), or if hardly another one would go: dust comes
    in numbers. Where most of the marks that stay are as small as dirt, nothing goes. Works on bitonal pages only,
    because dirt is told from ink by shape alone. If nothing is removed the page comes back as it is, with its scanner's
    stream.

    Readings: `removed` (marks), `removed_ink_fraction`, `cautious` (whether a limit kept larger marks),
    `declined` (why nothing was tried or done, else None).

    Source: the reach rule follows the idea described in ScanTailor's manual; figures from the project's own pages.
    """
    if not page.is_bitonal:
        return _answered(page, declined="not bitonal")
    if page.is_dpi_guessed:
        return _answered(page, declined="resolution is guessed")
    ink = ~np.asarray(page.pixels, dtype=np.bool_)
    ink_px = int(np.count_nonzero(ink))
    step = 2 if page.dpi >= HALVING_DPI else 1
    marks, safe, larger = _small_marks(ink, ROW_SIZES * page.px(settings.safe_mm), step)
    if not len(marks):
        return _answered(page)
    is_large = _longer_side(marks) >= page.px(settings.safe_mm)
    safe = _with_marks(safe, marks, is_large)
    sums = _sums(safe)
    alive = _living(marks, safe, sums, ink, page, settings.safe_mm, step)
    dirt = np.flatnonzero(~alive)
    if len(dirt) < LEAST_MARKS:
        return _answered(page)
    small = np.count_nonzero(alive & ~is_large)
    if small > VANISHED_RATIO * (larger + np.count_nonzero(is_large)) and small > VANISHED_SHARE * len(marks):
        return _answered(page, declined="most of the marks that stay are as small as dirt")
    if _on_levels(marks, dirt, page, step):
        return _answered(page, declined="what would go stands in lines, as letters do")
    lone = _lone(marks, sums, page, step)[dirt]
    fraction = float(marks.area[dirt[~lone]].sum()) / ink_px
    if fraction > settings.most_ink_fraction:
        return _answered(page, declined=f"{100 * fraction:.1f} % of the ink would go from beside the writing")
    if not safe.any() or marks.area[dirt[lone]].sum() > settings.most_sheet_fraction * ink.size:
        return _answered(page, declined=f"{len(dirt)} marks would go, too many to be dirt on so little writing")
    is_tiny = _longer_side(marks)[dirt] <= max(step, page.px(TINY_MM))
    if len(dirt) > settings.cautious_marks:
        sure = is_tiny
    elif fraction > settings.cautious_ink_fraction:
        sure = is_tiny | lone
    else:
        sure = np.ones(len(dirt), np.bool_)
    gone = dirt[sure]
    cleaned = page if not gone.size else page.with_pixels(_without(np.asarray(page.pixels), marks, gone, step))
    removed_px = float(marks.area[gone].sum())
    return _answered(cleaned, removed=len(gone), ink_fraction=removed_px / ink_px, cautious=not sure.all())


def _answered(
    page: PageImage, *, removed: int = 0, ink_fraction: float = 0.0, cautious: bool = False, declined: str | None = None
) -> PageImage:
    return page.with_readings(
        "despeckle", removed=removed, removed_ink_fraction=ink_fraction, cautious=cautious, declined=declined
    )


def _small_marks(ink: Mask, safe_px: float, step: int) -> tuple[_Marks, Map, int]:
    """The marks smaller than `safe_px`, a map (on the labels' grid) of all other ink, and how many pieces that has."""
    seen = _pooled(ink) if step == 2 else ink.view(np.uint8)
    count, labels = cv2.connectedComponents(seen, connectivity=8, ltype=cv2.CV_32S)
    inked = np.flatnonzero(seen.view(np.bool_))  # four times as fast as on bytes
    inked_by = np.asarray(labels, dtype=np.int32).ravel()[inked]
    # boxes of all components would take four times as long as the labels: first those with too many pixels drop out
    seen_px = np.bincount(inked_by, minlength=count)
    owner, few, chosen = _renumbered(inked_by, (seen_px > 0) & (seen_px <= ((safe_px + step - 1) / step) ** 2))
    rows, cols = np.divmod(inked[chosen], seen.shape[1])
    top, left = (_least(places, owner, few) for places in (rows, cols))
    # a mark seen at half size covers up to one full-size pixel more than it has
    height, width = (
        (1 - _least(-places, owner, few) - first) * step - (step - 1) for places, first in ((rows, top), (cols, left))
    )
    is_small = (width < safe_px) & (height < safe_px)
    owner, few, chosen = _renumbered(owner, is_small)
    rows, cols = rows[chosen], cols[chosen]
    safe = seen.copy()
    safe[rows, cols] = 0
    area, across, down = np.zeros((3, few))
    for y, x in np.ndindex(step, step):
        full_rows, full_cols = rows * step + y, cols * step + x
        inside = (full_rows < ink.shape[0]) & (full_cols < ink.shape[1])
        inside[inside] = ink[full_rows[inside], full_cols[inside]]
        area += np.bincount(owner[inside], minlength=few)
        across += np.bincount(owner[inside], weights=full_cols[inside], minlength=few)
        down += np.bincount(owner[inside], weights=full_rows[inside], minlength=few)
    marks = _Marks(
        left=left[is_small] * step,
        top=top[is_small] * step,
        right=left[is_small] * step + width[is_small],
        bottom=top[is_small] * step + height[is_small],
        area=area,
        across=across / np.maximum(area, 1),
        down=down / np.maximum(area, 1),
        rows=rows,
        cols=cols,
        owner=owner,
    )
    return marks, safe, count - 1 - few


def _renumbered(numbers: npt.NDArray[np.integer], taken: Mask) -> tuple[Indices, int, Mask]:
    """The numbers of those taken, counted anew from 0; how many are taken; and which of `numbers` are theirs."""
    place = np.cumsum(taken) - 1
    chosen = taken[numbers]
    return place[numbers[chosen]], int(np.count_nonzero(taken)), np.asarray(chosen)


def _least(places: Indices, owner: Indices, count: int) -> Numbers:
    least = np.full(count, np.inf)
    np.minimum.at(least, owner, places)
    return least


def _pooled(ink: Mask) -> Map:
    """Half the size: 1 where any of 2 x 2 pixels is ink."""
    seen = ink.view(np.uint8)
    if ink.shape[0] % 2 or ink.shape[1] % 2:
        seen = np.pad(seen, ((0, ink.shape[0] % 2), (0, ink.shape[1] % 2)))
    pairs = np.asarray(cv2.bitwise_or(seen[::2], seen[1::2]))
    # two columns read as one number of 16 bits
    return np.asarray(pairs.view(np.uint16) != 0).view(np.uint8)


def _living(marks: _Marks, safe: Map, sums: Sums, ink: Mask, page: PageImage, safe_mm: float, step: int) -> Mask:
    """Which of the marks belong to writing or to a picture; `safe` is all larger ink, `sums` its integral."""
    # what costs little first: a page of noise is all crowded, and few marks are left to be held against one another
    crowded = _crowded(marks, page)
    alive = crowded | _dashes(marks, page) | (_longer_side(marks) >= page.px(safe_mm))
    alive |= _cut_off(marks, page) & ~_lone(marks, sums, page, step)
    held = _at_letters(marks, alive, safe, sums, _strokes(ink, marks, page), page, step)
    alive |= held.near
    newly = np.flatnonzero(alive)
    for _ in range(ROUNDS - 1):
        newly = _reached(marks, np.flatnonzero(~alive), newly, held.onwards, held.down)
        if not newly.size:
            break
        alive[newly] = True
    apart = np.flatnonzero(~alive)
    alive |= _pieces(marks, apart, page, safe_mm)
    alive |= _in_rows(marks, alive, page)
    beside, above = (np.full(len(marks), page.px(mm)) for mm in COLUMN_MM)
    likely = ~alive & _ink_around(marks, sums, beside, above, step)
    if likely.any():
        lines = _slope(marks, alive, page)
        for _ in range(LINE_ROUNDS):
            newly = np.flatnonzero(_in_line(marks, likely & ~alive, alive & ~crowded, held.tiny, lines, page))
            if not newly.size:
                break
            alive[newly] = True
            alive[_reached(marks, np.flatnonzero(~alive & ~held.tiny), newly, held.across, held.down)] = True
    alive |= _gathered(marks, apart, ~alive, page)
    return np.asarray(alive | _alike(marks, ~alive, page))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Which marks lie `near` letters, which are too `tiny` for dots of this page, and what they reach in pixels.

    They reach `across` and `down`, and sideways from one small mark to the next `onwards`.
    """

    near: Mask
    tiny: Mask
    across: Numbers
    down: Numbers
    onwards: Numbers


def _at_letters(
    marks: _Marks, alive: Mask, safe: Map, sums: Sums, strokes: Numbers, page: PageImage, step: int
) -> _Held:
    """What the letters hold; `alive` are marks that live whatever is near."""
    across, down, tiny = _reaches(marks, strokes, math.inf, page)
    near = _near_safe(marks, sums, across, down, step)
    usual_px = _usual_dot_px(marks, near & ~alive)
    across, down, tiny = _reaches(marks, strokes, usual_px, page)
    unlike_px = np.abs(_diameter(marks) + GRAIN_PX / 2 - usual_px)
    usual = unlike_px <= USUAL_TOLERANCE * usual_px + GRAIN_PX
    mm = page.px(1.0) / step
    feet = _sums(_feet(safe, FOOT_OPEN_MM, mm))
    heads = _sums(_feet(safe[::-1], HEAD_OPEN_MM, mm)[::-1])
    elsewhere = _elsewhere(marks, feet, heads, usual & ~tiny, sums, down, page, step)
    elsewhere &= ~(usual & ~tiny & _ink_within(marks, sums, TAIL_ASIDE_MM, (TAIL_MM, 0.0), page, step))
    elsewhere &= ~(usual & _over_dots(marks, near & ~elsewhere, safe, page, step))
    across = np.where(elsewhere, np.minimum(across, page.px(ELSEWHERE_REACH_MM)), across)
    close = np.where(elsewhere, np.minimum(down, page.px(ELSEWHERE_REACH_MM)), down)
    unlike = tiny & (unlike_px > LIKE_TOLERANCE * usual_px + GRAIN_PX / 2)
    close = np.where(unlike, np.minimum(close, page.px(UNLIKE_REACH_MM)), close)
    near = _near_safe(marks, sums, across, close, step)
    near |= _stops(marks, feet, strokes, page, step) | _twins(marks, sums, page, step)
    onwards = REACH_ON * across
    doubtful = _reaches(marks, _known(strokes), usual_px, page)[2] & ~near & ~alive
    may_be, is_sure = _splintered(marks, strokes, doubtful, safe, page, step)
    if may_be:
        near |= _in_letters(marks, sums, page, step)
    if is_sure:
        wide = np.full(len(marks), page.px(THIN_WIDE_MM))
        onwards, down = (np.where(tiny, wide, reach) for reach in (onwards, down))
        near |= doubtful & _near_safe(marks, sums, wide, wide, step)
    return _Held(near=near, tiny=tiny, across=across, down=down, onwards=onwards)


def _diameter(marks: _Marks) -> Numbers:
    return np.asarray(np.sqrt(marks.area * (4 / np.pi)))


def _longer_side(marks: _Marks) -> Numbers:
    return np.asarray(np.maximum(marks.right - marks.left, marks.bottom - marks.top))


def _dashes(marks: _Marks, page: PageImage) -> Mask:
    return np.asarray(_is_slender(marks) & (_longer_side(marks) >= page.px(DASH_MM)))


def _is_slender(marks: _Marks) -> Mask:
    return np.asarray(_longer_side(marks) ** 2 >= DASH_SLENDER * marks.area)


def _cut_off(marks: _Marks, page: PageImage) -> Mask:
    """Which marks touch the frame of the image: nobody knows how large they are."""
    right, bottom = page.width_px, page.height_px
    return np.asarray((marks.left <= 1) | (marks.top <= 1) | (marks.right >= right - 1) | (marks.bottom >= bottom - 1))


def _reaches(marks: _Marks, stroke_px: Numbers, usual_dot_px: float, page: PageImage) -> tuple[Numbers, Numbers, Mask]:
    """How far each mark may lie from what it belongs to, sideways and up or down; and which are too small for dots."""
    diameter = _diameter(marks)
    # where the dots are larger than any dirt, what stands at the letters is dirt, and says nothing of them
    dot_px = np.maximum(usual_dot_px, LEAST_DOT_STROKES * stroke_px)
    lone_pixel = _is_lone_pixel(marks, page) & (_known(stroke_px) >= PIXEL_STROKES_PX)
    stroke_px = np.minimum(stroke_px, dot_px / USUAL_DOT_STROKES)
    no_stop = diameter + GRAIN_PX / 2 < np.minimum(page.px(STOP_MM), LEAST_STOP * dot_px)
    least_px = page.px(LEAST_REACH_MM)
    across = np.where(no_stop, page.px(NO_STOP_REACH_MM), np.maximum(REACH_DIAMETERS[0] * diameter, least_px))
    down = np.maximum(REACH_DIAMETERS[1] * diameter, least_px)
    for strokes, sideways_mm, upright_mm in THIN_REACH_MM:
        thin = diameter + GRAIN_PX / 2 < strokes * stroke_px
        across = np.where(thin, np.minimum(across, page.px(sideways_mm)), across)
        down = np.where(thin, np.minimum(down, page.px(upright_mm)), down)
    across, down = (
        np.where(lone_pixel, np.minimum(reach, page.px(least_mm)), reach)
        for reach, least_mm in zip((across, down), PIXEL_REACH_MM, strict=True)
    )
    slender = _is_slender(marks)
    across, down = (np.where(slender, np.maximum(reach, page.px(HAIRLINE_GAP_MM)), reach) for reach in (across, down))
    across, down = (np.maximum(reach, LEAST_REACH_PX) for reach in (across, down))
    is_thin = diameter + GRAIN_PX / 2 < THIN_REACH_MM[0][0] * stroke_px
    return across, down, np.asarray(is_thin | no_stop | lone_pixel)


def _is_lone_pixel(marks: _Marks, page: PageImage) -> Mask:
    """Which marks are one pixel, where pixels are as large as dots."""
    return np.asarray((marks.area <= 1) & (page.px(PIXEL_MM) < 1))


def _strokes(ink: Mask, marks: _Marks, page: PageImage) -> Numbers:
    """How thick the strokes are around each mark, in pixels; 0 where there is too little ink to know."""
    if min(ink.shape) < 2 * STROKE_SAMPLE:
        return np.zeros(len(marks))
    tile = STROKE_SAMPLE * max(1, round(page.px(STROKE_TILE_MM) / STROKE_SAMPLE))
    rows, cols = ink[::STROKE_SAMPLE].view(np.uint8), np.ascontiguousarray(ink[:, ::STROKE_SAMPLE]).view(np.uint8)
    inked = _tile_shares(rows, (tile, tile // STROKE_SAMPLE))
    # pixels where a row goes from paper to ink or back, and a column
    across = _tile_shares(cv2.absdiff(rows[:, 1:], rows[:, :-1]), (tile, tile // STROKE_SAMPLE))
    down = _tile_shares(cv2.absdiff(cols[1:], cols[:-1]), (tile // STROKE_SAMPLE, tile))
    high, wide = (min(each.shape[axis] for each in (inked, across, down)) for axis in (0, 1))
    inked, across, down = (
        np.asarray(cv2.blur(each[:high, :wide], (STROKE_TILES, STROKE_TILES)), np.float32)
        for each in (inked, across, down)
    )
    # the outline of a shape is pi / 4 of the times that rows and columns cross it (Cauchy and Crofton), and a stroke
    # has two sides
    stroke = np.where(inked >= STROKE_LEAST_INK, 2 * inked / np.maximum(np.pi / 4 * (across + down), 1e-6), 0)
    known = stroke[stroke > 0]
    if not known.size:
        return np.zeros(len(marks))
    most = min(float(np.quantile(known, STROKE_QUANTILE)), page.px(STROKE_MOST_MM))
    at = (
        np.minimum(marks.down // tile, high - 1).astype(np.intp),
        np.minimum(marks.across // tile, wide - 1).astype(np.intp),
    )
    return np.asarray(np.minimum(stroke[at], most), dtype=np.float64)


def _known(stroke_px: Numbers) -> Numbers:
    """The same, and the page's thickest where it is not known: dirt far from print is dirt as well."""
    return np.asarray(np.where(stroke_px > 0, stroke_px, stroke_px.max(initial=0)))


def _usual_dot_px(marks: _Marks, dots: Mask) -> float:
    """How broad the dots at the letters are, half a pixel added; as broad as you like if they are too few to say."""
    if np.count_nonzero(dots) < USUAL_DOTS:
        return math.inf
    return float(np.median(_diameter(marks)[dots])) + GRAIN_PX / 2


def _tile_shares(ones: npt.NDArray[np.generic], tile: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Which share of each tile (columns, rows) is 1; tiles cut by the edge count as whole."""
    rows, cols = ones.shape
    filled = cv2.copyMakeBorder(
        np.asarray(ones, np.uint8) * np.uint8(255), 0, -rows % tile[1], 0, -cols % tile[0], cv2.BORDER_CONSTANT
    )
    size = (filled.shape[1] // tile[0], filled.shape[0] // tile[1])
    return np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_AREA), dtype=np.float32) / np.float32(255)


def _near_safe(marks: _Marks, sums: Sums, across: Numbers, down: Numbers, step: int) -> Mask:
    """Which marks have safe ink within their reach, an ellipse made of three boxes."""
    near = np.zeros(len(marks), np.bool_)
    for wide, high in ((1.0, 0.3), (ROUND, ROUND), (0.3, 1.0)):
        near |= _ink_around(marks, sums, wide * across, high * down, step)
    return near


def _elsewhere(
    marks: _Marks, feet: Sums, heads: Sums, may_hang: Mask, sums: Sums, down: Numbers, page: PageImage, step: int
) -> Mask:
    """Which marks stand beside a line of print, and neither on its feet nor over or close under a letter.

    Some `may_hang` from the line of the letters' heads (quotes and primes).
    """
    aside = np.full(len(marks), page.px(OVER_ASIDE_MM))
    placed = _ink_around(marks, sums, aside, np.zeros(len(marks)), step, below=down)
    placed |= _ink_within(marks, sums, 0.0, (UNDER_MM, 0.0), page, step)
    asked = np.flatnonzero(~placed)
    elsewhere = np.zeros(len(marks), np.bool_)
    if not asked.size:
        return elsewhere
    mm = page.px(1.0) / step
    high, wide = feet.shape[0] - 1, feet.shape[1] - 1
    left = np.maximum(0, marks.left[asked] / step - FOOT_ASIDE_MM * mm).astype(np.intp)
    right = np.minimum(wide, marks.right[asked] / step + FOOT_ASIDE_MM * mm).astype(np.intp)
    off = FOOT_OFF_MM * mm + GRAIN_PX / 2

    def on_level(ends: Sums, level: Numbers) -> Sums:
        top, end = (np.clip(edge, 0, high).astype(np.intp) for edge in (np.floor(level - off), np.ceil(level + off)))
        return _in_boxes(ends, left, top, right, end)

    foot, head = marks.bottom[asked] / step, marks.top[asked] / step
    levels = round(FOOT_LEVELS_MM * mm / off)
    most = np.max([on_level(feet, foot + steps * off) for steps in range(-levels, levels + 1)], axis=0)
    elsewhere[asked] = (most >= FOOT_LEAST_MM * mm) & (on_level(feet, foot) < FOOT_SHARE * most)
    elsewhere[asked] &= ~(may_hang[asked] & (on_level(heads, head) >= HEAD_SHARE * most))
    return elsewhere


def _stops(marks: _Marks, feet: Sums, strokes: Numbers, page: PageImage, step: int) -> Mask:
    """Which marks end level with the foot of a letter just before them.

    A single pixel may also stand after or before one at a distance where strokes are as fine, and is no stop elsewhere.
    """
    mm = page.px(1.0) / step
    high, wide = feet.shape[0] - 1, feet.shape[1] - 1
    level = marks.bottom / step
    top = np.clip(np.floor(level - STOP_OFF_PX), 0, high).astype(np.intp)
    end = np.clip(np.ceil(level + STOP_OFF_PX), 0, high).astype(np.intp)
    is_pixel = _is_lone_pixel(marks, page)
    before = np.where(is_pixel, PIXEL_STOP_MM, STOP_AFTER_MM) * mm
    left = np.clip(marks.left / step - before, 0, wide).astype(np.intp)
    right = np.where(is_pixel, marks.right / step + PIXEL_STOP_MM * mm, marks.left / step)
    level_with = _in_boxes(feet, left, top, np.clip(right, 0, wide).astype(np.intp), end) > 0
    return np.asarray(level_with & ~(is_pixel & (_known(strokes) >= PIXEL_STROKES_PX)))


def _twins(marks: _Marks, sums: Sums, page: PageImage, step: int) -> Mask:
    """Which marks stand over a letter with another one of their size beside them: the dots of an umlaut."""
    over = np.flatnonzero(_ink_within(marks, sums, TWIN_ASIDE_MM, (0.0, TWIN_OVER_MM), page, step))
    diameter = _diameter(marks)
    twins = np.zeros(len(marks), np.bool_)
    for block, near, gap_x, _ in _pairs(marks, over, over, GRAIN_PX):
        one, other = diameter[block][:, None], diameter[near]
        pair = np.abs(one - other) <= TWIN_TOLERANCE * np.maximum(one, other) + TWIN_GRAIN_PX
        pair &= np.abs(marks.down[block][:, None] - marks.down[near]) <= page.px(TWIN_OFF_MM) + TWIN_OFF_PX
        pair &= (gap_x >= page.px(TWIN_GAP_MM[0])) & (gap_x <= page.px(TWIN_GAP_MM[1]))
        twins[block] |= pair.any(axis=1)
    return twins


def _over_dots(marks: _Marks, dots: Mask, safe: Map, page: PageImage, step: int) -> Mask:
    """Which marks may be the upper dots of colons, for there is a dot or a comma below them."""
    sums = _sums(_with_marks(safe, marks, dots))
    return _ink_within(marks, sums, COLON_ASIDE_MM, (0.0, COLON_MM), page, step)


def _feet(safe: Map, open_mm: float, mm: float) -> Map:
    """The lowest pixels of letters with so much paper below, where a millimetre has `mm` pixels.

    Of a map on its head they are the highest.
    """
    safe = np.ascontiguousarray(safe)
    first, last = (max(1, round(reach * mm)) for reach in FOOT_LETTER_MM)
    above, below = np.zeros_like(safe), np.zeros_like(safe)
    reach = last - first
    above[first:] = cv2.dilate(safe, np.ones((reach + 1, 1), np.uint8), anchor=(0, reach))[:-first]
    opened = np.ones((max(1, round(open_mm * mm)), 1), np.uint8)
    below[:-1] = cv2.dilate(safe, opened, anchor=(0, 0))[1:]
    return np.asarray(safe & above & (1 - below))


def _splintered(
    marks: _Marks, strokes: Numbers, doubtful: Mask, safe: Map, page: PageImage, step: int
) -> tuple[bool, bool]:
    """Whether more thin marks lie around letters than dirt far from them makes likely: their hairlines fell apart.

    The first says that they may have, since chance alone seldom brings so many there; the second that they have.
    """
    thin = (_diameter(marks) + GRAIN_PX / 2 < SPLINTER_STROKES * _known(strokes)) & (
        _longer_side(marks) < page.px(DASH_MM)
    )
    if min(safe.shape) < SPLINTER_SAMPLE or not (thin | doubtful).any():
        return False, False
    away_px = np.asarray(cv2.distanceTransform(1 - safe, cv2.DIST_C, 3), dtype=np.float32)
    rows = np.minimum(marks.down / step, safe.shape[0] - 1).astype(np.intp)
    cols = np.minimum(marks.across / step, safe.shape[1] - 1).astype(np.intp)
    of_marks = away_px[rows, cols]
    of_sheet = away_px[::SPLINTER_SAMPLE, ::SPLINTER_SAMPLE]

    def within(some: npt.NDArray[np.float32], inner_mm: float, outer_mm: float) -> int:
        inner_px, outer_px = (page.px(mm) / step for mm in (inner_mm, outer_mm))
        return int(np.count_nonzero((some > inner_px) & (some <= outer_px)))

    far = max(1, within(of_sheet, LONE_MM, math.inf))
    may_be = False
    for some, band in [*((thin, band) for band in SPLINTER_BANDS_MM), (doubtful, (0.0, THIN_WIDE_MM))]:
        likely = within(of_marks[some], LONE_MM, math.inf) / far * within(of_sheet, *band)
        there = within(of_marks[some], *band)
        if there > SPLINTER_RATIO * likely + SPLINTER_MORE:
            return True, True
        may_be |= there > likely + SPLINTER_DEVIATIONS * math.sqrt(likely)
    return may_be, False


def _in_letters(marks: _Marks, sums: Sums, page: PageImage, step: int) -> Mask:
    """Which marks have ink on two of their four sides, as the bits of a letter's hairlines have."""
    high, wide = sums.shape[0] - 1, sums.shape[1] - 1
    left, top = (np.floor(edge / step).astype(np.intp) for edge in (marks.left, marks.top))
    right = np.minimum(wide, np.ceil(marks.right / step)).astype(np.intp)
    bottom = np.minimum(high, np.ceil(marks.bottom / step)).astype(np.intp)
    reach = round(page.px(IN_LETTER_MM) / step)
    sides = (
        (np.maximum(0, left - reach), top, left, bottom),
        (right, top, np.minimum(wide, right + reach), bottom),
        (left, np.maximum(0, top - reach), right, top),
        (left, bottom, right, np.minimum(high, bottom + reach)),
    )
    return np.asarray(np.sum([_in_boxes(sums, *side) > 0 for side in sides], axis=0) >= IN_LETTER_SIDES)


def _on_levels(marks: _Marks, dirt: Indices, page: PageImage, step: int) -> bool:
    """Whether so many of these marks end level with each other, along lines of any slope that print may have."""
    if len(dirt) < LEVEL_MARKS:
        return False
    around = 2 * round(page.px(LEVEL_AROUND_MM) / step / 2) + 1
    for slope in np.arange(-LINE_SLOPE - SLOPE_STEP, LINE_SLOPE + 1.5 * SLOPE_STEP, SLOPE_STEP):
        levels = np.floor((marks.bottom[dirt] - slope * marks.across[dirt]) / step).astype(np.intp)
        counts = np.bincount(levels - levels.min()).astype(np.float32)
        density = cv2.blur(counts[:, None], (1, around), borderType=cv2.BORDER_REFLECT).ravel()
        pairs, likely = float(np.sum(counts * (counts - 1))), float(np.sum(density**2))
        if pairs > likely + LEVEL_DEVIATIONS * math.sqrt(2 * likely):
            return True
    return False


def _ink_around(
    marks: _Marks,
    sums: Sums,
    across: Numbers,
    down: Numbers,
    step: int,
    *,
    below: Numbers | None = None,
) -> Mask:
    """Which marks have ink, of which `sums` is the integral, in the box that reaches so far beyond their own.

    It reaches down to `below` if not as far as up.
    """
    high, wide = sums.shape[0] - 1, sums.shape[1] - 1
    left = np.maximum(0, np.floor((marks.left - across) / step)).astype(np.intp)
    top = np.maximum(0, np.floor((marks.top - down) / step)).astype(np.intp)
    right = np.minimum(wide, np.ceil((marks.right + across) / step)).astype(np.intp)
    bottom = np.minimum(high, np.ceil((marks.bottom + (down if below is None else below)) / step)).astype(np.intp)
    return _in_boxes(sums, left, top, right, bottom) > 0


def _ink_within(
    marks: _Marks, sums: Sums, aside_mm: float, over_under_mm: tuple[float, float], page: PageImage, step: int
) -> Mask:
    """Which marks have ink in the box that reaches so many millimetres to both sides, up, and down."""
    aside, above, below = (np.full(len(marks), page.px(mm)) for mm in (aside_mm, *over_under_mm))
    return _ink_around(marks, sums, aside, above, step, below=below)


def _with_marks(safe: Map, marks: _Marks, some: Mask) -> Map:
    """A copy of a map with these marks drawn into it."""
    drawn = safe.copy()
    chosen = some[marks.owner]
    drawn[marks.rows[chosen], marks.cols[chosen]] = 1
    return drawn


def _sums(ones: Map) -> Sums:
    return np.asarray(cv2.integral(np.ascontiguousarray(ones)), dtype=np.int32)


def _in_boxes(sums: Sums, left: Indices, top: Indices, right: Indices, bottom: Indices) -> Sums:
    return np.asarray(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])


def _reached(marks: _Marks, waiting: Indices, newly: Indices, across: Numbers, down: Numbers) -> Indices:
    """Those `waiting` marks that have one of the `newly` kept ones, of comparable size, within their reach."""
    found = []
    for block, near, gap_x, gap_y in _pairs(marks, waiting, newly, float(down[waiting].max(initial=0))):
        fits = (gap_x / across[block][:, None]) ** 2 + (gap_y / down[block][:, None]) ** 2 <= 1
        fits &= marks.area[near][None] >= COMPARABLE_AREA * marks.area[block][:, None]
        found.append(block[fits.any(axis=1)])
    return np.concatenate(found) if found else np.zeros(0, np.intp)


def _pairs(
    marks: _Marks, some: Indices, others: Indices, reach_px: float
) -> Iterator[tuple[Indices, Indices, Numbers, Numbers]]:
    """Blocks of `some` with those `others` that lie no further above or below, and the gaps between their boxes."""
    if not some.size or not others.size:
        return
    some = some[np.argsort(marks.top[some])]
    others = others[np.argsort(marks.top[others])]
    tops = marks.top[others]
    tallest = float((marks.bottom - marks.top)[others].max())
    for start in range(0, some.size, BLOCK_PAIRS):
        block = some[start : start + BLOCK_PAIRS]
        first = np.searchsorted(tops, marks.top[block].min() - reach_px - tallest)
        last = np.searchsorted(tops, marks.bottom[block].max() + reach_px, side="right")
        near = others[first:last]
        if near.size:
            yield (
                block,
                near,
                _gap(marks.left[block], marks.right[block], marks.left[near], marks.right[near]),
                _gap(marks.top[block], marks.bottom[block], marks.top[near], marks.bottom[near]),
            )


def _gap(low_a: Numbers, high_a: Numbers, low_b: Numbers, high_b: Numbers) -> Numbers:
    """How far apart each of a's spans is from each of b's; 0 where they overlap."""
    return np.asarray(np.maximum(0.0, np.maximum(low_a[:, None] - high_b[None], low_b[None] - high_a[:, None])))


def _pieces(marks: _Marks, dead: Indices, page: PageImage, safe_mm: float) -> Mask:
    """Which of the dead lie so close to another that together they are larger than dirt."""
    together = np.zeros(len(marks), np.bool_)
    gap_px = page.px(PIECES_GAP_MM)
    for block, near, gap_x, gap_y in _pairs(marks, dead, dead, gap_px):
        wide = np.maximum(marks.right[block][:, None], marks.right[near]) - np.minimum(
            marks.left[block][:, None], marks.left[near]
        )
        high = np.maximum(marks.bottom[block][:, None], marks.bottom[near]) - np.minimum(
            marks.top[block][:, None], marks.top[near]
        )
        close = (np.maximum(gap_x, gap_y) <= gap_px) & (np.maximum(wide, high) >= page.px(safe_mm))
        together[block] |= close.any(axis=1)
    return together


def _in_line(marks: _Marks, likely: Mask, dots: Mask, tiny: Mask, lines: tuple[float, float], page: PageImage) -> Mask:
    """Which of the `likely` stand level or plumb with one of the `dots` of their size: points alone in a table.

    Small ones need several such dots. `lines` is the slope of print and its error.
    """
    aligned = np.zeros(len(marks), np.bool_)
    slope, error = lines
    diameter = _diameter(marks)
    asked = np.where(tiny, LINE_DOTS[1], np.where(diameter < page.px(LINE_SURE_MM), LINE_DOTS[0], 1))
    points = np.flatnonzero(likely & (diameter >= page.px(LINE_LEAST_MM)))
    for block, near, _, _ in _pairs(marks, points, np.flatnonzero(dots), page.px(LINE_REACH_MM[1])):
        across = marks.across[block][:, None] - marks.across[near]
        down = marks.down[block][:, None] - marks.down[near]
        across, down = np.abs(across + slope * down), np.abs(down - slope * across)
        one, other = diameter[block][:, None], diameter[near]
        alike = np.abs(one - other) <= LINE_SIZE_TOLERANCE * np.maximum(one, other) + LINE_SIZE_GRAIN_PX
        off_px = page.px(LINE_OFF_MM)
        level = (down <= off_px + error * across) & (across <= page.px(LINE_REACH_MM[0]))
        plumb = (across <= off_px + error * down) & (down <= page.px(LINE_REACH_MM[1]))
        aligned[block] |= (alike & (level | plumb)).sum(axis=1) >= asked[block]
    return aligned


def _slope(marks: _Marks, alive: Mask, page: PageImage) -> tuple[float, float]:
    """How far the lines of print go down on their way to the right, and what this may be wrong by.

    The stops, i-dots and accents of a line stand on few levels: summed up along the lines they pile up most.
    """
    if np.count_nonzero(alive) < SLOPE_MARKS:
        return 0.0, LINE_SLOPE
    across, down = marks.across[alive] / page.px(SLOPE_BIN_MM), marks.down[alive] / page.px(SLOPE_BIN_MM)
    slopes = np.arange(-LINE_SLOPE - SLOPE_STEP, LINE_SLOPE + 1.5 * SLOPE_STEP, SLOPE_STEP)
    sharp = np.zeros(slopes.size)
    for number, slope in enumerate(slopes):
        levels = down - slope * across
        counts = np.bincount((levels - levels.min()).astype(np.intp), minlength=2)
        sharp[number] = np.sum((counts[1:] + counts[:-1]) ** 2)
    if sharp.max() < SLOPE_PEAK * np.median(sharp):
        return 0.0, LINE_SLOPE
    return float(slopes[sharp.argmax()]), SLOPE_ERROR


def _gathered(marks: _Marks, apart: Indices, dead: Mask, page: PageImage) -> Mask:
    """Which of those apart from larger ink lie in a cluster that is not a row with dirt about it."""
    cell_px = page.px(GATHERED_GRID_MM)
    shape = (math.ceil(page.height_px / cell_px), math.ceil(page.width_px / cell_px))
    rows = np.minimum((marks.down[apart] / cell_px).astype(np.intp), shape[0] - 1)
    cols = np.minimum((marks.across[apart] / cell_px).astype(np.intp), shape[1] - 1)
    places = np.zeros(shape, np.uint8)
    places[rows, cols] = 1
    side = round(GATHERED_GAP_MM / GATHERED_GRID_MM) + 1
    count, labels = cv2.connectedComponents(cv2.dilate(places, np.ones((side, side), np.uint8)), connectivity=8)
    cluster = np.asarray(labels)[rows, cols]
    sizes = np.bincount(cluster, minlength=count)
    unexplained = np.bincount(cluster[dead[apart]], minlength=count)
    together = np.zeros(len(marks), np.bool_)
    together[apart] = ((sizes >= GATHERED) & (unexplained >= GATHERED_SHARE * sizes))[cluster]
    return together


def _lone(marks: _Marks, sums: Sums, page: PageImage, step: int) -> Mask:
    """Which marks lie too far from all larger ink to be a part of it."""
    far = np.full(len(marks), page.px(LONE_MM))
    return ~_ink_around(marks, sums, far, far, step)


def _alike(marks: _Marks, dead: Mask, page: PageImage) -> Mask:
    """Which of the dead are drawn, since most of the larger ones have one size (points of a diagram)."""
    diameter = _diameter(marks)
    large = dead & (diameter >= page.px(ALIKE_MM))
    sizes = np.sort(diameter[large])
    if sizes.size < ALIKE_MARKS:
        return np.zeros(len(marks), np.bool_)
    upto = np.searchsorted(sizes, ALIKE_RATIO * sizes, side="right") - np.arange(sizes.size)
    first = int(upto.argmax())
    alike = np.asarray(large & (diameter >= sizes[first]) & (diameter <= ALIKE_RATIO * sizes[first]))
    from_frame = np.minimum(
        np.minimum(marks.across, page.width_px - marks.across), np.minimum(marks.down, page.height_px - marks.down)
    )
    in_margin = np.count_nonzero(from_frame[alike] < page.px(ALIKE_MARGIN_MM))
    if upto[first] < ALIKE_SHARE * np.count_nonzero(dead) or in_margin > ALIKE_IN_MARGIN * upto[first]:
        return np.zeros(len(marks), np.bool_)
    return alike


def _in_rows(marks: _Marks, alive: Mask, page: PageImage) -> Mask:
    """Which marks are one of three of like size that stand evenly on a level or plumb line; of the tiniest, of five."""
    in_row = np.zeros(len(marks), np.bool_)
    if alive.all() or len(marks) < 3:
        return in_row
    large = marks.area >= page.px(1.0) ** 2 * ROW_SMALLEST_MM2
    for along, aside in ((marks.across, marks.down), (marks.down, marks.across)):
        left, middle, right = _even_threes(along, aside, marks.area, page)
        sure = large[middle]
        in_row[np.concatenate([part[sure] for part in (left, middle, right)])] = True
        narrow = np.abs(along[left] - along[right]) <= 2 * page.px(TINY_GAP_MM)
        left, middle, right = left[narrow], middle[narrow], right[narrow]
        # one in the midst of threes, then of such as are so themselves; from there back to the ends of its row
        core = np.ones(len(marks), np.bool_)
        for _ in range(TINY_ROW_DOTS // 2):
            inner = np.zeros(len(marks), np.bool_)
            inner[middle[core[left] & core[middle] & core[right]]] = True
            core = inner
        for _ in range(TINY_ROW_DOTS // 2):
            held = core[middle]
            core[left[held]] = core[right[held]] = True
        in_row |= core
    return in_row


def _even_threes(along: Numbers, aside: Numbers, area: Numbers, page: PageImage) -> tuple[Indices, Indices, Indices]:
    """Every mark that stands midway between two others of like size on its line, with those two before and after it."""
    before, after = (_next_on_line(along, aside, area, page, forward=forward) for forward in (False, True))
    threes = []
    followed = [gap > 0 for _, gap, _ in after]
    for other_b, gap_b, off_b in before:
        if not (gap_b > 0).any():
            continue
        for (other_a, gap_a, off_a), is_followed in zip(after, followed, strict=True):
            # few marks have one on both sides, and only those are looked at
            between = np.flatnonzero((gap_b > 0) & is_followed)
            gaps_b, gaps_a = gap_b[between], gap_a[between]
            even = np.abs(gaps_a - gaps_b) <= ROW_GAP_TOLERANCE * np.minimum(gaps_a, gaps_b) + GRAIN_PX
            straight = np.abs(off_a[between] + off_b[between]) <= page.px(ROW_OFF_MM) / 2 + GRAIN_PX
            middle = between[even & straight]
            threes.append((other_b[middle], middle, other_a[middle]))
    if not threes:
        nothing = np.zeros(0, np.intp)
        return nothing, nothing, nothing
    left, middle, right = (np.concatenate(part) for part in zip(*threes, strict=True))
    return left, middle, right


def _next_on_line(
    along: Numbers, aside: Numbers, area: Numbers, page: PageImage, *, forward: bool
) -> list[tuple[Indices, Numbers, Numbers]]:
    """Each mark's next ones of like size along its line: which, how far on (0: none), and how far aside."""
    lines = np.floor(aside / page.px(ROW_BAND_MM))
    length = float(along.max()) + 2 * page.px(ROW_GAP_MM[1])
    place = lines * length + along  # all lines in one row, too far apart to be neighbours
    order = np.argsort(place)
    placed = place[order]
    found = []
    for line in (-1, 0, 1):
        if forward:
            first = np.searchsorted(placed, place + line * length, side="right")
        else:
            first = np.searchsorted(placed, place + line * length, side="left") - 1
        for nth in range(ROW_NEIGHBOURS):
            at = first + nth if forward else first - nth
            other = order[np.clip(at, 0, order.size - 1)]
            gap = along[other] - along if forward else along - along[other]
            off = aside[other] - aside
            fits = (
                (at >= 0)
                & (at < order.size)
                & (gap >= page.px(ROW_GAP_MM[0]))
                & (gap <= page.px(ROW_GAP_MM[1]))
                & (np.abs(off) <= ROW_SLOPE * gap + page.px(ROW_OFF_MM) + GRAIN_PX)
                & (np.maximum(area, area[other]) <= ROW_AREA_RATIO * np.minimum(area, area[other]) + GRAIN_PX)
            )
            found.append((other, np.where(fits, gap, 0.0), off))
    return found


def _crowded(marks: _Marks, page: PageImage) -> Mask:
    """Which marks stand among so many other small ones that they are a picture in dots, not dirt."""
    grid_px = page.px(TILE_GRID_MM)
    rows, cols = (marks.top / grid_px).astype(np.intp), (marks.left / grid_px).astype(np.intp)
    counts = np.zeros((int(page.height_px / grid_px) + 1, int(page.width_px / grid_px) + 1), np.float32)
    np.add.at(counts, (rows, cols), 1.0)
    side = max(1, round(TILE_MM / TILE_GRID_MM))
    crowd = cv2.boxFilter(counts, cv2.CV_32F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    # dots at the rim of a picture see only half a tile of others
    crowd = cv2.dilate(crowd, np.ones((side, side), np.uint8))
    return np.asarray(crowd[rows, cols] > TILE_DOTS)


def _without(white: npt.NDArray[np.generic], marks: _Marks, dirt: Indices, step: int) -> Mask:
    """A copy of the page with these marks white."""
    cleaned = np.array(white, dtype=np.bool_)
    is_dirt = np.zeros(len(marks), np.bool_)
    is_dirt[dirt] = True
    chosen = is_dirt[marks.owner]
    for y, x in np.ndindex(step, step):
        rows = np.minimum(marks.rows[chosen] * step + y, white.shape[0] - 1)
        cols = np.minimum(marks.cols[chosen] * step + x, white.shape[1] - 1)
        cleaned[rows, cols] = True
    return cleaned
