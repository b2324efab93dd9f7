from __future__ import annotations

import math
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytesseract
import pytest
from PIL import Image, ImageDraw

from fixtures.pages import letter
from fixtures.typefaces import Face, font
from stages.errors import LanguageMissing, RecognitionTimedOut
from stages.ocr import Settings, alto_with, missing_languages, ocr, text_layer
from stages.page_image import Affine, Box, Line, PageImage, Word
from stages.tools import ToolFailed, ToolMissing

ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/{version}#"><Layout><Page WIDTH="800" HEIGHT="600"><PrintSpace>
<TextBlock>
 <TextLine><String HPOS="10" VPOS="20" WIDTH="40" HEIGHT="12" WC="0.9" CONTENT="first"/><SP WIDTH="5"/>
  <String HPOS="60" VPOS="18" WIDTH="50" HEIGHT="14" WC="0.5" CONTENT="conver"/><HYP CONTENT="-"/></TextLine>
 <TextLine><String HPOS="10" VPOS="40" WIDTH="40" HEIGHT="12" WC="0.7" CONTENT="sion"/>
  <String HPOS="60" VPOS="40" WIDTH="9" HEIGHT="12" WC="0.1" CONTENT=" "/></TextLine>
 <TextLine><String HPOS="10" VPOS="60" WIDTH="40" HEIGHT="12" WC="0.7" CONTENT=" "/></TextLine>
</TextBlock>
<TextBlock>
 <TextLine><String HPOS="10" VPOS="90" WIDTH="40" HEIGHT="12" WC="1.0" CONTENT="next"/></TextLine>
