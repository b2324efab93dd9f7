"""The servers that a set-up of a bench needs, running for as long as it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import (
    PostgreSQL,
    Server,
    postgresql_programs,
    rabbitmq_program,
    running_postgresql,
    running_rabbitmq,
    running_redis,
)


@contextmanager
def database(name: str) -> Iterator[PostgreSQL | None]:
    """A PostgreSQL, or nothing for SQLite.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    if name == "SQLite":
        yield None
        return
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed: bench/system_packages.sh test")
    with running_postgresql(programs) as server:
        yield server


@contextmanager
def broker(name: str) -> Iterator[Server | None]:
    """A Redis or a RabbitMQ, or nothing for the embedded one.

    Raises:
        FileNotFoundError: the server is not installed.
    """
    if name == "embedded":
        yield None
    elif name == "Redis":
        with running_redis() as server:
            yield server
    else:
        if rabbitmq_program() is None:
            raise FileNotFoundError("RabbitMQ is not installed: bench/system_packages.sh test")
        with running_rabbitmq() as server:
            yield server
