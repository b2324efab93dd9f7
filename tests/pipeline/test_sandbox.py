"""A page may crash, hang or eat memory: the others go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.sandbox import Sandbox, Stopping
from stages.errors import SkewTooLarge, StageCrashed, StageTimedOut


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(memory_limit_mb=2048, timeout_s=5.0)
    yield made
    made.close()


def double(number: int) -> int:
    return 2 * number


def refuse() -> None:
    raise SkewTooLarge(12.0, 5.0)


def fail_strangely() -> None:
    class Local(Exception):
        pass

    raise Local("cannot be pickled")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return "second try"


def hang(pid_file: Path) -> None:
    pid_file.write_text(str(subprocess.Popen(["sleep", "600"]).pid))
    time.sleep(600)


def eat() -> int:
    return int(np.ones(4 << 30, np.uint8).sum())


def modules_after_importing(*names: str) -> set[str]:
    imports = ", ".join(f"pipeline.{name}" for name in names)
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, pipeline.sandbox, {imports}; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(said.stdout.split())


def chat() -> str:
    print("rubbish on the wire")
    os.write(1, b"more rubbish")
    return "clean"


def test_a_function_answers_from_its_own_process(sandbox: Sandbox) -> None:
    assert sandbox.call("Doubling", double, 21) == 42
    assert sandbox.call("Asking", os.getpid) != os.getpid()


def test_calls_one_after_another_need_one_child_whatever_thread_they_come_from(sandbox: Sandbox) -> None:
    children = {sandbox.call("Asking", os.getpid)}
    thread = threading.Thread(target=lambda: children.add(sandbox.call("Asking", os.getpid)))
    thread.start()
    thread.join()
    children.add(sandbox.call("Asking", os.getpid))
    assert len(children) == 1


def test_children_that_were_killed_while_idle_cost_nobody_a_page(sandbox: Sandbox) -> None:
    together = threading.Barrier(3)

    def work() -> None:
        together.wait()
        sandbox.call("Sleeping", time.sleep, 1.0)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sandbox._idle) == 3
    for child in sandbox._idle:
        os.kill(child._process.pid, signal.SIGKILL)
    assert sandbox.call("Doubling", double, 4) == 8


def test_a_child_that_prepares_or_writes_imports_no_ledger() -> None:
    loaded = modules_after_importing("page_work", "document_work", "film_work")
    assert not loaded & {"sqlalchemy", "alembic", "pydantic_settings", "typer", "rich", "dramatiq"}


def test_a_refusal_keeps_its_code_and_sentence(sandbox: Sandbox) -> None:
    with pytest.raises(SkewTooLarge, match=r"turned by 12\.0°") as caught:
        sandbox.call("Refusing", refuse)
    assert caught.value.code == "skew-too-large"
    assert caught.value.angle_deg == 12.0


def test_an_error_that_cannot_travel_is_still_told(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="Local: cannot be pickled"):
        sandbox.call("Failing", fail_strangely)


def test_a_crash_is_refused_with_a_sentence_and_the_next_call_works(sandbox: Sandbox) -> None:
    with pytest.raises(StageCrashed, match="Preparing the page"):
        sandbox.call("Preparing the page", crash)
    assert sandbox.call("Doubling", double, 1) == 2


def test_a_single_crash_is_tried_again(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.call("Crashing once", crash_once, tmp_path / "marker") == "second try"


def test_a_hang_is_stopped_with_everything_it_started(tmp_path: Path) -> None:
    sandbox = Sandbox(memory_limit_mb=2048, timeout_s=2.0)
    pid_file = tmp_path / "pid"
    with pytest.raises(StageTimedOut):
        sandbox.call("Hanging", hang, pid_file)
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "what the child started still runs"
        time.sleep(0.05)
    sandbox.close()


def test_memory_is_bounded(sandbox: Sandbox) -> None:
    with pytest.raises(MemoryError):
        sandbox.call("Eating", eat)
    assert sandbox.call("Doubling", double, 2) == 4


def test_chatter_does_not_spoil_the_answer(sandbox: Sandbox) -> None:
    assert sandbox.call("Chatting", chat) == "clean"


def test_a_call_that_meets_the_closing_is_given_back(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.call("Doubling", double, 1)
    idle_child = sandbox._child

    def closed_meanwhile(*, fresh: bool) -> object:
        child = idle_child(fresh=fresh)
        sandbox.close()
        return child

    monkeypatch.setattr(sandbox, "_child", closed_meanwhile)
    with pytest.raises(Stopping):
        sandbox.call("Doubling", double, 2)


def test_closing_leaves_the_pipe_to_whoever_reads_from_it(sandbox: Sandbox, tmp_path: Path) -> None:
    outcomes = []

    def work() -> None:
        try:
            sandbox.call("Hanging", hang, tmp_path / "pid")
        except Stopping:
            outcomes.append("given back")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not (tmp_path / "pid").exists():
        time.sleep(0.02)
    sandbox.close()
    for thread in threads:
        thread.join(20)
    assert outcomes == ["given back"] * 3


def test_a_child_knows_no_keys_of_store_ledger_and_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "PLATEN_DATABASE_URL", "HARMLESS"):
        monkeypatch.setenv(name, "value")
    sandbox = Sandbox(memory_limit_mb=1024, timeout_s=60.0)
    try:
        known = {name for name in os.environ if sandbox.call("Looking", os.getenv, name) is not None}
    finally:
        sandbox.close()
    assert "HARMLESS" in known
    assert not [name for name in known if name.startswith(("AWS_", "PG", "PLATEN_"))]
