"""The web application over a real ledger and a real socket: what machines are told, and what nobody else is."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text

from console import web
from pipeline.bureau import Bureau
from pipeline.ledger import Ledger
from pipeline.measures import BOUNDS_S, CHILD_RESTARTS, STAGE_SECONDS, Measures
from pipeline.model import Priority
from pipeline.settings import Settings
from tests.conftest import ROOT
from tests.console.served import served
from tests.pipeline.by_hand import finish, open_order, receive, run_hint, work_off
from tests.servers import free_port
from tests.whole.home import PLATEN, Home, drop_small_pages, wait_until


@pytest.fixture
def bureau(tmp_path: Path) -> Iterator[Bureau]:
    made = Bureau.init(Settings(home=tmp_path / "home"))
    yield made
    made.close()


def samples(said: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, these in the order of their names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def scraped(client: httpx.Client) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


def test_what_is_scraped_is_how_the_floor_stands(bureau: Bureau) -> None:
    ledger = bureau.ledger
    rush, normal = open_order(ledger, priority=Priority.RUSH), open_order(ledger)
    receive(ledger, normal, 3)
    work_off(ledger)
    receive(ledger, rush, 4)
    for number, (_, task_id, attempt) in enumerate(ledger.dispatch("w", 2)):
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        if number:
            ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    ledger.register_worker("w", threads=2, queues=("pages",))
    ledger.note_scan()
    with served(bureau) as client:
        told = scraped(client)
    assert told["platen_tasks", "PREPARE_PAGE", "due"] == 2
    assert told["platen_tasks", "PREPARE_PAGE", "running"] == 1
    assert told["platen_tasks", "PREPARE_PAGE", "done"] == 3
    assert told["platen_tasks", "PREPARE_PAGE", "held"] == told["platen_held", "PREPARE_PAGE", "unreadable"] == 1
    assert told["platen_work_order_pages_remaining", rush.number] == 3
    assert told["platen_pages_received_total",] == 7
    assert told["platen_pages_completed_total",] == told["platen_pages_billed_total",] == 3
    assert {name[1] for name in told if name[0] == "platen_oldest_ready_seconds"} == {"rush", "normal", "overnight"}
    assert told["platen_workers_alive",] == 1
    assert told["platen_ledger_invariant_violations",] == 0
    assert told["platen_spool_free_bytes",] > 0
    assert told["platen_watch_last_scan_timestamp_seconds",] > 1e9
    for counter in ("reaped", "fenced", "stale_hints"):
        assert told[f"platen_{counter}_total",] == 0


def test_what_workers_measured_adds_up_over_all_of_them(bureau: Bureau) -> None:
    for seconds in ((0.02, 3.0), (0.3, 4000.0)):
        measures = Measures()
        for one in seconds:
            measures.observe(STAGE_SECONDS, "deskew", one)
        measures.count(CHILD_RESTARTS, "died")
        with measures.taken() as counts:
            bureau.ledger.add_tallies(counts)
        bureau.ledger.fold_tallies()
    with served(bureau) as client:
        told = scraped(client)
    buckets = [told["platen_stage_seconds_bucket", str(bound), "deskew"] for bound in BOUNDS_S]
    assert buckets == sorted(buckets)
    assert (told["platen_stage_seconds_bucket", "0.025", "deskew"], buckets[-1]) == (1, 3)
    assert told["platen_stage_seconds_bucket", "+Inf", "deskew"] == told["platen_stage_seconds_count", "deskew"] == 4
    assert told["platen_stage_seconds_sum", "deskew"] == pytest.approx(4003.32)
    assert told["platen_child_restarts_total", "died"] == 2


def test_what_could_not_be_told_is_told_the_next_time() -> None:
    measures = Measures()
    measures.count("fenced")
    with pytest.raises(OSError), measures.taken():
        raise OSError("the ledger is away")
    measures.count("fenced")
    with measures.taken() as counts:
        assert dict(counts) == {("fenced", ""): 2}
    with measures.taken() as counts:
        assert not counts


def test_tasks_of_dead_workers_are_counted_as_reaped(bureau: Bureau) -> None:
    receive(bureau.ledger, open_order(bureau.ledger), 2)
    [(_, task_id, attempt)] = bureau.ledger.dispatch("gone", 1)
    assert bureau.ledger.claim(task_id, attempt, "gone") is not None
    assert bureau.ledger.reap() == 1
    with served(bureau) as client:
        assert scraped(client)["platen_reaped_total",] == 1


def test_a_ledger_that_contradicts_itself_is_seen(bureau: Bureau) -> None:
    ledger = bureau.ledger
    receive(ledger, open_order(ledger), 2)
    for _, task_id, attempt in ledger.dispatch("w", 1):
        run_hint(ledger, task_id, attempt)
    with ledger.write() as connection:  # delivered by other hands: a scrape does not look at its pages any more
        connection.execute(text("UPDATE orders SET status = 'delivered'"))
        connection.execute(text("UPDATE tallies SET n = n + 1 WHERE label = 'received'"))
    with served(bureau) as client:
        wait_until(lambda: scraped(client)["platen_ledger_recount_timestamp_seconds",] > 0, seconds=20)
        assert scraped(client)["platen_ledger_invariant_violations",] == 1


def test_the_figures_are_for_this_machine_or_for_who_bears_the_token(bureau: Bureau, tmp_path: Path) -> None:
    with served(bureau) as client:
        assert client.get("/metrics").status_code == 200
        for header in web.PROXY_HEADERS:
            assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 403, "asked for somebody else"
    settings = Settings(home=bureau.settings.home, metrics_token=SecretStr("a long secret"))
    assert "a long secret" not in repr(settings)
    other = Bureau.open(settings)
    with served(other) as client:
        for said in ("", "Bearer", "Bearer a long", "Basic a long secret", "Bearer a long secretly"):
            assert client.get("/metrics", headers={"Authorization": said}).status_code == 403
        assert client.get("/metrics", headers={"Authorization": "Bearer a long secret"}).status_code == 200
    other.close()


def test_health_is_that_of_the_ledger(bureau: Bureau) -> None:
    with served(bureau) as client:
        assert (client.get("/healthz").status_code, client.get("/healthz").text) == (200, "ok\n")
        with bureau.ledger.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        said = client.get("/healthz")
        assert (said.status_code, said.text) == (503, "The ledger cannot be reached.\n")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing-here"])
def test_every_answer_tells_the_browser_to_be_careful_and_nothing_of_the_server(bureau: Bureau, path: str) -> None:
    with served(bureau) as client:
        headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
    assert "server" not in headers


def test_what_the_framework_would_show_of_itself_is_not_there(bureau: Bureau) -> None:
    with served(bureau) as client:
        assert {client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")} == {404}


def test_a_port_that_is_taken_is_told_in_a_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.platen("init")
    bureau = Bureau.open(Settings(home=home.folder))
    with served(bureau) as client:
        port = str(client.base_url.port)
        said = subprocess.run(
            [PLATEN, "console", "--port", port], env=home.environment, capture_output=True, text=True, timeout=60
        )
    bureau.close()
    assert said.returncode == 1
    assert "Traceback" not in said.stderr and "in use" in said.stderr


@pytest.mark.tool
def test_a_floor_with_its_console_works_tells_its_figures_and_stops_in_good_order(tmp_path: Path) -> None:
    home, port = Home(tmp_path / "home"), free_port()
    home.platen("init")
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1")
    floor = subprocess.Popen(
        [PLATEN, "up", "--port", str(port)], env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 3)

            def told() -> dict[tuple[str, ...], float]:
                try:
                    return scraped(client)
                except httpx.TransportError:
                    return {}

            wait_until(lambda: told().get(("platen_pages_billed_total",)) == 3)
            # what was measured comes with the worker's heartbeat
            wait_until(lambda: told().get(("platen_stage_seconds_count", "ocr")) == 3, seconds=20)
            now = told()
        stages = {name[1] for name in now if name[0] == "platen_stage_seconds_count"}
        assert {"read", "orient", "deskew", "binarize", "write", "ocr"} <= stages
        assert now["platen_dispatch_seconds_count",] > 0
        assert now["platen_workers_alive",] == 1
        assert now["platen_ledger_invariant_violations",] == 0
        assert now["platen_watch_last_scan_timestamp_seconds",] > 1e9
    finally:
        floor.send_signal(signal.SIGTERM)
        code = floor.wait(timeout=40)
    assert code == 0


def test_the_console_alone_serves_and_stops_when_told(tmp_path: Path) -> None:
    home, port = Home(tmp_path / "home"), free_port()
    home.platen("init")
    console = subprocess.Popen(
        [PLATEN, "console", "--port", str(port)],
        env=home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:

        def healthy() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(healthy, seconds=60)
    finally:
        console.send_signal(signal.SIGTERM)
        _, said = console.communicate(timeout=40)
    assert console.returncode == 0
    assert b"Traceback" not in said


def test_the_ledger_of_a_finished_task_is_asked_without_waiting_for_its_writer(bureau: Bureau) -> None:
    """A scrape reads beside a transaction that is open: neither waits for the other."""
    ledger = bureau.ledger
    receive(ledger, open_order(ledger), 1)
    [(_, task_id, attempt)] = ledger.dispatch("w", 1)
    task = ledger.claim(task_id, attempt, "w")
    assert task is not None
    beside = Ledger(bureau.settings.ledger_url)
    with beside.write(), served(bureau) as client:
        assert scraped(client)["platen_tasks", "PREPARE_PAGE", "running"] == 1
    beside.close()
    finish(ledger, task)


def test_every_figure_is_explained_to_operators_and_no_other(bureau: Bureau) -> None:
    with served(bureau) as client:
        families = {f.name for f in text_string_to_metric_families(client.get("/metrics").text)}
    rows = re.findall(r"^\| ((?:`[a-z_{},]+` ?)+) \|", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([a-z_]+)", row)}
    assert {f"platen_{name.removesuffix('_total')}" for name in explained} == families
