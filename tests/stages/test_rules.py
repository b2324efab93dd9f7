"""Lines of crowded grids go from the copy that is read; letters that touch them stay; all else is left alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fixtures.pages import DrawnPage, drawing, form, letter, photo_page, typescript
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import scanned
from fixtures.typefaces import Face
from stages.page_image import PageImage
from stages.rules import Settings, rules

Grey = npt.NDArray[np.uint8]

SIZE_MM = (150.0, 110.0)


def layers(*, row_mm: float = 5.2, sink_mm: float = 0.0, dpi: float = 300.0) -> tuple[Grey, Grey]:
    """A table: its lines, and its letters with descenders that cross them."""
    lines, letters, prose = Paper(dpi, SIZE_MM), Paper(dpi, SIZE_MM), Prose(5)
    left, widths, count = 8.0, (44.0, 50.0, 38.0), int(90 / row_mm)
    for row in range(count):
        lines.rule(left, 8 + row * row_mm, sum(widths), thick_mm=0.25)
        cells = (prose.date(), prose.item(), prose.amount())
        letters.row(left + 1.2, 8 + (row + 1) * row_mm - 3.9 + sink_mm, widths, cells, Face.SANS, 10)
    lines.rule(left, 8 + count * row_mm, sum(widths), thick_mm=0.25)
    x = left
    for width in (*widths, 0.0):
        lines.upright_rule(x, 8, count * row_mm, thick_mm=0.25)
        x += width
    return lines.pixels(), letters.pixels()


def scan(pixels: Grey, *, skew_deg: float = 0.0, dpi: float = 300.0) -> Grey:
    drawn = DrawnPage(pixels=pixels, dpi=dpi)
    return scanned(drawn, skew_deg=skew_deg, blur_mm=0.06, noise_levels=3, tint=245, seed=2).pixels


@pytest.mark.parametrize("bitonal", [False, True], ids=["grey", "bitonal"])
# where descenders reach into the lines, what lies inside the line alone cannot be told from it
@pytest.mark.parametrize(("sink_mm", "most_lost"), [(-0.6, 0.0005), (0.4, 0.004)])
@pytest.mark.parametrize("skew_deg", [0.0, 0.08])
def test_the_lines_of_a_table_go_and_its_letters_stay(
    bitonal: bool, sink_mm: float, most_lost: float, skew_deg: float
) -> None:
    lines, letters = (scan(layer, skew_deg=skew_deg) < 128 for layer in layers(sink_mm=sink_mm))
    pixels = scan(np.minimum(*layers(sink_mm=sink_mm)), skew_deg=skew_deg)
    page = PageImage(pixels=pixels > 150 if bitonal else pixels, dpi=300.0)
    cleaned = rules(page, Settings())
    assert cleaned.readings["rules.declined"] is None
    assert cleaned.pixels.shape == page.pixels.shape and cleaned.is_bitonal == bitonal
    before, after = page.grey() < 150, cleaned.grey() < 150
    apart = lines & (cv2.dilate(letters.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0)
    assert (before & apart).sum() > 0.9 * apart.sum(), "there were lines"
    assert (after & apart).sum() <= 0.01 * apart.sum()
    assert (letters & before & ~after).sum() <= most_lost * letters.sum()


def test_nothing_is_ever_drawn() -> None:
    pixels = scan(np.minimum(*layers()))
    cleaned = rules(PageImage(pixels=pixels, dpi=300.0), Settings())
    assert int((pixels.astype(int) - cleaned.grey()).max()) <= 15, "only paper's own grain may come out darker"


def test_boxes_for_single_letters_lose_their_uprights() -> None:
    lines = Paper(300.0, SIZE_MM)
    for row in range(8):
        lines.frame(10, 10 + 11 * row, 125, 6.5, thick_mm=0.2)
        for column in range(1, 25):
            lines.upright_rule(10 + 5 * column, 10 + 11 * row, 6.5, thick_mm=0.2)
    page = PageImage(pixels=scan(lines.pixels()), dpi=300.0)
    cleaned = rules(page, Settings())
    assert (cleaned.grey() < 150).sum() <= 0.01 * (page.grey() < 150).sum()


@pytest.mark.parametrize("draw", [letter, typescript, form, drawing, photo_page])
def test_what_is_no_crowded_grid_is_left_as_it_is(draw: Callable[..., DrawnPage]) -> None:
    page = PageImage(pixels=draw(seed=4, dpi=200.0).pixels, dpi=200.0)
    cleaned = rules(page, Settings())
    assert cleaned.readings["rules.declined"] in ("no-grid", "roomy")
    assert cleaned.pixels is page.pixels


def test_a_roomy_table_is_left_as_it_is_unless_asked() -> None:
    page = PageImage(pixels=scan(np.minimum(*layers(row_mm=11.0))), dpi=300.0)
    assert rules(page, Settings()).readings["rules.declined"] == "roomy"
    assert rules(page, Settings(max_spacing_mm=12.0)).readings["rules.declined"] is None


def test_a_table_that_leans_is_left_as_it_is() -> None:
    page = PageImage(pixels=scan(np.minimum(*layers()), skew_deg=0.3), dpi=300.0)
    cleaned = rules(page, Settings())
    assert cleaned.pixels is page.pixels
    assert cleaned.readings["rules.declined"] == "skewed"
    assert cleaned.readings["rules.skew_deg"] == pytest.approx(0.3, abs=0.05)


def test_a_second_pass_finds_nothing_more_to_take() -> None:
    once = rules(PageImage(pixels=scan(np.minimum(*layers())), dpi=300.0), Settings())
    twice = rules(once, Settings())
    assert (once.grey() != twice.grey()).mean() <= 0.0001


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (400, 2), (30, 30)])
@pytest.mark.parametrize("dpi", [10.0, 300.0, 3000.0])
def test_slivers_and_wrong_resolutions_pass_unharmed(shape: tuple[int, int], dpi: float) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    page = PageImage(pixels=pixels, dpi=dpi)
    assert rules(page, Settings()).pixels is page.pixels
