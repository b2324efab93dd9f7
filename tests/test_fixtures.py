"""What other tests take for true of drawn pages, scans and deliveries."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pikepdf
import pytest
import zxingcpp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from fixtures import batches, demo, pages, separators
from fixtures.pages import DrawnPage, PageKind
from fixtures.scanner import Hole, Lid, QuarterTurn, ScannedPage, bitonal, scanned, three_holes
from stages import tools
from stages.page_image import MM_PER_INCH, Box
from stages.sheets import (
    A4_MM,
    ALL_EDGES,
    DOCUMENT_SEPARATOR,
    PATCH_BARS,
    BarcodeKind,
    Edge,
    PatchCode,
    Ticket,
    separator_sheet,
    ticket_sheet,
)

DRAWN: dict[str, Callable[..., DrawnPage]] = {
    "letter": pages.letter,
    "typescript": pages.typescript,
    "two_columns": pages.two_columns,
    "form": pages.form,
    "ruled_table": pages.ruled_table,
    "drawing": pages.drawing,
    "photo_page": pages.photo_page,
    "receipt": pages.receipt,
}
SPECIFIED_TOLERANCE_MM = 0.01 * MM_PER_INCH  # Kodak A-61599: each bar and space is right to 0.01 in


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


def edit_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def ink_share(grey: np.ndarray, box: Box) -> float:
    part = grey[max(0, round(box.top)) : round(box.bottom), max(0, round(box.left)) : round(box.right)]
    return float(np.mean(part < 128)) if part.size else 0.0


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("name", DRAWN)
def test_a_page_drawn_twice_with_one_seed_is_the_same_page(name: str) -> None:
    draw = DRAWN[name]
    first, again, other = draw(seed=3, dpi=72), draw(seed=3, dpi=72), draw(seed=4, dpi=72)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.lines == again.lines
    assert first.text != other.text


def test_a_letter_page_has_exactly_the_pixels_of_its_paper() -> None:
    assert pages.blank(dpi=300).pixels.shape == (3300, 2550)
    assert pages.blank(dpi=300, size_mm=A4_MM).pixels.shape == (3508, 2480)
    assert pages.letter(dpi=200).pixels.shape == (2200, 1700)


@pytest.mark.parametrize("name", DRAWN)
def test_every_word_that_is_told_stands_in_its_box(name: str) -> None:
    page = DRAWN[name](seed=5, dpi=150)
    grey = page.image().grey()
    words = [word for line in page.lines for word in line.words]
    assert words
    for word in words:
        assert ink_share(grey, word.box) > 0.03, word
    assert page.text.split() == [word.text for word in words]


def test_no_word_is_printed_that_is_not_told() -> None:
    page = pages.two_columns(dpi=150)
    rest = page.pixels.copy()
    for line in page.lines:
        for word in line.words:
            left, top, right, bottom = (round(value) for value in word.box)
            rest[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = 255
    rows = np.flatnonzero((rest < 128).any(axis=1))
    assert rows.size and np.ptp(rows) <= 3, "only the rule below the heading may be left"


def test_the_left_column_is_told_before_the_right_one() -> None:
    page = pages.two_columns(dpi=100)
    body = [line.box.left for line in page.lines[2:]]
    middle = page.pixels.shape[1] / 2
    sides = [left > middle for left in body]
    assert sides == sorted(sides) and True in sides and False in sides


@pytest.mark.tool
def test_tesseract_reads_a_clean_letter_nearly_without_fault(tmp_path: Path) -> None:
    page = pages.letter()
    path = tmp_path / "letter.png"
    Image.fromarray(page.pixels).save(path, dpi=(300, 300), compress_level=1)
    read = tools.run(["tesseract", str(path), "-", "-l", "eng"], timeout_s=120).stdout.decode()
    truth, found = " ".join(page.text.split()), " ".join(read.split())
    assert edit_distance(truth, found) / len(truth) < 0.01


# ---------------------------------------------------------------- scanner


def ruled_page() -> DrawnPage:
    """One long thin line across the middle of a letter sheet at 100 dpi."""
    pixels = np.full((1100, 850), 255, np.uint8)
    pixels[548:552, 250:600] = 0
    return DrawnPage(pixels=pixels, dpi=100.0)


def test_a_scan_without_faults_is_the_page_itself() -> None:
    page = pages.form(dpi=100)
    scan = scanned(page)
    assert np.array_equal(scan.pixels, page.pixels)
    assert scan.paper_quad == ((0, 0), (850, 0), (850, 1100), (0, 1100))


@pytest.mark.parametrize("skew_deg", [-7.5, -0.4, 0.0, 2.0, 28.0])
@pytest.mark.parametrize("lid", ["none", "black"])
def test_lines_climb_to_the_right_by_the_angle_that_is_told(skew_deg: float, lid: Lid) -> None:
    scan = scanned(ruled_page(), skew_deg=skew_deg, lid=lid, border_mm=10.0 if lid == "black" else 0.0)
    middle_y, middle_x = scan.pixels.shape[0] // 2, scan.pixels.shape[1] // 2
    part = scan.pixels[middle_y - 200 : middle_y + 200, middle_x - 200 : middle_x + 200]
    rows, cols = np.nonzero(part < 128)
    # pixels count downwards, so a line that climbs has a falling row; fitted along its longer direction
    slope, _ = np.polyfit(cols, rows, 1)
    assert scan.skew_deg == skew_deg
    assert np.degrees(np.arctan(-slope)) == pytest.approx(skew_deg, abs=0.15)


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_turning_a_scan_clockwise_by_its_turn_stands_it_upright(turn_deg: QuarterTurn) -> None:
    page = pages.letter(dpi=72)
    scan = scanned(page, turn_deg=turn_deg)
    clockwise = np.rot90(scan.pixels, -turn_deg // 90)
    assert np.array_equal(clockwise, page.pixels)


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_the_places_told_for_a_scan_lie_on_their_ink_and_its_paper(turn_deg: QuarterTurn) -> None:
    page = pages.letter(dpi=150)
    scan = scanned(page, skew_deg=3.0, turn_deg=turn_deg, lid="black", border_mm=8, holes=three_holes(), tint=240)
    for word in (word for line in page.lines for word in line.words):
        # the middles of the four sides span a smaller box, which must hold ink of the turned word
        x, y = scan.placed.at((word.box.left + word.box.right) / 2, (word.box.top + word.box.bottom) / 2)
        reach = min(word.box.width, word.box.height) / 2
        assert ink_share(scan.pixels, Box(x - reach, y - reach, x + reach, y + reach)) > 0.02, word
    middle = np.mean(scan.paper_quad, axis=0)
    for corner in np.array(scan.paper_quad):
        inward = (middle - corner) / np.linalg.norm(middle - corner)
        x, y = np.rint(corner + 6 * inward).astype(int)
        assert scan.pixels[y, x] == 240
        x, y = np.rint(corner - 6 * inward).astype(int)
        if 0 <= x < scan.pixels.shape[1] and 0 <= y < scan.pixels.shape[0]:
            assert scan.pixels[y, x] < 30
    for hole in scan.holes:
        for share, is_hole in ((0.0, True), (0.9, True), (1.1, False)):
            x, y = round(hole.x_px + share * hole.radius_px), round(hole.y_px)
            assert (scan.pixels[y, x] < 60) == is_hole


def test_a_hole_on_a_white_lid_is_white() -> None:
    scan = scanned(pages.blank(dpi=150), lid="white", border_mm=4, holes=(Hole(x_mm=12, y_mm=80),), tint=200)
    hole = scan.holes[0]
    assert scan.pixels[round(hole.y_px), round(hole.x_px)] == 250


@given(fraction=st.floats(0.0002, 0.02), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_specks_cover_the_share_that_is_asked_for(fraction: float, seed: int) -> None:
    scan = scanned(pages.blank(dpi=200), speckle_fraction=fraction, seed=seed)
    assert np.mean(scan.pixels < 255) == pytest.approx(fraction, rel=0.15)


def test_noise_and_shading_are_as_strong_as_asked_for() -> None:
    noisy = scanned(pages.blank(dpi=100), tint=200, noise_levels=4.0).pixels
    assert noisy.std() == pytest.approx(4.0, rel=0.05) and noisy.mean() == pytest.approx(200, abs=0.2)
    shaded = scanned(pages.blank(dpi=100), tint=200, shading=0.1).pixels
    assert shaded.min() == pytest.approx(180, abs=1) and shaded.max() == pytest.approx(200, abs=1)


def test_what_shines_through_is_the_other_side_mirrored_and_faint() -> None:
    front = pages.letter(dpi=150)
    back = scanned(pages.blank(dpi=150), bleed_through_of=front, bleed_depth=0.1).pixels
    assert back.min() >= 229
    mirrored = front.pixels[:, ::-1]
    assert np.corrcoef(back.ravel(), mirrored.ravel())[0, 1] > 0.7


def test_tinted_paper_makes_a_colour_scan_and_grey_stays_grey() -> None:
    page = pages.form(dpi=72)
    assert scanned(page, tint=230, noise_levels=2).pixels.ndim == 2
    coloured = scanned(page, tint=(240, 230, 200), noise_levels=2, skew_deg=1, speckle_fraction=0.001, lid="white")
    assert coloured.pixels.shape[2] == 3
    assert np.median(coloured.pixels.reshape(-1, 3), axis=0) == pytest.approx([240, 230, 200], abs=2)


def test_one_seed_makes_one_scan() -> None:
    page = pages.letter(dpi=72)

    def scan(seed: int) -> np.ndarray:
        return scanned(page, skew_deg=1, noise_levels=3, speckle_fraction=0.001, seed=seed).pixels

    assert np.array_equal(scan(1), scan(1))
    assert not np.array_equal(scan(1), scan(2))


# ---------------------------------------------------------------- separators and tickets


def bars_mm(pixels: np.ndarray, edge: Edge, dpi: float) -> list[float]:
    """The widths of bars and spaces met when walking from the edge's middle inwards, the quiet paper first."""
    from_edge = {"top": pixels, "bottom": pixels[::-1], "left": pixels.T, "right": pixels[:, ::-1].T}[edge]
    line = from_edge[:, from_edge.shape[1] // 2] < 128
    changes = np.flatnonzero(np.diff(line)) + 1
    return (np.diff(np.concatenate([[0], changes[:8]])) * MM_PER_INCH / dpi).tolist()


@pytest.mark.parametrize("code", PATCH_BARS)
@given(dpi=st.integers(100, 600))
@settings(max_examples=6, deadline=None)
@example(dpi=100)
def test_patch_bars_are_as_wide_as_specified_from_every_edge(code: PatchCode, dpi: int) -> None:
    pixels = separator_sheet(None, patch=code, dpi=dpi)
    # what is drawn in whole pixels may be off by one more
    tolerance_mm = max(SPECIFIED_TOLERANCE_MM, MM_PER_INCH / dpi)
    for edge in ALL_EDGES:
        quiet_mm, *widths = bars_mm(pixels, edge, dpi)
        assert quiet_mm >= 0.25 * MM_PER_INCH
        for width_mm, bar in zip(widths[::2], PATCH_BARS[code], strict=True):
            assert width_mm == pytest.approx((0.20 if bar == "W" else 0.08) * MM_PER_INCH, abs=tolerance_mm)
        for width_mm in widths[1::2]:
            assert width_mm == pytest.approx(0.08 * MM_PER_INCH, abs=tolerance_mm)
        assert sum(widths) == pytest.approx(0.80 * MM_PER_INCH, abs=tolerance_mm)


@pytest.mark.parametrize("dpi", [150, 200, 300, 400, 600])
@pytest.mark.parametrize(
    ("kind", "payload"), [("qr", DOCUMENT_SEPARATOR), ("code128", DOCUMENT_SEPARATOR), ("code39", "BOX-0017")]
)
def test_a_barcode_sheet_is_read_at_every_usual_resolution(kind: BarcodeKind, payload: str, dpi: int) -> None:
    sheet = separators.barcode_sheet(payload, kind, dpi=dpi)
    assert [found.text for found in zxingcpp.read_barcodes(sheet.pixels)] == [payload]
    assert sheet.kind is PageKind.SEPARATOR and sheet.codes == (payload,)


@pytest.mark.parametrize("dpi", [150, 200, 300, 600])
def test_a_ticket_names_its_order_and_box_in_both_codes(dpi: int) -> None:
    page = separators.batch_ticket("WO-2026-0001", "B-0042", dpi=dpi)
    found = zxingcpp.read_barcodes(page.pixels)
    assert {str(code.format) for code in found} == {"QR Code", "Code 128"}
    assert {Ticket.from_payload(code.text) for code in found} == {Ticket("WO-2026-0001", "B-0042")}


def test_a_ticket_is_read_from_a_poor_black_and_white_scan() -> None:
    page = separators.batch_ticket("WO-2026-0001")
    scan = scanned(page, skew_deg=-4, blur_mm=0.1, noise_levels=8, speckle_fraction=0.002, tint=215, contrast=0.7)
    found = {code.text for code in zxingcpp.read_barcodes(bitonal(scan.pixels).view(np.uint8) * np.uint8(255))}
    assert found == {"PLATEN:ORDER:WO-2026-0001"}


def test_the_longest_names_still_make_a_readable_ticket() -> None:
    ticket = Ticket("W" * 40, "B" * 40)
    found = zxingcpp.read_barcodes(ticket_sheet(ticket, dpi=200))
    assert [Ticket.from_payload(code.text) for code in found] == [ticket]


@given(
    order_number=st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True),
    box=st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=";"), max_size=40),
)
def test_a_ticket_s_payload_says_what_the_ticket_says(order_number: str, box: str) -> None:
    ticket = Ticket(order_number, box)
    assert Ticket.from_payload(ticket.payload) == ticket


