"""Run the benches named on the command line, or all of them."""

from __future__ import annotations

import argparse
import os
import sys

import cv2

from bench import (
    alarms,
    binarise,
    blank,
    borders,
    chaos,
    characters,
    despeckle,
    dewarp,
    dropout,
    floor,
    formats,
    harm,
    holes,
    large,
    ledger,
    memory,
    orientation,
    prepare,
    quality,
    rules,
    scroll,
    separators,
    skew,
    speed,
    standing,
)

BENCHES = {
    "characters": characters.run,
    "skew": skew.run,
    "orientation": orientation.run,
    "binarise": binarise.run,
    "despeckle": despeckle.run,
    "blank": blank.run,
    "holes": holes.run,
    "borders": borders.run,
    "separators": separators.run,
    "dewarp": dewarp.run,
    "dropout": dropout.run,
    "rules": rules.run,
    "quality": quality.run,
    "alarms": alarms.run,
    "formats": formats.run,
    "harm": harm.run,
    "prepare": prepare.run,
    "speed": speed.run,
    "large": large.run,
    "floor": floor.run,
    "ledger": ledger.run,
    "chaos": chaos.run,
    "memory": memory.run,
    "standing": standing.run,
    "scroll": scroll.run,
}


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Platen beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(BENCHES)}; all if none is named")
    names = parser.parse_args().names or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    # Without the limit Tesseract's thread pool spins; every program measured here gets it, the peers too.
    os.environ["OMP_THREAD_LIMIT"] = "1"
    cv2.setNumThreads(1)
    for name in names:
        print(f"\n## {name}\n", flush=True)
        BENCHES[name]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
