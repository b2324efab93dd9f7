from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fixtures import scanner
from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.typefaces import Face
from stages.blank import Settings, blank
from stages.page_image import MM_PER_INCH, PageImage
from stages.sheets import LETTER_MM

Grey = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]

DPI = 150
PAPER = 235


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def px(mm: float) -> int:
    return round(mm * DPI / MM_PER_INCH)


def empty() -> Grey:
    return np.full((px(279.4), px(215.9)), 255, np.uint8)


def write(sheet: Grey, text: str, *, left_mm: float, top_mm: float, height_mm: float = 3, ink: int = 0) -> Grey:
    size = height_mm * DPI / MM_PER_INCH / 21  # the face is 21 pixels high at size 1
    place = (px(left_mm), px(top_mm + height_mm))
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, max(1, round(size * 2)), cv2.LINE_AA)
    return sheet


def letter(sheet: Grey, *, lines: int = 40) -> Grey:
    for line in range(lines):
        write(sheet, f"{line} the quick brown fox jumps over the lazy dog, said he", left_mm=25, top_mm=25 + 5.5 * line)
    return sheet


def dust(sheet: Grey, *, specks: int, seed: int = 1) -> Grey:
    rng = np.random.default_rng(seed)
    for _ in range(specks):
        place = (int(rng.integers(sheet.shape[1])), int(rng.integers(sheet.shape[0])))
        cv2.circle(sheet, place, int(rng.integers(0, px(0.35))), int(rng.integers(0, 160)), -1)
    return sheet


def holes(grey: Grey, *, backing: int) -> Grey:
    for top_mm in (99.7, 179.7):
        cv2.circle(grey, (px(12), px(top_mm)), px(3), backing, -1, cv2.LINE_AA)
    return grey


def showing_through(share: float) -> Grey:
    back = cv2.GaussianBlur(letter(empty())[:, ::-1], (0, 0), px(0.35)).astype(np.float32)
    return np.asarray(255 - (255 - back) * share, np.uint8)


def scanned(
    sheet: npt.NDArray[np.generic], *, paper: int = PAPER, ink: int = 45, noise: float = 4, seed: int = 1
) -> Grey:
    """As a scanner sees it: soft, on paper of `paper` that darkens by 8 % across the page, with grain."""
    soft = cv2.GaussianBlur(np.asarray(sheet, np.uint8), (0, 0), 0.7).astype(np.float32)
    grey = (ink + soft / 255 * (paper - ink)) * np.linspace(1, 0.92, sheet.shape[1], dtype=np.float32)
    grain = np.random.default_rng(seed).standard_normal(sheet.shape, np.float32) * np.float32(noise)
    return np.clip(grey + grain, 0, 255).astype(np.uint8)


def judged(pixels: Pixels, *, dpi: float = DPI) -> str:
    return str(blank(PageImage(pixels=pixels, dpi=dpi), Settings()).readings["blank.verdict"])


def coloured(grey: Grey) -> Grey:
    return np.ascontiguousarray(np.stack([grey, np.clip(grey, 4, 255) - 4, np.clip(grey, 22, 255) - 22], axis=-1))


