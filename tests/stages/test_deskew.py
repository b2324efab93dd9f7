from __future__ import annotations

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from PIL import Image

from fixtures.typefaces import Face
from stages.deskew import Settings, deskew
from stages.errors import SkewTooLarge
from stages.page_image import PageImage
from stages.skew import skew_of
from tests.stages.drawn_pages import (
    SANS,
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

ANGLES = (-18.7, -9.3, -4.1, -1.5, -0.32, 0.0, 0.11, 0.74, 2.36, 6.5, 12.9, 19.2)


def _angle(page: PageImage) -> float:
    angle = page.readings["deskew.angle_deg"]
    assert isinstance(angle, float)
    return angle


def _ruled(*, gap_px: int = 40) -> Grey:
    page = blank_page()
    for row in range(200, 1450, gap_px):
        cv2.line(page, (120, row), (1150, row), (90,), 2)
    return page


@pytest.mark.parametrize("kind", [grey_page, bitonal_page, colour_page])
@pytest.mark.parametrize("angle_deg", [-7.4, 0.6, 3.3])
def test_a_page_turned_by_a_known_angle_comes_out_level(kind, angle_deg: float) -> None:
    page = kind(turned(text_page(), angle_deg))
    level = deskew(page, Settings())
    assert _angle(level) == pytest.approx(angle_deg, abs=0.05)
    assert level.readings["deskew.turned"] is True
    assert level.pixels.dtype == page.pixels.dtype
    assert level.dpi == page.dpi
    assert abs(skew_of(level).angle_deg) <= 0.03


def test_the_mean_error_is_a_thirtieth_of_a_degree_and_the_worst_a_tenth() -> None:
    errors = [
        abs(skew_of(kind(turned(text_page(seed=seed, lines=lines, font=font), angle))).angle_deg - angle)
        for seed, (angle, kind, lines, font) in enumerate(
            (angle, (grey_page, bitonal_page)[i % 2], (36, 12, 4)[i % 3], (None, SANS)[i % 2] or SANS)
            for i, angle in enumerate(ANGLES)
        )
    ]
    assert float(np.mean(errors)) <= 0.035
    assert max(errors) <= 0.1


def test_one_line_of_text_is_enough() -> None:
    page = words_on(blank_page(), "Received and filed by the clerk of the county on the 12th of May, 1938", (150, 700))
    assert skew_of(grey_page(turned(page, 2.0))).angle_deg == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("angle_deg", [-3.0, 0.8])
def test_white_letters_on_black_are_levelled_as_well(angle_deg: float) -> None:
    page = grey_page(255 - turned(text_page(), angle_deg))
    level = deskew(page, Settings())
    assert _angle(level) == pytest.approx(angle_deg, abs=0.05)
    assert level.pixels[:20, :20].max() < 60, "the corners are filled like their surroundings"


def test_ruled_paper_and_staves_are_levelled_by_their_rules() -> None:
    assert skew_of(grey_page(turned(_ruled(), -2.2))).angle_deg == pytest.approx(-2.2, abs=0.05)


def test_text_that_runs_down_the_page_is_aligned_with_its_columns() -> None:
    sideways = np.ascontiguousarray(np.rot90(turned(text_page(), 1.7)))
    assert skew_of(grey_page(sideways)).angle_deg == pytest.approx(1.7, abs=0.05)


def test_text_decides_and_not_the_edge_of_the_sheet() -> None:
    # printed askew: the text is turned by 1.5 degrees on a sheet that lies at -2
    sheet = turned(text_page(width_px=1100, height_px=1400, lines=28, margin_px=130), 3.5)
    scan, _ = on_lid(sheet, angle_deg=-2.0)
    assert skew_of(grey_page(scan)).angle_deg == pytest.approx(1.5, abs=0.1)


def _music() -> Grey:
    page = blank_page()
    places = np.random.default_rng(4)
    for top in range(150, 1500, 140):
        for row in range(top, top + 60, 12):
            cv2.line(page, (110, row), (1160, row), (90,), 1)
        for x in range(150, 1150, 36):
            y = top + 6 * int(places.integers(0, 9))
            cv2.ellipse(page, (x, y), (8, 6), -20, 0, 360, (30,), -1)
            cv2.line(page, (x + 7, y), (x + 7, y - 40), (30,), 2)
    return page


def test_music_is_levelled_by_its_staves() -> None:
    assert skew_of(grey_page(turned(_music(), 3.4))).angle_deg == pytest.approx(3.4, abs=0.05)


def test_a_drawing_is_levelled_by_its_frame() -> None:
    page = blank_page()
    cv2.rectangle(page, (120, 120), (1150, 1530), (60,), 3)
    places = np.random.default_rng(2)
    for _ in range(6):
        corners = places.integers(200, 1050, (4, 2)).astype(np.int32)
        cv2.polylines(page, [corners], True, (60,), 2, cv2.LINE_AA)
    assert skew_of(grey_page(turned(page, -2.7))).angle_deg == pytest.approx(-2.7, abs=0.1)


@pytest.mark.parametrize("angle_deg", [-6.0, 1.2, 13.0])
@pytest.mark.parametrize("surround", [255, 70, 5])
def test_tinted_paper_on_another_ground_is_levelled_by_its_text(angle_deg: float, surround: int) -> None:
    # the edges of the sheet lie at another angle than its lines, and were once taken for them
    sheet = turned(text_page(width_px=1000, height_px=1250, lines=24, margin_px=120, paper=196), 1.5, surround=196)
    scan, _ = on_lid(sheet, lid=surround, angle_deg=angle_deg - 1.5, left_top=(140, 190))
    assert skew_of(grey_page(scan)).angle_deg == pytest.approx(angle_deg, abs=0.05)


@pytest.mark.parametrize("angle_deg", [-8.3, 2.6])
def test_a_dithered_bilevel_scan_is_levelled(angle_deg: float) -> None:
    page = turned(text_page(paper=190), angle_deg, surround=190)
    noise = np.random.default_rng(3).integers(-90, 90, page.shape)
    assert skew_of(PageImage(pixels=page + noise > 110, dpi=150.0)).angle_deg == pytest.approx(angle_deg, abs=0.05)


@pytest.mark.parametrize("stated_dpi", [72, 300, 400])
def test_a_wrongly_stated_resolution_does_not_hide_the_skew(stated_dpi: float) -> None:
    page = grey_page(turned(text_page(), 4.2), dpi=stated_dpi)
    assert skew_of(page).angle_deg == pytest.approx(4.2, abs=0.1)


def test_the_angle_of_the_sheet_is_told_and_print_that_is_askew_on_it() -> None:
    straight = text_page(width_px=1000, height_px=1300, lines=26, margin_px=130)
    for printed_deg in (0.0, 3.5):
        scan, _ = on_lid(turned(straight, printed_deg), angle_deg=-2.0, left_top=(140, 150))
        readings = deskew(grey_page(scan), Settings()).readings
        assert readings["deskew.sheet_deg"] == pytest.approx(-2.0, abs=0.1)
        assert readings["deskew.printed_askew"] is (printed_deg != 0.0)
    assert deskew(grey_page(straight), Settings()).readings["deskew.sheet_deg"] is None


def _fold() -> Grey:
    page = blank_page()
    cv2.line(page, (100, 1500), (1100, 100), (150,), 2)
    return page


def _steep_folds() -> Grey:
    page = blank_page()
    cv2.line(page, (500, 0), (350, 1650), (170,), 2)
    cv2.line(page, (600, 0), (900, 1650), (175,), 3)
    return page


def _pen_strokes() -> Grey:
    page, places = blank_page(), np.random.default_rng(29)
    for _ in range(38):
        start, end = (tuple(int(v) for v in places.integers(60, 1200, 2)) for _ in range(2))
        cv2.line(page, start, end, (80,), int(places.integers(1, 4)), cv2.LINE_AA)
    return page


def _brush() -> Grey:
    page, places = blank_page(), np.random.default_rng(6)
    for _ in range(12):
        knots = np.cumsum(places.normal(0, 60, (6, 2)), axis=0) + places.integers(200, 1000, 2)
        cv2.polylines(page, [knots.astype(np.int32)], False, (40,), 18, cv2.LINE_AA)
    return page


def _grain() -> Grey:
    grain = cv2.GaussianBlur(np.random.default_rng(8).normal(0, 1, (1650, 1275)).astype(np.float32), (0, 0), 2.5)
    return np.where(grain / grain.std() > 1.2, 60, blank_page()).astype(np.uint8)


def _empty_sheet_on_lid() -> Grey:
    return on_lid(blank_page()[:1350, :1050], angle_deg=4.0, left_top=(110, 150))[0]


def _staple() -> Grey:
    page = blank_page()
    cv2.line(page, (90, 70), (140, 95), (60,), 3)
    return page


def _photo(angle_deg: float) -> Grey:
    page = blank_page()
    page[300:1100, 150:1150] = photo(1000, 800)
    return turned(page, angle_deg)


def _dust() -> Grey:
    page, places = blank_page(), np.random.default_rng(5)
    for _ in range(600):
        cv2.circle(page, tuple(int(v) for v in places.integers(0, 1275, 2)), int(places.integers(1, 4)), (60,), -1)
    return page


@pytest.mark.parametrize(
    "page",
    [
        blank_page(),
        np.full((1650, 1275), 255, np.uint8),
        np.full((1650, 1275), 9, np.uint8),
        words_on(blank_page(), "- 37 -", (600, 1550)),
        turned(words_on(blank_page(), "Approved", (500, 700), size_px=50), 12.0),
        _staple(),
        _fold(),
        _photo(0.0),
        photo(1275, 1650),
        _dust(),
        _steep_folds(),
        _pen_strokes(),
        _brush(),
        _grain(),
        _empty_sheet_on_lid(),
    ],
    ids=[
        *("blank", "white", "black", "number", "word", "staple", "fold", "photo", "full-photo", "dust"),
        *("steep-folds", "pen-strokes", "brush", "grain", "empty-sheet-on-lid"),
    ],
)
@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_a_page_without_text_is_left_as_it_is(page: Grey, kind) -> None:
    before = kind(page)
    after = deskew(before, Settings())
    assert after.pixels is before.pixels
    assert after.readings["deskew.turned"] is False
    if after.readings["deskew.declined"] in ("nothing-to-align", "level"):
        assert _angle(after) == pytest.approx(0.0, abs=0.05)
    else:
        assert after.readings["deskew.declined"] == "unsure"


def test_lines_in_a_photograph_do_not_turn_the_page() -> None:
    page = grey_page(_photo(4.0))
    assert deskew(page, Settings()).pixels is page.pixels


def test_a_page_turned_too_far_is_held_and_not_left_silently() -> None:
    page = grey_page(turned(text_page(), 28.0))
    with pytest.raises(SkewTooLarge, match=r"turned by 28\.0°; this profile levels at most 20°"):
        deskew(page, Settings())
    with pytest.raises(SkewTooLarge, match="turned by 3"):
        deskew(grey_page(turned(text_page(), -3.0)), Settings(max_angle_deg=2.0))


def test_a_wider_limit_levels_a_page_turned_far() -> None:
    level = deskew(grey_page(turned(text_page(lines=20), -31.0)), Settings(max_angle_deg=45.0))
    assert abs(skew_of(level).angle_deg) <= 0.1


def test_the_angle_is_only_recorded_when_the_pixels_must_stay() -> None:
    page = grey_page(turned(text_page(), 2.0))
    after = deskew(page, Settings(turn=False))
    assert after.pixels is page.pixels
    assert _angle(after) == pytest.approx(2.0, abs=0.05)
    assert after.readings["deskew.declined"] == "recorded-only"


def test_a_level_page_is_not_resampled() -> None:
    page = grey_page(text_page())
    after = deskew(page, Settings())
    assert after.pixels is page.pixels
    assert after.readings["deskew.declined"] == "level"


def test_levelling_twice_changes_nothing_more() -> None:
    once = deskew(bitonal_page(turned(text_page(), 3.0)), Settings())
    assert deskew(once, Settings()).pixels is once.pixels


def test_the_size_stays_when_only_paper_leaves_the_frame() -> None:
    page = grey_page(turned(text_page(), 2.0))
    level = deskew(page, Settings())
    assert level.pixels.shape == page.pixels.shape
    assert level.readings["deskew.grown"] is False


def test_the_size_stays_when_only_lid_leaves_the_frame() -> None:
    sheet = text_page(width_px=1150, height_px=1450, lines=28, margin_px=130)
    scan, _ = on_lid(sheet, angle_deg=3.0)
    level = deskew(grey_page(scan), Settings())
    assert level.pixels.shape == scan.shape


def test_the_frame_grows_rather_than_cut_a_note_in_the_corner() -> None:
    page = text_page(lines=20)
    scan = words_on(turned(page, 4.0), "Vol. 4", (4, 1), size_px=22)
    grown = deskew(grey_page(scan), Settings())
    assert grown.readings["deskew.grown"] is True
    assert grown.width_px > 1275
    assert grown.height_px > 1650
    dark = (scan < 100).sum()
    assert (grown.pixels < 100).sum() >= 0.95 * dark
    clipped = deskew(grey_page(scan), Settings(grow=False))
    assert clipped.pixels.shape == scan.shape


@pytest.mark.parametrize("corner", [False, True])
def test_a_known_place_is_found_again_where_moved_says(corner: bool) -> None:
    page = text_page()
    cv2.rectangle(page, (890, 1580), (909, 1599), (0,), -1)
    scan = turned(page, -5.0)
    if corner:
        scan = words_on(scan, "Vol. 4", (1160, 1), size_px=22)
    level = deskew(grey_page(scan), Settings())
    assert level.readings["deskew.grown"] is corner

    def middle_of_square(grey: Grey) -> tuple[float, float]:
        solid = cv2.morphologyEx((grey < 90).astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
        rows, cols = np.nonzero(solid)
        return float(cols.mean()) + 0.5, float(rows.mean()) + 0.5

    expected = middle_of_square(scan)
    assert level.moved.at(*middle_of_square(level.grey())) == pytest.approx(expected, abs=0.5)


def test_strokes_of_a_bitonal_page_keep_their_width() -> None:
    page = bitonal_page(turned(text_page(size_px=40, lines=20), 2.5))
    level = deskew(page, Settings())
    assert (~level.pixels).sum() == pytest.approx((~page.pixels).sum(), rel=0.02)


def test_what_comes_into_view_is_paper() -> None:
    grey = deskew(grey_page(turned(text_page(paper=205), 5.0, surround=205)), Settings())
    assert abs(int(grey.pixels[2, 2]) - 205) <= 3
    colour = deskew(colour_page(turned(text_page(), 5.0)), Settings())
    assert np.abs(colour.pixels[2, 2].astype(int) - (236, 226, 200)).max() <= 3
    assert deskew(bitonal_page(turned(text_page(), 5.0)), Settings()).pixels[:3, :3].all()


def test_both_ways_of_resampling_give_the_same_page() -> None:
    page = grey_page(turned(text_page(), 1.3))
    cubic, linear = (deskew(page, Settings(interpolation=way)).pixels for way in ("cubic", "linear"))
    assert np.abs(cubic.astype(int) - linear).mean() < 4
    assert not np.array_equal(cubic, linear)


CARD = (
    ("Edith Marlow", 26, Face.SERIF_BOLD),
    ("Registrar of Deeds", 15, Face.SERIF_ITALIC),
    ("14 Mill Street", 19, Face.SERIF),
    ("Ashford", 13, Face.SERIF),
    ("No. 2 0417", 17, Face.MONO),
)


def _card(angle_deg: float, *, lines: int = 5) -> Grey:
    """A card of a few short lines of all sizes, as people leave with their name on it."""
    card = np.full((300, 525), 236, np.uint8)
    for row, (text, size_px, face) in enumerate(CARD[:lines]):
        card = words_on(card, text, (60, 60 + 38 * row), size_px=size_px, font=face)
    return turned(card, angle_deg)


@pytest.mark.parametrize("angle_deg", [-13.0, 4.0, 11.5])
@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_a_card_of_a_few_short_lines_is_levelled(angle_deg: float, kind) -> None:
    level = deskew(kind(_card(angle_deg)), Settings())
    assert level.readings["deskew.turned"] is True
    assert _angle(level) == pytest.approx(angle_deg, abs=0.4)


def test_one_short_line_is_not_enough_to_turn_a_card_far() -> None:
    card = grey_page(_card(13.0, lines=1))
    assert deskew(card, Settings()).pixels is card.pixels


def test_pages_with_two_skews_are_turned_by_neither() -> None:
    page = text_page()
    halves = np.vstack([turned(page, 3.0)[:825], turned(page, -1.0)[825:]])
    after = deskew(grey_page(halves), Settings())
    assert after.readings["deskew.turned"] is False
    assert after.readings["deskew.declined"] in ("several-skews", "unsure", "nothing-to-align")


def _side_by_side(left_deg: float, right_deg: float) -> Grey:
    leaf = text_page(width_px=1100, lines=36, margin_px=120)
    return np.hstack([turned(leaf, left_deg), turned(leaf, right_deg)])


@pytest.mark.parametrize("angles", [(2.0, -1.0), (0.9, -0.4), (0.0, 1.0)])
def test_two_leaves_side_by_side_with_two_skews_are_turned_by_neither(angles: tuple[float, float]) -> None:
    page = grey_page(_side_by_side(*angles))
    after = deskew(page, Settings())
    assert after.pixels is page.pixels
    assert after.readings["deskew.declined"] in ("several-skews", "unsure", "nothing-to-align")


def test_leaves_that_lean_the_same_way_are_turned_if_that_levels_both() -> None:
    after = deskew(grey_page(_side_by_side(3.0, 3.7)), Settings())
    assert after.readings["deskew.turned"] is True
    assert 2.9 <= _angle(after) <= 3.8


@hypothesis_settings(max_examples=40, deadline=None)
@given(page=slivers())
def test_slivers_and_wrong_resolutions_pass_unharmed(page: PageImage) -> None:
    after = deskew(page, Settings())
    assert after.readings["deskew.turned"] is False
    assert not math.isnan(_angle(after))


@pytest.mark.real
def test_real_scans_with_known_skew_are_measured_within_a_tenth_of_a_degree(real_scans: Path) -> None:
    errors = []
    with (real_scans / "skew" / "skew.csv").open() as table:
        for row in csv.DictReader(table):
            image = Image.open(real_scans / row["file"])
            grey = np.asarray(image.convert("L"))
            dpi = max(grey.shape) / 11.0  # the files state 72 or nothing; the sheets are about 11 in high
            errors.append(abs(skew_of(PageImage(pixels=grey, dpi=dpi)).angle_deg - float(row["angle_deg"])))
    assert float(np.mean(errors)) <= 0.035
    assert max(errors) <= 0.1
