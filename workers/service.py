"""What a worker under Dramatiq's own command does beside its actors: it works in a shift, and may feed itself."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time

import dramatiq

from pipeline import logs
from pipeline.bureau import Bureau
from pipeline.model import QUEUES
from pipeline.settings import Settings
from workers import shift
from workers.broker import is_embedded
from workers.feeder import Feeder
from workers.shift import STOP_TIMEOUT_MS, Shift

log = logging.getLogger(__name__)


class Service(dramatiq.Middleware):
    """Opens the bureau when the worker starts and closes it when the worker stops.

    Nothing to do where somebody else has begun a shift in this process already.
    """

    def __init__(self) -> None:
        self._shift: Shift | None = None
        self._feeder: Feeder | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """A page for every thread, or one process would hoard what others could do."""
        worker.queue_prefetch = worker.worker_threads

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Begin the shift.

        Raises:
            SystemExit: there is no bureau to work in; the supervisor of this process starts it again.
        """
        if shift.current() is not None:
            return
        # not through the pipe to Dramatiq's command: once that is dead and the pipe full, who writes waits for ever
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        settings = Settings()
        logs.set_up(as_json=settings.log_format == "json", level=logging.INFO)
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # says everything twice
        queues = tuple(queue for queue in QUEUES if not worker.consumer_whitelist or queue in worker.consumer_whitelist)
        try:
            bureau = Bureau.open(settings)
            bureau.check_languages()
            at_work = Shift(bureau, threads=worker.worker_threads, queues=queues)
            at_work.start()
        except Exception as error:
            log.critical("this worker cannot begin: %s", error)
            raise SystemExit(1) from error
        self._shift = at_work
        if is_embedded:
            self._feeder = Feeder(at_work, shared=False)
            at_work.when_done = self._feeder.done
        shift.begin(at_work)
        if self._feeder is not None:
            self._feeder.start()
        if (command := multiprocessing.parent_process()) is not None:
            threading.Thread(target=_end_with, args=(command,), name="parent", daemon=True).start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Take nothing more, and end what is being worked on."""
        if self._shift is None:
            return
        if self._feeder is not None:
            self._feeder.stop()
            broker.flush_all()
        self._shift.bureau.sandbox.close()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Give back what was not done."""
        if self._shift is None:
            return
        shift.finish()
        self._shift.end()
        self._shift.bureau.close()


def _end_with(command: multiprocessing.process.BaseProcess) -> None:
    """Stop when Dramatiq's command has ended: killed without warning it cannot tell us, and another takes our place."""
    command.join()
    log.error("the command that started this worker is gone; the worker stops")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT_MS / 1000)
    os._exit(1)  # what it held comes back by its missing heartbeat
