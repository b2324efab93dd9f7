"""One PDF/A from files, without an order and without a ledger: for trying, scripting and comparing."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pipeline.budget import MIB, MemoryBudget
from pipeline.document_work import DocumentJob, write_document
from pipeline.intake import keepable, scan_files
from pipeline.page_work import ConvertedPage, PrepareJob, convert_page, write_image
from pipeline.profile import Profile
from pipeline.sandbox import Sandbox
from pipeline.settings import Settings
from stages.errors import NotPdfA, Refusal
from stages.read import page_count
from stages.xmp import DocumentMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPage:
    """A page that could not be converted, and why."""

    file: str
    page_number: int
    code: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of the files; `pdf` is None when no page could be converted."""

    pdf: Path | None
    flavour: str
    pages: tuple[ConvertedPage, ...]
    held: tuple[HeldPage, ...]


class NothingToConvert(Refusal):
    """The files and folders named hold no scan."""

    code: ClassVar[str] = "nothing-to-convert"

    def __init__(self) -> None:
        super().__init__("There is no scan in what was named. Name files, or folders with files in them.")


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    path: Path
    index: int
    refusal: Refusal | None = None


def convert_files(
    inputs: Sequence[Path],
    out: Path,
    profile: Profile,
    settings: Settings,
    *,
    jobs: int,
    images: Path | None = None,
    on_start: Callable[[int], None] = lambda pages: None,
    on_page: Callable[[], None] = lambda: None,
) -> Converted:
    """Convert files (a folder stands for the files in it, in natural order) to one PDF/A.

    `images` also gets every page as it goes into the PDF, as `NNNN.tif`, numbered from 1.

    Raises:
        FileNotFoundError: an input is not there.
        NothingToConvert: there is no file in the inputs; a file at `out` itself is none.
        NotPdfA: the written file does not conform; it is not left behind.
    """
    sandbox = Sandbox(
        memory_limit_mb=settings.memory_limit_mb,
        timeout_s=settings.task_timeout_seconds,
        budget=MemoryBudget(settings.memory_budget_mb * MIB),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    if images is not None:
        images.mkdir(parents=True, exist_ok=True)
    pages: list[ConvertedPage] = []
    held: list[HeldPage] = []
    with tempfile.TemporaryDirectory(prefix="platen-") as scratch, ThreadPoolExecutor(jobs) as pool:
        try:
            sources = list(_sources(inputs, out, sandbox))
            if not sources:
                raise NothingToConvert
            on_start(len(sources))

            def one(number: int, source: _Source) -> ConvertedPage | HeldPage:
                done = _convert_one(sandbox, source, profile, Path(scratch), number)
                on_page()
                return done

            for done in pool.map(one, range(1, len(sources) + 1), sources):
                if isinstance(done, HeldPage):
                    held.append(done)
                else:
                    pages.append(done)
            written = None
            if pages:
                written = out
                _write(sandbox, pages, out, profile, Path(scratch))
                for number, page in enumerate(pages, start=1):
                    if images is not None:
                        sandbox.call("Writing the image", write_image, page.image, images / f"{number:04d}.tif")
        finally:
            sandbox.close()
    return Converted(pdf=written, flavour=profile.pdfa.flavour, pages=tuple(pages), held=tuple(held))


def _sources(inputs: Sequence[Path], out: Path, sandbox: Sandbox) -> Iterator[_Source]:
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}")
        root = path if path.is_dir() else path.parent
        for name in scan_files(path):
            if (root / name).resolve() == out.resolve():
                continue  # what was written last time is no scan
            shown = keepable(name if path.is_dir() else str(path))
            try:
                count = sandbox.call("Counting pages", page_count, root / name)
            except Refusal as refusal:
                yield _Source(shown, root / name, 0, refusal)
                continue
            for index in range(count):
                yield _Source(shown, root / name, index)


def _convert_one(
    sandbox: Sandbox, source: _Source, profile: Profile, scratch: Path, number: int
) -> ConvertedPage | HeldPage:
    job = PrepareJob.by(profile, source.path, source.index, folder=scratch, name=f"{number:06d}")
    try:
        if source.refusal is not None:
            raise source.refusal
        needs_bytes = sandbox.needs_of(source.path, source.index, profile.read)
        return sandbox.call("Converting the page", convert_page, job, profile, source.name, needs_bytes=needs_bytes)
    except Refusal as refusal:
        return HeldPage(file=source.name, page_number=source.index + 1, code=refusal.code, sentence=refusal.sentence)


def _write(sandbox: Sandbox, pages: Sequence[ConvertedPage], out: Path, profile: Profile, scratch: Path) -> None:
    places = []
    for page in pages:
        dpi = page.readings["page.dpi"]
        assert isinstance(dpi, float)
        places.append((page.image, dpi, page.text_file))
    now = datetime.now(UTC)
    job = DocumentJob(
        pages=tuple(places),
        out=scratch / "document.pdf",
        metadata=DocumentMetadata(title=out.stem, created=now, languages=profile.languages, page_count=len(pages)),
        flavour=profile.pdfa.flavour,
    )
    report = sandbox.call("Writing the PDF", write_document, job, timeout_s=120 + 0.5 * len(pages))
    if not report.passed:
        raise NotPdfA(report.flavour, list(report.problems))
    part = out.with_name(f".platen-{secrets.token_hex(8)}.part")  # the name of `out` may be as long as names can be
    try:
        shutil.copyfile(job.out, part)
        part.replace(out)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def text_of(converted: Converted) -> str:
    """What was read, page by page, with a form feed between pages."""
    return "\f".join(page.text for page in converted.pages) + "\n"
