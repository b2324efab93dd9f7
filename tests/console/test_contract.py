"""The `platen` command as people and scripts rely on it: names, answers, exit codes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import bagit
import pikepdf
import pytest
from PIL import Image

from console.terminal import main
from fixtures.batches import write_broken_tiff, write_multipage_tiff, write_single_pages
from fixtures.pages import blank, letter
from fixtures.scanner import scanned
from fixtures.separators import document_separator

pytestmark = pytest.mark.tool

PLATEN = Path(sys.executable).parent / "platen"
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 500
ORDER = "WO-1"
DPI = 120.0  # enough to be read; less time than 300
COARSE_DPI = 100.0  # film takes no less

# the stages that decide what is counted, and nothing that takes time
QUICK_PROFILE = """
name = "quick"
title = "Few stages, for tests"

[read]
dpi_when_missing = 300
min_dpi = 110

[[page]]
stage = "separators"

[[page]]
stage = "blank"

[[page]]
stage = "binarize"

[[recognize]]
stage = "ocr"
languages = ["eng"]

[package]
scans = "all"
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run of the command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class House:
    """An installation that is only ever touched through the command."""

    home: Path
    profiles: Path
    seen: dict[str, Any] = field(default_factory=dict)

    def platen(self, *arguments: str | Path, code: int = 0, **settings: str) -> Answer:
        environment = self._environment(settings)
        done = subprocess.run(
            [PLATEN, *map(str, arguments)],
            env=environment,
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return Answer(done.returncode, done.stdout, done.stderr)

    def here(self, *arguments: str | Path, code: int = 0, **settings: str) -> Answer:
        """The same without a process of its own, which takes most of the time; a traceback fails the test."""
        out, err = io.StringIO(), io.StringIO()
        environment = self._environment(settings)
        words = ["platen", *map(str, arguments)]
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", words),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(self.home.parent),
        ):
            try:
                main()
                found: object = 0
            except SystemExit as end:
                found = end.code or 0
        assert found == code, (arguments, found, out.getvalue(), err.getvalue())
        return Answer(code, out.getvalue(), err.getvalue())

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PLATEN_")},
            "PLATEN_HOME": str(self.home),
            "PLATEN_PROFILES": str(self.profiles),
            "PLATEN_SETTLE_SECONDS": "0.5",
            "PLATEN_SCAN_SECONDS": "0.3",
            "PLATEN_WORKERS": "2",
            **settings,
        }

    def ask_here(self, *arguments: str | Path, code: int = 0) -> Any:
        return self.here(*arguments, "--json", code=code).json

    def ask(self, *arguments: str | Path, code: int = 0) -> Any:
        return self.platen(*arguments, "--json", code=code).json

    def show(self, number: str = ORDER) -> Any:
        return self.ask_here("order", "show", number)

    def holds(self) -> dict[str, Any]:
        """What is held, by file."""
        return {hold["file"]: hold for hold in self.ask("held", "list")}


def _adds_up(pages: dict[str, Any]) -> bool:
    return bool(
        pages["received"] == pages["billable"] + sum(pages["excluded"].values()) + pages["held"] + pages["open"]
    )


def _draw(folder: Path) -> None:
    """Eight pages: two documents of one letter, a separator, a blank; one too coarse, three damaged on their way."""
    pages = [letter(seed=1, dpi=DPI), document_separator(dpi=DPI), letter(seed=2, dpi=DPI), blank(dpi=DPI)]
    write_single_pages(folder, [scanned(page) for page in pages])
    write_single_pages(folder, [scanned(letter(seed=3, dpi=COARSE_DPI))], first_number=5)
    for number in (6, 7, 8):
        write_broken_tiff(folder / f"{number:04d}.tif", scanned(letter(seed=number, dpi=DPI)))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house with one order, of which everything that can be done without a person is done."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "profiles", root / "profiles", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "profiles" / "quick.toml").write_text(QUICK_PROFILE, encoding="utf-8")
    made = House(root / "home", root / "profiles")
    made.platen("init")
    made.seen["opened"] = made.ask(
        *("order", "open", "--customer", "DPHHS", "--profile", "quick", "--number", ORDER),
        *("--service", "imaging", "--service", "film", "--priority", "rush", "--due", "2026-12-31"),
        *("--expect-pages", "8", "--series", "Case files", "--title", "Test [box]", "--box", "B-1", "--box", "B-2"),
    )
    _draw(made.home / "inbox" / ORDER / "box-1")
    made.seen["run"] = made.platen("run", "--until-idle", code=3)
    made.seen["show"] = made.show()
    made.seen["status"] = made.ask("status")
    made.seen["held"] = made.ask("held", "list")
    return made


