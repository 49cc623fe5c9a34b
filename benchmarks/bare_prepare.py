"""What `geocamnet prepare` is measured against: decode, scale and encode in parallel, and nothing else.

It imports no more than it needs, so that its processes start as quickly as can be.

    python benchmarks/bare_prepare.py RAW OUT LONG_SIDE_PX JPEG_QUALITY WORKERS
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def main(raw: str, out: str, long_side_px: str, jpeg_quality: str, workers: str) -> None:
    """Store every photograph of RAW in OUT, which must not be there yet."""
    Path(out).mkdir()
    files = sorted(str(one) for one in Path(raw).rglob("*.jpg"))
    store = partial(store_photograph, out, int(long_side_px), int(jpeg_quality))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(int(workers), mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for _ in pool.map(store, files):
            pass


def store_photograph(out: str, long_side_px: int, jpeg_quality: int, file: str) -> None:
    """Decode a photograph that lies broad, as small as prepare has it decoded; scale it, write it."""
    with Image.open(file) as opened:
        width, height = opened.size
        size_wh = long_side_px, round(height * long_side_px / width)
        if width % long_side_px == 0:
            opened.draft("RGB", size_wh)
        image = np.asarray(opened)
    if image.shape[1] != long_side_px:
        image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    Image.fromarray(image).save(Path(out, Path(file).name), quality=jpeg_quality)


if __name__ == "__main__":
    main(*sys.argv[1:])
