"""Servers for the tests, each private, in a scratch folder, on a free port of this machine, and gone afterwards."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """A cluster that listens on a socket in its own folder alone; it can be stopped where it stands."""

    def __init__(self, folder: Path, command: list[str | Path], *, user: int | None) -> None:
        self._folder = folder
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self._folder, user=self._user,
                extra_groups=[] if self._user else None,
            )  # fmt: skip
        self._wait_until_ready(self._process)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """The fast shutdown, which cuts connections; with SIGQUIT the immediate one, as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=_START_S)
            self._process = None

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

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
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
        server = PostgreSQL(
            folder,
            [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off",
             "-c", "max_connections=60", "-c", "deadlock_timeout=200ms"],
            user=user,
        )  # fmt: skip
        try:
            server.start()
            server.make_template()
            yield server
        finally:
            server.stop()
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


class Server:
    """A broker that can be started, killed without warning, and started again with what it kept on disk."""

    def __init__(self, url: str, port: int, command: list[str], *, environment: dict[str, str], folder: Path) -> None:
        self.url = url
        self._port = port
        self._command = command
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_S
        while not self._takes_connections():
            said = (self._folder / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def kill(self) -> None:
        """End it and its children where they stand."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=_START_S)
            self._process = None

    def _takes_connections(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as talk:
                # both say something of their own accord, or when spoken to: a port alone may be open too early
                talk.sendall(b"PING\r\n" if self.url.startswith("redis") else b"AMQP\x00\x00\x09\x01")
                return bool(talk.recv(1))
        except OSError:
            return False


@contextmanager
def running_redis() -> Iterator[Server]:
    """A Redis that keeps nothing on disk: what it forgets when killed, the ledger knows."""
    port = free_port()
    with _scratch("platen-redis-") as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "only-for-tests",
                   "--save", "", "--appendonly", "no"]  # fmt: skip
        url = f"redis://:only-for-tests@127.0.0.1:{port}/0"
        yield from _running(Server(url, port, command, environment={}, folder=folder))


@contextmanager
def running_rabbitmq() -> Iterator[Server]:
    """A RabbitMQ node of one."""
    port, dist, epmd = free_port(), free_port(), free_port()
    with _scratch("platen-rabbit-") as folder:
        environment = {
            "HOME": str(folder),  # Erlang's cookie
            "RABBITMQ_NODENAME": f"platen-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(dist),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\n")
        program = str(rabbitmq_program())
        server = Server(
            f"amqp://guest:guest@127.0.0.1:{port}/", port, [program], environment=environment, folder=folder
        )
        try:
            yield from _running(server)
        finally:
            subprocess.run(["epmd", "-port", str(epmd), "-kill"], capture_output=True, check=False)


def rabbitmq_program() -> Path | None:
    """The server's own script; the one in the path wants to become another user."""
    found = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return found if found.exists() else None


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def _scratch(prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


class S3:
    """Object storage in memory; it can be stopped and started, and then has forgotten everything."""

    def __init__(self, port: int, folder: Path) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What tools that speak S3 find it by."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "platen",
            "AWS_SECRET_ACCESS_KEY": "platen",
            "AWS_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """A new bucket; gives its name."""
        name = f"records-{next(_numbers)}"
        self.ask("PUT", name)
        return name

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Speak to the server as somebody else would: `PUT bucket/key`."""
        # signed by nobody in particular: the server looks only whether it is signed
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=platen/20260101/us-east-1/s3/aws4_request, Signature=0"}
        request = urllib.request.Request(f"{self.endpoint}/{path}", method=method, data=data, headers=signed)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = str(Path(sys.executable).with_name("moto_server"))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-H", "127.0.0.1", "-p", str(self._port)], stdout=log, stderr=log, cwd=self._folder
            )
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.ask("GET", "moto-api/")
                return
            except OSError:
                said = (self._folder / "log").read_text(errors="replace")[-2000:]
                assert self._process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)

    def kill(self) -> None:
        """End it where it stands."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_START_S)
            self._process = None


@contextmanager
def running_s3() -> Iterator[S3]:
    """Object storage of our own."""
    with _scratch("platen-s3-") as folder:
        server = S3(free_port(), folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()
