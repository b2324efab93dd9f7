"""The picture for the auditor: what was removed is red, what was added blue, and all lies in one frame."""

from __future__ import annotations

import numpy as np

from stages.deskew import Settings as DeskewSettings
from stages.deskew import deskew
from stages.difference import ADDED, REMOVED, before_and_after, difference
from stages.page_image import PageImage
from tests.stages.drawn_pages import DPI, text_page


def _count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_removed_ink_is_red_and_added_ink_blue() -> None:
    before, after = text_page(lines=20), text_page(lines=20)
    before[1400:1410, 200:260] = 20
    after[1500:1510, 300:380] = 20
    picture = difference(before, after, dpi=DPI)
    assert (picture[1402:1408, 202:258] == REMOVED).all()
    assert (picture[1502:1508, 302:378] == ADDED).all()
    assert _count(picture, REMOVED) <= 10 * 60
    assert _count(picture, ADDED) <= 10 * 80


def test_a_page_that_was_not_touched_shows_no_change() -> None:
    page = PageImage(pixels=text_page(lines=20), dpi=DPI)
    picture = before_and_after(page, page, page.moved).pixels
    assert _count(picture, REMOVED) == _count(picture, ADDED) == 0


def test_a_levelled_page_is_compared_in_its_own_frame() -> None:
    import cv2

    matrix = cv2.getRotationMatrix2D((637, 825), 2.0, 1.0)
    askew = cv2.warpAffine(text_page(lines=20), matrix, (1275, 1650), borderValue=(236,))
    scan = PageImage(pixels=np.asarray(askew, dtype=np.uint8), dpi=DPI)
    level = deskew(scan, DeskewSettings())
    picture = before_and_after(scan, level, level.moved).pixels
    ink = int((level.grey() < 128).sum())
    assert _count(picture, REMOVED) + _count(picture, ADDED) < 0.01 * ink


def test_a_bitonal_scan_at_full_size_makes_a_small_picture() -> None:
    page = PageImage(pixels=np.kron(text_page(lines=20), np.ones((2, 2), np.uint8)) > 128, dpi=2 * DPI)
    picture = before_and_after(page, page, page.moved)
    assert picture.dpi == DPI
    assert picture.height_px == page.height_px // 2
