"""What people read: text from outside made harmless, and what the ledger keeps said in their words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from console.floor_page import risk_of
from pipeline.ledger.lookups import BILLABLE, HELD, OPEN, OrderLook
from pipeline.ledger.standing import Backlog
from pipeline.model import Event, Exclusion, LotState, OrderStatus
from pipeline.people import is_worker

# how a page stands, in words, and how grave that is
PAGE_STATES: Mapping[str, tuple[str, str]] = {
    BILLABLE: ("billable", "good"),
    HELD: ("held for a person", "bad"),
    OPEN: ("in work", "warn"),
    Exclusion.SEPARATOR: ("left out: separator", "none"),
    Exclusion.BLANK: ("left out: blank", "none"),
    Exclusion.RESCAN: ("left out: scanned again", "none"),
    Exclusion.WAIVED: ("left out: waived", "none"),
}
EXCLUSIONS: Mapping[Exclusion, str] = {
    Exclusion.SEPARATOR: "separators",
    Exclusion.BLANK: "blank",
    Exclusion.RESCAN: "scanned again",
    Exclusion.WAIVED: "waived",
}
# how a batch stands in quality control, in words, and how grave that is
LOT_STATES: Mapping[LotState, tuple[str, str]] = {
    LotState.GATHERING: ("being read", "none"),
    LotState.SAMPLE: ("sample to be looked at", "warn"),
    LotState.FULL: ("every page to be looked at", "warn"),
    LotState.PASSED: ("passed", "good"),
}
# what of an event's detail people are told; digests and readings have their own places
_TOLD = (
    "why", "sentence", "reason", "name", "pages", "documents", "rolls", "package", "file", "days", "folder", "seconds",
    "plan", "verdict", "defect", "note", "scanned_by",
)  # fmt: skip
_LONGEST_DETAIL = 400  # signs


def shown(text: str) -> str:
    """Text from outside, without signs that a terminal obeys, that hide, or that turn the writing round."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)


def typed(text: str) -> str:
    """What somebody typed, as the records keep it: on one line, without signs that steer a screen."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()


def shown_in_templates(value: object) -> object:
    """What a template puts out, text by `shown`; markup of our own stays."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def time_of(moment: datetime) -> str:
    """A moment as every screen tells it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def standing_of(look: OrderLook, backlog: Backlog | None, now: datetime) -> tuple[str, str]:
    """How an order stands with its due date, in words, and how grave that is: good, warn, bad or none.

    `backlog` is what it still waits for; None when no page is open or held.
    """
    order = look.order
    if order.status is OrderStatus.DELIVERED:
        return "delivered", "good"
    if backlog is not None:
        return risk_of(backlog, now)
    if order.due is not None and now >= datetime(*order.due.timetuple()[:3], tzinfo=UTC) + timedelta(days=1):
        return "overdue", "bad"
    if not look.pages.received:
        return "nothing received yet", "none"
    return ("waits to be closed", "warn") if order.status is OrderStatus.OPEN else ("being finished", "none")


def against_expected(look: OrderLook) -> tuple[str, str]:
    """Pages received against pages expected, the difference named, and how grave that is."""
    expected, again = look.order.expect_pages, look.pages.excluded.get(Exclusion.RESCAN, 0)
    if expected is None:
        return "Nobody said how many pages to expect.", "none"
    came = look.pages.received - again
    not_counted = f" (not counting {_pages(again)} scanned again)" if again else ""
    told = f"{_pages(expected)} expected, {came:,} received{not_counted}"
    if came == expected:
        return f"{told}: as expected.", "good"
    few_or_many = "too few" if came < expected else "too many"
    return f"{told}: {_pages(abs(came - expected))} {few_or_many}.", "warn"


def detail_of(event: Event) -> str:
    """What an event tells beyond who did what."""
    parts = []
    for name in _TOLD:
        value = event.detail.get(name)
        if value not in (None, "", []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(text if name in ("why", "sentence", "reason") else f"{name.replace('_', ' ')}: {text}")
    told = "; ".join(parts)
    return told if len(told) <= _LONGEST_DETAIL else told[:_LONGEST_DETAIL] + " …"


def who_of(event: Event) -> str:
    """Who did it: a person's name; workers have names that nobody knows."""
    return "the floor" if is_worker(event.who) else event.who


def outcome_of(event: Event) -> str:
    """How an event ended; empty when it simply was done."""
    return "" if event.outcome == "done" else event.outcome


def _pages(number: int) -> str:
    return f"{number:,} page" if number == 1 else f"{number:,} pages"
