from __future__ import annotations

import html
import io
import re
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pikepdf
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fixtures.pages import letter, two_columns
from stages.glyphless import MAX_CODES, CodeBook, advance, shown
from stages.page_file import write_page_file
from stages.page_image import IDENTITY, Affine, Box, EncodedImage, Line, PageImage, TextLayer, Word
from stages.pdfa import Flavour, PdfPage, check_pdfa, write_pdfa
from stages.places import Bend, Bent
from stages.srgb import srgb_profile
from stages.xmp import DocumentMetadata, document_information, xmp_packet
from tests.verapdf import refused_by_verapdf

FLAVOURS: tuple[Flavour, ...] = ("1b", "2b", "2u", "3b", "3u")
NOON = datetime(2026, 3, 4, 12, 0, 0, 999_999, tzinfo=UTC)
PLAIN = DocumentMetadata(title="A deed", created=NOON)
FULL = DocumentMetadata(
    title='Deeds & <mortgages> "A–Z" 😀\x00\r\nsecond line',
    created=NOON,
    modified=datetime(2026, 3, 5, tzinfo=UTC),
    creator="Secretary of State",
    identifier="urn:example:1",
    description="Book 7 ]]>",
    keywords="deeds, 1897",
    languages=("en-US", "de"),
    rights="Public record",
    work_order="WO-2026-0001",
    batch_id="B-1",
    customer_account="DPHHS",
    document_id="D-1",
    agency_code="31",
    agency_name="Département des Archives",
    series_number="12",
    series_title="Deeds",
    schedule_item="RM5-3",
    box_barcode="000123",
    folder_barcode="F-1",
    record_date_start=date(1897, 1, 2),
    record_date_end=date(1899, 12, 31),
    disposition_date=date(2036, 1, 1),
    scan_date=NOON,
    scan_operator_id="op-7",
    scanner_id="s-1",
    scan_dpi=300,
    qc_status="passed",
    qc_date=NOON,
    qc_inspector_id="op-8",
    sample_plan="100 %",
    microfilm_roll="R000001",
    microfilm_frame_first=1,
    microfilm_frame_last=12,
    image_address_first="01.001.0001",
    page_count=12,
    source_sha256=("a" * 64, "b" * 64),
    access_restriction="open",
)


def line(*words: tuple[str, float, float, float, float], block: int = 0) -> Line:
    made = tuple(Word(text=text, box=Box(*box), confidence=0.9) for text, *box in words)
    lefts, tops, rights, bottoms = zip(*(word.box for word in made), strict=True)
    return Line(words=made, box=Box(min(lefts), min(tops), max(rights), max(bottoms)), block=block)


def layer(*lines: Line, width_px: int = 1200, height_px: int = 800, to_page: Affine = IDENTITY) -> TextLayer:
    return TextLayer(lines=lines, width_px=width_px, height_px=height_px, to_page=to_page)


SCRIPTS = layer(
    line(("Hello", 100, 100, 300, 150), ("wörld,", 320, 100, 560, 160)),
    line(("שלום", 900, 200, 1100, 250), ("עולם(12)", 600, 200, 880, 250), block=1),
    line(("مرحبا", 900, 300, 1100, 350), ("العالم", 600, 300, 880, 350), block=2),
    line(("日本語", 100, 400, 400, 500), ("😀", 420, 400, 520, 500), ("𠀋", 540, 400, 640, 500), block=3),
    line(("e\u0301te\u0301", 100, 600, 300, 650), ("हिन्दी", 320, 600, 480, 650), ("ไทย", 500, 600, 600, 650), block=4),
)
MANY = [line(("".join(map(chr, range(at, at + 200))), 10, 10, 900, 40)) for at in range(0x4E00, 0x9E00, 200)]
HOSTILE = layer(
    line(
        ("\x00\ufeff\ufffe\ud800", 10, 10, 60, 30),
        ("a\x07b\udfff\ufdd0", 80, 10, 140, 30),
        ("\u200b", 150, 10, 160, 30),
    ),
    line(("(\\)<>/%", 10, 40, 10, 40), ("zero", 400, 90, 300, 60)),
    line((" \t", 0, 0, 1, 1)),
    line((".", 0, 0, 32_767.5, 1)),
    Line(words=(), box=Box(0, 0, 0, 0)),
    line(("outside", -900, -900, 90_000, 90_000)),
    to_page=Affine(a=0.98, b=-0.17, c=3.5, d=0.17, e=0.98, f=-2.25),
)


