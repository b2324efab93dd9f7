"""Which of several feeders feeds: one at a time, and another within seconds when it dies.

Two at once for a moment do no harm (no task is handed out twice), they only send a few hints more than the window.
"""

from __future__ import annotations

import logging
import time
import zlib

from sqlalchemy import Connection, delete, insert, or_, select, text, update

from pipeline.ledger import tables as t
from pipeline.ledger.database import Database

log = logging.getLogger(__name__)

LEASE_MS = 10_000  # on SQLite
RENEW_S = 2.0


class Leadership:
    """A claim to lead under a name. PostgreSQL: an advisory lock of a connection of its own, gone when that ends.

    SQLite: a lease in the ledger.
    """

    def __init__(self, database: Database, name: str, owner: str) -> None:
        self._database = database
        self._name = name
        self._owner = owner
        self._number = zlib.crc32(f"platen {name}".encode())
        self._connection: Connection | None = None
        self._renew_at = 0.0

    def held(self) -> bool:
        """Whether this one leads now; tries to if nobody does."""
        return self._leased() if self._database.is_sqlite else self._locked()

    def release(self) -> None:
        """Let another lead."""
        self._renew_at = 0.0
        if self._database.is_sqlite:
            with self._database.write() as c:
                c.execute(delete(t.leases).where(t.leases.c.name == self._name, t.leases.c.owner == self._owner))
        elif self._connection is not None:
            try:  # said before it is closed: the server takes its time to notice an end
                self._connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": self._number})
            finally:
                self._drop()

    def _leased(self) -> bool:
        if time.monotonic() < self._renew_at:
            return True
        led = self._take_lease()
        self._renew_at = time.monotonic() + RENEW_S if led else 0.0
        return led

    def _take_lease(self) -> bool:
        mine = t.leases.c.owner == self._owner
        over = or_(t.leases.c.until_ms <= t.now_ms(), t.leases.c.until_ms > t.now_ms() + 2 * LEASE_MS)
        with self._database.write() as c:
            values = {"owner": self._owner, "until_ms": t.now_ms() + LEASE_MS}
            if c.execute(
                update(t.leases).where(t.leases.c.name == self._name, or_(mine, over)).values(values)
            ).rowcount:
                return True
            if c.scalar(select(t.leases.c.owner).where(t.leases.c.name == self._name)) is not None:
                return False
            c.execute(insert(t.leases).values(name=self._name, **values))
            return True

    def _locked(self) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))  # the lock lasts as long as the connection
                return True
            connection = self._database.connection_of_its_own()
            if connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": self._number}):
                self._connection = connection
                return True
            connection.close()
            return False
        except Exception:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()  # closed, not put back into the pool with the lock still on it
                connection.close()
            except Exception:
                log.warning("the connection of the leadership was broken already")