EMPTY: dict[str, Callable[[], Grey]] = {
    "clean": lambda: scanned(empty()),
    "grainy and tinted": lambda: scanned(empty(), paper=200, noise=10),
    "white to the last pixel": empty,
    "folded": lambda: scanned(cv2.line(empty(), (0, px(140)), (px(216), px(141)), 230, px(1.5))),
}
DIRTY: dict[str, Callable[[], Grey]] = {
    "dusty": lambda: scanned(dust(empty(), specks=60)),
    "very dusty": lambda: scanned(dust(empty(), specks=300)),
    "punched over a black lid": lambda: holes(scanned(empty()), backing=10),
    "punched over a grey lid": lambda: holes(scanned(empty()), backing=110),
    "punched over a white lid": lambda: holes(scanned(empty(), paper=210), backing=255),
    "weakly showing through": lambda: scanned(showing_through(0.07)),
    "strongly showing through": lambda: scanned(showing_through(0.22)),
    "ruled": lambda: scanned(_ruled(ink=215)),
    "ruled in black": lambda: scanned(_ruled(ink=0)),
    "with a black border": lambda: _bordered(scanned(empty())),
    "streaked by the scanner": lambda: scanned(cv2.line(empty(), (px(80), 0), (px(80), px(280)), 60, 1)),
    "black": lambda: scanned(np.zeros_like(empty()), ink=12),
}
WRITTEN: dict[str, Callable[[int], npt.NDArray[np.generic]]] = {
    "a letter": lambda ink: letter(empty(), lines=30),
    "a page number": lambda ink: write(empty(), "- 17 -", left_mm=104, top_mm=262, ink=ink),
    "one digit": lambda ink: write(empty(), "7", left_mm=107, top_mm=262, height_mm=2.2, ink=ink),
    "initials": lambda ink: write(empty(), "JH", left_mm=180, top_mm=250, height_mm=6, ink=ink),
    "one small line at the foot": lambda ink: write(
        empty(), "Form 1099-B (Rev. 3) - continued", left_mm=25, top_mm=266, height_mm=1.5, ink=ink
    ),
    "a note at the very edge": lambda ink: write(empty(), "AB-1234", left_mm=198, top_mm=2.5, height_mm=2.2, ink=ink),
    "a tick": lambda ink: cv2.line(empty(), (px(40), px(60)), (px(43), px(63)), ink, 2),
    "a ring as of a stamp": lambda ink: cv2.circle(empty(), (px(150), px(60)), px(16), ink, 3),
    "a digit among dust": lambda ink: write(dust(empty(), specks=60), "17", left_mm=104, top_mm=262, ink=ink),
    "a word over what shows through": lambda ink: write(
        showing_through(0.12), "No.", left_mm=160, top_mm=40, height_mm=5, ink=ink
    ),
    "a word between holes": lambda ink: holes(write(empty(), "see file", left_mm=30, top_mm=135, ink=ink), backing=20),
    "a word on ruled paper": lambda ink: write(_ruled(ink=215), "see file", left_mm=30, top_mm=135, ink=ink),
    "intentionally left blank": lambda ink: write(
        empty(), "This page intentionally left blank.", left_mm=60, top_mm=135, ink=ink
    ),
}


def _ruled(*, ink: int) -> Grey:
    sheet = empty()
    for top in range(px(25), px(270), px(7)):
        sheet[top : top + 2] = ink
    return sheet


def _bordered(grey: Grey) -> Grey:
    grey[: px(4)] = grey[-px(6) :] = 12
    grey[:, -px(9) :] = 12
    rows, cols = grey.shape
    turn = cv2.getRotationMatrix2D((cols / 2, rows / 2), 0.8, 1)
    return np.asarray(cv2.warpAffine(grey, turn, (cols, rows), borderValue=12.0), np.uint8)


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_side_is_surely_blank(name: str) -> None:
    grey = EMPTY[name]()
    assert judged(grey) == "blank"
    assert judged(coloured(grey)) == "blank"
    assert judged(grey > 128) == "blank"


@pytest.mark.parametrize("name", DIRTY)
def test_dirt_on_an_empty_side_is_not_taken_for_writing(name: str) -> None:
    grey = DIRTY[name]()
    assert judged(grey) in {"blank", "maybe"}
    assert judged(coloured(grey)) in {"blank", "maybe"}
    assert judged(grey > 120) in {"blank", "maybe"}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("ink", [0, 120, 205])
def test_a_side_that_bears_the_least_writing_is_never_blank(name: str, ink: int) -> None:
    sheet = WRITTEN[name](ink)
    grey = scanned(sheet)
    assert judged(grey) == "content"
    assert judged(coloured(grey)) == "content"
    assert judged(scanned(sheet, paper=190, noise=7)) == "content"
    if ink == 0:
        assert judged(np.asarray(sheet, np.uint8) > 128) == "content"