def grey(rows: int = 300, cols: int = 400, seed: int = 1) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (rows // 20 + 1, cols // 20 + 1), np.uint8)
    return np.asarray(cv2.resize(small, (cols, rows), interpolation=cv2.INTER_CUBIC), np.uint8)


def colour() -> np.ndarray:
    return np.stack([grey(seed=1), grey(seed=2), grey(seed=3)], axis=2)


def scanned(pixels: np.ndarray, kind: str, **options: object) -> PageImage:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG" if kind == "jpeg" else "JPEG2000", **options)
    decoded = np.array(Image.open(io.BytesIO(file.getvalue())))
    rows, cols, channels = (*decoded.shape, 1)[:3]
    codec = "jpeg" if kind == "jpeg" else "jp2"
    encoded = EncodedImage(codec=codec, data=file.getvalue(), width_px=cols, height_px=rows, channels=channels)
    return PageImage(pixels=decoded, dpi=100.0, encoded=encoded)


class Files:
    """Page files for documents, each kind written once."""

    def __init__(self, folder: Path) -> None:
        bitonal = grey() > 127

        def write(name: str, page: PageImage, **options: str) -> Path:
            return write_page_file(page, folder, name, **options)  # type: ignore[arg-type]

        self.kinds: dict[str, tuple[PageImage, Path]] = {}
        for name, page, options in (
            ("g4", PageImage(pixels=bitonal, dpi=100.0), {}),
            ("bitonal-png", PageImage(pixels=bitonal, dpi=100.0), {"bitonal_encoding": "png"}),
            ("grey-jpeg", PageImage(pixels=grey(), dpi=100.0), {}),
            ("colour-jpeg", PageImage(pixels=colour(), dpi=100.0), {}),
            ("grey-png", PageImage(pixels=grey(), dpi=100.0), {"encoding": "png"}),
            ("colour-png", PageImage(pixels=colour(), dpi=100.0), {"encoding": "png"}),
            ("scanner-jpeg", scanned(colour(), "jpeg", progressive=True, icc_profile=srgb_profile()), {}),
            ("scanner-jp2", scanned(colour(), "jp2"), {}),
            ("scanner-grey-jp2", scanned(grey(), "jp2"), {}),
        ):
            self.kinds[name] = (page, write(name, page, **options))
        self.one_pixel = write("one-pixel", PageImage(pixels=np.array([[True]]), dpi=300.0))
        self.one_row = write("one-row", PageImage(pixels=np.ones((1, 9000), np.bool_), dpi=300.0))
        a3 = np.ones((9921, 7016), np.bool_)
        a3[500:9000:40, 500:6500] = False
        self.a3 = write("a3", PageImage(pixels=a3, dpi=600.0))
        strip = self.kinds["g4"][0].pixels
        inverted = EncodedImage(
            codec="g4", data=_strip(~strip), width_px=400, height_px=300, channels=1, black_is_1=True
        )
        self.kinds["scanner-g4"] = (
            self.kinds["g4"][0],
            write("scanner-g4", PageImage(pixels=strip, dpi=100.0, encoded=inverted)),
        )


def _strip(pixels: np.ndarray) -> bytes:
    from stages.page_file import g4_strip

    return g4_strip(pixels)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("pages"))


def documents(files: Files) -> dict[str, tuple[list[PdfPage], DocumentMetadata]]:
    every_kind = [PdfPage(image=path, dpi=100.0, text=SCRIPTS) for _, path in files.kinds.values()]
    g4 = files.kinds["g4"][1]
    return {
        "one-pixel": ([PdfPage(image=files.one_pixel, dpi=300.0)], PLAIN),
        "one-row": ([PdfPage(image=files.one_row, dpi=300.0, text=layer())], PLAIN),
        "wall-map": ([PdfPage(image=files.a3, dpi=10.0, text=SCRIPTS)], PLAIN),
        "a3-at-600-dpi": ([PdfPage(image=files.a3, dpi=600.0, text=SCRIPTS)], PLAIN),
        "all-kinds": (every_kind, FULL),
        "hostile-words": ([PdfPage(image=g4, dpi=100.0, text=HOSTILE)], FULL),
        "many-characters": ([PdfPage(image=g4, dpi=100.0, text=layer(*MANY))], PLAIN),
        "no-title": ([PdfPage(image=g4, dpi=100.0)], DocumentMetadata(title=" \x00", created=NOON)),
    }


