"""A film folder is finished whole, also after a try that was cut off."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from pipeline.film import FilmDocument, FilmJob, FilmPage, FilmSettings
from pipeline.film_plan import plan_rolls
from pipeline.film_work import finish_folder, write_planned_roll
from stages.page_file import write_page_file
from stages.page_image import PageImage

JOB = FilmJob(work_order="WO-1", customer="SOS", created_on=date(2026, 11, 22))


def test_what_an_interrupted_try_left_behind_is_no_fault_of_the_film(tmp_path: Path) -> None:
    page = PageImage(pixels=np.ones((1100, 850), np.bool_), dpi=100.0)
    page.pixels[200:210, 100:700] = False
    path = write_page_file(page, tmp_path, "page")
    filmed = FilmPage(
        document_id="D1",
        page_number=1,
        width_px=850,
        height_px=1100,
        dpi=100.0,
        path=path,
        source_sha256="0" * 64,
        source_image_id="1.tif#1",
    )
    plans = plan_rolls([FilmDocument(document_id="D1", pages=(filmed,))], FilmSettings())
    folder = tmp_path / "film"
    for plan in plans:
        write_planned_roll(plan, folder, JOB, ())
    (folder / ".platen-b2u08kka").mkdir()  # the certificate was being written when the power went
    (folder / ".platen-b2u08kka" / "spool.pdf").write_bytes(b"%PDF-1.7")
    (folder / ".certificate.pdf").write_bytes(b"%PDF-1.7")
    assert finish_folder(folder, plans, JOB) == ()
    assert not list(folder.glob(".*"))
