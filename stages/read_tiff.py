"""One page of a TIFF file as pixels: strips and tiles, bit depths, byte orders, colour kinds.

libtiff undoes compression (`tiff_codecs`) and Pillow's JPEG decoder reads JPEG strips; layout and colour are done
here, after every size has been checked against the file.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from stages import tiff_codecs as codecs
from stages.errors import UnreadableImage
from stages.page_image import EncodedImage, Pixels
from stages.raster import (
    CM_PER_INCH,
    Bytes,
    Raster,
    check_size,
    cmyk_in_srgb,
    coloured,
    in_srgb,
    lab_in_srgb,
    on_white,
    plausible_dpi,
    scanner_name,
    to_eight_bits,
)
from stages.tiff_tags import Value, page_offsets, page_tags

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, INKS, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 4, 5, 6, 8, 9
_COLOURS: Final = {
    WHITE_IS_ZERO: 1,
    BLACK_IS_ZERO: 1,
    RGB: 3,
    PALETTE: 1,
    MASK: 1,
    INKS: 4,
    YCBCR: 3,
    CIELAB: 3,
    ICCLAB: 3,
}
MAKE, MODEL, SOFTWARE, HOST_COMPUTER = 271, 272, 305, 316  # TIFF 6.0, section 8
SERIAL_NUMBER = 50735  # CameraSerialNumber; DNG 1.7, chapter 4
MAX_SAMPLES = 8  # colours and alphas of one pixel
MAX_GROWTH = 8  # of compressed against plain bytes; the worst G4 is sixfold
SMALL_FILE_BYTES = 1 << 20
_PREDICTED = frozenset({codecs.LZW, codecs.DEFLATE, codecs.OLD_DEFLATE, codecs.LZMA, codecs.ZSTD})
_SCALES: Final = {1: 255, 2: 85, 4: 17, 8: 1}  # from the sample's own top value to 255
_REC601 = (0.299, 0.587, 0.114)  # TIFF 6.0, section 21: the default YCbCrCoefficients
_REFERENCE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)  # where chroma has no headroom

Samples = npt.NDArray[np.integer]  # uint8 or uint16
_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """One page's tags, checked: sizes agree with each other and the chunks lie within the file.

    `chunk_cols` x `chunk_rows` is a tile, or a strip as wide as the page; `chunks` holds (offset, bytes) of each,
    plane by plane, row of tiles by row of tiles.
    """

    path: Path
    order: str
    tags: dict[int, Value]
    width: int
    height: int
    bits: int
    samples: int
    compression: int
    photometric: int
    planes: int
    tiled: bool
    chunk_cols: int
    chunk_rows: int
    chunks: list[tuple[int, int]]

    @property
    def across(self) -> int:
        """Chunks beside one another."""
        return math.ceil(self.width / self.chunk_cols)

    @property
    def down(self) -> int:
        """Chunks above one another."""
        return math.ceil(self.height / self.chunk_rows)

    @property
    def row_counts(self) -> list[int]:
        """Rows in each chunk of one plane: tiles are always whole, the last strip may be short."""
        if self.tiled:
            return [self.chunk_rows] * (self.across * self.down)
        return [self.chunk_rows] * (self.down - 1) + [self.height - (self.down - 1) * self.chunk_rows]

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag that holds whole numbers."""
        return _number(self.tags, tag, default)

    def numbers(self, tag: int) -> tuple[float, ...]:
        """All values of a tag; empty if it is absent or holds text."""
        value = self.tags.get(tag, ())
        return () if isinstance(value, bytes) else tuple(float(one) for one in value)

    def data(self) -> list[bytes]:
        """The compressed bytes of every chunk, the highest bit first."""
        with self.path.open("rb") as file:
            found = []
            for offset, size in self.chunks:
                file.seek(offset)
                found.append(file.read(size))
        if self.number(266, 1) == 2 and self.compression != codecs.JPEG:
            return [chunk.translate(codecs.REVERSED_BITS) for chunk in found]
        return found


