"""What is held, in a browser: who sees it, who decides what, and what the records say of it afterwards."""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pikepdf
import pytest
from PIL import Image

from console.hold_words import hold_words
from console.signing_in import SESSION_COOKIE
from fixtures.pages import letter
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger import AWAITING_RESCAN, HeldNoLonger
from pipeline.model import Exclusion, Hold, Priority, ReceivedPage, Role, Service, Sha256, TaskKind, WorkOrder
from pipeline.review import RELEASABLE, Decision, decide
from pipeline.settings import Settings
from stages.errors import SkewTooLarge
from tests.console.served import served

HOSTILE = '<script>alert("1")</script>\u202e\x1b[31m.tif'
CODE = SkewTooLarge.code


@pytest.fixture
def bureau(tmp_path: Path) -> Iterator[Bureau]:
    made = Bureau.init(Settings(home=tmp_path / "home"))
    yield made
    made.close()


def held_pages(
    bureau: Bureau, names: list[str], *, code: str = CODE, source: Sha256 | None = None
) -> tuple[WorkOrder, list[Hold]]:
    """An order of so many pages, all held."""
    ledger = bureau.ledger
    order = ledger.open_order(
        customer="DPHHS",
        profile=bureau.profiles["records-bitonal"],
        services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL,
        year=2026,
        who="test",
    )
    delivery_id, task_id = ledger.announce_delivery(
        source=f"/nowhere/{order.number}", name="box", order_number=order.number, moves=False, who="test"
    )
    task = ledger.claim_at_once(task_id, "w")
    assert task is not None
    pages = [
        ReceivedPage(file=name, index_in_file=0, pages_in_file=1, source=source or Sha256("0" * 64)) for name in names
    ]
    ledger.record_received(task, order.id, ledger.delivery(delivery_id), order.number, pages, who="test")
    for _, page_task, attempt in ledger.dispatch("w", len(names), {TaskKind.PREPARE_PAGE}):
        claimed = ledger.claim(page_task, attempt, "w")
        assert claimed is not None
        ledger.hold(claimed, code, "The page is turned by 9.5°.", who="w")
    return order, [hold for hold in ledger.holds() if hold.order == order.number]


def signed_in(client: httpx.Client, bureau: Bureau, role: Role) -> str:
    """Open a session as sign-in does (its own tests do that); gives the token that this session's forms bear."""
    users = {user.name: user for user in bureau.ledger.users()}
    name, token, form_token = f"a-{role}", secrets.token_urlsafe(), secrets.token_urlsafe()
    user = users.get(name) or bureau.ledger.add_user(
        name, "no password", role, customer="DPHHS" if role is Role.AGENCY else None, must_change=False, who="test"
    )
    bureau.ledger.open_session(user, people.token_digest(token), form_token, address="")
    client.cookies.clear()
    client.cookies.set(SESSION_COOKIE, token)
    return form_token


def said(client: httpx.Client, token: str, decision: str, holds: list[Hold], why: str = "seen") -> httpx.Response:
    ids = [str(hold.id) for hold in holds]
    return client.post("/held", data={"form_token": token, "code": CODE, "decision": decision, "ids": ids, "why": why})


def test_what_is_held_is_told_by_code_and_order_with_what_to_do(bureau: Bureau) -> None:
    one, _ = held_pages(bureau, ["1.tif", "2.tif"])
    other, _ = held_pages(bureau, ["3.tif"])
    held_pages(bureau, ["4.tif"], code="unreadable")
    with served(bureau) as client:
        signed_in(client, bureau, Role.SUPERVISOR)
        groups = client.get("/held").text
        assert groups.index(CODE) < groups.index("unreadable"), "the longest wait first"
        assert "Mostly a sheet that was drawn in askew" in groups
        assert re.search(rf"{one.number}</a></th><td class=\"n\">2</td>", groups)
        assert re.search(rf"{other.number}</a></th><td class=\"n\">1</td>", groups)
        of_order = client.get("/held", params={"code": CODE, "order": one.number}).text
        assert "1.tif" in of_order and "2.tif" in of_order and "The page is turned by 9.5°." in of_order
        assert "3.tif" not in of_order and "4.tif" not in of_order
        assert "Nothing more is held" in client.get("/held", params={"code": "no-such-code"}).text


def test_every_code_of_the_documentation_has_its_words() -> None:
    words = hold_words()
    assert set(words) >= RELEASABLE
    assert not any("`" in text or "](" in text for one in words.values() for text in (one.meaning, one.to_do))


