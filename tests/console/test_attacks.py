"""What attackers try: each is done here against the served console, and fails.

Another agency's package by its address stands in `test_packages.py`; answers of a lying provider in
`test_single_sign_on.py`.
"""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from playwright.sync_api import Page as Screen
from sqlalchemy import text

from console.signing_in import SESSION_COOKIE
from console.web import create_app
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.document_work import BagJob, write_bag
from pipeline.model import BatchId, PlannedDocument, ReceivedPage, Role, TaskKind, WorkOrder
from pipeline.packaging import document_file_name, package_folder
from stages.page_image import Box, Line, TextLayer, Word
from tests.browser import chromium
from tests.console.served import served
from tests.console.test_alarms_page import dirty
from tests.console.test_orders import NAMES, bureau
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.pipeline.by_hand import CHARGE, finish, open_order

__all__ = ["bureau"]  # the fixture
# shown to whoever asks: the way in, and what has a key of its own
OPEN_TO_ALL = ("/sign-in", "/links/", "/healthz", "/metrics")
TOO_MANY = "Too many wrong passwords"
# breaks out of an attribute, out of text and out of a script; no slash, for it is a file's name too
SCRIPT = "\"'><img src=x onerror=window.hacked=1><svg onload=alert(1)>{{7*7}}"


def paths(bureau: Bureau, verb: str) -> dict[str, dict[str, Any]]:
    """Every address of the console that takes this verb, with what it takes."""
    told = create_app(bureau).openapi()
    return {path: verbs[verb] for path, verbs in told["paths"].items() if verb in verbs}


def filled(path: str) -> str:
    """An address with something in every place of it; API paths among them."""
    known = {"number": "WO-2026-0001", "change": "close", "delivery": "1", "kind": "page", "name": "bagit.txt"}
    asked = {"/held/rescan-sheet": "?ids=1"}.get(path, "")
    return re.sub(r"\{([a-z_]+)(:[a-z]+)?\}", lambda found: known.get(found[1], "1"), path) + asked


def events(bureau: Bureau) -> int:
    with bureau.ledger.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM events")).scalar_one())


def test_no_form_of_any_screen_is_obeyed_without_the_token_of_this_session(bureau: Bureau) -> None:
    delivered(bureau)
    found = paths(bureau, "post")
    assert len(found) >= 8
    schemas = create_app(bureau).openapi()["components"]["schemas"]
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        mine = form_token(client.get("/orders").text)
        with httpx.Client(base_url=client.base_url, trust_env=False) as other:
            sign_in(other, "lee", PASSWORD)
            of_another = form_token(other.get("/orders").text)
        before = events(bureau)
        for path, taken in found.items():
            body = taken.get("requestBody", {}).get("content", {}).get("application/x-www-form-urlencoded")
            fields: dict[str, Any] = {}
            if body is not None:
                schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
                assert "form_token" in schema["required"], f"{path} takes a form without a token"
                fields = {name: "1" for name in schema["properties"]} | {"decision": "waive", "why": "x"}
            forged = [{"form_token": value} for value in ("", "made up", of_another)]
            for fields_now in ({"form_token": None}, *forged):
                sent = {name: value for name, value in (fields | fields_now).items() if value is not None}
                scans = {"files": ("1.tif", b"II*")} if path.endswith("/drop") else None
                answer = client.post(filled(path), data=sent, files=scans)
                assert answer.status_code in (401, 403, 422), f"{path} with {fields_now}"
        assert events(bureau) == before, "nothing was done and nothing was tried"
        assert client.get("/orders").status_code == 200
        assert form_token(client.get("/orders").text) == mine


def test_nothing_is_shown_to_who_is_not_signed_in_or_is_no_longer(bureau: Bureau) -> None:
    delivered(bureau)
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        token = client.cookies[SESSION_COOKIE]
        client.post("/sign-out", data={"form_token": form_token(client.get("/orders").text)})
        client.cookies.clear()
        for path in paths(bureau, "get"):
            if not path.startswith(OPEN_TO_ALL):
                for cookie in ({}, {"Cookie": f"{SESSION_COOKIE}={token}"}, {"Cookie": f"{SESSION_COOKIE}="}):
                    answer = client.get(filled(path), headers=cookie)
                    assert answer.status_code == 401 or answer.headers.get("location") == "/sign-in", path


