"""Whatever happens in whatever order: every page is accounted for after each step, and in the end all is delivered."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import text

from pipeline.defects import Verdict
from pipeline.ledger import AWAITING_INSPECTION, Fenced, HeldNoLonger, Ledger, NotToBeLookedAt, OrderNotOpen
from pipeline.ledger.ledger import BatchChanged
from pipeline.model import PAGE_TASKS, Exclusion, Hold, Inspection, OrderStatus, Task, TaskId
from tests.pipeline.by_hand import adds_up, arrival, finish, open_order, receive, sha, work_off

OWNERS = st.sampled_from(["a", "b"])
ORDERS = st.sampled_from([0, 1])
NUMBERS = st.integers(0, 999)
OUTCOMES = st.lists(
    st.sampled_from(["finish"] * 5 + ["hold", "hold", "hold", "go on", "fail", "blank", "lost"]),
    min_size=1,
    max_size=6,
)
# what must hold between the rows themselves, as questions that find the rows that break it
FAULTS = {
    "a page is billed and left out": """
        SELECT p.id FROM pages p JOIN billables b ON b.page_id = p.id WHERE p.excluded IS NOT NULL""",
    "a sheet is billed twice": """
        SELECT batch_id, sequence FROM billables GROUP BY batch_id, sequence HAVING count(*) > 1""",
    "a document is packaged before its pages are done": """
        SELECT d.id FROM documents d JOIN pages p ON p.document_id = d.id AND p.excluded IS NULL
        WHERE (d.finished OR EXISTS (SELECT 1 FROM tasks WHERE kind = 'PACKAGE_DOCUMENT' AND subject_id = d.id))
        AND p.id NOT IN (SELECT page_id FROM billables)""",
    "a document's counter is wrong": """
        SELECT d.id FROM documents d WHERE d.pages_left != (
            SELECT count(*) FROM pages p WHERE p.document_id = d.id AND p.excluded IS NULL
            AND p.id NOT IN (SELECT page_id FROM billables))""",
    "an order's counter is wrong": """
        SELECT o.id FROM orders o WHERE o.items_left !=
            (SELECT count(*) FROM batches b WHERE b.order_id = o.id AND NOT b.assembled)
            + (SELECT count(*) FROM documents d WHERE d.order_id = o.id AND NOT d.finished)""",
    "an order is filmed or packaged that is open or has work left": """
        SELECT o.id FROM orders o JOIN tasks k ON k.order_id = o.id
        WHERE k.kind IN ('PLAN_ROLLS', 'WRITE_ROLL', 'DELIVER_ORDER') AND k.state NOT IN ('done', 'dropped')
        AND (o.status != 'closed' OR o.items_left != 0)""",
    "an order was delivered with work left": "SELECT id FROM orders WHERE status = 'delivered' AND items_left != 0",
    "a lot's counter is wrong": """
        SELECT l.batch_id FROM lots l WHERE l.pages_left != (
            SELECT count(*) FROM pages p WHERE p.batch_id = l.batch_id AND p.document_id IS NOT NULL
            AND p.excluded IS NULL AND EXISTS (
                SELECT 1 FROM tasks k WHERE k.subject_id = p.id AND k.kind IN ('PREPARE_PAGE', 'RECOGNIZE_PAGE')
                AND k.state NOT IN ('done', 'dropped')))""",
    "a page is billed before its lot has passed": """
        SELECT b.page_id FROM billables b JOIN lots l ON l.batch_id = b.batch_id WHERE l.state != 'passed'""",
    "a lot has passed with a page that is not settled": """
        SELECT p.id FROM lots l JOIN lot_pages q ON q.batch_id = l.batch_id JOIN pages p ON p.id = q.page_id
        WHERE l.state = 'passed' AND NOT q.settled AND p.excluded IS NULL""",
    "a lot under way waits for nothing": """
        SELECT l.batch_id FROM lots l WHERE l.state IN ('sample', 'full') AND l.pages_left = 0 AND NOT EXISTS (
            SELECT 1 FROM lot_pages q JOIN pages p ON p.id = q.page_id
            WHERE q.batch_id = l.batch_id AND NOT q.settled AND p.excluded IS NULL)""",
    "a page waits for nothing": """
        SELECT p.id FROM pages p WHERE p.excluded IS NULL AND p.id NOT IN (SELECT page_id FROM billables)
        AND NOT EXISTS (SELECT 1 FROM tasks k WHERE k.subject_id = p.id AND k.kind IN ('PREPARE_PAGE', 'RECOGNIZE_PAGE')
                        AND k.state NOT IN ('done', 'dropped'))
        AND (SELECT assembled FROM batches b WHERE b.id = p.batch_id)
        AND NOT EXISTS (SELECT 1 FROM lots l WHERE l.batch_id = p.batch_id AND l.state != 'passed')""",
}


@cache
def _migrated() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="platen-machine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.migrate()
    ledger.close()
    return path


class Floor(RuleBasedStateMachine):
    """Two workers, one supervisor, two orders; the supervisor's list may be older than the ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="platen-machine-"))
        shutil.copy(_migrated(), self.folder / "ledger.db")
        self.ledger = Ledger(f"sqlite:///{self.folder / 'ledger.db'}")
        self.ledger.register_worker("a")
        self.ledger.register_worker("b")
        self.orders = [open_order(self.ledger), open_order(self.ledger, film=True, inspection=Inspection.BEFORE)]
        self.hints: list[tuple[TaskId, int]] = []
        self.running: list[Task] = []
        self.holds: list[Hold] = []
        receive(self.ledger, self.orders[0], 3)

    @rule(order=ORDERS, pages=st.integers(1, 4), digest=st.sampled_from([None, None, "same"]))
    def receive(self, order: int, pages: int, digest: str | None) -> None:
        try:
            arrival(self.ledger, self.orders[order], pages, digest=digest)()
        except OrderNotOpen:
            assert self.ledger.order_by_id(self.orders[order].id).status is not OrderStatus.OPEN

    @rule(owner=OWNERS, outcomes=OUTCOMES)
    def work(self, owner: str, outcomes: list[str]) -> None:
        """Tasks are handed out, claimed, and end in one way or another, or go on for a while."""
        for (_, task_id, attempt), outcome in zip(self.ledger.dispatch(owner, len(outcomes)), outcomes, strict=False):
            self.hints.append((task_id, attempt))
            task = None if outcome == "lost" else self.ledger.claim(task_id, attempt, owner)
            if task is not None:
                self._end(task, outcome)

    @rule(owner=OWNERS, pages=st.integers(1, 12))
    def all_goes_well(self, owner: str, pages: int) -> None:
        """For a while, or no order would come far."""
        for _, task_id, attempt in self.ledger.dispatch(owner, pages):
            self.hints.append((task_id, attempt))
            task = self.ledger.claim(task_id, attempt, owner)
            assert task is not None
            self._end(task, "finish")

    @precondition(lambda self: self.hints)
    @rule(number=NUMBERS, owner=OWNERS)
    def a_message_comes_late_or_twice(self, number: int, owner: str) -> None:
        task = self.ledger.claim(*self.hints[number % len(self.hints)], owner)
        if task is not None:
            self._end(task, "finish")

    @precondition(lambda self: self.running)
    @rule(number=NUMBERS, outcome=st.sampled_from(["finish", "finish", "hold", "fail", "blank"]))
    def a_slow_worker_ends(self, number: int, outcome: str) -> None:
        self._end(self.running[number % len(self.running)], outcome)

    def _end(self, task: Task, outcome: str) -> None:
        with contextlib.suppress(Fenced, BatchChanged):
            if outcome == "go on":
                self.running.append(task)  # and never leaves the list: it may end twice
            elif outcome == "hold":
                self.ledger.hold(task, "skew-too-large", "It is crooked.", who="w")
                hold = self.ledger.hold_of(task.id)
                assert hold is not None
                self.holds.append(hold)
            elif outcome == "fail":
                self.ledger.put_off(task, "disk full", who="w")
                self._wait_for_everything()
            else:
                finish(self.ledger, task, late=Exclusion.BLANK if outcome == "blank" else None)

    @rule(owner=OWNERS, how=st.sampled_from(["dies", "stops", "could not record"]))
    def a_worker_gives_its_tasks_back(self, owner: str, how: str) -> None:
        if how == "dies":
            with self.ledger.write() as c:
                c.execute(text("UPDATE workers SET seen_ms = 0 WHERE id = :id"), {"id": owner})
            self.ledger.reap()
            self.ledger.heartbeat(owner)
        elif how == "stops":
            self.ledger.give_back(owner)
        else:
            self.ledger.reap(owner)

    @precondition(lambda self: self.holds)
    @rule(
        number=NUMBERS,
        decision=st.sampled_from(["retry", "release", "exclude", "exclude", "replace", "replace", "ask"]),
    )
    def decide(self, number: int, decision: str) -> None:
        """Also about what is held no longer: somebody else was quicker."""
        seen = self.holds if number % 4 == 0 else self.ledger.holds() or self.holds
        hold = seen[number // 4 % len(seen)]
        if hold.code == AWAITING_INSPECTION:
            return  # nobody decides about it but by looking
        if decision == "retry":
            self.ledger.decide_retry(hold, who="t", why="w")
        elif decision == "release":
            self.ledger.decide_release(hold, who="t", why="w")
        elif hold.kind not in PAGE_TASKS or hold.page_id is None:
            return
        elif decision == "exclude":
            self.ledger.decide_exclude(hold, Exclusion.WAIVED, who="t", why="w")
        elif decision == "ask":
            self.ledger.await_rescan(hold, "It waits for a scan.", who="t", why="w")
        else:
            with contextlib.suppress(HeldNoLonger):
                self.ledger.replace_page(hold.page_id, "again.tif", sha(7), who="t", why="w")

    @rule(number=NUMBERS, verdict=st.sampled_from([Verdict.GOOD] * 4 + list(Verdict)), late=st.booleans())
    def look(self, number: int, verdict: Verdict, late: bool) -> None:
        """Somebody looks at a page; `late` if another look came in between."""
        pages = [(lot, page) for lot in self.ledger.lots_under_way() for page in self.ledger.lot_pages(lot.id)]
        if pages:
            lot, page = pages[number % len(pages)]
            for who in ("anna", "bert") if late else ("anna",):
                with contextlib.suppress(NotToBeLookedAt):
                    self.ledger.record_verdict(
                        lot.id, page.id, verdict, None, seen=page.verdict, sentence="Bad.", note="", who=who
                    )

    @rule(order=ORDERS)
    def close(self, order: int) -> None:
        try:
            self.ledger.close_order(self.orders[order].number, who="t")
        except OrderNotOpen:
            assert not self.ledger.batches_of(self.orders[order].id)

    @rule(order=ORDERS)
    def reopen(self, order: int) -> None:
        try:
            self.ledger.reopen_order(self.orders[order].number, who="t")
        except OrderNotOpen:
            assert self.ledger.order_by_id(self.orders[order].id).status is OrderStatus.CLOSED

    @invariant()
    def every_page_is_accounted_for(self) -> None:
        for order in self.ledger.orders():
            report = self.ledger.order_report(order.number)
            assert report is not None
            assert adds_up(report.pages)
            assert report.pages.received == sum(counts.received for _, counts in report.batches)
            assert all(adds_up(counts) for _, counts in report.batches)
        with self.ledger.read() as c:
            for fault, question in FAULTS.items():
                assert not c.execute(text(question)).all(), fault
        assert (self.ledger.tally_faults(), self.ledger.floor().faults) == ([], ())

    def teardown(self) -> None:
        """Everything is decided and worked off: every order that has pages can be delivered."""
        for owner in ("a", "b", "w"):
            self.ledger.give_back(owner)
        for hold in self.ledger.holds():
            if hold.code != AWAITING_INSPECTION:
                self.ledger.decide_retry(hold, who="t", why="w")
        self._wait_for_everything()
        self._work_off_and_look()
        for hold in self.ledger.holds():
            assert hold.code == "same-delivery-twice"  # which another try does not change
            self.ledger.drop_delivery(hold, who="t", why="w")
        self.every_page_is_accounted_for()
        for order in self.ledger.orders():
            if self.ledger.batches_of(order.id):
                self.ledger.close_order(order.number, who="t")
        work_off(self.ledger)
        self.every_page_is_accounted_for()
        assert self.ledger.unfinished() == 0
        for order in self.ledger.orders():
            if order.deliveries:  # it can be delivered again
                self.ledger.reopen_order(order.number, who="t")
                self.ledger.close_order(order.number, who="t")
                work_off(self.ledger)
                assert self.ledger.order_by_id(order.id).deliveries == order.deliveries + 1
        for order in self.ledger.orders():
            counts = self.ledger.order_counts(order.id)
            assert (counts.open, counts.held) == (0, 0)
            assert order.status is (OrderStatus.DELIVERED if counts.received else order.status)
        self.ledger.close()
        shutil.rmtree(self.folder)

    def _work_off_and_look(self) -> None:
        """Everything is done, and every page that is to be looked at is good."""
        work_off(self.ledger)
        for lot in self.ledger.lots_under_way():
            while (page := self.ledger.next_to_look(lot.id)) is not None:
                self.ledger.record_verdict(
                    lot.id, page.id, Verdict.GOOD, None, seen=None, sentence="", note="", who="carl"
                )
        work_off(self.ledger)

    def _wait_for_everything(self) -> None:
        with self.ledger.write() as c:
            c.execute(text("UPDATE tasks SET not_before_ms = 0"))


TestFloor = Floor.TestCase
TestFloor.settings = settings(
    max_examples=25,
    stateful_step_count=35,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
