from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from stages.crop import Settings, crop
from stages.page_image import IDENTITY, PageImage
from tests.stages.drawn_pages import (
    DPI,
    LETTER_PX,
    Grey,
    bitonal_page,
    blank_page,
    colour_page,
    grey_page,
    on_lid,
    photo,
    slivers,
    text_page,
    turned,
    words_on,
)

SHEET_PX = (1100, 1400)


def _sheet(*, paper: int = 236) -> Grey:
    return text_page(width_px=SHEET_PX[0], height_px=SHEET_PX[1], lines=30, margin_px=110, paper=paper)


def _within(there: npt.NDArray[np.bool_], px: int) -> npt.NDArray[np.bool_]:
    """What lies so far inside the sheet; a sheet that runs off the frame has its edge there."""
    size = 2 * abs(px) + 1
    change = cv2.dilate if px < 0 else cv2.erode
    framed = np.pad(there.astype(np.uint8), abs(px))
    return np.asarray(change(framed, np.ones((size, size), np.uint8))[abs(px) : -abs(px), abs(px) : -abs(px)] > 0)


def _changed(before: PageImage, after: PageImage) -> npt.NDArray[np.bool_]:
    changed = before.pixels != after.pixels
    return np.asarray(changed.any(axis=2) if changed.ndim == 3 else changed)


@pytest.mark.parametrize(("lid", "angle_deg"), [(8, 0.0), (60, -4.6), (115, 2.1), (8, 9.0), (115, 0.0)])
@pytest.mark.parametrize("kind", [grey_page, bitonal_page, colour_page])
def test_the_lid_is_painted_and_the_sheet_is_not_touched(lid: int, angle_deg: float, kind) -> None:
    scan, there = on_lid(_sheet(), lid=lid, angle_deg=angle_deg, left_top=(70, 120))
    page = kind(scan)
    after = crop(page, Settings())
    assert after.readings["crop.done"] is True
    assert after.pixels.shape == page.pixels.shape
    assert not (_changed(page, after) & _within(there, 4)).any(), "nothing 0.7 mm inside the sheet is touched"
    left_dark = (after.grey() < 150) & ~_within(there, -2)
    assert left_dark.sum() == 0


@pytest.mark.parametrize("left_top", [(0, 0), (70, 0), (0, 120), (175, 250), (40, 250)])
def test_the_width_of_the_lid_is_reported_for_each_side(left_top: tuple[int, int]) -> None:
    scan, _ = on_lid(_sheet(), left_top=left_top)
    left, top = left_top
    right, bottom = LETTER_PX[0] - SHEET_PX[0] - left, LETTER_PX[1] - SHEET_PX[1] - top
    expected = [px * 25.4 / DPI for px in (left, top, right, bottom)]
    after = crop(grey_page(scan), Settings(mode="keep"))
    assert after.readings["crop.edges_mm"] == pytest.approx(expected, abs=0.2)


def test_the_lid_takes_the_colour_of_the_paper_beside_it() -> None:
    scan, there = on_lid(_sheet(paper=205), angle_deg=1.0, left_top=(80, 110))
    after = crop(colour_page(scan), Settings())
    filled = after.pixels[~_within(there, -4)]
    assert np.abs(np.median(filled, axis=0) - np.array([205, 197, 174])).max() <= 4


def test_keeping_the_lid_only_reports_it() -> None:
    page = grey_page(on_lid(_sheet())[0])
    after = crop(page, Settings(mode="keep"))
    assert after.pixels is page.pixels
    assert after.readings["crop.done"] is False
    assert after.readings["crop.declined"] == "recorded-only"


def test_cutting_is_lossless_and_leaves_a_millimetre() -> None:
    scan, _ = on_lid(_sheet(), left_top=(70, 120))
    page = grey_page(scan)
    after = crop(page, Settings(mode="crop"))
    left, top = after.moved.c, after.moved.f
    assert (left, top) == (pytest.approx(70 - DPI / 25.4, abs=2), pytest.approx(120 - DPI / 25.4, abs=2))
    assert after.width_px == pytest.approx(SHEET_PX[0] + 2 * DPI / 25.4, abs=4)
    assert after.height_px == pytest.approx(SHEET_PX[1] + 2 * DPI / 25.4, abs=4)
    assert np.array_equal(
        after.pixels, scan[int(top) : int(top) + after.height_px, int(left) : int(left) + after.width_px]
    )


