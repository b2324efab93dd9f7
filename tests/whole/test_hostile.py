"""Whatever a scanner, a share or a customer sends: right or held, told in a sentence, and the others go on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.bureau import Bureau
from pipeline.intake import free_place, keepable, receive_delivery
from pipeline.settings import Settings
from pipeline.store import FolderStore, NoPlainFile
from tests.whole.home import PLATEN, Home, drop_small_pages
from workers.watcher import Watcher

pytestmark = pytest.mark.whole


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.platen("init")
    home.platen("order", "open", "--customer", "DPHHS", "--profile", "records-bitonal", "--number", "N1")
    return home


@pytest.fixture(scope="module")
def quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which nothing is changed, shared for speed."""
    home = Home(tmp_path_factory.mktemp("quiet") / "home")
    home.platen("init")
    return home


def _pdf_of_one_page_many_times(pages: int) -> bytes:
    kids = b"3 0 R " * pages
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%b]>>" % (pages, kids),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>",
    ]
    # with its table of objects: a file that has to be repaired loses its doubled pages
    body, places = b"%PDF-1.5\n", []
    for number, one in enumerate(objects, start=1):
        places.append(b"%010d 00000 n \n" % len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    table = b"xref\n0 4\n0000000000 65535 f \n" + b"".join(places)
    return body + table + b"trailer\n<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(body)


@pytest.mark.tool
@pytest.mark.real
def test_hostile_files_are_held_or_converted_and_their_neighbours_are_delivered(home: Home, real_scans: Path) -> None:
    texts = drop_small_pages(home.folder / "inbox" / "N1" / "good", 2)
    bad = home.folder / "_bad"
    shutil.copytree(real_scans / "hostile", bad)
    (bad / "empty.tif").write_bytes(b"")
    bad.rename(home.folder / "inbox" / "N1" / "bad")
    # a name that is no UTF-8, so long that no disk takes it written out
    strange = home.folder / "inbox" / "N1" / os.fsdecode(b"\xe9" * 250)
    drop_small_pages(home.folder / "strange", 2, first=2)
    (home.folder / "strange" / "0002.tif").rename(home.folder / "strange" / "\x1b[2J=cmd|x.tif")
    (home.folder / "strange").rename(strange)
    home.platen("run", "--until-idle", codes=(3,))
    pages = home.ask("order", "show", "N1")["pages"]
    assert pages["received"] == pages["billable"] + sum(pages["excluded"].values()) + pages["held"] + pages["open"]
    assert pages["open"] <= 3  # what can be read of the hostile batch waits for a decision on the batch
    assert pages["billable"] >= 2 * len(texts)
    assert pages["held"] >= 10
    for hold in home.ask("held", "list"):
        assert hold["code"] in (
            "unreadable", "too-large", "memory-too-small", "too-many-held", "resolution-too-low", "cut-edge",
        )  # fmt: skip
        assert hold["sentence"].endswith(".")
    assert "\x1b" not in home.platen("held", "list")


@pytest.mark.tool
def test_converting_goes_on_past_what_cannot_be_read_and_tells_names_without_their_escapes(home: Home) -> None:
    folder = home.folder / "scans"
    drop_small_pages(folder, 1)
    (folder / "1\x1b[31m.tif").write_bytes(b"II*\0rubbish")
    (folder / "2.pdf").write_bytes(_pdf_of_one_page_many_times(20_000))
    (folder / os.fsdecode(b"3\xe9.tif")).write_bytes(b"")
    out = home.folder / "out.pdf"
    done = subprocess.run(
        [PLATEN, "convert", folder, out], env=home.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert out.is_file()
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "20,000 pages" in " ".join(done.stderr.split())
    assert len(home.ask("convert", str(folder), str(out))["held"]) == 3


def test_a_file_of_too_many_pages_is_refused_whole_and_not_taken_for_one_page(home: Home) -> None:
    folder = home.folder / "box"
    folder.mkdir()
    (folder / "all.pdf").write_bytes(_pdf_of_one_page_many_times(20_000))
    done = subprocess.run(
        [PLATEN, "intake", folder, "--order", "N1"], env=home.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "20,000 pages" in " ".join(done.stderr.split())
    assert home.ask("order", "show", "N1")["pages"]["received"] == 0


@pytest.mark.parametrize(
    ("settings", "arguments", "code"),
    [
        ({"PLATEN_WORKERS": "-3"}, ("status",), 2),
        ({"PLATEN_SCAN_SECONDS": "inf"}, ("status",), 2),
        ({"PLATEN_MEMORY_LIMIT_MB": "9" * 20}, ("status",), 2),
        ({"PLATEN_STORE_URL": "gs://bucket"}, ("init",), 2),
        ({"PLATEN_STORE_URL": "s3://bucket/../other"}, ("init",), 2),
        (
            {
                "PLATEN_STORE_URL": "s3://bucket",
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
            },
            ("init",),
            1,
        ),
        ({"PLATEN_CACHE_MB": "0"}, ("init",), 2),
        ({"PLATEN_HOME": "/dev/null"}, ("init",), 1),
        ({"PLATEN_DATABASE_URL": "nonsense"}, ("status",), 1),
        ({"PLATEN_DATABASE_URL": "sqlite:////nowhere/ledger.db"}, ("status",), 1),
        ({"PLATEN_DATABASE_URL": "mysql://host/name"}, ("status",), 1),
        ({"PLATEN_PROFILES": "/nowhere"}, ("profiles", "list"), 1),
        ({}, ("held", "show", "9" * 25), 2),
        ({}, ("order", "show", "\udce9"), 2),
    ],
)
def test_nonsense_is_answered_with_a_sentence(
    quiet_home: Home, settings: dict[str, str], arguments: tuple[str, ...], code: int
) -> None:
    done = subprocess.run(
        [PLATEN, *arguments], env=quiet_home.environment | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


@pytest.mark.parametrize(
    "fault", ["x = " + "[" * 5000 + "]" * 5000, "n = " + "9" * 5000, '[[page]]\nstage = ["deskew"]\n']
)
def test_a_profile_that_breaks_its_reader_is_named(quiet_home: Home, tmp_path: Path, fault: str) -> None:
    (tmp_path / "bad.toml").write_text(f'name = "bad"\n{fault}\n', encoding="utf-8")
    done = subprocess.run(
        [PLATEN, "profiles", "check"],
        env=quiet_home.environment | {"PLATEN_PROFILES": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "bad.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_reason_is_not_written_through_a_link_that_lies_in_its_place(home: Home) -> None:
    victim = home.folder / "victim"
    victim.write_text("untouched", encoding="utf-8")
    drop_small_pages(home.folder / "inbox" / "NOBODY", 1)
    (home.folder / "inbox" / "NOBODY" / "WHY.txt").symlink_to(victim)
    home.platen("run", "--until-idle")
    assert victim.read_text(encoding="utf-8") == "untouched"
    assert "There is no work order" in (home.folder / "error" / "NOBODY" / "WHY.txt").read_text(encoding="utf-8")


def test_a_delivery_that_became_a_link_is_refused(home: Home) -> None:
    bureau = Bureau.open(Settings(home=home.folder))
    try:
        delivered = home.folder / "inbox" / "N1" / "scan.tif"
        delivered.symlink_to("/etc/hostname")
        _, task_id = bureau.ledger.announce_delivery(
            source=str(delivered), name="scan.tif", order_number="N1", moves=True, who="t"
        )
        bureau.ledger.register_worker("t")
        task = bureau.ledger.claim_at_once(task_id, "t")
        assert task is not None
        receive_delivery(bureau, task, who="t")
        report = bureau.ledger.order_report("N1")
        assert report is not None
        assert report.pages.received == 0
        assert list(bureau.store.files()) == []
    finally:
        bureau.close()


def test_links_pipes_and_devices_are_never_kept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.make()
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "link", tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(NoPlainFile):
            store.put_file(source)
    assert not any(store.scratch.iterdir())


def test_one_delivery_that_cannot_be_moved_does_not_keep_the_others_waiting(home: Home) -> None:
    bureau = Bureau.open(Settings(home=home.folder, settle_seconds=0))
    try:
        watcher = Watcher(bureau)
        inbox = home.folder / "inbox" / "N1"
        os.mkfifo(inbox / "pipe")
        (inbox / "link").symlink_to("/etc")
        strange = inbox / os.fsdecode(b"\xe9" * 250)
        strange.mkdir()
        (strange / "a.tif").write_bytes(b"x")
        (inbox / "z").mkdir()
        (inbox / "z" / "a.tif").write_bytes(b"x")
        for _ in range(4):
            watcher.look()
        assert len(bureau.ledger.open_delivery_sources()) == 2
        assert watcher.settling == 0
    finally:
        bureau.close()


def test_a_place_is_found_for_names_of_any_length_without_covering_another(tmp_path: Path) -> None:
    for name in ("é" * 127, "E" * 255, "x"):
        first = free_place(tmp_path / name)
        first.mkdir()
        second = free_place(tmp_path / name)
        second.mkdir()
        assert first != second
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert free_place(tmp_path / "dangling").name == "dangling (2)"
    long = free_place(tmp_path / keepable("\udce9" * 250))
    long.mkdir()


def test_names_keep_no_signs_that_turn_the_writing_round() -> None:
    assert keepable("invoice\u202efdp.exe") == "invoice\\u202efdp.exe"
    assert keepable("שלום.tif") == "שלום.tif"
