"""What no page is to be blamed for holds nothing and loses nothing: work waits until the outage is over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.bureau import Bureau
from pipeline.ledger.work import FAILURES_BEFORE_HELD
from pipeline.model import OrderId, Priority, Service
from pipeline.sandbox import Sandbox
from pipeline.settings import Settings
from pipeline.tasks import run_task
from tests.disks import filled, small_disk
from tests.servers import PostgreSQL
from tests.whole.home import drop_small_pages

DISK_MIB = 16


def _drop_a_page(bureau: Bureau, folder: Path) -> OrderId:
    order = bureau.ledger.open_order(
        customer="C",
        profile=bureau.profiles["records-bitonal"],
        services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL,
        year=2026,
        who="test",
    )
    drop_small_pages(folder, 1)
    bureau.ledger.announce_delivery(
        source=str(folder), name="stack", order_number=order.number, moves=False, who="test"
    )
    return order.id


def _work_off(bureau: Bureau) -> None:
    """Do what is due until nothing is, with all pauses over."""
    with bureau.ledger.write() as c:
        c.execute(text("UPDATE tasks SET not_before_ms = 0"))
    while handed := bureau.ledger.dispatch("w", 1):
        run_task(bureau, *handed[0][1:], owner="w")


def test_a_page_waits_for_room_as_long_as_it_takes(tmp_path: Path, postgresql: PostgreSQL, sandbox: Sandbox) -> None:
    with small_disk(tmp_path / "home", DISK_MIB) as mounted:
        if not mounted:
            pytest.skip("this user may not mount a disk of its own")
        settings = Settings(home=tmp_path / "home", database_url=postgresql.ledger_database())
        bureau = replace(Bureau.init(settings), sandbox=sandbox)
        order_id = _drop_a_page(bureau, tmp_path / "stack")
        for _ in range(FAILURES_BEFORE_HELD + 1):
            with filled(settings.home):
                _work_off(bureau)
                assert not bureau.ledger.holds()
                assert bureau.ledger.unfinished()
        _work_off(bureau)
        assert bureau.ledger.order_counts(order_id).billable == 1
        bureau.ledger.close()


def test_a_page_waits_for_a_share_that_is_away_as_long_as_it_takes(tmp_path: Path, sandbox: Sandbox) -> None:
    share = tmp_path / "share"
    bureau = replace(Bureau.init(Settings(home=tmp_path / "home", store_url=str(share))), sandbox=sandbox)
    order_id = _drop_a_page(bureau, tmp_path / "stack")
    for _ in range(FAILURES_BEFORE_HELD + 1):
        share.rename(tmp_path / "away")
        _work_off(bureau)
        assert not bureau.ledger.holds()
        assert bureau.ledger.unfinished()
        (tmp_path / "away").rename(share)
    _work_off(bureau)
    assert bureau.ledger.order_counts(order_id).billable == 1
    bureau.ledger.close()
