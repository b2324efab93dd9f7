"""A package is written whole or not at all, also when its writer was killed before, or still writes."""

from __future__ import annotations

import threading
from pathlib import Path

import bagit
import pytest

from pipeline.bureau import Bureau
from pipeline.document_work import BagJob, PackageNotSound, write_bag
from pipeline.model import Exclusion, OrderStatus, Priority, Service, TaskKind
from pipeline.settings import Settings
from pipeline.tasks import run_task
from tests.pipeline.by_hand import finish, receive


def _job(tmp_path: Path) -> BagJob:
    copied = tmp_path / "bag" / "pdf" / "a.pdf"
    copied.parent.mkdir(parents=True)
    copied.write_bytes(b"%PDF-")
    return BagJob(
        folder=tmp_path / "bag",
        files=frozenset({"pdf/a.pdf"}),
        texts=(("index.csv", b"a,b\r\n"),),
        info={"Source-Organization": "Bureau"},
    )


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in (folder / "data").rglob("*") if path.is_file()}


def test_a_bag_holds_exactly_the_files_it_should(tmp_path: Path) -> None:
    job = _job(tmp_path)
    write_bag(job)
    assert _files(job.folder) == {"data/pdf/a.pdf", "data/index.csv"}
    bagit.Bag(str(job.folder)).validate()


def test_a_bag_from_which_a_file_was_cleared_away_while_it_was_written_is_not_handed_over(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (job.folder / "pdf" / "a.pdf").unlink()
    with pytest.raises(PackageNotSound, match=r"1 files are missing or too many, data/pdf/a\.pdf first"):
        write_bag(job)


def test_a_worker_that_was_given_up_cannot_hand_over_what_another_is_still_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bureau = Bureau.init(Settings(home=tmp_path / "home"))
    order = bureau.ledger.open_order(
        customer="C", profile=bureau.profiles["records-bitonal"], services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL, year=2026, who="test",
    )  # fmt: skip
    receive(bureau.ledger, order, 1)
    for _ in range(2):  # its only page turns out to be blank, so there is nothing but the package to make
        _, task_id, attempt = bureau.ledger.dispatch("w", 1)[0]
        task = bureau.ledger.claim(task_id, attempt, "w")
        assert task is not None
        if task.kind is TaskKind.PREPARE_PAGE:
            bureau.ledger.hold(task, "unreadable", "No.", who="w")
            bureau.ledger.decide_exclude(bureau.ledger.holds()[0], Exclusion.WAIVED, who="w", why="torn")
        else:
            finish(bureau.ledger, task)
    bureau.ledger.close_order(order.number, who="test")

    written, go_on = threading.Event(), threading.Event()
    call = bureau.sandbox.call

    def interrupted(what: str, function: object, job: BagJob, **more: float) -> object:
        if not written.is_set():
            answer = call(what, function, job, **more)  # type: ignore[arg-type]
            written.set()
            go_on.wait(30)  # as if the machine had slept
            return answer
        go_on.set()
        sleeper.join(30)
        return call(what, function, job, **more)  # type: ignore[arg-type]

    def deliver() -> None:
        _, task_id, attempt = bureau.ledger.dispatch("w", 1)[0]
        run_task(bureau, task_id, attempt, owner="w")

    monkeypatch.setattr(bureau.sandbox, "call", interrupted)
    sleeper = threading.Thread(target=deliver)
    sleeper.start()
    assert written.wait(60)
    bureau.ledger.reap()
    deliver()
    assert bureau.ledger.order_by_id(order.id).status is OrderStatus.DELIVERED
    package = bureau.settings.home / "outbox" / "C" / order.number / "delivery-1"
    bagit.Bag(str(package)).validate()
    assert [path.name for path in package.parent.iterdir()] == ["delivery-1"]
    bureau.close()
