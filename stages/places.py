"""Where places on one image lie on another: flat maps, bends, and taking an image over by such a map once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar, overload

import cv2
import numpy as np
import numpy.typing as npt

Coordinates = npt.NDArray[np.float64]
Coordinate = TypeVar("Coordinate", float, Coordinates)  # of one place, or of many at once
Grey = npt.NDArray[np.uint8]

NET_MIN = 4  # controls that a cubic spline needs each way
SPLINE = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6  # uniform cubic B-spline
# A bend is worked out at every so many pixels and drawn straight between them: what that leaves out of a curl of 6 mm
# at a spine is a thousandth of a millimetre.
STEP_PX = 16
BACK_STEPS = 12  # each leaves a quarter at most of what was wrong: no bend is steeper down the page
BLOCK_STEPS = 4  # maps of so many rows stay in the processor's cache


class Affine(NamedTuple):
    """A flat map of places on a page: `x' = a x + b y + c`, `y' = d x + e y + f` (x to the right, y down).

    Places are counted from pixel corners, as in `Box`: the first pixel reaches from 0 to 1.
    """

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 1.0
    f: float = 0.0

    def at(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Where the point (x, y) comes to lie, or many points."""
        return self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f

    @overload
    def after(self, first: Affine) -> Affine: ...
    @overload
    def after(self, first: Bent) -> Bent: ...
    def after(self, first: Places) -> Places:
        """The map that does `first`, then this one."""
        if isinstance(first, Bent):
            return Bent(before=first.before, bend=first.bend, then=self.after(first.then))
        return Affine(
            self.a * first.a + self.b * first.d,
            self.a * first.b + self.b * first.e,
            self.a * first.c + self.b * first.f + self.c,
            self.d * first.a + self.e * first.d,
            self.d * first.b + self.e * first.e,
            self.d * first.c + self.e * first.f + self.f,
        )

    def inverse(self) -> Affine:
        """The map back.

        Raises:
            ZeroDivisionError: the map flattens the plane to a line.
        """
        det = self.a * self.e - self.b * self.d
        a, b, d, e = self.e / det, -self.b / det, -self.d / det, self.a / det
        return Affine(a, b, -(a * self.c + b * self.f), d, e, -(d * self.c + e * self.f))

    def back(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """What comes to lie at the point (x, y), or at many points."""
        return self.inverse().at(x, y)

    def near(self, x: float, y: float) -> Affine:
        """The flat map that does the same around (x, y): this one."""
        del x, y
        return self

    @property
    def keeps_pixels(self) -> bool:
        """Whether whole pixels come to lie on whole pixels: quarter turns, mirrorings and shifts by whole pixels."""
        across, down = sorted((abs(self.a), abs(self.b))), sorted((abs(self.d), abs(self.e)))
        upright = abs(self.a) == abs(self.e) and abs(self.b) == abs(self.d)
        return across == down == [0, 1] and upright and self.c % 1 == 0 and self.f % 1 == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """How much lower than on a flat page everything lies: a smooth surface over a net of controls.

    The net has `len(heights_px) / columns` rows of `columns` controls, row by row, of a uniform cubic B-spline over the
    rectangle from (left, top) to (right, bottom), in pixels of the flat page. Outside the rectangle the surface goes on
    as it is at its rim.
    """

    left: float
    top: float
    right: float
    bottom: float
    columns: int
    heights_px: tuple[float, ...]

    @overload
    def lower_px(self, x: float, y: float) -> float: ...
    @overload
    def lower_px(self, x: Coordinates, y: Coordinates) -> Coordinates: ...
    def lower_px(self, x: float | Coordinates, y: float | Coordinates) -> float | Coordinates:
        """How many pixels lower than at (x, y) on the flat page the same thing lies on the bent one."""
        net = np.array(self.heights_px).reshape(-1, self.columns)
        across = spline_weights((np.ravel(x) - self.left) / (self.right - self.left), net.shape[1])
        down = spline_weights((np.ravel(y) - self.top) / (self.bottom - self.top), net.shape[0])
        lower = ((down @ net) * across).sum(axis=1)
        return float(lower[0]) if np.ndim(x) == 0 else lower.reshape(np.shape(x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bent:
    """A map with a bend in it: first `before`, then the bend, then the rest."""

    before: Affine
    bend: Bend
    then: Places

    def __iter__(self) -> Iterator[float]:
        """The map as numbers, from which `places_from` makes it again."""
        bend = self.bend
        yield from self.before
        yield from (len(bend.heights_px) // bend.columns, bend.columns, bend.left, bend.top, bend.right, bend.bottom)
        yield from bend.heights_px
        yield from self.then

    def at(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Where the point (x, y) comes to lie, or many points."""
        x, y = self.before.at(x, y)
        return self.then.at(x, y + self.bend.lower_px(x, y))

    def back(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """What comes to lie at the point (x, y), or at many points."""
        x, lower = self.then.back(x, y)
        y = lower
        for _ in range(BACK_STEPS):
            y = lower - self.bend.lower_px(x, y)
        return self.before.inverse().at(x, y)

    def after(self, first: Places) -> Bent:
        """The map that does `first`, then this one."""
        if isinstance(first, Bent):
            return Bent(before=first.before, bend=first.bend, then=self.after(first.then))
        return Bent(before=self.before.after(first), bend=self.bend, then=self.then)

    def near(self, x: float, y: float) -> Affine:
        """The flat map that does the same around (x, y)."""
        (left, right), (above, below) = ((self.at(x - 1, y), self.at(x + 1, y)), (self.at(x, y - 1), self.at(x, y + 1)))
        a, d = (right[0] - left[0]) / 2, (right[1] - left[1]) / 2
        b, e = (below[0] - above[0]) / 2, (below[1] - above[1]) / 2
        here = self.at(x, y)
        return Affine(a, b, here[0] - a * x - b * y, d, e, here[1] - d * x - e * y)


Places: TypeAlias = Affine | Bent

IDENTITY = Affine()


def quarter_turned(pixels: npt.NDArray[Any], quarter_turns: int) -> tuple[npt.NDArray[Any], Affine]:
    """An image turned counter-clockwise so many times, and the map from places on it to places before.

    `pixels` is `(rows, cols)` or `(rows, cols, 3)`; they are only moved.
    """
    rows, cols = pixels.shape[:2]
    match quarter_turns % 4:
        case 1:
            return pixels.swapaxes(0, 1)[::-1].copy(), Affine(0, -1, cols, 1, 0, 0)
        case 2:
            return pixels[::-1, ::-1].copy(), Affine(-1, 0, cols, 0, -1, rows)
        case 3:
            return pixels[::-1].swapaxes(0, 1).copy(), Affine(0, 1, 0, -1, 0, rows)
    return pixels, IDENTITY


def places_from(numbers: Sequence[float]) -> Places:
    """The map whose numbers `list(places)` gave.

    Raises:
        ValueError: they are not the numbers of a map.
    """
    if len(numbers) == 6:
        return Affine(*numbers)
    rows, columns = (int(count) for count in numbers[6:8]) if len(numbers) > 12 else (0, 0)
    end = 12 + rows * columns
    if min(rows, columns) < NET_MIN or len(numbers) < end + 6:
        raise ValueError(f"{len(numbers)} numbers are no map of places")
    left, top, right, bottom = numbers[8:12]
    bend = Bend(left=left, top=top, right=right, bottom=bottom, columns=columns, heights_px=tuple(numbers[12:end]))
    return Bent(before=Affine(*numbers[:6]), bend=bend, then=places_from(numbers[end:]))


def spline_weights(shares: Coordinates, controls: int) -> Coordinates:
    """How much each control of a uniform cubic B-spline counts at each share of its length: `(shares, controls)`."""
    along = np.clip(shares, 0.0, 1.0) * (controls - 3)
    first = np.minimum(along.astype(np.int64), controls - NET_MIN)
    powers = np.power.outer(along - first, np.arange(4))
    weights = np.zeros((len(shares), controls))
    weights[np.arange(len(shares))[:, None], first[:, None] + np.arange(4)] = powers @ SPLINE
    return weights


def taken_over(
    pixels: Grey,
    places: Places,
    into: Grey,
    *,
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> Grey:
    """Fill the image `into` with what lies on `pixels` at the places of its own pixels, resampling once.

    With `cv2.BORDER_TRANSPARENT` what lies outside `pixels` stays as it is in `into`.
    """
    rows, cols = into.shape[:2]
    # OpenCV counts places from the middle of the first pixel, the house from its corner
    there = Affine(c=-0.5, f=-0.5).after(places).after(Affine(c=0.5, f=0.5))
    if isinstance(there, Affine):
        matrix, flags = np.array([there[:3], there[3:]]), interpolation | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(pixels, matrix, (cols, rows), into, flags, border), dtype=np.uint8)
    # one knot more on every side, so that the rim is not drawn from one knot alone
    knots_x, knots_y = ((np.arange(-1, -(-side // STEP_PX) + 1) + 0.5) * STEP_PX - 0.5 for side in (cols, rows))
    x, y = there.at(*np.meshgrid(knots_x, knots_y))
    for first in range(0, len(knots_y) - 2, BLOCK_STEPS):
        block = into[first * STEP_PX : (first + BLOCK_STEPS) * STEP_PX]
        map_x, map_y = (
            cv2.resize(knots[first : first + BLOCK_STEPS + 2].astype(np.float32), None, fx=STEP_PX, fy=STEP_PX)[
                STEP_PX : STEP_PX + len(block), STEP_PX : STEP_PX + cols
            ]
            for knots in (x, y)
        )
        block[:] = cv2.remap(pixels, map_x, map_y, interpolation, block.copy(), border)
    return into
