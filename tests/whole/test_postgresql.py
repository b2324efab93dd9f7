"""The whole bureau with its ledger on PostgreSQL: the same promises, two floors at once, a second delivery."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from pipeline.film_check import check_film_folder
from tests.servers import PostgreSQL
from tests.whole.home import Home, drop_small_pages

pytestmark = [pytest.mark.whole, pytest.mark.tool]


def _delivered(home: Home) -> None:
    """Close the order and have two floors finish it together."""
    home.platen("order", "close", "WO-1")
    floors = [home.start(), home.start()]
    assert [floor.wait(timeout=300) for floor in floors] == [0, 0]


def _indexed(package: Path) -> dict[str, str]:
    with (package / "data" / "index.csv").open(encoding="utf-8", newline="") as stream:
        return {row["document_id"]: row["roll"] for row in csv.DictReader(stream)}


def test_an_order_on_postgresql_is_delivered_twice_and_charged_once_for_each_page(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    home = Home(tmp_path / "home")
    home.environment["PLATEN_DATABASE_URL"] = postgresql.empty_database()
    home.platen("init")
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1",
                "--service", "imaging", "--service", "film")  # fmt: skip
    drop_small_pages(home.folder / "inbox" / "WO-1" / "first", 3)
    home.platen("run", "--until-idle")
    _delivered(home)
    first = home.ask("order", "show", "WO-1")
    assert (first["status"], first["pages"]["billable"], first["deliveries"]) == ("delivered", 3, 1)

    home.platen("order", "reopen", "WO-1")
    drop_small_pages(home.folder / "inbox" / "WO-1" / "second", 2, first=100)
    home.platen("run", "--until-idle")
    _delivered(home)
    shown = home.ask("order", "show", "WO-1")
    assert (shown["status"], shown["pages"]["billable"], shown["deliveries"]) == ("delivered", 5, 2)

    charged: Counter[tuple[str, int]] = Counter()
    for line in shown["charges"]:
        charged[line["fee_code"], line["delivery"]] += int(line["quantity"])
    assert charged == {("IMG", 1): 3, ("IMG", 2): 2, ("FILM", 1): 3, ("FILM", 2): 2}
    assert len(shown["rolls"]) == len({roll["number"] for roll in shown["rolls"]}) == 2
    films = [check_film_folder(folder) for folder in sorted((home.folder / "film").iterdir())]
    assert [(film.good, film.documents, film.pages) for film in films] == [(True, 1, 3), (True, 1, 2)]
    # the second package is whole: it holds what the first held too, and says on which roll each document is
    packages = home.folder / "outbox" / "C" / "WO-1"
    assert len(_indexed(packages / "delivery-1")) == 1
    rolls = _indexed(packages / "delivery-2")
    assert len(rolls) == len(set(rolls.values())) == 2
    assert home.ask("verify")["faults"] == []
