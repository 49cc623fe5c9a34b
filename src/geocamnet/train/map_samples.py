"""Photographs with the truth of their pixels, out of a DATA folder: its masks, or mosaics where it has none."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import read_image
from geocamnet.train.index import IndexRow
from geocamnet.train.localise import OTHER, Heatmap, HeatmapOf, Predict, Sample, localise, maps_of_samples
from geocamnet.train.mosaics import Borders, mosaics
from geocamnet.train.refinements import REFINEMENTS, Refinement
from geocamnet.train.segmentation import segmentation

log = logging.getLogger(__name__)

# More than these tell nothing more, and take minutes: evenly spaced ones are taken.
MOST_MASKS = 300
MOSAICS_TEST, MOSAICS_VAL = 120, 60
CELL_PX = (64, 512)

ReadRow = Callable[[IndexRow], NDArray[np.uint8]]


def judge_heatmaps(
    predict: Predict,
    card: ModelCard,
    rows_val: Sequence[IndexRow],
    rows_test: Sequence[IndexRow],
    *,
    data: Path,
    read_row: ReadRow,
    untrained: Predict | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the localisation table of a model on a data set's masks, or on mosaics of its photographs.

    Methods beside the heatmaps as shipped (``model``): ``model_texture``, refined with texture, and the other
    `REFINEMENTS`, which texture has to beat; where a photograph has one label ``model_softmax``,
    ``softmax_c (M_c + b_c) / T`` in every cell; where masks lie on fields of several photographs (PPL, XPL)
    ``model_field``, the heatmap of their evidence summed (`runtime.pairs.combine`); ``untrained``, the network before
    training, stretched to [0, 1] for each map (which favours it).

    Args:
        predict, card: the model.
        rows_val: photographs to choose thresholds on.
        rows_test: photographs to report on, of other sections.
        data: the DATA folder.
        read_row: reads a row's photograph at the model's scale.
        untrained: the same network with random weights, where there is one.
        seed: of the mosaics.

    Returns:
        What `localise` returns, with ``"kind"``: ``"masks"`` or ``"mosaics"``. On masks ``"segmentation"`` holds what
        `segmentation` returns. The mosaics are the 2x2 ones;
        ``"voronoi"`` holds what `localise` returns on as many mosaics of Voronoi cells.

    Raises:
        DataError: neither masks nor mosaics can be had in both sets.
    """
    names = card.class_names
    masked_val, masked_test = _with_mask(rows_val), _with_mask(rows_test)
    methods = _methods(predict, card, untrained)
    shipped = methods.pop("model")
    if masked_val and masked_test:
        others = _others_of_field([*rows_val, *rows_test])
        if not any(others[row.image] for row in (*masked_val, *masked_test)):
            methods.pop("model_field")
        val = mask_samples(data, masked_val, names, read_row=read_row, others=others)
        test = mask_samples(data, masked_test, names, read_row=read_row, others=others)
        judged_maps = localise(val, test, shipped, names, others=methods)
        val = mask_samples(data, masked_val, names, read_row=read_row)
        test = mask_samples(data, masked_test, names, read_row=read_row, others=others)
        return {"kind": "masks", **judged_maps, "segmentation": segmentation(val, test, predict, card, names)}
    methods.pop("model_field")
    by_class = [_by_class(rows, names) for rows in (rows_val, rows_test)]
    common = sorted(c for c in by_class[0] if c in by_class[1])
    if len(common) < 2:
        raise DataError(
            "No masks, and mosaics need two classes with photographs in both splits; "
            f"found {len(common)}: {', '.join(names[c] for c in common) or 'none'}."
        )
    sides = [max(row.width_px, row.height_px) for row in rows_test]
    # Half a photograph's long side: a mosaic is then seen at the very scale of a photograph.
    cell_px = int(np.clip(round(median(sides) / 2), *CELL_PX))
    readers = [{c: [_reader(row, read_row) for row in found[c]] for c in common} for found in by_class]

    def judged(borders: Borders) -> dict[str, Any]:
        val, test = (
            mosaics(images, cell_px=cell_px, n=n, seed=one, borders=borders)
            for images, n, one in zip(readers, (MOSAICS_VAL, MOSAICS_TEST), (seed + 1, seed), strict=True)
        )
        return localise(val, test, shipped, names, others=methods)

    kind = {"kind": "mosaics", "cell_px": cell_px, "brightness_equalised": True}
    return {**kind, **judged("grid"), "voronoi": judged("voronoi")}


