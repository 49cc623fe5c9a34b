"""One look at one photograph: decoded once, and all that the audit needs kept in a few kilobytes."""

import base64
import hashlib
import warnings
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geocamnet.errors import DataError
from geocamnet.images import read_image_stream
from geocamnet.train.audit.marks import find_marks, without_marks
from geocamnet.train.baselines import forest_features
from geocamnet.train.originals import RawFile, open_raw
from geocamnet.train.store import MIN_SIDE_PX

THUMB_PX = 32
WORK_PX = 224  # long side at which sharpness and local features are measured
TEXTURE_PX = 128  # long side at which texture is measured
POINTS = 64  # local features kept of a photograph
POINT_DIMS = 32
_MANY_SAMPLES = 40_000  # pixels that brightness is measured on


@dataclass(frozen=True)
class LookJob:
    """A photograph to look at: RAW, the file in it, whether to measure texture."""

    raw: str
    file: RawFile
    texture: bool = True


@dataclass(frozen=True)
class Look:
    """What one look kept of a photograph.

    Attributes:
        path: below RAW.
        size_bytes, mtime_ns: of the file, to know whether it is still the same.
        problem: why it can't be used; empty if it can, and then everything else is filled in.
        sha256: of the file.
        pixels: SHA-256 of size and decoded RGB, first 32 digits: equal for the same picture in another wrapping.
        width_px, height_px: upright.
        format, mode: as Pillow names them: ``JPEG``, ``L``.
        camera: EXIF maker and model, or ``other`` where there is other EXIF, or empty.
        jpeg: sum of the JPEG quantisation tables, 0 for no JPEG: high is strong compression.
        colour: 95th percentile of the spread of the channels, 0 to 255; below 12 a photograph is grey.
        mean: mean grey level. contrast: its standard deviation.
        lamp: 99th percentile of each of red, green, blue: what the lamp gives where the rock is clear.
        sharpness: variance of the Laplacian at 224 px over the grey level's variance.
        edges_ltrb, smeared_ltrb, bars: see `Marks`.
        thumb: base64 of uint8 (32, 32): the grey picture within its frame, squeezed to a square.
        texture: base64 of float16 (182,), see `baselines.forest_features`; empty for a very small photograph, and for
            some where there are very many.
        points: base64 of int8 (K, 32), local features, see `local_points`.
    """

    path: str
    size_bytes: int = 0
    mtime_ns: int = 0
    problem: str = ""
    sha256: str = ""
    pixels: str = ""
    width_px: int = 0
    height_px: int = 0
    format: str = ""
    mode: str = ""
    camera: str = ""
    jpeg: int = 0
    colour: float = 0.0
    mean: float = 0.0
    contrast: float = 0.0
    lamp: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sharpness: float = 0.0
    edges_ltrb: tuple[int, int, int, int] = (0, 0, 0, 0)
    smeared_ltrb: tuple[int, int, int, int] = (0, 0, 0, 0)
    bars: tuple[tuple[int, int, int, int], ...] = ()
    thumb: str = ""
    texture: str = ""
    points: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the values as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Look":
        """Return the look that `as_json` wrote.

        Raises:
            TypeError, KeyError: it is none.
        """
        tuples = {name: tuple(values[name]) for name in ("lamp", "edges_ltrb", "smeared_ltrb")}
        return cls(**{**values, **tuples, "bars": tuple(tuple(bar) for bar in values["bars"])})


def look_at_all(jobs: tuple[LookJob, ...]) -> list[Look]:
    """Look at a handful of photographs: what one process is given at a time."""
    return [look_at(job) for job in jobs]


def look_at(job: LookJob) -> Look:
    """Look at a photograph; one that can't be read is no error but a `Look` with its problem."""
    path = job.file.path
    look = Look(path, job.file.size_bytes, job.file.mtime_ns)
    try:
        with open_raw(Path(job.raw), job.file) as stream:
            look = replace(look, sha256=hashlib.file_digest(stream, "sha256").hexdigest())  # type: ignore[arg-type]
            image = read_image_stream(stream, path)
            wrapping = _wrapping(stream)
    except DataError as error:
        return replace(look, problem=str(error).removeprefix(f"{path}: "))
    except (OSError, ValueError, SyntaxError) as error:
        return replace(look, problem=f"can't be read ({error})")
    return _filled(replace(look, **wrapping), image, with_texture=job.texture)


