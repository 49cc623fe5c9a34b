"""The figures of a network and of its baselines on the very same photographs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet.runtime.prediction import REFUSALS
from geocamnet.train.index import IndexRow
from geocamnet.train.metrics import bootstrap_interval, classification_metrics, coverage_accuracy, group_metrics

JoinField = Callable[[list[int]], NDArray[np.floating[Any]]]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Judge:
    """The rows and truth on which model and baselines are compared.

    Attributes:
        rows: N photographs.
        targets: (N,) positions of their classes; (N, C) of 0 and 1 where a photograph may have several labels.
        class_names: C names.
        thresholds: (C,) probabilities from which who is judged names a class, for several labels a photograph: each
            has its own, and without any 0.5. None for one label.
    """

    rows: Sequence[IndexRow]
    targets: Ints
    class_names: Sequence[str]
    thresholds: NDArray[np.float64] | None

    def of(self, probabilities: NDArray[np.float64], *, by_field: JoinField | None = None) -> dict[str, Any]:
        """Return the figures of (N, C) probabilities.

        Args:
            probabilities: of all photographs.
            by_field: from the positions of a field's photographs to their joint probabilities (C,); the mean of their
                probabilities without, as for baselines, which have no logits.
        """
        figures = classification_metrics(probabilities, self.targets, self.class_names, thresholds=self.thresholds)
        if self.targets.ndim == 2:
            return figures
        said = probabilities.argmax(1)
        sections = [row.section for row in self.rows]
        figures["intervals"] = bootstrap_interval(said, self.targets, n_classes=len(self.class_names), groups=sections)
        if by_group := group_metrics(probabilities, self.targets, self.class_names):
            figures["by_group"] = by_group
        lights = Counter(row.light for row in self.rows)
        if len(lights) > 1:
            figures["by_light"] = {
                light or "unknown": self._brief(
                    [[i] for i, row in enumerate(self.rows) if row.light == light],
                    lambda group: probabilities[group[0]],
                )
                for light in sorted(lights)
            }
        fields: dict[tuple[str, str], list[int]] = {}
        for i, row in enumerate(self.rows):
            fields.setdefault((row.section, row.field) if row.field else ("", row.image), []).append(i)
        if len(fields) < len(self.rows):  # PPL and XPL of one view as one answer
            figures["by_field"] = self._brief(
                list(fields.values()), by_field or (lambda group: probabilities[group].mean(0))
            )
        return figures

    def abstention(self, probabilities: NDArray[np.float64], abstain_below: float) -> dict[str, Any]:
        """Return how many photographs are named where too improbable names are withheld, and how many of them rightly.

        Args:
            probabilities: (N, C) of all photographs.
            abstain_below: the highest probability must reach it; several labels have ``thresholds`` instead.
        """
        several = self.targets.ndim == 2
        limits: Any = abstain_below
        if several:
            limits = 0.5 if self.thresholds is None else self.thresholds
        kept = (probabilities >= limits).any(axis=1)
        right = self._top_is_right(probabilities)
        return {
            "abstention": {
                "threshold": None if several else abstain_below,
                "coverage": float(kept.mean()),
                "accuracy": float(right[kept].mean()) if kept.any() else None,
            },
            "coverage_accuracy": coverage_accuracy(probabilities, self.targets),
        }

    def verdicts(self, probabilities: NDArray[np.float64], verdicts: Sequence[str]) -> dict[str, Any]:
        """Return how many photographs were named and refused, by reason, and how many of those named are right."""
        named = np.array([one not in REFUSALS for one in verdicts])
        right = self._top_is_right(probabilities)[named]
        counts = {refusal: verdicts.count(refusal) for refusal in REFUSALS}
        return {"named": int(named.sum()), "accuracy": float(right.mean()) if right.size else None, **counts}

    def _top_is_right(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        top = probabilities.argmax(1)
        return self.targets[np.arange(len(top)), top] > 0 if self.targets.ndim == 2 else top == self.targets

    def _brief(self, groups: Sequence[list[int]], join: JoinField) -> dict[str, Any]:
        truth = self.targets[[group[0] for group in groups]]
        figures = classification_metrics(np.stack([join(group) for group in groups]), truth, self.class_names)
        return {name: figures[name] for name in ("n", "accuracy", "balanced_accuracy")}
