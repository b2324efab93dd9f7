"""Remove dirt of a few pixels from a bitonal page, and no dot that belongs to writing."""

from __future__ import annotations

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

HALVING_DPI = 200.0  # from here on components are labelled at half size: specks touching a letter stay with it

# IMAGING 2.5, steps 1 and 2: 0 of 2,466 true dots lost, 7.5-point print and accents included
REACH_PER_AREA = 42.0  # (distance in pixels at 300 dpi)^2 over area in pixels at 300 dpi; both scale alike
COMPARABLE_AREA = 0.175
ROUNDS = 4
STRAIGHT_STEP = 0.95  # OpenCV's distance counts 0.955 for a step across or down
BOX_OVERHEAD_PX = 1000  # to measure in one more box costs as much as so many pixels more

# Step 4: leaders, dotted rules, dot-matrix print
ROW_DOTS = 4
ROW_HEIGHT_MM = 0.5
ROW_GAP_MM = (0.3, 10.0)  # wide leaders in 14-point print stand 6.4 mm apart
ROW_GAP_RATIOS = (0.5, 1.0, 2.0)
ROW_GAP_TOLERANCE = 0.2
ROW_AREA_RATIO = 3.0
ROW_GRAIN_PX = 1.0  # of dots of a few pixels, centre and area are not known more finely
ROW_SMALLEST_MM2 = 0.02  # 3 pixels at 300 dpi: smaller ones fall into line by chance

# Step 5: where dots stand this close they are a picture
TILE_MM = 10.0
TILE_DOTS = 40  # 60 by IMAGING; a stippled drawing lost dots, dense print with accents stays below 30
TILE_GRID_MM = 1.0

# Step 6
TINY_MM = 0.17
BLOCK_PAIRS = 256