def _wrapping(file: BinaryIO) -> dict[str, Any]:
    # What the file says beside its pixels; opening does not decode.
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file) as picture:
            exif = picture.getexif()
            named = " ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (271, 272)).strip()
            other = any(tag != 274 for tag in exif)  # a turned picture says so in EXIF, and that is no camera
            tables = getattr(picture, "quantization", None) or {}
            return {
                "format": picture.format or "",
                "mode": picture.mode,
                "camera": named or ("other" if other else ""),
                "jpeg": sum(sum(table) for table in tables.values()),
            }


def _filled(look: Look, image: NDArray[np.uint8], *, with_texture: bool) -> Look:
    height, width = image.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}".encode())
    digest.update(np.ascontiguousarray(image).data)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    marks = find_marks(grey)
    left, top, right, bottom = marks.edges_ltrb
    inside = np.s_[top : height - bottom, left : width - right]
    rock, rock_grey = image[inside], without_marks(grey, marks)
    step = max(1, round((rock_grey.size / _MANY_SAMPLES) ** 0.5))
    plain = np.ones((height, width), np.bool_)
    for x, y, w, h in marks.bars:
        plain[max(0, y - h) : y + 2 * h, max(0, x - h) : x + w + h] = False  # a white bar is not the lamp
    sample = rock[::step, ::step][plain[inside][::step, ::step]]
    sample = sample if len(sample) else rock.reshape(-1, 3)
    lamp = np.percentile(sample, 99, axis=0)
    work = _shrunk(rock_grey, WORK_PX)
    texture = b""
    small = _shrunk(rock, TEXTURE_PX)
    if with_texture and min(small.shape[:2]) >= MIN_SIDE_PX:
        texture = forest_features(small).astype(np.float16).tobytes()
    thumb = cv2.resize(rock_grey, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    contrast = float(rock_grey.std())
    return replace(
        look,
        pixels=digest.hexdigest()[:32],
        width_px=width,
        height_px=height,
        colour=float(np.percentile(sample.max(axis=1) - sample.min(axis=1), 95)),
        mean=float(rock_grey.mean()),
        contrast=contrast,
        lamp=(float(lamp[0]), float(lamp[1]), float(lamp[2])),
        sharpness=float(cv2.Laplacian(work, cv2.CV_32F).var() / max(contrast, 1.0) ** 2),
        edges_ltrb=marks.edges_ltrb,
        smeared_ltrb=marks.smeared_ltrb,
        bars=marks.bars,
        thumb=base64.b64encode(thumb.tobytes()).decode("ascii"),
        texture=base64.b64encode(texture).decode("ascii"),
        points=base64.b64encode(local_points(work).tobytes()).decode("ascii"),
    )


def _shrunk(image: NDArray[np.uint8], long_side_px: int) -> NDArray[np.uint8]:
    scale = long_side_px / max(image.shape[:2])
    if scale >= 1:
        return image
    size_wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def local_points(grey: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return int8 (K, 32), K <= 64: SIFT descriptors (Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94), made smaller.

    Each is brought to one of its two mirror images, so that a mirrored photograph has the same; its square root
    (Arandjelovic and Zisserman 2012) is projected on 32 fixed random directions.

    Args:
        grey: uint8 (H, W).
    """
    if min(grey.shape) < 24:
        return np.empty((0, POINT_DIMS), np.int8)
    sift, directions = _sift()
    _, found = sift.detectAndCompute(grey, None)
    if found is None:
        return np.empty((0, POINT_DIMS), np.int8)
    cells = found[:POINTS].reshape(-1, 4, 4, 8)
    # Mirroring turns a descriptor's rows round, and its angles; of the two the one with the heavier first rows is kept.
    mirrored = cells[:, ::-1][..., (-np.arange(8)) % 8]
    flip = cells[:, :2].sum(axis=(1, 2, 3)) < cells[:, 2:].sum(axis=(1, 2, 3))
    one_way = np.where(flip[:, None, None, None], mirrored, cells).reshape(-1, 128)
    rooted = np.sqrt(one_way / np.maximum(one_way.sum(axis=1, keepdims=True), 1e-6))
    rooted -= rooted.mean(axis=1, keepdims=True)
    return np.clip(np.rint(rooted @ directions * 250), -127, 127).astype(np.int8)


@cache
def _sift() -> tuple[Any, NDArray[np.float32]]:
    random = np.linalg.qr(np.random.default_rng(0).normal(size=(128, POINT_DIMS)))[0]
    # A low threshold of contrast: chalk and mud have little, and the strongest 64 are taken anyway.
    return cv2.SIFT_create(nfeatures=POINTS, contrastThreshold=0.02), random.astype(np.float32)  # type: ignore[attr-defined]
