"""Single sign-on against a certified provider that runs here, and against one that lies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from pydantic import ValidationError

from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger import NoPassword
from pipeline.model import Role, User
from pipeline.settings import Settings
from tests.browser import chromium
from tests.conftest import ROOT
from tests.console.served import served
from tests.console.test_orders import text_of
from tests.console.test_signing_in import PASSWORD, form_token, sign_in, told
from tests.servers import free_port

NPM = ROOT / ".tools" / "npm"
SECRET = "a secret of the tests: with signs/that+need%care"
PEOPLE = {
    "1001": {"preferred_username": "lee", "platen_role": ["everybody", "scanners"]},
    "1002": {"preferred_username": "clerk@dphhs", "platen_role": "agencies", "platen_customer": "DPHHS"},
    "1003": {"preferred_username": "nobody", "platen_role": ["everybody"]},
    "1004": {"preferred_username": "both", "platen_role": ["scanners", "chiefs"]},
    "1005": {"preferred_username": "lost", "platen_role": "agencies"},
    "1006": {"preferred_username": "admin", "platen_role": "scanners"},
}


@pytest.fixture(autouse=True)
def _not_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")


@contextmanager
def bureau_of(folder: Path, port: int, **more: str) -> Iterator[Bureau]:
    """A bureau whose people are signed in by whatever listens on this port."""
    settings = {
        "oidc_issuer": f"http://localhost:{port}", "oidc_client_id": "platen", "oidc_client_secret": SECRET,
        "oidc_name": "State ID", "oidc_roles": "scanners=operator, agencies=agency, chiefs=supervisor", **more,
    }  # fmt: skip
    made = Bureau.init(Settings(home=folder / "home", **settings))  # type: ignore[arg-type]
    people.add_user(made, "admin", PASSWORD, Role.SUPERVISOR, who="test")
    yield made
    made.close()


@contextmanager
def provider(port: int, console: str) -> Iterator[None]:
    """The certified provider, on a host of another name than the console's."""
    known = json.dumps({"console": console, "people": PEOPLE})
    command = ["node", str(ROOT / "tests" / "tools" / "oidc_provider.mjs"), str(NPM), str(port), known]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n", "what went wrong it says when it is started by hand"
            yield
        finally:
            process.kill()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Bureau, httpx.Client]]:
    """A bureau with a client of its console, and the provider beside it."""
    if shutil.which("node") is None or not (NPM / "node_modules" / "oidc-provider").is_dir():
        missing = "there is no OpenID provider on this machine; run: make setup-tests"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    port = free_port()
    with (
        bureau_of(tmp_path, port) as bureau,
        served(bureau) as client,
        provider(port, str(client.base_url).rstrip("/")),
    ):
        yield bureau, client


def come_back(client: httpx.Client, account: str) -> str:
    """Leave for the provider, sign in there; gives the address at which it sends the browser back."""
    answer = client.get("/sign-in/away")
    assert answer.status_code == 303
    with httpx.Client(trust_env=False) as away:
        place = answer.headers["location"]
        while not place.startswith(str(client.base_url)):
            answer = away.get(place)
            if "<form" in answer.text:
                answer = away.post(place, data={"name": account})
            assert answer.is_redirect, answer.text
            place = str(answer.url.join(answer.headers["location"]))
    return place


def user(bureau: Bureau, name: str) -> User:
    [found] = [user for user in bureau.ledger.users() if user.name == name]
    return found


def test_who_is_signed_in_elsewhere_enters_with_the_rights_of_that_house(house: tuple[Bureau, httpx.Client]) -> None:
    bureau, client = house
    assert "Sign in with State ID" in text_of(client.get("/sign-in"))
    entered = client.get(come_back(client, "1001"))
    assert entered.status_code == 200 and "You are signed in" in entered.text
    assert any("SameSite=strict" in one for one in entered.headers.get_list("set-cookie") if "platen_session" in one)
    assert client.get("/").status_code == 200
    lee = user(bureau, "lee")
    assert (lee.role, lee.customer, lee.issuer) == (Role.OPERATOR, None, bureau.settings.oidc_issuer)
    assert told(bureau)[-2:] == [("user lee", "user added", "done"), ("user lee", "signed in", "done")]
    client.get(come_back(client, "1001"))
    assert [one.name for one in bureau.ledger.users()] == ["admin", "lee"], "the same person again"
    page = client.get("/")
    left = client.post("/sign-out", data={"form_token": form_token(page.text)})
    assert "You are signed out here" in left.text and "/session/end?client_id=platen" in left.text
    assert client.get("/").headers["location"] == "/sign-in"


