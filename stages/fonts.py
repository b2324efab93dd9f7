"""Typefaces for what the house prints itself: film targets, tickets, separators."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

# Liberation first: it has the widths of Arial and Courier, so a sheet looks the same on every installation.
# The first folder of each pair is Debian's, the second that of Fedora and its kin.
FOLDERS = (
    Path("/usr/share/fonts/truetype/liberation2"),
    Path("/usr/share/fonts/truetype/liberation"),
    Path("/usr/share/fonts/liberation-sans"),
    Path("/usr/share/fonts/liberation-mono"),
    Path("/usr/share/fonts/truetype/dejavu"),
    Path("/usr/share/fonts/dejavu-sans-fonts"),
    Path("/usr/share/fonts/dejavu-sans-mono-fonts"),
)
# (bold, mono) -> file names, best first
FILES = {
    (False, False): ("LiberationSans-Regular.ttf", "DejaVuSans.ttf"),
    (True, False): ("LiberationSans-Bold.ttf", "DejaVuSans-Bold.ttf"),
    (False, True): ("LiberationMono-Regular.ttf", "DejaVuSansMono.ttf"),
    (True, True): ("LiberationMono-Bold.ttf", "DejaVuSansMono-Bold.ttf"),
}


@lru_cache(maxsize=128)
def font(size_px: int, *, bold: bool = False, mono: bool = False) -> ImageFont.FreeTypeFont:
    """The house's typeface; `size_px` is the height of the em square.

    Raises:
        RuntimeError: neither Liberation nor DejaVu is installed; the message names the Debian packages.
    """
    # the basic engine, because Raqm is not on every machine and would place the letters otherwise
    return ImageFont.truetype(str(_file(bold, mono)), size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4)
def _file(bold: bool, mono: bool) -> Path:
    for name in FILES[bold, mono]:
        for folder in FOLDERS:
            if (folder / name).is_file():
                return folder / name
    raise RuntimeError(
        f"No typeface found ({' or '.join(FILES[bold, mono])}). "
        "Install the package fonts-liberation or fonts-dejavu-core."
    )
