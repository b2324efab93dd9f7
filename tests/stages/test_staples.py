"""The marks of staples: taken off where both sides of the sheet have them, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from fixtures import pages
from fixtures.pages import DrawnPage
from fixtures.paper import Face, Paper
from fixtures.scanner import scanned
from stages.blank import Settings, blank, proved_blank
from stages.page_image import MM_PER_INCH, PageImage
from stages.sheets import LETTER_MM
from stages.staples import without_staples

DPI = 200.0
Stroke = tuple[float, float, float, float]  # from x, y to x, y in mm

STAPLE: Stroke = (14.0, 12.0, 24.0, 14.0)


def mirrored(stroke: Stroke) -> Stroke:
    """Seen from the other side of a sheet that is turned over its long side."""
    x0, y0, x1, y1 = stroke
    return LETTER_MM[0] - x0, y0, LETTER_MM[0] - x1, y1


def over(stroke: Stroke) -> Stroke:
    """Seen from the other side of a sheet that is turned over its short side, and stood upright again."""
    x0, y0, x1, y1 = stroke
    return x0, LETTER_MM[1] - y0, x1, LETTER_MM[1] - y1


def side(
    drawn: DrawnPage,
    strokes: Sequence[Stroke],
    *,
    seed: int = 1,
    skew_deg: float = 0.0,
    level: int = 110,
    **look: object,
) -> PageImage:
    pixels = drawn.pixels.copy()
    for x0, y0, x1, y1 in strokes:
        start, end = ((round(x * DPI / MM_PER_INCH), round(y * DPI / MM_PER_INCH)) for x, y in ((x0, y0), (x1, y1)))
        cv2.line(pixels, start, end, color=(level,), thickness=round(0.5 * DPI / MM_PER_INCH))
    marked = DrawnPage(pixels=np.minimum(pixels, drawn.pixels), dpi=DPI)
    return scanned(marked, seed=seed, skew_deg=skew_deg, noise_levels=3.0, tint=240, **look).image()  # type: ignore[arg-type]


def front(*strokes: Stroke, skew_deg: float = 0.25) -> PageImage:
    return side(pages.letter(seed=4, dpi=DPI), strokes, seed=2, skew_deg=skew_deg)


def back(*strokes: Stroke, **look: object) -> PageImage:
    return side(pages.blank(dpi=DPI), strokes, skew_deg=-0.2, **look)


@pytest.mark.parametrize("turned_over", [mirrored, over])
def test_an_empty_back_with_a_staple_that_the_front_has_too_is_blank(turned_over: object) -> None:
    page = back(STAPLE)
    assert blank(page, Settings()).readings["blank.verdict"] == "content", "by itself it is a dash"
    assert proved_blank(page, front(turned_over(STAPLE)))  # type: ignore[operator]


def test_two_staples_and_print_that_shows_through_are_taken_off_together() -> None:
    second: Stroke = (14.0, 262.0, 24.0, 260.0)
    printed = pages.letter(seed=4, dpi=DPI)
    page = back(STAPLE, second, bleed_through_of=printed)
    assert proved_blank(page, front(mirrored(STAPLE), mirrored(second)))


@pytest.mark.parametrize(
    "there",
    [
        pytest.param((), id="on one side alone"),
        pytest.param((STAPLE,), id="not mirrored"),
        pytest.param((mirrored((14.0, 12.0, 21.0, 13.4)),), id="shorter"),
        pytest.param((mirrored((14.0, 12.0, 24.0, 10.0)),), id="of another slope"),
        pytest.param((mirrored((20.0, 16.0, 30.0, 18.0)),), id="elsewhere"),
    ],
)
def test_a_dash_that_the_front_does_not_have_in_that_place_is_somebodys(there: tuple[Stroke, ...]) -> None:
    assert without_staples(back(STAPLE), front(*there)) is None
    assert not proved_blank(back(STAPLE), front(*there))


def test_strokes_away_from_the_corners_and_of_other_sizes_are_no_staples() -> None:
    for stroke in ((100.0, 130.0, 110.0, 132.0), (14.0, 12.0, 34.0, 14.0), (14.0, 12.0, 18.0, 13.0)):
        assert without_staples(back(stroke), front(mirrored(stroke))) is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("text", ["7", "see 47/B", "paid", "."])
def test_whatever_is_written_beside_a_staple_stays(text: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    paper = Paper(DPI, LETTER_MM)
    at_mm = float(random.uniform(12, 60)), float(random.uniform(8, 60))
    # a stop is as dark as print, or it is dust; words may be faint
    ink = 0 if text == "." else int(random.choice((0, 120, 190)))
    paper.line(*at_mm, text, Face.TYPEWRITER, 14.0, ink=ink)
    written = side(DrawnPage(pixels=paper.pixels(), dpi=DPI), [STAPLE], seed=seed)
    assert not proved_blank(written, front(mirrored(STAPLE)))


def test_a_mark_is_painted_over_and_nothing_but_it() -> None:
    page = front(STAPLE, skew_deg=0.0)
    rest = without_staples(page, back(mirrored(STAPLE)))
    assert rest is not None
    rows, cols = np.nonzero(rest.pixels != page.pixels)
    mm = page.px(1.0)
    assert 12.0 < cols.min() / mm < 14.5 and 23.5 < cols.max() / mm < 26.0
    assert 10.0 < rows.min() / mm < 12.5 and 13.5 < rows.max() / mm < 16.0
    x, y = round(19.0 * mm), round(13.0 * mm)
    assert page.pixels[y, x] < 150 < 220 < rest.pixels[y, x]


def test_colour_and_black_and_white_pages_are_painted_in_their_own_paper() -> None:
    grey = back(STAPLE)
    colour = PageImage(pixels=np.stack([grey.pixels, grey.pixels, grey.pixels // 2], axis=2), dpi=DPI)
    bitonal = PageImage(pixels=grey.pixels > 150, dpi=DPI)
    x, y = round(19.0 * grey.px(1.0)), round(13.0 * grey.px(1.0))
    for page in (colour, bitonal):
        rest = without_staples(page, front(mirrored(STAPLE)))
        assert rest is not None
        far = page.pixels[y + 100, x]
        assert np.allclose(np.asarray(rest.pixels[y, x], float), np.asarray(far, float), atol=12)
