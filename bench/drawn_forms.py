"""Forms drawn in two layers, lines and letters, for benches of what takes one of them off and must leave the other.

Entries are not lined up: they stand on lines, hang into them and cross them, as from a typewriter in a hurry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.texts import edits, normalised
from fixtures.pages import PRINTERS_GREY, DrawnPage
from fixtures.paper import Paper, wrapped
from fixtures.prose import Prose
from fixtures.typefaces import Face
from stages.page_image import MM_PER_INCH, Box, Line, Word
from stages.sheets import LETTER_MM, POINTS_PER_INCH

Grey = npt.NDArray[np.uint8]
DPI = 300.0
MM_PER_POINT = MM_PER_INCH / POINTS_PER_INCH
LEFT_MM = 18.0
BOTTOM_MM = 245.0
WITHIN_MM = 2.5  # a letter read further than this from any word belongs to none


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A drawn form: its two layers in grey, and its words with their places."""

    lines: Grey
    letters: Grey
    words: tuple[Word, ...]

    def page(self, pixels: Grey | None = None) -> DrawnPage:
        """Both layers as one page, or another page with its words."""
        print_ = np.minimum(self.lines, self.letters) if pixels is None else pixels
        return DrawnPage(pixels=print_, dpi=DPI, lines=(Line(words=self.words, box=Box(0, 0, 1, 1)),))


def boxed(seed: int) -> Form:
    """Framed fields of 8 to 12 mm with small printed names, filled in carelessly."""
    prose, lines, letters = _begun(seed)
    random, width = prose.random, LETTER_MM[0] - 2 * LEFT_MM
    values: tuple[tuple[str, Callable[[], str]], ...] = (
        ("Full name", prose.person), ("Date of birth", prose.date), ("Street address", prose.address),
        ("Town", prose.town), ("File number", prose.number), ("Kind of record", prose.paper),
    )  # fmt: skip
    y = 28.0
    while y < BOTTOM_MM - 12:
        fields, height = random.choice((2, 2, 3)), random.choice((8.5, 10.0, 12.0))
        field_mm, thick_mm = width / fields, random.choice((0.15, 0.25, 0.4))
        for index in range(fields):
            lines.frame(LEFT_MM + index * field_mm, y, field_mm, height, thick_mm=thick_mm)
        chosen = random.sample(values, fields)
        names, entries = [name for name, _ in chosen], [value() for _, value in chosen]
        letters.cells(LEFT_MM + 0.8, y + 0.8, field_mm, names, Face.SANS, 6.5, ink=PRINTERS_GREY)
        size_pt, face = random.choice((10, 11, 12)), random.choice((Face.MONO, Face.TYPEWRITER, Face.SANS, Face.SERIF))
        top = y + height - 1.05 * size_pt * MM_PER_POINT + random.uniform(-1.2, 0.8)
        letters.cells(LEFT_MM + random.choice((-1.0, 1.5, 1.5, 4.0)), top, field_mm, entries, face, size_pt)
        y += height
    return _finished(lines, letters)


def table(seed: int) -> Form:
    """A ledger of narrow rows with letters that reach the lines."""
    prose, lines, letters = _begun(seed)
    random, widths, top = prose.random, (44.0, 56.0, 30.0, 40.0), 30.0
    row_mm, thick_mm = random.choice((4.6, 5.2, 6.0)), random.choice((0.15, 0.25, 0.35))
    face, size_pt = random.choice((Face.SANS, Face.SERIF, Face.MONO)), random.choice((9, 10))
    sink_mm, rows = random.uniform(-0.6, 0.5), int((BOTTOM_MM - top) / row_mm)
    for index in range(rows):
        y = top + index * row_mm
        lines.rule(LEFT_MM, y, sum(widths), thick_mm=thick_mm)
        letters.new_block()
        cells = (prose.date(), prose.item(), prose.number(), prose.amount())
        letters.row(LEFT_MM + 1, y + row_mm - 1.12 * size_pt * MM_PER_POINT + sink_mm, widths, cells, face, size_pt)
    lines.rule(LEFT_MM, top + rows * row_mm, sum(widths), thick_mm=thick_mm)
    x = LEFT_MM
    for width in (*widths, 0.0):
        lines.upright_rule(x, top, rows * row_mm, thick_mm=thick_mm)
        x += width
    return _finished(lines, letters)


