"""Quality control as it changes: lots are drawn, looked at, rejected, passed. A lot is the kept pages of one batch.

The lot's row is locked first by whoever changes anything under it, so that here, and only here, what is left may be
counted. In the order of locks it stands between batch and page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, insert, literal, null, select, update

from pipeline.defects import GRAVE, Defect, Verdict
from pipeline.ledger import tables as t
from pipeline.ledger.work import Work, add_event, add_tasks
from pipeline.model import RANKS, BatchId, Exclusion, Inspection, LotState, PageId, Task, TaskKind, TaskState
from pipeline.sampling import SamplingPlan, spans

AWAITING_INSPECTION = "awaiting-inspection"  # code of a batch whose pages people look at
QUALITY_DEFECT = "quality-defect"  # code of a page on which somebody found a grave defect
_LOOKED_AT = frozenset({LotState.SAMPLE, LotState.FULL})


class LotChanged(RuntimeError):
    """The pages of the lot are not those that its sample was drawn from; draw again."""


class NotToBeLookedAt(RuntimeError):
    """Nobody can say anything about this page now; the message says why."""


class Inspections(Work):
    """The part of the ledger that keeps quality control."""

    def record_drawn(
        self,
        task: Task,
        plan: SamplingPlan,
        *,
        plan_words: str,
        seed: str,
        lot: Sequence[PageId],
        sample: Sequence[PageId],
        scanner: str,
        who: str,
    ) -> None:
        """The sample of a batch has been drawn; its task waits for people. A lot without pages has passed.

        Raises:
            LotChanged: the batch does not keep the pages that were drawn from.
            Fenced: the attempt was taken away.
        """
        batch_id = BatchId(task.subject_id)
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.HELD, code=AWAITING_INSPECTION)
            row = c.execute(
                update(t.lots)
                .where(t.lots.c.batch_id == batch_id)
                .values(
                    state=LotState.FULL if len(sample) == len(lot) else LotState.SAMPLE,
                    plan=plan_words,
                    letter=plan.letter,
                    seed=seed,
                    population=spans(lot),
                    pages=len(lot),
                    sample=len(sample),
                    accept=plan.accept,
                    scanner=scanner,
                    drawn_ms=t.now_ms(),
                )
                .returning(*t.lots.c)
            ).one()
            if set(c.scalars(kept_pages(batch_id))) != set(lot):
                raise LotChanged(f"batch {batch_id} changed while its sample was drawn")
            operator = c.execute(select(t.batches.c.operator).where(t.batches.c.id == batch_id)).scalar_one()
            rows = [{"page_id": page_id, "batch_id": batch_id, "operator": operator} for page_id in sample]
            if rows:
                c.execute(insert(t.lot_pages), rows)
            _tell_task(c, row)
            add_event(
                c, row.order_id, f"batch {batch_id}", "sample drawn", who, "done",
                plan=plan_words, letter=plan.letter, seed=seed, lot=row.population, sample=list(sample),
                accept=plan.accept, operator=operator,
            )  # fmt: skip
            self._consider_lot(c, batch_id, who=who)

    def record_verdict(
        self,
        batch_id: BatchId,
        page_id: PageId,
        verdict: Verdict,
        defect: Defect | None,
        *,
        seen: Verdict | None,
        sentence: str,
        note: str,
        who: str,
    ) -> None:
        """Somebody has looked at a page; `seen` is the verdict that stood there, and `sentence` what a hold says.

        A page with a grave defect is held, unless the batch is looked at beside its delivery. A later verdict stands
        in the place of an earlier one, which is kept.

        Raises:
            NotToBeLookedAt: the page is not (or not any more) to be looked at, or somebody was quicker.
        """
        with self.write() as c:
            c.execute(  # the task's row before the lot's, as whoever decides about it does
                update(t.tasks)
                .where(_is_held(page_id), t.tasks.c.code == QUALITY_DEFECT)
                .values(state=TaskState.DROPPED, code=null(), sentence=null(), changed_ms=t.now_ms())
            )
            lot = _locked(c, batch_id)
            page = c.execute(
                select(t.lot_pages, t.pages.c.excluded, _is_ready().label("ready"))
                .join(t.pages, t.pages.c.id == t.lot_pages.c.page_id)
                .where(t.lot_pages.c.page_id == page_id, t.lot_pages.c.batch_id == batch_id)
            ).first()
            if lot is None or page is None:
                raise NotToBeLookedAt("This page is not among those that are to be looked at.")
            if lot.state not in _LOOKED_AT:
                raise NotToBeLookedAt("This batch is not under quality control now.")
            if page.excluded is not None or not page.ready:
                raise NotToBeLookedAt("This page was left out, or a new scan of it is awaited or not read yet.")
            if page.verdict != seen:
                raise NotToBeLookedAt("Somebody has looked at this page meanwhile. You changed nothing; look again.")
            c.execute(
                insert(t.verdicts).values(
                    batch_id=batch_id,
                    page_id=page_id,
                    at_ms=t.now_ms(),
                    who=who,
                    operator=page.operator,
                    verdict=verdict,
                    defect=defect,
                    note=note,
                )
            )
            held = verdict in GRAVE and lot.inspection == Inspection.BEFORE
            c.execute(
                update(t.lot_pages)
                .where(t.lot_pages.c.page_id == page_id)
                .values(verdict=verdict, defect=defect, settled=not held)
            )
            if held:
                _hold_page(c, lot.order_id, page_id, sentence)
            outcome = "done" if verdict is Verdict.GOOD else verdict.value
            add_event(
                c, lot.order_id, f"page {page_id}", "looked at", who, outcome,
                verdict=verdict, defect=defect, note=note, scanned_by=page.operator, before=seen,
            )  # fmt: skip
            self._consider_lot(c, batch_id, who=who)

    # --- what the rest of the ledger tells the lot ---------------------------------------------------------------

    def _open_lot(self, c: Connection, batch_id: int, order_id: int, inspection: Inspection, pages: int) -> None:
        """A batch has been parted: so many of its pages are to be read before its sample can be drawn."""
        if inspection is Inspection.NONE or not pages:
            return
        c.execute(
            insert(t.lots).values(
                batch_id=batch_id,
                order_id=order_id,
                inspection=inspection,
                state=LotState.GATHERING,
                pages_left=pages,
            )
        )

    def _lock_lot_of(self, c: Connection, page_id: int) -> None:
        """Let nobody change the page's lot beside this transaction."""
        _locked(c, _batch_of(page_id))

    def _page_ready(self, c: Connection, page_id: int, *, who: str) -> bool:
        """A page can be looked at; gives whether it is billed at once, without waiting for its lot."""
        lot = self._fewer_left(c, page_id, who=who)
        return lot is None or lot.inspection != Inspection.BEFORE

    def _fewer_left(self, c: Connection, page_id: int, *, who: str) -> Row[Any] | None:
        """One page less cannot be looked at yet; the last one makes the drawing due. Gives the lot, if there is one."""
        lot = c.execute(
            update(t.lots)
            .where(t.lots.c.batch_id == _batch_of(page_id))
            .values(pages_left=t.lots.c.pages_left - 1)
            .returning(*t.lots.c)
        ).first()
        if lot is not None and not lot.pages_left:
            if lot.state == LotState.GATHERING:
                add_tasks(c, TaskKind.INSPECT_BATCH, lot.order_id, [lot.batch_id])
            else:
                self._consider_lot(c, lot.batch_id, who=who)
        return lot

    def _page_replaced(self, c: Connection, old_id: int, new_id: int, *, was_ready: bool, operator: str) -> None:
        """A new scan comes into the lot in the place of the old one, and is looked at."""
        batch_id = c.scalar(select(t.lot_pages.c.batch_id).where(t.lot_pages.c.page_id == old_id))
        if batch_id is None:
            return
        c.execute(
            update(t.lots).where(t.lots.c.batch_id == batch_id).values(pages_left=t.lots.c.pages_left + int(was_ready))
        )
        c.execute(insert(t.lot_pages).values(page_id=new_id, batch_id=batch_id, instead_of=old_id, operator=operator))
        _count(c, batch_id)

    def _page_decided(self, c: Connection, page_id: int, *, who: str, settled: bool) -> None:
        """A person has decided about a page with a grave defect: it goes on as it is, or is to be looked at again."""
        batch_id = c.execute(select(_batch_of(page_id))).scalar_one()
        _locked(c, batch_id)
        page = update(t.lot_pages).where(t.lot_pages.c.page_id == page_id)
        c.execute(page.values(settled=True) if settled else page.values(verdict=null(), defect=null()))
        self._consider_lot(c, batch_id, who=who)

    def _consider_lot(self, c: Connection, batch_id: int, *, who: str) -> None:
        """Reject the sample, or let the lot pass, if that is how it stands; the lot's row is locked by the caller."""
        lot = _count(c, batch_id)
        if lot.state not in _LOOKED_AT:
            return
        if not lot.rejected and (lot.critical or lot.critical + lot.major > lot.accept):
            lot = _reject(c, lot, who=who)
        open_pages = exists().where(
            t.lot_pages.c.batch_id == batch_id,
            t.lot_pages.c.settled.is_(False),
            t.pages.c.id == t.lot_pages.c.page_id,
            t.pages.c.excluded.is_(None),
        )
        if lot.pages_left or c.scalar(select(open_pages)):
            return
        c.execute(
            update(t.lots).where(t.lots.c.batch_id == batch_id).values(state=LotState.PASSED, passed_ms=t.now_ms())
        )
        # no finished_ms: the order would be charged the time that people took
        c.execute(
            update(t.tasks)
            .where(_of_batch(batch_id), t.tasks.c.state == TaskState.HELD)
            .values(state=TaskState.DONE, code=null(), sentence=null(), changed_ms=t.now_ms())
        )
        add_event(
            c, lot.order_id, f"batch {batch_id}", "quality control passed", who, "done",
            looked=lot.looked, critical=lot.critical, major=lot.major, minor=lot.minor, rejected=lot.rejected,
        )  # fmt: skip
        if lot.inspection == Inspection.BEFORE:
            self._when_lot_passed(c, batch_id)

    def _when_lot_passed(self, c: Connection, batch_id: int) -> None:
        """What follows for the pages that waited (the whole ledger knows)."""


