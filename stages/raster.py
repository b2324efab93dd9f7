"""What a decoder hands to `read`: pixels with what the file says of them, and the colour rules all decoders share."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms

from stages.errors import TooLarge, UnreadableImage
from stages.page_image import EncodedImage, Pixels

Bytes = npt.NDArray[np.uint8]

# Pillow's own guard stops at a fixed 179 megapixels; `check_size` is asked before any pixel is decoded instead
Image.MAX_IMAGE_PIXELS = None

MIN_PLAUSIBLE_DPI = 20.0  # half the coarsest fax axis ever used (98 dpi) and more; below it stands a placeholder (0, 1)
MAX_PLAUSIBLE_DPI = 10_000.0
LONGEST_SCANNER = 60  # characters of a device's name; real ones have 5 to 40
_LONGEST_WHICH = 24  # of what tells it from others of its model: serial numbers have 6 to 14, names of computers 15
_SYSTEMS = ("windows", "mac os", "macos", "os x", "linux")  # some programs name these where the computer's name belongs
MAX_AXIS_RATIO = 4.0  # fax at its coarsest is 204 x 98; beyond twice that the file does not mean it
CM_PER_INCH = 2.54
SAME_COLOUR_LEVELS = 3  # a profile that moves no probe colour by more than this is sRGB under another name
SRGB_PROBE_STEP = 51


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """One decoded image before it is turned, squared and given a resolution.

    `orientation` is the TIFF 6.0 value (1 to 8) that has yet to be obeyed. `dpi_x` and `dpi_y` are along the stored
    columns and rows, None where the file states none that can be meant. `dpi_chosen` says that the resolution is one
    we rendered at, not one that was found. `scanner` is the device as the file names it (see `scanner_name`).
    """

    pixels: Pixels
    format: str
    compression: str
    dpi_x: float | None = None
    dpi_y: float | None = None
    dpi_chosen: bool = False
    orientation: int = 1
    encoded: EncodedImage | None = None
    scanner: str = ""
    warnings: list[str] = field(default_factory=list)


def check_size(width_px: int, height_px: int, max_megapixels: float) -> None:
    """Refuse an image by its declared size, before anything is allocated for it.

    Raises:
        UnreadableImage: it has no pixels.
        TooLarge: it has more than `max_megapixels`.
    """
    if width_px < 1 or height_px < 1:
        raise UnreadableImage(f"its size is given as {width_px} x {height_px} pixels")
    megapixels = width_px * height_px / 1e6
    if megapixels > max_megapixels:
        raise TooLarge(megapixels, max_megapixels)


def plausible_dpi(dpi_x: float, dpi_y: float) -> tuple[float | None, float | None]:
    """The resolution as stated, or (None, None) where it cannot be meant (0, 1, beyond 10,000, wildly unequal)."""
    for dpi in (dpi_x, dpi_y):
        if not MIN_PLAUSIBLE_DPI <= dpi <= MAX_PLAUSIBLE_DPI:  # NaN fails this too
            return None, None
    if max(dpi_x, dpi_y) > MAX_AXIS_RATIO * min(dpi_x, dpi_y):
        return None, None
    return _snapped(dpi_x), _snapped(dpi_y)


def scanner_name(
    make: object, model: object, software: object, *, serial: object = None, computer: object = None
) -> str:
    """The device that made a file, in the file's own words: maker and model, else the program; "" if it names none.

    Two of one model are told apart by the serial number, else by the computer that they stand at, where the file says
    so. What is no text or bytes counts as not given. The words are a stranger's: only printable characters are kept,
    at most `LONGEST_SCANNER` of them.
    """
    maker, device, program, number, host = (_printable(one) for one in (make, model, software, serial, computer))
    if device and device.casefold().startswith(maker.casefold()):  # "Canon", "Canon DR-C240"
        maker = ""
    name = f"{maker} {device}".strip() or program
    if host.casefold().startswith(_SYSTEMS):
        host = ""
    which = f" no. {number[:_LONGEST_WHICH]}" if number else f" at {host[:_LONGEST_WHICH]}" if host else ""
    if not name:  # a number or a computer alone says nothing to whoever is sent there
        return ""
    return name[: LONGEST_SCANNER - len(which)].strip() + which.rstrip()


def _printable(text: object) -> str:
    if isinstance(text, bytes):
        text = text[: 4 * LONGEST_SCANNER].decode("utf-8", "replace")
    if not isinstance(text, str):
        return ""
    # a replacement sign stands for a byte that is no text; C strings end at their first null
    plain = text[: 4 * LONGEST_SCANNER].split("\0", 1)[0].replace("\N{REPLACEMENT CHARACTER}", " ")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())


def _snapped(dpi: float) -> float:
    # formats that count dots per metre or centimetre cannot say 300 dpi, only 299.9994 or 299.72
    nearest = round(dpi)
    return float(nearest) if abs(dpi - nearest) < 1e-3 * dpi and abs(dpi - nearest) < 0.3 else dpi


def to_eight_bits(samples: npt.NDArray[np.integer]) -> Bytes:
    """16-bit samples as 8-bit ones, rounded, so that 0 stays 0 and 65535 becomes 255."""
    flat = np.ascontiguousarray(samples).reshape(samples.shape[0], -1)
    return np.asarray(cv2.convertScaleAbs(flat, alpha=1 / 257), dtype=np.uint8).reshape(samples.shape)


def on_white(colour: Bytes, alpha: Bytes, *, premultiplied: bool = False) -> Bytes:
    """The picture laid on white paper: `(rows, cols[, 3])` and `(rows, cols)` alpha, 255 opaque."""
    if alpha.min(initial=255) == 255:
        return colour
    cover = alpha.astype(np.uint16)
    if colour.ndim == 3:
        cover = cover[:, :, None]
    ink = colour.astype(np.uint16)
    # rounded division by 255; the paper shows through by 255 x (255 - alpha) / 255
    laid = ink + (255 - cover) if premultiplied else (ink * cover + 255 * (255 - cover) + 127) // 255
    return np.asarray(np.minimum(laid, 255), dtype=np.uint8)


def without_idle_colour(pixels: Pixels) -> Pixels:
    """Grey `(rows, cols)` where red, green and blue are equal everywhere; anything else as it is."""
    if pixels.ndim != 3:
        return pixels
    colour = np.asarray(pixels, dtype=np.uint8)
    for part in (colour[::64], colour):  # most colour pages are told apart by a few rows
        red, green, blue = part[:, :, 0], part[:, :, 1], part[:, :, 2]
        if not (np.array_equal(red, green) and np.array_equal(green, blue)):
            return pixels
    return np.ascontiguousarray(colour[:, :, 0])


def bitonal_if_black_and_white(grey: Bytes) -> Pixels:
    """Bool where every pixel is 0 or 255, else as it is; for images that were stored with two colours only."""
    light = grey == 255
    return light if bool(np.all(light | (grey == 0))) else grey


def coloured(indices: npt.NDArray[np.integer], table: Bytes, *, two_colours: bool) -> Pixels:
    """Pixels of a palette image: `table` is `(n, 3)` uint8; an index beyond it is refused as damage.

    A table of greys gives grey; `two_colours` lets pure black and white become bitonal.
    """
    top = int(indices.max(initial=0))
    if top >= len(table):
        raise UnreadableImage(f"it uses colour {top} of a table of {len(table)}")
    if np.array_equal(table[:, 0], table[:, 1]) and np.array_equal(table[:, 1], table[:, 2]):
        grey: Bytes = table[:, 0][indices]
        return bitonal_if_black_and_white(grey) if two_colours else grey
    picked: Bytes = table[indices]
    return picked


def from_pillow(image: Image.Image, warnings: list[str], *, icc: bytes | None = None) -> tuple[Pixels, bool]:
    """The decoded pixels of a Pillow image by the house rules, and whether colours were converted on the way.

    Alpha is laid on white, CMYK, Lab and YCbCr become RGB, a profile that is not sRGB is applied (`icc` in place of
    the image's own), 16 bits become 8.
    """
    icc = icc if icc is not None else image.info.get("icc_profile")
    mode = image.mode
    if "transparency" in image.info:
        # tRNS of PNG and GIF: a colour or palette entries that are see-through
        laid = _laid(image.convert("RGBA"))
        if mode == "1":
            return bitonal_if_black_and_white(np.ascontiguousarray(laid[:, :, 0])), True
        return (in_srgb(laid, icc, warnings)[0] if icc and mode in ("P", "RGB") else laid), True
    if mode == "1":
        width, height = image.size
        packed = np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(height, -1)
        return np.unpackbits(packed, axis=1, count=width).view(np.bool_), False
    if mode == "P":
        table = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
        indices = np.asarray(image, dtype=np.uint8)
        pixels = coloured(indices, table, two_colours=int(indices.max(initial=0)) < 2)
        if pixels.dtype == np.bool_ or not icc:
            return pixels, True
        return in_srgb(np.asarray(pixels, dtype=np.uint8), icc, warnings)[0], True
    if mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        image = image.convert("RGBA") if mode == "PA" else image
        laid = _laid(image)
        return (in_srgb(laid, icc, warnings)[0] if icc else laid), True
    if mode.startswith("I;16") or mode == "I":
        wide = np.asarray(image)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise UnreadableImage("its samples are 32 bits deep")
        grey = to_eight_bits(wide.astype(np.uint16))
        return (in_srgb(grey, icc, warnings)[0] if icc else grey), True
    if mode == "CMYK":
        if image.format == "JPEG" and "adobe" not in image.info:
            image = ImageChops.invert(image)  # Pillow takes every such JPEG for Adobe's, whose inks are turned over
        return cmyk_in_srgb(image, icc, warnings), True
    if mode in ("L", "RGB"):
        pixels = np.asarray(image, dtype=np.uint8)
        return in_srgb(pixels, icc, warnings) if icc else (pixels, False)
    if mode in ("YCbCr", "HSV"):
        return np.asarray(image.convert("RGB"), dtype=np.uint8), True
    raise UnreadableImage(f"its pixels are of a kind that is not taken here ({mode})")


def _laid(image: Image.Image) -> Bytes:
    pixels = np.asarray(image, dtype=np.uint8)
    colour = pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3]
    return np.ascontiguousarray(on_white(colour, pixels[:, :, -1], premultiplied=image.mode in ("La", "RGBa")))


def in_srgb(pixels: Bytes, icc: bytes, warnings: list[str]) -> tuple[Bytes, bool]:
    """Grey or RGB pixels brought from their ICC profile to sRGB, and whether anything was changed.

    A profile that cannot be used, or is meant for another kind of image, is passed over with a warning.
    """
    grey = pixels.ndim == 2
    try:
        transform = _transform(icc, "L" if grey else "RGB")
        if grey:
            ramp = np.arange(256, dtype=np.uint8)[None, :]
            curve = np.asarray(ImageCms.applyTransform(Image.fromarray(ramp), transform))[0, :, 1]
            if np.abs(curve.astype(int) - ramp[0]).max() <= SAME_COLOUR_LEVELS:
                return pixels, False
            converted = np.asarray(cv2.LUT(pixels, curve), dtype=np.uint8)
        else:
            levels = np.arange(0, 256, SRGB_PROBE_STEP, dtype=np.uint8)
            probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
            seen = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform))
            if np.abs(seen.astype(int) - probe).max() <= SAME_COLOUR_LEVELS:
                return pixels, False
            converted = np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform), dtype=np.uint8)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        warnings.append(f"its colour profile could not be used ({error})")
        return pixels, False
    warnings.append(f"colours converted from {_profile_name(icc)} to sRGB")
    return converted, True


def cmyk_in_srgb(image: Image.Image, icc: bytes | None, warnings: list[str]) -> Bytes:
    """A Pillow CMYK image (255 full ink) in sRGB: by its profile, else by the plain rule, with a warning."""
    if icc:
        try:
            transform = _transform(icc, "CMYK")
            converted = np.asarray(ImageCms.applyTransform(image, transform), dtype=np.uint8)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            warnings.append(f"its colour profile could not be used ({error})")
        else:
            warnings.append(f"colours converted from {_profile_name(icc)} to sRGB")
            return converted
    warnings.append("printing inks (CMYK) without a usable profile: colours are approximate")
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def lab_in_srgb(lab: Bytes) -> Bytes:
    """CIE L*a*b* (D50), `(rows, cols, 3)` with a* and b* in two's complement, in sRGB."""
    source = ImageCms.createProfile("LAB", colorTemp=5000)
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "LAB", "RGB")
    rows, cols = lab.shape[:2]
    return np.asarray(
        ImageCms.applyTransform(Image.frombytes("LAB", (cols, rows), lab.tobytes()), transform), dtype=np.uint8
    )


def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    # relative colorimetric with black point compensation: paper stays white and no shadow is lost
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _profile_name(icc: bytes) -> str:
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
    except (ImageCms.PyCMSError, OSError):
        name = ""
    return name[:60] or "its own profile"