def test_an_agencys_person_sees_that_agency_alone_and_a_name_that_is_taken_gets_a_number(
    house: tuple[Bureau, httpx.Client],
) -> None:
    bureau, client = house
    client.get(come_back(client, "1002"))
    assert client.get("/packages").status_code == 200 and client.get("/").status_code == 403
    clerk = user(bureau, "clerk-dphhs")
    assert (clerk.role, clerk.customer) == (Role.AGENCY, "DPHHS")
    client.get(come_back(client, "1006"))
    assert user(bureau, "admin-2").role is Role.OPERATOR, "and is not the admin of the bureau"
    assert user(bureau, "admin").issuer is None


def test_who_has_no_role_or_was_disabled_or_has_no_password_stays_outside(house: tuple[Bureau, httpx.Client]) -> None:
    bureau, client = house
    for account, sentence in (
        ("1003", "gives you none"),
        ("1004", "gives you operator and supervisor"),
        ("1005", "which agency"),
    ):
        refused = client.get(come_back(client, account))
        assert refused.status_code == 403 and sentence in text_of(refused)
    client.get(come_back(client, "1001"))
    bureau.ledger.disable_user("lee", who="test")
    assert client.get("/").headers["location"] == "/sign-in"
    assert "may not sign in here any more" in text_of(client.get(come_back(client, "1001")))
    assert sign_in(client, "lee", PASSWORD).status_code == 403
    with pytest.raises(NoPassword, match="lee is signed in by single sign-on"):
        people.set_password(bureau, "lee", PASSWORD, who="test")
    assert [one.name for one in bureau.ledger.users()] == ["admin", "lee"]


def test_an_answer_that_was_not_asked_for_or_was_used_opens_nothing(house: tuple[Bureau, httpx.Client]) -> None:
    _, client = house
    place = come_back(client, "1001")
    kept = client.cookies["platen_away"]
    with httpx.Client(base_url=client.base_url, trust_env=False) as other:
        assert "was not begun here" in text_of(other.get(place)), "another browser"
    wrong = re.sub("state=[^&]+", "state=x", place)
    assert "was not begun here" in text_of(client.get(wrong))
    client.cookies.clear()
    cookie = {"Cookie": f"platen_away={kept}"}
    assert client.get(re.sub("code=[^&]+", "", place), headers=cookie).status_code == 403
    assert client.get(re.sub("iss=[^&]+", "iss=https://elsewhere.example", place), headers=cookie).status_code == 403
    verifier_of_another = ".".join((*kept.split(".")[:2], "x" * 43))
    other_browser = client.get(place, headers={"Cookie": f"platen_away={verifier_of_another}"})
    assert "does not accept that sign-in" in text_of(other_browser)
    client.cookies.clear()
    second = come_back(client, "1001")
    kept = client.cookies["platen_away"]
    assert client.get(second).status_code == 200
    client.cookies.clear()
    replayed = client.get(second, headers={"Cookie": f"platen_away={kept}"})
    assert replayed.status_code == 403 and "was used before" in text_of(replayed)
    assert "platen_session" not in client.cookies


def test_a_browser_signs_in_and_out_through_both_houses(house: tuple[Bureau, httpx.Client]) -> None:
    _, client = house
    with chromium() as browser:
        screen = browser.new_page(base_url=str(client.base_url))
        screen.goto("/sign-in")
        screen.click("text=Sign in with State ID")
        screen.fill("input", "1001")
        screen.click("button")
        screen.wait_for_selector("h1:has-text('Floor')")
        screen.click("text=Sign out")
        screen.wait_for_url("**/session/end**")
    assert client.get("/").headers["location"] == "/sign-in"