def read_tiff(path: Path, page_index: int, max_megapixels: float) -> Raster:
    """The page `page_index` of the file.

    Raises:
        UnreadableImage: it is damaged, cut off, or of a kind that is not taken.
        TooLarge: it has more than `max_megapixels`.
    """
    offsets = page_offsets(path)
    if page_index >= len(offsets):
        raise UnreadableImage(f"it has {len(offsets)} pages, and page {page_index + 1} was asked for")
    order, tags = page_tags(path, offsets[page_index])
    page = _checked(path, order, tags, max_megapixels)
    warnings: list[str] = []
    pixels, encoded = _pixels(page, warnings)
    dpi_x, dpi_y = _resolution(page)
    return Raster(
        pixels=pixels,
        format="tiff",
        compression=codecs.NAMES.get(page.compression, str(page.compression)),
        dpi_x=dpi_x,
        dpi_y=dpi_y,
        orientation=page.number(274, 1),
        encoded=encoded,
        scanner=scanner_name(
            tags.get(MAKE),
            tags.get(MODEL),
            tags.get(SOFTWARE),
            serial=tags.get(SERIAL_NUMBER),
            computer=tags.get(HOST_COMPUTER),
        ),
        warnings=warnings,
    )


def _number(tags: dict[int, Value], tag: int, default: int) -> int:
    value = tags.get(tag)
    return default if value is None or isinstance(value, bytes) else int(value[0])


def _checked(path: Path, order: str, tags: dict[int, Value], max_megapixels: float) -> _Page:
    width, height = _number(tags, 256, 0), _number(tags, 257, 0)
    check_size(width, height, max_megapixels)
    samples = _number(tags, 277, 1)
    if not 1 <= samples <= MAX_SAMPLES:
        raise UnreadableImage(f"it claims {samples} channels a pixel")
    depths = tags.get(258, (1,))
    if isinstance(depths, bytes) or len(set(depths[:samples])) != 1 or depths[0] not in (1, 2, 4, 8, 16):
        raise UnreadableImage("its channels are of a depth that is not taken here (1, 2, 4, 8 and 16 bits are)")
    formats = tags.get(339, (1,))
    compression = _number(tags, 259, codecs.RAW)
    photometric = _number(tags, 262, _usual_photometric(compression, samples))
    if photometric not in _COLOURS:
        raise UnreadableImage(
            f"its colours are of a kind that is not taken here (PhotometricInterpretation {photometric})"
        )
    if photometric not in (CIELAB, ICCLAB) and not isinstance(formats, bytes) and set(formats) - {1, 4}:
        raise UnreadableImage("its samples are signed or floating-point numbers, which no document scanner writes")
    if samples < _COLOURS[photometric]:
        raise UnreadableImage(f"its colours need {_COLOURS[photometric]} channels and it has {samples}")
    tiled = 322 in tags
    cols, rows = (_number(tags, 322, 0), _number(tags, 323, 0)) if tiled else (width, _number(tags, 278, height))
    if cols < 1 or rows < 1:
        raise UnreadableImage("its strips or tiles have no size")
    if tiled:
        check_size(cols, rows, max_megapixels)
    else:
        rows = min(rows, height)
    page = _Page(
        path=path,
        order=order,
        tags=tags,
        width=width,
        height=height,
        bits=int(depths[0]),
        samples=samples,
        compression=compression,
        photometric=photometric,
        planes=samples if _number(tags, 284, 1) == 2 else 1,
        tiled=tiled,
        chunk_cols=cols,
        chunk_rows=rows,
        chunks=[],
    )
    page.chunks.extend(_chunks(page))
    return page


def _usual_photometric(compression: int, samples: int) -> int:
    # the tag is required, and left out by some fax software all the same
    if compression in codecs.FAX:
        return WHITE_IS_ZERO
    return RGB if samples >= 3 else BLACK_IS_ZERO


