"""Heatmaps of a scan as a tiled, pyramidal OME-TIFF, written from a file on disk without holding it in memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.images import written_aside

_TILE_PX = 256
_STRIP_BYTES = 1 << 24  # of all classes together, halved at a time
_TOP_LEVEL_PX = 512  # the pyramid ends where its longer side is no longer than this


def write_pyramid(
    file: Path, heat: Path, shape: tuple[int, int, int], card: ModelCard, *, um_per_px: float | None
) -> None:
    """Write heatmaps as an OME-TIFF of one channel a class, 0 for no heat and 255 for full heat.

    Each level of the pyramid is half as large as the one below it, the mean of 2 x 2. Deflate compresses it; channels
    carry the classes' names and colours, and the scale is that of the grid.

    Args:
        file: to write.
        heat: file of uint8 (H, C, W), rows of all classes one after another; the levels are made beside it and removed.
        shape: (C, H, W).
        card: names and colours of the classes.
        um_per_px: micrometres a pixel of the heatmaps, None where unknown.

    Raises:
        DataError: it can't be written, or the disk is full.
    """
    levels = [(heat, shape)]
    with heat.open("rb") as stream:
        name = hashlib.file_digest(stream, "md5").hexdigest()
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "UUID": str(UUID(hex=name, version=4)),  # of the content: the same heat is the same file, byte for byte
        "Channel": {
            "Name": [one.name for one in card.classes],
            "Color": [_ome_colour(one.colour_rgb) for one in card.classes],
        },
    }
    if um_per_px is not None:
        metadata |= {
            "PhysicalSizeX": um_per_px, "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": um_per_px, "PhysicalSizeYUnit": "µm",
        }  # fmt: skip
    try:
        while max(levels[-1][1][1:]) > _TOP_LEVEL_PX:
            levels.append(_halved(*levels[-1], heat.with_name(f"{heat.name}.{len(levels)}")))
        with written_aside(file) as aside, tifffile.TiffWriter(aside, ome=True, bigtiff=True) as tiff:
            for number, (source, size) in enumerate(levels):
                tiff.write(
                    _tiles(source, size),
                    shape=size,
                    dtype=np.uint8,
                    tile=(_TILE_PX, _TILE_PX),
                    photometric="minisblack",
                    compression="zlib",
                    subifds=len(levels) - 1 if number == 0 else None,
                    subfiletype=1 if number else None,
                    metadata=metadata if number == 0 else None,
                    maxworkers=1,
                )
    finally:
        for source, _ in levels[1:]:
            source.unlink(missing_ok=True)


def _tiles(source: Path, shape: tuple[int, int, int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of (C, H, W), class by class and row by row; those at the end are filled with 0."""
    count, height, width = shape
    for channel in range(count):
        for top in range(0, height, _TILE_PX):
            rows = min(_TILE_PX, height - top)
            # Opened anew for every row of tiles: pages of an open map count as this process's memory.
            strip = np.memmap(source, np.uint8, mode="r", offset=top * count * width, shape=(rows, count, width))
            padded = np.zeros((_TILE_PX, -(-width // _TILE_PX) * _TILE_PX), np.uint8)
            padded[:rows, :width] = strip[:, channel]
            del strip
            for left in range(0, width, _TILE_PX):
                yield np.ascontiguousarray(padded[:, left : left + _TILE_PX])


def _halved(source: Path, shape: tuple[int, int, int], out: Path) -> tuple[Path, tuple[int, int, int]]:
    count, height, width = shape
    size = (count, -(-height // 2), -(-width // 2))
    strip_h = max(2, _STRIP_BYTES // (count * width) // 2 * 2)
    with out.open("wb") as stream:
        for top in range(0, height, strip_h):
            rows = min(strip_h, height - top)
            strip = np.memmap(source, np.uint8, mode="r", offset=top * count * width, shape=(rows, count, width))
            even = np.pad(strip, ((0, rows % 2), (0, 0), (0, width % 2)), mode="edge")
            del strip
            halves = [
                cv2.resize(
                    np.ascontiguousarray(even[:, one]), (size[2], even.shape[0] // 2), interpolation=cv2.INTER_AREA
                )
                for one in range(count)
            ]
            stream.write(np.stack(halves, axis=1).tobytes())
    return out, size


def _ome_colour(rgb: tuple[int, int, int]) -> int:
    """Return a colour as OME keeps it: RGBA in a signed 32-bit integer."""
    return int.from_bytes(bytes([*rgb, 255]), "big", signed=True)
