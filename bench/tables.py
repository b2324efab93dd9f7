"""Tables as Markdown, lined up so that they read well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their headings: the first column to the left, numbers to the right."""
    cells = [[str(cell).replace("|", "/") for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for number, row in enumerate(cells):
        print("| " + " | ".join(_set(cell, width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(flush=True)


def _set(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() or cell[:1] in "-+" else cell.ljust(width)


def percent(share: float) -> str:
    """A share as a percentage with two places."""
    return f"{100 * share:.2f} %"


def ratio(ours: float, theirs: float) -> str:
    """How many times more the peer has than we do."""
    return f"{theirs / ours:.2f}" if ours else "-"
