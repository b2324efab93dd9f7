"""What becomes a file in the sandbox: a document's PDF/A, an order's bag. It knows no ledger (see `page_work`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import bagit

from pipeline.model import Sha256
from pipeline.store import copy_checked
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
class BagFile:
    """One file to copy into a bag: its path inside data/, where it lies, its digest."""

    name: str
    source: Path
    digest: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class BagJob:
    """What writing a bag takes; `texts` are small files given whole."""

    folder: Path
    files: tuple[BagFile, ...]
    texts: tuple[tuple[str, bytes], ...]
    info: dict[str, str]


def write_document(job: DocumentJob) -> ValidationReport:
    """Write one PDF/A page by page, and check the file that was written."""
    write_pdfa(_pdf_pages(job), job.out, job.metadata, job.flavour)
    return check_pdfa(job.out, job.flavour)


def write_bag(job: BagJob) -> None:
    """Write a BagIt 1.0 bag (RFC 8493) into a new folder, every copy checked against its digest, and validate it.

    Changes the working directory while it runs, therefore it belongs into a process of its own.

    Raises:
        PackageNotSound: the bag does not validate.
    """
    shutil.rmtree(job.folder, ignore_errors=True)  # this may be the second try, after a crash
    for file in job.files:
        target = job.folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_checked(file.source, file.digest, target)
    for name, data in job.texts:
        target = job.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    bag = bagit.make_bag(str(job.folder), job.info, checksums=["sha256"])
    _declare_version_1(job.folder)
    bag = bagit.Bag(str(job.folder))
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