@pytest.fixture(scope="module")
def delivered(house: House) -> House:
    """The house after a supervisor has decided everything and the order has been closed."""
    seen, holds = house.seen, house.holds()
    coarse, torn, again, better = (holds[f"{number:04d}.tif"]["id"] for number in (5, 6, 7, 8))
    seen["refused release"] = house.platen("held", "release", torn, "--why", "I want it", code=1)
    seen["release"] = house.ask("held", "release", coarse, "--why", "the sheet is so")
    seen["waive"] = house.ask("held", "waive", torn, "--why", "an advertisement")
    seen["retry"] = house.ask("held", "retry", again, "--why", "perhaps it was the disk")
    house.platen("run", "--until-idle", code=3)
    seen["still held"] = house.holds()
    seen["asked"] = house.ask("held", "rescan", again, "--why", "scan it again")
    seen["waiting"] = house.ask("held", "show", again)
    rescans = house.home.parent / "rescans"
    write_single_pages(rescans, [scanned(letter(seed=n, dpi=DPI)) for n in (7, 8)], first_number=7)
    seen["replaced"] = house.ask("held", "rescan", better, "--why", "damaged", "--scan", rescans / "0008.tif")
    seen["closed"] = house.ask("order", "close", ORDER)
    shutil.move(rescans / "0007.tif", house.home / "inbox" / ORDER / f"RESCAN-{again}.tif")
    seen["early film plan"] = house.platen("film", "plan", ORDER, code=1)
    seen["last run"] = house.platen("run", "--until-idle")
    seen["delivered"] = house.show()
    return house


# --- the home and what is installed ------------------------------------------------------------------------------


def test_init_makes_the_home_and_may_be_repeated(house: House) -> None:
    house.platen("init")
    assert {"inbox", "error", "done", "store", "outbox", "film", "ledger.db"} <= {p.name for p in house.home.iterdir()}


def test_doctor_tells_versions_and_settings(house: House) -> None:
    findings = house.ask("doctor")
    assert {"Python", "SQLite", "Tesseract", "languages"} <= {finding["name"] for finding in findings}
    assert all(finding["version"] for finding in findings if finding["needed"])
    settings = house.ask("doctor", "--settings")
    names = ("HOME", "DATABASE_URL", "BROKER_URL", "STORE_URL", "WORKERS", "SETTLE_SECONDS")
    assert {f"PLATEN_{name}" for name in names} <= set(settings)
    assert settings["PLATEN_SETTLE_SECONDS"]["value"] == "0.5"


def test_profiles_are_listed_shown_and_checked(house: House) -> None:
    names = {profile["name"] for profile in house.ask_here("profiles", "list")}
    assert names >= {"records-bitonal", "records-colour", "film-16mm-24x", "federal-permanent", "archive-master"}
    shown = house.ask_here("profiles", "show", "federal-permanent")
    assert shown["pdfa"]["flavour"] == "2u"
    assert shown["delivery"]["bitonal_encoding"] == "png"
    checked = house.here("profiles", "check").out
    assert "records-bitonal" in checked and "standard" in checked


