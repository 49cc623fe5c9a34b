"""How many photographs of something else a model refuses, by kind, and how many of those it should know.

    python experiments/strangers.py MODEL DATA RESULT.json [NAME=FOLDER ...]

MODEL is a model file or a run, DATA the data set whose test photographs it should know. The strangers: the sample
pictures that scikit-image brings along (in colour, and made grey), noise of four kinds, drawn thin sections of every
class the model does not know, fields of sandstone where ../shared/data has them, and every FOLDER.

What "unlike the training photographs" is measured by was chosen on the other half of the sample pictures, on other
noise and on other drawn sections, of the carbonate-lithology data; its limit comes from validation photographs alone.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage

from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.errors import DataError, GeocamnetError
from geocamnet.images import RgbImage, list_images, read_image
from geocamnet.runtime.prediction import NOT_SURE, NOTHING_HERE, UNFAMILIAR, prediction_of
from geocamnet.runtime.texture import to_grey
from geocamnet.taxonomy import CLASSES
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.predictor import open_predictor
from geocamnet.train.runs import write_json
from geocamnet.train.synthetic import draw_field

log = logging.getLogger("geocamnet")

SANDSTONE = Path(__file__).parents[2] / "shared" / "data" / "sandstone-masks"
# Of scikit-image's pictures sorted by name every second one (icons left out, and the right eye of a stereo pair whose
# left eye was used to choose).
SAMPLE_PICTURES = (
    "brick.png", "cell.png", "chessboard_GRAY.png", "coffee.png", "color.png", "gravel.png",
    "hubble_deep_field.jpg", "logo.png", "moon.png", "phantom.png", "rocket.jpg",
)  # fmt: skip
DRAWN_OF_EACH = 2
NOISES_OF_EACH = 5
SIZE_HW = (288, 384)


def main(model: Path, data: Path, result: Path, folders: dict[str, Path]) -> None:
    """Ask the model about every stranger and every test photograph, and write how often it refused."""
    predict, card = open_predictor(model)
    rows = use_fold(read_index(data), card.data.get("fold"))
    kinds: dict[str, Iterator[RgbImage]] = {
        "known: test photographs": (read_image(data / row.image) for row in rows if row.split == "test" and row.labels),
        "sample pictures": sample_pictures(),
        "sample pictures, grey": (grey(image) for image in sample_pictures()),
        "noise": noise(),
        "drawn sections of other classes": drawn(card.class_names),
        "drawn sections of other classes, grey": (grey(image) for image in drawn(card.class_names)),
    }
    for light in ("ppl", "xpl"):
        if (SANDSTONE / light).is_dir():
            kinds[f"sandstone, {light.upper()}"] = photographs_of(SANDSTONE / light)
        else:
            log.warning("%s is not there: no sandstone is asked about", SANDSTONE / light)
    kinds |= {name: photographs_of(folder) for name, folder in folders.items()}
    counts = {}
    for kind, images in kinds.items():
        verdicts = Counter(prediction_of(card, image, *predict(image)).verdict for image in images)
        total = verdicts.total()
        refused = {name: verdicts[name] for name in (UNFAMILIAR, NOTHING_HERE, NOT_SURE)}
        named = total - sum(refused.values())
        counts[kind] = {"photographs": total, "refused": sum(refused.values()), "named": named, **refused}
        log.info("%s: %d of %d refused (%s)", kind, counts[kind]["refused"], total, refused)
    write_json(
        result,
        {
            "model": card.name,
            "classes": list(card.class_names),
            "data": card.data.get("name"),
            "familiar_limit": card.familiar.limit if card.familiar else None,
            "evidence_below": card.evidence_below,
            "abstain_below": card.abstain_below if card.labels == "single" else None,
            "label_thresholds": list(card.label_thresholds),
            "kinds": counts,
            "version": __version__,
        },
    )


def sample_pictures() -> Iterator[RgbImage]:
    """Yield scikit-image's pictures of bricks, coffee, rockets and the like: those that nothing was chosen on."""
    for name in SAMPLE_PICTURES:
        yield read_image(Path(skimage.__file__).parent / "data" / name)


def noise() -> Iterator[RgbImage]:
    """Yield noise: a colour each pixel, a grey each pixel, grey with the spectrum of photographs (1/f), nearly none."""
    rng = np.random.default_rng(1)
    height, width = SIZE_HW
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    for _ in range(NOISES_OF_EACH):
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        white = rng.normal(size=SIZE_HW)
        clouds = np.fft.ifft2(np.fft.fft2(white) / frequency).real
        levels = (128 + 40 * white, 128 + 40 * clouds / clouds.std(), rng.uniform(30, 225) + 2 * white)
        yield from (grey(np.clip(one, 0, 255).astype(np.uint8)) for one in levels)


def drawn(known: tuple[str, ...]) -> Iterator[RgbImage]:
    """Yield drawn sections in plane-polarised light of every class that the model does not know."""
    for number, one in enumerate(one for one in CLASSES if one.name not in known):
        for turn in range(DRAWN_OF_EACH):
            yield draw_field([one.name], section_seed=9000 + 10 * number + turn, field=1, size_px=SIZE_HW[1]).ppl


def photographs_of(folder: Path) -> Iterator[RgbImage]:
    """Yield the photographs of a folder; one that can't be read is told and passed over."""
    for file in list_images(folder):
        try:
            yield read_image(file)
        except DataError as error:
            log.warning("left out: %s", error)


def grey(image: np.ndarray) -> RgbImage:
    """Return an image as RGB uint8 (H, W, 3) without colour."""
    return np.repeat(to_grey(image)[..., None], 3, axis=2)


if __name__ == "__main__":
    set_up_logging()
    if len(sys.argv) < 4 or any("=" not in one for one in sys.argv[4:]):
        sys.exit(__doc__)
    named = dict(one.split("=", 1) for one in sys.argv[4:])
    try:
        own, prepared, written = map(Path, sys.argv[1:4])
        main(own, prepared, written, {name: Path(folder) for name, folder in named.items()})
    except GeocamnetError as error:
        sys.exit(str(error))
