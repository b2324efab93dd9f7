"""Alarms: what is the matter with scans, a row a page as it is found, and one alarm for all pages of a scanner.

Workers only add rows, in the transaction of the page, and wait for nobody; a feeder makes alarms of them a few seconds
later. An alarm is open until somebody has seen it. What was received before that moment still counts for it; what came
later is a new alarm: the glass has been cleaned, or it has not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, null, or_, select, update

from pipeline.ledger import tables as t
from pipeline.ledger.reports import Reports, moment
from pipeline.ledger.standing import alarm_is_open
from pipeline.ledger.tallies import PAGE
from pipeline.ledger.work import add_event, insert_if_new
from pipeline.model import AlarmKind, Exclusion, Page, PageAlarm, PageId

FOLDED_AT_ONCE = 2_000  # pages; a feeder must not keep the write lock for seconds
PAGES_SHOWN = 12  # of an alarm: enough to look at, and to find the sheets by
SEEN_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmPage:
    """A page of an alarm, as people find it."""

    id: PageId
    order: str
    batch: str
    number: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm: of a scanner, or of an order where the files name none.

    `scanner` is empty where it is not known; `batch` is then told as long as all its pages are of one. `pages` counts
    all of them, `newest` are the last few.
    """

    id: int
    kind: AlarmKind
    scanner: str
    order: str | None  # of an alarm of an order
    batch: str | None
    pages: int
    what: str
    first_at: datetime
    last_at: datetime
    newest: Sequence[AlarmPage]
    seen_at: datetime | None = None
    seen_by: str = ""
    said: str = ""
    over_at: datetime | None = None


class NoSuchAlarm(LookupError):
    """There is no open alarm with this number: it never was, is over, or somebody has seen it."""

    def __init__(self, alarm_id: int) -> None:
        super().__init__(f"There is no open alarm {alarm_id}. See: platen alarms list")


