"""The copy that is read lies exactly on the delivered page, keeps its half tones, and shows nothing cleaned away."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.curl import Curl, curled
from fixtures.pages import letter
from fixtures.scanner import scanned
from stages import binarize, crop, deskew, despeckle, dewarp, orient
from stages.page_image import IDENTITY, PageImage
from stages.places import Bent, places_from
from stages.reading_copy import reading_copy


def _clean(scan: PageImage) -> PageImage:
    page = orient.orient(scan, orient.Settings(use_osd=False))
    page = crop.crop(page, crop.Settings())
    page = deskew.deskew(page, deskew.Settings(interpolation="linear"))
    page = dewarp.dewarp(page, dewarp.Settings(interpolation="linear"))
    return despeckle.despeckle(binarize.binarize(page, binarize.Settings()), despeckle.Settings())


def test_without_any_turn_the_grey_near_ink_is_the_scans_own() -> None:
    grey = np.full((600, 600), 255, np.uint8)
    grey[300:310, 200:400] = 60
    grey[310, 200:400] = 150  # the half tone at the edge of a stroke
    clean = PageImage(pixels=grey > 127, dpi=300.0)
    copy = reading_copy(clean, PageImage(pixels=grey, dpi=300.0), IDENTITY)
    assert copy.pixels[305, 300] == 60
    assert copy.pixels[310, 300] == 150
    assert copy.pixels[100, 100] == 255


@pytest.mark.parametrize("turn_deg", [0, 90, 180])
def test_the_copy_lies_on_the_delivered_page_after_every_turn(turn_deg: int) -> None:
    drawn = scanned(letter(seed=3), skew_deg=2.3, turn_deg=turn_deg, lid="black", border_mm=4.0, seed=3)  # type: ignore[arg-type]
    scan = PageImage(pixels=drawn.pixels, dpi=drawn.dpi)
    clean = _clean(scan)
    copy = reading_copy(clean, scan, clean.moved)
    assert copy.pixels.shape == clean.pixels.shape
    ink, dark = ~np.asarray(clean.pixels, dtype=bool), np.asarray(copy.pixels) < 128
    both, either = np.count_nonzero(ink & dark), np.count_nonzero(ink | dark)
    assert both / either > 0.9


def test_a_lid_and_specks_that_were_cleaned_away_are_white_on_the_copy() -> None:
    drawn = scanned(letter(seed=5), lid="black", border_mm=6.0, speckle_fraction=0.001, tint=225, seed=5)
    scan = PageImage(pixels=drawn.pixels, dpi=drawn.dpi)
    clean = _clean(scan)
    copy = np.asarray(reading_copy(clean, scan, clean.moved).pixels)
    assert int(copy[:30].min()) == 255
    assert np.mean(copy == 255) > 0.5


@pytest.mark.parametrize("turn_deg", [0, 270])
def test_the_copy_lies_on_a_page_that_was_bent_straight_though_only_numbers_were_kept(turn_deg: int) -> None:
    sheet = curled(letter(seed=3), Curl.SPINE_LEFT, depth_mm=10.0, seed=3).page
    drawn = scanned(sheet, skew_deg=0.9, turn_deg=turn_deg, seed=3)  # type: ignore[arg-type]
    scan = PageImage(pixels=drawn.pixels, dpi=drawn.dpi)
    clean = _clean(scan)
    assert isinstance(clean.moved, Bent)
    copy = reading_copy(clean, scan, places_from(list(clean.moved)))
    ink, dark = ~np.asarray(clean.pixels, dtype=bool), np.asarray(copy.pixels) < 128
    assert np.count_nonzero(ink & dark) / np.count_nonzero(ink | dark) > 0.9
