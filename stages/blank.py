"""Tell empty sides from written ones. A written side called blank is a lost record, so doubt always means `maybe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import Analysis, analysis_of, level_at
from stages.bleed_through import ink_map, without_other_side
from stages.page_image import MM_PER_INCH, PageImage
from stages.settings import StageSettings
from stages.staples import without_staples

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Depth = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.int32]
Verdict = Literal["content", "maybe", "blank"]

WHITE = 255

# A written page shows at once: this many dark pieces of the size of letters. Bleed-through is never so dark, dust not
# so large (30 dirty blank pages: at most 5 such pieces).
LETTERS_OF_A_WRITTEN_PAGE = 30
LETTER_MM = (1.2, 30.0)
DARK_SHARE = 0.45  # of the paper's level

# IMAGING 2.8, steps 1 to 6
PAPER_WINDOW_MM = 21.0
PAPER_REDUCTION = 4
EDGE_RIM = 2  # pixels of the reduced copy, 1.4 mm: more than the shadow of a sheet's edge over a white lid
SAMPLE_PX = 4  # every so many pixels are enough to judge the level of the paper and of its noise
DARKEST_PAPER = 40  # below this the depth would be mostly noise
SMOOTHING_PX = 0.8
LEAST_NOISE = 1.0
DEPTH_NOISES = 6.0
LEAST_DEPTH = 14.0
FAINT_NOISES = 4.0
LEAST_FAINT_DEPTH = 7.0
SHEET_SHARE = 0.55
SHEET_RIM_MM = 2.5
IMAGE_RIM_MM = 1.2
TONE_SHARE = 0.12
TONE_DARKER = 0.80
TONE_DEVIATION = 14.0
STROKE_MM = 1.2
STROKE_STEEPNESS = 0.52  # pencil, faint type and pale stamps 0.66 or more; ink showing through 0.50 at most (90 pages)
STROKE_DEPTHS = 1.3
RULE_SPAN = 0.64
RULE_MM, RULE_SLOPE = 3.0, 0.03
LINE_GAP_MM, LINE_MM, LINE_BAND_MM = 4.0, 20.0, 3.0
RULE_DEPTH = 60.0  # printed rules are as dark as a frame or a table without entries: a person looks
SPECK_MM, SPECK_ROUND, SPECK_FILL = 2.2, 1.5, 0.6
FEW_AMONG = 20  # so many specks or soft marks to one that is large or steep: it is likely one of them
# Of many marks that show through, noise makes some steep: their middle one has 0.54 at most, of pale print 0.68 at
# least, and single ones of pale print are steeper than 0.72 or deeper than the rest (48 drawn pages).
SOFT_CROWD, SOFT_MIDDLE, SOFT_STEEPEST = 20, 0.56, 0.72
DEEPER = 1.5  # what is written over ink showing through is darker than it by this factor
SMALL_MM = 0.7  # a comma of common print
DUST_DEPTHS, MANY_SPECKS = 3.0, 120
# A black full stop of 12 pt is deeper than this; one of 8 pt is as deep as dust. None on 240 drawn sides was so deep
DOT_DEPTH = 160.0
FAINT_MM, FAINT_MARKS = (1.5, 60.0), 2
NOISE_SLOPES = 1.2  # the steepest of a few thousand pixels of smoothed noise, in deviations of the noise

STROKES = "marks like strokes"
SOFT_MARKS = "soft marks, as of ink showing through"

# punch holes: ISO 838 and the American ones are 5.5 to 8 mm wide and at most 13 mm from the edge
HOLE_MM = (4.0, 9.5)
HOLE_FROM_EDGE_MM = 28.0
HOLE_ROUND = 1.22
HOLE_OVERLAP = 0.88  # of a hole with its ellipse: torn rims and grain take some
HOLE_SIZE_DIFFERENCE_MM = 0.8
HOLE_RIM_MM = 2.0
HOLE_OFF_LINE = 0.27  # holes of one punch lie in line within 15 degrees
# Over a white lid a hole is only the shadow of its rim. A circle may be drawn by hand too, so such rings must stand as
# punches set them: 80 mm apart (ISO 838), or 70 or 108 mm (American two and three holes), or the outer two of three.
PUNCH_MM, PUNCH_OFF_MM, PUNCH_OFF_LINE = (70.0, 80.0, 107.95, 215.9), 1.5, 0.05
RING_INNER, RING_OUTER = 0.65, 1.08  # of the radius
RING_SECTORS, RING_CLOSED = 36, 0.9

# small print, as of stamps' rims or microprint, falls apart into specks; specks in a cluster are not dust
CLUSTER_GAP_MM = 1.2
CLUSTER_MM, CLUSTER_SPECKS = 4.0, 4

DARK_SHEET_LEVEL = 110
COLOUR_DPI = 75.0
COLOUR_DISTANCE = 12.0
COLOUR_MM2 = 2.0
SMALLEST_SHEET_MM = 45.0  # below this the stated resolution is wrong or it is a snippet


class Settings(StageSettings):
    """There is nothing to set: what is a mark does not depend on the kind of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    verdict: Verdict
    marks: int
    reason: str
    traces: int = 0  # on a side that is blank: how many marks are taken for dust, or for grain


