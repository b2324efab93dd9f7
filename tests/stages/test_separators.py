from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pypdfium2
import pytest
import zxingcpp
from PIL import Image, ImageSequence
from pydantic import ValidationError

from fixtures.pages import DrawnPage
from fixtures.scanner import scanned as scan_of
from fixtures.separators import bar_chart, labelled_letter, music
from stages.page_image import MM_PER_INCH, PageImage
from stages.separators import Settings, separators

Grey = npt.NDArray[np.uint8]

LETTER_MM = (215.9, 279.4)
# bars from the leading edge inwards, as the patch specification A-61599 has them
BARS = {"1": "WWNN", "2": "WNNW", "3": "WNWN", "4": "NWWN", "6": "NNWW", "T": "NWNW"}
EDGES = ("top", "right", "bottom", "left")  # counter-clockwise turns of the sheet bring one to the next
FORMATS = {
    "qr": zxingcpp.BarcodeFormat.QRCode,
    "code-128": zxingcpp.BarcodeFormat.Code128,
    "code-39": zxingcpp.BarcodeFormat.Code39,
    "data-matrix": zxingcpp.BarcodeFormat.DataMatrix,
}
OTHER_FORMATS = {
    "itf": zxingcpp.BarcodeFormat.ITF,
    "codabar": zxingcpp.BarcodeFormat.Codabar,
    "pdf417": zxingcpp.BarcodeFormat.PDF417,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def paper(dpi: float = 300, level: int = 245, size_mm: tuple[float, float] = LETTER_MM) -> Grey:
    return np.full((round(size_mm[1] * dpi / MM_PER_INCH), round(size_mm[0] * dpi / MM_PER_INCH)), level, np.uint8)


def add_patch(
    sheet: Grey,
    code: str,
    *,
    dpi: float = 300,
    gap_mm: float = 10,
    length_mm: float = 63.5,
    ink: int = 30,
    scale: float = 1,
) -> Grey:
    """The patch along the top edge, in the middle."""
    px = dpi / MM_PER_INCH
    middle = sheet.shape[1] / 2
    left, right = round(middle - length_mm * px / 2), round(middle + length_mm * px / 2)
    top_mm = gap_mm
    for bar in BARS[code]:
        bottom_mm = top_mm + (0.20 if bar == "W" else 0.08) * MM_PER_INCH * scale
        sheet[round(top_mm * px) : round(bottom_mm * px), left:right] = ink
        top_mm = bottom_mm + 0.08 * MM_PER_INCH * scale
    return sheet


def patch_sheet(code: str, *, dpi: float = 300, edge: str = "top", level: int = 245, **options: float) -> Grey:
    turns = EDGES.index(edge)
    width, height = LETTER_MM if turns % 2 == 0 else LETTER_MM[::-1]
    sheet = add_patch(paper(dpi, level, (width, height)), code, dpi=dpi, **options)  # type: ignore[arg-type]
    return np.ascontiguousarray(np.rot90(sheet, -turns))


def skewed(grey: Grey, angle_deg: float, *, lid: int = 245) -> Grey:
    rows, cols = grey.shape
    turn = cv2.getRotationMatrix2D((cols / 2, rows / 2), angle_deg, 1)
    return np.asarray(cv2.warpAffine(grey, turn, (cols, rows), borderValue=float(lid)), np.uint8)


def scanned(grey: Grey, *, noise: float = 8, seed: int = 1) -> Grey:
    grain = np.random.default_rng(seed).standard_normal(grey.shape, np.float32) * np.float32(noise)
    return np.clip(cv2.GaussianBlur(grey, (0, 0), 1.2) + grain, 0, 255).astype(np.uint8)


def barcode(kind: str, payload: str, *, module_mm: float, dpi: float = 300, height_mm: float = 15) -> Grey:
    code = zxingcpp.create_barcode(payload, {**FORMATS, **OTHER_FORMATS}[kind])
    modules = np.asarray(zxingcpp.write_barcode_to_image(code, scale=1, add_quiet_zones=False))
    if kind in ("code-128", "code-39", "itf", "codabar"):
        modules = modules[:1]
    px = dpi / MM_PER_INCH
    rows = round((height_mm if len(modules) == 1 else len(modules) * module_mm) * px)
    cols = round(modules.shape[1] * module_mm * px)
    return np.asarray(cv2.resize(modules, (cols, rows), interpolation=cv2.INTER_NEAREST), np.uint8)


def add_barcode(
    sheet: Grey,
    kind: str,
    payload: str,
    *,
    left_mm: float = 40,
    top_mm: float = 120,
    module_mm: float = 0.5,
    dpi: float = 300,
) -> Grey:
    code = barcode(kind, payload, module_mm=module_mm, dpi=dpi)
    left, top, quiet = (round(mm * dpi / MM_PER_INCH) for mm in (left_mm, top_mm, 6))
    sheet[top - quiet : top + len(code) + quiet, left - quiet : left + code.shape[1] + quiet] = 245
    sheet[top : top + len(code), left : left + code.shape[1]] = np.where(code < 128, 30, 245)
    return sheet


def add_print(sheet: Grey, *, lines: int, top_mm: float = 45, dpi: float = 300) -> Grey:
    for line in range(lines):
        place = (round(25 * dpi / MM_PER_INCH), round((top_mm + 5.5 * line) * dpi / MM_PER_INCH))
        text = f"No {line} the quick brown fox jumps over the lazy dog and others of his kin"
        cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, dpi / 220, 30, 3, cv2.LINE_AA)
    return sheet