def test_a_thousand_wrong_passwords_cost_little_and_lock_nobody_out_elsewhere(bureau: Bureau) -> None:
    with served(bureau) as client:
        page = client.get("/sign-in")
        form = {"form_token": form_token(page.text), "name": "keller"}
        cookie = {"Cookie": f"platen_form={form['form_token']}"}
        client.cookies.clear()
        said = []
        for number in range(1_000):
            answer = client.post("/sign-in", data=form | {"password": f"guess {number}"}, headers=cookie)
            assert answer.status_code == 403
            said.append(TOO_MANY in answer.text)
            client.cookies.clear()
        most = people.MOST_FAILURES_THERE
        assert said == [False] * most + [True] * (1_000 - most), "those after the first few are not even looked at"
        assert client.post("/sign-in", data=form | {"password": PASSWORD}, headers=cookie).status_code == 403
        with bureau.ledger.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM failed_sign_ins")).scalar_one() == most
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=client.base_url, transport=elsewhere, trust_env=False) as other:
            assert sign_in(other, "keller", PASSWORD).status_code == 303
        with bureau.ledger.write() as connection:
            connection.execute(text("UPDATE failed_sign_ins SET at_ms = at_ms - 15 * 60000"))
        assert sign_in(client, "keller", PASSWORD).status_code == 303


def test_nobody_is_shown_a_link_that_is_not_for_them(bureau: Bureau) -> None:
    delivered(bureau)
    dirty(bureau, 2)
    with served(bureau) as client:
        for name, (role, _) in NAMES.items():
            client.cookies.clear()
            sign_in(client, name, PASSWORD)
            waiting, seen = ["/packages" if role is Role.AGENCY else "/", "/orders"], dict[str, int]()
            while waiting:
                place = waiting.pop()
                if place in seen or ".webp" in place:  # there are no pictures in this bureau
                    continue
                answer = client.get(place)
                seen[place] = answer.status_code
                if answer.headers.get("content-type", "").startswith("text/html"):
                    links = re.findall(r'href="(/[^"]*)"', answer.text)
                    waiting += [html.unescape(one).partition("#")[0] for one in links]
            assert {place: status for place, status in seen.items() if status >= 400} == {}, name
            assert len(seen) > 5


def delivered(bureau: Bureau, *, word: str = "deeds", scan: bytes = b"x") -> WorkOrder:
    """An order whose every text from outside is `word`, packaged, with a link; and another of which a page is held."""
    ledger = bureau.ledger
    held = _received(bureau, word)
    [(_, task_id, attempt)] = ledger.dispatch("w", 1)
    task = ledger.claim(task_id, attempt, "w")
    assert task is not None
    ledger.hold(task, "unreadable", f"It cannot be read: {word}.", who=word)
    order = _received(bureau, word)
    box = Box(0, 0, 9, 9)
    words = (Word(text=word, box=box, confidence=0.95), Word(text=word, box=box, confidence=0.3))
    layer = TextLayer(lines=(Line(block=0, box=box, words=words),), width_px=9, height_px=9)
    read = bureau.store.put_bytes(layer.to_json())
    ledger.close_order(order.number, who=word, why=word)
    while handed := ledger.dispatch("w", 5):
        for _, task_id, attempt in handed:
            task = ledger.claim(task_id, attempt, "w")
            assert task is not None
            match task.kind:
                case TaskKind.PREPARE_PAGE:
                    kept = bureau.store.put_bytes(b"no picture")
                    readings = {word: word, "page.width_px": 9, "page.height_px": 9, "page.dpi": 300.0}
                    ledger.record_prepared(task, kept, readings, who="w", late_exclusion=None, reads_text=True)
                case TaskKind.ASSEMBLE_BATCH:
                    pages = ledger.pages_of_batch(BatchId(task.subject_id))
                    planned = PlannedDocument(title=word, pages=tuple(page.id for page in pages))
                    seen = {page.id: page.prepared for page in pages}
                    ledger.record_assembled(task, [planned], {}, seen=seen, who="w", reads_text=True)
                case TaskKind.RECOGNIZE_PAGE:
                    ledger.record_recognized(task, read, None, 0.5, {"ocr.words": 2}, who="w")
                case TaskKind.DELIVER_ORDER:
                    ledger.record_delivered(
                        task, _package(bureau, order, scan), {}, [replace(CHARGE, title=word)], who=word
                    )
                case _:
                    finish(ledger, task)
    ledger.reopen_order(held.number, who=word, why=word)
    done = ledger.order(order.number)
    assert done is not None
    ledger.make_link(done, 1, None, people.token_digest("token"), days=3, who=word, why=word)
    ledger.link_events()
    return done