</TextBlock>
</PrintSpace></Page></Layout></alto>"""


def line_of(text: str, *, size: tuple[int, int] = (700, 120), left: int = 40, dpi: float = 200.0) -> PageImage:
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).text((left, 40), text, font=font(Face.SERIF, 36), fill=0)
    return PageImage(pixels=np.array(image), dpi=dpi)


@pytest.fixture(scope="module")
def letter_read() -> PageImage:
    return ocr(letter(dpi=200).image(), Settings())


@pytest.mark.tool
def test_the_words_of_a_letter_are_read_in_order_and_where_they_stand(letter_read: PageImage) -> None:
    drawn = [word for line in letter(dpi=200).lines for word in line.words]
    assert letter_read.text is not None
    places = {word.text: word.box for word in drawn}
    read = [word for word in letter_read.text.words() if word.text in places]
    assert len(read) >= 0.97 * len(drawn)
    once = [word for word in drawn if sum(other.text == word.text for other in drawn) == 1]
    found = {word.text: word.box for word in read}
    for word in once:
        if word.text in found:
            assert math.dist(word.box[:2], found[word.text][:2]) < 8, word.text  # 1 mm
    order = [word.text for word in read if word.text in {w.text for w in once}]
    expected = [word.text for word in once if word.text in set(order)]
    assert order == expected


@pytest.mark.tool
def test_reading_leaves_the_pixels_alone_and_tells_how_sure_it_was(letter_read: PageImage) -> None:
    assert np.array_equal(letter_read.pixels, letter(dpi=200).pixels)
    assert letter_read.readings["ocr.mean_confidence"] > 0.9
    assert letter_read.readings["ocr.words"] > 100
    assert str(letter_read.readings["ocr.engine"]).startswith("tesseract ")


@pytest.mark.tool
def test_the_alto_document_is_kept_and_names_no_folder_of_this_machine(letter_read: PageImage) -> None:
    assert letter_read.text is not None
    kept = text_layer(letter_read.text.alto).lines  # with the signature, of which the text has nothing
    assert tuple(line for line in kept if line in letter_read.text.lines) == letter_read.text.lines
    assert len(kept) - len(letter_read.text.lines) <= 1
    assert b"<fileName>page.pgm</fileName>" in letter_read.text.alto
    read = ocr(line_of("No alto is kept here"), Settings(keep_alto=False))
    assert read.text is not None
    assert read.text.alto == b""
    assert read.text.plain_text == "No alto is kept here"


@pytest.mark.tool
def test_a_bitonal_page_is_read_like_a_grey_one() -> None:
    grey = line_of("Register of Deeds 1897")
    for page in (grey, replace(grey, pixels=grey.grey() > 127), replace(grey, pixels=np.stack([grey.grey()] * 3, 2))):
        read = ocr(page, Settings())
        assert read.text is not None
        assert read.text.plain_text == "Register of Deeds 1897"


@pytest.mark.tool
def test_words_are_placed_on_the_page_the_stages_began_with() -> None:
    moved = Affine(a=1.0, c=30.0, e=1.0, f=-7.0)
    read = ocr(replace(line_of("Moved"), moved=moved), Settings())
    assert read.text is not None
    assert read.text.to_page == moved


@pytest.mark.tool
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (3, 3), (9, 300), (10, 10)])
@pytest.mark.parametrize("ink", [0, 255])
def test_a_page_too_small_to_hold_a_word_has_none(shape: tuple[int, int], ink: int) -> None:
    read = ocr(PageImage(pixels=np.full(shape, ink, np.uint8), dpi=300.0), Settings())
    assert read.text is not None
    assert read.readings["ocr.words"] == 0
    assert read.readings["ocr.mean_confidence"] is None
    assert read.readings.get("ocr.too_small") is (True if min(shape) < 10 else None)


@pytest.mark.tool
def test_a_drawing_longer_than_tesseract_takes_is_read_all_the_same() -> None:
    page = line_of("Bridge", size=(36_000, 90), left=35_000)
    read = ocr(page, Settings(psm=6))
    assert read.text is not None
    (word,) = [word for word in read.text.words() if word.text == "Bridge"]
    x, y = read.text.to_page.at(word.box.left, word.box.top)
    assert abs(x - 35_000) < 40
    assert 20 < y < 70


@pytest.mark.tool
def test_a_missing_language_is_named_before_anything_is_read() -> None:
    assert missing_languages(("eng", "tlh")) == ["tlh"]
    with pytest.raises(LanguageMissing, match="tlh"):
        ocr(line_of("x"), Settings(languages=("eng", "tlh")))


def test_hyphens_stay_with_their_word_and_spaces_are_no_words() -> None:
    for version in ("ns-v2", "ns-v3", "ns-v4"):
        layer = text_layer(ALTO.format(version=version).encode())
        assert layer.plain_text == "first conver-\nsion\n\nnext"
        assert [line.block for line in layer.lines] == [0, 0, 1]
        assert layer.lines[0].box == (10, 18, 110, 32)
        assert (layer.width_px, layer.height_px) == (800, 600)
        assert layer.mean_confidence == pytest.approx((5 * 0.9 + 7 * 0.5 + 4 * 0.7 + 4 * 1.0) / 20)


@pytest.mark.parametrize(
    "rubbish", [b"", b"<alto/>", b"<alto><Layout>", b'<alto><Layout><Page WIDTH="a" HEIGHT="1"/></Layout></alto>']
)
def test_rubbish_from_the_recogniser_is_an_error_and_never_an_empty_page(rubbish: bytes) -> None:
    with pytest.raises(ToolFailed):
        text_layer(rubbish)


@pytest.fixture
def pretend_tesseract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder; `tesseract` in it stands in for the real one once a test has written it."""
    script = tmp_path / "tesseract"
    monkeypatch.setattr(pytesseract.pytesseract, "tesseract_cmd", str(script))
    return script


def write_script(script: Path, body: str) -> None:
    answers = 'case "$1" in --list-langs) echo eng; exit;; --version) echo tesseract 5.9.9; exit;; esac\n'
    script.write_text(f"#!/bin/sh\n{answers}{body}\n")
    script.chmod(0o755)


@pytest.mark.parametrize(
    "body",
    [
        "kill -SEGV $$",
        "echo 'Error during processing.' >&2; exit 1",
        "exit 0  # without a result",
        'printf "<alto><Layout>" > "$2.xml"  # a full disk',
    ],
)
def test_a_recogniser_that_crashes_is_an_error_and_never_an_empty_page(pretend_tesseract: Path, body: str) -> None:
    write_script(pretend_tesseract, body)
    with pytest.raises(ToolFailed):
        ocr(line_of("x"), Settings())


def test_a_recogniser_that_is_not_installed_is_told_as_such(pretend_tesseract: Path) -> None:
    assert not pretend_tesseract.exists()
    with pytest.raises(ToolMissing):
        ocr(line_of("x"), Settings(languages=("not-asked-before",)))


def test_a_recogniser_that_hangs_is_ended_with_all_its_children(pretend_tesseract: Path) -> None:
    children = pretend_tesseract.with_name("children")
    write_script(pretend_tesseract, f"trap '' TERM\nsleep 300 &\necho $! $$ > {children}\nwait\nsleep 300")
    started = time.monotonic()
    with pytest.raises(RecognitionTimedOut, match="longer than 1 s"):
        ocr(line_of("x"), Settings(timeout_s=1.0))
    assert time.monotonic() - started < 30
    for pid in children.read_text().split():
        assert not running(int(pid))


