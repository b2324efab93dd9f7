"""What a PDF page draws: one image over the whole sheet (a scan), and how it lies there, or something else.

The drawing commands are followed as far as they move and clip images (ISO 32000-1, 8.3.4, 8.4 and 8.9.5).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import Final

import pikepdf

from stages.errors import UnreadableImage

MAX_CONTENT_BYTES = 4 << 20  # of one page's drawing commands; a newspaper page with its words has 0.8 MB
MAX_FORM_DEPTH = 4
MAX_PAGE_TREE_DEPTH = 64
OFF_AXIS = 5e-4  # sine of the angle up to which an image counts as straight: one pixel over half a letter page
EDGE_FRACTION = 0.02  # of the sheet: how far the image may stop short of an edge, or reach over it

# state that does not touch an image, marked content, compatibility brackets, and all of text but showing it
_IDLE: Final = frozenset(
    [
        *("w", "J", "j", "M", "d", "ri", "i", "G", "RG", "K", "CS", "SC", "SCN"),
        *("BMC", "BDC", "EMC", "MP", "DP", "BX", "EX"),
        *("BT", "ET", "Tc", "Tw", "Tz", "TL", "Tf", "Ts", "Td", "TD", "Tm", "T*"),
    ]
)
_LINES: Final = frozenset(("m", "l", "c", "v", "y", "h"))
_SHOWS_TEXT: Final = frozenset(("Tj", "TJ", "'", '"'))
INVISIBLE_TEXT = 3
_FILLS_BLACK: Final = {"g": (0.0,), "rg": (0.0, 0.0, 0.0), "k": (0.0, 0.0, 0.0, 1.0)}

Matrix = tuple[float, float, float, float, float, float]
Rectangle = tuple[float, float, float, float]  # left, bottom, right, top, in points, as PDF has them
_IDENTITY: Final[Matrix] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """An image and the matrix its unit square is drawn by; `black_fill` says that a stencil would come out black."""

    image: pikepdf.Stream
    matrix: Matrix
    black_fill: bool


@dataclass(frozen=True, slots=True)
class _State:
    matrix: Matrix
    text_mode: int = 0
    black_fill: bool = True


class _NotAScanError(Exception):
    """The page draws something besides one image."""


def only_image(pdf: pikepdf.Pdf, page: pikepdf.Page) -> DrawnImage | None:
    """The one image that the page consists of, if it covers the sheet, squarely, and nothing else is seen."""
    if _seen_annotations(page):
        return None
    content = _content(page.obj.get("/Contents"))
    if content is None:
        return None
    sheet = _sheet(page)
    drawing = _Drawing(pdf, sheet)
    try:
        drawing.follow(content, page.obj.get("/Resources", page.resources), _State(_IDENTITY))
    except (_NotAScanError, pikepdf.PdfError, TypeError, ValueError, KeyError, IndexError, AttributeError):
        return None  # whatever is odd about the drawing, rendering shows what a reader would see
    if len(drawing.found) != 1 or not _covers(drawing.found[0].matrix, sheet):
        return None
    return drawing.found[0]


def _seen_annotations(page: pikepdf.Page) -> bool:
    annotations = page.obj.get("/Annots")
    if annotations is None:
        return False
    # links are areas to click on; a stamp or a comment is drawn
    return any(
        one.get("/Subtype") not in ("/Link", "/Popup") and not int(one.get("/F", 0)) & 2
        for one in annotations
        if isinstance(one, pikepdf.Dictionary)
    )


def _content(contents: pikepdf.Object | None) -> bytes | None:
    """The page's drawing commands, or None where they are missing, too long or oddly coded."""
    if contents is None:
        return None
    parts = []
    left = MAX_CONTENT_BYTES
    for stream in contents if isinstance(contents, pikepdf.Array) else [contents]:
        data = bounded_data(stream, left) if isinstance(stream, pikepdf.Stream) else None
        if data is None:
            return None
        parts.append(data)
        left -= len(data)
    return b"\n".join(parts)


def bounded_data(stream: pikepdf.Stream, limit: int) -> bytes | None:
    """The stream's decoded bytes if they are at most `limit`, plain or Flate-coded; None else."""
    filters = filters_of(stream)
    if filters not in ([], ["/FlateDecode"]) or int(stream.get("/Length", 0)) > limit:
        return None
    raw = stream.read_raw_bytes()
    if not filters:
        return raw if len(raw) <= limit else None
    if "/DecodeParms" in stream:
        return None
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(raw, limit + 1)
    except zlib.error:
        return None
    return data if len(data) <= limit else None


