"""Quality control: nothing is billed or delivered before a second person has looked at what was drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.defects import DEFECTS, Defect, Verdict
from pipeline.ledger import AWAITING_INSPECTION, QUALITY_DEFECT, Ledger, LotChanged, NotToBeLookedAt
from pipeline.ledger.lots import Lot, LotPage
from pipeline.model import (
    BatchId,
    Exclusion,
    Hold,
    Inspection,
    LotState,
    OrderStatus,
    TaskKind,
    WorkOrder,
)
from pipeline.sampling import SamplingPlan
from tests.pipeline.by_hand import adds_up, downgrade_to, finish, open_order, receive, run_hint, sha, work_off

GOOD, CRITICAL, MAJOR, MINOR = Verdict.GOOD, Verdict.CRITICAL, Verdict.MAJOR, Verdict.MINOR
DEFECT = {
    verdict: next(code for code, (of, _) in DEFECTS.items() if of is verdict) for verdict in (CRITICAL, MAJOR, MINOR)
}


@dataclass
class Control:
    """An order of one batch under quality control; two pages are drawn, and none of them may have a grave defect."""

    ledger: Ledger
    order: WorkOrder
    batch_id: BatchId

    @property
    def lot(self) -> Lot:
        lot = self.ledger.lot(self.batch_id)
        assert lot is not None
        return lot

    @property
    def pages(self) -> list[LotPage]:
        return self.ledger.lot_pages(self.batch_id)

    @property
    def delivered(self) -> bool:
        return self.ledger.order_by_id(self.order.id).status is OrderStatus.DELIVERED

    @property
    def billed(self) -> int:
        counts = self.ledger.order_counts(self.order.id)
        assert adds_up(counts)
        return counts.billable

    def look(self, page: LotPage, verdict: Verdict, who: str = "anna") -> None:
        self.ledger.record_verdict(
            self.batch_id, page.id, verdict, DEFECT.get(verdict), seen=page.verdict, sentence="Bad.", note="n", who=who
        )

    def look_at_all(self, verdict: Verdict = GOOD) -> None:
        while (page := self.ledger.next_to_look(self.batch_id)) is not None:
            self.look(page, verdict)

    def hold_of(self, page: LotPage) -> Hold:
        [hold] = [hold for hold in self.ledger.holds() if hold.page_id == page.id]
        return hold

    def work_off(self) -> None:
        work_off(self.ledger)

    def check(self) -> None:
        """What can never be wrong is right."""
        recount = self.ledger.recount(self.order.number)
        assert recount is not None
        assert (recount.miscounts, recount.misbilled, recount.unwritten) == ([], [], [])
        assert (recount.misdrawn, recount.misjudged) == ([], [])
        assert (self.ledger.tally_faults(), self.ledger.floor().faults) == ([], ())


Begin = Callable[..., Control]


@pytest.fixture
def begin(ledger: Ledger) -> Begin:
    def made(pages: int = 5, inspection: Inspection = Inspection.BEFORE) -> Control:
        order = open_order(ledger, inspection=inspection)
        batch_id = receive(ledger, order, pages)
        assert batch_id is not None
        work_off(ledger)
        ledger.close_order(order.number, who="test")
        work_off(ledger)
        return Control(ledger, order, batch_id)

    return made


def hold_next(ledger: Ledger, code: str) -> None:
    """Whatever is due first is held."""
    [(_, task_id, attempt)] = ledger.dispatch("w", 1)
    task = ledger.claim(task_id, attempt, "w")
    assert task is not None
    ledger.hold(task, code, "It is not as it should be.", who="w")


def test_an_order_under_quality_control_is_billed_and_delivered_when_its_lot_has_passed(begin: Begin) -> None:
    control = begin()
    assert [(hold.code, hold.batch) for hold in control.ledger.holds()] == [(AWAITING_INSPECTION, "box-1")]
    assert (control.lot.state, control.lot.pages, control.lot.to_look) == (LotState.SAMPLE, 5, 2)
    assert (control.billed, control.delivered) == (0, False)
    [backlog] = control.ledger.floor().orders
    assert (backlog.remaining, backlog.inspection) == (0, 5)
    control.check()
    first, second = control.pages
    control.look(first, GOOD)
    control.work_off()
    assert not control.delivered
    control.look(second, MINOR)
    control.work_off()
    assert (control.billed, control.delivered) == (5, True)
    assert (control.lot.state, control.lot.rejected) == (LotState.PASSED, False)
    assert control.ledger.holds() == []
    control.check()


def test_a_batch_without_quality_control_has_no_lot(begin: Begin) -> None:
    control = begin(inspection=Inspection.NONE)
    assert control.delivered and control.ledger.lot(control.batch_id) is None


@pytest.mark.parametrize("verdict", [CRITICAL, MAJOR])
def test_a_rejected_sample_lets_every_page_be_looked_at_once(begin: Begin, verdict: Verdict) -> None:
    control = begin()
    control.look(control.pages[0], verdict)
    assert (control.lot.state, control.lot.rejected) == (LotState.FULL, True)
    assert "rejected" in control.ledger.holds()[0].sentence
    assert len(control.pages) == 5 and control.lot.to_look == 4
    control.look_at_all()
    assert control.lot.state is LotState.FULL, "the page with the defect is not decided"
    control.ledger.decide_release(control.hold_of(control.pages[0]), who="boss", why="the paper is no better")
    control.work_off()
    assert (control.lot.state, control.billed, control.delivered) == (LotState.PASSED, 5, True)
    assert (control.lot.looked, control.lot.first_pass) == (5, 5)
    control.check()


def test_minor_defects_reject_nothing_and_hold_nothing(begin: Begin) -> None:
    control = begin()
    control.look_at_all(MINOR)
    assert (control.lot.state, control.lot.minor) == (LotState.PASSED, 2)


def test_a_page_with_a_grave_defect_is_held_and_its_new_scan_comes_back_for_a_look(begin: Begin) -> None:
    control = begin()
    bad = control.pages[0]
    control.look(bad, CRITICAL)
    hold = control.hold_of(bad)
    assert (hold.code, hold.kind) == (QUALITY_DEFECT, TaskKind.INSPECT_PAGE)
    assert control.ledger.order_counts(control.order.id).held == 1
    control.look_at_all()
    assert control.ledger.await_rescan(hold, "It waits for a scan.", who="boss", why="cut off")
    asked = control.hold_of(bad)
    with pytest.raises(NotToBeLookedAt):
        control.look(control.pages[0], GOOD)
    new_id = control.ledger.replace_page(bad.id, "again.tif", sha(77), who="carl", why="a new scan")
    assert control.ledger.hold_of(asked.id) is None
    with pytest.raises(NotToBeLookedAt, match="new scan"):
        control.look(control.pages[0], GOOD)  # it is not read yet
    control.check()
    control.work_off()
    new = control.pages[0]
    assert (new.id, new.sequence, new.verdict, new.operator) == (new_id, bad.sequence, None, "carl")
    assert control.ledger.next_to_look(control.batch_id) == new
    assert not control.delivered
    control.look(new, GOOD)
    control.work_off()
    assert (control.billed, control.delivered) == (5, True)
    assert control.ledger.order_counts(control.order.id).excluded[Exclusion.RESCAN] == 1
    assert (control.lot.looked, control.lot.critical, control.lot.first_pass) == (5, 1, 4)
    control.check()


def test_a_new_scan_that_is_bad_again_waits_again(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], MAJOR)
    for _ in range(2):
        bad = control.pages[0]
        control.ledger.replace_page(bad.id, "again.tif", sha(77), who="carl", why="a new scan")
        control.work_off()
        control.look(control.pages[0], MAJOR)
    control.look_at_all()
    assert control.lot.undecided == 1 and not control.delivered
    control.ledger.decide_exclude(control.hold_of(control.pages[0]), Exclusion.WAIVED, who="boss", why="torn")
    control.work_off()
    assert (control.billed, control.delivered) == (4, True)
    control.check()


def test_a_new_scan_that_is_held_itself_can_be_replaced_and_still_comes_back(begin: Begin) -> None:
    control = begin()
    bad = control.pages[0]
    control.look(bad, MAJOR)
    control.look_at_all()
    new_id = control.ledger.replace_page(bad.id, "2.tif", sha(77), who="carl", why="a new scan")
    hold_next(control.ledger, "skew-too-large")
    control.ledger.replace_page(new_id, "3.tif", sha(78), who="carl", why="and another")
    control.check()
    control.work_off()
    control.look_at_all()
    control.work_off()
    assert (control.billed, control.delivered) == (5, True)
    control.check()


def test_a_page_left_out_lets_its_lot_pass_when_it_was_the_last_that_waited(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], CRITICAL)
    control.look_at_all()
    control.ledger.decide_exclude(control.hold_of(control.pages[0]), Exclusion.WAIVED, who="boss", why="not ours")
    control.work_off()
    assert (control.billed, control.delivered) == (4, True)
    assert (control.lot.looked, control.lot.first_pass) == (5, 4)
    control.check()


def test_a_page_that_is_retried_is_looked_at_again(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], MAJOR)
    control.ledger.decide_retry(control.hold_of(control.pages[0]), who="boss", why="I see nothing wrong")
    assert control.pages[0].verdict is None
    assert (control.lot.major, control.lot.rejected) == (0, True), "a sample that was rejected stays so"
    control.look_at_all()
    control.work_off()
    assert control.delivered
    control.check()


def test_who_pressed_the_wrong_key_says_so_and_both_are_kept(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], MAJOR)
    control.look(control.pages[0], GOOD)
    assert [hold.code for hold in control.ledger.holds()] == [AWAITING_INSPECTION]
    assert [one.verdict for one in control.ledger.verdicts_of(control.pages[0].id)] == [MAJOR, GOOD]
    control.look(control.pages[0], MAJOR)  # and again: held once more
    assert control.hold_of(control.pages[0]).code == QUALITY_DEFECT
    control.check()


def test_what_somebody_else_has_said_meanwhile_stays(begin: Begin) -> None:
    control = begin()
    page = control.pages[0]
    control.look(page, MAJOR, who="bert")
    with pytest.raises(NotToBeLookedAt, match="meanwhile"):
        control.look(page, GOOD)
    assert control.hold_of(page).code == QUALITY_DEFECT


def test_pages_that_were_not_drawn_and_lots_that_have_passed_take_no_verdict(begin: Begin) -> None:
    control = begin()
    drawn = control.pages
    kept = control.ledger.pages_of_batch(control.batch_id)
    other = next(page.id for page in kept if page.id not in {one.id for one in drawn})
    with pytest.raises(NotToBeLookedAt):
        control.ledger.record_verdict(control.batch_id, other, GOOD, None, seen=None, sentence="", note="", who="a")
    control.look_at_all()
    with pytest.raises(NotToBeLookedAt, match="not under quality control"):
        control.ledger.record_verdict(
            control.batch_id, drawn[0].id, MAJOR, Defect.BLURRED, seen=GOOD, sentence="", note="", who="a"
        )


def test_a_held_page_keeps_the_sample_from_being_drawn(ledger: Ledger) -> None:
    order = open_order(ledger, inspection=Inspection.BEFORE)
    batch_id = receive(ledger, order, 4)
    assert batch_id is not None
    hold_next(ledger, "unreadable")
    control = Control(ledger, order, batch_id)
    control.work_off()
    assert (control.lot.state, control.lot.pages_left) == (LotState.GATHERING, 1)
    control.check()
    ledger.decide_exclude(control.ledger.holds()[0], Exclusion.WAIVED, who="boss", why="torn")
    control.work_off()
    assert (control.lot.state, control.lot.pages) == (LotState.SAMPLE, 3)
    control.check()


def test_a_batch_of_which_every_page_is_left_out_passes_by_itself(ledger: Ledger) -> None:
    order = open_order(ledger, inspection=Inspection.BEFORE)
    batch_id = receive(ledger, order, 1)
    assert batch_id is not None
    hold_next(ledger, "unreadable")
    control = Control(ledger, order, batch_id)
    control.work_off()
    ledger.decide_exclude(ledger.holds()[0], Exclusion.WAIVED, who="boss", why="torn")
    ledger.close_order(order.number, who="test")
    control.work_off()
    assert (control.lot.state, control.delivered) == (LotState.PASSED, True)
    control.check()


def test_what_people_look_at_beside_a_delivery_keeps_nothing_waiting(begin: Begin) -> None:
    control = begin(inspection=Inspection.BESIDE)
    assert (control.billed, control.delivered) == (5, True)
    control.check()
    control.look(control.pages[0], CRITICAL)
    assert [hold.code for hold in control.ledger.holds()] == [AWAITING_INSPECTION], "what is delivered is not held"
    control.look_at_all()
    assert (control.lot.state, control.lot.critical, control.billed) == (LotState.PASSED, 1, 5)
    control.check()


def test_a_sample_is_not_kept_of_a_lot_that_is_another(ledger: Ledger) -> None:
    order = open_order(ledger, inspection=Inspection.BEFORE)
    batch_id = receive(ledger, order, 3)
    assert batch_id is not None
    while handed := ledger.dispatch("w", 5):
        for kind, task_id, attempt in handed:
            if kind is TaskKind.INSPECT_BATCH:
                task = ledger.claim(task_id, attempt, "w")
                assert task is not None
                ids = [page.id for page in ledger.pages_to_inspect(batch_id)]
                with pytest.raises(LotChanged):
                    ledger.record_drawn(
                        task, SamplingPlan(sample=1, accept=0), plan_words="", seed="s", lot=ids[1:], sample=ids[1:],
                        scanner="", who="w",
                    )  # fmt: skip
                finish(ledger, task)
            else:
                run_hint(ledger, task_id, attempt)
    assert Control(ledger, order, batch_id).lot.population == f"{ids[0]}-{ids[2]}"


def test_a_sample_that_its_seed_does_not_draw_is_told(begin: Begin) -> None:
    control = begin()
    with control.ledger.write() as c:
        c.execute(text("UPDATE lots SET seed = 'another one'"))
    recount = control.ledger.recount(control.order.number)
    assert recount is not None and recount.misdrawn == ["box-1"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE lot_pages SET verdict = 'minor'", ["batch box-1, page {first}", "batch box-1, page {second}"]),
        ("UPDATE lot_pages SET verdict = NULL WHERE page_id = {id}", ["batch box-1, page {first}"]),
        ("UPDATE lot_pages SET settled = false WHERE page_id = {id}", ["batch box-1, page {first}"]),
    ],
)
def test_a_lot_that_passed_without_the_verdicts_that_let_it_pass_is_told(
    begin: Begin, change: str, told: list[str]
) -> None:
    control = begin()
    first, second = control.pages
    control.look_at_all()
    control.check()
    with control.ledger.write() as c:
        c.execute(text(change.format(id=first.id)))
    recount = control.ledger.recount(control.order.number)
    assert recount is not None
    assert recount.misjudged == [one.format(first=first.sequence, second=second.sequence) for one in told]
    assert recount.miscounts, "and its figures are no more those of its pages"


def test_a_page_that_is_billed_before_its_lot_has_passed_is_told(begin: Begin) -> None:
    control = begin()
    first, _ = control.pages
    with control.ledger.write() as c:
        names = "order_id, batch_id, file, index_in_file, source, sequence"
        billed = f"SELECT id, 1, {names} FROM pages WHERE id = {first.id}"
        c.execute(text(f"INSERT INTO billables (page_id, at_ms, {names}) {billed}"))
    assert f"page {first.id} is billed before its quality control has passed." in control.ledger.tally_faults()


def test_a_page_that_is_lost_beside_a_look_at_its_batch_is_told(begin: Begin) -> None:
    control = begin(inspection=Inspection.BESIDE)
    first, _ = control.pages
    with control.ledger.write() as c:
        names = "order_id, batch_id, file, index_in_file, pages_in_file, source"
        c.execute(text(f"INSERT INTO pages (sequence, {names}) SELECT 99, {names} FROM pages WHERE id = {first.id}"))
    assert [fault for fault in control.ledger.tally_faults() if "there is nothing to be done for it" in fault]


def test_verdicts_cannot_be_changed(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], MAJOR)
    control.ledger.replace_page(control.pages[0].id, "2.tif", sha(77), who="carl", why="a new scan")
    for statement in (
        "UPDATE verdicts SET verdict = 'good'",
        "DELETE FROM verdicts",
        "UPDATE rescans SET reason = ''",
        "DELETE FROM rescans",
    ):
        with pytest.raises(DBAPIError, match="append-only"), control.ledger.write() as c:
            c.execute(text(statement))


def test_the_history_tells_who_looked_and_what_followed(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], MAJOR)
    control.look_at_all()
    control.ledger.decide_release(control.hold_of(control.pages[0]), who="boss", why="no better")
    told = [(event.kind, event.who, event.outcome) for event in control.ledger.events(control.order.id)]
    assert ("looked at", "anna", "major") in told and ("released", "boss", QUALITY_DEFECT) in told
    for kind in ("sample drawn", "sample rejected", "quality control passed"):
        assert [one[0] for one in told].count(kind) == 1
    [drawn] = [event for event in control.ledger.events(control.order.id) if event.kind == "sample drawn"]
    assert drawn.detail["seed"] == control.lot.seed and len(drawn.detail["sample"]) == 2  # type: ignore[arg-type]


def test_two_who_look_at_the_last_pages_together_let_the_lot_pass_once(begin: Begin) -> None:
    barrier = threading.Barrier(2)
    faults: list[Exception] = []

    def look(control: Control, page: LotPage) -> None:
        barrier.wait(20)
        try:
            control.look(page, GOOD, who=f"looker {page.id}")
        except Exception as error:
            faults.append(error)

    for _ in range(5):
        control = begin()
        threads = [threading.Thread(target=look, args=(control, page)) for page in control.pages]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert faults == [] and control.lot.state is LotState.PASSED
        control.work_off()
        assert (control.billed, control.delivered) == (5, True)
        control.check()


def test_figures_tell_yield_defects_and_why_pages_were_scanned_again(begin: Begin) -> None:
    control = begin()
    control.look(control.pages[0], CRITICAL)
    control.look(control.pages[1], MINOR)
    control.look_at_all()
    control.ledger.await_rescan(control.hold_of(control.pages[0]), "It waits.", who="boss", why="bad")
    control.ledger.replace_page(control.pages[0].id, "2.tif", sha(77), who="carl", why="a new scan")
    control.work_off()
    control.look_at_all()
    other = begin(3)
    figures = control.ledger.quality_figures(control.order.opened_at)
    assert (figures.total.lots, figures.total.rejected, figures.total.looked) == (1, 1, 5)
    assert figures.total.first_pass_yield == pytest.approx(0.8)
    assert figures.total.defects_per_10_000 == pytest.approx(4000)
    assert figures.total.rescan_rate == pytest.approx(0.2)
    assert [line.name for line in figures.orders] == [control.order.number], "nobody has looked at the other"
    assert figures.defects == {DEFECT[CRITICAL]: 1, DEFECT[MINOR]: 1}
    assert figures.rescans == {DEFECT[CRITICAL].value: 1} and figures.received == 8
    other.look_at_all()
    assert control.ledger.quality_figures(other.order.opened_at).profiles[0].name == "records-bitonal"


def test_a_rescan_before_quality_control_keeps_the_reason_it_was_held_for(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    hold_next(ledger, "skew-too-large")
    [hold] = ledger.holds()
    ledger.await_rescan(hold, "It waits.", who="boss", why="askew")
    assert hold.page_id is not None
    ledger.replace_page(hold.page_id, "2.tif", sha(77), who="carl", why="a new scan")
    assert ledger.quality_figures(order.opened_at).rescans == {"skew-too-large": 1}


def test_the_ledger_of_the_version_before_goes_on_without_quality_control(ledger: Ledger) -> None:
    order = open_order(ledger)
    batch_id = receive(ledger, order, 3)
    downgrade_to(ledger, "0005")
    ledger.migrate()
    work_off(ledger)
    ledger.close_order(order.number, who="test")
    work_off(ledger)
    assert ledger.order_by_id(order.id).status is OrderStatus.DELIVERED
    assert batch_id is not None and ledger.lot(batch_id) is None and ledger.batch(batch_id).operator == ""