def running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_the_recogniser_gets_one_thread_the_languages_and_the_resolution(
    pretend_tesseract: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(os.environ, "OMP_THREAD_LIMIT")
    said = pretend_tesseract.with_name("said")
    alto = pretend_tesseract.with_name("alto.xml")
    alto.write_text(ALTO.format(version="ns-v3"))
    write_script(pretend_tesseract, f'echo "$OMP_THREAD_LIMIT" "$@" > {said}\ncp {alto} "$2.xml"')
    ocr(line_of("x", dpi=199.7), Settings(languages=("eng",), psm=6))
    limit, *arguments = said.read_text().split()
    assert limit == "1"
    assert arguments[2:] == ["-l", "eng", "--psm", "6", "--dpi", "200", "-c", "tessedit_create_alto=1"]


def read_as(pretend_tesseract: Path, alto: str, page: PageImage) -> PageImage:
    """What is made of a document by the recogniser; its arguments are left in `said`."""
    document = pretend_tesseract.with_name("alto.xml")
    document.write_text(alto)
    write_script(pretend_tesseract, f'echo "$@" > {pretend_tesseract.with_name("said")}\ncp {document} "$2.xml"')
    return ocr(page, Settings())


def test_a_resolution_that_nobody_stated_is_not_told_the_recogniser(pretend_tesseract: Path) -> None:
    for source, told in (("file", True), ("guessed", True), ("profile", False)):
        page = line_of("x").with_readings("read", dpi_source=source)
        read_as(pretend_tesseract, ALTO.format(version="ns-v3"), page)
        assert ("--dpi" in pretend_tesseract.with_name("said").read_text()) is told


def test_what_was_guessed_from_a_signature_is_no_text_and_print_is_never_taken_for_one(pretend_tesseract: Path) -> None:
    lines = [(12, "0.9", "plain"), (14, "0.9", "print"), (12, "0.9", "here"), (40, "0.9", "HEADING"),
             (14, "0.1", "faint"), (40, "0.3", "OQXOC")]  # fmt: skip
    strings = "".join(
        f'<TextLine><String HPOS="10" VPOS="{60 * number}" WIDTH="80" HEIGHT="{height}" WC="{sure}" CONTENT="{text}"/>'
        "</TextLine>"
        for number, (height, sure, text) in enumerate(lines)
    )
    page = f'<alto><Layout><Page WIDTH="800" HEIGHT="600"><TextBlock>{strings}</TextBlock></Page></Layout></alto>'
    read = read_as(pretend_tesseract, page, line_of("x"))
    assert read.text is not None
    assert [word.text for word in read.text.words()] == ["plain", "print", "here", "HEADING", "faint"]
    assert b"OQXOC" in read.text.alto
    only = page.replace('WC="0.9"', 'WC="0.2"')  # a sheet of handwriting: there is nothing to compare with
    assert len(list(text_layer(only.encode()).words())) == len(lines)
    read = read_as(pretend_tesseract, only, line_of("x"))
    assert read.text is not None and len(list(read.text.words())) == len(lines)


@pytest.mark.parametrize("version", ["ns-v3", "ns-v4"])
def test_a_line_added_to_the_alto_document_is_read_back_behind_the_others(version: str) -> None:
    document = ALTO.format(version=version).encode()
    box = Box(300, 200, 340, 212)
    line = Line(words=(Word(text="añadido", box=box, confidence=0.75),), box=box, block=0)
    before, after = text_layer(document), text_layer(alto_with(document, [line]))
    assert after.lines[:-1] == before.lines
    assert after.lines[-1] == replace(line, block=2)
    with pytest.raises(ToolFailed):
        alto_with(b"<alto/>", [line])


@pytest.mark.tool
@pytest.mark.real
def test_a_printed_page_of_1900_is_read_almost_without_fault(real_scans: Path) -> None:
    pixels = np.array(Image.open(real_scans / "ocr-truth/en/oldbook-d018.tiff").convert("L"))
    read = ocr(PageImage(pixels=pixels, dpi=300.0), Settings())
    assert read.text is not None
    truth = (real_scans / "ocr-truth/en/oldbook-d018.txt").read_text().split()
    assert len(set(truth) & {word.text for word in read.text.words()}) > 0.85 * len(set(truth))
