"""Read, write and list photographs: RGB uint8 (H, W, 3), nothing else leaves this file."""

import io
import logging
import os
import stat
import struct
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from geocamnet.errors import DataError
from geocamnet.stores import list_store, read_store, shown, url_of

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})

# A decompression bomb is refused; a 20,000 x 20,000 mosaic is not one, but belongs to `huge`.
MAX_PIXELS = 500_000_000
Image.MAX_IMAGE_PIXELS = None  # checked below, with our own words, before anything is decoded
BOMB_PIXELS = 50_000_000  # a gigabyte while it is converted; what unfolds to less does no harm
BOMB_RATIO = 300  # pixels a byte: a photograph of rock has fewer than 100, however strongly it is compressed
STRIP_ROWS = 64  # of a large photograph that are handed over at a time: they stay in the processor's cache

# What Pillow's readers raise at files that were damaged on purpose or by chance.
UNDECODABLE = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, MemoryError, LookupError, ArithmeticError, AttributeError,
    RuntimeError, AssertionError, struct.error, zlib.error,
)  # fmt: skip

RgbImage = NDArray[np.uint8]
_JPEG_END = b"\xff\xd9"
_ASIDE = ".aside-"  # what the name of a file that is not yet in its place begins with
_LYING = (5, 6, 7, 8)  # EXIF orientations whose rows are the columns of the upright photograph
_log = logging.getLogger(__name__)


def read_image(path: str | os.PathLike[str]) -> RgbImage:
    """Read a photograph as RGB uint8, upright, whatever it was stored as.

    Grey, palette, CMYK and 16-bit images are converted; transparency is laid on white; EXIF orientation
    is applied. 16-bit values are divided by 257 (full range to full range; of colours the lower 8 bits are left
    out), or by the range the TIFF states in its MaxSampleValue tag, never stretched to the image's own range.

    Args:
        path: JPEG, PNG, TIFF, BMP or WebP, told by content and not by suffix; or its URL in a store.

    Returns:
        RGB uint8 of shape (H, W, 3).

    Raises:
        DataError: no such file, a pipe or device, an empty, truncated or damaged file, not an image, or a kind of
            pixel (floating point, 32-bit) whose range is not known.
        SourceError: the store can't be used.
    """
    if url := url_of(path):
        return read_image_stream(io.BytesIO(read_store(url)), url)
    file = Path(path)
    try:
        if not stat.S_ISREG(mode := file.stat().st_mode) and not stat.S_ISDIR(mode):
            raise DataError(f"{file}: is a pipe or device, not a photograph.")  # to open a pipe would wait for ever
        with file.open("rb") as stream:
            return read_image_stream(stream, str(file))
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{file}: is a folder, not a photograph.") from error
    except PermissionError as error:
        if file.is_dir():  # what Windows says of a folder
            raise DataError(f"{file}: is a folder, not a photograph.") from error
        raise DataError(f"{file}: may not be read. Check the rights of the file.") from error
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror or error}).") from error


def read_image_stream(stream: BinaryIO, name: str) -> RgbImage:
    """Read a photograph as `read_image` does, from an open file or from memory.

    Args:
        stream: binary, seekable; it is left open.
        name: what errors call the photograph.

    Returns:
        RGB uint8 of shape (H, W, 3).

    Raises:
        DataError: as `read_image`.
    """
    return read_reduced(stream, name, lambda size_hw: 1)[0]