def mask_samples(
    data: Path,
    rows: Sequence[IndexRow],
    class_names: Sequence[str],
    *,
    read_row: ReadRow,
    others: Mapping[str, Sequence[IndexRow]] | None = None,
) -> Iterator[Sample]:
    """Yield the photographs of ``rows`` with their masks, mask values translated to the model's classes.

    ``masks.json`` beside the masks says what the values mean. A class that the model does not know becomes
    "scored, but none of the model's"; 0 stays "not scored". ``others`` names the other photographs of a row's field,
    by its image.

    Raises:
        DataError: no masks.json, a value it does not name, a mask that does not fit its photograph.
    """
    for row in _with_mask(rows):
        path = data / row.mask
        table = _value_table(path.parent / "masks.json", class_names)
        channels = read_image(path)
        if (channels != channels[..., :1]).any():
            raise DataError(f"{path}: a mask must be a grey 8-bit image of class numbers; this one has colours.")
        if channels.max() >= len(table):
            raise DataError(f"{path}: holds the value {channels.max()}, but masks.json names {len(table) - 1} classes.")
        mask = table[channels[..., 0]]
        if mask.shape != (row.height_px, row.width_px):
            raise DataError(
                f"{path}: a mask of {mask.shape[1]} x {mask.shape[0]} px for a photograph of "
                f"{row.width_px} x {row.height_px} px."
            )
        try:
            image, *registered = [read_row(one) for one in (row, *(others or {}).get(row.image, ()))]
        except DataError as error:
            log.warning("Left out of the judging of heatmaps: %s", error)
            continue
        if image.shape[:2] != mask.shape:  # the photograph was brought to the model's um_per_px
            mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        present = (int(value) - 1 for value in np.unique(mask) if value not in (0, OTHER))
        yield Sample(image, mask, tuple(present), tuple(registered))


def _methods(predict: Predict, card: ModelCard, untrained: Predict | None) -> dict[str, HeatmapOf]:
    from geocamnet.runtime.heatmap import place_maps, scale_maps

    class_maps = maps_of_samples(predict)

    def placed(maps: NDArray[np.float32], sample: Sample) -> dict[int, Heatmap]:
        chosen = list(sample.labels)
        return dict(zip(chosen, place_maps(maps[chosen], sample.mask.shape, card).clip(0, 1), strict=True))

    def shipped(sample: Sample) -> Mapping[int, Heatmap]:
        return placed(scale_maps(class_maps(sample), card), sample)

    def refined(refine: Refinement, sample: Sample) -> Mapping[int, Heatmap]:
        return {c: refine(heat, sample.image, card.texture) for c, heat in shipped(sample).items()}

    def softmax(sample: Sample) -> Mapping[int, Heatmap]:
        logits = (class_maps(sample) + np.reshape(card.class_bias, (-1, 1, 1))) / card.temperature
        weights = np.exp(logits - logits.max(axis=0))
        return placed(np.asarray(weights / weights.sum(axis=0), np.float32), sample)

    def of_field(sample: Sample) -> Mapping[int, Heatmap]:
        maps = [class_maps(sample), *(np.asarray(predict(one)[1], np.float32) for one in sample.registered)]
        return placed(scale_maps(np.mean(maps, axis=0, dtype=np.float32), card), sample)

    def stretched(sample: Sample) -> Mapping[int, Heatmap]:
        assert untrained is not None
        maps = np.asarray(untrained(sample.image)[1], np.float32)
        low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
        return placed((maps - low) / np.maximum(high - low, 1e-12), sample)

    methods: dict[str, HeatmapOf] = {"model": shipped}
    methods |= {f"model_{name}": partial(refined, refine) for name, refine in REFINEMENTS.items()}
    if card.labels == "single":
        methods["model_softmax"] = softmax
    methods["model_field"] = of_field
    if untrained is not None:
        methods["untrained"] = stretched
    return methods


def _with_mask(rows: Sequence[IndexRow]) -> list[IndexRow]:
    masked = [row for row in rows if row.mask]
    step = max(1.0, len(masked) / MOST_MASKS)
    return [masked[int(i * step)] for i in range(min(len(masked), MOST_MASKS))]


def _others_of_field(rows: Sequence[IndexRow]) -> dict[str, list[IndexRow]]:
    """Return for each image the other photographs of its field that are of its size, as registered ones are."""

    def view(row: IndexRow) -> tuple[object, ...]:
        return row.section, row.field, row.width_px, row.height_px, row.um_per_px

    fields: dict[tuple[object, ...], list[IndexRow]] = {}
    for row in rows:
        fields.setdefault(view(row), []).append(row)
    return {row.image: [one for one in fields[view(row)] if row.field and one.image != row.image] for row in rows}


def _by_class(rows: Sequence[IndexRow], class_names: Sequence[str]) -> dict[int, list[IndexRow]]:
    found: dict[int, list[IndexRow]] = {}
    for row in rows:
        if len(row.labels) == 1 and row.labels[0] in class_names:
            found.setdefault(class_names.index(row.labels[0]), []).append(row)
    return found


def _reader(row: IndexRow, read_row: ReadRow) -> Callable[[], NDArray[np.uint8]]:
    return lambda: read_row(row)


def _value_table(file: Path, class_names: Sequence[str]) -> NDArray[np.uint8]:
    """Return for each mask value what `Sample.mask` calls it."""
    if not file.is_file():
        raise DataError(f'{file}: not there. It must say what mask values mean: {{"classes": ["oolite", …]}}')
    try:
        classes = json.loads(file.read_text(encoding="utf-8"))["classes"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f'{file}: must hold {{"classes": ["oolite", …]}}; it can\'t be read ({error}).') from error
    known = {name: position + 1 for position, name in enumerate(class_names)}
    return np.array([0, *(known.get(name, OTHER) for name in classes)], np.uint8)
