"""A plain PDF written straight to disk, object after object, for qpdf to make the real file of.

pikepdf holds in memory every stream that it is given, and those of other files it copies, so a long colour document
would need its whole size. Streams of the file that it opened it reads only as it writes them: hence this first file.
"""

from __future__ import annotations

from typing import BinaryIO

PAGES_PER_NODE = (
    500  # an array may have 8,191 entries in PDF/A-1 (ISO 19005-1, 6.1.12), so the page tree has two floors
)


class PdfSpool:
    """A PDF of version 1.7 without compression of its own; memory grows by some numbers a page.

    Layout (ISO 32000-1, 7.5): header, objects, cross-reference table with entries of 20 bytes, trailer.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self._offsets: list[int] = []
        self._nodes: list[tuple[int, list[int]]] = []
        self._root = self.reserve()
        self._tree = self.reserve()
        self._put(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def reserve(self) -> int:
        """The number of an object that is written later."""
        self._offsets.append(0)
        return len(self._offsets)

    def write(self, body: str, *, number: int | None = None) -> int:
        """Write an object and give its number."""
        number = number or self.reserve()
        self._offsets[number - 1] = self._at
        self._put(f"{number} 0 obj\n{body}\nendobj\n".encode("ascii"))
        return number

    def write_stream(self, entries: str, data: bytes) -> int:
        """Write a stream with the given dictionary entries and give its number."""
        number = self.reserve()
        self._offsets[number - 1] = self._at
        self._put(f"{number} 0 obj\n<< {entries} /Length {len(data)} >>\nstream\n".encode("ascii"))
        self._put(data)
        self._put(b"\nendstream\nendobj\n")
        return number

    def write_page(self, entries: str) -> None:
        """Write a page with the given dictionary entries as the next one."""
        if not self._nodes or len(self._nodes[-1][1]) == PAGES_PER_NODE:
            self._nodes.append((self.reserve(), []))
        node, kids = self._nodes[-1]
        kids.append(self.write(f"<< /Type /Page /Parent {node} 0 R {entries} >>"))

    def finish(self) -> int:
        """Write the page tree, the catalogue and the end; gives the count of pages."""
        for node, kids in self._nodes:
            places = " ".join(f"{kid} 0 R" for kid in kids)
            self.write(f"<< /Type /Pages /Parent {self._tree} 0 R /Count {len(kids)} /Kids [{places}] >>", number=node)
        count = sum(len(kids) for _, kids in self._nodes)
        places = " ".join(f"{node} 0 R" for node, _ in self._nodes)
        self.write(f"<< /Type /Pages /Count {count} /Kids [{places}] >>", number=self._tree)
        self.write(f"<< /Type /Catalog /Pages {self._tree} 0 R >>", number=self._root)
        start = self._at
        size = len(self._offsets) + 1
        self._put(f"xref\n0 {size}\n0000000000 65535 f \n".encode("ascii"))
        self._put(b"".join(b"%010d 00000 n \n" % offset for offset in self._offsets))
        trailer = f"trailer\n<< /Size {size} /Root {self._root} 0 R >>\nstartxref\n{start}\n%%EOF\n"
        self._put(trailer.encode("ascii"))
        return count

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)
