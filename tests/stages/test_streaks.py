"""Lines that the scanner draws are found, lines of the sheet are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fixtures import pages
from fixtures.scanner import scanned
from stages.page_image import PageImage
from stages.streaks import streaks_mm

DPI = 200.0


def streaked(page: PageImage, *places_mm: float, depth: int = 60) -> PageImage:
    """The scan with a dirty line along the way of the sheet at each place."""
    pixels = np.array(page.grey())
    for place in places_mm:
        col = round(page.px(place))
        pixels[:, col : col + 2] = np.maximum(pixels[:, col : col + 2].astype(int) - depth, 0)
    return replace(page, pixels=pixels)


def scan(**faults: Any) -> PageImage:
    return scanned(pages.letter(seed=5, dpi=DPI), skew_deg=0.7, noise_levels=4.0, **faults).image()


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_dirt_on_the_glass_is_found_where_it_lies_on_the_glass_however_the_page_was_turned(turn_deg: int) -> None:
    dirty = streaked(scan(), 43.0, 120.5)
    upright = replace(
        dirty,
        pixels=np.ascontiguousarray(np.rot90(dirty.pixels, -turn_deg // 90)),
        readings={"orient.turn_deg": turn_deg},
    )
    assert streaks_mm(upright) == pytest.approx([43.1, 120.6], abs=0.2)


def test_a_bitonal_scan_shows_its_line_too() -> None:
    dirty = streaked(scan(), 80.0, depth=255)
    assert streaks_mm(replace(dirty, pixels=np.asarray(dirty.pixels) > 127)) == pytest.approx([80.1], abs=0.2)


@pytest.mark.parametrize("kind", ["letter", "form", "ruled_table", "drawing", "two_columns", "photo_page"])
@pytest.mark.parametrize("skew_deg", [0.0, 1.0])
def test_print_rules_and_frames_are_no_dirt(kind: str, skew_deg: float) -> None:
    sheet = getattr(pages, kind)(seed=3, dpi=150.0)
    assert streaks_mm(scanned(sheet, skew_deg=skew_deg, lid="black", border_mm=6.0).image()) == []


def test_a_line_of_the_sheet_from_edge_to_edge_moves_with_the_sheet_and_is_no_dirt() -> None:
    sheet = pages.letter(seed=5, dpi=DPI)
    ruled = np.array(sheet.pixels)
    ruled[:, 300:303] = 90  # the margin line of a pad
    assert streaks_mm(scanned(replace(sheet, pixels=ruled), skew_deg=0.4).image()) == []


def test_a_scrap_of_an_image_has_none() -> None:
    assert streaks_mm(PageImage(pixels=np.zeros((3, 5), np.uint8), dpi=300.0)) == []
