"""Alarms and what settles, in a browser: who sees them, who has a say, and that the floor obeys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.alarm_words import alarm_sentence
from pipeline.bureau import Bureau
from pipeline.ledger import Ledger
from pipeline.ledger.settling import Asked
from pipeline.model import AlarmKind, PageAlarm, Priority, Role, Service
from pipeline.settings import Settings
from tests.console.served import served
from tests.console.test_held_pages import signed_in
from tests.pipeline.by_hand import receive
from tests.pipeline.test_alarms import prepare
from workers.watcher import Watcher

DIRT = (PageAlarm(kind=AlarmKind.STREAK, what="a line along the sheet, 43 mm from the left"),)
HOSTILE = '<script>alert("1")</script>'


@pytest.fixture
def bureau(tmp_path: Path) -> Iterator[Bureau]:
    made = Bureau.init(Settings(home=tmp_path / "home", settle_seconds=3600.0))
    yield made
    made.close()


def dirty(bureau: Bureau, pages: int, *, scanner: str = "fi-7160") -> Ledger:
    """An order with so many pages that show a dirty glass."""
    ledger = bureau.ledger
    order = ledger.open_order(
        customer="DPHHS",
        profile=bureau.profiles["records-bitonal"],
        services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL,
        year=2026,
        who="test",
    )
    receive(ledger, order, pages)
    prepare(ledger, pages, scanner=scanner, alarms=DIRT)
    ledger.fold_alarms()
    return ledger


def test_a_dirty_glass_is_one_alarm_with_what_to_do_on_the_floor_and_its_page(bureau: Bureau) -> None:
    dirty(bureau, 37)
    with served(bureau) as client:
        signed_in(client, bureau, Role.OPERATOR)
        page = client.get("/alarms").text
        assert page.count("Clean the glass of fi-7160: 37 pages since") == 1
        assert 'href="/pages/37"' in page and "43 mm from the left" in page and "and 25 before these" in page
        assert "Clean the glass of fi-7160: 37 pages" in client.get("/").text
        assert 'platen_scan_alarms{kind="streak"} 1.0' in client.get("/metrics").text


def test_where_two_scanners_share_a_name_the_alarm_says_of_which_batches_it_speaks(bureau: Bureau) -> None:
    dirty(bureau, 2)
    [alarm] = dirty(bureau, 3).open_alarms()
    batches = {f"“{page.batch}” of {page.order}" for page in alarm.newest}
    assert len(batches) == 2
    said, where = alarm_sentence(alarm).split(", the last in ")
    assert said.startswith("Clean the glass of fi-7160: 5 pages since")
    assert set(where.removesuffix(".").split(" and ")) == batches


@pytest.mark.parametrize("role", Role)
def test_who_stands_at_the_scanner_says_seen_others_look_or_do_not(bureau: Bureau, role: Role) -> None:
    ledger = dirty(bureau, 2)
    [alarm] = ledger.open_alarms()
    sees = role in {Role.OPERATOR, Role.SUPERVISOR, Role.AUDITOR}
    may = role in {Role.OPERATOR, Role.SUPERVISOR}
    with served(bureau) as client:
        token = signed_in(client, bureau, role)
        assert client.get("/alarms").status_code == (200 if sees else 403)
        answer = client.post(f"/alarms/{alarm.id}/seen", data={"form_token": token, "said": "cleaned"})
        assert answer.status_code == (303 if may else 403)
    assert bool(ledger.open_alarms()) != may


def test_an_alarm_is_seen_with_a_word_by_this_consoles_form_and_once(bureau: Bureau) -> None:
    ledger = dirty(bureau, 2)
    [alarm] = ledger.open_alarms()
    with served(bureau) as client:
        token = signed_in(client, bureau, Role.OPERATOR)
        place = f"/alarms/{alarm.id}/seen"
        assert client.post(place, data={"form_token": "another", "said": "cleaned"}).status_code == 403
        assert client.post(place, data={"form_token": token, "said": " "}).status_code == 422
        assert len(ledger.open_alarms()) == 1
        assert client.post(place, data={"form_token": token, "said": "cleaned"}).status_code == 303
        assert client.post(place, data={"form_token": token, "said": "cleaned"}).status_code == 409
        assert "a-operator: cleaned" in client.get("/alarms").text


def test_a_scanner_with_a_hostile_name_is_shown_as_text(bureau: Bureau) -> None:
    dirty(bureau, 1, scanner=HOSTILE)
    with served(bureau) as client:
        signed_in(client, bureau, Role.SUPERVISOR)
        for place in ("/alarms", "/"):
            assert HOSTILE not in client.get(place).text
            assert "&lt;script&gt;" in client.get(place).text


def dropped(bureau: Bureau, name: str) -> Path:
    folder = bureau.settings.folder("inbox") / name
    folder.mkdir()
    (folder / "0001.tif").write_bytes(b"II*\0")
    return folder


def asks(bureau: Bureau, asked: Asked, role: Role = Role.OPERATOR) -> int:
    """Press a button of the floor about what settles; gives the answer's status."""
    [one] = bureau.ledger.settling()
    with served(bureau) as client:
        token = signed_in(client, bureau, role)
        may = role in {Role.OPERATOR, Role.SUPERVISOR}
        assert (f'name="asked" value="{asked.value}"' in client.get("/").text) == may
        data = {"form_token": token, "key": one.key, "asked": asked.value}
        return client.post("/settling", data=data).status_code