def kept_pages(batch_id: int) -> Any:
    """The question for the ids of a batch's pages that are delivered."""
    return select(t.pages.c.id).where(
        t.pages.c.batch_id == batch_id, t.pages.c.document_id.is_not(None), t.pages.c.excluded.is_(None)
    )


def _batch_of(page_id: int) -> Any:
    return select(t.pages.c.batch_id).where(t.pages.c.id == page_id).scalar_subquery()


def _of_batch(batch_id: int) -> Any:
    return and_(t.tasks.c.kind == TaskKind.INSPECT_BATCH, t.tasks.c.subject_id == batch_id)


def _is_held(page_id: int) -> Any:
    return and_(
        t.tasks.c.kind == TaskKind.INSPECT_PAGE, t.tasks.c.subject_id == page_id, t.tasks.c.state == TaskState.HELD
    )


def _is_ready() -> Any:
    """Whether nothing more happens to the page of a row of `pages` before somebody looks at it."""
    return ~exists().where(
        t.tasks.c.subject_id == t.pages.c.id,
        t.tasks.c.kind.in_((TaskKind.PREPARE_PAGE, TaskKind.RECOGNIZE_PAGE, TaskKind.INSPECT_PAGE)),
        t.tasks.c.state.not_in((TaskState.DONE, TaskState.DROPPED)),
    )


