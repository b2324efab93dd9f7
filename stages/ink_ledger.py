"""What a step did to the writing on a page, and the step undone where it took more than it may.

Books are kept by letters: connected ink of the size and shape of letters, dark enough to be print rather than
bleed-through or grain, and with edges as sharp as those of most. Specks, lids and holes are not in the books; the steps
that remove those have rules of their own. A step that is undone leaves its readings, and the page as it was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
    analysis_of,
    ink_of,
    letter_like,
    level_at,
    reduced,
    sharpness,
)
from stages.lid import lid_of
from stages.page_image import MM_PER_INCH, PageImage, Reading

DEEP_SHARE = 0.4  # of the depth of most ink: lighter marks are bleed-through, stains and grain
DEEP_PERCENTILE = 75
LETTER_LOST_SHARE = 0.5
SHARPNESS = 0.5  # of what most letters of the page have: softer marks are stains, and the shadow of a sheet's edge
LID_SHARE = 0.9  # a word that runs up to the lid is a word
HOLE_REACH_MM = 5.0  # the largest holes measure 8 mm across, with their shadow
HOLE_LEAST_MM = 3.5


class Limit(NamedTuple):
    """How much of the letters a step may take: a share of their ink, and a share of their number.

    Letters lower than `least_height` of the page's middle letter do not count: of stained paper a threshold must take
    marks that are as dark as faint writing.
    """

    ink_fraction: float = 0.005
    letters_fraction: float = 0.0
    least_height: float = 0.0


# IMAGING 3, rules 4 and 5. A step that is not named here may take what it likes: it works on the copy that is read.
LIMITS: Mapping[str, Limit] = {
    "orient": Limit(),
    "crop": Limit(),
    "deskew": Limit(),
    "dewarp": Limit(),
    "holes": Limit(),
    "background": Limit(),
    # of 60 real pages 59 lost less than 1.7 % of their letters, stains and bleed-through among them; the one beyond, a
    # faint receipt, lost whole words
    "binarize": Limit(ink_fraction=0.03, letters_fraction=0.03, least_height=0.6),
    "despeckle": Limit(ink_fraction=0.003),
}


class InkMoved(NamedTuple):
    """What became of the letters; shares are of the ink of all letters before.

    `letters_lost` are letters of which most is gone.
    """

    letters: int
    lost_fraction: float
    letters_lost: int


NOTHING_MOVED = InkMoved(0, 0.0, 0)


def settled(before: PageImage, after: PageImage, stage: str) -> PageImage:
    """The page after a step, or as it was before when the step took more of the letters than `LIMITS` allow it.

    Readings of the step, where it changed pixels: `ink_lost_fraction` and `letters_lost` of what it did, and
    `rolled_back`, whether it was undone. `ink.rolled_back` lists the steps that were undone on this page.
    """
    limit = LIMITS.get(stage)
    if limit is None or after.pixels is before.pixels:
        return after
    moved = ink_moved(before, after, least_height=limit.least_height)
    too_much = moved.lost_fraction > limit.ink_fraction or moved.letters_lost > limit.letters_fraction * moved.letters
    page = after
    if too_much:
        page = replace(before, readings=after.readings)
        undone = before.readings.get("ink.rolled_back")
        page = page.with_readings("ink", rolled_back=[*(undone if isinstance(undone, list) else []), stage])
    return page.with_readings(
        stage, ink_lost_fraction=moved.lost_fraction, letters_lost=moved.letters_lost, rolled_back=too_much
    )


def ink_taken(readings: Mapping[str, Reading]) -> float:
    """Share of the letters' ink that all steps on a page took together, those undone left out."""
    return sum(
        lost
        for name, lost in readings.items()
        if name.endswith(".ink_lost_fraction")
        and isinstance(lost, (int, float))
        and not readings[f"{name.partition('.')[0]}.rolled_back"]
    )


