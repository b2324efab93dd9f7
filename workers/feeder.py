"""The only place that sends messages: due tasks from the ledger to the broker, in fair order, never many at a time."""

from __future__ import annotations

import logging
import threading
import time

from pipeline.bureau import Bureau
from workers.actors import ACTORS

log = logging.getLogger(__name__)

WINDOW_PER_WORKER = 2  # hints on the way a worker; a rush page waits about that many page times (QUEUE 4)
POLL_S = 0.2
HEARTBEAT_S = 3.0
REAP_S = 5.0


class Feeder:
    """Feeds this process's own in-memory broker; several processes can share one ledger."""

    def __init__(self, bureau: Bureau, owner: str, *, workers: int) -> None:
        self._bureau = bureau
        self._owner = owner
        self._window = WINDOW_PER_WORKER * workers
        self._out: set[tuple[int, int]] = set()  # task and attempt: a task can be sent again before it ends here
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin feeding."""
        self._bureau.ledger.register_worker(self._owner)
        self._bureau.ledger.reap()
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def finished(self, task_id: int, attempt: int) -> None:
        """A task that was sent has ended, one way or another."""
        with self._lock:
            self._out.discard((task_id, attempt))
        self._wake.set()

    @property
    def outstanding(self) -> int:
        """How many hints are sent and not ended."""
        with self._lock:
            return len(self._out)

    def _at_work(self) -> set[int]:
        with self._lock:
            return {task_id for task_id, _ in self._out}

    def _feed(self) -> None:
        heartbeat = reap = time.monotonic()
        while not self._stop.is_set():
            try:
                now = time.monotonic()
                if now - heartbeat >= HEARTBEAT_S:
                    self._bureau.ledger.heartbeat(self._owner)
                    heartbeat = now
                if now - reap >= REAP_S:
                    if lost := self._bureau.ledger.reap(self._owner, at_work=self._at_work()):
                        log.warning("made %d tasks due again whose worker was lost", lost)
                    reap = now
                self._top_up()
            except Exception:
                # the ledger may be away for a moment; nothing is lost, the next round tries again
                log.exception("feeding failed")
                self._stop.wait(1.0)
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _top_up(self) -> None:
        room = self._window - self.outstanding
        for kind, task_id, attempt in self._bureau.ledger.dispatch(self._owner, room):
            with self._lock:
                self._out.add((task_id, attempt))
            ACTORS[kind].send(task_id, attempt, self._owner)