def filters_of(stream: pikepdf.Stream) -> list[str]:
    """How the stream is coded, outermost first; empty if it is plain."""
    filters = stream.get("/Filter")
    if filters is None:
        return []
    return [str(one) for one in filters] if isinstance(filters, pikepdf.Array) else [str(filters)]


class _Drawing:
    """Follows drawing commands and notes the images drawn; anything else that leaves a mark ends the walk."""

    def __init__(self, pdf: pikepdf.Pdf, sheet: Rectangle) -> None:
        self._pdf = pdf
        self._sheet = sheet
        self.found: list[DrawnImage] = []

    def follow(self, content: bytes, resources: pikepdf.Object, state: _State, depth: int = 0) -> None:
        """Go through one stream of commands.

        Raises:
            _NotAScanError: something is drawn that is not the one image, or part of the sheet is clipped away.
        """
        stack: list[_State] = []
        path: list[Rectangle | None] = []
        for instruction in pikepdf.parse_content_stream(pikepdf.Stream(self._pdf, content)):
            operands, name = instruction.operands, str(instruction.operator)
            if name == "q":
                stack.append(state)
            elif name == "Q":
                state = stack.pop() if stack else state
            elif name == "cm":
                state = replace(state, matrix=_product(_matrix(operands), state.matrix))
            elif name == "Tr":
                state = replace(state, text_mode=int(operands[0]))
            elif name in _SHOWS_TEXT:
                if state.text_mode != INVISIBLE_TEXT:
                    raise _NotAScanError
            elif name in _FILLS_BLACK:
                black = tuple(float(one) for one in operands) == _FILLS_BLACK[name]
                state = replace(state, black_fill=black)
            elif name in ("cs", "sc", "scn"):
                state = replace(state, black_fill=False)
            elif name == "gs":
                _check_graphics_state(resources.ExtGState[str(operands[0])])
            elif name == "re":
                x, y, width, height = (float(one) for one in operands)
                path.append(_bounds((width, 0, 0, height, x, y), state.matrix))
            elif name in _LINES:
                path.append(None)
            elif name in ("W", "W*"):
                if len(path) != 1 or path[0] is None or not _reaches(path[0], self._sheet):
                    raise _NotAScanError
            elif name == "n":
                path.clear()
            elif name == "Do":
                self._draw(resources.XObject[str(operands[0])], resources, state, depth)
            elif name not in _IDLE or (name == "BDC" and str(operands[0]) == "/OC"):
                raise _NotAScanError

    def _draw(self, drawn: pikepdf.Object, resources: pikepdf.Object, state: _State, depth: int) -> None:
        if not isinstance(drawn, pikepdf.Stream) or "/OC" in drawn:  # on a layer that may be switched off
            raise _NotAScanError
        if drawn.get("/Subtype") == "/Image":
            self.found.append(DrawnImage(drawn, state.matrix, state.black_fill))
            return
        inner = _content(drawn)
        if drawn.get("/Subtype") != "/Form" or inner is None or depth >= MAX_FORM_DEPTH or "/Group" in drawn:
            raise _NotAScanError
        placed = _product(_matrix(drawn.get("/Matrix", _IDENTITY)), state.matrix)
        left, bottom, right, top = (float(one) for one in drawn.BBox)
        if not _reaches(_bounds((right - left, 0, 0, top - bottom, left, bottom), placed), self._sheet):
            raise _NotAScanError
        self.follow(inner, drawn.get("/Resources", resources), replace(state, matrix=placed), depth + 1)


def _bounds(shape: Matrix, placed: Matrix) -> Rectangle:
    """What the unit square covers under `shape` and then `placed`: left, bottom, right, top."""
    a, b, c, d, e, f = _product(shape, placed)
    xs, ys = (e, e + a, e + c, e + a + c), (f, f + b, f + d, f + b + d)
    return min(xs), min(ys), max(xs), max(ys)


