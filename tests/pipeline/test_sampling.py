"""Samples: as large as the standard says, drawn by a seed alone, and the same for whoever draws again."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.profile import QcRules
from pipeline.sampling import AQLS, LETTERS, LEVELS, SAMPLE_SIZES, drawn, page_ids_in, spans, z14_plan

IDS = st.sets(st.integers(1, 10_000), max_size=200)
# lot sizes, letter; then for AQL 0.65, 1.0, 1.5 and 2.5 the letter whose plan is used, its sample and what it accepts
LEVEL_II = [
    ((91, 150), ("F", 20, 0), ("E", 13, 0), ("G", 32, 1), ("F", 20, 1)),
    ((151, 280), ("F", 20, 0), ("H", 50, 1), ("G", 32, 1), ("G", 32, 2)),
    ((281, 500), ("J", 80, 1), ("H", 50, 1), ("H", 50, 2), ("H", 50, 3)),
    ((501, 1_200), ("J", 80, 1), ("J", 80, 2), ("J", 80, 3), ("J", 80, 5)),
    ((1_201, 3_200), ("K", 125, 2), ("K", 125, 3), ("K", 125, 5), ("K", 125, 7)),
    ((3_201, 10_000), ("L", 200, 3), ("L", 200, 5), ("L", 200, 7), ("L", 200, 10)),
    ((10_001, 35_000), ("M", 315, 5), ("M", 315, 7), ("M", 315, 10), ("M", 315, 14)),
    ((35_001, 150_000), ("N", 500, 7), ("N", 500, 10), ("N", 500, 14), ("N", 500, 21)),
]


@pytest.mark.parametrize("row", LEVEL_II, ids=lambda row: str(row[0]))
def test_the_plans_of_level_two_are_those_of_the_standard(row: tuple[tuple[int, int], *tuple[object, ...]]) -> None:
    for pages in row[0]:
        for aql, plan in zip((0.65, 1.0, 1.5, 2.5), row[1:], strict=True):
            found = z14_plan(pages, "II", aql)
            assert (found.letter, found.sample, found.accept) == plan, (pages, aql)


@pytest.mark.parametrize(
    ("pages", "level", "aql", "plan"),
    [
        (400, "I", 1.0, ("E", 13, 0)),  # letter F: arrow up
        (400, "III", 1.0, ("J", 80, 2)),
        (2_000, "I", 4.0, ("H", 50, 5)),
        (2_000, "III", 0.10, ("K", 125, 0)),  # letter L: arrow up
        (600_000, "II", 0.10, ("Q", 1_250, 3)),
        (600_000, "III", 6.5, ("L", 200, 21)),  # arrows up to the last plan of the column
        (30, "II", 0.65, ("F", 20, 0)),  # arrow down
    ],
)
def test_levels_and_arrows_lead_to_the_plan_of_the_standard(
    pages: int, level: str, aql: float, plan: tuple[str, int, int]
) -> None:
    found = z14_plan(pages, level, aql)
    assert (found.letter, found.sample, found.accept) == plan


@given(st.integers(0, 2_000_000), st.sampled_from(list(LEVELS)), st.sampled_from(list(AQLS)))
def test_every_lot_has_a_plan_of_the_table_and_never_more_pages_than_the_lot(
    pages: int, level: str, aql: float
) -> None:
    plan = z14_plan(pages, level, aql)
    assert plan.sample == min(pages, SAMPLE_SIZES[LETTERS.index(plan.letter)])
    assert plan.accept in (0, 1, 2, 3, 5, 7, 10, 14, 21)


def test_a_sample_as_large_as_the_lot_is_the_lot() -> None:
    assert z14_plan(12, "II", 0.65).sample == 12
    assert z14_plan(1, "II", 6.5).sample == 1


@given(IDS, st.integers(0, 300), st.text(max_size=40))
def test_a_sample_can_be_drawn_again_from_the_lot_and_the_seed(ids: set[int], sample: int, seed: str) -> None:
    first = drawn(ids, sample, seed)
    assert first == drawn(sorted(ids, reverse=True), sample, seed)
    assert len(first) == min(sample, len(ids)) and set(first) <= ids and first == sorted(first)


def test_how_a_sample_is_drawn_never_changes() -> None:
    seed = "0123456789abcdef"
    assert drawn(range(1, 1_001), 8, seed) == [17, 270, 369, 523, 578, 583, 769, 830]  # as sha256sum and sort find them
    first = min(range(1, 1_001), key=lambda page: hashlib.sha256(f"{seed}:{page}".encode()).hexdigest())
    assert drawn(range(1, 1_001), 1, seed) == [first]


def test_every_page_is_drawn_as_often_as_any_other() -> None:
    times = [0] * 50
    for seed in range(2_000):
        for page in drawn(range(50), 10, str(seed)):
            times[page] += 1
    assert sum(times) == 20_000
    assert min(times) > 330 and max(times) < 470  # 400 each; nearly four standard deviations (17.9)


@given(IDS)
def test_the_lot_is_kept_in_short_and_whole(ids: set[int]) -> None:
    assert page_ids_in(spans(ids)) == sorted(ids)


def test_runs_of_pages_are_kept_as_runs() -> None:
    assert spans([7, 3, 4, 5, 9, 10]) == "3-5 7 9-10"


def test_other_plans_draw_a_share_or_all() -> None:
    assert QcRules(plan="percent", percent=10).sampling(101).sample == 11
    assert QcRules(plan="percent", percent=0.1).sampling(5).sample == 1
    assert QcRules(plan="all", accept=2).sampling(7) == QcRules(plan="percent", percent=100, accept=2).sampling(7)
    assert QcRules(plan="z1.4", level="II", aql=1.5).sampling(400).sample == 50


def test_an_aql_that_is_in_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the tables have 0\.1, 0\.15"):
        QcRules(plan="z1.4", aql=1.2)