def _chunks(page: _Page) -> list[tuple[int, int]]:
    if page.compression == codecs.OLD_JPEG:
        return []
    at, sizes = (324, 325) if page.tiled else (273, 279)
    offsets, counts = page.numbers(at) or page.numbers(273), page.numbers(sizes) or page.numbers(279)
    needed = page.across * page.down * page.planes
    if len(offsets) < needed:
        raise UnreadableImage(f"{needed - len(offsets)} of its {needed} strips or tiles are missing")
    if len(offsets) > needed:
        raise UnreadableImage(f"it lists {len(offsets)} strips or tiles where its sizes leave room for {needed}")
    end = page.path.stat().st_size
    starts = sorted({int(offset) for offset in offsets})
    following = dict(zip(starts, [*starts[1:], end], strict=True))
    rows = page.row_counts
    left = _most_bytes(page)
    found = []
    for index, offset in enumerate(int(one) for one in offsets[:needed]):
        count = int(counts[index]) if index < len(counts) else 0
        if count == 0:
            # some writers leave the counts empty: uncompressed rows need none, others end where the next begin
            raw = page.compression == codecs.RAW
            count = _raw_bytes(page, rows[index % len(rows)]) if raw else min(left, following[offset] - offset)
        if offset + count > end:
            raise UnreadableImage(f"it is cut off: the page needs {offset + count:,} bytes and the file has {end:,}")
        left -= count
        if left < 0:
            raise UnreadableImage("its strips or tiles are many times longer than the page they hold")
        found.append((offset, count))
    return found


def _most_bytes(page: _Page) -> int:
    """More than the page's chunks can need together; without it a short file could name one long chunk many times."""
    whole = page.planes * page.down * page.across * page.chunk_rows * _row_bytes(page)
    return MAX_GROWTH * whole + SMALL_FILE_BYTES


def _raw_bytes(page: _Page, rows: int) -> int:
    if page.photometric == YCBCR and page.planes == 1 and page.compression != codecs.JPEG:
        across, down = _subsampling(page)
        units = math.ceil(page.chunk_cols / across) * math.ceil(rows / down)
        return units * (across * down + 2) * page.bits // 8
    return rows * _row_bytes(page)


