"""Film frames are what an archive writer reads, the checker finds what it would not, targets say what they must."""

from __future__ import annotations

import io
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zxingcpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages import fonts, tools
from stages.film_check import check_frame, inspect_frame, read_tags
from stages.film_frame import Settings, Tag, frame_bytes, otsu, write_frame
from stages.film_sheet import CHECK_PX, MARGIN_MM
from stages.film_targets import (
    BAR_WIDTHS_PX,
    IndexPart,
    IndexRow,
    RollFacts,
    Target,
    index_rows_a_page,
    target_page,
)
from stages.page_image import MM_PER_INCH, PageImage, Pixels

ROLL = RollFacts(
    roll_number="R000042",
    roll_index=2,
    roll_count=3,
    work_order="WO-2026-0001",
    customer="DPHHS",
    agency="Department of Public Health and Human Services",
    series="0417 Delayed birth registrations",
    dates="1907 to 1921",
    first_document="DBR-00001",
    last_document="DBR-02310",
    documents=212,
    pages=2310,
    frames=2335,
    content_sha256="3f" * 32,
    continued_from="R000041",
    continued_on="R000043",
)
LONG_WORDS = "An exceedingly long description of the records of a county that kept all of them and more " * 6


def typed_page(*, width_px: int = 850, height_px: int = 1100, dpi: float = 100, seed: int = 7) -> PageImage:
    """A bitonal page with lines of specks like letters."""
    random = np.random.default_rng(seed)
    pixels = np.ones((height_px, width_px), np.bool_)
    for row in range(height_px // 10, height_px * 9 // 10, 12):
        pixels[row : row + 6, width_px // 10 : width_px * 9 // 10] = (
            random.random((6, width_px * 9 // 10 - width_px // 10)) > 0.4
        )
    return PageImage(pixels=pixels, dpi=dpi)


def good_frame() -> bytes:
    return frame_bytes(~typed_page().pixels, 100, document_name="D1", page_name="page 1", software="Platen")


def with_tag(data: bytes, tag: int, value: int, *, new_tag: int | None = None) -> bytes:
    """The frame with another value (or another number) for one tag whose value stands in the directory."""
    count = struct.unpack_from("<H", data, 8)[0]
    for at in range(10, 10 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            kind = struct.unpack_from("<H", data, at + 2)[0]
            raw = struct.pack("<H2x" if kind == 3 else "<I", value)
            return data[:at] + struct.pack("<H", new_tag or tag) + data[at + 2 : at + 8] + raw + data[at + 12 :]
    raise AssertionError(f"no tag {tag}")


def problems_of(data: bytes, tmp_path: Path, *, film_mm: int = 16) -> str:
    path = tmp_path / "frame.tif"
    path.write_bytes(data)
    return " | ".join(check_frame(path, film_mm=film_mm))


def pillow_tiff(image: Image.Image, **options: object) -> bytes:
    holder = io.BytesIO()
    image.save(holder, "TIFF", **options)
    return holder.getvalue()


# --- frames ----------------------------------------------------------------------------------------------------------


def test_a_frame_has_the_tags_that_archive_writers_ask_for(tmp_path: Path) -> None:
    page = typed_page(dpi=299.72)
    write_frame(page, tmp_path / "f.tif", document_name="DEED-7", page_name="page 3")
    tags = read_tags((tmp_path / "f.tif").read_bytes())
    assert list(tags) == sorted(tags)
    expected = {254: 0, 256: 850, 257: 1100, 258: 1, 259: 4, 262: 0, 266: 1, 277: 1, 278: 1100, 293: 0, 296: 2}
    assert {tag: tags[tag][0] for tag in expected} == expected
    assert tags[282] == tags[283] == (pytest.approx(299.72),)
    assert (tags[269], tags[285], tags[305]) == (("DEED-7",), ("page 3",), ("Platen",))
    assert len(tags[273]) == len(tags[279]) == 1
    assert 306 not in tags  # a date would make the same page another file tomorrow


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 90), cols=st.integers(8, 90), share=st.floats(0, 1), seed=st.integers(0, 999))
def test_every_pixel_comes_back_from_a_frame(rows: int, cols: int, share: float, seed: int) -> None:
    ink = np.random.default_rng(seed).random((rows, cols)) < share
    with Image.open(io.BytesIO(frame_bytes(ink, 200))) as image:
        assert image.mode == "1"
        assert np.array_equal(np.array(image), ~ink)


def test_the_same_page_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_frame(typed_page(), tmp_path / "a.tif", document_name="D")
    second = write_frame(typed_page(), tmp_path / "b.tif", document_name="D")
    assert first == second == inspect_frame(tmp_path / "a.tif").sha256
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_a_grey_page_is_made_bitonal_by_the_given_function_or_by_one_threshold(tmp_path: Path) -> None:
    ink = ~typed_page().pixels
    grey: Pixels = np.where(ink, 60, 200).astype(np.uint8)
    page = PageImage(pixels=grey, dpi=100)
    write_frame(page, tmp_path / "otsu.tif")
    write_frame(page, tmp_path / "own.tif", to_bitonal=lambda p: p.with_pixels(np.ones(p.pixels.shape, np.bool_)))
    write_frame(replace(page, pixels=np.dstack([grey] * 3)), tmp_path / "colour.tif", to_bitonal=lambda p: p)
    with Image.open(tmp_path / "otsu.tif") as image, Image.open(tmp_path / "colour.tif") as colour:
        assert np.array_equal(np.array(image), ~ink)
        assert np.array_equal(np.array(colour), ~ink)
    with Image.open(tmp_path / "own.tif") as image:
        assert np.array(image).all()
    assert otsu(page).is_bitonal


def test_names_that_are_not_ascii_do_not_spoil_a_frame(tmp_path: Path) -> None:
    write_frame(typed_page(), tmp_path / "f.tif", document_name="Grundbuch Köln\0" + "x" * 400, settings=Settings())
    assert check_frame(tmp_path / "f.tif") == []
    assert str(read_tags((tmp_path / "f.tif").read_bytes())[269][0]).startswith("Grundbuch K?ln?xxx")


@pytest.mark.tool
def test_tiffinfo_sees_one_strip_of_group_4(tmp_path: Path) -> None:
    try:
        write_frame(typed_page(width_px=2550, height_px=3300, dpi=300), tmp_path / "f.tif")
        said = tools.run(["tiffinfo", "-s", str(tmp_path / "f.tif")], timeout_s=20).stdout.decode()
    except tools.ToolMissing as missing:
        pytest.skip(str(missing))
    assert "1 Strips:" in said
    assert "CCITT Group 4" in said
    assert "min-is-white" in said
    assert "Resolution: 300, 300 pixels/inch" in said
    assert said.count("TIFF Directory") == 1


@pytest.mark.real
def test_real_pages_become_good_frames(real_scans: Path, tmp_path: Path) -> None:
    files = [path for path in sorted(real_scans.rglob("*")) if path.suffix.lower() in {".png", ".jpg", ".tif"}]
    if not files:
        pytest.skip("the real scans hold no image files")
    for path in files[:: max(1, len(files) // 5)][:5]:
        with Image.open(path) as image:
            page = PageImage(pixels=np.array(image.convert("L")), dpi=200 if image.width < 2200 else 300)
        write_frame(page, tmp_path / "f.tif", settings=Settings(film_mm=35))
        assert check_frame(tmp_path / "f.tif", film_mm=35) == []


# --- the checker -----------------------------------------------------------------------------------------------------


def test_a_good_frame_passes(tmp_path: Path) -> None:
    assert problems_of(good_frame(), tmp_path) == ""
    found = inspect_frame(tmp_path / "frame.tif")
    assert (found.width_px, found.height_px, found.dpi) == (850, 1100, 100.0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (with_tag(good_frame(), Tag.PHOTOMETRIC, 1), "photometric interpretation (tag 262) is 1"),
        (with_tag(good_frame(), Tag.FILL_ORDER, 2), "fill order (tag 266) is 2"),
        (with_tag(good_frame(), Tag.COMPRESSION, 5), "compression (tag 259) is 5"),
        (with_tag(good_frame(), Tag.BITS_PER_SAMPLE, 8), "bits a sample (tag 258) is 8"),
        (with_tag(good_frame(), Tag.SAMPLES_PER_PIXEL, 3), "samples a pixel (tag 277) is 3"),
        (with_tag(good_frame(), Tag.ROWS_PER_STRIP, 64), "rows a strip (tag 278) is 64"),
        (with_tag(good_frame(), Tag.T6_OPTIONS, 2), "T.6 options"),
        (with_tag(good_frame(), Tag.RESOLUTION_UNIT, 3), "not in inches"),
        (with_tag(good_frame(), Tag.T6_OPTIONS, 3, new_tag=322), "tiled"),
        (with_tag(good_frame(), Tag.T6_OPTIONS, 8, new_tag=330), "extra directory (SubIFDs)"),
        (with_tag(good_frame(), Tag.T6_OPTIONS, 6, new_tag=274), "orientation tag"),
        (with_tag(good_frame(), Tag.X_RESOLUTION, 8, new_tag=700), "no resolution"),
        (with_tag(good_frame(), Tag.PHOTOMETRIC, 0, new_tag=263), "photometric interpretation (tag 262) is missing"),
        (with_tag(good_frame(), Tag.IMAGE_WIDTH, 0), "no width"),
        (with_tag(good_frame(), Tag.STRIP_OFFSETS, 2**31), "outside the file"),
        (with_tag(good_frame(), Tag.STRIP_BYTE_COUNTS, 2**31), "outside the file"),
        (with_tag(good_frame(), Tag.IMAGE_WIDTH, 2**31), "megapixels"),
        (b"", "not a TIFF"),
        (b"%PDF-1.4 and so on", "not a TIFF"),
        (b"II+\0" + bytes(60), "BigTIFF"),
        (b"II*\0\xff\xff\xff\x7f" + bytes(60), "outside the file"),
    ],
)
def test_what_a_writer_would_stumble_over_is_said(data: bytes, said: str, tmp_path: Path) -> None:
    assert said in problems_of(data, tmp_path)


def test_frames_of_other_makes_are_refused_where_they_differ(tmp_path: Path) -> None:
    page = Image.fromarray(typed_page().pixels)
    several = pillow_tiff(page, compression="group4", dpi=(100, 100), tiffinfo={278: 64})
    assert "18 strips" in problems_of(several, tmp_path)
    unequal = pillow_tiff(page, compression="group4", dpi=(100, 200), tiffinfo={278: 1100})
    assert "100 dpi across and 200 dpi down" in problems_of(unequal, tmp_path)
    grey = pillow_tiff(page.convert("L"), dpi=(100, 100))
    assert "bits a sample (tag 258) is 8" in problems_of(grey, tmp_path)
    colour = pillow_tiff(page.convert("RGB"), dpi=(100, 100))
    assert "bits a sample (tag 258) is 8/8/8, must be 1" in problems_of(colour, tmp_path)
    lines = pillow_tiff(
        page.resize((850, 1600)), compression="group4", dpi=(100, 100), tiffinfo={278: 1, 700: b"x" * 9999}
    )
    assert "1600 strips" in problems_of(lines, tmp_path)
    two_pages = pillow_tiff(page, compression="group4", save_all=True, append_images=[page])
    assert "more than one page" in problems_of(two_pages, tmp_path)


def test_a_strip_that_ends_early_or_late_is_found(tmp_path: Path) -> None:
    data = good_frame()
    length = read_tags(data)[Tag.STRIP_BYTE_COUNTS][0]
    for cut in (1, 3, 40, int(length) // 2):
        shorter = with_tag(data[:-cut], Tag.STRIP_BYTE_COUNTS, int(length) - cut)
        assert "does not decode to 1100 whole rows" in problems_of(shorter, tmp_path)
    for rows in (1099, 1101, 1200):
        other = with_tag(with_tag(data, Tag.IMAGE_LENGTH, rows), Tag.ROWS_PER_STRIP, rows)
        assert f"does not decode to {rows} whole rows" in problems_of(other, tmp_path)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_blank_and_black_pages_pass(share: float, tmp_path: Path) -> None:
    assert problems_of(frame_bytes(np.full((1100, 850), bool(share)), 100), tmp_path) == ""


def test_a_page_is_held_to_the_size_its_film_takes(tmp_path: Path) -> None:
    large = frame_bytes(np.zeros((3600, 2400), np.bool_), 100)
    assert "24.0 x 36.0 in; 16 mm film takes" in problems_of(large, tmp_path)
    assert problems_of(large, tmp_path, film_mm=35) == ""
    small = frame_bytes(np.zeros((40, 200), np.bool_), 100)
    assert "0.4 x 2.0 in" in problems_of(small, tmp_path)


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "real.tif").write_bytes(good_frame())
    (tmp_path / "link.tif").symlink_to(tmp_path / "real.tif")
    os.mkfifo(tmp_path / "pipe.tif")  # opening it would wait for ever
    for name in ("link.tif", "pipe.tif", "."):
        assert check_frame(tmp_path / name) == ["is not a plain file"]
    assert "cannot be opened" in check_frame(tmp_path / "none.tif")[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 330), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_to_a_file_makes_the_checker_fall_over(places: list[tuple[int, int]], tmp_path: Path) -> None:
    data = bytearray(frame_bytes(np.zeros((120, 90), np.bool_), 100, document_name="DOC", software="Platen"))
    for at, value in places:
        data[at % len(data)] = value
    problems_of(bytes(data), tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rubbish=st.binary(max_size=400), start=st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
def test_rubbish_makes_the_checker_say_so(rubbish: bytes, start: bytes, tmp_path: Path) -> None:
    assert problems_of(start + rubbish, tmp_path) != ""


@pytest.mark.tool
def test_group_4_by_another_encoder_passes_and_its_tiles_do_not(tmp_path: Path) -> None:
    (tmp_path / "in.tif").write_bytes(good_frame())
    try:
        tools.run(["tiffcp", "-c", "g4", "-r", "1100", f"{tmp_path}/in.tif", f"{tmp_path}/g4.tif"], timeout_s=20)
        tools.run(["tiffcp", "-c", "g4", "-t", f"{tmp_path}/in.tif", f"{tmp_path}/tiled.tif"], timeout_s=20)
    except tools.ToolMissing as missing:
        pytest.skip(str(missing))
    assert check_frame(tmp_path / "g4.tif") == []
    assert "tiled" in " ".join(check_frame(tmp_path / "tiled.tif"))


# --- targets ---------------------------------------------------------------------------------------------------------


def qr_fields(page: PageImage) -> dict[str, object]:
    found = zxingcpp.read_barcodes(np.ascontiguousarray(page.grey()))
    assert len(found) == 1
    fields: dict[str, object] = json.loads(found[0].text)
    return fields


def ink_box_mm(page: PageImage) -> tuple[float, float, float, float]:
    rows, cols = np.nonzero(~page.pixels)
    mm = MM_PER_INCH / page.dpi
    return (
        cols.min() * mm,
        rows.min() * mm,
        (page.width_px - 1 - cols.max()) * mm,
        (page.height_px - 1 - rows.max()) * mm,
    )


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("dpi", [200, 300])
def test_a_code_on_every_target_says_which_roll_and_target_it_is(target: Target, dpi: int) -> None:
    page = target_page(target, ROLL, dpi=dpi)
    assert (page.width_px, page.height_px, page.dpi) == (round(8.5 * dpi), 11 * dpi, dpi)
    assert page.is_bitonal
    fields = qr_fields(page)
    assert (fields["code"], fields["roll"], fields["of"]) == (str(target), "R000042", "2/3")
    assert fields["order"] == "WO-2026-0001"


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("size", [(8.5, 11.0), (5.0, 8.0), (11.0, 17.0)])
def test_nothing_on_a_target_leaves_its_margins_however_long_the_words(
    target: Target, size: tuple[float, float]
) -> None:
    long = {name: LONG_WORDS for name in ("agency", "sub_unit", "series", "title", "dates", "authority", "operator")}
    long |= {"first_document": "X" * 300, "last_document": "Y" * 300, "classification": LONG_WORDS}
    rows = [IndexRow(document_id="Z" * 90, title=LONG_WORDS, pages=99999, first_frame=99999, address="99.999.9999")]
    rows *= index_rows_a_page(width_in=size[0], height_in=size[1])
    page = target_page(
        target, replace(ROLL, **long), width_in=size[0], height_in=size[1], dpi=150, index=IndexPart(rows=rows)
    )
    unit = min(size[0] / 8.5, size[1] / 11)
    assert min(ink_box_mm(page)) >= (MARGIN_MM - 1) * unit


@pytest.mark.parametrize("reduction", [16.0, 24.0, 32.0])
def test_start_and_end_are_readable_on_the_film_without_a_magnifier(reduction: float) -> None:
    for target in (Target.START, Target.END):
        page = target_page(target, replace(ROLL, reduction=reduction))
        inked = np.flatnonzero((~page.pixels).any(axis=1))
        lines = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
        for line in lines[:2]:  # the word, and the number of the roll
            assert len(line) * MM_PER_INCH / page.dpi / reduction >= 2.0


def test_the_resolution_target_has_bars_of_whole_pixels() -> None:
    page = target_page(Target.RESOLUTION, ROLL)
    found = set()
    for line in (*~page.pixels, *~page.pixels.T):
        edges = np.flatnonzero(np.diff(line.astype(np.int8)))
        runs, counts = np.unique(np.diff(edges), return_counts=True)
        found |= {int(run) for run, count in zip(runs, counts, strict=True) if count > 100}
    assert found >= set(BAR_WIDTHS_PX)


def test_the_half_patch_of_the_density_target_is_half_ink() -> None:
    page = target_page(Target.DENSITY, ROLL)
    left = page.width_px // 4
    shares = (~page.pixels)[:, left : left + 40 * CHECK_PX].mean(axis=1)
    assert np.count_nonzero(shares == 0.5) * MM_PER_INCH / page.dpi > 40
    assert np.count_nonzero(shares == 1.0) * MM_PER_INCH / page.dpi > 40


@pytest.mark.tool
def test_the_resolution_target_says_that_it_is_no_iso_chart(tmp_path: Path) -> None:
    write_frame(target_page(Target.RESOLUTION, ROLL), tmp_path / "res.tif")
    write_frame(target_page(Target.DENSITY, ROLL), tmp_path / "dens.tif")
    try:
        said = tools.run(["tesseract", str(tmp_path / "res.tif"), "-", "--psm", "11"], timeout_s=60).stdout.decode()
        density = tools.run(["tesseract", str(tmp_path / "dens.tif"), "-", "--psm", "11"], timeout_s=60).stdout.decode()
    except tools.ToolMissing as missing:
        pytest.skip(str(missing))
    for words in ("NOT an", "ISO 3334 test chart", "no resolution of the film may be certified"):
        assert words in said
    for line_pairs in ("5.91", "2.95", "1.97", "1.48", "1.18", "142"):  # a page of 300 dpi, filmed at 24x
        assert line_pairs in said
    assert "computer-made page" in density


def test_a_target_is_drawn_the_same_every_time() -> None:
    first, second = (target_page(Target.CERTIFICATE, ROLL, dpi=150).pixels for _ in range(2))
    assert np.array_equal(first, second)


def test_an_index_target_lists_its_documents_within_its_page() -> None:
    rows = [IndexRow(document_id=f"D{number}", pages=number) for number in range(index_rows_a_page())]
    page = target_page(Target.INDEX, ROLL, index=IndexPart(rows=rows, number=2, count=5), dpi=200)
    fields = qr_fields(page)  # the last rows do not run into the code
    assert (fields["part"], fields["first"], fields["last"]) == ("2/5", "D0", f"D{len(rows) - 1}")


def test_a_machine_without_typefaces_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "FOLDERS", (Path("/nowhere"),))
    fonts.font.cache_clear()
    fonts._file.cache_clear()
    with pytest.raises(RuntimeError, match="fonts-liberation or fonts-dejavu-core"):
        fonts.font(20, bold=True)
    monkeypatch.undo()
    assert fonts.font(20, mono=True).getlength("ii") == fonts.font(20, mono=True).getlength("WW")
