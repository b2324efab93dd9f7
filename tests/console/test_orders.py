"""The screens of orders: what they show, to whom, and what can be changed on them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher

from console.words import against_expected, shown, standing_of
from pipeline.bureau import Bureau
from pipeline.ledger.lookups import BATCHES_A_SCREEN, ORDERS_A_SCREEN
from pipeline.model import OrderStatus, Role, WorkOrder
from pipeline.settings import Settings
from tests.console.served import served
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.pipeline.by_hand import open_order, receive, run_hint, work_off
from tests.servers import PostgreSQL

BOTH = pytest.mark.parametrize("bureau", ["sqlite", "postgresql"], indirect=True)
CHEAP_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
NAMES: dict[str, tuple[Role, str | None]] = {
    "keller": (Role.SUPERVISOR, None),
    "lee": (Role.OPERATOR, None),
    "bill": (Role.BILLING, None),
    "audit": (Role.AUDITOR, None),
    "agency": (Role.AGENCY, "DPHHS"),
    "stranger": (Role.AGENCY, "OTHER"),
}


@pytest.fixture
def bureau(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bureau]:
    url = ""
    if getattr(request, "param", "sqlite") == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.ledger_database()
    made = Bureau.init(Settings(home=tmp_path / "home", database_url=url))
    for name, (role, customer) in NAMES.items():
        made.ledger.add_user(name, CHEAP_HASH, role, customer=customer, must_change=False, who="test")
    yield made
    made.close()


def text_of(answer: httpx.Response) -> str:
    """What a reader sees, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def kinds_of(bureau: Bureau, order: WorkOrder) -> list[tuple[str, str, object]]:
    return [(event.kind, event.who, event.detail.get("why")) for event in bureau.ledger.events(order.id)]


def with_a_held_page(bureau: Bureau) -> WorkOrder:
    """An order of five pages: four are billable, one is held."""
    order = open_order(bureau.ledger, title="Deeds", expect_pages=7)
    receive(bureau.ledger, order, 5)
    [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    task = bureau.ledger.claim(task_id, attempt, "w")
    assert task is not None
    bureau.ledger.hold(task, "unreadable", "It cannot be read <at all>.", who="w")
    work_off(bureau.ledger)
    return order


@BOTH
def test_orders_are_found_by_number_customer_and_title_and_shown_with_their_pages(bureau: Bureau) -> None:
    order = with_a_held_page(bureau)
    open_order(bureau.ledger, number="LAND-7", title="Cadastre 100%")
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)

        def numbers(query: str) -> list[str]:
            return re.findall(r'<a href="/orders/([^"?]+)"', client.get(f"/orders?{query}").text)

        assert numbers("") == ["LAND-7", order.number]
        assert numbers("search=land") == numbers("search=CADASTRE") == numbers("search=100%25") == ["LAND-7"]
        assert numbers("search=deeds+dphhs") == [order.number]
        assert numbers("search=0%25_") == numbers("status=closed") == []
        assert numbers("status=open&search=%00") == ["LAND-7", order.number], "what cannot be typed is not looked for"
        assert numbers("search=%FF") == []
        assert f"{order.number} Deeds waits for 1 held page DPHHS open – 5 4 1 0" in text_of(client.get("/orders"))


def test_a_long_list_of_orders_is_read_page_by_page_and_none_is_missing(bureau: Bureau) -> None:
    opened = {open_order(bureau.ledger).number for _ in range(ORDERS_A_SCREEN + 3)}
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        seen: list[str] = []
        place: str | None = "/orders"
        while place:
            page = client.get(html.unescape(place)).text
            seen += re.findall(r'<a href="/orders/([^"?]+)"', page)
            older = re.search(r'rel="next" href="([^"]+)"', page)
            place = older and older[1]
    assert len(seen) == len(opened) and set(seen) == opened


