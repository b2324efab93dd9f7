"""What somebody who looks at a page may find, and how grave each finding is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Verdict(StrEnum):
    """What somebody says of a page after looking at it: good, or how grave its worst defect is."""

    GOOD = "good"
    MINOR = "minor"  # it is delivered as it is
    MAJOR = "major"  # it counts against the lot, and somebody decides about it
    CRITICAL = "critical"  # one of them rejects the lot


GRAVE = frozenset({Verdict.CRITICAL, Verdict.MAJOR})


class Defect(StrEnum):
    """The codes of defects. A code never changes its meaning or its class."""

    MISSING_PAGE = "missing-page"
    WRONG_DOCUMENT = "wrong-document"
    UNREADABLE = "unreadable"
    CUT_OFF = "cut-off"
    COVERED = "covered"
    DOUBLED = "doubled"
    WRONG_WAY_UP = "wrong-way-up"
    BLURRED = "blurred"
    TOO_DARK_OR_LIGHT = "too-dark-or-light"
    TEXT_POOR = "text-poor"
    OTHER = "other"
    SKEWED = "skewed"
    DIRT = "dirt"
    EDGES = "edges"


# a record that is lost or misfiled is critical; one that somebody must guess at is major; looks alone are minor
DEFECTS: Mapping[Defect, tuple[Verdict, str]] = {
    Defect.MISSING_PAGE: (Verdict.CRITICAL, "a page is missing beside it"),
    Defect.WRONG_DOCUMENT: (Verdict.CRITICAL, "wrong document"),
    Defect.UNREADABLE: (Verdict.CRITICAL, "unreadable"),
    Defect.CUT_OFF: (Verdict.MAJOR, "print is cut off"),
    Defect.COVERED: (Verdict.MAJOR, "a fold or note hides print"),
    Defect.DOUBLED: (Verdict.MAJOR, "the same side twice"),
    Defect.WRONG_WAY_UP: (Verdict.MAJOR, "turned or upside down"),
    Defect.BLURRED: (Verdict.MAJOR, "blurred or streaked"),
    Defect.TOO_DARK_OR_LIGHT: (Verdict.MAJOR, "too dark or too light"),
    Defect.TEXT_POOR: (Verdict.MAJOR, "text badly recognised"),
    Defect.OTHER: (Verdict.MAJOR, "another one, see the note"),
    Defect.SKEWED: (Verdict.MINOR, "askew"),
    Defect.DIRT: (Verdict.MINOR, "specks or stains"),
    Defect.EDGES: (Verdict.MINOR, "dark or ragged edges"),
}
