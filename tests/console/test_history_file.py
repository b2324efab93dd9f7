"""An order's history as a file: whoever has only this can check it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

from pipeline.bureau import Bureau
from pipeline.ledger.work import add_event
from pipeline.settings import Settings
from tests.pipeline.by_hand import open_order, receive, work_off
from tests.whole.home import Home


def test_the_chain_can_be_checked_from_the_file_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.platen("init")
    bureau = Bureau.open(Settings(home=home.folder))
    order = open_order(bureau.ledger)
    receive(bureau.ledger, order, 2)
    work_off(bureau.ledger)
    with bureau.ledger.write() as connection:
        add_event(connection, order.id, "order 1", "asked", '=HYPERLINK("x"), "ü"\r\n', "done", why="a, “b”\0")
    bureau.ledger.link_events()
    bureau.close()
    target = tmp_path / "history.csv"
    home.platen("order", "history", order.number, "--csv", str(target))
    rows = list(csv.DictReader(io.StringIO(target.read_bytes().decode(), newline="")))
    assert [int(row["line"]) for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["who"].startswith("'="), "a spreadsheet would compute it"
    before = ""
    for row in rows:
        who = row["who"].removeprefix("'")
        content = [before, int(row["event"]), int(row["at_ms"]), int(row["order_id"]), row["subject"], row["kind"], who]
        content += [row["outcome"], row["detail"]]
        before = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode("ascii")).hexdigest()
        assert row["hash"] == before
    told = home.ask("order", "history", order.number)
    assert [(line["event"], line["hash"]) for line in told] == [(int(row["event"]), row["hash"]) for row in rows]
    assert "opened" in home.platen("order", "history", order.number)
