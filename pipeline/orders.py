"""Opening a work order, as the terminal and the console do it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime

from pipeline.bureau import Bureau
from pipeline.intake import is_junk
from pipeline.model import Priority, Service, WorkOrder

MOST_PAGES = 1_000_000_000


class BadOrder(ValueError):
    """What was asked for cannot be an order; the sentence says what to change."""


def open_order(
    bureau: Bureau,
    *,
    customer: str,
    profile: str,
    services: Collection[Service],
    priority: Priority,
    who: str,
    number: str | None = None,
    title: str = "",
    series: str = "",
    due: date | None = None,
    expect_pages: int | None = None,
    boxes: tuple[str, ...] = (),
    why: str = "",
) -> WorkOrder:
    """Open a work order and make its folder in the inbox; without services it is for imaging.

    Raises:
        BadOrder: a name cannot be used, or there is no such profile.
        OrderNotOpen: there is an order with this number already.
    """
    for what, name in (("customer", customer), ("number", number or "x")):
        if not is_name(name):
            raise BadOrder(
                f"{what}: a letter or digit, then letters, digits, '.', '_' and '-', at most 40, is {name!r}"
            )
    if is_junk(number or ""):
        raise BadOrder(f"number: the inbox passes by folders with a name like {number!r}; choose another")
    if expect_pages is not None and not 0 <= expect_pages <= MOST_PAGES:
        raise BadOrder(f"expected pages: a number from 0 to {MOST_PAGES:,}, is {expect_pages}")
    chosen = bureau.profiles.get(profile)
    if chosen is None:
        raise BadOrder(f"there is no profile {profile!r}; there are {', '.join(bureau.profiles)}")
    order = bureau.ledger.open_order(
        customer=customer,
        profile=chosen,
        services=frozenset(services or [Service.IMAGING]),
        priority=priority,
        year=datetime.now(UTC).year,
        who=who,
        number=number,
        title=title,
        series=series,
        due=due,
        expect_pages=expect_pages,
        boxes=boxes,
        why=why,
    )
    (bureau.settings.folder("inbox") / order.number).mkdir(exist_ok=True)
    return order


def is_name(text: str) -> bool:
    """Whether customers, orders and users may be called so: it can be a folder, an address, a code on a ticket."""
    return 0 < len(text) <= 40 and text.isascii() and all(c.isalnum() or c in "._-" for c in text) and text[0].isalnum()
