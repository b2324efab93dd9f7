"""Read the words on the page with Tesseract and put them beside its pixels; the pixels stay as they are."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from unicodedata import category

import cv2
import numpy as np
import numpy.typing as npt
import pytesseract
from pydantic import Field

from stages.errors import LanguageMissing, RecognitionTimedOut
from stages.page_image import Affine, Box, Line, PageImage, TextLayer, Word
from stages.settings import StageSettings
from stages.tools import ToolFailed, ToolMissing

log = logging.getLogger(__name__)

MIN_SIDE_PX = 10  # under the smallest letter that can be read; Tesseract fails on some pages of 1 to 3 px
MAX_SIDE_PX = 32_767  # Tesseract refuses larger pages
MIN_DPI, MAX_DPI = 70, 2400  # outside of these Tesseract puts a guess in the place of what it is told
# Signatures and stamps, read as letters: of 39 pages all lines but one (a single word) of which no word was half sure
# and that were so much taller than the middle one were such scrawls; of lines as tall as the others some were print
HALF_SURE = 0.5
SCRAWL_HEIGHTS = 1.6
LINES_TO_COMPARE = 3
GRACE_S = 5.0  # after which pytesseract stops Tesseract in its own way, should ours have failed


class Settings(StageSettings):
    """How the page is read.

    `languages` are Tesseract's names, the likeliest first; `psm` is its page segmentation mode (3: find columns and
    lines by itself, page upright). `keep_alto` keeps Tesseract's own ALTO document with the text layer.
    """

    languages: tuple[str, ...] = Field(("eng",), min_length=1)
    psm: int = Field(3, ge=1, le=13)
    timeout_s: float = Field(180.0, gt=0)
    keep_alto: bool = True


def ocr(page: PageImage, settings: Settings) -> PageImage:
    """Read the page as it stands; `text.to_page` leads from its pixels to those of the image the stages began with.

    What was guessed from a signature is no text and left out; Tesseract's own document keeps it. Where nothing is known
    of the resolution Tesseract is told none: by a wrong one it takes lines apart.

    Readings: `ocr.words`, `ocr.mean_confidence` (0 to 1, None where nothing was read), `ocr.engine`, and
    `ocr.too_small` where the page is too small to be looked at.

    Raises:
        LanguageMissing: Tesseract has no data for one of `settings.languages`.
        RecognitionTimedOut: it took longer than `settings.timeout_s`; nothing of it is left running.
        ToolMissing: Tesseract is not installed.
        ToolFailed: it ended with an error or without a sound result.
    """
    missing = missing_languages(settings.languages)
    if missing:
        raise LanguageMissing(missing)
    scale = min(1.0, MAX_SIDE_PX / max(page.width_px, page.height_px))
    too_small = min(page.width_px, page.height_px) * scale < MIN_SIDE_PX
    if too_small:
        layer = TextLayer(lines=(), width_px=page.width_px, height_px=page.height_px)
    else:
        alto = _alto(_grey(page, scale), page.dpi * scale if page.is_dpi_known else None, settings)
        layer = _without_scrawls(text_layer(alto))
        if settings.keep_alto:
            layer = replace(layer, alto=alto)
    back = Affine(a=page.width_px / layer.width_px, e=page.height_px / layer.height_px)
    layer = replace(
        layer, to_page=page.moved.after(back), languages=settings.languages, engine=f"tesseract {engine_version()}"
    )
    read = page.with_readings(
        "ocr",
        words=sum(1 for _ in layer.words()),
        mean_confidence=layer.mean_confidence,
        engine=layer.engine,
        **({"too_small": True} if too_small else {}),
    )
    return replace(read, text=layer)


def missing_languages(languages: tuple[str, ...]) -> list[str]:
    """Which of the languages Tesseract has no data for.

    Raises:
        ToolMissing: Tesseract is not installed.
    """
    try:
        missing = set(languages).difference(pytesseract.get_languages(cached=True))
        if missing:  # may have been installed since
            missing.difference_update(pytesseract.get_languages())
    except pytesseract.TesseractNotFoundError as error:
        raise ToolMissing("tesseract is not installed") from error
    return [language for language in languages if language in missing]


def engine_version() -> str:
    """Tesseract's version.

    Raises:
        ToolMissing: Tesseract is not installed.
        ToolFailed: it does not say its version.
    """
    try:
        return str(pytesseract.get_tesseract_version(cached=True))
    except pytesseract.TesseractNotFoundError as error:
        raise ToolMissing("tesseract is not installed") from error
    except SystemExit as error:  # what pytesseract raises for an answer it cannot make out
        raise ToolFailed(str(error)) from error


def text_layer(alto: bytes) -> TextLayer:
    """The words of an ALTO document of one page, in its order; words of nothing but space are left out.

    A hyphen that ALTO keeps apart from its word (HYP) is put back to it, as it stands on the page.

    Raises:
        ToolFailed: it is no ALTO document, or has no page.
    """
    try:
        root = ET.fromstring(alto)
        page = next(root.iter(_tag(root, "Page")), None)
        if page is None:
            raise ToolFailed("the recogniser's ALTO document has no page")
        lines = tuple(
            line
            for block, paragraph in enumerate(page.iter(_tag(root, "TextBlock")))
            for element in paragraph.iter(_tag(root, "TextLine"))
            if (line := _line(element, block)) is not None
        )
        return TextLayer(lines=lines, width_px=int(page.attrib["WIDTH"]), height_px=int(page.attrib["HEIGHT"]))
    except (ET.ParseError, KeyError, ValueError) as error:
        raise ToolFailed(f"the recogniser's ALTO document cannot be read: {error}") from error


def around(boxes: list[Box]) -> Box:
    """The smallest box that holds all of them."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def alto_with(alto: bytes, lines: Iterable[Line]) -> bytes:
    """An ALTO document with more lines, each a text block of its own at the end of the page.

    Raises:
        ToolFailed: it is no ALTO document, or has no print space.
    """
    try:
        root = ET.fromstring(alto)
    except ET.ParseError as error:
        raise ToolFailed(f"the recogniser's ALTO document cannot be read: {error}") from error
    space = next(root.iter(_tag(root, "PrintSpace")), None)
    if space is None:
        raise ToolFailed("the recogniser's ALTO document has no print space")
    for number, line in enumerate(lines):
        place = _alto_place(line.box)
        block = ET.SubElement(space, _tag(root, "TextBlock"), {"ID": f"added_block_{number}", **place})
        element = ET.SubElement(block, _tag(root, "TextLine"), {"ID": f"added_line_{number}", **place})
        for at, word in enumerate(line.words):
            name = {"ID": f"added_string_{number}_{at}", "CONTENT": word.text, "WC": f"{word.confidence:.2f}"}
            ET.SubElement(element, _tag(root, "String"), {**name, **_alto_place(word.box)})
    ET.register_namespace("", root.tag.rpartition("}")[0].removeprefix("{"))
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _alto_place(box: Box) -> dict[str, str]:
    left, top, right, bottom = (round(side) for side in box)
    return {"HPOS": f"{left}", "VPOS": f"{top}", "WIDTH": f"{right - left}", "HEIGHT": f"{bottom - top}"}


