"""Train the net of stages/orient.py on text drawn with open fonts, and write its weights.

    apt-get install FONT_PACKAGES...     (Debian 12; the script names what is missing)
    python bench/train_orient.py         about 3 CPU minutes; writes stages/orient_net.npz

Nothing scanned is used. Sheets of text are drawn at twice their size, worn (ink spread, broken strokes, uneven ribbon,
type out of line), turned by up to 20 degrees, scanned (blur, contrast, noise, specks, JPEG, threshold) and cut into
letters by the very function the stage uses. The net gives one score to one turn of a letter; trained is that the
upright turn scores above the other three, and that scribbles, blobs and rules score alike in all four.
The seed fixes everything but the last bits of the matrix products, which differ between processors.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from stages.analysis import ink_parts
from stages.orient import WEIGHTS, WINDOW_PX, letters_of

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FONT_PACKAGES = (
    # book and office faces
    "fonts-averia-serif-gwf",
    "fonts-cardo",
    "fonts-cmu",
    "fonts-crosextra-caladea",
    "fonts-crosextra-carlito",
    "fonts-dejavu-core",
    "fonts-dejavu-extra",
    "fonts-ebgaramond",
    "fonts-freefont-ttf",
    "fonts-gfs-didot",
    "fonts-goudybookletter",
    "fonts-liberation2",
    "fonts-lindenhill",
    "fonts-linuxlibertine",
    "fonts-lmodern",
    "fonts-oldstandard",
    "fonts-open-sans",
    "fonts-quattrocento",
    "fonts-roboto-slab",
    "fonts-sil-gentium-basic",
    "fonts-urw-base35",
    "fonts-vollkorn",
    # typewriter and terminal
    "fonts-3270",
    "fonts-courier-prime",
    "fonts-gnutypewriter",
    "fonts-inconsolata",
    # old type and blackletter
    "fonts-blankenburg",
    "fonts-essays1743",
    "fonts-gotico-antiqua",
    "fonts-isabella",
    "fonts-junicode",
)
LARGE_PACKAGES = ("fonts-cmu", "fonts-lmodern", "fonts-urw-base35", "fonts-gotico-antiqua")  # many families in each
UNFIT_FACES = (
    *("D050000L", "StandardSymbols", "Initials", "math", "cmunui"),  # no text faces, or upright italics
    *("LinLibertine_I", "LinBiolinum_K", "LinLibertine_K", "Condensed", "Light", "Thin"),
)

LATIN = "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnssssssrrrrrrhhhhhhddddllllccmmwfgypbvkjxqz" + "äöüßéèêçåøæñ"
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜÉ"
# Without other scripts the net was surely wrong on some (Tamil by 0.9 nat a letter, Devanagari by 0.7).
OTHER_SCRIPTS = {
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώαεηιοτνσρ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяоеаинтсрвл",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשתםןץ",
    "arabic": "".join(map(chr, range(0xFE80, 0xFEF5))),  # its letters as they look when joined
    "armenian": "".join(map(chr, range(0x561, 0x587))),
    "georgian": "".join(map(chr, range(0x10D0, 0x10F1))),
    "devanagari": "".join(map(chr, range(0x905, 0x93A))),
    "tamil": "அஆஇஈஉஊஎஏஐஒகஙசஞடணதநபமயரலவழளறன",
    "thai": "".join(map(chr, range(0xE01, 0xE2F))),
}
ENGLISH = Path("/usr/share/common-licenses/GPL-3")  # on every Debian machine
KINDS = {"english": 30, "latin": 22, "capitals": 14, "title": 6, "digits": 18, "codes": 4}
COMMON_SCRIPTS = {"greek": 7, "cyrillic": 9}

SHEET_PX = (620, 480)
OVERDRAW = 2
LETTER_SIZE_PX = (10, 44)  # of the em: 6 pt at 100 dpi to 21 pt at 150 dpi
SKEW_DEG = 20.0
DRAWN_DPI = 150.0
LETTERS_A_SHEET = 160
NONSENSE_SHARE = 0.12
RARE_SCRIPT_SHARE = 0.08

HIDDEN = (160, 40)
BATCH = 256
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheets", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    start_s = time.process_time()
    windows, is_text = letters(arguments.sheets, arguments.seed)
    print(f"{len(windows)} letters, {time.process_time() - start_s:.0f} CPU s", flush=True)
    weights = trained(windows, is_text, epochs=arguments.epochs, seed=arguments.seed)
    names = ("w1", "b1", "w2", "b2", "w3")
    half = {name: weight.astype(np.float16) for name, weight in zip(names, weights, strict=True)}
    np.savez_compressed(arguments.out, **half)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, {time.process_time() - start_s:.0f} CPU s")


def letters(count: int, seed: int) -> tuple[Grey, npt.NDArray[np.bool_]]:
    """Windows cut from `count` sheets, and which of them show text."""
    windows, is_text = [], []
    for number, (sheet, text) in enumerate(sheets(count, seed)):
        # Cut in all turns alike: whatever the cutting does to one side must not tell the net which side is up.
        parts = ink_parts(np.ascontiguousarray(np.rot90(sheet, number)), DRAWN_DPI)
        found = np.rot90(letters_of(parts, DRAWN_DPI).windows, -number, axes=(1, 2))
        found = found[:: max(1, math.ceil(len(found) / LETTERS_A_SHEET))]
        windows.append(found)
        is_text.append(np.full(len(found), text))
    return np.concatenate(windows), np.concatenate(is_text)


# ------------------------------------------------------------------------------------------------------------- drawing


def sheets(count: int, seed: int) -> Iterator[tuple[Grey, bool]]:
    """Sheets as scanned, and whether they show text."""
    rnd, noise = random.Random(seed), np.random.default_rng(seed)
    families = font_families()
    names = sorted(families)
    shares = [math.sqrt(len(families[name])) for name in names]
    rare = [
        (font, script)
        for script, alphabet in OTHER_SCRIPTS.items()
        for name in names
        for font in families[name]
        if script not in COMMON_SCRIPTS and has_letter(font, alphabet[0])
    ]
    for _ in range(count):
        if rnd.random() < NONSENSE_SHARE:
            yield nonsense(rnd, noise), False
        else:
            font, script = rnd.choice(families[rnd.choices(names, shares)[0]]), None
            if rnd.random() < RARE_SCRIPT_SHARE:
                font, script = rnd.choice(rare)
            em_px = round(math.exp(rnd.uniform(*map(math.log, LETTER_SIZE_PX))))
            worn = worn_ink(text_sheet(font, em_px, rnd, only=script), em_px, rnd, noise)
            yield scanned(worn, em_px, rnd, noise), True


def font_families() -> dict[str, list[str]]:
    """Font files by family."""
    families: dict[str, list[str]] = {}
    missing = []
    for package in FONT_PACKAGES:
        listing = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False)
        if listing.returncode:
            missing.append(package)
        for line in sorted(listing.stdout.splitlines()):
            name = Path(line).name
            if line.endswith((".ttf", ".otf")) and not any(part in name for part in UNFIT_FACES):
                families.setdefault(package + (name[:7] if package in LARGE_PACKAGES else ""), []).append(line)
    if missing:
        raise SystemExit("apt-get install " + " ".join(missing))
    return families


@cache
def has_letter(font: str, letter: str) -> bool:
    return ord(letter) in TTFont(font, lazy=True).getBestCmap()


@cache
def english_words() -> list[str]:
    return ENGLISH.read_text().split()


def word(kind: str, rnd: random.Random) -> str:
    def some(alphabet: str, most: int) -> str:
        return "".join(rnd.choice(alphabet) for _ in range(rnd.randint(1, most)))

    match kind:
        case "english":
            return rnd.choice(english_words())
        case "title":
            return rnd.choice(english_words()).title()
        case "capitals":
            return rnd.choice(english_words()).upper() if rnd.random() < 0.6 else some(CAPITALS, 9)
        case "latin":
            return some(LATIN, 11) + rnd.choice([""] * 8 + list(",.;:-!?"))
        case "codes":
            return some("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", 8)
        case "digits":
            digits = some("0123456789", 7)
            forms = [digits] * 5 + [f"{digits}.{digits[:2]}"] * 3
            forms += [f"${digits}", f"{digits[:3]},{digits[3:]}", f"{digits[:2]}/{digits[2:4]}"]
            return rnd.choice([*forms, f"{digits[:3]}-{digits[3:]}", f"{digits}%"])
        case _:
            return some(OTHER_SCRIPTS[kind], 9)


def text_sheet(font_file: str, em_px: int, rnd: random.Random, *, only: str | None = None) -> Grey:
    """Lines of many kinds of text or of one script only, black on white, `OVERDRAW` times larger than they will be."""
    em = em_px * OVERDRAW
    width, height = (side * OVERDRAW for side in SHEET_PX)
    font = ImageFont.truetype(font_file, em)
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    weights = dict(KINDS)
    for script, share in COMMON_SCRIPTS.items():
        if has_letter(font_file, OTHER_SCRIPTS[script][0]):
            weights[script] = share
    kinds = rnd.choices(list(weights), list(weights.values()), k=40)
    if rnd.random() < 0.45:
        kinds = kinds[:1]
    if only:
        kinds = [only]
    typed = rnd.random() < (0.6 if font.getlength("i") == font.getlength("m") else 0.1)
    tracking = rnd.choice([0.02, 0.05, 0.12, -0.03]) * em if rnd.random() < 0.22 else 0.0
    leading = rnd.choice([1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2, 3.0])
    tabular, underlined = rnd.random() < 0.12, rnd.random() < 0.08
    y = rnd.uniform(0, em)
    while y < height:
        kind = rnd.choice(kinds)
        x = rnd.uniform(-2 * em, 3 * em) if rnd.random() < 0.7 else rnd.uniform(0, width / 2)
        gap = " " * (rnd.randint(3, 9) if tabular else 1)
        line = gap.join(word(kind, rnd) for _ in range(max(2, SHEET_PX[0] // em_px // 2)))
        if kind in ("greek", "cyrillic") and rnd.random() < 0.25:
            line = line.upper()
        if rnd.random() < 0.25:
            line = line[: rnd.randint(3, max(4, len(line)))]
        if typed or tracking:
            typed_line(draw, (x, y), line, font, rnd, tracking=tracking, loose=0.025 * em if typed else 0.0)
        else:
            draw.text((x, y), line, font=font, fill=0)
        if underlined or rnd.random() < 0.04:
            below = y + 1.15 * em
            draw.line([(max(0.0, x), below), (x + font.getlength(line), below)], fill=0, width=max(1, em // 14))
        y += em * leading * (1.6 if rnd.random() < 0.1 else 1.0)
    if tabular and rnd.random() < 0.5:
        for x in range(rnd.randint(40, 160), width, rnd.randint(120, 320)):
            draw.line([(x, 0), (x, height)], fill=0, width=OVERDRAW * rnd.randint(1, 2))
    return np.asarray(image)


def typed_line(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    line: str,
    font: ImageFont.FreeTypeFont,
    rnd: random.Random,
    *,
    tracking: float,
    loose: float,
) -> None:
    """Letter by letter, as a typewriter does: out of line by about `loose` pixels, and not all equally black."""
    x, y = at
    for letter in line:
        if x > SHEET_PX[0] * OVERDRAW:
            return
        place = x + rnd.gauss(0, loose), y + rnd.gauss(0, loose)
        draw.text(place, letter, font=font, fill=round(max(0.0, rnd.gauss(25, 35))) if loose else 0)
        x += font.getlength(letter) + tracking


def clouds(shape: tuple[int, ...], size_px: float, noise: np.random.Generator) -> Floats:
    """Smooth noise of about unit spread whose spots are `size_px` wide."""
    step = max(1, int(size_px))
    coarse = noise.standard_normal((shape[0] // step + 3, shape[1] // step + 3), np.float32)
    return np.asarray(cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def worn_ink(sheet: Grey, em_px: int, rnd: random.Random, noise: np.random.Generator) -> Floats:
    """Ink spread and thin places: letters run together or break."""
    page = sheet.astype(np.float32)
    if rnd.random() < 0.55:
        spread_px = rnd.uniform(0.25, 1.0) * OVERDRAW * min(1.5, max(0.5, em_px / 22))
        uneven = rnd.choice([0, 15, 35]) * clouds(page.shape, rnd.choice([6, 12, 40, 160]), noise)
        level = rnd.uniform(70, 190) + uneven
        page = 255 / (1 + np.exp((level - cv2.GaussianBlur(page, (0, 0), spread_px)) / rnd.choice([4, 12, 25])))
    if rnd.random() < 0.15:
        ribbon = np.clip(0.9 + 0.35 * clouds(page.shape, rnd.choice([4, 8, 20]), noise), 0.15, 1)
        page = 255 - (255 - page) * ribbon
    return page.astype(np.float32)


def scanned(page: Floats, em_px: int, rnd: random.Random, noise: np.random.Generator) -> Grey:
    """The sheet at its own size as a scanner sees it: turned, blurred, tinted, noisy, sometimes bitonal."""
    skew_deg = rnd.uniform(-SKEW_DEG, SKEW_DEG) if rnd.random() < 0.5 else rnd.gauss(0, 1.5)
    width, height = SHEET_PX
    centre = width * OVERDRAW / 2, height * OVERDRAW / 2
    turn = cv2.getRotationMatrix2D(centre, skew_deg, 1 / OVERDRAW)
    turn[:, 2] += np.array([width, height]) / 2 - centre
    page = cv2.warpAffine(cv2.GaussianBlur(page, (0, 0), 0.35 * OVERDRAW), turn, SHEET_PX, borderValue=(255,))
    if rnd.random() < 0.6:
        page = cv2.GaussianBlur(page, (0, 0), rnd.uniform(0.3, 1.1) * min(1.6, max(0.7, em_px / 22)))
    paper = rnd.uniform(150, 255)
    ink = rnd.uniform(0, 0.62) * paper if rnd.random() < 0.5 else rnd.uniform(0, 60)
    page = ink + (paper - ink) * page / 255 + rnd.uniform(0, 10) * clouds(page.shape, 90, noise)
    page += rnd.choice([0, 1, 2, 4, 8, 14]) * noise.standard_normal(page.shape, np.float32)
    if rnd.random() < 0.25:
        grain = cv2.GaussianBlur(noise.standard_normal(page.shape, np.float32), (0, 0), 1)
        page += rnd.uniform(3, 25) * grain
    sheet = np.clip(page, 0, 255).astype(np.uint8)
    if rnd.random() < 0.5:
        for _ in range(rnd.choice([20, 100, 300])):
            place = rnd.randrange(width), rnd.randrange(height)
            cv2.circle(sheet, place, rnd.randrange(3), rnd.choice([0, 30, 255]), -1)
    if rnd.random() < 0.35:
        _, packed = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, rnd.randint(15, 90)])
        sheet = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
    if rnd.random() < 0.35:
        dark, light = np.percentile(sheet, [2, 90])
        sheet = np.where(sheet < dark + (light - dark) * rnd.uniform(0.3, 0.8), 0, 255).astype(np.uint8)
    return sheet


def nonsense(rnd: random.Random, noise: np.random.Generator) -> Grey:
    """Marks of letter size that have no upright: scribbles, blobs, dashes, dots, shapes, texture."""
    width, height = SHEET_PX
    sheet = np.full((height, width), 255, np.uint8)
    kind = rnd.choice(["scribbles", "scribbles", "texture", "blobs", "dashes", "dots", "shapes"])
    if kind == "texture":
        sheet[clouds(sheet.shape, rnd.choice([3, 5, 8, 12]), noise) > rnd.uniform(0.3, 1.3)] = 0
    if kind == "dots":
        pitch = rnd.choice([12, 16, 22])
        for y in range(0, height, pitch):
            for x in range(0, width, pitch):
                cv2.circle(sheet, (x + rnd.randint(-1, 1), y + rnd.randint(-1, 1)), rnd.randint(2, pitch // 2), 0, -1)
    stroke = rnd.choice([2, 3, 4.5, 7])
    for _ in range({"texture": 0, "dots": 0, "scribbles": 170}.get(kind, 300)):
        x, y = rnd.randrange(width), rnd.randrange(height)
        if kind == "scribbles":
            steps = noise.standard_normal((rnd.randint(4, 40), 2)) * stroke
            for i in range(1, len(steps)):
                steps[i] += 0.75 * steps[i - 1]
            path = np.add((x, y), steps.cumsum(axis=0)).astype(np.int32)
            cv2.polylines(sheet, [path], False, 0, rnd.randint(1, 3), cv2.LINE_AA)
        elif kind == "blobs":
            axes = rnd.randint(2, 10), rnd.randint(2, 10)
            cv2.ellipse(sheet, (x, y), axes, rnd.randint(0, 180), 0, 360, 0, rnd.choice([-1, -1, 1, 2]))
        elif kind == "dashes":
            end = x + rnd.randint(-14, 14), y + rnd.randint(-14, 14)
            cv2.line(sheet, (x, y), end, 0, rnd.randint(1, 3), cv2.LINE_AA)
        else:
            reach = rnd.randint(4, 11)
            corners = [
                (x + rnd.randint(-reach, reach), y + rnd.randint(-reach, reach)) for _ in range(rnd.randint(3, 6))
            ]
            cv2.polylines(sheet, [np.array(corners, np.int32)], rnd.random() < 0.5, 0, rnd.randint(1, 2), cv2.LINE_AA)
    if rnd.random() < 0.5:
        sheet = np.asarray(cv2.GaussianBlur(sheet, (0, 0), rnd.uniform(0.3, 1)), np.uint8)
    grain = rnd.choice([0, 3, 8]) * noise.standard_normal(sheet.shape)
    return np.clip(sheet + grain, 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------------ training


def trained(windows: Grey, is_text: npt.NDArray[np.bool_], *, epochs: int, seed: int) -> list[Floats]:
    """Weights after `epochs` passes by Adam (Kingma and Ba 2015, arXiv:1412.6980), its rate falling as a cosine."""
    noise = np.random.default_rng(seed)
    sizes = (WINDOW_PX * WINDOW_PX, *HIDDEN)
    weights: list[Floats] = []
    for inputs, outputs in pairwise(sizes):
        weights.append(noise.standard_normal((inputs, outputs), np.float32) * np.float32(math.sqrt(2 / inputs)))
        weights.append(np.zeros(outputs, np.float32))
    weights.append(noise.standard_normal(HIDDEN[-1], np.float32) * np.float32(0.1))
    means = [np.zeros_like(weight) for weight in weights]
    squares = [np.zeros_like(weight) for weight in weights]
    batches = len(windows) // BATCH
    step = 0
    for epoch in range(epochs):
        order = noise.permutation(len(windows))
        loss = 0.0
        for batch in range(batches):
            chosen = order[batch * BATCH : (batch + 1) * BATCH]
            gradients, batch_loss = gradients_of(weights, windows[chosen], is_text[chosen])
            loss += batch_loss / batches
            step += 1
            rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / (epochs * batches))) + 1e-5
            for i, gradient in enumerate(gradients):
                means[i] = 0.9 * means[i] + 0.1 * gradient
                squares[i] = 0.999 * squares[i] + 0.001 * gradient**2
                move = (means[i] / (1 - 0.9**step)) / (np.sqrt(squares[i] / (1 - 0.999**step)) + 1e-8)
                if weights[i].ndim == 2:
                    move = move + WEIGHT_DECAY * weights[i]
                weights[i] = (weights[i] - np.float32(rate) * move).astype(np.float32)
        print(f"epoch {epoch}: {loss:.4f} nat a letter", flush=True)
    return weights


def gradients_of(weights: list[Floats], windows: Grey, is_text: npt.NDArray[np.bool_]) -> tuple[list[Floats], float]:
    """Gradients and mean loss: text should choose turn 0 of its four, nonsense none of them."""
    w1, b1, w2, b2, w3 = weights
    count = len(windows)
    turned = np.concatenate([np.rot90(windows, turn, axes=(1, 2)).reshape(count, -1) for turn in range(4)])
    flat = turned.astype(np.float32) * np.float32(1 / 255)
    hidden = np.maximum(flat @ w1 + b1, 0)
    narrow = np.maximum(hidden @ w2 + b2, 0)
    scores = (narrow @ w3).reshape(4, count)
    chances = np.exp(scores - scores.max(axis=0))
    chances /= chances.sum(axis=0)
    wanted = np.where(is_text, np.array([[1.0], [0.0], [0.0], [0.0]]), 0.25).astype(np.float32)
    loss = float(-(wanted * np.log(chances + 1e-9)).sum() / count)
    at_score = ((chances - wanted) / count).reshape(-1)
    at_narrow = np.outer(at_score, w3) * (narrow > 0)
    at_hidden = (at_narrow @ w2.T) * (hidden > 0)
    gradients = [
        flat.T @ at_hidden,
        at_hidden.sum(axis=0),
        hidden.T @ at_narrow,
        at_narrow.sum(axis=0),
        narrow.T @ at_score,
    ]
    return gradients, loss


if __name__ == "__main__":
    main()
