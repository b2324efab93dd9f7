"""Tasks: what is due, who works on it, and what becomes of it when it ends, fails, or its worker dies.

A task row is the request for work and, once sent, its own outbox: a message is only a hint. `attempt` fences: whoever
finishes must still hold the attempt that was handed out.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    Table,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger import tables as t
from pipeline.ledger.tallies import Tallies, add_tallies
from pipeline.model import (
    EXPECTED_SECONDS,
    QUEUES,
    RANKS,
    OrderId,
    PageAlarm,
    Task,
    TaskId,
    TaskKind,
    TaskState,
)

QUANTUM = 4  # tasks an order gets before the next order is looked at (QUEUE 4)
LEASE_MS = 30_000  # how long a sent hint may stay unclaimed; too short only makes stale hints (QUEUE 4)
DEAD_AFTER_MS = 15_000  # a worker that has not been heard of for this long is dead (QUEUE 4)
FAILURES_BEFORE_HELD = 4
CRASHES_BEFORE_HELD = 20  # kills of the whole worker, rarely the page's fault: a crash inside a page is told apart
PAUSES_S = (2, 15, 90)  # between the first tries
OUTAGE_PAUSE_S = 20  # a page is worked on and lost with every try
ALL_KINDS = frozenset(TaskKind)
LAST_SCAN = "last-scan"  # counter: when the inbox was last looked at
REAPED = "reaped"  # tally: tasks taken from dead workers, and hints that nobody claimed
_VIRTUAL_CLOCK = "virtual-clock"  # counter: how far the orders that work have come, in virtual milliseconds
_CHARGED_UNTIL = "charged-until"  # counter: what ended before this moment has been charged as measured
CHARGE_DELAY_MS = 2_000  # what ended less long ago may be in a transaction that nobody sees yet


# written out, or SQLite would not use the partial index for bound values, nor would PostgreSQL's prepared statements;
# of no type, since SQLite is asked whether a Boolean `= 1`, and then does not use it either
_WAITS: ColumnElement[Any] = literal_column("tasks.state = 'due'")
IS_OUT: ColumnElement[Any] = literal_column("tasks.state IN ('sent', 'running')")
# of deliveries that are claimed and not at their last place yet; written out, and of no type, for the same reason
IS_UNFINISHED: ColumnElement[Any] = literal_column("deliveries.finished = false")


class Fenced(RuntimeError):
    """The attempt was taken away: somebody else does, or did, this task. The transaction has been rolled back."""


class Work(Tallies):
    """The part of the ledger that feeders and workers use."""

    def anything_due(self, kinds: Collection[TaskKind] = ALL_KINDS) -> bool:
        """Whether a task could be handed out now (asked before taking the write lock)."""
        of_no_order = _due(kinds, None).limit(1).scalar_subquery()
        with self.read() as c:
            return bool(c.scalar(select(or_(of_no_order.is_not(null()), exists(_orders_in_line(kinds))))))

    def dispatch(
        self, owner: str, limit: int, kinds: Collection[TaskKind] = ALL_KINDS
    ) -> list[tuple[TaskKind, TaskId, int]]:
        """Hand out up to `limit` due tasks to `owner` in weighted fair order; gives (kind, task, attempt) to send.

        `kinds` are those of one queue or of several.

        Orders take turns by stride: the one that has had least of its share goes next, `QUANTUM` tasks at a time.
        An order that comes back from idling starts level with the others, or it could cash in old credit; new work
        of an order that is not known yet gets half of the floor at most while there is other work. Inside an order
        pages are prepared before any is read, so that alarms come first.
        """
        if limit <= 0 or not self.anything_due(kinds):
            return []
        with self.write() as c:
            clock = c.scalar(select(t.counters.c.value).where(t.counters.c.name == _VIRTUAL_CLOCK)) or 0
            handed = self._take(c, None, min(limit, _room_without_order(c, owner, limit)), owner, kinds)
            while len(handed) < limit:
                # an order whose row is locked is passed by: whoever waited here could wait for another feeder in a ring
                turn = c.execute(
                    select(t.orders.c.id, t.orders.c.weight, t.orders.c.virtual_ms)
                    .where(t.orders.c.id.in_(_orders_in_line(kinds)))
                    .order_by(t.orders.c.virtual_ms, t.orders.c.id)
                    .limit(1)
                    .with_for_update(key_share=True, skip_locked=True)
                ).first()
                if turn is None:
                    break
                taken = self._take(c, turn.id, min(QUANTUM, limit - len(handed)), owner, kinds)
                if not taken:
                    break  # another feeder holds these rows at this moment
                cost_ms = sum(1000 * EXPECTED_SECONDS[TaskKind(kind)] for _, _, kind in taken)
                clock = max(clock, turn.virtual_ms)
                c.execute(
                    update(t.orders)
                    .where(t.orders.c.id == turn.id)
                    .values(virtual_ms=clock + max(1, round(cost_ms / turn.weight)))
                )
                handed += taken
            if len(handed) < limit:
                handed += self._take(c, None, limit - len(handed), owner, kinds)
            c.execute(insert_if_new(c, t.counters, name=_VIRTUAL_CLOCK, value=0))
            c.execute(
                update(t.counters)
                .where(t.counters.c.name == _VIRTUAL_CLOCK, t.counters.c.value < clock)
                .values(value=clock)
            )
            return [(TaskKind(kind), TaskId(task_id), attempt) for task_id, attempt, kind in handed]

    def _take(
        self, c: Connection, order_id: int | None, limit: int, owner: str, kinds: Collection[TaskKind]
    ) -> list[tuple[int, int, str]]:
        # MATERIALIZED: PostgreSQL may otherwise run the LIMIT again for each row and take too many (QUEUE 2.2)
        pick = (
            _due(kinds, order_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("pick")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        rows = c.execute(
            update(t.tasks)
            .where(t.tasks.c.id.in_(select(pick.c.id)))
            .values(
                state=TaskState.SENT,
                attempt=t.tasks.c.attempt + 1,
                owner=owner,
                lease_until_ms=t.now_ms() + LEASE_MS,
            )
            .returning(t.tasks.c.id, t.tasks.c.attempt, t.tasks.c.kind, t.tasks.c.rank)
        ).all()
        return [(row.id, row.attempt, row.kind) for row in sorted(rows, key=lambda row: (row.rank, row.id))]

    def room(self, queue: str, *, hints_per_thread: int) -> int:
        """How many hints may still be sent to a queue that all workers share.

        So many for each thread of a living worker that listens to it, less those on their way and at work.
        """
        ranks = sorted({RANKS[kind] for kind in QUEUES[queue]})
        with self.read() as c:
            living = c.execute(select(t.workers).where(t.workers.c.seen_ms + DEAD_AFTER_MS > t.now_ms())).all()
            out = c.scalar(select(func.count()).where(IS_OUT, t.tasks.c.rank.in_(ranks)))
        threads: int = sum(row.threads for row in living if queue in row.queues.split())
        return hints_per_thread * threads - int(out or 0)

    def charge_measured(self) -> None:
        """Put right what orders were charged for their tasks beforehand: the seconds that these took count.

        What a crash leaves out here costs an order its turn a little sooner or later, and nothing else.
        """
        with self.read() as c:  # asked before taking the write lock: mostly nothing has ended
            since = c.scalar(select(t.counters.c.value).where(t.counters.c.name == _CHARGED_UNTIL))
            if since is not None and not c.scalar(select(exists().where(t.tasks.c.finished_ms > since))):
                return
        with self.write() as c:
            now = int(c.scalar(select(t.now_ms())) or 0)
            c.execute(insert_if_new(c, t.counters, name=_CHARGED_UNTIL, value=now - CHARGE_DELAY_MS))
            since = c.scalar(
                select(t.counters.c.value)
                .where(t.counters.c.name == _CHARGED_UNTIL)
                .with_for_update(skip_locked=True)  # another feeder does it at this moment
            )
            until = now - CHARGE_DELAY_MS
            if since is None or since >= until:
                return
            c.execute(update(t.counters).where(t.counters.c.name == _CHARGED_UNTIL).values(value=until))
            ended = c.execute(
                select(
                    t.tasks.c.order_id,
                    t.tasks.c.kind,
                    func.count().label("tasks"),
                    func.sum(t.tasks.c.finished_ms - t.tasks.c.started_ms).label("took_ms"),
                )
                .where(t.tasks.c.finished_ms > since, t.tasks.c.finished_ms <= until, t.tasks.c.order_id.is_not(null()))
                .group_by(t.tasks.c.order_id, t.tasks.c.kind)
            ).all()
        more_ms: dict[int, float] = {}
        for row in ended:
            expected_ms = 1000 * EXPECTED_SECONDS[TaskKind(row.kind)] * row.tasks
            more_ms[row.order_id] = more_ms.get(row.order_id, 0.0) + float(row.took_ms) - expected_ms
        for order_id, ms in sorted(more_ms.items()):
            with self.write() as c:  # one at a time: whoever holds two orders' rows could wait for another in a ring
                c.execute(
                    update(t.orders)
                    .where(t.orders.c.id == order_id)
                    .values(virtual_ms=t.orders.c.virtual_ms + cast(round(ms) / t.orders.c.weight, BigInteger))
                )

    def claim(self, task_id: TaskId, attempt: int, owner: str) -> Task | None:
        """Take the task that was sent; None when the hint is stale or doubled."""
        with self.write() as c:
            row = c.execute(
                update(t.tasks)
                .where(t.tasks.c.id == task_id, t.tasks.c.attempt == attempt, t.tasks.c.state == TaskState.SENT)
                .values(state=TaskState.RUNNING, owner=owner, started_ms=t.now_ms())
                .returning(*t.tasks.c)
            ).first()
            return None if row is None else _task(row)

    def claim_at_once(self, task_id: TaskId, owner: str) -> Task | None:
        """Take a due task without a message (a person asked for it at the terminal)."""
        with self.write() as c:
            row = c.execute(
                update(t.tasks)
                .where(t.tasks.c.id == task_id, t.tasks.c.state == TaskState.DUE)
                .values(state=TaskState.RUNNING, attempt=t.tasks.c.attempt + 1, owner=owner, started_ms=t.now_ms())
                .returning(*t.tasks.c)
            ).first()
            return None if row is None else _task(row)

    def hold(
        self,
        task: Task,
        code: str,
        sentence: str,
        *,
        who: str,
        scanner: str = "",
        alarms: Sequence[PageAlarm] = (),
    ) -> None:
        """Let the task wait for a person; of a page `alarms` tell what is the matter with its `scanner`.

        Raises:
            Fenced: the attempt was taken away meanwhile.
        """
        sentence = _storable(sentence)
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.HELD, code=code, sentence=sentence)
            add_event(c, task.order_id, subject_of(task), "held", who, code, sentence=sentence, attempt=task.attempt)
            self._when_held(c, task, scanner, alarms)

    def _when_held(self, c: Connection, task: Task, scanner: str = "", alarms: Sequence[PageAlarm] = ()) -> None:
        """What else follows from a hold (the whole ledger knows)."""

    def put_off(self, task: Task, reason: str, *, who: str) -> TaskState:
        """Try again after a growing pause; after the fourth failure the task is held. Gives the new state."""
        failures = task.failures + 1
        if failures >= FAILURES_BEFORE_HELD:
            sentence = (
                f"This failed {failures} times; the last time: {_storable(reason)}. "
                "It is a fault of the machine rather than of the page: call the engineers, then retry."
            )
            with self.write() as c:
                self._end_attempt(
                    c, task, state=TaskState.HELD, code="failed-repeatedly", sentence=sentence, failures=failures
                )
                add_event(c, task.order_id, subject_of(task), "held", who, "failed-repeatedly", sentence=sentence)
                self._when_held(c, task)
            return TaskState.HELD
        pause_ms = 1000 * PAUSES_S[failures - 1]
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DUE, failures=failures, not_before_ms=t.now_ms() + pause_ms)
            add_event(c, task.order_id, subject_of(task), "failed", who, "again", reason=reason, failures=failures)
        return TaskState.DUE

    def wait_out(self, task: Task, outage: str, reason: str, *, who: str) -> None:
        """Try again in a while, as often as it takes: no page is to be blamed for a full disk or a store that is away.

        Raises:
            Fenced: the attempt was taken away meanwhile.
        """
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DUE, not_before_ms=t.now_ms() + 1000 * OUTAGE_PAUSE_S)
            add_event(c, task.order_id, subject_of(task), "failed", who, outage, reason=reason)

    def give_back(self, owner: str) -> int:
        """Make everything due again that `owner` has sent, was sent or runs (it stops, or its broker has); how many."""
        with self.write() as c:
            return c.execute(
                update(t.tasks)
                .where(t.tasks.c.owner == owner, IS_OUT)
                .values(state=TaskState.DUE, attempt=t.tasks.c.attempt + 1, owner=None, lease_until_ms=None)
            ).rowcount

    def register_worker(self, owner: str, *, threads: int = 0, queues: Collection[str] = ()) -> None:
        """Make a worker known with what it can take, and bury those of this machine whose process is gone."""
        host = socket.gethostname()
        with self.write() as c:
            for row in c.execute(select(t.workers).where(t.workers.c.host == host)).all():
                if not _alive(row.pid):
                    c.execute(update(t.workers).where(t.workers.c.id == row.id).values(seen_ms=0))
            _make_known(c, owner, threads, queues)

    def heartbeat(self, owner: str, *, threads: int = 0, queues: Collection[str] = ()) -> None:
        """Say that the worker lives, even if it was silent for so long that it has been forgotten."""
        with self.write() as c:
            if not c.execute(update(t.workers).where(t.workers.c.id == owner).values(seen_ms=t.now_ms())).rowcount:
                _make_known(c, owner, threads, queues)

    def note_scan(self) -> None:
        """The inbox has been looked at; several may look."""
        with self.write() as c:
            c.execute(insert_if_new(c, t.counters, name=LAST_SCAN, value=0))
            c.execute(update(t.counters).where(t.counters.c.name == LAST_SCAN).values(value=t.now_ms()))

    def unregister_worker(self, owner: str) -> None:
        """A worker has stopped in good order."""
        with self.write() as c:
            c.execute(delete(t.workers).where(t.workers.c.id == owner))

    def reap(self, owner: str | None = None, *, at_work: Collection[int] = ()) -> int:
        """Make due again what dead workers hold and what was sent but never claimed; gives how many.

        `at_work` are the tasks that `owner`, who asks, has in hand. What it runs besides has ended without its outcome
        being recorded: the ledger was away at that moment.
        """
        dead = select(t.workers.c.id).where(_has_come(t.workers.c.seen_ms + DEAD_AFTER_MS, DEAD_AFTER_MS))
        known = select(t.workers.c.id)
        lost = and_(
            IS_OUT,
            or_(
                t.tasks.c.owner.in_(dead),
                t.tasks.c.owner.not_in(known),
                and_(t.tasks.c.state == TaskState.SENT, _has_come(t.tasks.c.lease_until_ms, LEASE_MS)),
                and_(
                    t.tasks.c.state == TaskState.RUNNING,
                    t.tasks.c.owner == owner,
                    t.tasks.c.id.not_in(tuple(at_work)),
                ),
            ),
        )
        with self.read() as c:
            if not c.scalar(select(exists().where(lost))):
                return 0
        with self.write() as c:
            # ordered here: in the order of ids SQLite would go through all tasks there are to find these
            rows = c.execute(select(*t.tasks.c).where(lost).limit(500).with_for_update(skip_locked=True)).all()
            for row in sorted(rows, key=lambda row: row.id):
                ran = row.state == TaskState.RUNNING
                held = ran and row.crashes + 1 >= CRASHES_BEFORE_HELD
                c.execute(
                    update(t.tasks)
                    .where(t.tasks.c.id == row.id, t.tasks.c.attempt == row.attempt)
                    .values(
                        state=TaskState.HELD if held else TaskState.DUE,
                        attempt=t.tasks.c.attempt + 1,  # so that a late finisher is fenced off
                        crashes=t.tasks.c.crashes + int(ran),
                        owner=None,
                        lease_until_ms=None,
                        changed_ms=t.now_ms(),
                        code="crashed" if held else null(),
                        sentence=f"The worker died {row.crashes + 1} times on this. Call the engineers, then retry."
                        if held
                        else null(),
                    )
                )
                if held:
                    self._when_held(c, _task(row))
                if ran:
                    outcome = "crashed" if held else "again"
                    add_event(c, row.order_id, subject_of(_task(row)), "lost", "feeder", outcome, owner=row.owner)
            c.execute(delete(t.workers).where(t.workers.c.seen_ms < t.now_ms() - 10 * DEAD_AFTER_MS))
            add_tallies(c, {(REAPED, ""): len(rows)})
            return len(rows)

    def _end_attempt(self, c: Connection, task: Task, *, state: TaskState, **values: Any) -> float:
        """End a running attempt; gives the seconds it took.

        Raises:
            Fenced: the attempt was taken away meanwhile.
        """
        row = c.execute(
            update(t.tasks)
            .where(t.tasks.c.id == task.id, t.tasks.c.attempt == task.attempt, t.tasks.c.state == TaskState.RUNNING)
            .values(
                state=state,
                owner=None,
                lease_until_ms=None,
                changed_ms=t.now_ms(),
                finished_ms=t.now_ms() if state is TaskState.DONE else null(),
                **values,
            )
            .returning(t.tasks.c.started_ms, t.tasks.c.changed_ms)
        ).first()
        if row is None:
            raise Fenced(f"task {task.id}, attempt {task.attempt}")
        return float(row.changed_ms - row.started_ms) / 1000.0


def _orders_in_line(kinds: Collection[TaskKind]) -> Select[Any]:
    """The question for the orders of which something can be handed out now.

    From one order that waits to the next, by the index of what is due: neither the orders that wait for nothing nor
    the tasks behind the first of each are looked at, whatever PostgreSQL believes about how many there are.
    """
    order_id = t.tasks.c.order_id
    waiting = select(func.min(order_id).label("order_id")).where(_WAITS).cte("waiting", recursive=True)
    next_id = select(func.min(order_id)).where(_WAITS, order_id > waiting.c.order_id).scalar_subquery()
    waiting = waiting.union_all(select(next_id).where(waiting.c.order_id.is_not(null())))
    first = _due(kinds, waiting.c.order_id).limit(1).scalar_subquery()
    return select(waiting.c.order_id).where(first.is_not(null()))


def _due(kinds: Collection[TaskKind], order_id: ColumnElement[Any] | int | None) -> Select[Any]:
    """The question for what can be handed out of an order (None: of none), in the order of the index.

    Ordered also where one is enough: PostgreSQL would look for it through the whole table when it believes that there
    are many, and those of an order lie together.
    """
    due = select(t.tasks.c.id).where(
        t.tasks.c.order_id == order_id,
        _WAITS,
        _has_come(t.tasks.c.not_before_ms, 1000 * max(PAUSES_S)),
    )
    if len(kinds) < len(ALL_KINDS):
        # by rank, as the index is: another queue's fifty thousand are not walked through to find one of this
        due = due.where(t.tasks.c.rank.in_(sorted({RANKS[kind] for kind in kinds})))
    return due.order_by(t.tasks.c.rank, t.tasks.c.id)


def _has_come(moment: Any, reach_ms: int) -> Any:
    """Whether a time has come; `reach_ms` is how far ahead it can have been set.

    One that lies further ahead (twice, to be sure) was written before the clock was set back.
    """
    return or_(moment <= t.now_ms(), moment > t.now_ms() + 2 * reach_ms)


def _room_without_order(c: Connection, owner: str, limit: int) -> int:
    """How many tasks of no order `owner` may be handed, so that they are half of what it has in hand at most."""
    out = c.execute(
        select(func.count().label("all"), func.count(t.tasks.c.order_id).label("of_orders")).where(
            t.tasks.c.owner == owner, IS_OUT
        )
    ).one()
    return max(0, max(1, (int(out.all) + limit) // 2) - int(out.all - out.of_orders))


def _storable(sentence: str) -> str:
    """The sentence in signs that every database takes: an error may name a file, or bytes of one."""
    return sentence.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _make_known(c: Connection, owner: str, threads: int, queues: Collection[str]) -> None:
    c.execute(
        insert(t.workers).values(
            id=owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            seen_ms=t.now_ms(),
            threads=threads,
            queues=" ".join(sorted(queues)),
        )
    )


def _task(row: Row[Any]) -> Task:
    return Task(
        id=TaskId(row.id),
        kind=TaskKind(row.kind),
        subject_id=row.subject_id,
        order_id=None if row.order_id is None else OrderId(row.order_id),
        attempt=row.attempt,
        failures=row.failures,
        crashes=row.crashes,
        round=row.round,
    )


_SUBJECTS: Mapping[TaskKind, str] = {
    TaskKind.RECEIVE_BATCH: "delivery",
    TaskKind.PREPARE_PAGE: "page",
    TaskKind.ASSEMBLE_BATCH: "batch",
    TaskKind.INSPECT_BATCH: "batch",
    TaskKind.INSPECT_PAGE: "page",
    TaskKind.RECOGNIZE_PAGE: "page",
    TaskKind.PACKAGE_DOCUMENT: "document",
    TaskKind.PLAN_ROLLS: "order",
    TaskKind.WRITE_ROLL: "roll",
    TaskKind.DELIVER_ORDER: "order",
}


def subject_of(task: Task) -> str:
    """What an event about the task is about: `page 17`, `document 3`."""
    return f"{_SUBJECTS[task.kind]} {task.subject_id}"


def add_tasks(
    c: Connection, kind: TaskKind, order_id: int | None, subject_ids: Iterable[int], *, round_: int = 0
) -> None:
    """Make tasks due. A task that exists already for the subject and round is an error: follow-ups happen once."""
    rows = [
        {
            "order_id": order_id,
            "kind": kind,
            "subject_id": subject_id,
            "round": round_,
            "rank": RANKS[kind],
            "state": TaskState.DUE,
        }
        for subject_id in subject_ids
    ]
    if rows:
        c.execute(insert(t.tasks).values(changed_ms=t.now_ms()), rows)


def receiving(column: Column[Any]) -> ScalarSelect[Any]:
    """What the task of a delivery says, as a column of a question about deliveries.

    Not by a join: SQLite might begin it at the tasks, and find those of all deliveries there ever were.
    """
    task = select(column).where(t.tasks.c.kind == TaskKind.RECEIVE_BATCH, t.tasks.c.subject_id == t.deliveries.c.id)
    return task.scalar_subquery()


def insert_if_new(c: Connection, table: Table, **values: object) -> postgresql.Insert | sqlite.Insert:
    """The statement that inserts a row unless there is one with its key."""
    if c.dialect.name == "postgresql":
        return postgresql.insert(table).values(**values).on_conflict_do_nothing()
    return sqlite.insert(table).values(**values).on_conflict_do_nothing()


def add_event(
    c: Connection, order_id: int | None, subject: str, kind: str, who: str, outcome: str, **detail: object
) -> None:
    """Write one line of history, in the transaction of the change it tells of; it is linked a little later."""
    c.execute(
        insert(t.events).values(
            at_ms=t.now_ms(),
            order_id=order_id,
            subject=subject,
            kind=kind,
            who=who,
            outcome=outcome,
            detail=_storable(json.dumps(detail, ensure_ascii=False, sort_keys=True, default=str)),
        )
    )


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() if Path("/proc/self").exists() else True
