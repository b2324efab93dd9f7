"""When a JPEG may be delivered as the scanner wrote it."""

from __future__ import annotations

from PIL import Image

from stages.page_image import EncodedImage

_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
_RGB_IDS = [ord("R"), ord("G"), ord("B")]


def delivered_jpeg(image: Image.Image, data: bytes) -> EncodedImage | None:
    """The stream `data` that `image` was opened from, if every reader decodes it to the same grey or RGB pixels.

    Left out are arithmetic and 12-bit coding, four channels, and colours that a PDF reader would guess differently:
    RGB that says so by its channel names alone, or by an Adobe mark beside a JFIF one.
    """
    if image.format != "JPEG" or image.mode not in ("L", "RGB"):
        return None
    if _frame_kind(data) not in (_BASELINE, _PROGRESSIVE):
        return None
    if image.mode == "RGB":
        adobe = image.info.get("adobe_transform")
        named_rgb = [layer[0] for layer in getattr(image, "layer", [])] == _RGB_IDS
        if (named_rgb and adobe is None) or (adobe == 0 and "jfif" in image.info):
            return None
    return EncodedImage(
        codec="jpeg",
        data=data,
        width_px=image.width,
        height_px=image.height,
        channels=1 if image.mode == "L" else 3,
    )


def _frame_kind(data: bytes) -> int:
    """The marker of the frame header (0xC0 to 0xCF), 0 if none is found."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker
        elif marker == 0xDA:
            return 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0