def read_reduced(stream: BinaryIO, name: str, divisor_for: Callable[[tuple[int, int]], int]) -> tuple[RgbImage, int]:
    """Read a photograph as `read_image_stream` does, a JPEG at a half, a quarter or an eighth of its size if wanted.

    A JPEG decoded smaller has for its pixels the means of the full one's, to within rounding, and costs a third of
    the time: its blocks are decoded at that size.

    Args:
        stream: binary, seekable; it is left open.
        name: what errors call the photograph.
        divisor_for: asked of a JPEG of (H, W), upright, by what both sides, multiples of it, are to be divided: 1, 2,
            4 or 8.

    Returns:
        RGB uint8 of shape (H, W, 3), and what its sides were divided by.

    Raises:
        DataError: as `read_image`, or as ``divisor_for`` raises.
    """
    try:
        size_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if size_bytes == 0:
            raise DataError(f"{name}: the file is empty (0 bytes). Copy it again from its source.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels are what counts
            with Image.open(stream) as image:
                _refuse_bombs(image, name, size_bytes)
                divisor = _drafted(image, divisor_for)
                image.load()
                return _upright(image, _to_rgb(_with_its_range(image, stream, name), name)), divisor
    except UnidentifiedImageError as error:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{name}: not an image, or a kind that is not read here. Save it as one of {kinds}.") from error
    except DataError:
        raise
    except UNDECODABLE as error:
        raise DataError(f"{name}: can't be decoded ({error}). The file is damaged or cut short.") from error


def read_written(path: str | os.PathLike[str]) -> RgbImage:
    """Read a photograph that `write_image` wrote: the pixels of `read_image`, a JPEG's in half the time.

    OpenCV has Pillow's decoder, and lets other threads go on while it decodes; but it passes over some damage at which
    Pillow stops. So it reads what was whole when this package wrote it, and a file that was cut short since is left to
    `read_image`, which says so.

    Args:
        path: of the photograph, or its URL in a store.

    Returns:
        RGB uint8 of shape (H, W, 3).

    Raises:
        DataError, SourceError: as `read_image`.
    """
    file = Path(path)
    if file.suffix.lower() in {".jpg", ".jpeg"} and not url_of(path) and file.is_file():
        data = np.fromfile(file, np.uint8)
        if data[-2:].tobytes() == _JPEG_END:
            with suppress(cv2.error):  # what is wrong with it, read_image says
                rgb = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
                if rgb is not None:
                    return rgb.astype(np.uint8, copy=False)
    return read_image(path)


def write_image(path: str | os.PathLike[str], image: RgbImage, *, quality: int = 95) -> None:
    """Write an RGB (H, W, 3) or grey (H, W) uint8 image, aside first and then renamed into place.

    Args:
        path: the suffix chooses the format (``.png`` and ``.tif`` are lossless).
        image: RGB uint8 (H, W, 3), or uint8 (H, W) for a mask.
        quality: JPEG and WebP quality, 1 to 100.

    Raises:
        DataError: wrong dtype or shape, an unknown suffix, a full disk, or a folder that can't be written.
    """
    file = Path(path)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise DataError(
            f"{file}: an image to write must be uint8 of shape (H, W, 3) or (H, W); "
            f"received {image.dtype} of shape {image.shape}."
        )
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{file}: unknown suffix '{file.suffix}'. Known: {', '.join(sorted(IMAGE_SUFFIXES))}.")
    picture = Image.fromarray(np.ascontiguousarray(image))
    options = {"quality": quality} if file.suffix.lower() in {".jpg", ".jpeg", ".webp"} else {}
    if file.suffix.lower() in {".tif", ".tiff"}:
        options = {"compression": "tiff_deflate"}  # type: ignore[dict-item]
    with written_aside(file) as aside:
        picture.save(aside, format=Image.registered_extensions()[file.suffix.lower()], **options)


class written_aside:
    """Context manager: write to a neighbour file, renamed over ``path`` only if all went well.

    A crash, a kill or a full disk leaves the old file or none, never half a file that looks whole. The neighbour that a
    kill leaves is for `remove_asides`.

    Raises:
        DataError: the folder can't be written or the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._aside = self.path.parent / f"{_ASIDE}{uuid.uuid4().hex[:12]}{self.path.suffix}"
            self._aside.open("xb").close()
        except OSError as error:
            raise DataError(_cannot_write(self.path, error)) from error
        return self._aside

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            try:
                self._aside.replace(self.path)
                return
            except OSError as replace_error:
                error = replace_error
        self._aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DataError(_cannot_write(self.path, error)) from error


def remove_asides(folder: str | os.PathLike[str], *, deep: bool = True) -> None:
    """Remove what `written_aside` has left in a folder where a process was killed.

    What another process is writing there at that moment is lost to it: only for who is alone, or needs nobody else.

    Args:
        folder: it need not be there.
        deep: in all folders below it too.

    Raises:
        OSError: a file can't be removed.
    """
    for aside in Path(folder).glob(f"{'**/' * deep}{_ASIDE}*"):
        aside.unlink(missing_ok=True)


def is_empty(folder: Path) -> bool:
    """Return whether nothing is in a folder but what `written_aside` leaves where a process is killed.

    Raises:
        OSError: it is no folder, or can't be listed.
    """
    return all(one.name.startswith(_ASIDE) for one in folder.iterdir())


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return every image file under ``folder``, or its URL in a store, sorted by path; hidden ones are left out.

    Raises:
        DataError: the folder does not exist or holds no image, or a folder in it can't be listed.
        SourceError: the store can't be used.
    """
    root = Path(folder)
    if url_of(root):
        found = sorted(_images_in_store(root))
    elif root.is_dir():
        found = sorted(_walk_images(root))
    else:
        raise DataError(f"{root}: no such folder.")
    if not found:
        raise DataError(
            f"{shown(root)}: no photograph found in it or below it. Looked for {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return found


def scaled_size_hw(shape_hw: tuple[int, ...], long_side_px: int) -> tuple[int, int]:
    """Return (H, W) after scaling the long side to ``long_side_px``.

    In float32, as ONNX Runtime computes it: a side that comes out at half a pixel may else be rounded otherwise.
    """
    scale = np.float32(long_side_px) / np.float32(max(shape_hw))
    height, width = (max(1, int(float(np.float32(side) * scale) + 0.5)) for side in shape_hw)
    return height, width


def _walk_images(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:  # os.walk alone would leave the folder out without a word
        raise DataError(f"{error.filename}: the folder can't be listed ({error.strerror or error}).") from error

    links: list[Path] = []  # not followed: they may lead back to a folder above
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += (path for name in folders if (path := Path(folder, name)).is_symlink())
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(folder, name)
    if links:
        _log.warning(
            "%s: %d linked folder(s) in it are not looked into, such as %s. Name them on their own, or copy them.",
            root, len(links), links[0],
        )  # fmt: skip


def _images_in_store(root: Path) -> Iterator[Path]:
    files, refused = list_store(url_of(root))
    for path, reason in refused:
        _log.warning("left out %s: %s", path, reason)
    for one in files:
        if Path(one.path).suffix.lower() in IMAGE_SUFFIXES:
            yield root / one.path


def _refuse_bombs(image: Image.Image, name: str, size_bytes: int) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(
            f"{name}: {image.width} x {image.height} pixels is more than read_image takes "
            f"({MAX_PIXELS:,}). As a TIFF or a whole slide it can be mapped by: geocamnet scan"
        )
    if pixels > max(BOMB_PIXELS, BOMB_RATIO * size_bytes):
        raise DataError(
            f"{name}: {size_bytes:,} bytes that claim to be {image.width} x {image.height} pixels: a "
            "decompression bomb, or a picture of nothing."
        )


def _drafted(image: Image.Image, divisor_for: Callable[[tuple[int, int]], int]) -> int:
    # Asks the decoder of a JPEG for fewer pixels, and returns what it divides the sides by.
    if image.format != "JPEG":
        return 1
    width, height = image.size
    divisor = divisor_for((width, height) if _orientation(image) in _LYING else (height, width))
    wanted = width // divisor, height // divisor
    if divisor > 1:
        image.draft(None, wanted)
    return divisor if image.size == wanted else 1


def _to_rgb(image: Image.Image, file: str) -> RgbImage:
    if image.mode.startswith("I;16") or image.mode == "I":
        return _sixteen_bit_to_rgb(image, file)
    if image.mode == "F":
        raise DataError(f"{file}: floating-point pixels have no known range. Save it as an 8-bit or 16-bit image.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow has no way but this
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    # All rows at once would make three copies of the whole photograph, half as slow as decoding it.
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, image.height)
        rgb[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)).convert("RGB"))
    return rgb


def _with_its_range(image: Image.Image, stream: BinaryIO, name: str) -> Image.Image:
    """Return a decoded photograph, the 16-bit colours of a TIFF divided by the range that it states.

    Pillow keeps the upper 8 of 16 bits of a colour, too few where a camera uses 12 of them, and takes two bytes of an
    uncompressed plane for two pixels.
    """
    tags = getattr(image, "tag_v2", {})
    if image.format != "TIFF" or _largest(tags.get(258, 1)) <= 8 or tags.get(277, 1) < 3:
        return image
    top, in_planes = _white_of(image), tags.get(284, 1) == 2
    if top == 65535 and not (in_planes and tags.get(259, 1) == 1):
        return image
    found = None
    if not in_planes and tags.get(262) == 2:
        stream.seek(0)
        with suppress(cv2.error):
            found = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.shape != (image.height, image.width, tags[277]):
        raise DataError(
            f"{name}: 16-bit colours stored in planes, or compressed, in a way that is not read here. Save it as an "
            "8-bit TIFF or PNG, or as an uncompressed 16-bit TIFF with the samples of a pixel side by side."
        )
    colours = _to_bytes(found[..., [2, 1, 0, 3][: found.shape[2]]], top)
    extra = tags.get(338) or (2,)
    mode = "RGB" if colours.shape[2] == 3 else {0: "RGBX", 1: "RGBa"}.get(extra[0], "RGBA")
    return Image.frombuffer(mode, image.size, np.ascontiguousarray(colours), "raw", mode, 0, 1)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(274, 1)
    except (struct.error, SyntaxError, ValueError, TypeError, KeyError):
        return 1  # unreadable metadata; the pixels are what counts


def _upright(image: Image.Image, rgb: RgbImage) -> RgbImage:
    # Not ImageOps.exif_transpose: it writes the metadata anew, which fails where a camera wrote them badly.
    orientation = _orientation(image)
    turned = rgb.transpose(1, 0, 2) if orientation in _LYING else rgb
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(turned[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _sixteen_bit_to_rgb(image: Image.Image, file: str) -> RgbImage:
    values = np.asarray(image).astype(np.int64)  # (H, W)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{file}: 32-bit pixels have no known range. Save it as an 8-bit or 16-bit image.")
    grey = _to_bytes(values, _white_of(image))
    if getattr(image, "tag_v2", {}).get(262) == 0:  # WhiteIsZero, which Pillow turns round in 8 bits alone
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def _white_of(image: Image.Image) -> int:
    """Return the largest value of a photograph of more than 8 bits: what its TIFF states, or what its bits can hold."""
    tags = getattr(image, "tag_v2", {})
    stated = _largest(tags.get(281, 0))  # MaxSampleValue: a 12-bit camera in a 16-bit file says 4095
    return stated if stated > 255 else 2 ** min(16, _largest(tags.get(258, 16))) - 1


def _largest(value: Any) -> int:
    return int(max(value, default=0) if isinstance(value, tuple) else value)


def _to_bytes(values: NDArray[np.integer], top: int) -> NDArray[np.uint8]:
    return np.clip((values.astype(np.uint32) * 255 + top // 2) // top, 0, 255).astype(np.uint8)


def _cannot_write(path: Path, error: OSError) -> str:
    return f"{path}: can't be written ({error.strerror or error}). Check the folder's rights and the free space."
