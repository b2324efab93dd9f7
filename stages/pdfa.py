"""Page images and the words on them -> one PDF/A file, and the check of such a file."""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree.ElementTree import ParseError

import pikepdf
from pikepdf import Array, Dictionary, Name, Stream, String

from stages.glyphless import ASCENT, DESCENT, FONT_NAME, CodeBook, advance, font_program, shown
from stages.page_file import PackedImage, is_plain_jpeg2000, packed_pixels, page_file_image, read_page_file
from stages.page_image import Affine, Box, Line, TextLayer
from stages.pdf_spool import PdfSpool
from stages.srgb import srgb_profile
from stages.xmp import PREFIX, DocumentMetadata, document_information, read_declarations, xmp_packet

# 0.15 s and 20 MB with its JSON schemas and font tables: imported where a file is written or checked, for every
# process of the house imports this module
if TYPE_CHECKING:
    import pikepdf.pdfa

Flavour = Literal["1b", "2b", "2u", "3b", "3u"]

POINTS_PER_INCH = 72.0
MIN_SIDE_PT, MAX_SIDE_PT = 3.0, 14_400.0  # ISO 19005-2, 6.1.13
WORD_GAP_EM = 0.16  # poppler joins words that are less than 0.15 of the font size apart, space or no space
TALL = 2.0  # times the usual word of its line; words with heads and tails are less than that
LEAST_WIDTH = 0.7  # of its box that a word keeps when it is drawn in
MAX_STRETCH = 30_000.0  # per cent; a number with a fraction may be 32,767 in PDF/A-1 (ISO 19005-1, 6.1.12)
WIDTHS_PER_PIECE = 1_000
MAX_PROBLEMS = 100

_OWN_SCHEMA = re.compile(rf"XMP (namespace|property) ({PREFIX}|pdfaExtension|pdfaSchema|pdfaProperty)[:=]")
_JPEG_2000 = "JPEG 2000 images are not supported"
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")  # ISO 32000-1, 14.9.2.2; RFC 5646
_ICC_VERSION_AT = 8  # byte of the major version in a profile's header (ICC.1:2001, 6.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfPage:
    """One page of a document: its page file, its resolution and the words that were read on it."""

    image: Path
    dpi: float
    text: TextLayer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """What the checks of a PDF/A file found; `checks` names them with their versions."""

    flavour: str
    passed: bool
    problems: tuple[str, ...]
    checks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "flavour": self.flavour,
            "passed": self.passed,
            "problems": list(self.problems),
            "checks": list(self.checks),
        }


def write_pdfa(pages: Iterable[PdfPage], out: Path, metadata: DocumentMetadata, flavour: Flavour = "2u") -> None:
    """Write the pages as one searchable PDF/A; the same input gives the same bytes.

    Pages are taken one at a time and written to a file beside `out`, so a document may be of any length. A page
    measures `pixels / dpi * 72` points; one that would be smaller than 3 points stands on paper of 3 points, and one
    that would be larger than 14,400 is drawn smaller (ISO 19005-2, 6.1.13).

    Raises:
        ValueError: a page file is of no kind that can be put in, or there are no pages.
    """
    from pikepdf.pdfa import resolve_save_kwargs

    book = CodeBook()
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".platen-") as scratch:
        spooled, finished = Path(scratch) / "spool.pdf", Path(scratch) / "finished.pdf"
        with spooled.open("wb") as file:
            font_number = _spool_pages(pages, PdfSpool(file), book, part=int(flavour[0]))
        with pikepdf.open(spooled, access_mode=pikepdf.AccessMode.stream) as pdf:
            _fill_font(pdf, pdf.get_object(font_number, 0), book)
            _declare(pdf, metadata, flavour)
            pdf.save(finished, **resolve_save_kwargs(f"{flavour[0]}b", deterministic_id=True))
        finished.replace(out)


def check_pdfa(path: Path, flavour: Flavour) -> ValidationReport:
    """Check a file by what is at hand in this process: qpdf's syntax check, pikepdf's PDF/A rules, and our own.

    pikepdf knows level B, no extension schemas and no JPEG 2000: what it says against level U, our own properties and
    such pictures is left out, and all three are checked here instead. Never raises for what is wrong with the file.
    """
    from pikepdf.pdfa import validate_written

    part = int(flavour[0])
    report = validate_written(path, f"{part}b")
    problems = [str(finding) for finding in report.findings if not _is_checked_here(finding, flavour)]
    try:
        with pikepdf.open(path) as pdf:
            problems += [f"syntax: {problem}" for problem in pdf.check_pdf_syntax()]
            problems += [f"metadata: {problem}" for problem in _metadata_problems(pdf, flavour)]
            problems += [f"picture: {problem}" for problem in _jpeg2000_problems(pdf)]
            if flavour[1] == "u":
                problems += [f"text: {problem}" for problem in _unmapped_text(pdf)]
    except pikepdf.PdfError as error:
        problems.append(f"syntax: {error}")
    return ValidationReport(
        flavour=flavour,
        passed=not problems,
        problems=tuple(problems[:MAX_PROBLEMS]),
        checks=(
            f"pikepdf.pdfa {pikepdf.__version__} (PDF/A-{part}b)",
            f"qpdf {pikepdf.__libqpdf_version__}",
            f"platen {version('platen')} (metadata{', ToUnicode' if flavour[1] == 'u' else ''})",
        ),
    )