class Alarms(Reports):
    """The part of the ledger that tells what is the matter with scans."""

    def fold_alarms(self) -> int:
        """Make alarms of the pages that were noted since; gives of how many. Several may fold at once."""
        waiting = t.alarm_pages.c.alarm_id.is_(null())
        with self.read() as c:  # asked before taking the write lock
            if not c.scalar(select(select(t.alarm_pages.c.id).where(waiting).exists())):
                return 0
        with self.write() as c:
            rows = c.execute(
                select(t.alarm_pages, t.pages.c.order_id, t.pages.c.batch_id, t.batches.c.received_ms)
                .join(t.pages, t.pages.c.id == t.alarm_pages.c.page_id)
                .join(t.batches, t.batches.c.id == t.pages.c.batch_id)
                .where(waiting)
                .order_by(t.alarm_pages.c.id)
                .limit(FOLDED_AT_ONCE)
                .with_for_update(skip_locked=True, of=t.alarm_pages)
            ).all()
            groups: defaultdict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
            for row in rows:
                groups[row.kind, f"scanner {row.scanner}" if row.scanner else f"order {row.order_id}"].append(row)
            for (kind, origin), group in sorted(groups.items()):  # in one order, or two could wait for each other
                seen = c.execute(
                    select(t.alarms.c.id, t.alarms.c.seen_ms)
                    .where(t.alarms.c.kind == kind, t.alarms.c.origin == origin, t.alarms.c.seen_ms.is_not(null()))
                    .order_by(t.alarms.c.seen_ms.desc())
                    .limit(1)
                ).first()
                older = [row for row in group if seen is not None and row.received_ms < seen.seen_ms]
                newer = [row for row in group if seen is None or row.received_ms >= seen.seen_ms]
                if seen is not None and older:
                    _add(c, seen.id, older)
                if newer:
                    first = newer[0]
                    alarm_id = _opened(
                        c, kind, origin,
                        scanner=first.scanner,
                        order_id=None if first.scanner else first.order_id,
                        batch_id=None if first.scanner else first.batch_id,
                        event_of=first.order_id,
                    )  # fmt: skip
                    _add(c, alarm_id, newer)
            return len(rows)

    def pages_beside(self, page: Page, *, reach: int) -> list[Page]:
        """The prepared pages of its batch that lie at most `reach` sides before or after it, in their order."""
        sequence = t.pages.c.sequence
        return self._pages(_is_beside(page) & sequence.between(page.sequence - reach, page.sequence + reach))

    def copies_of(self, page: Page) -> list[Page]:
        """The first prepared page before it made from the same page of the same file of its batch, and the next after.

        Whichever copies there are and in whatever order they are prepared, each but the first has this told once.
        """
        same = _is_beside(page) & (t.pages.c.source == page.source) & (t.pages.c.index_in_file == page.index_in_file)
        before = self._pages(same & (t.pages.c.sequence < page.sequence), limit=1)
        return before + self._pages(same & (t.pages.c.sequence > page.sequence), limit=1)

    def note_alarms(self, found: Sequence[tuple[Page, str, PageAlarm]]) -> None:
        """Write down what is the matter with pages that have been prepared; each is given with its scanner."""
        with self.write() as c:
            for page, scanner, alarm in sorted(found, key=lambda one: one[0].id):  # or two could wait for each other
                note_page_alarms(c, page.id, scanner, [alarm])

    def open_alarms(self, *, limit: int | None = None) -> list[Alarm]:
        """What nobody has seen yet, what most pages show first."""
        with self.read() as c:
            return _alarms(c, alarm_is_open(), t.alarms.c.pages.desc(), limit=limit)

    def seen_alarms(self) -> list[Alarm]:
        """What was seen, or went by, last."""
        with self.read() as c:
            ended = func.coalesce(t.alarms.c.seen_ms, t.alarms.c.over_ms)
            return _alarms(c, ended.is_not(null()), ended.desc(), limit=SEEN_SHOWN)

    def note_seen(self, alarm_id: int, *, who: str, said: str) -> None:
        """Somebody has seen an alarm and says what was done.

        Raises:
            NoSuchAlarm: it is not open.
        """
        with self.write() as c:
            row = c.execute(
                update(t.alarms)
                .where(t.alarms.c.id == alarm_id, alarm_is_open())
                .values(seen_ms=t.now_ms(), seen_by=who, said=said)
                .returning(t.alarms.c.order_id, t.alarms.c.kind, t.alarms.c.pages)
            ).first()
            if row is None:
                raise NoSuchAlarm(alarm_id)
            add_event(c, row.order_id, f"alarm {alarm_id}", "alarm seen", who, row.kind, why=said, pages=row.pages)


def _is_beside(page: Page) -> ColumnElement[bool]:
    """Whether it is another page of the batch, prepared and not left out."""
    is_seen = t.pages.c.prepared.is_not(null()) & t.pages.c.excluded.is_(null())
    return (t.pages.c.batch_id == page.batch_id) & is_seen & (t.pages.c.id != page.id)


def note_page_alarms(c: Connection, page_id: int, scanner: str, alarms: Iterable[PageAlarm]) -> None:
    """Write down what is the matter with a page, once a kind, within the transaction that found it."""
    for alarm in alarms:
        c.execute(
            insert_if_new(
                c, t.alarm_pages,
                page_id=page_id, kind=alarm.kind.value, scanner=scanner, what=alarm.what, at_ms=t.now_ms(),
            )
        )  # fmt: skip


def note_count(c: Connection, order_id: int, *, is_final: bool) -> None:
    """Compare the pages received for an order with those expected; the order is locked. Opens its alarm or ends it.

    While the order takes batches, only too many are wrong.
    """
    order = c.execute(select(t.orders.c.expect_pages).where(t.orders.c.id == order_id)).one()
    if order.expect_pages is None:
        return
    received, again = t.tallies.c.label == "received", t.tallies.c.label == Exclusion.RESCAN
    change = case((received, t.tallies.c.n), (again, -t.tallies.c.n), else_=0)
    of_pages = select(func.sum(change)).where(t.tallies.c.order_id == order_id, t.tallies.c.name == PAGE)
    came = int(c.execute(of_pages).scalar_one() or 0)
    origin = f"order {order_id}"
    if came > order.expect_pages or (is_final and came != order.expect_pages):
        alarm_id = _opened(
            c, AlarmKind.COUNT_OFF, origin, scanner="", order_id=order_id, batch_id=None, event_of=order_id
        )
        what = f"{order.expect_pages:,} pages expected, {came:,} received"
        c.execute(update(t.alarms).where(t.alarms.c.id == alarm_id).values(what=what, pages=came, last_ms=t.now_ms()))
    else:
        c.execute(
            update(t.alarms)
            .where(t.alarms.c.kind == AlarmKind.COUNT_OFF, t.alarms.c.origin == origin, alarm_is_open())
            .values(over_ms=t.now_ms())
        )