def blank(page: PageImage, settings: Settings) -> PageImage:
    """Say whether the page bears anything. Pixels stay, and nothing is removed.

    Readings: `blank.verdict` is `content`, `maybe` (a person looks) or `blank` (sure); `blank.marks` counts what looks
    written or printed; `blank.reason` says in a few words what decided. `blank.ink_map` is what
    `bleed_through.may_show_through` needs of both sides of a sheet.
    Bleed-through, dust, holes, folds, ruled paper and a scanner's black border do not make an empty side a written
    one; each keeps it from being surely blank when it could hide or be writing.
    """
    maps = analysis_of(page)
    finding = _finding(page, maps)
    # a size that is unsure proves nothing of the sheet's other side
    of_known_size = not page.is_dpi_guessed and min(maps.grey.shape) >= maps.px(SMALLEST_SHEET_MM)
    return page.with_readings(
        "blank",
        verdict=finding.verdict,
        marks=finding.marks,
        reason=finding.reason,
        ink_map=ink_map(maps.grey, maps.paper, maps.px(1.0)) if of_known_size else "",
    )


def proved_blank(page: PageImage, other_side: PageImage) -> bool:
    """Whether a side bears nothing but marks of staples, and what shows through it of the print on the other side.

    These are taken off, and the rest must be surely blank. More is asked of it than of a side by itself: there may be
    no speck and no single faint mark either, since no more may be left of a pale word among print that shows through.
    """
    unstapled = without_staples(page, other_side)
    if unstapled is not None and _is_bare(unstapled):
        return True
    rest = without_other_side(page if unstapled is None else unstapled, other_side)
    return rest is not None and _is_bare(rest)


def _is_bare(page: PageImage) -> bool:
    finding = _finding(page, analysis_of(page))
    return finding.verdict == "blank" and not finding.traces


