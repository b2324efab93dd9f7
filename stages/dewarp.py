"""Bend a page straight whose paper did not lie flat: book curl, waves, a sway in the feeder."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from stages.analysis import AREA, HEIGHT, WIDTH, analysis_of
from stages.bending import Declined, bending_of
from stages.page_image import IDENTITY, PageImage, Pixels, Unsampled
from stages.places import Bend, Bent, Coordinates, taken_over
from stages.settings import StageSettings

CONTENT_MIN_MM = 0.5  # smaller parts are dust
LOST_SHARE = 0.1  # of a part: the rim of a lid may lose its end
HALF_LEVEL = 127
LINEAR = cv2.INTER_LINEAR
INTERPOLATIONS = {"linear": LINEAR, "cubic": cv2.INTER_CUBIC}


class Settings(StageSettings):
    """Whether the page is bent, and how; with `bend` off it is only measured."""

    bend: bool = True
    interpolation: Literal["linear", "cubic"] = "cubic"


def dewarp(page: PageImage, settings: Settings) -> PageImage:
    """Move everything up or down until the lines of text are straight, or leave the page when that is not sure.

    The page must be level. Size and dpi stay. A page that has just been turned is taken from its pixels before the
    turn, so that turn and bend together resample it once. Pages without much running text (forms, tables, drawings,
    pictures, handwriting) are left, and so are pages whose lines depart by less than 0.25 mm.
    Readings: `rms_mm` (how far lines depart from straight ones; 0 where there are too few), `standard_error_mm`,
    `bent`, and `declined` with the reason when the page was left.
    """
    bending = bending_of(page)
    declined, bend = bending.declined, bending.bend
    source = page.unsampled or Unsampled(pixels=page.pixels, places=IDENTITY)
    after = page
    if declined is None and bend is not None:
        if _loses_ink(page, source, bend):
            declined = Declined.AT_THE_FRAME
        elif not settings.bend:
            declined = Declined.RECORDED_ONLY
        else:
            after = _bent(page, source, bend, settings)
    return after.with_readings(
        "dewarp",
        rms_mm=bending.rms_mm,
        standard_error_mm=bending.standard_error_mm,
        bent=declined is None,
        declined=None if declined is None else str(declined),
    )


def _bent(page: PageImage, source: Unsampled, bend: Bend, settings: Settings) -> PageImage:
    """The page taken once more from its source, now by its bend as well."""
    moved_by = Bent(before=IDENTITY, bend=bend, then=IDENTITY)
    places = source.places.after(moved_by)
    if page.is_bitonal:
        before, into, interpolation = PageImage(pixels=source.pixels, dpi=page.dpi).grey(), page.grey(), LINEAR
    else:
        before, into = np.asarray(source.pixels, dtype=np.uint8), np.array(page.pixels, dtype=np.uint8)
        interpolation = INTERPOLATIONS[settings.interpolation]
    # what comes into view from beyond the scan stays as it is on the page: no ink lies there
    taken_over(before, places, into, interpolation=interpolation, border=cv2.BORDER_TRANSPARENT)
    pixels: Pixels = np.asarray(into > HALF_LEVEL, dtype=np.bool_) if page.is_bitonal else into
    return page.with_pixels(pixels, moved_by=moved_by)


def _loses_ink(page: PageImage, source: Unsampled, bend: Bend) -> bool:
    """Whether ink would be moved out of the frame, or would stay behind where the scan ends."""
    view = analysis_of(page)
    reach_px = max(map(abs, bend.heights_px))
    rows, cols = np.nonzero(view.ink)
    x, y = (np.asarray((middles + 0.5) * view.scale, dtype=np.float64) for middles in (cols, rows))
    frame, scan = (page.width_px, page.height_px), (source.pixels.shape[1], source.pixels.shape[0])
    near = ~(_inside((x, y), frame, margin=reach_px) & _inside(source.places.at(x, y), scan, margin=reach_px))
    x, y, rows, cols = x[near], y[near], rows[near], cols[near]
    bent = Bent(before=IDENTITY, bend=bend, then=IDENTITY)
    lost = ~_inside(bent.back(x, y), frame)
    lost |= _inside(source.places.at(x, y), scan) & ~_inside(source.places.after(bent).at(x, y), scan)
    lost_px = np.bincount(view.labels[rows[lost], cols[lost]], minlength=len(view.stats))
    least = view.px(CONTENT_MIN_MM)
    content = np.maximum(view.stats[:, WIDTH], view.stats[:, HEIGHT]) >= least
    return bool((content & (lost_px >= least) & (lost_px > LOST_SHARE * view.stats[:, AREA])).any())


def _inside(
    places: tuple[Coordinates, Coordinates], size: tuple[int, int], *, margin: float = 0.0
) -> npt.NDArray[np.bool_]:
    x, y = places
    return np.asarray((x >= margin) & (y >= margin) & (x <= size[0] - margin) & (y <= size[1] - margin), dtype=np.bool_)