def _row_bytes(page: _Page) -> int:
    return math.ceil(page.chunk_cols * (page.samples // page.planes) * page.bits / 8)


def _pixels(page: _Page, warnings: list[str]) -> tuple[Pixels, EncodedImage | None]:
    if page.compression in codecs.FAX:
        return _fax(page)
    if page.compression in (codecs.JPEG, codecs.OLD_JPEG):
        samples: Samples = _old_jpeg(page) if page.compression == codecs.OLD_JPEG else _jpeg(page)
        colours = RGB if page.photometric == YCBCR else page.photometric
        return _in_house_colours(page, samples, colours, warnings), None
    if page.photometric == YCBCR and page.planes == 1:
        return _in_house_colours(page, _ycbcr(page), RGB, warnings), None
    planes = [_plane(page, index) for index in range(page.planes)]
    if page.bits == 1 and page.samples == 1 and page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, MASK):
        bits = planes[0][:, :, 0]
        return (bits == 0) if page.photometric == WHITE_IS_ZERO else (bits != 0), None
    stacked = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    if page.photometric == YCBCR:  # planes apart; only full-size ones are taken
        return _in_house_colours(page, _rgb_of_ycbcr(page, stacked), RGB, warnings), None
    return _in_house_colours(page, stacked, page.photometric, warnings), None


def _fax(page: _Page) -> tuple[Pixels, EncodedImage | None]:
    if page.bits != 1 or page.samples != 1:
        raise UnreadableImage("it is fax-coded and yet not black and white")
    data, rows = page.data(), page.row_counts
    packed = codecs.fax_bits(
        data, compression=page.compression, width_px=page.chunk_cols, rows=rows, g3_options=page.number(292, 0)
    )
    if page.photometric == WHITE_IS_ZERO:
        packed = ~packed
    bits = np.unpackbits(packed, axis=1, count=page.chunk_cols).view(np.bool_)
    pixels = _assembled(page, bits[:, :, None])[:, :, 0]
    encoded = None
    if page.compression == codecs.G4 and len(data) == 1 and not page.tiled:
        encoded = EncodedImage(
            codec="g4",
            data=data[0],
            width_px=page.width,
            height_px=page.height,
            channels=1,
            # what the code calls black is ink, as PDF takes it unless told /BlackIs1; BlackIsZero turns that over
            black_is_1=page.photometric == BLACK_IS_ZERO,
        )
    return np.ascontiguousarray(pixels), encoded


def _plane(page: _Page, index: int) -> Samples:
    """The samples of one plane, `(rows, cols, samples of a pixel)`, in their own depth and the machine's order."""
    per_plane = page.across * page.down
    data = page.data()[index * per_plane : (index + 1) * per_plane]
    rows = page.row_counts
    raw = codecs.unpacked(data, compression=page.compression, row_bytes=_row_bytes(page), rows=rows)
    across = page.chunk_cols * (page.samples // page.planes)
    flat: Samples
    if page.bits == 16:
        flat = np.asarray(raw.view(np.dtype(page.order + "u2")), dtype=np.uint16)
    elif page.bits == 8:
        flat = raw
    else:
        flat = _spread(raw, page.bits, across)
    samples = flat.reshape(flat.shape[0], page.chunk_cols, -1)
    if page.number(317, 1) != 1 and page.compression in _PREDICTED:
        if page.number(317, 1) != 2 or page.bits < 8:
            raise UnreadableImage("its rows are coded with a predictor that is not taken here")
        # TIFF 6.0, section 14: each sample is stored as its difference to the one on its left, overflow wanted
        samples = np.cumsum(samples, axis=1, dtype=samples.dtype)
    return _assembled(page, samples)


def _spread(raw: Bytes, bits: int, across: int) -> Bytes:
    """Samples of 1, 2 or 4 bits, each in a byte of its own."""
    if bits == 1:
        return np.unpackbits(raw, axis=1, count=across)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    parts = raw[:, :, None] >> shifts & np.uint8((1 << bits) - 1)
    return parts.reshape(raw.shape[0], -1)[:, :across]


def _assembled(page: _Page, stacked: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
    """Chunks lying one below the other, `(rows, chunk cols, n)`, put in their places, `(height, width, n)`."""
    if not page.tiled:
        return stacked
    depth = stacked.shape[2]
    tiles = stacked.reshape(page.down, page.across, page.chunk_rows, page.chunk_cols, depth)
    whole = tiles.transpose(0, 2, 1, 3, 4).reshape(page.down * page.chunk_rows, page.across * page.chunk_cols, depth)
    return whole[: page.height, : page.width]


def _in_house_colours(page: _Page, samples: Samples, photometric: int, warnings: list[str]) -> Pixels:
    """Samples `(rows, cols, n)` of any depth as grey or RGB uint8."""
    colours = _COLOURS[photometric]
    if photometric == PALETTE:
        return coloured(samples[:, :, 0], _colour_table(page, warnings), two_colours=page.bits == 1)
    if photometric in (CIELAB, ICCLAB):
        return lab_in_srgb(_lab_bytes(page, samples[:, :, :3], offset=photometric == ICCLAB))
    eight = to_eight_bits(samples) if page.bits == 16 else np.asarray(samples * np.uint8(_SCALES[page.bits]))
    icc = page.tags.get(34675)
    profile = icc if isinstance(icc, bytes) else None
    if photometric == INKS:
        if page.number(332, 1) != 1:
            raise UnreadableImage("it holds inks other than cyan, magenta, yellow and black")
        inks = np.ascontiguousarray(eight[:, :, :4])
        image = Image.frombytes("CMYK", (page.width, page.height), inks.tobytes())
        return cmyk_in_srgb(image, profile, warnings)
    colour = np.ascontiguousarray(eight[:, :, 0] if colours == 1 else eight[:, :, :3])
    if photometric == WHITE_IS_ZERO:
        colour = ~colour
    extra = page.numbers(338)
    if page.samples > colours and eight.shape[2] > colours and extra and extra[0] in (1, 2):
        colour = on_white(colour, eight[:, :, colours], premultiplied=extra[0] == 1)
    return in_srgb(colour, profile, warnings)[0] if profile else colour


def _colour_table(page: _Page, warnings: list[str]) -> Bytes:
    """ColorMap as `(2**bits, 3)` uint8: all reds, all greens, all blues, 16 bits each (TIFF 6.0, section 5)."""
    values = np.array(page.numbers(320), dtype=np.int64)
    size = 1 << page.bits
    if len(values) < 3 * size:
        raise UnreadableImage("its colour table is missing or too short")
    table = values[: 3 * size].reshape(3, size).T
    if 0 < table.max() < 256:
        warnings.append("its colour table holds 8-bit values where 16-bit ones belong; read as 8-bit")
        return table.astype(np.uint8)
    return to_eight_bits(table.astype(np.uint16))


def _lab_bytes(page: _Page, samples: Samples, *, offset: bool) -> Bytes:
    """L*, a*, b* as bytes, a* and b* in two's complement.

    CIE L*a*b* (TIFF 6.0, section 23) has them so, in 16 bits as 256ths; the ICC form has them offset by 128.
    """
    wide = page.bits == 16
    light = to_eight_bits(samples[:, :, :1]) if wide else samples[:, :, :1].astype(np.uint8)
    chroma = (samples[:, :, 1:] >> 8 if wide else samples[:, :, 1:]).astype(np.uint8)
    if offset:
        chroma ^= np.uint8(128)
    return np.ascontiguousarray(np.concatenate([light, chroma], axis=2))


def _subsampling(page: _Page) -> tuple[int, int]:
    across, down = (*page.numbers(530), 2.0, 2.0)[:2]
    if across not in (1, 2, 4) or down not in (1, 2, 4):
        raise UnreadableImage(f"its colour is subsampled by {across:g} x {down:g}, which TIFF does not know")
    return int(across), int(down)


def _ycbcr(page: _Page) -> Bytes:
    """RGB of YCbCr stored in units: first the luminances, then the two chroma values (TIFF 6.0, section 21)."""
    if page.bits != 8 or page.samples != 3:
        raise UnreadableImage("its YCbCr samples are not 3 of 8 bits")
    sub_x, sub_y = _subsampling(page)
    unit = sub_x * sub_y + 2
    units = math.ceil(page.chunk_cols / sub_x)
    unit_rows = [math.ceil(rows / sub_y) for rows in page.row_counts]
    raw = codecs.unpacked(page.data(), compression=page.compression, row_bytes=units * unit, rows=unit_rows)
    if page.number(317, 1) != 1 and page.compression in _PREDICTED:
        raise UnreadableImage("its rows are coded with a predictor that is not taken here")
    boxes = raw.reshape(-1, units, unit)
    light = boxes[:, :, :-2].reshape(-1, units, sub_y, sub_x).transpose(0, 2, 1, 3).reshape(-1, units * sub_x)
    chroma = boxes[:, :, -2:].repeat(sub_y, axis=0).repeat(sub_x, axis=1)
    stacked = np.concatenate([light[:, :, None], chroma], axis=2)[:, : page.chunk_cols]
    if not page.tiled and page.chunk_rows % sub_y:
        # a strip of odd height is padded to whole units; take the padding rows out again
        padded = math.ceil(page.chunk_rows / sub_y) * sub_y
        keep = np.arange(len(stacked)) % padded < page.chunk_rows
        stacked = stacked[keep]
    if page.tiled:
        stacked = _assembled(page, stacked)
    return _rgb_of_ycbcr(page, stacked[: page.height])


def _rgb_of_ycbcr(page: _Page, samples: npt.NDArray[np.generic]) -> Bytes:
    red_share, green_share, blue_share = (page.numbers(529) or _REC601)[:3]
    low_y, high_y, low_b, high_b, low_r, high_r = (page.numbers(532) or _REFERENCE)[:6]
    if green_share <= 0 or high_y <= low_y or high_b <= low_b or high_r <= low_r:
        raise UnreadableImage("its YCbCr coefficients make no colours")
    light = (samples[:, :, 0].astype(np.float32) - low_y) * (255 / (high_y - low_y))
    blue = (samples[:, :, 1].astype(np.float32) - low_b) * (127 / (high_b - low_b)) * (2 - 2 * blue_share) + light
    red = (samples[:, :, 2].astype(np.float32) - low_r) * (127 / (high_r - low_r)) * (2 - 2 * red_share) + light
    green = (light - blue_share * blue - red_share * red) / green_share
    return np.stack([red, green, blue], axis=2).round().clip(0, 255).astype(np.uint8)


def _jpeg(page: _Page) -> Bytes:
    """JPEG strips or tiles, each a stream of its own (TIFF Technical Note 2), `(height, width, n)`."""
    if page.bits != 8:
        raise UnreadableImage("its JPEG strips are not 8 bits deep")
    tables = page.tags.get(347)
    parts = []
    per_plane = page.across * page.down
    n = page.samples // page.planes
    for index, (chunk, rows) in enumerate(zip(page.data(), page.row_counts * page.planes, strict=True)):
        stream = _whole_jpeg(chunk, tables if isinstance(tables, bytes) else b"", page.photometric)
        picture = _decoded_jpeg(stream, page.chunk_cols, rows)
        if picture.shape[2] != n:
            raise UnreadableImage(f"strip {index + 1} has {picture.shape[2]} channels, the page {n}")
        parts.append(picture)
    planes = [np.concatenate(parts[at : at + per_plane]) for at in range(0, len(parts), per_plane)]
    whole = [_assembled(page, plane) for plane in planes]
    if page.planes == 1:
        return whole[0]
    apart = np.concatenate(whole, axis=2)
    return _rgb_of_ycbcr(page, apart) if page.photometric == YCBCR else apart


def _decoded_jpeg(stream: bytes, cols: int, rows: int) -> Bytes:
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
        wide, high = image.size
        # coders work in blocks: a last strip may be coded at full height, but never short of what it must hold
        if wide < cols or high < rows or wide * high > 4 * max(cols, 64) * max(rows, 64):
            raise UnreadableImage(f"a JPEG strip is {wide} x {high} pixels where {cols} x {rows} belong")
        picture = np.asarray(image, dtype=np.uint8)
        if image.mode == "CMYK":
            picture = ~picture  # Pillow takes every such JPEG for Adobe's, whose inks are turned over; TIFF's are not
    picture = picture if picture.ndim == 3 else picture[:, :, None]
    return picture[:rows, :cols]


def _segments(stream: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The marker segments of a JPEG stream (marker, with its bytes) up to the scan, and all bytes from the scan on."""
    if stream[:2] != b"\xff\xd8":
        raise UnreadableImage("a JPEG strip does not begin as JPEG does")
    found: list[tuple[int, bytes]] = []
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0xDA, 0xD9):
            return found, stream[at:]
        (size,) = struct.unpack_from(">H", stream, at + 2)
        found.append((marker, stream[at : at + 2 + size]))
        at += 2 + size
    return found, stream[at:]


def _whole_jpeg(chunk: bytes, tables: bytes, photometric: int) -> bytes:
    """A stream that can stand alone: the page's shared tables, and a mark that says how its colours are coded.

    TIFF says in its own tag whether colours are YCbCr; a JPEG decoder would guess. So the stream's own application
    marks go, and an Adobe mark (APP14, its last byte the transform) says what the tag says.
    """
    shared = _segments(tables)[0] if tables else []
    own, scan = _segments(chunk)
    frame = next((body for marker, body in own if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)), b"")
    kept = [body for marker, body in (*shared, *own) if not 0xE0 <= marker <= 0xEF]
    transform = b""
    if len(frame) >= 19 and frame[9] == 3:
        # RGB is never subsampled: a writer that says RGB over 2x2 factors has left the tag at its default
        subsampled = frame[11] != frame[14]
        transform = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([1 if photometric == YCBCR or subsampled else 0])
    return b"\xff\xd8" + transform + b"".join(kept) + scan


def _old_jpeg(page: _Page) -> Bytes:
    """Old-style JPEG (TIFF 6.0, section 22) of the kind that holds one whole JPEG stream."""
    start, size = page.number(513, 0), page.number(514, 0)
    end = page.path.stat().st_size
    if not start or start >= end:
        raise UnreadableImage("it is old-style JPEG without a whole JPEG stream; convert it with other software")
    with page.path.open("rb") as file:
        file.seek(start)
        stream = file.read(min(size or end - start, _most_bytes(page)))
    segments, scan = _segments(stream)
    if scan[:2] != b"\xff\xda":
        raise UnreadableImage("it is old-style JPEG without a whole JPEG stream; convert it with other software")
    kept = [body for marker, body in segments if not 0xE0 <= marker <= 0xEF]
    picture = _decoded_jpeg(b"\xff\xd8" + b"".join(kept) + scan, page.width, page.height)
    if picture.shape[2] != page.samples:
        raise UnreadableImage(f"its JPEG stream has {picture.shape[2]} channels, the page {page.samples}")
    return picture


def _resolution(page: _Page) -> tuple[float | None, float | None]:
    unit = page.number(296, 2)  # inch is the default, TIFF 6.0 section 8
    across, down = page.numbers(282), page.numbers(283)
    if unit not in (2, 3) or not (across or down):
        return None, None
    factor = CM_PER_INCH if unit == 3 else 1.0
    dpi_x = (across or down)[0] * factor
    return plausible_dpi(dpi_x, (down or across)[0] * factor)
