"""Rolls hold what they may, documents stay whole, addresses are those of the reader, a folder proves itself."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import zxingcpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline.film import (
    MM_PER_FOOT,
    FilmDocument,
    FilmJob,
    FilmPage,
    FilmSettings,
    RollPlan,
    roll_number,
)
from pipeline.film_check import check_film_folder
from pipeline.film_folder import read_prepared, write_roll
from pipeline.film_plan import plan_rolls
from pipeline.film_tables import write_job_files
from stages import tools
from stages.errors import FilmDoesNotFit, UnreadableImage
from stages.film_targets import Target
from stages.page_image import PageImage

LETTER = (8.5, 11.0)
LEGAL = (8.5, 14.0)
JOB = FilmJob(
    work_order="WO-2026-0001",
    customer="DPHHS",
    created_on=date(2026, 11, 22),
    agency="Department of Public Health",
    series="0417",
    operator="J. Whitaker",
    software="Platen 0.1.0",
)
ONLY_PAGES = FilmSettings(reserve_fraction=0, max_images_per_roll=100_000)
# 20 ft and at most 30 images: small enough to fill in a test; 100 dpi keeps the targets cheap to draw
SMALL_ROLL = FilmSettings(length_ft=20, max_images_per_roll=30, dpi=100)
TARGETS_A_ROLL = 9  # START DENS RES ROLLID, INDEX CERT DENS RES END


def page(document_id: str, number: int, *, size_in: tuple[float, float] = LETTER, dpi: float = 100) -> FilmPage:
    return FilmPage(
        document_id=document_id,
        page_number=number,
        width_px=round(size_in[0] * dpi),
        height_px=round(size_in[1] * dpi),
        dpi=dpi,
        path=Path("nowhere.tif"),
        source_sha256=hashlib.sha256(f"{document_id} {number}".encode()).hexdigest(),
    )


def document(document_id: str, pages: int = 1, *, size_in: tuple[float, float] = LETTER, **more: str) -> FilmDocument:
    made = tuple(page(document_id, number, size_in=size_in) for number in range(1, pages + 1))
    return FilmDocument(document_id=document_id, pages=made, **more)  # type: ignore[arg-type]


def pixels_of(film_page: FilmPage) -> PageImage:
    """A page of specks, a different one for every page."""
    random = np.random.default_rng(int(film_page.source_sha256[:8], 16))
    pixels = np.ones((film_page.height_px, film_page.width_px), np.bool_)
    pixels[100:140, 100:500] = random.random((40, 400)) > 0.3
    return PageImage(pixels=pixels, dpi=film_page.dpi)


def shown(plans: list[RollPlan]) -> list[tuple[str, int]]:
    return [(f.page.document_id, f.page.page_number) for plan in plans for f in plan.frames if f.page]


# --- planning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("along_in", "reduction", "length_ft", "frames"),
    [
        (8.5, 24, 100, 2605),  # letter, comic
        (8.5, 24, 215, 5793),
        (11.0, 24, 100, 2100),  # letter, cine
        (11.0, 24, 215, 4669),
        (8.5, 32, 100, 3275),
        (8.5, 40, 100, 3873),
        (14.0, 24, 100, 1703),  # legal, cine
        (17.0, 24, 100, 1433),  # ledger, landscape
        (17.0, 24, 215, 3186),
    ],
)
def test_a_roll_takes_as_many_frames_as_the_planning_table_says(
    along_in: float, reduction: float, length_ft: float, frames: int
) -> None:
    film = ONLY_PAGES.model_copy(update={"reduction": reduction, "length_ft": length_ft})
    assert film.capacity_frames(along_in) == frames


def test_the_default_roll_holds_at_most_2500_images_targets_included() -> None:
    plans = plan_rolls([document(f"D{number}", 10) for number in range(300)], FilmSettings())
    assert [len(plan.frames) for plan in plans] == [2495, 530]
    # 4 targets, 248 documents of 10 pages, 7 frames of index, 4 targets; another document would make it 2505
    assert all(len(plan.frames) <= plan.capacity_frames == 2500 for plan in plans)


def test_an_order_of_one_page_is_one_roll_with_all_its_targets() -> None:
    (plan,) = plan_rolls([document("D")], SMALL_ROLL)
    codes = [frame.target or "page" for frame in plan.frames]
    assert codes == ["START", "DENS", "RES", "ROLLID", "page", "INDEX", "CERT", "DENS", "RES", "END"]
    assert [frame.seq for frame in plan.frames] == list(range(1, 11))
    assert plan_rolls([], SMALL_ROLL) == []


@settings(max_examples=120, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), max_size=12),
    retention=st.lists(st.sampled_from(["A", "B"]), min_size=12, max_size=12),
    film_format=st.sampled_from(["simplex", "duplex", "dual", "duo"]),
    length_ft=st.sampled_from([10.0, 12.0, 20.0]),
)
def test_every_page_is_filmed_once_and_no_document_is_split_that_fits_on_a_roll(
    lengths: list[int], retention: list[str], film_format: str, length_ft: float
) -> None:
    documents = [
        document(f"D{number}", pages, retention_code=code)
        for number, (pages, code) in enumerate(zip(lengths, retention, strict=False))
    ]
    film = FilmSettings.model_validate(
        {**SMALL_ROLL.model_dump(), "format": film_format, "length_ft": length_ft, "reduction": 50}
    )
    plans = plan_rolls(documents, film)
    codes = dict.fromkeys(d.retention_code for d in documents if d.pages)
    in_order = [d for code in codes for d in documents if d.retention_code == code]
    assert shown(plans) == [(p.document_id, p.page_number) for d in in_order for p in d.pages]
    for plan in plans:
        assert [frame.seq for frame in plan.frames] == list(range(1, len(plan.frames) + 1))
        assert (plan.frames[0].target, plan.frames[-1].target) == (Target.START, Target.END)
        assert len(plan.frames) <= min(plan.capacity_frames, 30)
        assert plan.length_mm <= length_ft * MM_PER_FOOT
        assert {span.document.retention_code for span in plan.spans} == {plan.retention_code}
        assert bool(plan.continued_on) == any(frame.target is Target.CONTINUED_ON for frame in plan.frames)
        assert bool(plan.continued_from) == any(frame.target is Target.CONTINUED_FROM for frame in plan.frames)
    parts: dict[str, int] = {}
    for plan in plans:
        for span in plan.spans:
            parts[span.document.document_id] = parts.get(span.document.document_id, 0) + 1
    for split in (d for d in documents if parts.get(d.document_id, 0) > 1):
        with_nothing_else = plan_rolls([split], film)
        assert len(with_nothing_else) > 1


def test_two_documents_of_one_id_are_not_planned() -> None:
    with pytest.raises(ValueError, match="same id"):
        plan_rolls([document("A"), document("A", 2)], SMALL_ROLL)


def test_a_document_longer_than_a_roll_says_where_it_goes_on() -> None:
    plans = plan_rolls([document("A", 3), document("BIG", 50), document("C", 2)], SMALL_ROLL, first_number=41)
    assert [plan.number for plan in plans] == ["R000041", "R000042", "R000043", "R000044"]
    assert [(plan.continued_from, plan.continued_on) for plan in plans] == [
        ("", ""),
        ("", "R000043"),
        ("R000042", "R000044"),
        ("R000043", ""),
    ]
    assert [[(s.document.document_id, s.pages) for s in plan.spans] for plan in plans] == [
        [("A", 3)],
        [("BIG", 20)],
        [("BIG", 19)],
        [("BIG", 11), ("C", 2)],
    ]
    assert sum(frame.target is Target.CONTINUED_ON for plan in plans for frame in plan.frames) == 2


def test_addresses_are_those_that_a_reader_counts() -> None:
    documents = [
        document("A", 1, batch="box 1"),
        document("B", 2, batch="box 1"),
        document("C", 2, batch="box 2"),
        document("D", 1, batch="box 2"),
    ]
    (plan,) = plan_rolls(documents, SMALL_ROLL)
    found = [(frame.mark_level, frame.address) for frame in plan.frames if frame.page]
    # Kodak A-61097: 1.0.0, 1.1.0, 1.1.1, 2.0.0
    assert found == [(3, "1.0.0"), (2, "1.1.0"), (1, "1.1.1"), (3, "2.0.0"), (1, "2.0.1"), (2, "2.1.0")]
    assert {(frame.mark_level, frame.address) for frame in plan.frames if frame.target} == {(0, "")}
    assert [(s.first_address, s.last_address) for s in plan.spans][1] == ("1.1.0", "1.1.1")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("document", "page"), ["0.1.0", "0.1.1", "0.2.0"]),
        (("page",), ["0.0.1", "0.0.2", "0.0.3"]),
        (("document",), ["0.0.1", "", "0.0.2"]),
        ((), ["", "", ""]),
    ],
)
def test_fewer_levels_of_marks_count_less(levels: tuple[str, ...], expected: list[str]) -> None:
    film = FilmSettings.model_validate({**SMALL_ROLL.model_dump(), "mark_levels": levels})
    (plan,) = plan_rolls([document("A", 2), document("B", 1)], film)
    assert [frame.address for frame in plan.frames if frame.page] == expected


def test_roll_numbers_are_r_and_six_digits() -> None:
    assert (roll_number(1), roll_number(999_999)) == ("R000001", "R999999")
    for none in (0, -1, 1_000_000):
        with pytest.raises(ValueError, match="999999"):
            roll_number(none)


def test_a_legal_page_is_turned_to_fit_and_its_length_counted() -> None:
    (plan,) = plan_rolls([document("A"), document("L", size_in=LEGAL)], FilmSettings())
    letter, legal = (frame for frame in plan.frames if frame.page)
    assert (letter.turned, legal.turned) == (False, True)
    assert legal.along_mm == pytest.approx(14 * 25.4 / 24)
    assert legal.across_mm == pytest.approx(8.5 * 25.4 / 24)
    assert (legal.width_px, legal.height_px) == (1400, 850)
    assert legal.cum_mm - letter.cum_mm == pytest.approx(14 * 25.4 / 24 + 2)


def test_pages_that_do_not_fit_are_held_with_what_to_do() -> None:
    film = FilmSettings(when_too_wide="hold")
    with pytest.raises(FilmDoesNotFit) as refused:
        plan_rolls([document("A"), document("L", 5, size_in=LEGAL)], film)
    assert refused.value.sentence == (
        "5 pages do not fit on the film: page 1 of L (8.5 x 14.0 in) would be 14.8 mm wide on the film; 12.5 mm is the "
        "limit; page 2 of L (8.5 x 14.0 in) would be 14.8 mm wide on the film; 12.5 mm is the limit; page 3 of L "
        "(8.5 x 14.0 in) would be 14.8 mm wide on the film; 12.5 mm is the limit; and 2 more. "
        "Film the order at 29x or more, let pages be turned, or put these pages on wider film."
    )
    assert plan_rolls([document("L", size_in=LEGAL)], film.model_copy(update={"reduction": 29}))
    with pytest.raises(FilmDoesNotFit, match=r"24\.0 x 36\.0 in"):
        plan_rolls([document("MAP", size_in=(24, 36))], FilmSettings())
    assert plan_rolls([document("MAP", size_in=(24, 36))], FilmSettings(width_mm=35, reduction=30))


def test_duplex_puts_two_images_side_by_side() -> None:
    film = FilmSettings(format="duplex", reduction=50, reserve_fraction=0, max_images_per_roll=100_000)
    (plan,) = plan_rolls([document("A", 4), document("B", 3)], film)
    ends = [frame.cum_mm for frame in plan.frames]
    assert ends[0::2] == pytest.approx(ends[1::2])
    assert film.capacity_frames(8.5) == pytest.approx(
        2 * film.model_copy(update={"format": "simplex"}).capacity_frames(8.5), abs=1
    )


@pytest.mark.parametrize(
    "wrong",
    [{"length_ft": 7}, {"mark_levels": ("page", "page")}, {"reduction": 2}, {"lenght_ft": 100}, {"width_mm": 70}],
)
def test_settings_that_make_no_film_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FilmSettings.model_validate(wrong)


# --- writing ---------------------------------------------------------------------------------------------------------

DOCUMENTS = [
    document("DEED-1", 3, title='Smith, "John"', batch="box 1", box_barcode="B1"),
    replace(document("Köln 2/b", 2, batch="box 1", size_in=LEGAL), customer_fields={"county": "Lewis & Clark"}),
    document("DEED-3", 20, batch="box 2", restriction="closed"),
]


def write_all(folder: Path, *, read: Callable[[FilmPage], PageImage] = pixels_of) -> list[RollPlan]:
    plans = plan_rolls(DOCUMENTS, SMALL_ROLL)
    for plan in plans:
        write_roll(plan, folder, JOB, read=read)
    write_job_files(folder, plans, JOB)
    return plans


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film") / JOB.folder_name
    write_all(folder)
    return folder


@pytest.fixture
def film(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / written.name))


def test_a_written_folder_has_the_agreed_layout_and_passes_its_check(written: Path) -> None:
    report = check_film_folder(written)
    assert report.problems == ()
    assert (report.good, report.rolls, report.frames, report.pages, report.documents) == (True, 2, 43, 25, 3)
    assert written.name == "FILM_WO-2026-0001_20261122"
    assert sorted(path.name for path in written.iterdir()) == [
        "ROLL_R000001",
        "ROLL_R000002",
        "frames.csv",
        "index.csv",
        "job.json",
        "manifest-sha256.txt",
        "rolls.csv",
    ]
    assert sorted(path.name for path in (written / "ROLL_R000001").iterdir()) == [
        "000001_START.tif",
        "000002_DENS.tif",
        "000003_RES.tif",
        "000004_ROLLID.tif",
        "000005_DEED-1_P0001.tif",
        "000006_DEED-1_P0002.tif",
        "000007_DEED-1_P0003.tif",
        "000008_K-LN-2-B_P0001.tif",
        "000009_K-LN-2-B_P0002.tif",
        "000010_INDEX.tif",
        "000011_CERT.tif",
        "000012_DENS.tif",
        "000013_RES.tif",
        "000014_END.tif",
    ]


def test_the_tables_have_the_agreed_columns(written: Path) -> None:
    tables = {}
    for name in ("rolls", "frames", "index"):
        data = (written / f"{name}.csv").read_bytes()
        assert data.count(b"\r\n") == data.count(b"\n")
        tables[name] = list(csv.reader(data.decode("utf-8").splitlines()))
    assert ", ".join(tables["rolls"][0]) == (
        "roll_no, work_order, customer, film_mm, film_ft, reduction, orientation, format, dpi, frames_total, "
        "frames_targets, frames_documents, first_doc, last_doc, cont_from, cont_to, retention_code, series, "
        "est_length_mm, capacity_limit, manifest_sha256"
    )
    assert ", ".join(tables["frames"][0]) == (
        "roll_no, seq, file, kind, target_code, doc_id, page_no, side, blip_level, predicted_address, width_px, "
        "height_px, dpi, across_mm, along_mm, cum_mm, sha256, source_image_id, retake_of"
    )
    assert ", ".join(tables["index"][0]) == (
        "series, doc_id, title, dates, box_barcode, folder_barcode, page_count, roll_no, first_seq, last_seq, "
        "first_address, last_address, county, restriction, disposition_date"
    )
    assert ", ".join(tables["index"][1]) == (
        '0417, DEED-1, Smith, "John", , B1, , 3, R000001, 5, 7, 1.0.0, 1.0.2, , , '
    )
    assert tables["index"][2][12] == "Lewis & Clark"
    job = json.loads((written / "job.json").read_text("utf-8"))
    assert job["rolls"][0]["turned_90_deg_ccw"] == [8, 9]
    assert job["orientation"] == {"label": "comic", "angle_deg": 0}


def test_a_roll_written_twice_has_the_same_bytes(film: Path) -> None:
    before = contents(film)
    write_all(film)
    assert contents(film) == before


def test_an_interrupted_roll_goes_on_where_it_stopped(written: Path, tmp_path: Path) -> None:
    class PowerCut(Exception):
        pass

    read: list[FilmPage] = []

    def read_until_the_power_goes(film_page: FilmPage) -> PageImage:
        if len(read) == 4:
            raise PowerCut
        read.append(film_page)
        return pixels_of(film_page)

    def read_again(film_page: FilmPage) -> PageImage:
        assert film_page not in read
        return pixels_of(film_page)

    folder = tmp_path / "film"
    with pytest.raises(PowerCut):
        write_all(folder, read=read_until_the_power_goes)
    assert not (folder / "ROLL_R000001").exists()  # never half a roll
    (torn,) = folder.glob(".ROLL_R000001.*/000008_*")
    torn.write_bytes(torn.read_bytes()[:200])
    read.pop()
    write_all(folder, read=read_again)
    assert contents(folder) == contents(written)


def test_a_roll_never_goes_on_with_frames_of_another_plan(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "film"
    other = folder / ".ROLL_R000001.0123456789abcdef.part"
    other.mkdir(parents=True)
    shutil.copy(written / "ROLL_R000001" / "000006_DEED-1_P0002.tif", other / "000005_DEED-1_P0001.tif")
    write_all(folder)
    assert contents(folder) == contents(written)


def test_the_pixels_on_film_are_those_of_the_page(written: Path) -> None:
    plans = plan_rolls(DOCUMENTS, SMALL_ROLL)
    for frame in plans[0].page_frames:
        assert frame.page is not None
        with Image.open(written / "ROLL_R000001" / frame.file) as image:
            pixels = np.array(image)
        expected = pixels_of(frame.page).pixels
        assert np.array_equal(pixels, np.rot90(expected) if frame.turned else expected)


def test_the_certificate_on_film_bears_the_digest_of_the_pages(written: Path) -> None:
    with (written / "frames.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["roll_no"] == "R000001" and row["kind"] == "doc"]
    digest = hashlib.sha256("".join(row["sha256"] + "\n" for row in rows).encode()).hexdigest()
    with Image.open(written / "ROLL_R000001" / "000011_CERT.tif") as image:
        (code,) = zxingcpp.read_barcodes(np.array(image.convert("L")))
    assert json.loads(code.text)["sha256"] == digest


def test_prepared_pages_are_read_in_any_tone_and_only_at_the_planned_size(tmp_path: Path) -> None:
    film_page = replace(page("A", 1), path=tmp_path / "page.png")
    for mode, shape in (("1", (1100, 850)), ("L", (1100, 850)), ("RGB", (1100, 850, 3)), ("P", (1100, 850, 3))):
        Image.new(mode, (850, 1100), 1).save(film_page.path)
        assert read_prepared(film_page).pixels.shape == shape
    with pytest.raises(UnreadableImage, match="850 x 1100 pixels, planned were 851 x 1100"):
        read_prepared(replace(film_page, width_px=851))
    film_page.path.write_bytes(b"no image")
    with pytest.raises(UnreadableImage):
        read_prepared(film_page)
    (plan,) = plan_rolls([document("A")], SMALL_ROLL)
    with pytest.raises(UnreadableImage, match="planned were 850 x 1100"):
        write_roll(plan, tmp_path, JOB, read=lambda _: PageImage(pixels=np.ones((9, 9), np.bool_), dpi=100))


def test_a_certificate_given_is_delivered_and_listed(film: Path, tmp_path: Path) -> None:
    (tmp_path / "signed.pdf").write_bytes(b"%PDF-1.7")
    write_job_files(film, plan_rolls(DOCUMENTS, SMALL_ROLL), JOB, certificate=tmp_path / "signed.pdf")
    assert check_film_folder(film).problems == ()
    assert "certificate.pdf" in (film / "manifest-sha256.txt").read_text()


def test_an_index_field_of_the_customer_may_not_be_named_like_ours(film: Path) -> None:
    documents = [replace(d, customer_fields={"title": "x"}) for d in DOCUMENTS]
    with pytest.raises(ValueError, match="title"):
        write_job_files(film, plan_rolls(documents, SMALL_ROLL), JOB)


def test_long_names_stay_within_what_a_writer_takes() -> None:
    (plan,) = plan_rolls([document("a very long name of a document, " * 9)], SMALL_ROLL)
    (frame,) = plan.page_frames
    assert len(frame.file) == 60
    assert frame.file.startswith("000005_A-VERY-LONG-NAME")
    assert frame.file.endswith("_P0001.tif")


@pytest.mark.tool
def test_tiffinfo_sees_one_strip_in_every_frame(written: Path) -> None:
    for path in sorted(written.glob("ROLL_*/*.tif")):
        try:
            said = tools.run(["tiffinfo", "-s", str(path)], timeout_s=20).stdout.decode()
        except tools.ToolMissing as missing:
            pytest.skip(str(missing))
        assert "1 Strips:" in said
        assert "CCITT Group 4" in said


# --- the folder's check ----------------------------------------------------------------------------------------------


def edit(path: Path, old: str, new: str) -> None:
    data = path.read_bytes()
    assert data.count(old.encode()) >= 1
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))


def drop_line(path: Path, start: str) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if not line.startswith(start.encode())))


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("a frame is gone", lambda f: (f / "ROLL_R000001/000006_DEED-1_P0002.tif").unlink(), "cannot be opened"),
    (
        "a frame is another",
        lambda f: shutil.copy(f / "ROLL_R000001/000005_DEED-1_P0001.tif", f / "ROLL_R000001/000006_DEED-1_P0002.tif"),
        "its SHA-256 is another",
    ),
    ("a file too many", lambda f: (f / "ROLL_R000001/Thumbs.db").write_bytes(b"x"), "is not in frames.csv"),
    ("a folder too many", lambda f: (f / "ROLL_R000009").mkdir(), "ROLL_R000009: is no roll of rolls.csv"),
    ("an unfinished roll", lambda f: (f / ".ROLL_R000001.0.part").mkdir(), "is no roll of rolls.csv"),
    ("a roll is gone", lambda f: shutil.rmtree(f / "ROLL_R000002"), "the folder is missing"),
    ("a link", lambda f: (f / "ROLL_R000001/x.tif").symlink_to("/etc/hostname"), "is not a plain file"),
    ("a manifest is gone", lambda f: (f / "manifest-sha256.txt").unlink(), "manifest-sha256.txt: is missing"),
    (
        "a line is gone",
        lambda f: edit(f / "manifest-sha256.txt", "  job.json", "  jobb.json"),
        "is not in the manifest",
    ),
    ("a line is damaged", lambda f: edit(f / "manifest-sha256.txt", "  job.json", " job.json"), "is damaged"),
    (
        "the job was edited",
        lambda f: edit(f / "job.json", '"angle_deg": 0', '"angle_deg": 9'),
        "job.json: is not the file",
    ),
    ("the job is no job", lambda f: (f / "job.json").write_text("[" * 50_000), "cannot be understood"),
    ("the film is none", lambda f: edit(f / "job.json", '"width_mm": 16', '"width_mm": 17'), "cannot be understood"),
    ("a table is gone", lambda f: (f / "rolls.csv").unlink(), "rolls.csv: is missing"),
    ("a column is gone", lambda f: edit(f / "frames.csv", "kind,", ""), "its columns are not"),
    ("a table is binary", lambda f: (f / "index.csv").write_bytes(b"\xff\xfe\0"), "is not a UTF-8 table"),
    ("a cell too many", lambda f: edit(f / "frames.csv", "R000001,5,", "R000001,5,,"), "cells, not 19"),
    ("a frame's row is gone", lambda f: drop_line(f / "frames.csv", "R000001,6,"), "stands where 6 is due"),
    ("a roll's row is gone", lambda f: drop_line(f / "rolls.csv", "R000002"), "which rolls.csv has not"),
    ("no START", lambda f: edit(f / "frames.csv", "target,START", "target,CERT"), "does not begin with a START"),
    ("no END", lambda f: edit(f / "frames.csv", "target,END", "target,CERT"), "does not end with an END"),
    ("an unknown target", lambda f: edit(f / "frames.csv", "target,CERT", "target,CARD"), "nor a known target"),
    (
        "a name with small letters",
        lambda f: edit(f / "frames.csv", "000005_DEED-1", "000005_deed-1"),
        "no legal file name",
    ),
    (
        "a name out of the folder",
        lambda f: edit(f / "frames.csv", "000005_DEED-1", "../../etc/x"),
        "no legal file name",
    ),
    ("a wrong place", lambda f: edit(f / "frames.csv", "R000001,5,", "R000001,50,"), "is not named for its place"),
    ("a wrong address", lambda f: edit(f / "frames.csv", "1.0.1", "1.0.2"), "has address '1.0.2', not '1.0.1'"),
    ("a wrong mark", lambda f: edit(f / "frames.csv", ",3,1.0.0", ",4,1.0.0"), "mark level '4'"),
    ("a wrong size", lambda f: edit(f / "frames.csv", ",850,1100,100,", ",851,1100,100,"), "another size"),
    ("too much film", lambda f: edit(f / "frames.csv", ",969.", ",99969."), "mm of film"),
    ("no length at all", lambda f: edit(f / "frames.csv", ",969.", ",nan"), "uses inf mm of film"),
    ("too wide", lambda f: edit(f / "frames.csv", ",11.64,", ",13.64,"), "13.6 mm wide"),
    ("a wrong count", lambda f: edit(f / "rolls.csv", ",14,9,5,", ",15,9,6,"), "rolls.csv says otherwise"),
    (
        "over the capacity",
        lambda f: edit(f / "job.json", '"max_images_per_roll": 30', '"max_images_per_roll": 20'),
        "20 is the most",
    ),
    (
        "a wrong digest of a roll",
        lambda f: edit(f / "rolls.csv", "\r\nR000002", "0\r\nR000002"),
        "the manifest digest of roll R000001",
    ),
    (
        "an index row is gone",
        lambda f: drop_line(f / "index.csv", "0417,DEED-3"),
        "has no right row for document DEED-3",
    ),
    ("an index row is wrong", lambda f: edit(f / "index.csv", "R000001,5,7", "R000001,5,8"), "is not so in frames.csv"),
]


@pytest.mark.parametrize(("fault", "said"), [(fault, said) for _, fault, said in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_in_a_film_folder_is_found(fault: Callable[[Path], object], said: str, film: Path) -> None:
    fault(film)
    report = check_film_folder(film)
    assert said in " | ".join(report.problems)
    assert not report.good


def test_a_folder_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("none", "link"):
        assert check_film_folder(tmp_path / name).problems == ("there is no such folder",)
    (tmp_path / "empty").mkdir()
    assert "rolls.csv: is missing" in check_film_folder(tmp_path / "empty").problems


def test_a_list_of_problems_ends_somewhere(film: Path) -> None:
    for number in range(300):
        (film / "ROLL_R000001" / f"{number:06d}_X.tif").write_bytes(b"")
    problems = check_film_folder(film).problems
    assert len(problems) == 201
    assert problems[-1].startswith("and ")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["rolls.csv", "frames.csv", "index.csv", "job.json", "manifest-sha256.txt"]),
    places=st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_no_damage_to_a_table_makes_the_check_fall_over_or_pass(
    name: str, places: list[tuple[int, int]], written: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(written, folder)
    data = bytearray((folder / name).read_bytes())
    before = bytes(data)
    for at, value in places:
        data[at % len(data)] = value
    (folder / name).write_bytes(data)
    assert check_film_folder(folder).good == (bytes(data) == before)