def ink_moved(before: PageImage, after: PageImage, *, least_height: float = 0.0) -> InkMoved:
    """What a step did to the letters of a page; `least_height` as in `Limit`."""
    if after.pixels is before.pixels:
        return NOTHING_MOVED
    view = analysis_of(before)
    letters = _letters(view) & ~_in_holes(view, after) & ~_on_lid(view)
    if not letters.any():
        return NOTHING_MOVED
    height = view.stats[:, HEIGHT]
    letters &= height >= least_height * np.median(height[letters])
    numbers = np.flatnonzero(letters)
    if after.moved == before.moved and after.pixels.shape[:2] == before.pixels.shape[:2]:
        lost_px = _lost_in_place(view, letters, after)
    else:
        lost_px = _lost_beyond_frame(view, numbers, before, after)
    if lost_px[numbers].any():  # seldom, so that most pages do not pay for it
        numbers = numbers[_are_sharp(view, numbers)]
    area = view.stats[:, AREA]
    gone = numbers[lost_px[numbers] > LETTER_LOST_SHARE * area[numbers]]
    return InkMoved(
        letters=int(numbers.size),
        lost_fraction=float(lost_px[numbers].sum() / area[numbers].sum()),
        letters_lost=int(gone.size),
    )


def _letters(view: Analysis) -> npt.NDArray[np.bool_]:
    """Which components are letters for the books."""
    like = letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi)
    if not like.any():
        return like
    places = view.inked
    numbers = view.labels.ravel()[places]
    depth = np.asarray(cv2.subtract(view.paper, view.grey), dtype=np.uint8).ravel()[places]
    usual = level_at(depth[like[numbers]], DEEP_PERCENTILE)
    deep = np.zeros(len(view.stats), np.bool_)
    deep[numbers[depth > DEEP_SHARE * usual]] = True
    return np.asarray(like & deep)


def _are_sharp(view: Analysis, numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which of these components have edges about as sharp as most of them."""
    of = view.labels.ravel()[view.inked].astype(np.intp)
    sharp = sharpness(view, view.inked, of)[numbers]
    return np.asarray(sharp >= SHARPNESS * min(1.0, float(np.percentile(sharp, 75))))


def _on_lid(view: Analysis) -> npt.NDArray[np.bool_]:
    """Which components are the rim of the scanner's lid, or dirt on it."""
    on_lid = np.zeros(len(view.stats), np.bool_)
    lid = lid_of(view)
    if lid is not None:
        inside = np.bincount(view.labels[lid], minlength=len(view.stats))
        on_lid |= inside > LID_SHARE * view.stats[:, AREA]
    return on_lid


def _in_holes(view: Analysis, page: PageImage) -> npt.NDArray[np.bool_]:
    """Which components are the rim of a punch hole that was found, or arcs of its shadow."""
    rims = np.zeros(len(view.stats), np.bool_)
    places = page.readings.get("holes.places_mm")
    if not isinstance(places, list) or not places:
        return rims
    left, top, width, height, _ = view.stats.T * (MM_PER_INCH / view.dpi)
    for x_mm, y_mm in np.reshape(np.array(places, np.float64), (-1, 2)):
        across = np.maximum(np.abs(left - x_mm), np.abs(left + width - x_mm))
        down = np.maximum(np.abs(top - y_mm), np.abs(top + height - y_mm))
        rims |= np.hypot(across, down) < HOLE_REACH_MM
        rims |= (np.maximum(across, down) < HOLE_REACH_MM) & (np.minimum(width, height) > HOLE_LEAST_MM)
    return rims


def _lost_in_place(view: Analysis, letters: npt.NDArray[np.bool_], after: PageImage) -> npt.NDArray[np.int64]:
    """Ink pixels of each component that have no ink near them any more."""
    grey, _ = reduced(after.grey(), after.dpi)  # on the same grid, as size and dpi are the same
    near = cv2.dilate(ink_of(grey, view.dpi).view(np.uint8), np.ones((3, 3), np.uint8))
    lost = view.labels[view.ink & (near == 0)]
    counts = np.bincount(lost, minlength=len(view.stats))
    counts[~letters] = 0
    return counts


def _lost_beyond_frame(
    view: Analysis, numbers: npt.NDArray[np.intp], before: PageImage, after: PageImage
) -> npt.NDArray[np.int64]:
    """All ink of the letters whose middle lies outside the frame after the page was turned or cut."""
    counts = np.zeros(len(view.stats), np.int64)
    stats = view.stats[numbers]
    x = (stats[:, LEFT] + stats[:, WIDTH] / 2) * view.scale
    y = (stats[:, TOP] + stats[:, HEIGHT] / 2) * view.scale
    to_x, to_y = after.moved.back(*before.moved.at(x, y))
    outside = (to_x < 0) | (to_y < 0) | (to_x > after.width_px) | (to_y > after.height_px)
    counts[numbers[outside]] = stats[outside, AREA]
    return counts
