"""What refining a heatmap is worth, and by how much texture helps (`make refinements`).

    python experiments/heatmap_refinements.py MODEL RESULT.json [DATA]

MODEL is an .onnx file or a RUN folder, DATA a data set with masks in its validation and test parts; without it,
composite fields of the demo's classes are drawn, four times as many as `make demo` judges on. Compared are the
heatmap as it is, smoothed alone, guided filters whose guide is texture, the grey level or both, means of superpixels,
and the brightness blur of the original research. Every kind may choose its settings by mean IoU on validation
(heatmaps become areas by one threshold, so that is the use); only the chosen ones, and each kind as `evaluate` has it,
are judged on the test part. The result holds every figure of validation, so that another choice can be made.

Differences are paired: pixel AP of one class in one photograph, with and without, their mean over all such cases, and
the interval that holds 95 % of the means when whole thin sections are drawn again 2,000 times.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet import __version__
from geocamnet.card import ModelCard, TextureCard
from geocamnet.console import set_up_logging
from geocamnet.errors import DataError, GeocamnetError
from geocamnet.images import read_image
from geocamnet.runtime.heatmap import guided_filter, place_maps, scale_maps, texture_guide
from geocamnet.runtime.scale import scale_to_card
from geocamnet.train.demo import RECIPES
from geocamnet.train.index import IndexRow, read_index, use_fold
from geocamnet.train.localise import MAX_SHARE, HeatmapOf, Predict, Sample, localise, pixel_average_precision
from geocamnet.train.map_samples import mask_samples
from geocamnet.train.plain_heatmaps import grey
from geocamnet.train.predictor import open_predictor
from geocamnet.train.prepare import prepare
from geocamnet.train.refinements import REFINEMENTS
from geocamnet.train.runs import write_json
from geocamnet.train.synthetic import synthesize

log = logging.getLogger("geocamnet")

Heatmap = NDArray[np.float32]
Settings = dict[str, Any]

RADII = (1 / 16, 1 / 8, 1 / 4)  # of the long side; enhance takes 1/8, at least the texture window
WINDOWS_PX = (7, 15)
STRENGTHS = (0.5, 1.0)
GUIDES = {  # channels of texture_guide, and whether the grey level joins them
    "contrast, homogeneity, variance": ((0, 1, 2), False),
    "contrast": ((0,), False),
    "homogeneity": ((1,), False),
    "variance": ((2,), False),
    "contrast, homogeneity, variance, grey": ((0, 1, 2), True),
}
DRAWS = 2000


class Seen:
    """What all variants share of the photograph that is judged at the moment."""

    def __init__(self, predict: Predict, card: ModelCard) -> None:
        self.predict, self.card = predict, card
        self.sample: Sample | None = None
        self.heat: dict[int, Heatmap] = {}
        self.guides: dict[Any, NDArray[np.float32]] = {}

    def look_at(self, sample: Sample) -> None:
        """Make the heatmaps of a photograph, unless they are those of the last one."""
        if sample is self.sample:
            return
        scaled = scale_maps(np.asarray(self.predict(sample.image)[1], np.float32), self.card)
        chosen = list(sample.labels)
        placed = place_maps(scaled[chosen], sample.mask.shape, self.card).clip(0, 1)
        self.sample, self.heat, self.guides = sample, dict(zip(chosen, placed, strict=True)), {}

    def texture(self, window_px: int) -> NDArray[np.float32]:
        """Return the texture guide of the photograph."""
        assert self.sample is not None, "look_at comes first"
        if window_px not in self.guides:
            card = replace(self.card.texture, window_px=window_px)
            self.guides[window_px] = texture_guide(self.sample.image, card)
        return self.guides[window_px]

    def method(self, refine: Callable[[Heatmap, Sample], Heatmap]) -> HeatmapOf:
        """Return what `localise` calls: a photograph's heatmaps, refined."""

        def heatmaps(sample: Sample) -> Mapping[int, Heatmap]:
            self.look_at(sample)
            return {c: refine(heat, sample).clip(0, 1) for c, heat in self.heat.items()}

        return heatmaps


def as_shipped(seen: Seen, texture: TextureCard) -> dict[str, HeatmapOf]:
    """Return the methods as `evaluate` has them."""
    methods = {"model": seen.method(lambda heat, sample: heat)}
    for name, refine in REFINEMENTS.items():
        methods[name] = seen.method(partial(_refined, refine, texture))
    return methods


