"""What a profile promises: a slip is told with its place, and an order keeps the profile it was opened with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bureau import Bureau
from pipeline.model import Priority, Service
from pipeline.profile import BadProfile, PackageRules, load_profile, load_profiles, profile_from_json
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

PROFILE = """
name = "work"
title = "Work"

[read]
dpi_when_missing = 300

[[page]]
stage = "deskew"
max_angle_deg = 10.0

[[page]]
stage = "binarize"

[[recognize]]
stage = "ocr"
languages = ["eng"]

[documents]
by = "folder"
"""


def _write(folder: Path, text: str = PROFILE, name: str = "work") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_profile_of_the_house_is_good_and_named_as_promised() -> None:
    assert set(load_profiles(ROOT / "profiles")) >= {
        "records-bitonal",
        "records-colour",
        "film-16mm-24x",
        "federal-permanent",
        "archive-master",
    }


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        (PROFILE.replace('"deskew"', '"straighten"'), "page 1: there is no stage 'straighten'; there are "),
        (PROFILE.replace('stage = "binarize"', "window = 3"), "page 2: there is no stage None"),
        (PROFILE.replace("max_angle_deg", "max_angel_deg"), "page 1, deskew.max_angel_deg: there is no such setting"),
        (PROFILE.replace("= 10.0", "= 1000.0"), "page 1, deskew.max_angle_deg: must be at most 45, is 1000.0"),
        (PROFILE.replace("= 10.0", '= "steep"'), "page 1, deskew.max_angle_deg: "),
        (PROFILE + "colour = true\n", "documents.colour: there is no such setting"),
        (PROFILE + "[pdfa]\nflavour = '4'\n", "pdfa.flavour: must be '1b', '2b', '2u', '3b' or '3u', is '4'"),
        (PROFILE.replace('"folder"', '"count"'), "documents.pages_each: must be given when by = 'count'"),
        (
            PROFILE.replace("[[page]]", "[page]", 1).replace('[[page]]\nstage = "binarize"', ""),
            "page: write each stage",
        ),
        (PROFILE.replace('"work"', '"play"'), "name must be 'work', the file's own name, is 'play'"),
        (PROFILE + '[[recognize]]\nstage = "despeckle"\n', "recognize: ocr must be the last stage"),
        (PROFILE + '[[page]]\nstage = "ocr"\nlanguages = ["eng"]\n', "page: ocr belongs into [[recognize]]"),
        ("name = ", "work.toml: "),
    ],
)
def test_a_slip_is_told_with_its_file_and_place(tmp_path: Path, slip: str, told: str) -> None:
    with pytest.raises(BadProfile) as refused:
        load_profile(_write(tmp_path, slip))
    assert told in str(refused.value)
    assert str(refused.value).startswith("work.toml")


def test_all_slips_of_all_profiles_are_told_at_once(tmp_path: Path) -> None:
    _write(tmp_path, PROFILE.replace("= 10.0", "= 1000.0") + "colour = true\n")
    _write(tmp_path, PROFILE.replace('"work"', '"two"').replace('"binarize"', '"print"'), "two")
    with pytest.raises(BadProfile) as refused:
        load_profiles(tmp_path)
    faults = str(refused.value).splitlines()
    assert len(faults) == 3
    assert {fault.split(",")[0] for fault in faults} == {"work.toml", "two.toml"}


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "work.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadProfile, match=r"^work\.toml"):
        load_profile(tmp_path / "work.toml")


def test_the_digest_follows_the_settings_and_not_how_they_are_written(tmp_path: Path) -> None:
    first = load_profile(_write(tmp_path))
    spaced = load_profile(_write(tmp_path, "# a remark\n" + PROFILE.replace(" = ", "   =  ")))
    other = load_profile(_write(tmp_path, PROFILE.replace("10.0", "11.0")))
    assert first.digest == spaced.digest
    assert first.digest != other.digest
    assert first.digest.startswith("sha256:")


def test_the_digest_is_the_same_tomorrow() -> None:
    # taken once and written down here: if it changes, orders opened before no longer find their profile
    kept = profile_from_json('{"name":"plain","page":[{"stage":"deskew"}]}')
    assert kept.digest == "sha256:9bba06b064a634671df0e57e7557ff39565578175b47969e4c126aa15c156d8b"


def test_the_kept_profile_is_the_one_that_was_read(tmp_path: Path) -> None:
    read = load_profile(_write(tmp_path))
    assert profile_from_json(read.document_json) == read


def test_an_order_keeps_its_profile_when_the_file_changes(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    _write(folder)
    settings = Settings(home=tmp_path / "home", profiles=folder)
    bureau = Bureau.init(settings)
    profile = bureau.profiles["work"]
    order = bureau.ledger.open_order(
        customer="DPHHS",
        profile=profile,
        services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL,
        year=2026,
        who="test",
    )
    bureau.close()
    _write(folder, PROFILE.replace("10.0", "20.0"))
    again = Bureau.open(settings)
    try:
        kept = again.profile_of(again.ledger.order_by_id(order.id))
        assert kept == profile
        assert kept.page[0].settings.model_dump()["max_angle_deg"] == 10.0
        assert again.profiles["work"].digest != profile.digest
    finally:
        again.close()


@pytest.mark.parametrize(
    ("scans", "coloured_mm2", "taken"),
    [
        ("none", 50.0, False),
        ("coloured", 50.0, True),
        ("coloured", 1.5, False),
        ("coloured", None, False),
        ("all", None, True),
    ],
)
def test_the_scan_goes_along_where_colour_means_something(scans: str, coloured_mm2: float | None, taken: bool) -> None:
    rules = PackageRules.model_validate({"scans": scans})
    assert rules.takes_scan({"quality.coloured_ink_mm2": coloured_mm2}) is taken
