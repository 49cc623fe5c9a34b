"""A few photographs a model named right and wrong, each with its heatmaps, for the report."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.images import write_image, written_aside
from geocamnet.train.index import IndexRow
from geocamnet.train.localise import Predict

PICTURES_OF_EACH = 6
LONG_SIDE_PX = 480


def write_gallery(
    folder: Path,
    predict: Predict,
    card: ModelCard,
    rows: Sequence[IndexRow],
    probabilities: NDArray[np.float64],
    *,
    read_row: Callable[[IndexRow], NDArray[np.uint8]],
    thresholds: NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """Write pictures (photograph, heatmap, heatmap refined with texture) of right and wrong answers.

    Right ones: the surest of each class in turn. Wrong ones: the surest mistakes, of as many different pairs of
    truth and answer as there are. The heatmap is that of the class answered.

    Args:
        folder: gets ``right-1.jpg`` …, ``wrong-1.jpg`` … and ``gallery.json``, replacing those of before.
        predict, card: the model.
        rows: the photographs judged.
        probabilities: (N, C) what the model said of them.
        read_row: reads a row's photograph.
        thresholds: (C,) where a photograph has several labels.

    Returns:
        What gallery.json holds: ``{"file", "image", "label", "predicted", "probability", "verdict", "right"}`` each.
    """
    from geocamnet.runtime.heatmap import enhance, resize_heatmap, scale_maps
    from geocamnet.runtime.prediction import prediction_of
    from geocamnet.runtime.render import side_by_side

    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("right-*.jpg"), *folder.glob("wrong-*.jpg")]:
        old.unlink()
    right, wrong = _chosen(card, rows, probabilities, thresholds)
    entries = []
    for name, positions in (("right", right), ("wrong", wrong)):
        for number, i in enumerate(positions, start=1):
            row, answer = rows[i], int(probabilities[i].argmax())
            image = read_row(row)
            prediction = prediction_of(card, image, *predict(image))
            scaled = scale_maps(prediction.class_maps, card)[answer]
            um_per_px = card.um_per_px if card.um_per_px and row.um_per_px else row.um_per_px
            enhanced = enhance(resize_heatmap(scaled, image.shape, card), image, texture=card.texture)
            shrink = min(1.0, LONG_SIDE_PX / max(image.shape[:2]))
            if shrink < 1:
                size_wh = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
                image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
                enhanced = cv2.resize(enhanced, size_wh, interpolation=cv2.INTER_AREA)
            title = prediction.words if name == "right" else f"{prediction.words}, is {_truth(card, row)}"
            picture = side_by_side(
                image,
                resize_heatmap(scaled, image.shape, card),
                enhanced,
                title=title,
                um_per_px=um_per_px / shrink if um_per_px else None,
            )
            file = f"{name}-{number}.jpg"
            write_image(folder / file, picture, quality=88)
            entries.append(
                {
                    "file": file,
                    "image": row.image,
                    "label": "|".join(row.labels),
                    "predicted": card.class_names[answer],
                    "probability": float(probabilities[i, answer]),
                    "verdict": prediction.verdict,
                    "right": name == "right",
                }
            )
    with written_aside(folder / "gallery.json") as aside:
        aside.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return entries


def _chosen(
    card: ModelCard,
    rows: Sequence[IndexRow],
    probabilities: NDArray[np.float64],
    thresholds: NDArray[np.float64] | None,
) -> tuple[list[int], list[int]]:
    """Return positions of right and wrong answers: different kinds first, the surest of each kind first."""
    limits = np.full(len(card.classes), 0.5) if thresholds is None else thresholds
    kinds: dict[bool, dict[tuple[tuple[str, ...], int], list[int]]] = {True: {}, False: {}}
    for i in np.argsort(-probabilities.max(1), kind="stable"):
        answer = int(probabilities[i].argmax())
        if card.labels == "multi":
            named = {name for name, p, t in zip(card.class_names, probabilities[i], limits, strict=True) if p >= t}
            is_right = named == set(rows[i].labels) & set(card.class_names)
        else:
            is_right = rows[i].labels[0] == card.class_names[answer]
        kinds[is_right].setdefault((rows[i].labels, answer), []).append(int(i))
    picked = []
    for is_right in (True, False):
        queues = list(kinds[is_right].values())
        turns = [queue[turn] for turn in range(PICTURES_OF_EACH) for queue in queues if turn < len(queue)]
        picked.append(turns[:PICTURES_OF_EACH])
    return picked[0], picked[1]


def _truth(card: ModelCard, row: IndexRow) -> str:
    titles = {one.name: one.title for one in card.classes}
    return ", ".join(titles.get(name, name) for name in row.labels)
