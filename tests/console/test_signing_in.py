"""Signing in to the console: who gets in, who does not, and what the records say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from console.floor_page import floor_page, risk_of
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger import Ledger, NoSuchUser, UserExists
from pipeline.ledger.standing import Backlog
from pipeline.model import Priority, Role
from pipeline.settings import Settings
from tests.console.served import served
from tests.pipeline.by_hand import downgrade_to, open_order, receive
from tests.servers import PostgreSQL
from tests.whole.home import Home

PASSWORD = "correct horse battery"
HERE = "10.0.0.7"


BOTH = pytest.mark.parametrize("bureau", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def bureau(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bureau]:
    url = ""
    if getattr(request, "param", "sqlite") == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.ledger_database()
    made = Bureau.init(Settings(home=tmp_path / "home", database_url=url))
    people.add_user(made, "keller", PASSWORD, Role.SUPERVISOR, who="test")
    yield made
    made.close()


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def sign_in(client: httpx.Client, name: str, password: str) -> httpx.Response:
    token = form_token(client.get("/sign-in").text)
    return client.post("/sign-in", data={"form_token": token, "name": name, "password": password})


def told(bureau: Bureau) -> list[tuple[str, str, str]]:
    """What the history says of users."""
    with bureau.ledger.read() as connection:
        rows = connection.execute(
            text("SELECT subject, kind, outcome FROM events WHERE subject LIKE 'user %' ORDER BY id")
        )
        return [tuple(row) for row in rows]


def test_who_knows_the_password_sees_the_floor_until_signed_out(bureau: Bureau) -> None:
    receive(bureau.ledger, open_order(bureau.ledger), 3)
    with served(bureau) as client:
        assert client.get("/").headers["location"] == "/sign-in"
        entered = sign_in(client, "keller", PASSWORD)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = next(value for value in entered.headers.get_list("set-cookie") if value.startswith("platen_session"))
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
        page = client.get("/")
        assert page.status_code == 200
        assert "WO-2026-0001" in page.text and "keller" in page.text
        token = client.cookies["platen_session"]
        with bureau.ledger.read() as connection:
            assert token not in str(connection.execute(text("SELECT * FROM sessions")).all()), "only its digest is kept"
        left = client.post("/sign-out", data={"form_token": form_token(page.text)})
        assert left.headers["location"] == "/sign-in"
        assert client.get("/", headers={"Cookie": f"platen_session={token}"}).headers["location"] == "/sign-in"
    assert told(bureau)[-2:] == [("user keller", "signed in", "done"), ("user keller", "signed out", "done")]


def test_over_tls_the_cookies_are_for_tls_alone(bureau: Bureau) -> None:
    with served(bureau) as client:
        answer = client.get("/sign-in", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]


@BOTH
def test_a_wrong_password_and_a_wrong_name_are_told_alike_and_what_was_typed_is_not_kept(bureau: Bureau) -> None:
    with served(bureau) as client:
        wrong, nobody = sign_in(client, "keller", "not this one, no"), sign_in(client, "my password\0", "x")
        assert wrong.status_code == nobody.status_code == 403
        assert "Name or password are not right." in wrong.text and "Name or password are not right." in nobody.text
        assert "platen_session" not in client.cookies
    failed = ("sign-in failed", "refused")
    assert told(bureau)[-2:] == [("user keller", *failed), ("user unknown", *failed)]


@BOTH
def test_after_a_few_wrong_passwords_even_the_right_one_waits_but_only_there(bureau: Bureau) -> None:
    for _ in range(people.MOST_FAILURES_THERE):
        with pytest.raises(people.SignInRefused, match="not right"):
            people.sign_in(bureau, "keller", "wrong", address=HERE)
    with pytest.raises(people.SignInRefused, match="Too many"):
        people.sign_in(bureau, "keller", PASSWORD, address=HERE)
    assert people.sign_in(bureau, "keller", PASSWORD, address="10.0.0.8"), "who guesses elsewhere locks nobody out here"
    with bureau.ledger.write() as connection:
        connection.execute(text("UPDATE failed_sign_ins SET at_ms = at_ms - 1000000"))
    assert people.sign_in(bureau, "keller", PASSWORD, address=HERE), "a quarter of an hour later"


def test_one_address_cannot_guess_at_many_names(bureau: Bureau) -> None:
    for number in range(people.MOST_FAILURES_OF_ADDRESS):
        bureau.ledger.note_failure(f"name{number}", HERE, is_user=False)
    with pytest.raises(people.SignInRefused, match="Too many"):
        people.sign_in(bureau, "keller", PASSWORD, address=HERE)


def test_forms_that_this_console_did_not_give_do_nothing(bureau: Bureau) -> None:
    with served(bureau) as client:
        data = {"form_token": "made up", "name": "keller", "password": PASSWORD}
        assert client.post("/sign-in", data=data).status_code == 403
        client.get("/sign-in")
        assert client.post("/sign-in", data=data).status_code == 403
        sign_in(client, "keller", PASSWORD)
        for path, fields in (("/sign-out", {}), ("/password", {"old": PASSWORD, "new": "another good sentence"})):
            assert client.post(path, data={"form_token": "made up", **fields}).status_code == 403
        assert client.get("/").status_code == 200
        assert people.sign_in(bureau, "keller", PASSWORD, address=HERE)


@BOTH
def test_a_session_is_over_with_its_day_with_a_new_password_and_with_its_user(bureau: Bureau) -> None:
    def entered() -> str:
        token = people.token_digest(people.sign_in(bureau, "keller", PASSWORD, address=HERE))
        assert bureau.ledger.session(token) is not None
        return token

    by_time, by_password = entered(), entered()
    with bureau.ledger.write() as connection:
        connection.execute(text("UPDATE sessions SET until_ms = 1 WHERE token = :token"), {"token": by_time})
    assert bureau.ledger.session(by_time) is None
    people.set_password(bureau, "keller", PASSWORD, who="test")
    assert bureau.ledger.session(by_password) is None
    by_user = entered()
    bureau.ledger.disable_user("keller", who="test")
    assert bureau.ledger.session(by_user) is None
    with pytest.raises(people.SignInRefused):
        people.sign_in(bureau, "keller", PASSWORD, address=HERE)


def test_a_password_that_was_given_works_once_and_is_then_chosen(bureau: Bureau) -> None:
    _, given = people.add_user(bureau, "lee", None, Role.OPERATOR, who="test")
    with served(bureau) as client:
        sign_in(client, "lee", given)
        assert client.get("/").headers["location"] == "/password"
        assert client.get("/floor/events").headers["location"] == "/password"
        token = form_token(client.get("/password").text)

        def change(old: str, new: str) -> httpx.Response:
            return client.post("/password", data={"form_token": token, "old": old, "new": new})

        assert "has 12 to 200 characters" in change(given, "too short").text
        assert "not right" in change("not the old one", "a good long sentence").text
        assert change(given, "a good long sentence").headers["location"] == "/sign-in"
        assert sign_in(client, "lee", given).status_code == 403
        sign_in(client, "lee", "a good long sentence")
        assert client.get("/").status_code == 200


def test_an_agency_is_not_shown_the_floor(bureau: Bureau) -> None:
    people.add_user(bureau, "agency", PASSWORD, Role.AGENCY, customer="DPHHS", who="test")
    with served(bureau) as client:
        sign_in(client, "agency", PASSWORD)
        for path in ("/", "/floor/events"):
            assert client.get(path).status_code == 403


def test_the_floor_is_sent_live_while_its_reader_is_signed_in(bureau: Bureau) -> None:
    receive(bureau.ledger, open_order(bureau.ledger, number="WO-<b>1</b>"), 3)
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        with client.stream("GET", "/floor/events", timeout=20) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = (line for line in stream.iter_lines() if line)
            assert next(lines) == "event: floor"
            shown = json.loads(next(lines).removeprefix("data: "))
            assert "Orders in work" in shown
            assert "WO-&lt;b&gt;1" in shown and "<b>1" not in shown
            bureau.ledger.disable_user("keller", who="test")
            assert "event: over" in lines


def test_without_scripts_the_page_loads_itself_anew(bureau: Bureau) -> None:
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        page = client.get("/").text
        assert '<noscript><meta http-equiv="refresh"' in page
        for path in ("/static/console.css", "/static/console.js", "/static/platen.svg"):
            assert path in page
            assert client.get(path).status_code == 200


def test_the_first_user_is_made_once(tmp_path: Path) -> None:
    made = Bureau.init(Settings(home=tmp_path / "home"))
    password = people.first_password(made)
    assert password is not None
    assert people.first_password(made) is None
    assert people.sign_in(made, people.FIRST_USER, password, address=HERE)
    assert [(user.name, user.role, user.must_change) for user in made.ledger.users()] == [
        ("admin", Role.SUPERVISOR, True)
    ]
    made.close()


@BOTH
def test_names_are_used_once_and_unknown_ones_are_told(bureau: Bureau) -> None:
    with pytest.raises(UserExists, match="There is a user keller already"):
        people.add_user(bureau, "keller", None, Role.OPERATOR, who="test")
    with pytest.raises(NoSuchUser, match="There is no user nobody"):
        people.set_password(bureau, "nobody", None, who="test")


def test_users_are_kept_by_the_command(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.platen("init")
    given = json.loads(home.platen("user", "add", "lee", "--role", "operator", "--json"))
    assert len(given["password"]) >= people.SHORTEST_PASSWORD
    home.platen("user", "add", "agency", "--role", "agency", codes=(2,))
    lee = {"name": "lee", "role": "operator", "customer": None, "disabled": False, "issuer": None}
    assert home.ask("user", "list") == [lee]


@BOTH
def test_a_ledger_of_the_version_before_gets_users_and_keeps_what_it_has(bureau: Bureau) -> None:
    ledger: Ledger = bureau.ledger
    receive(ledger, open_order(ledger), 3)
    downgrade_to(ledger, "0003")
    ledger.migrate()
    assert (ledger.users(), ledger.tally_faults(), ledger.floor().pages.received) == ([], [], 3)
    people.add_user(bureau, "keller", PASSWORD, Role.SUPERVISOR, who="test")


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def backlog(
    *, remaining: int = 5, held: int = 0, inspection: int = 0, due: date | None = None, hours: tuple[int, int] | None
) -> Backlog:
    earliest, latest = (None, None) if hours is None else (NOW + timedelta(hours=h) for h in hours)
    return Backlog(
        number="WO-1", priority=Priority.NORMAL, due=due, remaining=remaining, held=held, inspection=inspection,
        earliest=earliest, latest=latest,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("order", "risk"),
    [
        (backlog(hours=(1, 2)), "no due date"),
        (backlog(due=date(2026, 11, 22), hours=(1, 11)), "in time"),
        (backlog(due=date(2026, 11, 22), hours=(1, 12)), "may be late"),
        (backlog(due=date(2026, 11, 22), hours=(12, 40)), "will be late"),
        (backlog(due=date(2026, 11, 21), hours=(1, 2)), "overdue"),
        (backlog(due=date(2026, 11, 23), hours=None), "not known yet"),
        (backlog(due=date(2026, 11, 23), hours=(1, 2), held=3), "in time, but for held pages"),
        (backlog(due=date(2026, 11, 23), hours=None, remaining=0, held=3), "waits for 3 held pages"),
        (backlog(hours=None, remaining=0, held=1), "waits for 1 held page"),
        (backlog(hours=None, remaining=0, inspection=40), "waits for quality control of 40 pages"),
    ],
)
def test_whether_an_order_keeps_its_due_date_is_said_in_words(order: Backlog, risk: str) -> None:
    assert risk_of(order, NOW)[0] == risk


def test_orders_stand_in_the_order_of_their_due_dates(bureau: Bureau) -> None:
    for due in (None, date(2026, 12, 2), date(2026, 12, 1)):
        receive(bureau.ledger, open_order(bureau.ledger, due=due), 1)
    page = floor_page(bureau.ledger.floor(), NOW, free_bytes=1, disk_bytes=100)
    assert [order.due for order in page.orders] == ["2026-12-01", "2026-12-02", "–"]
    assert [tile.name for tile in page.tiles if tile.warns] == ["Workers", "Free disk", "Inbox"]
