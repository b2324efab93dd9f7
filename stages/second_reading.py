"""The check by reading: what recognition finds on the scan as it came must be found on the page that was made of it.

The ink ledger counts ink, step by step; this asks the reader at the end. It costs a second recognition, so it is made
on a sample (IMAGING 3, rule 7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from stages.difference import ink_removed
from stages.ocr import Settings as OcrSettings
from stages.ocr import ocr
from stages.page_image import Affine, Box, PageImage, TextLayer, Word
from stages.places import IDENTITY, Places, quarter_turned

SURE = 0.6  # words less sure than this are mostly dirt
LEAST_LETTERS = 2
PLACE_MM = 1.0
GONE_SHARE = 0.5  # of the ink of a word: what is left of it nobody reads


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondReading:
    """What was read on the scan, only stood upright, and what of it the page's own text has nothing for.

    Boxes are pixels of the delivered page; `text` is the reading itself, its `to_page` leading to the scan's pixels.
    """

    text: TextLayer
    sure: tuple[Word, ...]
    lost: tuple[Word, ...]

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
    own = [_moved(word.box, found.to_page) for word in found.words()]
    reach = delivered.px(PLACE_MM)
    sure = tuple(
        replace(word, box=_moved(_moved(word.box, text.to_page), to_scan, back=True)) for word in sure_words(text)
    )
    lost = tuple(word for word in sure if not any(_holds(box, word.box, reach) for box in own))
    return SecondReading(text=text, sure=sure, lost=lost)


def sure_words(text: TextLayer) -> list[Word]:
    """The words of a text that are hardly dirt."""
    return [
        word
        for word in text.words()
        if word.confidence >= SURE and sum(letter.isalnum() for letter in word.text) >= LEAST_LETTERS
    ]


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