@given(text=st.text(max_size=80).map(lambda end: "PLATEN:ORDER:" + end) | st.text(max_size=80))
@example("PLATEN:ORDER:")
@example("PLATEN:ORDER:A;BOX:")
@example("PLATEN:ORDER:A;BOX:1;BOX:2")
@example(DOCUMENT_SEPARATOR)
def test_foreign_codes_are_no_tickets(text: str) -> None:
    ticket = Ticket.from_payload(text)
    assert ticket is None or ticket.payload == text


@pytest.mark.parametrize(
    "ticket", [Ticket(name) for name in ("", "a;BOX:b", "x" * 41, "WO 1", "WO-1\n", "Nöß")]
    + [Ticket("WO-1", box) for box in ("a;b", "x" * 41, "line\nbreak", "Nöß")],
)  # fmt: skip
def test_a_name_that_could_not_be_read_back_gets_no_ticket(ticket: Ticket) -> None:
    with pytest.raises(ValueError, match="cannot stand on a ticket"):
        ticket_sheet(ticket)


# ---------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def three_scans() -> list[ScannedPage]:
    return [
        scanned(pages.letter(dpi=100), noise_levels=3, tint=240, skew_deg=1.5),
        scanned(separators.document_separator(dpi=100), turn_deg=180),
        scanned(pages.photo_page(dpi=75), noise_levels=3),
    ]


