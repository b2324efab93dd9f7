"""A rush order is never stuck behind a big one, whatever carries the hints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import PostgreSQL, Server
from tests.whole.rush import RUSH_PAGES, THREADS, rush
from workers.feeder import WINDOW_PER_WORKER

DUE = 5_000  # `bench floor` has fifty thousand
# hints sent before the rush pages were due, and those of the moment in which they were taken in
ON_THE_WAY = 2 * WINDOW_PER_WORKER * THREADS


@pytest.mark.tool
@pytest.mark.parametrize("broker", [None, "redis_server", "rabbitmq_server"], ids=lambda name: name or "embedded")
def test_twenty_pages_dropped_behind_a_big_order_are_begun_next(
    tmp_path: Path, request: pytest.FixtureRequest, postgresql: PostgreSQL, broker: str | None
) -> None:
    shared: Server | None = request.getfixturevalue(broker) if broker else None
    found = rush(tmp_path, due=DUE, database_url=postgresql.ledger_database(), broker=shared)
    assert found.before_first <= ON_THE_WAY
    assert found.before_last <= ON_THE_WAY + RUSH_PAGES // 4  # the rush order's share is thirty times as large