def _refined(refine: Callable[..., Heatmap], texture: TextureCard, heat: Heatmap, sample: Sample) -> Heatmap:
    return refine(heat, sample.image, texture)


def variants(seen: Seen, texture: TextureCard) -> list[tuple[str, Settings, HeatmapOf]]:
    """Return what each kind may choose from: (kind, settings, method)."""
    found: list[tuple[str, Settings, HeatmapOf]] = []

    def add(kind: str, settings: Settings, refine: Callable[[Heatmap, Sample], Heatmap]) -> None:
        found.append((kind, settings, seen.method(refine)))

    def guided(heat: Heatmap, guide: NDArray[np.float32], radius: float, window_px: int) -> Heatmap:
        radius_px = max(2, round(radius * max(heat.shape)))
        return guided_filter(heat, guide, window_px=window_px, radius_px=radius_px).clip(0, 1)

    for radius, strength in product(RADII, STRENGTHS):
        settings = {"radius": radius, "strength": strength}
        for window_px, (words, (channels, with_grey)) in product(WINDOWS_PX, GUIDES.items()):

            def textured(heat, sample, r=radius, s=strength, w=window_px, channels=channels, with_grey=with_grey):
                guide = seen.texture(w)[..., list(channels)]
                if with_grey:
                    guide = np.dstack([guide, grey(sample.image)])
                return heat + s * (guided(heat, guide, r, w) - heat)

            kind = "texture_and_grey" if with_grey else "texture"
            add(kind, {**settings, "window_px": window_px, "guide": words}, textured)

        def by_grey(heat, sample, r=radius, s=strength):
            return heat + s * (guided(heat, grey(sample.image)[..., None], r, texture.window_px) - heat)

        def smooth(heat, sample, r=radius, s=strength):
            blank = np.zeros((*heat.shape, 1), np.float32)
            return heat + s * (guided(heat, blank, r, texture.window_px) - heat)

        add("grey_guided", settings, by_grey)
        add("smoothed", settings, smooth)
    for strength, kind in product(STRENGTHS, ("superpixels", "brightness_blur")):

        def blended(heat, sample, s=strength, refine=REFINEMENTS[kind]):
            return heat + s * (refine(heat, sample.image, texture) - heat)

        add(kind, {"strength": strength}, blended)
    return found


def draw(folder: Path) -> Path:
    """Draw composite fields of the demo's classes and prepare them; the seed is none of the demo's."""
    synthesize(folder / "raw", replace(RECIPES["composites_raw"], sections=24, seed=104))
    prepare(folder / "raw", folder / "data", replace(RECIPES["prepare_composites"], val_share=0.45, test_share=0.5))
    return folder / "data"


def compare(run_or_model: Path, data: Path) -> dict[str, Any]:
    """Choose on validation, judge on the test part, and say what texture is worth."""
    predict, card = open_predictor(run_or_model)
    rows = [row for row in use_fold(read_index(data), card.data.get("fold")) if row.mask]

    def read_row(row: IndexRow) -> NDArray[np.uint8]:
        return scale_to_card(read_image(data / row.image), card, row.um_per_px)

    parts = {
        split: [
            (row.section, sample)
            for row in rows
            if row.split == split
            for sample in mask_samples(data, [row], card.class_names, read_row=read_row)
        ]
        for split in ("val", "test")
    }
    if not all(parts.values()):
        raise DataError(f"{data}: needs masks in its validation and test parts.")
    val, test = ([sample for _, sample in parts[split]] for split in ("val", "test"))
    seen = Seen(predict, card)
    shipped, tried = as_shipped(seen, card.texture), variants(seen, card.texture)
    log.info("%d variants on %d validation photographs", len(tried), len(val))
    names = [f"{kind} {number}" for number, (kind, _, _) in enumerate(tried)]
    others = {name: method for name, (_, _, method) in zip(names, tried, strict=True)}
    on_val = localise(val, val, shipped["model"], card.class_names, others=others)["table"]
    figures = [on_val[name]["validation"] for name in names]
    chosen: dict[str, int] = {}
    for number, (kind, _, _) in enumerate(tried):
        if kind not in chosen or figures[number]["miou"] > figures[chosen[kind]]["miou"]:
            chosen[kind] = number
    methods = {**shipped, **{f"{kind}_chosen": tried[number][2] for kind, number in chosen.items()}}
    judged = localise(val, test, methods.pop("model"), card.class_names, others=methods)
    methods = {"model": shipped["model"], **methods}
    table = {
        name: {key: row[key] for key in ("miou", "pixel_ap", "energy", "pointing", "validation")}
        for name, row in judged["table"].items()
        if name in methods
    }
    for kind, number in chosen.items():
        table[f"{kind}_chosen"]["settings"] = tried[number][1]
    scores = {split: case_scores(samples, methods) for split, samples in parts.items()}
    rivals = {
        "texture": ("model", *(name for name in REFINEMENTS if name != "texture")),
        "texture_chosen": ("model", "texture", *(f"{kind}_chosen" for kind in chosen if kind != "texture")),
    }
    return {
        "model": card.name,
        "photographs": {split: len(samples) for split, samples in parts.items()},
        "cases": {split: len(of_split["model"]) for split, of_split in scores.items()},
        "area_share": judged["area_share"],
        "chosen_by": "mean IoU on validation",
        "best_on_validation": max(table, key=lambda name: table[name]["validation"]["miou"]),
        "table": table,
        "texture_helps": {
            one: {
                rival: {split: difference(of_split[one], of_split[rival]) for split, of_split in scores.items()}
                for rival in against
            }
            for one, against in rivals.items()
        },
        "tried_on_validation": [
            {"kind": kind, **settings, **row} for (kind, settings, _), row in zip(tried, figures, strict=True)
        ],
        "version": __version__,
    }


