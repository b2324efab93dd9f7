"""What a hold's code means and what to do about it: the words of docs/holds.md, which are written there alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HOLDS = Path(__file__).parent.parent / "docs" / "holds.md"
_ROW = re.compile(r"^\| `(?P<code>[a-z0-9-]+)` \| (?P<meaning>.+?) \| (?P<to_do>.+?) \| [a-z, ]+ \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWords:
    """The explanation of a code."""

    meaning: str = "This code is not explained."
    to_do: str = "Call the engineers."


def hold_words() -> dict[str, HoldWords]:
    """Every code with its explanation, as plain text."""
    rows = _ROW.finditer(HOLDS.read_text(encoding="utf-8"))
    return {row["code"]: HoldWords(meaning=_plain(row["meaning"]), to_do=_plain(row["to_do"])) for row in rows}


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown).replace("`", "")
