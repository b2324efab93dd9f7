"""A real ledger, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger import Ledger
from tests.servers import PostgreSQL


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger; every test with it is a promise on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
        made.migrate()
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        made = Ledger(server.ledger_database())
    yield made
    made.close()
