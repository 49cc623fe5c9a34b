"""Windows of the sandstone fields, named for the mineral that fills most of what is labelled in them: a RAW folder.

The photographs (../shared/data/sandstone-masks, GPL-3.0) and what is cut from them stay out of the repository.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image, written_aside

MINERALS = ("feldspar", "lithic_fragment", "plagioclase", "quartz")  # mask values 1 to 4; 0 is not labelled
LIGHTS = ("ppl", "xpl")
WINDOW_PX, STRIDE_PX = 256, 160
LEAST_LABELLED = 0.1  # of a window that is cut at all
MAJORITY = 0.5  # of its labelled pixels, to be more than
# A grain that fills a little of a window names it badly: what is not labelled may be another mineral's. Windows below
# these shares are cut, and judged by their masks, but have no name.
NAMED_LABELLED, NAMED_MAJORITY = 0.3, 0.6
COLUMNS = ("image", "labels", "section", "field", "light", "mask")


def windows(
    mask: NDArray[np.uint8], *, window_px: int = WINDOW_PX, stride_px: int = STRIDE_PX
) -> Iterator[tuple[int, int, str]]:
    """Yield (top, left, mineral) of the windows in which one mineral fills more than half of the labelled pixels.

    Windows with less than a tenth of their pixels labelled are left out; the mineral is "" where less than three
    tenths are labelled, or the mineral fills no more than six tenths of these.

    Args:
        mask: uint8 (H, W), 0 not labelled, v is the v-th of `MINERALS`.
        window_px: side of a window; windows that would reach out of the field are left out.
        stride_px: from one window to the next; overlapping windows are of one field and so of one section.
    """
    for top in range(0, mask.shape[0] - window_px + 1, stride_px):
        for left in range(0, mask.shape[1] - window_px + 1, stride_px):
            part = mask[top : top + window_px, left : left + window_px]
            counts = np.bincount(part.ravel(), minlength=len(MINERALS) + 1)[1:]
            labelled = counts.sum()
            if labelled >= LEAST_LABELLED * part.size and counts.max() > MAJORITY * labelled:
                sure = labelled >= NAMED_LABELLED * part.size and counts.max() > NAMED_MAJORITY * labelled
                yield top, left, MINERALS[int(counts.argmax())] if sure else ""


def cut(source: Path, raw: Path, *, window_px: int = WINDOW_PX, stride_px: int = STRIDE_PX) -> Path:
    """Cut the fields of ``source`` into ``raw``: photographs, masks, masks.json and, last, manifest.csv.

    Nothing is done where there is a manifest already. The section of a field is its number: ``2a`` and ``2b`` are of
    section 2.

    Args:
        source: holds ``ppl/K.jpg``, ``xpl/K.jpg`` and ``masks/K.tiff`` of every field K.
        raw: the folder to make.
        window_px, stride_px: see `windows`.

    Raises:
        DataError: a mask with other values, or photographs that are not of its size.
    """
    manifest = raw / "manifest.csv"
    if manifest.is_file():
        return manifest
    rows = []
    for file in sorted((source / "masks").glob("*.tiff")):
        mask = read_image(file)[..., 0]
        photographs = {light: read_image(source / light / f"{file.stem}.jpg") for light in LIGHTS}
        if mask.max() > len(MINERALS) or any(one.shape[:2] != mask.shape for one in photographs.values()):
            raise DataError(f"{file}: not a mask of values 0 to {len(MINERALS)} that fits its photographs.")
        for top, left, mineral in windows(mask, window_px=window_px, stride_px=stride_px):
            inside = slice(top, top + window_px), slice(left, left + window_px)
            field = f"{file.stem}_r{top:04d}_c{left:04d}"
            write_image(raw / "masks" / f"{field}.png", mask[inside])
            for light, photograph in photographs.items():
                image = f"photographs/{field}_{light.upper()}.png"
                write_image(raw / image, photograph[inside])
                section = re.match(r"\d+", file.stem)
                rows.append(
                    (
                        image,
                        mineral,
                        section.group() if section else file.stem,
                        field,
                        light.upper(),
                        f"masks/{field}.png",
                    )
                )
    with written_aside(raw / "masks" / "masks.json") as aside:
        aside.write_text(json.dumps({"classes": MINERALS}) + "\n", encoding="utf-8")
    with written_aside(manifest) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return manifest