@pytest.mark.parametrize("angle_deg", [0.0, -3.3, 4.8])
@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_the_corners_of_the_sheet_are_reported_where_they_lie(angle_deg: float, kind) -> None:
    left, top = 80, 110
    scan, _ = on_lid(_sheet(), angle_deg=angle_deg, left_top=(left, top))
    cols, rows = LETTER_PX
    matrix = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), angle_deg, 1.0)
    width, height = SHEET_PX
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) + np.array([left - 0.5, top - 0.5])
    true_mm = (corners @ matrix[:, :2].T + matrix[:, 2] + 0.5) * 25.4 / DPI
    found_mm = np.reshape(crop(kind(scan), Settings(mode="keep")).readings["crop.corners_mm"], (4, 2))
    assert np.hypot(*(found_mm - true_mm).T).max() < 0.2


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
@pytest.mark.parametrize("lid", [10, 90])
@pytest.mark.parametrize("angle_deg", [0.0, 2.0])
def test_a_note_that_sticks_out_beyond_the_sheet_is_kept_and_the_lid_around_it_goes(
    kind, lid: int, angle_deg: float
) -> None:
    scan, _ = on_lid(_sheet(), lid=lid, left_top=(150, 120), angle_deg=angle_deg)
    note = words_on(np.full((200, 190), 236, np.uint8), "see also\nfolio 12", (2, 40), size_px=30)
    scan[500:700, 60:250] = note
    page = kind(scan)
    after = crop(page, Settings())
    assert np.array_equal(after.pixels[500:700, 60:250], page.pixels[500:700, 60:250])
    assert after.grey()[800:1200, :100].min() > 150
    assert after.grey()[:490, :100].min() > 150


def test_a_sheet_is_not_cut_on_the_side_where_a_note_sticks_out() -> None:
    scan, _ = on_lid(_sheet(), left_top=(150, 120))
    scan[500:700, 60:250] = 236
    after = crop(grey_page(scan), Settings(mode="crop"))
    assert after.readings["crop.declined"] == "content"
    assert after.moved.c == 0
    assert after.moved.f > 0


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_paper_that_bulges_beyond_the_edge_is_kept(kind) -> None:
    scan, _ = on_lid(_sheet(), left_top=(70, 120))
    cv2.ellipse(scan, (600, 122), (80, 16), 0, 180, 360, (236,), -1)
    page = kind(scan)
    after = crop(page, Settings())
    assert np.array_equal(after.pixels[106:118, 560:640], page.pixels[106:118, 560:640])
    assert after.grey()[:90].min() > 150


@pytest.mark.parametrize("lid", [10, 100])
@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_lid_that_is_seen_through_a_torn_corner_is_painted(kind, lid: int) -> None:
    sheet = _sheet()
    cv2.fillPoly(sheet, [np.array([[0, 0], [90, 0], [0, 60]])], (lid,))
    scan, _ = on_lid(sheet, lid=lid, left_top=(70, 120), angle_deg=1.5)
    after = crop(kind(scan), Settings())
    assert after.grey()[:180, :180].min() > 150


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_a_line_of_text_that_runs_into_a_band_keeps_its_letters(kind) -> None:
    page = text_page(margin_px=40)
    page[:, :30] = 10
    swallowed = text_page(margin_px=27)
    page[:, 30:60] = np.minimum(page[:, 30:60], swallowed[:, 30:60])
    before = kind(page)
    after = crop(before, Settings())
    assert after.grey()[1500:, :28].min() > 150, "where no text is near, the band goes"
    assert np.array_equal(after.pixels[:, 36:], before.pixels[:, 36:])
    beside = before.grey()[200:1200, 32:60] < 128
    assert (after.grey()[200:1200, 32:60][beside] < 128).mean() > 0.97


def test_the_ragged_rim_of_a_copied_band_goes_with_it() -> None:
    page = text_page()
    for row in range(0, 1650, 11):
        page[row : row + 5, : 30 + row % 4] = 10
        page[row : row + 11, :28] = 10
    after = crop(bitonal_page(page), Settings())
    assert after.grey()[:, :60].min() == 255


def _blotched() -> Grey:
    page = text_page()
    cv2.fillPoly(page, [np.array([[0, 0], [420, 0], [300, 90], [170, 140], [110, 300], [0, 500]])], (10,))
    return page


def test_a_dark_ground_that_reaches_deep_is_left_on_the_page_that_is_delivered() -> None:
    before = bitonal_page(_blotched())
    after = crop(before, Settings())
    assert np.array_equal(after.pixels, before.pixels)
    assert after.readings["crop.declined"] == "unsure"


