"""A page remembers where its places lay, bends included, and which pixels it was last resampled from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stages.page_image import IDENTITY, Affine, PageImage, TextLayer
from stages.places import Bend, Bent, Places, places_from, spline_weights, taken_over

TURN = Affine(0.9994, 0.0349, -12.5, -0.0349, 0.9994, 20.25)
QUARTER = Affine(0, -1, 400, 1, 0, 0)


def _bend(seed: int = 3, height_px: float = 12.0) -> Bend:
    heights = np.random.default_rng(seed).normal(0, height_px, 7 * 6)
    return Bend(left=30.0, top=20.0, right=370.0, bottom=580.0, columns=6, heights_px=tuple(heights))


def _bent(seed: int = 3) -> Bent:
    return Bent(before=IDENTITY, bend=_bend(seed), then=TURN)


MAPS: dict[str, Places] = {
    "flat": TURN,
    "bent": _bent(),
    "bent, then turned": QUARTER.after(_bent()),
    "turned, then bent": _bent().after(QUARTER),
    "bent twice": _bent(4).after(_bent(5)),
}
places = st.floats(0, 600)


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_made_again_from_its_numbers_as_json_keeps_them(name: str) -> None:
    assert places_from(json.loads(json.dumps(list(MAPS[name])))) == MAPS[name]


@pytest.mark.parametrize("numbers", [[], [1.0] * 5, [1.0] * 7, [1.0] * 40, [*IDENTITY, 3, 4, 0, 0, 1, 1, *[0.0] * 18]])
def test_numbers_that_are_no_map_are_refused(numbers: list[float]) -> None:
    with pytest.raises(ValueError, match="no map of places"):
        places_from(numbers)


@pytest.mark.parametrize("first", MAPS)
@pytest.mark.parametrize("then", MAPS)
def test_one_map_after_another_leads_where_both_lead(first: str, then: str) -> None:
    x, y = 212.5, 340.25
    expected = MAPS[then].at(*MAPS[first].at(x, y))
    assert MAPS[then].after(MAPS[first]).at(x, y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", MAPS)
@hypothesis_settings(max_examples=30, deadline=None)
@given(x=places, y=places)
def test_the_way_back_leads_to_where_the_way_there_began(name: str, x: float, y: float) -> None:
    assert MAPS[name].back(*MAPS[name].at(x, y)) == pytest.approx((x, y), abs=0.02)


@pytest.mark.parametrize("name", MAPS)
def test_many_places_lead_where_each_of_them_leads(name: str) -> None:
    x, y = np.array([[10.0, 200.0], [399.0, -50.0]]), np.array([[15.0, 300.0], [599.0, 700.0]])
    to_x, to_y = MAPS[name].at(x, y)
    for place in np.ndindex(x.shape):
        expected = MAPS[name].at(float(x[place]), float(y[place]))
        assert (to_x[place], to_y[place]) == pytest.approx(expected, abs=1e-9)


def test_around_a_place_a_bend_is_nearly_flat() -> None:
    bent = _bent()
    near = bent.near(200.0, 300.0)
    for x, y in ((200.0, 300.0), (203.0, 302.0)):
        assert near.at(x, y) == pytest.approx(bent.at(x, y), abs=0.05)
    assert TURN.near(1.0, 2.0) is TURN


def test_a_surface_goes_on_beyond_its_rectangle_as_at_its_rim() -> None:
    bend = _bend()
    assert bend.lower_px(-500.0, 300.0) == bend.lower_px(30.0, 300.0)
    assert bend.lower_px(200.0, 9000.0) == bend.lower_px(200.0, 580.0)


@given(st.lists(st.floats(-1, 2), min_size=1, max_size=20), st.integers(4, 12))
def test_the_weights_of_a_spline_sum_to_one(shares: list[float], controls: int) -> None:
    weights = spline_weights(np.array(shares), controls)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert weights.min() >= -1e-12


@pytest.mark.parametrize("name", MAPS)
def test_an_image_is_taken_from_where_its_places_lead(name: str) -> None:
    across, down = np.meshgrid(np.arange(700), np.arange(700))
    columns, rows = ((side / 700 * 250).astype(np.uint8) for side in (across, down))
    into = [taken_over(ramp, MAPS[name], np.zeros((500, 400), np.uint8)) for ramp in (columns, rows)]
    for x, y in ((100, 120), (200, 250), (310, 400), (16, 16), (390, 480)):
        there = MAPS[name].at(x + 0.5, y + 0.5)
        if all(0 <= side < 700 for side in there):
            assert [int(image[y, x]) for image in into] == pytest.approx([side / 700 * 250 for side in there], abs=1.5)


@pytest.mark.parametrize(
    ("map_", "keeps"),
    [
        (IDENTITY, True),
        (QUARTER, True),
        (Affine(-1, 0, 90, 0, -1, 40), True),
        (Affine(c=12.0, f=7.0), True),
        (Affine(c=0.5), False),
        (TURN, False),
        (Affine(a=2.0, e=2.0), False),
    ],
)
def test_only_quarter_turns_and_whole_shifts_keep_pixels(map_: Affine, keeps: bool) -> None:
    assert map_.keeps_pixels is keeps


def test_a_page_remembers_the_pixels_before_it_was_resampled_and_forgets_them_when_painted() -> None:
    first, turned, cut, painted = (np.full((40, 30), value, np.uint8) for value in range(4))
    page = PageImage(pixels=first, dpi=300.0)
    assert page.with_pixels(cut, moved_by=QUARTER).unsampled is None, "nothing was resampled"
    level = page.with_pixels(turned, moved_by=TURN)
    assert level.unsampled is not None
    assert (level.unsampled.pixels is first, level.unsampled.places) == (True, TURN)
    smaller = level.with_pixels(cut, moved_by=Affine(c=3.0, f=2.0))
    assert smaller.unsampled is not None
    assert smaller.unsampled.pixels is first
    assert smaller.unsampled.places == smaller.moved
    assert smaller.moved.at(1.0, 1.0) == pytest.approx(TURN.at(4.0, 3.0))
    assert level.with_readings("deskew", angle_deg=2.0).unsampled is level.unsampled
    assert smaller.with_pixels(painted).unsampled is None
    assert smaller.with_pixels(painted).moved == smaller.moved


def test_words_keep_the_bent_way_to_their_page() -> None:
    layer = TextLayer(lines=(), width_px=400, height_px=600, to_page=_bent())
    assert TextLayer.from_json(layer.to_json()) == layer