def _spool_pages(pages: Iterable[PdfPage], spool: PdfSpool, book: CodeBook, *, part: int) -> int:
    """Write all pages to the spool; gives the number of the font object, which is empty as yet."""
    font_number = spool.write("<< >>")
    profiles: dict[bytes, int] = {}
    for page in pages:
        packed = _packed(page, part=part)
        if packed.icc and packed.icc not in profiles:  # the profile of one scanner stands in the file once
            profiles[packed.icc] = spool.write_stream(f"/N {packed.channels}", packed.icc)
        picture = spool.write_stream(_picture_entries(packed, profiles.get(packed.icc)), packed.data)
        _spool_page(spool, page, packed, book, picture=picture, font=font_number)
    if not spool.finish():
        raise ValueError("a document needs at least one page")
    return font_number


def _packed(page: PdfPage, *, part: int) -> PackedImage:
    packed = page_file_image(page.image)
    # PDF 1.4, and so PDF/A-1, does not know JPEG 2000
    if packed.codec == "JPXDecode" and (part == 1 or not is_plain_jpeg2000(packed.data)):
        return packed_pixels(read_page_file(page.image, dpi=page.dpi))
    # ISO 19005-1, 6.2.2: version 2 only; sRGB is meant instead
    if part == 1 and packed.icc and packed.icc[_ICC_VERSION_AT] > 2:
        return replace(packed, icc=b"")
    return packed


def _spool_page(
    spool: PdfSpool, page: PdfPage, packed: PackedImage, book: CodeBook, *, picture: int, font: int
) -> None:
    pt_per_px = POINTS_PER_INCH / page.dpi
    pt_per_px *= min(1.0, MAX_SIDE_PT / (pt_per_px * max(packed.width_px, packed.height_px)))
    width_pt, height_pt = packed.width_px * pt_per_px, packed.height_px * pt_per_px
    paper_pt = max(MIN_SIDE_PT, width_pt), max(MIN_SIDE_PT, height_pt)
    drawing = f"q {_number(width_pt)} 0 0 {_number(height_pt)} 0 {_number(paper_pt[1] - height_pt)} cm /Im Do Q\n"
    words = _text_operators(page.text, book, pt_per_px, paper_pt[1]) if page.text is not None else ""
    content = spool.write_stream("/Filter /FlateDecode", zlib.compress((drawing + words).encode("ascii")))
    fonts = f"/Font << /F {font} 0 R >>" if words else ""
    spool.write_page(
        f"/MediaBox [0 0 {_number(paper_pt[0])} {_number(paper_pt[1])}] /Contents {content} 0 R "
        f"/Resources << /XObject << /Im {picture} 0 R >> {fonts} >>"
    )


def _picture_entries(packed: PackedImage, profile: int | None) -> str:
    space = "/DeviceGray" if packed.channels == 1 else "/DeviceRGB"
    if profile is not None:
        space = f"[/ICCBased {profile} 0 R]"
    parms = ""
    if packed.codec == "CCITTFaxDecode":
        black_is_1 = "true" if packed.black_is_1 else "false"
        parms = f"/K -1 /Columns {packed.width_px} /Rows {packed.height_px} /BlackIs1 {black_is_1}"
    elif packed.predictor > 1:
        parms = (
            f"/Predictor {packed.predictor} /Colors {packed.channels} /BitsPerComponent {packed.bits} "
            f"/Columns {packed.width_px}"
        )
    return (
        f"/Type /XObject /Subtype /Image /Width {packed.width_px} /Height {packed.height_px} /ColorSpace {space} "
        f"/BitsPerComponent {packed.bits} /Filter /{packed.codec}" + (f" /DecodeParms << {parms} >>" if parms else "")
    )


