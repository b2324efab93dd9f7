"""The watched folder: what has settled in the inbox is announced to the ledger.

A plain scan every few seconds is the only thing that counts (QUEUE 7): file system events lie on network shares. What
is seen is compared with the scan before, never with this machine's clock, since servers have clocks of their own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.bureau import Bureau
from pipeline.intake import READY_MARKERS, delivered, finish_interrupted, free_place, is_junk, keepable
from pipeline.ledger.settling import Asked, Settling
from pipeline.uploads import sweep_uploads

log = logging.getLogger(__name__)

SWEEP_UPLOADS_S = 600.0  # uploads are given days
MOST_TOLD = 500  # deliveries that settle; ten thousand files dropped at once are nobody's to read one by one
NOTE_SCAN_S = 10.0  # how often the ledger is told that the inbox was looked at: each is a write

Signature = tuple[tuple[str, int, int], ...]  # name, size, mtime in ns of every file


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something dropped: a folder or a single file, with the order whose folder it lies in."""

    path: Path
    order_number: str | None


@dataclass(slots=True)
class _Seen:
    signature: Signature
    since: float
    looks: int = 1


class Watcher:
    """Looks at the inbox until stopped."""

    def __init__(self, bureau: Bureau) -> None:
        self._bureau = bureau
        self._inbox = bureau.settings.folder("inbox")
        self._seen: dict[Path, _Seen] = {}
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._settling = 0
        self._note_at = 0.0
        self._sweep_at = 0.0
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin looking."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    @property
    def settling(self) -> int:
        """How many deliveries lie in the inbox and are not claimed yet; before the first look at least one."""
        return self._settling if self._looked.is_set() else 1

    def look(self) -> None:
        """Look once: announce what has settled."""
        finish_interrupted(self._bureau)
        claimed = set(self._bureau.ledger.open_delivery_sources())
        asked = self._bureau.ledger.asked_of()
        settling: list[Settling] = []
        waiting = 0
        present: dict[Path, _Seen] = {}
        free_mb = shutil.disk_usage(self._inbox).free >> 20
        for candidate in self._candidates():
            if str(candidate.path) in claimed:
                continue
            signature = _signature(candidate.path)
            told = _told(candidate, signature)
            said = asked.get(told.key, Asked.NOTHING)
            if not signature:  # an empty folder, or one that changes at this moment: somebody is about to fill it
                if said is Asked.WAIT:
                    settling.append(told)  # or it would be taken in as soon as it is filled
                continue
            waiting += 1
            seen = self._seen.get(candidate.path)
            if seen is None or seen.signature != signature:
                seen = _Seen(signature, time.monotonic())
            else:
                seen.looks += 1
            present[candidate.path] = seen
            settling.append(told)
            if said is Asked.WAIT:
                waiting -= 1  # somebody wants it to lie there: a floor that works until idle need not wait for it
                continue
            if said is not Asked.START and not self._settled(candidate.path, seen):
                continue
            if not _is_utf8(candidate.path.name):  # no database takes it; it is looked at anew under its other name
                _rename_to_utf8(candidate.path)
                continue
            if free_mb < self._bureau.settings.min_free_mb:
                log.error("only %d MB of disk are free: nothing is taken in until there is room", free_mb)
                waiting -= 1  # it is not settling, it is refused: a floor that works until idle need not wait for it
                continue
            self._bureau.ledger.announce_delivery(
                source=str(candidate.path),
                name=candidate.path.name,
                order_number=candidate.order_number,
                moves=True,
                who="watcher",
            )
            waiting -= 1
            del present[candidate.path]
            settling.pop()
        # those first about which somebody said something, or it would be forgotten when much else is dropped
        settling.sort(key=lambda one: asked.get(one.key, Asked.NOTHING) is Asked.NOTHING)
        self._bureau.ledger.note_settling(settling[:MOST_TOLD], before=asked)
        self._seen = present
        self._settling = waiting
        self._looked.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._note_scan()
                self._sweep_uploads()
            except Exception:
                log.exception("looking at the inbox failed")
            self._stop.wait(self._bureau.settings.scan_seconds)

    def _note_scan(self) -> None:
        if time.monotonic() >= self._note_at:
            self._bureau.ledger.note_scan()
            self._note_at = time.monotonic() + NOTE_SCAN_S

    def _sweep_uploads(self) -> None:
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_UPLOADS_S
            sweep_uploads(self._bureau)

    def _candidates(self) -> list[Candidate]:
        found: list[Candidate] = []
        for entry in _entries(self._inbox):
            if entry.is_dir() and _is_utf8(entry.name) and self._bureau.ledger.order(entry.name) is not None:
                found += [Candidate(inner, entry.name) for inner in _entries(entry)]
            else:
                found.append(Candidate(entry, None))
        return found

    def _settled(self, path: Path, seen: _Seen) -> bool:
        if path.is_dir() and any((path / marker).exists() for marker in READY_MARKERS):
            return True
        return seen.looks >= 2 and time.monotonic() - seen.since >= self._bureau.settings.settle_seconds


def _told(candidate: Candidate, signature: Signature) -> Settling:
    """What people are told of something that settles."""
    return Settling(
        key=hashlib.sha256(os.fsencode(candidate.path)).hexdigest(),
        name=keepable(candidate.path.name),
        order_number=candidate.order_number,
        files=len(signature),
        size_bytes=sum(size for _, size, _ in signature),
    )


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder of the inbox; names that begin with `_` are still being filled by their owner.

    Links are left alone: what they lead to is not in the delivery.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        log.warning("a folder of the inbox cannot be looked into: %s", error.strerror)
        return []
    return [
        entry
        for entry in entries
        if not is_junk(entry.name) and not entry.name.startswith("_") and not entry.is_symlink()
    ]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _rename_to_utf8(path: Path) -> None:
    try:
        path.rename(free_place(path.with_name(keepable(path.name))))
        log.warning("renamed a delivery whose name is no UTF-8")
    except OSError as error:
        log.error("a delivery whose name is no UTF-8 cannot be renamed: %s", error.strerror)


def _signature(path: Path) -> Signature:
    try:
        return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in delivered(path)))
    except FileNotFoundError:
        return ()  # it changes while it is looked at
    except PermissionError as error:
        # a folder in it that may not be read: taking it in tells so, and the other deliveries go on
        return ((f"{error.strerror}", 0, 0),)
