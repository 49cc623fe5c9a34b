"""Every pixel named: mean IoU over all classes, beside what the grey level alone can name.

`localise` asks where a class lies that is known to be there. Here nothing is known: each pixel takes the class with the
most evidence, and a class named where it is not counts against it, as in semantic segmentation.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.runtime.heatmap import place_maps
from geocamnet.train.localise import OTHER, UNSCORED, Predict, Sample, maps_of_samples
from geocamnet.train.plain_heatmaps import blurred_grey, grey

LEVELS = 64  # of grey, told apart by the baselines

Labels = NDArray[np.intp]
Namer = Callable[[Sample], Labels]


def segmentation(
    samples_val: Iterable[Sample],
    samples_test: Iterable[Sample],
    predict: Predict,
    card: ModelCard,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Return how well every pixel of the test is named, by the model and by the grey level.

    ``IoU_c = hits_c / (truth_c + named_c - hits_c)`` over the pixels of all photographs, and its mean over the classes
    that are there. The model names a pixel ``argmax_c (M_c + b_c)``. ``grey`` names it by its level, with the class
    that shows this level most often in ``samples_val``, every class counting alike; ``blurred_grey`` does so with the
    level of its surroundings, as coarse as a class map; ``commonest`` names every pixel as most of ``samples_val`` are.

    ``model_field`` names the pixels of a field by the evidence of all its photographs (PPL, XPL), where they are there.

    Args:
        samples_val: what the baselines learn from; none of the test's sections.
        samples_test: where everything is reported.
        predict, card: the model: photograph to (probabilities, class maps (C, h, w)).
        class_names: C names.

    Returns:
        ``{"table": {method: {"miou", "accuracy", "per_class"}}, "n_photographs"}``; methods are ``model``,
        ``model_field`` and the baselines, ``accuracy`` is the share of scored pixels that are named rightly.
    """
    classes = len(class_names)
    levels = {"grey": grey, "blurred_grey": blurred_grey}
    seen = {name: np.zeros((classes, LEVELS)) for name in levels}
    for sample in samples_val:
        known = (sample.mask != UNSCORED) & (sample.mask != OTHER)
        truth = sample.mask[known].astype(np.intp) - 1
        for name, of in levels.items():
            np.add.at(seen[name], (truth, _level(of(sample.image)[known])), 1)
    areas = seen["grey"].sum(axis=1)
    tables = {name: (counts / np.maximum(areas, 1)[:, None]).argmax(axis=0) for name, counts in seen.items()}

    evidence = maps_of_samples(predict)

    def strongest(maps: NDArray[np.float32], sample: Sample) -> Labels:
        return place_maps(maps + np.reshape(card.class_bias, (-1, 1, 1)), sample.mask.shape, card).argmax(axis=0)

    def model(sample: Sample) -> Labels:
        return strongest(evidence(sample), sample)

    def model_field(sample: Sample) -> Labels:
        maps = [evidence(sample), *(np.asarray(predict(one)[1], np.float32) for one in sample.registered)]
        return strongest(np.mean(maps, axis=0, dtype=np.float32), sample)

    def by_level(name: str, sample: Sample) -> Labels:
        return tables[name][_level(levels[name](sample.image))]

    def commonest(sample: Sample) -> Labels:
        return np.full(sample.mask.shape, areas.argmax())

    grey_namers = {name: partial(by_level, name) for name in levels}
    namers: dict[str, Namer] = {"model": model, "model_field": model_field, **grey_namers, "commonest": commonest}
    # Rows are the truth, the last of them "none of the model's classes"; columns are what was named.
    confusion = {name: np.zeros((classes + 1, classes), np.int64) for name in namers}
    photographs, fields = 0, False
    for sample in samples_test:
        photographs += 1
        fields = fields or bool(sample.registered)
        scored = sample.mask != UNSCORED
        truth = np.where(sample.mask == OTHER, classes, sample.mask.astype(np.intp) - 1)[scored]
        for name, named in namers.items():
            pairs = truth * classes + named(sample)[scored]
            confusion[name] += np.bincount(pairs, minlength=(classes + 1) * classes).reshape(classes + 1, classes)
    if not fields:
        del confusion["model_field"]
    return {
        "table": {name: _figures(counts, class_names) for name, counts in confusion.items()},
        "n_photographs": photographs,
    }


def _level(heatmap: NDArray[np.float32]) -> Labels:
    return np.minimum((heatmap * LEVELS).astype(np.intp), LEVELS - 1)


def _figures(confusion: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    hits = confusion.diagonal()
    truth, named = confusion[:-1].sum(axis=1), confusion.sum(axis=0)
    iou = hits / np.maximum(truth + named - hits, 1)
    there = [int(c) for c in np.flatnonzero(truth)]
    return {
        "miou": float(iou[there].mean()),
        "accuracy": float(hits.sum() / confusion.sum()),
        "per_class": {class_names[c]: float(iou[c]) for c in there},
    }
