"""The feeder: what it sends is done, and what was lost on the way is found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bureau import Bureau
from pipeline.model import PageId, Task, TaskKind, TaskState
from pipeline.settings import Settings
from pipeline.tasks import VERBS
from tests.pipeline.by_hand import finish, open_order, receive
from tests.whole.home import wait_until
from workers import shift
from workers.floor import open_floor, run_floor


@pytest.fixture
def bureau(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bureau]:
    """A bureau whose verbs do nothing but record."""
    for kind in TaskKind:
        monkeypatch.setitem(VERBS, kind, lambda bureau, task, *, who: finish(bureau.ledger, task))  # type: ignore[misc]
    monkeypatch.setattr(shift, "REAP_S", 0.2)
    made = Bureau.init(Settings(home=tmp_path / "home", workers=1))
    yield made
    made.close()


def test_a_task_that_could_not_say_how_it_ended_is_done_again_by_the_same_floor(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is away when a page fails; its worker lives on, so no heartbeat tells."""
    order = open_order(bureau.ledger)
    receive(bureau.ledger, order, 3)
    failed: list[int] = []

    def fail_once(bureau: Bureau, task: Task, *, who: str) -> None:
        if not failed:
            failed.append(task.subject_id)
            raise OSError("disk full")
        finish(bureau.ledger, task)

    def unreachable(*_: object, **__: object) -> TaskState:
        raise ConnectionError("the ledger is away")

    monkeypatch.setitem(VERBS, TaskKind.PREPARE_PAGE, fail_once)  # type: ignore[misc]
    monkeypatch.setattr(type(bureau.ledger), "put_off", unreachable)
    with open_floor(bureau, workers=1):
        wait_until(lambda: bureau.ledger.order_counts(order.id).billable == 3, seconds=30)
    assert bureau.ledger.page(PageId(failed[0])).prepared is not None


def test_a_floor_outlives_a_moment_without_its_ledger(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    order = open_order(bureau.ledger)
    receive(bureau.ledger, order, 2)
    asked = []
    whole = bureau.ledger.unfinished

    def away_at_first() -> int:
        asked.append(1)
        if len(asked) == 1:
            raise ConnectionError("the ledger is away")
        return whole()

    monkeypatch.setattr(bureau.ledger, "unfinished", away_at_first)
    run_floor(bureau, workers=1, until_idle=True)
    assert bureau.ledger.order_counts(order.id).billable == 2
