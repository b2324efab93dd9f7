"""An order's history as a CSV file, with everything that its chain is taken over: whoever has it can check it alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from pipeline.ledger import Ledger
from pipeline.ledger.history import HistoryLine
from pipeline.model import OrderId

COLUMNS = (
    "line", "event", "at", "at_ms", "order_id", "subject", "kind", "who", "outcome", "detail", "hash",
)  # fmt: skip
LINES_AT_ONCE = 1_000  # asked for in a transaction of their own: a slow reader must not keep one open
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def history_lines(ledger: Ledger, order_id: OrderId) -> Iterator[HistoryLine]:
    """The whole history of an order, oldest first, without holding it in memory."""
    after = 0
    while lines := ledger.history(order_id, after=after, limit=LINES_AT_ONCE):
        yield from lines
        after = lines[-1].id


def history_csv(ledger: Ledger, order_id: OrderId) -> Iterator[str]:
    """The history of an order as the text of a CSV file (RFC 4180), piece by piece."""
    piece = io.StringIO(newline="")
    writer = csv.writer(piece, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for line in history_lines(ledger, order_id):
        writer.writerow(
            (
                line.number or "",
                line.id,
                line.at.isoformat(timespec="milliseconds"),
                line.at_ms,
                line.order_id,
                *(_cell(value) for value in (line.subject, line.kind, line.who, line.outcome, line.detail)),
                line.hash or "",
            )
        )
        if piece.tell() > io.DEFAULT_BUFFER_SIZE:
            yield piece.getvalue()
            piece.seek(0)
            piece.truncate()
    yield piece.getvalue()


def _cell(text: str) -> str:
    """Text as a spreadsheet takes it for text: what would begin a formula gets an apostrophe before it."""
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text
