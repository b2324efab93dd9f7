"""The scanner's lid around a sheet, and how the sheet lies before it."""

from __future__ import annotations

import math
import threading
import weakref

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import Analysis, level_at

PAPER_PERCENTILE = 90
LID_DARKNESS = 0.5  # of the paper's level
LID_CONTACT_MM = 10.0
LID_RIM_MM = 2.0

EDGE_STEP_PX = 4  # the lid is found on a copy of a quarter of the size
EDGE_LEAST_SHARE, EDGE_LEAST_PX = 0.3, 10  # of the frame's side, along which an edge must be seen
EDGE_TRIM_PX = (8.0, 3.0, 1.5, 1.5)  # around a corner another edge begins
EDGES_AGREE_DEG = 0.5

_kept = threading.local()


def lid_of(view: Analysis) -> npt.NDArray[np.bool_] | None:
    """Where on the analysed page the scanner's lid shows, with its rim; None where it does not show at all.

    Looked for once while the same analysis is in use.
    """
    held: tuple[weakref.ref[Analysis], npt.NDArray[np.bool_] | None] | None = getattr(_kept, "last", None)
    if held is not None and held[0]() is view:
        return held[1]
    lid = _found(view)
    _kept.last = (weakref.ref(view), lid)
    return lid


def _found(view: Analysis) -> npt.NDArray[np.bool_] | None:
    rows, cols = view.grey.shape
    dark = LID_DARKNESS * level_at(view.grey[::4, ::4], PAPER_PERCENTILE)
    frame = (view.grey[0], view.grey[-1], view.grey[:, 0], view.grey[:, -1])
    if sum(int((side < dark).sum()) for side in frame) < view.px(LID_CONTACT_MM):
        return None
    small = cv2.resize(view.grey, (max(1, cols // 4), max(1, rows // 4)), interpolation=cv2.INTER_AREA)
    _, labels = cv2.connectedComponents((small < dark).astype(np.uint8))
    touched = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    lid = np.bincount(touched, minlength=int(labels.max()) + 1) >= view.px(LID_CONTACT_MM) / 4
    lid[0] = False
    if not lid.any():
        return None
    reach = 2 * max(1, round(view.px(LID_RIM_MM) / 4)) + 1
    grown = cv2.dilate(lid[labels].astype(np.uint8), np.ones((reach, reach), np.uint8))
    return np.asarray(cv2.resize(grown, (cols, rows), interpolation=cv2.INTER_NEAREST) > 0, dtype=np.bool_)


def sheet_angle_of(view: Analysis) -> float | None:
    """How far the edges of the sheet are turned counter-clockwise; None where fewer than two lie clear on the lid."""
    lid = lid_of(view)
    if lid is None:
        return None
    small = lid[::EDGE_STEP_PX, ::EDGE_STEP_PX]
    found = []
    # each side in turn looked at from above; mirrored, two of them lean the other way
    for seen, sense in ((small, -1), (small[::-1], 1), (small.T, 1), (small.T[::-1], -1)):
        columns = np.flatnonzero(seen[0] & ~seen.all(axis=0))
        least = max(EDGE_LEAST_PX, EDGE_LEAST_SHARE * seen.shape[1])
        if len(columns) < least:
            continue
        depth = seen.argmin(axis=0)[columns].astype(np.float64)
        near = np.ones(len(columns), np.bool_)
        slope = 0.0
        for reach_px in EDGE_TRIM_PX:
            slope, start = np.polyfit(columns[near], depth[near], 1)
            near = np.abs(depth - slope * columns - start) <= reach_px
            if near.sum() < least:
                break
        else:
            found.append(sense * math.degrees(math.atan(slope)))
    if len(found) < 2 or max(found) - min(found) > EDGES_AGREE_DEG:
        return None
    return float(np.mean(found))