@pytest.mark.parametrize("role", Role)
def test_each_role_sees_and_decides_what_is_its_own(bureau: Bureau, role: Role) -> None:
    _, holds = held_pages(bureau, [f"{number}.tif" for number in range(len(Decision))])
    sees = role in {Role.OPERATOR, Role.SUPERVISOR, Role.AUDITOR}
    may = {Role.OPERATOR: {"retry", "rescan"}, Role.SUPERVISOR: set(Decision)}.get(role, set())
    with served(bureau) as client:
        token = signed_in(client, bureau, role)
        assert client.get("/held").status_code == (200 if sees else 403)
        page = client.get("/held", params={"code": CODE})
        assert page.status_code == (200 if sees else 403)
        assert set(re.findall(r'name="decision" value="(\w+)"', page.text)) == may
        assert ('type="checkbox"' in page.text) == bool(may)
        for decision, hold in zip(Decision, holds, strict=True):
            assert said(client, token, decision, [hold]).status_code == (200 if decision in may else 403)
    released = {Decision.RESCAN} & may  # it stays held, for its new scan
    assert len(bureau.ledger.holds()) == len(holds) - len(may) + len(released)


def test_nobody_decides_without_signing_in_or_with_anothers_form(bureau: Bureau) -> None:
    _, holds = held_pages(bureau, ["1.tif"])
    with served(bureau) as client:
        assert client.get("/held").headers["location"] == "/sign-in"
        assert said(client, "x", "release", holds).headers["location"] == "/sign-in"
        before = signed_in(client, bureau, Role.SUPERVISOR)
        signed_in(client, bureau, Role.SUPERVISOR)
        for token in ("x", before):
            assert said(client, token, "release", holds).status_code == 403
        assert said(client, "", "release", holds).status_code == 422
    assert bureau.ledger.holds() == holds


def test_what_stands_in_a_file_name_is_shown_and_not_obeyed(bureau: Bureau) -> None:
    held_pages(bureau, [HOSTILE])
    with served(bureau) as client:
        signed_in(client, bureau, Role.AUDITOR)
        page = client.get("/held", params={"code": CODE})
        echoed = client.get("/held", params={"code": "<script>alert(1)</script>", "order": '"><script>'[:60]})
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;" in page.text
    for told in (page.text, echoed.text):
        assert "<script" not in told
        assert all(c.isprintable() or c == "\n" for c in told)
    assert "script-src" not in page.headers["content-security-policy"], "scripts come from here alone, by default-src"


def test_many_are_decided_at_once_each_with_its_reason_in_the_history(bureau: Bureau) -> None:
    order, holds = held_pages(bureau, ["1.tif", "2.tif", "3.tif"])
    with served(bureau) as client:
        token = signed_in(client, bureau, Role.SUPERVISOR)
        answer = said(client, token, "waive", holds[:2], why="torn\x00 <b>through</b>")
        assert answer.text.count("It is done without.") == 2
    assert [hold.id for hold in bureau.ledger.holds()] == [holds[2].id]
    told = [event for event in bureau.ledger.events(order.id) if event.kind == Exclusion.WAIVED]
    assert [(event.who, event.outcome, event.detail["why"]) for event in told] == [
        ("a-supervisor", CODE, "torn  <b>through</b>")
    ] * 2


def test_the_return_key_in_the_reason_decides_nothing(bureau: Bureau) -> None:
    """In a line of text it would press the first button, which is to release."""
    held_pages(bureau, ["1.tif"])
    with served(bureau) as client:
        signed_in(client, bureau, Role.SUPERVISOR)
        form = client.get("/held", params={"code": CODE}).text.partition('action="/held"')[2]
    assert set(re.findall(r'<input [^>]*?type="(\w+)"', form)) == {"hidden", "checkbox"}
    assert '<textarea id="why"' in form


def test_nothing_is_decided_without_a_reason_or_a_mark(bureau: Bureau) -> None:
    _, holds = held_pages(bureau, ["1.tif"])
    with served(bureau) as client:
        token = signed_in(client, bureau, Role.SUPERVISOR)
        for why in ("", " \t\x00"):
            answer = said(client, token, "waive", holds, why=why)
            assert answer.status_code == 422 and "Say why" in answer.text
        answer = said(client, token, "waive", [])
        assert answer.status_code == 422 and "Mark what you decide about" in answer.text
        assert said(client, token, "burn", holds).status_code == 422
    assert bureau.ledger.holds() == holds


def test_what_somebody_else_has_decided_meanwhile_is_told_and_stays_as_it_is(bureau: Bureau) -> None:
    order, holds = held_pages(bureau, ["1.tif", "2.tif", "3.tif"])
    decide(bureau, holds[0], Decision.WAIVE, who="anna", why="torn")
    decide(bureau, holds[1], Decision.RESCAN, who="anna", why="askew")  # held on, for another reason
    with served(bureau) as client:
        token = signed_in(client, bureau, Role.SUPERVISOR)
        answer = said(client, token, "release", holds).text
    assert answer.count("Somebody has decided about this meanwhile. You changed nothing.") == 2
    assert answer.count("It goes on as it is.") == 1
    assert [(hold.id, hold.code) for hold in bureau.ledger.holds()] == [(holds[1].id, "awaiting-rescan")]
    decided = [event.kind for event in bureau.ledger.events(order.id) if event.kind == "released"]
    assert decided == ["released"]
    for late in (Decision.RELEASE, Decision.RETRY, Decision.WAIVE, Decision.RESCAN):
        with pytest.raises(HeldNoLonger):
            decide(bureau, holds[0], late, who="bert", why="as it was when bert looked")