def _text_operators(layer: TextLayer, book: CodeBook, pt_per_px: float, paper_height_pt: float) -> str:
    """The words as invisible text, in the pixels of the image that was read.

    One matrix carries those pixels to the page, turn and all; where the page was bent flat to be read, each line has
    its own. A line has one baseline and one font size, for readers take words of different sizes for different lines;
    each word is stretched to its box, each gap to the next.
    """
    sizes = _font_sizes(layer)
    placed: dict[Affine, list[str]] = {}
    for line in layer.lines:
        if line.words and (text := _line_operators(line, sizes[line.block], book)):
            left, _, right, bottom = line.box
            placed.setdefault(layer.to_page.near((left + right) / 2, bottom), []).append(text)
    operators = []
    k = pt_per_px
    for turn, lines in placed.items():
        to_points = (k * turn.a, -k * turn.d, -k * turn.b, k * turn.e, k * turn.c, paper_height_pt - k * turn.f)
        operators += ["q", f"{' '.join(map(_number, to_points))} cm", "BT 3 Tr", *lines, "ET Q"]
    return "\n".join(operators)


def _font_sizes(layer: TextLayer) -> dict[int, float]:
    """One size for all lines of a block, that of its taller ones: readers part columns and lines by it."""
    heights: dict[int, list[float]] = {}
    for line in layer.lines:
        if line.words:
            top, bottom = _top_and_bottom(line)
            heights.setdefault(line.block, []).append(bottom - top)
    return {block: max(1.0, _quantile(found, 0.8)) for block, found in heights.items()}


def _top_and_bottom(line: Line) -> tuple[float, float]:
    """Where the line runs; a blot or a rule taken for a word does not make it tall."""
    usual = max(1.0, _quantile([word.box.height for word in line.words], 0.5))
    boxes = [word.box for word in line.words if word.box.height <= TALL * usual]
    return min(box.top for box in boxes), max(box.bottom for box in boxes)


def _quantile(values: list[float], fraction: float) -> float:
    return sorted(values)[round(fraction * (len(values) - 1))]


def _line_operators(line: Line, size: float, book: CodeBook) -> str:
    words = [(word.box, text) for word in line.words if (text := shown(word.text).strip())]
    if not words:
        return ""
    at = words[0][0].left
    operators = [f"/F {_number(size)} Tf 1 0 0 1 {_number(at)} {_number(-_top_and_bottom(line)[1])} Tm"]
    for index, (box, text) in enumerate(words):
        following = words[index + 1][0] if index + 1 < len(words) else None
        left, right = (box.left, box.right) if following is None else _parted(box, following, size)
        operators.append(_stretched(text, left - at, right - left, size, book))
        at = left
        if following is not None:
            left, right = (right, following.left) if following.left > left else (following.right, left)
            operators.append(_stretched(" ", left - at, right - left, size, book))
            at = left
    return "\n".join(operators)


def _parted(box: Box, following: Box, size: float) -> tuple[float, float]:
    """Left and right of a word, drawn in a little where the next one is so near that readers would join the two."""
    nearest = max(box.width * LEAST_WIDTH, 1.0)
    if following.left > box.left:
        return box.left, max(box.left + nearest, min(box.right, following.left - WORD_GAP_EM * size))
    return min(box.right - nearest, max(box.left, following.right + WORD_GAP_EM * size)), box.right


def _stretched(text: str, move_px: float, width_px: float, size: float, book: CodeBook) -> str:
    natural_px = advance(text) * size / 1000
    stretch = min(MAX_STRETCH, 100 * max(1.0, width_px) / natural_px) if natural_px else 100.0
    move = f"{_number(move_px)} 0 Td " if move_px else ""
    return f"{move}{_number(stretch)} Tz <{book.encode(text)}> Tj"


def _number(value: float) -> str:
    # PDF knows no exponents (ISO 32000-1, 7.3.3); 5 places keep a corner of an A0 page within a thousandth of a point
    return f"{value:.5f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def _fill_font(pdf: pikepdf.Pdf, font: pikepdf.Object, book: CodeBook) -> None:
    program = Stream(pdf, font_program(), Length1=len(font_program()))
    descriptor = Dictionary(
        Type=Name.FontDescriptor,
        FontName=Name("/" + FONT_NAME),
        Flags=4,  # symbolic: not of the standard Latin set
        FontBBox=Array([0, DESCENT, 1000, ASCENT]),
        ItalicAngle=0,
        Ascent=ASCENT,
        Descent=DESCENT,
        CapHeight=ASCENT,
        StemV=80,
        FontFile2=program,
    )
    descendant = Dictionary(
        Type=Name.Font,
        Subtype=Name.CIDFontType2,
        BaseFont=Name("/" + FONT_NAME),
        CIDSystemInfo=Dictionary(Registry=String("Adobe"), Ordering=String("Identity"), Supplement=0),
        FontDescriptor=pdf.make_indirect(descriptor),
        DW=500,
        W=_width_array(book.widths()),
        CIDToGIDMap=Stream(pdf, book.cid_to_gid()),
    )
    font.Type = Name.Font
    font.Subtype = Name.Type0
    font.BaseFont = Name("/" + FONT_NAME)
    font.Encoding = Name("/Identity-H")
    font.DescendantFonts = Array([pdf.make_indirect(descendant)])
    font.ToUnicode = Stream(pdf, book.to_unicode())


