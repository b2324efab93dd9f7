"""What is ink on a page of dark writing: the page divided by its paper, and thresholds by local depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import Analysis, below
from stages.maps import NEIGHBOURS, Grey, Mask, Surface, mean_over, shrunk, spread, stretched
from stages.page_image import MM_PER_INCH
from stages.paper_under_ink import beside_sheet, close_paper_level

PAPER = 255  # where the paper lies once the page has been divided by it
STATISTICS_DPI = 75.0

# IMAGING 2.7, step 1: from 4 levels of noise on, small print breaks up, and a blur of 0.07 mm mends it
NOISY_LEVELS = 4.0
NOISE_BLUR_MM = 0.07
MEDIAN_TO_DEVIATION = 0.6745

# Lids, bars and headlines: wider than any pen stroke, they would set the ink level of the whole page.
SOLID_MM = 3.0
SOLID_DPI = 50.0
SOLID_REST_SHARE = 0.05

# A stroke's edge lies half way between its middle and the paper. Half way between the pixels inside and outside the
# truth's edge the depth is 0.37 to 0.53 of the deepest close by on 4 real pages, 0.43 to 0.58 on 21 drawn ones (medians
# of each page). Of 0.45, 0.47 and 0.5, drawn pages have the best F with the last, and real ones with it or 0.47.
EDGE_SHARE = 0.5
STROKE_MM = 1.0
INK_WINDOW_MM = 4.0
# At less than 200 dpi a hairline fills only a part of its pixels, and would fall to the full stroke it hangs on to.
HAIRLINE_SHARE_OF_DEPTH = 0.2
HAIRLINE_RISE = 0.15
HAIRLINE_GRAINS = 2.5
HAIRLINE_WINDOW_MM = 0.6
HAIRLINE_WINDOW_LEAST_PX = 5
GRAIN_WINDOW_MM = 6.0
LARGEST_GRAIN_LEVELS = 32
MEAN_TO_DEVIATION = 2.5  # half of the grain lies above the paper, where levels end
STRONG_DEPTH = 0.35  # IMAGING has 0.7, which dropped thin letters of a newspaper on film; F is the same within 0.2
STRONG_SHARE = 0.1
HALVING_DPI = 200.0  # from here on components are labelled at half size

# Nothing fainter than this is ink, however clean the page: paper grain and JPEG noise (IMAGING 1, step 4). Grain and
# what shines through is measured at each place; where it is nearly as deep as ink, ink is still told by its depth.
WEAK_DEPTH_LEVELS = 10.0
WEAK_DEPTH_NOISES = 4.0
WEAK_DEPTH_GRAINS = 2.5
WEAK_SHARE_OF_DEPTH = 0.25
STRONG_DEPTH_LEVELS = 16.0
STRONG_DEPTH_NOISES = 6.0
STRONG_DEPTH_GRAINS = 6.0
LEAST_STRONG_GRAINS = 4.0
STRONG_SHARE_OF_DEPTH = 0.65

# By how much the rim of ink rises from the mean about it. Over whole parts, this over the grain told writing from
# stains, clouds of the paper and print of the other side better than depth did (2 Bickley, 6 drawn pages); on Bickley
# a tenth of true parts of 30 to 100 pixels lies below 1.5, a tenth of false ones above 1.6. Chosen by F on 25 pages.
RISE_WINDOW_MM = 1.3
RISE_GRAINS = 2.0
RISE_SHARE_OF_DEPTH = 0.12
LEAST_RISE_LEVELS = 4.0
SURE_RISE_SHARE = 0.6
SHARP_SHARE = 0.9
RISE_UNITS = 4.0

# On stained pages with faint writing (2 Bickley), F is 81.5 with all that NICK finds in a window of a quarter inch, and
# 85.0 in one of 3 mm without what does not stand out, its letters given back. Asked to be as deep as ink by the depth,
# four times as many faint marks go.
NICK_WINDOW_MM = 6.35
FAINT_WINDOW_MM = 3.0
NICK_K = -0.1
FAINT_STRONG_SHARE = 0.65


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """The page divided by its paper, and the figures every threshold is made from.

    `levels` has its paper at 255. `otsu` is a level of it. Ink is never brighter than `weak_limit` and never sure above
    `strong_limit`. `noise` was measured on the page as it came. `solid` and `lid`, each on a small grid of its own,
    are what is black for millimetres on end and what lies beside the sheet.
    """

    levels: Grey
    noise: float
    otsu: float
    weak_limit: float
    strong_limit: float
    solid: Mask | None
    lid: Mask | None
    dpi: float

    @property
    def reduction(self) -> float:
        """How many pixels of the page make one of the statistics."""
        return max(1.0, self.dpi / STATISTICS_DPI)

    @property
    def is_halved(self) -> bool:
        """Whether strokes are wide enough to be looked at in half the size."""
        return self.dpi >= HALVING_DPI

    def grid_px(self, mm: float) -> int:
        """The odd number of pixels of the grid that strokes are looked at in that is about `mm` millimetres."""
        return max(3, round(mm * self.dpi / MM_PER_INCH / (2 if self.is_halved else 1)) | 1)

    def window(self, mm: float) -> int:
        """The odd number of pixels of the statistics that is about `mm` millimetres."""
        return max(3, round(mm * self.dpi / MM_PER_INCH / self.reduction) | 1)


def flattened(grey: Grey, analysis: Analysis, dpi: float) -> Flat:
    """Smooth the noise, divide the page by its paper, and measure it."""
    noise = _noise_levels(grey)
    if noise > NOISY_LEVELS:
        sigma_px = max(0.3, NOISE_BLUR_MM * dpi / MM_PER_INCH)
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px), dtype=np.uint8)
    small = shrunk(grey, dpi / STATISTICS_DPI)
    small_dpi = dpi * small.shape[0] / grey.shape[0]
    levels = stretched(close_paper_level(small, analysis, small_dpi), grey.shape)
    cv2.divide(grey, levels, dst=levels, scale=PAPER)  # in place: fresh memory of that size costs as much again
    noise_left = _noise_levels(levels)
    solid = _solids(levels, dpi)
    return Flat(
        levels=levels,
        noise=noise,
        otsu=_otsu(_without_solids(levels, solid)),
        solid=solid,
        weak_limit=PAPER - max(WEAK_DEPTH_LEVELS, WEAK_DEPTH_NOISES * noise_left),
        strong_limit=PAPER - max(STRONG_DEPTH_LEVELS, STRONG_DEPTH_NOISES * noise_left),
        lid=beside_sheet(small, analysis, small_dpi),
        dpi=dpi,
    )


def _noise_levels(grey: Grey) -> float:
    """Deviation of the noise: median second difference along every 32nd row, so that letters do not count."""
    rows = grey[::32].astype(np.int16)
    if rows.shape[1] < 3:
        return 0.0
    second = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])
    return float(_median(second) / MEDIAN_TO_DEVIATION / np.sqrt(1 + 4 + 1))  # what differencing adds up


def _median(counted: npt.NDArray[np.int16]) -> float:
    """The median of numbers from 0 up, by counting them: six times as fast as by sorting."""
    sums = np.cumsum(np.bincount(counted.ravel()))
    middle = np.array([(counted.size - 1) // 2, counted.size // 2])
    return float(np.searchsorted(sums, middle, side="right").mean())


def _solids(levels: Grey, dpi: float) -> Mask | None:
    """On a small grid, areas that are black for millimetres on end, with a rim; None if there are none."""
    small = shrunk(levels, dpi / SOLID_DPI)
    side = max(3, round(SOLID_MM * SOLID_DPI / MM_PER_INCH))
    dark = (small < _otsu(small)).view(np.uint8)
    solid = cv2.dilate(cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.ones((5, 5)))
    return np.asarray(solid > 0) if solid.any() else None


def _without_solids(levels: Grey, solid: Mask | None) -> Grey:
    """Every second pixel as one row, but for solid areas."""
    sample = _every_second(levels)
    if solid is None:
        return sample.reshape(1, -1)
    rest = sample[~spread(solid, sample.shape)]
    # where nearly all is solid, the solids are what there is to measure
    return rest[None] if rest.size > SOLID_REST_SHARE * sample.size else sample.reshape(1, -1)


def ink_by_depth(flat: Flat) -> Mask:
    """Ink is about half as deep as the middle of its own stroke, deeper than grain, and stands out from what lies by.

    So a faint stroke has its edge where a dark one beside it has: half way between its own ink and the paper. Parts
    that hardly stand out from their surroundings, for the grain there, are stains, grain or print of the other side.
    """
    strokes = _strokes_of(flat)
    grid, depth, grain = strokes.grid, strokes.depth, strokes.grain
    least_depth = np.maximum(WEAK_DEPTH_GRAINS * grain, WEAK_SHARE_OF_DEPTH * depth)
    limits = cv2.min(_half_way(grid, flat), _levels_of(PAPER - least_depth, grid.shape))
    if not flat.is_halved:
        limits = cv2.max(limits, _hairline_levels(flat, depth, grain))
    return _standing_out(_darker(flat, np.asarray(limits, dtype=np.uint8)), flat, strokes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strokes:
    """What is known of the page's ink before any of it is cut out.

    `grid` is the page as strokes are looked at, of half its size where they are wide enough, and `halves` the darkest
    of each 2 x 2 pixels. `depth` of ink and `grain` of bare paper are in levels, at each place of the statistics.
    """

    grid: Grey
    halves: Grey
    depth: Surface
    grain: Surface


def _strokes_of(flat: Flat) -> _Strokes:
    means, halves = shrunk(flat.levels, 2.0), _darkest_of_four(flat.levels)
    grid = _padded_to(halves.shape, means) if flat.is_halved else flat.levels
    grain = _grain_levels(flat, grid)
    sure_depth = np.maximum(STRONG_DEPTH_GRAINS * grain, STRONG_DEPTH * (PAPER - flat.otsu))
    return _Strokes(grid=grid, halves=halves, depth=_ink_depth(flat, halves, sure_depth), grain=grain)


def _half_way(grid: Grey, flat: Flat) -> Grey:
    """The level of the edge of the stroke about each place: between the paper and the deepest that lies close."""
    side = flat.grid_px(STROKE_MM)
    middles = cv2.blur(cv2.erode(grid, np.ones((side, side), np.uint8)), (3, 3))
    # paper + share x (middle - paper)
    return np.asarray(cv2.convertScaleAbs(middles, alpha=EDGE_SHARE, beta=PAPER * (1.0 - EDGE_SHARE)), dtype=np.uint8)


def _hairline_levels(flat: Flat, depth: Surface, grain: Surface) -> Grey:
    """The level below which a stroke that fills only a part of its pixels is ink: it stands out from what lies by."""
    grid = flat.levels
    side = max(HAIRLINE_WINDOW_LEAST_PX, flat.grid_px(HAIRLINE_WINDOW_MM))
    risen = cv2.subtract(cv2.blur(grid, (side, side)), _levels_of(HAIRLINE_RISE * depth, grid.shape))
    deep = PAPER - np.maximum(HAIRLINE_SHARE_OF_DEPTH * depth, HAIRLINE_GRAINS * grain)
    return np.asarray(cv2.min(risen, _levels_of(deep, grid.shape)), dtype=np.uint8)


def _padded_to(shape: tuple[int, ...], pixels: Grey) -> Grey:
    """With the last row or column doubled where an odd page has one more."""
    down, right = shape[0] - pixels.shape[0], shape[1] - pixels.shape[1]
    if not (down or right):
        return pixels
    return np.asarray(cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE), dtype=np.uint8)


def _grain_levels(flat: Flat, grid: Grey) -> Surface:
    """Deviation of the bare paper at each place of the statistics: fibres, film grain, print of the other side.

    By the mean depth, not by the mean square: faint writing is bare paper here, and would hide itself.
    """
    depth = cv2.bitwise_not(grid)
    inked = cv2.threshold(depth, max(PAPER - flat.otsu, WEAK_DEPTH_LEVELS), PAPER, cv2.THRESH_BINARY)[1]
    bare = cv2.bitwise_not(cv2.dilate(inked, NEIGHBOURS))
    depth = cv2.bitwise_and(depth, bare)
    window = flat.window(GRAIN_WINDOW_MM)
    share = np.maximum(mean_over(_at_statistics(bare, flat), window) / PAPER, 1e-3)
    mean = mean_over(_at_statistics(np.minimum(depth, np.uint8(LARGEST_GRAIN_LEVELS)), flat), window) / share
    return np.asarray(MEAN_TO_DEVIATION * mean, dtype=np.float32)


def _ink_depth(flat: Flat, halves: Grey, sure_depth: Surface) -> Surface:
    """How deep ink is at each place of the statistics; deep pixels, in mid-stroke, count for more."""
    surface = np.clip(PAPER - sure_depth, 0.0, flat.strong_limit).astype(np.uint8)
    sure = np.asarray(cv2.compare(halves, stretched(surface, halves.shape), cv2.CMP_LT), dtype=np.uint8)
    if flat.solid is not None:
        sure[spread(flat.solid, sure.shape)] = 0  # a lid or a bar would ask of faint letters to be as deep
    depth = cv2.bitwise_and(cv2.bitwise_not(halves), sure)
    # of 16 bits each: the square of a faint stroke's depth is small beside that of a black one
    tables = (np.arange(PAPER + 1.0) ** 2, np.arange(PAPER + 1.0) ** 3 / PAPER)
    window = flat.window(INK_WINDOW_MM)
    weight, amount = (
        mean_over(_at_statistics(cv2.LUT(depth, table.astype(np.uint16)), flat), window) for table in tables
    )
    on_page = PAPER * float(amount.sum()) / max(float(weight.sum()), 1.0)
    return np.where(weight > 1.0, PAPER * amount / np.maximum(weight, 1.0), on_page)


def _at_statistics(pixels: npt.NDArray[Any], flat: Flat) -> npt.NDArray[Any]:
    """A map of all or of every second pixel both ways, on the grid of the statistics."""
    rows, cols = (max(1, round(length / flat.reduction)) for length in flat.levels.shape)
    smaller = shrunk(pixels, pixels.shape[0] / rows)
    return np.asarray(cv2.resize(smaller, (cols, rows), interpolation=cv2.INTER_AREA))


def _darkest_of_four(levels: Grey) -> Grey:
    """Half the size: the darkest of 2 x 2 pixels."""
    rows, between = levels[::2].copy(), levels[1::2]
    np.minimum(rows[: len(between)], between, out=rows[: len(between)])
    return _every_second_column(cv2.erode(rows, NEIGHBOURS[:1, :2], anchor=(0, 0)))


def _every_second(pixels: npt.NDArray[Any]) -> Grey:
    return _every_second_column(pixels[::2])


def _every_second_column(pixels: npt.NDArray[Any]) -> Grey:
    if pixels.shape[1] % 2 == 0 and pixels.strides[1] == 1:
        # two columns are one number of 16 bits, and its low byte is the first: twice as fast as picking bytes
        return pixels.view("<u2").astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::2], dtype=np.uint8)


def _standing_out(weak: Mask, flat: Flat, strokes: _Strokes, *, of_strong: float = 1.0) -> Mask:
    """`weak` with those components cleared that are not ink.

    Ink rises from the mean about it, along its rim, and somewhere it is strong: far deeper than grain, or `of_strong`
    of that. Where a tenth of it is as deep as that, it is a blot only if it rises by far less and its edge is soft; and
    of a blot what stands out within it stays, for letters may lie there.
    """
    grid, depth, grain = strokes.grid, strokes.depth, strokes.grain
    # where grain is nearly as deep as ink, ink may be as little above it as is safe on an empty page
    sure_of_grain = np.clip(STRONG_SHARE_OF_DEPTH * depth, LEAST_STRONG_GRAINS * grain, STRONG_DEPTH_GRAINS * grain)
    strong_depth = of_strong * np.maximum(sure_of_grain, STRONG_DEPTH * (PAPER - flat.otsu))
    strong_levels = np.clip(PAPER - strong_depth, 0.0, flat.strong_limit).astype(np.uint8)
    rises = np.maximum(np.maximum(RISE_GRAINS * grain, RISE_SHARE_OF_DEPTH * depth), LEAST_RISE_LEVELS)
    levels = strokes.halves if flat.is_halved else flat.levels
    sure = cv2.compare(levels, stretched(strong_levels, levels.shape), cv2.CMP_LT)
    small = _pooled(weak) if flat.is_halved else weak
    count, labels = cv2.connectedComponents(small.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    labels = np.asarray(labels, dtype=np.int32).ravel()
    inked = np.flatnonzero(small)
    numbers = labels[inked]
    # counted here: boxes and centres, which OpenCV gives along with the areas, take four times as long as the labels
    sure_px = np.bincount(numbers[sure.ravel()[inked] > 0], minlength=count)
    is_sure = sure_px > STRONG_SHARE * np.bincount(numbers, minlength=count)
    # only the rim: the middle of a wide area has nothing about it to rise from
    marked = small.view(np.uint8)
    rim = np.flatnonzero(cv2.subtract(marked, cv2.erode(marked, NEIGHBOURS)).view(np.bool_))
    side = flat.grid_px(RISE_WINDOW_MM)
    about = np.asarray(cv2.blur(grid, (side, side)), dtype=np.uint8)
    least = _levels_of(np.asarray(RISE_UNITS * rises, dtype=np.float32), grid.shape)

    def total(of_pixel: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.bincount(labels[rim], weights=of_pixel, minlength=count)

    rise = total(about.ravel()[rim].astype(np.int16) - grid.ravel()[rim])
    asked = total(least.ravel()[rim]) / RISE_UNITS
    kept = (rise > asked) & (sure_px > 0)
    is_blot = is_sure & ~kept & (rise <= SURE_RISE_SHARE * asked)
    if is_blot.any():
        deepest = np.asarray(cv2.erode(grid, NEIGHBOURS)).ravel()[rim]
        step = total(np.asarray(cv2.dilate(grid, NEIGHBOURS)).ravel()[rim] - deepest)
        is_blot &= step <= SHARP_SHARE * total(PAPER - deepest)
    kept |= is_sure & ~is_blot
    cleared = inked[~kept[numbers]]
    if is_blot.any():
        within = cv2.compare(cv2.subtract(about, grid), cv2.convertScaleAbs(least, alpha=1 / RISE_UNITS), cv2.CMP_GT)
        stays = np.asarray(cv2.dilate(within, NEIGHBOURS)).ravel()[cleared] > 0
        cleared = cleared[~(stays & is_blot[labels[cleared]])]
    rows, cols = np.divmod(cleared, small.shape[1])
    side = 2 if flat.is_halved else 1
    for y, x in np.ndindex(side, side):
        # an odd page's last row was doubled
        weak[np.minimum(rows * side + y, weak.shape[0] - 1), np.minimum(cols * side + x, weak.shape[1] - 1)] = False
    return weak


def ink_by_nick(flat: Flat) -> Mask:
    """Ink below NICK's local threshold, without those parts that hardly stand out from their surroundings.

    It keeps writing that is fainter than what lies by, which the depth loses, so its parts have to be less deep.
    """
    below_nick = all_below_nick(flat, window_mm=FAINT_WINDOW_MM)
    return _standing_out(below_nick, flat, _strokes_of(flat), of_strong=FAINT_STRONG_SHARE)


def all_below_nick(flat: Flat, *, window_mm: float = NICK_WINDOW_MM) -> Mask:
    """All below NICK's local threshold, dirt too: `m + k sqrt(variance + m^2)`."""
    small = shrunk(flat.levels, flat.reduction).astype(np.float32)
    window = flat.window(window_mm)
    threshold = mean_over(small, window) + NICK_K * np.sqrt(mean_over(small * small, window))
    return _darker(flat, np.clip(threshold, 0.0, PAPER).astype(np.uint8))


