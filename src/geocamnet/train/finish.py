"""The constants that travel with a network: map scale, temperature, abstention, grey range of texture.

All are taken from validation photographs, never from the test part.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from geocamnet.card import TextureCard
from geocamnet.images import read_image, scaled_size_hw
from geocamnet.train.dataset import PhotographDataset, SameSizeBatches
from geocamnet.train.index import IndexRow
from geocamnet.train.metrics import choose_abstention, fit_temperature
from geocamnet.train.runs import Network

log = logging.getLogger(__name__)

FULL_HEAT_PERCENTILE = 99.0
MOST_PHOTOGRAPHS = 1000


def constants_of(
    network: Network, data: Path, rows: Sequence[IndexRow], *, classes: Sequence[str], labels: str, image_px: int
) -> dict[str, Any]:
    """Return ``map_scale``, ``temperature`` and ``abstain_below`` of a card.

    Full heat is the 99th percentile of the positive evidence for a class over the cells of the validation
    photographs that show it. Without labelled validation photographs all others serve, and nothing is abstained.

    Args:
        network: in evaluation mode.
        data, rows: the data set.
        classes: of the network's outputs.
        labels: ``single`` or ``multi``.
        image_px: long side the network sees.
    """
    labelled = [row for row in rows if row.split == "val" and row.labels]
    chosen = labelled or [row for row in rows if row.split in ("train", "val")] or list(rows)
    chosen = chosen[:: max(1, len(chosen) // MOST_PHOTOGRAPHS)]
    dataset = PhotographDataset(data, chosen, classes=classes, image_px=image_px)
    sizes = [scaled_size_hw((row.height_px, row.width_px), image_px) for row in chosen]
    logits, targets, known = [], [], []
    evidence: list[list[np.ndarray]] = [[] for _ in classes]
    for batch in DataLoader(dataset, batch_sampler=SameSizeBatches(sizes, batch_size=8)):
        with torch.inference_mode():
            one = network(batch["image"])
        maps = one.class_maps
        if labels == "single":
            maps = maps - maps.mean(dim=1, keepdim=True)  # a softmax ignores what is common to all classes
        for position, target in enumerate(batch["target"].numpy()):
            shown = np.flatnonzero(target) if target.any() else [int(one.logits[position].argmax())]
            for number in shown:
                cells = maps[position, number].flatten().numpy()
                evidence[number].append(cells[cells > 0])
        logits.append(one.logits.numpy())
        targets.append(batch["target"].numpy())
        known.append(batch["known"].numpy())
    every_logit, every_target, is_known = (np.concatenate(part) for part in (logits, targets, known))
    result: dict[str, Any] = {"map_scale": _full_heat(evidence)}
    if labels == "single" and labelled and is_known.any():
        truth = every_target[is_known].argmax(1)
        temperature = fit_temperature(every_logit[is_known], truth)
        softened = torch.from_numpy(every_logit[is_known] / temperature).softmax(1).numpy()
        result["temperature"] = float(temperature)
        result["abstain_below"] = float(choose_abstention(softened, truth))
    return result


def texture_of(data: Path, rows: Sequence[IndexRow]) -> TextureCard:
    """Return how texture is measured for a data set: grey range from the 0.5th to the 99.5th percentile of it."""
    training = [row for row in rows if row.split == "train"] or list(rows)
    greys = [
        read_image(data / row.image)[::4, ::4].mean(axis=2).ravel() for row in training[:: max(1, len(training) // 64)]
    ]
    low, high = np.percentile(np.concatenate(greys), (0.5, 99.5))
    low = min(float(low), 254.0)
    return TextureCard(low=round(low, 1), high=round(max(float(high), low + 1), 1))


def _full_heat(evidence: Sequence[Sequence[np.ndarray]]) -> tuple[float, ...]:
    scales = [
        float(np.percentile(np.concatenate(cells), FULL_HEAT_PERCENTILE)) if sum(map(len, cells)) else 0.0
        for cells in evidence
    ]
    present = [scale for scale in scales if scale > 0]
    usual = float(np.median(present)) if present else 1.0  # for a class that validation does not show
    return tuple(max(scale if scale > 0 else usual, 1e-6) for scale in scales)