def _opened(c: Connection, kind: str, origin: str, *, event_of: int, **values: object) -> int:
    """The open alarm of this kind and origin; a new one where there is none."""
    is_it = (t.alarms.c.kind == kind) & (t.alarms.c.origin == origin) & alarm_is_open()
    while True:
        alarm_id = c.scalar(select(t.alarms.c.id).where(is_it).with_for_update())
        if alarm_id is not None:
            return int(alarm_id)
        alarm_id = c.scalar(
            insert_if_new(
                c, t.alarms, kind=kind, origin=origin, first_ms=t.now_ms(), last_ms=t.now_ms(), **values
            ).returning(t.alarms.c.id)
        )
        if alarm_id is not None:
            add_event(c, event_of, f"alarm {alarm_id}", "alarm raised", "the floor", kind, origin=origin)
            return int(alarm_id)


def _add(c: Connection, alarm_id: int, rows: Sequence[Row[Any]]) -> None:
    last = rows[-1]
    c.execute(
        update(t.alarms)
        .where(t.alarms.c.id == alarm_id)
        .values(pages=t.alarms.c.pages + len(rows), last_ms=last.at_ms, what=last.what)
    )
    others = [t.alarms.c.batch_id != batch_id for batch_id in {row.batch_id for row in rows}]
    c.execute(update(t.alarms).where(t.alarms.c.id == alarm_id, or_(*others)).values(batch_id=null()))
    c.execute(update(t.alarm_pages).where(t.alarm_pages.c.id.in_([row.id for row in rows])).values(alarm_id=alarm_id))


def _alarms(c: Connection, where: Any, *by: Any, limit: int | None = None) -> list[Alarm]:
    rows = c.execute(
        select(t.alarms, t.orders.c.number, t.batches.c.name)
        .outerjoin(t.orders, t.orders.c.id == t.alarms.c.order_id)
        .outerjoin(t.batches, t.batches.c.id == t.alarms.c.batch_id)
        .where(where)
        .order_by(*by, t.alarms.c.id)
        .limit(limit)
    ).all()
    return [_alarm(row, _newest(c, row.id)) for row in rows]


def _newest(c: Connection, alarm_id: int) -> list[AlarmPage]:
    rows = c.execute(
        select(t.alarm_pages.c.page_id, t.alarm_pages.c.what, t.pages.c.sequence, t.batches.c.name, t.orders.c.number)
        .join(t.pages, t.pages.c.id == t.alarm_pages.c.page_id)
        .join(t.batches, t.batches.c.id == t.pages.c.batch_id)
        .join(t.orders, t.orders.c.id == t.pages.c.order_id)
        .where(t.alarm_pages.c.alarm_id == alarm_id)
        .order_by(t.alarm_pages.c.id.desc())
        .limit(PAGES_SHOWN)
    )
    return [
        AlarmPage(id=PageId(row.page_id), order=row.number, batch=row.name, number=row.sequence, what=row.what)
        for row in rows
    ]


def _alarm(row: Row[Any], newest: Sequence[AlarmPage]) -> Alarm:
    return Alarm(
        id=row.id,
        kind=AlarmKind(row.kind),
        scanner=row.scanner,
        order=row.number,
        batch=row.name,
        pages=int(row.pages),
        what=row.what,
        first_at=moment(row.first_ms),
        last_at=moment(row.last_ms),
        newest=newest,
        seen_at=None if row.seen_ms is None else moment(row.seen_ms),
        seen_by=row.seen_by,
        said=row.said,
        over_at=None if row.over_ms is None else moment(row.over_ms),
    )
