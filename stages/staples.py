"""Take the marks of staples off a side of a sheet: what goes through it lies in one place on both of its sides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import analysis_of
from stages.page_image import PageImage, Pixels

# A staple's crown is 8 to 13 mm long and half a millimetre thick; rust and shadow make its mark larger
LENGTH_MM, THICK_MM = (6.5, 15.0), 1.3
CORNER_MM = 45.0
# Between the two sides of a sheet, which were cropped and levelled apart
OFF_MM, LENGTHS_DIFFER_MM, SLOPES_DIFFER_DEG = 4.0, 1.5, 8.0
RIM_MM = 0.6  # its soft edge is painted over too
AROUND_MM = 2.0


@dataclass(frozen=True, slots=True)
class _Stroke:
    """A straight stroke that touches nothing: its middle in mm from the top left, its length in mm, its slope.

    The slope is in degrees, from level and clockwise, and that of a stroke turned by 180 is the same. `box` is OpenCV's
    turned box, in pixels of the page.
    """

    x_mm: float
    y_mm: float
    length_mm: float
    slope_deg: float
    box: npt.NDArray[np.int32]


def without_staples(page: PageImage, other_side: PageImage) -> PageImage | None:
    """The page with the marks of staples painted over with the paper about them; None if there are none.

    A staple's mark is a straight stroke of its size near a corner that the other side has too, in the mirrored place,
    as long and as steep. A dash that stands on one side alone is somebody's.
    """
    mirrored = _mirrored(_corner_strokes(other_side), other_side)
    staples = [stroke for stroke in _corner_strokes(page) if any(_is_same(stroke, other) for other in mirrored)]
    if not staples:
        return None
    pixels: Pixels = page.pixels.copy()
    for staple in staples:
        _paint_over(pixels, staple, page)
    return page.with_pixels(pixels)


def _corner_strokes(page: PageImage) -> list[_Stroke]:
    maps = analysis_of(page)
    left, top, width, height, _ = maps.stats.T
    longer = np.maximum(width, height)
    sized = (longer >= maps.px(LENGTH_MM[0]) / math.sqrt(2)) & (longer <= maps.px(LENGTH_MM[1]))
    rows, cols = maps.grey.shape
    near = [
        np.minimum(start, length - start - size) <= maps.px(CORNER_MM)
        for start, size, length in ((left, width, cols), (top, height, rows))
    ]
    strokes = []
    for number in np.flatnonzero(sized & near[0] & near[1]):
        x, y, wide, high = (int(value) for value in maps.stats[number, :4])
        places = cv2.findNonZero((maps.labels[y : y + high, x : x + wide] == number).view(np.uint8))
        (middle_x, middle_y), sides, turn_deg = cv2.minAreaRect(places)
        # places are pixels' middles: half a pixel more lies on each side
        length_mm, thick_mm = ((side + 1) / maps.px(1.0) for side in (max(sides), min(sides)))
        if not (LENGTH_MM[0] <= length_mm <= LENGTH_MM[1] and thick_mm <= THICK_MM):
            continue
        slope_deg = turn_deg if sides[0] >= sides[1] else turn_deg + 90.0
        at = (x + middle_x + 0.5, y + middle_y + 0.5)
        middle_px, sides_px = ([maps.scale * each for each in pair] for pair in (at, sides))
        strokes.append(
            _Stroke(
                x_mm=at[0] / maps.px(1.0),
                y_mm=at[1] / maps.px(1.0),
                length_mm=length_mm,
                slope_deg=slope_deg % 180.0,
                box=np.rint(cv2.boxPoints((middle_px, sides_px, turn_deg))).astype(np.int32),
            )
        )
    return strokes


def _mirrored(strokes: list[_Stroke], page: PageImage) -> list[tuple[float, float, float, float]]:
    """Where the strokes lie seen from the other side, as x, y, length and slope.

    Once for a sheet turned over its long side, once for one turned over its short side and stood upright again.
    """
    width_mm, height_mm = (side / page.px(1.0) for side in (page.width_px, page.height_px))
    return [
        (x_mm, y_mm, stroke.length_mm, -stroke.slope_deg % 180.0)
        for stroke in strokes
        for x_mm, y_mm in ((width_mm - stroke.x_mm, stroke.y_mm), (stroke.x_mm, height_mm - stroke.y_mm))
    ]


def _is_same(stroke: _Stroke, mirrored: tuple[float, float, float, float]) -> bool:
    x_mm, y_mm, length_mm, slope_deg = mirrored
    turned_deg = abs(stroke.slope_deg - slope_deg)
    return (
        math.hypot(stroke.x_mm - x_mm, stroke.y_mm - y_mm) <= OFF_MM
        and abs(stroke.length_mm - length_mm) <= LENGTHS_DIFFER_MM
        and min(turned_deg, 180.0 - turned_deg) <= SLOPES_DIFFER_DEG
    )


def _paint_over(pixels: Pixels, staple: _Stroke, page: PageImage) -> None:
    """Give the stroke and its soft edge the colour of the paper about it."""
    mark = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(mark, [staple.box], (1,))
    rim, around = (2 * max(1, round(page.px(mm))) + 1 for mm in (RIM_MM, AROUND_MM))
    x, y, wide, high = cv2.boundingRect(mark)
    reach = rim + around
    cut = np.s_[max(0, y - reach) : y + high + reach, max(0, x - reach) : x + wide + reach]
    painted = cv2.dilate(mark[cut], np.ones((rim, rim), np.uint8))
    beside = (cv2.dilate(painted, np.ones((around, around), np.uint8)) > 0) & (painted == 0)
    pixels[cut][painted > 0] = np.median(pixels[cut][beside], axis=0)
