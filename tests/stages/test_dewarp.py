"""Curled pages come out straight, resampled once; whatever lies flat, or is no running text, is not touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from fixtures.curl import Curl, CurledPage, curled
from fixtures.pages import DrawnPage, drawing, form, letter, photo_page, receipt, ruled_table, two_columns, typescript
from fixtures.scanner import bitonal, scanned
from stages import crop, deskew
from stages.dewarp import Settings, dewarp
from stages.page_image import IDENTITY, PageImage
from stages.places import taken_over
from stages.read import Settings as ReadSettings
from stages.read import read_page
from tests.stages.drawn_pages import Grey, blank_page, colour_page, grey_page, photo, slivers, text_page, turned

DPI = 150.0
DEPTHS_MM = {Curl.SPINE_LEFT: 6.0, Curl.SPINE_RIGHT: 7.0, Curl.DAMP: 1.5, Curl.SWAY: 1.5, Curl.BOW: 3.0}
LINEAR = Settings(interpolation="linear")


def _curled(curl: Curl, *, seed: int = 2, page: Callable[..., DrawnPage] = letter, deeper: float = 1.0) -> CurledPage:
    return curled(page(seed=seed, dpi=DPI), curl, depth_mm=deeper * DEPTHS_MM[curl], seed=seed)


def _off_line_mm(sheet: CurledPage, page: PageImage) -> float:
    """How far the words of a line stand off their common height, the page having been scanned without a turn."""
    off_px = []
    for line in sheet.page.lines:
        x = np.array([(word.box.left + word.box.right) / 2 for word in line.words])
        foot = np.full(len(x), line.box.bottom)
        y = foot
        for _ in range(10):
            y = foot + sheet.lowered_px(x, y)
        _, y = page.moved.back(x, y)
        off_px += list(y - y.mean())
    return float(np.sqrt(np.mean(np.square(off_px)))) / page.px(1.0)


@pytest.mark.parametrize("curl", Curl)
@pytest.mark.parametrize("page", [letter, two_columns, typescript])
def test_lines_of_a_curled_page_come_out_five_times_as_straight(curl: Curl, page: Callable[..., DrawnPage]) -> None:
    sheet = _curled(curl, page=page)
    before = scanned(sheet.page, tint=240, noise_levels=3.0).image()
    after = dewarp(before, LINEAR)
    assert after.readings["dewarp.declined"] is None
    assert after.pixels.shape == before.pixels.shape
    assert after.dpi == before.dpi
    assert _off_line_mm(sheet, after) <= min(0.06, _off_line_mm(sheet, before) / 5)


@pytest.mark.parametrize("kind", [grey_page, colour_page, lambda grey: PageImage(pixels=bitonal(grey), dpi=DPI)])
def test_a_page_stays_grey_coloured_or_bitonal(kind: Callable[[Grey], PageImage]) -> None:
    sheet = _curled(Curl.BOW)
    before = kind(sheet.page.pixels)
    after = dewarp(before, Settings())
    assert after.readings["dewarp.bent"] is True
    assert (after.pixels.dtype, after.pixels.shape) == (before.pixels.dtype, before.pixels.shape)
    assert _off_line_mm(sheet, after) <= 0.06


def test_what_was_found_is_the_depth_of_the_curl() -> None:
    page = letter(seed=2, dpi=DPI)
    found = [
        dewarp(curled(page, Curl.BOW, depth_mm=depth_mm, seed=2).page.image(), Settings()).readings["dewarp.rms_mm"]
        for depth_mm in (3.0, 6.0)
    ]
    assert found[1] == pytest.approx(2 * found[0], rel=0.1)


# ---- one resampling


def _turned_and_bent(curl: Curl) -> tuple[PageImage, PageImage, PageImage]:
    scan = scanned(_curled(curl).page, skew_deg=1.3, tint=240).image()
    level = deskew.deskew(scan, deskew.Settings(interpolation="linear"))
    assert level.readings["deskew.turned"] is True
    after = dewarp(level, LINEAR)
    assert after.readings["dewarp.bent"] is True
    return scan, level, after


def test_turn_and_bend_together_resample_the_scan_once() -> None:
    scan, level, after = _turned_and_bent(Curl.SPINE_LEFT)
    once = taken_over(scan.grey(), after.moved, np.zeros_like(scan.grey()))
    inner = (slice(100, -100), slice(100, -100))
    assert np.array_equal(after.pixels[inner], once[inner])
    twice = dewarp(PageImage(pixels=level.pixels, dpi=level.dpi), LINEAR)
    assert (
        cv2.Laplacian(after.grey()[inner], cv2.CV_64F).std()
        > 1.1 * cv2.Laplacian(twice.grey()[inner], cv2.CV_64F).std()
    )


def test_what_was_painted_on_the_page_in_between_stays_painted() -> None:
    _, level, _ = _turned_and_bent(Curl.SPINE_LEFT)
    painted = level.grey().copy()
    cv2.circle(painted, (600, 60), 20, 0, -1)
    after = dewarp(level.with_pixels(painted), LINEAR)
    assert after.readings["dewarp.bent"] is True
    assert after.grey()[40:80, 580:620].min() == 0


def test_a_cut_after_the_turn_keeps_the_pixels_before_it_in_reach() -> None:
    scan, level, _ = _turned_and_bent(Curl.SPINE_LEFT)
    cut = level.with_pixels(level.grey()[20:, 30:].copy(), moved_by=IDENTITY._replace(c=30.0, f=20.0))
    after = dewarp(cut, LINEAR)
    once = taken_over(scan.grey(), after.moved, np.zeros_like(cut.grey()))
    assert np.array_equal(after.pixels[100:-100, 100:-100], once[100:-100, 100:-100])


# ---- no harm


def _handwriting(seed: int) -> Grey:
    """Cursive lines, each of which droops and wavers in its own way."""
    page, random = blank_page(), np.random.default_rng(seed)
    for row in range(180, 1500, 62):
        x = np.arange(120, 1150)
        droop = random.uniform(-6, 14) * ((x - 120) / 1030) ** 2 + 3 * np.sin(x / random.uniform(60, 140))
        stroke = random.uniform(5, 11) * np.sin(x / random.uniform(3.5, 5.0)) + 4 * np.sin(x / 9 + row)
        points = np.stack([x, row + droop + stroke], axis=1)
        begin = 0
        while begin < len(points) - 60:
            end = begin + int(random.integers(25, 110))
            cv2.polylines(page, [np.rint(points[begin:end]).astype(np.int32)], False, (70,), 2, cv2.LINE_AA)
            begin = end + int(random.integers(10, 24))
    return page


def _pasted() -> Grey:
    page = text_page(size_px=20, lines=48)
    return np.vstack([turned(page, 0.45)[:825], turned(page, -0.45)[825:]])


def _shifted_columns() -> Grey:
    page = np.hstack([text_page(width_px=640, margin_px=60), text_page(width_px=635, margin_px=60, seed=8)])
    page[:, 640:] = np.roll(page[:, 640:], 9, axis=0)
    return page


FLAT = {
    "letter": lambda: letter(dpi=DPI).pixels,
    "typescript": lambda: typescript(dpi=DPI, unevenness=3.0).pixels,
    "columns": lambda: two_columns(dpi=DPI).pixels,
    "table": lambda: ruled_table(dpi=DPI).pixels,
    "form": lambda: form(dpi=DPI).pixels,
    "drawing": lambda: drawing(dpi=DPI).pixels,
    "photograph": lambda: photo_page(dpi=DPI, colour=False).pixels,
    "receipt": lambda: receipt(dpi=DPI).pixels,
    "blank": blank_page,
    "full-photograph": lambda: photo(1275, 1650),
    "handwriting": lambda: _handwriting(1),
    "other-handwriting": lambda: _handwriting(2),
    "pasted": _pasted,
    "shifted-columns": _shifted_columns,
    "sideways": lambda: np.ascontiguousarray(np.rot90(letter(dpi=DPI).pixels)),
    "light-on-dark": lambda: 255 - letter(dpi=DPI).pixels,
}


@pytest.mark.parametrize("name", FLAT)
def test_what_lies_flat_is_not_touched(name: str) -> None:
    page = grey_page(FLAT[name]())
    after = dewarp(page, Settings())
    assert after.pixels is page.pixels
    assert after.moved == IDENTITY
    assert after.readings["dewarp.bent"] is False


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("page", [letter, two_columns, typescript, form])
def test_poor_scans_of_flat_pages_are_not_touched(page: Callable[..., DrawnPage], seed: int) -> None:
    scan = scanned(
        page(seed=seed, dpi=DPI),
        tint=215,
        contrast=0.6,
        shading=0.35,
        blur_mm=0.09,
        noise_levels=8.0,
        speckle_fraction=0.0008,
        seed=seed,
    ).image()
    assert dewarp(scan, Settings()).pixels is scan.pixels


def test_text_that_droops_between_straight_rules_was_written_so() -> None:
    sheet = _curled(Curl.BOW).page.pixels.copy()
    for row in range(1500, 1620, 30):
        cv2.line(sheet, (150, row), (1100, row), (0,), 2)
    after = dewarp(grey_page(sheet), Settings())
    assert after.readings["dewarp.declined"] == "straight-rules"
    assert after.pixels is sheet


def test_nothing_is_bent_out_of_the_frame_or_left_behind_at_its_rim() -> None:
    sheet = _curled(Curl.BOW, deeper=2.0).page.pixels
    rows = np.nonzero((sheet < 128).any(axis=1))[0]
    tight = np.ascontiguousarray(sheet[rows[0] - 2 :])
    after = dewarp(grey_page(tight), Settings())
    assert after.readings["dewarp.declined"] == "at-the-frame"
    assert after.pixels is tight


def test_every_full_stop_is_there_after_the_bend() -> None:
    sheet = _curled(Curl.SPINE_LEFT).page.pixels.copy()
    for row in range(260, 1400, 60):
        for col in range(40, 1240, 40):
            sheet[row - 12 : row + 13, col - 12 : col + 13] = 255
            cv2.circle(sheet, (col, row), 1, (0,), -1)
    before = PageImage(pixels=sheet > 127, dpi=DPI)
    after = dewarp(before, Settings())
    assert after.readings["dewarp.bent"] is True

    def dots(page: PageImage) -> int:
        _, _, stats, _ = cv2.connectedComponentsWithStats((~page.pixels).astype(np.uint8))
        return int(((stats[:, 2] <= 5) & (stats[:, 3] <= 5)).sum())

    assert dots(before) > 500
    assert dots(after) >= dots(before)


def test_a_bent_page_is_not_bent_again() -> None:
    once = dewarp(_curled(Curl.DAMP).page.image(), Settings())
    again = dewarp(PageImage(pixels=once.pixels, dpi=once.dpi), Settings())
    assert again.pixels is once.pixels
    assert again.readings["dewarp.declined"] == "flat"


def test_the_same_scan_is_bent_to_the_same_bytes() -> None:
    page = _curled(Curl.SPINE_RIGHT).page.image()
    assert np.array_equal(dewarp(page, Settings()).pixels, dewarp(page, Settings()).pixels)


def test_the_curl_is_only_recorded_when_the_pixels_must_stay() -> None:
    page = _curled(Curl.DAMP).page.image()
    after = dewarp(page, Settings(bend=False))
    assert after.pixels is page.pixels
    assert after.readings["dewarp.declined"] == "recorded-only"
    assert after.readings["dewarp.rms_mm"] == dewarp(page, Settings()).readings["dewarp.rms_mm"] > 0.25


def test_a_painted_lid_does_not_keep_a_curled_page_from_being_bent() -> None:
    sheet = _curled(Curl.SPINE_LEFT)
    scan = scanned(sheet.page, lid="black", border_mm=5.0, skew_deg=0.8, tint=235).image()
    level = deskew.deskew(crop.crop(scan, crop.Settings()), deskew.Settings())
    assert dewarp(level, Settings()).readings["dewarp.bent"] is True


@hypothesis_settings(max_examples=40, deadline=None)
@given(page=slivers())
def test_slivers_and_wrong_resolutions_pass_unharmed(page: PageImage) -> None:
    assert dewarp(page, Settings()).pixels is page.pixels


# ---- real scans


def _real(folder: Path, name: str) -> PageImage:
    page = read_page(folder / name, 0, ReadSettings())
    return dewarp(deskew.deskew(page, deskew.Settings(interpolation="linear")), LINEAR)


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        "ocr-truth/en/fondue-Turn_Screw-p86.png",
        "ocr-truth/en/ocrmypdf-linn.png",
        "ocr-truth/en/EHRI-DR-19390519-US_02.jpg",
        "ocr-truth/en/unlv-8087_054.3B.tif",
        "ocr-truth/en/scribe-table_11.png",
        "binarise/Nabuco_H13.png",
        "borders-holes/lept-pageseg2.tif",
    ],
)
def test_flat_real_scans_are_not_touched(real_scans: Path, name: str) -> None:
    assert _real(real_scans, name).readings["dewarp.bent"] is False


@pytest.mark.real
def test_a_curled_book_page_is_found_curled_alike_through_two_thresholds(real_scans: Path) -> None:
    pages = [_real(real_scans, f"ocr-truth/en/{name}.tiff") for name in ("oldbook-b018", "oldbook-b018-MinError")]
    found = [page.readings["dewarp.rms_mm"] for page in pages]
    assert pages[0].readings["dewarp.bent"] is True
    assert found[0] == pytest.approx(found[1], rel=0.15)
