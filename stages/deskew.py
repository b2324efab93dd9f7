"""Level the page, so that its lines of text run along the rows."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from stages.analysis import HEIGHT, WIDTH, Analysis, analysis_of, level_at
from stages.errors import SkewTooLarge
from stages.lid import lid_of, sheet_angle_of
from stages.page_image import Affine, PageImage, Pixels
from stages.settings import StageSettings
from stages.skew import Declined, skew_of

DARK_PAGE_LEVEL = 110
CONTENT_MIN_MM = 0.5
PRINTED_ASKEW_DEG = 0.3
SAMPLE_MM = 1.0
PAPER_SAMPLE_PERCENTILE = 70
PAPER_TOLERANCE_LEVELS = 12
HALF_LEVEL = 127


class Settings(StageSettings):
    """How far a page may be turned, and how."""

    max_angle_deg: float = Field(20.0, gt=0, le=45)
    min_angle_deg: float = Field(0.05, ge=0)
    turn: bool = True
    grow: bool = True
    interpolation: Literal["linear", "cubic"] = "cubic"


def deskew(page: PageImage, settings: Settings) -> PageImage:
    """Turn the page about its centre so that its lines of text run along the rows; dpi stays.

    The size stays too, unless ink would be turned out of the frame and `settings.grow` allows a larger one. What
    comes into view is filled with the colour of the paper (white on a bitonal page); it is where `moved` leads
    outside the image before. A bitonal page is turned as grey and cut at half, so strokes keep their width.
    A turn that is no surer than the angle is large is not made (`declined` is "level").
    Readings: `angle_deg` as found (0.0 when there is nothing to align), `confidence`, `standard_error_deg`, `turned`,
    `grown`, and `declined` with the reason when the page was not turned. Where the sheet's edges can be seen on the
    lid, `sheet_deg` is how far they are turned, and `printed_askew` whether that is not how its lines are turned.

    Raises:
        SkewTooLarge: the page is surely turned by more than `settings.max_angle_deg`.
    """
    skew = skew_of(page)
    declined = skew.declined
    if declined is None and abs(skew.angle_deg) > settings.max_angle_deg:
        raise SkewTooLarge(skew.angle_deg, settings.max_angle_deg)
    if declined is None and abs(skew.angle_deg) < settings.min_angle_deg:
        declined = Declined.LEVEL
    if declined is None and not settings.turn:
        declined = Declined.RECORDED_ONLY
    grown = False
    turned = page
    if declined is None:
        turned, grown = _turned(page, skew.angle_deg, settings)
    sheet_deg = sheet_angle_of(analysis_of(page))
    is_askew = sheet_deg is not None and skew.confidence > 0 and abs(sheet_deg - skew.angle_deg) > PRINTED_ASKEW_DEG
    return turned.with_readings(
        "deskew",
        sheet_deg=sheet_deg,
        printed_askew=is_askew,
        angle_deg=skew.angle_deg,
        confidence=skew.confidence,
        standard_error_deg=skew.standard_error_deg,
        turned=declined is None,
        grown=grown,
        declined=None if declined is None else str(declined),
    )


def _turned(page: PageImage, angle_deg: float, settings: Settings) -> tuple[PageImage, bool]:
    """The page turned clockwise by the angle about its centre, and whether its frame had to grow."""
    view = analysis_of(page)
    size = (page.width_px, page.height_px)
    moved_by = _map_back(size, size, angle_deg)
    grown = settings.grow and _ink_would_be_lost(page, view, moved_by)
    if grown:
        larger = _frame_of_all(size, angle_deg)
        moved_by = _map_back(larger, size, angle_deg)
        size = larger
    pixels = _warped(page, view, moved_by, size, interpolation=settings.interpolation)
    return page.with_pixels(pixels, moved_by=moved_by), grown


def _map_back(new: tuple[int, int], old: tuple[int, int], angle_deg: float) -> Affine:
    """From places on the levelled page to places on the page before, centre upon centre; sizes are (width, height)."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    across, down = new[0] / 2, new[1] / 2
    return Affine(
        cos,
        sin,
        old[0] / 2 - cos * across - sin * down,
        -sin,
        cos,
        old[1] / 2 + sin * across - cos * down,
    )


