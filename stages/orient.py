"""Stand a page upright: a small net looks at single letters and each votes for one of the four quarter turns.

Only whole quarter turns are made, without resampling. A page that gives too little evidence stays as it is; where the
net is not sure, Tesseract's orientation detection is asked for a second opinion.
"""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytesseract
from PIL import Image
from pydantic import Field

from stages.analysis import InkParts, analysis_of, ink_parts
from stages.page_image import MM_PER_INCH, PageImage
from stages.places import quarter_turned
from stages.settings import StageSettings

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).with_name("orient_net.npz")  # written by bench/train_orient.py
WINDOW_PX = 24

# What may be a letter (IMAGING 2.2, step 2). The limits are wide because the stated resolution may be wrong by a factor
# of three and letters must still be found; what is taken is then narrowed to the page's own typical letter.
LONGER_SIDE_MM = (1.0, 9.0)
LONGER_SIDE_LEAST_PX = 6  # a smaller letter shows no shape
LONGER_SIDE_REACH_PX = 12  # so that small letters are kept where the stated resolution is far too low
SHORTER_SIDE_LEAST_MM = 0.3
SHORTER_SIDE_LEAST_PX = 2
FILL = (0.12, 0.90)
LONGEST_ASPECT = 3.2
BAR_ASPECT, BAR_FILL = 1.8, 0.75  # dashes and rule pieces, of which receipts are full, have no upright
OF_TYPICAL_SIZE = (0.5, 2.2)
MOST_LETTERS = 600

DARK_PAGE_LEVEL = 110  # median grey below which letters may be white on black (IMAGING 2.1, step 2)
DOUBT = 0.05  # share of letters whose vote is taken for noise, so that no single letter can outvote a line
# A letter is sure of a turn from this chance on. Where for every five that are sure of one turn another is sure of
# a different one, the net does not know the script: Gujarati and Tamil in faces unlike those of the training reached
# a margin of 0.68 with a quarrel of 0.27 and 0.47; the faintest receipts and typescripts have 0.14 to 0.17.
SURE_CHANCE = 0.8
CLEAR_MARGIN = 1.0  # from here on no script was misread, and stamps that stand askew on a page may quarrel

# Tesseract was wrong up to 5.4 on the developers' scans (a receipt) and up to 6.7 on the prototype's (a digits table).
SECOND_OPINION_ALONE = 8.0
SECOND_OPINION_AGREEING = 4.0
SECOND_OPINION_DPI = 200.0
SECOND_OPINION_SIDE_LETTERS = 45  # 9 to 20 lines; with 28 its confidence was a third lower (16 excerpts)
SECOND_OPINION_MOST_PX = 3000
LARGEST_SKEW_DEG = 20.0
SKEW_STEP_DEG = 0.5


class Settings(StageSettings):
    """How sure a turn must be.

    `turn` off only measures. The net decides alone from `min_glyphs` letters and `min_margin` nat a letter on, if its
    letters do not quarrel by more than `max_quarrel`; otherwise Tesseract is asked if `use_osd`, for at most
    `osd_timeout_s`. Below `min_glyphs` no page is turned.
    """

    turn: bool = True
    min_margin: float = Field(default=0.6, ge=0.0)
    max_quarrel: float = Field(default=0.2, ge=0.0)
    min_glyphs: int = Field(default=30, ge=1)
    use_osd: bool = True
    osd_timeout_s: float = Field(default=20.0, gt=0.0)


