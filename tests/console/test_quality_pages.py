"""Quality control in a browser: pages are looked at with keys, by somebody else than who scanned them."""

from __future__ import annotations

import csv
import os
import re
import shutil
from pathlib import Path

import httpx
import pytest

from pipeline.bureau import Bureau
from pipeline.defects import Defect, Verdict
from pipeline.intake import operator_named_in
from pipeline.model import BatchId, Inspection, LotState, WorkOrder
from pipeline.review import CannotDecide, Decision, decide, decisions
from pipeline.sampling import drawn, page_ids_in
from pipeline.settings import Settings
from tests.browser import chromium
from tests.console.served import served
from tests.console.test_orders import BOTH, CHEAP_HASH, NAMES, bureau, text_of
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.pipeline.by_hand import open_order, receive, work_off
from tests.whole.home import Home, drop_small_pages

__all__ = ["bureau"]  # the fixture


def under_control(made: Bureau, *, pages: int = 5, operator: str = "lee") -> tuple[WorkOrder, BatchId]:
    """An order of which two pages are to be looked at."""
    order = open_order(made.ledger, inspection=Inspection.BEFORE)
    batch_id = receive(made.ledger, order, pages, operator=operator)
    assert batch_id is not None
    work_off(made.ledger)
    made.ledger.close_order(order.number, who="test")
    return order, batch_id


def begin(client: httpx.Client, batch_id: BatchId) -> httpx.Response:
    """The first page that is to be looked at."""
    found = re.search(r'class="act" href="([^"]+)"', client.get(f"/qc/{batch_id}").text)
    assert found is not None
    return client.get(found[1])


def say(client: httpx.Client, page: httpx.Response, verdict: str, note: str = "") -> httpx.Response:
    """What the page's own form sends."""
    seen = re.search(r'name="seen" value="([^"]*)"', page.text)
    assert seen is not None
    form = {"form_token": form_token(page.text), "verdict": verdict, "seen": seen[1], "note": note}
    return client.post(page.url.path, data=form)


@BOTH
def test_a_batch_passes_page_by_page_and_is_then_delivered(bureau: Bureau) -> None:
    order, batch_id = under_control(bureau)
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        assert f"box-1 {order.number} sample to be looked at 5 0 2 pages to be looked at lee" in text_of(
            client.get("/qc")
        )
        assert "Its delivery waits until every batch has passed." in text_of(client.get(f"/orders/{order.number}"))
        page = begin(client, batch_id)
        assert "0 looked at, 2 to go" in text_of(page)
        following = client.get(say(client, page, "good").headers["location"])
        page = client.get(following.headers["location"])
        assert "1 looked at, 1 to go" in text_of(page)
        place = client.get(say(client, page, Defect.DIRT, "a speck").headers["location"]).headers["location"]
        assert place == f"/qc/{batch_id}"
        assert "passed" in text_of(client.get(place)) and "minor specks or stains" in text_of(client.get(place))
        assert f"box-1 {order.number}" in text_of(client.get("/qc")).partition("Passed, newest first")[2]
        history = text_of(client.get(f"/orders/{order.number}"))
        assert "looked at minor by keller" in history and "quality control passed by keller" in history
    work_off(bureau.ledger)
    assert bureau.ledger.order_by_id(order.id).deliveries == 1


def test_whoever_scanned_a_batch_is_refused_and_is_told_why(bureau: Bureau) -> None:
    _, batch_id = under_control(bureau, operator=" Lee ")
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        page = begin(client, batch_id)
        assert "You scanned this page. Somebody else must look at it." in text_of(page)
        assert 'name="verdict"' not in page.text
        token = form_token(page.text)
        refused = client.post(page.url.path, data={"form_token": token, "verdict": "good"})
        assert refused.status_code == 409 and "lee scanned this page" in text_of(refused)
    lot = bureau.ledger.lot(batch_id)
    assert lot is not None and lot.looked == 0


def test_that_nobody_said_who_scanned_it_is_told_and_kept(bureau: Bureau) -> None:
    _, batch_id = under_control(bureau, operator="")
    with served(bureau) as client:
        sign_in(client, "lee", PASSWORD)
        assert "Nobody said who scanned this batch" in text_of(client.get(f"/qc/{batch_id}"))
        page = begin(client, batch_id)
        assert "see to it that it was not you" in text_of(page)
        say(client, page, "good")
    [first, *_] = bureau.ledger.lot_pages(batch_id)
    assert [(one.who, one.operator) for one in bureau.ledger.verdicts_of(first.id)] == [("lee", "")]


