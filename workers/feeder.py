"""The only place that sends messages: due tasks from the ledger to the broker, in fair order, never many at a time.

An embedded broker is fed by its own process. A shared one is fed by one leading feeder for all.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from pipeline.ledger import Leadership
from pipeline.measures import DISPATCH_SECONDS
from pipeline.model import QUEUES, TaskKind
from workers.broker import actor_name, broker
from workers.shift import Shift

log = logging.getLogger(__name__)

WINDOW_PER_WORKER = 2  # hints on the way a worker; a rush page waits about that many page times (QUEUE 4)
POLL_S = 0.2
CHARGE_S = 5.0


class _Window(Protocol):
    """How much may be sent now: kinds of tasks, and how many of them; nothing while another feeder leads."""

    def room(self) -> list[tuple[frozenset[TaskKind], int]]: ...

    def sent(self, task_id: int, attempt: int) -> None: ...

    def done(self, task_id: int, attempt: int) -> None: ...

    def doubt(self) -> None: ...

    def close(self) -> None: ...


class OwnWindow:
    """The window of a process that feeds its own in-memory broker; several such can share one ledger."""

    def __init__(self, shift: Shift) -> None:
        self._kinds = frozenset[TaskKind]().union(*(QUEUES[queue] for queue in shift.queues))
        self._size = WINDOW_PER_WORKER * shift.threads
        self._out: set[tuple[int, int]] = set()  # task and attempt: a task can be sent again before it ends here
        self._lock = threading.Lock()

    def room(self) -> list[tuple[frozenset[TaskKind], int]]:
        """What is not on its way or at work."""
        with self._lock:
            return [(self._kinds, self._size - len(self._out))]

    def sent(self, task_id: int, attempt: int) -> None:
        """A hint is on its way."""
        with self._lock:
            self._out.add((task_id, attempt))

    def done(self, task_id: int, attempt: int) -> None:
        """A task that was sent has ended, one way or another."""
        with self._lock:
            self._out.discard((task_id, attempt))

    def doubt(self) -> None:
        """Sending failed; the memory of this process forgets nothing."""

    def close(self) -> None:
        """Nothing more is sent."""


class SharedWindow:
    """The window of the feeder of a broker that all workers share, while it leads."""

    def __init__(self, shift: Shift) -> None:
        self._ledger = shift.bureau.ledger
        self._owner = shift.owner
        self._works = shift.threads > 0
        self._leadership = Leadership(shift.bureau.ledger, "feeder", shift.owner)

    def room(self) -> list[tuple[frozenset[TaskKind], int]]:
        """What the living workers can take of each queue."""
        if not self._leadership.held():
            return []
        return [
            (kinds, self._ledger.room(queue, hints_per_thread=WINDOW_PER_WORKER)) for queue, kinds in QUEUES.items()
        ]

    def sent(self, task_id: int, attempt: int) -> None:
        """A hint is on its way; the ledger knows."""

    def done(self, task_id: int, attempt: int) -> None:
        """A task has ended; the ledger knows."""

    def doubt(self) -> None:
        """The broker was away: what was sent may be forgotten, so it is sent again. What is not is a stale hint."""
        if not self._works:
            self._ledger.give_back(self._owner)

    def close(self) -> None:
        """Another may lead."""
        self._leadership.release()


class Feeder:
    """Feeds the broker from the ledger until stopped; what it sends is `shift`'s until a worker claims it."""

    def __init__(self, shift: Shift, *, shared: bool) -> None:
        self._ledger = shift.bureau.ledger
        self._measures = shift.bureau.measures
        self._owner = shift.owner
        self._window: _Window = SharedWindow(shift) if shared else OwnWindow(shift)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin feeding."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        try:
            self._window.close()
        except Exception:
            log.exception("the feeder's lead was not given up; it ends by itself")

    def done(self, task_id: int, attempt: int) -> None:
        """A task has ended in this process: there is room for another."""
        self._window.done(task_id, attempt)
        self._wake.set()

    def _feed(self) -> None:
        charged = time.monotonic()
        in_doubt = False
        while not self._stop.is_set():
            try:
                if in_doubt:
                    self._window.doubt()
                    in_doubt = False
                self._top_up()
                if time.monotonic() - charged >= CHARGE_S:
                    self._ledger.charge_measured()
                    self._ledger.fold_tallies()
                    self._ledger.fold_alarms()
                    self._ledger.link_events()
                    charged = time.monotonic()
            except Exception:
                # ledger or broker may be away for a moment; nothing is lost, the next round tries again
                log.exception("feeding failed")
                in_doubt = True
                self._stop.wait(1.0)
            self._wake.wait(POLL_S)
            self._wake.clear()
        try:
            self._ledger.fold_alarms()
            self._ledger.link_events()
        except Exception:
            log.exception("the last alarms and history of this floor wait for the next floor")

    def _top_up(self) -> None:
        for kinds, room in self._window.room():
            begin = time.perf_counter()
            handed = self._ledger.dispatch(self._owner, room, kinds)
            if handed:  # looking for work in vain says nothing
                self._measures.observe(DISPATCH_SECONDS, "", time.perf_counter() - begin)
            for kind, task_id, attempt in handed:
                self._window.sent(task_id, attempt)
                broker.get_actor(actor_name(kind)).send(task_id, attempt)
