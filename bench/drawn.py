"""Pages drawn for the benches, and how good and poor scanners hand them over."""

from __future__ import annotations

from collections.abc import Callable

from fixtures.batches import SingleKind
from fixtures.pages import DrawnPage, letter, ruled_table, two_columns, typescript
from fixtures.scanner import ScannedPage, scanned
from fixtures.typefaces import Face

MOST_SKEW_DEG = 3.0
KINDS: dict[str, SingleKind] = {"clean": "tiff-g4", "grey": "jpeg", "poor": "jpeg"}

DRAWN: tuple[Callable[[int], DrawnPage], ...] = (
    lambda seed: letter(seed=seed),
    lambda seed: typescript(seed=seed),
    lambda seed: two_columns(seed=seed),
    lambda seed: letter(seed=seed, face=Face.SANS),
    lambda seed: ruled_table(seed=seed),
    lambda seed: letter(seed=seed, face=Face.MONO, size_pt=10.0),
    lambda seed: two_columns(seed=seed),
    lambda seed: typescript(seed=seed, unevenness=1.5),
)


def scan_of(page: DrawnPage, kind: str, *, skew_deg: float) -> ScannedPage:
    """The page as a good scanner in black and white, a good one in grey, or a poor one gives it."""
    if kind == "clean":
        return scanned(page, skew_deg=skew_deg, speckle_fraction=0.0002, blur_mm=0.04, noise_levels=3.0)
    if kind == "grey":
        return scanned(page, skew_deg=skew_deg, tint=245, contrast=0.9, blur_mm=0.06, noise_levels=3.0)
    return scanned(
        page,
        skew_deg=skew_deg,
        tint=215,
        contrast=0.6,
        shading=0.35,
        blur_mm=0.09,
        noise_levels=9.0,
        speckle_fraction=0.0008,
        lid="black",
        border_mm=4.0,
    )
