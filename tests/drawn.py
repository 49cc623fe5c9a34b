"""Drawn photographs with known faults: clouds of grains, no two alike, of which copies can be made."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from geocamnet.images import write_image


def rock(seed, size_wh=(120, 90), *, coarse=2.5, lamp=1.0):
    """RGB uint8: grains of one size, unlike any other seed's."""
    random = np.random.default_rng(seed)
    width, height = size_wh
    fine, broad = (random.normal(size=(height, width)).astype(np.float32) for _ in range(2))
    grey = cv2.GaussianBlur(fine, (0, 0), coarse) * coarse * 60 + cv2.GaussianBlur(broad, (0, 0), 9) * 350
    tint = np.array([1.0, 0.96, 0.9])
    return np.clip((130 + grey[..., None]) * tint * lamp, 0, 255).astype(np.uint8)


def turned(image, attitude):
    """One of the eight attitudes, 0 as it is."""
    image = image[:, ::-1] if attitude & 1 else image
    return np.ascontiguousarray(np.rot90(image, attitude >> 1))


def jpeg(image, quality):
    """The photograph after JPEG compression."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def scaled(image, factor):
    """The photograph made larger or smaller."""
    return cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )


def fill(raw, classes=("foam", "vug", "oolite"), each=16, **options):
    """A clean RAW folder: the classes differ in nothing."""
    for number, name in enumerate(classes):
        for k in range(each):
            write_image(raw / name / f"p{number * 1000 + k}.png", rock(number * 1000 + k, **options))
    return raw


def contents(folder):
    """Every file below a folder by its path, but for the last column of predictions.csv, which is a time."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if file.name == "predictions.csv":
            content = "\n".join(line.rsplit(",", 1)[0] for line in content.decode("utf-8-sig").splitlines()).encode()
        found[file.relative_to(folder).as_posix()] = content
    return found


def killed_when_removing(monkeypatch, nth):
    """Let the process be killed when it removes its nth file, until the patch is undone."""
    unlink, removed = Path.unlink, []

    def killed(path, **options):
        removed.append(path)
        if len(removed) == nth:
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", killed)


def write_tiff(file, shape_hw, samples, tags):
    """Write bytes as a TIFF, uncompressed and of one strip where the tags, by their numbers, say nothing else."""
    start = {256: (shape_hw[1],), 257: (shape_hw[0],), 259: (1,), 278: (shape_hw[0],), 273: (8,), 279: (len(samples),)}
    at, behind, entries = 8 + len(samples), b"", []
    for number, values in sorted((start | tags).items()):
        kind, letter = (4, "I") if number in (273, 279) else (3, "H")
        packed = struct.pack(f"<{len(values)}{letter}", *values)
        if len(packed) > 4:
            packed, behind = struct.pack("<I", at + len(behind)), behind + packed
        entries.append(struct.pack("<HHI", number, kind, len(values)) + packed.ljust(4, b"\0"))
    start_of_tags = struct.pack("<I", at + len(behind))
    listed = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    file.write_bytes(b"II*\0" + start_of_tags + samples + behind + listed)
    return file
