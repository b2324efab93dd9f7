"""Questions about quality control: lots, the pages that are looked at, and the figures over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, select

from pipeline.defects import GRAVE, Defect, Verdict
from pipeline.ledger import tables as t
from pipeline.ledger.inspections import QUALITY_DEFECT, kept_pages
from pipeline.ledger.reports import moment, page_from
from pipeline.ledger.standing import Standing
from pipeline.ledger.tallies import PAGE
from pipeline.model import PAGE_TASKS, BatchId, Inspection, LotState, Page, PageId, TaskId, TaskState, picture_name

LOTS_A_SCREEN = 50
LOT_PAGES_A_SCREEN = 500
_UNDER_WAY = tuple(state for state in LotState if state is not LotState.PASSED)  # named, or no index would be used
ORDERS_IN_FIGURES = 500  # the newest; what they are summed from is lots, not pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """The quality control of a batch; its number is the batch's. Counts are of pages as first drawn or added."""

    id: BatchId
    order: str
    profile: str
    batch: str
    inspection: Inspection
    state: LotState
    rejected: bool
    pages_left: int  # that cannot be looked at yet
    plan: str
    letter: str
    seed: str
    population: str  # ids of the pages it was drawn from, as `sampling.spans` writes them
    pages: int
    sample: int
    accept: int
    operator: str
    scanner: str
    looked: int
    critical: int
    major: int
    minor: int
    first_pass: int  # accepted without a new scan
    to_look: int  # pages that nobody has looked at, new scans among them
    undecided: int  # pages with a grave defect that wait for a decision or a new scan
    drawn_at: datetime | None
    passed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LotPage:
    """A page that is looked at, with the newest verdict."""

    id: PageId
    sequence: int
    revision: int
    file: str
    picture: str  # digest and image of what its picture is made from
    operator: str
    verdict: Verdict | None
    defect: Defect | None
    settled: bool
    waits_for: TaskId | None  # a task of the page that has not ended
    code: str  # with which it is held, if it is

    @property
    def can_be_judged(self) -> bool:
        """Whether somebody may say how it is: it is read, and no new scan of it is asked for."""
        return self.waits_for is None or self.code == QUALITY_DEFECT


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """What somebody said of a page, as it is kept for ever."""

    at: datetime
    who: str
    operator: str
    verdict: Verdict
    defect: Defect | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLine:
    """Figures of an order, a scanner, a profile, or of all together."""

    name: str
    lots: int
    rejected: int
    looked: int  # pages as first scanned that somebody has looked at
    first_pass: int  # of these, accepted without a new scan
    rescanned: int  # of these, replaced by a new scan
    defects: Mapping[Verdict, int]

    @property
    def first_pass_yield(self) -> float | None:
        """The fraction of pages that were accepted without a new scan; None when nobody has looked at any."""
        return self.first_pass / self.looked if self.looked else None

    @property
    def rescan_rate(self) -> float | None:
        """The fraction of pages that were replaced by a new scan for a defect found here."""
        return self.rescanned / self.looked if self.looked else None

    @property
    def defects_per_10_000(self) -> float | None:
        """Pages with a defect of any class in 10,000 pages."""
        return 10_000 * sum(self.defects.values()) / self.looked if self.looked else None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFigures:
    """The figures of orders opened since a day."""

    orders: Sequence[QualityLine]
    scanners: Sequence[QualityLine]
    profiles: Sequence[QualityLine]
    total: QualityLine
    defects: Mapping[Defect, int]  # as first looked at, or added by the rejection of a sample
    received: int  # pages, rescans not counted
    rescans: Mapping[str, int]  # by reason: a defect, or the code of a hold