def _received(bureau: Bureau, word: str) -> WorkOrder:
    ledger = bureau.ledger
    profile = bureau.profiles["records-bitonal"]
    order = open_order(ledger, customer=word, profile=profile, title=word, series=word, boxes=(word,))
    delivery_id, task_id = ledger.announce_delivery(
        source=f"{order.number}/{word}", name=word, order_number=order.number, moves=True, who=word
    )
    task = ledger.claim_at_once(task_id, "w")
    assert task is not None
    page = ReceivedPage(file=word, index_in_file=0, pages_in_file=1, source=bureau.store.put_bytes(b"no picture"))
    ledger.record_received(task, order.id, ledger.delivery(delivery_id), order.number, [page], who=word)
    ledger.finish_delivery(delivery_id, "received")
    return order


def _package(bureau: Bureau, order: WorkOrder, scan: bytes) -> str:
    folder = package_folder(bureau, order, 1)
    folder.mkdir(parents=True)
    [document] = bureau.ledger.documents_from(order.id)
    texts = tuple((name, b"x") for name in (document_file_name(document), "transmittal.pdf", "index.csv"))
    job = BagJob(
        folder=folder, files=frozenset(), texts=(*texts, ("scan.tif", scan)), info={"Work-Order": order.number}
    )
    bureau.sandbox.call("Writing the package", write_bag, job, timeout_s=60)
    return bureau.relative(folder)


def addresses_on(screen: Screen) -> set[str]:
    """Where the links of a page lead that a browser would show as a page."""
    found = screen.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
    shown = {one.partition("#")[0] for one in found}
    return {one for one in shown if not re.search(r"\.(pdf|csv|xml|zip|webp)($|\?)|/files/|/picture$", one)}


def test_script_in_any_text_from_outside_is_shown_and_never_runs(bureau: Bureau) -> None:
    order = delivered(bureau, word=SCRIPT)
    assert order.customer == SCRIPT, "the ledger keeps what came"
    with served(bureau) as client, chromium() as browser:
        # without the policy that would stop a script: what is left is that it was never let in as one
        screen = browser.new_context(base_url=str(client.base_url), bypass_csp=True).new_page()
        dialogs: list[str] = []
        screen.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        screen.route(re.compile(r"\.webp|/picture$"), lambda route: route.abort())  # there are none to see
        screen.goto("/sign-in")
        screen.fill("#name", "keller")
        screen.fill("#password", PASSWORD)
        screen.click("button")
        screen.wait_for_selector("h1")
        base = str(client.base_url).rstrip("/")
        waiting = [f"{base}{place}" for place in ("/", "/links/token", "/orders?search=" + quote(SCRIPT), "/new-order")]
        seen: dict[str, str] = {}
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            answer = screen.goto(place, wait_until="domcontentloaded")
            assert answer is not None and answer.ok, place
            seen[place] = screen.inner_text("body")
            foreign = "img[onerror], svg[onload], script:not([src^='/static/']), a[href^='javascript']"
            assert screen.locator(foreign).count() == 0, place
            assert screen.evaluate("window.hacked") is None, place
            waiting += [one for one in addresses_on(screen) if one.startswith(base)]
    assert dialogs == []
    screens = {re.sub(r"[0-9]+", "1", urlsplit(place).path) for place in seen}
    assert {
        "/", "/orders", "/held", "/packages", "/links/token", "/new-order", "/pages/1", "/orders/WO-1-1",
        "/orders/WO-1-1/history", "/orders/WO-1-1/batches/1", "/packages/WO-1-1/1",
    } <= screens  # fmt: skip
    assert sum(SCRIPT in shown for shown in seen.values()) >= 8, "as text it is on nearly all of them"
