"""What lies in the inbox and is not taken in yet: told by the watcher, so that people see it and can say when."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, func, select, update

from pipeline.ledger import tables as t
from pipeline.ledger.database import Database
from pipeline.ledger.reports import moment
from pipeline.ledger.work import add_event, insert_if_new


class Asked(StrEnum):
    """What somebody said about a delivery that settles."""

    NOTHING = ""
    START = "start"  # take it in at the next look
    WAIT = "wait"  # do not take it in, however long nothing changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A folder or file in the inbox, as the watcher sees it; `key` is a digest of its place."""

    key: str
    name: str
    order_number: str | None
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingLook(Settling):
    """The same, as people see it."""

    first_at: datetime
    changed_at: datetime
    asked: Asked
    asked_by: str


class NotSettling(LookupError):
    """This lies in the inbox no longer, or was taken in meanwhile."""

    def __init__(self) -> None:
        super().__init__("It does not wait in the inbox any more: it was taken in, or taken away.")


class SettlingDeliveries(Database):
    """The part of the ledger that knows what settles in the inbox."""

    def note_settling(self, present: Sequence[Settling], *, before: Collection[str]) -> None:
        """Tell all that settles now; what settled `before` this look (its keys) and is not told has gone.

        What was said about it goes with it. What another watcher has told since the look began stays.
        """
        with self.read() as c:  # asked before taking the write lock: mostly nothing has changed
            known = {
                row.key: (row.name, row.order_number, row.files, row.size_bytes)
                for row in c.execute(select(t.settling))
            }
        told = {one.key: (one.name, one.order_number, one.files, one.size_bytes) for one in present}
        gone = sorted(known.keys() & set(before) - told.keys())
        changed = sorted(key for key in told if known.get(key) != told[key])
        if not gone and not changed:
            return
        with self.write() as c:  # in the order of keys, or two watchers could wait for each other
            if gone:
                c.execute(delete(t.settling).where(t.settling.c.key.in_(gone)))
            for key in changed:
                name, order_number, files, size_bytes = told[key]
                values = {
                    "name": name, "order_number": order_number, "files": files, "size_bytes": size_bytes,
                    "changed_ms": t.now_ms(),
                }  # fmt: skip
                if not c.execute(update(t.settling).where(t.settling.c.key == key).values(**values)).rowcount:
                    c.execute(insert_if_new(c, t.settling, key=key, first_ms=t.now_ms(), **values))

    def settling(self, *, limit: int | None = None) -> list[SettlingLook]:
        """What settles, the longest there first."""
        with self.read() as c:
            rows = c.execute(select(t.settling).order_by(t.settling.c.first_ms, t.settling.c.key).limit(limit))
            return [
                SettlingLook(
                    key=row.key,
                    name=row.name,
                    order_number=row.order_number,
                    files=row.files,
                    size_bytes=row.size_bytes,
                    first_at=moment(row.first_ms),
                    changed_at=moment(row.changed_ms),
                    asked=Asked(row.asked),
                    asked_by=row.asked_by,
                )
                for row in rows
            ]

    def count_settling(self) -> int:
        """How many deliveries settle."""
        with self.read() as c:
            return int(c.execute(select(func.count()).select_from(t.settling)).scalar_one())

    def asked_of(self) -> dict[str, Asked]:
        """What settles, by key, with what somebody said about it."""
        with self.read() as c:
            rows = c.execute(select(t.settling.c.key, t.settling.c.asked))
            return {row.key: Asked(row.asked) for row in rows}

    def ask_settling(self, key: str, asked: Asked, *, who: str) -> None:
        """Somebody says that a delivery is to be taken in now, or to wait.

        Raises:
            NotSettling: it does not wait in the inbox.
        """
        with self.write() as c:
            row = c.execute(
                update(t.settling)
                .where(t.settling.c.key == key)
                .values(asked=asked.value, asked_by=who)
                .returning(t.settling.c.name, t.settling.c.order_number)
            ).first()
            if row is None:
                raise NotSettling
            order_id = c.scalar(select(t.orders.c.id).where(t.orders.c.number == row.order_number))
            kind = "told to start" if asked is Asked.START else "told to wait"
            add_event(c, order_id, "inbox", kind, who, "done", name=row.name)
