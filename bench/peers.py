"""The programs that Platen is measured beside, in an environment of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench import ROOT

PEERS = ROOT / "bench" / ".peers"
# Made from the lines `ocrmypdf==17.13.0`, `doxapy` and `jdeskew` by `uv pip compile --universal --generate-hashes`.
LOCK = ROOT / "bench" / "peers.lock"
SYSTEM_TOOLS = {"gs": "ghostscript", "unpaper": "unpaper", "tesseract": "tesseract-ocr"}


class NoPeer(RuntimeError):
    """A peer cannot be run here; the message says what is missing."""


def platen() -> str:
    """The command as operators have it: the one installed beside the running Python."""
    return str(Path(sys.executable).with_name("platen"))


def ocrmypdf() -> str:
    """OCRmyPDF, installed on first use.

    Raises:
        NoPeer: a program that it needs is missing.
    """
    missing = [package for tool, package in SYSTEM_TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise NoPeer(f"OCRmyPDF needs these system packages: {' '.join(missing)}.")
    return str(Path(python()).with_name("ocrmypdf"))


def unpaper() -> str:
    """unpaper, from the system.

    Raises:
        NoPeer: it is not installed.
    """
    found = shutil.which("unpaper")
    if found is None:
        raise NoPeer("The system package unpaper is missing.")
    return found


def has_unpaper() -> bool:
    """Whether unpaper is installed; says so if it is not."""
    try:
        unpaper()
    except NoPeer as missing:
        print(f"Left out: {missing}")
        return False
    return True


def python() -> str:
    """The Python that has the peers' libraries (OCRmyPDF, doxapy, jdeskew), installed on first use."""
    complete = PEERS / ".complete"
    if not complete.exists() or complete.read_bytes() != LOCK.read_bytes():
        print(f"Installing the peers into {PEERS.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
        pip = [str(PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(LOCK)], check=True)
        shutil.copyfile(LOCK, complete)
    return str(PEERS / "bin" / "python")


def tesseract_languages() -> frozenset[str]:
    """Languages that Tesseract has data for; empty where it is not installed."""
    if shutil.which("tesseract") is None:
        return frozenset()
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=True)
    return frozenset(listed.stdout.split("\n")[1:]) - {"", "osd"}


def versions() -> str:
    """The peers' versions in one line.

    Raises:
        NoPeer: as `ocrmypdf` does.
    """
    own = subprocess.run([ocrmypdf(), "--version"], capture_output=True, text=True, check=True).stdout
    tesseract = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=True).stdout
    return f"OCRmyPDF {own.strip()}, {tesseract.splitlines()[0]}"
