import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from geocamnet.errors import DataError
from geocamnet.train.localise import (
    Sample,
    choose_threshold,
    energy_pointing,
    equivariance_error,
    iou_at,
    localise,
    pixel_average_precision,
    pointing_game,
)
from geocamnet.train.mosaics import mosaics
from geocamnet.train.plain_heatmaps import PLAIN_HEATMAPS


def drawn_heatmap(seed, shape=(12, 17)):
    rng = np.random.default_rng(seed)
    heatmap = (rng.integers(0, 21, shape) / 20).astype(np.float32)
    inside = rng.random(shape) < 0.4
    inside[0, 0], inside[0, 1] = True, False
    return heatmap, inside


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_pixel_average_precision_equals_scikit_learn_where_scores_fall_on_the_bins(seed):
    heatmap, inside = drawn_heatmap(seed)
    expected = average_precision_score(inside.ravel(), heatmap.ravel())
    # 20 / 20 and 999 / 1000 share the last bin, which no other score falls into
    assert pixel_average_precision(heatmap, inside) == pytest.approx(expected)


def test_scores_count_scored_pixels_only():
    heatmap, inside = drawn_heatmap(3)
    scored = np.random.default_rng(9).random(heatmap.shape) < 0.6
    scored[0, :2] = True
    for score in (pixel_average_precision, energy_pointing, pointing_game):
        cut = score(heatmap[scored][None], inside[scored][None])
        assert score(heatmap, inside, scored=scored) == pytest.approx(cut)
    assert iou_at(heatmap, inside, 0.5, scored=scored) == pytest.approx(
        iou_at(heatmap[scored][None], inside[scored][None], 0.5)
    )


def test_energy_pointing_and_iou_equal_loops_over_the_pixels():
    heatmap, inside = drawn_heatmap(4)
    pixels = list(np.ndindex(heatmap.shape))
    within = sum(float(heatmap[p]) for p in pixels if inside[p])
    assert energy_pointing(heatmap, inside) == pytest.approx(within / sum(float(heatmap[p]) for p in pixels))
    hottest = [p for p in pixels if heatmap[p] == max(heatmap[q] for q in pixels)]
    assert pointing_game(heatmap, inside) == pytest.approx(sum(inside[p] for p in hottest) / len(hottest))
    both = sum(heatmap[p] >= 0.5 and inside[p] for p in pixels)
    either = sum(heatmap[p] >= 0.5 or inside[p] for p in pixels)
    assert iou_at(heatmap, inside, 0.5) == pytest.approx(both / either)


def test_a_blank_heatmap_gets_chance_everywhere():
    _, inside = drawn_heatmap(5)
    blank = np.zeros(inside.shape, np.float32)
    for score in (pixel_average_precision, energy_pointing, pointing_game):
        assert score(blank, inside) == pytest.approx(inside.mean())


def test_a_perfect_heatmap_gets_one_everywhere():
    _, inside = drawn_heatmap(6)
    perfect = inside.astype(np.float32)
    for score in (pixel_average_precision, energy_pointing, pointing_game):
        assert score(perfect, inside) == 1
    assert iou_at(perfect, inside, 0.5) == 1


def test_the_threshold_is_the_best_of_all_tried():
    counts = []
    cases = [drawn_heatmap(seed) for seed in (7, 8)]
    for heatmap, inside in cases:
        number = np.minimum(np.round(heatmap * 1000).astype(int), 999)
        counts.append([np.bincount(number[where], minlength=1000) for where in (inside, ~inside)])
    inside_counts, outside_counts = (np.stack([one[k] for one in counts]) for k in (0, 1))
    chosen = choose_threshold(inside_counts, outside_counts)

    def mean_iou(threshold):
        return np.mean([iou_at(heatmap, inside, threshold) for heatmap, inside in cases])

    assert mean_iou(chosen) == pytest.approx(max(mean_iou(k / 20 - 1e-4) for k in range(21)))


def halves(seed, classes=(0, 1), size=64, share=0.5):
    """Two textures of the same brightness side by side."""
    rng = np.random.default_rng(seed)
    grey = np.full((size, size), 120, np.uint8)
    grey = np.clip(grey + rng.normal(0, 20, grey.shape), 0, 255).astype(np.uint8)
    mask = np.full((size, size), classes[1] + 1, np.uint8)
    mask[:, : round(size * share)] = classes[0] + 1
    if seed % 2:
        mask = mask[:, ::-1].copy()
    return Sample(np.repeat(grey[..., None], 3, axis=2), mask, classes)


def knowing(sample):
    """Heatmaps (3, h, w) at a quarter of the photograph's size, mostly right."""
    small = cv2.resize(sample.mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST)
    return np.stack([0.1 + 0.8 * (small == c + 1) for c in range(3)]).astype(np.float32)


