"""A scan: one photograph of a whole thin section, too large for memory, opened to read rectangles of it."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from geocamnet.errors import DataError, missing_extra
from geocamnet.images import UNDECODABLE, RgbImage, read_image

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, of either byte order
_SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm"})


class _Opened(Protocol):
    shape_hw: tuple[int, int]
    um_per_px: float | None
    kind: str

    def read(self, top: int, left: int, height: int, width: int) -> RgbImage: ...
    def close(self) -> None: ...


class Scan:
    """A photograph of any size, opened with `open_scan`; a context manager.

    Attributes:
        path: the file.
        shape_hw: in pixels.
        um_per_px: micrometres a pixel as the file's own metadata state it; None where they do not.
        kind: such as ``TIFF``, ``OME-TIFF``, ``aperio``, ``in memory``.
    """

    def __init__(self, path: Path, opened: _Opened) -> None:
        self.path = path
        self.shape_hw = opened.shape_hw
        self.um_per_px = opened.um_per_px
        self.kind = opened.kind
        self._opened = opened

    def __enter__(self) -> "Scan":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def read(self, top: int, left: int, height: int, width: int) -> RgbImage:
        """Return a rectangle, RGB uint8 (height, width, 3); from one thread at a time.

        Raises:
            DataError: it reaches out of the photograph, or that part of the file is damaged.
        """
        if (
            min(top, left) < 0
            or min(height, width) < 1
            or top + height > self.shape_hw[0]
            or (left + width > self.shape_hw[1])
        ):
            raise DataError(
                f"{self.path}: {self.shape_hw[1]} x {self.shape_hw[0]} px; {width} x {height} px at {left}, {top} "
                "reach out of it."
            )
        return self._opened.read(top, left, height, width)


def open_scan(path: str | os.PathLike[str]) -> Scan:
    """Open a photograph of any size.

    TIFF, BigTIFF and OME-TIFF (tiled, in strips or uncompressed) through tifffile; whole-slide images (Aperio SVS,
    Hamamatsu NDPI, MIRAX and more) through OpenSlide; anything else that `read_image` reads is held in memory, up to
    its limit of pixels. Of a pyramid the largest level is read.

    Raises:
        DataError: no such file, a damaged one, a kind that is not read, or a package that is not installed.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file.") from error
    except OSError as error:
        if file.is_dir():
            raise DataError(f"{file}: is a folder; one scan is wanted. For a folder: geocamnet run") from error
        raise DataError(f"{file}: can't be read ({error.strerror or error}).") from error
    if file.suffix.lower() in _SLIDE_SUFFIXES and (slide := _open_slide(file)) is not None:
        return Scan(file, slide)
    if start in _TIFF_STARTS:
        try:
            from geocamnet.runtime.huge.tiff_scan import TiffScan
        except ModuleNotFoundError as error:
            raise DataError(f"{file}: {missing_extra(error.name or 'tifffile', 'big')}") from error
        return Scan(file, TiffScan(file))
    return Scan(file, _InMemory(read_image(file)))


class _InMemory:
    def __init__(self, image: RgbImage) -> None:
        self.um_per_px: float | None = None
        self.kind = "in memory"
        self.shape_hw = (image.shape[0], image.shape[1])
        self._image = image

    def read(self, top: int, left: int, height: int, width: int) -> RgbImage:
        return self._image[top : top + height, left : left + width]

    def close(self) -> None:
        del self._image


class _WholeSlide:
    """A whole-slide image; what was not scanned is white."""

    def __init__(self, path: Path, slide: Any) -> None:
        self._path = path
        self._slide = slide
        self.kind = str(slide.properties.get("openslide.vendor", "whole slide"))
        self.shape_hw = (int(slide.dimensions[1]), int(slide.dimensions[0]))
        try:
            across, down = (float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
        except (KeyError, ValueError):
            across, down = 0.0, 0.0
        self.um_per_px = across if across > 0 and abs(down / across - 1) < 0.01 else None

    def read(self, top: int, left: int, height: int, width: int) -> RgbImage:
        try:
            region = np.asarray(self._slide.read_region((left, top), 0, (width, height)))  # RGBA
        except UNDECODABLE as error:  # OpenSlide's errors are RuntimeErrors
            raise DataError(
                f"{self._path}: the part at {left}, {top} px ({width} x {height} px) can't be decoded ({error}). The "
                "file is damaged."
            ) from error
        colours, opacity = region[..., :3].astype(np.uint16), region[..., 3:].astype(np.uint16)
        return ((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)

    def close(self) -> None:
        self._slide.close()


def _open_slide(file: Path) -> _WholeSlide | None:
    """Open what OpenSlide knows; None where it does not know the file, and something else may."""
    try:
        import openslide
    except ModuleNotFoundError as error:
        raise DataError(f"{file}: {missing_extra('openslide-python', 'big')}") from error
    try:
        return _WholeSlide(file, openslide.OpenSlide(file))
    except openslide.OpenSlideUnsupportedFormatError:
        return None
    except (openslide.OpenSlideError, *UNDECODABLE) as error:
        raise DataError(f"{file}: can't be opened ({error}). The file is damaged or parts are missing.") from error