class Lots(Standing):
    """The part of the ledger that tells how quality control stands."""

    def pages_to_inspect(self, batch_id: BatchId) -> list[Page]:
        """The pages that a sample is drawn from: those that are delivered."""
        with self.read() as c:
            rows = c.execute(select(t.pages).where(t.pages.c.id.in_(kept_pages(batch_id))).order_by(t.pages.c.id))
            return [page_from(row) for row in rows]

    def lot(self, number: int) -> Lot | None:
        """A lot by its number."""
        with self.read() as c:
            return next(iter(_lots(c, t.lots.c.batch_id == number)), None)

    def lots_of(self, order: str, *, limit: int | None = None) -> list[Lot]:
        """The lots of an order, those under way first."""
        under_way_first = (case((t.lots.c.state == LotState.PASSED, 1), else_=0), t.lots.c.batch_id)
        with self.read() as c:
            return _lots(c, t.orders.c.number == order, by=under_way_first, limit=limit)

    def lots_from(self, order: str, *, after: int = 0) -> list[Lot]:
        """The lots of an order as its batches came, one more than a screen holds."""
        with self.read() as c:
            return _lots(c, t.orders.c.number == order, t.lots.c.batch_id > after, limit=LOTS_A_SCREEN + 1)

    def lots_under_way(self, *, after: int = 0, limit: int | None = LOTS_A_SCREEN + 1) -> list[Lot]:
        """Lots that have not passed, oldest first, one more than a screen holds."""
        with self.read() as c:
            return _lots(c, t.lots.c.state.in_(_UNDER_WAY), t.lots.c.batch_id > after, limit=limit)

    def lots_passed(self) -> list[Lot]:
        """The newest lots that have passed, a screen of them."""
        with self.read() as c:
            newest = (t.lots.c.batch_id.desc(),)
            return _lots(c, t.lots.c.state == LotState.PASSED, by=newest, limit=LOTS_A_SCREEN)

    def lot_pages(self, number: int, *, after: int = 0, limit: int | None = LOT_PAGES_A_SCREEN + 1) -> list[LotPage]:
        """The pages of a lot that are looked at, in the order of the batch, behind a place; one more than a screen."""
        with self.read() as c:
            return _pages(c, number, t.pages.c.sequence > after, limit=limit)

    def lot_page(self, number: int, page_id: int) -> LotPage | None:
        """One page of a lot that is looked at."""
        with self.read() as c:
            return next(iter(_pages(c, number, t.pages.c.id == page_id)), None)

    def lot_page_at(self, number: int, place: int) -> LotPage | None:
        """The page of a lot that is looked at, by its place in the batch."""
        with self.read() as c:
            return next(iter(_pages(c, number, t.pages.c.sequence == place)), None)

    def next_to_look(self, number: int, *, after: int = 0) -> LotPage | None:
        """The next page behind a place that nobody has looked at, or the first one of the lot; None: all are."""
        open_page = and_(t.lot_pages.c.verdict.is_(None), t.tasks.c.id.is_(None))
        with self.read() as c:
            behind = _pages(c, number, open_page, t.pages.c.sequence > after, limit=1)
            return next(iter(behind or _pages(c, number, open_page, limit=1)), None)

    def lot_neighbours(self, number: int, page: LotPage) -> tuple[PageId | None, PageId | None]:
        """The pages of the lot before and behind a page."""
        place = t.pages.c.sequence
        with self.read() as c:
            before = _pages(c, number, place < page.sequence, by=(place.desc(),), limit=1)
            behind = _pages(c, number, place > page.sequence, limit=1)
        return (before[0].id if before else None), (behind[0].id if behind else None)

    def verdicts_of(self, page_id: PageId) -> list[VerdictLine]:
        """Everything that was said of a page, oldest first."""
        with self.read() as c:
            rows = c.execute(select(t.verdicts).where(t.verdicts.c.page_id == page_id).order_by(t.verdicts.c.id))
            return [
                VerdictLine(
                    at=moment(row.at_ms),
                    who=row.who,
                    operator=row.operator,
                    verdict=Verdict(row.verdict),
                    defect=None if row.defect is None else Defect(row.defect),
                    note=row.note,
                )
                for row in rows
            ]

    def quality_figures(self, since: datetime) -> QualityFigures:
        """First-pass yield, defects and rescans of the newest orders opened since then."""
        opened = (
            select(t.orders.c.id)
            .where(t.orders.c.opened_ms >= int(since.timestamp() * 1000))
            .order_by(t.orders.c.id.desc())
            .limit(ORDERS_IN_FIGURES)
        )
        with self.read() as c:
            lots = c.execute(
                select(t.lots, t.orders.c.number, t.profiles.c.name)
                .join(t.orders, t.orders.c.id == t.lots.c.order_id)
                .join(t.profiles, t.profiles.c.digest == t.orders.c.profile_digest)
                .where(t.lots.c.order_id.in_(opened), t.lots.c.looked > 0)
                .order_by(t.lots.c.batch_id.desc())
            ).all()
            defects = c.execute(
                select(t.lot_pages.c.defect, func.count().label("n"))
                .join(t.lots, t.lots.c.batch_id == t.lot_pages.c.batch_id)
                .where(
                    t.lots.c.order_id.in_(opened), t.lot_pages.c.defect.is_not(None), t.lot_pages.c.instead_of.is_(None)
                )
                .group_by(t.lot_pages.c.defect)
                .order_by(func.count().desc(), t.lot_pages.c.defect)
            ).all()
            rescans = c.execute(
                select(t.rescans.c.reason, func.count().label("n"))
                .where(t.rescans.c.order_id.in_(opened))
                .group_by(t.rescans.c.reason)
                .order_by(func.count().desc(), t.rescans.c.reason)
            ).all()
            received = c.scalar(
                select(func.sum(t.tallies.c.n)).where(
                    t.tallies.c.order_id.in_(opened), t.tallies.c.name == PAGE, t.tallies.c.label == "received"
                )
            )
        by_reason = {row.reason: int(row.n) for row in rescans}
        return QualityFigures(
            orders=_lines(lots, "number"),
            scanners=_lines(lots, "scanner"),
            profiles=_lines(lots, "name"),
            total=_line("all", lots),
            defects={Defect(row.defect): int(row.n) for row in defects},
            received=int(received or 0) - sum(by_reason.values()),
            rescans=by_reason,
        )


