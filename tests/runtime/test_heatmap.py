from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocamnet.card import ClassCard, ModelCard, TextureCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import scaled_size_hw
from geocamnet.runtime import heatmap as heatmap_file
from geocamnet.runtime.heatmap import enhance, guided_filter, resize_heatmap, scale_maps, texture_guide, threshold
from oracles import bilinear, guided_filter_at, intersection_over_union

CARD = ModelCard(
    name="drawn",
    classes=tuple(ClassCard(name, name, (1, 2, 3)) for name in ("oolite", "vug", "breccia")),
    labels="single",
    architecture="none",
    parameters=0,
    map_stride=16,
    long_side_px=320,
    um_per_px=None,
    map_scale=(1.0, 2.0, 4.0),
    class_bias=(0.0, 0.0, 0.0),
)


def two_textures(side=192):
    """A disc of noise in lamination, equally bright and varied; its mask; a coarse map a third of a cell off."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    truth = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 3.2) ** 2
    noise = 128 + 40 * np.sign(rng.normal(size=(side, side)))
    lamination = 128 + 57 * np.sin(rows / 5)
    moved = np.roll(truth, side // 18, axis=1).astype(np.float32)
    coarse = cv2.resize(moved, (6, 6), interpolation=cv2.INTER_AREA)
    even = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.where(truth, noise, lamination).astype(np.uint8), truth, even


def test_maps_of_one_label_lose_what_all_classes_share():
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(scale_maps(maps, CARD), scale_maps(maps + 7, CARD), atol=1e-5)
    expected = np.clip((maps - maps.mean(axis=0)) / np.array([1, 2, 4])[:, None, None], 0, 1)
    np.testing.assert_allclose(scale_maps(maps, CARD), expected, atol=1e-6)


def test_maps_of_several_labels_are_scaled_as_they_are():
    maps = np.full((3, 2, 2), 1, np.float32)
    heat = scale_maps(maps, replace(CARD, labels="multi"))
    assert heat[:, 0, 0].tolist() == [1.0, 0.5, 0.25]
    assert heat.dtype == np.float32


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_no_evidence_is_no_heat(labels):
    assert not scale_maps(np.zeros((3, 4, 4), np.float32), replace(CARD, labels=labels)).any()


def test_heat_never_depends_on_the_rest_of_the_photograph():
    maps = np.random.default_rng(1).normal(size=(3, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(scale_maps(maps, CARD)[:, :3], scale_maps(maps[:, :3], CARD))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_refused(bad):
    maps = np.zeros((3, 2, 2), np.float32)
    maps[1, 1, 1] = bad
    with pytest.raises(ModelError, match="not finite"):
        scale_maps(maps, CARD)


def test_maps_of_another_number_of_classes_are_refused():
    with pytest.raises(ModelError, match=r"\(3, h, w\).*received \(2, 4, 4\)"):
        scale_maps(np.zeros((2, 4, 4), np.float32), CARD)


@settings(max_examples=25, deadline=None)
@given(
    shape_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    stride=st.integers(1, 9),
    long_side_px=st.none() | st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_placing_equals_looking_up_every_pixel(shape_hw, stride, long_side_px, seed):
    card = replace(CARD, map_stride=stride, long_side_px=long_side_px)
    seen_hw = shape_hw if long_side_px is None else scaled_size_hw(shape_hw, long_side_px)
    cells_hw = [-(-side // stride) for side in seen_hw]
    heat = np.random.default_rng(seed).random(cells_hw).astype(np.float32)
    placed = resize_heatmap(heat, shape_hw, card)
    assert placed.dtype == np.float32
    np.testing.assert_allclose(placed, bilinear(heat, shape_hw, stride, seen_hw), atol=1e-5)


@pytest.mark.parametrize("products", [1, 700, 1 << 20])
def test_placing_is_the_same_in_strips_of_any_height(monkeypatch, products):
    maps = np.random.default_rng(0).random((3, 7, 9)).astype(np.float32)
    card = replace(CARD, long_side_px=None)
    expected = np.stack([bilinear(one, (100, 140), 16, (100, 140)) for one in maps])
    monkeypatch.setattr(heatmap_file, "_STRIP_PRODUCTS", products)
    np.testing.assert_allclose(heatmap_file.place_maps(maps, (100, 140), card), expected, atol=1e-5)


def test_a_cell_lies_on_the_pixel_it_is_centred_on():
    heat = np.zeros((3, 4), np.float32)
    heat[1, 2] = 1
    placed = resize_heatmap(heat, (48, 64), replace(CARD, long_side_px=None))
    assert np.unravel_index(placed.argmax(), placed.shape) == (16, 32)
    assert placed[16, 32] == pytest.approx(1)
    assert placed[16, 24] == pytest.approx(0.5)
    assert not placed[:, 48:].any()


def test_placing_keeps_a_heatmap_s_symmetry():
    heat = np.array([[0, 1, 0]], np.float32)
    placed = resize_heatmap(heat, (5, 33), replace(CARD, long_side_px=None))
    np.testing.assert_allclose(placed, placed[:, ::-1], atol=1e-6)


def test_a_photograph_scaled_by_the_network_is_placed_by_what_the_network_saw():
    heat = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    large, seen = (resize_heatmap(heat, (side, side), CARD) for side in (640, 320))
    np.testing.assert_allclose(cv2.resize(large, (320, 320), interpolation=cv2.INTER_AREA), seen, atol=0.05)


@settings(max_examples=15, deadline=None)
@given(value=st.floats(0, 1, width=32), height=st.integers(1, 40), width=st.integers(1, 40))
def test_even_heat_stays_even_whatever_the_photograph(value, height, width):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    heat = np.full((height, width), value, np.float32)
    np.testing.assert_allclose(enhance(heat, image), heat, atol=1e-6)


def test_no_heat_stays_no_heat():
    image, _, _ = two_textures()
    assert not enhance(np.zeros(image.shape, np.float32), image).any()


def test_strength_blends_from_the_heatmap_to_the_refined_one():
    image, _, coarse = two_textures(96)
    none, half, full = (enhance(coarse, image, strength=strength) for strength in (0, 0.5, 1))
    np.testing.assert_array_equal(none, coarse)
    assert np.abs(full - coarse).max() > 0.1
    inside = (full > 0) & (full < 1)  # elsewhere the full strength was cut at 0 or 1
    np.testing.assert_allclose(half[inside], ((coarse + full) / 2)[inside], atol=1e-5)


def test_brightness_moved_by_a_whole_level_changes_nothing():
    image, _, coarse = two_textures(96)
    image = np.clip(image, 16, 208)
    card = TextureCard(low=0, high=256)
    before, after = (enhance(coarse, one, texture=card) for one in (image, image + 32))
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_texture_finds_a_boundary_that_brightness_does_not_show():
    image, truth, coarse = two_textures()
    assert abs(float(image[truth].mean()) - float(image[~truth].mean())) < 4
    radius = 32
    refined = enhance(coarse, image, radius_px=radius)
    blurred = (cv2.blur(image, (15, 15)) / np.float32(255))[..., None]
    by_brightness = guided_filter(coarse, blurred, window_px=15, radius_px=radius)
    unrefined, by_texture, by_grey = (
        intersection_over_union(heat >= 0.5, truth) for heat in (coarse, refined, by_brightness)
    )
    assert by_texture > unrefined + 0.08
    assert by_texture > by_grey + 0.08
    assert by_texture > 0.9


@pytest.mark.parametrize(("channels", "strip_pixels"), [(1, 1 << 15), (3, 1 << 15), (3, 50), (4, 1)])
def test_the_guided_filter_is_a_least_squares_fit_in_every_window(monkeypatch, channels, strip_pixels):
    monkeypatch.setattr(heatmap_file, "_STRIP_PIXELS", strip_pixels)
    rng = np.random.default_rng(channels)
    guide = rng.random((19, 26, channels)).astype(np.float32)
    heat = rng.random((19, 26)).astype(np.float32)
    found = guided_filter(heat, guide, window_px=3, radius_px=2)
    for row, column in [(0, 0), (18, 25), (9, 13), (0, 12), (10, 1)]:
        expected = guided_filter_at(heat, guide, row, column, radius_px=2, regularisation=heatmap_file.REGULARISATION)
        assert found[row, column] == pytest.approx(expected, abs=1e-4)


def test_the_guide_lies_in_zero_to_one_at_any_number_of_levels():
    extremes = (np.indices((40, 40)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for image in (extremes, np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)):
        for levels in (2, 16, 256):
            guide = texture_guide(image, TextureCard(levels=levels))
            assert guide.shape == (40, 40, 3)
            assert guide.min() >= 0
            assert guide.max() <= 1 + 1e-6


def test_turning_the_stage_turns_the_refined_heatmap():
    image, _, coarse = two_textures(90)
    turned = enhance(np.rot90(coarse).copy(), np.rot90(image).copy(), radius_px=15)
    np.testing.assert_allclose(turned, np.rot90(enhance(coarse, image, radius_px=15)), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": np.zeros((9, 8, 3), np.uint8)}, "must have one size"),
        ({"strength": 1.5}, "strength must be 0 to 1"),
        ({"radius_px": 0}, "radius_px must be at least 1"),
        ({"heatmap": np.full((9, 9), 2, np.float32)}, "received 2 to 2"),
        ({"heatmap": np.full((9, 9), np.nan, np.float32)}, "received nan"),
        ({"heatmap": np.zeros((9, 9), np.uint8)}, "received uint8"),
        ({"heatmap": np.zeros((0, 9), np.float32)}, r"\(0, 9\)"),
    ],
)
def test_what_cannot_be_refined_is_refused_with_what_was_received(change, said):
    arguments = {"heatmap": np.zeros((9, 9), np.float32), "image": np.zeros((9, 9, 3), np.uint8), **change}
    with pytest.raises(DataError, match=said):
        enhance(arguments.pop("heatmap"), arguments.pop("image"), **arguments)


def test_the_threshold_is_in_the_mask_and_no_evidence_never_is():
    heat = np.array([[0, 0.49, 0.5, 1]], np.float32)
    assert threshold(heat).tolist() == [[False, False, True, True]]
    assert threshold(heat, 1).tolist() == [[False, False, False, True]]
    with pytest.raises(DataError, match="above 0"):
        threshold(heat, 0)
