"""Binarise images by doxapy's methods; run by the peers' Python: `doxa_peer.py images.npz inks.npz`.

The first file holds grey images by name. The second is written: for every image and method `name|method` the ink, as
packed bits in the order of the pixels, and `cpu_s|method`, the CPU seconds for all images.
"""

from __future__ import annotations

import sys
import time

import doxapy
import numpy as np

# windows and weights as in IMAGING 2.7
ALGORITHMS = doxapy.Binarization.Algorithms
METHODS = {
    "Otsu": (ALGORITHMS.OTSU, {}),
    "Sauvola": (ALGORITHMS.SAUVOLA, {"window": 75, "k": 0.2}),
    "NICK": (ALGORITHMS.NICK, {"window": 75, "k": -0.2}),
    "ISauvola": (ALGORITHMS.ISAUVOLA, {"window": 75, "k": 0.2}),
    "Wolf": (ALGORITHMS.WOLF, {"window": 75, "k": 0.2}),
    "Su": (ALGORITHMS.SU, {}),
}


def main(images_path: str, inks_path: str) -> None:
    """Read the one file, write the other."""
    inks = {}
    with np.load(images_path) as images:
        greys = {name: np.ascontiguousarray(images[name]) for name in images.files}
    for method, (algorithm, parameters) in METHODS.items():
        begin = time.process_time()
        for name, grey in greys.items():
            binary = np.empty_like(grey)
            binarization = doxapy.Binarization(algorithm)
            binarization.initialize(grey)
            binarization.to_binary(binary, parameters)
            inks[f"{name}|{method}"] = np.packbits(binary == 0)
        inks[f"cpu_s|{method}"] = np.array(time.process_time() - begin)
    np.savez(inks_path, **inks)


if __name__ == "__main__":
    main(*sys.argv[1:])