class DecidedBy(StrEnum):
    """Whose word was taken."""

    NET = "net"
    OSD = "osd"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Letter-size pieces of ink.

    `windows` is `(letters, 24, 24)` uint8: each letter alone, white on black, filling its window by the longer side.
    `centres` is `(letters, 2)`, x and y; `size_px` is the typical longer side; both in pixels of the labelling they
    were cut from.
    """

    windows: npt.NDArray[np.uint8]
    centres: npt.NDArray[np.float64]
    size_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vote:
    """What the net makes of a page: turns counter-clockwise that stand it upright, and how sure that is.

    `quarrel` is the number of letters sure of another turn for each letter sure of this one.
    """

    quarter_turns: int
    margin: float
    quarrel: float
    letters: Letters
    white_on_black: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """`quarter_turns` counter-clockwise, who decided, and why nobody did."""

    quarter_turns: int = 0
    decided_by: DecidedBy = DecidedBy.NONE
    declined: str | None = None


def orient(page: PageImage, settings: Settings) -> PageImage:
    """Turn the page upright by whole quarter turns, or leave it when its orientation is not certain.

    Pixels are only moved, never changed. Readings: `orient.turn_deg` the clockwise turn that was needed (0, 90, 180,
    270), `orient.margin` in nat a letter, `orient.quarrel` letters sure of another turn for each sure of this one,
    `orient.glyphs` letters looked at, `orient.decided_by` (`net`, `osd`, `none`) and, when nobody decided,
    `orient.declined` with the reason.

    Source: letting recognised letters decide follows Rangoni, Shafait, van Beusekom and Breuel, Recognition driven
    page orientation detection, ICIP 2009; the net and its training are our own (bench/train_orient.py).
    """
    vote = _vote(page)
    count = len(vote.letters.windows)
    decision = _decide(page, vote, settings)
    measured = page.with_readings(
        "orient",
        turn_deg=-90 * decision.quarter_turns % 360,
        margin=vote.margin,
        quarrel=vote.quarrel,
        glyphs=count,
        decided_by=decision.decided_by,
        declined=decision.declined,
    )
    if not settings.turn or decision.quarter_turns == 0:
        return measured
    pixels, moved_by = quarter_turned(page.pixels, decision.quarter_turns)
    return measured.with_pixels(pixels, moved_by=moved_by)


def letters_of(parts: InkParts, dpi: float) -> Letters:
    """Cut out what is most likely letters: at most 600, spread evenly over the page."""
    mm = dpi / MM_PER_INCH
    left, top, width, height, area = parts.stats.T
    longer, shorter, around = np.maximum(width, height), np.minimum(width, height), width * height.astype(np.float64)
    fits = (
        (longer >= max(LONGER_SIDE_LEAST_PX, LONGER_SIDE_MM[0] * mm))
        & (longer <= max(LONGER_SIDE_REACH_PX, LONGER_SIDE_MM[1] * mm))
        & (shorter >= max(SHORTER_SIDE_LEAST_PX, SHORTER_SIDE_LEAST_MM * mm))
        & (longer <= LONGEST_ASPECT * shorter)
        & (area > FILL[0] * around)
        & (area < FILL[1] * around)
        & ~((longer > BAR_ASPECT * shorter) & (area > BAR_FILL * around))
    )
    fits[0] = False  # row 0 is the paper
    found = np.flatnonzero(fits)
    if not len(found):
        return Letters(windows=np.zeros((0, WINDOW_PX, WINDOW_PX), np.uint8), centres=np.zeros((0, 2)), size_px=0.0)
    typical = _weighted_median(longer[found])
    found = found[(longer[found] >= OF_TYPICAL_SIZE[0] * typical) & (longer[found] <= OF_TYPICAL_SIZE[1] * typical)]
    if len(found) > MOST_LETTERS:
        found = found[np.linspace(0, len(found) - 1, MOST_LETTERS).astype(int)]
    windows = np.zeros((len(found), WINDOW_PX, WINDOW_PX), np.uint8)
    for window, label in zip(windows, found, strict=True):
        x, y, w, h = (int(v) for v in parts.stats[label, :4])
        _fill_window(window, parts.labels[y : y + h, x : x + w] == label)
    centres = np.stack([left[found] + width[found] / 2, top[found] + height[found] / 2], axis=1)
    return Letters(windows=windows, centres=centres, size_px=typical)


def _weighted_median(sizes: npt.NDArray[np.int32]) -> float:
    """The size at which half of all size lies below: dust is many but small, so it does not set the scale."""
    ordered = np.sort(sizes)
    running = np.cumsum(ordered, dtype=np.int64)
    return float(ordered[np.searchsorted(running, running[-1] / 2)])


def _fill_window(window: npt.NDArray[np.uint8], shape: npt.NDArray[np.bool_]) -> None:
    """Draw one letter into the middle of its window, aspect kept, one pixel of margin."""
    height, width = shape.shape
    zoom = (WINDOW_PX - 2) / max(height, width)
    # Even sizes lie exactly in the middle. Half a pixel off to one side, and the net learns the side, not the letter.
    size = 2 * max(1, round(width * zoom / 2)), 2 * max(1, round(height * zoom / 2))
    drawn = cv2.resize(
        shape.view(np.uint8) * np.uint8(255),
        size,
        interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR,
    )
    x, y = (WINDOW_PX - size[0]) // 2, (WINDOW_PX - size[1]) // 2
    window[y : y + size[1], x : x + size[0]] = drawn


@functools.cache
def _net() -> tuple[npt.NDArray[np.float32], ...]:
    """The weights: first layer laid out for all four turns of a window, its offsets, second layer, its offsets, sum."""
    with np.load(WEIGHTS) as stored:
        first, first_offset, second, second_offset, last = (
            np.asarray(stored[name], dtype=np.float32) for name in ("w1", "b1", "w2", "b2", "w3")
        )
    # Turning the weights back once is the same as turning every window, and cheaper.
    grid = first.reshape(WINDOW_PX, WINDOW_PX, -1)
    turned = [np.rot90(grid, -turn).reshape(first.shape) for turn in range(4)]
    return np.concatenate(turned, axis=1), np.tile(first_offset, 4), second, second_offset, last


def turn_chances(windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """For each letter the chances, `(letters, 4)`, that 0, 1, 2, 3 quarter turns counter-clockwise stand it upright.

    One score is computed of the window in each of its four turns, so no turn can be favoured.
    """
    first, first_offset, second, second_offset, last = _net()
    flat = windows.reshape(len(windows), -1).astype(np.float32) * np.float32(1 / 255)
    hidden = np.maximum(flat @ first + first_offset, 0).reshape(len(windows) * 4, -1)
    scores = (np.maximum(hidden @ second + second_offset, 0) @ last).reshape(-1, 4)
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), dtype=np.float32)


def _vote(page: PageImage) -> _Vote:
    analysis = analysis_of(page)
    parts = InkParts(analysis.ink, analysis.labels, analysis.stats)
    vote = _count(letters_of(parts, analysis.dpi), white_on_black=False)
    if np.median(analysis.grey[::8, ::8]) >= DARK_PAGE_LEVEL:
        return vote
    # A black page, or paper on a black lid: take the reading with more evidence in all.
    inverted = ink_parts(255 - analysis.grey, analysis.dpi)
    other = _count(letters_of(inverted, analysis.dpi), white_on_black=True)
    return max(vote, other, key=lambda one: one.margin * len(one.letters.windows))


def _count(letters: Letters, *, white_on_black: bool) -> _Vote:
    if not len(letters.windows):
        return _Vote(quarter_turns=0, margin=0.0, quarrel=0.0, letters=letters, white_on_black=white_on_black)
    chances = turn_chances(letters.windows)
    evidence = np.log((1 - DOUBT) * chances + DOUBT / 4).sum(axis=0, dtype=np.float64)
    second, best = np.sort(evidence)[-2:]
    sure = (chances > SURE_CHANCE).sum(axis=0)
    chosen = int(evidence.argmax())
    return _Vote(
        quarter_turns=chosen,
        margin=float(best - second) / len(letters.windows),
        quarrel=float(sure.sum() - sure[chosen]) / max(1, int(sure[chosen])),
        letters=letters,
        white_on_black=white_on_black,
    )


def _decide(page: PageImage, vote: _Vote, settings: Settings) -> _Decision:
    count = len(vote.letters.windows)
    if count < settings.min_glyphs:
        return _Decision(declined=f"{count} letters found; at least {settings.min_glyphs} are needed")
    if vote.margin < settings.min_margin:
        unsure = f"margin {vote.margin:.2f}; at least {settings.min_margin:g} is needed"
    elif vote.margin < CLEAR_MARGIN and vote.quarrel > settings.max_quarrel:
        unsure = f"the letters quarrel by {vote.quarrel:.2f}; at most {settings.max_quarrel:g} is taken"
    else:
        return _Decision(quarter_turns=vote.quarter_turns, decided_by=DecidedBy.NET)
    if not settings.use_osd:
        return _Decision(declined=unsure)
    try:
        turns, confidence = _second_opinion(_excerpt(page, vote), timeout_s=settings.osd_timeout_s)
    except pytesseract.TesseractNotFoundError:
        log.warning("Tesseract is not installed: pages of uncertain orientation stay as they are")
        return _Decision(declined=f"{unsure}; no second opinion: Tesseract is not installed")
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        # RuntimeError is its time-out and every failure of its own (no osd data, too few characters); the others are an
        # answer that is none. A second opinion that cannot be had is no reason to stop the page.
        log.debug("no second opinion on the orientation: %s", error)
        return _Decision(declined=f"{unsure}; no second opinion: Tesseract gave none")
    needed = SECOND_OPINION_AGREEING if turns == vote.quarter_turns else SECOND_OPINION_ALONE
    if confidence < needed:
        return _Decision(declined=f"{unsure}; second opinion {confidence:.1f}, at least {needed:g} is needed")
    return _Decision(quarter_turns=turns, decided_by=DecidedBy.OSD)


def _second_opinion(excerpt: npt.NDArray[np.uint8], *, timeout_s: float) -> tuple[int, float]:
    """Quarter turns counter-clockwise that Tesseract would make, and its confidence."""
    # Its thread pool spins: 4.6 times the CPU without this (SPEED 1). pytesseract hands on this process's environment.
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    answer = pytesseract.image_to_osd(
        Image.fromarray(excerpt),
        config=f"--dpi {SECOND_OPINION_DPI:.0f}",
        output_type=pytesseract.Output.DICT,
        timeout=timeout_s,
    )
    return -int(answer["rotate"]) // 90 % 4, float(answer["orientation_conf"])


def _excerpt(page: PageImage, vote: _Vote) -> npt.NDArray[np.uint8]:
    """The square with most letters, dark on light, levelled, at 200 dpi: all that the second opinion needs to see."""
    letters, analysis = vote.letters, analysis_of(page)
    side = SECOND_OPINION_SIDE_LETTERS * letters.size_px
    x, y = _densest_place(letters.centres, side)
    near = (np.abs(letters.centres - (x, y)) < side / 2).all(axis=1)
    skew_deg = _skew_of(letters.centres[near], letters.size_px) if near.any() else 0.0
    # A stated resolution that is far too low must not blow the excerpt up.
    zoom = min(SECOND_OPINION_DPI / page.dpi, SECOND_OPINION_MOST_PX / (side * analysis.scale))
    out_px = max(1, round(side * analysis.scale * zoom))
    centre = x * analysis.scale, y * analysis.scale
    turn = cv2.getRotationMatrix2D(centre, -skew_deg, zoom)
    turn[0, 2] += out_px / 2 - centre[0]
    turn[1, 2] += out_px / 2 - centre[1]
    grey = page.grey()
    if zoom < 1:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.45 / zoom), dtype=np.uint8)  # no stairs when reduced
    if vote.white_on_black:
        grey = 255 - grey
    paper = int(np.median(grey[::8, ::8]))
    return np.asarray(
        cv2.warpAffine(grey, turn, (out_px, out_px), flags=cv2.INTER_LINEAR, borderValue=(paper,)), dtype=np.uint8
    )


def _densest_place(centres: npt.NDArray[np.float64], side: float) -> tuple[float, float]:
    """Middle of the square of this side that holds most of the centres, to a sixth of the side."""
    cell = side / 6
    columns, rows = (centres / cell).astype(int).T
    counts = np.zeros((rows.max() + 1, columns.max() + 1), np.float32)
    np.add.at(counts, (rows, columns), 1)
    held = cv2.boxFilter(counts, -1, (6, 6), normalize=False, borderType=cv2.BORDER_CONSTANT)
    row, column = np.unravel_index(int(held.argmax()), held.shape)
    return float(column) * cell, float(row) * cell


def _skew_of(centres: npt.NDArray[np.float64], size_px: float) -> float:
    """Counter-clockwise skew, within 20 degrees, of lines that run along the rows or along the columns."""
    best_deg, best_score = 0.0, -1.0
    for angle_deg in np.arange(-LARGEST_SKEW_DEG, LARGEST_SKEW_DEG + SKEW_STEP_DEG / 2, SKEW_STEP_DEG):
        cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        x, y = centres.T
        for across in (y * cos + x * sin, x * cos - y * sin):
            filled = np.bincount(((across - across.min()) / (size_px / 4)).astype(int)).astype(np.float64)
            score = float(filled @ filled)
            if score > best_score:
                best_deg, best_score = float(angle_deg), score
    return best_deg