def test_a_model_that_knows_stands_above_every_plain_heatmap_in_the_table():
    judged = localise(
        (halves(s) for s in range(4)),
        (halves(s) for s in range(10, 16)),
        knowing,
        ["a", "b", "c"],
        others={"upside_down": lambda sample: 1 - knowing(sample)},
    )
    table = judged["table"]
    assert list(table)[:2] == ["model", "upside_down"]
    assert set(table) == {"model", "upside_down", *PLAIN_HEATMAPS}
    assert judged["area_share"] == pytest.approx(0.5)
    assert judged["n_cases"] == 12
    for figure in ("miou", "pixel_ap", "energy", "pointing"):
        assert all(table["model"][figure] > table[name][figure] for name in table if name != "model"), figure
    assert table["model"]["miou"] > 0.9
    assert table["model"]["energy"] == pytest.approx(0.9, abs=0.03)
    assert set(table["model"]["per_class"]) == {"a", "b"}
    json.dumps(judged, allow_nan=False)


def test_pooled_iou_equals_iou_over_all_photographs_laid_side_by_side():
    samples = [halves(s, share=0.3) for s in range(5)]
    judged = localise(samples, samples, knowing, ["a", "b", "c"])["table"]["model"]
    heat = np.concatenate([cv2.resize(knowing(s)[0], (64, 64)) for s in samples])
    truth = np.concatenate([s.mask == 1 for s in samples])
    assert judged["per_class"]["a"]["iou"] == pytest.approx(iou_at(heat, truth, judged["threshold"]), abs=0.01)


def test_validation_figures_are_those_of_the_validation_samples_and_no_others():
    val, test = ([halves(s, share=share) for s in range(3)] for share in (0.3, 0.6))
    of_both = localise(val, test, knowing, ["a", "b", "c"])["table"]
    of_val = localise(val, val, knowing, ["a", "b", "c"])["table"]
    for method, row in of_both.items():
        expected = {figure: of_val[method][figure] for figure in ("miou", "pixel_ap", "energy")}
        assert row["validation"] == pytest.approx(expected, abs=1e-3)  # SIMD rounds by memory alignment
    assert of_both["centre"]["validation"]["pixel_ap"] != of_both["centre"]["pixel_ap"]


def test_a_class_that_fills_the_picture_is_not_judged():
    full = halves(0, share=0.97)
    with pytest.raises(DataError, match="can be judged in the test"):
        localise([halves(0)], [Sample(full.image, full.mask, (0,))], knowing, ["a", "b", "c"])


def test_heatmaps_that_are_not_what_they_must_be_are_refused():
    with pytest.raises(DataError, match="outside"):
        localise([halves(0)], [halves(1)], lambda s: knowing(s) * 3, ["a", "b", "c"])
    with pytest.raises(DataError, match="shape"):
        localise([halves(0)], [halves(1)], lambda s: knowing(s)[:2], ["a", "b", "c"])


def test_heatmaps_may_come_for_the_classes_of_a_sample_alone():
    def of_labels(sample):
        return {c: knowing(sample)[c] for c in sample.labels}

    every, own = (localise([halves(0)], [halves(1)], maps, ["a", "b", "c"]) for maps in (knowing, of_labels))
    assert own["table"]["model"] == every["table"]["model"]


@pytest.mark.parametrize("name", PLAIN_HEATMAPS)
@pytest.mark.parametrize("shape_hw", [(50, 90), (33, 33)])
def test_plain_heatmaps_lie_between_0_and_1_and_are_the_same_again(name, shape_hw):
    image = np.random.default_rng(0).integers(0, 256, (*shape_hw, 3), dtype=np.uint8)
    heatmap = PLAIN_HEATMAPS[name](image)
    assert heatmap.shape == shape_hw
    assert heatmap.dtype == np.float32
    assert 0 <= heatmap.min() <= heatmap.max() <= 1
    assert np.allclose(heatmap, PLAIN_HEATMAPS[name](image), atol=1e-5)  # SIMD rounds by memory alignment


def test_grey_heatmaps_are_the_grey_level_and_edges_are_hot_at_edges():
    image = np.zeros((80, 120, 3), np.uint8)
    image[:, 60:] = 255
    assert PLAIN_HEATMAPS["grey"](image)[0, [0, 119]].tolist() == [0, 1]
    assert PLAIN_HEATMAPS["inverse_grey"](image)[0, [0, 119]].tolist() == [1, 0]
    edge = PLAIN_HEATMAPS["edges"](image)
    assert abs(int(edge[40].argmax()) - 60) <= 1
    middle = PLAIN_HEATMAPS["centre"](image)
    assert middle[39:41, 59:61].min() == middle.max()


def flat_photographs(classes=4, each=3):
    rng = np.random.default_rng(0)
    return {
        c: [
            np.clip(40 + 40 * c + rng.normal(0, 5 + 4 * c, (40, 50, 1)), 0, 255).astype(np.uint8).repeat(3, axis=2)
            for _ in range(each)
        ]
        for c in range(classes)
    }


