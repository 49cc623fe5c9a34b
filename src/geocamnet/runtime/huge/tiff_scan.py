"""Rectangles of a TIFF, BigTIFF or OME-TIFF of any size: only the tiles or strips that they touch are decoded."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.images import MAX_PIXELS, UNDECODABLE, RgbImage

_KEPT_BYTES = 128 << 20  # of decoded pieces; a row of tiles of a scan 100,000 px wide, to be met again by the next
_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "nm": 1e-3}
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_UNKNOWN, _MULTIPLIED, _OPACITY = 0, 1, 2  # TIFF's ExtraSamples
_READ = (_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _YCBCR)


class TiffScan:
    """A TIFF opened to read rectangles of its largest image; it is not to be used by two threads at once.

    Grey, palette, RGB and transparent pixels of 8 or 16 bits; samples side by side, in planes, or on pages of their
    own. Compressed as JPEG, JPEG 2000, LZW, Deflate, Zstandard and more where imagecodecs is installed.

    Attributes:
        path: the file.
        shape_hw: in pixels.
        um_per_px: as an OME-TIFF's metadata state it, otherwise None: resolution tags are most often a printer's.
        kind: ``TIFF``, ``BigTIFF`` or ``OME-TIFF``.

    Raises:
        DataError: not a TIFF, a kind of pixel that is not read, or stored in one compressed piece that is too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._tiff = tifffile.TiffFile(path)
        except UNDECODABLE as error:
            raise DataError(f"{path}: can't be read as a TIFF ({error}). The file is damaged or cut short.") from error
        try:
            self._planes = self._largest_image()
            self._check()
        except UNDECODABLE as error:
            self._tiff.close()
            raise DataError(f"{path}: can't be read as a TIFF ({error}). The file is damaged or cut short.") from error
        except DataError:
            self._tiff.close()
            raise
        page = self._planes[0]
        self.shape_hw = (int(page.imagelength), int(page.imagewidth))
        is_ome = self._tiff.is_ome
        self.um_per_px = _ome_scale(self._tiff.ome_metadata) if is_ome else None
        self.kind = "OME-TIFF" if is_ome else "BigTIFF" if self._tiff.is_bigtiff else "TIFF"
        self._mapped = None
        if all(plane.is_memmappable for plane in self._planes):
            self._mapped = [_mapped(path, plane) for plane in self._planes]
        self._kept: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0

    def read(self, top: int, left: int, height: int, width: int) -> RgbImage:
        """Return a rectangle inside the image, RGB uint8 (height, width, 3).

        Raises:
            DataError: a piece of the file is damaged, or can't be read.
        """
        samples = [self._plane(number, top, left, height, width) for number in range(len(self._planes))]
        return self._rgb(samples[0] if len(samples) == 1 else np.concatenate(samples, axis=2))

    def close(self) -> None:
        """Close the file."""
        self._kept.clear()
        self._mapped = None
        self._tiff.close()

    def _largest_image(self) -> list[Any]:
        series = max(self._tiff.series, key=lambda one: math.prod(one.shape), default=None)
        if series is None:
            raise DataError(f"{self.path}: a TIFF without an image.")
        level = series.levels[0]
        others = [size for axis, size in zip(level.axes, level.shape, strict=True) if axis not in "YXSC" and size > 1]
        pages = [page for page in level.pages if page is not None]
        if others or len(pages) not in (1, 3):
            raise DataError(
                f"{self.path}: a TIFF of several images (axes {level.axes}, {tuple(level.shape)}); one photograph in "
                "grey or RGB is wanted. Save the one that is meant on its own."
            )
        return pages

    def _check(self) -> None:
        page = self._planes[0]
        if page.photometric not in _READ or page.dtype not in (np.uint8, np.uint16) or page.imagedepth != 1:
            raise DataError(
                f"{self.path}: pixels of {page.dtype}, {getattr(page.photometric, 'name', page.photometric)}, are "
                "not read here. Save it as RGB or grey, of 8 or 16 bits a sample."
            )
        if page.samplesperpixel not in (1, 2, 3, 4) or (len(self._planes) == 3 and page.samplesperpixel != 1):
            raise DataError(f"{self.path}: {page.samplesperpixel} samples a pixel; RGB has 3. Save it as RGB.")
        if (turned := page.tags.valueof(274, 1)) != 1:
            raise DataError(f"{self.path}: stored turned (orientation {turned}). Save it upright.")
        piece_px = math.prod(page.chunks[:2]) if page.chunks else 0
        if not page.is_memmappable and piece_px > MAX_PIXELS:
            raise DataError(
                f"{self.path}: compressed in one piece of {piece_px:,} pixels, which can't be read in parts. "
                "Save it as a tiled TIFF."
            )

    def _plane(self, number: int, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return samples (height, width, S) of one page."""
        try:
            if self._mapped is not None:
                return _side_by_side(self._mapped[number][:, top : top + height, left : left + width])
            return self._pieced(number, top, left, height, width)
        except UNDECODABLE as error:
            raise DataError(
                f"{self.path}: the part at {left}, {top} px ({width} x {height} px) can't be decoded ({error}). The "
                "file is damaged, or compressed in a way that needs: pip install 'geocamnet[big]'"
            ) from error

    def _pieced(self, number: int, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        page = self._planes[0]  # pages of one image are laid out alike
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        samples = 1 if page.planarconfig == 2 else page.samplesperpixel
        blank = 0 if page.photometric == _WHITE_IS_ZERO else np.iinfo(page.dtype).max  # a piece never scanned is white
        found = np.full((planes, height, width, samples), blank, page.dtype)
        piece_h = page.tilelength if page.is_tiled else page.rowsperstrip
        piece_w = page.tilewidth if page.is_tiled else page.imagewidth
        across, down = math.ceil(page.imagewidth / piece_w), math.ceil(page.imagelength / piece_h)
        for plane in range(planes):
            for row in range(top // piece_h, (top + height - 1) // piece_h + 1):
                for column in range(left // piece_w, (left + width - 1) // piece_w + 1):
                    piece = self._piece(number, (plane * down + row) * across + column)
                    if piece is None:
                        continue
                    y, x = row * piece_h - top, column * piece_w - left  # of the piece, in what was asked for
                    here = np.s_[max(0, y) : y + piece.shape[0], max(0, x) : x + piece.shape[1]]
                    target = found[plane][here]
                    rows, columns = target.shape[:2]
                    target[:] = piece[max(0, -y) : max(0, -y) + rows, max(0, -x) : max(0, -x) + columns]
        return _side_by_side(found)

    def _piece(self, number: int, index: int) -> NDArray[Any] | None:
        """Return a decoded tile or strip (h, w, S), or None for one that holds nothing."""
        if (number, index) in self._kept:
            self._kept.move_to_end((number, index))
            return self._kept[number, index]
        page = self._planes[number]
        count = page.databytecounts[index]
        if count == 0:
            return None
        stream = self._tiff.filehandle
        stream.seek(page.dataoffsets[index])
        raw = stream.read(count)
        if len(raw) < count:
            raise ValueError(f"{count - len(raw)} bytes are missing")
        how = {}
        if page.keyframe.compression in _JPEG:
            how = {"jpegtables": page.jpegtables, "jpegheader": page.keyframe.jpegheader}
        decoded, _, _ = page.keyframe.decode(raw, index, **how)
        piece = np.asarray(decoded)[0]
        self._kept[number, index] = piece
        self._kept_bytes += piece.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.nbytes
        return piece

    def _rgb(self, samples: NDArray[Any]) -> RgbImage:
        """Return samples (H, W, 1 to 4) as RGB uint8: transparency is laid on white, 16 bits are divided by 257.

        What the 2nd or 4th sample is the TIFF says in ExtraSamples: 0 nothing that is known, 1 opacity that the
        colours have been multiplied by, 2 opacity. Where it says nothing it is opacity.
        """
        page = self._planes[0]
        if page.photometric == _PALETTE:
            return np.ascontiguousarray((page.colormap[:, samples[..., 0]] // 257).astype(np.uint8).transpose(1, 2, 0))
        if page.bitspersample != 8:
            stated = page.tags.valueof(281, None)  # MaxSampleValue: a 12-bit camera in a 16-bit file says 4095
            top = int(np.max(stated)) if stated is not None and int(np.max(stated)) > 255 else 2**page.bitspersample - 1
            samples = np.clip((samples.astype(np.uint32) * 255 + top // 2) // top, 0, 255).astype(np.uint8)
        colours, rest = (samples[..., :1], samples[..., 1:]) if samples.shape[2] < 3 else np.split(samples, [3], axis=2)
        if page.photometric == _WHITE_IS_ZERO:
            colours = 255 - colours
        meaning = page.extrasamples[-1] if page.extrasamples else _OPACITY
        if rest.shape[2] and meaning != _UNKNOWN:
            white = 255 * (255 - rest.astype(np.uint16))  # what shows through, times 255
            told = colours.astype(np.uint16) * (255 if meaning == _MULTIPLIED else rest)
            colours = np.minimum((told.astype(np.uint32) + white + 127) // 255, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours)


_JPEG = (6, 7, 34892, 33007)  # TIFF's numbers of the compressions whose tables lie outside the pieces


def _mapped(path: Path, frame: Any) -> NDArray[Any]:
    """Return the pixels of an uncompressed page where they lie in the file: (planes, H, W, S)."""
    page = frame.keyframe
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    shape = (planes, page.imagelength, page.imagewidth, page.samplesperpixel // planes)
    kind = page.dtype.newbyteorder(page.parent.byteorder)
    return np.memmap(path, kind, mode="r", offset=frame.dataoffsets[0], shape=shape)


def _side_by_side(planes: NDArray[Any]) -> NDArray[Any]:
    """Return (planes, H, W, S) as (H, W, planes * S)."""
    return np.asarray(planes[0]) if len(planes) == 1 else np.moveaxis(planes[..., 0], 0, -1)


def _ome_scale(metadata: str | None) -> float | None:
    """Return micrometres a pixel of the first image, where width and height agree to 1 %."""
    try:
        pixels: Sequence[Any] = [
            one for one in ElementTree.fromstring(metadata or "").iter() if one.tag.endswith("Pixels")
        ]
        sizes = [
            float(pixels[0].attrib[f"PhysicalSize{axis}"]) * _UM[pixels[0].attrib.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        ]
    except (ElementTree.ParseError, LookupError, ValueError):
        return None
    return sizes[0] if sizes[0] > 0 and abs(sizes[1] / sizes[0] - 1) < 0.01 else None
