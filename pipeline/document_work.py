"""What becomes a file in the sandbox: a document's PDF/A, an order's bag. It knows no ledger (see `page_work`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import bagit

from stages.errors import Refusal
from stages.page_image import TextLayer
from stages.pdfa import Flavour, PdfPage, ValidationReport, check_pdfa, write_pdfa
from stages.xmp import DocumentMetadata


class PackageNotSound(Refusal):
    """The written bag does not pass its own validation."""

    code: ClassVar[str] = "package-not-sound"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The package does not pass its check: {problem}. It was not handed over. Retry it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentJob:
    """What writing one document takes; pages are page file, resolution, text layer file."""

    pages: tuple[tuple[Path, float, Path | None], ...]
    out: Path
    metadata: DocumentMetadata
    flavour: Flavour


@dataclass(frozen=True, slots=True, kw_only=True)
class BagJob:
    """What writing a bag takes: a folder, the names of the files in it, and small files (`texts`) given whole."""

    folder: Path
    files: frozenset[str]
    texts: tuple[tuple[str, bytes], ...]
    info: dict[str, str]


def write_document(job: DocumentJob) -> ValidationReport:
    """Write one PDF/A page by page, and check the file that was written."""
    write_pdfa(_pdf_pages(job), job.out, job.metadata, job.flavour)
    return check_pdfa(job.out, job.flavour)


def write_bag(job: BagJob) -> None:
    """Make a folder a BagIt 1.0 bag (RFC 8493) and validate it; what lies in the folder goes into data/.

    Changes the working directory while it runs, therefore it belongs into a process of its own.

    Raises:
        PackageNotSound: the bag does not validate, or holds other files than it should.
    """
    for name, data in job.texts:
        target = job.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    bag = bagit.make_bag(str(job.folder), job.info, checksums=["sha256"])
    _declare_version_1(job.folder)
    bag = bagit.Bag(str(job.folder))
    wanted = {f"data/{name}" for name in (*job.files, *(name for name, _ in job.texts))}
    if wrong := wanted ^ set(bag.payload_entries()):  # another attempt may have cleared away what this one wrote
        raise PackageNotSound(f"{len(wrong)} files are missing or too many, {min(wrong)} first")
    try:
        bag.validate()
    except bagit.BagError as error:
        raise PackageNotSound(str(error)) from error


def _declare_version_1(folder: Path) -> None:
    """The library writes version 0.97; 1.0 only adds rules that ours keep, such as every file in every manifest."""
    (folder / "bagit.txt").write_text(
        "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n", encoding="utf-8", newline="\n"
    )
    bag = bagit.Bag(str(folder))
    bag.save()


def _pdf_pages(job: DocumentJob) -> Iterator[PdfPage]:
    for image, dpi, text in job.pages:
        layer = None if text is None else TextLayer.from_json(text.read_bytes())
        yield PdfPage(image=image, dpi=dpi, text=layer)