def test_mosaics_show_four_classes_with_the_exact_mask_and_one_brightness():
    samples = list(mosaics(flat_photographs(), cell_px=32, n=6, seed=0))
    assert len(samples) == 6
    for sample in samples:
        assert sample.image.shape == (64, 64, 3)
        assert sample.labels == (0, 1, 2, 3)
        for top in (0, 32):
            for left in (0, 32):
                cell = sample.image[top : top + 32, left : left + 32, 0].astype(float)
                assert len(np.unique(sample.mask[top : top + 32, left : left + 32])) == 1
                assert cell.mean() == pytest.approx(128, abs=2)
                assert cell.std() == pytest.approx(32, abs=2)


def test_cells_of_a_mosaic_are_cut_from_photographs_of_their_class():
    photographs = flat_photographs()
    for sample in mosaics(photographs, cell_px=32, n=3, seed=1, equalise=False):
        for c in sample.labels:
            assert sample.image[sample.mask == c + 1].mean() == pytest.approx(40 + 40 * c, abs=4)


def test_mosaics_are_the_same_for_a_seed_and_show_classes_equally_often():
    photographs = flat_photographs(classes=3)
    first = list(mosaics(photographs, cell_px=16, n=9, seed=5))
    again = list(mosaics(photographs, cell_px=16, n=9, seed=5))
    other = list(mosaics(photographs, cell_px=16, n=9, seed=6))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))
    cells = np.bincount(np.concatenate([s.mask[[0, 0, 31, 31], [0, 31, 0, 31]] for s in first]), minlength=4)
    assert cells[1:].tolist() == [12, 12, 12]
    assert all(s.labels == (0, 1, 2) for s in first)


def test_voronoi_mosaics_have_two_to_four_cells_of_one_brightness_and_the_exact_mask():
    shares, counts, places = [], set(), set()
    for sample in mosaics(flat_photographs(), cell_px=32, n=24, seed=0, borders="voronoi"):
        assert sample.image.shape == (64, 64, 3)
        found = [sample.mask == c + 1 for c in sample.labels]
        assert sum(cell.sum() for cell in found) == 64 * 64
        counts.add(len(found))
        places.add(sample.mask.tobytes())
        for cell in found:
            shares.append(cell.mean())
            assert sample.image[cell].mean() == pytest.approx(128, abs=2)
            assert sample.image[cell].std() == pytest.approx(32, abs=2)
    assert counts == {2, 3, 4}
    assert len(places) == 24
    assert 0.1 <= min(shares) < max(shares) < 0.9


def test_cells_of_a_voronoi_mosaic_are_convex_and_of_photographs_of_their_class():
    for sample in mosaics(flat_photographs(), cell_px=32, n=8, seed=1, equalise=False, borders="voronoi"):
        for c in sample.labels:
            cell = (sample.mask == c + 1).astype(np.uint8)
            assert sample.image[cell > 0].mean() == pytest.approx(40 + 40 * c, abs=4)
            hull = cv2.convexHull(np.argwhere(cell)[:, ::-1].astype(np.int32))
            filled = cv2.fillConvexPoly(np.zeros_like(cell), hull, 1)
            assert np.count_nonzero(filled != cell) <= 0.03 * cell.sum() + 8  # pixels on the border itself


def test_voronoi_mosaics_are_the_same_for_a_seed_and_show_classes_equally_often():
    first, again = (list(mosaics(flat_photographs(), cell_px=16, n=40, seed=5, borders="voronoi")) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) and a.labels == b.labels for a, b in zip(first, again, strict=True))
    times = np.bincount([c for sample in first for c in sample.labels])
    assert times.max() - times.min() <= 2


def test_unknown_borders_are_refused():
    with pytest.raises(DataError, match=r"Unknown kind of borders 'vornoi'.*Did you mean 'voronoi'"):
        next(mosaics(flat_photographs(), cell_px=8, n=1, seed=0, borders="vornoi"))


def test_small_photographs_are_enlarged_and_functions_are_called():
    small = {0: [lambda: np.zeros((10, 30, 3), np.uint8)], 1: [np.full((9, 9, 3), 7, np.uint8)]}
    (sample,) = mosaics(small, cell_px=16, n=1, seed=0)
    assert sample.image.shape == (32, 32, 3)


def test_mosaics_of_one_class_are_refused():
    with pytest.raises(DataError, match="two classes"):
        list(mosaics({0: [np.zeros((9, 9, 3), np.uint8)], 1: []}, cell_px=8, n=1, seed=0))


def test_maps_that_turn_with_the_stage_have_no_equivariance_error(tiny_card):
    image = np.random.default_rng(0).integers(0, 256, (25, 33, 3), dtype=np.uint8)
    card = replace(tiny_card, map_stride=8, long_side_px=None)

    def turning(picture):
        return np.zeros(3), cv2.blur(picture, (7, 7))[::8, ::8].transpose(2, 0, 1).astype(np.float32)

    def fixed(picture):
        probabilities, maps = turning(picture)
        return probabilities, maps + 50 * np.arange(maps.shape[2])

    assert equivariance_error(turning, image, card) == pytest.approx(0, abs=0.01)
    assert equivariance_error(fixed, image, card) > 0.5
    assert equivariance_error(lambda picture: (np.zeros(1), np.ones((1, 2, 2))), image, card) == 0