def _width_array(widths: list[int]) -> Array:
    """Widths of the codes from 1 on, in pieces: an array may have 8,191 entries (ISO 19005-1, 6.1.12)."""
    pieces: list[object] = []
    for at in range(0, len(widths), WIDTHS_PER_PIECE):
        pieces += [at + 1, Array(widths[at : at + WIDTHS_PER_PIECE])]
    return Array(pieces)


def _declare(pdf: pikepdf.Pdf, metadata: DocumentMetadata, flavour: Flavour) -> None:
    packet = xmp_packet(metadata, part=int(flavour[0]), conformance=flavour[1].upper())
    pdf.Root.Metadata = Stream(pdf, packet, Type=Name.Metadata, Subtype=Name.XML)
    pdf.Root.OutputIntents = Array(
        [
            pdf.make_indirect(
                Dictionary(
                    Type=Name.OutputIntent,
                    S=Name.GTS_PDFA1,
                    OutputConditionIdentifier=String("sRGB IEC61966-2.1"),
                    Info=String("sRGB IEC61966-2.1"),
                    RegistryName=String("http://www.color.org"),
                    DestOutputProfile=Stream(pdf, srgb_profile(), N=3),
                )
            )
        ]
    )
    if metadata.languages and _LANGUAGE_TAG.fullmatch(metadata.languages[0]):
        pdf.Root.Lang = String(metadata.languages[0])
    pdf.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True)
    for key, value in document_information(metadata).items():
        pdf.docinfo[key] = value


def _is_checked_here(finding: pikepdf.pdfa.Finding, flavour: Flavour) -> bool:
    if _OWN_SCHEMA.match(finding.message) or (flavour[0] != "1" and finding.message == _JPEG_2000):
        return True
    return flavour[1] == "u" and finding.message == "pdfaid:conformance is 'U', expected 'B'"


def _metadata_problems(pdf: pikepdf.Pdf, flavour: Flavour) -> list[str]:
    metadata = pdf.Root.get("/Metadata")
    if not isinstance(metadata, Stream):
        return ["there is no XMP packet"]
    try:
        said = read_declarations(metadata.read_bytes())
    except ParseError as error:
        return [f"the XMP packet is no XML: {error}"]
    problems = [f"the XMP property {name} is not described" for name in said.undescribed]
    if said.conformance != flavour[1].upper():
        problems.append(f"the XMP packet declares conformance {said.conformance!r}, not {flavour[1].upper()!r}")
    return problems


def _jpeg2000_problems(pdf: pikepdf.Pdf) -> list[str]:
    return [
        f"object {picture.objgen[0]} is a JPEG 2000 of a kind that PDF/A may not hold"
        for picture in pdf.objects
        if isinstance(picture, Stream)
        and "/JPXDecode" in str(picture.get("/Filter"))
        and not is_plain_jpeg2000(picture.read_raw_bytes())
    ]


def _unmapped_text(pdf: pikepdf.Pdf) -> list[str]:
    """Fonts with codes that are shown and have no Unicode value (ISO 19005-2, 6.2.11.7.2)."""
    problems: list[str] = []
    known: dict[tuple[int, int], set[int]] = {}
    for number, page in enumerate(pdf.pages, start=1):
        font: tuple[int, int] | None = None
        for instruction in pikepdf.parse_content_stream(page, "Tf Tj TJ ' \""):
            if not isinstance(instruction, pikepdf.ContentStreamInstruction):
                continue  # an inline image
            operands, name = instruction.operands, str(instruction.operator)
            if name == "Tf":
                found = page.Resources.Font[str(operands[0])]
                font = found.objgen
                if font not in known:
                    known[font] = _mapped_codes(found)
            elif font is None:
                problems.append(f"page {number} shows text without a font")
            else:
                unmapped = _codes(operands[-1]) - known[font]
                if unmapped:
                    problems.append(f"page {number} shows codes without a Unicode value: {sorted(unmapped)[:5]}")
    return problems


def _mapped_codes(font: pikepdf.Object) -> set[int]:
    cmap = font.get("/ToUnicode")
    if font.get("/Encoding") != Name("/Identity-H") or not isinstance(cmap, Stream):
        return set()
    pairs = re.findall(rb"^<([0-9a-f]{4})> <([0-9a-f]{4,})>$", cmap.read_bytes(), re.MULTILINE)
    return {int(code, 16) for code, value in pairs if value not in (b"0000", b"feff", b"fffe")}


def _codes(shown_text: Any) -> set[int]:
    strings = [shown_text] if isinstance(shown_text, String) else [s for s in shown_text if isinstance(s, String)]
    return {int.from_bytes(data[at : at + 2], "big") for data in map(bytes, strings) for at in range(0, len(data), 2)}