@pytest.mark.parametrize("kind", batches.SUFFIXES)
def test_single_pages_are_written_as_the_kind_says(
    kind: batches.SingleKind, three_scans: list[ScannedPage], tmp_path: Path
) -> None:
    truths = batches.write_single_pages(tmp_path / "batch", three_scans, kind=kind)
    assert [path.name for path in sorted((tmp_path / "batch").iterdir())] == [truth.file for truth in truths]
    for scan, truth in zip(three_scans, truths, strict=True):
        with Image.open(tmp_path / "batch" / truth.file) as image:
            read = np.asarray(image)
            assert (image.width, image.height) == (truth.width_px, truth.height_px)
            assert image.info["dpi"] == pytest.approx((scan.dpi, scan.dpi), abs=0.1)
        if kind == "tiff-g4":
            assert read.dtype == np.bool_ and np.array_equal(read, bitonal(scan.pixels))
        elif kind == "tiff-colour":
            assert read.ndim == 3
        elif kind == "tiff-grey":
            assert read.ndim == 2
        elif kind != "jpeg":
            assert np.array_equal(read, scan.pixels)


@pytest.mark.parametrize("compression", batches.PILLOW_COMPRESSION)
def test_a_multi_page_tiff_has_each_page_with_its_own_resolution(
    compression: batches.TiffCompression, three_scans: list[ScannedPage], tmp_path: Path
) -> None:
    path = tmp_path / "batch.tif"
    truths = batches.write_multipage_tiff(path, iter(three_scans), compression=compression)
    with Image.open(path) as image:
        frames = [(frame.size, frame.info["dpi"], np.array(frame)) for frame in ImageSequence.Iterator(image)]
    assert [truth.page_index for truth in truths] == [0, 1, 2]
    for (size, dpi, pixels), scan in zip(frames, three_scans, strict=True):
        assert size == (scan.pixels.shape[1], scan.pixels.shape[0])
        assert dpi == pytest.approx((scan.dpi, scan.dpi), abs=0.1)
        if compression == "g4":
            assert np.array_equal(pixels, bitonal(scan.pixels))


