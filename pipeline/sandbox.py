"""Run functions in processes of their own, which may crash, hang or eat memory without harm to anybody else.

Image decoders are native code fed with files from outside. Children live long, and there are as many as calls were ever
under way at once; a call is a pickled function with its arguments, the answer its result or its exception. The child
leads a process group, so that a kill takes the programs it started (Tesseract) along, and it ends by itself when its
parent is gone.

A child imports what its functions' modules import: they stand in modules that know no ledger (`page_work` and others).

Frames on both pipes: 8 bytes length, big-endian, then that many bytes of pickle.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import queue
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, TypeVarTuple

from pipeline.budget import (
    BUDGET_FRACTION,
    MIB,
    PROCESS_BYTES,
    MemoryBudget,
    Stopping,
    bytes_for_page,
    machine_bytes,
)  # fmt: skip
from pipeline.measures import CHILD_RESTARTS, Measures
from stages.errors import MemoryTooSmall, StageCrashed, StageTimedOut
from stages.read import Settings as ReadSettings
from stages.read import page_megapixels

__all__ = ["ENVIRONMENT", "Sandbox", "Stopping"]

_Args = TypeVarTuple("_Args")
_R = TypeVar("_R")

ENVIRONMENT = {
    "OMP_THREAD_LIMIT": "1",  # Tesseract's threads spin: four times the CPU for nothing
    "OPENBLAS_NUM_THREADS": "1",  # numpy's spin after every product: a tenth of preparing a page
    # keep the memory of a page for the next one; fresh pages of the kernel cost binarisation a tenth of its time
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
}
_SECRET = ("AWS_", "PG", "PLATEN_")  # keys and passwords of store, ledger and broker: no business of a decoder
_CALLS_A_CHILD = 500  # native libraries leak; a fresh child costs a third of a second
_LARGE_BYTES = 2 << 30  # a child that has had this much in hand is not kept
_TRIES = 2  # a crash may have been the kernel's choice of a victim; twice in a row it is the file


class _ChildDied(Exception):
    pass


class _ChildHangs(Exception):
    pass


class Sandbox:
    """Children for whoever calls, made when none is idle."""

    def __init__(
        self,
        *,
        memory_limit_mb: int,
        timeout_s: float,
        budget: MemoryBudget | None = None,
        measures: Measures | None = None,
    ) -> None:
        """A child may take `memory_limit_mb` of address space, more only for a page that is known to need it.

        All calls share the budget; without one it is the usual share of this machine.
        """
        self._budget = budget or MemoryBudget(round(BUDGET_FRACTION * machine_bytes()))
        self._measures = measures or Measures()
        self._memory_limit = memory_limit_mb * MIB
        self._timeout_s = timeout_s
        self._all: set[_Child] = set()
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._closed = False

    def call(
        self,
        what: str,
        function: Callable[[*_Args], _R],
        *args: *_Args,
        timeout_s: float | None = None,
        needs_bytes: int = PROCESS_BYTES,
    ) -> _R:
        """What `function` returns or raises, having run in a child.

        `what` names the work in sentences for people ("Preparing the page"); `timeout_s` is for work that is known to
        take longer than a page, `needs_bytes` for work on pixels (`budget.bytes_for_page`). It begins once there is
        room for that.

        Raises:
            MemoryTooSmall: it needs more than all there is.
            Stopping: the sandbox has been closed; the work is to be given back.
            StageTimedOut: it ran longer than the limit; it has been killed with all it started.
            StageCrashed: it ended its process twice in a row.
        """
        most_bytes = max(self._budget.size_bytes, self._memory_limit)
        if needs_bytes > most_bytes:
            raise MemoryTooSmall(needs_bytes, most_bytes)
        with self._budget.taken(needs_bytes):
            # a pickle does not know what it answers
            return self._call(what, (function, args), timeout_s or self._timeout_s, needs_bytes)  # type: ignore[no-any-return]

    def needs_of(self, scan: Path, page_index: int, read: ReadSettings, *, timeout_s: float | None = None) -> int:
        """Bytes that working on a page of a scan takes, by its size: `needs_bytes` of the work.

        Raises:
            Refusal: the page cannot be read, or is larger than the profile takes.
        """
        megapixels = self.call("Measuring the page", page_megapixels, scan, page_index, read, timeout_s=timeout_s)
        return bytes_for_page(megapixels)

    def _call(self, what: str, call: object, limit_s: float, needs_bytes: int) -> Any:
        for attempt in range(_TRIES):
            child = self._child(fresh=attempt > 0)
            try:
                answer = child.ask(call, limit_s, max(self._memory_limit, needs_bytes))
            except _ChildDied:
                self._forget(child, "died")
                continue
            except _ChildHangs:
                self._forget(child, "timed-out")
                raise StageTimedOut(what, limit_s) from None
            except BaseException:
                self._forget(child, "interrupted")  # its answer would be taken for the next call's
                raise
            if needs_bytes > _LARGE_BYTES:
                self._forget(child, "recycled")  # idle, it would keep much of that
            else:
                self._give_back(child)
            if isinstance(answer, _Raised):
                raise answer.error
            return answer
        raise StageCrashed(what, _TRIES)

    def open_again(self) -> None:
        """Take calls again after `close`."""
        self._budget.open_again()
        with self._lock:
            self._closed = False

    def close(self) -> None:
        """Kill all children; what they worked on raises `Stopping` in its caller."""
        with self._lock:
            self._closed = True
            children, self._all = list(self._all), set()
            self._idle.clear()
        self._budget.close()
        for child in children:
            child.kill()

    def _child(self, *, fresh: bool) -> _Child:
        """An idle child or a new one; `fresh` is for a second try, since idle ones may have been killed too."""
        with self._lock:
            if self._closed:
                raise Stopping
            if self._idle and not fresh:
                return self._idle.pop()
            child = _Child()
            self._all.add(child)
            return child

    def _give_back(self, child: _Child) -> None:
        if child.calls >= _CALLS_A_CHILD:
            self._forget(child, "recycled")
            return
        with self._lock:
            if child in self._all:  # else closed in the meantime
                self._idle.append(child)

    def _forget(self, child: _Child, reason: str) -> None:
        child.kill()
        with self._lock:
            self._all.discard(child)
            stopping = self._closed
        if not stopping:
            self._measures.count(CHILD_RESTARTS, reason)


class _Child:
    def __init__(self) -> None:
        self.calls = 0
        self.dead = False
        self._talking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs chat there; what matters comes back as an exception
            env={name: value for name, value in os.environ.items() if not name.startswith(_SECRET)} | ENVIRONMENT,
            start_new_session=True,
        )

    def ask(self, call: object, timeout_s: float, limit_bytes: int) -> Any:
        self.calls += 1
        assert self._process.stdin is not None and self._process.stdout is not None
        frame = pickle.dumps((limit_bytes, call))
        with self._talking:
            if self.dead:
                raise _ChildDied
            try:
                self._process.stdin.write(struct.pack(">Q", len(frame)) + frame)
                self._process.stdin.flush()
            except OSError as error:
                raise _ChildDied from error
            deadline = time.monotonic() + timeout_s
            (size,) = struct.unpack(">Q", self._read(8, deadline))
            return pickle.loads(self._read(size, deadline))

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        parts = io.BytesIO()
        while parts.tell() < size:
            ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _ChildHangs
            part = os.read(handle, min(1 << 20, size - parts.tell()))
            if not part:
                raise _ChildDied
            parts.write(part)
        return parts.getvalue()

    def kill(self) -> None:
        if not self.dead:  # once only: its number may be somebody else's later
            self.dead = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with self._talking:  # whoever reads from it has seen its end; a number freed before could be a new file's
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _serve() -> None:
    """The child: answer calls until the parent closes the pipe."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not spoil the answers
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, calls), daemon=True).start()

    import cv2

    cv2.setNumThreads(1)  # one page, one core: the floor runs as many pages as there are cores
    while True:
        answer: object
        try:
            limit_bytes, (function, args) = pickle.loads(calls.get())
            resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, resource.RLIM_INFINITY))
            answer = function(*args)
        except Exception as error:
            answer = _Raised(_portable(error))
        frame = pickle.dumps(answer)
        answers.write(struct.pack(">Q", len(frame)) + frame)
        answers.flush()


def _receive(stream: BinaryIO, calls: queue.SimpleQueue[bytes]) -> None:
    while len(head := stream.read(8)) == 8:
        calls.put(stream.read(struct.unpack(">Q", head)[0]))
    os.killpg(0, signal.SIGKILL)  # the parent is gone: take along whatever runs


def _portable(error: Exception) -> Exception:
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error if type(copy) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    # pickles name this module, not __main__
    from pipeline.sandbox import _serve as _serve_as_module

    _serve_as_module()
