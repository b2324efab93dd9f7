"""The colour of a form goes from the copy that is read; what people wrote stays, and nothing goes unnoticed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import scanned
from fixtures.typefaces import Face
from pipeline.profile import BadProfile, profile_from_document
from stages.dropout import Settings, dropout
from stages.page_image import PageImage
from stages.sheets import LETTER_MM

Grey = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

RED: Colour = (215, 60, 60)
PALE_RED: Colour = (235, 130, 120)
GREEN: Colour = (60, 160, 90)
BLUE: Colour = (80, 120, 215)
BLACK: Colour = (35, 35, 38)
DARK_BLUE: Colour = (30, 45, 120)
PENCIL: Colour = (120, 120, 122)
RED_PEN: Colour = (190, 40, 45)
PAPER: Colour = (246, 241, 230)


def form_layer(*, rows: int = 18) -> Grey:
    """Frames with printed names, all over the sheet."""
    sheet = Paper(200.0, LETTER_MM)
    for row in range(rows):
        for column in range(3):
            sheet.frame(18 + 60 * column, 20 + 13 * row, 60, 13)
            sheet.line(19 + 60 * column, 20.5 + 13 * row, "Name and place of birth", Face.SANS, 7)
    return sheet.pixels()


def entries_layer(*, signed: bool = False) -> Grey:
    """Typed entries, some of them across the lines, or nothing but a signature."""
    sheet, prose = Paper(200.0, LETTER_MM), Prose(3)
    if signed:
        sheet.signature(30, 120, prose)
        return sheet.pixels()
    for row in range(18):
        sheet.line(22, 26.5 + 13 * row, f"{prose.person()}, {prose.address()}, {prose.town()}", Face.MONO, 11)
    return sheet.pixels()


def scan_of(*layers: tuple[Grey, Colour]) -> PageImage:
    sheet = np.full((*layers[0][0].shape, 3), PAPER, np.float32)
    for layer, colour in layers:
        cover = (1 - layer / np.float32(255))[..., None]
        sheet = sheet * (1 - cover) + sheet / 255 * np.array(colour, np.float32) * cover
    drawn = DrawnPage(pixels=sheet.round().astype(np.uint8), dpi=200.0)
    return PageImage(pixels=scanned(drawn, blur_mm=0.07, noise_levels=4, seed=1).pixels, dpi=200.0)


def depth(grey: Grey) -> npt.NDArray[np.float64]:
    return np.median(grey[::8, ::8]) - grey.astype(np.float64)


@pytest.mark.parametrize(
    ("hue", "form_colour"), [("red", RED), ("red", PALE_RED), ("green", GREEN), ("blue", BLUE), ("auto", RED)]
)
@pytest.mark.parametrize("ink", [BLACK, PENCIL])
def test_the_form_goes_and_the_writing_stays(hue: str, form_colour: Colour, ink: Colour) -> None:
    form, entries = form_layer(), entries_layer()
    page = scan_of((form, form_colour), (entries, ink))
    dropped = dropout(page, Settings.model_validate({"hue": hue}))
    assert dropped.readings["dropout.declined"] is None
    before, after = depth(page.grey()), depth(dropped.grey())
    written = entries < 100
    apart = (form < 100) & (cv2.dilate(written.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0)
    assert (before[apart] > 30).mean() > 0.9, "there was a form"
    assert (after[apart] > 30).mean() <= 0.001
    deep = written & (before > 30)
    assert (after[deep] > before[deep] / 2).mean() >= 0.97


def test_dark_blue_ink_stays_on_a_red_form() -> None:
    entries = entries_layer()
    page = scan_of((form_layer(), RED), (entries, DARK_BLUE))
    before, after = depth(page.grey()), depth(dropout(page, Settings(hue="red")).grey())
    deep = (entries < 100) & (before > 30)
    assert (after[deep] > before[deep] / 2).mean() >= 0.99


def test_a_signature_in_the_forms_colour_is_kept_and_reported() -> None:
    signature = entries_layer(signed=True)
    page = scan_of((form_layer(), RED), (entries_layer(), BLACK), (signature, RED_PEN))
    dropped = dropout(page, Settings(hue="red"))
    kept_mm2 = dropped.readings["dropout.writing_kept_mm2"]
    assert isinstance(kept_mm2, float) and kept_mm2 > 2
    without = dropout(scan_of((form_layer(), RED), (entries_layer(), BLACK)), Settings(hue="red"))
    assert without.readings["dropout.writing_kept_mm2"] == 0.0
    signed = (signature < 100) & (depth(page.grey()) > 30)
    assert (depth(dropped.grey())[signed] > 30).mean() > 0.5


def test_a_form_with_nothing_on_it_but_its_colour_is_left_whole() -> None:
    page = scan_of((form_layer(), RED))
    dropped = dropout(page, Settings(hue="red"))
    assert dropped.pixels is page.pixels
    assert dropped.readings["dropout.declined"] == "nothing-else"


def test_a_red_stamp_or_a_letterhead_is_no_form() -> None:
    sheet = Paper(200.0, LETTER_MM)
    sheet.circle(150, 60, 15, thick_mm=1.0)
    sheet.line(140, 57, "RECEIVED", Face.SANS_BOLD, 12)
    sheet.line(20, 15, "County Records Office", Face.SANS_BOLD, 20)
    page = scan_of((sheet.pixels(), RED), (entries_layer(), BLACK))
    for hue in ("red", "auto"):
        dropped = dropout(page, Settings.model_validate({"hue": hue}))
        assert dropped.pixels is page.pixels
        assert dropped.readings["dropout.declined"] == "no-form"


def test_without_a_named_colour_text_in_red_is_no_form() -> None:
    page = scan_of((entries_layer(), RED), (form_layer(), BLACK))
    assert dropout(page, Settings()).readings["dropout.declined"] == "no-form"


def test_a_page_without_colour_passes_untouched() -> None:
    for pixels in (form_layer(), form_layer() > 127):
        page = PageImage(pixels=pixels, dpi=200.0)
        dropped = dropout(page, Settings())
        assert dropped.pixels is page.pixels
        assert dropped.readings["dropout.declined"] == "no-colour"


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (300, 2, 3)])
def test_slivers_pass_unharmed(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    page = PageImage(pixels=pixels, dpi=300.0)
    assert dropout(page, Settings()).pixels is page.pixels


@pytest.mark.parametrize("stage", ["dropout", "rules"])
def test_what_takes_print_away_is_refused_for_the_page_that_is_delivered(stage: str) -> None:
    profile = {"name": "forms", "page": [{"stage": stage}], "recognize": [{"stage": "ocr"}]}
    with pytest.raises(BadProfile, match=f"{stage} takes print off the page"):
        profile_from_document(profile, origin="forms.toml")
    profile = {"name": "forms", "page": [], "recognize": [{"stage": stage}, {"stage": "ocr"}]}
    assert profile_from_document(profile, origin="forms.toml").recognize[0].name == stage