def _reaches(shape: Rectangle, sheet: Rectangle) -> bool:
    """Whether `shape` covers the sheet, or stops short of an edge by no more than a scan may."""
    slack_x, slack_y = EDGE_FRACTION * (sheet[2] - sheet[0]), EDGE_FRACTION * (sheet[3] - sheet[1])
    return (
        shape[0] <= sheet[0] + slack_x
        and shape[1] <= sheet[1] + slack_y
        and shape[2] >= sheet[2] - slack_x
        and shape[3] >= sheet[3] - slack_y
    )


def _check_graphics_state(settings: pikepdf.Object) -> None:
    plain = (
        float(settings.get("/ca", 1)) == 1
        and str(settings.get("/SMask", "/None")) == "/None"
        and str(settings.get("/BM", "/Normal")) in ("/Normal", "/Compatible")
        and "/TR" not in settings
    )
    if not plain:
        raise _NotAScanError


def _matrix(operands: object) -> Matrix:
    a, b, c, d, e, f = (float(one) for one in operands)  # type: ignore[attr-defined]  # checked by unpacking
    return a, b, c, d, e, f


def _product(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    p, q, r, s, t, u = then
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u


def _covers(matrix: Matrix, sheet: Rectangle) -> bool:
    """Whether the image lies square on the sheet and over (nearly) all of it, and not far over its edges."""
    a, b, c, d, _, _ = matrix
    straight = abs(b) <= OFF_AXIS * abs(a) and abs(c) <= OFF_AXIS * abs(d)
    lying = abs(a) <= OFF_AXIS * abs(b) and abs(d) <= OFF_AXIS * abs(c)
    placed = _bounds(_IDENTITY, matrix)
    return (straight or lying) and _reaches(placed, sheet) and _reaches(sheet, placed)


def _sheet(page: pikepdf.Page) -> Rectangle:
    """The part of the page that is seen: the crop box within the media box."""
    media, crop = ([float(one) for one in box] for box in (page.mediabox, page.cropbox))
    boxes = [(min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])) for b in (media, crop)]
    left, bottom = max(b[0] for b in boxes), max(b[1] for b in boxes)
    right, top = min(b[2] for b in boxes), min(b[3] for b in boxes)
    if right <= left or top <= bottom:
        raise UnreadableImage("the PDF page has no area")
    return left, bottom, right, top


def user_unit_of(page: pikepdf.Page) -> float:
    """How many points one unit of the page is (ISO 32000-1, 8.3.2.3); 1 almost always."""
    unit = float(page.obj.get("/UserUnit", 1))
    return unit if math.isfinite(unit) and unit > 0 else 1.0


def quarter_turns(page: pikepdf.Page) -> int:
    """Quarter turns clockwise at which the page is shown (/Rotate may stand on a parent)."""
    node: pikepdf.Object | None = page.obj
    for _ in range(MAX_PAGE_TREE_DEPTH):
        if node is None or "/Rotate" in node:
            break
        node = node.get("/Parent")
    degrees = int(node.get("/Rotate", 0)) if node is not None else 0
    return degrees // 90 % 4


# the TIFF orientation whose first column and first row run as the image's do on the shown page
_ORIENTATIONS: Final = {
    ((1, 0), (0, 1)): 1,
    ((-1, 0), (0, 1)): 2,
    ((-1, 0), (0, -1)): 3,
    ((1, 0), (0, -1)): 4,
    ((0, 1), (1, 0)): 5,
    ((0, 1), (-1, 0)): 6,
    ((0, -1), (-1, 0)): 7,
    ((0, -1), (1, 0)): 8,
}


def orientation_of(matrix: Matrix, turns: int) -> int:
    """The TIFF orientation (1 to 8) of an image placed by `matrix` on a page shown `turns` quarter turns clockwise."""
    a, b, c, d, _, _ = matrix
    # image columns run along (a, b) and its rows along -(c, d); the page's y points up, the screen's down
    along_columns, along_rows = (a, -b), (-c, d)
    for _ in range(turns):
        along_columns = (-along_columns[1], along_columns[0])
        along_rows = (-along_rows[1], along_rows[0])
    return _ORIENTATIONS[_direction(along_columns), _direction(along_rows)]


def _direction(vector: tuple[float, float]) -> tuple[int, int]:
    x, y = vector
    return (int(math.copysign(1, x)), 0) if abs(x) > abs(y) else (0, int(math.copysign(1, y)))
