"""A real ledger, and a whole bureau, in a scratch folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.bureau import Bureau
from pipeline.ledger import Ledger
from pipeline.model import BatchId, Priority, ReceivedPage, Service, Sha256
from pipeline.settings import Settings


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger on SQLite."""
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def bureau(tmp_path: Path) -> Iterator[Bureau]:
    """A bureau with an empty home; what is dropped settles at once."""
    made = Bureau.init(Settings(home=tmp_path / "home", settle_seconds=0.0, scan_seconds=0.05))
    yield made
    made.close()


@pytest.fixture
def batch_of(bureau: Bureau) -> Callable[..., BatchId]:
    """Makes a batch whose pages are prepared in the ledger alone, the first `held` of them held instead."""

    def make(pages: int, *, held: int = 0) -> BatchId:
        profile = bureau.profiles["records-bitonal"]
        order = bureau.ledger.open_order(
            customer="DPHHS",
            profile_name=profile.name,
            profile_digest=profile.digest,
            profile_document=profile.document_json,
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
