"""What the maps of both sides of a sheet may prove, and what they must not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fixtures import pages, scanner
from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.scanner import scanned
from fixtures.typefaces import Face
from stages.blank import Settings, blank
from stages.bleed_through import SOFT_MARKS, proved_blank
from stages.page_image import PageImage, Reading
from stages.sheets import LETTER_MM

DPI = 150.0
Readings = Mapping[str, Reading]


def read(page: PageImage) -> Readings:
    return blank(page, Settings()).readings


def front(*, seed: int = 1, kind: Callable[..., DrawnPage] = pages.letter) -> DrawnPage:
    return kind(seed=seed, dpi=DPI)


def front_readings(page: DrawnPage, *, turns: int = 0) -> Readings:
    image = scanned(page, tint=235, blur_mm=0.08, noise_levels=1.5).image()
    return read(PageImage(pixels=np.ascontiguousarray(np.rot90(image.pixels, turns)), dpi=DPI))


def back_readings(
    through: DrawnPage, *, text: str = "", pale: int = 0, place_mm: tuple[float, float] = (60, 100), seed: int = 9
) -> Readings:
    sheet = Paper(DPI, LETTER_MM)
    if text:
        sheet.line(*place_mm, text, Face.SANS, 10, ink=pale)
    back = DrawnPage(pixels=sheet.pixels(), dpi=DPI)
    look = {"tint": 235, "blur_mm": 0.08, "noise_levels": 1.5, "skew_deg": 0.2}
    return read(scanned(back, bleed_through_of=through, bleed_depth=0.15, seed=seed, **look).image())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [pages.letter, pages.typescript])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_an_empty_back_is_blank_if_all_it_shows_is_its_front(
    kind: Callable[..., DrawnPage], turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "BLEED_BLUR_MM", 0.35)  # through thin paper single letters look like writing
    page = front(kind=kind)
    back = back_readings(page)
    assert back["blank.verdict"] == "maybe"
    assert proved_blank(back, front_readings(page, turns=turns))


@pytest.mark.parametrize("text", ["7", "see file 47/B"])
@pytest.mark.parametrize("pale", [0, 190, 215])
@pytest.mark.parametrize("place_mm", [(60.0, 100.0), (150.0, 262.0)])
def test_a_back_that_bears_a_word_is_never_proved_blank(text: str, pale: int, place_mm: tuple[float, float]) -> None:
    page = front(kind=pages.typescript)
    assert not proved_blank(back_readings(page, text=text, pale=pale, place_mm=place_mm), front_readings(page))


def test_the_front_of_another_sheet_proves_nothing() -> None:
    back = back_readings(front(seed=1, kind=pages.typescript))
    assert back["blank.reason"] == SOFT_MARKS
    for kind in (pages.letter, pages.typescript, pages.form):
        other = front_readings(front(seed=2, kind=kind))
        assert not proved_blank(back, other)


def test_only_soft_marks_and_a_written_front_can_prove_anything() -> None:
    page = front(kind=pages.typescript)
    back, written = back_readings(page), front_readings(page)
    assert proved_blank(back, written)
    for change in (
        {"blank.verdict": "content"},
        {"blank.reason": "marks among ink showing through, and no darker"},
        {"blank.ink_map": ""},
    ):
        assert not proved_blank({**back, **change}, written)
    assert not proved_blank(back, {**written, "blank.verdict": "maybe"})
    assert not proved_blank(back, {**written, "blank.ink_map": ""})
    assert not proved_blank(back, {})


def test_the_map_is_small_and_left_away_where_the_size_is_unsure() -> None:
    page = front()
    assert 100 < len(str(front_readings(page)["blank.ink_map"])) < 6000
    guessed = PageImage(pixels=page.pixels, dpi=DPI, readings={"read.dpi_source": "guessed"})
    assert read(guessed)["blank.ink_map"] == ""