@BOTH
def test_an_order_is_shown_with_everything_under_it(bureau: Bureau) -> None:
    order = with_a_held_page(bureau)
    other = open_order(bureau.ledger, number="FILM-1", film=True)
    receive(bureau.ledger, other, 3, name="box <7>")
    bureau.ledger.close_order(other.number, who="test")
    work_off(bureau.ledger)
    with served(bureau) as client:
        sign_in(client, "audit", PASSWORD)
        page = client.get(f"/orders/{order.number}")
        seen = text_of(page)
        assert "Received 5 Billable 4 Left out 0 Held for a person 1 In work 0" in seen
        assert "7 pages expected, 5 received: 2 pages too few." in seen
        assert re.search(r"box-1 [0-9-]+ [0-9:]+ UTC 5 4 0 1 0 parted into documents", seen)
        assert "page 1 of batch box-1 held unreadable by w It cannot be read <at all>." in seen
        assert "<at all>" not in page.text and f"order {order.number} opened by test" in seen
        filmed = text_of(client.get("/orders/FILM-1"))
        assert re.search(r"box <7> [0-9-]+ [0-9:]+ UTC 3 3 0 0 0 parted into documents", filmed)
        assert re.search(r"FILM-1-B\d{5}-D0001 all 3 2u, conforms 90%", filmed)
        assert "R000001 10 film/x" in filmed
        assert "PAGE Pages 1 0.0850 0.09 1" in filmed and "Sum 0.09" in filmed
        assert "delivered" in filmed and "outbox/x" in filmed


