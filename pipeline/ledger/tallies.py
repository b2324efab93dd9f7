"""Tallies: sums kept as rows to be added up, so that a look at the floor counts hundreds of rows, not millions.

A change adds a row and locks none, so workers never wait for one another; a feeder folds the rows of one name into
one now and then. The sum is exact at any moment: rows are written in the transaction of what they count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, insert, literal, null, select, union_all

from pipeline.ledger import tables as t
from pipeline.ledger.database import Database
from pipeline.model import PAGE_TASKS, Inspection, LotState, TaskKind, TaskState

PAGE = "PAGE"  # the name under which pages are tallied; tasks are under their kind
LEFT = "left"  # due, sent or running: the partial indexes tell these apart
_LEFT = frozenset({TaskState.DUE, TaskState.SENT, TaskState.RUNNING})
_FOLDED_AT_ONCE = 100_000  # rows; a fold after a large intake must not keep the write lock for seconds
Counts = Mapping[tuple[str, str], int]


class Tallies(Database):
    """The part of the ledger that counts as it goes."""

    def add_tallies(self, counts: Counts) -> None:
        """Add what a process has counted, by name and label; it belongs to no order."""
        if counts:
            with self.write() as c:
                add_tallies(c, counts)

    def fold_tallies(self) -> None:
        """Make one row of the many that were added for the same thing; several may fold at once."""
        per_thing = func.count().over(partition_by=(t.tallies.c.order_id, t.tallies.c.name, t.tallies.c.label))
        many = select(t.tallies.c.id, per_thing.label("rows")).subquery()
        foldable = select(many.c.id).where(many.c.rows > 1).limit(_FOLDED_AT_ONCE)
        with self.read() as c:  # asked before taking the write lock
            if not c.scalar(select(foldable.exists())):
                return
        with self.write() as c:
            pick = (
                select(t.tallies.c.id)
                .where(t.tallies.c.id.in_(foldable))
                .with_for_update(skip_locked=True)
                .cte("pick")
                .prefix_with("MATERIALIZED", dialect="postgresql")
            )
            sums = _sums(
                c,
                delete(t.tallies)
                .where(t.tallies.c.id.in_(select(pick.c.id)))
                .returning(t.tallies.c.order_id, t.tallies.c.name, t.tallies.c.label, t.tallies.c.n),
            )
            _insert(c, sums)

    def tally_faults(self) -> list[str]:
        """Count every task and page again: what the tallies say otherwise, and what can never be, as sentences."""
        with self.read() as c:
            told, there = _sums(c, _tallied()), _sums(c, _recounted())
            numbers: dict[int | None, str] = {row.id: row.number for row in c.execute(select(t.orders))}
            faults = [
                f"{numbers.get(order_id, 'No order')}: {told.get(key, 0)} of {name} are tallied as {label}, "
                f"{there.get(key, 0)} are."
                for key in sorted({*told, *there}, key=str)
                if told.get(key, 0) != there.get(key, 0)
                for order_id, name, label in [key]
            ]
            return faults + _contradictions(c)


def add_tallies(c: Connection, counts: Counts) -> None:
    """Add to tallies of no order, within a transaction."""
    _insert(c, {(None, name, label): n for (name, label), n in counts.items()})


def _insert(c: Connection, sums: Mapping[tuple[int | None, str, str], int]) -> None:
    rows = [
        {"order_id": order_id, "name": name, "label": label, "n": n} for (order_id, name, label), n in sums.items() if n
    ]
    if rows:
        c.execute(insert(t.tallies), rows)


def _sums(c: Connection, rows: Any) -> dict[tuple[int | None, str, str], int]:
    sums: Counter[tuple[int | None, str, str]] = Counter()
    for row in c.execute(rows):
        sums[row.order_id, row.name, LEFT if row.label in _LEFT else row.label] += int(row.n)
    return sums


def _tallied() -> Any:
    thing = (t.tallies.c.order_id, t.tallies.c.name, t.tallies.c.label)
    counted = t.tallies.c.name.in_((PAGE, *TaskKind))
    return select(*thing, func.sum(t.tallies.c.n).label("n")).where(counted).group_by(*thing)


def _recounted() -> Any:
    """What the triggers of migration 0003 count, counted from the rows themselves."""
    n, page = func.count().label("n"), literal(PAGE).label("name")
    task = (t.tasks.c.order_id, t.tasks.c.kind.label("name"), t.tasks.c.state.label("label"))
    excluded = (t.pages.c.order_id, page, t.pages.c.excluded)
    return union_all(
        select(*task, n).group_by(*task),
        select(t.pages.c.order_id, page, literal("received"), n).group_by(t.pages.c.order_id),
        select(*excluded, n).where(t.pages.c.excluded.is_not(None)).group_by(t.pages.c.order_id, t.pages.c.excluded),
        select(t.billables.c.order_id, page, literal("billable"), n).group_by(t.billables.c.order_id),
    )


def _contradictions(c: Connection) -> list[str]:
    """Pages that are billed and left out, or too early, sheets that are billed twice, pages that nobody works on."""
    billed = exists().where(t.billables.c.page_id == t.pages.c.id)
    both = select(t.pages.c.id).where(t.pages.c.excluded.is_not(None), billed)
    twice = (
        select(t.billables.c.batch_id, t.billables.c.sequence)
        .group_by(t.billables.c.batch_id, t.billables.c.sequence)
        .having(func.count() > 1)
    )
    in_work = exists().where(
        t.tasks.c.subject_id == t.pages.c.id,
        t.tasks.c.kind.in_(tuple(PAGE_TASKS)),
        t.tasks.c.state.not_in((TaskState.DONE, TaskState.DROPPED)),
    )
    inspected = exists().where(
        t.lots.c.batch_id == t.pages.c.batch_id,
        t.lots.c.inspection == Inspection.BEFORE,
        t.lots.c.state != LotState.PASSED,
    )
    too_early = select(t.pages.c.id).where(billed, inspected)
    lost = (
        select(t.pages.c.id)
        .join(t.batches, and_(t.batches.c.id == t.pages.c.batch_id, t.batches.c.assembled))
        .where(t.pages.c.excluded.is_(null()), ~billed, ~in_work, ~inspected)
    )
    return [
        *(f"page {page_id} is billed and left out." for page_id in c.scalars(both)),
        *(f"page {page_id} is billed before its quality control has passed." for page_id in c.scalars(too_early)),
        *(f"batch {row.batch_id}: sheet {row.sequence} is billed twice." for row in c.execute(twice)),
        *(f"page {page_id} is open, and there is nothing to be done for it." for page_id in c.scalars(lost)),
    ]