@pytest.mark.parametrize("name", NAMES)
def test_each_role_sees_and_says_what_is_its_own(bureau: Bureau, name: str) -> None:
    order, batch_id = under_control(bureau, operator="somebody")
    page = bureau.ledger.next_to_look(batch_id)
    assert page is not None
    places = ["/qc", f"/qc/{batch_id}", f"/qc/{batch_id}/pages/{page.id}", "/quality"]
    with served(bureau) as client:
        sign_in(client, name, PASSWORD)
        sees = name in ("keller", "lee", "audit")
        assert {client.get(place).status_code for place in places} == {200 if sees else 403}
        if sees:
            shown = client.get(places[2])
            assert ('name="verdict"' in shown.text) is (name != "audit")
            form = {"form_token": form_token(shown.text), "verdict": "good", "seen": ""}
            assert client.post(places[2], data=form).status_code == (403 if name == "audit" else 303)
        seen = client.get(f"/orders/{order.number}")
        assert (f'href="/qc/{batch_id}"' in seen.text) is sees


def test_what_does_not_fit_is_refused_and_changes_nothing(bureau: Bureau) -> None:
    _, batch_id = under_control(bureau)
    with served(bureau) as client:
        assert client.get("/qc").headers["location"] == "/sign-in"
        sign_in(client, "keller", PASSWORD)
        page = begin(client, batch_id)
        for verdict, note, sentence in (
            ("other", "", "Write into the note which defect it is."),
            ("blurred", "n" * 501, "at most 500 characters"),
            ("ugly", "", "There is no such defect."),
            ("critical", "", "There is no such defect."),
        ):
            answer = say(client, page, verdict, note)
            assert answer.status_code == 409 and sentence in text_of(answer)
        assert client.post(page.url.path, data={"form_token": "x", "verdict": "good"}).status_code == 403
        say(client, page, Defect.BLURRED, "<b>left</b>\x1b")
        late = say(client, page, "good")
        assert late.status_code == 409 and "Somebody has looked at this page meanwhile" in text_of(late)
        again = client.get(page.url.path)
        assert "blurred or streaked; “<b>left</b>” " in text_of(again) and "&lt;b&gt;left" in again.text
        for place in ("/qc/0", "/qc/x", f"/qc/{batch_id}/pages/99999", f"/qc/{batch_id}9/next"):
            assert client.get(place).status_code == 404
    lot = bureau.ledger.lot(batch_id)
    assert lot is not None and (lot.looked, lot.major) == (1, 1)


def test_a_batch_is_decided_by_looking_and_in_no_other_way(bureau: Bureau) -> None:
    order, _ = under_control(bureau)
    [hold] = bureau.ledger.holds()
    assert decisions(hold) == frozenset()
    for decision in Decision:
        with pytest.raises(CannotDecide):
            decide(bureau, hold, decision, who="keller", why="it is late")
    assert bureau.ledger.holds() == [hold]
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        shown = client.get("/held", params={"code": hold.code, "order": order.number})
        assert 'href="/qc"' in shown.text and 'name="decision"' not in shown.text


@BOTH
def test_figures_are_told_by_order_scanner_and_profile(bureau: Bureau) -> None:
    order, batch_id = under_control(bureau)
    with served(bureau) as client:
        sign_in(client, "keller", PASSWORD)
        assert "Nobody has looked at a page in that time." in text_of(client.get("/quality"))
        page = begin(client, batch_id)
        say(client, page, Defect.CUT_OFF)
        figures = text_of(client.get("/quality?days=30"))
    assert "First-pass yield 0.0% of 1 page looked at" in figures
    assert f"{order.number} 1 1 1 0.0% 0.0% 0 1 0 10,000" in figures
    assert "not named 1 1 1" in figures and "records-bitonal 1 1 1" in figures
    assert "print is cut off major 1" in figures


@pytest.mark.parametrize(
    ("content", "operator"),
    [("Anna Weber\nStation 3\n", "Anna Weber"), ("", ""), ("\x1b[31mx", ""), ("x" * 61, ""), ("\r\n", "")],
)
def test_who_scanned_a_folder_is_read_from_it(tmp_path: Path, content: str, operator: str) -> None:
    (tmp_path / ".operator").write_text(content, newline="")
    assert operator_named_in(tmp_path) == operator


def test_nothing_is_read_through_a_link_or_from_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / ".operator").symlink_to(tmp_path / "secret")
    assert operator_named_in(tmp_path / "box") == ""
    (tmp_path / "other" / ".operator").mkdir(parents=True)
    (tmp_path / "third").mkdir()
    os.mkfifo(tmp_path / "third" / ".operator")
    assert {operator_named_in(tmp_path / name) for name in ("other", "third", "secret", "none")} == {""}