def read(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.bool_], *, dpi: float = 300, **settings: object) -> PageImage:
    return separators(PageImage(pixels=pixels, dpi=dpi), Settings.model_validate(settings))


def found(page: PageImage) -> list[str]:
    codes = page.readings["separators.found"]
    assert isinstance(codes, list)
    return [str(code) for code in codes]


def bitonal(grey: Grey) -> npt.NDArray[np.bool_]:
    return grey > 128


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("code", BARS)
def test_a_patch_is_read_from_whichever_edge_it_lies_along(code: str, edge: str) -> None:
    for angle_deg in (0.0, 6.5, -14.5):
        sheet = scanned(skewed(patch_sheet(code, edge=edge, dpi=150), angle_deg))
        assert found(read(sheet, dpi=150)) == [f"patch-{code}"]
        assert found(read(bitonal(sheet), dpi=150)) == [f"patch-{code}"]


@pytest.mark.parametrize("dpi", [150, 240, 300, 400, 600])
@pytest.mark.parametrize("code", ["2", "T"])
def test_a_patch_is_read_at_every_usual_resolution(code: str, dpi: int) -> None:
    sheet = skewed(patch_sheet(code, dpi=dpi, edge="right"), 3.0)
    assert found(read(bitonal(sheet), dpi=dpi, barcode_formats=())) == [f"patch-{code}"]


def test_a_patch_on_pastel_paper_over_a_black_lid_is_read() -> None:
    for angle_deg in (2.0, -9.0, 15.0):
        sheet = scanned(skewed(patch_sheet("3", level=165, ink=70), angle_deg, lid=5), noise=12)
        assert found(read(sheet)) == ["patch-3"]


def test_a_copied_patch_is_read_and_one_of_another_size_is_not() -> None:
    assert found(read(patch_sheet("T", scale=0.96))) == ["patch-T"]
    assert found(read(patch_sheet("T", scale=1.04))) == ["patch-T"]
    assert found(read(patch_sheet("T", scale=0.75))) == []
    assert found(read(patch_sheet("T", scale=1.3))) == []


def test_short_bars_of_other_makes_are_read_and_a_mere_mark_is_not() -> None:
    assert found(read(patch_sheet("2", length_mm=19.1))) == ["patch-2"]
    assert found(read(patch_sheet("2", length_mm=12.0))) == []


def test_a_patch_in_the_middle_of_a_sheet_is_no_patch() -> None:
    assert found(read(patch_sheet("T", gap_mm=128))) == []


