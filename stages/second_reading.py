"""The check by reading: what recognition finds on the scan as it came must be found on the page that was made of it.

The ink ledger counts ink, step by step; this asks the reader at the end. It costs a second recognition, so it is made
on a sample (IMAGING 3, rule 7) and where the first was in doubt. A recogniser drops parts of faint lines, and others on
the scan than on the page, so what only the second reading found is put in at its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stages.difference import ink_removed
from stages.ocr import Settings as OcrSettings
from stages.ocr import alto_with, around, ocr
from stages.page_image import Affine, Box, Line, PageImage, TextLayer, Word
from stages.places import IDENTITY, Places, quarter_turned

SURE = 0.6  # words less sure than this are mostly dirt
LEAST_LETTERS = 2
PLACE_MM = 1.0
GONE_SHARE = 0.5  # of the ink of a word: what is left of it nobody reads
FREE_SHARE = 0.2  # of a word that other words may cover: the boxes of neighbours overlap a little
FRAGMENT_SHARE = 0.8  # of a piece that a recogniser left of a word lies where the word lies
# Where a recogniser took lines apart it dropped and misread more. By so much the scan's lines must be longer: of 17
# real pages in doubt it is so on three, and each time the scan's text has fewer wrong characters
LONGER_LINES = 1.05
FEW_WORDS = 20  # of fewer, one misread stain is 5 %


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondReading:
    """What was read on the scan, only stood upright, and what of it the page's own text has nothing for.

    `text` is the reading itself, its `to_page` leading to the scan's pixels. `lines` and `missing` hold its sure words
    and those without a successor in pixels of the delivered page, and have the boxes of the whole lines.
    """

    text: TextLayer
    lines: tuple[Line, ...]
    missing: tuple[Line, ...]

    @property
    def sure(self) -> tuple[Word, ...]:
        """All sure words."""
        return words_of(self.lines)

    @property
    def lost(self) -> tuple[Word, ...]:
        """The sure words that have no successor."""
        return words_of(self.missing)

    @property
    def lost_fraction(self) -> float:
        """Share of the sure words that have no successor."""
        return len(self.lost) / max(1, len(self.sure))


def read_again(
    scan: PageImage, delivered: PageImage, to_scan: Places, found: TextLayer, settings: OcrSettings
) -> SecondReading:
    """Read the scan as it is and look whether at the place of each sure word something was found.

    `to_scan` maps places on the delivered page to places on the scan, `found` is the text of the delivered page.

    Raises:
        Refusal: as `ocr` does.
    """
    middle = to_scan.near(delivered.width_px / 2, delivered.height_px / 2)
    pixels, moved = quarter_turned(scan.pixels, _quarter_turns(middle))
    text = ocr(replace(scan, pixels=pixels, moved=IDENTITY, encoded=None, unsampled=None), settings).text
    assert text is not None
    text = replace(text, to_page=moved.after(text.to_page))
    lines = _sure_lines(text, lambda box: _moved(_moved(box, text.to_page), to_scan, back=True))
    return SecondReading(text=text, lines=lines, missing=_missing(lines, found, delivered))


def best_of(
    found: TextLayer, second: SecondReading, gone: tuple[Word, ...], delivered: PageImage, to_scan: Places
) -> tuple[TextLayer, Literal["page", "scan"], tuple[Word, ...]]:
    """The better of both texts completed by the other, which it is, and the words that were put in.

    `gone` are lost words that are not on the page any more and not put in. Of a page that was bent the words of the
    scan's text can be placed one by one only, so it never is the better one.
    """
    if isinstance(to_scan, Affine) and len(second.sure) >= FEW_WORDS:
        text = replace(second.text, to_page=to_scan.inverse().after(second.text.to_page))
        if _letters_a_line(text) > LONGER_LINES * _letters_a_line(found):
            own = _sure_lines(found, lambda box: _moved(box, found.to_page))
            text, put_in = completed(text, _missing(own, text, delivered))
            return text, "scan", put_in
    text, put_in = completed(found, _chosen(second.missing, lambda word: word not in gone))
    return text, "page", put_in


def words_of(lines: Iterable[Line]) -> tuple[Word, ...]:
    """The words of all these lines."""
    return tuple(word for line in lines for word in line.words)


def sure_words(text: TextLayer) -> list[Word]:
    """The words of a text that are hardly dirt."""
    return [word for word in text.words() if _is_sure(word)]


def _is_sure(word: Word) -> bool:
    return word.confidence >= SURE and sum(letter.isalnum() for letter in word.text) >= LEAST_LETTERS


def _sure_lines(text: TextLayer, moved: Callable[[Box], Box]) -> tuple[Line, ...]:
    """Lines with their sure words only, elsewhere."""
    return tuple(
        Line(
            words=tuple(replace(word, box=moved(word.box)) for word in line.words),
            box=moved(line.box),
            block=line.block,
        )
        for line in _chosen(text.lines, _is_sure)
    )


def _missing(lines: tuple[Line, ...], text: TextLayer, delivered: PageImage) -> tuple[Line, ...]:
    """Lines of those words, in pixels of the delivered page, for which the text has nothing."""
    boxes = [_moved(word.box, text.to_page) for word in text.words()]
    reach = delivered.px(PLACE_MM)
    return _chosen(lines, lambda word: not any(_holds(box, word.box, reach) for box in boxes))


def _chosen(lines: tuple[Line, ...], is_chosen: Callable[[Word], bool]) -> tuple[Line, ...]:
    """The lines with these of their words only; their boxes stay."""
    shorter = (replace(line, words=tuple(word for word in line.words if is_chosen(word))) for line in lines)
    return tuple(line for line in shorter if line.words)


def _letters_a_line(text: TextLayer) -> float:
    letters = sum(letter.isalnum() for word in sure_words(text) for letter in word.text)
    return letters / max(1, len(text.lines))


def completed(text: TextLayer, missing: tuple[Line, ...]) -> tuple[TextLayer, tuple[Word, ...]]:
    """The text with those of the missing words put in whose place is free, and which these were.

    Boxes of `missing` are pixels of the delivered page. A word joins the line that runs where its own line ran, or
    begins one under the one above it. Nothing stands twice at one place, and nothing is taken out but the pieces that
    were left of a word.
    """
    lines = list(text.lines)
    put_in: list[Word] = []
    added: list[Line] = []
    for line in missing:
        along = _moved(line.box, text.to_page, back=True)
        for word in line.words:
            placed = replace(word, box=_moved(word.box, text.to_page, back=True))
            pieces = [own for own in words_of(lines) if _is_piece(own, placed)]
            rest = _without(lines, pieces)
            if any(_covered(placed.box, own.box) > FREE_SHARE for own in words_of(rest)):
                continue
            put_in.append(word)
            added.append(Line(words=(placed,), box=placed.box, block=0))
            lines = [*rest]
            _put_in(lines, placed, along)
    if not put_in:
        return text, ()
    alto = alto_with(text.alto, added) if text.alto else b""
    return replace(text, lines=tuple(lines), alto=alto), tuple(put_in)


def _without(lines: list[Line], words: list[Word]) -> tuple[Line, ...]:
    return _chosen(tuple(lines), lambda word: word not in words)


def _put_in(lines: list[Line], word: Word, along: Box) -> None:
    """Put a word into the line it stands in, of those that overlap its own line `along`, or into one of its own."""
    level = [number for number, line in enumerate(lines) if _is_level(word.box, along, line)]
    if level:
        number = min(level, key=lambda number: _gap(word.box, lines[number]))
        joined = tuple(sorted((*lines[number].words, word), key=lambda own: own.box.left))
        lines[number] = replace(lines[number], words=joined, box=around([own.box for own in joined]))
        return
    over = [
        number
        for number, line in enumerate(lines)
        if _middle(line.box) < _middle(word.box) and line.box.left < word.box.right and line.box.right > word.box.left
    ]
    below = (number for number, line in enumerate(lines) if line.box.top > _middle(word.box))
    number = max(over, key=lambda number: _middle(lines[number].box)) + 1 if over else next(below, len(lines))
    block = lines[max(0, number - 1)].block if lines else 0
    lines.insert(number, Line(words=(word,), box=word.box, block=block))


def _is_piece(own: Word, word: Word) -> bool:
    """Whether it is what a recogniser left of the word: some of its letters, at its place."""
    is_part = own.text in word.text and len(own.text) < len(word.text)
    return is_part and _covered(own.box, word.box) > FRAGMENT_SHARE


def _covered(box: Box, other: Box) -> float:
    """The share of the box that the other one covers."""
    across = min(box.right, other.right) - max(box.left, other.left)
    down = min(box.bottom, other.bottom) - max(box.top, other.top)
    area = (box.right - box.left) * (box.bottom - box.top)
    return max(0.0, across) * max(0.0, down) / max(area, 1.0)


def _is_level(box: Box, along: Box, line: Line) -> bool:
    """Whether a word stands in the line: its own line overlaps it, and it is level with the nearest word of it."""
    if not (line.box.left < along.right and line.box.right > along.left):
        return False
    nearest = min(line.words, key=lambda own: _apart(box, own.box)).box
    return nearest.top <= _middle(box) <= nearest.bottom or box.top <= _middle(nearest) <= box.bottom


def _gap(box: Box, line: Line) -> float:
    return min(_apart(box, own.box) for own in line.words)


def _apart(box: Box, other: Box) -> float:
    """How far two boxes are apart, across."""
    return max(box.left - other.right, other.left - box.right)


def _middle(box: Box) -> float:
    """The middle height of a box."""
    return (box.top + box.bottom) / 2


def without_ink(words: tuple[Word, ...], scan: PageImage, delivered: PageImage, to_scan: Places) -> tuple[Word, ...]:
    """Which of the words, in pixels of the delivered page, have lost most of their ink there."""
    ink, removed, dpi = ink_removed(scan, delivered, to_scan)
    share = dpi / delivered.dpi
    gone = []
    for word in words:
        left, top, right, bottom = (max(0, round(side * share)) for side in word.box)
        place = np.s_[top : bottom + 1, left : right + 1]
        if removed[place].sum() > GONE_SHARE * ink[place].sum():
            gone.append(word)
    return tuple(gone)


def _quarter_turns(to_scan: Affine) -> int:
    """Counter-clockwise turns that stand the scan as the page stands."""
    # where the page's rightward direction points on the scan
    return round(math.atan2(to_scan.d, to_scan.a) / (math.pi / 2)) % 4


def _moved(box: Box, places: Places, *, back: bool = False) -> Box:
    """The upright box around a box that was moved."""
    x, y = np.array([box.left, box.right, box.left, box.right]), np.array([box.top, box.top, box.bottom, box.bottom])
    x, y = places.back(x, y) if back else places.at(x, y)
    return Box(float(x.min()), float(y.min()), float(x.max()), float(y.max()))


def _holds(box: Box, other: Box, reach: float) -> bool:
    """Whether the middle of the other box lies in this one, or no further than `reach` from it."""
    x, y = (other.left + other.right) / 2, (other.top + other.bottom) / 2
    return box.left - reach <= x <= box.right + reach and box.top - reach <= y <= box.bottom + reach