def _frame_of_all(size: tuple[int, int], angle_deg: float) -> tuple[int, int]:
    """Width and height that hold the whole of a turned page, evenly more than before on both sides."""
    cos, sin = math.cos(math.radians(angle_deg)), abs(math.sin(math.radians(angle_deg)))
    wanted = (size[0] * cos + size[1] * sin, size[1] * cos + size[0] * sin)
    grown = [old + 2 * max(0, math.ceil((new - old) / 2)) for new, old in zip(wanted, size, strict=True)]
    return grown[0], grown[1]


def _ink_would_be_lost(page: PageImage, view: Analysis, moved_by: Affine) -> bool:
    """Whether anything but paper, dust and lid would be turned out of a frame of the same size."""
    corners = [(0.0, 0.0), (page.width_px, 0.0), (page.width_px, page.height_px), (0.0, page.height_px)]
    kept = np.array([moved_by.at(*corner) for corner in corners]) / view.scale
    lost = np.ones(view.grey.shape, np.uint8)
    cv2.fillConvexPoly(lost, np.round(kept).astype(np.int32), 0)
    lid = lid_of(view)
    if lid is not None:
        lost[lid] = 0
    labels = view.labels[lost > 0]
    lost_px = np.bincount(labels, minlength=len(view.stats))
    least = view.px(CONTENT_MIN_MM)
    larger = np.maximum(view.stats[:, WIDTH], view.stats[:, HEIGHT]) >= least
    larger[0] = False
    return bool((larger & (lost_px >= least)).any())


def _warped(
    page: PageImage,
    view: Analysis,
    moved_by: Affine,
    size: tuple[int, int],
    *,
    interpolation: Literal["linear", "cubic"],
) -> Pixels:
    # OpenCV counts from the middle of the first pixel, places from its corner.
    there = Affine(c=-0.5, f=-0.5).after(moved_by).after(Affine(c=0.5, f=0.5))
    matrix = np.array([there[:3], there[3:]])
    if page.is_bitonal:
        # Not smoothed first: on three real pages turned by 1.3 degrees letters then broke and joined 3 to 10 times as
        # often (holes in letters lost: 0.3 to 1.2 % as it is, 1.4 to 7 % with a blur of half a pixel).
        grey = page.grey()
        turned = cv2.warpAffine(
            grey, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=(255.0,) * 4
        )
        return np.asarray(turned > HALF_LEVEL, dtype=np.bool_)
    flag = cv2.INTER_CUBIC if interpolation == "cubic" else cv2.INTER_LINEAR
    fill = _paper_colour(page, view)
    pixels = np.asarray(page.pixels, dtype=np.uint8)
    return np.asarray(
        cv2.warpAffine(pixels, matrix, size, flags=flag | cv2.WARP_INVERSE_MAP, borderValue=fill), dtype=np.uint8
    )


def _paper_colour(page: PageImage, view: Analysis) -> tuple[float, ...]:
    """The middle colour of what is neither ink nor lid, from a sample of the page's pixels."""
    step = min(max(1, round(page.px(SAMPLE_MM))), page.width_px, page.height_px)
    sample: Pixels = page.pixels[step // 2 :: step, step // 2 :: step].copy()
    grey = PageImage(pixels=sample, dpi=page.dpi).grey()
    # A light ground has its mode near the top; a page of light letters on black has it at the bottom.
    dark_page = level_at(view.grey[::4, ::4], 50) < DARK_PAGE_LEVEL
    level = float(np.percentile(grey, 50 if dark_page else PAPER_SAMPLE_PERCENTILE, method="lower"))
    near = np.abs(grey.astype(np.float32) - level) <= PAPER_TOLERANCE_LEVELS
    colour = np.median(sample[near], axis=0)
    return tuple(float(value) for value in np.atleast_1d(colour))
