"""The certificate names every roll, leaves room for signatures, and is a valid PDF/A."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

import pytest

from pipeline.certificate import write_certificate
from pipeline.film import FilmJob, FilmSettings
from pipeline.film_plan import plan_rolls
from tests.pipeline.test_film_plan import document

JOB = FilmJob(
    work_order="WO-1",
    customer="SOS",
    created_on=date(2026, 11, 22),
    bureau="Records Bureau",
    title="Deeds",
    series="12",
)


@pytest.mark.tool
def test_the_certificate_names_every_roll_and_who_must_sign(tmp_path: Path) -> None:
    plans = plan_rolls(
        [document(f"WO-1-B00001-D{n:04d}", 30) for n in range(1, 6)], FilmSettings(max_images_per_roll=80)
    )
    write_certificate(tmp_path / "certificate.pdf", plans, JOB)
    text = subprocess.run(
        ["pdftotext", "-raw", tmp_path / "certificate.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    for plan in plans:
        assert plan.number in text
    assert "WO-1-B00001-D0005" in text
    assert "Custodian of the records" in text
    assert [path.name for path in tmp_path.iterdir()] == ["certificate.pdf"]


def test_the_same_film_gives_the_same_certificate(tmp_path: Path) -> None:
    plans = plan_rolls([document("D1", 3)], FilmSettings())
    for name in ("a.pdf", "b.pdf"):
        write_certificate(tmp_path / name, plans, JOB)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
