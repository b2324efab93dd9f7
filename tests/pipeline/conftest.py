"""A real ledger, on both engines, and a whole bureau, in a scratch folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bureau import Bureau
from pipeline.ledger import Ledger
from pipeline.model import BatchId, Priority, ReceivedPage, Service, Sha256
from pipeline.sandbox import Sandbox
from pipeline.settings import Settings
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


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox for all tests: a child of its own for each would cost a second each."""
    made = Sandbox(memory_limit_mb=6144, timeout_s=120.0)
    yield made
    made.close()


@pytest.fixture
def bureau(tmp_path: Path, sandbox: Sandbox) -> Iterator[Bureau]:
    """A bureau with an empty home; what is dropped settles at once."""
    made = Bureau.init(Settings(home=tmp_path / "home", settle_seconds=0.0, scan_seconds=0.05))
    yield replace(made, sandbox=sandbox)
    made.close()


@pytest.fixture
def batch_of(bureau: Bureau) -> Callable[..., BatchId]:
    """Makes a batch whose pages are prepared in the ledger alone, the first `held` of them held instead."""

    def make(pages: int, *, held: int = 0) -> BatchId:
        order = bureau.ledger.open_order(
            customer="DPHHS",
            profile=bureau.profiles["records-bitonal"],
            services=frozenset({Service.IMAGING}),
            priority=Priority.NORMAL,
            year=2026,
            who="test",
        )
        delivery_id, task_id = bureau.ledger.announce_delivery(
            source="/nowhere", name="box", order_number=order.number, moves=False, who="test"
        )
        task = bureau.ledger.claim_at_once(task_id, "w")
        assert task is not None
        received = [
            ReceivedPage(file=f"{n}.tif", index_in_file=0, pages_in_file=1, source=Sha256(f"{n:064x}"))
            for n in range(1, pages + 1)
        ]
        delivery = bureau.ledger.delivery(delivery_id)
        batch_id = bureau.ledger.record_received(task, order.id, delivery, "digest", received, who="test")
        assert batch_id is not None
        for number, (_, page_task_id, attempt) in enumerate(bureau.ledger.dispatch("w", pages), start=1):
            page_task = bureau.ledger.claim(page_task_id, attempt, "w")
            assert page_task is not None
            if number <= held:
                bureau.ledger.hold(page_task, "unreadable", "It cannot be read.", who="w")
            else:
                bureau.ledger.record_prepared(
                    page_task, Sha256("0" * 64), {}, who="w", late_exclusion=None, reads_text=True
                )
        return batch_id

    return make
