"""What all tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers import (
    S3,
    PostgreSQL,
    Server,
    postgresql_programs,
    rabbitmq_program,
    running_postgresql,
    running_rabbitmq,
    running_redis,
    running_s3,
)

ROOT = Path(__file__).resolve().parent.parent
REAL_SCANS = ROOT.parent / "shared" / "real-scans"


@pytest.fixture
def real_scans() -> Path:
    """The folder of real scans with truth, where this machine has it."""
    if not REAL_SCANS.is_dir():
        pytest.skip("the real scans are not on this machine")
    return REAL_SCANS


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_THREAD_LIMIT", "1")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of our own; skips where there is none, but not in CI."""
    programs = postgresql_programs()
    if programs is None:
        _missing("PostgreSQL", "postgresql")
    with running_postgresql(programs) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A Redis of our own."""
    if shutil.which("redis-server") is None:
        _missing("Redis", "redis-server")
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    """A RabbitMQ of our own."""
    if rabbitmq_program() is None:
        _missing("RabbitMQ", "rabbitmq-server")
    with running_rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """Object storage of our own."""
    with running_s3() as server:
        yield server


def _missing(server: str, package: str) -> NoReturn:
    """Skip, but not in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{server} is missing; run: bench/system_packages.sh test")
    pytest.skip(f"there is no {server} server on this machine (apt-get install {package})")
