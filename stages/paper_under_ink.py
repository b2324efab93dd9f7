"""The paper beneath the writing, stains and all, and where the sheet ends: what a threshold is measured from.

`stages.analysis.paper_level` is quick and follows shadows; this follows stains of a few millimetres too, because ink in
a stain must be told from the stain.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import Analysis
from stages.page_image import MM_PER_INCH

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Surface = npt.NDArray[np.float32]

NEIGHBOURS = np.ones((3, 3), np.uint8)
EDGE_WINDOW = np.ones((5, 5), np.uint8)

# The paper is followed closely enough for stains, but never into solid black, which must not come out hollow.
DARKEST_SHARE = 0.4
DARKEST_LEVEL = 20.0  # a gain of at most 12.7 (IMAGING 2.6, step 4)

# Writing narrower than this is bridged over. Wide strokes ask for wider bridges, and so do wide printed areas.
BRIDGED_MM = (2.5, 6.0)
BRIDGED_STROKES = 5.0
TOLERANCE_SHARE = 0.1  # what is darker than the bridge by more is no paper to measure
INKED_LEVEL = 10
LEAST_PAPER_SHARE = 0.02
SMOOTH_MM = 1.0

# A wide dark area is printed where its edge is a step: most of it lies within a millimetre. A stain's is softer.
PRINTED_STEP_SHARE = 0.25
PRINTED_SHARPNESS = 0.8

# What lies beside the sheet: dark, wide, and along a good part of the image's frame. A letter that runs off the page
# touches it more briefly, and a black band that has light letters in it is print.
LID_SHARE = 0.5
LID_MM = 1.5
LID_RIM_MM = 0.7
LID_SIDE_SHARE = 0.1  # of the shorter side
LID_SIDE_MM = 10.0
LID_LETTERS_MM = 6.0
LID_LETTERS_LEVEL = 0.7
LID_LETTERS_SHARE = 0.02


def close_paper_level(small: Grey, analysis: Analysis, dpi: float) -> Grey:
    """How bright the paper is at each place of `small`, which is a reduced grey copy of the analysed page at `dpi`.

    The bright side of the surroundings, bridged over the writing by a grey closing (a few strokes wide), then the mean
    of what lies close to the bridge. Stains of soft edges are paper; wide areas of sharp edges are print, and bridged
    over by up to 6 mm.

    Source: the bottom-hat of Xiong et al., who won the H-DIBCO contest of 2018 (IMAGING 2.6); its size from the stroke.
    """

    def px(mm: float) -> int:
        return _odd(mm * dpi / MM_PER_INCH)

    smooth = np.asarray(cv2.blur(small, (3, 3)), dtype=np.uint8)
    narrow_mm = min(max(BRIDGED_MM[0], BRIDGED_STROKES * _stroke_mm(analysis)), BRIDGED_MM[1])
    bridge = _closed(smooth, px(narrow_mm))
    wide_bridge = _closed(smooth, px(BRIDGED_MM[1]))
    printed = _printed(bridge, wide_bridge)
    if printed is not None:
        bridge[printed] = wide_bridge[printed]
    inked = cv2.resize(analysis.ink.view(np.uint8) * np.uint8(255), small.shape[::-1], interpolation=cv2.INTER_AREA)
    is_paper = np.asarray((small >= bridge * (1.0 - TOLERANCE_SHARE)) & (inked < INKED_LEVEL), dtype=np.float32)
    window = px(narrow_mm)
    share = _mean(is_paper, window)
    level = np.where(
        share > LEAST_PAPER_SHARE, _mean(small * is_paper, window) / np.maximum(share, LEAST_PAPER_SHARE), bridge
    )
    darkest = max(DARKEST_LEVEL, DARKEST_SHARE * analysis.usual_paper)
    return _mean(np.maximum(level, darkest).astype(np.float32), px(SMOOTH_MM)).astype(np.uint8)


def beside_sheet(small: Grey, analysis: Analysis, dpi: float) -> Mask | None:
    """Where `small`, as in `close_paper_level`, shows the dark lid beside the sheet; None where it shows none."""
    usual = analysis.usual_paper
    dark = (small < LID_SHARE * usual).view(np.uint8)
    around = _frame(dark)
    least_px = max(LID_SIDE_SHARE * min(dark.shape), LID_SIDE_MM * dpi / MM_PER_INCH)
    if np.count_nonzero(around) < least_px:
        return None
    side = _odd(LID_MM * dpi / MM_PER_INCH)
    padded = cv2.copyMakeBorder(dark, side, side, side, side, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))[side:-side, side:-side]
    count, labels = cv2.connectedComponents(np.ascontiguousarray(opened), connectivity=8, ltype=cv2.CV_32S)
    labels = np.asarray(labels, dtype=np.int32)
    lids = np.bincount(_frame(labels), minlength=count) >= least_px
    lids[0] = False
    for number in np.flatnonzero(lids):
        lids[number] = not _has_light_letters(labels == number, small > LID_LETTERS_LEVEL * usual, dpi)
    if not lids.any():
        return None
    rim = _odd(2 * LID_RIM_MM * dpi / MM_PER_INCH)
    return np.asarray(cv2.dilate(lids[labels].view(np.uint8), np.ones((rim, rim), np.uint8)) > 0)


def _frame(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The pixels along the four sides in one row."""
    return np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