def test_bars_that_go_on_as_a_barcode_does_are_no_patch() -> None:
    sheet = paper()
    px = 300 / MM_PER_INCH
    for bar in range(10):
        top = 10 + bar * 2 * 2.03 + (bar // 2) * 3.05
        sheet[round(top * px) : round((top + (5.08 if bar % 2 else 2.03)) * px), 600:1800] = 30
    assert found(read(sheet)) == []


def test_bars_of_which_one_goes_on_are_a_chart_and_no_patch() -> None:
    px = 150 / MM_PER_INCH
    for bar, width_mm in enumerate((2.03, 5.08, 2.03, 5.08)):
        for angle_deg in (0.0, 9.0):
            sheet = patch_sheet("T", dpi=150)
            # from where this bar of the patch ends, a hand's breadth further
            above_mm = sum((2.03, 5.08, 2.03, 5.08)[:bar]) + bar * 2.03
            top, right = round((10 + above_mm) * px), round((LETTER_MM[0] / 2 + 31.75) * px)
            sheet[top : top + round(width_mm * px), right - 2 : right + round(20 * px)] = 30
            assert found(read(skewed(sheet, angle_deg), dpi=150)) == []


def test_a_patch_with_a_strip_of_tape_across_its_bars_is_read() -> None:
    sheet = patch_sheet("3", dpi=200)
    middle, px = sheet.shape[1] // 2, 200 / MM_PER_INCH
    sheet[round(5 * px) : round(35 * px), middle : middle + round(5 * px)] = 235
    for angle_deg in (0.0, -12.0):
        assert found(read(skewed(sheet, angle_deg), dpi=200)) == ["patch-3"]


def test_bars_as_wide_as_the_sheet_are_read_over_a_black_lid() -> None:
    sheet = patch_sheet("T", dpi=150, length_mm=300)
    on_lid = cv2.copyMakeBorder(sheet, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=[5])
    for angle_deg in (0.0, 3.0, -10.0):
        assert found(read(skewed(np.asarray(on_lid, np.uint8), angle_deg, lid=5), dpi=150)) == ["patch-T"]


@pytest.mark.parametrize("draw", [music, bar_chart, labelled_letter])
def test_music_charts_and_numbered_letters_bear_no_patch_and_part_nothing(draw: Callable[..., DrawnPage]) -> None:
    for seed in (3, 29):
        for turn_deg, skew_deg in ((0, 0.0), (90, 7.0), (180, -14.0)):
            scan = scan_of(draw(seed=seed, dpi=150), skew_deg=skew_deg, turn_deg=turn_deg, noise_levels=4)  # type: ignore[arg-type]
            page = separators(scan.image(), Settings())
            assert [code for code in found(page) if code.startswith("patch")] == []
            assert page.readings["separators.separator"] is False
            assert page.readings["separators.doubt"] == ""


@pytest.mark.parametrize("edge", EDGES)
def test_the_edge_that_a_patch_was_read_from_is_told(edge: str) -> None:
    assert read(patch_sheet("2", edge=edge, dpi=150), dpi=150).readings["separators.edges"] == [edge]
    sheet = add_barcode(patch_sheet("T", edge=edge, dpi=150), "qr", "BOX-1", dpi=150, module_mm=0.8)
    assert read(sheet, dpi=150).readings["separators.edges"] == [edge, ""]


def test_where_a_patch_lies_is_told_in_millimetres() -> None:
    places = read(patch_sheet("2", edge="left")).readings["separators.places_mm"]
    depth, half = 0.8 * MM_PER_INCH, 63.5 / 2
    middle = LETTER_MM[1] / 2
    assert places == pytest.approx([10, middle - half, 10 + depth, middle + half], abs=1.1)


def test_a_sheet_with_a_separating_patch_parts_documents_and_others_do_not() -> None:
    parts = {code: read(patch_sheet(code, dpi=200), dpi=200).readings["separators.separator"] for code in BARS}
    assert parts == {"1": False, "2": True, "3": True, "4": False, "6": False, "T": True}


def test_what_each_patch_means_is_a_setting() -> None:
    meanings = {"separator_patches": ("T",), "first_page_patches": ("2", "3")}
    pages = {code: read(patch_sheet(code, dpi=150), dpi=150, **meanings) for code in BARS}
    assert {code for code, page in pages.items() if page.readings["separators.separator"]} == {"T"}
    assert {code for code, page in pages.items() if page.readings["separators.first_page"]} == {"2", "3"}
    with pytest.raises(ValidationError, match="patch 2 cannot mean both"):
        Settings(first_page_patches=("2",))


def test_a_written_page_with_a_first_page_code_begins_a_document_without_doubt() -> None:
    stuck_on = add_print(patch_sheet("2"), lines=30)
    numbered = add_barcode(add_print(paper(), lines=25), "code-128", "ASN-17", top_mm=220)
    for page in (
        read(stuck_on, separator_patches=("T",), first_page_patches=("2",)),
        read(numbered, first_page_barcodes=(r"^ASN-\d+$",)),
    ):
        assert page.readings["separators.first_page"] is True
        assert page.readings["separators.separator"] is False
        assert page.readings["separators.doubt"] == ""


def test_a_first_page_patch_of_unsure_size_is_a_doubt() -> None:
    settings = Settings(separator_patches=(), first_page_patches=("T",))
    image = PageImage(pixels=patch_sheet("T", dpi=150), dpi=150, readings={"read.dpi_source": "guessed"})
    page = separators(image, settings)
    assert page.readings["separators.first_page"] is False
    assert page.readings["separators.doubt"]


def test_patches_that_contradict_each_other_part_nothing_and_raise_a_doubt() -> None:
    sheet = add_patch(patch_sheet("2", edge="bottom"), "T")
    page = read(sheet)
    assert sorted(found(page)) == ["patch-2", "patch-T"]
    assert page.readings["separators.separator"] is False
    assert "contradict" in str(page.readings["separators.doubt"])


def test_a_written_page_that_bears_one_patch_is_kept_and_doubted() -> None:
    page = read(add_print(patch_sheet("2"), lines=30))
    assert found(page) == ["patch-2"]
    assert page.readings["separators.separator"] is False
    assert page.readings["separators.doubt"]


def test_a_patch_of_unsure_size_parts_nothing_without_a_barcode() -> None:
    guessed = {"read.dpi_source": "guessed"}
    alone = separators(PageImage(pixels=patch_sheet("T"), dpi=300, readings=guessed), Settings())
    assert found(alone) == ["patch-T"]
    assert alone.readings["separators.separator"] is False
    assert alone.readings["separators.doubt"]
    both = add_barcode(patch_sheet("T"), "qr", "PLATEN:DOCUMENT")
    backed = separators(PageImage(pixels=bitonal(both), dpi=300, readings=guessed), Settings())
    assert backed.readings["separators.separator"] is True


def test_a_separator_sheet_with_long_instructions_is_known_by_its_second_code() -> None:
    sheet = add_barcode(add_print(patch_sheet("T"), lines=25), "code-39", "PATCHT", top_mm=220)
    page = read(sheet)
    assert page.readings["separators.separator"] is True
    assert page.readings["separators.doubt"] == ""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("turns", range(4))
def test_barcodes_are_read_in_every_quarter_turn(kind: str, turns: int) -> None:
    sheet = skewed(add_barcode(add_print(paper(), lines=8), kind, "AB-1234", top_mm=150), 2.0)
    turned = np.ascontiguousarray(np.rot90(sheet, turns))
    assert found(read(turned)) == [f"{kind}:AB-1234"]
    assert found(read(bitonal(turned))) == [f"{kind}:AB-1234"]


@pytest.mark.parametrize(
    ("kind", "module_mm"), [("qr", 0.3), ("code-128", 0.25), ("code-39", 0.25), ("data-matrix", 0.3)]
)
def test_a_barcode_too_fine_for_the_first_look_is_read_by_a_closer_one(kind: str, module_mm: float) -> None:
    page = read(add_barcode(add_print(paper(), lines=8), kind, "AB-1234", top_mm=150, module_mm=module_mm))
    assert found(page) == [f"{kind}:AB-1234"]
    places = page.readings["separators.places_mm"]
    assert isinstance(places, list)
    assert places[:2] == pytest.approx([40, 150], abs=9)  # a linear code's place is the line that was read


@pytest.mark.parametrize("kind", ["code-128", "code-39"])
@pytest.mark.parametrize("angle_deg", [-14.0, 10.5, 15.0])
def test_bars_too_long_for_a_level_line_across_them_are_read_askew(kind: str, angle_deg: float) -> None:
    for module_mm, turns in ((0.35, 0), (0.6, 1)):
        sheet = add_barcode(paper(), kind, "CASE-1234", left_mm=30, module_mm=module_mm)
        turned = np.ascontiguousarray(np.rot90(scanned(skewed(sheet, angle_deg)), turns))
        for pixels in (turned, bitonal(turned)):
            page = read(pixels)
            assert found(page) == [f"{kind}:CASE-1234"]
            places = page.readings["separators.places_mm"]
            assert isinstance(places, list)
            (left, top), (right, bottom) = np.array(places).reshape(2, 2) * 300 / MM_PER_INCH
            dark_rows, dark_cols = np.nonzero(turned < 100)
            assert dark_cols.min() - 60 <= left < right <= dark_cols.max() + 60
            assert dark_rows.min() - 60 <= top < bottom <= dark_rows.max() + 60


def test_bars_that_a_feeder_has_bent_are_read() -> None:
    sheet = add_barcode(paper(), "code-39", "PATCHT", left_mm=35, module_mm=0.6)
    rows, cols = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32)
    mm = np.float32(300 / MM_PER_INCH)
    # 4 mm to and fro along the code, as of a sheet drawn in unevenly
    bent = cv2.remap(sheet, cols, rows + 4 * mm * np.sin(cols / (9 * mm)), cv2.INTER_LINEAR, borderValue=245)
    assert found(read(np.asarray(bent, np.uint8))) == ["code-39:PATCHT"]


