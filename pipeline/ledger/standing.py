"""How the floor stands, from tallies and partial indexes alone: a million tasks are asked in milliseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
)  # fmt: skip

from pipeline.ledger import tables as t
from pipeline.ledger.tallies import LEFT, PAGE
from pipeline.ledger.work import DEAD_AFTER_MS, IS_OUT, LAST_SCAN, Work
from pipeline.model import (
    EXPECTED_SECONDS,
    PAGE_TASKS,
    AlarmKind,
    Exclusion,
    Inspection,
    LotState,
    OrderStatus,
    Priority,
    Service,
    TaskKind,
    TaskState,
)

_MINUTE_MS = 60_000
MINUTES = 60  # of work that the floor shows
_SHORT_MS, _LONG_MS = (
    5 * _MINUTE_MS,
    MINUTES * _MINUTE_MS,
)  # over which the rate of work is measured: the last, and the usual
_LEAST_MS = 30_000  # a rate measured over less is that of single pages
_MOST_FINISHED = 20_000  # tasks that a rate is measured on: minutes of the largest floor
_KINDS = frozenset(kind.value for kind in TaskKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What an order still waits for, and when it may be finished at the rates of the last hour.

    `earliest` and `latest` are None while nothing was finished in the last hour, and where no page is `remaining`:
    the order then waits for its `held` pages, or for people who look at those under `inspection`.
    """

    number: str
    priority: Priority
    due: date | None
    remaining: int
    held: int
    inspection: int
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTotals:
    """What became of all pages ever received."""

    received: int
    billable: int
    excluded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorReport:
    """What is due, runs, is done and is held, by kind; how fast it goes; and who works."""

    kinds: Mapping[TaskKind, Mapping[str, int]]
    held: Mapping[tuple[TaskKind, str], int]  # by kind and code
    pages: PageTotals
    pages_by_minute: Sequence[int]  # made billable in each of the last 60 minutes, the newest last
    orders: Sequence[Backlog]
    workers: int  # that are alive and take tasks
    oldest_waiting_s: Mapping[Priority, float]  # how long the first task that could be handed out has waited
    last_scan: datetime | None  # of the inbox
    counted: Mapping[tuple[str, str], int]  # what workers counted, by name and label
    alarms: Mapping[AlarmKind, int]  # that nobody has seen, by kind
    faults: Sequence[str]  # orders whose counts contradict each other; there must be none

    @property
    def pages_per_minute(self) -> Mapping[str, float]:
        """The mean over the last minute, the last five, the last hour."""
        return {f"{minutes}m": round(sum(self.pages_by_minute[-minutes:]) / minutes, 2) for minutes in (1, 5, MINUTES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrderTallies:
    """An order that is not delivered: its pages, and what is left to do for it."""

    number: str
    priority: Priority
    weight: float
    due: date | None
    reads_text: bool
    received: int
    done: int  # billable or left out
    held: int
    inspected: int  # pages of batches that are under quality control before delivery
    to_read: int  # pages whose reading is due or under way
    tasks_left: int
    tasks_held: int
    left_s: float  # what the tasks left are expected to take

    @property
    def open(self) -> int:
        """Pages that are still worked on, or wait to be looked at."""
        return self.received - self.done - self.held

    @property
    def inspection(self) -> int:
        """Pages of these that wait for people only; of those under quality control some may be held."""
        return max(0, min(self.open, self.inspected))


class Standing(Work):
    """The part of the ledger that says how the work goes."""

    def floor(self) -> FloorReport:
        """How the floor stands."""
        with self.read() as c:
            now = int(c.execute(select(t.now_ms())).scalar_one())
            totals = _totals(c)
            orders = _unfinished_orders(c)
            return FloorReport(
                kinds=_kinds(c, totals),
                held=_held(c),
                pages=_pages(totals),
                pages_by_minute=_billed_by_minute(c, now),
                orders=_backlogs(orders, now, _rates(c, now)),
                workers=int(
                    c.execute(
                        select(func.count()).where(
                            t.workers.c.threads > 0, t.workers.c.seen_ms + DEAD_AFTER_MS > t.now_ms()
                        )
                    ).scalar_one()
                ),
                oldest_waiting_s=_oldest_waiting_s(c, now),
                last_scan=_moment(c.scalar(select(t.counters.c.value).where(t.counters.c.name == LAST_SCAN))),
                counted={key: n for key, n in totals.items() if key[0] != PAGE and key[0] not in _KINDS},
                alarms=_alarms(c),
                faults=_faults(orders),
            )

    def pages_done(self) -> tuple[int, int]:
        """How many pages are billed or left out, and how many there are."""
        with self.read() as c:
            pages = _pages(_totals(c, t.tallies.c.name == PAGE))
            return pages.billable + pages.excluded, pages.received

    def unfinished(self) -> int:
        """How many tasks are due, sent or running."""
        with self.read() as c:
            return sum(_totals(c, t.tallies.c.label == LEFT).values())

    def held(self) -> int:
        """How many tasks wait for a person."""
        with self.read() as c:
            return sum(_held(c).values())


def _totals(c: Connection, *where: Any) -> dict[tuple[str, str], int]:
    thing = (t.tallies.c.name, t.tallies.c.label)
    return {
        (row.name, row.label): int(row.n)
        for row in c.execute(select(*thing, func.sum(t.tallies.c.n).label("n")).where(*where).group_by(*thing))
    }


def _pages(totals: Mapping[tuple[str, str], int]) -> PageTotals:
    return PageTotals(
        received=totals.get((PAGE, "received"), 0),
        billable=totals.get((PAGE, "billable"), 0),
        excluded=sum(totals.get((PAGE, reason.value), 0) for reason in Exclusion),
    )


def _kinds(c: Connection, totals: Mapping[tuple[str, str], int]) -> dict[TaskKind, dict[str, int]]:
    # few rows, counted here: grouped there, SQLite would go through all tasks in the order of an index by kind
    out = c.execute(select(t.tasks.c.kind, t.tasks.c.state).where(IS_OUT))
    running = Counter(row.kind for row in out if row.state == TaskState.RUNNING)
    return {
        kind: {
            "due": totals.get((kind, LEFT), 0) - running[kind],
            "running": running[kind],
            "done": totals.get((kind, "done"), 0),
            "held": totals.get((kind, "held"), 0),
        }
        for kind in TaskKind
    }


def _held(c: Connection) -> dict[tuple[TaskKind, str], int]:
    # not the bare column: to group by that, SQLite would go through all tasks in the order of an index by kind
    kind: ColumnElement[str] = literal_column("tasks.kind || ''").label("held_kind")
    return {
        (TaskKind(row.held_kind), row.code or ""): row.n
        for row in c.execute(
            select(kind, t.tasks.c.code, func.count().label("n"))
            .where(literal_column("tasks.state = 'held'"))
            .group_by("held_kind", t.tasks.c.code)
        )
    }


def _billed_by_minute(c: Connection, now: int) -> list[int]:
    minutes = [0] * MINUTES
    ago = ((literal(now, BigInteger) - t.billables.c.at_ms) // _MINUTE_MS).label("ago")
    recent = t.billables.c.at_ms > now - MINUTES * _MINUTE_MS
    for row in c.execute(select(ago, func.count().label("n")).where(recent).group_by("ago")):
        minutes[-1 - max(0, int(row.ago))] += row.n
    return minutes


def _alarms(c: Connection) -> dict[AlarmKind, int]:
    rows = c.execute(select(t.alarms.c.kind, func.count().label("n")).where(alarm_is_open()).group_by(t.alarms.c.kind))
    return {AlarmKind(row.kind): int(row.n) for row in rows}


def alarm_is_open() -> ColumnElement[bool]:
    """Whether nobody has seen an alarm, and it is not over by itself."""
    return and_(t.alarms.c.seen_ms.is_(null()), t.alarms.c.over_ms.is_(null()))


def _oldest_waiting_s(c: Connection, now: int) -> dict[Priority, float]:
    def first(where: Any) -> Any:
        return (
            select(func.min(t.tasks.c.changed_ms))
            .where(literal_column("tasks.state = 'due'"), where, t.tasks.c.not_before_ms <= now)
            .scalar_subquery()
        )

    # an order's first is one look into the index; deliveries that have no order yet count as normal work
    found = {
        Priority(row.priority): row.since
        for row in c.execute(
            select(t.orders.c.priority, func.min(first(t.tasks.c.order_id == t.orders.c.id)).label("since"))
            .where(t.orders.c.status != OrderStatus.DELIVERED)
            .group_by(t.orders.c.priority)
        )
    }
    moments = [found.get(Priority.NORMAL), c.scalar(select(first(t.tasks.c.order_id.is_(None))))]
    found[Priority.NORMAL] = min((moment for moment in moments if moment is not None), default=None)
    return {
        priority: 0.0 if found.get(priority) is None else max(0, now - found[priority]) / 1000.0
        for priority in Priority
    }


def _unfinished_orders(c: Connection) -> list[_OrderTallies]:
    def tallied(*where: Any, n: Any = t.tallies.c.n) -> Any:
        return func.coalesce(func.sum(n).filter(and_(*where)), 0)

    name, label = t.tallies.c.name, t.tallies.c.label
    seconds = case(dict(EXPECTED_SECONDS), value=name, else_=0.0) * t.tallies.c.n
    inspected = (
        select(func.coalesce(func.sum(t.lots.c.pages), 0))
        .where(
            t.lots.c.order_id == t.orders.c.id,
            t.lots.c.inspection == Inspection.BEFORE,
            t.lots.c.state != LotState.PASSED,
        )
        .scalar_subquery()
    )
    rows = c.execute(
        select(
            t.orders.c.number,
            t.orders.c.priority,
            t.orders.c.weight,
            t.orders.c.due,
            t.orders.c.services,
            tallied(name == PAGE, label == "received").label("received"),
            tallied(name == PAGE, label.in_(("billable", *Exclusion))).label("done"),
            tallied(name.in_(tuple(PAGE_TASKS)), label == "held").label("held"),
            inspected.label("inspected"),
            tallied(name == TaskKind.RECOGNIZE_PAGE, label == LEFT).label("to_read"),
            tallied(label == LEFT).label("tasks_left"),
            tallied(label == "held").label("tasks_held"),
            tallied(label == LEFT, n=seconds).label("left_s"),
        )
        .join(t.tallies, t.tallies.c.order_id == t.orders.c.id)
        .where(t.orders.c.status != OrderStatus.DELIVERED)
        .group_by(t.orders.c.id)
        .order_by(t.orders.c.virtual_ms, t.orders.c.id)
    )
    return [
        _OrderTallies(
            number=row.number,
            priority=Priority(row.priority),
            weight=row.weight,
            due=None if row.due is None else date.fromisoformat(row.due),
            reads_text=Service.IMAGING in row.services.split(","),
            received=int(row.received),
            done=int(row.done),
            held=int(row.held),
            inspected=int(row.inspected),
            to_read=int(row.to_read),
            tasks_left=int(row.tasks_left),
            tasks_held=int(row.tasks_held),
            left_s=float(row.left_s),
        )
        for row in rows
    ]


def _faults(orders: Sequence[_OrderTallies]) -> tuple[str, ...]:
    """What can never be: more pages accounted for than received, or open ones for which nothing is left to be done."""
    faults = []
    for one in orders:
        if one.open < 0:
            faults.append(f"{one.number}: {one.received} pages were received, {one.done + one.held} are done or held.")
        elif one.open and not one.tasks_left and not one.tasks_held:
            faults.append(f"{one.number}: {one.open} pages are open, and there is nothing to be done for them.")
    return tuple(faults)


def _backlogs(orders: Sequence[_OrderTallies], now: int, rates: Sequence[float]) -> list[Backlog]:
    unfinished = [one for one in orders if one.open or one.held]
    finish_s = finishing_s([_cost_s(one) for one in unfinished], [one.weight for one in unfinished])

    def at(work_s: float, rate: float) -> datetime | None:
        return _moment(now + round(1000 * work_s / rate))

    return [
        Backlog(
            number=one.number,
            priority=one.priority,
            due=one.due,
            remaining=one.open - one.inspection,
            held=one.held,
            inspection=one.inspection,
            earliest=at(work_s, max(rates)) if rates and one.open > one.inspection else None,
            latest=at(work_s, min(rates)) if rates and one.open > one.inspection else None,
        )
        for one, work_s in zip(unfinished, finish_s, strict=True)
    ]


def _cost_s(one: _OrderTallies) -> float:
    """Seconds of work that an order still takes, pages counted whose reading becomes due only later."""
    later = max(0, one.open - one.inspection - one.to_read) if one.reads_text else 0
    return one.left_s + later * EXPECTED_SECONDS[TaskKind.RECOGNIZE_PAGE]


def finishing_s(costs_s: Sequence[float], weights: Sequence[float]) -> list[float]:
    """How much work the whole floor has done when each order is finished, if they share it by their weights.

    An order that is finished leaves its share to the others, as the feeder does.
    """
    order = sorted(range(len(costs_s)), key=lambda i: costs_s[i] / weights[i])
    done = [0.0] * len(costs_s)
    work_s, turn, sharing = 0.0, 0.0, sum(weights)
    for i in order:
        work_s += (costs_s[i] / weights[i] - turn) * sharing
        turn = costs_s[i] / weights[i]
        sharing -= weights[i]
        done[i] = work_s
    return done


def _rates(c: Connection, now: int) -> list[float]:
    """Seconds of work on pages (as expected of each kind) that the floor did a second: of late, and over the hour."""
    rates = []
    for window_ms in (_SHORT_MS, _LONG_MS):
        newest = (
            select(t.tasks.c.kind, t.tasks.c.finished_ms)
            .where(t.tasks.c.finished_ms > now - window_ms)
            .order_by(t.tasks.c.finished_ms.desc())
            .limit(_MOST_FINISHED)
            .subquery()
        )
        # the kinds out here: in there, SQLite would look for them first, and find every page that was ever done
        finished = c.execute(
            select(newest.c.kind, func.count().label("n"), func.min(newest.c.finished_ms).label("since"))
            .where(newest.c.kind.in_(tuple(PAGE_TASKS)))
            .group_by(newest.c.kind)
        ).all()
        if finished:
            work_s = sum(row.n * EXPECTED_SECONDS[TaskKind(row.kind)] for row in finished)
            rates.append(1000.0 * work_s / max(_LEAST_MS, now - min(row.since for row in finished)))
    return rates


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000.0, tz=UTC)