def _finding(page: PageImage, maps: Analysis) -> _Finding:
    letters = _dark_letters(maps)
    if letters >= LETTERS_OF_A_WRITTEN_PAGE:
        return _Finding(verdict="content", marks=letters, reason="print or writing")
    paper = _paper(maps.grey, maps)
    sheet = _sheet(paper, maps)
    if not sheet.any():
        return _Finding(verdict="maybe", marks=0, reason="no paper found")
    levels = paper[::SAMPLE_PX, ::SAMPLE_PX]
    on_sheet = levels[sheet[::SAMPLE_PX, ::SAMPLE_PX]]
    level = float(np.median(on_sheet)) if on_sheet.size else 0.0
    depth_tells = not page.is_bitonal  # in black and white a speck is as dark as print
    if level < DARK_SHEET_LEVEL:
        # white on black: look at the inverted page, on which black is the paper
        grey = np.asarray(cv2.bitwise_not(maps.grey), dtype=np.uint8)
        return _at_least_maybe(_marks_finding(grey, _paper(grey, maps), sheet, maps, depth_tells), "dark sheet")
    if (levels < TONE_DARKER * np.percentile(levels, 90)).mean() > TONE_SHARE and on_sheet.std() > TONE_DEVIATION:
        return _Finding(verdict="content", marks=0, reason="picture")
    finding = _marks_finding(maps.grey, paper, sheet, maps, depth_tells)
    nearly_blank = finding.verdict == "blank" or finding.reason == SOFT_MARKS
    if nearly_blank and page.is_colour and _has_colour_mark(page, maps):
        finding = _Finding(verdict="maybe", marks=0, reason="coloured mark")
    if min(maps.grey.shape) < maps.px(SMALLEST_SHEET_MM):
        finding = _at_least_maybe(finding, "too small a sheet to judge")
    if page.is_dpi_guessed:
        finding = _at_least_maybe(finding, "the size of marks is unsure: the file states no resolution")
    return finding


def _at_least_maybe(finding: _Finding, reason: str) -> _Finding:
    return _Finding(verdict="maybe", marks=finding.marks, reason=reason) if finding.verdict == "blank" else finding


def _dark_letters(maps: Analysis) -> int:
    """How many letter-sized pieces of ink hold a pixel far darker than the paper."""
    dark = maps.grey < cv2.convertScaleAbs(maps.paper, alpha=DARK_SHARE)
    held = np.bincount(maps.labels[dark], minlength=len(maps.stats)) > 0
    larger = np.maximum(maps.stats[:, 2], maps.stats[:, 3])
    held &= (larger >= maps.px(LETTER_MM[0])) & (larger <= maps.px(LETTER_MM[1]))
    return int(held[1:].sum())