def _lines(lots: Sequence[Row[Any]], by: str) -> list[QualityLine]:
    groups: dict[str, list[Row[Any]]] = {}
    for lot in lots:
        groups.setdefault(lot._mapping[by], []).append(lot)
    return [_line(name, group) for name, group in groups.items()]


def _line(name: str, lots: Sequence[Row[Any]]) -> QualityLine:
    sums: Counter[str] = Counter()
    for lot in lots:
        sums.update({key: lot._mapping[key] for key in ("looked", "first_pass", "rescanned", *_BAD)})
    return QualityLine(
        name=name,
        lots=len(lots),
        rejected=sum(lot.rejected for lot in lots),
        looked=sums["looked"],
        first_pass=sums["first_pass"],
        rescanned=sums["rescanned"],
        defects={grade: sums[grade] for grade in _BAD},
    )


_BAD = (Verdict.CRITICAL, Verdict.MAJOR, Verdict.MINOR)


def _lots(c: Connection, *where: Any, by: Sequence[Any] = (t.lots.c.batch_id,), limit: int | None = None) -> list[Lot]:
    page = t.lot_pages.c

    def pages(*which: Any) -> Any:
        here = select(func.count()).select_from(t.lot_pages).join(t.pages, t.pages.c.id == page.page_id)
        return here.where(page.batch_id == t.lots.c.batch_id, t.pages.c.excluded.is_(None), *which).scalar_subquery()

    rows = c.execute(
        select(
            t.lots,
            t.orders.c.number,
            t.batches.c.name,
            t.batches.c.operator,
            t.profiles.c.name.label("profile"),
            pages(page.verdict.is_(None)).label("to_look"),
            pages(page.verdict.in_(tuple(GRAVE)), page.settled.is_(False)).label("undecided"),
        )
        .join(t.orders, t.orders.c.id == t.lots.c.order_id)
        .join(t.profiles, t.profiles.c.digest == t.orders.c.profile_digest)
        .join(t.batches, t.batches.c.id == t.lots.c.batch_id)
        .where(*where)
        .order_by(*by)
        .limit(limit)
    )
    return [
        Lot(
            id=BatchId(row.batch_id),
            order=row.number,
            profile=row.profile,
            batch=row.name,
            inspection=Inspection(row.inspection),
            state=LotState(row.state),
            rejected=row.rejected,
            pages_left=row.pages_left,
            plan=row.plan,
            letter=row.letter,
            seed=row.seed,
            population=row.population,
            pages=row.pages,
            sample=row.sample,
            accept=row.accept,
            operator=row.operator,
            scanner=row.scanner,
            looked=row.looked,
            critical=row.critical,
            major=row.major,
            minor=row.minor,
            first_pass=row.first_pass,
            to_look=row.to_look,
            undecided=row.undecided,
            drawn_at=None if row.drawn_ms is None else moment(row.drawn_ms),
            passed_at=None if row.passed_ms is None else moment(row.passed_ms),
        )
        for row in rows
    ]


def _pages(
    c: Connection,
    number: int,
    *which: Any,
    by: Sequence[Any] = (t.pages.c.sequence,),
    limit: int | None = None,
) -> list[LotPage]:
    """Pages of a lot that are there to be looked at: neither left out nor replaced."""
    task = and_(
        t.tasks.c.subject_id == t.pages.c.id,
        t.tasks.c.kind.in_(tuple(PAGE_TASKS)),
        t.tasks.c.state.not_in((TaskState.DONE, TaskState.DROPPED)),
    )
    rows = c.execute(
        select(t.lot_pages, t.pages.c.sequence, t.pages.c.revision, t.pages.c.file, t.pages.c.index_in_file)
        .add_columns(t.pages.c.prepared, t.pages.c.source, t.tasks.c.id.label("task_id"), t.tasks.c.code)
        .join(t.pages, t.pages.c.id == t.lot_pages.c.page_id)
        .join(t.tasks, task, isouter=True)
        .where(t.lot_pages.c.batch_id == number, t.pages.c.excluded.is_(None), *which)
        .order_by(*by)
        .limit(limit)
    )
    return [
        LotPage(
            id=PageId(row.page_id),
            sequence=row.sequence,
            revision=row.revision,
            file=row.file,
            picture=picture_name(row.prepared, row.source, row.index_in_file),
            operator=row.operator,
            verdict=None if row.verdict is None else Verdict(row.verdict),
            defect=None if row.defect is None else Defect(row.defect),
            settled=row.settled,
            waits_for=None if row.task_id is None else TaskId(row.task_id),
            code=row.code or "",
        )
        for row in rows
    ]