def _has_light_letters(lid: Mask, light: Mask, dpi: float) -> bool:
    """Whether the dark area closes in on parts as light as paper."""
    side = _odd(LID_LETTERS_MM * dpi / MM_PER_INCH)
    padded = cv2.copyMakeBorder(lid.view(np.uint8), side, side, side, side, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))[side:-side, side:-side]
    count, labels = cv2.connectedComponents(light.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    sizes = np.bincount(np.asarray(labels).ravel(), minlength=count)
    enclosed = np.bincount(np.asarray(labels)[closed > 0], minlength=count)
    # the sheet itself lies partly in the bays of a ragged edge, a letter wholly
    letters = enclosed[1:][enclosed[1:] == sizes[1:]]
    return bool(letters.sum() > LID_LETTERS_SHARE * np.count_nonzero(lid))


def _stroke_mm(analysis: Analysis) -> float:
    """Ink divided by the number of its runs, along rows or columns, whichever crosses the strokes."""
    widths = []
    for lines in (analysis.ink[::8], analysis.ink[:, ::8].T):
        runs = int(np.count_nonzero(lines[:, 1:] & ~lines[:, :-1])) + int(np.count_nonzero(lines[:, :1]))
        widths.append(int(np.count_nonzero(lines)) / max(1, runs))
    return min(widths) * MM_PER_INCH / analysis.dpi


def _printed(bridge: Grey, wide_bridge: Grey) -> Mask | None:
    """Areas too wide for the narrow bridge whose edges are as sharp as print's."""
    step = cv2.subtract(wide_bridge, bridge)
    dark = cv2.compare(step, cv2.convertScaleAbs(wide_bridge, alpha=PRINTED_STEP_SHARE), cv2.CMP_GT)
    if not np.count_nonzero(dark):
        return None
    count, labels = cv2.connectedComponents(dark, connectivity=8, ltype=cv2.CV_32S)
    inside = np.asarray(labels, dtype=np.int32)
    # the step of an area is what most of it has; at a sharp edge the bridge falls by as much within two pixels
    rim = np.flatnonzero((inside > 0) & (cv2.erode(dark, NEIGHBOURS) == 0))
    numbers = inside.ravel()[rim]
    fall = cv2.subtract(cv2.dilate(bridge, EDGE_WINDOW), cv2.erode(bridge, EDGE_WINDOW)).ravel()[rim]
    places = np.flatnonzero(inside)
    area = np.maximum(np.bincount(inside.ravel()[places], minlength=count), 1)
    steps = np.bincount(inside.ravel()[places], weights=step.ravel()[places], minlength=count) / area
    falls = np.bincount(numbers, weights=fall, minlength=count) / np.maximum(np.bincount(numbers, minlength=count), 1)
    sharp = falls >= PRINTED_SHARPNESS * steps
    sharp[0] = False
    return np.asarray(sharp[inside]) if sharp.any() else None


def _closed(smooth: Grey, side: int) -> Grey:
    return np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)), dtype=np.uint8)


def _mean(values: npt.NDArray[np.floating], side: int) -> Surface:
    mean = cv2.boxFilter(values, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, dtype=np.float32)


def _odd(length_px: float) -> int:
    return max(3, round(length_px) | 1)
