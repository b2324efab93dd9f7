"""One page in memory: pixels, resolution, what was measured, and the words read on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.places import IDENTITY as IDENTITY
from stages.places import Affine as Affine  # part of what a page is, so stages find it here
from stages.places import Places, places_from

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]
Reading = float | int | str | bool | list[str] | list[float] | None

MM_PER_INCH = 25.4


class Box(NamedTuple):
    """A rectangle in pixels from the top left; right and bottom lie just outside it."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Columns covered."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Rows covered."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word as read; `confidence` runs from 0 to 1."""

    text: str
    box: Box
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Words on one line of text, in reading order; `block` numbers the paragraphs of the page from 0."""

    words: tuple[Word, ...]
    box: Box
    block: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLayer:
    """What was read on one page, in reading order.

    Boxes are pixels of the image that was read (`width_px` x `height_px`); `to_page` maps them to the pixels of the
    page as it is delivered (another image when recognition worked on a levelled or cleaned copy).
    `alto` is the engine's own ALTO document, in the pixels of the image that was read; empty if none was asked for.
    """

    lines: tuple[Line, ...]
    width_px: int
    height_px: int
    to_page: Places = IDENTITY
    languages: tuple[str, ...] = ()
    engine: str = ""
    alto: bytes = b""

    def words(self) -> Iterator[Word]:
        """All words in reading order."""
        for line in self.lines:
            yield from line.words

    @property
    def mean_confidence(self) -> float | None:
        """Mean of the words' confidences weighted by their length; None when nothing was read."""
        letters = sum(len(word.text) for word in self.words())
        if not letters:
            return None
        return sum(word.confidence * len(word.text) for word in self.words()) / letters

    @property
    def plain_text(self) -> str:
        """Lines as lines, with an empty line between blocks."""
        parts: list[str] = []
        block: int | None = None
        for line in self.lines:
            if block is not None and line.block != block:
                parts.append("")
            block = line.block
            parts.append(" ".join(word.text for word in line.words))
        return "\n".join(parts)

    def to_json(self) -> bytes:
        """Everything but the ALTO document, as compact JSON."""
        return json.dumps(
            {
                "width_px": self.width_px,
                "height_px": self.height_px,
                "to_page": list(self.to_page),
                "languages": list(self.languages),
                "engine": self.engine,
                "lines": [
                    {
                        "block": line.block,
                        "box": [round(v, 1) for v in line.box],
                        "words": [[w.text, *(round(v, 1) for v in w.box), round(w.confidence, 3)] for w in line.words],
                    }
                    for line in self.lines
                ],
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> TextLayer:
        """The layer that `to_json` wrote."""
        raw: dict[str, Any] = json.loads(data)
        return cls(
            width_px=raw["width_px"],
            height_px=raw["height_px"],
            to_page=places_from(raw["to_page"]),
            languages=tuple(raw["languages"]),
            engine=raw["engine"],
            lines=tuple(
                Line(
                    block=line["block"],
                    box=Box(*line["box"]),
                    words=tuple(Word(text=w[0], box=Box(*w[1:5]), confidence=w[5]) for w in line["words"]),
                )
                for line in raw["lines"]
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """A compressed stream that decodes to exactly the page's pixels, so that it can be delivered untouched.

    `codec` is `jpeg` (a whole JPEG file), `g4` (one CCITT G4 strip, no TIFF around it) or `jp2` (a whole JPEG 2000
    file). `black_is_1` is the CCITT parameter of that name in PDF (ISO 32000-1, 7.4.6), read as DeviceGray: False for
    a WhiteIsZero strip.
    """

    codec: Literal["jpeg", "g4", "jp2"]
    data: bytes
    width_px: int
    height_px: int
    channels: int
    black_is_1: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsampled:
    """The pixels a page had before it was resampled, and where places on the page lie on them."""

    pixels: Pixels
    places: Places


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """One side of a sheet in memory.

    `pixels` is `(rows, cols)` or `(rows, cols, 3)` RGB uint8, 0 black to 255 white; a bitonal page is
    `(rows, cols)` bool, True white. One `dpi` for both axes. `readings` are named `stage.quantity`.
    `encoded` is the scanner's own stream while the pixels are still exactly what it decodes to.
    `moved` maps places on this image to places on the image the list of stages began with.
    `unsampled` are the pixels to go back to when the page has been turned and must be moved again: one resampling
    instead of two. None where nothing has been resampled, or where something has been painted since.
    """

    pixels: Pixels
    dpi: float
    readings: Mapping[str, Reading] = field(default_factory=dict)
    text: TextLayer | None = None
    encoded: EncodedImage | None = None
    moved: Places = IDENTITY
    unsampled: Unsampled | None = None

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def is_bitonal(self) -> bool:
        """Whether every pixel is either ink or paper."""
        return self.pixels.dtype == np.bool_

    @property
    def is_colour(self) -> bool:
        """Whether there are three channels."""
        return self.pixels.ndim == 3

    @property
    def is_dpi_guessed(self) -> bool:
        """Whether the resolution is only a guess, so that nothing may be removed for its size in millimetres."""
        return self.readings.get("read.dpi_source") == "guessed"

    @property
    def is_dpi_known(self) -> bool:
        """Whether the file or its size says something of the resolution, so that it is not just what is usual."""
        return self.readings.get("read.dpi_source") != "profile"

    def px(self, mm: float) -> float:
        """How many pixels `mm` millimetres are on this page."""
        return mm * self.dpi / MM_PER_INCH

    def grey(self) -> npt.NDArray[np.uint8]:
        """The page as `(rows, cols)` uint8: colour by weighted luminance, bitonal as 0 and 255."""
        if self.is_bitonal:
            # some libraries keep True as byte 255, which numpy takes for True as well
            _, grey = cv2.threshold(self.pixels.view(np.uint8), 0, 255, cv2.THRESH_BINARY)
            return np.asarray(grey, dtype=np.uint8).reshape(self.pixels.shape)
        if self.is_colour:
            return np.asarray(cv2.cvtColor(np.asarray(self.pixels, dtype=np.uint8), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        return np.asarray(self.pixels, dtype=np.uint8)

    def with_pixels(self, pixels: Pixels, *, moved_by: Places = IDENTITY, **changes: Any) -> PageImage:
        """The page with other pixels; the scanner's own stream no longer fits and is dropped.

        `moved_by` maps places on the new pixels to places on the old ones; pixels that were moved must otherwise be
        the same, and pixels that were not have been painted. `changes` may hold `dpi`.
        """
        return replace(
            self,
            pixels=pixels,
            encoded=None,
            moved=self.moved.after(moved_by),
            unsampled=self._unsampled_after(moved_by),
            **changes,
        )

    def _unsampled_after(self, moved_by: Places) -> Unsampled | None:
        before = self.unsampled
        if moved_by == IDENTITY:
            return None
        if isinstance(moved_by, Affine) and moved_by.keeps_pixels:
            return before and replace(before, places=before.places.after(moved_by))
        if before is None:
            return Unsampled(pixels=self.pixels, places=moved_by)
        return replace(before, places=before.places.after(moved_by))

    def with_readings(self, stage: str, **quantities: Reading) -> PageImage:
        """The page with readings `stage.quantity` added; floats are rounded to 4 places."""
        named = {
            f"{stage}.{name}": round(value, 4) if isinstance(value, float) else value
            for name, value in quantities.items()
        }
        return replace(self, readings={**self.readings, **named})