def test_two_codes_side_by_side_are_two_and_one_is_never_counted_twice() -> None:
    sheet = add_barcode(paper(), "code-128", "BOX-0001", left_mm=20, top_mm=100, module_mm=0.4)
    sheet = add_barcode(sheet, "code-128", "BOX-0001", left_mm=120, top_mm=100, module_mm=0.4)
    sheet = add_barcode(sheet, "qr", "BOX-0001", left_mm=60, top_mm=140, module_mm=0.7)
    for angle_deg in (0.0, 3.0, 11.0, -13.0):
        codes = found(read(scanned(skewed(sheet, angle_deg))))
        assert sorted(codes) == ["code-128:BOX-0001", "code-128:BOX-0001", "qr:BOX-0001"]


@pytest.mark.parametrize(("kind", "payload"), [("itf", "12345678"), ("codabar", "A123456A"), ("pdf417", "CASE 4711")])
def test_other_formats_are_read_where_the_profile_asks_for_them(kind: str, payload: str) -> None:
    sheet = skewed(add_barcode(add_print(paper(), lines=8), kind, payload, top_mm=150, left_mm=30), 5.0)
    assert found(read(sheet)) == []
    assert [code.partition(":")[0] for code in found(read(sheet, barcode_formats=(kind,)))] == [kind]