def _locked(c: Connection, batch_id: Any) -> Row[Any] | None:
    """The lot as it stands until this transaction ends."""
    return c.execute(
        update(t.lots).where(t.lots.c.batch_id == batch_id).values(pages_left=t.lots.c.pages_left).returning(*t.lots.c)
    ).first()


def said_of(batch_id: int) -> Any:
    """The question for the pages of a lot by what was said of them, counted as its row keeps them.

    Rescans count with the page in whose place they came.
    """
    page = t.lot_pages.c
    return (
        select(
            func.count(page.verdict).label("looked"),
            *(func.count().filter(page.verdict == grade).label(grade) for grade in Verdict if grade != Verdict.GOOD),
            func.count()
            .filter(page.verdict.is_not(None), page.settled, t.pages.c.excluded.is_(None))
            .label("first_pass"),
            func.count().filter(t.pages.c.excluded == Exclusion.RESCAN).label("rescanned"),
        )
        .join_from(t.lot_pages, t.pages, t.pages.c.id == page.page_id)
        .where(page.batch_id == batch_id, page.instead_of.is_(None))
    )


def _count(c: Connection, batch_id: int) -> Row[Any]:
    """Count the pages of the lot anew."""
    counted = c.execute(said_of(batch_id)).one()
    return c.execute(
        update(t.lots).where(t.lots.c.batch_id == batch_id).values(**counted._mapping).returning(*t.lots.c)
    ).one()


