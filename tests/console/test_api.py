"""The REST API: the same answers and rights as everywhere else, to whoever bears a good token and to nobody else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bagit
import httpx
import pytest
from sqlalchemy import insert, select, update

from console import answers
from console.api import CHARGED_AT_ONCE, PLACE
from console.api_door import MOST_JSON_BYTES
from pipeline import people, tokens
from pipeline.bureau import Bureau
from pipeline.document_work import BagJob, write_bag
from pipeline.ledger import tables as t
from pipeline.ledger.lookups import BATCHES_A_SCREEN, DOCUMENTS_A_SCREEN, ROLLS_A_SCREEN
from pipeline.ledger.lots import LOTS_A_SCREEN
from pipeline.model import WorkOrder
from pipeline.packaging import package_folder
from tests.conftest import ROOT
from tests.console.served import served
from tests.console.test_orders import NAMES, bureau, kinds_of
from tests.console.test_signing_in import PASSWORD, sign_in
from tests.pipeline.by_hand import open_order, receive, work_off
from tests.pipeline.test_package_files import delivered
from tests.pipeline.test_uploads import FILES, batches, opened, take_in
from tests.servers import free_port
from tests.whole.home import PLATEN, Home, wait_until

__all__ = ["bureau"]  # the fixture


@pytest.fixture
def secrets(bureau: Bureau) -> dict[str, str]:
    """A token of every user."""
    return {name: tokens.give_token(bureau, name, title="", who="test")[1] for name in NAMES}


@pytest.fixture
def client(bureau: Bureau) -> Iterator[httpx.Client]:
    with served(bureau) as asking:
        yield asking


class Api:
    """The API as one user's program asks it."""

    def __init__(self, client: httpx.Client, secret: str) -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {secret}"}

    def ask(self, method: str, place: str, **more: object) -> httpx.Response:
        headers = {**self._headers, **more.pop("headers", {})}  # type: ignore[dict-item]
        return self._client.request(method, PLACE + place, headers=headers, **more)  # type: ignore[arg-type]

    def get(self, place: str, **more: object) -> httpx.Response:
        return self.ask("GET", place, **more)

    def post(self, place: str, said: object) -> httpx.Response:
        return self.ask("POST", place, json=said)


@pytest.fixture
def api(client: httpx.Client, secrets: dict[str, str]) -> dict[str, Api]:
    return {name: Api(client, secret) for name, secret in secrets.items()}