Scores = list[tuple[str, float]]


def case_scores(samples: Sequence[tuple[str, Sample]], methods: Mapping[str, HeatmapOf]) -> dict[str, Scores]:
    """Return for every method (section, pixel AP) of each class in each photograph, in one order."""
    scores: dict[str, Scores] = {name: [] for name in methods}
    for section, sample in samples:
        scored = sample.mask > 0
        inside = {c: sample.mask == c + 1 for c in sample.labels}
        cases = [c for c, where in inside.items() if 0 < where.sum() <= MAX_SHARE * scored.sum()]
        for name, method in methods.items():
            heatmaps = method(sample)
            for c in cases:
                scores[name].append((section, pixel_average_precision(heatmaps[c], inside[c], scored=scored)))
    return scores


def difference(one: Scores, other: Scores) -> dict[str, float]:
    """Return the mean of the paired differences, and its 95 % interval over thin sections."""
    of_section: dict[str, list[float]] = {}
    for (section, a), (_, b) in zip(one, other, strict=True):
        of_section.setdefault(section, []).append(a - b)
    sums = np.array([[sum(values), len(values)] for values in of_section.values()])
    drawn = sums[np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return {"mean": float(sums[:, 0].sum() / sums[:, 1].sum()), "low": float(low), "high": float(high)}


def main(arguments: Sequence[str]) -> None:
    """Compare, write the table, and say by how much texture helps."""
    if len(arguments) not in (2, 3):
        sys.exit("python experiments/heatmap_refinements.py MODEL RESULT.json [DATA]")
    set_up_logging()
    run_or_model, target, *data = map(Path, arguments)
    with TemporaryDirectory() as folder:
        result = compare(run_or_model, *(data or [draw(Path(folder))]))
    write_json(target, result)
    print(f"{'':26}{'validation':>22}{'test':>34}")
    print(f"{'':26}{'mIoU':>12}{'pixel AP':>10}{'mIoU':>14}{'pixel AP':>10}{'energy':>10}")
    for name, row in result["table"].items():
        on_val = row["validation"]
        print(
            f"{name:26}{on_val['miou']:12.3f}{on_val['pixel_ap']:10.3f}"
            f"{row['miou']:14.3f}{row['pixel_ap']:10.3f}{row['energy']:10.3f}  {row.get('settings', '')}"
        )
    for one, rivals in result["texture_helps"].items():
        for rival, of_split in rivals.items():
            for split, gap in of_split.items():
                verdict = "helps" if gap["low"] > 0 else "harms" if gap["high"] < 0 else "undecided"
                interval = f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
                print(f"{one} against {rival}, {split}: pixel AP of a case {interval}: {verdict}")
    log.info("%s: written", target)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except GeocamnetError as error:
        sys.exit(f"Error: {error}")
