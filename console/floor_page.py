"""The floor as supervisors read it: figures and words, ready to be shown."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count

from console.alarm_words import alarm_sentence
from pipeline.bureau import Bureau
from pipeline.ledger.alarms import Alarm
from pipeline.ledger.settling import Asked, SettlingLook
from pipeline.ledger.standing import Backlog, FloorReport
from pipeline.model import TaskKind

FRESH_S = 1.0  # how old a look may be that another browser is shown too
MOST_ORDERS = 100  # on one screen
OLD_SCAN_S = 60.0
SCAN_ALARMS = 3  # told on the floor itself
MOST_SETTLING = 20
KINDS = {
    TaskKind.RECEIVE_BATCH: "Receive batches",
    TaskKind.PREPARE_PAGE: "Prepare pages",
    TaskKind.ASSEMBLE_BATCH: "Assemble batches",
    TaskKind.RECOGNIZE_PAGE: "Read pages",
    TaskKind.INSPECT_BATCH: "Quality control: batches",
    TaskKind.INSPECT_PAGE: "Quality control: pages",
    TaskKind.PACKAGE_DOCUMENT: "Write documents",
    TaskKind.PLAN_ROLLS: "Plan rolls",
    TaskKind.WRITE_ROLL: "Write rolls",
    TaskKind.DELIVER_ORDER: "Deliver orders",
}


BOX = (600, 90)  # width and height that a line is drawn in; the screen stretches it
STATES = ("due", "running", "held", "done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure with its name and what else there is to say; `warns` where somebody should look."""

    name: str
    value: str
    more: str
    warns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One order in work; `tone` is good, warn, bad or none."""

    number: str
    priority: str
    remaining: str
    held: str
    finish: str
    due: str
    risk: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KindLine:
    """One kind of task; each cell is a number and its tone: bad, zero, or none."""

    name: str
    cells: Sequence[tuple[str, str]]  # due, running, held, done


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLine:
    """Pages finished in each minute of the last hour, as a line to be drawn in a box of `BOX`; `said` tells it."""

    points: str
    most: int  # pages in a minute at the upper edge
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingLine:
    """One delivery that lies in the inbox and is not taken in yet; `choices` are what may be said about it."""

    key: str
    name: str
    order: str
    files: str
    size: str
    standing: str
    choices: Sequence[tuple[str, str]]  # value and words


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorPage:
    """All that the screen shows."""

    now: str
    alarms: Sequence[str]
    scan_alarms: Sequence[str]
    more_scan_alarms: int
    tiles: Sequence[Tile]
    rate: RateLine
    settling: Sequence[SettlingLine]
    more_settling: int
    orders: Sequence[OrderLine]
    more_orders: int
    kinds: Sequence[KindLine]


class FloorLook:
    """The floor as it stood a moment ago: many browsers ask the ledger once."""

    def __init__(self, bureau: Bureau) -> None:
        self._bureau = bureau
        self._lock = threading.Lock()
        self._page: FloorPage | None = None
        self._until = 0.0

    def page(self) -> FloorPage:
        """The screen."""
        with self._lock:
            if self._page is None or time.monotonic() >= self._until:
                floor = self._bureau.ledger.floor()
                usage = shutil.disk_usage(self._bureau.settings.home)
                scans = self._bureau.ledger.open_alarms(limit=SCAN_ALARMS) if floor.alarms else []
                self._page = floor_page(
                    floor,
                    datetime.now(UTC),
                    free_bytes=usage.free,
                    disk_bytes=usage.total,
                    scans=scans,
                    settling=self._bureau.ledger.settling(limit=MOST_SETTLING),
                    settling_in_all=self._bureau.ledger.count_settling(),
                )
                self._until = time.monotonic() + FRESH_S
            return self._page

    def forget(self) -> None:
        """Somebody has changed what it shows: look anew."""
        with self._lock:
            self._page = None


def floor_page(
    floor: FloorReport,
    now: datetime,
    *,
    free_bytes: int,
    disk_bytes: int,
    scans: Sequence[Alarm] = (),
    settling: Sequence[SettlingLook] = (),
    settling_in_all: int = 0,
) -> FloorPage:
    """The screen of a floor; `scans` are some of the open alarms about scans, `settling` some of what settles."""
    return FloorPage(
        now=f"{now:%Y-%m-%d %H:%M:%S} UTC",
        alarms=floor.faults,
        scan_alarms=[alarm_sentence(alarm) for alarm in scans],
        more_scan_alarms=sum(floor.alarms.values()) - len(scans),
        tiles=(
            Tile(
                name="Pages a minute",
                value=f"{floor.pages_per_minute['5m']:.1f}",
                more="over 5 min; {1m:.1f} over one, {60m:.1f} over an hour".format_map(floor.pages_per_minute),
            ),
            Tile(name="Workers", value=str(floor.workers), more="alive", warns=not floor.workers),
            _held(floor),
            _waiting(floor),
            _disk(free_bytes, disk_bytes),
            _inbox(floor, now),
        ),
        rate=rate_line(floor.pages_by_minute),
        settling=[_settling(one, now) for one in settling],
        more_settling=settling_in_all - len(settling),
        orders=[_order(order, now) for order in sorted(floor.orders, key=_urgency)[:MOST_ORDERS]],
        more_orders=max(0, len(floor.orders) - MOST_ORDERS),
        kinds=[
            KindLine(
                name=KINDS[kind],
                cells=[(_count(states[state]), _tone(state, states[state])) for state in STATES],
            )
            for kind, states in floor.kinds.items()
        ],
    )


def rate_line(by_minute: Sequence[int]) -> RateLine:
    """The line of pages finished a minute, the newest at the right; the scale ends on a round number."""
    busiest = max(by_minute)
    most = next(step for step in _round_numbers() if step >= busiest)
    width, height = BOX
    across = width / (len(by_minute) - 1)
    places = (f"{i * across:.1f},{height * (1 - n / most):.1f}" for i, n in enumerate(by_minute))
    total = sum(by_minute)
    said = (
        f"{_count(total)} pages in the last {len(by_minute)} minutes, "
        f"{_count(busiest)} in the busiest minute, {_count(by_minute[-1])} in the last."
        if total
        else f"No page was finished in the last {len(by_minute)} minutes."
    )
    return RateLine(points=" ".join(places), most=most, said=said)


def _round_numbers() -> Iterator[int]:
    """10, 20, 50, 100 and so on: ends of a scale."""
    return (digit * 10**power for power in count(1) for digit in (1, 2, 5))


def _tone(state: str, number: int) -> str:
    return "zero" if not number else "bad" if state == "held" else ""


def _held(floor: FloorReport) -> Tile:
    held = sum(floor.held.values())
    common = max(floor.held.items(), key=lambda item: item[1], default=None)
    more = "nothing waits for a person" if common is None else f"mostly {common[0][1].replace('-', ' ')}"
    return Tile(name="Held for a person", value=_count(held), more=more, warns=held > 0)


def _waiting(floor: FloorReport) -> Tile:
    priority, seconds = max(floor.oldest_waiting_s.items(), key=lambda item: item[1])
    return Tile(
        name="Waits longest",
        value=_span(seconds) if seconds else "–",
        more=f"the first task, {priority.value}" if seconds else "no task is due",
    )


def _disk(free_bytes: int, disk_bytes: int) -> Tile:
    return Tile(
        name="Free disk",
        value=f"{free_bytes / 1e9:,.0f} GB",
        more=f"of {disk_bytes / 1e9:,.0f} GB",
        warns=free_bytes < 0.05 * disk_bytes,
    )


def _inbox(floor: FloorReport, now: datetime) -> Tile:
    if floor.last_scan is None:
        return Tile(name="Inbox", value="–", more="never looked at", warns=True)
    ago_s = max(0.0, (now - floor.last_scan).total_seconds())
    return Tile(name="Inbox", value=_span(ago_s), more="since it was looked at", warns=ago_s > OLD_SCAN_S)


def _settling(one: SettlingLook, now: datetime) -> SettlingLine:
    quiet_s = max(0.0, (now - one.changed_at).total_seconds())
    standing = {
        Asked.NOTHING: f"settling: unchanged for {_span(quiet_s)}",
        Asked.START: f"starts at the next look, {one.asked_by} says",
        Asked.WAIT: f"waits, {one.asked_by} says",
    }[one.asked]
    choices = {Asked.START: "Start now", Asked.WAIT: "Wait"}
    return SettlingLine(
        key=one.key,
        name=one.name,
        order=one.order_number or "by its ticket",
        files=_count(one.files),
        size=f"{one.size_bytes / 1e6:,.1f} MB",
        standing=standing,
        choices=[(asked.value, words) for asked, words in choices.items() if asked is not one.asked],
    )


def _urgency(order: Backlog) -> tuple[bool, date, str]:
    return order.due is None, order.due or date.max, order.number


def _order(order: Backlog, now: datetime) -> OrderLine:
    risk, tone = risk_of(order, now)
    return OrderLine(
        number=order.number,
        priority=order.priority.value,
        remaining=_count(order.remaining + order.inspection),
        held=_count(order.held),
        finish=_finish(order, now),
        due="–" if order.due is None else order.due.isoformat(),
        risk=risk,
        tone=tone,
    )


def risk_of(order: Backlog, now: datetime) -> tuple[str, str]:
    """Whether the order keeps its due date, in words, and how grave that is. An order is due at the end of its day."""
    waits = f"waits for {_count(order.held)} held pages" if order.held != 1 else "waits for 1 held page"
    if order.inspection and not order.held:
        waits = f"waits for quality control of {_count(order.inspection)} pages"
    if order.due is None:
        return (waits, "warn") if not order.remaining else ("no due date", "none")
    end = datetime(order.due.year, order.due.month, order.due.day, tzinfo=UTC) + timedelta(days=1)
    if now >= end:
        return "overdue", "bad"
    if not order.remaining:
        return waits, "warn"
    if order.earliest is None or order.latest is None:
        return "not known yet", "none"
    if order.earliest >= end:
        return "will be late", "bad"
    if order.latest >= end:
        return "may be late", "warn"
    return ("in time, but for held pages", "warn") if order.held else ("in time", "good")


def _finish(order: Backlog, now: datetime) -> str:
    if not order.remaining:
        return "when held pages are decided" if order.held else "when quality control has passed"
    if order.earliest is None or order.latest is None:
        return "not known: nothing was finished in the last hour"
    first, last = (_moment(moment, now) for moment in (order.earliest, order.latest))
    return first if first == last else f"{first} to {last}"


def _moment(moment: datetime, now: datetime) -> str:
    if moment - now > timedelta(days=365):
        return "over a year"
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _count(number: int) -> str:
    return f"{number:,}"