def a_held_page(bureau: Bureau) -> WorkOrder:
    """An order of five pages by a profile of the house: four are billable, one is held."""
    order = opened(bureau)
    receive(bureau.ledger, order, 5)
    [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    task = bureau.ledger.claim(task_id, attempt, "w")
    assert task is not None
    bureau.ledger.hold(task, "unreadable", "It cannot be read <at all>.", who="w")
    work_off(bureau.ledger)
    return order


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    said = answer.json()
    assert (answer.status_code, said["code"], set(said)) == (status, code, {"code", "sentence"}), answer.text
    return len(said["sentence"]) > 5


def test_without_a_good_token_nothing_is_answered_whatever_cookies_say(
    bureau: Bureau, client: httpx.Client, secrets: dict[str, str]
) -> None:
    sign_in(client, "keller", PASSWORD)
    assert client.get("/orders").status_code == 200, "signed in on the screens"
    for authorization in (None, "Bearer", "Bearer wrong", f"Basic {secrets['keller']}", secrets["keller"]):
        headers = {} if authorization is None else {"authorization": authorization}
        for method, place in (("GET", "/status"), ("GET", "/me"), ("POST", "/orders"), ("PUT", "/uploads/x/files/1")):
            answer = client.request(method, PLACE + place, headers=headers, json={"why": "x"})
            assert is_problem(answer, 401, "token-refused"), (authorization, place)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert bureau.ledger.orders() == []
    bureau.ledger.disable_user("keller", who="test")
    assert is_problem(Api(client, secrets["keller"]).get("/me"), 401, "token-refused")


def test_a_machine_that_tries_many_tokens_is_told_to_wait(client: httpx.Client, api: dict[str, Api]) -> None:
    for _ in range(people.MOST_FAILURES_OF_ADDRESS):
        assert Api(client, "wrong").get("/status").status_code == 401
    assert is_problem(Api(client, "wrong").get("/status"), 429, "too-many-wrong-tokens")
    assert api["keller"].get("/status").status_code == 200


def test_each_role_has_the_rights_that_it_has_on_the_screens(bureau: Bureau, api: dict[str, Api]) -> None:
    order = a_held_page(bureau)
    [hold] = bureau.ledger.holds()
    everybody = set(NAMES)
    allowed = {
        ("GET", "/me"): everybody,
        ("GET", "/orders"): everybody,
        ("GET", f"/orders/{order.number}"): everybody - {"stranger"},
        ("GET", f"/orders/{order.number}/batches"): everybody - {"stranger"},
        ("GET", "/status"): everybody - {"agency", "stranger"},
        ("GET", "/held"): {"keller", "lee", "audit"},
        ("GET", f"/held/{hold.id}"): {"keller", "lee", "audit"},
        ("GET", f"/orders/{order.number}/history"): {"keller", "lee", "audit", "bill"},
    }
    changes = {
        (f"/orders/{order.number}/uploads", '{"name": "b", "files": []}'): {"keller", "lee"},
        (f"/orders/{order.number}/close", "{}"): {"keller"},
        (f"/orders/{order.number}/reopen", "{}"): {"keller"},
        ("/orders", "{}"): {"keller"},
    }
    for (method, place), names in allowed.items():
        answers_ = {name: api[name].ask(method, place).status_code for name in NAMES}
        assert {name for name, status in answers_.items() if status == 200} == names, place
        assert set(answers_.values()) <= {200, 403, 404}
    for (place, body), names in changes.items():
        # what is missing in the body is told only to those who may
        statuses = {name: api[name].ask("POST", place, content=body).status_code for name in NAMES}
        assert {name for name, status in statuses.items() if status == 422} == names, place
    for name, decision in (("audit", "retry"), ("lee", "release"), ("lee", "waive")):
        said = {"decision": decision, "code": hold.code, "why": "letter"}
        assert is_problem(api[name].post(f"/held/{hold.id}/decision", said), 403, "not-allowed")


def test_the_answers_are_those_of_the_command(bureau: Bureau, api: dict[str, Api]) -> None:
    order = a_held_page(bureau)
    bureau.ledger.link_events()
    report = bureau.ledger.order_report(order.number)
    assert report is not None
    keller = api["keller"]
    shown = keller.get(f"/orders/{order.number}").json()
    assert set(shown.pop("next").values()) == {None}, "everything of it is there"
    assert shown == json.loads(json.dumps(answers.order_answer(bureau, report)))
    assert keller.get("/orders").json() == {"items": [answers.order_line(report.order)], "next": None}
    assert keller.get("/held").json()["items"] == [answers.hold_line(hold) for hold in bureau.ledger.holds()]
    [hold] = bureau.ledger.holds()
    held = keller.get(f"/held/{hold.id}").json()
    assert held == {**answers.hold_answer(bureau, hold), "decisions": ["rescan", "retry", "waive"]}
    lines = bureau.ledger.history(order.id, limit=1_000)
    assert keller.get(f"/orders/{order.number}/history").json()["items"] == [answers.history_line(one) for one in lines]
    status, floor = keller.get("/status").json(), answers.floor_answer(bureau.ledger.floor())
    assert (status["kinds"], [one["number"] for one in status["orders"]]) == (floor["kinds"], [order.number])
    [batch] = keller.get(f"/orders/{order.number}/batches").json()["items"]
    assert batch["pages"] == report.batches[0][1].as_json() and batch["digest"] == report.batches[0][0].digest
    pages = keller.get(f"/orders/{order.number}/batches/{batch['id']}/pages").json()["items"]
    assert [(page["page_number"], page["state"]) for page in pages] == [
        (1, "held"), *((number, "billable") for number in range(2, 6))
    ]  # fmt: skip
    page = keller.get(f"/pages/{pages[0]['id']}").json()
    known = answers.page_answer(bureau, bureau.ledger.page(pages[0]["id"]))
    assert {name: page[name] for name in known} == known
    assert (page["held_as"], page["sentence"]) == (hold.id, "It cannot be read <at all>.")
    assert api["agency"].get(f"/pages/{pages[0]['id']}").json()["scan"] is None, "where files lie is the house's own"


def test_an_order_is_opened_closed_and_reopened_with_name_and_reason(bureau: Bureau, api: dict[str, Api]) -> None:
    keller = api["keller"]
    new = {"customer": "DPHHS", "profile": "records-bitonal", "number": "WO-9", "due": "2026-12-31", "why": "letter 1"}
    opened = keller.post("/orders", new)
    assert (opened.status_code, opened.json()["due"], opened.json()["services"]) == (201, "2026-12-31", ["imaging"])
    assert is_problem(keller.post("/orders", new), 409, "order-not-open"), "asked twice, it is opened once"
    assert is_problem(keller.post("/orders/WO-9/close", {"why": "done"}), 409, "order-not-open")
    for wrong in (
        {"profile": "none"},
        {"due": "2026-02-30"},
        {"why": "  "},
        {"title": "a\0b"},
        {"pages": 3},
        {"expect_pages": "3"},
        {"customer": "a b"},
    ):
        code = "bad-request" if wrong.keys() & {"pages", "expect_pages", "customer"} else "bad-order"
        assert is_problem(keller.post("/orders", {**new, "number": "WO-10", **wrong}), 422, code), wrong
    order = bureau.ledger.order("WO-9")
    assert order is not None
    receive(bureau.ledger, order, 1)
    assert keller.post("/orders/WO-9/close", {"why": "all in"}).json()["status"] == "closed"
    assert keller.post("/orders/WO-9/reopen", {"why": "one more box"}).json()["status"] == "open"
    kinds = [one for one in kinds_of(bureau, order) if one[1] == "keller"]
    assert kinds == [
        ("opened", "keller", "letter 1"),
        ("closed", "keller", "all in"),
        ("reopened", "keller", "one more box"),
    ]


def test_a_decision_is_made_once_about_what_was_looked_at(bureau: Bureau, api: dict[str, Api]) -> None:
    order = a_held_page(bureau)
    [hold] = bureau.ledger.holds()
    place, said = f"/held/{hold.id}/decision", {"decision": "waive", "code": hold.code, "why": "torn"}
    assert is_problem(api["keller"].post(place, {**said, "code": "illegible"}), 409, "held-no-longer")
    assert is_problem(api["keller"].post(place, {**said, "decision": "release"}), 409, "cannot-decide")
    assert is_problem(api["keller"].post(place, {**said, "why": " "}), 422, "bad-order")
    assert api["keller"].post(place, said).json() == {"id": hold.id, "outcome": "It is done without."}
    assert is_problem(api["keller"].post(place, said), 409, "cannot-decide")
    assert bureau.ledger.order_counts(order.id).held == 0


def test_lists_come_whole_in_pieces(bureau: Bureau, api: dict[str, Api]) -> None:
    for number in range(120):
        open_order(bureau.ledger, number=f"X-{number:03}")
    found: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        piece = api["audit"].get("/orders", params={"cursor": cursor}).json()
        found += [one["number"] for one in piece["items"]]
        cursor = piece["next"]
    assert found == [f"X-{number:03}" for number in reversed(range(120))]
    assert [one["number"] for one in api["audit"].get("/orders?search=x-11").json()["items"]][-1] == "X-110"
    assert api["stranger"].get("/orders").json()["items"] == []


def test_an_order_answers_in_bounded_size_and_each_of_its_lists_comes_whole_in_pieces(
    bureau: Bureau, api: dict[str, Api]
) -> None:
    order = opened(bureau)
    for number in range(BATCHES_A_SCREEN + 3):
        receive(bureau.ledger, order, 1, name=f"box-{number}")
    work_off(bureau.ledger)
    with bureau.ledger.write() as c:
        some = c.execute(select(t.documents)).mappings().first()
        assert some is not None
        many = range(DOCUMENTS_A_SCREEN)
        c.execute(insert(t.documents), [{**some, "id": 1_000 + one, "sequence": 2 + one} for one in many])
        roll = {"order_id": order.id, "round": 1, "frames": 9, "page_frames": 7, "plan": "{}", "written": True}
        c.execute(insert(t.rolls), [{**roll, "number": f"R{one:06}"} for one in range(2 * ROLLS_A_SCREEN + 1)])
        charge = {"order_id": order.id, "fee_code": "PAGE", "title": "Pages", "quantity": "1", "unit_price_e4": 850}
        deliveries = range(1, CHARGED_AT_ONCE + 2)
        c.execute(
            insert(t.charges),
            [{**charge, "amount_e4": 900, "at_ms": 0, "subject": one, "delivery": one} for one in deliveries],
        )
        c.execute(update(t.orders).values(deliveries=deliveries[-1]))
    report = bureau.ledger.order_report(order.number)
    assert report is not None
    whole = json.loads(json.dumps(answers.order_answer(bureau, report)))
    shown = api["keller"].get(f"/orders/{order.number}").json()
    assert shown["pages"] == whole["pages"]
    at_once = {
        "batches": BATCHES_A_SCREEN, "documents": DOCUMENTS_A_SCREEN, "rolls": ROLLS_A_SCREEN, "quality": LOTS_A_SCREEN,
        "charges": CHARGED_AT_ONCE,
    }  # fmt: skip
    for name, most in at_once.items():
        lines, cursor = shown[name], shown["next"][name]
        assert len(lines) == min(most, len(whole[name])), name
        while cursor is not None:
            piece = api["keller"].get(f"/orders/{order.number}/{name}", params={"cursor": cursor}).json()
            assert len(piece["items"]) <= most
            lines, cursor = lines + piece["items"], piece["next"]
        assert sorted(lines, key=str) == sorted(whole[name], key=str), (
            f"{name}: nothing is missing, nothing comes twice"
        )


def test_a_package_is_fetched_file_by_file_and_is_a_sound_bag(
    bureau: Bureau, api: dict[str, Api], tmp_path: Path
) -> None:
    order, _ = delivered(bureau)
    place = f"/orders/{order.number}/packages/1"
    listed = api["agency"].get(place).json()
    assert (listed["order"], listed["delivery"], listed["next"]) == (order.number, 1, None)
    for file in listed["items"]:
        answer = api["agency"].get(f"{place}/files/{file['name']}")
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert (len(answer.content), answer.headers["etag"]) == (file["bytes"], f'"{file["sha256"]}"')
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        target = tmp_path / "bag" / file["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(answer.content)
    assert bagit.Bag(str(tmp_path / "bag")).validate()
    pdf = f"{place}/files/data/pdf/one.pdf"
    whole = api["agency"].get(pdf)
    assert whole.headers["content-type"] == "application/pdf"
    part = api["agency"].get(pdf, headers={"range": "bytes=1-3", "if-range": whole.headers["etag"]})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, whole.content[1:4], "bytes 1-3/6")
    assert api["agency"].get(pdf, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert api["agency"].get(pdf, headers={"range": "bytes=9-"}).status_code == 416


def test_what_is_another_customers_is_not_there(bureau: Bureau, api: dict[str, Api]) -> None:
    order, folder = delivered(bureau, opened(bureau))
    [batch] = bureau.ledger.batches_of(order.id)
    base = f"/orders/{order.number}"
    for place in (
        base, *(f"{base}/{one}" for one in ("batches", "documents", "rolls", "quality", "charges")),
        f"{base}/batches/{batch.id}", f"{base}/batches/{batch.id}/pages",
        f"{base}/packages/1", f"{base}/packages/1/files/data/pdf/one.pdf", f"{base}/packages/1/files/bagit.txt",
    ):  # fmt: skip
        assert api["agency"].get(place).status_code == 200, place
        there, not_there = api["stranger"].get(place), api["stranger"].get(place.replace(order.number, "WO-0"))
        assert is_problem(there, 404, "not-there")
        assert (there.status_code, there.text) == (not_there.status_code, not_there.text), "neither is told"
    a_page = f"/pages/{bureau.ledger.pages_of_batch(batch.id)[0].id}"
    assert api["stranger"].get(a_page).text == api["stranger"].get("/pages/999").text
    for place in ("packages/2", "packages/1/files/data/not.pdf", "packages/1/files/..%2f..%2fledger.db", "packages/0"):
        assert api["agency"].get(f"{base}/{place}").status_code in (404, 422), place
    (folder / "data" / "pdf" / "one.pdf").write_bytes(b"%PDF-X")
    assert is_problem(api["agency"].get(f"{base}/packages/1/files/data/pdf/one.pdf"), 500, "package-damaged")


def test_an_agency_sees_no_package_before_it_has_gone_out(bureau: Bureau, api: dict[str, Api]) -> None:
    order = open_order(bureau.ledger)
    folder = package_folder(bureau, order, 1)
    folder.mkdir(parents=True)
    write_bag(BagJob(folder=folder, files=frozenset(), texts=(("a.txt", b"x"),), info={}))
    assert is_problem(api["agency"].get(f"/orders/{order.number}/packages/1"), 404, "not-there")


def said_files(files: dict[str, bytes]) -> list[dict[str, object]]:
    return [
        {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    ]


def started(api: Api, number: str, files: dict[str, bytes], name: str = "box-1") -> str:
    answer = api.post(f"/orders/{number}/uploads", {"name": name, "files": said_files(files)})
    assert answer.status_code == 201, answer.text
    return f"/uploads/{answer.json()['id']}"


def test_a_batch_is_uploaded_interrupted_resumed_and_taken_in_once(
    bureau: Bureau, client: httpx.Client, api: dict[str, Api], secrets: dict[str, str]
) -> None:
    order = open_order(bureau.ledger)
    lee, data = api["lee"], b"0123456789" * 300_000
    place = started(lee, order.number, {"scan.pdf": data, **FILES})
    # a sender that is cut off in the middle: it has promised everything and sends a third
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
        head = (
            f"PUT {PLACE}{place}/files/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secrets['lee']}\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        line.sendall(head.encode() + data[:1_000_000])
    here = 0

    def came() -> bool:
        nonlocal here
        here = lee.get(place).json()["files"][0]["received"]
        return here == 1_000_000

    wait_until(came, seconds=20)
    assert is_problem(lee.ask("PUT", f"{place}/files/1?offset=0", content=data[:9]), 409, "other-offset")
    assert lee.ask("PUT", f"{place}/files/1", content=data[:9]).headers["upload-offset"] == "1000000"
    assert is_problem(lee.ask("POST", f"{place}/complete"), 409, "not-whole")
    rest = lee.ask("PUT", f"{place}/files/1?offset={here}", content=data[here:])
    assert rest.json() == {"received": len(data), "verified": True}
    for number, content in enumerate(FILES.values(), start=2):
        assert lee.ask("PUT", f"{place}/files/{number}", content=content).json()["verified"]
    digest = lee.get(place).json()["digest"]
    assert [lee.ask("POST", f"{place}/complete").json()["state"] for _ in range(2)] == ["completed"] * 2
    assert is_problem(lee.ask("DELETE", place), 409, "upload-over")
    take_in(bureau)
    received = lee.get(place).json()
    assert (received["state"], received["digest"]) == ("received", digest)
    assert batches(bureau, order.number) == [("box-1", digest)]
    assert ("seen", "lee", None) in kinds_of(bureau, order), "history says who sent it"


def test_what_is_not_as_it_was_said_is_refused(bureau: Bureau, api: dict[str, Api]) -> None:
    order = open_order(bureau.ledger)
    lee = api["lee"]
    place = started(lee, order.number, {"a.pdf": b"right"})
    assert is_problem(lee.ask("PUT", f"{place}/files/1", content=b"wrong"), 422, "other-digest")
    assert is_problem(lee.ask("PUT", f"{place}/files/1", content=b"right and more"), 413, "larger-than-said")
    unsized = lee.ask("PUT", f"{place}/files/1", content=iter([b"rig", b"ht and more"]))
    assert is_problem(unsized, 413, "larger-than-said")
    assert lee.get(place).json()["files"][0]["received"] == 0
    assert is_problem(lee.ask("PUT", f"{place}/files/2", content=b""), 404, "no-such-upload")
    assert lee.ask("DELETE", place).status_code == 204
    assert is_problem(lee.get(place), 404, "no-such-upload")
    for name in ("../a.pdf", "/a.pdf", ".a", "a\\b"):
        body = {"name": "box", "files": said_files({name: b"x"})}
        assert is_problem(lee.post(f"/orders/{order.number}/uploads", body), 422, "bad-upload"), name
    assert is_problem(lee.post("/orders/WO-0/uploads", {"name": "b", "files": said_files(FILES)}), 404, "not-there")


def test_a_request_that_is_too_large_to_be_anything_is_not_read(client: httpx.Client, api: dict[str, Api]) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range((MOST_JSON_BYTES >> 20) + 2):
            yield b" " * (1 << 20)

    answer = api["keller"].ask("POST", "/orders", content=endless(), headers={"content-type": "application/json"})
    assert is_problem(answer, 413, "bad-request")


def test_a_full_disk_is_told_as_such(bureau: Bureau, api: dict[str, Api]) -> None:
    order = open_order(bureau.ledger)
    place = started(api["lee"], order.number, {"a.pdf": b"right"})
    object.__setattr__(bureau, "settings", bureau.settings.model_copy(update={"min_free_mb": 1 << 40}))
    assert is_problem(api["lee"].ask("PUT", f"{place}/files/1", content=b"right"), 507, "no-room")


def test_what_is_not_there_is_told_in_the_shape_of_every_refusal(client: httpx.Client, api: dict[str, Api]) -> None:
    for place in ("/nothing", "/orders/a%0A/batches", "/orders/a%0A"):
        assert is_problem(api["keller"].get(place), 404, "not-there")
    assert is_problem(api["keller"].ask("PATCH", "/orders"), 405, "no-such-method")
    assert is_problem(api["keller"].get(f"/pages/{1 << 70}"), 422, "bad-request")
    assert is_problem(api["keller"].ask("POST", "/orders", content=b"{"), 422, "bad-request")
    document = client.get(f"{PLACE}/openapi.json").json()
    assert document["servers"] == [{"url": PLACE}]
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["security"] and operation["description"]


@pytest.mark.tool
def test_the_commands_of_the_manual_do_what_it_says(
    bureau: Bureau, client: httpx.Client, secrets: dict[str, str], tmp_path: Path
) -> None:
    delivered(bureau, opened(bureau, "WO-2026-0001"))
    manual = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.*?)^```", manual, re.MULTILINE | re.DOTALL)
    assert len(commands) == 4
    environment = {**os.environ, "API": str(client.base_url).rstrip("/") + PLACE, "TOKEN": secrets["keller"]}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(commands)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bagit.txt").read_text().startswith("BagIt-Version")
    take_in(bureau)
    [(name, _)] = batches(bureau, "WO-77")
    assert name == "box-1"


@contextmanager
def console_of(home: Home) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """`platen console` as a process of its own, which the block may kill."""
    port = free_port()
    process = subprocess.Popen(
        [PLATEN, "console", "--port", str(port)], env=home.environment, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            def serves() -> bool:
                try:
                    return client.get("/healthz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(serves, seconds=60)
            yield client, process
    finally:
        process.kill()
        process.wait()


def test_an_upload_outlives_consoles_that_are_killed_in_the_middle_and_after_completing(
    bureau: Bureau, secrets: dict[str, str]
) -> None:
    home, data = Home(bureau.settings.home), b"not a scan" * 300_000
    opened(bureau)
    with console_of(home) as (client, process):
        place = started(Api(client, secrets["lee"]), "WO-1", {"scan.pdf": data})

        def cut_off() -> Iterator[bytes]:
            yield data[: 2 << 20]
            parts = home.folder / "inbox" / ".uploads"
            wait_until(lambda: [part for part in parts.glob("*/parts/1") if part.stat().st_size], seconds=20)
            process.kill()
            yield data[2 << 20 :]

        with pytest.raises(httpx.TransportError):
            Api(client, secrets["lee"]).ask("PUT", f"{place}/files/1", content=cut_off())
    with console_of(home) as (client, process):
        lee = Api(client, secrets["lee"])
        here = lee.get(place).json()["files"][0]["received"]
        assert 0 < here < len(data)
        assert lee.ask("PUT", f"{place}/files/1?offset={here}", content=data[here:]).json()["verified"]
        digest = lee.ask("POST", f"{place}/complete").json()["digest"]
        process.kill()
    take_in(bureau)
    with served(bureau) as client:
        again = Api(client, secrets["lee"]).ask("POST", f"{place}/complete").json()
    assert (again["state"], again["digest"]) == ("received", digest)
    assert take_in(bureau) == 0 and batches(bureau) == [("box-1", digest)]