def test_only_the_formats_asked_for_are_read() -> None:
    sheet = add_barcode(add_barcode(paper(), "qr", "ONE"), "code-128", "TWO", top_mm=200)
    assert sorted(found(read(sheet))) == ["code-128:TWO", "qr:ONE"]
    assert found(read(sheet, barcode_formats=("qr",))) == ["qr:ONE"]
    assert found(read(sheet, barcode_formats=())) == []


@pytest.mark.parametrize("kind", ["qr", "code-128", "data-matrix"])
def test_the_house_separator_parts_documents(kind: str) -> None:
    assert read(add_barcode(paper(), kind, "PLATEN:DOCUMENT")).readings["separators.separator"] is True


@pytest.mark.parametrize(
    "payload", ["PLATEN:DOCUMENTS", "XPLATEN:DOCUMENT", "platen:document", "PLATEN:DOCUMENT\n", "47110815"]
)
def test_a_customers_barcode_never_parts_documents(payload: str) -> None:
    page = read(add_barcode(paper(), "qr", payload))
    assert len(found(page)) == 1
    assert page.readings["separators.separator"] is False
    assert page.readings["separators.ticket"] == ""


def test_a_record_page_that_bears_a_separator_code_once_is_kept_and_doubted() -> None:
    page = read(add_barcode(add_print(paper(), lines=25), "qr", "PLATEN:DOCUMENT", top_mm=220))
    assert page.readings["separators.separator"] is False
    assert page.readings["separators.doubt"]


def test_a_ticket_names_its_order_and_its_box() -> None:
    page = read(add_barcode(paper(), "qr", "PLATEN:ORDER:2026-0042;BOX:17 of 20"))
    assert page.readings["separators.ticket"] == "2026-0042"
    assert page.readings["separators.box"] == "17 of 20"
    assert page.readings["separators.separator"] is False
    without = read(add_barcode(paper(), "code-128", "PLATEN:ORDER:MT_7.1"))
    assert (without.readings["separators.ticket"], without.readings["separators.box"]) == ("MT_7.1", "")


@pytest.mark.parametrize(
    "payload", ["PLATEN:ORDER:", "PLATEN:ORDER:../../etc", "PLATEN:ORDER:a b", "PLATEN:ORDER:" + "9" * 41]
)
def test_an_order_number_with_other_characters_is_no_ticket(payload: str) -> None:
    assert read(add_barcode(paper(), "qr", payload)).readings["separators.ticket"] == ""


def test_two_tickets_on_one_sheet_name_no_order_and_raise_a_doubt() -> None:
    sheet = add_barcode(paper(), "qr", "PLATEN:ORDER:1", top_mm=60)
    page = read(add_barcode(sheet, "qr", "PLATEN:ORDER:2", top_mm=160))
    assert page.readings["separators.ticket"] == ""
    assert "tickets" in str(page.readings["separators.doubt"])


