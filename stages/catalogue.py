"""The page stages: one line each. A profile names them in the order in which a page flows through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stages import (
    background,
    binarize,
    blank,
    crop,
    deskew,
    despeckle,
    dewarp,
    dropout,
    holes,
    ocr,
    orient,
    quality,
    rules,
    separators,
)
from stages.page_image import PageImage
from stages.settings import StageSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """A step that takes a page and gives a page.

    `version` is raised when pixels or readings would come out differently: the ledger records it. `moves_pixels`
    says that words found before this stage would no longer lie on their ink.

    `acts_on` says on which image it works: `page`, as it comes along the list; `scan`, the scan whose grey recognition
    lays under the clean page, too; or `copy`, what is read once that grey lies there. What takes print off a page is
    never for the page that is delivered, so the last two stand in `[[recognize]]` only.
    """

    name: str
    version: int
    run: Callable[[PageImage, Any], PageImage]  # Any: each stage takes its own settings class, named beside it
    settings: type[StageSettings]
    moves_pixels: bool = False
    acts_on: Literal["page", "scan", "copy"] = "page"


PAGE_STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("orient", 2, orient.orient, orient.Settings, moves_pixels=True),
        Stage("crop", 2, crop.crop, crop.Settings, moves_pixels=True),
        Stage("deskew", 3, deskew.deskew, deskew.Settings, moves_pixels=True),
        Stage("dewarp", 1, dewarp.dewarp, dewarp.Settings, moves_pixels=True),
        Stage("holes", 2, holes.holes, holes.Settings),
        Stage("separators", 3, separators.separators, separators.Settings),
        Stage("blank", 5, blank.blank, blank.Settings),
        Stage("quality", 4, quality.quality, quality.Settings),
        Stage("background", 1, background.background, background.Settings),
        Stage("binarize", 4, binarize.binarize, binarize.Settings),
        Stage("despeckle", 9, despeckle.despeckle, despeckle.Settings),
        Stage("dropout", 1, dropout.dropout, dropout.Settings, acts_on="scan"),
        Stage("rules", 1, rules.rules, rules.Settings, acts_on="copy"),
        Stage("ocr", 2, ocr.ocr, ocr.Settings),
    )
}