def test_a_bad_profile_or_rate_card_is_told_with_its_place(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    shutil.copytree(house.profiles, folder)
    card = folder / "rates" / "dphhs.toml"
    card.write_text('name = "x"\nfee = [{code = "IMG", price = 0.1}]\n', encoding="utf-8")
    told = house.here("profiles", "check", code=1, PLATEN_PROFILES=str(folder)).err
    assert "dphhs.toml" in told and "price" in told
    card.unlink()
    (folder / "quick.toml").write_text(QUICK_PROFILE.replace("min_dpi = 110", "min_dpi = 'x'"), encoding="utf-8")
    told = house.here("profiles", "check", code=1, PLATEN_PROFILES=str(folder)).err
    assert "quick.toml" in told and "read.min_dpi" in told


# --- an order from opening to package ----------------------------------------------------------------------------


def test_an_opened_order_is_told_and_listed(house: House) -> None:
    opened = house.seen["opened"]
    assert opened["number"] == ORDER
    assert (opened["customer"], opened["profile"], opened["status"]) == ("DPHHS", "quick", "open")
    assert (opened["priority"], opened["due"], opened["title"]) == ("rush", "2026-12-31", "Test [box]")
    assert ORDER in [order["number"] for order in house.ask_here("order", "list")]


def test_run_tells_by_its_exit_code_that_a_person_is_needed(house: House) -> None:
    assert house.seen["run"].code == 3
    assert "platen held list" in house.seen["run"].err


def test_order_show_has_every_key_of_the_contract(delivered: House) -> None:
    shown = delivered.seen["delivered"]
    keys = {"number", "customer", "profile", "status", "pages", "batches", "documents", "rolls", "charges", "package"}
    assert keys <= set(shown)
    page_keys = {"received", "billable", "excluded", "held", "open"}
    assert set(shown["pages"]) == page_keys
    assert set(shown["pages"]["excluded"]) == {"separator", "blank", "rescan", "waived"}
    for batch in shown["batches"]:
        assert {"name", "digest", "seal", "pages"} <= set(batch)
        assert set(batch["pages"]) == page_keys
        assert batch["digest"].startswith("sha256:") and batch["seal"].startswith("sha256:")
    for document in shown["documents"]:
        assert {"id", "title", "pages", "pdf", "flavour", "conforms", "mean_confidence"} <= set(document)
        assert document["conforms"] is True and document["flavour"] == "2u"
        assert document["pdf"].startswith("outbox/") and document["pdf"].endswith(".pdf")
        with pikepdf.open(delivered.home / document["pdf"]) as pdf:
            assert len(pdf.pages) == document["pages"]
    for roll in shown["rolls"]:
        assert {"number", "frames", "folder"} <= set(roll)
        assert (delivered.home / roll["folder"]).is_dir()
    for charge in shown["charges"]:
        assert {"fee_code", "quantity", "unit_price", "amount"} <= set(charge)
        assert all(isinstance(charge[name], str) for name in ("quantity", "unit_price", "amount"))


def test_the_counts_always_add_up(delivered: House) -> None:
    for shown in (delivered.seen["show"], delivered.seen["delivered"]):
        assert _adds_up(shown["pages"])
        assert all(_adds_up(batch["pages"]) for batch in shown["batches"])
        for name in ("received", "billable", "held", "open"):
            assert shown["pages"][name] == sum(batch["pages"][name] for batch in shown["batches"])


def test_pages_are_counted_as_drawn(delivered: House) -> None:
    before = delivered.seen["show"]["pages"]
    assert (before["received"], before["held"], before["billable"], before["open"]) == (8, 4, 2, 0)
    after = delivered.seen["delivered"]["pages"]
    assert after == {
        "received": 10,  # the two rescans were received too
        "billable": 5,
        "excluded": {"separator": 1, "blank": 1, "rescan": 2, "waived": 1},
        "held": 0,
        "open": 0,
    }
    documents = delivered.seen["delivered"]["documents"]
    assert [(document["title"], document["pages"]) for document in documents] == [("box-1 (1)", 1), ("box-1 (2)", 4)]


def test_every_billable_page_is_charged_once_and_exactly(delivered: House) -> None:
    charges = {charge["fee_code"]: charge for charge in delivered.seen["delivered"]["charges"]}
    image = charges["IMG"]
    assert (image["quantity"], image["unit_price"], image["amount"]) == ("5", "0.1000", "0.50")
    for charge in charges.values():
        assert Decimal(charge["amount"]) == Decimal(charge["quantity"]) * Decimal(charge["unit_price"])


def test_status_tells_kinds_speed_and_orders(house: House) -> None:
    status = house.seen["status"]
    assert {"RECEIVE_BATCH", "PREPARE_PAGE", "ASSEMBLE_BATCH", "RECOGNIZE_PAGE", "PACKAGE_DOCUMENT"} <= set(
        status["kinds"]
    )
    assert all(set(states) == {"due", "running", "done", "held"} for states in status["kinds"].values())
    assert status["kinds"]["PREPARE_PAGE"] == {"due": 0, "running": 0, "done": 4, "held": 4}
    assert set(status["pages_per_minute"]) == {"1m", "5m", "60m"}
    told = {"number", "remaining", "held", "inspection", "earliest_finish", "expected_finish"}
    assert [set(order) for order in status["orders"]] == [told]


def test_what_is_held_says_where_and_why(house: House) -> None:
    held = house.seen["held"]
    keys = {"id", "order", "batch", "file", "page_number", "code", "sentence", "since"}
    assert all(keys == set(hold) for hold in held)
    assert {(hold["file"], hold["page_number"], hold["code"]) for hold in held} == {
        ("0005.tif", 5, "resolution-too-low"),
        ("0006.tif", 6, "unreadable"),
        ("0007.tif", 7, "unreadable"),
        ("0008.tif", 8, "unreadable"),
    }
    assert {(hold["order"], hold["batch"]) for hold in held} == {(ORDER, "box-1")}
    assert all(datetime.fromisoformat(hold["since"]).tzinfo for hold in held)


def test_a_supervisors_decisions_are_done_or_refused_in_a_sentence(delivered: House) -> None:
    seen = delivered.seen
    assert "cannot be released" in seen["refused release"].err
    assert [seen[name]["outcome"] for name in ("release", "waive", "retry", "replaced")] == [
        "released", "waived", "due again", "replaced by the rescan",
    ]  # fmt: skip
    assert set(seen["still held"]) == {"0007.tif", "0008.tif"}
    assert seen["still held"]["0007.tif"]["code"] == "unreadable"


def test_a_page_sent_to_be_scanned_again_waits_and_is_replaced_by_what_is_dropped(delivered: House) -> None:
    seen = delivered.seen
    assert seen["asked"]["outcome"] == "awaiting-rescan"
    assert seen["waiting"]["code"] == "awaiting-rescan"
    name = f"RESCAN-{seen['asked']['id']}.tif"
    assert f"inbox/{ORDER}/{name}" in seen["waiting"]["sentence"]
    assert (delivered.home / "done" / ORDER / name).is_file()
    assert delivered.ask("held", "list") == []
    assert len(seen["delivered"]["batches"]) == 1


def test_a_closed_order_is_delivered_as_a_sound_package(delivered: House) -> None:
    shown = delivered.seen["delivered"]
    assert (delivered.seen["closed"]["status"], shown["status"]) == ("closed", "delivered")
    assert shown["package"].startswith(f"outbox/DPHHS/{ORDER}/")
    bag = bagit.Bag(str(delivered.home / shown["package"]))
    assert bag.is_valid()
    assert bag.version_info == (1, 0)
    assert bag.info["External-Identifier"] == ORDER
    with (delivered.home / shown["package"] / "data" / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["document_id"] for row in rows] == [document["id"] for document in shown["documents"]]
    assert sum(int(row["pages"]) for row in rows) == 5


def test_scans_go_along_bit_for_bit_when_the_profile_says_so(delivered: House) -> None:
    package = delivered.home / delivered.seen["delivered"]["package"]
    sent = sorted(path.read_bytes() for path in (package / "data" / "scans").rglob("*.tif"))
    dropped = {path.read_bytes() for path in (delivered.home / "done" / ORDER).rglob("*.tif")}
    assert len(sent) == 5  # one a page that is in a document; the rescan of one came by hand
    assert len(dropped & set(sent)) >= 4


def test_a_page_is_shown_as_it_came_and_as_it_went_with_all_that_was_measured(delivered: House, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    shown = delivered.ask_here("page", "show", ORDER, "box-1", "1", "--picture", picture)
    assert shown["file"] == "0001.tif"
    assert shown["readings"]["blank.verdict"] == "content"
    assert (delivered.home / shown["scan"]).exists()
    with Image.open(picture) as image:
        assert image.mode == "RGB"
        assert image.width > 3 * 8.5 * DPI  # three of them, side by side
        assert image.height == round(11 * DPI)
    text = delivered.here("page", "show", ORDER, "box-1", "1").out
    assert "binarize.method" in text


def test_film_is_planned_when_its_pages_are_ready_and_sound_when_it_is_written(delivered: House) -> None:
    assert "2 pages of WO-1 are held or still worked on" in delivered.seen["early film plan"].err
    [roll] = delivered.seen["delivered"]["rolls"]
    folder = (delivered.home / roll["folder"]).parent
    checked = delivered.ask_here("film", "check", folder)
    assert checked["good"] is True
    assert (checked["pages"], checked["problems"]) == (5, [])


def test_a_film_folder_with_a_damaged_frame_is_not_good(delivered: House, tmp_path: Path) -> None:
    [roll] = delivered.seen["delivered"]["rolls"]
    copy = tmp_path / "film"
    shutil.copytree((delivered.home / roll["folder"]).parent, copy)
    frame = max(copy.rglob("*.tif*"), key=lambda path: path.stat().st_size)
    frame.chmod(0o644)
    frame.write_bytes(frame.read_bytes()[:-20])
    assert delivered.ask_here("film", "check", copy, code=1)["problems"]


def test_a_reopened_order_takes_more_and_charges_only_that(delivered: House) -> None:
    number = "WO-AGAIN"
    delivered.here("order", "open", "--customer", "SOS", "--profile", "quick", "--number", number)
    scans = delivered.home.parent / "by hand"
    write_multipage_tiff(scans / "a.tif", [scanned(letter(seed=n, dpi=DPI)) for n in (21, 22)])
    taken = delivered.ask("intake", scans / "a.tif", "--order", number)
    assert (taken["order"], taken["batch"], taken["pages"]) == (number, "a.tif", 2)
    assert (scans / "a.tif").is_file()
    assert "exactly the files" in delivered.platen("intake", scans / "a.tif", "--order", number, code=3).err
    [hold] = delivered.ask_here("held", "list")
    delivered.here("held", "waive", hold["id"], "--why", "by mistake")
    delivered.here("order", "close", number)
    delivered.platen("run", "--until-idle")
    assert delivered.ask_here("order", "reopen", number)["status"] == "open"
    assert [roll["pages"] for roll in delivered.ask_here("film", "plan", number)] == [2]
    write_single_pages(scans, [scanned(letter(seed=23, dpi=DPI))], names=["more"])
    delivered.platen("intake", scans / "more.tif", "--order", number)
    delivered.here("order", "close", number)
    delivered.platen("run", "--until-idle")
    shown = delivered.show(number)
    assert [(charge["delivery"], charge["quantity"]) for charge in shown["charges"]] == [(1, "2"), (2, "1")]
    assert shown["package"].endswith("delivery-2")
    assert all(bagit.Bag(str(delivered.home / "outbox" / "SOS" / number / f"delivery-{n}")).is_valid() for n in (1, 2))


# --- the bill ----------------------------------------------------------------------------------------------------


def test_a_months_bill_is_what_was_charged_in_it(delivered: House) -> None:
    month = datetime.now(UTC).strftime("%Y-%m")
    [sheet] = [row for row in delivered.ask_here("bill", "worksheet", "--month", month) if row["order"] == ORDER]
    assert (sheet["customer"], sheet["delivery"], sheet["pages"]["billable"]) == ("DPHHS", 1, 5)
    [statement] = [s for s in delivered.ask_here("bill", "statement", "--month", month) if s["customer"] == "DPHHS"]
    assert Decimal(statement["amount"]) == sum(Decimal(line["amount"]) for line in statement["lines"])
    assert {line["fee_code"]: line["quantity"] for line in statement["lines"]}["IMG"] == "5"
    exported = delivered.here("bill", "export", "--month", month).out
    lines = [row for row in csv.DictReader(io.StringIO(exported)) if row["order"] == ORDER]
    assert sum(Decimal(line["amount"]) for line in lines) == Decimal(statement["amount"])
    assert delivered.ask_here("bill", "statement", "--month", "2001-01") == []
    assert "not built" in delivered.here("bill", "close-month", "--month", month, code=1).err
    delivered.here("bill", "statement", "--month", "2026-13", code=2)


# --- everything counted again ------------------------------------------------------------------------------------


def test_verify_finds_no_fault_in_what_nobody_touched(delivered: House) -> None:
    verified = delivered.ask("verify")
    assert verified["faults"] == []
    assert delivered.ask_here("sweep", "--older-than", "1") == {"files": 0, "bytes": 0}
    assert verified["pages"] >= 10 and verified["packages"] >= 1 and verified["files"] > 20


def _flip(path: Path) -> Callable[[], None]:
    """Change one bit of a file; gives how to mend it."""
    whole, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    def mend() -> None:
        path.write_bytes(whole)
        path.chmod(mode)

    return mend


def test_verify_names_a_damaged_file_in_the_store_and_in_a_package(delivered: House) -> None:
    shown = delivered.seen["delivered"]
    package = delivered.home / shown["package"]
    in_store = max((delivered.home / "store").glob("??/*"), key=lambda path: path.stat().st_size)
    mends = [_flip(in_store), _flip(package / "data" / "index.csv")]
    try:
        faults = delivered.ask_here("verify", code=1)["faults"]
        assert len(faults) == 2
        assert any("is damaged" in fault and in_store.name in fault for fault in faults)
        assert any("is not sound" in fault and shown["package"] in fault for fault in faults)
    finally:
        for mend in mends:
            mend()


def test_verify_sees_that_records_were_changed_after_delivery(delivered: House, tmp_path: Path) -> None:
    # the ledger itself is damaged here, which only goes around the command
    import sqlite3

    copy = tmp_path / "home"
    shutil.copytree(delivered.home, copy)
    with sqlite3.connect(copy / "ledger.db") as database:
        database.execute("UPDATE pages SET excluded = 'blank' WHERE excluded = 'waived'")
    database.close()
    faults = House(copy, delivered.profiles).ask_here("verify", code=1)["faults"]
    assert ["seal" in fault for fault in faults] == [True]


# --- without an order --------------------------------------------------------------------------------------------


def test_convert_makes_one_pdf_and_tells_of_every_page(house: House, tmp_path: Path) -> None:
    scans, out, text, images = (tmp_path / name for name in ("scans", "out.pdf", "out.txt", "images"))
    write_single_pages(scans, [scanned(letter(seed=n, dpi=DPI)) for n in (1, 2)])
    write_broken_tiff(scans / "0003.tif", scanned(letter(seed=3, dpi=DPI)))
    arguments = ("--profile", "quick", "--text", text, "--images", images, "--jobs", "2")
    answer = house.ask("convert", scans, out, *arguments, code=3)
    assert set(answer) == {"pdf", "flavour", "conforms", "pages", "held"}
    assert (Path(answer["pdf"]), answer["flavour"], answer["conforms"]) == (out, "2u", True)
    for number, page in enumerate(answer["pages"], start=1):
        assert set(page) == {"file", "page_number", "readings", "seconds"}
        assert (page["file"], page["page_number"]) == (f"{number:04d}.tif", 1)
        assert set(page["seconds"]) == {"prepare", "recognize"}
        assert {"blank.verdict", "separators.found", "ocr.mean_confidence"} <= set(page["readings"])
    [held] = answer["held"]
    assert set(held) == {"file", "page_number", "code", "sentence"}
    assert (held["file"], held["code"]) == ("0003.tif", "unreadable")
    with pikepdf.open(out) as pdf:
        assert len(pdf.pages) == 2
    assert text.read_text(encoding="utf-8").count("\f") == 1
    assert "Records Office" in text.read_text(encoding="utf-8")
    assert sorted(path.name for path in images.iterdir()) == ["0001.tif", "0002.tif"]
    with Image.open(images / "0001.tif") as image:
        assert image.size == (8.5 * DPI, 11 * DPI)


def test_convert_gives_the_angle_and_turn_by_name(house: House, tmp_path: Path) -> None:
    write_single_pages(tmp_path, [scanned(letter(seed=1, dpi=DPI), skew_deg=2.0)], kind="tiff-grey")
    answer = house.ask("convert", tmp_path / "0001.tif", tmp_path / "out.pdf", "--profile", "records-colour")
    readings = answer["pages"][0]["readings"]
    assert readings["deskew.angle_deg"] == pytest.approx(2.0, abs=0.2)
    assert readings["orient.turn_deg"] == 0
    assert readings["blank.verdict"] == "content"


def test_convert_leaves_nothing_when_nothing_could_be_read(house: House, tmp_path: Path) -> None:
    write_broken_tiff(tmp_path / "0001.tif", scanned(letter(seed=1, dpi=DPI)))
    answer = house.ask("convert", tmp_path / "0001.tif", tmp_path / "out.pdf", "--profile", "quick", code=3)
    assert (answer["pdf"], answer["conforms"], answer["pages"]) == (None, None, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001.tif"]


# --- tickets -----------------------------------------------------------------------------------------------------


def test_a_printed_ticket_names_its_order_when_it_is_scanned(delivered: House, tmp_path: Path) -> None:
    number = "WO-TICKET"
    delivered.here("order", "open", "--customer", "DPHHS", "--profile", "quick", "--number", number)
    delivered.here("ticket", number, "--box", "B-7", "--separators", "2", tmp_path / "ticket.pdf")
    with pikepdf.open(tmp_path / "ticket.pdf") as pdf:
        assert len(pdf.pages) == 3
    shutil.move(tmp_path / "ticket.pdf", delivered.home / "inbox" / "morning mail.pdf")
    delivered.platen("run", "--until-idle")
    assert delivered.show(number)["pages"]["excluded"]["separator"] == 3


# --- what goes wrong is told in a sentence ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["order", "show", "WO-404"], 1, "There is no work order WO-404"),
        (["order", "close", "WO-404"], 1, "There is no work order WO-404"),
        (["order", "open", "--customer", "A/B", "--profile", "quick"], 2, "customer"),
        (["order", "open", "--customer", "A", "--profile", "nothing"], 2, "there is no profile"),
        (["order", "open", "--customer", "A", "--profile", "quick", "--number", "x.tmp"], 2, "number"),
        (["order", "open", "--customer", "A", "--profile", "quick", "--number", "_x"], 2, "number"),
        (["order", "open", "--customer", "A", "--profile", "quick", "--number", ORDER], 1, "already"),
        (["ticket", ORDER, "--box", "a;b", "x.pdf"], 2, "Box"),
        (["intake", "/nowhere/at/all", "--order", ORDER], 1, "There is nothing at"),
        (["page", "show", "WO-404", "box-1", "1"], 1, "There is no work order WO-404"),
        (["page", "show", ORDER, "box-404", "1"], 1, "no batch 'box-404': there are box-1"),
        (["page", "show", ORDER, "box-1", "99"], 1, "there is no page 99"),
        (["held", "show", "99999"], 1, "Nothing with number 99999 is held"),
        (["held", "release", "99999"], 2, "--why"),
        (["held", "waive", "99999", "--why", " "], 2, "say why"),
        (["film", "check", "/nowhere"], 1, "There is no folder"),
        (["convert", "/nowhere.tif", "out.pdf"], 1, "There is no file"),
        (["convert", "profiles/rates/nothing", "out.pdf"], 1, "There is no file"),
        (["convert", "only-one.tif"], 2, "name at least one file"),
        (["profiles", "show", "nothing"], 2, "there is no profile"),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_told_without_a_traceback(
    house: House, arguments: list[str], code: int, told: str
) -> None:
    answer = house.here(*arguments, code=code)
    assert told in " ".join(answer.err.replace("│", " ").split())
    assert answer.out == ""


def test_an_empty_folder_cannot_be_converted_or_taken_in(house: House, tmp_path: Path) -> None:
    assert "no scan" in house.here("convert", tmp_path, tmp_path / "out.pdf", code=1).err
    house.here("order", "open", "--customer", "A", "--profile", "quick", "--number", "WO-EMPTY")
    assert "There is no file in it" in house.here("intake", tmp_path, "--order", "WO-EMPTY", code=1).err
    assert "nothing to close" in house.here("order", "close", "WO-EMPTY", code=1).err


def test_without_a_home_every_command_says_how_to_make_one(house: House, tmp_path: Path) -> None:
    nowhere = House(tmp_path / "nowhere", house.profiles)
    for arguments in (["order", "list"], ["run", "--until-idle"], ["verify"]):
        assert "platen init" in nowhere.here(*arguments, code=1).err


def test_a_bad_setting_is_told_by_its_name(house: House) -> None:
    assert "PLATEN_WORKERS" in house.platen("status", code=2, PLATEN_WORKERS="none").err
