"""Regions of a class mask as polygons, written as GeoJSON that QuPath opens."""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.images import written_aside

Ring = NDArray[np.int32]  # (N, 2) corners x, y, the first not repeated


@dataclass(frozen=True)
class Region:
    """A connected part of one class (pixels that share a side).

    Attributes:
        outer: its border; with the region on the right hand (clockwise, y pointing down).
        holes: borders of what it leaves out, the other way round.
        area: in pixels of the mask.
    """

    outer: Ring
    holes: tuple[Ring, ...]
    area: int


def regions_of(mask: NDArray[np.bool_]) -> list[Region]:
    """Return the regions of a mask (H, W), along the sides of its pixels: their areas add up to its pixels.

    Rings touch themselves nowhere; where two pixels of a region meet at a corner alone, two rings meet there.
    """
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    rings: dict[int, list[tuple[Ring, int]]] = {}
    for ring, part in _rings(parts):
        rings.setdefault(part, []).append((ring, _signed_area(ring)))
    found = []
    for part in sorted(rings):
        (outer,) = [ring for ring, area in rings[part] if area > 0]
        holes = tuple(ring for ring, area in rings[part] if area < 0)
        found.append(Region(outer, holes, sum(area for _, area in rings[part])))
    return found


def write_geojson(
    file: Path,
    mask: NDArray[np.uint8],
    card: ModelCard,
    *,
    step_px: float,
    shape_hw: tuple[int, int],
    um_per_px: float | None,
) -> int:
    """Write the regions of every class as GeoJSON annotations, in pixels of the photograph; return how many.

    A ``FeatureCollection`` (RFC 7946) whose features carry QuPath's ``objectType`` and ``classification``: open the
    photograph in QuPath and drop the file onto it. A measurement gives each region's area, in µm² where the scale is
    known.

    Args:
        file: to write.
        mask: uint8 (H, W), 0 for none, v for the card's v-th class.
        card: names and colours of the classes.
        step_px: pixels of the photograph on a side of a mask pixel.
        shape_hw: of the photograph; the last row and column of the mask may reach out of it.
        um_per_px: micrometres a pixel of the photograph.

    Raises:
        DataError: it can't be written.
    """
    count = 0
    with written_aside(file) as aside, aside.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for value, known in enumerate(card.classes, start=1):
            for region in regions_of(mask == value):
                rings = [_scaled(ring, step_px, shape_hw) for ring in (region.outer, *region.holes)]
                area_px = abs(sum(_shoelace(np.asarray(ring)) for ring in rings))
                unit, area = ("px", area_px) if um_per_px is None else ("um2", area_px * um_per_px**2)
                feature = {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": rings},
                    "properties": {
                        "objectType": "annotation",
                        "classification": {"name": known.name, "color": list(known.colour_rgb)},
                        "measurements": {f"area_{unit}": round(area, 3)},
                    },
                }
                stream.write((",\n" if count else "\n") + json.dumps(feature))
                count += 1
        stream.write("\n]}\n")
    return count


def _rings(parts: NDArray[np.int32]) -> Iterator[tuple[Ring, int]]:
    """Yield every ring of a picture of numbered parts (0 is none), with its part.

    The sides of pixels whose neighbour is of another part, directed so that the pixel is on the right hand, are
    followed from corner to corner; where two ways lead on, the one to the right stays with the same pixel.
    """
    width = parts.shape[1] + 1
    keys, numbers = _directed_sides(parts)
    steps = np.array([1, width, -1, -width], np.int32)  # of corners: right, down, left, up
    directions, corners = (keys & 3).astype(np.int8), keys >> 2
    corners += steps[directions]  # where each side ends
    following = np.full(len(keys), -1, np.int32)
    for turn in (1, 0, 3):  # right, straight on, left
        open_ends = np.flatnonzero(following < 0)
        wanted = corners[open_ends] * 4 + (directions[open_ends] + turn) % 4
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        fits = keys[at] == wanted
        following[open_ends[fits]] = at[fits]
    del keys
    # Arrays of the standard library: read one by one as quickly as lists, in a tenth of the memory.
    turns = (directions != directions[following]).tobytes()
    following_one, end_of = array("i", following.tobytes()), array("i", corners.tobytes())
    del directions, following, corners
    met = bytearray(len(turns))
    for first in range(len(turns)):
        if met[first]:
            continue
        path: list[int] = []  # corners where the way turns, of rings not closed yet
        places: dict[int, int] = {}
        side = first
        while not met[side]:
            met[side] = 1
            if turns[side]:
                corner = end_of[side]
                if corner in places:  # the way has been here: what lies between is a ring of its own
                    since = places[corner]
                    yield _ring(path[since:], width), int(numbers[first])
                    for gone in path[since + 1 :]:
                        del places[gone]
                    del path[since + 1 :]
                else:
                    places[corner] = len(path)
                    path.append(corner)
            side = following_one[side]
        if len(path) > 2:
            yield _ring(path, width), int(numbers[first])


def _directed_sides(parts: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the sides of parts, int32 (N,), in order, and the part of each.

    A side's number is four times that of the corner where it starts, and its direction: a corner and a direction have
    one side at most.
    """
    framed, width = np.pad(parts, 1), parts.shape[1] + 1
    beside = (framed[:-2, 1:-1], framed[1:-1, 2:], framed[2:, 1:-1], framed[1:-1, :-2])  # above, right, below, left
    corner_of = (0, 1, width + 1, width)  # from a pixel's first corner to the one where that side starts
    keys, numbers = [], []
    for direction, (neighbour, corner) in enumerate(zip(beside, corner_of, strict=True)):
        at = np.flatnonzero((parts != 0) & (parts != neighbour))
        numbers.append(parts.ravel()[at])
        at += at // parts.shape[1] + corner  # a row has one corner more than pixels
        keys.append((at * 4 + direction).astype(np.int32))
    together = np.concatenate(keys)
    order = np.argsort(together)
    return together[order], np.concatenate(numbers)[order]


def _ring(corners: Sequence[int], width: int) -> Ring:
    at = np.asarray(corners, np.int32)
    return np.stack([at % width, at // width], axis=1)


def _signed_area(ring: Ring) -> int:
    return round(_shoelace(ring))


def _shoelace(ring: NDArray[Any]) -> float:
    """Return the area inside a ring, above 0 where it runs clockwise with y pointing down."""
    x, y = np.asarray(ring, np.float64).T
    inner = x[:-1] @ y[1:] - x[1:] @ y[:-1]
    return float(inner + x[-1] * y[0] - x[0] * y[-1]) / 2


def _scaled(ring: Ring, step_px: float, shape_hw: tuple[int, int]) -> list[list[float]]:
    """Return a ring in pixels of the photograph, closed as GeoJSON wants it."""
    limits = np.array([shape_hw[1], shape_hw[0]])
    points = np.minimum(ring * step_px, limits).round(2).tolist()
    return [*points, points[0]]
