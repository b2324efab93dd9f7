"""The connection: one engine for SQLite or PostgreSQL, reading and writing transactions, migrations."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pipeline.store import fsync_path
from stages.tools import ToolFailed, ToolMissing, ToolTimedOut, run

if TYPE_CHECKING:
    import alembic.config

REVISION = "0010"  # the newest migration; a test holds it against Alembic's own answer
_BUSY_TIMEOUT_S = 60.0
_DUMP_TIMEOUT_S = 24 * 3600.0
_IDLE_TIMEOUT_S = 60.0  # in a transaction that says nothing; ours last milliseconds
_NO_ADDRESS = (
    "PLATEN_DATABASE_URL is no address of a ledger. Write sqlite:////path/ledger.db or "
    "postgresql+psycopg://user:password@host/name, or leave it empty."
)
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})


class LedgerUnusable(RuntimeError):
    """The ledger cannot be opened; the message says why and what to do."""


class Database:
    """One ledger database. `write()` is one transaction; `read()` sees one moment of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._sqlite = make_url(url).get_backend_name() == "sqlite"
        except (SQLAlchemyError, ValueError) as error:
            raise LedgerUnusable(_NO_ADDRESS) from error
        if self._sqlite:
            _refuse_network_mount(make_url(url).database)
        self._engine = _engine(url)

    @property
    def is_sqlite(self) -> bool:
        """Whether the ledger is a file on this machine."""
        return self._sqlite

    def connection_of_its_own(self) -> Connection:
        """A connection outside all transactions, for a lock that lasts as long as it does; the caller closes it."""
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def migrate(self) -> None:
        """Bring the tables to this version of the house, whole or not at all."""
        import alembic.command  # here and below, for every command opens a ledger and hardly any migrates one

        with _told_to_operators(), self.write() as connection:
            alembic.command.upgrade(_alembic(connection), "head")

    def check_version(self) -> None:
        """Make sure that the tables are of this version.

        Raises:
            LedgerUnusable: there are none yet, or they are older or newer.
        """
        with _told_to_operators(), self._engine.connect() as connection:
            has_version = inspect(connection).has_table("alembic_version")
            current = (
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if has_version else None
            )
        if current is None:
            raise LedgerUnusable("There is no ledger here yet. Run: platen init")
        if current != REVISION:
            raise LedgerUnusable(f"The ledger has version {current}, this program needs {REVISION}. Run: platen init")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One writing transaction (SQLite: BEGIN IMMEDIATE, or a later write could find the database locked)."""
        with self._engine.connect() as connection:
            if self._sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            with _outcome(connection, self._sqlite):
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One reading transaction: all its questions are answered as of the same moment."""
        with self._engine.connect() as connection:
            if self._sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with _outcome(connection, self._sqlite):
                yield connection

    @contextmanager
    def snapshot(self, folder: Path) -> Iterator[tuple[Path, Connection]]:
        """Copy the database into a folder while it is worked on; gives the file, and a reader of the same moment.

        SQLite becomes `ledger.db`, PostgreSQL `ledger.dump` for pg_restore.

        Raises:
            LedgerUnusable: it cannot be copied.
        """
        try:
            with self._sqlite_copy(folder) if self._sqlite else self._postgresql_copy(folder) as copied:
                yield copied
        except (sqlite3.Error, ToolMissing, ToolFailed, ToolTimedOut) as error:
            raise LedgerUnusable(f"The ledger cannot be copied: {error}") from error

    @contextmanager
    def _sqlite_copy(self, folder: Path) -> Iterator[tuple[Path, Connection]]:
        part, target = folder / "ledger.db.part", folder / "ledger.db"
        beside = Path(make_url(self.url).database or "").absolute().parent  # a backup may lie on a share; this does not
        with tempfile.TemporaryDirectory(dir=beside, prefix=".copy-") as scratch:
            local = Path(scratch) / "ledger.db"
            with self._engine.connect() as connection, closing(sqlite3.connect(local)) as copy:
                source = connection.connection.driver_connection
                assert isinstance(source, sqlite3.Connection)
                source.backup(copy)  # in one step: writers go on, and what they write is not in the copy
            reader = Database(f"sqlite:///{local}")
            try:
                with reader.read() as c:
                    yield target, c
            finally:
                reader.close()
            shutil.copyfile(local, part)
        fsync_path(part)
        for leftover in ("-wal", "-shm"):  # of an older copy that was opened; they would spoil the new one
            target.with_name(target.name + leftover).unlink(missing_ok=True)
        part.replace(target)
        fsync_path(folder)

    @contextmanager
    def _postgresql_copy(self, folder: Path) -> Iterator[tuple[Path, Connection]]:
        part, target = folder / "ledger.dump.part", folder / "ledger.dump"
        url = make_url(self.url)
        address = url.set(drivername="postgresql", password=None).render_as_string()
        with self.read() as c:
            c.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # while the other program reads
            moment = c.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            run(
                ["pg_dump", "--format=custom", "--no-owner", f"--snapshot={moment}", f"--file={part}", address],
                timeout_s=_DUMP_TIMEOUT_S,
                environment={} if url.password is None else {"PGPASSWORD": str(url.password)},
            )
            yield target, c
        fsync_path(part)
        part.replace(target)
        fsync_path(folder)


@contextmanager
def _outcome(connection: Connection, is_sqlite: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if is_sqlite:
            connection.exec_driver_sql("ROLLBACK")
        connection.rollback()
        raise
    if is_sqlite:
        connection.exec_driver_sql("COMMIT")
    connection.commit()


@contextmanager
def _told_to_operators() -> Iterator[None]:
    """A first connection, so what fails here is told to whoever set the ledger's address."""
    try:
        yield
    except DBAPIError as error:
        # the driver's own words, without the statement and without the address, which may hold a password
        raise LedgerUnusable(f"The ledger cannot be opened: {str(error.orig).strip()}") from error


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        try:
            engine = create_engine(url, pool_pre_ping=True)
        except (SQLAlchemyError, ImportError) as error:  # a kind of database that has no driver here
            raise LedgerUnusable(_NO_ADDRESS) from error

        @event.listens_for(engine, "connect")
        def _limit(connection: Any, _record: Any) -> None:
            # a process that was stopped in mid-transaction must not keep its locks from all the others
            cursor = connection.cursor()
            cursor.execute(f"SET idle_in_transaction_session_timeout = {round(1000 * _IDLE_TIMEOUT_S)}")
            cursor.close()
            connection.commit()

        return engine
    # AUTOCOMMIT keeps the driver's hands off: transactions are begun and ended by the statements above
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _alembic(connection: Connection) -> alembic.config.Config:
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return config


def _refuse_network_mount(database: str | None) -> None:
    """SQLite's WAL needs memory shared between processes, which no network file system gives (QUEUE 2.4)."""
    mounts = Path("/proc/mounts")
    if not database or database == ":memory:" or not mounts.exists():
        return
    place = Path(database).absolute()
    best, kind = Path("/"), ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        point = Path(fields[1].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[2]
    if kind in _NETWORK_FILE_SYSTEMS:
        raise LedgerUnusable(
            f"The ledger {place} lies on a network mount ({kind}); SQLite cannot keep records safely there. "
            "Put PLATEN_HOME on a local disk, or set PLATEN_DATABASE_URL to a PostgreSQL server."
        )