@pytest.mark.parametrize("codec", ["jpeg", "g4"])
def test_a_scanned_pdf_has_one_image_a_page_at_the_paper_s_size(
    codec: batches.PdfCodec, three_scans: list[ScannedPage], tmp_path: Path
) -> None:
    path = tmp_path / "batch.pdf"
    batches.write_scanned_pdf(path, three_scans, codec=codec)
    with pikepdf.open(path) as pdf:
        assert len(pdf.pages) == 3
        for page, scan in zip(pdf.pages, three_scans, strict=True):
            (image,) = page.get_images().values()
            assert pikepdf.PdfImage(image).filters == ["/DCTDecode" if codec == "jpeg" else "/CCITTFaxDecode"]
            assert (int(image.Width), int(image.Height)) == (scan.pixels.shape[1], scan.pixels.shape[0])
            assert float(page.mediabox[2]) == pytest.approx(scan.pixels.shape[1] / scan.dpi * 72, abs=0.1)
            if codec == "g4":
                decoded = np.asarray(pikepdf.PdfImage(image).as_pil_image().convert("L")) > 127
                assert np.array_equal(decoded, bitonal(scan.pixels))


def test_a_broken_file_is_broken(three_scans: list[ScannedPage], tmp_path: Path) -> None:
    (truth,) = batches.write_broken_tiff(tmp_path / "0001.tif", three_scans[0])
    content = (tmp_path / "0001.tif").read_bytes()
    assert truth.kind is PageKind.UNREADABLE and content[:4] == b"II*\x00"
    assert int.from_bytes(content[4:8], "little") >= len(content), "the directory is beyond the end"


