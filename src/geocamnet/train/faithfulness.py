"""Heatmaps judged without masks: does the answer follow the heat, and does heat lie on burnt-in marks?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.integrate import trapezoid
from scipy.sparse.linalg import splu

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import scaled_size_hw
from geocamnet.runtime.heatmap import resize_heatmap, scale_maps
from geocamnet.train.augment import burn_in
from geocamnet.train.index import IndexRow
from geocamnet.train.localise import Predict, energy_pointing
from geocamnet.train.plain_heatmaps import PLAIN_HEATMAPS

PLAIN = ("grey", "inverse_grey", "edges", "centre", "random")
# A network is asked about one photograph at a time, so its answers are what costs: 58 for each of 20 photographs,
# and two for each of 40.
PHOTOGRAPHS, MARKED_PHOTOGRAPHS = 20, 40
SHARES = (0.25, 0.5, 0.75)
ROAD_SHARES = (0.25, 0.5)
# Squares along the long side that are covered as one: maps of every fineness cover pictures of one fineness.
CELLS = 24
SOLVED_PX = 4  # pixels along the side of a square on the raster on which the imputation is solved
BLUR = 1 / 20  # of the long side: the fabric is gone, colour and brightness stay
NOISE = 0.01 * 255  # of the imputed pixels, as in the code of the paper's authors

RgbImage = NDArray[np.uint8]
Heatmap = NDArray[np.float32]
Hidden = NDArray[np.bool_]
Progress = Callable[[int, int], None]


def judge_without_masks(
    predict: Predict,
    card: ModelCard,
    rows: Sequence[IndexRow],
    read_row: Callable[[IndexRow], RgbImage],
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Return `faithfulness` and `heat_on_marks` of a model on evenly spaced photographs, about 1,250 predictions.

    The photographs are scaled to what the network sees before anything is covered or painted.

    Args:
        predict, card: the model.
        rows: photographs to report on; at least one.
        read_row: reads a row's photograph at the model's scale.
        seed: of ties, noise and marks.
        on_progress: called with (photographs done, of how many).

    Returns:
        ``{"faithfulness": …, "marks": …}``.
    """
    done, of = 0, min(len(rows), PHOTOGRAPHS) + min(len(rows), MARKED_PHOTOGRAPHS)

    def photographs(most: int) -> Iterator[RgbImage]:
        nonlocal done
        step = max(1.0, len(rows) / most)
        for i in range(min(len(rows), most)):
            yield _as_seen(read_row(rows[int(i * step)]), card)
            done += 1
            if on_progress:
                on_progress(done, of)

    return {
        "faithfulness": faithfulness(predict, card, photographs(PHOTOGRAPHS), seed=seed),
        "marks": heat_on_marks(predict, card, photographs(MARKED_PHOTOGRAPHS), seed=seed),
    }


def faithfulness(predict: Predict, card: ModelCard, images: Iterable[RgbImage], *, seed: int = 0) -> dict[str, Any]:
    """Return how the probability p of the class answered moves as a photograph is covered in the order of a heatmap.

    The heatmap is the shipped one of the class answered; beside it stand heatmaps that know no rock. A heatmap
    gives the order in which squares of the photograph are covered, ties broken by chance. For each:

    - ``insertion``, ``deletion`` (Petsiuk et al. 2018, arXiv 1806.07421): the area under p(s), where the hottest
      share s of the photograph is shown, or hidden. Trapezia over s = 0, 1/4, 1/2, 3/4, 1.
    - ``road`` (Rong et al. 2022, arXiv 2202.00449): mean over s of p(coldest s removed) - p(hottest s removed),
      with s = 1/4 and 1/2, removed by `linear_imputation`. Chance gives 0.
    - ``average_drop``, ``average_increase`` (Chattopadhyay et al. 2018, arXiv 1710.11063): mean of
      ``max(0, p - o) / p``, and share of the photographs with ``o > p``, o being the probability of the photograph
      faded by the heat. A map that is hot everywhere fades nothing and gets a drop of 0, so read it with
      ``mean_heat``.

    What is hidden or faded gives way to the blurred photograph, in insertion and deletion alike. Black or mean
    grey would leave squares with hard edges, and brightness that no lamp gives: to a network that names textures
    that is one more texture. The blurred photograph keeps lamp and stain and has no fabric left.

    Args:
        predict, card: the model.
        images: RGB uint8 photographs, at most some 20: each costs 58 predictions.
        seed: of ties and noise.

    Returns:
        ``{"table": {method: figures}, "probability": {"photograph", "blurred"}, "n", "predictions"}``; method
        ``"model"`` first, figures are means over the photographs, ``standard_error`` holds theirs. Where the blurred
        photograph keeps most of its probability, none of the figures says much.

    Raises:
        DataError: no photograph.
    """
    rows: dict[str, list[dict[str, float]]] = {method: [] for method in ("model", *PLAIN)}
    ends: list[tuple[float, float]] = []
    predictions = 0
    for number, image in enumerate(images):
        photograph = _Covered(predict, card, image, seed=(seed, number))
        maps = {"model": photograph.heat} | {method: PLAIN_HEATMAPS[method](image) for method in PLAIN}
        for method, heat in maps.items():
            rows[method].append(_figures(photograph, heat))
        ends.append((photograph.probability, photograph.blurred(np.ones(photograph.cells_hw, np.bool_))))
        predictions += photograph.predictions
    if not ends:
        raise DataError("Faithfulness needs at least one photograph; received none.")
    whole, blurred = np.mean(ends, axis=0)
    return {
        "table": {method: _summary(found) for method, found in rows.items()},
        "probability": {"photograph": float(whole), "blurred": float(blurred)},
        "n": len(ends),
        "predictions": predictions,
    }


