"""One photograph: read, cropped, scaled and stored, with its mask, by whichever process gets it."""

import hashlib
import re
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from unicodedata import normalize

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from geocamnet.errors import DataError
from geocamnet.images import MAX_PIXELS, UNDECODABLE, RgbImage, read_reduced, write_image
from geocamnet.sharing import Engine, shared_out
from geocamnet.train.coco import draw_mask
from geocamnet.train.originals import RawFile, close_archives, open_raw
from geocamnet.train.readings import Shape

MIN_SIDE_PX = 8  # less shows no texture, and the smallest feature map of a network would be empty


@dataclass(frozen=True)
class StoreJob:
    """All it takes to store one photograph; two equal jobs store equal files.

    Attributes:
        raw, data: the folders, or an archive for raw.
        position, mask_position: where an archive holds the photograph and its mask; -1 in a folder.
        mask_bytes, mask_mtime_ns: of the mask's file; 0 where there is none.
        path: of the photograph below RAW.
        image: where to store it below DATA; the suffix chooses the format.
        um_per_px: micrometres a pixel of the original, None where unknown.
        crop_px, long_side_px, target_um_per_px, jpeg_quality: of the recipe.
        crop_ltrb: cut from the left, top, right and bottom of the upright original where that is more than crop_px.
        mask: path of its mask below RAW, or empty.
        mask_stored: where to store it below DATA.
        shapes: outlines to draw its mask of, where there is no file of one.
        mask_classes: how many classes masks.json names.
        size_bytes, mtime_ns: of the original, so that a file replaced meanwhile is read again.
    """

    raw: str
    data: str
    position: int
    mask_position: int
    mask_bytes: int
    mask_mtime_ns: int
    path: str
    image: str
    um_per_px: float | None
    crop_px: int
    long_side_px: int | None
    target_um_per_px: float | None
    jpeg_quality: int
    mask: str
    shapes: tuple[Shape, ...]
    mask_stored: str
    mask_classes: int
    size_bytes: int
    mtime_ns: int
    crop_ltrb: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def edges_ltrb(self) -> tuple[int, int, int, int]:
        """What is cut from each edge."""
        left, top, right, bottom = (max(self.crop_px, cut) for cut in self.crop_ltrb)
        return left, top, right, bottom

    @property
    def key(self) -> str:
        """A hash of everything but where things lie."""
        of_mask = (self.mask_bytes, self.mask_mtime_ns) if self.mask else ()
        return hashlib.sha256(repr((*astuple(self)[6:], *of_mask)).encode()).hexdigest()[:32]

    @property
    def file(self) -> RawFile:
        """The photograph as RAW lists it."""
        return RawFile(self.path, self.size_bytes, self.mtime_ns, self.position)

    @property
    def mask_file(self) -> RawFile:
        """Its mask as RAW lists it."""
        return RawFile(self.mask, self.mask_bytes, self.mask_mtime_ns, self.mask_position)


@dataclass(frozen=True)
class Stored:
    """What became of one photograph.

    Attributes:
        path: of the photograph below RAW.
        skipped: why it is not stored; empty if it is.
        image: path below DATA.
        width_px, height_px: as stored.
        um_per_px: micrometres a pixel as stored, None where unknown.
        sha256: of the original file.
        mask: path below DATA, or empty.
        mask_skipped: why the mask, if it has one, is not stored.
        mask_sha256: of the mask's original file; empty if there is none or it can't be read.
    """

    path: str
    skipped: str = ""
    image: str = ""
    width_px: int = 0
    height_px: int = 0
    um_per_px: float | None = None
    sha256: str = ""
    mask: str = ""
    mask_skipped: str = ""
    mask_sha256: str = ""


