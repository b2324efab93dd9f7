"""How often an address may be wrong before it is not listened to for a while.

Kept in this process and not in the ledger: strangers must not be able to make the ledger write.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

_MOST_ADDRESSES = 10_000  # remembered; the one that was wrong longest ago is forgotten first


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