class Written(NamedTuple):
    flavour: Flavour
    paths: dict[str, Path]


@pytest.fixture(scope="module", params=FLAVOURS)
def written(request: pytest.FixtureRequest, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Written:
    flavour: Flavour = request.param
    folder = tmp_path_factory.mktemp(flavour)
    made = documents(files)
    if flavour in ("1b", "2u"):
        made["500-pages"] = ([PdfPage(image=files.kinds["g4"][1], dpi=100.0, text=SCRIPTS)] * 501, PLAIN)
    for name, (pages, metadata) in made.items():
        write_pdfa(pages, folder / f"{name}.pdf", metadata, flavour)
    return Written(flavour, {name: folder / f"{name}.pdf" for name in made})


@pytest.mark.tool
def test_verapdf_passes_whatever_pages_a_document_has(written: Written) -> None:
    refused = refused_by_verapdf(list(written.paths.values()), written.flavour)
    assert not refused, "\n".join(refused.values())


def test_our_own_check_passes_what_we_write(written: Written) -> None:
    for name, path in written.paths.items():
        if name != "500-pages":
            report = check_pdfa(path, written.flavour)
            assert report.passed, (name, report.problems)
            assert report.as_dict()["passed"] is True


@pytest.fixture
def small(files: Files, tmp_path: Path) -> Path:
    path = tmp_path / "small.pdf"
    write_pdfa([PdfPage(image=files.kinds["g4"][1], dpi=100.0, text=SCRIPTS)], path, FULL, "2u")
    return path


def drop_unicode(pdf: pikepdf.Pdf) -> None:
    font = pdf.pages[0].Resources.Font.F
    font.ToUnicode = pikepdf.Stream(pdf, font.ToUnicode.read_bytes().replace(b"<0001> <0048>\n", b""))


def drop_description(pdf: pikepdf.Pdf) -> None:
    packet = pdf.Root.Metadata.read_bytes()
    pdf.Root.Metadata.write(packet.replace(b"<pdfaProperty:name>workOrder<", b"<pdfaProperty:name>another<"))


def drop_intent(pdf: pikepdf.Pdf) -> None:
    del pdf.Root.OutputIntents


def unknown_property(pdf: pikepdf.Pdf) -> None:
    packet = pdf.Root.Metadata.read_bytes()
    pdf.Root.Metadata.write(packet.replace(b"<pdf:Keywords>", b"<pdf:Nonsense>x</pdf:Nonsense><pdf:Keywords>"))


def add_script(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS=pikepdf.String("app.alert(1)"))


@pytest.mark.tool
def test_no_check_passes_a_file_as_what_it_is_not(files: Files, tmp_path: Path) -> None:
    others: dict[Flavour, Flavour] = {"1b": "2b", "2b": "2u", "2u": "3u", "3b": "3u", "3u": "2u"}
    pages, metadata = documents(files)["all-kinds"]
    paths = [tmp_path / f"{flavour}.pdf" for flavour in FLAVOURS]
    for flavour, path in zip(FLAVOURS, paths, strict=True):
        write_pdfa(pages, path, metadata, flavour)
        assert not check_pdfa(path, others[flavour]).passed
    assert set(refused_by_verapdf(paths, "2u")) == {path for path in paths if path.stem != "2u"}


@pytest.mark.parametrize("damage", [drop_unicode, drop_description, drop_intent, unknown_property, add_script])
def test_a_file_that_was_changed_for_the_worse_does_not_pass(small: Path, damage: object) -> None:
    worse = small.with_name("worse.pdf")
    with pikepdf.open(small) as pdf:
        damage(pdf)  # type: ignore[operator]
        pdf.save(worse, fix_metadata_version=False)
    assert check_pdfa(small, "2u").passed
    assert not check_pdfa(worse, "2u").passed


def test_a_jpeg_2000_that_pdfa_may_not_hold_is_found(files: Files, tmp_path: Path) -> None:
    write_pdfa([PdfPage(image=files.kinds["scanner-jp2"][1], dpi=100.0)], tmp_path / "a.pdf", PLAIN)
    assert check_pdfa(tmp_path / "a.pdf", "2u").passed
    see_through = io.BytesIO()
    Image.new("RGBA", (400, 300)).save(see_through, "JPEG2000")
    for name in (pikepdf.Name.JPXDecode, pikepdf.Array([pikepdf.Name.JPXDecode])):
        with pikepdf.open(tmp_path / "a.pdf") as pdf:
            pdf.pages[0].Resources.XObject.Im.write(see_through.getvalue(), filter=name)
            pdf.save(tmp_path / "b.pdf")
        assert any("JPEG 2000" in problem for problem in check_pdfa(tmp_path / "b.pdf", "2u").problems)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", b"\x89PNG", None])
def test_a_file_that_is_no_pdf_does_not_pass(small: Path, data: bytes | None) -> None:
    broken = small.with_name("broken.pdf")
    broken.write_bytes(small.read_bytes()[:-900] if data is None else data)
    assert not check_pdfa(broken, "2u").passed


def test_the_same_pages_give_the_same_bytes(files: Files, tmp_path: Path) -> None:
    for flavour in FLAVOURS:
        pages, metadata = documents(files)["all-kinds"]
        write_pdfa(pages, tmp_path / "a.pdf", metadata, flavour)
        write_pdfa(pages, tmp_path / "b.pdf", metadata, flavour)
        assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_a_document_that_fails_leaves_nothing_behind(files: Files, tmp_path: Path) -> None:
    def broken() -> Iterator[PdfPage]:
        yield PdfPage(image=files.kinds["g4"][1], dpi=100.0)
        raise RuntimeError("the next page is gone")

    with pytest.raises(RuntimeError, match="gone"):
        write_pdfa(broken(), tmp_path / "a.pdf", PLAIN)
    with pytest.raises(ValueError, match="page"):
        write_pdfa([], tmp_path / "a.pdf", PLAIN)
    assert list(tmp_path.iterdir()) == []


def rendered(path: Path, page_index: int, dpi: float) -> np.ndarray:
    document = pypdfium2.PdfDocument(path)
    try:
        shown_page = document[page_index].render(scale=dpi / 72, rev_byteorder=True).to_numpy()
        return np.array(shown_page[:, :, :3] if shown_page.ndim == 3 else shown_page)
    finally:
        document.close()


def test_every_kind_of_page_is_seen_as_it_was_delivered(files: Files, tmp_path: Path) -> None:
    for flavour in ("1b", "2u"):
        for name, (page, path) in files.kinds.items():
            write_pdfa([PdfPage(image=path, dpi=100.0, text=SCRIPTS)], tmp_path / "a.pdf", PLAIN, flavour)
            seen = rendered(tmp_path / "a.pdf", 0, 100.0)
            wanted = page.pixels if page.is_colour else np.stack([page.grey()] * 3, axis=2)
            assert seen.shape == wanted.shape
            difference = np.abs(seen.astype(int) - wanted)
            exact = name in ("g4", "scanner-g4", "bitonal-png", "grey-png", "colour-png")
            assert difference.max() <= (0 if exact else 60), name
            assert difference.mean() < 2, name


def test_the_scanners_own_stream_stands_in_the_pdf_untouched(files: Files, tmp_path: Path) -> None:
    for name in ("scanner-jpeg", "scanner-jp2"):
        page, path = files.kinds[name]
        write_pdfa([PdfPage(image=path, dpi=100.0)], tmp_path / "a.pdf", PLAIN)
        with pikepdf.open(tmp_path / "a.pdf") as pdf:
            assert page.encoded is not None
            assert pdf.pages[0].Resources.XObject.Im.read_raw_bytes() == page.encoded.data


@pytest.mark.parametrize(
    ("dpi", "width_pt", "height_pt"), [(300.0, 96.0, 72.0), (203.2, 141.73228, 106.29921), (1.0, 14400.0, 10800.0)]
)
def test_a_page_is_as_large_as_its_pixels_say(
    files: Files, tmp_path: Path, dpi: float, width_pt: float, height_pt: float
) -> None:
    write_pdfa([PdfPage(image=files.kinds["g4"][1], dpi=dpi)], tmp_path / "a.pdf", PLAIN)
    with pikepdf.open(tmp_path / "a.pdf") as pdf:
        assert [float(side) for side in pdf.pages[0].MediaBox] == pytest.approx([0, 0, width_pt, height_pt], abs=1e-4)


def poppler_words(path: Path) -> list[tuple[str, Box]]:
    said = subprocess.run(["pdftotext", "-bbox", path, "-"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r'xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*)</word>', said)
    return [(html.unescape(text), Box(*map(float, box))) for *box, text in found]


def pdfium_text(path: Path) -> str:
    document = pypdfium2.PdfDocument(path)
    try:
        return str(document[0].get_textpage().get_text_range())
    finally:
        document.close()


@pytest.fixture(scope="module")
def letter_pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letter")
    drawn = letter()
    path = write_page_file(PageImage(pixels=drawn.pixels > 127, dpi=300.0), folder, "letter")
    write_pdfa([PdfPage(image=path, dpi=300.0, text=drawn.text_layer())], folder / "letter.pdf", PLAIN)
    return folder / "letter.pdf"


@pytest.mark.tool
def test_words_are_found_and_marked_where_they_stand_on_the_page(letter_pdf: Path) -> None:
    drawn = letter()
    words = {word.text: (word.box, text_line.box) for text_line in drawn.lines for word in text_line.words}
    once = [text for text in words if sum(w.text == text for t in drawn.lines for w in t.words) == 1]
    found = dict(poppler_words(letter_pdf))
    for text in once:
        box, line_box = words[text]
        seen = found[text]
        assert abs(seen.left - box.left * 0.24) < 1, text
        assert abs(seen.right - box.right * 0.24) < 1.5, text
        assert seen.top < box.top * 0.24 + 1, text
        assert abs(seen.bottom - line_box.bottom * 0.24) < 1, text
        assert seen.height < line_box.height * 0.24 + 3.5, text  # as tall as the taller lines of its paragraph


def test_letters_are_marked_in_their_own_part_of_the_word(letter_pdf: Path) -> None:
    drawn = letter()
    document = pypdfium2.PdfDocument(letter_pdf)
    text_page = document[0].get_textpage()
    text = text_page.get_text_range()
    height_pt = 792.0
    for text_line in drawn.lines:
        for word in text_line.words:
            at = text.find(word.text)
            if len(word.text) < 6 or at < 0 or text.count(word.text) > 1:
                continue
            boxes = [text_page.get_charbox(at + index) for index in range(len(word.text))]
            assert abs(boxes[0][0] - word.box.left * 0.24) < 1
            assert abs(boxes[-1][2] - word.box.right * 0.24) < 1.5
            assert all(left < right and bottom < top for left, bottom, right, top in boxes)
            middle = height_pt - (word.box.top + word.box.bottom) / 2 * 0.24
            assert all(bottom < middle < top for _, bottom, _, top in boxes)
    document.close()


@pytest.mark.tool
def test_text_is_copied_in_reading_order_with_its_spaces_and_lines(letter_pdf: Path, tmp_path: Path) -> None:
    drawn = letter()
    assert pdfium_text(letter_pdf).split() == drawn.text.split()
    raw = subprocess.run(["pdftotext", "-raw", letter_pdf, "-"], capture_output=True, text=True, check=True).stdout
    assert [row.split() for row in raw.splitlines() if row.strip()] == [row.split() for row in drawn.text.splitlines()]
    columns = two_columns()
    path = write_page_file(PageImage(pixels=columns.pixels > 127, dpi=300.0), tmp_path, "columns")
    write_pdfa([PdfPage(image=path, dpi=300.0, text=columns.text_layer())], tmp_path / "columns.pdf", PLAIN)
    for mode in ([], ["-raw"]):  # poppler's own idea of columns, and ours
        command = ["pdftotext", *mode, tmp_path / "columns.pdf", "-"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.replace("-", "").split() == columns.text.replace("-\n", "").replace("-", "").split()


def test_every_script_is_copied_as_it_is_read(files: Files, tmp_path: Path) -> None:
    write_pdfa([PdfPage(image=files.a3, dpi=600.0, text=SCRIPTS)], tmp_path / "a.pdf", PLAIN)
    assert pdfium_text(tmp_path / "a.pdf").splitlines() == [
        " ".join(word.text for word in text_line.words) for text_line in SCRIPTS.lines
    ]


@pytest.mark.tool
def test_words_that_almost_touch_are_not_run_together(files: Files, tmp_path: Path) -> None:
    close = layer(line(*((f"word{n}", 100 * n, 100, 100 * n + 98, 140) for n in range(1, 9))))
    write_pdfa([PdfPage(image=files.a3, dpi=600.0, text=close)], tmp_path / "a.pdf", PLAIN)
    expected = [f"word{n}" for n in range(1, 9)]
    assert [text for text, _ in poppler_words(tmp_path / "a.pdf")] == expected
    assert pdfium_text(tmp_path / "a.pdf").split() == expected


@pytest.mark.tool
def test_one_blot_taken_for_a_word_does_not_break_its_line(files: Files, tmp_path: Path) -> None:
    words = [(f"word{n}", 200.0 * n, 100.0, 200.0 * n + 170, 140.0) for n in range(1, 9)]
    blotted = layer(line(*words[:4], ("|", 990, 20, 996, 400), *words[4:]))
    write_pdfa([PdfPage(image=files.a3, dpi=600.0, text=blotted)], tmp_path / "a.pdf", PLAIN)
    tall = [box.height for text, box in poppler_words(tmp_path / "a.pdf") if text != "|"]
    assert tall == pytest.approx([40 * 72 / 600] * 8, abs=0.1)


def test_words_read_on_a_levelled_copy_lie_on_the_turned_page(files: Files, tmp_path: Path) -> None:
    turn = cv2.getRotationMatrix2D((600, 400), 5.0, 1.0)
    to_page = Affine(*turn[0], *turn[1])
    text = layer(line(("turned", 300, 380, 500, 420), ("words", 540, 380, 700, 420)), to_page=to_page)
    write_pdfa([PdfPage(image=files.a3, dpi=600.0, text=text)], tmp_path / "a.pdf", PLAIN)
    document = pypdfium2.PdfDocument(tmp_path / "a.pdf")
    text_page = document[0].get_textpage()
    height_pt = document[0].get_height()
    assert text_page.get_text_range() == "turned words"
    for index, (x, y) in ((0, (310, 400)), (11, (690, 400))):
        left, bottom, right, top = text_page.get_charbox(index)
        page_x, page_y = to_page.at(x, y)
        assert left - 1 < page_x * 0.12 < right + 1
        assert bottom - 1 < height_pt - page_y * 0.12 < top + 1
    document.close()


def test_words_read_on_a_copy_that_was_bent_straight_lie_on_the_curled_page(files: Files, tmp_path: Path) -> None:
    heights = tuple(30.0 * (column - 3) for _ in range(4) for column in range(7))
    bend = Bend(left=0.0, top=0.0, right=1200.0, bottom=800.0, columns=7, heights_px=heights)
    to_page = Bent(before=IDENTITY, bend=bend, then=Affine(c=10.0))
    text = layer(line(("left", 100, 180, 200, 220)), line(("right", 1000, 180, 1100, 220)), to_page=to_page)
    write_pdfa([PdfPage(image=files.a3, dpi=600.0, text=text)], tmp_path / "a.pdf", PLAIN)
    document = pypdfium2.PdfDocument(tmp_path / "a.pdf")
    text_page, height_pt = document[0].get_textpage(), document[0].get_height()
    assert text_page.get_text_range().split() == ["left", "right"]
    right_at = text_page.get_text_range().index("right")
    for index, (x, y) in ((0, (105, 220)), (right_at + 4, (1095, 220))):
        left, bottom, right, top = text_page.get_charbox(index)
        page_x, page_y = to_page.at(float(x), float(y))
        assert left - 1 < page_x * 0.12 < right + 1
        assert bottom - 1 < height_pt - page_y * 0.12 < top + 1
    document.close()


def test_what_no_character_is_left_out_and_the_rest_stays(files: Files, tmp_path: Path) -> None:
    upright = TextLayer(lines=HOSTILE.lines[:2], width_px=1200, height_px=800)
    write_pdfa([PdfPage(image=files.a3, dpi=600.0, text=upright)], tmp_path / "a.pdf", PLAIN)
    assert pdfium_text(tmp_path / "a.pdf").replace("\u200b", "").split() == ["ab", "(\\)<>/%", "zero"]


@given(st.text(alphabet=st.characters()))
def test_any_text_becomes_codes_that_lead_back_to_it(text: str) -> None:
    kept = shown(text)
    assert not set(kept) & set("\x00\ufeff\ufffe") and not any(unicodedata.category(c) == "Cs" for c in kept)
    assert shown(shown("abc")) == "abc"
    assert advance(kept) >= 0
    book = CodeBook()
    codes = re.findall("....", book.encode(kept))
    pairs = re.findall(r"^<(\w{4})> <(\w+)>$", book.to_unicode().decode(), re.MULTILINE)
    letters = {code: bytes.fromhex(value).decode("utf-16-be") for code, value in pairs}
    assert "".join(letters[code] for code in codes) == kept
    glyphs = book.cid_to_gid()
    assert all(glyphs[2 * int(code, 16) : 2 * int(code, 16) + 2] != b"\0\0" for code in codes)


def test_a_document_of_more_characters_than_codes_keeps_valid_codes() -> None:
    book = CodeBook()
    everything = "".join(map(chr, [*range(0x20, 0xD800), *range(0x10000, 0x14000)]))
    codes = {int(code, 16) for code in re.findall("....", book.encode(everything))}
    assert max(codes) == MAX_CODES == len(codes)
    assert len(book.cid_to_gid()) == 2 * (MAX_CODES + 1)
    assert b"<ffff> <fffd>" in book.to_unicode()  # the replacement character stands for what came too late


def test_what_the_file_says_of_itself_agrees_and_survives_any_title(files: Files, tmp_path: Path) -> None:
    write_pdfa([PdfPage(image=files.kinds["g4"][1], dpi=100.0)], tmp_path / "a.pdf", FULL, "1b")
    with pikepdf.open(tmp_path / "a.pdf") as pdf:
        assert str(pdf.docinfo["/Title"]) == 'Deeds & <mortgages> "A–Z" 😀 second line'
        assert str(pdf.docinfo["/CreationDate"]) == "D:20260304120000Z"
        with pdf.open_metadata() as packet:
            assert packet["dc:title"] == str(pdf.docinfo["/Title"])
            assert packet["dc:creator"] == ["Secretary of State"]
            assert packet["{urn:x-platen:document:1.0:}workOrder"] == "WO-2026-0001"
            assert packet["{urn:x-platen:document:1.0:}sourceSha256"] == {"a" * 64, "b" * 64}
        assert pdf.Root.Metadata.get("/Filter") is None


def test_a_moment_without_its_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        xmp_packet(DocumentMetadata(title="x", created=datetime(2026, 1, 1)), part=2, conformance="U")  # noqa: DTZ001


@given(st.text(), st.text())
def test_any_metadata_makes_a_packet_that_reads_the_same_as_the_information(title: str, creator: str) -> None:
    metadata = DocumentMetadata(title=title, created=NOON, creator=creator)
    root = ET.fromstring(xmp_packet(metadata, part=2, conformance="U"))
    rdf, dc = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://purl.org/dc/elements/1.1/}"
    information = document_information(metadata)
    for tag, key in (("title", "/Title"), ("creator", "/Author")):
        found = [item.text for element in root.iter(dc + tag) for item in element.iter(rdf + "li")]
        assert found == ([information[key]] if key in information else [])


MEMORY_PROBE = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from stages.places import Bend, Bent
from stages.pdfa import PdfPage, write_pdfa
from stages.xmp import DocumentMetadata
image, out = map(Path, sys.argv[1:3])
for count in (2, 60):
    pages = (PdfPage(image=image, dpi=300.0) for _ in range(count))
    write_pdfa(pages, out, DocumentMetadata(title="x", created=datetime.now(UTC)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_long_colour_document_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1000, 1000, 3), np.uint8)
    image = write_page_file(PageImage(pixels=noise, dpi=300.0), tmp_path, "noise", jpeg_quality=92)
    probe = [sys.executable, "-c", MEMORY_PROBE, str(image), str(tmp_path / "out.pdf")]
    short_kib, long_kib = map(int, subprocess.run(probe, capture_output=True, text=True, check=True).stdout.split())
    size_kib = (tmp_path / "out.pdf").stat().st_size / 1024
    assert size_kib > 60_000
    assert long_kib - short_kib < 0.3 * size_kib
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0  # the figure is kept on this system
