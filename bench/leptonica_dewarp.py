"""Leptonica's dewarping, from the system's library, in a process of its own: a fault in it ends that process only.

`python -m bench.leptonica_dewarp PAGE OUT [OTHER OTHER_OUT...]` bends the page, and the other images as the page.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

from bench import ROOT
from bench.leptonica import LIBRARY, SILENT

# As Leptonica's own example calls it, but for the edges of columns: it is measured on how level it makes the lines.
THRESHOLD, ADAPTIVE, BOTH_WAYS, CHECK_COLUMNS = 0, 1, 0, 1
PAGE_NUMBER = 0  # what dewarpSinglePage files its page under
OUTSIDE_GREY = 255
PNG = 3  # IFF_PNG


def bent_by_leptonica(page: Path, out: Path, others: dict[Path, Path]) -> bool:
    """Whether Leptonica wrote `out`, the page bent straight, and every other image bent by the same surface."""
    command: list[str | Path] = [sys.executable, "-m", "bench.leptonica_dewarp", page, out]
    for image, image_out in others.items():
        command += [image, image_out]
    for path in (out, *others.values()):
        path.unlink(missing_ok=True)
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return all(path.exists() for path in (out, *others.values()))


def _main() -> None:
    library = ctypes.CDLL(LIBRARY)
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    places = ctypes.POINTER(pointer)
    library.pixRead.restype, library.pixRead.argtypes = pointer, [text]
    library.pixWrite.argtypes = [text, pointer, number]
    library.dewarpSinglePage.argtypes = [pointer, number, number, number, number, places, places, number]
    library.dewarpaApplyDisparity.argtypes = [pointer, number, pointer, number, number, number, places, text]
    library.setMsgSeverity(SILENT)
    page, out, *others = sys.argv[1:]
    bent, model = pointer(), pointer()
    failed = library.dewarpSinglePage(
        pointer(library.pixRead(page.encode())),
        *(THRESHOLD, ADAPTIVE, BOTH_WAYS, CHECK_COLUMNS),
        *(ctypes.byref(bent), ctypes.byref(model), 0),
    )
    if failed or not bent or not model:
        return
    library.pixWrite(out.encode(), bent, PNG)
    for image, image_out in zip(others[::2], others[1::2], strict=True):
        moved = pointer()
        read = pointer(library.pixRead(image.encode()))
        library.dewarpaApplyDisparity(model, PAGE_NUMBER, read, OUTSIDE_GREY, 0, 0, ctypes.byref(moved), None)
        if moved:
            library.pixWrite(image_out.encode(), moved, PNG)


if __name__ == "__main__":
    _main()
