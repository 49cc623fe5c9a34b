"""Whether heatmaps go by the place in the photograph instead of by what is there.

Over many photographs rock of any kind lies anywhere, so the mean of their heatmaps is even. A network that can tell the
middle from the edge may put its evidence always into the same cells, if training rewards that: names do not suffer, nor
do heatmaps judged on mosaics, and every single heatmap misleads.
"""

from collections import defaultdict
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_PHOTOGRAPHS = 20
DRAWS = 25
BY_PLACE_FROM = 1.5  # times what chance gives: from here on it is said


class Places:
    """The mean heat of every cell over photographs of one shape."""

    def __init__(self) -> None:
        self._heats: dict[tuple[int, ...], list[NDArray[np.float32]]] = defaultdict(list)

    def add(self, heat: NDArray[np.floating[Any]]) -> None:
        """Take the heat of a photograph's most probable class, (h, w) in [0, 1], on the network's own cells."""
        self._heats[heat.shape].append(heat.astype(np.float32))

    def figures(self, *, seed: int = 0) -> dict[str, Any] | None:
        """Return how much hotter the hottest place is than the mean, or None where that can't be told.

        Returns:
            ``photographs`` of the commonest shape; ``hottest``: the highest cell of their mean heat over the mean of
            all cells, 1 where no place is preferred; ``hottest_by_chance``: the same where each heatmap is shifted
            around by some cells, so that no place can be preferred (median of some draws). None below 20 photographs
            or without heat.
        """
        heats = np.stack(max(self._heats.values(), key=len)) if self._heats else np.zeros((0, 1, 1), np.float32)
        if len(heats) < LEAST_PHOTOGRAPHS or not heats.any():
            return None
        rng = np.random.default_rng(seed)
        by_chance = []
        for _ in range(DRAWS):
            shifts = rng.integers(0, heats.shape[1:], (len(heats), 2))
            rolled = [np.roll(one, tuple(shift), (0, 1)) for one, shift in zip(heats, shifts, strict=True)]
            by_chance.append(_hottest(np.mean(rolled, axis=0)))
        return {
            "photographs": len(heats),
            "hottest": _hottest(heats.mean(axis=0)),
            "hottest_by_chance": median(by_chance),
        }


def prefers_a_place(figures: dict[str, Any] | None) -> bool:
    """Return whether the hottest place is so much hotter that a single heatmap can't be trusted."""
    return figures is not None and figures["hottest"] > BY_PLACE_FROM * figures["hottest_by_chance"]


def _hottest(mean_heat: NDArray[np.float32]) -> float:
    return float(mean_heat.max() / mean_heat.mean())
