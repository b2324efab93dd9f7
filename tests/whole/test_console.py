"""The console before a real browser, on a floor that really works: what people do in a day, click by click."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pypdfium2
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline import people
from pipeline.bureau import Bureau
from pipeline.model import Role
from pipeline.settings import Settings
from tests.browser import PICTURES, ROOT, chromium, faults, lost_focus, picture, sideways, sign_in, tab
from tests.servers import free_port
from tests.whole.home import PLATEN, Home, drop_small_pages, wait_until

pytestmark = [pytest.mark.whole, pytest.mark.tool]

PASSWORD = "a long pass phrase"
PEOPLE = {"kim": Role.SUPERVISOR, "lee": Role.OPERATOR, "audit": Role.AUDITOR}
AGENCIES = {"dphhs": "DPHHS", "mhs": "MHS"}
PATIENCE_MS = 90_000  # a machine with other work on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A floor with its console, and a browser before it."""

    home: Home
    url: str
    browser: Browser

    def until(self, number: str, **counts: int) -> dict[str, Any]:
        """The pages of an order, once so many of them stand so."""
        shown: dict[str, Any] = {}

        def stand_so() -> bool:
            shown.update(self.home.ask("order", "show", number)["pages"])
            return all(shown[name] == count for name, count in counts.items())

        wait_until(stand_so, seconds=PATIENCE_MS / 1000)
        return shown

    def desk(self, name: str, *, size: str = "desk", dark: bool = False) -> Page:
        """A browser of somebody who has signed in."""
        page = tab(self.browser, self.url, size=size, dark=dark)
        page.set_default_timeout(PATIENCE_MS)
        sign_in(page, name, PASSWORD)
        return page


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home, port = Home(tmp_path_factory.mktemp("office") / "home"), free_port()
    profiles = home.folder.with_name("profiles")
    shutil.copytree(ROOT / "profiles", profiles)
    plain = (profiles / "records-bitonal.toml").read_text()
    checked = plain.replace('name = "records-bitonal"', 'name = "checked"') + '\n[qc]\nplan = "percent"\npercent = 50\n'
    (profiles / "checked.toml").write_text(checked)
    home.environment["PLATEN_PROFILES"] = str(profiles)
    home.platen("init")
    with closing(Bureau.open(Settings(home=home.folder))) as bureau:
        for name, role in PEOPLE.items():
            people.add_user(bureau, name, PASSWORD, role, who="test")
        for name, customer in AGENCIES.items():
            people.add_user(bureau, name, PASSWORD, Role.AGENCY, customer=customer, who="test")
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
    page.get_by_role("link", name="box-1").click()
    page.get_by_role("link", name="Page 1").click()
    page.get_by_role("checkbox", name="Show the words").check()
    expect(page.locator(".words polygon").first).to_be_visible()
    picture(page, "page")


def test_every_screen_keeps_the_rules_of_access_in_light_and_dark_on_a_desk_and_on_a_phone(office: Office) -> None:
    broken = office.home.folder / "inbox" / "WO-ACCESS" / "broken.tif"
    page = office.desk("kim")
    open_order(page, "WO-ACCESS")
    open_order(page, "WO-REVIEW", profile="checked")
    open_order(page, "WO-SENT")
    drop_small_pages(office.home.folder / "inbox" / "WO-ACCESS" / "box", 2)
    drop_small_pages(office.home.folder / "inbox" / "WO-REVIEW" / "box", 2, first=4)
    drop_small_pages(office.home.folder / "inbox" / "WO-SENT" / "box", 1, first=8)
    broken.write_bytes(b"II*\0no picture")
    wait_until(lambda: office.home.ask("order", "show", "WO-ACCESS")["pages"]["billable"] == 2)
    wait_until(lambda: office.home.ask("order", "show", "WO-ACCESS")["pages"]["held"] == 1)
    page.goto("/orders/WO-ACCESS")
    batch = page.get_by_role("link", name="box", exact=True).get_attribute("href")
    page.goto(batch or "")
    sheet = page.get_by_role("link", name="Page 1").get_attribute("href")
    office.until("WO-SENT", billable=1)
    close_order(office, page, "WO-SENT")
    link = make_link(page, "/packages/WO-SENT/1")
    page.goto("/qc")
    page.get_by_role("row", name="WO-REVIEW").get_by_role("link", name="box").click()
    lot = page.url.removeprefix(office.url)
    looking = page.get_by_role("link", name="Begin").get_attribute("href")
    screens = [
        "/", "/orders", "/new-order", "/orders/WO-ACCESS", batch, sheet, "/held", "/held?code=unreadable", "/password",
        "/orders/NO-SUCH", "/orders/WO-ACCESS/drop", "/orders/WO-ACCESS/history", "/alarms", "/qc", "/quality",
        "/packages", "/tokens", "/packages?search=box", "/packages/WO-SENT/1", link, "/links/wrong", lot, looking,
        "/no-such-place", "/orders?search=ACCESS", "/orders/WO-SENT", "/orders/WO-ACCESS?charges=now",
    ]  # fmt: skip
    wrong: list[str] = []
    for size, dark in (("desk", False), ("desk", True), ("phone", False), ("phone", True)):
        page = office.desk("kim", size=size, dark=dark)
        for screen in screens:
            page.goto(screen or "")
            wrong += [f"{screen} ({size}{', dark' if dark else ''}): {fault}" for fault in faults(page)]
            if size == "phone":
                wrong += [f"{screen}: {fault}" for fault in sideways(page)]
            elif not dark:
                wrong += [f"{screen}: {fault}" for fault in lost_focus(page)]
            name = (
                "link" if screen == link else (screen or "").strip("/").partition("?")[0].replace("/", "-") or "floor"
            )
            picture(page, f"{name}-{size}{'-dark' if dark else ''}")
        page.goto("/tokens")
        page.get_by_label("For").fill("scanner 3")
        page.get_by_role("button", name="Make a token").click()
        expect(page.get_by_label("It is shown this once")).to_have_value(re.compile("^platen_"))
        wrong += [f"a token that was made ({size}{', dark' if dark else ''}): {fault}" for fault in faults(page)]
        picture(page, f"token-made-{size}{'-dark' if dark else ''}")
        page = tab(office.browser, office.url, size=size, dark=dark)
        page.goto("/sign-in")
        picture(page, f"sign-in-{size}{'-dark' if dark else ''}")
        wrong += [f"/sign-in ({size}{', dark' if dark else ''}): {fault}" for fault in faults(page)]
        page = office.desk("dphhs", size=size, dark=dark)
        page.goto("/held")
        expect(page.get_by_role("heading", name="This is not for you")).to_be_visible()
        wrong += [f"what is refused ({size}{', dark' if dark else ''}): {fault}" for fault in faults(page)]
    assert wrong == []


