"""Whether two pages are one sheet: maps tell most apart, the print tells the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures import pages
from fixtures.pages import DrawnPage
from fixtures.scanner import scanned
from stages.blank import Settings as BlankSettings
from stages.blank import blank
from stages.crop import Settings as CropSettings
from stages.crop import crop
from stages.deskew import Settings as DeskewSettings
from stages.deskew import deskew
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.same_sheet import is_same_print, is_same_sheet
from tests.whole.home import drop_small_pages


def level(sheet: DrawnPage, *, skew_deg: float, seed: int) -> PageImage:
    scan = scanned(
        sheet, skew_deg=skew_deg, noise_levels=5.0, speckle_fraction=0.0003, lid="black", border_mm=8.0, seed=seed
    ).image()
    return deskew(crop(scan, CropSettings()), DeskewSettings(max_angle_deg=20.0))


@pytest.mark.parametrize("kind", ["letter", "form", "ruled_table", "typescript"])
def test_the_print_of_a_sheet_scanned_twice_is_the_same_and_that_of_its_like_is_not(kind: str) -> None:
    sheet, like = (getattr(pages, kind)(seed=seed, dpi=150.0) for seed in (1, 2))
    once, again = (level(sheet, skew_deg=skew, seed=seed) for seed, skew in enumerate((1.3, -0.8)))
    other = level(like, skew_deg=0.4, seed=9)
    assert is_same_print(once, again) and is_same_print(again, once)
    assert not is_same_print(once, other) and not is_same_print(other, again)


def test_pages_of_one_layout_with_other_words_are_told_apart_by_their_print(tmp_path: Path) -> None:
    drop_small_pages(tmp_path / "box", 4)
    scans = [read_page(path, 0, ReadSettings()) for path in sorted((tmp_path / "box").iterdir())]
    maps = [blank(scan, BlankSettings()).readings["blank.ink_map"] for scan in scans]
    assert is_same_sheet(maps[0], maps[3]), "the maps are too coarse for it"
    assert not is_same_print(scans[0], scans[3])
    assert is_same_print(scans[0], scans[0])


def test_what_stands_on_one_page_alone_makes_it_another() -> None:
    letter = pages.letter(seed=3, dpi=150.0)
    more = DrawnPage(pixels=letter.pixels.copy(), dpi=letter.dpi)
    more.pixels[1200:1215, 200:260] = 0
    one, other = (level(sheet, skew_deg=0.3, seed=4) for sheet in (letter, more))
    assert not is_same_print(one, other) and not is_same_print(other, one)


def test_pages_without_print_are_nobodys_likeness() -> None:
    empty = scanned(pages.blank(dpi=150.0), seed=2).image()
    assert not is_same_print(empty, empty)