@pytest.mark.whole
@pytest.mark.tool
def test_pages_are_looked_at_with_keys_and_a_bad_one_is_scanned_again_before_delivery(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.add_profile("checked", '[qc]\nplan = "percent"\npercent = 50')
    home.platen("init")
    home.platen("order", "open", "--customer", "DPHHS", "--profile", "checked", "--number", "WO-1")
    drop_small_pages(tmp_path / "box", 3)
    (tmp_path / "box" / ".operator").write_text("lee\n")
    shutil.copytree(tmp_path / "box", home.folder / "inbox" / "WO-1" / "box")
    home.platen("run", "--until-idle", codes=(3,))
    home.platen("order", "close", "WO-1")
    [line] = home.ask("order", "show", "WO-1")["quality"]
    assert (line["delivery_waits"], line["awaited"], line["scanned_by"]) == (True, "2 pages to be looked at", "lee")
    answer = home.ask("qc", "show", str(line["lot"]))
    sample = [page["page"] for page in answer["looked_at"]]
    assert sample == drawn(page_ids_in(answer["drawn_from"]), 2, answer["seed"])

    made = Bureau.open(Settings(home=home.folder, profiles=tmp_path / "profiles"))
    for name, (role, customer) in NAMES.items():
        made.ledger.add_user(name, CHEAP_HASH, role, customer=customer, must_change=False, who="test")

    def lot_now() -> LotState:
        lot = made.ledger.lot(line["lot"])
        assert lot is not None
        return lot.state

    with served(made) as client, chromium() as browser:
        screen = browser.new_page(base_url=str(client.base_url))
        faults: list[str] = []
        screen.on("pageerror", lambda error: faults.append(str(error)))
        screen.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        screen.goto("/sign-in")
        screen.fill("#name", "keller")
        screen.fill("#password", PASSWORD)
        screen.click("button")
        screen.goto(f"/qc/{line['lot']}")
        screen.click("text=Begin")

        def looked(pages: int) -> None:
            screen.wait_for_selector(f"text={pages} looked at")
            screen.wait_for_load_state()  # the script is deferred

        looked(0)
        screen.wait_for_function("[...document.images].every(image => image.naturalWidth > 0)")
        screen.keyboard.press("b")
        screen.wait_for_selector("figcaption:has-text('As scanned'):not(:has-text('Larger'))")
        screen.wait_for_load_state()
        screen.keyboard.press("b")
        screen.wait_for_selector("figcaption:has-text('Larger')")
        screen.wait_for_load_state()
        screen.keyboard.press("1")
        screen.keyboard.press("3")
        assert screen.evaluate("document.activeElement.value") == Defect.UNREADABLE
        screen.keyboard.press("Enter")
        looked(1)
        screen.keyboard.press("a")
        looked(2)
        screen.keyboard.press("a")
        screen.wait_for_selector("text=waits for a decision")
    assert not faults
    assert lot_now() is LotState.FULL
    holds = {hold["code"]: hold for hold in home.ask("held", "list")}
    hold = holds["quality-defect"]
    assert "unreadable (unreadable, critical defect)" in hold["sentence"]
    scan = tmp_path / "again.tif"
    shutil.copyfile(tmp_path / "box" / hold["file"], scan)
    home.platen("held", "rescan", str(hold["id"]), "--why", "unreadable", "--scan", str(scan))
    home.platen("run", "--until-idle", codes=(3,))
    # who gave the new scan must not look at it either
    home.platen("qc", "good", str(line["lot"]), str(hold["page_number"]), codes=(1,))
    new = made.ledger.lot_page_at(line["lot"], hold["page_number"])
    assert new is not None and new.verdict is None and new.operator
    with served(made) as client:
        sign_in(client, "keller", PASSWORD)
        assert say(client, begin(client, line["lot"]), "good").status_code == 303
    assert lot_now() is LotState.PASSED
    home.platen("run", "--until-idle")
    done = home.ask("order", "show", "WO-1")
    assert (done["status"], done["pages"]["billable"], done["pages"]["excluded"]["rescan"]) == ("delivered", 3, 1)
    assert done["pages"]["received"] == 4
    assert home.ask("qc", "figures")["rescans"] == {"unreadable": 1}
    with (home.folder / done["package"] / "data" / "quality.csv").open(newline="") as table:
        [row] = csv.DictReader(table)
    assert (row["plan"], row["sample"], row["looked_at"], row["critical"]) == ("50 % of the pages", "2", "3", "1")
    assert (row["sample_rejected"], row["state"], row["seed"]) == ("yes", "passed", answer["seed"])
    assert home.ask("verify")["faults"] == []
    assert made.ledger.verdicts_of(new.id)[0].verdict is Verdict.GOOD
    made.close()