def close_order(office: Office, page: Page, number: str) -> None:
    """Through the form, until it has gone out."""
    page.goto(f"/orders/{number}")
    page.get_by_label("Reason").last.fill("all is in")
    page.get_by_role("button", name="Close it").click()
    wait_until(lambda: office.home.ask("order", "show", number)["status"] == "delivered", seconds=PATIENCE_MS / 1000)


def make_link(page: Page, package: str) -> str:
    """Through the form of a package's page; gives its address."""
    page.goto(package)
    page.get_by_label("Days").fill("3")
    page.get_by_label("For whom").fill("the archivist of MHS")
    page.get_by_role("button", name="Make a link").click()
    return page.get_by_label("Address").input_value()


def small_pages(folder: Path, pages: int, *, first: int = 0) -> list[Path]:
    """Scans on the reader's own computer."""
    drop_small_pages(folder, pages, first=first)
    return sorted(folder.iterdir())


def test_a_batch_is_sent_from_the_browser_and_a_bad_sheet_comes_back_behind_its_printed_sheet(
    office: Office, tmp_path: Path
) -> None:
    page = office.desk("kim")
    open_order(page, "WO-SEND")
    scans = small_pages(tmp_path / "scans", 3)
    scans[1].write_bytes(scans[1].read_bytes()[:200])
    page = office.desk("lee")
    page.goto("/orders/WO-SEND")
    page.get_by_role("link", name="Choose them").click()
    page.get_by_label("Name of the batch").fill("tray 7")
    page.get_by_label("Scans").set_input_files(scans)
    picture(page, "send-a-batch")
    page.get_by_role("button", name="Send it").click()
    counts = office.until("WO-SEND", billable=2, held=1)
    assert counts["received"] == 3

    page.goto("/held?code=unreadable&order=WO-SEND")
    expect(page.get_by_text("0001.tif")).to_be_visible()
    instead = page.locator(".picture img")
    assert instead.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0, "no box of a broken picture"
    picture(page, "held-unreadable")
    page.get_by_role("checkbox").check()
    page.get_by_label("Why").fill("the file broke off")
    page.get_by_role("button", name="Rescan").click()
    expect(page.get_by_text("waits for a new scan")).to_be_visible()
    picture(page, "held-decided")
    assert faults(page) == []
    assert sideways(page) == []
    address = page.get_by_role("link", name="Print the rescan sheet").get_attribute("href")
    printed = page.request.get(address or "")
    assert printed.ok and printed.headers["content-type"] == "application/pdf"
    [sheet] = pypdfium2.PdfDocument(printed.body())
    stack = tmp_path / "again"
    [again] = small_pages(stack, 1, first=1)
    again.rename(stack / "2.tif")
    sheet.render(scale=200 / 72).to_pil().convert("L").save(stack / "1.tif", dpi=(200, 200))
    shutil.copy(stack / "1.tif", PICTURES / "rescan-sheet.tif")
    # dropped anywhere: the sheet says where the paper belongs
    stack.rename(office.home.folder / "inbox" / "again")
    counts = office.until("WO-SEND", billable=3, held=0)
    assert (counts["received"], counts["excluded"]["rescan"]) == (4, 1)
    page.goto("/orders/WO-SEND/history")
    expect(page.get_by_text("the file broke off").first).to_be_visible()
    expect(page.get_by_text("unbroken")).to_be_visible()
    picture(page, "history")
    assert faults(page) == []


