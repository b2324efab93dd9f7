"""One process at work: its name in the ledger, its heartbeat, and what it has in hand."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.bureau import Bureau

log = logging.getLogger(__name__)

HEARTBEAT_S = 3.0
REAP_S = 5.0
STOP_TIMEOUT_MS = 25_000  # a page takes seconds; what is not done by then is given back and done again


class Shift:
    """A process that does, or feeds, the work of a bureau, from `start` to `end`.

    `queues` are those it listens to, with `threads` pages at a time (a feeder alone: none).
    """

    def __init__(self, bureau: Bureau, *, threads: int = 0, queues: tuple[str, ...] = ()) -> None:
        self.bureau = bureau
        self.owner = uuid.uuid4().hex
        self.threads = threads
        self.queues = queues
        self.when_done: Callable[[int, int], None] | None = None
        self._in_hand: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Make the process known, and take up what dead ones left.

        Raises:
            LedgerUnusable: there is no ledger to work for.
        """
        self.bureau.ledger.register_worker(self.owner, threads=self.threads, queues=self.queues)
        self.bureau.ledger.reap()
        self._thread.start()

    def end(self) -> None:
        """Give back what was not done, and be forgotten."""
        self._stop.set()
        self._thread.join()
        self._tell_measures()
        self.bureau.ledger.give_back(self.owner)
        self.bureau.ledger.unregister_worker(self.owner)

    @contextmanager
    def doing(self, task_id: int, attempt: int) -> Iterator[None]:
        """While a task is in hand."""
        with self._lock:
            self._in_hand.add(task_id)
        try:
            yield
        finally:
            with self._lock:
                self._in_hand.discard(task_id)
            if self.when_done is not None:
                self.when_done(task_id, attempt)

    def _tell_measures(self) -> None:
        with self.bureau.measures.taken() as counts:
            self.bureau.ledger.add_tallies(counts)

    def _beat(self) -> None:
        reap = time.monotonic()
        while not self._stop.wait(min(HEARTBEAT_S, REAP_S)):
            try:
                self.bureau.ledger.heartbeat(self.owner, threads=self.threads, queues=self.queues)
                self._tell_measures()
                if time.monotonic() - reap >= REAP_S:
                    with self._lock:
                        in_hand = set(self._in_hand)
                    if lost := self.bureau.ledger.reap(self.owner, at_work=in_hand):
                        log.warning("made %d tasks due again whose worker was lost", lost)
                    reap = time.monotonic()
            except Exception:
                # the ledger may be away for a moment; nothing is lost, the next round tries again
                log.exception("the ledger was not told that this worker lives")


_lock = threading.Lock()
_shift: Shift | None = None


def begin(shift: Shift) -> None:
    """The actors of this process work in this shift from now on."""
    global _shift
    with _lock:
        _shift = shift


def finish() -> None:
    """There is no shift any more."""
    global _shift
    with _lock:
        _shift = None


def current() -> Shift | None:
    """The shift of this process."""
    with _lock:
        return _shift