class Settings(StageSettings):
    """Settings of `despeckle`.

    Marks of `safe_mm` or more, across or along, are never touched. If more than `cautious_ink_fraction` of the ink or
    `cautious_marks` marks would go, only marks up to 0.17 mm do; beyond `most_ink_fraction` nothing goes at all.
    """

    safe_mm: float = Field(0.62, gt=0, le=2)
    cautious_ink_fraction: float = Field(0.003, ge=0, le=1)
    cautious_marks: int = Field(2000, ge=0)
    most_ink_fraction: float = Field(0.01, ge=0, le=1)


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

    A small mark lives if something larger is near, the nearer the smaller it is, up and down counted double, and so on
    from mark to mark (dots, accents, quotes); if it stands in an even row (leaders); or if it is one of very many
    (a picture in dots). Works on bitonal pages only, because dirt is told from ink by shape alone. If nothing is
    removed the page comes back as it is, with its scanner's stream.

    Readings: `removed` (marks), `removed_ink_fraction`, `declined` (why nothing was tried or done, else None).

    Source: the reach rule follows the idea described in ScanTailor's manual; figures from the project's own pages.
    """
    if not page.is_bitonal:
        return _declined(page, "not bitonal")
    if page.is_dpi_guessed:
        return _declined(page, "resolution is guessed")
    ink = ~np.asarray(page.pixels, dtype=np.bool_)
    ink_px = int(np.count_nonzero(ink))
    step = 2 if page.dpi >= HALVING_DPI else 1
    marks, safe = _small_marks(ink, page.px(settings.safe_mm), step)
    dirt = np.flatnonzero(~_living(marks, safe, page, step))
    fraction = float(marks.area[dirt].sum()) / max(1, ink_px)
    if fraction > settings.most_ink_fraction:
        return _declined(page, f"{100 * fraction:.1f} % of the ink would go")
    if fraction > settings.cautious_ink_fraction or len(dirt) > settings.cautious_marks:
        size = np.maximum(marks.right - marks.left, marks.bottom - marks.top)[dirt]
        dirt = dirt[size <= max(float(step), page.px(TINY_MM))]
        fraction = float(marks.area[dirt].sum()) / max(1, ink_px)
    cleaned = page if not dirt.size else page.with_pixels(_without(np.asarray(page.pixels), marks, dirt, step))
    return cleaned.with_readings("despeckle", removed=int(dirt.size), removed_ink_fraction=fraction, declined=None)


def _declined(page: PageImage, reason: str) -> PageImage:
    return page.with_readings("despeckle", removed=0, removed_ink_fraction=0.0, declined=reason)


def _small_marks(ink: Mask, safe_px: float, step: int) -> tuple[_Marks, npt.NDArray[np.uint8]]:
    """The marks that are not safe by size, and a map (on the labels' grid) of the ink that is."""
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
    return marks, safe


def _renumbered(numbers: npt.NDArray[np.integer], taken: Mask) -> tuple[Indices, int, Mask]:
    """The numbers of those taken, counted anew from 0; how many are taken; and which of `numbers` are theirs."""
    place = np.cumsum(taken) - 1
    chosen = taken[numbers]
    return place[numbers[chosen]], int(np.count_nonzero(taken)), np.asarray(chosen)


def _least(places: Indices, owner: Indices, count: int) -> Numbers:
    least = np.full(count, np.inf)
    np.minimum.at(least, owner, places)
    return least


def _pooled(ink: Mask) -> npt.NDArray[np.uint8]:
    """Half the size: 1 where any of 2 x 2 pixels is ink."""
    seen = ink.view(np.uint8)
    if ink.shape[0] % 2 or ink.shape[1] % 2:
        seen = np.pad(seen, ((0, ink.shape[0] % 2), (0, ink.shape[1] % 2)))
    pairs = np.asarray(cv2.bitwise_or(seen[::2], seen[1::2]))
    # two columns read as one number of 16 bits
    return np.asarray(pairs.view(np.uint16) != 0).view(np.uint8)


def _living(marks: _Marks, safe: npt.NDArray[np.uint8], page: PageImage, step: int) -> Mask:
    """Which of the marks belong to writing or to a picture."""
    if not len(marks):
        return np.zeros(0, np.bool_)
    alive = _near_safe(marks, safe, step)
    newly = np.flatnonzero(alive)
    for _ in range(ROUNDS - 1):
        newly = _reached(marks, np.flatnonzero(~alive), newly)
        if not newly.size:
            break
        alive[newly] = True
    rest = np.flatnonzero(~alive)
    alive[rest[_in_rows(marks, rest, page)]] = True
    return np.asarray(alive | _crowded(marks, page))


def _near_safe(marks: _Marks, safe: npt.NDArray[np.uint8], step: int) -> Mask:
    """Which marks have safe ink within their reach, up and down counted double."""
    near = np.zeros(len(marks), np.bool_)
    # the box around each mark that holds all its reach, on the labels' grid
    reach = np.ceil(np.sqrt(REACH_PER_AREA * marks.area) / (step * STRAIGHT_STEP))
    top, left = np.maximum(0, marks.top / step - reach // 2 - 1), np.maximum(0, marks.left / step - reach)
    bottom, right = marks.bottom / step + reach // 2 + 2, marks.right / step + reach + 1
    boxes = np.stack([top, np.minimum(bottom, safe.shape[0]), left, np.minimum(right, safe.shape[1])]).astype(np.intp)
    top, bottom, left, right = boxes
    sums = cv2.integral(safe)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    asked = np.flatnonzero(inside > 0)
    cost_px = int(((bottom - top) * (right - left))[asked].sum()) + asked.size * BOX_OVERHEAD_PX
    limit = REACH_PER_AREA * marks.area
    if cost_px > safe.size:
        nearest = np.full(len(marks), np.inf)
        np.minimum.at(nearest, marks.owner, _distances(safe, marks.rows, marks.cols) * step)
        return np.asarray(nearest**2 <= limit)
    order = np.argsort(marks.owner, kind="stable")
    starts = np.searchsorted(marks.owner[order], np.arange(len(marks) + 1))
    for mark in asked:
        own = order[starts[mark] : starts[mark + 1]]
        patch = safe[top[mark] : bottom[mark], left[mark] : right[mark]]
        nearest_px = float(_distances(patch, marks.rows[own] - top[mark], marks.cols[own] - left[mark]).min()) * step
        near[mark] = nearest_px**2 <= limit[mark]
    return near


def _distances(safe: npt.NDArray[np.uint8], rows: Indices, cols: Indices) -> npt.NDArray[np.float32]:
    """How far these places are from safe ink, in pixels of its grid, up and down counted double."""
    tall = np.repeat(safe, 2, axis=0)
    distance = cv2.distanceTransform(1 - tall, cv2.DIST_L2, 3)
    # a row became two: measure from the one that is nearer
    return np.asarray(np.minimum(distance[rows * 2, cols], distance[rows * 2 + 1, cols]))


def _reached(marks: _Marks, waiting: Indices, newly: Indices) -> Indices:
    """Those `waiting` marks that have one of the `newly` kept ones, of comparable size, within their reach."""
    if not waiting.size or not newly.size:
        return np.zeros(0, np.intp)
    waiting = waiting[np.argsort(marks.top[waiting])]
    newly = newly[np.argsort(marks.top[newly])]
    tops = marks.top[newly]
    tallest = float((marks.bottom - marks.top)[newly].max())
    found = []
    for start in range(0, waiting.size, BLOCK_PAIRS):
        block = waiting[start : start + BLOCK_PAIRS]
        reach = float(np.sqrt(REACH_PER_AREA * marks.area[block].max())) / 2
        first = np.searchsorted(tops, marks.top[block].min() - reach - tallest)
        last = np.searchsorted(tops, marks.bottom[block].max() + reach, side="right")
        near = newly[first:last]
        if not near.size:
            continue
        across = _gap(marks.left[block], marks.right[block], marks.left[near], marks.right[near])
        down = 2.0 * _gap(marks.top[block], marks.bottom[block], marks.top[near], marks.bottom[near])
        area = marks.area[block][:, None]
        fits = (across**2 + down**2 <= REACH_PER_AREA * area) & (marks.area[near][None] >= COMPARABLE_AREA * area)
        found.append(block[fits.any(axis=1)])
    return np.concatenate(found) if found else np.zeros(0, np.intp)


def _gap(low_a: Numbers, high_a: Numbers, low_b: Numbers, high_b: Numbers) -> Numbers:
    """How far apart each of a's spans is from each of b's; 0 where they overlap."""
    return np.asarray(np.maximum(0.0, np.maximum(low_a[:, None] - high_b[None], low_b[None] - high_a[:, None])))


def _in_rows(marks: _Marks, rest: Indices, page: PageImage) -> Mask:
    """Which of the rest stand evenly in a straight row or column of at least four of like size."""
    across, down, area = marks.across[rest], marks.down[rest], marks.area[rest]
    band_px = page.px(ROW_HEIGHT_MM)
    in_row = np.zeros(rest.size, np.bool_)
    for along, aside in ((across, down), (down, across)):
        # bands are laid twice, half a band apart, so that no row is cut in two by a border
        for shift_px in (0.0, band_px / 2):
            band = np.floor((aside + shift_px) / band_px)
            order = np.lexsort((along, band))
            order = order[area[order] >= page.px(1.0) ** 2 * ROW_SMALLEST_MM2]
            in_row[order[_even_runs(along[order], band[order], area[order], page)]] = True
    return in_row


def _even_runs(along: Numbers, band: Numbers, area: Numbers, page: PageImage) -> Mask:
    """Which of these marks, sorted by band and place, form even runs."""
    runs = np.zeros(along.size, np.bool_)
    if along.size < ROW_DOTS:
        return runs
    gap = np.diff(along)
    fits = (np.diff(band) == 0) & (gap > page.px(ROW_GAP_MM[0])) & (gap < page.px(ROW_GAP_MM[1]))
    is_even = np.zeros(gap.size - 1, np.bool_)
    for ratio in ROW_GAP_RATIOS:
        wanted = ratio * gap[:-1]
        is_even |= np.abs(gap[1:] - wanted) <= ROW_GAP_TOLERANCE * np.maximum(gap[1:], wanted) + ROW_GRAIN_PX
    three = np.stack([area[:-2], area[1:-1], area[2:]])
    is_even &= fits[:-1] & fits[1:] & (three.max(axis=0) <= ROW_AREA_RATIO * three.min(axis=0) + ROW_GRAIN_PX)
    even_gap = np.zeros(gap.size, np.bool_)
    even_gap[:-1] |= is_even
    even_gap[1:] |= is_even
    turns = np.flatnonzero(np.diff(np.concatenate([[0], even_gap.astype(np.int8), [0]])))
    for start, stop in zip(turns[::2], turns[1::2], strict=True):
        if stop - start + 1 >= ROW_DOTS:
            runs[start : stop + 1] = True
    return runs


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
