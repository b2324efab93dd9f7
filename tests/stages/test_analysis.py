from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.analysis import ANALYSIS_DPI, ANALYSIS_MAX_MEGAPIXELS, analysis_of, below, letter_like, level_at
from stages.lid import lid_of
from stages.page_image import PageImage
from tests.stages.drawn_pages import blank_page, grey_page, on_lid, text_page


def test_a_page_is_analysed_once_for_all_detectors() -> None:
    page = grey_page(text_page())
    assert analysis_of(page) is analysis_of(page.with_readings("deskew", angle_deg=1.0))


def test_changed_pixels_are_analysed_anew() -> None:
    page = grey_page(text_page())
    before = analysis_of(page)
    assert analysis_of(page.with_pixels(page.pixels.copy())) is not before
    assert analysis_of(PageImage(pixels=page.pixels, dpi=300.0)) is not before


@given(
    st.lists(st.integers(0, 255), min_size=1, max_size=300),
    st.one_of(st.floats(0, 100), st.sampled_from([0.0, 25.0, 50.0, 70.0, 75.0, 90.0, 95.0, 100.0])),
)
def test_a_level_found_by_counting_is_the_percentile(values: list[int], percent: float) -> None:
    levels = np.array(values, np.uint8)
    assert level_at(levels, percent) == pytest.approx(float(np.percentile(levels, percent)), abs=1e-9)
    assert level_at(levels, 50) == float(np.median(levels))


@given(st.lists(st.integers(0, 255), min_size=1, max_size=50), st.floats(-10, 300))
def test_below_a_limit_between_two_levels_is_what_is_below_it(values: list[int], limit: float) -> None:
    levels = np.array(values, np.uint8)
    assert (below(levels, limit) == (levels.astype(np.float64) < limit)).all()


def test_the_lid_of_one_page_is_not_taken_for_that_of_the_next() -> None:
    scan, there = on_lid(text_page()[:1400, :1100])
    with_lid, without = analysis_of(grey_page(scan)), analysis_of(grey_page(text_page()))
    lid = lid_of(with_lid)
    assert lid is not None
    assert lid_of(without) is None
    assert lid_of(with_lid) is not None
    assert lid[~there].mean() > 0.9


def test_a_place_on_the_analysis_is_the_same_place_on_the_page() -> None:
    pixels = np.full((3301, 2551), 240, np.uint8)
    pixels[3000:3020, 2400:2410] = 20
    view = analysis_of(PageImage(pixels=pixels, dpi=299.9994))
    left, top, width, height, _ = view.stats[1]
    assert view.scale == 2.0
    assert (left * view.scale, top * view.scale) == (2400, 3000)
    assert (width * view.scale, height * view.scale) == (10, 20)


def test_letters_are_counted_and_shading_is_not_ink() -> None:
    page = text_page(lines=10)
    shaded = (page * np.linspace(1.0, 0.55, page.shape[1])).astype(np.uint8)
    view = analysis_of(grey_page(shaded))
    assert 250 < letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi).sum() < 700
    assert not analysis_of(grey_page(blank_page())).ink.any()


def test_letters_that_touch_the_frame_are_no_letters() -> None:
    page = text_page()[:, 153:]
    view = analysis_of(grey_page(page))
    letters = letter_like(view.stats, shape=view.grey.shape, dpi=view.dpi)
    assert view.stats[letters, 0].min() > 0
    assert (view.stats[~letters, 0] == 0).sum() > 10


def test_paper_is_seen_through_the_ink() -> None:
    view = analysis_of(grey_page(text_page(paper=200)))
    assert abs(float(np.median(view.paper)) - 200) <= 3


def test_a_wrong_resolution_does_not_make_the_analysis_large() -> None:
    view = analysis_of(PageImage(pixels=np.full((6000, 5000), 255, np.uint8), dpi=50.0))
    assert view.grey.size <= ANALYSIS_MAX_MEGAPIXELS * 1.01e6
    assert view.dpi == 50.0 / view.scale


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 90),
    cols=st.integers(1, 90),
    dpi=st.floats(1.0, 5000.0),
    kind=st.sampled_from(["grey", "colour", "bitonal"]),
    seed=st.integers(0, 5),
)
def test_any_page_can_be_analysed(rows: int, cols: int, dpi: float, kind: str, seed: int) -> None:
    shape = (rows, cols, 3) if kind == "colour" else (rows, cols)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    view = analysis_of(PageImage(pixels=pixels > 127 if kind == "bitonal" else pixels, dpi=dpi))
    assert view.grey.shape == view.ink.shape == view.labels.shape == view.paper.shape
    assert min(view.grey.shape) >= 1
    assert view.dpi <= max(dpi, ANALYSIS_DPI)