def ink_by_otsu(flat: Flat) -> Mask:
    """Ink below one threshold for the whole page."""
    return below(flat.levels, min(flat.otsu, flat.weak_limit))


def _levels_of(values: Surface, shape: tuple[int, ...]) -> Grey:
    return stretched(np.clip(values, 0.0, PAPER).astype(np.uint8), shape)


def _darker(flat: Flat, threshold: Grey) -> Mask:
    """Where the page is darker than a threshold given on a smaller grid and never above the weak limit."""
    surface = stretched(np.minimum(threshold, np.uint8(max(0.0, flat.weak_limit))), flat.levels.shape)
    return np.asarray(np.less(flat.levels, surface, out=surface.view(np.bool_)))


def _otsu(levels: Grey) -> float:
    return float(cv2.threshold(levels, 0, PAPER, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])


def _pooled(marked: Mask) -> Mask:
    """Half the size: whether any of 2 x 2 pixels is marked."""
    levels = marked.view(np.uint8)
    if marked.shape[0] % 2 or marked.shape[1] % 2:
        levels = np.pad(levels, ((0, marked.shape[0] % 2), (0, marked.shape[1] % 2)))
    pairs = np.asarray(cv2.bitwise_or(levels[::2], levels[1::2]))
    return np.asarray(pairs.view(np.uint16) != 0)  # two columns read as one number of 16 bits
