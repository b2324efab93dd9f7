"""The floor: watcher, feeder and workers, all in this process or each in its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dramatiq

from pipeline.bureau import Bureau
from pipeline.model import QUEUES
from workers import actors, shift
from workers.broker import broker, is_embedded
from workers.feeder import Feeder
from workers.shift import STOP_TIMEOUT_MS, Shift
from workers.signals import told_to_stop
from workers.watcher import Watcher

log = logging.getLogger(__name__)

WORKER_TIMEOUT_MS = 200
LOOK_S = 0.25

assert actors.ACTORS  # they declare the queues


@contextmanager
def open_floor(bureau: Bureau, *, workers: int) -> Iterator[Watcher]:
    """Start everything; on leaving, stop it and give back what was not done."""
    at_work = Shift(bureau, threads=workers, queues=tuple(QUEUES))
    feeder = Feeder(at_work, shared=not is_embedded)
    at_work.when_done = feeder.done
    watcher = Watcher(bureau)
    at_work.start()
    shift.begin(at_work)
    broker.emit_after("process_boot")
    pool = dramatiq.Worker(broker, worker_threads=workers, worker_timeout=WORKER_TIMEOUT_MS)
    pool.start()
    feeder.start()
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()
        feeder.stop()
        if is_embedded:
            broker.flush_all()
        bureau.sandbox.close()  # ends what is being worked on; it is given back below
        pool.stop(timeout=STOP_TIMEOUT_MS)
        shift.finish()
        at_work.end()
        bureau.sandbox.open_again()  # the bureau goes on without a floor


def run_floor(bureau: Bureau, *, workers: int, until_idle: bool, on_tick: Callable[[], None] | None = None) -> None:
    """Work until told to stop (SIGINT, SIGTERM), or with `until_idle` until nothing is left to do."""
    with told_to_stop() as stop, open_floor(bureau, workers=workers) as watcher:
        while not stop.wait(LOOK_S):
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


def run_watcher(bureau: Bureau) -> None:
    """Only look at the inbox, until told to stop."""
    watcher = Watcher(bureau)
    with told_to_stop() as stop:
        watcher.start()
        stop.wait()
        watcher.stop()


def run_feeder(bureau: Bureau) -> None:
    """Only feed the shared broker, until told to stop; several may run, one leads."""
    at_work = Shift(bureau)
    feeder = Feeder(at_work, shared=True)
    with told_to_stop() as stop:
        at_work.start()
        feeder.start()
        stop.wait()
        feeder.stop()
        at_work.end()
