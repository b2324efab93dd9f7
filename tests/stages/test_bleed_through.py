"""What both sides of a sheet may prove of one of them, and what they must not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fixtures import pages
from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import Hole, scanned
from fixtures.typefaces import Face
from stages.blank import Settings, blank, proved_blank
from stages.bleed_through import may_show_through
from stages.page_image import PageImage
from stages.sheets import LETTER_MM

DPI = 150.0
LOOK = {"tint": 235, "blur_mm": 0.06, "noise_levels": 1.5}
Writing = Callable[[Paper], None]


def front(*, seed: int = 1, kind: Callable[..., DrawnPage] = pages.letter) -> DrawnPage:
    return kind(seed=seed, dpi=DPI)


def seen(sheet: DrawnPage, *, skew_deg: float = -0.2, seed: int = 3) -> PageImage:
    return scanned(sheet, skew_deg=skew_deg, seed=seed, **LOOK).image()  # type: ignore[arg-type]


def back(
    through: DrawnPage | None, write: Writing | None = None, *, bleed_depth: float = 0.15, unevenness: float = 0.0,
    speckle_fraction: float = 0.0, holes: tuple[Hole, ...] = (),
) -> PageImage:  # fmt: skip
    sheet = Paper(DPI, LETTER_MM)
    if write is not None:
        write(sheet)
    drawn = DrawnPage(pixels=sheet.pixels(), dpi=DPI)
    return scanned(
        drawn, bleed_through_of=through, bleed_depth=bleed_depth, bleed_unevenness=unevenness, skew_deg=0.3, seed=9,
        speckle_fraction=speckle_fraction, holes=holes, **LOOK,
    ).image()  # type: ignore[arg-type]  # fmt: skip


def turned(page: PageImage, turns: int) -> PageImage:
    return PageImage(pixels=np.ascontiguousarray(np.rot90(page.pixels, turns)), dpi=page.dpi)


@pytest.mark.parametrize("kind", [pages.letter, pages.typescript, pages.two_columns, pages.form, pages.ruled_table])
@pytest.mark.parametrize("bleed_depth", [0.06, 0.2])
def test_an_empty_back_is_blank_if_all_it_shows_is_its_front(
    kind: Callable[..., DrawnPage], bleed_depth: float
) -> None:
    page = front(kind=kind)
    side = back(page, bleed_depth=bleed_depth)
    assert blank(side, Settings()).readings["blank.verdict"] != "blank"
    assert proved_blank(side, seen(page))


def test_paper_may_be_uneven() -> None:
    page = front(kind=pages.typescript)
    assert proved_blank(back(page, unevenness=0.1), seen(page))


@pytest.mark.parametrize("turns", [1, 2])
def test_it_does_not_matter_how_the_sides_were_turned(turns: int) -> None:
    page = front(seed=4)
    assert proved_blank(back(page), turned(seen(page), turns))


def test_both_sides_may_be_of_other_resolutions_and_in_colour() -> None:
    page = front(seed=2)
    side, other = back(page).pixels, seen(page).pixels
    colour = PageImage(pixels=np.stack((side,) * 3, axis=2), dpi=DPI)
    finer = PageImage(pixels=np.kron(other, np.ones((2, 2), np.uint8)), dpi=2 * DPI)
    coarser = PageImage(pixels=cv2.resize(other, None, fx=2 / 3, fy=2 / 3, interpolation=cv2.INTER_AREA), dpi=100.0)
    assert proved_blank(colour, finer)
    assert proved_blank(colour, coarser)


def _line(text: str, ink: int, place_mm: tuple[float, float] = (60, 100), size_pt: float = 10) -> Writing:
    return lambda sheet: sheet.line(*place_mm, text, Face.SANS, size_pt, ink=ink)


def _tick(thick_mm: float) -> Writing:
    return lambda sheet: sheet.stroke([(70, 90), (71, 91.5), (73, 88)], thick_mm=thick_mm)


WRITTEN: dict[str, Writing] = {
    "page number": _line("- 7 -", 0, (100, 260)),
    "pale page number": _line("7", 190, (150, 262)),
    "number hardly paler than its paper": _line("624", 222, (60, 60), 12),
    "note": _line("see file 47/B", 215),
    "faint typed line": lambda sheet: sheet.line(
        30, 120, "and was returned to the county clerk", Face.TYPEWRITER, 12, ink=205
    ),
    "full stop": _line(".", 0, (80, 130), 8),
    "pencil tick": _tick(0.3),
    "signature over print": lambda sheet: sheet.signature(60, 110, Prose(3)),
    "rule": lambda sheet: sheet.rule(40, 130, 30, thick_mm=0.2),
    "stamp": lambda sheet: sheet.circle(100, 120, 17, thick_mm=0.6),
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("bleed_depth", [0.08, 0.25])
def test_a_back_that_bears_anything_is_never_proved_blank(name: str, bleed_depth: float) -> None:
    page = front(kind=pages.typescript)
    assert not proved_blank(back(page, WRITTEN[name], bleed_depth=bleed_depth), seen(page))


def test_the_print_of_another_sheet_proves_nothing() -> None:
    side = back(front(seed=1, kind=pages.typescript))
    for kind in (pages.letter, pages.typescript, pages.form):
        assert not proved_blank(side, seen(front(seed=2, kind=kind)))


def test_what_shows_through_of_the_next_sheet_too_is_not_explained_by_the_front() -> None:
    own, following = front(seed=1, kind=pages.typescript), front(seed=5)
    both = DrawnPage(pixels=np.minimum(own.pixels, 255 - (255 - following.pixels[:, ::-1]) // 2), dpi=DPI)
    assert not proved_blank(back(both), seen(own))


@pytest.mark.parametrize("contrast", [1.0, 0.3])
def test_a_form_printed_on_both_sides_whose_lines_fall_on_each_other_is_not_blank(contrast: float) -> None:
    """The same empty form on both sides, symmetrical, so that each side's lines lie on the other's, mirrored."""
    sheet = Paper(DPI, LETTER_MM)
    for row in range(12):
        sheet.rule(30, 40 + 15 * row, LETTER_MM[0] - 60, thick_mm=0.4)
    form = DrawnPage(pixels=np.minimum(sheet.pixels(), sheet.pixels()[:, ::-1]), dpi=DPI)
    for column in (30, 108, 186):
        x = round(column * DPI / 25.4)
        form.pixels[round(40 * DPI / 25.4) : round(205 * DPI / 25.4), x : x + 3] = 0
    filled = Paper(DPI, LETTER_MM)
    for row in range(10):
        filled.line(40, 43 + 15 * row, "entered by hand", Face.SERIF_ITALIC, 14)
    written = DrawnPage(pixels=np.minimum(form.pixels, filled.pixels()), dpi=DPI)
    printed = scanned(form, contrast=contrast, skew_deg=0.2, **LOOK).image()  # type: ignore[arg-type]
    for other in (form, written):
        assert not proved_blank(printed, seen(other))


def test_a_page_is_not_explained_by_its_own_mirror_image_printed_pale_and_sharp() -> None:
    page = front(seed=6)
    mirrored = DrawnPage(pixels=np.ascontiguousarray(page.pixels[:, ::-1]), dpi=DPI)
    pale = scanned(mirrored, contrast=0.3, tint=235, noise_levels=1.5).image()
    assert not proved_blank(pale, seen(page))


def test_dust_between_lines_that_show_through_is_for_people() -> None:
    page = front(kind=pages.typescript)
    assert not proved_blank(back(page, speckle_fraction=0.00002), seen(page))


def test_in_black_and_white_nothing_is_faint_enough_to_be_proved() -> None:
    page = front(kind=pages.typescript)
    side = back(page)
    assert not proved_blank(PageImage(pixels=np.asarray(side.pixels) > 200, dpi=DPI), seen(page))


def test_the_maps_tell_which_sheets_are_worth_a_look() -> None:
    page, another = front(seed=1), front(seed=2, kind=pages.drawing)
    side, own, other, empty = (
        blank(each, Settings()).readings for each in (back(page), seen(page), seen(another), back(None))
    )
    assert may_show_through(side, own)
    assert not may_show_through(side, other)
    assert not may_show_through(side, {**own, "blank.ink_map": ""})
    assert not may_show_through(empty, own)


def test_the_map_is_small_and_left_away_where_the_size_is_unsure() -> None:
    page = front()
    assert 100 < len(str(blank(seen(page), Settings()).readings["blank.ink_map"])) < 6000
    guessed = PageImage(pixels=page.pixels, dpi=DPI, readings={"read.dpi_source": "guessed"})
    assert blank(guessed, Settings()).readings["blank.ink_map"] == ""
