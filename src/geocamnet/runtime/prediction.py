"""What a student says of a photograph: names, probabilities, class maps, or that it does not know."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.images import RgbImage
from geocamnet.runtime.familiar import distance_of
from geocamnet.runtime.heatmap import cells_covered, resize_heatmap, scale_maps

FloatArray = NDArray[np.float32]

NOT_SURE = "not sure"
NOTHING_HERE = "nothing here"
UNFAMILIAR = "unlike the training photographs"
REFUSALS = (NOT_SURE, NOTHING_HERE, UNFAMILIAR)
MULTI_LABEL_FROM = 0.5  # a sigmoid at or above it names the class


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a student says of one photograph.

    Attributes:
        card: of the model that said it.
        probabilities: (C,) float32 in [0, 1], calibrated by the card's temperature.
        class_maps: (C, h, w) float32, raw evidence without the bias: ``mean(M_c) + b_c`` is the logit of
            class c (Zhou et al. 2016, arXiv 1512.04150).
        shape_hw: pixels of the photograph given.
        elapsed_ms: milliseconds the network took.
        covered_hw: how many cells of the maps the photograph spans, such as 12.5 of 13.
        evidence: for all classes together (`evidence_of`).
        distance: from the training photographs (`runtime.familiar`); 0 where the card has no `FamiliarCard`.
    """

    card: ModelCard
    probabilities: FloatArray
    class_maps: FloatArray
    shape_hw: tuple[int, int]
    elapsed_ms: float
    covered_hw: tuple[float, float]
    evidence: float = math.inf
    distance: float = 0.0

    @property
    def label(self) -> str | None:
        """The class named, of several the most probable; None where ``verdict`` is a refusal."""
        return next(iter(self.labels), None)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every class named, the most probable first; at most one for single labels, none for a refusal."""
        return () if self._refusal is not None else self._named

    @property
    def verdict(self) -> str:
        """What is to be written beside the photograph: the classes named, joined by ``|``, or a refusal.

        In this order:

        - "unlike the training photographs": ``distance`` is above the card's ``familiar.limit``;
        - "nothing here": ``evidence`` is below the card's ``evidence_below``;
        - "not sure": no probability reaches what the card asks for, ``abstain_below`` of the highest one, or, where
          a photograph may carry several labels, a class's own of ``label_thresholds`` (0.5 without).
        """
        return self._refusal or "|".join(self._named) or NOT_SURE

    @property
    def words(self) -> str:
        """The verdict for people: titles with their probabilities; a refusal says which class is the strongest."""
        titles = {one.name: one.title for one in self.card.classes}
        said = {name: f"{titles[name]} ({probability:.0%})" for name, probability in self.top(k=0)}
        named = " + ".join(said[name] for name in self.labels)
        return named or f"{self.verdict.capitalize()}; strongest: {next(iter(said.values()))}"

    def top(self, k: int = 3) -> list[tuple[str, float]]:
        """Return the ``k`` most probable classes as (name, probability), best first; 0 returns all."""
        order = np.argsort(-self.probabilities, kind="stable")[: k or None]
        return [(self.card.class_names[i], float(self.probabilities[i])) for i in order]

    def heatmap(self, class_name: str | None = None) -> FloatArray:
        """Return where the evidence for a class lies.

        Args:
            class_name: None takes the most probable class, sure or not.

        Returns:
            float32 (H, W) in [0, 1] of the photograph's shape, scaled with the card's ``map_scale`` and never
            to the photograph's own range: no evidence looks like no evidence.

        Raises:
            ModelError: the model does not know the class.
        """
        return resize_heatmap(self._scaled_map(class_name), self.shape_hw, self.card, covered_hw=self.covered_hw)

    @property
    def _refusal(self) -> str | None:
        card = self.card
        if card.familiar is not None and self.distance > card.familiar.limit:
            return UNFAMILIAR
        return NOTHING_HERE if card.evidence_below is not None and self.evidence < card.evidence_below else None

    @property
    def _named(self) -> tuple[str, ...]:
        if self.card.labels == "single":
            return tuple(name for name, probability in self.top(1) if probability >= self.card.abstain_below)
        thresholds = self.card.label_thresholds or (MULTI_LABEL_FROM,) * len(self.card.classes)
        least = dict(zip(self.card.class_names, thresholds, strict=True))
        return tuple(name for name, probability in self.top(k=0) if probability >= least[name])

    def _scaled_map(self, class_name: str | None) -> FloatArray:
        index = int(np.argmax(self.probabilities)) if class_name is None else self.card.class_index(class_name)
        return scale_maps(self.class_maps, self.card)[index]


def probabilities_of(logits: NDArray[np.floating[Any]], card: ModelCard) -> FloatArray:
    """Return what the network makes of logits z (C,): ``softmax(z / T)``, or a sigmoid each, float32 (C,)."""
    scaled = np.asarray(logits, np.float64) / card.temperature
    if card.labels == "multi":
        return np.asarray(0.5 * (1 + np.tanh(scaled / 2)), dtype=np.float32)  # the sigmoid, without overflow
    powers = np.exp(scaled - scaled.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def prediction_of(
    card: ModelCard,
    image: RgbImage,
    probabilities: NDArray[np.floating[Any]],
    class_maps: NDArray[np.floating[Any]],
    *,
    shape_hw: tuple[int, int] | None = None,
    elapsed_ms: float = 0.0,
) -> Prediction:
    """Return the `Prediction` that a network's answer (C,) and (C, h, w) on a photograph amounts to.

    Args:
        card: of the network.
        image: RGB uint8 (H, W, 3) as the network was given it.
        probabilities, class_maps: what it answered.
        shape_hw: of the photograph before it was brought to the card's scale; None where it was not.
        elapsed_ms: that the network took.
    """
    return Prediction(
        card=card,
        probabilities=np.asarray(probabilities, np.float32),
        class_maps=np.asarray(class_maps, np.float32),
        shape_hw=shape_hw or (image.shape[0], image.shape[1]),
        elapsed_ms=elapsed_ms,
        covered_hw=cells_covered(image.shape, card),
        evidence=evidence_of(class_maps.mean(axis=(1, 2), dtype=np.float64) + np.asarray(card.class_bias), card.labels),
        distance=0.0 if card.familiar is None else distance_of(image, card.familiar),
    )


def evidence_of(logits: NDArray[np.floating[Any]], labels: str) -> float:
    """Return the evidence for all classes together, any real number: what "nothing here" is decided by.

    One label a photograph: ``ln sum_c exp z_c``, minus the free energy (Liu et al. 2020, arXiv 2010.03759).
    Several: ``sum_c ln(1 + exp z_c)``, minus the joint energy (Wang et al. 2021, arXiv 2111.12797).

    Args:
        logits: (C,) z, without temperature.
        labels: ``single`` or ``multi``.
    """
    joined = np.logaddexp.reduce(logits) if labels == "single" else np.logaddexp(0, logits).sum()
    return float(joined)
