"""Photographs summed to thin sections and to a whole series: areas with intervals, point counts, porosity."""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from geocamnet.errors import DataError
from geocamnet.lights import view_of
from geocamnet.runtime.folder.areas import NO_CLASS, PhotographArea
from geocamnet.runtime.measure import Z_95, PointCount, grid_points, grid_step, tally
from geocamnet.runtime.porosity import Dye
from geocamnet.runtime.prediction import REFUSALS

LEAST_UNITS = 5  # of fewer, the spread is not known well enough: all five on one side of the truth is 1 in 16
DRAWS = 4000
_DRAWS_AT_ONCE = 200  # of ten thousand units all draws at once would take 300 MB
SERIES = "(all)"  # what the row of the whole series is called

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """A photograph, or a field's photographs together, with what the model says of it and where it belongs.

    Attributes:
        area: what was measured.
        label: `Prediction.verdict`.
        section: the thin section.
    """

    area: PhotographArea
    label: str
    section: str

    @property
    def refused(self) -> bool:
        """Whether the model names no class."""
        return self.label in REFUSALS


@dataclass(frozen=True)
class Share:
    """The area of one class in a thin section or a series.

    Attributes:
        px: pixels.
        percent: of all pixels counted, 0 to 100.
        low_percent, high_percent: 95 % interval of ``percent``; None where none can be given.
    """

    px: int
    percent: float
    low_percent: float | None = None
    high_percent: float | None = None


@dataclass(frozen=True)
class Porosity:
    """Porosity by blue dye in a thin section or a series.

    Attributes:
        share: None where porosity was not measured.
        total_px: pixels of the photographs it was measured on.
        measured_on: photographs it was measured on.
        units: what the interval rests on, as in `Section`.
        photographs: all photographs by what was found on them (`porosity.Dye`).
        why_not: why there is no ``share``; empty where there is.
    """

    share: Share | None
    total_px: int
    measured_on: int
    units: int
    photographs: Mapping[Dye, int]
    why_not: str = ""


@dataclass(frozen=True)
class Section:
    """A thin section, or the whole series.

    Attributes:
        name: of the section, or "(all)".
        photographs: predicted; a field's photographs together are one.
        counted: of these, those whose areas are summed here.
        refusals: photographs per refusal.
        total_px: of the photographs counted.
        shares: per class and for "no_class"; empty where no photograph is counted.
        percent_of_all: as ``shares``, refused photographs included.
        units: what intervals rest on: so many ``unit``.
        unit: "thin sections" or "fields".
        points: virtual point count, labels as in the class masks; None for a series of several sections.
        porosity: None where it was not asked for.
    """

    name: str
    photographs: int
    counted: int
    refusals: Mapping[str, int]
    total_px: int
    shares: Mapping[str, Share]
    percent_of_all: Mapping[str, float]
    units: int
    unit: str
    points: PointCount | None = None
    porosity: Porosity | None = None


