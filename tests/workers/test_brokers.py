"""Workers on a shared broker: one feeder leads, every page is done once, and a broker that dies loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.ledger import Leadership, Ledger
from tests.servers import PostgreSQL, Server
from tests.whole.home import PLATEN, Home, drop_small_pages, wait_until

DRAMATIQ = Path(sys.executable).parent / "dramatiq"


@pytest.fixture(params=["redis_server", "rabbitmq_server"])
def broker(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def home(tmp_path: Path, postgresql: PostgreSQL, broker: Server) -> Home:
    made = Home(tmp_path / "home")
    made.environment["PLATEN_DATABASE_URL"] = postgresql.ledger_database()
    made.environment["PLATEN_BROKER_URL"] = broker.url
    made.platen("init")
    made.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1")
    return made


@contextmanager
def _processes(home: Home, *commands: list[str | Path]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Long-running processes of one bureau, each told to stop in the end."""
    log = (home.folder.parent / "log").open("ab")
    started = [
        subprocess.Popen(command, env=home.environment, stdout=log, stderr=log, cwd=home.folder.parent)
        for command in commands
    ]
    try:
        yield started
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=40)
        log.close()


def _worker(*queues: str) -> list[str | Path]:
    return [DRAMATIQ, "workers.actors", "--processes", "1", "--threads", "1", "--worker-shutdown-timeout", "20000",
            "--queues", *(queues or ("pages", "documents"))]  # fmt: skip


def _pages(home: Home) -> dict[str, int]:
    pages: dict[str, int] = home.ask("order", "show", "WO-1")["pages"]
    return pages


@pytest.mark.tool
@pytest.mark.timeout(300)
def test_processes_of_their_own_do_every_page_once_and_go_on_when_the_broker_dies(home: Home, broker: Server) -> None:
    drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 12)
    with _processes(
        home, [PLATEN, "watch"], [PLATEN, "feed"], [PLATEN, "feed"], _worker("pages"), _worker("pages"),
        _worker("documents"),
    ):  # fmt: skip
        wait_until(lambda: _pages(home)["billable"] >= 3, seconds=120)
        broker.kill()
        broker.start()
        wait_until(lambda: _pages(home)["billable"] == 12, seconds=200)
        wait_until(lambda: home.ask("order", "show", "WO-1")["documents"][0]["conforms"], seconds=60)
    assert _pages(home)["received"] == 12
    [document] = home.ask("order", "show", "WO-1")["documents"]
    assert document["pages"] == 12
    home.platen("verify")


@pytest.mark.tool
def test_a_worker_that_is_told_to_stop_gives_back_what_it_holds_and_another_ends_it(home: Home) -> None:
    drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 24)
    with _processes(home, [PLATEN, "watch"], [PLATEN, "feed"]):
        with _processes(home, _worker()):
            wait_until(lambda: _pages(home)["billable"] >= 1, seconds=120)
        assert _pages(home)["billable"] < 24
        assert all(states["running"] == 0 for states in home.ask("status")["kinds"].values())
        with _processes(home, _worker()):
            wait_until(lambda: _pages(home)["billable"] == 24, seconds=200)


@pytest.mark.tool
def test_an_embedded_worker_under_dramatiqs_own_command_feeds_itself(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.platen("init")
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1")
    drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 4)
    with _processes(home, [PLATEN, "watch"], [PLATEN, "worker", "--workers", "2"]):
        wait_until(lambda: _pages(home)["billable"] == 4, seconds=120)
    assert all(states["running"] == 0 for states in home.ask("status")["kinds"].values())


def test_a_worker_without_a_bureau_ends_with_a_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "PLATEN_HOME": str(tmp_path / "nowhere"), "PLATEN_BROKER_URL": "embedded"}
    ended = subprocess.run(
        _worker(), env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert ended.returncode != 0
    assert "There is no home at" in ended.stderr


def test_one_leads_and_another_takes_over(tmp_path: Path, postgresql: PostgreSQL) -> None:
    for url in (f"sqlite:///{tmp_path / 'ledger.db'}", postgresql.ledger_database()):
        one, other = Ledger(url), Ledger(url)
        one.migrate()
        leader, waiting = Leadership(one, "feeder", "a"), Leadership(other, "feeder", "b")
        assert [leader.held(), waiting.held(), leader.held()] == [True, False, True]
        leader.release()
        assert [waiting.held(), leader.held()] == [True, False]
        waiting.release()
        one.close()
        other.close()