def heat_on_marks(predict: Predict, card: ModelCard, images: Iterable[RgbImage], *, seed: int = 0) -> dict[str, Any]:
    """Return how much heat lies on a frame line or scale bar painted into photographs, and how much area.

    Heat on a mark is wrong by definition. The marks are those of the augmentation (`augment.burn_in`), the heat is
    that of the class answered for the marked photograph. A heatmap without heat counts as even heat.

    Args:
        predict, card: the model.
        images: RGB uint8 photographs; each costs two predictions.
        seed: of the marks.

    Returns:
        ``{"heat_share", "area_share", "ratio", "heat_share_unmarked", "n"}``: mean shares, heat over area, and the
        share of heat (of the same class) that lay in the same place before painting. A ratio of 1 is even heat; what
        the marks themselves draw is the difference from ``heat_share_unmarked``.

    Raises:
        DataError: no photograph.
    """
    shares = []
    for number, image in enumerate(images):
        marked, painted = burn_in(image, np.random.default_rng((seed, number)))
        answer, _, heat = _answer(predict, card, marked)
        _, _, before = _answer(predict, card, image, answer)
        on_mark = (energy_pointing(one, painted) for one in (heat, before))
        shares.append((*on_mark, painted.mean()))
    if not shares:
        raise DataError("Heat on marks needs at least one photograph; received none.")
    heat_share, unmarked, area_share = (float(share) for share in np.mean(shares, axis=0))
    return {
        "heat_share": heat_share,
        "area_share": area_share,
        "ratio": heat_share / area_share,
        "heat_share_unmarked": unmarked,
        "n": len(shares),
    }


def linear_imputation(values: NDArray[np.floating[Any]], hidden: Hidden) -> NDArray[np.float64]:
    """Return values whose hidden pixels are the weighted mean of their eight neighbours (Rong et al. 2022).

    ``x_i = sum_j w_ij x_j / sum_j w_ij`` for every hidden i, with w = 1/6 for the four neighbours that share a side
    and 1/12 for the four diagonal ones; those beyond the edge are left out. Hidden neighbours are unknowns
    too, so this is one sparse linear system.

    Args:
        values: float (H, W, K), both sides at least 2.
        hidden: bool (H, W).

    Returns:
        float64 (H, W, K).

    Raises:
        DataError: every pixel is hidden.
    """
    if hidden.all():
        raise DataError("Linear imputation needs at least one pixel that is not hidden; received none.")
    down, across = (sparse.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(side, side)) for side in hidden.shape)
    rows, columns = (sparse.eye_array(side) for side in hidden.shape)
    beside = sparse.kron(rows, across) + sparse.kron(down, columns)
    weights = (beside / 6 + sparse.kron(down, across) / 12).tocsr()  # (HW, HW)
    unknown = hidden.ravel()
    if not unknown.any():
        return values.astype(np.float64)
    known = values.reshape(unknown.size, -1).astype(np.float64)
    system = (sparse.diags_array(weights.sum(axis=1)) - weights).tocsr()[unknown]
    filled = known.copy()
    filled[unknown] = splu(system[:, unknown].tocsc()).solve(-(system[:, ~unknown] @ known[~unknown]))
    return filled.reshape(values.shape)


