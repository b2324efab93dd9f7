"""Pages under way together never take more memory than they may, and none waits for ever."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline import budget as budget_module
from pipeline.budget import MIB, MemoryBudget, Stopping, bytes_for_page, machine_bytes
from pipeline.sandbox import Sandbox
from stages.errors import MemoryTooSmall
from tests.whole.home import wait_until


class Call(threading.Thread):
    """A call that is under way until it is told to end."""

    def __init__(self, budget: MemoryBudget, needs: int) -> None:
        super().__init__(daemon=True)
        self.begun, self._end = threading.Event(), threading.Event()
        self.gave_up = False
        self._budget, self._needs = budget, needs
        before = len(budget._waiting)
        self.start()
        wait_until(lambda: self.begun.is_set() or len(budget._waiting) > before, seconds=10)

    def run(self) -> None:
        try:
            with self._budget.taken(self._needs):
                self.begun.set()
                self._end.wait(30)
        except Stopping:
            self.gave_up = True

    def end(self) -> None:
        self._end.set()
        self.join(10)
        assert not self.is_alive()


def test_two_large_calls_do_not_run_together() -> None:
    budget = MemoryBudget(10)
    one, two = Call(budget, 6), Call(budget, 6)
    assert one.begun.is_set() and not two.begun.is_set()
    one.end()
    assert two.begun.wait(10)
    two.end()
    assert (budget._in_use, budget._waiting) == (0, [])


def test_small_calls_pass_by_a_large_one_without_making_it_wait_longer() -> None:
    budget = MemoryBudget(10)
    before = Call(budget, 6)
    large = Call(budget, 8)
    beside = Call(budget, 2)
    assert beside.begun.is_set() and not large.begun.is_set(), "there is room for it now, and beside the large one"
    too_many = Call(budget, 2)
    assert not too_many.begun.is_set(), "there is room for it now, but the large one would wait for it"
    before.end()
    assert large.begun.wait(10), "as soon as the one before it has ended"
    assert not too_many.begun.is_set()
    beside.end()
    assert too_many.begun.wait(10)
    large.end()
    too_many.end()
    assert budget._in_use == 0


def test_a_stream_of_small_calls_does_not_starve_a_large_one() -> None:
    budget = MemoryBudget(10)
    small = [Call(budget, 2) for _ in range(5)]
    large = Call(budget, 10)
    waiting = [Call(budget, 2) for _ in range(5)]
    assert not any(call.begun.is_set() for call in waiting)
    for call in small:
        call.end()
    assert large.begun.wait(10)
    assert not any(call.begun.is_set() for call in waiting)
    large.end()
    for call in waiting:
        assert call.begun.wait(10)
        call.end()


def test_what_needs_more_than_all_runs_alone() -> None:
    budget = MemoryBudget(10)
    other = Call(budget, 1)
    huge = Call(budget, 50)
    assert not huge.begun.is_set()
    other.end()
    assert huge.begun.wait(10)
    assert not Call(budget, 1).begun.is_set()
    huge.end()


def test_whoever_waits_gives_up_when_the_process_stops() -> None:
    budget = MemoryBudget(10)
    at_work, waiting = Call(budget, 10), Call(budget, 1)
    budget.close()
    waiting.join(10)
    assert waiting.gave_up
    at_work.end()
    with pytest.raises(Stopping), budget.taken(1):
        pass
    budget.open_again()
    with budget.taken(1):
        pass


def test_the_machine_is_as_large_as_its_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine_bytes()
    assert whole > 256 * MIB
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(budget_module, "CGROUP_MEMORY", limit)
    for text, expected in (("max\n", whole), (f"{512 * MIB}\n", 512 * MIB), (f"{whole * 2}\n", whole)):
        limit.write_text(text)
        assert machine_bytes() == expected


def reserve(size_bytes: int) -> int:
    """Address space that is never touched."""
    return int(np.empty(size_bytes, np.uint8).nbytes)


def test_a_page_that_is_known_to_be_large_gets_the_space_it_needs_and_no_other() -> None:
    sandbox = Sandbox(memory_limit_mb=1024, timeout_s=30.0, budget=MemoryBudget(8 << 30))
    try:
        with pytest.raises(MemoryError):
            sandbox.call("Working", reserve, 1500 * MIB)
        assert sandbox.call("Working", reserve, 1500 * MIB, needs_bytes=2500 * MIB) == 1500 * MIB
        with pytest.raises(MemoryError):
            sandbox.call("Working", reserve, 1500 * MIB)
    finally:
        sandbox.close()


def test_a_page_that_no_process_could_take_is_held_with_the_figures() -> None:
    sandbox = Sandbox(memory_limit_mb=1024, timeout_s=30.0, budget=MemoryBudget(512 * MIB))
    with pytest.raises(MemoryTooSmall, match=r"takes about \d+\.\d GB of memory, and this installation gives 1\.1 GB"):
        sandbox.call("Working", reserve, 1, needs_bytes=bytes_for_page(558.0))
    sandbox.close()
