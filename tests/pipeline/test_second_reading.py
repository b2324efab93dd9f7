"""A sampled page is read again as it was scanned: words that cleaning took hold it, words only misread come back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fixtures.pages import letter
from pipeline.page_work import PrepareJob, RecognizeJob, prepare_file, recognize_file
from pipeline.profile import Profile, QualityRules, load_profile
from stages.errors import WordsLost
from stages.page_file import read_page_file, write_page_file
from stages.page_image import PageImage
from stages.places import IDENTITY, Affine, quarter_turned
from stages.second_reading import sure_words

PROFILES = Path(__file__).resolve().parent.parent.parent / "profiles"
DPI = 300.0
PAGE = letter(seed=11).pixels


def _profile(**quality: object) -> Profile:
    profile = load_profile(PROFILES / "records-bitonal.toml")
    return replace(profile, quality=QualityRules.model_validate({"read_again_one_in": 1, **quality}))


def _scan(folder: Path, pixels: np.ndarray = PAGE) -> Path:
    Image.fromarray(pixels).save(folder / "scan.tif", compression="tiff_lzw", dpi=(DPI, DPI))
    return folder / "scan.tif"


def _job(folder: Path, delivered: np.ndarray, to_scan: Affine, profile: Profile) -> RecognizeJob:
    file = write_page_file(
        PageImage(pixels=delivered, dpi=DPI),
        folder,
        "page",
        encoding="png",
        bitonal_encoding="g4",
        jpeg_quality=85,
        keep_scanner_stream=False,
    )
    readings = {"page.dpi": DPI, "page.to_scan": list(to_scan)}
    return RecognizeJob.by(profile, _scan(folder), 0, file, readings)


@pytest.mark.tool
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_page_that_lost_nothing_passes_however_the_scan_lay(tmp_path: Path, turns: int) -> None:
    source = _scan(tmp_path, quarter_turned(PAGE, turns)[0])
    profile = _profile()
    prepared = prepare_file(PrepareJob.by(profile, source, 0, folder=tmp_path))
    read = recognize_file(RecognizeJob.by(profile, source, 0, prepared.file, prepared.readings))
    assert int(str(read.readings["second_reading.words"])) > 100
    assert read.readings["second_reading.lost"] == []
    assert read.readings["second_reading.kept"] == "page"


@pytest.mark.tool
def test_words_whose_ink_is_gone_hold_the_page_until_it_is_released(tmp_path: Path) -> None:
    wiped = PAGE > 127
    wiped[: len(wiped) // 3] = True
    job = _job(tmp_path, wiped, IDENTITY, _profile())
    with pytest.raises(WordsLost) as held:
        recognize_file(job)
    assert re.fullmatch(r"Of the \d+ words read on the scan \d+ are no longer on the cleaned page: .*", str(held.value))
    released = recognize_file(replace(job, waived=frozenset({WordsLost.code})))
    assert released.readings["second_reading.gone"]


@pytest.mark.tool
def test_words_that_only_the_reader_lost_are_taken_from_the_scan_and_lie_on_their_ink(tmp_path: Path) -> None:
    rows, cols = PAGE.shape[:2]
    turn = np.vstack([cv2.getRotationMatrix2D((cols / 2, rows / 2), 25.0, 1.0), [0, 0, 1]])
    askew = cv2.warpAffine(PAGE, turn[:2], (cols, rows), borderValue=(255,))
    back = np.linalg.inv(turn)
    to_scan = Affine(*back[0], *back[1])  # a pixel's corner and its middle lie half a pixel apart: less than a stroke
    read = recognize_file(_job(tmp_path, np.asarray(askew, np.uint8), to_scan, _profile()))
    assert read.readings["second_reading.kept"] == "scan"
    assert read.readings["second_reading.gone"] == []
    page = read_page_file(tmp_path / "page.png", dpi=DPI).grey()
    words = sure_words(read.text)
    inked = 0
    for word in words:
        x, y = read.text.to_page.at((word.box.left + word.box.right) / 2, (word.box.top + word.box.bottom) / 2)
        inked += bool((page[round(y) - 15 : round(y) + 15, round(x) - 15 : round(x) + 15] < 128).any())
    assert len(words) > 100
    assert inked >= 0.98 * len(words)


def test_the_sample_is_one_page_in_so_many_and_the_same_every_time() -> None:
    rules = QualityRules(read_again_one_in=50)
    drawn = [rules.reads_again(f"scan-{number}.tif", page, {}) for number in range(1000) for page in range(5)]
    assert drawn == [rules.reads_again(f"scan-{number}.tif", page, {}) for number in range(1000) for page in range(5)]
    assert 60 <= sum(drawn) <= 140
    assert not any(QualityRules(read_again_one_in=0).reads_again(f"{n}.tif", 0, {}) for n in range(200))


def test_a_page_that_lost_ink_is_always_read_again() -> None:
    rules = QualityRules(read_again_one_in=10**9)
    lost = {"despeckle.ink_lost_fraction": 0.0021, "despeckle.rolled_back": False}
    assert rules.reads_again("scan.tif", 0, lost)
    assert not rules.reads_again("scan.tif", 0, {**lost, "despeckle.rolled_back": True})
    assert not rules.reads_again("scan.tif", 0, {**lost, "despeckle.ink_lost_fraction": 0.0019})
