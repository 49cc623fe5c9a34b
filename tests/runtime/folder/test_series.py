"""Photographs summed to sections and a series: sums, intervals that hold what they promise, points, porosity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.runtime.folder.areas import NO_CLASS, PhotographArea
from geocamnet.runtime.folder.series import LEAST_UNITS, SERIES, Measured, bootstrap_percent, student_t_95, sum_up
from geocamnet.runtime.measure import grid_points, grid_step, tally
from geocamnet.runtime.porosity import Dye
from geocamnet.runtime.prediction import NOT_SURE, UNFAMILIAR

NAMES = ("oolite", "foam")


def photograph(image, section="S1", *, px=(50, 10), shape_hw=(10, 20), label="oolite", **dye):
    return Measured(PhotographArea(image, px, shape_hw, **dye), label, section)


def mask_of(one):
    """Draw a mask of the areas a photograph has: class after class, row by row."""
    first, second = one.area.class_px
    labels = np.zeros(one.area.total_px, np.uint8)
    labels[:first], labels[first : first + second] = 1, 2
    return labels.reshape(one.area.shape_hw)


def summed(measured, **options):
    masks = {one.area.image: mask_of(one) for one in measured}
    return sum_up(measured, NAMES, read_mask=masks.get, **options)


def test_areas_are_sums_of_pixels():
    (section,), series = summed([photograph("a.jpg", px=(50, 10)), photograph("b.jpg", px=(0, 300), shape_hw=(20, 30))])
    assert (section.name, section.photographs, section.counted, section.total_px) == ("S1", 2, 2, 800)
    assert {name: share.px for name, share in section.shares.items()} == {"oolite": 50, "foam": 310, NO_CLASS: 440}
    assert section.shares["foam"].percent == pytest.approx(100 * 310 / 800)
    assert sum(share.percent for share in section.shares.values()) == pytest.approx(100)
    assert series.name == SERIES
    assert series.shares == section.shares
    assert series.points == section.points


def test_refused_photographs_are_left_out_unless_asked_for_and_told():
    photographs = [
        photograph("a.jpg", px=(200, 0)),
        photograph("b.jpg", px=(0, 0), label=NOT_SURE),
        photograph("c.jpg", px=(0, 100), label=UNFAMILIAR),
    ]
    (section,), _ = summed(photographs)
    assert (section.photographs, section.counted, section.total_px) == (3, 1, 200)
    assert (section.refusals[NOT_SURE], section.refusals[UNFAMILIAR]) == (1, 1)
    assert section.shares["oolite"].percent == 100
    assert section.percent_of_all["oolite"] == pytest.approx(100 / 3)
    (section,), _ = summed(photographs, count_refused=True)
    assert section.counted == 3
    assert section.shares["foam"].percent == section.percent_of_all["foam"] == pytest.approx(100 / 6)


def test_nothing_to_count_is_nothing_and_not_0_percent():
    (section,), series = summed([photograph("a.jpg", label=NOT_SURE)])
    for one in (section, series):
        assert (one.counted, one.total_px, one.shares, one.points) == (0, 0, {}, None)
        assert one.percent_of_all["oolite"] == 25
    sections, series = summed([])
    assert sections == []
    assert (series.photographs, series.shares) == (0, {})


def test_the_order_of_photographs_changes_nothing():
    rng = np.random.default_rng(0)
    photographs = [
        photograph(f"{n}.jpg", f"S{n % 6}", px=(int(rng.integers(0, 100)), int(rng.integers(0, 100))))
        for n in range(40)
    ]
    assert summed(photographs) == summed(photographs[::-1])


def test_a_finer_scale_changes_pixels_and_no_percentage():
    px = [(5, 1), (9, 0), (0, 7), (3, 3), (8, 2), (1, 1)]
    coarse = [photograph(f"{n}.jpg", px=one, shape_hw=(5, 4)) for n, one in enumerate(px)]
    fine = [photograph(f"{n}.jpg", px=(one[0] * 9, one[1] * 9), shape_hw=(15, 12)) for n, one in enumerate(px)]
    (one,), _ = summed(coarse)
    (other,), _ = summed(fine)
    for name, share in one.shares.items():
        assert other.shares[name].px == 9 * share.px
        assert other.shares[name].percent == pytest.approx(share.percent)
        assert other.shares[name].low_percent == pytest.approx(share.low_percent)
        assert other.shares[name].high_percent == pytest.approx(share.high_percent)


def test_a_series_rests_on_sections_and_a_section_on_its_fields():
    photographs = [photograph(f"{s}/{n}.jpg", s, px=(10 * n, 5)) for s in "ABCDE" for n in range(7)]
    sections, series = summed(photographs)
    assert {(one.units, one.unit) for one in sections} == {(7, "fields")}
    assert (series.units, series.unit) == (5, "thin sections")
    # All sections are alike: between them nothing varies, within them much.
    assert series.shares["oolite"].low_percent == pytest.approx(series.shares["oolite"].high_percent)
    low, high = sections[0].shares["oolite"].low_percent, sections[0].shares["oolite"].high_percent
    assert low < sections[0].shares["oolite"].percent < high


def test_few_sections_give_no_interval_rather_than_one_from_their_fields():
    _, series = summed([photograph(f"{s}/{n}.jpg", s, px=(10 * n, 5)) for s in "ABCD" for n in range(9)])
    assert (series.units, series.unit) == (4, "thin sections")
    assert {share.low_percent for share in series.shares.values()} == {None}


def test_the_lights_of_a_view_are_one_field():
    photographs = [photograph(f"{n}_{light}.jpg", px=(10 * n, 5)) for n in range(4) for light in ("PPL", "XPL")]
    (section,), _ = summed(photographs)
    assert (section.photographs, section.units) == (8, 4)
    assert section.shares["oolite"].low_percent is None


@pytest.mark.parametrize(("units", "least"), [(6, 0.88), (20, 0.91)])
def test_the_interval_holds_the_truth_about_nineteen_times_in_twenty(units, least, monkeypatch):
    monkeypatch.setattr("geocamnet.runtime.folder.series.DRAWS", 400)
    rng = np.random.default_rng(3)
    held, naive_held, times = 0, 0, 200
    for seed in range(times):
        shares = rng.beta(2, 6, units)  # sections differ; the pixels of each say so a million times
        totals = rng.integers(500_000, 2_000_000, units)
        amounts = np.rint(shares * totals).astype(np.int64)[:, None]
        low, high = bootstrap_percent(amounts, totals, seed=seed)
        held += low[0] <= 25 <= high[0]
        percent, n = 100 * amounts.sum() / totals.sum(), totals.sum()
        naive_held += abs(percent - 25) <= 196 * np.sqrt(0.25 * 0.75 / n)
    assert least <= held / times <= 0.99
    assert naive_held / times < 0.1  # what an interval from independent pixels would be worth


def test_an_interval_is_the_same_for_the_same_seed_and_none_for_few():
    amounts, totals = np.arange(10)[:, None], np.full(10, 20)
    first, again, other = (bootstrap_percent(amounts, totals, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert bootstrap_percent(amounts[: LEAST_UNITS - 1], totals[: LEAST_UNITS - 1]) is None


def test_student_s_t_has_its_tabled_values():
    for degrees, value in ((4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (1000, 1.962)):
        assert student_t_95(degrees) == pytest.approx(value, abs=0.01)


def test_points_are_shared_out_over_fields_by_their_area():
    photographs = [photograph(f"{n}.jpg", px=(n * 400, 0), shape_hw=(60, 100)) for n in range(6)]
    photographs.append(photograph("large.jpg", px=(0, 60_000), shape_hw=(300, 400)))
    (section,), _ = summed(photographs, points=400)
    assert abs(section.points.points - 400) < 60
    assert list(section.points.counts) == [0, 1, 2]
    for label, name in ((1, "oolite"), (2, "foam"), (0, NO_CLASS)):
        assert section.points.percent[label] == pytest.approx(section.shares[name].percent, abs=6)
        assert section.points.low_percent[label] <= section.shares[name].percent <= section.points.high_percent[label]


def test_points_come_near_the_areas_on_average_over_seeds():
    photographs = [photograph(f"{n}.jpg", px=(n * 100, 800), shape_hw=(40, 50 + n)) for n in range(9)]
    counted = [summed(photographs, points=100, seed=seed)[0][0] for seed in range(120)]
    assert np.mean([one.points.percent[1] for one in counted]) == pytest.approx(
        counted[0].shares["oolite"].percent, abs=1.0
    )
    assert np.mean([one.points.points for one in counted]) == pytest.approx(100, abs=4)


def test_of_very_many_photographs_few_masks_are_read():
    photographs = [photograph(f"{n:04d}.jpg") for n in range(3000)]
    read = []

    def read_mask(image):
        read.append(image)
        return np.ones((5, 10), np.uint8)  # stored at half the size

    (section,), _ = sum_up(photographs, NAMES, read_mask=read_mask, points=300)
    assert len(read) < 420
    assert section.points.points == pytest.approx(300, abs=60)
    assert section.points.counts[1] == section.points.points


def test_where_a_mask_is_lost_no_points_are_counted():
    (section,), _ = sum_up([photograph("a.jpg")], NAMES, read_mask=lambda image: None)
    assert section.points is None
    assert section.shares["oolite"].px == 50


def test_a_section_of_one_pixel_has_one_point():
    (section,), _ = summed([photograph("a.jpg", px=(1, 0), shape_hw=(1, 1))])
    assert section.points.counts == {0: 0, 1: 1, 2: 0}


@given(shape_hw=st.tuples(st.integers(1, 60), st.integers(1, 60)), step=st.floats(1, 90), seed=st.integers(0, 99))
def test_a_grid_meets_no_pixel_twice_and_none_outside(shape_hw, step, seed):
    for found, size in zip(grid_points(shape_hw, step, np.random.default_rng(seed)), shape_hw, strict=True):
        assert (np.diff(found) > 0).all()
        assert ((found >= 0) & (found < size)).all()


@pytest.mark.parametrize(("shape_hw", "step"), [((7, 11), 3.3), ((2, 40), 5.0), ((3, 4), 8.0), ((50, 1), 2.0)])
def test_every_pixel_is_met_as_often_as_any_other(shape_hw, step):
    met = np.zeros(shape_hw)
    rng = np.random.default_rng(0)
    for _ in range(6000):
        met[np.ix_(*grid_points(shape_hw, step, rng))] += 1
    assert met.mean() / 6000 == pytest.approx(1 / step**2, rel=0.1)
    assert met.std() / met.mean() < 0.2


def test_a_grid_of_no_points_or_pixels_is_refused():
    for total, points in ((0, 10), (10, 0)):
        with pytest.raises(DataError, match="received 0"):
            grid_step(total, points)
    with pytest.raises(DataError, match="points must be at least 1; received 0"):
        summed([photograph("a.jpg")], points=0)
    with pytest.raises(DataError, match="total >= 1"):
        tally({0: 0})


def dyed(image, dye, pore_px, section="S1", **more):
    return photograph(image, section, dye=dye, pore_px=pore_px, **more)


def test_porosity_is_over_all_photographs_that_can_show_dye_named_or_not():
    (section,), _ = summed(
        [
            dyed("a.jpg", Dye.VISIBLE, 40),
            dyed("b.jpg", Dye.NOT_VISIBLE, 0),  # its section is dyed: here the rock is tight
            dyed("c.jpg", Dye.VISIBLE, 20, label=NOT_SURE),
            dyed("d.jpg", Dye.GREY, None),
            dyed("e_XPL.jpg", Dye.NOT_PLANE, None),
        ]
    )
    found = section.porosity
    assert (found.measured_on, found.total_px, found.share.px) == (3, 600, 60)
    assert found.share.percent == 10
    assert found.photographs == {Dye.VISIBLE: 2, Dye.NOT_VISIBLE: 1, Dye.GREY: 1, Dye.NOT_PLANE: 1}


@pytest.mark.parametrize(
    ("dyes", "why"),
    [
        ([Dye.GREY, Dye.GREY], Dye.GREY.value),
        ([Dye.NOT_VISIBLE, Dye.GREY], Dye.NOT_VISIBLE.value),
        ([Dye.NOT_PLANE], Dye.NOT_PLANE.value),
    ],
)
def test_without_dye_porosity_is_not_0_but_not_measured(dyes, why):
    photographs = [dyed(f"{n}.jpg", one, 0 if one is Dye.NOT_VISIBLE else None) for n, one in enumerate(dyes)]
    (section,), series = summed(photographs)
    for one in (section, series):
        assert one.porosity.share is None
        assert one.porosity.why_not == why


def test_sections_without_dye_do_not_thin_the_porosity_of_the_series():
    photographs = [dyed("a.jpg", Dye.VISIBLE, 40, "A"), dyed("b.jpg", Dye.NOT_VISIBLE, 0, "B")]
    _, series = summed(photographs)
    assert series.porosity.share.percent == 20
    assert (series.porosity.measured_on, series.porosity.units) == (1, 1)


def test_porosity_has_an_interval_from_whole_fields():
    photographs = [dyed(f"{n}.jpg", Dye.VISIBLE, 10 * n) for n in range(1, 9)]
    (section,), _ = summed(photographs)
    share = section.porosity.share
    assert 0 < share.low_percent < share.percent < share.high_percent < 50
    assert section.porosity.units == 8


def test_porosity_of_several_sections_rests_on_sections_where_all_are_refused_too():
    photographs = [dyed(f"{s}{n}.jpg", Dye.VISIBLE, 10 + n, s, label=NOT_SURE) for s in "AB" for n in range(9)]
    _, series = summed(photographs)
    assert series.porosity.units == 2
    assert series.porosity.share.low_percent is None


def test_porosity_not_asked_for_is_not_there():
    (section,), series = summed([photograph("a.jpg")])
    assert section.porosity is series.porosity is None
