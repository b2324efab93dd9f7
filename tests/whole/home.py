"""A bureau run by its own command, as an engineer runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from stages.fonts import font
from tests.conftest import ROOT

PLATEN = Path(sys.executable).parent / "platen"
WORDS = ("record", "county", "clerk", "filed", "under", "seal", "number", "box", "shelf", "letter", "copy", "page")


class Home:
    """A home in a scratch folder, spoken to by `platen` alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PLATEN_HOME": str(folder),
            "PLATEN_SETTLE_SECONDS": "0.3",
            "PLATEN_SCAN_SECONDS": "0.2",
            "PLATEN_WORKERS": "2",
        }

    def platen(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """What the command prints."""
        done = subprocess.run(
            [PLATEN, *arguments], env=self.environment, capture_output=True, text=True, timeout=540, check=False
        )
        assert done.returncode in codes, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def ask(self, *arguments: str) -> Any:
        """What the command answers as JSON."""
        return json.loads(self.platen(*arguments, "--json", codes=(0, 3)))

    def add_profile(self, name: str, tables: str) -> None:
        """A profile of its own beside those of the house: `records-bitonal` with tables added."""
        profiles = self.folder.with_name("profiles")
        shutil.copytree(ROOT / "profiles", profiles)
        plain = (profiles / "records-bitonal.toml").read_text()
        named = plain.replace('name = "records-bitonal"', f'name = "{name}"')
        (profiles / f"{name}.toml").write_text(f"{named}\n{tables}\n")
        self.environment["PLATEN_PROFILES"] = str(profiles)

    def start(self) -> subprocess.Popen[bytes]:
        """Start `platen run --until-idle` and come back at once."""
        return subprocess.Popen(
            [PLATEN, "run", "--until-idle"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill_after(self, seconds: float) -> bool:
        """Start the floor, kill it without warning after some time; False when it had finished by itself."""
        process = self.start()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        return False


def drop_small_pages(folder: Path, pages: int, *, first: int = 0) -> list[str]:
    """Write pages of a few typed lines as G4 TIFF, in one go; gives what stands on each."""
    scratch = folder.with_name(f"_{folder.name}")
    scratch.mkdir(parents=True)
    texts = []
    for number in range(first, first + pages):
        lines = [f"Sheet {number + 1001}"] + [
            " ".join(WORDS[(number * 7 + row * 5 + column * 3) % len(WORDS)] for column in range(6)) for row in range(6)
        ]
        image = Image.new("L", (1240, 900), 255)
        draw = ImageDraw.Draw(image)
        for row, line in enumerate(lines):
            draw.text((120, 110 + row * 90), line, fill=0, font=font(46))
        image.convert("1").save(scratch / f"{number:04d}.tif", compression="group4", dpi=(200, 200))
        texts.append("\n".join(lines))
    scratch.rename(folder)
    return texts


def wait_until(condition: Any, *, seconds: float = 120.0) -> None:
    """Wait for something to become true, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
