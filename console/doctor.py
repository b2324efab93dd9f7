"""What is installed, which version, what is missing and how to get it."""

from __future__ import annotations

import platform
import shutil
import sqlite3
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pipeline.bureau import open_store
from pipeline.ledger import Ledger, LedgerUnusable
from pipeline.profile import BadProfile, load_profiles
from pipeline.settings import Settings
from stages import tools
from stages.fonts import font
from stages.ocr import missing_languages

PACKAGES = (
    "pillow", "opencv-python-headless", "pytesseract", "pikepdf", "img2pdf", "numpy", "dramatiq", "sqlalchemy",
    "alembic", "pydantic", "typer", "rich", "zxing-cpp", "pypdfium2", "bagit", "obstore",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked for; `version` is None when it is missing."""

    name: str
    version: str | None
    why: str
    remedy: str = ""
    needed: bool = True

    @property
    def missing(self) -> bool:
        """Whether it was not found."""
        return self.version is None

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "name": self.name,
            "version": self.version,
            "needed": self.needed,
            "why": self.why,
            "remedy": self.remedy,
        }


def examined(settings: Settings) -> list[Finding]:
    """Everything that the house stands on, with its version or the way to get it."""
    findings = [
        Finding(name="Python", version=platform.python_version(), why="3.11 or newer"),
        Finding(name="SQLite", version=sqlite3.sqlite_version, why="the ledger of one machine"),
        Finding(
            name="Tesseract",
            version=tools.version(["tesseract", "--version"]),
            why="reads the words",
            remedy="apt-get install tesseract-ocr tesseract-ocr-eng tesseract-ocr-osd",
        ),
        _languages(settings),
        Finding(
            name="typeface",
            version=_typeface(),
            why="tickets, targets, transmittals",
            remedy="apt-get install fonts-liberation",
        ),
        Finding(
            name="veraPDF's Java",
            version=tools.version(["java", "-version"]),
            why="only the tests run veraPDF",
            remedy="apt-get install default-jre-headless",
            needed=False,
        ),
        _ledger(settings),
        _store(settings),
        Finding(
            name="free disk",
            version=f"{shutil.disk_usage(settings.home if settings.home.exists() else '/').free >> 30} GB",
            why=f"nothing is taken in below {settings.min_free_mb} MB",
        ),
    ]
    return findings + [_package(name) for name in PACKAGES]


def _package(name: str) -> Finding:
    try:
        found: str | None = version(name)
    except PackageNotFoundError:
        found = None
    return Finding(name=name, version=found, why="", remedy="make setup")


def _typeface() -> str | None:
    try:
        return str(font(20).getname()[0])
    except RuntimeError:
        return None


def _languages(settings: Settings) -> Finding:
    try:
        wanted = {language for profile in load_profiles(settings.profiles).values() for language in profile.languages}
    except BadProfile as error:
        return Finding(name="profiles", version=None, why="", remedy=str(error))
    missing = missing_languages(tuple(sorted(wanted))) if shutil.which("tesseract") else sorted(wanted)
    return Finding(
        name="languages",
        version=None if missing else ", ".join(sorted(wanted)),
        why="named by the profiles",
        remedy="apt-get install " + " ".join(f"tesseract-ocr-{language}" for language in missing),
    )


def _store(settings: Settings) -> Finding:
    if not settings.home.is_dir():
        return Finding(name="store", version=None, why="", remedy="platen init", needed=False)
    try:
        open_store(settings).check()
    except OSError as error:
        return Finding(name="store", version=None, why="", remedy=str(error), needed=False)
    return Finding(
        name="store", version=settings.store_url or str(settings.store_folder), why="can be written and read"
    )


def _ledger(settings: Settings) -> Finding:
    if not settings.home.is_dir():
        return Finding(name="home", version=None, why="", remedy="platen init", needed=False)
    try:
        ledger = Ledger(settings.ledger_url)
        ledger.check_version()
        ledger.close()
    except LedgerUnusable as error:
        return Finding(name="home", version=None, why="", remedy=str(error), needed=False)
    return Finding(name="home", version=str(settings.home), why="")