def test_separators_part_documents_and_the_surely_blank_fall_out() -> None:
    kinds = [
        "ticket",
        "content",
        "content",
        "separator",
        "separator",
        "content",
        "blank",
        "unreadable",
        "content",
        "blank",
    ]
    truth = batches.Truth(
        batch="b",
        pages=tuple(
            batches.PageTruth(file=f"{n}.tif", kind=PageKind(kind), skew_deg=n, shines_through=n == 9)
            for n, kind in enumerate(kinds)
        ),
    )
    assert truth.documents == ((2, 3), (6, 8, 9, 10))
    counts = truth.counts(most_skew_deg=7)
    assert counts == batches.Counts(received=10, separator=3, blank=1, unreadable=1, too_skewed=1, billable=4)


def test_a_file_of_several_pages_holds_documents_of_its_own() -> None:
    def page(file: str, kind: PageKind = PageKind.CONTENT) -> batches.PageTruth:
        return batches.PageTruth(file=file, kind=kind)

    many = [page("2.tif"), page("2.tif", PageKind.SEPARATOR), page("2.tif")]
    truth = batches.Truth(batch="b", pages=(page("1.tif"), *many, page("3.tif")))
    assert truth.documents == ((1, 5), (2,), (4,))


def test_nothing_shines_through_in_black_and_white(tmp_path: Path) -> None:
    back = scanned(pages.blank(dpi=72), bleed_through_of=pages.letter(dpi=72), bleed_depth=0.1)
    (grey,) = batches.write_single_pages(tmp_path / "grey", [back], kind="tiff-lzw")
    (bilevel,) = batches.write_single_pages(tmp_path / "bilevel", [back], kind="tiff-g4")
    assert grey.shines_through and not grey.is_surely_blank
    assert bilevel.is_surely_blank and bitonal(back.pixels).all()