def comb(seed: int) -> Form:
    """Boxes for one letter each, the letters not always inside."""
    prose, lines, letters = _begun(seed)
    random, cell_mm, height, cells, y = prose.random, 5.0, 6.5, 34, 30.0
    words: list[Word] = []
    while y < BOTTOM_MM - 10:
        text = random.choice((prose.person, prose.town, prose.address, prose.date, prose.number))().upper()[:cells]
        letters.line(LEFT_MM, y, random.choice(("Name", "Place", "Entry")), Face.SANS, 7)
        y += 3.4
        lines.frame(LEFT_MM, y, cell_mm * cells, height, thick_mm=0.2)
        for index in range(1, cells):
            lines.upright_rule(LEFT_MM + index * cell_mm, y, height, thick_mm=0.2)
        boxes: list[Box] = []
        for index, sign in enumerate(text):
            sign_mm = letters.face(Face.SANS, 12).getlength(sign) / DPI * MM_PER_INCH
            x = LEFT_MM + index * cell_mm + (cell_mm - sign_mm) / 2 + random.uniform(-0.8, 0.8)
            # each letter is written alone; the words they make are put together below
            letters.line(x, y + 0.6 + random.uniform(-0.8, 1.4), sign, Face.SANS, 12)
            boxes.append(letters.lines()[-1].box if sign != " " else Box(0, 0, 0, 0))
        begin = 0
        for word in text.split():
            begin = text.index(word, begin)
            left, top, right, bottom = zip(*boxes[begin : begin + len(word)], strict=True)
            words.append(Word(text=word, box=Box(min(left), min(top), max(right), max(bottom)), confidence=1.0))
            begin += len(word)
        y += height + 3
    names = tuple(word for line in letters.lines() for word in line.words if len(word.text) > 1)
    return Form(lines=lines.pixels(), letters=letters.pixels(), words=(*names, *words))


def lined(seed: int) -> Form:
    """A typed page on ruled paper, the type on the lines or through them."""
    prose, lines, letters = _begun(seed)
    random, y = prose.random, 26.0
    face, thick_mm = random.choice((Face.TYPEWRITER, Face.MONO, Face.SERIF)), random.choice((0.12, 0.2, 0.3))
    set_in, sink_mm = letters.face(face, 12), random.uniform(-0.5, 0.7)
    width = LETTER_MM[0] - 2 * LEFT_MM
    while y < BOTTOM_MM:
        for text in wrapped(prose.paragraph(), set_in, letters.px(width)):
            baseline_mm = set_in.getmetrics()[0] / DPI * MM_PER_INCH
            letters.line(LEFT_MM, y + sink_mm - baseline_mm, text, face, 12)
            lines.rule(LEFT_MM - 2, y, width + 4, thick_mm=thick_mm)
            y += MM_PER_INCH / 3
    return _finished(lines, letters)


def _begun(seed: int) -> tuple[Prose, Paper, Paper]:
    letters = Paper(DPI, LETTER_MM)
    letters.line(LEFT_MM, 14, "APPLICATION FOR CERTIFICATE", Face.SANS_BOLD, 15)
    return Prose(seed), Paper(DPI, LETTER_MM), letters


def _finished(lines: Paper, letters: Paper) -> Form:
    words = tuple(word for line in letters.lines() for word in line.words)
    return Form(lines=lines.pixels(), letters=letters.pixels(), words=words)


def edits_in_place(truth: Sequence[Word], read: Sequence[Word]) -> tuple[int, int]:
    """Edits between words that lie at the same place, and letters of truth; the order of reading does not count.

    Each letter that was read goes to the word of truth it lies on, or nearest to; one that is near none is an edit.
    """
    boxes = np.array([word.box for word in truth], dtype=float)
    near_px = WITHIN_MM * DPI / MM_PER_INCH
    found: list[list[tuple[float, str]]] = [[] for _ in truth]
    strays = 0
    for word in read:
        middle = (word.box.top + word.box.bottom) / 2
        for index, sign in enumerate(word.text):
            x = word.box.left + (index + 0.5) * word.box.width / len(word.text)
            beside = np.maximum(np.maximum(boxes[:, 0] - x, x - boxes[:, 2]), 0)
            above = np.maximum(np.maximum(boxes[:, 1] - middle, middle - boxes[:, 3]), 0)
            away = np.hypot(beside, above)
            nearest = int(away.argmin())
            if away[nearest] <= near_px:
                found[nearest].append((x, sign))
            else:
                strays += 1
    wrong = strays + sum(
        edits(normalised(word.text), normalised("".join(sign for _, sign in sorted(signs))))
        for word, signs in zip(truth, found, strict=True)
    )
    return wrong, sum(len(normalised(word.text)) for word in truth)
