"""Lines that the scanner draws: dirt on the glass of a feeder leaves a line along every sheet that passes it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stages.maps import NEIGHBOURS
from stages.page_image import MM_PER_INCH, PageImage

ROWS_TOGETHER_MM = 1.0  # rows averaged to one: grain and single letters are diluted, a line along the sheet is not
WIDEST_MM = 1.0  # wider lines are borders, and folds
LEAST_DEPTH_LEVELS = 14.0  # against the lighter side beside it; fainter ones are lost in the grain of old paper
LEAST_SHARE = 0.96  # of the rows: a printed rule ends before the frame does, and where the sheet lies askew it moves
FRAME_MM = 4.0  # the sheet's own edges lie in here
MOST_STREAKS = 8  # more are a ruled sheet, a picture, or a scanner that somebody must look at anyway


def streaks_mm(page: PageImage) -> list[float]:
    """How far from the left of the frame, as it was scanned, lie lines that run straight down all of it; in mm.

    They are dark, no wider than `WIDEST_MM`, and stay in one column of pixels from the first row to the last. A line
    on the sheet itself does so only where the sheet lies perfectly plumb: it takes several sheets with a line in the
    same place to tell dirt. A page that `orient` turned by a quarter is looked at along its rows.
    """
    turn = page.readings.get("orient.turn_deg", 0)
    grey = page.grey()
    if turn in (90, 270):
        grey = np.asarray(cv2.transpose(grey), dtype=np.uint8)
    rows, cols = grey.shape
    together = max(1, round(page.px(ROWS_TOGETHER_MM)))
    lines = rows // together
    frame = round(page.px(FRAME_MM))
    if lines < 2 or cols <= 2 * frame:
        return []
    # added up, in a tenth of the time that OpenCV reduces one side alone in
    sums = grey[: lines * together].reshape(lines, together, cols).sum(axis=1, dtype=np.uint32)
    strips = np.asarray(sums // together, dtype=np.uint8)
    window = np.ones((1, 2 * round(page.px(WIDEST_MM)) + 1), np.uint8)
    depth = cv2.morphologyEx(strips, cv2.MORPH_BLACKHAT, window)
    # a line may lie between two columns
    dark = cv2.dilate(depth, NEIGHBOURS[:1]) >= LEAST_DEPTH_LEVELS
    share = np.asarray(dark, dtype=np.float32).mean(axis=0)
    share[:frame] = share[cols - frame :] = 0.0
    middles = _middles(share >= LEAST_SHARE)
    if len(middles) > MOST_STREAKS:
        return []
    # turned by 180 degrees, or by 270 and transposed, what lay at the left lies at the right
    mirrored = turn in (180, 270)
    return sorted(round((cols - at if mirrored else at) * MM_PER_INCH / page.dpi, 2) for at in middles)


def _middles(marked: npt.NDArray[np.bool_]) -> list[float]:
    """The middles of the runs that are marked."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], marked.view(np.int8), [0]))))
    return [float(start + end) / 2 for start, end in zip(edges[::2], edges[1::2], strict=True)]
