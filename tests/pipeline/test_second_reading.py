"""A sampled page is read again as it was scanned: words that cleaning took hold it, words only misread come back."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fixtures.pages import letter
from fixtures.tools import Fault, FaultyTesseract
from pipeline.page_work import PrepareJob, RecognizeJob, prepare_file, recognize_file
from pipeline.profile import Profile, QualityRules, load_profile
from stages.errors import RecognitionTimedOut, WordsLost
from stages.ocr import text_layer
from stages.page_file import read_page_file, write_page_file
from stages.page_image import Box, Line, PageImage, TextLayer, Word
from stages.places import IDENTITY, Affine, quarter_turned
from stages.second_reading import completed, sure_words

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


@pytest.mark.tool
def test_a_line_that_only_the_scan_gives_is_put_in_at_its_place(tmp_path: Path) -> None:
    drawn = letter(seed=11)
    number = next(n for n, line in enumerate(drawn.lines) if 2 <= len(line.words) <= 3 and n > 4)
    covered = PAGE.copy()
    left, top, right, bottom = (round(side) for side in drawn.lines[number].box)
    covered[top:bottom, left:right] = 0  # its ink is there, but nobody reads it
    read = recognize_file(_job(tmp_path, covered, IDENTITY, _profile()))
    asked = [word.text for word in drawn.lines[number].words]
    assert read.readings["second_reading.kept"] == "page"
    assert read.readings["second_reading.put_in"] == asked
    texts = [[word.text for word in line.words] for line in read.text.lines]
    assert texts.count(asked) == 1
    before, after = (" ".join(word.text for word in drawn.lines[number + step].words) for step in (-1, 1))
    place = texts.index(asked)
    assert " ".join(texts[place - 1]) == before and " ".join(texts[place + 1]) == after
    in_alto = Counter(word.text for word in text_layer(read.text.alto).words())
    assert Counter(word.text for word in read.text.words()) <= in_alto


def _text(*lines: tuple[float, list[tuple[str, float, float]]]) -> TextLayer:
    """Lines at these heights, of words from left to right, each 20 high."""
    return TextLayer(
        lines=tuple(
            Line(
                words=tuple(Word(text=text, box=Box(x, y, right, y + 20), confidence=0.9) for text, x, right in words),
                box=Box(words[0][1], y, words[-1][2], y + 20),
                block=0,
            )
            for y, words in lines
        ),
        width_px=1000,
        height_px=1000,
    )


def test_a_word_joins_the_line_it_stands_in_and_a_line_of_its_own_stands_between_its_neighbours() -> None:
    text = _text((100, [("one", 100, 150), ("four", 240, 300)]), (200, [("last", 100, 150)]))
    lost = _text((102, [("two", 160, 180), ("three", 190, 230), ("five", 600, 660)]), (100, [("far", 700, 760)]),
                 (150, [("new", 100, 150), ("line", 160, 210)])).lines  # fmt: skip
    beside = replace(lost[0], box=lost[0].box._replace(left=100.0))
    full, put_in = completed(text, (beside, *lost[1:]))
    assert [word.text for word in put_in] == ["two", "three", "five", "far", "new", "line"]
    assert full.plain_text.split("\n") == ["one two three four five", "new line", "far", "last"]


def test_nothing_is_put_in_where_a_word_stands_already() -> None:
    text = _text((100, [("one", 100, 150), ("tmo", 160, 195)]))
    full, put_in = completed(text, _text((101, [("two", 160, 200)]), (98, [("one", 95, 152)])).lines)
    assert (full, put_in) == (text, ())
    twice = _text((100, [("three", 220, 270), ("three", 221, 271)])).lines
    along = replace(twice[0], box=Box(100, 100, 271, 120))
    assert completed(text, (along,))[0].plain_text == "one tmo three"


def test_the_piece_that_was_left_of_a_word_gives_way_to_the_word() -> None:
    text = _text((100, [("one", 100, 150), ("th", 160, 175), ("four", 240, 300)]))
    full, _ = completed(text, _text((99, [("three", 160, 230)])).lines)
    assert full.plain_text.replace("\n", " ").split() == ["one", "three", "four"]


def test_the_sample_is_one_page_in_so_many_and_the_same_every_time() -> None:
    rules = QualityRules(read_again_one_in=50)
    below = [rules.reads_again_below(f"scan-{number}.tif", page, {}) for number in range(1000) for page in range(5)]
    again = [rules.reads_again_below(f"scan-{number}.tif", page, {}) for number in range(1000) for page in range(5)]
    assert below == again
    assert 60 <= below.count(math.inf) <= 140
    assert set(below) == {math.inf, rules.read_again_below}
    none = QualityRules(read_again_one_in=0)
    assert not any(none.reads_again_below(f"{n}.tif", 0, {}) for n in range(200))


def test_a_page_that_lost_ink_is_always_read_again() -> None:
    rules = QualityRules(read_again_one_in=10**9)
    lost = {"despeckle.ink_lost_fraction": 0.0021, "despeckle.rolled_back": False}
    assert rules.reads_again_below("scan.tif", 0, lost) == math.inf
    for little in ({**lost, "despeckle.rolled_back": True}, {**lost, "despeckle.ink_lost_fraction": 0.0019}):
        assert rules.reads_again_below("scan.tif", 0, little) == rules.read_again_below


@pytest.mark.tool
def test_a_page_read_with_doubt_is_read_again_and_a_clear_one_is_not(tmp_path: Path) -> None:
    job = _job(tmp_path, PAGE, IDENTITY, _profile(read_again_one_in=10**9))
    assert not any(name.startswith("second_reading") for name in recognize_file(job).readings)
    assert recognize_file(replace(job, read_again_below=0.99)).readings["second_reading.kept"] == "page"


@pytest.mark.tool
def test_a_second_reading_that_takes_too_long_costs_the_page_nothing_unless_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tesseract = FaultyTesseract(tmp_path / "programs")
    monkeypatch.setenv("PATH", f"{tesseract.folder}{os.pathsep}{os.environ['PATH']}")
    job = _job(tmp_path, PAGE, IDENTITY, _profile())
    *calls, ocr = job.calls
    job = replace(job, calls=(*calls, replace(ocr, settings=ocr.settings.model_copy(update={"timeout_s": 8.0}))))
    for fault in (Fault.NONE, Fault.HANG, Fault.NONE, Fault.HANG):
        tesseract.lay(fault)
    read = recognize_file(replace(job, read_again_below=0.99))
    assert read.readings["second_reading.timed_out"] is True
    assert sum(1 for _ in read.text.words()) > 50
    assert job.read_again_below == math.inf
    with pytest.raises(RecognitionTimedOut):
        recognize_file(job)