def test_a_long_list_is_told_screen_by_screen(bureau: Bureau) -> None:
    _, holds = held_pages(bureau, [f"{number:03}.tif" for number in range(25)])
    with served(bureau) as client:
        signed_in(client, bureau, Role.OPERATOR)
        first = client.get("/held", params={"code": CODE}).text
        following = re.search(r'href="([^"]+)">Further ones', first)
        assert following is not None
        second = client.get(following[1].replace("&amp;", "&")).text
    shown = [int(number) for number in re.findall(r'name="ids" value="(\d+)"', first + second)]
    assert shown == [hold.id for hold in holds]
    assert "Further ones" not in second


def test_the_page_is_shown_as_it_was_scanned(bureau: Bureau, tmp_path: Path) -> None:
    scan, rubbish = tmp_path / "scan.tif", tmp_path / "rubbish.tif"
    drawn = Image.fromarray(letter(dpi=200).pixels)
    drawn.save(scan, dpi=(200, 200))
    rubbish.write_bytes(b"no image at all")
    _, [hold] = held_pages(bureau, ["1.tif"], source=bureau.store.put_file(scan))
    _, [broken] = held_pages(bureau, ["2.tif"], source=bureau.store.put_file(rubbish))
    with served(bureau) as client:
        signed_in(client, bureau, Role.AUDITOR)
        page = client.get("/held", params={"code": CODE}).text
        assert f'src="/pages/{hold.page_id}/scan.webp"' in page
        answer = client.get(f"/pages/{hold.page_id}/scan.webp", timeout=60)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert max(picture.size) == 1600
            assert picture.width / picture.height == pytest.approx(drawn.width / drawn.height, abs=0.01)
        among_others = client.get(f"/pages/{broken.page_id}/scan.webp", timeout=60)
        assert (among_others.status_code, among_others.headers["content-type"]) == (404, "image/svg+xml")
        assert "no picture" in among_others.text, "a plain sheet stands in for it, not the browser's broken box"
        opened = client.get(f"/pages/{broken.page_id}/scan.webp", timeout=60, headers={"Accept": "text/html,*/*;q=0.8"})
        assert (opened.status_code, opened.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert "cannot be read" in opened.text, "by itself it says why there is none"
        assert client.get("/pages/99999/scan.webp").status_code == 404


def test_the_history_of_an_order_is_given_to_those_who_may_see_it(bureau: Bureau) -> None:
    order, _ = held_pages(bureau, [HOSTILE])
    bureau.ledger.link_events()
    with served(bureau) as client:
        for role in Role:
            signed_in(client, bureau, role)
            answer = client.get(f"/orders/{order.number}/history.csv")
            assert answer.status_code == (403 if role is Role.AGENCY else 200)
            if answer.status_code == 200:
                rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
                assert [row["hash"] for row in rows] == [
                    line.hash for line in bureau.ledger.history(order.id, limit=1_000)
                ]
        signed_in(client, bureau, Role.AUDITOR)
        assert client.get("/orders/WO-none%00/history.csv").status_code == 404


@pytest.mark.parametrize("role", Role)
def test_who_may_ask_for_rescans_prints_their_sheets(bureau: Bureau, role: Role) -> None:
    picture = letter(seed=3, dpi=100.0).pixels
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "TIFF", dpi=(100, 100))
    _, holds = held_pages(bureau, ["1.tif", "2.tif"], source=bureau.store.put_bytes(file.getvalue()))
    may = role in {Role.OPERATOR, Role.SUPERVISOR}
    place = "/held/rescan-sheet?" + "&".join(f"ids={hold.id}" for hold in holds)
    with served(bureau) as client:
        token = signed_in(client, bureau, role)
        assert client.get(place).status_code == (409 if may else 403), "nobody has asked for rescans yet"
        if not may:
            return
        assert place.replace("&", "&amp;") in said(client, token, "rescan", holds).text
        answer = client.get(place)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        with pikepdf.open(io.BytesIO(answer.content)) as pdf:
            assert len(pdf.pages) == 2
        shown = client.get("/held", params={"code": AWAITING_RESCAN}).text
        assert shown.count(">Print its rescan sheet<") == 2
        assert client.get("/held/rescan-sheet?ids=-1").status_code == 422
        assert client.get("/held/rescan-sheet").status_code == 422
