"""How many pages of a lot are looked at, how many defects it may have, and which pages these are.

Source of the plans: ANSI/ASQ Z1.4 (ISO 2859-1, MIL-STD-105E), single sampling, normal inspection, tables I and II-A.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

AnyId = TypeVar("AnyId", bound=int)

LETTERS = "ABCDEFGHJKLMNPQR"  # without I and O, which look like figures
SAMPLE_SIZES = (2, 3, 5, 8, 13, 20, 32, 50, 80, 125, 200, 315, 500, 800, 1250, 2000)  # of the letters
# table I: the largest lot of each row, and its letters; a larger lot has the last ones
_LOTS_UP_TO = (8, 15, 25, 50, 90, 150, 280, 500, 1200, 3200, 10_000, 35_000, 150_000, 500_000)
LEVELS: Mapping[str, str] = {"I": "AABCCDEFGHJKLMN", "II": "ABCDEFGHJKLMNPQ", "III": "BCDEFGHJKLMNPQR"}
# table II-A: with each step of the AQL the row of numbers begins one letter earlier, at the letter named here
AQLS: Mapping[float, str] = {
    0.10: "K", 0.15: "J", 0.25: "H", 0.40: "G", 0.65: "F", 1.0: "E", 1.5: "D", 2.5: "C", 4.0: "B", 6.5: "A",
}  # fmt: skip
# the numbers from that letter on; the second takes the plan of the letter before (arrow up), the third of that behind
_ACCEPTED = (0, None, None, 1, 2, 3, 5, 7, 10, 14, 21)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingPlan:
    """So many pages of a lot are looked at; with more than `accept` defective ones among them it is rejected."""

    sample: int
    accept: int
    letter: str = ""  # of the plan in the standard's table, arrows followed


def z14_plan(pages: int, level: str, aql: float) -> SamplingPlan:
    """The plan for a lot of so many pages, by the standard's tables, arrows followed with their sample sizes.

    A sample as large as the lot is the whole lot.
    """
    letter = LEVELS[level][bisect_left(_LOTS_UP_TO, pages)]
    step = LETTERS.index(letter) - LETTERS.index(AQLS[aql])
    step = {1: 0, 2: 3}.get(step, min(max(step, 0), len(_ACCEPTED) - 1))
    at = LETTERS.index(AQLS[aql]) + step
    accept = _ACCEPTED[step]
    assert accept is not None
    return SamplingPlan(sample=min(pages, SAMPLE_SIZES[at]), accept=accept, letter=LETTERS[at])


def drawn(page_ids: Iterable[AnyId], sample: int, seed: str) -> list[AnyId]:
    """The pages of a lot that are looked at: those whose SHA-256 over `seed:page id` is smallest, by their ids.

    Nobody can choose them, and whoever has the seed and the lot draws the same ones, with any program.
    """
    ranked = sorted(page_ids, key=lambda page_id: hashlib.sha256(f"{seed}:{page_id}".encode()).digest())
    return sorted(ranked[:sample])


def spans(page_ids: Iterable[int]) -> str:
    """Ids as they are kept, runs of them in short: `12-511 513`."""
    ordered = sorted(page_ids)
    if not ordered:
        return ""
    breaks = [at for at, (one, next_one) in enumerate(pairwise(ordered), start=1) if next_one != one + 1]
    runs = [ordered[begin:end] for begin, end in pairwise([0, *breaks, len(ordered)])]
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def page_ids_in(text: str) -> list[int]:
    """The ids that `spans` has written."""
    bounds = [[int(bound) for bound in run.split("-")] for run in text.split()]
    return [page_id for run in bounds for page_id in range(run[0], run[-1] + 1)]