def sum_up(
    measured: Iterable[Measured],
    class_names: Sequence[str],
    *,
    read_mask: Callable[[str], Mask | None],
    count_refused: bool = False,
    points: int = 400,
    seed: int = 0,
) -> tuple[list[Section], Section]:
    """Return every thin section, by name, and the whole series.

    The area of a class is the sum of its pixels over the sum of all pixels of the photographs counted, so a large
    photograph counts for more than a small one. **All photographs must have one scale.** A photograph that the model
    refuses to name is not counted, unless ``count_refused``: its heat is no evidence.

    Intervals come from whole fields drawn with replacement within a section, from whole sections in a series of
    several (`bootstrap_percent`). A field is a view: its photographs in several lights are drawn together.

    Points are counted in each section on one grid over all its photographs counted (`measure.grid_points`).

    Porosity is taken over all photographs that can show dye, named or not, for it does not rest on the model; and only
    where some photograph of the section does show dye, for else nobody knows whether there is any.

    Args:
        measured: photographs in any order.
        class_names: of the model, in the order of ``PhotographArea.class_px``.
        read_mask: returns the class mask of an image (`areas.class_mask`), which may be stored smaller; None where it
            is lost, and then no points are counted in its section.
        count_refused: count refused photographs as well.
        points: wanted of a section, at least 1; 300 to 500 are usual.
        seed: of the grid and of the draws.

    Raises:
        DataError: points below 1; and what ``read_mask`` raises.
    """
    if points < 1:
        raise DataError(f"points must be at least 1; received {points}.")
    photographs = sorted(measured, key=lambda one: one.area.image)
    of_section: dict[str, list[Measured]] = {}
    for one in photographs:
        of_section.setdefault(one.section, []).append(one)
    sections = []
    for name in sorted(of_section):
        members = of_section[name]
        summed = _sum(name, members, class_names, lambda one: view_of(one.area.image), "fields", count_refused, seed)
        counted = [one.area for one in members if count_refused or not one.refused]
        sections.append(replace(summed, points=_count_points(counted, len(class_names), read_mask, points, seed)))
    several = len(sections) > 1
    unit = "thin sections" if several else "fields"
    unit_of: Callable[[Measured], Hashable] = (
        (lambda one: one.section) if several else (lambda one: (one.section, view_of(one.area.image)))
    )
    # A section nobody has seen dye in may be one without dye: its photographs tell nothing of the series' porosity.
    without_dye = {one.name for one in sections if one.porosity is not None and one.porosity.share is None}
    whole = _sum(SERIES, photographs, class_names, unit_of, unit, count_refused, seed, without_dye=without_dye)
    if len(sections) == 1:
        whole = replace(whole, points=sections[0].points)
    return sections, whole


