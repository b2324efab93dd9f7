"""The floor as Prometheus text: names, labels and help. All of it comes from the ledger and the disk.

The names are a contract with dashboards and alarms; docs/operating.md lists them, and a test holds it to that.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pipeline.bureau import Bureau
from pipeline.ledger.standing import FloorReport
from pipeline.ledger.work import REAPED
from pipeline.measures import (
    BOUNDS_S,
    CHILD_RESTARTS,
    DISPATCH_SECONDS,
    FENCED,
    OVER,
    STAGE_SECONDS,
    STALE_HINTS,
    SUM_US,
)

log = logging.getLogger(__name__)

RECOUNT_S = 600.0  # how often everything is counted again: seconds of work with a million tasks
PREFIX = "platen_"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def metrics_text(bureau: Bureau, recount: Recount) -> bytes:
    """What a scrape is answered."""
    registry = CollectorRegistry()
    registry.register(_Floor(bureau, recount))
    return generate_latest(registry)


class Recount:
    """Counts the whole ledger again every ten minutes: what a scrape, which is cheap, cannot find."""

    def __init__(self, bureau: Bureau) -> None:
        self._bureau = bureau
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._recount, name="recount", daemon=True)
        self.faults = 0
        self.at_s = 0.0  # of the last count, in seconds of the epoch; 0 before the first

    def start(self) -> None:
        """Begin counting."""
        self._thread.start()

    def stop(self) -> None:
        """Count no more."""
        self._stop.set()
        self._thread.join()

    def _recount(self) -> None:
        while not self._stop.is_set():
            try:
                faults = self._bureau.ledger.tally_faults()
                self.faults, self.at_s = len(faults), time.time()
                for fault in faults:
                    log.error("the ledger contradicts itself: %s", fault)
            except Exception:
                log.exception("the ledger could not be counted again")  # the scrape tells how old the last count is
            self._stop.wait(RECOUNT_S)


class _Floor(Collector):
    def __init__(self, bureau: Bureau, recount: Recount) -> None:
        self._bureau = bureau
        self._recount = recount

    def collect(self) -> Iterator[Family]:
        floor = self._bureau.ledger.floor()
        yield from _work(floor)
        yield from _counted(floor.counted)
        yield _gauge("workers_alive", "Processes that take tasks and were heard of in the last 15 s.", floor.workers)
        yield _gauge(
            "ledger_invariant_violations",
            "Counts of pages that contradict each other, at this scrape and at the last recount. Must be 0.",
            len(floor.faults) + self._recount.faults,
        )
        yield _gauge("ledger_recount_timestamp_seconds", "When every row was last counted again.", self._recount.at_s)
        yield _gauge("spool_free_bytes", "Free disk in the home.", shutil.disk_usage(self._bureau.settings.home).free)
        yield _gauge(
            "watch_last_scan_timestamp_seconds",
            "When the inbox was last looked at; told every 10 s. 0: never.",
            0 if floor.last_scan is None else floor.last_scan.timestamp(),
        )


def _work(floor: FloorReport) -> Iterator[Family]:
    tasks = GaugeMetricFamily(f"{PREFIX}tasks", "Tasks by kind and state.", labels=["kind", "state"])
    for kind, states in floor.kinds.items():
        for state, count in states.items():
            tasks.add_metric([kind.value, state], count)
    yield tasks
    held = GaugeMetricFamily(f"{PREFIX}held", "Tasks that wait for a person.", labels=["kind", "reason"])
    for (kind, code), count in floor.held.items():
        held.add_metric([kind.value, code], count)
    yield held
    alarms = GaugeMetricFamily(f"{PREFIX}scan_alarms", "Alarms about scans that nobody has seen.", labels=["kind"])
    for alarm_kind, count in floor.alarms.items():
        alarms.add_metric([alarm_kind.value], count)
    yield alarms
    remaining = GaugeMetricFamily(
        f"{PREFIX}work_order_pages_remaining",
        "Pages of an undelivered order that are still worked on.",
        labels=["work_order"],
    )
    for order in floor.orders:
        remaining.add_metric([order.number], order.remaining)
    yield remaining
    oldest = GaugeMetricFamily(
        f"{PREFIX}oldest_ready_seconds", "How long the first task that could be done now waits.", labels=["class"]
    )
    for priority, seconds in floor.oldest_waiting_s.items():
        oldest.add_metric([priority.value], seconds)
    yield oldest
    pages = floor.pages
    yield _counter("pages_received", "Pages taken in.", pages.received)
    yield _counter("pages_completed", "Pages that are billable or left out.", pages.billable + pages.excluded)
    yield _counter("pages_billed", "Pages that are billable.", pages.billable)


def _counted(counted: Mapping[tuple[str, str], int]) -> Iterator[Family]:
    """What workers and feeders counted."""
    yield _counter(
        "reaped", "Tasks made due again: their worker died, or nobody claimed the hint.", counted.get((REAPED, ""), 0)
    )
    yield _counter(
        "fenced", "Outcomes that came too late: somebody else had taken the task over.", counted.get((FENCED, ""), 0)
    )
    yield _counter("stale_hints", "Messages whose task had been done or sent again.", counted.get((STALE_HINTS, ""), 0))
    restarts = CounterMetricFamily(
        f"{PREFIX}child_restarts", "Processes for pages that ended, by reason.", labels=["reason"]
    )
    for (name, reason), count in counted.items():
        if name == CHILD_RESTARTS:
            restarts.add_metric([reason], count)
    yield restarts
    yield _histogram("dispatch_seconds", "One hand-out of due tasks to a queue.", counted, DISPATCH_SECONDS)
    yield _histogram("stage_seconds", "One stage of one page.", counted, STAGE_SECONDS, label="stage")


def _histogram(
    name: str, help_: str, counted: Mapping[tuple[str, str], int], tally: str, *, label: str | None = None
) -> HistogramMetricFamily:
    """From counts a bucket, labelled with what was measured and the bucket's bound."""
    things: dict[str, dict[str, int]] = {}
    for (found, text), count in counted.items():
        if found == tally:
            thing, _, bound = text.rpartition(" ")
            things.setdefault(thing, {})[bound] = count
    family = HistogramMetricFamily(PREFIX + name, help_, labels=None if label is None else [label])
    for thing, counts in things.items():
        total, buckets = 0, []
        for bound in (*map(str, BOUNDS_S), OVER):
            total += counts.get(bound, 0)
            buckets.append(("+Inf" if bound == OVER else bound, float(total)))
        family.add_metric([] if label is None else [thing], buckets=buckets, sum_value=counts.get(SUM_US, 0) / 1e6)
    return family


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, help_, value=value)


def _counter(name: str, help_: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, help_, value=value)