def test_a_hostile_payload_cannot_act_on_a_terminal_or_fill_the_log() -> None:
    payload = "\x1b[2J\u202e<script>\r\n" + "A" * 500
    (code,) = found(read(add_barcode(paper(), "qr", payload, module_mm=1.0)))
    assert len(code) == len("qr:") + 200
    assert code.isprintable()
    assert "<script>" in code


def test_settings_refuse_patterns_that_are_none_and_tickets_without_a_number() -> None:
    with pytest.raises(ValidationError):
        Settings(separator_barcodes=("(",))
    with pytest.raises(ValidationError):
        Settings(ticket_pattern="^ORDER:.*$")
    with pytest.raises(ValidationError):
        Settings.model_validate({"barcode_formats": ("ean",)})


def test_pixels_are_never_touched() -> None:
    for pixels in (patch_sheet("T"), bitonal(patch_sheet("T")), np.stack([patch_sheet("T")] * 3, axis=-1)):
        before = pixels.copy()
        page = read(pixels)
        assert page.pixels is pixels
        assert np.array_equal(before, pixels)
        assert found(page) == ["patch-T"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (7, 5), (40, 2000)])
@pytest.mark.parametrize("dpi", [1.0, 72.0, 300.0, 2400.0])
def test_scraps_and_senseless_resolutions_do_no_harm(shape: tuple[int, int], dpi: float) -> None:
    dashes = np.broadcast_to(np.where(np.arange(shape[1]) // 40 % 2 == 0, 255, 20).astype(np.uint8), shape).copy()
    for pixels in (np.full(shape, 255, np.uint8), np.zeros(shape, np.bool_), dashes):
        assert found(read(pixels, dpi=dpi)) == []


def test_noise_and_screens_are_no_codes() -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (1600, 1200), np.uint8)
    stripes = np.where(np.arange(1600)[:, None] // 24 % 2 == 0, 20, 245).astype(np.uint8).repeat(1200, axis=1)
    for pixels in (noise, noise > 127, stripes, stripes.T.copy()):
        assert found(read(pixels, dpi=150)) == []


def _real_pages(folder: Path) -> Iterator[tuple[str, int, PageImage]]:
    for path in sorted(folder.iterdir()):
        if path.suffix == ".pdf":
            with pypdfium2.PdfDocument(path) as document:
                for number in range(len(document)):
                    picture = document[number].render(scale=300 / 72).to_pil().convert("L")
                    yield path.name, number + 1, PageImage(pixels=np.asarray(picture), dpi=300)
        elif path.suffix == ".tiff":
            with Image.open(path) as file:
                for number, frame in enumerate(ImageSequence.Iterator(file)):
                    white = Image.new("RGBA", frame.size, "white")
                    white.alpha_composite(frame.convert("RGBA"))
                    yield path.name, number + 1, PageImage(pixels=np.asarray(white.convert("L")), dpi=300)


@pytest.mark.real
def test_real_separator_sheets_are_read_and_the_pages_between_them_are_not(real_scans: Path) -> None:
    with (real_scans / "barcodes" / "barcodes.csv").open() as file:
        truth = {(Path(row["file"]).name, int(row["page"])): row["payload"] for row in csv.DictReader(file)}
    parted = set()
    for name, number, page in _real_pages(real_scans / "barcodes"):
        done = separators(page, Settings())
        payloads = {code.partition(":")[2] for code in found(done) if not code.startswith("patch-")}
        expected = {truth[name, number]} - {""} if (name, number) in truth else set()
        assert payloads == expected, (name, number)
        if done.readings["separators.separator"]:
            parted.add((name, number))
            assert found(done).count("patch-T") == (0 if "distorted" in name else 4)
    sheets = (
        "paperless-patch-code-t-middle.pdf",
        "paperless-patch-code-t-middle-alpha.tiff",
        "paperless-patch-code-t-middle-distorted.pdf",
        "paperless-barcode-fax-image.pdf",
    )
    assert parted == {(name, 2) for name in sheets}


@pytest.mark.real
def test_real_pages_without_codes_show_none(real_scans: Path) -> None:
    pages = [
        path
        for folder in ("ocr-truth", "borders-holes", "skew")
        for path in sorted((real_scans / folder).rglob("*"))
        if path.suffix in {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
    ]
    assert len(pages) > 40
    for path in pages:
        with Image.open(path) as file:
            grey = np.asarray(file.convert("L"))
        stated = 300.0 if max(grey.shape) > 2000 else 150.0
        assert found(read(grey, dpi=stated)) == [], path.name
