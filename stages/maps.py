"""Small operations on maps of a page: how much is marked, and other sizes of it."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Surface = npt.NDArray[np.float32]
Pixel = TypeVar("Pixel", np.uint8, np.uint16)

NEIGHBOURS = np.ones((3, 3), np.uint8)
NO_REDUCTION = 1.01  # one row in a hundred more or less is not worth another resampling


def share(marked: Grey | Mask) -> float:
    """What part of all pixels is marked."""
    return int(np.count_nonzero(marked)) / marked.size


def span(grey: Grey) -> Grey:
    """By how much the pixels about each differ."""
    return np.asarray(cv2.subtract(cv2.dilate(grey, NEIGHBOURS), cv2.erode(grey, NEIGHBOURS)), dtype=np.uint8)


def mean_over(values: npt.NDArray[Any], side: int) -> Surface:
    """The mean over a square of `side` pixels about each."""
    mean = cv2.boxFilter(values, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mean, dtype=np.float32)


def shrunk(pixels: npt.NDArray[Pixel], factor: float) -> npt.NDArray[Pixel]:
    """The map reduced by area averaging."""
    while factor >= 2.0 and min(pixels.shape[:2]) >= 2:
        # halving is ten times as fast as reducing to a quarter at once
        rows, cols = pixels.shape[0] // 2, pixels.shape[1] // 2
        even = pixels[: rows * 2, : cols * 2]
        pixels = np.asarray(cv2.resize(even, (cols, rows), interpolation=cv2.INTER_AREA), dtype=pixels.dtype)
        factor /= 2.0
    if factor < NO_REDUCTION:
        return pixels
    size = (max(1, round(pixels.shape[1] / factor)), max(1, round(pixels.shape[0] / factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=pixels.dtype)


def stretched(pixels: Grey, shape: tuple[int, ...]) -> Grey:
    """The map in another, mostly larger size, even between its pixels."""
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def spread(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """The mask in another size, each pixel as it lies nearest."""
    marked = cv2.resize(mask.view(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(marked > 0)