class _Covered:
    """A photograph with parts of it covered, and the probability of its class; no picture is asked about twice."""

    def __init__(self, predict: Predict, card: ModelCard, image: RgbImage, *, seed: tuple[int, ...]) -> None:
        self._predict = predict
        self._image = image.astype(np.float32)
        self._seed = seed
        self._answer, self.probability, self.heat = _answer(predict, card, image)
        self.predictions = 1
        shape_hw, long_side = image.shape[:2], max(image.shape[:2])
        self.cells_hw = tuple(max(1, round(side * min(CELLS, long_side) / long_side)) for side in shape_hw)
        self._asked = {_key("blurred", np.zeros(self.cells_hw, np.bool_)): self.probability}
        self._blurred = cv2.GaussianBlur(self._image, (0, 0), long_side * BLUR)
        self._noise = np.random.default_rng(seed).normal(0, NOISE, self._image.shape).astype(np.float32)

    def order(self, heat: Heatmap) -> NDArray[np.int64]:
        """Return the numbers of the squares, hottest first, ties in an order of chance."""
        cells = cv2.resize(heat, self.cells_hw[::-1], interpolation=cv2.INTER_AREA).ravel()
        return np.lexsort((np.random.default_rng(self._seed).random(cells.size), -cells))

    def blurred(self, hidden: Hidden) -> float:
        """Return the probability with the hidden squares blurred, borders between squares faded."""
        return self._ask("blurred", hidden, lambda: self._faded(1 - self._enlarged(hidden, cv2.INTER_LINEAR)))

    def imputed(self, hidden: Hidden) -> float:
        """Return the probability with the hidden squares imputed from what surrounds them, and noise on them."""
        return self._ask("imputed", hidden, lambda: self._imputed(hidden))

    def faded(self, heat: Heatmap) -> float:
        """Return the probability with every pixel as sharp as it is hot."""
        return self._probability(self._faded(heat))

    def _faded(self, shown: Heatmap) -> NDArray[np.float32]:
        return self._blurred + shown[..., None] * (self._image - self._blurred)

    def _imputed(self, hidden: Hidden) -> NDArray[np.float32]:
        fine = hidden.repeat(SOLVED_PX, axis=0).repeat(SOLVED_PX, axis=1)
        small = cv2.resize(self._image, fine.shape[::-1], interpolation=cv2.INTER_AREA)
        filled = linear_imputation(small, fine).astype(np.float32)
        filled = cv2.resize(filled, self._image.shape[1::-1], interpolation=cv2.INTER_LINEAR) + self._noise
        return np.where(self._enlarged(hidden, cv2.INTER_NEAREST)[..., None] > 0, filled, self._image)

    def _enlarged(self, hidden: Hidden, how: int) -> NDArray[np.float32]:
        return cv2.resize(hidden.astype(np.float32), self._image.shape[1::-1], interpolation=how)

    def _ask(self, kind: str, hidden: Hidden, picture: Callable[[], NDArray[np.float32]]) -> float:
        key = _key(kind, hidden)
        if key not in self._asked:
            self._asked[key] = self._probability(picture())
        return self._asked[key]

    def _probability(self, picture: NDArray[np.float32]) -> float:
        self.predictions += 1
        image = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return float(self._predict(image)[0][self._answer])


def _key(kind: str, hidden: Hidden) -> tuple[str, bytes]:
    return kind, np.packbits(hidden).tobytes()


def _answer(
    predict: Predict, card: ModelCard, image: RgbImage, wanted: int | None = None
) -> tuple[int, float, Heatmap]:
    """Return the class answered (or the one wanted), its probability, and its heatmap (H, W)."""
    probabilities, maps = predict(image)
    answer = int(np.argmax(probabilities)) if wanted is None else wanted
    heat = scale_maps(np.asarray(maps, np.float32), card)[answer]
    return answer, float(probabilities[answer]), resize_heatmap(heat, image.shape, card)


def _figures(photograph: _Covered, heat: Heatmap) -> dict[str, float]:
    order = photograph.order(heat)
    counts = [round(share * len(order)) for share in (0, *SHARES, 1)]

    def among(squares: NDArray[np.int64]) -> Hidden:
        hidden = np.zeros(len(order), np.bool_)
        hidden[squares] = True
        return hidden.reshape(photograph.cells_hw)

    shares = np.array(counts) / len(order)
    shown = [photograph.blurred(among(order[count:])) for count in counts]
    left = [photograph.blurred(among(order[:count])) for count in counts]
    removed = [round(share * len(order)) for share in ROAD_SHARES]
    worth = [
        photograph.imputed(among(order[len(order) - count :])) - photograph.imputed(among(order[:count]))
        for count in removed
    ]
    faded = photograph.faded(heat)
    return {
        "insertion": float(trapezoid(shown, shares)),
        "deletion": float(trapezoid(left, shares)),
        "road": float(np.mean(worth)),
        "average_drop": max(0.0, photograph.probability - faded) / photograph.probability,
        "average_increase": float(faded > photograph.probability),
        "mean_heat": float(heat.mean()),
    }


def _summary(found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    values = {name: np.array([one[name] for one in found]) for name in found[0]}
    errors = {name: float(one.std(ddof=1) / len(one) ** 0.5) if len(one) > 1 else None for name, one in values.items()}
    return {name: float(one.mean()) for name, one in values.items()} | {"standard_error": errors}


def _as_seen(image: RgbImage, card: ModelCard) -> RgbImage:
    """Return the photograph no larger than the network's view, so that what is covered is what the network sees."""
    if card.long_side_px is None or max(image.shape[:2]) <= card.long_side_px:
        return image
    height, width = scaled_size_hw(image.shape[:2], card.long_side_px)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
