"""Refusals: what a stage or a verb raises when a person must decide."""

from __future__ import annotations

from typing import Any, ClassVar


class Refusal(Exception):
    """This cannot go on until a person decides.

    `code` is stable and named in `docs/holds.md`; `sentence` says what is the matter, with the measured value and the
    limit, then what to do now. Which page it is stands in the hold, so a refusal need not know.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, sentence: str, **measured: float) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.scanner = ""  # the device that made the page, where whoever ran the stage knows it
        self.measured = measured  # what the stage would have recorded, for the page that is released in spite of it

    def __reduce__(self) -> tuple[Any, ...]:
        # subclasses build their sentence from measured values; a refusal that crossed a process must keep it
        return _rebuilt, (type(self), self.sentence, self.__dict__.copy())


def _rebuilt(kind: type[Refusal], sentence: str, state: dict[str, Any]) -> Refusal:
    refusal = kind.__new__(kind)
    Exception.__init__(refusal, sentence)
    refusal.__dict__.update(state)
    return refusal


class UnreadableImage(Refusal):
    """The file cannot be decoded."""

    code = "unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"This file cannot be read: {reason}. Scan the sheet again, or replace the file.")


class TooLarge(Refusal):
    """The page has more pixels than this installation takes."""

    code = "too-large"

    def __init__(self, megapixels: float, limit: float) -> None:
        super().__init__(
            f"The page has {megapixels:.0f} megapixels; the limit is {limit:.0f}. "
            "Scan it at a lower resolution, or raise the limit in the profile."
        )
        self.megapixels = megapixels


class MemoryTooSmall(Refusal):
    """Working on the page takes more memory than this installation gives."""

    code = "memory-too-small"

    def __init__(self, needs_bytes: int, most_bytes: int) -> None:
        super().__init__(
            f"Working on this page takes about {needs_bytes / 1e9:.1f} GB of memory, and this installation gives "
            f"{most_bytes / 1e9:.1f} GB. Retry it on a larger machine, or with a larger PLATEN_MEMORY_BUDGET_MB; "
            "or scan the sheet at a lower resolution."
        )


class TooManyPages(Refusal):
    """The file has more pages than one file may have."""

    code = "too-many-pages"

    def __init__(self, pages: int, limit: int) -> None:
        super().__init__(
            f"The file has {pages:,} pages; one file may have {limit:,}. Part it into smaller files, then drop it "
            "again."
        )


class SkewTooLarge(Refusal):
    """The page is turned by more than the profile levels."""

    code = "skew-too-large"

    def __init__(self, angle_deg: float, limit_deg: float) -> None:
        super().__init__(
            f"The page is turned by {abs(angle_deg):.1f}°; this profile levels at most {limit_deg:g}°. "
            "Rescan it, or release it as it is.",
            angle_deg=round(angle_deg, 4),
        )
        self.angle_deg = angle_deg


class ResolutionTooLow(Refusal):
    """The scan has fewer dots per inch than the work allows."""

    code = "resolution-too-low"

    def __init__(self, dpi: float, limit: float) -> None:
        super().__init__(
            f"The page was scanned at {dpi:.0f} dpi; this profile needs at least {limit:.0f} dpi. "
            "Rescan it, or release it as it is."
        )


class LanguageMissing(Refusal):
    """The profile asks for a language that the recogniser has not installed."""

    code = "language-missing"

    def __init__(self, missing: list[str]) -> None:
        names = ", ".join(missing)
        super().__init__(
            f"The recogniser has no data for: {names}. Install the package tesseract-ocr-{missing[0]} (one for each "
            "language), then retry."
        )


class RecognitionTimedOut(Refusal):
    """The recogniser did not finish in its time."""

    code = "recognition-timed-out"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"Reading the page took longer than {timeout_s:.0f} s and was stopped. "
            "Look at the page; retry it, or release it without text."
        )


class StageCrashed(Refusal):
    """A native library ended the process that worked on the page."""

    code = "crashed"

    def __init__(self, what: str, times: int) -> None:
        super().__init__(
            f"{what} ended the worker {times} times in a row. The file is probably damaged: "
            "look at it, rescan the sheet, or waive the page."
        )


class StageTimedOut(Refusal):
    """Working on the page took too long and was stopped."""

    code = "timed-out"

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(
            f"{what} took longer than {timeout_s:.0f} s and was stopped. Look at the file; rescan the sheet, retry, "
            "or waive the page."
        )


class NotPdfA(Refusal):
    """The written file does not conform to the PDF/A flavour that was asked for."""

    code = "not-pdfa"

    def __init__(self, flavour: str, problems: list[str]) -> None:
        shown = "; ".join(problems[:3])
        super().__init__(
            f"The PDF does not pass as PDF/A-{flavour}: {shown}. It was not delivered. Keep this message and call "
            "the engineers."
        )
        self.problems = problems


class FilmDoesNotFit(Refusal):
    """Pages of the order are too large (or too small) for the film the profile names."""

    code = "film-does-not-fit"

    def __init__(self, misfits: list[str], advice: str) -> None:
        shown = "; ".join(misfits[:3]) + (f"; and {len(misfits) - 3} more" if len(misfits) > 3 else "")
        count = "1 page does" if len(misfits) == 1 else f"{len(misfits)} pages do"
        super().__init__(f"{count} not fit on the film: {shown}. {advice}")
        self.misfits = misfits


class CutEdge(Refusal):
    """Text runs off the edge of the scan."""

    code = "cut-edge"

    def __init__(self, sides: list[str]) -> None:
        where = " and ".join(sides)
        super().__init__(
            f"Text runs off the scan at the {where}. Look at the sheet and rescan it, or release the page if the sheet "
            "itself is so."
        )
        self.sides = sides


class QualityTooLow(Refusal):
    """The scan is poorer than the profile allows."""

    code = "quality-too-low"

    def __init__(self, what: str, measured: str, limit: str) -> None:
        super().__init__(
            f"The {what} of this scan is {measured}; this profile allows {limit}. Rescan the sheet, or release the "
            "page as it is."
        )


class Illegible(Refusal):
    """There are letters on the page, but nobody could read them."""

    code = "illegible"

    def __init__(self, legibility: float, limit: float) -> None:
        super().__init__(
            f"Of the letters on this scan about {legibility:.0%} could be read; this profile needs {limit:.0%}. "
            "Rescan the sheet, or release the page if the paper itself is no better.",
            legibility=round(legibility, 4),
        )


class SizeDoubtful(Refusal):
    """The stated resolution makes a sheet of an unlikely size."""

    code = "size-doubtful"

    def __init__(self, width_mm: float, height_mm: float, dpi: float, likely_dpi: float) -> None:
        super().__init__(
            f"At the {dpi:.0f} dpi its file states, the page is {width_mm:.0f} × {height_mm:.0f} mm with letters of an "
            f"odd size; at {likely_dpi:.0f} dpi it would be a usual sheet. Set the scanner right and rescan it, or "
            "release the page if the sheet is of that size.",
            likely_dpi=round(likely_dpi, 1),
        )


class RescanDoubtful(Refusal):
    """The new scan of a page shows nothing that would be delivered."""

    code = "rescan-doubtful"

    def __init__(self, shows: str) -> None:
        super().__init__(
            f"The new scan of this page shows {shows}. If the paper lay the wrong way round, or another was fed, scan "
            "it again; release it if that is what belongs there: it is then left out as such."
        )


class WordsLost(Refusal):
    """Words of the scan are gone from the page that was made of it."""

    code = "words-lost"

    def __init__(self, gone: list[str], words: int) -> None:
        shown = ", ".join(f"“{word}”" for word in gone[:3])
        super().__init__(
            f"Of the {words:,} words read on the scan {len(gone):,} are no longer on the cleaned page: {shown}. "
            "Compare the two. Release the page if nothing of weight is missing, else rescan the sheet with more "
            "contrast.",
            words_gone=len(gone),
        )
