"""What holes promises: punched holes are found and closed, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from stages.holes import Settings, holes
from stages.page_image import EncodedImage, PageImage

Grey = npt.NDArray[np.uint8]
MM = 150 / 25.4  # pages here are drawn at 150 dpi
ROWS, COLS = round(279 * MM), round(216 * MM)


def sheet(*, paper: int = 235, seed: int = 0) -> Grey:
    """A page of text on grainy paper."""
    image = Image.new("L", (COLS, ROWS), 255)
    font = ImageFont.load_default(size=23)
    for top in range(150, ROWS - 150, 30):
        ImageDraw.Draw(image).text((180, top), "Oo. The clerk filed it at once, 3.75 per cent. " * 2, font=font, fill=0)
    levels = np.array(image).astype(np.float64) / 255 * (paper - 40) + 40
    return (levels + np.random.default_rng(seed).normal(0, 3, levels.shape)).clip(0, 255).astype(np.uint8)


def punched(
    page: npt.NDArray[np.uint8], places_mm: list[tuple[float, float]], *, level: int, diameter_mm: float = 6.0
) -> Grey:
    result = page.copy()
    for x, y in places_mm:
        colour = (level,) * 3 if page.ndim == 3 else level
        cv2.circle(result, (round(x * MM), round(y * MM)), round(diameter_mm / 2 * MM), colour, -1, cv2.LINE_AA)
    return result


LAYOUTS = {
    "two at the left": [(12.0, 99.5), (12.0, 179.5)],
    "three at the left": [(11.0, 31.5), (11.0, 139.5), (11.0, 247.5)],
    "two at the top": [(68.0, 12.0), (148.0, 12.0)],
    "four at the right": [(205.0, 19.5), (205.0, 99.5), (205.0, 179.5), (205.0, 259.5)],
}


@pytest.mark.parametrize("places", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize(("paper", "level"), [(235, 0), (235, 70), (200, 255)])
def test_drawn_holes_are_found_where_they_are_and_filled_with_paper(
    places: list[tuple[float, float]], paper: int, level: int
) -> None:
    clean = sheet(paper=paper)
    page = PageImage(pixels=punched(clean, places, level=level), dpi=150)
    result = holes(page, Settings())
    assert result.readings["holes.found"] == len(places)
    assert result.readings["holes.filled"] == len(places)
    found = np.reshape(np.array(result.readings["holes.places_mm"]), (-1, 2))
    for place in places:
        assert np.hypot(*(found - place).T).min() < 0.7
    for x, y in places:
        patch = np.s_[round((y - 4) * MM) : round((y + 4) * MM), round((x - 4) * MM) : round((x + 4) * MM)]
        assert abs(float(result.pixels[patch].mean()) - paper) < 2
        assert 1 < float(result.pixels[patch].std()) < 5


def test_only_the_holes_change() -> None:
    page = PageImage(pixels=punched(sheet(), LAYOUTS["two at the left"], level=0), dpi=150)
    changed = holes(page, Settings()).pixels != page.pixels
    _, cols = np.nonzero(changed)
    assert cols.max() < 17 * MM
    assert np.count_nonzero(changed) < 2 * np.pi * (3.6 * MM) ** 2


def test_an_archive_copy_is_reported_on_and_left_as_it_is() -> None:
    stream = EncodedImage(codec="jpeg", data=b"x", width_px=COLS, height_px=ROWS, channels=1)
    page = PageImage(pixels=punched(sheet(), LAYOUTS["two at the left"], level=0), dpi=150, encoded=stream)
    result = holes(page, Settings(fill=False))
    assert result.pixels is page.pixels
    assert result.encoded is stream
    assert result.readings["holes.found"] == 2
    assert result.readings["holes.filled"] == 0


def test_holes_of_a_colour_page_are_filled_in_its_colour() -> None:
    grey = sheet().astype(np.float64)
    colour = np.dstack([grey, grey * 0.95, grey * 0.8]).astype(np.uint8)
    page = PageImage(pixels=punched(colour, LAYOUTS["two at the left"], level=10), dpi=150)
    result = holes(page, Settings())
    assert result.readings["holes.filled"] == 2
    x, y = (round(v * MM) for v in LAYOUTS["two at the left"][0])
    middle = result.pixels[y - 5 : y + 5, x - 5 : x + 5].reshape(-1, 3).mean(axis=0)
    assert np.abs(middle - np.array([235, 223, 188])).max() < 4


def test_holes_of_a_bitonal_page_become_white() -> None:
    page = PageImage(pixels=punched(sheet(), LAYOUTS["two at the left"], level=0) > 128, dpi=150)
    result = holes(page, Settings())
    assert result.readings["holes.filled"] == 2
    assert result.pixels.dtype == np.bool_
    assert result.pixels[:, : round(20 * MM)].all()


def test_a_page_without_holes_is_left_as_it_is() -> None:
    page = PageImage(pixels=sheet(), dpi=150)
    result = holes(page, Settings())
    assert result.pixels is page.pixels
    assert result.readings["holes.found"] == 0
    assert result.readings["holes.places_mm"] == []


def test_a_single_round_spot_is_reported_and_not_filled() -> None:
    page = PageImage(pixels=punched(sheet(), [(12.0, 139.0)], level=0), dpi=150)
    result = holes(page, Settings())
    assert result.readings["holes.found"] == 1
    assert result.readings["holes.filled"] == 0
    assert result.pixels is page.pixels


def test_round_things_that_are_no_holes_are_not_taken_for_holes() -> None:
    picture = sheet()
    for row in range(3):  # stamps: rings with writing in them; radio buttons; balls with a gloss; squares
        y = round((60 + 70 * row) * MM)
        cv2.circle(picture, (round(12 * MM), y), round(4 * MM), 30, 3)
        cv2.rectangle(picture, (round(201 * MM), y), (round(207 * MM), y + round(6 * MM)), 0, -1)
        cv2.circle(picture, (round(12 * MM), y + round(30 * MM)), round(3 * MM), 0, -1)
        cv2.circle(picture, (round(12 * MM), y + round(30 * MM)), round(1.5 * MM), 235, -1)
    result = holes(PageImage(pixels=picture, dpi=150), Settings())
    assert result.readings["holes.found"] == 0


@pytest.mark.parametrize("corners", [4, 5, 6, 8])
def test_marks_with_corners_are_not_taken_for_holes(corners: int) -> None:
    picture = sheet()
    for x, y in LAYOUTS["three at the left"]:
        angles = np.arange(corners) * 2 * np.pi / corners + 0.2
        outline = np.stack([x + 3.3 * np.cos(angles), y + 3.3 * np.sin(angles)], axis=1) * MM
        cv2.fillPoly(picture, [np.rint(outline * 16).astype(np.int32)], (0,), cv2.LINE_AA, 4)
    page = PageImage(pixels=picture, dpi=150)
    result = holes(page, Settings())
    assert result.readings["holes.found"] == 0
    assert result.pixels is page.pixels


@pytest.mark.parametrize("ring_mm", [4.2, 5.0, 6.0])
def test_a_dot_with_a_ring_around_it_is_not_taken_for_a_hole(ring_mm: float) -> None:
    picture = punched(sheet(), LAYOUTS["three at the left"], level=0, diameter_mm=5.2)
    for x, y in LAYOUTS["three at the left"]:
        cv2.circle(picture, (round(x * MM), round(y * MM)), round(ring_mm * MM), 0, 2, cv2.LINE_AA)
    assert holes(PageImage(pixels=picture, dpi=150), Settings()).readings["holes.found"] == 0


@pytest.mark.parametrize("bits", [False, True])
def test_the_middle_of_a_hole_is_found_to_a_tenth_of_a_millimetre(bits: bool) -> None:
    places = [(11.37, 60.21), (11.37, 140.21)]
    picture = sheet()
    for x, y in places:
        centre = (round((x * MM - 0.5) * 16), round((y * MM - 0.5) * 16))
        cv2.circle(picture, centre, round(3 * MM * 16), 20, -1, cv2.LINE_AA, 4)
    page = PageImage(pixels=picture > 128 if bits else picture, dpi=150)
    found = np.reshape(np.array(holes(page, Settings()).readings["holes.places_mm"]), (-1, 2))
    assert np.abs(found[np.argsort(found[:, 1])] - places).max() <= 0.1


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    cols=st.integers(1, 60),
    dpi=st.integers(20, 1200),
    seed=st.integers(0, 5),
    bits=st.booleans(),
)
def test_no_page_is_too_small_or_too_odd(rows: int, cols: int, dpi: int, seed: int, bits: bool) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, cols), dtype=np.uint8)
    result = holes(PageImage(pixels=pixels > 127 if bits else pixels, dpi=dpi), Settings())
    assert result.pixels.shape == (rows, cols)


@pytest.mark.real
def test_holes_of_filed_letters_are_found(real_scans: Path) -> None:
    found = []
    for number in (1, 2, 4):
        scan = np.array(Image.open(real_scans / f"ocr-truth/en/EHRI-BF-19380509b_EN_0{number}.jpg").convert("L"))
        result = holes(PageImage(pixels=scan, dpi=113), Settings())  # no true dpi in these files: letter width / 8.3 in
        found.append(result.readings["holes.found"])
    assert found == [2, 2, 2]


@pytest.mark.real
def test_real_pages_without_holes_raise_no_alarm(real_scans: Path) -> None:
    for name, dpi in (
        ("ocr-truth/en/unlv-8087_054.3B.tif", 300),
        ("borders-holes/lept-rabi.png", 300),
        ("borders-holes/lept-lucasta.047.jpg", 200),
        ("ocr-truth/en/EHRI-DR-19390519-US_01.jpg", 200),
    ):
        scan = np.array(Image.open(real_scans / name).convert("L"))
        assert holes(PageImage(pixels=scan, dpi=dpi), Settings()).readings["holes.found"] == 0, name
