"""The history of an order on screen, its chain checked, and as a PREMIS document."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sqlalchemy import text

from console import histories
from console.premis_file import NAMESPACE, premis_xml
from pipeline.bureau import Bureau
from pipeline.ledger.work import add_event
from pipeline.model import WorkOrder
from pipeline.settings import Settings
from tests.console.served import served
from tests.console.test_orders import BOTH, bureau, text_of
from tests.console.test_signing_in import PASSWORD, sign_in
from tests.pipeline.by_hand import open_order, receive, work_off
from tests.whole.home import Home

__all__ = ["bureau"]  # the fixture
HOSTILE = "<script>alert(1)</script> & \0 \ufffe ]]>"

# PREMIS 3.0 schema: what may stand in what, in this order; ? none or one, * any number, + at least one
IDENTIFIERS = {
    name: [f"{name}Type", f"{name}Value"]
    for name in (
        "objectIdentifier", "eventIdentifier", "agentIdentifier", "relatedObjectIdentifier", "linkingAgentIdentifier",
        "linkingObjectIdentifier",
    )
}  # fmt: skip
GRAMMAR = {
    **IDENTIFIERS,
    "premis": ["object+", "event*", "agent*"],
    "intellectualEntity": ["objectIdentifier+", "significantProperties*", "originalName?", "relationship*"],
    "file": ["objectIdentifier+", "objectCharacteristics+", "originalName?", "relationship*"],
    "significantProperties": ["significantPropertiesType?", "significantPropertiesValue?"],
    "objectCharacteristics": ["fixity*", "size?", "format+"],
    "fixity": ["messageDigestAlgorithm", "messageDigest"],
    "format": ["formatDesignation"],
    "formatDesignation": ["formatName", "formatVersion?"],
    "relationship": ["relationshipType", "relationshipSubType", "relatedObjectIdentifier+"],
    "event": [
        "eventIdentifier", "eventType", "eventDateTime", "eventDetailInformation*", "eventOutcomeInformation*",
        "linkingAgentIdentifier*", "linkingObjectIdentifier*",
    ],
    "eventDetailInformation": ["eventDetail?"],
    "eventOutcomeInformation": ["eventOutcome?"],
    "agent": ["agentIdentifier+", "agentName*", "agentType?"],
}  # fmt: skip


def faults_of(element: ET.Element) -> list[str]:
    """Where a PREMIS document is not as the schema says."""
    kind = element.get("{http://www.w3.org/2001/XMLSchema-instance}type") or local(element)
    children = " ".join(local(child) for child in element)
    if kind not in GRAMMAR:
        return [f"{kind} has children"] if children else []
    wanted = "".join(f"({re.sub('[?*+]$', '', one)} ){one[-1] if one[-1] in '?*+' else ''}" for one in GRAMMAR[kind])
    here = [] if re.fullmatch(wanted, f"{children} ") else [f"{kind}: {children}"]
    return here + [fault for child in element for fault in faults_of(child)]


def local(element: ET.Element) -> str:
    assert element.tag.startswith(f"{{{NAMESPACE}}}")
    return element.tag.rpartition("}")[2]


def values(document: ET.Element, name: str) -> list[str]:
    return [element.text or "" for element in document.iter(f"{{{NAMESPACE}}}{name}")]


def worked_off(bureau: Bureau) -> WorkOrder:
    order = open_order(bureau.ledger, film=True)
    receive(bureau.ledger, order, 3, name=HOSTILE.replace("\0", ""))
    bureau.ledger.close_order(order.number, who="keller", why="all in")
    work_off(bureau.ledger)
    delivered = bureau.ledger.order(order.number)
    assert delivered is not None
    return delivered


@BOTH
def test_the_history_is_told_in_words_and_its_chain_is_checked(bureau: Bureau) -> None:
    order = worked_off(bureau)
    lines = len(bureau.ledger.history(order.id, limit=1_000))
    with served(bureau) as client:
        sign_in(client, "audit", PASSWORD)
        place = f"/orders/{order.number}/history"
        assert f'{place}"' in client.get(f"/orders/{order.number}").text
        seen = text_of(client.get(place))
        assert re.search("Checked just now, [0-9-]+ [0-9:]+ UTC: 0 lines", seen)
        assert f"0 lines, each linked to the one before. {lines} more are not linked yet" in seen
        assert re.search(r"[0-9-]+ [0-9:]+ UTC order WO-2026-0001 closed by keller all in", seen)
        bureau.ledger.link_events()
        page = client.get(place)
        assert "Unbroken Checked just now" in text_of(page)
        assert f": {lines} lines, each linked to the one before. Last link:" in text_of(page)
        head = bureau.ledger.history(order.id, limit=1_000)[-1].hash
        assert head is not None and head in page.text
        assert HOSTILE[:8] not in page.text


def tamper(bureau: Bureau, order: WorkOrder) -> None:
    """Change what the history says, as somebody does who has the file of the ledger."""
    with bureau.ledger.write() as connection:
        for (name,) in connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events' AND name LIKE '%no_%'")
        ).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("UPDATE events SET who = 'nobody' WHERE order_id = :id"), {"id": order.id})


def test_a_history_that_was_changed_is_shown_so_and_only_that_one(bureau: Bureau) -> None:
    other, order = worked_off(bureau), open_order(bureau.ledger)
    receive(bureau.ledger, order, 1)
    bureau.ledger.link_events()
    tamper(bureau, order)
    with served(bureau) as client:
        sign_in(client, "bill", PASSWORD)
        seen = text_of(client.get(f"/orders/{order.number}/history"))
        assert "This history is not as it was written." in seen and "line 1 of its history" in seen
        assert "Unbroken" in text_of(client.get(f"/orders/{other.number}/history"))


def test_a_very_long_chain_is_shown_at_once_and_checked_when_asked_each_time_anew(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = worked_off(bureau)
    bureau.ledger.link_events()
    lines = len(bureau.ledger.history(order.id, limit=1_000))
    with served(bureau) as client:
        sign_in(client, "audit", PASSWORD)
        place = f"/orders/{order.number}/history"
        monkeypatch.setattr(histories, "CHECKED_UNASKED", lines)
        assert "Unbroken" in text_of(client.get(place))
        monkeypatch.setattr(histories, "CHECKED_UNASKED", lines - 1)
        page = client.get(place)
        assert (
            "Not checked" in text_of(page) and "Unbroken" not in text_of(page) and "closed by keller" in text_of(page)
        )
        asked = re.search(r'href="([^"]+)">Check it now', page.text)
        assert asked is not None
        assert "Unbroken" in text_of(client.get(asked[1]))
        assert "Not checked" in text_of(client.get(place)), "that it was sound is not remembered"
        tamper(bureau, order)
        assert "This history is not as it was written." in text_of(client.get(asked[1]))


def test_a_long_history_is_read_screen_by_screen(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    with bureau.ledger.write() as connection:
        for number in range(120):
            add_event(connection, order.id, f"order {order.id}", f"asked {number}.", "test", "done")
    with served(bureau) as client:
        sign_in(client, "audit", PASSWORD)
        place, seen, checks = f"/orders/{order.number}/history", "", 0
        while place:
            page = client.get(place)
            seen += text_of(page)
            checks += page.text.count("Checked just now")
            older = re.search(r'rel="next" href="([^"]+)"', page.text)
            place = older[1] if older else ""
    assert [int(found) for found in re.findall(r"asked ([0-9]+)\.", seen)] == list(reversed(range(120)))
    assert checks == 1


@pytest.mark.parametrize("file", ["history", "history.csv", "premis.xml"])
def test_histories_are_not_for_agencies_and_not_for_who_is_not_signed_in(bureau: Bureau, file: str) -> None:
    order = open_order(bureau.ledger)
    with served(bureau) as client:
        assert client.get(f"/orders/{order.number}/{file}").headers["location"] == "/sign-in"
        sign_in(client, "agency", PASSWORD)
        assert client.get(f"/orders/{order.number}/{file}").status_code == 403
        client.cookies.clear()
        sign_in(client, "lee", PASSWORD)
        assert client.get(f"/orders/{order.number}/{file}").status_code == 200
        assert client.get(f"/orders/WO-none%00/{file}").status_code == 404


@BOTH
def test_the_history_as_premis_has_its_events_agents_and_objects_as_the_schema_wants_them(bureau: Bureau) -> None:
    order = worked_off(bureau)
    with bureau.ledger.write() as connection:
        add_event(connection, order.id, f"order {order.id}", "asked", HOSTILE.replace("\0", "\1"), "done", why=HOSTILE)
    bureau.ledger.link_events()
    with served(bureau) as client:
        sign_in(client, "audit", PASSWORD)
        document = ET.fromstring(client.get(f"/orders/{order.number}/premis.xml").content)
    assert (local(document), document.get("version")) == ("premis", "3.0")
    assert faults_of(document) == []
    lines = bureau.ledger.history(order.id, limit=1_000)
    assert values(document, "eventIdentifierValue") == [f"event {line.id}" for line in lines]
    assert all(any(str(line.hash) in told for told in values(document, "eventDetail")) for line in lines)
    objects = values(document, "objectIdentifierValue")
    assert len(objects) == len(set(objects))
    assert set(values(document, "relatedObjectIdentifierValue")) <= set(objects)
    assert set(values(document, "linkingObjectIdentifierValue")) <= set(objects)
    assert set(values(document, "linkingAgentIdentifierValue")) == set(values(document, "agentIdentifierValue"))
    kinds = [subject.partition(" ")[0] for subject in objects]
    assert (kinds.count("page"), kinds.count("document"), kinds.count("roll"), kinds.count("order")) == (3, 1, 1, 1)


def test_the_command_writes_premis_beside_its_place(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.platen("init")
    made = Bureau.open(Settings(home=home.folder))
    order = open_order(made.ledger)
    wanted = "".join(premis_xml(made.ledger, order))
    made.close()
    home.platen("order", "history", order.number, "--premis", str(tmp_path / "premis.xml"))
    assert (tmp_path / "premis.xml").read_text(encoding="utf-8") == wanted
    assert [path.name for path in tmp_path.glob("premis*")] == ["premis.xml"]
