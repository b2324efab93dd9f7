"""`make demo` does what the README says: every page accounted for, every PDF valid, the film sound."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.film_check import check_film_folder
from tests.verapdf import refused_by_verapdf

pytestmark = [pytest.mark.whole, pytest.mark.tool]


def test_the_demonstration_ends_well_and_everything_it_made_is_valid(tmp_path: Path) -> None:
    home = tmp_path / "demo-home"
    done = subprocess.run(
        [sys.executable, "-m", "console.demo", home], capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAULT" not in done.stdout
    assert "Held:" in done.stdout

    pdfs = sorted((home / "outbox").rglob("*.pdf"))
    assert len(pdfs) >= 12
    assert refused_by_verapdf(pdfs, "2u") == {}

    films = sorted((home / "film").iterdir())
    assert films
    for film in films:
        report = check_film_folder(film)
        assert report.good, report.problems
        frames = sorted(film.rglob("*.tif"))
        assert len(frames) == report.frames
        told = subprocess.run(["tiffinfo", "-s", *frames], capture_output=True, text=True, check=True).stdout
        assert re.findall(r"(\d+) Strips", told) == ["1"] * len(frames)
