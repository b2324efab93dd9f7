"""What the console answers when it does not do what was asked: in words, to people, and without harm."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx
import pytest
from argon2 import PasswordHasher
from pydantic import ValidationError
from sqlalchemy import text

from console.links import MOST_WRONG
from console.throttle import AtOnce, TooManyAtOnce
from console.web import MOST_FORM_BYTES
from pipeline import people, tokens
from pipeline.bureau import Bureau
from pipeline.ledger import UserExists
from pipeline.model import Role
from pipeline.settings import Settings
from tests.conftest import ROOT
from tests.console.served import served
from tests.console.test_attacks import OPEN_TO_ALL, delivered, filled, paths
from tests.console.test_orders import CHEAP_HASH, NAMES, bureau, text_of
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.whole.home import wait_until

__all__ = ["bureau"]  # the fixture
LOCK = threading.Lock()
# as many as make one address wait
GUESSED = tuple(f"guessed-{n}" for n in range(people.MOST_FAILURES_OF_ADDRESS // people.MOST_FAILURES_THERE))
MANUAL = ROOT / "docs/console.md"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("method", "place", "data", "status", "said"),
    [
        ("GET", "/no-such-place", None, 404, "There is nothing here"),
        ("PUT", "/orders", None, 405, "Nothing is done with PUT here"),
        (
            "POST",
            "/tokens",
            {"form_token": "x", "title": "t", "days": "many"},
            422,
            "days: Input should be a valid int",
        ),
        (
            "POST",
            "/held",
            {"form_token": "x" * 2_000, "code": "a", "decision": "retry"},
            422,
            "form_token: String should",
        ),
    ],
)
def test_what_cannot_be_done_is_told_on_a_page_with_the_way_back(
    bureau: Bureau, method: str, place: str, data: dict[str, str] | None, status: int, said: str
) -> None:
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        answer = client.request(method, place, data=data)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert said in text_of(answer) and 'href="/orders"' in answer.text, "and the way on from there"


def test_what_was_typed_wrongly_is_not_shown_again(bureau: Bureau) -> None:
    with served(bureau) as client:
        answer = client.post("/sign-in", data={"name": "keller", "password": PASSWORD * 100})
    assert answer.status_code == 422 and PASSWORD not in answer.text


def test_a_fault_of_the_house_is_told_with_the_same_care_as_everything_else(bureau: Bureau) -> None:
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        with bureau.ledger.write() as connection:
            connection.execute(text("ALTER TABLE sessions RENAME TO gone"))
        answer = client.get("/orders")
    assert answer.status_code == 500 and "Something is wrong here" in answer.text
    assert "sessions" not in answer.text and "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_nobody_fills_memory_or_disk_with_a_form(bureau: Bureau) -> None:
    large = b"x" * (MOST_FORM_BYTES + 1)
    with served(bureau) as client:
        as_file = client.post("/sign-in", files={"password": ("p", large)})
        as_field = client.post("/sign-in", content=b"password=" + large, headers={"content-type": FORM})
        assert [as_file.status_code, as_field.status_code] == [413, 413]
        assert "at most 1 MiB" in text_of(as_file)
        sign_in(client, "keller", PASSWORD)
        boxes = "\n".join(f"BOX-{number}" for number in range(10_000))
        form = {"form_token": form_token(client.get("/new-order").text), "customer": "DPHHS", "why": "letter"}
        made = client.post("/new-order", data=form | {"profile": "records-bitonal", "boxes": boxes})
        assert made.status_code == 303, "a long list of boxes is no attack"


class _Counting(PasswordHasher):
    """Remembers how many passwords were hashed at the same moment."""

    now = most = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        with LOCK:
            _Counting.now += 1
            _Counting.most = max(_Counting.most, _Counting.now)
        try:
            return super().verify(hash, password)
        finally:
            with LOCK:
                _Counting.now -= 1


def test_many_passwords_tried_at_once_take_the_memory_of_two(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "_hasher", _Counting())

    def guess(number: int) -> None:
        with pytest.raises(people.SignInRefused):
            people.sign_in(bureau, f"guess-{number}", "wrong", address=f"10.0.0.{number}")

    with ThreadPoolExecutor(8) as guessing:
        list(guessing.map(guess, range(16)))
    assert 0 < _Counting.most <= 2


def test_one_who_takes_many_packages_leaves_room_for_others() -> None:
    at_once = AtOnce(most=2)
    with at_once.one("agency"), at_once.one("agency"):
        with pytest.raises(TooManyAtOnce), at_once.one("agency"):
            pass
        with at_once.one("stranger"):
            pass
    with at_once.one("agency"):
        pass


def test_a_third_package_at_once_is_refused_until_one_has_come(bureau: Bureau) -> None:
    # more than the system keeps on the way to somebody who does not read
    order = delivered(bureau, scan=bytes(40 << 20))
    place = f"/packages/{order.number}/1/package.zip"
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        with client.stream("GET", place) as first, client.stream("GET", place) as second:
            assert [first.status_code, second.status_code] == [200, 200]
            third = client.get(place)
            assert third.status_code == 429 and "being sent to you already" in text_of(third)
            with httpx.Client(base_url=client.base_url, trust_env=False) as other:
                sign_in(other, "audit", PASSWORD)
                assert begun(other, place) == 200
            first.read()
            wait_until(lambda: begun(client, place) == 200, seconds=20)


def begun(client: httpx.Client, place: str) -> int:
    with client.stream("GET", place) as answer:
        return answer.status_code


def test_a_good_link_opens_however_many_wrong_ones_came_from_the_same_address(bureau: Bureau) -> None:
    with served(bureau) as client:
        wrong = [client.get(f"/links/{number}").status_code for number in range(MOST_WRONG + 1)]
        assert wrong[-1] == 429
        delivered(bureau)
        assert client.get("/links/token").status_code == 200


def test_who_comes_through_a_proxy_is_told_from_others_only_if_the_proxy_is_known(tmp_path: Path) -> None:
    known = Bureau.init(Settings(home=tmp_path / "known", proxies="127.0.0.1, ::1"))
    unknown = Bureau.init(Settings(home=tmp_path / "unknown"))
    for house in (known, unknown):
        for name in ("keller", *GUESSED):
            house.ledger.add_user(name, CHEAP_HASH, Role.SUPERVISOR, customer=None, must_change=False, who="test")
        with served(house) as client:
            # whoever guesses writes an address of his own before the one that the proxy adds
            client.headers["x-forwarded-for"] = "10.0.0.9, 192.0.2.66"
            for name in GUESSED * people.MOST_FAILURES_THERE:
                sign_in(client, name, "wrong")
            client.headers["x-forwarded-for"] = "10.0.0.9, 192.0.2.66, 127.0.0.1"
            assert "Too many wrong passwords" in sign_in(client, "keller", PASSWORD).text
            client.headers["x-forwarded-for"] = "10.0.0.9"
            assert (sign_in(client, "keller", PASSWORD).status_code == 303) == (house is known)
        house.close()
    with pytest.raises(ValidationError, match="proxies"):
        Settings(home=tmp_path, proxies="proxy.example")


@pytest.mark.parametrize("name", ["platen", "Console", "single-sign-on", "link", "0123456789abcdef" * 2])
def test_nobody_is_called_as_the_history_calls_a_program(bureau: Bureau, name: str) -> None:
    with pytest.raises(UserExists, match="what the history calls a part of Platen"):
        people.add_user(bureau, name, PASSWORD, Role.OPERATOR, who="test")
    people.sign_in_from(
        bureau, "https://id.example", name, name=name, role=Role.OPERATOR, customer=None, address="10.0.0.7"
    )
    [user] = [user for user in bureau.ledger.users() if user.issuer]
    assert not people.is_program(user.name)


def test_a_token_of_somebody_signed_in_elsewhere_does_not_outlast_the_account_for_long(bureau: Bureau) -> None:
    people.sign_in_from(
        bureau, "https://id.example", "1", name="huber", role=Role.AUDITOR, customer=None, address="10.0.0.7"
    )
    with pytest.raises(ValueError, match="at most 30 days"):
        tokens.give_token(bureau, "huber", title="", days=31, who="huber")
    tokens.give_token(bureau, "huber", title="", days=30, who="huber")
    tokens.give_token(bureau, "keller", title="", days=tokens.MOST_DAYS, who="keller")


def test_the_manual_tells_truly_what_each_role_sees(bureau: Bureau) -> None:
    order = delivered(bureau, word="DPHHS")
    told = re.findall(r"^\| [^|`]+ \| (`/[^|]+`) \| ([^|]+) \|", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    sees = {address: set(who.split(", ")) for addresses, who in told for address in re.findall("`([^`]+)`", addresses)}
    asked = {path for path in paths(bureau, "get") if not path.startswith((*OPEN_TO_ALL, "/password"))}
    assert set(sees) == asked, "every address stands in the manual, and no other"
    with served(bureau) as client:
        for name, (role, customer) in NAMES.items():
            client.cookies.clear()
            sign_in(client, name, PASSWORD)
            groups = {"all", role.value} | ({"house"} if role is not Role.AGENCY else set())
            for address, who in sees.items():
                place = filled(address).replace("WO-2026-0001", order.number)
                with client.stream("GET", place) as answer:  # that of the floor does not end
                    assert (answer.status_code == 403) == (not groups & who), f"{place} for {name}"
                    if customer == "OTHER" and "{" in address:
                        assert answer.status_code in (403, 404), f"{place} is of another"
