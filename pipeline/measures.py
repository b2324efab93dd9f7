"""What a process counts while it works; its heartbeat takes it to the ledger, where it is added to what others counted.

A scrape asks the ledger, so that nothing is lost when a worker ends and no worker needs a port of its own.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

STAGE_SECONDS = "stage_seconds"  # by stage of a page
DISPATCH_SECONDS = "dispatch_seconds"  # one hand-out of due tasks
FENCED = "fenced"  # outcomes that came too late
STALE_HINTS = "stale_hints"  # messages whose task had been done or sent again
CHILD_RESTARTS = "child_restarts"  # by reason
# upper bounds in seconds: a stage takes milliseconds to seconds, a page is stopped after 600 s
BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OVER = "over"  # label of the bucket above the last bound
SUM_US = "us"  # label of the sum, in microseconds


class Measures:
    """Counts by name and label, for threads that count at once."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def count(self, name: str, label: str = "", n: int = 1) -> None:
        """Add to a count."""
        with self._lock:
            self._counts[name, label] += n

    def observe(self, name: str, label: str, seconds: float) -> None:
        """Add to a histogram: the bucket's label is the thing's and its upper bound."""
        place = bisect_left(BOUNDS_S, seconds)
        bound = OVER if place == len(BOUNDS_S) else str(BOUNDS_S[place])
        with self._lock:
            self._counts[name, f"{label} {bound}"] += 1
            self._counts[name, f"{label} {SUM_US}"] += round(1e6 * seconds)

    @contextmanager
    def taken(self) -> Iterator[Mapping[tuple[str, str], int]]:
        """All that was counted since it was last taken; it is counted on when it could not be delivered."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        try:
            yield counts
        except BaseException:
            with self._lock:
                self._counts.update(counts)
            raise


@contextmanager
def timed(took_s: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds of what is done within to `took_s` under a name."""
    begin = perf_counter()
    try:
        yield
    finally:
        took_s[name] = took_s.get(name, 0.0) + perf_counter() - begin
