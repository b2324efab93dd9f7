"""Servers for the tests: a private PostgreSQL cluster in a scratch folder, gone afterwards."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pipeline.ledger import Ledger

_TEMPLATE = "platen_template"
_START_S = 60.0
_numbers = itertools.count(1)


def postgresql_programs() -> Path | None:
    """The folder with `initdb` and `postgres`, where this machine has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))  # Debian keeps them out of the path
    if found:
        return found[-1].parent
    named = shutil.which("postgres")
    return None if named is None else Path(named).resolve().parent


class PostgreSQL:
    """A running cluster that listens on a socket in its own folder alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        """SQLAlchemy address of a database."""
        return f"postgresql+psycopg://platen@/{name}?host={self._folder}"

    def empty_database(self) -> str:
        """A new database without tables; gives its address."""
        return self._database("template0")

    def ledger_database(self) -> str:
        """A new database with the ledger's tables; gives its address."""
        return self._database(_TEMPLATE)

    def make_template(self) -> None:
        """Migrate once what every test's ledger is copied from."""
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        ledger = Ledger(self.url(_TEMPLATE))
        ledger.migrate()
        ledger.close()

    def _database(self, template: str) -> str:
        name = f"platen_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self._address, autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[call-overload]  # psycopg takes literals only; names are ours

    @property
    def _address(self) -> str:
        return f"host={self._folder} user=platen dbname=postgres"

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self._address).close()
                return
            except psycopg.OperationalError:
                log = (self._folder / "log").read_text()
                assert process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.05)


@contextmanager
def running_postgresql(programs: Path) -> Iterator[PostgreSQL]:
    """Make a cluster, start it, stop it, delete it."""
    folder = Path(tempfile.mkdtemp(prefix="platen-pg-"))  # not pytest's folder: its path is too long for a socket
    try:
        user = _server_user(folder)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "platen", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd=folder, user=user, extra_groups=[] if user else None,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off",
                 "-c", "max_connections=60", "-c", "deadlock_timeout=200ms"],
                stdout=log, stderr=log, cwd=folder, user=user, extra_groups=[] if user else None,
            )  # fmt: skip
        try:
            server = PostgreSQL(folder)
            server.wait_until_ready(process)
            server.make_template()
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # the fast shutdown: connections are cut
            process.wait(timeout=_START_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server_user(folder: Path) -> int | None:
    """Who the server runs as: it refuses to be root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    user = names.get("postgres", names["nobody"])
    os.chown(folder, user, -1)
    return user
