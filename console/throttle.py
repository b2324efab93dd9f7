"""How often an address may be wrong before it is not listened to for a while, and how much one may have at once.

Kept in this process and not in the ledger: strangers must not be able to make the ledger write.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

_MOST_ADDRESSES = 10_000  # remembered; the one that was wrong longest ago is forgotten first


class TooManyAtOnce(Exception):
    """Whoever asks has as many of these under way as one may have."""


class AtOnce:
    """Counts what is under way for each, so that one who begins many leaves room for the others."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def one(self, whose: str) -> Iterator[None]:
        """While the block runs, one more is under way.

        Raises:
            TooManyAtOnce: there are as many as may be.
        """
        with self._lock:
            if self._under_way[whose] >= self._most:
                raise TooManyAtOnce
            self._under_way[whose] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[whose] -= 1
                if not self._under_way[whose]:
                    del self._under_way[whose]


class Throttle:
    """Counts what was wrong, by address, over the last while."""

    def __init__(self, *, most: int, within_s: float) -> None:
        self._most = most
        self._within_s = within_s
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def is_over(self, address: str) -> bool:
        """Whether this address has been wrong too often."""
        with self._lock:
            times = self._wrong.get(address, deque())
            return len(times) >= self._most and time.monotonic() - times[0] < self._within_s

    def count(self, address: str) -> None:
        """It was wrong once more."""
        with self._lock:
            times = self._wrong.setdefault(address, deque(maxlen=self._most))
            times.append(time.monotonic())
            self._wrong.move_to_end(address)
            while len(self._wrong) > _MOST_ADDRESSES:
                self._wrong.popitem(last=False)
