"""The embedded floor: it stops in good order, shares its ledger, and outlives what it works on."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from pipeline.model import AlarmKind
from tests.whole.faults import FAULTS, HARD_TO_READ, alarmed_pages, drop_faulty_pages
from tests.whole.home import Home, drop_small_pages, wait_until

pytestmark = pytest.mark.tool


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.platen("init")
    made.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1")
    return made


def _states(home: Home) -> dict[str, int]:
    connection = sqlite3.connect(home.folder / "ledger.db", timeout=30)
    try:
        return dict(connection.execute("SELECT state, count(*) FROM tasks GROUP BY state").fetchall())
    finally:
        connection.close()


def _fake_tesseract(home: Home, folder: Path, body: str) -> None:
    """Put a program before the real one in the path; it answers questions as the real one, and reads pages as told."""
    folder.mkdir()
    fake = folder / "tesseract"
    real = shutil.which("tesseract")
    fake.write_text(f'#!/bin/sh\ncase "$*" in *--list-langs*|*--version*) exec {real} "$@";; esac\n{body}\n')
    fake.chmod(0o755)
    home.environment["PATH"] = f"{folder}:{home.environment['PATH']}"


def test_a_floor_that_is_told_to_stop_gives_back_what_it_holds(home: Home) -> None:
    drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 40)
    floor = home.start()
    wait_until(lambda: home.ask("order", "show", "WO-1")["pages"]["billable"] > 2)
    floor.send_signal(signal.SIGTERM)
    assert floor.wait(timeout=30) in (0, 3)
    states = _states(home)
    assert not {"sent", "running"} & set(states)
    assert states["due"] > 0
    home.platen("run", "--until-idle")
    assert home.ask("order", "show", "WO-1")["pages"]["billable"] == 40


def test_every_kind_of_fault_of_a_batch_has_its_alarm_within_a_minute_of_the_drop(home: Home) -> None:
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-2",
                "--expect-pages", "30")  # fmt: skip
    drop_faulty_pages(home.folder / "inbox" / "WO-2" / "box", 36)
    floor = home.start()
    wait_until(lambda: set(alarmed_pages(home)) == set(AlarmKind) - {AlarmKind.COUNT_OFF}, seconds=60)
    pages: dict[AlarmKind, set[int]] = {}
    for number, kind in FAULTS.items():
        pages.setdefault(kind, set()).add(number)
    assert alarmed_pages(home) == {**pages, AlarmKind.HARD_TO_READ: {HARD_TO_READ}}
    wait_until(lambda: len(home.ask("alarms", "list")) == len(AlarmKind), seconds=60)
    [count] = [alarm for alarm in home.ask("alarms", "list") if alarm["kind"] == "count-off"]
    assert "30 pages expected, 36 received" in count["sentence"]
    floor.send_signal(signal.SIGTERM)
    floor.wait(timeout=60)


def test_two_floors_on_one_ledger_do_every_page_once(home: Home) -> None:
    drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 16)
    floors = [home.start(), home.start()]
    assert [floor.wait(timeout=300) for floor in floors] == [0, 0]
    shown = home.ask("order", "show", "WO-1")
    assert shown["pages"]["billable"] == shown["pages"]["received"] == 16
    assert [document["pages"] for document in shown["documents"]] == [16]
    connection = sqlite3.connect(home.folder / "ledger.db")
    [(pages_prepared,)] = connection.execute("SELECT count(*) FROM events WHERE kind = 'prepared'").fetchall()
    connection.close()
    assert pages_prepared == 16


def test_a_recogniser_that_hangs_is_stopped_and_its_page_held(home: Home, tmp_path: Path) -> None:
    _fake_tesseract(home, tmp_path / "bin", "exec sleep 1000")
    profiles = tmp_path / "profiles"
    shutil.copytree(Path(__file__).parents[2] / "profiles", profiles)
    profile = profiles / "records-bitonal.toml"
    profile.write_text(profile.read_text().replace('stage = "ocr"', 'stage = "ocr"\ntimeout_s = 1.0'))
    home.environment["PLATEN_PROFILES"] = str(profiles)
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-2")
    drop_small_pages(home.folder / "inbox" / "WO-2" / "stack", 1)
    home.platen("run", "--until-idle", codes=(3,))
    [hold] = home.ask("held", "list")
    assert hold["code"] == "recognition-timed-out"
    assert subprocess.run(["pgrep", "-f", f"{tmp_path}/bin/tesseract"], check=False).returncode == 1
    home.platen("held", "release", str(hold["id"]), "--why", "a drawing without words")
    home.platen("run", "--until-idle")
    [document] = home.ask("order", "show", "WO-2")["documents"]
    assert document["conforms"] is True


def test_a_recogniser_that_crashes_is_tried_again_and_never_leaves_a_page_without_text(
    home: Home, tmp_path: Path
) -> None:
    # the first call crashes, later ones work
    marker = tmp_path / "crashed"
    real = shutil.which("tesseract")
    _fake_tesseract(
        home, tmp_path / "bin", f'if [ ! -e {marker} ]; then touch {marker}; kill -SEGV $$; fi\nexec {real} "$@"'
    )
    drop_small_pages(home.folder / "inbox" / "WO-1" / "stack", 2)
    home.platen("run", "--until-idle")
    assert marker.exists()
    [document] = home.ask("order", "show", "WO-1")["documents"]
    text = subprocess.run(
        ["pdftotext", "-raw", home.folder / document["pdf"], "-"], capture_output=True, text=True, check=True
    ).stdout
    assert "1001" in text and "1002" in text
