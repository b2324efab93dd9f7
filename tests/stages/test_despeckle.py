"""What despeckle promises: dirt goes, and no dot that belongs to writing."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFont

from stages.despeckle import Settings, despeckle
from stages.page_image import EncodedImage, PageImage

Mask = npt.NDArray[np.bool_]
TEXT = 'Mr. J. Quill: "i, j; 3.75, e.g. it\'s jiji!"'


def ink_of_text(*, point: float = 10.0, rows: int = 900, cols: int = 1500, text: str = TEXT, dpi: int = 300) -> Mask:
    """Ink of lines of text with many dots; True is ink."""
    image = Image.new("L", (cols, rows), 255)
    font = ImageFont.load_default(size=point * dpi / 72)
    for number, top in enumerate(range(90, rows - 150, int(point * dpi / 72 * 1.4))):
        ImageDraw.Draw(image).text((90 + number, top), text, font=font, fill=0)
    return np.array(image) < 128


def page_of(ink: Mask, *, dpi: float = 300, encoded: EncodedImage | None = None) -> PageImage:
    return PageImage(pixels=~ink, dpi=dpi, encoded=encoded)


def with_specks(ink: Mask, count: int, *, far_px: int = 60, seed: int = 0) -> tuple[Mask, Mask]:
    """The page with specks of 1 to 4 pixels a side at least `far_px` from all ink, and the specks alone."""
    rng = np.random.default_rng(seed)
    free = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 3) > far_px
    specks = np.zeros_like(ink)
    rows, cols = np.nonzero(free[: ink.shape[0] - 5, : ink.shape[1] - 5])
    for place in rng.choice(rows.size, count, replace=False):
        side = rng.integers(1, 5)
        specks[rows[place] : rows[place] + side, cols[place] : cols[place] + side] = True
    return ink | specks, specks


@pytest.mark.parametrize("point", [7.5, 10, 14])
@pytest.mark.parametrize("dpi", [150, 300, 600])
def test_clean_text_keeps_every_dot(point: float, dpi: int) -> None:
    ink = ink_of_text(point=point, dpi=dpi, rows=3 * dpi, cols=5 * dpi)
    result = despeckle(page_of(ink, dpi=dpi), Settings())
    assert result.readings["despeckle.removed"] == 0


def test_specks_go_and_no_dot_of_the_text_with_them() -> None:
    ink = ink_of_text()
    dirty, specks = with_specks(ink, 40)
    result = despeckle(page_of(dirty), Settings(cautious_ink_fraction=0.01))
    left = ~result.pixels.astype(bool)
    assert np.array_equal(left & ink, ink)
    # specks that touch or line up may count as one mark, or live
    assert np.count_nonzero(left & specks) < 0.1 * np.count_nonzero(specks)
    assert int(result.readings["despeckle.removed"]) >= 30  # type: ignore[call-overload]
    assert result.pixels.shape == ink.shape
    assert result.dpi == 300


@pytest.mark.parametrize("spaces", ["", " ", "   ", "     "])
@pytest.mark.parametrize("point", [7, 10, 14])
def test_leaders_live(point: float, spaces: str) -> None:
    ink = ink_of_text(point=point, text="Index " + ("." + spaces) * 30, cols=2600)
    assert despeckle(page_of(ink), Settings()).readings["despeckle.removed"] == 0


def test_a_picture_in_dots_is_left_alone() -> None:
    ramp = np.tile(np.linspace(120, 250, 700).astype(np.uint8), (700, 1))
    dots = ~(np.asarray(Image.fromarray(ramp).convert("1")).view(np.uint8) > 0)
    ink = ink_of_text(rows=1600)
    ink[800:1500, 300:1000] = dots
    assert despeckle(page_of(ink), Settings()).readings["despeckle.removed"] == 0


def test_a_clean_page_keeps_its_scanners_stream() -> None:
    stream = EncodedImage(codec="g4", data=b"x", width_px=1500, height_px=900, channels=1)
    page = page_of(ink_of_text(), encoded=stream)
    result = despeckle(page, Settings())
    assert result.pixels is page.pixels
    assert result.encoded is stream


def test_a_cleaned_page_loses_the_stream_that_no_longer_fits() -> None:
    stream = EncodedImage(codec="g4", data=b"x", width_px=1500, height_px=900, channels=1)
    dirty, _ = with_specks(ink_of_text(), 10)
    assert despeckle(page_of(dirty, encoded=stream), Settings()).encoded is None


def test_a_grey_page_is_declined() -> None:
    page = PageImage(pixels=np.full((50, 50), 200, np.uint8), dpi=300)
    result = despeckle(page, Settings())
    assert result.pixels is page.pixels
    assert result.readings["despeckle.declined"] == "not bitonal"


def test_a_page_of_nothing_but_dots_is_declined() -> None:
    dirty, _ = with_specks(np.zeros((900, 1500), np.bool_), 20)
    result = despeckle(page_of(dirty), Settings())
    assert np.array_equal(result.pixels, ~dirty)
    assert "too many to be dirt" in str(result.readings["despeckle.declined"])


def beside_a_word(count: int, *, gap_px: tuple[int, int], rows: int = 3300, cols: int = 2550) -> tuple[Mask, Mask]:
    """A sheet with one line of large capitals and marks of 3 x 3 pixels so far from it; and the marks alone."""
    sheet = np.full((rows, cols), 255, np.uint8)
    cv2.putText(sheet, "NOTICE " * 3, (150, 400), cv2.FONT_HERSHEY_SIMPLEX, 5, 0, 12)
    ink = sheet < 128
    far = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 5)
    rows_of, cols_of = np.nonzero((far > gap_px[0]) & (far < gap_px[1]))
    inside = (rows_of > 10) & (rows_of < rows - 10) & (cols_of > 10) & (cols_of < cols - 10)
    marks = np.zeros_like(ink)
    for place in np.random.default_rng(1).choice(np.flatnonzero(inside), count, replace=False):
        marks[rows_of[place] : rows_of[place] + 3, cols_of[place] : cols_of[place] + 3] = True
    return ink | marks, marks


def test_a_dusty_sheet_with_little_writing_is_cleaned() -> None:
    dirty, dust = beside_a_word(400, gap_px=(60, 5000))
    assert np.count_nonzero(dust) > 0.03 * np.count_nonzero(dirty)  # far more than 1 % of the ink
    left = ~despeckle(page_of(dirty), Settings()).pixels.astype(bool)
    assert np.count_nonzero(left & dust) < 0.1 * np.count_nonzero(dust)
    assert np.array_equal(left & ~dust, dirty & ~dust)


def test_much_that_may_be_writing_is_not_taken_from_beside_it() -> None:
    dirty, _ = beside_a_word(220, gap_px=(18, 33))
    assert removed(dirty) == 0


def test_a_sheet_with_more_dots_than_dust_leaves_is_declined() -> None:
    dirty, dots = beside_a_word(1900, gap_px=(60, 5000))
    assert np.count_nonzero(dots) > 0.0005 * dots.size
    result = despeckle(page_of(dirty), Settings(cautious_marks=10_000))
    assert np.array_equal(result.pixels, ~dirty)


def test_a_few_marks_on_a_clean_page_live_wherever_they_are() -> None:
    dirty, _ = with_specks(ink_of_text(), 7)
    assert removed(dirty) == 0


def test_pale_writing_that_fell_apart_into_specks_lives() -> None:
    dirty, dust = beside_a_word(60, gap_px=(60, 5000))
    note = np.zeros_like(dirty)
    for number in range(12):  # dots of a pixel or two along a pencil line
        row, col = 2600 + 5 * (number % 3), 600 + 8 * number
        note[row : row + 2, col : col + 1 + number % 2] = True
    near_dust = cv2.dilate(note.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
    dirty = (dirty & ~(dust & near_dust)) | note
    left = ~despeckle(page_of(dirty), Settings()).pixels.astype(bool)
    assert np.array_equal(left & note, note)
    assert np.count_nonzero(left & dust) < 0.2 * np.count_nonzero(dust)


def test_beyond_the_cautious_limit_only_the_tiniest_go() -> None:
    dirty, _ = with_specks(ink_of_text(), 40)
    result = despeckle(page_of(dirty), Settings(cautious_marks=5))
    gone = dirty & result.pixels.astype(bool)
    _, _, stats, _ = cv2.connectedComponentsWithStats(gone.astype(np.uint8), connectivity=8)
    assert 0 < stats[1:, 2:4].max() <= 3


def test_cleaning_twice_is_cleaning_once() -> None:
    dirty, _ = with_specks(ink_of_text(), 40)
    once = despeckle(page_of(dirty), Settings(cautious_ink_fraction=0.01))
    twice = despeckle(once, Settings(cautious_ink_fraction=0.01))
    assert np.mean(once.pixels != twice.pixels) <= 0.0001


@settings(max_examples=60, deadline=None)
@given(
    ink=arrays.arrays(np.bool_, st.tuples(st.integers(1, 60), st.integers(1, 60))),
    dpi=st.sampled_from([72.0, 150.0, 300.0, 600.0]),
)
def test_ink_is_never_added_and_large_marks_never_go(ink: Mask, dpi: float) -> None:
    result = despeckle(page_of(ink, dpi=dpi), Settings(most_ink_fraction=1.0, cautious_ink_fraction=1.0))
    gone = ink & result.pixels.astype(bool)
    assert not (~result.pixels.astype(bool) & ~ink).any()
    _, _, stats, _ = cv2.connectedComponentsWithStats(gone.astype(np.uint8), connectivity=8)
    assert stats[1:, 2:4].max(initial=0) < 0.62 * dpi / 25.4 + 2


def test_a_page_full_of_dirt_is_done_in_bounded_time() -> None:
    ink = np.random.default_rng(0).random((1500, 1200)) < 0.02
    result = despeckle(page_of(ink), Settings())
    assert result.pixels.shape == ink.shape


def test_nothing_is_removed_for_its_size_when_the_resolution_is_a_guess() -> None:
    pixels = np.ones((600, 600), np.bool_)
    pixels[300, 300] = False
    guessed = PageImage(pixels=pixels, dpi=300.0, readings={"read.dpi_source": "guessed"})
    page = despeckle(guessed, Settings())
    assert page.pixels is pixels
    assert page.readings["despeckle.declined"] == "resolution is guessed"


def drawn(sheet: npt.NDArray[np.uint8], dots: list[tuple[float, float]], *, size_mm: float, dpi: int = 300) -> None:
    """Round black dots at places in mm."""
    unit = dpi / 25.4
    for x_mm, y_mm in dots:
        cv2.circle(sheet, (round(x_mm * unit), round(y_mm * unit)), round(size_mm / 2 * unit), 0, -1)


def removed(ink: Mask, *, dpi: float = 300) -> object:
    return despeckle(page_of(ink, dpi=dpi), Settings()).readings["despeckle.removed"]


def lost(ink: Mask, *, dpi: float = 300) -> int:
    """How many pixels of this ink go where dust lies on the rest of the sheet; without any nothing would."""
    apart = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 5)
    rows, cols = np.nonzero(apart[:-2, :-2] > min(0.2 * dpi, 0.8 * float(apart.max())))
    places = np.random.default_rng(9).choice(rows.size, 150)
    dusty = ink.copy()
    for row, col in ((0, 0), (0, 1), (1, 0)):
        dusty[rows[places] + row, cols[places] + col] = True
    left = ~despeckle(page_of(dusty, dpi=dpi), Settings()).pixels.astype(bool)
    assert np.count_nonzero(dusty & ~ink & ~left) > 100
    return int(np.count_nonzero(ink & ~left))


def text_sheet(*, dpi: int = 300, point: float = 10) -> npt.NDArray[np.uint8]:
    return (~ink_of_text(rows=6 * dpi, cols=5 * dpi, dpi=dpi, point=point)).astype(np.uint8) * 255


@pytest.mark.parametrize("text", ['3 ft 14" .', "75   ...   e.g.", "0 . 5    - . -", "a    .   b", "10 ·  · 5"])
@pytest.mark.parametrize("point", [7, 9, 12])
def test_points_after_raised_signs_and_wide_spaces_live(text: str, point: float) -> None:
    assert lost(ink_of_text(text=text, point=point)) == 0


@pytest.mark.parametrize("pitch_mm", [0.6, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("tilt", [0.0, 0.01, -0.02])
def test_a_dotted_rule_lives_whole_even_if_it_is_tilted(pitch_mm: float, tilt: float) -> None:
    blank = np.full((1500, 1500), 255, np.uint8)
    cv2.putText(blank, "Name", (100, 100), cv2.FONT_HERSHEY_SIMPLEX, 2, 0, 5)
    drawn(blank, [(10 + i * pitch_mm, 60 + i * pitch_mm * tilt) for i in range(25)], size_mm=0.25)
    assert lost(blank < 128) == 0


def test_a_fine_dotted_rule_lives_though_each_of_its_dots_would_go() -> None:
    sheet = text_sheet()
    sheet[1700:1740] = 255
    sheet[1720, 200:1200:14] = 0
    assert lost(sheet < 128) == 0


def test_points_alone_in_the_cells_of_a_table_live() -> None:
    font = ImageFont.load_default(size=42)
    image = Image.new("L", (1700, 900), 255)
    for row in range(8):
        for col in range(4):
            cell = "." if (row * 3 + col) % 4 == 0 else "12.50"
            ImageDraw.Draw(image).text((100 + 400 * col, 60 + 90 * row), cell, font=font, fill=0)
    assert lost(np.array(image) < 128) == 0


@pytest.mark.parametrize("slope", [0.0, 0.008, -0.018])
def test_points_alone_in_a_table_are_held_along_its_own_lines(slope: float) -> None:
    font = ImageFont.load_default(size=42)
    image = Image.new("L", (1700, 900), 255)
    for row in range(8):
        for col in range(4):
            cell = "." if col == row % 4 else "12.50 iii."
            ImageDraw.Draw(image).text((100 + 400 * col, 60 + 90 * row), cell, font=font, fill=0)
    turned = cv2.warpAffine(
        np.array(image), np.array([[1, -slope, 20], [slope, 1, 20]]), image.size, borderValue=(255,),
        flags=cv2.INTER_LINEAR,
    )  # fmt: skip
    assert lost(turned < 128) == 0


def test_dirt_beside_a_leader_goes() -> None:
    sheet = text_sheet()
    sheet[1300:] = 255
    for number in range(90):
        sheet[1600:1604, 300 + 10 * number :][:, :4] = 0
    dirt = [(-12, 41), (-10, 147), (13, 278), (-14, 361), (15, 490), (-11, 583), (-15, 710), (12, 833), (-13, 866)]
    for row, col in dirt:
        sheet[1600 + row : 1602 + row, 300 + col] = 0
    for row in range(1320, 1560, 12):  # and everywhere else on the bare half of the sheet
        sheet[row : row + 2, (37 * row) % 1400 :][:, :2] = 0
    left = ~despeckle(page_of(sheet < 128), Settings()).pixels.astype(bool)
    assert not any(left[1600 + row, 300 + col] for row, col in dirt)
    assert left[1601, 301 : 300 + 10 * 90 : 10].all()


def test_the_points_of_a_diagram_live_though_they_lie_far_from_all_writing() -> None:
    sheet = np.full((3000, 2400), 255, np.uint8)
    cv2.line(sheet, (200, 200), (200, 2700), 0, 4)
    cv2.line(sheet, (200, 2700), (2200, 2700), 0, 4)
    rng = np.random.default_rng(4)
    drawn(sheet, list(zip(rng.uniform(40, 180, 30), rng.uniform(40, 200, 30), strict=True)), size_mm=0.4)
    assert removed(sheet < 128) == 0


def test_dashes_of_small_print_live_alone() -> None:
    sheet = text_sheet()
    sheet[1600:] = 255
    sheet[1720:1722, 700:707] = 0
    assert lost(sheet < 128) == 0


def test_a_mark_cut_by_the_frame_lives() -> None:
    sheet = text_sheet()[75:]
    sheet[0:2, 140:143] = 0
    assert lost(sheet < 128) == 0


def test_dirt_far_thinner_than_the_strokes_goes_even_among_writing() -> None:
    ink = ink_of_text(point=12)
    free = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 3)
    rows, cols = np.nonzero(free > 6)
    places = np.random.default_rng(2).choice(rows.size, 200, replace=False)
    dirty = ink.copy()
    dirty[rows[places], cols[places]] = True
    left = ~despeckle(page_of(dirty), Settings()).pixels.astype(bool)
    assert np.array_equal(left & ink, ink)
    beside = dirty & ~ink & (free < 12)
    assert np.count_nonzero(beside) >= 12
    assert np.count_nonzero(left & beside) <= 0.2 * np.count_nonzero(beside)


def test_splinters_that_lie_around_the_letters_only_are_theirs() -> None:
    ink = ink_of_text(point=12)
    free = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 3)
    rows, cols = np.nonzero((free > 6) & (free < 12))
    places = np.random.default_rng(2).choice(rows.size, 40, replace=False)
    dirty = ink.copy()
    dirty[rows[places], cols[places]] = True
    assert removed(dirty) == 0


def test_small_print_below_a_headline_keeps_its_dots() -> None:
    sheet = text_sheet(point=7)
    sheet[:400] = 255
    cv2.putText(sheet, "NOTICE", (100, 300), cv2.FONT_HERSHEY_SIMPLEX, 9, 0, 50)
    assert lost(sheet < 128) == 0


@pytest.mark.parametrize("dpi", [150, 200, 300, 600])
def test_a_full_stop_of_ten_points_lives_alone_on_a_dusty_sheet(dpi: int) -> None:
    sheet = text_sheet(dpi=dpi)
    sheet[3 * dpi :] = 255
    drawn(sheet, [(30.0, 110.0)], size_mm=0.55, dpi=dpi)
    ink = sheet < 128
    stop = ink.copy()
    stop[: 3 * dpi] = False
    rng = np.random.default_rng(5)
    ink[rng.integers(3 * dpi, 6 * dpi - 1, 60), rng.integers(1, 5 * dpi - 1, 60)] = True
    left = ~despeckle(page_of(ink, dpi=dpi), Settings()).pixels.astype(bool)
    assert np.array_equal(left & stop, stop)


@pytest.mark.parametrize("share", [0.0005, 0.002, 0.02, 0.1])
def test_a_page_of_noise_is_left_as_it_is(share: float) -> None:
    ink = np.random.default_rng(0).random((1650, 1275)) < share
    assert removed(ink) == 0


@pytest.mark.parametrize("is_hairline", [True, False])
def test_the_bit_of_a_hairline_lives_beside_bold_print_and_dirt_as_small_goes(*, is_hairline: bool) -> None:
    ink, _ = with_specks(ink_of_text(point=24), 20)
    bold = cv2.dilate(ink_of_text(point=24).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    ink |= bold
    apart = cv2.distanceTransform((~bold).astype(np.uint8), cv2.DIST_L2, 5)
    bit = np.eye(3, dtype=np.bool_) if is_hairline else np.array([[True, True], [True, False]])
    gap_px = 3.5 if is_hairline else 6.0
    shut = cv2.erode(apart, np.ones((3, 3), np.uint8), anchor=(0, 0))  # the least below and to the right
    row, col = next(place for place in np.argwhere((shut > gap_px) & (shut < gap_px + 0.7)) if place[0] > 200)
    here = slice(row, row + len(bit)), slice(col, col + len(bit))
    ink[here] |= bit
    left = ~despeckle(page_of(ink), Settings()).pixels.astype(bool)
    assert left[here][bit].all() == is_hairline


def test_a_single_pixel_beside_print_of_150_dpi_goes_where_strokes_are_thicker_and_no_dot_with_it() -> None:
    ink = ink_of_text(point=9, dpi=150, rows=1200, cols=1200)
    apart = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 5)
    rng = np.random.default_rng(0)
    beside = rng.permutation(np.argwhere((apart > 3) & (apart < 4)))[:30]
    # or those at the letters would be taken for their pieces
    elsewhere = rng.permutation(np.argwhere(apart > 40))[:300]
    dirty = ink.copy()
    dirty[tuple(np.concatenate([beside, elsewhere]).T)] = True
    left = ~despeckle(page_of(dirty, dpi=150), Settings(cautious_ink_fraction=0.02)).pixels.astype(bool)
    assert np.count_nonzero(left[tuple(beside.T)]) <= 12  # some fall into rows or stand over a letter
    assert left[ink].all()


def lines_of(ink: Mask) -> list[npt.NDArray[np.intp]]:
    """The rows of each line of text."""
    rows = np.flatnonzero(ink.any(axis=1))
    lines = np.split(rows, np.flatnonzero(np.diff(rows) > 10) + 1)
    assert len(lines) >= 15
    return lines


def what_lives(ink: Mask, *marks: Mask, dpi: float = 300) -> list[float]:
    """Which share of each kind of marks lives on a page of `ink` with dust in its right half; all ink must."""
    rng = np.random.default_rng(8)
    dusty = ink | np.any(marks, axis=0)
    right, rows, cols = 0.6 * ink.shape[1], ink.shape[0], ink.shape[1]
    dusty[rng.integers(0, rows, 250), rng.integers(round(right), cols - 10, 250)] = True
    left = ~despeckle(page_of(dusty, dpi=dpi), Settings(cautious_ink_fraction=0.05)).pixels.astype(bool)
    assert left[ink].all()
    return [np.count_nonzero(left & kind) / np.count_nonzero(kind) for kind in marks]


def test_the_two_dots_of_an_umlaut_hold_each_other() -> None:
    ink = ink_of_text(text="moon over a sea roam on", cols=1200, rows=1500)
    rng = np.random.default_rng(1)
    pairs, singles = np.zeros_like(ink), np.zeros_like(ink)
    for number, line in enumerate(lines_of(ink)):
        inked = ink[line].any(axis=0)
        over_letter = np.flatnonzero(inked[:-10] & inked[10:])
        row, col = int(line.min()) - 12, int(rng.choice(over_letter))
        if number % 2:
            pairs[row : row + 2, [col, col + 1, col + 9, col + 10]] = True
        else:
            singles[row : row + 2, col : col + 2] = True
    of_pairs, of_singles = what_lives(ink, pairs, singles)
    assert of_pairs == 1
    assert of_singles <= 0.25


def test_the_tail_of_a_y_that_came_off_lives_if_it_is_as_large_as_dots() -> None:
    ink = ink_of_text(text="moon. over i. sea. in. on.", cols=1200, rows=1500)
    rng = np.random.default_rng(2)
    tails, dirt = np.zeros_like(ink), np.zeros_like(ink)
    for number, line in enumerate(lines_of(ink)):
        row, col = int(line.max()) + 8, 110 + int(rng.integers(0, 300))
        if number % 2:
            tails[row : row + 5, col : col + 5] = True
        else:
            dirt[row : row + 2, col : col + 2] = True
    of_tails, of_dirt = what_lives(ink, tails, dirt)
    assert of_tails == 1
    assert of_dirt <= 0.25


def test_a_stop_thinner_than_the_strokes_lives_on_the_foot_of_its_letter_only() -> None:
    ink = ink_of_text(text="moon over a sea. in", cols=1200, rows=1500)
    stops, dirt = np.zeros_like(ink), np.zeros_like(ink)
    rng = np.random.default_rng(3)
    for number, line in enumerate(lines_of(ink)):
        foot = int(line.max()) + 1
        inked = np.flatnonzero(ink[line].any(axis=0))
        if number % 2:
            col = int(inked.max()) + int(rng.integers(6, 8))
            stops[foot - 2 : foot, col : col + 2] = True
        else:  # in a space between words
            col = int(rng.choice(inked[:-1][np.diff(inked) > 12])) + 5
            foot -= int(rng.integers(8, 16))
            dirt[foot - 2 : foot, col : col + 2] = True
    of_stops, of_dirt = what_lives(ink, stops, dirt)
    assert of_stops == 1
    assert of_dirt <= 0.3  # some stand in line with stops


def test_a_bit_that_the_grid_of_150_dpi_cut_from_a_thick_stroke_lives() -> None:
    ink = ink_of_text(point=14, dpi=150, text="HIGHER LIMIT", cols=600, rows=900)
    ink = cv2.dilate(ink.astype(np.uint8), np.ones((2, 2), np.uint8)) > 0
    apart = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_C, 3)
    places = np.random.default_rng(4).permutation(np.argwhere(apart == 2))[:5]  # one white pixel between
    bits = np.zeros_like(ink)
    bits[tuple(places.T)] = True
    assert what_lives(ink, bits, dpi=150) == [1.0]


def test_beside_a_line_a_dot_lives_on_its_feet_and_goes_from_elsewhere() -> None:
    ink = ink_of_text(text="moon over a sea  roam on", cols=1200, rows=1500)
    lines = lines_of(ink)
    rng = np.random.default_rng(8)
    on_feet, elsewhere = ink.copy(), np.zeros_like(ink)
    for number, line in enumerate(lines):
        foot = int(line.max()) + 1
        right = int(np.flatnonzero(ink[line].any(axis=0)).max()) + 10
        if number % 4:
            on_feet[foot - 4 : foot, right : right + 4] = True
        else:
            elsewhere[foot - 11 : foot - 6, right + number : right + number + 5] = True
    dusty = on_feet | elsewhere
    dusty[rng.integers(90, 1400, 100), rng.integers(750, 1190, 100)] = True
    left = ~despeckle(page_of(dusty), Settings(cautious_ink_fraction=0.05)).pixels.astype(bool)
    assert np.array_equal(left & on_feet, on_feet)
    assert np.count_nonzero(left & elsewhere) <= 0.2 * np.count_nonzero(elsewhere)  # some stand in line


def test_letters_that_fell_apart_are_no_dirt() -> None:
    ink = ink_of_text(point=12, rows=1800)
    rng = np.random.default_rng(3)
    is_left = np.arange(ink.shape[1]) // 60 % 3 == 0
    apart = ink & (is_left | (rng.random(ink.shape) < 0.004))
    assert np.count_nonzero(apart[:, ~is_left]) > 100
    readings = despeckle(page_of(apart), Settings()).readings
    assert readings["despeckle.removed"] == 0
    assert readings["despeckle.declined"] == "what would go stands in lines, as letters do"


def test_a_prime_hangs_from_the_heads_of_capitals() -> None:
    ink = ink_of_text(text="HID.I HI.D IHI.D D.II", cols=1200, rows=1500)
    rng = np.random.default_rng(4)
    primes = np.zeros_like(ink)
    for line in lines_of(ink)[::2]:
        head, col = int(line.min()), int(np.flatnonzero(ink[line].any(axis=0)).max()) + int(rng.integers(8, 36))
        primes[head : head + 5, col : col + 5] = True
    assert what_lives(ink, primes) == [1.0]


def test_dirt_beside_thick_letters_is_not_taken_for_splinters() -> None:
    text = ink_of_text(point=14, text="MOON over a sea", cols=1200, rows=1200, dpi=400)
    ink = np.zeros((3000, 2400), np.bool_)
    ink[200:1400, 200:1400] = cv2.dilate(text.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    away_px = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 5)
    rng = np.random.default_rng(6)
    specks = np.zeros_like(ink)
    specks[2 * rng.integers(0, 1500, 1500), 2 * rng.integers(0, 1200, 1500)] = True
    specks &= away_px > 4
    touching = rng.permutation(np.argwhere((away_px >= 2.5) & (away_px <= 3.5)))[:40]
    specks[tuple(touching.T)] = True
    left = ~despeckle(page_of(ink | specks, dpi=400), Settings(cautious_ink_fraction=0.05)).pixels.astype(bool)
    beside = specks & (away_px > 12) & (away_px < 25)
    assert np.count_nonzero(beside) > 30
    assert not (left & beside).any()


def test_nothing_goes_where_most_of_what_is_written_is_as_small_as_dirt() -> None:
    ink = ink_of_text(cols=1200, rows=1500)
    rng = np.random.default_rng(7)
    vanished = ink & (rng.random(ink.shape) < 0.12)
    vanished[rng.integers(0, 1500, 60), rng.integers(0, 1200, 60)] = True
    vanished[1400:1420, 100:300] = True  # one large thing is left
    readings = despeckle(page_of(vanished), Settings()).readings
    assert readings["despeckle.declined"] == "most of the marks that stay are as small as dirt"


@pytest.mark.parametrize("slope", [0.0, 0.012])
def test_what_is_left_of_print_that_vanished_is_known_by_its_lines(slope: float) -> None:
    rng = np.random.default_rng(5)
    cols = rng.integers(60, 1100, 200)
    rows = np.rint(100 + rng.integers(0, 30, 200) * 40 + slope * cols).astype(int)
    dust = np.zeros((1500, 1200), np.bool_)
    dust[rng.integers(0, 1500, 300), rng.integers(0, 1200, 300)] = True
    dust[1400:1420, 100:300] = True  # one large thing is left
    vanished = dust.copy()
    vanished[rows, cols] = True
    readings = despeckle(page_of(vanished, dpi=150), Settings()).readings
    assert readings["despeckle.declined"] == "what would go stands in lines, as letters do"
    assert despeckle(page_of(dust, dpi=150), Settings()).readings["despeckle.declined"] is None
