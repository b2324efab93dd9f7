"""History as evidence: every event is linked to the one before of its order, so that a change of an old one shows.

Whoever writes an event does not link it: to know the link before, writers of one order would wait for one another. One
linker at a time does it for all, seconds later. A link's place is the moment when it was linked, not the event's id: a
transaction that commits late is linked late, and nothing linked before has to move.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, true

from pipeline.ledger import tables as t
from pipeline.ledger.database import Database
from pipeline.model import OrderId, Sha256

WITHOUT_ORDER = 0  # the chain of what belongs to no order; ids begin at 1
_LINKED_AT_ONCE = 1_000  # events in one transaction: SQLite's writers wait for it
_MOST_ROUNDS = 10  # before the linker's caller goes on with its other work
_ROWS_AT_ONCE = 10_000
_LOCK = zlib.crc32(b"platen linking")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """An event with its link; `number` and `hash` are empty while it has none, `detail` is JSON as it was written."""

    id: int
    at_ms: int
    order_id: OrderId | None
    subject: str
    kind: str
    who: str
    outcome: str
    detail: str
    number: int | None
    hash: str | None

    @property
    def at(self) -> datetime:
        """When it was written, by the database's clock."""
        return datetime.fromtimestamp(self.at_ms / 1000.0, tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCheck:
    """What taking every link of one order's history again has shown."""

    linked: int
    waiting: int  # written, and not linked yet
    head: str  # hash of the last link; empty before the first
    faults: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something that an order's history tells of; `subject` is what its events call it."""

    id: int
    subject: str
    name: str
    part_of: str | None = None  # the subject of what it belongs to
    scan: Sha256 | None = None  # of a page: the file it came in
    pdf: Sha256 | None = None  # of a document
    pdf_bytes: int | None = None
    flavour: str | None = None


class History(Database):
    """The part of the ledger that links its history, tells it, and checks it."""

    def link_events(self) -> bool:
        """Link some of the events that have no link yet; gives whether there may be more. Several may try at once."""
        return all(self._link_some() == _LINKED_AT_ONCE for _ in range(_MOST_ROUNDS))

    def _link_some(self) -> int:
        with self.read() as c:  # asked before taking the write lock
            if c.scalar(select(t.unlinked_events.c.event_id).limit(1)) is None:
                return 0
        with self.write() as c:
            # SQLite lets one writer in at a time anyhow
            if not self.is_sqlite and not c.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
                return 0
            # no join: in the order of their ids SQLite would go through all the events there are to find these
            waiting = select(t.unlinked_events.c.event_id).order_by(t.unlinked_events.c.event_id).limit(_LINKED_AT_ONCE)
            rows = c.execute(select(t.events).where(t.events.c.id.in_(waiting)).order_by(t.events.c.id)).all()
            if not rows:
                return 0
            heads: dict[int, tuple[int, str]] = {}
            links = []
            for row in rows:
                chain = row.order_id or WITHOUT_ORDER
                number, before = heads[chain] if chain in heads else _head(c, chain)
                heads[chain] = number + 1, link_hash(before, row)
                links.append({"event_id": row.id, "chain": chain, "number": number + 1, "hash": heads[chain][1]})
            c.execute(insert(t.links), links)
            c.execute(delete(t.unlinked_events).where(t.unlinked_events.c.event_id.in_([row.id for row in rows])))
            return len(rows)

    def history(self, order_id: OrderId, *, after: int = 0, limit: int) -> list[HistoryLine]:
        """Lines of an order's history, oldest first: those whose ids are greater than `after`."""
        with self.read() as c:
            rows = c.execute(
                select(t.events, t.links.c.number, t.links.c.hash)
                .join(t.links, t.links.c.event_id == t.events.c.id, isouter=True)
                .where(t.events.c.order_id == order_id, t.events.c.id > after)
                .order_by(t.events.c.id)
                .limit(limit)
            )
            return [
                HistoryLine(
                    id=row.id,
                    at_ms=row.at_ms,
                    order_id=OrderId(row.order_id),
                    subject=row.subject,
                    kind=row.kind,
                    who=row.who,
                    outcome=row.outcome,
                    detail=row.detail,
                    number=row.number,
                    hash=row.hash,
                )
                for row in rows
            ]

    def is_history_longer(self, order_id: OrderId, lines: int) -> bool:
        """Whether an order's history has more lines than this."""
        with self.read() as c:
            beyond = select(t.events.c.id).where(t.events.c.order_id == order_id).order_by(t.events.c.id).offset(lines)
            return c.scalar(beyond.limit(1)) is not None

    def chain_faults(self) -> Mapping[str, Sequence[str]]:
        """Take every link again: what does not fit, as sentences, by the number of the order (or `No order`)."""
        faults: dict[str, list[str]] = defaultdict(list)
        with self.read() as c:
            numbers: dict[int, str] = {
                row.id: row.number for row in c.execute(select(t.orders.c.id, t.orders.c.number))
            }
            for chain, fault in (*_link_faults(c), *_never_linked(c)):
                faults[numbers.get(chain, "No order")].append(fault)
        return faults

    def check_chain(self, order_id: OrderId) -> ChainCheck:
        """Take every link of one order's history again."""
        waiting = (
            select(func.count())
            .select_from(t.unlinked_events)
            .join(t.events, t.events.c.id == t.unlinked_events.c.event_id)
            .where(t.events.c.order_id == order_id)
        )
        with self.read() as c:
            linked, head = _head(c, order_id)
            return ChainCheck(
                linked=linked,
                waiting=int(c.execute(waiting).scalar_one()),
                head=head,
                faults=[fault for _, fault in (*_link_faults(c, order_id), *_never_linked(c, order_id))],
            )

    def things_of(self, order_id: OrderId, kind: str, *, after: int = 0, limit: int) -> list[Thing]:
        """What an order is made of, of one kind (batch, document, page or roll), those whose ids are above `after`."""
        table = {"batch": t.batches, "document": t.documents, "page": t.pages, "roll": t.rolls}[kind]
        with self.read() as c:
            rows = c.execute(
                select(table).where(table.c.order_id == order_id, table.c.id > after).order_by(table.c.id).limit(limit)
            ).all()
            return [_thing(kind, row) for row in rows]

    def waiting_for_links(self, *, older_than_ms: int) -> int:
        """How many events have waited for their link for longer than this."""
        with self.read() as c:
            return int(
                c.execute(
                    select(func.count())
                    .select_from(t.unlinked_events)
                    .join(t.events, t.events.c.id == t.unlinked_events.c.event_id)
                    .where(t.events.c.at_ms < t.now_ms() - older_than_ms)
                ).scalar_one()
            )


def link_hash(before: str, event: Row[Any] | HistoryLine) -> str:
    """SHA-256 over the hash before and the event, written as a JSON array in ASCII without spaces."""
    content = (event.id, event.at_ms, event.order_id, event.subject, event.kind, event.who, event.outcome, event.detail)
    return hashlib.sha256(json.dumps((before, *content), separators=(",", ":")).encode("ascii")).hexdigest()


def _head(c: Connection, chain: int) -> tuple[int, str]:
    """Number and hash of a chain's last link; those before the first are 0 and empty."""
    row = c.execute(
        select(t.links.c.number, t.links.c.hash)
        .where(t.links.c.chain == chain)
        .order_by(t.links.c.number.desc())
        .limit(1)
    ).first()
    return (0, "") if row is None else (row.number, row.hash)


def _link_faults(c: Connection, only: OrderId | None = None) -> Iterator[tuple[int, str]]:
    chain, number, before = -1, 0, ""
    rows = c.execute(
        select(t.links.c.chain, t.links.c.number, t.links.c.hash, t.links.c.event_id, t.events)
        .join(t.events, t.events.c.id == t.links.c.event_id, isouter=True)
        .where(true() if only is None else t.links.c.chain == only)
        .order_by(t.links.c.chain, t.links.c.number)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for row in rows:
        if row.chain != chain:
            chain, number, before = row.chain, 0, ""
        if row.number != number + 1:
            yield chain, f"its history goes on with line {row.number} after line {number}"
        elif row.id is None:
            yield chain, f"line {row.number} of its history (event {row.event_id}) is gone"
        elif (row.order_id or WITHOUT_ORDER) != chain or link_hash(before, row) != row.hash:
            yield chain, f"line {row.number} of its history (event {row.id}, {row.subject}) is not as it was written"
        number, before = row.number, row.hash  # as kept: one change is told once


def _never_linked(c: Connection, only: OrderId | None = None) -> Iterator[tuple[int, str]]:
    rows = c.execute(
        select(t.events.c.id, t.events.c.order_id, t.events.c.subject)
        .join(t.links, t.links.c.event_id == t.events.c.id, isouter=True)
        .join(t.unlinked_events, t.unlinked_events.c.event_id == t.events.c.id, isouter=True)
        .where(t.links.c.event_id.is_(None), t.unlinked_events.c.event_id.is_(None))
        .where(true() if only is None else t.events.c.order_id == only)
        .order_by(t.events.c.id)
    )
    for row in rows:
        yield row.order_id or WITHOUT_ORDER, f"event {row.id} ({row.subject}) was taken out of its history's chain"


def _thing(kind: str, row: Row[Any]) -> Thing:
    subject, order = f"{kind} {row.id}", f"order {row.order_id}"
    match kind:
        case "page":
            document = f"document {row.document_id}"
            return Thing(
                id=row.id,
                subject=subject,
                name=row.file,
                part_of=f"batch {row.batch_id}" if row.document_id is None else document,
                scan=Sha256(row.source),
            )
        case "document":
            return Thing(
                id=row.id,
                subject=subject,
                name=row.title,
                part_of=order,
                pdf=None if row.pdf is None else Sha256(row.pdf),
                pdf_bytes=row.pdf_bytes,
                flavour=row.flavour,
            )
        case "roll":
            return Thing(id=row.id, subject=subject, name=row.number, part_of=order)
        case _:
            return Thing(id=row.id, subject=subject, name=row.name, part_of=order)