def _without_scrawls(layer: TextLayer) -> TextLayer:
    """The text without lines that were only guessed and are taller than lines of this page."""
    heights = [_height(line) for line in layer.lines if _is_half_sure(line)]
    if len(heights) < LINES_TO_COMPARE:
        return layer
    most = SCRAWL_HEIGHTS * median(heights)
    return replace(layer, lines=tuple(line for line in layer.lines if _is_half_sure(line) or _height(line) <= most))


def _is_half_sure(line: Line) -> bool:
    return any(word.confidence >= HALF_SURE for word in line.words)


def _height(line: Line) -> float:
    return line.box.bottom - line.box.top


def _tag(root: ET.Element, name: str) -> str:
    return root.tag.removesuffix("alto") + name  # ALTO 2, 3 and 4 differ in the namespace only


def _line(element: ET.Element, block: int) -> Line | None:
    words: list[Word] = []
    for child in element:
        kind = child.tag.rpartition("}")[2]
        text = "".join(c for c in child.get("CONTENT", "") if category(c) not in ("Cc", "Cs")).strip()
        if not text or kind not in ("String", "HYP"):
            continue
        if kind == "HYP" and words:
            # its place is optional in ALTO
            box = around([words[-1].box, _box(child)]) if "VPOS" in child.attrib else words[-1].box
            words[-1] = replace(words[-1], text=words[-1].text + text, box=box)
        else:
            words.append(Word(text=text, box=_box(child), confidence=float(child.get("WC", "0"))))
    if not words:
        return None
    return Line(words=tuple(words), box=around([word.box for word in words]), block=block)


