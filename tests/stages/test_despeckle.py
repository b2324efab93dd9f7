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

from stages import despeckle as module
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


def test_the_same_marks_go_however_distances_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    dirty, _ = with_specks(ink_of_text(), 300, far_px=6)
    settings_here = Settings(cautious_ink_fraction=1, most_ink_fraction=1, cautious_marks=10_000)
    found = []
    for overhead_px in (0, 10**9):  # in a box around each mark, and on the whole page at once
        monkeypatch.setattr(module, "BOX_OVERHEAD_PX", overhead_px)
        found.append(despeckle(page_of(dirty), settings_here))
    assert found[0].readings["despeckle.removed"] == found[1].readings["despeckle.removed"] != 0
    assert np.array_equal(found[0].pixels, found[1].pixels)


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


def test_a_page_that_would_lose_much_ink_is_declined() -> None:
    dirty, _ = with_specks(np.zeros((900, 1500), np.bool_), 20)
    result = despeckle(page_of(dirty), Settings())
    assert np.array_equal(result.pixels, ~dirty)
    assert "% of the ink" in str(result.readings["despeckle.declined"])


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