# ---------------------------------------------------------------- the demonstration

DEMO_DPI = 75.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[demo.DemoOrder]]:
    inbox = tmp_path_factory.mktemp("home") / "inbox"
    return inbox, demo.write_demo_orders(inbox, dpi=DEMO_DPI)


def pages_in(path: Path) -> int | None:
    if path.suffix == ".pdf":
        with pikepdf.open(path) as pdf:
            return len(pdf.pages)
    content = path.read_bytes()
    if content[:4] == b"II*\x00" and int.from_bytes(content[4:8], "little") >= len(content):
        return None  # cut off before its directory
    with Image.open(io.BytesIO(content)) as image:
        return int(getattr(image, "n_frames", 1))


def test_the_demonstration_s_truth_lists_every_page_in_the_inbox(home: tuple[Path, list[demo.DemoOrder]]) -> None:
    inbox, orders = home
    told: dict[Path, int] = {}
    for order in orders:
        for batch in order.batches:
            for page in batch.truth.pages:
                path = batch.path / page.file if batch.path.is_dir() else batch.path
                assert path.name == page.file
                told[path] = told.get(path, 0) + 1
                assert page.page_index == told[path] - 1
    assert {path: pages_in(path) or 1 for path in inbox.rglob("*") if path.is_file()} == told
    assert sum(order.expected.received for order in orders) == sum(told.values()) >= 62
    assert sorted(path.name for path in inbox.parent.iterdir()) == ["inbox", "inbox-truth"]


def test_the_demonstration_shows_every_kind_of_input_and_trouble(home: tuple[Path, list[demo.DemoOrder]]) -> None:
    inbox, orders = home
    assert {path.suffix for path in inbox.rglob("*.*")} == {".tif", ".jpg", ".png", ".pdf"}
    assert [order.number for order in orders] == [f"WO-DEMO-000{n}" for n in (1, 2, 3, 4)]
    assert [order.priority for order in orders].count("rush") == 1
    expected = [order.expected for order in orders]
    assert sum(counts.unreadable for counts in expected) == 1
    assert sum(counts.too_skewed for counts in expected) == 1
    assert all(counts.separator for counts in expected) and sum(counts.blank for counts in expected) >= 4
    for counts in expected:
        received, *parts = dataclasses.astuple(counts)
        assert received == sum(parts)
    told = [page for order in orders for batch in order.batches for page in batch.truth.pages]
    assert {page.turn_deg for page in told} == {0, 90, 180, 270}
    assert {page.kind for page in told} == set(PageKind)
    assert sum(page.kind is PageKind.BLANK and page.shines_through for page in told) >= 3
    modes = set()
    for path in inbox.rglob("*.tif"):
        if pages_in(path):
            with Image.open(path) as image:
                modes.add((image.mode, image.info["compression"]))
    assert modes == {("1", "group4"), ("L", "tiff_lzw"), ("L", "raw"), ("RGB", "tiff_lzw")}


def test_a_delivery_without_an_order_s_folder_begins_with_a_ticket(home: tuple[Path, list[demo.DemoOrder]]) -> None:
    inbox, orders = home
    strays = [(order, batch) for order in orders for batch in order.batches if batch.path.parent == inbox]
    assert len(strays) == 1
    order, batch = strays[0]
    assert batch.truth.pages[0].codes == (Ticket(order.number, "B-0007").payload,)


def test_the_demonstration_drawn_again_is_the_same(home: tuple[Path, list[demo.DemoOrder]], tmp_path: Path) -> None:
    inbox, orders = home
    again = demo.write_demo_orders(tmp_path / "inbox", dpi=DEMO_DPI)
    assert [[batch.truth for batch in order.batches] for order in again] == [
        [batch.truth for batch in order.batches] for order in orders
    ]
    for path in inbox.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "inbox" / path.relative_to(inbox)).read_bytes(), path.name


def test_the_demonstration_is_not_drawn_over_what_lies_in_the_inbox(home: tuple[Path, list[demo.DemoOrder]]) -> None:
    inbox, _ = home
    with pytest.raises(FileExistsError, match="is there already"):
        demo.write_demo_orders(inbox, dpi=DEMO_DPI)
