"""The real scans that show text, and copies of them turned by known angles on another surround."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from bench import REAL_SCANS
from stages.page_image import PageImage
from stages.read import Settings, is_supported, read_page

FOLDERS = ("ocr-truth/*", "borders-holes", "binarise", "pdf", "formats")
LEFT_OUT = (
    *("imgsrcE001", "_gt"),  # two pages with two skews; ground truth of binarisation
    *("ccitt.pdf", "jbig2.pdf", "cardinal.pdf", "skew.pdf"),  # the sheet of ocrmypdf-linn.png again
    *("kcs.pdf", "H02.png", "H04.png"),  # six words; handwriting by a brush-like pen
    "tickets",  # nine slips, each at an angle of its own
)
LEAST_SHORT_SIDE_PX = 300  # below it lie the colour squares and single lines among the formats
PAPER_PERCENTILE = 90
FORMATS_WITH_TEXT = ("pport_g4.tif", "tiff-jpeg-receipt.tif", "total-pages-zero.tif")


class Surround(StrEnum):
    """What lies around a page that was turned."""

    PAPER = "paper"
    WHITE = "white"
    BLACK = "black"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPage:
    """A real scan as Platen reads it, standing upright."""

    name: str
    image: PageImage


def text_pages() -> Iterator[RealPage]:
    """The first page of every file that shows lines of text, in the order of their names."""
    for folder in FOLDERS:
        for path in sorted(REAL_SCANS.glob(f"{folder}/*")):
            if path.is_dir() or any(part in path.name for part in LEFT_OUT) or not is_supported(path):
                continue
            if folder == "formats" and path.name not in FORMATS_WITH_TEXT:
                continue
            image = read_page(path, 0, Settings())
            if min(image.width_px, image.height_px) >= LEAST_SHORT_SIDE_PX:
                yield RealPage(name=path.name, image=image)


def turned(page: PageImage, angle_deg: float, surround: Surround) -> PageImage:
    """The page turned counter-clockwise about its middle, in a frame that holds all of it.

    A bitonal page stays bitonal: it is turned as grey and cut at half.
    """
    grey = page.grey()
    level = {Surround.WHITE: 255, Surround.BLACK: 0}.get(surround, int(np.percentile(grey[::4, ::4], PAPER_PERCENTILE)))
    rows, cols = grey.shape
    cos, sin = abs(math.cos(math.radians(angle_deg))), abs(math.sin(math.radians(angle_deg)))
    size = math.ceil(cols * cos + rows * sin), math.ceil(rows * cos + cols * sin)
    matrix = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), angle_deg, 1.0)
    matrix[:, 2] += (size[0] - cols) / 2, (size[1] - rows) / 2
    flag = cv2.INTER_LINEAR if page.is_bitonal else cv2.INTER_CUBIC
    pixels = np.asarray(cv2.warpAffine(grey, matrix, size, flags=flag, borderValue=(level,)), dtype=np.uint8)
    return PageImage(pixels=pixels > 127 if page.is_bitonal else pixels, dpi=page.dpi, readings=page.readings)
