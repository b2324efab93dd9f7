"""What the house prints on several sheets, as a checked PDF/A-2u."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from stages.errors import NotPdfA
from stages.page_file import write_page_file
from stages.page_image import PageImage
from stages.pdfa import PdfPage, check_pdfa, write_pdfa
from stages.printed_page import PrintedPage
from stages.xmp import DocumentMetadata

_A_LINE_MM = 8


class PrintedDocument:
    """Sheets written from the top; a further one is begun where the room of the last does not do."""

    def __init__(self) -> None:
        self._sheets = [PrintedPage()]

    def sheet(self, needed_mm: float = _A_LINE_MM) -> PrintedPage:
        """The sheet to write on next, with at least `needed_mm` of room."""
        if self._sheets[-1].room_mm < needed_mm:
            self._sheets.append(PrintedPage())
        return self._sheets[-1]

    def write(self, out: Path, metadata: DocumentMetadata) -> None:
        """Write all sheets; the page count is added to `metadata`.

        Raises:
            NotPdfA: the written file does not conform.
        """
        pages = [sheet.page() for sheet in self._sheets]
        write_printed_pdf(pages, out, replace(metadata, page_count=len(pages)))


def write_printed_pdf(pages: Iterable[PageImage], out: Path, metadata: DocumentMetadata) -> None:
    """Write pages that were drawn in memory.

    Raises:
        NotPdfA: the written file does not conform.
    """
    with tempfile.TemporaryDirectory(prefix="platen-print-") as scratch:
        files = [
            PdfPage(image=write_page_file(page, Path(scratch), f"sheet-{number}"), dpi=page.dpi, text=page.text)
            for number, page in enumerate(pages, start=1)
        ]
        write_pdfa(files, out, metadata, "2u")
    report = check_pdfa(out, "2u")
    if not report.passed:
        raise NotPdfA("2u", list(report.problems))
