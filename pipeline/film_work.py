"""What is done to film in the sandbox: one roll, and the whole folder. It knows no ledger (see `page_work`)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.certificate import write_certificate
from pipeline.film import FilmJob, RollPlan
from pipeline.film_check import check_film_folder
from pipeline.film_folder import read_prepared, write_roll
from pipeline.film_tables import write_job_files
from pipeline.profile import StageCall
from stages.page_image import PageImage


def write_planned_roll(plan: RollPlan, folder: Path, job: FilmJob, calls: tuple[StageCall, ...]) -> None:
    """Write every frame of one roll; `calls` are the stages that make a grey or colour page bitonal."""

    def to_bitonal(page: PageImage) -> PageImage:
        for call in calls:
            page = call.stage.run(page, call.settings)
        return page if page.is_bitonal else _in_dots(page)

    write_roll(plan, folder, job, read=read_prepared, to_bitonal=to_bitonal)


def finish_folder(folder: Path, plans: Sequence[RollPlan], job: FilmJob) -> tuple[str, ...]:
    """Write the tables and the certificate of a film whose rolls are all written; gives what is wrong with it."""
    for leftover in folder.glob(".*"):  # of a try that the power ended: the certificate and what it was made of
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    certificate = folder / ".certificate.pdf"
    write_certificate(certificate, plans, job)
    write_job_files(folder, plans, job, certificate=certificate)
    certificate.unlink()
    return check_film_folder(folder).problems


def _in_dots(page: PageImage) -> PageImage:
    """A picture as film can show it: Floyd and Steinberg's error diffusion."""
    return page.with_pixels(np.array(Image.fromarray(page.grey()).convert("1")) != 0)