def _paper(grey: Grey, maps: Analysis, *, rim: int = 0) -> Grey:
    """The paper's level: the median over 21 mm, which no letter and no stroke moves.

    `rim` pixels of the reduced copy all around are taken to be as what lies within.
    """
    size = (max(1, grey.shape[1] // PAPER_REDUCTION), max(1, grey.shape[0] // PAPER_REDUCTION))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    window = max(3, min(255, round(maps.px(PAPER_WINDOW_MM) / PAPER_REDUCTION))) | 1
    rim = min(rim, (min(small.shape) - 1) // 2)
    inner = np.ascontiguousarray(small[rim : small.shape[0] - rim, rim : small.shape[1] - rim])
    small = cv2.copyMakeBorder(cv2.medianBlur(inner, min(window, 255)), rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, grey.shape[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _sheet(paper: Grey, maps: Analysis) -> Mask:
    """Where the sheet lies: not on a dark lid or border, and not on the outermost millimetre."""
    light = (paper > SHEET_SHARE * level_at(paper[::SAMPLE_PX, ::SAMPLE_PX], 75)).view(np.uint8)
    rim = max(1, round(maps.px(SHEET_RIM_MM)))
    sheet = cv2.erode(light, np.ones((rim, rim), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    edge = max(1, round(maps.px(IMAGE_RIM_MM)))
    sheet[:edge] = sheet[-edge:] = 0
    sheet[:, :edge] = sheet[:, -edge:] = 0
    return np.asarray(sheet > 0, dtype=np.bool_)


def _depth(grey: Grey, paper: Grey) -> Depth:
    """How much darker than the paper each pixel is, as if the paper were white; lighter ones are negative."""
    darker = cv2.subtract(paper, grey, dtype=cv2.CV_32F)
    darker = cv2.divide(darker, np.maximum(paper, DARKEST_PAPER).astype(np.float32), scale=WHITE)
    return np.asarray(cv2.GaussianBlur(darker, (0, 0), SMOOTHING_PX), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """All connected marks of one map: boxes in pixels (left, top, width, height, area), deepest and steepest pixel."""

    boxes: Boxes
    depth: Depth
    steepness: Depth

    @property
    def larger(self) -> npt.NDArray[np.int32]:
        return np.maximum(self.boxes[:, 2], self.boxes[:, 3])


def _marks(depth: Depth, mask: Mask) -> _Marks:
    joined = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    deepest, steepest = np.zeros(count, np.float32), np.zeros(count, np.float32)
    if count > 1:
        inked = np.flatnonzero(labels)
        of = np.asarray(labels, np.int32).reshape(-1)[inked]
        np.maximum.at(deepest, of, depth.reshape(-1)[inked])
        np.maximum.at(steepest, of, _slope(depth).reshape(-1)[inked])
    left, top, width, height, area = np.asarray(boxes[1:], np.int32).T
    # as large as before they were dilated
    thin, low = np.maximum(width - 2, 1), np.maximum(height - 2, 1)
    share = thin * low / (width * height)
    before = np.stack([left + 1, top + 1, thin, low, np.rint(area * share)], axis=1)
    return _Marks(boxes=before.astype(np.int32), depth=deepest[1:], steepness=steepest[1:])


def _slope(depth: Depth) -> Depth:
    """By how much each pixel differs from the next."""
    across, down = (cv2.Sobel(depth, cv2.CV_32F, 1 - i, i, scale=0.25) for i in (0, 1))
    return np.asarray(cv2.magnitude(across, down), dtype=np.float32)


def _marks_finding(grey: Grey, paper: Grey, sheet: Mask, maps: Analysis, depth_tells: bool) -> _Finding:
    """What the marks on the sheet say (IMAGING 2.8, steps 4 to 7)."""
    depth = _depth(grey, paper)
    # measured on the lighter side, where no ink lies: 16 in 100 pixels are lighter by more than one deviation
    sample = depth[::SAMPLE_PX, ::SAMPLE_PX][sheet[::SAMPLE_PX, ::SAMPLE_PX]]
    noise = max(LEAST_NOISE, -float(np.quantile(sample, 0.16))) if sample.size else LEAST_NOISE
    least = max(DEPTH_NOISES * noise, LEAST_DEPTH)
    mm = maps.px(1.0)
    dark = (depth > least) & sheet
    lines = _lines(dark, mm)
    marks = _marks(depth, dark & ~lines)
    hole, lone_hole = _holes(marks, dark, mm)
    longer = marks.larger >= STROKE_MM * mm
    rule = _rules(marks.boxes[:, 2:4], grey.shape, mm)
    # strokes are steep, bleed-through is soft; what noise adds to a slope does not count
    steep = marks.steepness - NOISE_SLOPES * noise > STROKE_STEEPNESS * marks.depth
    stroke = longer & steep & (marks.depth > STROKE_DEPTHS * least) & ~rule & ~hole & ~lone_hole
    soft = longer & ~stroke & ~rule & ~hole & ~lone_hole
    strokes = int(stroke.sum())
    if strokes:
        if strokes * FEW_AMONG < len(marks.depth) and (marks.larger[stroke] < SPECK_MM * mm).all():
            return _Finding(verdict="maybe", marks=strokes, reason="large specks among dust")
        if _shows_through(marks, stroke | soft, noise):
            return _Finding(verdict="maybe", marks=0, reason=SOFT_MARKS)
        few = strokes * FEW_AMONG < int(soft.sum())
        if few and marks.depth[stroke].max() < DEEPER * np.quantile(marks.depth[soft], 0.9):
            return _Finding(verdict="maybe", marks=strokes, reason="marks among ink showing through, and no darker")
        return _Finding(verdict="content", marks=strokes, reason=STROKES)
    if (rule & (marks.depth >= RULE_DEPTH)).any() or (lines & (depth >= RULE_DEPTH)).any():
        return _Finding(verdict="maybe", marks=0, reason="printed rules or scanner streaks")
    is_small_mark = steep & ~_round(marks) & (marks.larger >= SMALL_MM * mm) & (marks.depth > STROKE_DEPTHS * least)
    is_small_mark &= ~hole
    if soft.any():
        if (is_small_mark & ~rule).any():
            return _Finding(verdict="maybe", marks=0, reason="small marks among ink showing through")
        if lone_hole.any() or _specks_gather(marks.boxes[~longer & steep], grey.shape, mm):
            return _Finding(verdict="maybe", marks=0, reason="spots among ink showing through")
        return _Finding(verdict="maybe", marks=0, reason=SOFT_MARKS)
    if lone_hole.any():
        return _Finding(verdict="maybe", marks=0, reason="a round spot that may be a hole")
    if int((~longer & (marks.depth > DUST_DEPTHS * least)).sum()) > MANY_SPECKS:
        return _Finding(verdict="maybe", marks=0, reason="many specks")
    if is_small_mark.any():
        return _Finding(verdict="maybe", marks=0, reason="a small mark")
    if depth_tells and (~longer & (marks.depth >= DOT_DEPTH)).any():
        return _Finding(verdict="maybe", marks=0, reason="a dot as dark as print")
    if _specks_gather(marks.boxes[~longer], grey.shape, mm):
        return _Finding(verdict="maybe", marks=0, reason="specks close together")
    rest = _without(sheet, marks.boxes[hole], margin=round(HOLE_RIM_MM * mm))
    faint_mm = _faint_marks_mm(depth, noise, rest, mm)
    if np.count_nonzero(faint_mm >= FAINT_MM[0]) >= FAINT_MARKS:
        return _Finding(verdict="maybe", marks=0, reason="faint marks")
    # at its frame a median sees the outermost pixels again and again: beside an edge's shadow all paper is lighter
    if _has_light_marks(depth, least, rest, mm) and _has_light_marks(
        _depth(grey, _paper(grey, maps, rim=EDGE_RIM)), least, rest, mm
    ):
        return _Finding(verdict="maybe", marks=0, reason="light marks")
    traces = int(np.count_nonzero(~hole & ~rule) + np.count_nonzero(faint_mm >= STROKE_MM))
    return _Finding(verdict="blank", marks=0, reason="nothing but paper", traces=traces)


def _shows_through(marks: _Marks, longer: Mask, noise: float) -> bool:
    """Whether these marks are one soft crowd, of which none stands out as steeper or deeper than noise makes it."""
    if np.count_nonzero(longer) < SOFT_CROWD:
        return False
    depth = marks.depth[longer]
    steepness = (marks.steepness[longer] - NOISE_SLOPES * noise) / depth
    middle = float(np.median(steepness))
    return bool(
        middle <= SOFT_MIDDLE
        and steepness.max() <= SOFT_STEEPEST
        and depth.max() <= DEEPER * float(np.quantile(depth, 0.9))
    )


def _lines(dark: Mask, mm: float) -> Mask:
    """Where straight level or upright lines cross most of the sheet, even if they are broken by grain."""
    lines = np.zeros(dark.shape, np.uint8)
    band = np.ones(max(1, round(LINE_BAND_MM * mm)))
    for down in (False, True):
        # labelling is dear; without this much ink in any band as broad as a line and its slope there is no line
        if (
            np.convolve(np.count_nonzero(dark, axis=0 if down else 1), band).max()
            > RULE_SPAN / 2 * dark.shape[not down]
        ):
            gap, length = (np.ones((1, max(1, round(size * mm))), np.uint8) for size in (LINE_GAP_MM, LINE_MM))
            closed = cv2.morphologyEx(dark.view(np.uint8), cv2.MORPH_CLOSE, gap.T if down else gap)
            solid = cv2.morphologyEx(closed, cv2.MORPH_OPEN, length.T if down else length)
            _, labels, boxes, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
            crossing = _rules(np.asarray(boxes[:, 2:4], np.int32), dark.shape, mm)
            crossing[0] = False
            lines |= crossing[labels].view(np.uint8)
    return np.asarray(cv2.dilate(lines, np.ones((3, 3), np.uint8)) > 0, np.bool_)


def _rules(sizes: Boxes, shape: tuple[int, ...], mm: float) -> Mask:
    """Which widths and heights are those of lines across the sheet: ruled paper, folds, streaks of the scanner."""
    span = np.maximum(sizes[:, 0] / shape[1], sizes[:, 1] / shape[0])
    thin = sizes.min(axis=1) < RULE_MM * mm + RULE_SLOPE * sizes.max(axis=1)
    return np.asarray((span > RULE_SPAN) & thin, np.bool_)


def _without(sheet: Mask, boxes: Boxes, *, margin: int) -> Mask:
    """The sheet less these boxes and a margin around each."""
    rest = sheet.copy()
    for left, top, width, height, _ in boxes:
        rest[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin] = False
    return rest


def _round(marks: _Marks) -> Mask:
    """Which marks are as long as broad and filled, as specks are."""
    width, height = marks.boxes[:, 2], marks.boxes[:, 3]
    longest = SPECK_ROUND * np.minimum(width, height)
    return np.asarray((marks.larger <= longest) & (marks.boxes[:, 4] > SPECK_FILL * width * height), np.bool_)


def _holes(marks: _Marks, dark: Mask, mm: float) -> tuple[Mask, Mask]:
    """Which marks are punch holes: round, solid, near an edge; `(those in line with another one, those alone)`."""
    left, top, width, height, _ = marks.boxes.astype(np.float64).T / mm
    rows, cols = (side / mm for side in dark.shape)
    size = (width + height) / 2
    x, y = left + width / 2, top + height / 2
    from_edge = np.minimum(np.minimum(x, cols - x), np.minimum(y, rows - y))
    likely = (size >= HOLE_MM[0]) & (size <= HOLE_MM[1]) & (from_edge <= HOLE_FROM_EDGE_MM)
    likely &= np.maximum(width, height) <= HOLE_ROUND * np.minimum(width, height)
    round_ = np.flatnonzero(likely)
    is_ring = np.zeros_like(likely)
    for i in round_:
        is_ring[i] = _is_ring(dark, marks.boxes[i])
        likely[i] = _is_disc(dark, marks.boxes[i])
    paired = np.zeros_like(likely)
    for i in np.flatnonzero(likely):
        across, along = np.abs(x - x[i]), np.abs(y - y[i])
        apart = np.maximum(across, along)
        in_line = (apart > 2 * HOLE_MM[0]) & (np.minimum(across, along) <= HOLE_OFF_LINE * apart)
        paired[i] = bool((likely & in_line & (np.abs(size - size[i]) <= HOLE_SIZE_DIFFERENCE_MM)).any())
    for i in np.flatnonzero(is_ring):
        across, along = np.abs(x - x[i]), np.abs(y - y[i])
        apart = np.maximum(across, along)
        as_punched = (np.abs(apart[:, None] - np.array(PUNCH_MM)) <= PUNCH_OFF_MM).any(axis=1)
        in_line = np.minimum(across, along) <= PUNCH_OFF_LINE * apart
        paired[i] = bool((is_ring & as_punched & in_line & (np.abs(size - size[i]) <= HOLE_SIZE_DIFFERENCE_MM)).any())
    return np.asarray(paired, np.bool_), np.asarray(likely & ~paired, np.bool_)


def _is_disc(dark: Mask, box: Boxes) -> bool:
    """Whether the ink in the box is a filled ellipse, which a bold letter of that size is not."""
    left, top, width, height, _ = box.tolist()
    y, x = np.ogrid[0:height, 0:width]
    disc = ((2 * x + 1) / width - 1) ** 2 + ((2 * y + 1) / height - 1) ** 2 <= 1
    ink = dark[top : top + height, left : left + width]
    return bool((disc & ink).sum() >= HOLE_OVERLAP * (disc | ink).sum())


def _is_ring(dark: Mask, box: Boxes) -> bool:
    """Whether the ink in the box is one closed circle with nothing in it."""
    left, top, width, height, _ = box.tolist()
    y, x = np.nonzero(dark[top : top + height, left : left + width])
    across, down = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    radius = np.hypot(across, down)
    sectors = ((np.arctan2(down, across) / (2 * np.pi) + 0.5) * RING_SECTORS).astype(np.intp) % RING_SECTORS
    return bool(
        radius.size
        and radius.min() >= RING_INNER
        and radius.max() <= RING_OUTER
        and np.unique(sectors).size >= RING_CLOSED * RING_SECTORS
    )


def _specks_gather(specks: Boxes, shape: tuple[int, ...], mm: float) -> bool:
    """Whether several specks lie close together over some millimetres, as small print does."""
    reach = max(1, round(CLUSTER_GAP_MM * mm / 2))
    grown = np.zeros(shape, np.uint8)
    for left, top, width, height, _ in specks:
        grown[max(0, top - reach) : top + height + reach, max(0, left - reach) : left + width + reach] = 1
    _, labels, clusters, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    members = np.bincount(labels[specks[:, 1], specks[:, 0]], minlength=len(clusters))
    extent = np.maximum(clusters[:, 2], clusters[:, 3]) - 2 * reach
    return bool(((members >= CLUSTER_SPECKS) & (extent >= CLUSTER_MM * mm))[1:].any())


def _faint_marks_mm(depth: Depth, noise: float, sheet: Mask, mm: float) -> Depth:
    """How large those marks are that are too pale to be counted as strokes, but not larger than these."""
    boxes = _coarse_boxes((depth > max(FAINT_NOISES * noise, LEAST_FAINT_DEPTH)) & sheet)
    larger_mm = boxes[:, 2:4].max(axis=1, initial=0) / mm
    likely = (larger_mm <= FAINT_MM[1]) & ~_rules(boxes[:, 2:4], depth.shape, mm)
    return np.asarray(larger_mm[likely], np.float32)


def _has_light_marks(depth: Depth, least: float, sheet: Mask, mm: float) -> bool:
    """Whether something on the sheet is lighter than its paper: white ink, a label, a hole over a white lid."""
    boxes = _coarse_boxes((depth < -least) & sheet)
    return bool((boxes[:, 2:4].max(axis=1, initial=0) >= STROKE_MM * mm).any())


def _coarse_boxes(mask: Mask) -> Boxes:
    """Boxes of the connected pieces of a mask, found at half size: pieces a pixel apart count as one."""
    if not mask.any():
        return np.empty((0, 5), np.int32)
    rows, cols = (side // 2 * 2 for side in mask.shape)
    halves = mask[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2).any(axis=(1, 3))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(np.asarray(halves, np.uint8), connectivity=8)
    return np.asarray(boxes[1:] * 2, np.int32)


def _has_colour_mark(page: PageImage, maps: Analysis) -> bool:
    """Whether more than 2 mm² differ in hue from the paper: highlighter or pale ink, which hardly darken it."""
    factor = min(1.0, COLOUR_DPI / page.dpi)
    size = (max(1, round(page.width_px * factor)), max(1, round(page.height_px * factor)))
    small = cv2.cvtColor(cv2.resize(page.pixels.view(np.uint8), size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    hue = small[..., 1:].astype(np.float32)
    distance = np.hypot(*np.moveaxis(hue - np.median(hue, axis=(0, 1)), -1, 0))
    sheet = cv2.resize(_sheet(_paper(maps.grey, maps), maps).view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    far = np.asarray((distance > COLOUR_DISTANCE) & (sheet > 0), np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(far, connectivity=8)
    per_mm = page.dpi * factor / MM_PER_INCH
    return bool((boxes[1:, 4] > COLOUR_MM2 * per_mm**2).any())
