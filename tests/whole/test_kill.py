"""Nothing is lost and nothing doubled when the power goes at any moment."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.whole.home import Home, drop_small_pages

pytestmark = [pytest.mark.whole, pytest.mark.tool]

PAGES = 60
KILLS = 20
KILLED_AT = (0.03, 0.16)  # of the time that all pages take


def _bureau(folder: Path) -> Home:
    home = Home(folder)
    home.platen("init")
    for number in ("WO-A", "WO-B"):
        home.platen("order", "open", "--customer", "DPHHS", "--profile", "records-bitonal", "--number", number,
                    "--service", "imaging", "--service", "film")  # fmt: skip
    drop_small_pages(folder / "inbox" / "WO-A" / "stack", PAGES - 10)
    drop_small_pages(folder / "inbox" / "WO-B" / "short", 10, first=500)
    return home


def _outcome(home: Home) -> dict[str, Any]:
    """What a customer sees of an order: counts, documents, texts, frames and charges."""
    found: dict[str, Any] = {}
    for number in ("WO-A", "WO-B"):
        shown = home.ask("order", "show", number)
        texts = [
            subprocess.run(
                ["pdftotext", "-raw", home.folder / document["pdf"], "-"], capture_output=True, text=True, check=True
            ).stdout
            for document in shown["documents"]
        ]
        found[number] = {
            "status": shown["status"],
            "pages": shown["pages"],
            "documents": [(d["title"], d["pages"], d["conforms"]) for d in shown["documents"]],
            "texts": texts,
            "frames": [roll["frames"] for roll in shown["rolls"]],
            "charges": [(c["fee_code"], c["quantity"], c["amount"]) for c in shown["charges"]],
            "packages": len(list((home.folder / "outbox").glob(f"*/{number}/*/bagit.txt"))),
        }
    return found


def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    undisturbed = _bureau(tmp_path / "undisturbed")
    begin = time.monotonic()
    undisturbed.platen("run", "--until-idle")
    all_s = time.monotonic() - begin  # on a busy machine the kills come later, or nothing would ever be begun
    for number in ("WO-A", "WO-B"):
        undisturbed.platen("order", "close", number)
    undisturbed.platen("run", "--until-idle")
    expected = _outcome(undisturbed)
    assert expected["WO-A"]["pages"]["billable"] == PAGES - 10
    assert expected["WO-B"]["pages"]["billable"] == 10

    killed = _bureau(tmp_path / "killed")
    moments = random.Random(20)
    kills = 0
    closed = False
    while kills < KILLS:
        if killed.kill_after(all_s * moments.uniform(*KILLED_AT)):
            kills += 1
        elif closed:
            break  # everything is delivered: no more to be killed
        if not closed and kills >= KILLS // 2:
            for number in ("WO-A", "WO-B"):  # both have been received by now, so filming and packaging are hit too
                if killed.ask("order", "show", number)["pages"]["received"]:
                    killed.platen("order", "close", number)
            closed = all(killed.ask("order", "show", n)["status"] != "open" for n in ("WO-A", "WO-B"))
    for number in ("WO-A", "WO-B"):
        killed.platen("order", "close", number)
    killed.platen("run", "--until-idle")
    assert kills >= KILLS // 2
    assert _outcome(killed) == expected
    left = [path.name for path in (killed.folder / "store" / "incoming").iterdir() if path.is_file()]
    print(f"{kills} kills; scratch files left behind: {len(left)}")
