"""The console before a real browser, on a floor that really works: what people do in a day, click by click."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline import people
from pipeline.bureau import Bureau
from pipeline.model import Role
from pipeline.settings import Settings
from tests.browser import chromium, faults, picture, sign_in, tab
from tests.servers import free_port
from tests.whole.home import PLATEN, Home, drop_small_pages, wait_until

pytestmark = [pytest.mark.whole, pytest.mark.tool]

PASSWORD = "a long pass phrase"
PEOPLE = {"kim": Role.SUPERVISOR, "lee": Role.OPERATOR, "audit": Role.AUDITOR}
PATIENCE_MS = 90_000  # a machine with other work on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A floor with its console, and a browser before it."""

    home: Home
    url: str
    browser: Browser

    def desk(self, name: str, *, size: str = "desk", dark: bool = False) -> Page:
        """A browser of somebody who has signed in."""
        page = tab(self.browser, self.url, size=size, dark=dark)
        page.set_default_timeout(PATIENCE_MS)
        sign_in(page, name, PASSWORD)
        return page


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home, port = Home(tmp_path_factory.mktemp("office") / "home"), free_port()
    home.platen("init")
    with closing(Bureau.open(Settings(home=home.folder))) as bureau:
        for name, role in PEOPLE.items():
            people.add_user(bureau, name, PASSWORD, role, who="test")
    floor = subprocess.Popen([PLATEN, "up", "--port", str(port)], env=home.environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url))
        with chromium() as browser:
            yield Office(home=home, url=url, browser=browser)
    finally:
        floor.send_signal(signal.SIGTERM)
        assert floor.wait(timeout=60) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def open_order(page: Page, number: str, *, customer: str = "DPHHS", profile: str = "records-bitonal") -> None:
    """Through the form, as a supervisor does."""
    page.goto("/new-order")
    page.get_by_label("Customer").fill(customer)
    page.get_by_label("Number").fill(number)
    page.get_by_label("Profile").select_option(profile)
    page.get_by_label("Reason").fill("letter of the agency")
    page.get_by_role("button", name="Open the order").click()
    expect(page.get_by_role("heading", name=number)).to_be_visible()


def test_a_password_told_once_must_be_changed_before_anything_is_shown(office: Office) -> None:
    told = office.home.ask("user", "add", "newcomer", "--role", "operator")["password"]
    page = tab(office.browser, office.url)
    sign_in(page, "newcomer", told)
    for screen in ("/", "/orders", "/held"):
        page.goto(screen)
        expect(page).to_have_url(f"{office.url}/password")
    page.get_by_label("Password until now").fill(told)
    page.get_by_label("New password").fill(PASSWORD)
    picture(page, "password")
    page.get_by_role("button").last.click()
    sign_in(page, "newcomer", told)
    expect(page.get_by_role("alert")).to_contain_text("not right")
    sign_in(page, "newcomer", PASSWORD)
    expect(page.get_by_role("heading", name="Floor")).to_be_visible()


def test_an_order_is_opened_a_batch_dropped_and_watched_until_it_is_done(office: Office) -> None:
    page = office.desk("kim")
    open_order(page, "WO-LIVE")
    floor = office.desk("kim", size="wall", dark=True)
    expect(floor.get_by_role("heading", name="Floor")).to_be_visible()
    loaded = floor.evaluate("performance.timeOrigin")
    drop_small_pages(office.home.folder / "inbox" / "WO-LIVE" / "box-1", 6)
    line = floor.get_by_role("row", name="WO-LIVE")
    expect(line).to_be_visible(timeout=PATIENCE_MS)
    picture(floor, "floor-at-work-wall-dark")
    expect(line).to_be_hidden(timeout=PATIENCE_MS)
    expect(floor.get_by_role("row", name="Read pages")).to_contain_text("6", timeout=PATIENCE_MS)
    assert floor.evaluate("performance.timeOrigin") == loaded, "it came by itself, the page was not loaded anew"
    assert faults(floor) == []
    page.goto("/orders/WO-LIVE")
    expect(page.locator(".tile", has_text="Billable")).to_contain_text("6")
    picture(page, "order")


def test_every_screen_keeps_the_rules_of_access_in_light_and_dark_on_a_desk_and_on_a_phone(office: Office) -> None:
    broken = office.home.folder / "inbox" / "WO-ACCESS" / "broken.tif"
    page = office.desk("kim")
    open_order(page, "WO-ACCESS")
    drop_small_pages(office.home.folder / "inbox" / "WO-ACCESS" / "box", 2)
    broken.write_bytes(b"II*\0no picture")
    wait_until(lambda: office.home.ask("order", "show", "WO-ACCESS")["pages"]["billable"] == 2)
    wait_until(lambda: office.home.ask("order", "show", "WO-ACCESS")["pages"]["held"] == 1)
    page.goto("/orders/WO-ACCESS")
    batch = page.get_by_role("link", name="box", exact=True).get_attribute("href")
    page.goto(batch or "")
    sheet = page.get_by_role("link", name="Page 1").get_attribute("href")
    screens = [
        "/", "/orders", "/new-order", "/orders/WO-ACCESS", batch, sheet, "/held", "/held?code=unreadable", "/password",
        "/orders/NO-SUCH",
    ]  # fmt: skip
    wrong: list[str] = []
    for size, dark in (("desk", False), ("desk", True), ("phone", False), ("phone", True)):
        page = office.desk("kim", size=size, dark=dark)
        for screen in screens:
            page.goto(screen or "")
            wrong += [f"{screen} ({size}{', dark' if dark else ''}): {fault}" for fault in faults(page)]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{screen} scrolls sideways"
            name = (screen or "").strip("/").partition("?")[0].replace("/", "-") or "floor"
            picture(page, f"{name}-{size}{'-dark' if dark else ''}")
    assert wrong == []