def bootstrap_percent(
    amounts: NDArray[np.integer], totals: NDArray[np.integer], *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the 95 % interval of ``100 sum_k amounts_k / sum_k totals_k`` over K units: low (M,), high (M,).

    The cluster bootstrap: K whole units are drawn with replacement, again and again, and the percentage is worked out
    each time (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 6, 8 and 13; of units that are
    clusters Field and Welsh 2007, DOI 10.1111/j.1467-9868.2007.00593.x). Pixels are never drawn one by one: those of a
    field show the same grains, and an interval from them would be absurdly narrow.

    Percentiles of the draws are too narrow for few units, so not 2.5 and 97.5 % are taken but (Hesterberg 2015, DOI
    10.1080/00031305.2015.1089789, "expanded percentile")

        a = Phi(-sqrt(K / (K - 1)) t),   1 - a,   t the 97.5 % point of Student's t with K - 1 degrees of freedom.

    Args:
        amounts: integer (K, M), pixels of M kinds in every unit.
        totals: integer (K,), all pixels of every unit, above 0.
        seed: fixes the draws; the order of the units matters to them.

    Returns:
        Percentages, or None for fewer than `LEAST_UNITS` units: these can't tell.
    """
    count = len(totals)
    if count < LEAST_UNITS:
        return None
    rng = np.random.default_rng(seed)
    pieces = np.column_stack([amounts, totals]).astype(np.float64)  # exact below 2^53 pixels
    drawn = []
    for _ in range(DRAWS // _DRAWS_AT_ONCE):
        often = rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS_AT_ONCE)  # (draws, K)
        sums = often @ pieces
        drawn.append(100 * sums[:, :-1] / sums[:, -1:])
    tail = 0.5 * (1 + erf(-sqrt(count / (count - 1)) * student_t_95(count - 1) / sqrt(2)))
    low, high = np.quantile(np.concatenate(drawn), (tail, 1 - tail), axis=0)
    return low, high


def student_t_95(degrees: int) -> float:
    """Return the 97.5 % point of Student's t, right to 0.01 from 4 degrees of freedom on.

    The expansion around the normal distribution's (Abramowitz and Stegun 1972, 26.7.5).
    """
    z, v = Z_95, degrees
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def _sum(
    name: str,
    members: Sequence[Measured],
    class_names: Sequence[str],
    unit_of: Callable[[Measured], Hashable],
    unit: str,
    count_refused: bool,
    seed: int,
    *,
    without_dye: Iterable[str] | None = None,
) -> Section:
    names = (*class_names, NO_CLASS)
    counted = [one for one in members if count_refused or not one.refused]
    amounts, totals = _by_unit(counted, unit_of, len(names))
    shares = _shares(amounts, totals, seed)
    everything, all_px = _by_unit(members, lambda one: 0, len(names))
    of_all = 100 * everything[0] / all_px[0] if len(all_px) else []
    return Section(
        name=name,
        photographs=len(members),
        counted=len(counted),
        refusals={refusal: sum(one.label == refusal for one in members) for refusal in REFUSALS},
        total_px=int(totals.sum()),
        shares=dict(zip(names, shares, strict=True)) if shares else {},
        percent_of_all=dict(zip(names, map(float, of_all), strict=False)),
        units=len(totals),
        unit=unit,
        porosity=_porosity(members, unit_of, seed, without_dye),
    )


def _by_unit(
    members: Iterable[Measured], unit_of: Callable[[Measured], Hashable], kinds: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels of every kind in every unit (K, kinds), the last kind being no class, and of all (K,)."""
    units: dict[Hashable, NDArray[np.int64]] = {}
    for one in members:
        px = np.array([*one.area.class_px, one.area.total_px - sum(one.area.class_px)], np.int64)
        units[unit_of(one)] = units.get(unit_of(one), 0) + px
    amounts = np.array(list(units.values()), np.int64).reshape(-1, kinds)
    return amounts, amounts.sum(axis=1)


def _shares(amounts: NDArray[np.int64], totals: NDArray[np.int64], seed: int) -> list[Share]:
    if not len(totals):
        return []
    px, whole = amounts.sum(axis=0), int(totals.sum())
    interval = bootstrap_percent(amounts, totals, seed=seed)
    plain = [Share(int(one), 100 * int(one) / whole) for one in px]
    if interval is None:
        return plain
    return [
        replace(one, low_percent=float(low), high_percent=float(high))
        for one, low, high in zip(plain, *interval, strict=True)
    ]


def _porosity(
    members: Sequence[Measured], unit_of: Callable[[Measured], Hashable], seed: int, without_dye: Iterable[str] | None
) -> Porosity | None:
    found = Counter(one.area.dye for one in members if one.area.dye is not None)
    if not found:
        return None
    left_out = frozenset(without_dye or ())
    shown = [one for one in members if one.area.pore_px is not None and one.section not in left_out]
    if not any(one.area.dye is Dye.VISIBLE for one in shown):
        looked_at = found[Dye.NOT_VISIBLE] + found[Dye.VISIBLE]
        why = Dye.NOT_VISIBLE.value if looked_at else max(found, key=lambda dye: found[dye]).value
        return Porosity(None, 0, 0, 0, found, why)
    units: dict[Hashable, NDArray[np.int64]] = {}
    for one in shown:
        units[unit_of(one)] = units.get(unit_of(one), 0) + np.array([one.area.pore_px, one.area.total_px], np.int64)
    px = np.array(list(units.values()))  # (K, 2)
    (share,) = _shares(px[:, :1], px[:, 1], seed)
    return Porosity(share, int(px[:, 1].sum()), len(shown), len(px), found)


def _count_points(
    counted: Sequence[PhotographArea], classes: int, read_mask: Callable[[str], Mask | None], points: int, seed: int
) -> PointCount | None:
    if not counted:
        return None
    step = grid_step(sum(one.total_px for one in counted), points)
    counts = np.zeros(classes + 1, np.int64)
    for one in counted:
        own = int.from_bytes(hashlib.sha256(one.image.encode("utf-8", "surrogateescape")).digest()[:8], "big")
        rows, columns = grid_points(one.shape_hw, step, np.random.default_rng([seed, own]))
        if len(rows) and len(columns):  # of thousands of photographs most hold no point, and their masks are not read
            mask = read_mask(one.image)
            if mask is None:
                return None
            (height, width), (mask_h, mask_w) = one.shape_hw, mask.shape
            met = mask[np.ix_(rows * mask_h // height, columns * mask_w // width)]
            counts += np.bincount(met.ravel(), minlength=classes + 1)
    return tally(dict(enumerate(counts.tolist()))) if counts.any() else None