def test_what_settles_is_shown_and_started_when_somebody_says_so(bureau: Bureau) -> None:
    dropped(bureau, "box-1")
    watcher = Watcher(bureau)
    watcher.look()
    watcher.look()
    [one] = bureau.ledger.settling()
    assert (one.name, one.files, one.size_bytes) == ("box-1", 1, 4)
    assert bureau.ledger.open_delivery_sources() == {}
    assert asks(bureau, Asked.START) == 303
    watcher.look()
    assert len(bureau.ledger.open_delivery_sources()) == 1
    assert bureau.ledger.settling() == []


def test_what_somebody_wants_to_wait_waits_though_it_has_settled_until_somebody_starts_it(tmp_path: Path) -> None:
    bureau = Bureau.init(Settings(home=tmp_path / "home", settle_seconds=0.0))
    folder = dropped(bureau, "box-1")
    watcher = Watcher(bureau)
    watcher.look()
    assert asks(bureau, Asked.WAIT) == 303
    (folder / ".ready").touch()
    for _ in range(3):
        watcher.look()
    assert bureau.ledger.open_delivery_sources() == {}
    assert watcher.settling == 0, "a floor that works until idle need not wait for it"
    assert asks(bureau, Asked.START, Role.SUPERVISOR) == 303
    watcher.look()
    assert len(bureau.ledger.open_delivery_sources()) == 1
    bureau.close()


def told_to_wait(tmp_path: Path) -> tuple[Bureau, Path, Watcher]:
    """A bureau where everything settles at once, and a folder of which somebody said that it is to wait."""
    bureau = Bureau.init(Settings(home=tmp_path / "home", settle_seconds=0.0))
    folder = dropped(bureau, "the-one")
    watcher = Watcher(bureau)
    watcher.look()
    [one] = bureau.ledger.settling()
    bureau.ledger.ask_settling(one.key, Asked.WAIT, who="Ada")
    return bureau, folder, watcher


def test_what_is_to_wait_waits_when_it_is_emptied_and_filled_again(tmp_path: Path) -> None:
    bureau, folder, watcher = told_to_wait(tmp_path)
    (folder / "0001.tif").rename(tmp_path / "0001.tif")
    watcher.look()
    (tmp_path / "0001.tif").rename(folder / "0001.tif")
    for _ in range(3):
        watcher.look()
    assert bureau.ledger.open_delivery_sources() == {}
    bureau.close()


def test_what_is_to_wait_waits_when_more_is_dropped_than_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bureau, _, watcher = told_to_wait(tmp_path)
    monkeypatch.setattr("workers.watcher.MOST_TOLD", 2)
    others = [str(dropped(bureau, f"another-{number}")) for number in range(3)]
    for _ in range(3):
        watcher.look()
    assert sorted(bureau.ledger.open_delivery_sources()) == others
    bureau.close()


def test_what_is_to_wait_waits_though_another_watcher_did_not_see_it_yet(tmp_path: Path) -> None:
    bureau, _, watcher = told_to_wait(tmp_path)
    bureau.ledger.note_settling([], before=())  # its look began before the folder was there
    for _ in range(3):
        watcher.look()
    assert bureau.ledger.open_delivery_sources() == {}
    bureau.close()


def test_what_was_said_goes_with_the_delivery(bureau: Bureau) -> None:
    folder = dropped(bureau, "box-1")
    watcher = Watcher(bureau)
    watcher.look()
    [one] = bureau.ledger.settling()
    bureau.ledger.ask_settling(one.key, Asked.START, who="Ada")
    (folder / "0001.tif").unlink()
    folder.rmdir()
    watcher.look()
    assert bureau.ledger.settling() == []
    dropped(bureau, "box-1")
    watcher.look()
    watcher.look()
    assert bureau.ledger.open_delivery_sources() == {}, "another delivery of the same name; nobody said start"


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.BILLING])
def test_who_only_looks_starts_nothing(bureau: Bureau, role: Role) -> None:
    dropped(bureau, "box-1")
    Watcher(bureau).look()
    assert asks(bureau, Asked.START, role) == 403
    [one] = bureau.ledger.settling()
    assert one.asked is Asked.NOTHING


def test_the_history_tells_who_said_when(bureau: Bureau) -> None:
    dirty(bureau, 1)
    order = bureau.ledger.orders()[0]
    (bureau.settings.folder("inbox") / order.number).mkdir()
    dropped(bureau, f"{order.number}/box-1")
    Watcher(bureau).look()
    assert asks(bureau, Asked.WAIT) == 303
    [event] = [event for event in bureau.ledger.events(order.id) if event.kind == "told to wait"]
    assert (event.who, json.loads(json.dumps(event.detail))["name"]) == ("a-operator", "box-1")
