"""The constants that travel with a network: map scale, temperature, refusals, grey range of texture.

All are taken from validation photographs, never from the test part.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch.utils.data import DataLoader

from geocamnet.card import FamiliarCard, TextureCard
from geocamnet.images import read_image
from geocamnet.runtime.familiar import MOST_LONG_SIDE_PX, distance_of, statistics
from geocamnet.runtime.prediction import MULTI_LABEL_FROM, evidence_of
from geocamnet.train.augment import seen_size_hw
from geocamnet.train.dataset import PhotographDataset, SameSizeBatches
from geocamnet.train.index import IndexRow
from geocamnet.train.metrics import choose_abstention, fit_temperature, macro_f1_thresholds
from geocamnet.train.runs import Network

log = logging.getLogger(__name__)

FULL_HEAT_PERCENTILE = 99.0
MOST_PHOTOGRAPHS = 1000
LEAST_EVIDENCE_PERCENTILE = 5.0  # of validation photographs' evidence: those with less are refused
FAMILIAR_PERCENTILE = 99.0  # of validation photographs' distance: those further away are refused
FEWEST_TO_REFUSE = 20  # with fewer photographs such percentiles are nothing but the extremes
FEWEST_OF_CLASS = 5  # with fewer of its photographs a class's threshold would be chance, and stays at 0.5
LEAST_SPREAD = 0.02  # of a statistic of photographs (5 grey levels): what a lamp or a camera alone makes


def constants_of(
    network: Network, data: Path, rows: Sequence[IndexRow], *, classes: Sequence[str], labels: str, image_px: int
) -> dict[str, Any]:
    """Return a card's ``map_scale``, ``temperature`` and thresholds.

    Full heat is the 99th percentile of the positive evidence for a class over the cells of the validation
    photographs that show it. Without labelled validation photographs all others give the full heat, and nothing is
    refused. ``temperature`` is fitted either way, then ``abstain_below`` for one label a photograph; for several,
    ``label_thresholds`` (0.5 for classes of fewer than 5 photographs), and ``evidence_below``, the 5th percentile of
    the evidence (`runtime.prediction.evidence_of`) of at least 20 photographs. For one label it stays None: a softmax
    is taught which class has more evidence, not whether there is any (see docs/explanation/refusals.md).

    Args:
        network: in evaluation mode.
        data, rows: the data set.
        classes: of the network's outputs.
        labels: ``single`` or ``multi``.
        image_px: long side the network sees, 0 as stored.
    """
    most = 1 if labels == "single" else len(classes)  # a softmax can't be right about a photograph of two
    labelled = [row for row in rows if row.split == "val" and 0 < len(row.labels) <= most]
    chosen: Sequence[IndexRow] = labelled or [row for row in rows if row.split in ("train", "val")] or list(rows)
    chosen = _at_most(chosen)
    dataset = PhotographDataset(data, chosen, classes=classes, image_px=image_px)
    sizes = [seen_size_hw((row.height_px, row.width_px), image_px) for row in chosen]
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
    if labelled and is_known.any():
        every_logit, every_target = every_logit[is_known], every_target[is_known]
        truth = every_target.argmax(1) if labels == "single" else every_target
        temperature = fit_temperature(every_logit, truth)
        result["temperature"] = float(temperature)
        softened = torch.from_numpy(every_logit / temperature)
        if labels == "single":
            result["abstain_below"] = float(choose_abstention(softened.softmax(1).numpy(), truth))
            return result
        thresholds = macro_f1_thresholds(softened.sigmoid().numpy(), truth)
        thresholds[truth.sum(0) < FEWEST_OF_CLASS] = MULTI_LABEL_FROM
        result["label_thresholds"] = tuple(thresholds.tolist())
        if len(every_logit) >= FEWEST_TO_REFUSE:
            evidence_of_each = [evidence_of(one, labels) for one in every_logit]
            # "lower" refuses no more of them than the percentile says.
            result["evidence_below"] = float(np.percentile(evidence_of_each, LEAST_EVIDENCE_PERCENTILE, method="lower"))
    return result


def familiar_of(data: Path, rows: Sequence[IndexRow], *, image_px: int) -> FamiliarCard | None:
    """Return what the training photographs look like, or None with fewer than 20 of training or of validation.

    Mean and covariance of the training photographs' statistics (`runtime.familiar`), the covariance after Ledoit and
    Wolf (2004, DOI 10.1016/S0047-259X(03)00096-4) plus 0.02^2 on its diagonal: without it a data set of grey
    photographs would refuse the faintest tint. The limit is the 99th percentile of the validation photographs'
    distance.

    Args:
        data, rows: the data set.
        image_px: long side the network sees, 0 as stored.
    """
    training, validation = ([row for row in rows if row.split == split] for split in ("train", "val"))
    if min(len(training), len(validation)) < FEWEST_TO_REFUSE:
        return None
    side = min(image_px or MOST_LONG_SIDE_PX, MOST_LONG_SIDE_PX)
    seen = np.stack([statistics(read_image(data / row.image), side) for row in _at_most(training)])
    spread = ledoit_wolf(seen)[0] + np.eye(seen.shape[1]) * LEAST_SPREAD**2
    found = FamiliarCard(
        mean=tuple(round(value, 6) for value in seen.mean(0).tolist()),
        precision=tuple(tuple(round(value, 3) for value in row) for row in np.linalg.inv(spread).tolist()),
        limit=1.0,
        long_side_px=side,
    )
    distances = [distance_of(read_image(data / row.image), found) for row in _at_most(validation)]
    # "higher" refuses no more of them than the percentile says.
    return replace(found, limit=float(np.percentile(distances, FAMILIAR_PERCENTILE, method="higher")))


def texture_of(data: Path, rows: Sequence[IndexRow]) -> TextureCard:
    """Return how texture is measured for a data set: grey range from the 0.5th to the 99.5th percentile of it."""
    training = [row for row in rows if row.split == "train"] or list(rows)
    greys = [
        read_image(data / row.image)[::4, ::4].mean(axis=2).ravel() for row in training[:: max(1, len(training) // 64)]
    ]
    low, high = np.percentile(np.concatenate(greys), (0.5, 99.5))
    low = min(float(low), 254.0)
    return TextureCard(low=round(low, 1), high=round(max(float(high), low + 1), 1))


def _at_most(rows: Sequence[IndexRow]) -> Sequence[IndexRow]:
    return rows[:: max(1, len(rows) // MOST_PHOTOGRAPHS)]


def _full_heat(evidence: Sequence[Sequence[np.ndarray]]) -> tuple[float, ...]:
    scales = [
        float(np.percentile(np.concatenate(cells), FULL_HEAT_PERCENTILE)) if sum(map(len, cells)) else 0.0
        for cells in evidence
    ]
    present = [scale for scale in scales if scale > 0]
    usual = float(np.median(present)) if present else 1.0  # for a class that validation does not show
    return tuple(max(scale if scale > 0 else usual, 1e-6) for scale in scales)
