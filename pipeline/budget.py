"""How much memory the pages under way may take together: a page begins when there is room for what it will take.

What a page takes is reckoned from its pixels before any of them is decoded. The limit on each process (`sandbox`) stops
a page that takes more than that; the budget keeps many honest pages from taking the machine down together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
BUDGET_FRACTION = 0.6  # of the machine: the rest is for the house itself, the ledger and the files' cache
CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
MEMINFO = Path("/proc/meminfo")
# a process with its libraries, and Tesseract's with its model: 313 MiB with a letter page (bench memory)
PROCESS_BYTES = 320 * MIB
# 9.9 to 12.2 bytes a pixel were measured for the page, all steps and Tesseract together (A3 and A0 at 600 dpi, colour;
# bench memory); dense print takes more than the light pages of the bench
BYTES_A_PIXEL = 14.0


class Stopping(RuntimeError):
    """This process is stopping: what it works on is given back and done again."""


@dataclass(slots=True, eq=False)
class _Call:
    needs: int
    passed: int = 0  # bytes in use by calls that came later and did not wait
    passed_by: list[_Call] = field(default_factory=list)  # those that waited when this one went on


class MemoryBudget:
    """Bytes that threads share. Whoever waits is passed by only where that does not make it wait longer."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._in_use = 0
        self._waiting: list[_Call] = []
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def taken(self, needs_bytes: int) -> Iterator[None]:
        """While `needs_bytes` are in use, once there is room; who needs more than there is has all of it, alone.

        Raises:
            Stopping: the budget was closed while this call waited.
        """
        call = _Call(min(needs_bytes, self.size_bytes))
        with self._changed:
            self._waiting.append(call)
            try:
                self._changed.wait_for(lambda: self._closed or self._may_go(call))
                if self._closed:
                    raise Stopping
                ahead = self._waiting[: self._waiting.index(call)]
            finally:
                self._waiting.remove(call)
                self._changed.notify_all()  # whoever stood behind it may go now
            self._in_use += call.needs
            call.passed_by = ahead
            for one in ahead:
                one.passed += call.needs
        try:
            yield
        finally:
            with self._changed:
                self._in_use -= call.needs
                for one in call.passed_by:
                    one.passed -= call.needs
                self._changed.notify_all()

    def close(self) -> None:
        """Whoever waits, and whoever comes, gives up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def open_again(self) -> None:
        """Take calls again after `close`."""
        with self._changed:
            self._closed = False

    def _may_go(self, call: _Call) -> bool:
        """Whether there is room, and enough beside it for all who have waited longer once the calls before them end."""
        ahead = self._waiting[: self._waiting.index(call)]
        return self._in_use + call.needs <= self.size_bytes and all(
            one.needs + one.passed + call.needs <= self.size_bytes for one in ahead
        )


def bytes_for_page(megapixels: float) -> int:
    """What working on a page of that size takes."""
    return PROCESS_BYTES + round(megapixels * 1e6 * BYTES_A_PIXEL)


def machine_bytes() -> int:
    """Memory of this machine, or of the container if that was given less."""
    lines = MEMINFO.read_text().splitlines()
    total = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:"))
    try:
        return min(total, int(CGROUP_MEMORY.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return total