def store_photograph(job: StoreJob) -> Stored:
    """Read, crop, scale and write one photograph and its mask.

    A photograph that can't be used is no error but a `Stored` with a reason: one bad file among thousands must
    not stop the rest.

    Raises:
        DataError: DATA can't be written, or the disk is full.
    """
    try:
        with open_raw(Path(job.raw), job.file) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
            image, divisor = read_reduced(stream, job.path, partial(_divisor, job))
        shape_hw = image.shape[0] * divisor, image.shape[1] * divisor
        size_wh, um_per_px = _stored_size(shape_hw[1], shape_hw[0], job)
    except DataError as error:
        return Stored(job.path, skipped=str(error).removeprefix(f"{job.path}: "))
    except OSError as error:
        return Stored(job.path, skipped=f"can't be read ({error.strerror or error})")
    mask, mask_skipped, sha256_of_mask = None, "", ""
    try:
        if job.mask:
            with open_raw(Path(job.raw), job.mask_file, role="masks") as stream:
                sha256_of_mask = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
                mask = _read_mask(stream, job, shape_hw)
        elif job.shapes:
            mask = draw_mask(job.shapes, shape_hw)
    except DataError as error:
        mask_skipped = str(error)
    except OSError as error:
        mask_skipped = f"the mask can't be read ({error.strerror or error})."
    left, top, right, bottom = (edge // divisor for edge in job.edges_ltrb)
    cropped = _cropped(image, (left, top, right, bottom))
    write_image(Path(job.data, job.image), _scaled(cropped, size_wh), quality=job.jpeg_quality)
    if mask is not None:
        mask = cv2.resize(_cropped(mask, job.edges_ltrb), size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
        write_image(Path(job.data, job.mask_stored), mask)
    return Stored(
        path=job.path,
        image=job.image,
        width_px=size_wh[0],
        height_px=size_wh[1],
        um_per_px=um_per_px,
        sha256=sha256,
        mask=job.mask_stored if mask is not None else "",
        mask_skipped=mask_skipped,
        mask_sha256=sha256_of_mask,
    )


def store_all(jobs: Sequence[StoreJob], *, workers: int, engine: Engine = "local") -> Generator[Stored, None, None]:
    """Yield what became of each photograph, in the order in which they are done.

    They are begun in the order in which an archive holds them, and every process opens the archive itself: a
    compressed TAR is read through once by each, never backwards.

    Args:
        jobs: what to store.
        workers: processes; 0 means every core, 1 none beside this one.

    Raises:
        DataError: DATA can't be written, or a process died.
    """
    in_order = sorted(jobs, key=lambda job: job.position)  # of an archive; stable: a folder's stay as they are
    try:
        yield from shared_out(store_photograph, in_order, engine=engine, workers=workers)
    finally:
        close_archives()


def stored_names(paths: Sequence[str]) -> list[str]:
    """Return a file name, without suffix, for each path below RAW: readable, of 130 bytes at most.

    They are unique also where a.jpg and A.JPG are one file: the path with / as __, and a hash where that is not enough.
    """
    names = []
    for path in paths:
        flat = normalize("NFC", str(PurePosixPath(path).with_suffix(""))).replace("/", "__")
        flat = re.sub(r"[^\w.()+-]", "_", flat).strip(".")
        short = flat.encode()[:120].decode("utf-8", "ignore")
        names.append(short or "_")
    counts = Counter(name.casefold() for name in names)
    return [
        name if counts[name.casefold()] == 1 else f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        for name, path in zip(names, paths, strict=True)
    ]


def original_sha256(job: StoreJob) -> str:
    """Return the SHA-256 of a job's original as 64 hexadecimal digits; empty if it can't be read any more."""
    return _sha256(job, job.file, "photographs")


def mask_sha256(job: StoreJob) -> str:
    """Return the SHA-256 of the original of a job's mask, as `original_sha256` does of its photograph."""
    return _sha256(job, job.mask_file, "masks")


def _sha256(job: StoreJob, file: RawFile, role: str) -> str:
    try:
        with open_raw(Path(job.raw), file, role=role) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    except (DataError, OSError):
        return ""


def _stored_size(width: int, height: int, job: StoreJob) -> tuple[tuple[int, int], float | None]:
    # Size (width, height) after cropping and scaling, and the micrometres a pixel there.
    left, top, right, bottom = job.edges_ltrb
    size = f"{width} x {height} px"
    width, height = width - left - right, height - top - bottom
    if min(width, height) < MIN_SIDE_PX:
        even = len({left, top, right, bottom}) == 1
        told = f"{left} px at every edge" if even else f"{left}, {top}, {right}, {bottom} px at its edges"
        cropped = f", less {told}," if any(job.edges_ltrb) else ""
        raise DataError(f"too small: {size}{cropped} leaves less than {MIN_SIDE_PX} px.")
    long_side = max(width, height)
    if job.target_um_per_px is not None:
        if job.um_per_px is None:
            raise DataError(
                "its micrometres a pixel are not known, so it can't be scaled to --um-per-px: state them in the "
                "manifest's column um_per_px, or for all with --raw-um-per-px."
            )
        scale = job.um_per_px / job.target_um_per_px
    else:
        scale = job.long_side_px / long_side if job.long_side_px is not None else 1.0
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    if min(size_wh) < MIN_SIDE_PX:
        raise DataError(f"too narrow: {width} x {height} px become {size_wh[0]} x {size_wh[1]} px when scaled.")
    if size_wh[0] * size_wh[1] > MAX_PIXELS:
        raise DataError(
            f"{width} x {height} px become {size_wh[0]} x {size_wh[1]} px when scaled, more than "
            f"{MAX_PIXELS:,} in all: check um_per_px."
        )
    um_per_px = None if job.um_per_px is None else job.um_per_px * long_side / max(size_wh)
    return size_wh, um_per_px


def _divisor(job: StoreJob, size_hw: tuple[int, int]) -> int:
    # By what a JPEG may be decoded smaller and lose nothing: where every stored pixel is the mean of whole ones. Where
    # it is not, two means in a row would blur the finest grains (at 2.67 pixels to one, by 7 % of their contrast).
    size_wh, _ = _stored_size(size_hw[1], size_hw[0], job)
    left, top, right, bottom = job.edges_ltrb
    steps = (size_hw[1] - left - right, size_wh[0]), (size_hw[0] - top - bottom, size_wh[1])
    for divisor in (8, 4, 2):
        whole = all(length % divisor == 0 for length in (*size_hw, *job.edges_ltrb))
        if whole and all(old % (divisor * new) == 0 for old, new in steps):
            return divisor
    return 1


def _cropped(image: NDArray[np.uint8], edges_ltrb: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, right, bottom = edges_ltrb
    return image[top : image.shape[0] - bottom, left : image.shape[1] - right]


def _scaled(image: RgbImage, size_wh: tuple[int, int]) -> RgbImage:
    if size_wh == (image.shape[1], image.shape[0]):
        return image
    shrinks = size_wh[0] < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size_wh, interpolation=method), np.uint8)


def _read_mask(stream: BinaryIO, job: StoreJob, shape_hw: tuple[int, int]) -> NDArray[np.uint8]:
    # Masks hold numbers, not colours: read_image would turn a palette's numbers into its colours.
    try:
        stream.seek(0)
        with Image.open(stream) as image:
            if image.size != shape_hw[::-1]:
                raise DataError(
                    f"the mask has {image.width} x {image.height} px, its photograph {shape_hw[1]} x {shape_hw[0]} px."
                )
            values = np.array(image)
    except DataError:
        raise
    except (UnidentifiedImageError, *UNDECODABLE) as error:
        raise DataError(f"the mask can't be read ({error}).") from error
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2:
        raise DataError("a mask holds class numbers, one a pixel; this one has colours.")
    if values.min() < 0 or values.max() > job.mask_classes:
        raise DataError(f"the mask holds {values.max()}, but masks.json names {job.mask_classes} classes.")
    return values.astype(np.uint8)