def test_a_batch_passes_quality_control_and_another_fails_and_is_looked_at_whole(office: Office) -> None:
    page = office.desk("kim")
    for number in ("WO-GOOD", "WO-BAD"):
        open_order(page, number, profile="checked")
        box = office.home.folder / number
        drop_small_pages(box, 4)
        (box / ".operator").write_text("lee\n")
        box.rename(office.home.folder / "inbox" / number / f"box of {number}")
    for number in ("WO-GOOD", "WO-BAD"):
        wait_until(lambda number=number: _to_look(office, number) == 2, seconds=PATIENCE_MS / 1000)
    mine = office.desk("lee")
    mine.goto("/qc")
    mine.get_by_role("link", name="box of WO-GOOD").click()
    mine.get_by_role("link", name="Begin").click()
    expect(mine.get_by_text("You scanned this page. Somebody else must look at it.")).to_be_visible()
    expect(mine.get_by_role("button", name="Good")).to_have_count(0)

    for number, key in (("WO-GOOD", "a"), ("WO-BAD", "2")):
        page.goto("/qc")
        page.get_by_role("link", name=f"box of {number}").click()
        page.get_by_role("link", name="Begin").click()
        for looked in range(2):
            expect(page.get_by_text(f"{looked} looked at")).to_be_visible()
            page.wait_for_load_state()
            if not looked:
                picture(page, f"look-{number}")
                assert faults(page) == []
            if key == "a" or looked:
                page.keyboard.press("a")
            else:
                page.keyboard.press(key)
                page.keyboard.press("1")
                page.keyboard.press("Enter")
        expect(page.get_by_text("It passed on" if key == "a" else "2 looked at")).to_be_visible()
    office.until("WO-GOOD", billable=4)
    [lot] = office.home.ask("order", "show", "WO-BAD")["quality"]
    assert (lot["rejected"], lot["state"], lot["to_look"], lot["undecided"]) == (True, "full", 2, 1)
    assert office.home.ask("order", "show", "WO-BAD")["pages"]["billable"] == 0
    page.goto("/quality")
    picture(page, "quality")
    assert faults(page) == []
    assert sideways(page) == []


def _to_look(office: Office, number: str) -> int:
    lots = office.home.ask("order", "show", number)["quality"]
    return sum(lot["to_look"] for lot in lots)


def test_an_agency_sees_its_own_packages_and_nothing_of_anyone_else(office: Office) -> None:
    page = office.desk("kim")
    for number, customer in (("WO-THEIRS", "MHS"), ("WO-OURS", "DPHHS")):
        open_order(page, number, customer=customer)
        drop_small_pages(office.home.folder / "inbox" / number / "box", 2)
        office.until(number, billable=2)
        close_order(office, page, number)
    agency = office.desk("dphhs")
    agency.goto("/packages")
    expect(agency.get_by_role("link", name="WO-OURS", exact=True)).to_be_visible()
    expect(agency.get_by_text("WO-THEIRS")).to_have_count(0)
    picture(agency, "agency-packages")
    agency.get_by_role("link", name="WO-OURS", exact=True).click()
    picture(agency, "agency-package")
    assert faults(agency) == []
    with agency.expect_download() as taken:
        agency.get_by_role("link", name="pdf").first.click()
    assert taken.value.path().read_bytes().startswith(b"%PDF-")
    ours = agency.url.removeprefix(office.url).partition("?")[0]
    theirs = ours.replace("WO-OURS", "WO-THEIRS")
    tricks = (
        "/orders/WO-THEIRS", theirs, f"{theirs}/package.zip", f"{ours}/../../WO-THEIRS/1", f"{ours}/files/../../bag",
        f"{ours}/files/%2e%2e/%2e%2e/WO-THEIRS/delivery-1/bagit.txt", "/held", "/qc", "/alarms",
    )  # fmt: skip
    answers = {trick: agency.request.get(trick, max_redirects=0).status for trick in tricks}
    assert set(answers.values()) <= {403, 404}, answers
    assert agency.request.get(ours).ok

    address = make_link(page, theirs)
    picture(page, "link-made")
    stranger = tab(office.browser, office.url)
    stranger.goto(address)
    expect(stranger.get_by_text("This link is for MHS")).to_be_visible()
    picture(stranger, "link")
    assert faults(stranger) == []
    page.get_by_label("Reason to revoke").fill("they have it")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("revoked", exact=True)).to_be_visible()
    assert stranger.request.get(address).status == 404
