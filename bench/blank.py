"""Empty sides found and written sides called blank, beside the rule of thumb that counts dark pixels.

Empty sides are drawn with what makes them look written, in equal parts: clean or tinted, dust, holes, border, fold,
ruled paper, print showing through, staple. The mean depends on these parts: a batch of clean sides has far more
found. Written sides are drawn with the least that can be written, in equal parts too, and with the same dirt. One
full stop alone is told apart: nothing tells it from a speck of dust. Every page of the real scans is content too, as
it is, faded and cut into quarters. Sheets with print on one side, whose other side is empty or bears little, show
what the maps of both sides prove.

`BENCH_PAGES` (300) says how many sides of each sort are drawn; 2,000 take an hour.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from bench import REAL_SCANS
from bench.tables import percent, print_table
from fixtures import pages
from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import Hole, Lid, scanned, three_holes, two_holes
from fixtures.typefaces import Face
from stages.blank import Settings, blank
from stages.bleed_through import proved_blank
from stages.errors import Refusal
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.sheets import LETTER_MM

Grey = npt.NDArray[np.uint8]
Random = np.random.Generator

SIDES = 300
SHEETS_SHARE = 5  # so many sides of each sort to a sheet with print on its other side, which is dear to draw
DPI = 150.0
INK_SHARE, DARK, MARGIN_MM = 0.005, 128, 15.0  # IMAGING 2.8: common practice
FADED = 0.35  # of the contrast


def run() -> None:
    """Draw, judge and print: sides by sort, real scans, and sheets with both sides known."""
    count = int(os.environ.get("BENCH_PAGES", SIDES))
    for title, drawn, judge in (("empty", EMPTY, "found"), ("written", WRITTEN, "content")):
        tallies: dict[str, Counter[str]] = {name: Counter() for name in drawn}
        for number in range(count):
            name = tuple(drawn)[number % len(drawn)]
            _tally(tallies[name], drawn[name](np.random.default_rng(number)))
        tallies["all"] = sum(tallies.values(), Counter())
        print_table((f"{title}: {judge}", *COLUMNS), [_row(name, tally) for name, tally in tallies.items()])
    stops: Counter[str] = Counter()
    for number in range(count // len(WRITTEN)):
        _tally(stops, _full_stop(Paper(DPI, LETTER_MM), np.random.default_rng(number)))
    print_table(("no more than dust", *COLUMNS), [_row("one full stop", stops)])
    if REAL_SCANS.is_dir():
        tally: Counter[str] = Counter()
        for image in real_content():
            _tally(tally, image)
        print_table(("written", *COLUMNS), [_row("real scans, faded, quarters", tally)])
    else:
        print(f"Skipped: the real scans are not beside the project ({REAL_SCANS}).")
    _print_sheets(max(2, count // SHEETS_SHARE))


COLUMNS = ("n", "blank", "maybe", "content", "called blank by dark pixels", "CPU ms")


def real_content() -> Iterator[PageImage]:
    """Pages of the real scans, the same paler, and their quarters that bear more than 0.1 % of ink."""
    for folder in ("ocr-truth", "borders-holes", "skew", "binarise"):
        for path in sorted((REAL_SCANS / folder).rglob("*")):
            if path.suffix not in {".jpg", ".jpeg", ".png", ".tif", ".tiff"}:
                continue
            try:
                page = read_page(path, 0, ReadSettings())
            except Refusal:
                continue
            grey = page.grey()
            yield page
            yield PageImage(pixels=cv2.convertScaleAbs(grey, alpha=FADED, beta=(1 - FADED) * 235), dpi=page.dpi)
            rows, cols = (side // 2 for side in grey.shape)
            for top, left in ((0, 0), (0, cols), (rows, 0), (rows, cols)):
                quarter = grey[top : top + rows, left : left + cols]
                if (quarter < 0.6 * np.median(quarter)).mean() > 0.001:
                    yield PageImage(pixels=np.ascontiguousarray(quarter), dpi=page.dpi)


def _tally(tally: Counter[str], image: PageImage) -> None:
    began = time.process_time()
    verdict = str(blank(image, Settings()).readings["blank.verdict"])
    tally["us"] += round(1e6 * (time.process_time() - began))
    tally[verdict] += 1
    tally["n"] += 1
    margin = round(image.px(MARGIN_MM))
    inner = image.grey()[margin:-margin, margin:-margin]
    tally["dark"] += bool(inner.size and (inner < DARK).mean() < INK_SHARE)


def _row(name: str, tally: Counter[str]) -> tuple[object, ...]:
    shares = (percent(tally[verdict] / tally["n"]) for verdict in ("blank", "maybe", "content"))
    return (name, tally["n"], *shares, percent(tally["dark"] / tally["n"]), f"{tally['us'] / tally['n'] / 1000:.0f}")


def _print_sheets(count: int) -> None:
    """Backs of printed sheets: how many are blank by themselves, and how many more by what their fronts explain."""
    fronts: tuple[Callable[..., DrawnPage], ...] = (
        pages.letter, pages.typescript, pages.two_columns, pages.form, pages.ruled_table, pages.drawing,
    )  # fmt: skip
    rows = []
    for title, write in (("empty back", None), ("back with a few words", _few_words)):
        tally: Counter[str] = Counter()
        sizes = []
        for number in range(count):
            random = np.random.default_rng(number)
            front = fronts[number % len(fronts)](seed=number, dpi=DPI)
            sheet = Paper(DPI, LETTER_MM)
            if write is not None:
                write(sheet, random)
            back = DrawnPage(pixels=sheet.pixels(), dpi=DPI)
            look = _look(random)
            sides = [
                blank(side.image(), Settings()).readings
                for side in (
                    scanned(front, seed=number, skew_deg=random.uniform(-0.3, 0.3), **look),
                    scanned(
                        back,
                        seed=number + 1,
                        bleed_through_of=front,
                        bleed_depth=random.uniform(0.05, 0.25),
                        skew_deg=random.uniform(-0.3, 0.3),
                        **look,
                    ),
                )
            ]
            tally[str(sides[1]["blank.verdict"])] += 1
            tally["proved"] += proved_blank(sides[1], sides[0])
            sizes.append(len(str(sides[0]["blank.ink_map"])))
        shares = (percent(tally[key] / count) for key in ("blank", "maybe", "content", "proved"))
        rows.append((title, count, *shares, f"{np.mean(sizes):.0f}", max(sizes)))
    print_table(("sheet", "n", "blank", "maybe", "content", "proved blank", "bytes a map", "most"), rows)


def _look(random: Random) -> dict[str, object]:
    """A scanner and its paper."""
    return {
        "tint": int(random.integers(200, 256)),
        "blur_mm": float(random.uniform(0.03, 0.08)),
        "noise_levels": float(random.uniform(0.5, 6)),
        "shading": float(random.uniform(0, 0.15)),
    }


def _scan(sheet: Paper, random: Random, **faults: object) -> PageImage:
    page = DrawnPage(pixels=sheet.pixels(), dpi=DPI)
    return scanned(page, seed=int(random.integers(1 << 30)), **{**_look(random), **faults}).image()  # type: ignore[arg-type]


def _dust(random: Random) -> dict[str, object]:
    return {"speckle_fraction": float(random.uniform(0, 0.00003))}


def _punched(random: Random) -> dict[str, object]:
    holes: tuple[Hole, ...] = two_holes(LETTER_MM[1]) if random.random() < 0.5 else three_holes()
    lid: Lid = ("black", "dark", "white")[random.integers(3)]
    return {"holes": holes, "lid": lid}


def _bordered(random: Random) -> dict[str, object]:
    lid: Lid = ("black", "dark")[random.integers(2)]
    return {"lid": lid, "border_mm": float(random.uniform(2, 10)), "skew_deg": float(random.uniform(-1.5, 1.5))}


def _folded(sheet: Paper, random: Random) -> PageImage:
    image = _scan(sheet, random)
    at, wide = int(random.integers(300, image.height_px - 300)), int(random.integers(4, 12))
    pixels = np.array(image.pixels, np.float32)
    pixels[at : at + wide] *= random.uniform(0.85, 0.97)
    return PageImage(pixels=pixels.astype(np.uint8), dpi=DPI)


def _stapled(sheet: Paper, random: Random) -> PageImage:
    x, y = float(random.uniform(8, 30)), float(random.uniform(8, 25))
    sheet.stroke([(x, y), (x + 10, y + random.uniform(-4, 4))], thick_mm=0.5)
    return _scan(sheet, random, contrast=random.uniform(0.3, 0.6))


def _ruled(sheet: Paper, random: Random) -> None:
    for y_mm in np.arange(25, 270, random.uniform(6, 9)):
        sheet.rule(0, float(y_mm), LETTER_MM[0], thick_mm=0.2)


def _ruled_paper(sheet: Paper, random: Random) -> PageImage:
    _ruled(sheet, random)
    return _scan(sheet, random, contrast=random.uniform(0.1, 0.25))


def _showing_through(sheet: Paper, random: Random) -> PageImage:
    front = pages.letter(seed=int(random.integers(1000)), dpi=DPI)
    return _scan(sheet, random, bleed_through_of=front, bleed_depth=random.uniform(0.04, 0.2))


def _write(sheet: Paper, random: Random, text: str, size_pt: float, *, pale: int = 0, x_mm: float = -1.0) -> None:
    face = (Face.SERIF, Face.SANS, Face.SERIF_ITALIC, Face.TYPEWRITER)[random.integers(4)]
    left = x_mm if x_mm >= 0 else float(random.uniform(5, LETTER_MM[0] - 5 - len(text) * size_pt * 0.22))
    sheet.line(left, float(random.uniform(5, LETTER_MM[1] - 12)), text, face, size_pt, ink=pale)


def _few_words(sheet: Paper, random: Random) -> None:
    text = (str(random.integers(1, 99)), "JH", "Received 3 May 1987", "see file 47/B", "paid")[random.integers(5)]
    _write(sheet, random, text, float(random.choice((8, 10, 14))), pale=int(random.choice((0, 100, 170, 200, 215))))


def _stamp(sheet: Paper, random: Random) -> PageImage:
    sheet.circle(float(random.uniform(40, 170)), float(random.uniform(40, 230)), 17, thick_mm=0.7)
    return _scan(sheet, random, contrast=random.uniform(0.2, 0.5), skew_deg=random.uniform(-5, 5))


def _fax_header(sheet: Paper, random: Random) -> PageImage:
    text = f"{random.integers(1, 29):02d}/06/1994  14:{random.integers(10, 60)}  FROM 555 0142  P.01"
    sheet.line(
        float(random.uniform(8, 60)), float(random.uniform(3, 6)), text, Face.MONO, 7, ink=int(random.integers(160))
    )
    return _scan(sheet, random, **_dust(random))


def _tick(sheet: Paper, random: Random) -> PageImage:
    x, y, side = float(random.uniform(15, 190)), float(random.uniform(15, 260)), float(random.uniform(2.5, 7))
    points = [(x, y), (x + 0.35 * side, y + 0.5 * side), (x + side, y - 0.6 * side)]
    sheet.stroke(points, thick_mm=float(random.uniform(0.25, 0.6)))
    return _scan(sheet, random, contrast=float(random.uniform(0.25, 0.9)), **_dust(random))


def _signature(sheet: Paper, random: Random) -> PageImage:
    place = float(random.uniform(15, 150)), float(random.uniform(20, 240))
    sheet.signature(*place, Prose(int(random.integers(1 << 30))))
    return _scan(sheet, random, contrast=float(random.uniform(0.15, 0.4)), **_dust(random))


def _full_stop(sheet: Paper, random: Random) -> PageImage:
    _write(sheet, random, ".", float(random.choice((8, 10, 12))))
    return _scan(sheet, random)


def _photo(sheet: Paper, random: Random) -> PageImage:
    return scanned(
        pages.photo_page(seed=int(random.integers(1000)), dpi=DPI, colour=bool(random.integers(2))), noise_levels=3.0
    ).image()


def _written(
    text: Callable[[Random], str], size_pt: float, *, pale: tuple[int, int] = (0, 120), edge: bool = False
) -> Callable[[Random], PageImage]:
    def draw(random: Random) -> PageImage:
        sheet = Paper(DPI, LETTER_MM)
        if random.random() < 0.2:
            _ruled(sheet, random)  # in full black, among which the writing must be found
        _write(sheet, random, text(random), size_pt, pale=int(random.integers(*pale)), x_mm=2.5 if edge else -1.0)
        faults: tuple[Callable[[Random], dict[str, object]], ...] = (lambda _: {}, _dust, _punched, _bordered)
        return _scan(sheet, random, **faults[random.integers(len(faults))](random))

    return draw


def _on_paper(draw: Callable[[Paper, Random], PageImage]) -> Callable[[Random], PageImage]:
    return lambda random: draw(Paper(DPI, LETTER_MM), random)


EMPTY: dict[str, Callable[[Random], PageImage]] = {
    "clean or tinted": _on_paper(_scan),
    "dusty": _on_paper(lambda sheet, random: _scan(sheet, random, **_dust(random))),
    "punched": _on_paper(lambda sheet, random: _scan(sheet, random, **_punched(random))),
    "border in sight": _on_paper(lambda sheet, random: _scan(sheet, random, **_bordered(random))),
    "folded": _on_paper(_folded),
    "ruled paper": _on_paper(_ruled_paper),
    "showing through": _on_paper(_showing_through),
    "staple mark": _on_paper(_stapled),
}
WRITTEN: dict[str, Callable[[Random], PageImage]] = {
    "one digit": _written(lambda random: str(random.integers(10)), 9),
    "initials": _written(lambda _: "JH", 18),
    "pencil": _written(lambda _: "see file 47/B", 16, pale=(150, 210)),
    "faint date": _written(lambda _: "3 May 1987", 11, pale=(190, 220)),
    "light stamp": _on_paper(_stamp),
    "small footer": _written(lambda _: "Form 1099-B (Rev. 3)", 6),
    "note at the edge": _written(lambda _: "AB-1234", 8, edge=True),
    "page number": _written(lambda random: f"- {random.integers(2, 400)} -", 10),
    "fax header": _on_paper(_fax_header),
    "one tick by hand": _on_paper(_tick),
    "faint signature": _on_paper(_signature),
    "photograph": _on_paper(_photo),
}