def test_many_batches_are_read_screen_by_screen(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    for number in range(BATCHES_A_SCREEN + 1):
        receive(bureau.ledger, order, 1, name=f"box {number:02}")
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        first = client.get(f"/orders/{order.number}").text
        further = re.search(r'rel="next" href="([^"]+#batches)"', first)
        assert further is not None
        second = client.get(html.unescape(further[1])).text
    found = [re.findall(r"/batches/\d+\">(box \d\d)<", page) for page in (first, second)]
    assert [len(names) for names in found] == [BATCHES_A_SCREEN, 1]
    assert len({*found[0], *found[1]}) == BATCHES_A_SCREEN + 1


@BOTH
def test_a_supervisor_closes_and_reopens_with_a_reason_that_is_kept(bureau: Bureau) -> None:
    order = with_a_held_page(bureau)
    place = f"/orders/{order.number}"
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        token = form_token(client.get(place).text)
        empty = client.post(f"{place}/close", data={"form_token": token, "why": "  "})
        assert empty.status_code == 409 and "Say why" in empty.text
        said = {"form_token": token, "why": "all boxes\r\nhave come"}
        assert client.post(f"{place}/close", data=said).headers["location"] == place
        assert "Reopen the order" in client.get(place).text
        assert client.post(f"{place}/reopen", data={**said, "why": "one more box"}).status_code == 303
        assert client.post(f"{place}/erase", data=said).status_code == 404
    changes = [line for line in kinds_of(bureau, order) if line[0] in ("closed", "reopened")]
    assert changes == [("closed", "keller", "all boxes have come"), ("reopened", "keller", "one more box")]


def test_an_empty_order_is_not_closed_and_the_page_says_why(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        token = form_token(client.get("/orders").text)
        answer = client.post(f"/orders/{order.number}/close", data={"form_token": token, "why": "done"})
    assert answer.status_code == 409 and "Nothing has been received" in answer.text
    assert bureau.ledger.order_by_id(order.id).status is OrderStatus.OPEN


@pytest.mark.parametrize("name", ["lee", "bill", "audit", "agency"])
def test_only_supervisors_change_orders(bureau: Bureau, name: str) -> None:
    order = open_order(bureau.ledger)
    receive(bureau.ledger, order, 1)
    with served(bureau) as client:
        sign_in(client, name, PASSWORD)
        page = client.get(f"/orders/{order.number}")
        assert page.status_code == 200 and "Close the order" not in page.text
        said = {"form_token": form_token(page.text), "why": "x", "customer": "C", "profile": "records-bitonal"}
        assert client.get("/new-order").status_code == 403
        for place in (f"/orders/{order.number}/close", "/new-order"):
            assert client.post(place, data=said).status_code == 403
    assert [kind for kind, who, _ in kinds_of(bureau, order) if who == name] == []
    assert len(bureau.ledger.orders()) == 1


def test_forms_without_the_tokens_of_this_session_change_nothing(bureau: Bureau) -> None:
    order = with_a_held_page(bureau)
    said = {"form_token": "made up", "why": "x", "customer": "C", "profile": "records-bitonal"}
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        for place in (f"/orders/{order.number}/close", "/new-order"):
            assert client.post(place, data=said).status_code == 403
    assert bureau.ledger.order_by_id(order.id).status is OrderStatus.OPEN and len(bureau.ledger.orders()) == 1


def test_an_agency_sees_its_own_orders_alone_and_not_who_of_the_house_did_what(bureau: Bureau) -> None:
    order = with_a_held_page(bureau)
    with served(bureau) as client:
        assert sign_in(client, "agency", PASSWORD).headers["location"] == "/packages"
        assert order.number in client.get("/orders").text
        page = client.get(f"/orders/{order.number}")
        assert page.status_code == 200 and "History" not in page.text and 'href="/"' not in page.text
        client.cookies.clear()
        sign_in(client, "stranger", PASSWORD)
        assert order.number not in client.get("/orders").text
        theirs, nobodys = client.get(f"/orders/{order.number}"), client.get("/orders/WO-1999-1")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.text == nobodys.text, "not even that it exists is told"


def test_an_order_is_opened_with_all_its_fields_and_its_folder(bureau: Bureau) -> None:
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        form = client.get("/new-order").text
        assert "federal-permanent" in form
        said = {
            "form_token": form_token(form), "customer": "DPHHS", "profile": "records-bitonal", "number": "WO-77",
            "title": "Births <1901>", "series": "A-7", "priority": "rush", "service": ["film", "imaging"],
            "due": "2026-12-24", "expect_pages": "0120", "boxes": "B 1\r\n\r\nB-2\r\n", "why": "letter of May 3",
        }  # fmt: skip
        assert client.post("/new-order", data=said).headers["location"] == "/orders/WO-77"
        assert client.post("/new-order", data=said).status_code == 409, "the number is taken"
        again = client.post("/new-order", data={**said, "number": "../x"})
        assert again.status_code == 409 and "Births &lt;1901&gt;" in again.text, "what was typed is not lost"
        assert "B 1\n\nB-2" in again.text
        for wrong in (
            {"customer": "a b"}, {"profile": "none"}, {"priority": "now"}, {"service": ["x"]}, {"due": "tomorrow"},
            {"expect_pages": "-1"}, {"expect_pages": "9" * 12}, {"why": ""}, {"title": "a\u202eb"}, {"boxes": "a\0b"},
        ):  # fmt: skip
            assert client.post("/new-order", data={**said, "number": "WO-78", **wrong}).status_code == 409, wrong
        page = text_of(client.get("/orders/WO-77"))
    order = bureau.ledger.order("WO-77")
    assert order is not None
    assert (order.title, order.series, order.due, order.expect_pages) == (
        "Births <1901>",
        "A-7",
        date(2026, 12, 24),
        120,
    )
    assert (order.boxes, sorted(order.services), order.priority) == (("B 1", "B-2"), ["film", "imaging"], "rush")
    assert kinds_of(bureau, order) == [("opened", "keller", "letter of May 3")]
    assert (bureau.settings.folder("inbox") / "WO-77").is_dir()
    assert [one.number for one in bureau.ledger.orders()] == ["WO-77"]
    assert "120 pages expected, 0 received: 120 pages too few." in page and "nothing received yet" in page


def test_the_ticket_of_an_order_is_a_pdf_for_who_scans(bureau: Bureau) -> None:
    order = open_order(bureau.ledger, boxes=("B-1",))
    place = f"/orders/{order.number}/ticket.pdf"
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        for box in ("", "?box=B-1"):
            answer = client.get(place + box)
            assert answer.headers["content-type"] == "application/pdf" and answer.content.startswith(b"%PDF-")
            assert f'filename="ticket-{order.number}.pdf"' in answer.headers["content-disposition"]
        assert client.get(f"{place}?box=B-2").status_code == 404
        client.cookies.clear()
        sign_in(client, "bill", PASSWORD)
        assert client.get(place).status_code == 403


def test_nothing_of_orders_is_shown_to_who_is_not_signed_in(bureau: Bureau) -> None:
    with served(bureau) as client:
        for place in ("/orders", "/new-order", "/orders/WO-1", "/orders/WO-1/ticket.pdf"):
            assert client.get(place).headers["location"] == "/sign-in"


@BOTH
def test_addresses_that_nobody_gave_are_not_there(bureau: Bureau) -> None:
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        for number in ("%00", "a%0Ab", "%FF%FE", "x" * 3000, "%E2%80%AE"):
            assert client.get(f"/orders/x{number}").status_code == 404, number
            assert client.get(f"/orders?before={number[:40]}").status_code == 404, number


def test_charges_to_come_are_worked_out_only_when_asked_for(bureau: Bureau) -> None:
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        said = {"form_token": form_token(client.get("/new-order").text), "customer": "DPHHS"}
        client.post("/new-order", data={**said, "profile": "records-bitonal", "number": "WO-9", "why": "letter"})
        opened = bureau.ledger.order("WO-9")
        assert opened is not None
        receive(bureau.ledger, opened, 3)
        work_off(bureau.ledger)
        assert "If it were delivered today" not in client.get("/orders/WO-9").text
        worked_out = text_of(client.get("/orders/WO-9?charges=now"))
    assert "If it were delivered today" in worked_out and "Sum" in worked_out


def test_signs_that_turn_or_hide_the_writing_are_made_visible() -> None:
    assert shown("a\u202eb\0c\nd\u200bé – “ok”") == "a�b�c�d�é – “ok”"


def test_the_standing_of_orders_without_work_is_said_in_words(bureau: Bureau) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def words(order: WorkOrder) -> str:
        look = bureau.ledger.order_look(order.number)
        assert look is not None
        return standing_of(look, None, now)[0]

    order, late = open_order(bureau.ledger), open_order(bureau.ledger, due=date(2026, 11, 21))
    on_the_day = open_order(bureau.ledger, due=date(2026, 11, 22))
    assert [words(one) for one in (order, late, on_the_day)] == [
        "nothing received yet",
        "overdue",
        "nothing received yet",
    ]
    receive(bureau.ledger, order, 1)
    work_off(bureau.ledger)
    assert words(order) == "waits to be closed"
    bureau.ledger.close_order(order.number, who="test")
    assert words(order) == "being finished"
    work_off(bureau.ledger)
    assert words(order) == "delivered"


def test_pages_scanned_again_do_not_count_as_too_many(bureau: Bureau) -> None:
    order = open_order(bureau.ledger, expect_pages=1)
    receive(bureau.ledger, order, 1)
    [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    task = bureau.ledger.claim(task_id, attempt, "w")
    assert task is not None
    bureau.ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    [hold] = bureau.ledger.holds()
    assert hold.page_id is not None
    bureau.ledger.replace_page(hold.page_id, "new.tif", bureau.store.put_bytes(b"x"), who="keller", why="torn")
    for _, task_id, attempt in bureau.ledger.dispatch("w", 5):
        run_hint(bureau.ledger, task_id, attempt)
    look = bureau.ledger.order_look(order.number)
    assert look is not None and look.pages.received == 2
    assert against_expected(look)[0] == "1 page expected, 1 received (not counting 1 page scanned again): as expected."
