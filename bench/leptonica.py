"""Leptonica's skew finder, from the system's library, in a process of its own: a fault in it ends that process only.

`python -m bench.leptonica FILE...` prints a line of JSON for each file.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT

LIBRARY = "liblept.so.5"
# As pixDeskew does (skew.c): black below 130, sweep at a quarter of the size, search at half, down to 0.01 degrees.
THRESHOLD = 130
SWEEP_REDUCTION, SEARCH_REDUCTION = 4, 2
SWEEP_STEP_DEG, SEARCH_STEP_DEG = 1.0, 0.01
DEFAULT_SWEEP_DEG, OPENED_SWEEP_DEG = 7.0, 20.0
# pixDeskew turns from these on.
LEAST_ANGLE_DEG, LEAST_CONFIDENCE = 0.1, 3.0
SILENT = 6  # L_SEVERITY_NONE
FILES_A_PROCESS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LeptonicaSkew:
    """What Leptonica finds: positive where lines climb to the right. `sweep_deg` is how far either way it looked."""

    angle_deg: float
    confidence: float

    @property
    def turns(self) -> bool:
        """Whether pixDeskew would turn the page."""
        return abs(self.angle_deg) >= LEAST_ANGLE_DEG and self.confidence >= LEAST_CONFIDENCE


def leptonica_skews(files: Sequence[Path]) -> list[dict[float, LeptonicaSkew] | None]:
    """For each file what it finds by sweep range; None where the library fails, all None where there is none."""
    found: list[dict[float, LeptonicaSkew] | None] = []
    for start in range(0, len(files), FILES_A_PROCESS):
        some = files[start : start + FILES_A_PROCESS]
        done = subprocess.run(
            [sys.executable, "-m", "bench.leptonica", *map(str, some)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        for answer in [*answers, *[None] * (len(some) - len(answers))]:
            found.append(
                None
                if answer is None
                else {
                    sweep_deg: LeptonicaSkew(angle_deg=angle, confidence=confidence)
                    for sweep_deg, angle, confidence in answer
                }
            )
    return found


def _main() -> None:
    library = ctypes.CDLL(LIBRARY)
    pointer, number, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    library.pixRead.restype, library.pixRead.argtypes = pointer, [ctypes.c_char_p]
    library.pixConvertTo1.restype, library.pixConvertTo1.argtypes = pointer, [pointer, number]
    library.pixDestroy.argtypes = [ctypes.POINTER(pointer)]
    reals = ctypes.POINTER(real)
    library.pixFindSkewSweepAndSearchScore.argtypes = [
        *(pointer, reals, reals, reals, number, number),
        *(real, real, real, real),
    ]
    library.setMsgSeverity(SILENT)
    for file in sys.argv[1:]:
        read = pointer(library.pixRead(file.encode()))
        bitonal = pointer(library.pixConvertTo1(read, THRESHOLD))
        answers = []
        for sweep_deg in (DEFAULT_SWEEP_DEG, OPENED_SWEEP_DEG):
            angle, confidence, score = real(), real(), real()
            library.pixFindSkewSweepAndSearchScore(
                bitonal,
                *map(ctypes.byref, (angle, confidence, score)),
                *(SWEEP_REDUCTION, SEARCH_REDUCTION),
                *(0.0, sweep_deg, SWEEP_STEP_DEG, SEARCH_STEP_DEG),
            )
            answers.append((sweep_deg, angle.value, confidence.value))
        for image in (bitonal, read):
            library.pixDestroy(ctypes.byref(image))
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    _main()
