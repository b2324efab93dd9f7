"""A step that takes letters from a page is undone; one that takes dirt, lid and holes is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.despeckle import Settings as DespeckleSettings
from stages.despeckle import despeckle
from stages.ink_ledger import settled
from stages.page_image import Affine, PageImage
from tests.stages.drawn_pages import DPI, text_page, words_on

PAPER = 236


def _page() -> PageImage:
    return PageImage(pixels=text_page(lines=20), dpi=DPI)


def _wiped(page: PageImage, left: int, top: int, right: int, bottom: int) -> PageImage:
    pixels = page.pixels.copy()
    pixels[top:bottom, left:right] = PAPER
    return page.with_pixels(pixels)


@pytest.mark.parametrize("stage", ["crop", "holes", "background", "binarize", "despeckle"])
def test_a_step_that_wipes_a_line_is_undone_and_leaves_its_readings(stage: str) -> None:
    page = _page()
    wiped = _wiped(page, 0, 145, 1275, 185).with_readings(stage, done=True)
    kept = settled(page, wiped, stage)
    assert kept.pixels is page.pixels
    assert kept.readings[f"{stage}.done"] is True
    assert kept.readings[f"{stage}.rolled_back"] is True
    letters_lost = kept.readings[f"{stage}.letters_lost"]
    assert isinstance(letters_lost, int) and letters_lost > 30
    assert kept.readings["ink.rolled_back"] == [stage]


def test_two_steps_undone_are_both_told() -> None:
    page = _page()
    once = settled(page, _wiped(page, 0, 145, 1275, 185), "crop")
    twice = settled(once, _wiped(once, 0, 145, 1275, 185), "holes")
    assert twice.readings["ink.rolled_back"] == ["crop", "holes"]


def test_one_word_in_the_margin_is_enough() -> None:
    page = PageImage(pixels=words_on(text_page(lines=20), "paid", (40, 1500)), dpi=DPI)
    assert settled(page, _wiped(page, 30, 1490, 140, 1550), "crop").pixels is page.pixels


def test_a_step_that_changes_nothing_needs_no_books() -> None:
    page = _page()
    assert "crop.rolled_back" not in settled(page, page.with_readings("crop", done=False), "crop").readings


def test_dirt_and_lid_are_not_in_the_books() -> None:
    grey = text_page(lines=20)
    grey[:, :40] = 12
    for at in range(200, 1200, 50):
        cv2.circle(grey, (at, 1400), 1, 40, -1)
    page = PageImage(pixels=grey, dpi=DPI)
    clean = settled(page, _wiped(_wiped(page, 0, 0, 42, 1650), 0, 1390, 1275, 1410), "crop")
    assert clean.readings["crop.rolled_back"] is False
    assert clean.readings["crop.letters_lost"] == 0
    assert clean.pixels is not page.pixels


def test_a_hole_that_was_found_may_be_filled() -> None:
    grey = text_page(lines=20)
    cv2.circle(grey, (60, 800), 18, 20, -1)
    page = PageImage(pixels=grey, dpi=DPI)
    filled = _wiped(page, 38, 778, 83, 823)
    place_mm = [60 * 25.4 / DPI, 800 * 25.4 / DPI]
    assert settled(page, filled.with_readings("holes", places_mm=place_mm), "holes").pixels is filled.pixels


def test_a_turn_that_pushes_a_line_out_of_the_frame_is_undone() -> None:
    page = _page()
    up = page.with_pixels(np.roll(page.pixels, -170, axis=0), moved_by=Affine(f=170.0))
    assert settled(page, up, "deskew").pixels is page.pixels
    little = page.with_pixels(np.roll(page.pixels, -20, axis=0), moved_by=Affine(f=20.0))
    assert settled(page, little, "deskew").pixels is little.pixels


def test_what_is_done_for_reading_only_may_take_ink() -> None:
    page = _page()
    wiped = _wiped(page, 0, 145, 1275, 185)
    assert settled(page, wiped, "rules").pixels is wiped.pixels


def test_faint_bleed_through_may_go() -> None:
    grey = text_page(lines=20)
    shine = cv2.GaussianBlur(text_page(lines=20, seed=9), (9, 9), 2.0)[:, ::-1]
    paper = np.full_like(grey, PAPER)
    mixed = np.minimum(grey, paper - ((paper - shine) * 0.15).astype(np.uint8))
    page = PageImage(pixels=mixed, dpi=DPI)
    cut = page.with_pixels(np.where(mixed > 150, np.uint8(255), np.uint8(0)))
    assert settled(page, cut, "binarize").readings["binarize.rolled_back"] is False


def test_a_despeckled_page_of_print_loses_no_letter() -> None:
    page = PageImage(pixels=text_page(lines=20) > 128, dpi=DPI)
    clean = settled(page, despeckle(page, DespeckleSettings()), "despeckle")
    assert clean.readings.get("despeckle.letters_lost", 0) == 0


def test_the_shadow_of_a_white_hole_may_go_and_a_letter_beside_it_may_not() -> None:
    grey = text_page(lines=20)
    cv2.ellipse(grey, (60, 800), (17, 17), 0, 20, 110, 60, 2)
    page = PageImage(pixels=grey, dpi=DPI)
    place_mm = [60 * 25.4 / DPI, 800 * 25.4 / DPI]
    filled = _wiped(page, 35, 775, 85, 825).with_readings("holes", places_mm=place_mm)
    assert settled(page, filled, "holes").pixels is filled.pixels
    beside = PageImage(pixels=words_on(grey, "a", (78, 790)), dpi=DPI)
    wiped = _wiped(beside, 35, 775, 100, 825).with_readings("holes", places_mm=place_mm)
    assert settled(beside, wiped, "holes").pixels is beside.pixels


def test_a_soft_stain_may_go_and_a_word_that_is_as_soft_as_all_others_may_not() -> None:
    grey = text_page(lines=20)
    stain = np.full_like(grey, PAPER)
    cv2.ellipse(stain, (600, 1500), (12, 6), 10, 0, 360, 60, -1)
    stained = np.minimum(grey, cv2.GaussianBlur(stain, (0, 0), 4.0))
    page = PageImage(pixels=stained, dpi=DPI)
    clean = _wiped(page, 540, 1450, 660, 1550)
    assert settled(page, clean, "binarize").readings["binarize.letters_lost"] == 0
    blurred = PageImage(pixels=cv2.GaussianBlur(grey, (0, 0), 1.5), dpi=DPI)
    assert settled(blurred, _wiped(blurred, 0, 145, 1275, 185), "binarize").pixels is blurred.pixels