def _box(element: ET.Element) -> Box:
    left, top = float(element.attrib["HPOS"]), float(element.attrib["VPOS"])
    return Box(left, top, left + float(element.get("WIDTH", "0")), top + float(element.get("HEIGHT", "0")))


def _grey(page: PageImage, scale: float) -> npt.NDArray[np.uint8]:
    grey = page.grey()
    if scale == 1.0:
        return grey
    size = (max(1, int(grey.shape[1] * scale)), max(1, int(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _alto(grey: npt.NDArray[np.uint8], dpi: float | None, settings: Settings) -> bytes:
    # Tesseract's thread pool spins: without this limit it takes 4.6 times the processor time. pytesseract hands on
    # this process's environment and no other.
    os.environ["OMP_THREAD_LIMIT"] = "1"
    with tempfile.TemporaryDirectory(prefix="platen-ocr-") as scratch:
        image, result = Path(scratch) / "page.pgm", Path(scratch) / "page"
        with image.open("wb") as file:  # as it is: pytesseract would make a PNG of it, and Tesseract undo it
            file.write(f"P5\n{grey.shape[1]} {grey.shape[0]}\n255\n".encode("ascii"))
            file.write(np.ascontiguousarray(grey).data)
        # left to itself Tesseract takes the resolution from the height of the letters
        stated_dpi = "" if dpi is None else f"--dpi {min(max(round(dpi), MIN_DPI), MAX_DPI)} "
        with _stopping_after(settings.timeout_s, scratch) as timed_out:
            try:
                pytesseract.pytesseract.run_tesseract(
                    str(image),
                    str(result),
                    extension="xml",
                    lang="+".join(settings.languages),
                    config=f"--psm {settings.psm} {stated_dpi}-c tessedit_create_alto=1",
                    timeout=settings.timeout_s + GRACE_S,
                )
                # the scratch folder is nobody's business and would differ from run to run
                return result.with_suffix(".xml").read_bytes().replace(scratch.encode() + b"/", b"")
            except pytesseract.TesseractNotFoundError as error:
                raise ToolMissing("tesseract is not installed") from error
            except (pytesseract.TesseractError, FileNotFoundError) as error:
                if timed_out.is_set():
                    raise RecognitionTimedOut(settings.timeout_s) from error
                raise ToolFailed(f"tesseract gave no result: {str(error)[:300]}") from error
            except RuntimeError as error:  # pytesseract's own time-out has no class of its own
                raise RecognitionTimedOut(settings.timeout_s) from error


@contextmanager
def _stopping_after(timeout_s: float, scratch: str) -> Iterator[threading.Event]:
    """Kill every process that works on `scratch`, with its children, once the time is up.

    pytesseract would end the process it started and no other, and leave one that holds out as a zombie.
    """
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        for pid in _processes_on(scratch):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            log.warning("killed process %d after %.0f s of recognition", pid, timeout_s)

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        yield timed_out
    finally:
        timer.cancel()


def _processes_on(scratch: str) -> list[int]:
    """Processes whose arguments name the folder, and all that descend from them (Linux: /proc; else none)."""
    parents: dict[int, int] = {}
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments, stat = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        pid = int(entry.name)
        parents[pid] = int(stat.rpartition(")")[2].split()[1])
        if scratch.encode() in arguments:
            found.append(pid)
    for pid in found:  # grows while it is walked
        found.extend(child for child, parent in parents.items() if parent == pid and child not in found)
    return found
