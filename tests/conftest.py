"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import PostgreSQL, postgresql_programs, running_postgresql

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
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is missing; run: bench/system_packages.sh test")
        pytest.skip("there is no PostgreSQL server on this machine (apt-get install postgresql)")
    with running_postgresql(programs) as server:
        yield server
