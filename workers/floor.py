"""The embedded floor: watcher, feeder and workers in this process, on an in-memory broker and the ledger."""

from __future__ import annotations

import logging
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import dramatiq

from pipeline.bureau import Bureau
from workers.actors import forget_callbacks, when_finished
from workers.broker import broker, use_bureau
from workers.feeder import Feeder
from workers.watcher import Watcher

log = logging.getLogger(__name__)

_STOP_TIMEOUT_MS = 25_000  # a page takes seconds; what is not done by then is given back and done again


@contextmanager
def open_floor(bureau: Bureau, *, workers: int) -> Iterator[tuple[Watcher, Feeder]]:
    """Start everything; on leaving, stop it and give back what was not done."""
    owner = uuid.uuid4().hex
    use_bureau(bureau)
    feeder = Feeder(bureau, owner, workers=workers)
    watcher = Watcher(bureau)
    when_finished(feeder.finished)
    broker.emit_after("process_boot")
    pool = dramatiq.Worker(broker, worker_threads=workers, worker_timeout=200)
    pool.start()
    feeder.start()
    watcher.start()
    try:
        yield watcher, feeder
    finally:
        watcher.stop()
        feeder.stop()
        broker.flush_all()
        bureau.sandbox.close()  # ends what is being worked on; it is given back below
        pool.stop(timeout=_STOP_TIMEOUT_MS)
        forget_callbacks()
        bureau.ledger.give_back(owner)
        bureau.ledger.unregister_worker(owner)
        use_bureau(None)
        bureau.sandbox.open_again()  # the bureau goes on without a floor


def run_floor(bureau: Bureau, *, workers: int, until_idle: bool, on_tick: Callable[[], None] | None = None) -> None:
    """Work until told to stop (SIGINT, SIGTERM), or with `until_idle` until nothing is left to do."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    in_main = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)} if in_main else {}
    try:
        with open_floor(bureau, workers=workers) as (watcher, _):
            while not stop.wait(0.25):
                try:
                    if on_tick is not None:
                        on_tick()
                    # in this order: a delivery is announced before it stops counting as settling
                    if until_idle and not watcher.settling and not bureau.ledger.unfinished():
                        break
                except Exception:
                    # the ledger may be away for a moment; watcher and feeder wait for it too
                    log.exception("looking at the ledger failed")
                    stop.wait(1.0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