@pytest.mark.parametrize("dpi", [100, 150, 300, 400])
def test_the_verdict_does_not_hang_on_the_resolution(dpi: int) -> None:
    size = (round(215.9 * dpi / MM_PER_INCH), round(279.4 * dpi / MM_PER_INCH))
    for sheet, verdict in ((empty(), "blank"), (WRITTEN["a page number"](0), "content")):
        assert (
            judged(scanned(cv2.resize(np.asarray(sheet, np.uint8), size, interpolation=cv2.INTER_AREA)), dpi=dpi)
            == verdict
        )


def test_very_pale_writing_is_never_surely_blank() -> None:
    for ink in range(215, 247, 4):
        grey = scanned(write(empty(), "Received 3 May 1987", left_mm=50, top_mm=90, height_mm=3.5, ink=ink), noise=2)
        assert judged(grey) != "blank", ink


def test_a_pale_drawing_all_over_the_page_is_not_taken_for_grain() -> None:
    sheet = empty()
    for top in range(0, sheet.shape[0], px(4)):
        cv2.line(sheet, (0, top), (sheet.shape[1] // 2, sheet.shape[0] - top), 200, 2, cv2.LINE_AA)
    assert judged(scanned(sheet)) != "blank"


def test_white_writing_on_black_is_not_blank() -> None:
    assert judged(scanned(255 - write(empty(), "negative", left_mm=50, top_mm=90))) == "content"
    assert judged(scanned(255 - letter(empty()))) == "content"


def test_a_highlighter_stroke_on_an_empty_side_is_not_surely_blank() -> None:
    page = np.stack([scanned(empty())] * 3, axis=-1)
    page[px(80) : px(84), px(50) : px(90), 2] //= 2  # yellow: as bright as the paper but for its blue
    assert judged(page) != "blank"


def test_a_photograph_is_content() -> None:
    sheet = scanned(empty())
    rows, cols = np.mgrid[0 : px(150), 0 : px(150)]
    sheet[px(40) : px(190), px(30) : px(180)] = 60 + 60 * np.sin(rows / 70) * np.cos(cols / 50) + 60
    assert judged(sheet) == "content"


@pytest.mark.parametrize("size_pt", [12, 14])
def test_a_lone_full_stop_in_black_is_not_taken_for_dust(size_pt: int) -> None:
    sheet = Paper(DPI, LETTER_MM)
    sheet.line(100, 140, ".", Face.SERIF, size_pt)
    page = scanner.scanned(DrawnPage(pixels=sheet.pixels(), dpi=DPI), tint=235, blur_mm=0.05, noise_levels=2.0)
    assert blank(page.image(), Settings()).readings["blank.verdict"] == "maybe"


def test_in_black_and_white_a_speck_as_dark_as_print_leaves_the_side_blank() -> None:
    pixels = np.ones((px(279), px(216)), dtype=np.bool_)
    pixels[px(140) : px(140.4), px(100) : px(100.4)] = False
    assert blank(PageImage(pixels=pixels, dpi=DPI), Settings()).readings["blank.verdict"] == "blank"


def test_specks_in_a_row_may_be_small_print() -> None:
    sheet = empty()
    for place in range(12):
        cv2.circle(sheet, (px(60 + place * 1.1), px(100)), 1, 60, -1)
    assert judged(scanned(sheet)) != "blank"


@pytest.mark.parametrize("text", ["O", "8", "B", "0", "H", "D"])
def test_two_bold_letters_in_line_are_not_taken_for_holes(text: str) -> None:
    sheet = empty()
    for top_mm in (99.7, 179.7):
        cv2.putText(sheet, text, (px(10), px(top_mm)), cv2.FONT_HERSHEY_SIMPLEX, 1.8, 0, 8, cv2.LINE_AA)
    assert judged(scanned(sheet)) == "content"
    assert judged(sheet > 128) == "content"


def rings(*tops_mm: float, left_mm: float = 12.0, radius_mm: float = 3.0) -> Grey:
    sheet = empty()
    for top_mm in tops_mm:
        cv2.circle(sheet, (px(left_mm), px(top_mm)), px(radius_mm), 150, 2, cv2.LINE_AA)
    return sheet


def verdict_of(sheet: Grey) -> object:
    return blank(PageImage(pixels=scanned(sheet), dpi=DPI), Settings()).readings["blank.verdict"]


@pytest.mark.parametrize("tops_mm", [(100.0, 180.0), (105.0, 175.0), (31.7, 139.7, 247.7)])
def test_rims_of_holes_over_a_white_lid_leave_a_side_empty(tops_mm: tuple[float, ...]) -> None:
    assert verdict_of(rings(*tops_mm)) == "blank"


def test_circles_that_no_punch_makes_are_content() -> None:
    assert verdict_of(rings(140.0)) == "content"
    assert verdict_of(rings(100.0, 150.0)) == "content"  # too close together
    assert verdict_of(rings(100.0, 180.0, left_mm=60.0)) == "content"  # too far from the edge
    assert verdict_of(rings(100.0, 180.0, radius_mm=7.0)) == "content"  # too large


def test_a_circle_with_a_digit_in_it_is_no_hole() -> None:
    sheet = rings(100.0, 180.0)
    assert verdict_of(write(sheet, "1", left_mm=11, top_mm=98.5, height_mm=3)) == "content"


def test_a_single_round_spot_is_not_surely_a_hole() -> None:
    grey = scanned(empty())
    cv2.circle(grey, (px(12), px(140)), px(3), 10, -1)
    assert judged(grey) == "maybe"


def test_a_scrap_or_a_senseless_resolution_is_never_surely_blank() -> None:
    for shape in ((1, 1), (1, 2000), (60, 80)):
        for dpi in (1.0, 150.0, 2400.0):
            assert judged(np.full(shape, 255, np.uint8), dpi=dpi) != "blank" or min(shape) / dpi * 25.4 >= 45
            assert judged(np.zeros(shape, np.bool_), dpi=dpi) != "blank"
    assert judged(scanned(WRITTEN["a page number"](0)), dpi=1200) != "blank"


def test_an_empty_side_of_unsure_size_is_not_surely_blank() -> None:
    page = PageImage(pixels=scanned(empty()), dpi=DPI, readings={"read.dpi_source": "guessed"})
    assert blank(page, Settings()).readings["blank.verdict"] == "maybe"


def test_pixels_are_never_touched_and_the_reason_is_told() -> None:
    sides: list[Pixels] = [scanned(empty()), scanned(empty()) > 128, coloured(scanned(letter(empty())))]
    for pixels in sides:
        before = pixels.copy()
        page = blank(PageImage(pixels=pixels, dpi=DPI), Settings())
        assert page.pixels is pixels
        assert np.array_equal(before, pixels)
        assert page.readings["blank.reason"]
        assert isinstance(page.readings["blank.marks"], int)


@settings(max_examples=25, deadline=None)
@given(
    left_mm=st.floats(2, 205),
    top_mm=st.floats(2, 270),
    digit=st.sampled_from("023456789AJX"),
    height_mm=st.floats(1.8, 6),
    ink=st.integers(0, 195),
    seed=st.integers(0, 99),
)
def test_one_letter_anywhere_keeps_a_side_from_being_blank(
    left_mm: float, top_mm: float, digit: str, height_mm: float, ink: int, seed: int
) -> None:
    sheet = write(empty(), digit, left_mm=left_mm, top_mm=top_mm, height_mm=height_mm, ink=ink)
    assert judged(scanned(sheet, seed=seed)) != "blank"


@pytest.mark.real
def test_no_real_page_is_called_blank(real_scans: Path) -> None:
    pages = [
        path
        for folder in ("ocr-truth", "borders-holes", "skew", "binarise")
        for path in sorted((real_scans / folder).rglob("*"))
        if path.suffix in {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
    ]
    assert len(pages) > 50
    for path in pages:
        with Image.open(path) as file:
            grey = np.asarray(file.convert("L"))
        assert judged(grey, dpi=300.0 if max(grey.shape) > 2000 else 150.0) == "content", path.name
        assert judged(grey > 128, dpi=300.0 if max(grey.shape) > 2000 else 150.0) == "content", path.name
