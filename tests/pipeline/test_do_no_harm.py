"""What preparing a page must never do (records are evidence): the rules, each with a page drawn to break it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fixtures.pages import blank, letter, photo_page
from fixtures.scanner import scanned, three_holes
from pipeline.page_work import Prepared, PrepareJob, prepare_file
from pipeline.profile import load_profile
from stages.ink_ledger import settled
from stages.page_file import read_page_file
from stages.page_image import PageImage

PROFILES = Path(__file__).resolve().parent.parent.parent / "profiles"
TURNED = scanned(letter(seed=3), skew_deg=1.7, holes=three_holes(), lid="black", border_mm=4.0, noise_levels=3.0)


def _job(folder: Path, page: np.ndarray, *, dpi: float = 300.0, profile: str = "records-bitonal") -> PrepareJob:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "scan.tif"
    Image.fromarray(page).save(source, compression="tiff_lzw", dpi=(dpi, dpi))
    return PrepareJob.by(load_profile(PROFILES / f"{profile}.toml"), source, 0, folder=folder)


def _page(prepared: Prepared) -> PageImage:
    dpi = prepared.readings["page.dpi"]
    assert isinstance(dpi, float)
    return read_page_file(prepared.file, dpi=dpi)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_scan_is_not_touched_and_gives_the_same_page_again_on_any_number_of_threads(tmp_path: Path) -> None:
    job = _job(tmp_path, TURNED.pixels)
    scan = _digest(job.source)
    digests = []
    before = cv2.getNumThreads()
    try:
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            digests.append(_digest(prepare_file(replace(job, name=f"page-{threads}")).file))
    finally:
        cv2.setNumThreads(before)
    assert digests[0] == digests[1]
    assert _digest(job.source) == scan


def test_an_archive_master_is_delivered_as_it_was_scanned_and_its_skew_is_only_recorded(tmp_path: Path) -> None:
    prepared = prepare_file(_job(tmp_path, TURNED.pixels, profile="archive-master"))
    assert np.array_equal(_page(prepared).grey(), TURNED.image().grey())
    angle = prepared.readings["deskew.angle_deg"]
    assert isinstance(angle, float) and abs(angle - 1.7) < 0.1
    assert prepared.readings["deskew.turned"] is False


def test_cleaning_a_clean_page_again_changes_nothing_to_speak_of(tmp_path: Path) -> None:
    once = _page(prepare_file(_job(tmp_path / "1", TURNED.pixels)))
    twice = _page(prepare_file(_job(tmp_path / "2", once.pixels, dpi=once.dpi)))
    assert twice.pixels.shape == once.pixels.shape
    assert float(np.mean(once.pixels != twice.pixels)) <= 0.0001


def test_a_page_keeps_its_size_and_scale_when_it_is_turned(tmp_path: Path) -> None:
    prepared = prepare_file(_job(tmp_path, TURNED.pixels))
    page = _page(prepared)
    assert page.dpi == 300.0
    for side_px, scanned_px in ((page.height_px, TURNED.pixels.shape[0]), (page.width_px, TURNED.pixels.shape[1])):
        assert side_px >= scanned_px  # nothing is cut; a larger frame holds the corners
    a, b, _, d, e, _ = (float(str(value)) for value in list(prepared.readings["page.to_scan"])[:6])  # type: ignore[arg-type]
    assert abs(a * e - b * d - 1.0) < 1e-6  # a turn: no scaling
    assert abs(a - e) < 1e-6 and abs(b + d) < 1e-6


def test_what_was_filled_is_listed_with_its_place(tmp_path: Path) -> None:
    prepared = prepare_file(_job(tmp_path, TURNED.pixels))
    assert prepared.readings["holes.filled"] == 3
    places = prepared.readings["holes.places_mm"]
    assert isinstance(places, list) and len(places) == 6
    edges = prepared.readings["crop.edges_mm"]
    assert isinstance(edges, list) and all(abs(float(edge) - 4.0) < 4.5 for edge in edges)


@pytest.mark.parametrize("contrast", [0.16, 0.25, 0.5])
def test_a_faint_page_never_comes_out_empty(tmp_path: Path, contrast: float) -> None:
    drawn = letter(seed=5)
    scan = scanned(drawn, tint=225, contrast=contrast, noise_levels=3.0, shading=0.2)
    prepared = prepare_file(_job(tmp_path, scan.pixels))
    page = _page(prepared)
    ink = float(np.mean(drawn.pixels < 128))
    assert prepared.readings["blank.verdict"] == "content"
    if page.is_bitonal:
        assert 0.5 * ink < float(np.mean(~page.pixels)) < 2.0 * ink


def test_an_empty_sheet_stays_in_the_records_and_is_only_marked(tmp_path: Path) -> None:
    prepared = prepare_file(_job(tmp_path, scanned(blank(), noise_levels=3.0).pixels))
    assert prepared.file.exists()
    assert prepared.readings["blank.verdict"] == "blank"


def test_a_photograph_is_never_cut_to_black_and_white_by_a_threshold(tmp_path: Path) -> None:
    drawn = photo_page(seed=4, colour=False)
    page = _page(prepare_file(_job(tmp_path, scanned(drawn, noise_levels=2.0).pixels)))
    if not page.is_bitonal:
        return
    tones = cv2.blur(drawn.pixels, (31, 31)).astype(np.float32)
    shown = cv2.blur(page.grey(), (31, 31)).astype(np.float32)
    middle = (tones > 80) & (tones < 180)
    assert float(np.abs(tones - shown)[middle].mean()) < 25


def test_a_step_that_would_empty_a_page_is_undone() -> None:
    page = letter(seed=8).image()
    empty = page.with_pixels(np.full_like(page.pixels, 255))
    assert settled(page, empty, "background").pixels is page.pixels