class LyingHouse:
    """A provider that answers everything well but for what a test has it lie about."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.issuer = f"http://localhost:{port}"
        self.key = RSAKey.generate_key(2048, {"kid": "a", "use": "sig", "alg": "RS256"})
        self.claims: dict[str, Any] = {}
        self.algorithm = "RS256"
        self.signing: Any = self.key
        self.says: Mapping[str, Any] = {}
        self.nonce = ""

    def answer(self, place: str) -> dict[str, Any]:
        match urlsplit(place).path:
            case "/.well-known/openid-configuration":
                names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
                return {"issuer": self.issuer, **{name: f"{self.issuer}/{name}" for name in names}, **self.says}
            case "/jwks_uri":
                return dict(KeySet([self.key]).as_dict(private=False))
            case _:
                return {"access_token": "x", "token_type": "Bearer", "id_token": self.token()}

    def token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "1001", "aud": "platen", "iat": now, "exp": now + 60, "nonce": self.nonce}
        claims |= {"platen_role": "scanners", "preferred_username": "lee", **self.claims}
        header = {"alg": self.algorithm, "kid": "a"}
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, kept, self.signing, algorithms=[self.algorithm])


@contextmanager
def listening(house: LyingHouse) -> Iterator[None]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(house.answer(self.path)).encode()
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", house.port), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def lied_to(tmp_path: Path) -> Iterator[tuple[LyingHouse, httpx.Client]]:
    house = LyingHouse(free_port())
    with bureau_of(tmp_path, house.port) as bureau, served(bureau) as client, listening(house):
        yield house, client


def answered(house: LyingHouse, client: httpx.Client) -> httpx.Response:
    client.cookies.clear()
    asked = parse_qs(urlsplit(client.get("/sign-in/away").headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    house.nonce = asked["nonce"][0]
    return client.get("/sign-in/back", params={"code": "c", "state": asked["state"][0]})


def test_a_token_that_does_not_hold_in_every_point_opens_nothing(lied_to: tuple[LyingHouse, httpx.Client]) -> None:
    house, client = lied_to
    assert "You are signed in" in answered(house, client).text, "all is well when nothing is a lie"
    other = RSAKey.generate_key(2048, {"kid": "a"})
    past = int(time.time()) - 3_600
    lies: list[dict[str, Any]] = [
        {"claims": {"aud": "another console"}},
        {"claims": {"aud": ["platen", "another"], "azp": "another"}},
        {"claims": {"iss": "https://elsewhere.example"}},
        {"claims": {"exp": past}},
        {"claims": {"exp": None}},
        {"claims": {"nonce": "of another sign-in"}},
        {"claims": {"nonce": None}},
        {"claims": {"sub": None}},
        {"signing": other},
        {"algorithm": "HS256", "signing": OctKey.import_key(SECRET)},
    ]
    for lie in lies:
        before = {name: getattr(house, name) for name in lie}
        for name, value in lie.items():
            setattr(house, name, value)
        refused = answered(house, client)
        assert refused.status_code == 403 and "could not be trusted" in text_of(refused), lie
        assert "platen_session" not in client.cookies
        for name, value in before.items():
            setattr(house, name, value)
    assert "You are signed in" in answered(house, client).text


@pytest.mark.parametrize(
    "says",
    [{"issuer": "https://elsewhere.example"}, {"token_endpoint": "http://elsewhere.example/token"}, {"jwks_uri": None}],
)
def test_a_house_that_says_it_is_another_is_not_asked(
    lied_to: tuple[LyingHouse, httpx.Client], says: dict[str, Any]
) -> None:
    house, client = lied_to
    house.says = says
    answer = client.get("/sign-in/away")
    assert answer.status_code == 503 and "does not answer as it should" in text_of(answer)


def test_a_house_that_is_not_there_is_told_and_passwords_go_on(tmp_path: Path) -> None:
    with bureau_of(tmp_path, free_port()) as bureau, served(bureau) as client:
        assert "does not answer as it should" in text_of(client.get("/sign-in/away"))
        assert sign_in(client, "admin", PASSWORD).status_code == 303


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "http://id.example", "oidc_client_id": "x"},
        {"oidc_issuer": "https://id.example"},
        {"oidc_roles": "chiefs=king"},
        {"oidc_roles": "chiefs"},
    ],
)
def test_settings_that_would_not_work_are_refused_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]
