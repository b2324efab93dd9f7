"""Empty sides found and written sides called blank, beside the rule of thumb that counts dark pixels.

Empty sides are drawn with what makes them look written, in equal parts: clean or tinted, dust, holes, border, fold,
ruled paper, print showing through, staple. The mean depends on these parts: a batch of clean sides has far more
found. A side that print shows through is judged with its other side, as assembly does where both are scanned. Written
sides are drawn with the least that can be written, in equal parts too, and with the same dirt. One full stop alone is
told apart: nothing tells it from a speck of dust. Every page of the real scans is content too, as it is, faded and cut
into quarters, and as the back of itself and of others, which show through. Sheets with print on one side, whose other
side is empty or bears little, show what both sides prove of one.

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
from fixtures.scanner import BLEED_BLUR_MM, Hole, Lid, scanned, three_holes, two_holes
from fixtures.typefaces import Face
from stages.blank import Settings, blank, proved_blank
from stages.bleed_through import may_show_through
from stages.errors import Refusal
from stages.page_image import MM_PER_INCH, PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.sheets import LETTER_MM

Grey = npt.NDArray[np.uint8]
Random = np.random.Generator
Drawn = PageImage | tuple[PageImage, PageImage]  # a side, or it and the other side of its sheet

SIDES = 300
SHEETS_SHARE = 5  # so many sides of each sort to a sheet with print on its other side, which is dear to draw
DPI = 150.0
INK_SHARE, DARK, MARGIN_MM = 0.005, 128, 15.0  # IMAGING 2.8: common practice
FADED, PALE = 0.35, 0.1  # of the contrast
WHITE = 255


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
        looks, proved = _real_backs()
        print_table(
            ("written backs", "looks", "proved blank"), [("real scans, that others show through", looks, proved)]
        )
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


def _real_backs() -> tuple[int, int]:
    """How many looks at real scans, which the same or another page shows through, and how many proved them blank."""
    scans = [read_page(path, 0, ReadSettings()) for path in sorted((REAL_SCANS / "ocr-truth").rglob("*.[jp][pn]*g"))]
    looks = proved = 0
    for number, page in enumerate(scans):
        for front in (page, scans[number - 1]):
            level = cv2.resize(front.grey(), (page.width_px, page.height_px), interpolation=cv2.INTER_AREA)
            other = PageImage(pixels=level, dpi=page.dpi)
            through = cv2.GaussianBlur(WHITE - level[:, ::-1], (0, 0), page.px(BLEED_BLUR_MM))
            for contrast in (1.0, FADED, PALE):
                written = cv2.convertScaleAbs(page.grey(), alpha=contrast, beta=(1 - contrast) * 235)
                if blank(PageImage(pixels=written, dpi=page.dpi), Settings()).readings["blank.verdict"] == "blank":
                    continue  # a faint carbon copy at a tenth of its contrast: there is nothing left to see
                back = PageImage(pixels=cv2.subtract(written, cv2.convertScaleAbs(through, alpha=0.15)), dpi=page.dpi)
                looks += 1
                proved += proved_blank(back, other)
    return looks, proved


def _tally(tally: Counter[str], drawn: Drawn) -> None:
    image, other = drawn if isinstance(drawn, tuple) else (drawn, None)
    began = time.process_time()
    verdict = str(blank(image, Settings()).readings["blank.verdict"])
    if other is not None and verdict != "blank" and proved_blank(image, other):
        verdict = "blank"
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
    for title, write, unevenness in BACKS:
        tally: Counter[str] = Counter()
        for number in range(count):
            random = np.random.default_rng(number)
            front = fronts[number % len(fronts)](seed=number, dpi=DPI)
            image, other = _sheet(front, random, write=write, depth=(0.05, 0.25), unevenness=unevenness)
            side, other_side = (blank(each, Settings()).readings for each in (image, other))
            verdict = str(side["blank.verdict"])
            tally[verdict] += 1
            if verdict != "blank" and may_show_through(side, other_side):
                began = time.process_time()
                tally["proved"] += proved_blank(image, other)
                tally["us"] += round(1e6 * (time.process_time() - began))
                tally["looks"] += 1
        shares = (percent(tally[key] / count) for key in ("blank", "maybe", "content"))
        rows.append(
            (title, count, *shares, tally["proved"], tally["looks"], f"{tally['us'] / tally['looks'] / 1000:.0f}")
        )
    print_table(("sheet", "n", "blank", "maybe", "content", "proved blank", "looks", "CPU ms a look"), rows)


def _sheet(
    front: DrawnPage,
    random: Random,
    *,
    write: Callable[[Paper, Random], None] | None = None,
    depth: tuple[float, float] = (0.04, 0.2),
    unevenness: float = 0.0,
) -> tuple[PageImage, PageImage]:
    """The back of a sheet and its front, scanned askew to each other."""
    sheet = Paper(DPI, LETTER_MM)
    if write is not None:
        write(sheet, random)
    back, look = DrawnPage(pixels=sheet.pixels(), dpi=DPI), _look(random)
    askew_deg = random.uniform(-0.3, 0.3, 2)
    seeds = random.integers(1 << 30, size=2)
    through = {"bleed_through_of": front, "bleed_depth": random.uniform(*depth), "bleed_unevenness": unevenness}
    return (
        scanned(back, seed=int(seeds[0]), skew_deg=askew_deg[0], **through, **look).image(),  # type: ignore[arg-type]
        scanned(front, seed=int(seeds[1]), skew_deg=askew_deg[1], **look).image(),  # type: ignore[arg-type]
    )


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


def _stapled(random: Random) -> Drawn:
    """The mark of a staple on an empty back, and on the printed front, scanned askew to each other."""
    start = (float(random.uniform(8, 30)), float(random.uniform(8, 25)))
    end = (start[0] + 10, start[1] + float(random.uniform(-4, 4)))
    depth, look = float(random.uniform(0.3, 0.6)), _look(random)
    back, front = pages.blank(dpi=DPI), pages.letter(seed=int(random.integers(1000)), dpi=DPI)
    sides = []
    for side, ends in ((back, (start, end)), (front, [(LETTER_MM[0] - x, y) for x, y in (start, end)])):
        pixels = np.array(side.pixels)
        places = [tuple(round(mm * DPI / MM_PER_INCH) for mm in place) for place in ends]
        cv2.line(pixels, *places, color=round(WHITE * (1 - depth)), thickness=round(0.5 * DPI / MM_PER_INCH))
        stapled = DrawnPage(pixels=np.minimum(pixels, side.pixels), dpi=DPI)
        askew_deg = float(random.uniform(-0.3, 0.3))
        sides.append(scanned(stapled, seed=int(random.integers(1 << 30)), skew_deg=askew_deg, **look).image())  # type: ignore[arg-type]
    return sides[0], sides[1]


def _ruled(sheet: Paper, random: Random) -> None:
    for y_mm in np.arange(25, 270, random.uniform(6, 9)):
        sheet.rule(0, float(y_mm), LETTER_MM[0], thick_mm=0.2)


def _ruled_paper(sheet: Paper, random: Random) -> PageImage:
    _ruled(sheet, random)
    return _scan(sheet, random, contrast=random.uniform(0.1, 0.25))


def _showing_through(random: Random) -> Drawn:
    return _sheet(pages.letter(seed=int(random.integers(1000)), dpi=DPI), random)


def _write(sheet: Paper, random: Random, text: str, size_pt: float, *, pale: int = 0, x_mm: float = -1.0) -> None:
    face = (Face.SERIF, Face.SANS, Face.SERIF_ITALIC, Face.TYPEWRITER)[random.integers(4)]
    left = x_mm if x_mm >= 0 else float(random.uniform(5, LETTER_MM[0] - 5 - len(text) * size_pt * 0.22))
    sheet.line(left, float(random.uniform(5, LETTER_MM[1] - 12)), text, face, size_pt, ink=pale)


def _few_words(sheet: Paper, random: Random) -> None:
    text = (str(random.integers(1, 99)), "JH", "Received 3 May 1987", "see file 47/B", "paid")[random.integers(5)]
    _write(sheet, random, text, float(random.choice((8, 10, 14))), pale=int(random.choice((0, 100, 170, 200, 215))))


def _pale_mark(sheet: Paper, random: Random) -> None:
    """A number or a stroke hardly darker than its paper, anywhere among the print that shows through."""
    if random.random() < 0.5:
        _write(
            sheet,
            random,
            str(random.integers(1, 999)),
            float(random.choice((8, 10, 12))),
            pale=int(random.integers(195, 232)),
        )
    else:
        x, y = float(random.uniform(20, 120)), float(random.uniform(30, 240))
        sheet.stroke(
            [(x, y), (x + random.uniform(4, 60), y + random.uniform(-2, 2))],
            thick_mm=0.4,
            ink=int(random.integers(150, 230)),
        )


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


BACKS: tuple[tuple[str, Callable[[Paper, Random], None] | None, float], ...] = (
    ("empty back", None, 0.0),
    ("empty back of uneven paper", None, 0.1),
    ("back with a few words", _few_words, 0.0),
    ("back with a mark as pale as can be", _pale_mark, 0.0),
)
EMPTY: dict[str, Callable[[Random], Drawn]] = {
    "clean or tinted": _on_paper(_scan),
    "dusty": _on_paper(lambda sheet, random: _scan(sheet, random, **_dust(random))),
    "punched": _on_paper(lambda sheet, random: _scan(sheet, random, **_punched(random))),
    "border in sight": _on_paper(lambda sheet, random: _scan(sheet, random, **_bordered(random))),
    "folded": _on_paper(_folded),
    "ruled paper": _on_paper(_ruled_paper),
    "showing through": _showing_through,
    "staple mark": _stapled,
}
WRITTEN: dict[str, Callable[[Random], Drawn]] = {
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