def _reject(c: Connection, lot: Row[Any], *, who: str) -> Row[Any]:
    """Every other page of the lot is looked at too."""
    operator = select(t.batches.c.operator).where(t.batches.c.id == lot.batch_id).scalar_subquery()
    others = (
        kept_pages(lot.batch_id)
        .with_only_columns(t.pages.c.id, literal(lot.batch_id), operator)
        .where(~exists().where(t.lot_pages.c.page_id == t.pages.c.id))
    )
    added = c.execute(insert(t.lot_pages).from_select(["page_id", "batch_id", "operator"], others)).rowcount
    rejected = c.execute(
        update(t.lots)
        .where(t.lots.c.batch_id == lot.batch_id)
        .values(state=LotState.FULL, rejected=True)
        .returning(*t.lots.c)
    ).one()
    _tell_task(c, rejected)
    add_event(
        c, lot.order_id, f"batch {lot.batch_id}", "sample rejected", who, "done",
        critical=lot.critical, major=lot.major, accept=lot.accept, pages=added,
    )  # fmt: skip
    return rejected


def _tell_task(c: Connection, lot: Row[Any]) -> None:
    """Say in the batch's hold how its quality control stands."""
    who = f"Somebody who did not scan it looks: the console's Quality page, or platen qc show {lot.batch_id}."
    if lot.rejected:
        what = (
            f"The sample was rejected: {lot.critical} pages with a critical and {lot.major} with a major defect; "
            f"accepted are 0 and {lot.accept}. Now every page of the batch is looked at."
        )
    else:
        what = (
            f"{lot.sample} of {lot.pages} pages were drawn for quality control ({lot.plan}). More than {lot.accept} of "
            "them with a major defect, or one with a critical defect, and every page is looked at."
        )
    c.execute(update(t.tasks).where(_of_batch(lot.batch_id)).values(sentence=f"{what} {who}"))


def _hold_page(c: Connection, order_id: int, page_id: int, sentence: str) -> None:
    """Let the page wait for a decision about its defect."""
    rounds = c.execute(
        select(func.count()).where(t.tasks.c.kind == TaskKind.INSPECT_PAGE, t.tasks.c.subject_id == page_id)
    ).scalar_one()
    c.execute(
        insert(t.tasks).values(
            order_id=order_id,
            kind=TaskKind.INSPECT_PAGE,
            subject_id=page_id,
            round=rounds,
            rank=RANKS[TaskKind.INSPECT_PAGE],
            state=TaskState.HELD,
            code=QUALITY_DEFECT,
            sentence=sentence,
            changed_ms=t.now_ms(),
        )
    )