def test_a_dark_ground_that_reaches_deep_goes_from_the_copy_that_is_read_and_no_letter_with_it() -> None:
    page, clean = _blotched(), bitonal_page(text_page())
    after = crop(bitonal_page(page), Settings(blotches=True))
    dirt = (page == 10) & clean.pixels
    assert after.pixels[dirt].mean() > 0.9
    beside = cv2.dilate((page == 10).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    visible = ~beside & ~clean.pixels
    assert not after.pixels[visible].any()


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_white_print_on_a_dark_margin_is_not_taken_for_lid(kind) -> None:
    page = text_page()
    page[:120] = 20
    image = words_on(255 - page[:120], "COUNTY OF TRAVIS  OFFICIAL RECORDS", (100, 40), size_px=44)
    page[:120] = 255 - image
    before = kind(page)
    after = crop(before, Settings())
    assert np.array_equal(after.pixels, before.pixels)


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_a_photograph_that_bleeds_off_the_page_is_kept(kind) -> None:
    page = text_page()
    page[900:, :600] = np.minimum(photo(600, 750), 150)
    before = kind(page)
    assert np.array_equal(crop(before, Settings()).pixels, before.pixels)


def test_a_coloured_band_that_is_printed_to_the_edge_is_kept() -> None:
    page = colour_page(text_page())
    pixels = page.pixels.copy()
    pixels[:60] = (20, 30, 90)
    before = PageImage(pixels=pixels, dpi=DPI)
    after = crop(before, Settings())
    assert np.array_equal(after.pixels, before.pixels)
    assert after.readings["crop.declined"] is not None


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_black_bands_along_the_frame_are_painted_out(kind) -> None:
    page = text_page()
    page[:700, :30] = 10
    cv2.fillPoly(page, [np.array([[1275, 1500], [1275, 1650], [1150, 1650]])], (10,))
    before = kind(page)
    after = crop(before, Settings())
    assert after.readings["crop.done"] is True
    assert after.readings["crop.edges_mm"][0] == pytest.approx(30 * 25.4 / DPI, abs=0.4)
    assert after.grey()[:705, :34].min() > 128
    assert after.grey()[1600:, 1240:].min() > 128
    assert np.array_equal(after.pixels[150:1400, 150:1125], before.pixels[150:1400, 150:1125])


def test_ink_that_joins_a_band_stays() -> None:
    page = text_page()
    page[:, :30] = 10
    cv2.line(page, (20, 800), (400, 780), (10,), 4)
    before = bitonal_page(page)
    after = crop(before, Settings())
    assert after.grey()[600:700, :30].min() == 255
    assert np.array_equal(after.pixels[:, 40:], before.pixels[:, 40:])


@pytest.mark.parametrize(
    "page",
    [
        text_page(),
        text_page(paper=190),
        blank_page(),
        np.full((1650, 1275), 255, np.uint8),
        np.full((1650, 1275), 9, np.uint8),
        255 - text_page(),
        photo(1275, 1650),
        turned(text_page(), 4.0, surround=225),
        text_page()[:, 153:].copy(),
    ],
    ids=["text", "tinted", "blank", "white", "black", "inverted", "photo", "white-lid", "cut-text"],
)
@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
@pytest.mark.parametrize("mode", ["fill", "crop"])
def test_a_page_without_lid_comes_out_as_it_went_in(page: Grey, kind, mode: str) -> None:
    before = kind(page)
    after = crop(before, Settings.model_validate({"mode": mode}))
    assert np.array_equal(after.pixels, before.pixels)
    assert after.moved == IDENTITY


def test_doing_it_twice_changes_nothing_more() -> None:
    once = crop(grey_page(on_lid(_sheet(), angle_deg=3.0)[0]), Settings())
    assert crop(once, Settings()).pixels is once.pixels


@hypothesis_settings(max_examples=40, deadline=None)
@given(page=slivers(most_px=120), mode=st.sampled_from(["fill", "crop"]))
def test_slivers_and_wrong_resolutions_pass_unharmed(page: PageImage, mode: str) -> None:
    after = crop(page, Settings.model_validate({"mode": mode}))
    assert after.pixels.dtype == page.pixels.dtype
    assert after.width_px >= 1
    assert after.height_px >= 1


@pytest.mark.real
def test_no_letter_of_a_real_scan_is_painted_over(real_scans: Path) -> None:
    with (real_scans / "ocr-truth" / "index.csv").open() as table:
        names = [row["file"] if "file" in row else next(iter(row.values())) for row in csv.DictReader(table)]
    images = [path for name in names for path in [real_scans / name, real_scans / "ocr-truth" / name] if path.is_file()]
    assert images
    for path in images[:12]:
        grey = np.asarray(Image.open(path).convert("L"))
        page = PageImage(pixels=grey, dpi=max(grey.shape) / 11.0)
        after = crop(page, Settings())
        margin = round(page.px(13.0))
        inner = (slice(margin, -margin), slice(margin, -margin))
        assert np.array_equal(after.pixels[inner], page.pixels[inner]), path.name
