"""How far a text that was read is from the truth."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

_FOLDED = str.maketrans(
    {**dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″", '"'), **dict.fromkeys("‐‑‒–—―−", "-")}
)
_BROKEN_WORD = re.compile(r"(?<=\w)-[ \t]*\n\s*(?=\w)")


def normalised(text: str, *, join_hyphens: bool = False) -> str:
    """NFKC, quotes and dashes folded to ASCII, white space collapsed; words broken at a line's end joined if asked."""
    # first the folding: NFKC makes a space and an accent of a lone acute
    folded = unicodedata.normalize("NFKC", text.translate(_FOLDED)).translate(_FOLDED)
    if join_hyphens:
        folded = _BROKEN_WORD.sub("", folded)
    return " ".join(folded.split())


def edits(truth: str, read: str) -> int:
    """The least number of characters to put in, take out or replace (Levenshtein), row by row."""
    letters = np.array([ord(letter) for letter in read], dtype=np.int64)
    places = np.arange(len(read) + 1)
    row = places.copy()
    for number, letter in enumerate(truth, start=1):
        above = row[1:] + 1
        beside = row[:-1] + (letters != ord(letter))
        row[1:] = np.minimum(above, beside)
        row[0] = number
        # putting letters in runs along the row: each place costs one more than the best before it
        row = np.minimum.accumulate(row - places) + places
    return int(row[-1])
