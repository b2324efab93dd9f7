"""What a bill promises: exact decimals, today's price, nothing charged twice, a bad price list refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing import BadRateCard, Fee, RateCard, charges, load_rate_card
from pipeline.model import Charge, Usage

TODAY = date(2026, 3, 1)
ROOT = Path(__file__).resolve().parents[2]

CARD = """
name = "standard"
currency = "USD"

[[fee]]
code = "IMG"
title = "Imaging"
counts = "billable_pages"
price = "0.1000"
effective_from = 2015-11-01
"""


def _fee(price: str = "0.1000", **more: object) -> Fee:
    values = {"code": "IMG", "title": "Imaging", "counts": "billable_pages", "effective_from": date(2015, 11, 1)}
    return Fee.model_validate({**values, "price": price, **more})


def _charged(usage: Usage, *fees: Fee, before: list[Charge] | None = None, on: date = TODAY) -> list[Charge]:
    return charges(usage, before or [], RateCard(name="test", fee=fees), on=on, delivery=1)


def _written(tmp_path: Path, text: str, name: str = "standard") -> RateCard:
    (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    return load_rate_card(tmp_path, "ANY", name)


def test_an_amount_is_quantity_times_price_to_the_cent() -> None:
    [line] = _charged(Usage(billable_pages=112), _fee())
    assert (line.quantity, line.unit_price, line.amount) == (Decimal(112), Decimal("0.1000"), Decimal("11.20"))


@pytest.mark.parametrize(("pages", "amount"), [(1, "0.09"), (3, "0.26"), (7, "0.60"), (100, "8.50")])
def test_half_a_cent_is_rounded_up(pages: int, amount: str) -> None:
    # 0.085 -> 0.09 and 0.255 -> 0.26: neither a float nor rounding to even gives both
    [line] = _charged(Usage(billable_pages=pages), _fee("0.0850"))
    assert line.amount == Decimal(amount)


@given(st.integers(1, 10**9), st.decimals(0, 1000, places=4))
def test_no_amount_is_off_by_more_than_half_a_cent(pages: int, price: Decimal) -> None:
    [line] = _charged(Usage(billable_pages=pages), _fee(f"{price:f}"))
    assert abs(line.amount - pages * price) <= Decimal("0.005")
    assert line.amount == line.amount.quantize(Decimal("0.01"))


def test_a_price_counts_from_its_first_to_its_last_day() -> None:
    old = _fee("0.1000", effective_to=date(2026, 2, 28))
    new = _fee("0.2000", effective_from=date(2026, 3, 1))
    for day, price in ((date(2015, 11, 1), "0.1"), (date(2026, 2, 28), "0.1"), (date(2026, 3, 1), "0.2")):
        [line] = _charged(Usage(billable_pages=1), old, new, on=day)
        assert line.unit_price == Decimal(price)
    assert _charged(Usage(billable_pages=1), old, new, on=date(2015, 10, 31)) == []


@pytest.mark.parametrize(("pages", "units"), [(1, 1), (99, 1), (100, 1), (101, 2)])
def test_a_part_of_a_unit_counts_as_a_whole_one(pages: int, units: int) -> None:
    [line] = _charged(Usage(billable_pages=pages), _fee("5", unit_size=100))
    assert line.quantity == units
    assert line.amount == 5 * units


def test_a_second_delivery_charges_only_what_came_since() -> None:
    first = _charged(Usage(billable_pages=100), _fee())
    [second] = _charged(Usage(billable_pages=130), _fee(), before=first)
    assert (second.quantity, second.amount) == (Decimal(30), Decimal("3.00"))
    assert _charged(Usage(billable_pages=130), _fee(), before=[*first, second]) == []


def test_what_was_not_done_is_no_line_on_the_bill() -> None:
    fees = (_fee(), _fee("0.06", code="FILM", counts="film_frames"))
    assert [line.fee_code for line in _charged(Usage(billable_pages=1), *fees)] == ["IMG"]


def test_everything_that_can_be_counted_can_be_charged() -> None:
    usage = Usage(billable_pages=2, documents=3, film_frames=4, rolls=5)
    fees = [
        _fee("1", code=code, counts=counts)
        for code, counts in (("A", "billable_pages"), ("B", "documents"), ("C", "film_frames"), ("D", "rolls"))
    ]
    assert [line.quantity for line in _charged(usage, *fees)] == [2, 3, 4, 5]


def test_the_customers_own_card_goes_before_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "standard.toml").write_text(CARD, encoding="utf-8")
    (tmp_path / "dphhs.toml").write_text(CARD.replace('"0.1000"', '"0.0900"'), encoding="utf-8")
    assert load_rate_card(tmp_path, "DPHHS", "standard").fee[0].price == Decimal("0.09")
    assert load_rate_card(tmp_path, "OTHER", "standard").fee[0].price == Decimal("0.10")


def test_the_card_that_comes_with_the_house_is_good() -> None:
    card = load_rate_card(ROOT / "profiles" / "rates", "NOBODY", "standard")
    assert {fee.code: fee.price for fee in card.fee} == {"IMG": Decimal("0.10"), "FILM": Decimal("0.06")}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (CARD.replace('"0.1000"', "0.1"), "fee.1.price: write the price in quotes"),
        (CARD.replace('"0.1000"', '"0.10001"'), "fee.1.price: at most four decimals"),
        (CARD.replace('"0.1000"', '"-1"'), "fee.1.price"),
        (CARD.replace('"0.1000"', '"1e30"'), "fee.1.price"),
        (CARD.replace('"0.1000"', '"NaN"'), "fee.1.price"),
        (CARD.replace('"0.1000"', '"ten cents"'), "fee.1.price"),
        (CARD.replace("billable_pages", "hours"), "fee.1.counts"),
        (CARD + 'discount = "0.5"\n', "fee.1.discount"),
        (CARD + "unit_size = 0\n", "fee.1.unit_size"),
        (CARD + "effective_to = 2015-10-31\n", "never be in force"),
        (CARD + CARD[CARD.index("[[fee]]") :], "two fees IMG are in force at the same time"),
        ("name = [", "standard.toml"),
    ],
)
def test_a_bad_card_is_refused_with_the_place_and_the_fault(tmp_path: Path, fault: str, told: str) -> None:
    with pytest.raises(BadRateCard) as refused:
        _written(tmp_path, fault)
    assert told in str(refused.value)
    assert "standard.toml" in str(refused.value)
    assert "pydantic" not in str(refused.value)


def test_a_missing_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRateCard, match=r"There is no rate card gold\.toml"):
        load_rate_card(tmp_path, "ANY", "gold")


def test_a_new_price_may_follow_the_old_one_under_the_same_code(tmp_path: Path) -> None:
    later = CARD[CARD.index("[[fee]]") :].replace("2015-11-01", "2026-01-01").replace('"0.1000"', '"0.12"')
    card = _written(tmp_path, CARD + "effective_to = 2025-12-31\n" + later)
    assert [fee.price for fee in card.fees_on(TODAY)] == [Decimal("0.12")]
