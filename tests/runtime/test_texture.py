from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.runtime import window_sums
from geocamnet.runtime.texture import ANGLES_DEG, FEATURES, pair_offset, quantise, texture_maps, window_px_of
from oracles import glcm_features, window_around


def photograph(height, width, seed=0):
    """Half even, half rough: windows with and without variance."""
    rng = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (height, width), dtype=np.uint8), (3, 3), 0)
    grey = grey.reshape(height, width)
    grey[:, : width // 3] = 77
    return grey


def structured(height, width, kind):
    """Patterns with few pairs of levels, with all, with jumps from end to end, and with long gradients."""
    rows, columns = np.indices((height, width))
    return {
        "checkerboard": (rows + columns) % 2 * 255,
        "stripes": columns // 2 % 2 * 255,
        "gradient": (rows * 5 + columns * 3) % 256,
        "rings": 127 + 127 * np.cos(np.hypot(rows - height / 2, columns - width / 2)),
        "noise": np.random.default_rng(5).integers(0, 256, (height, width)),
        "even": np.full((height, width), 200),
    }[kind].astype(np.uint8)


def assert_equals_scikit_image(image, *, levels, window_px, angles_deg=(0, 45, 90, 135), distance_px=1, places=8):
    maps = texture_maps(image, levels=levels, window_px=window_px, angles_deg=angles_deg, distance_px=distance_px)
    quantised = quantise(image, levels=levels, low=0, high=255)
    height, width = quantised.shape
    rng = np.random.default_rng(7)
    corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    inside = [(int(rng.integers(height)), int(rng.integers(width))) for _ in range(places)]
    for row, column in corners + inside:
        crop = window_around(quantised, row, column, window_px)
        expected = glcm_features(crop, levels=levels, angles_deg=angles_deg, distance_px=distance_px)
        for name, value in expected.items():
            got = maps[name][row, column]
            assert got == pytest.approx(value, rel=1e-5, abs=1e-5), (name, row, column)


@pytest.mark.parametrize(("levels", "window_px"), [(2, 3), (8, 5), (16, 15), (17, 15), (64, 17), (256, 7)])
def test_every_feature_equals_scikit_image_at_sampled_and_clipped_windows(levels, window_px):
    assert_equals_scikit_image(photograph(40, 53), levels=levels, window_px=window_px)


@pytest.mark.parametrize("kind", ["checkerboard", "stripes", "gradient", "rings", "noise", "even"])
@pytest.mark.parametrize(("levels", "window_px", "distance_px"), [(8, 5, 1), (16, 15, 2), (32, 9, 3)])
def test_structured_images_equal_scikit_image(kind, levels, window_px, distance_px):
    assert_equals_scikit_image(
        structured(37, 29, kind), levels=levels, window_px=window_px, distance_px=distance_px, places=4
    )


@pytest.mark.parametrize("angle", ANGLES_DEG)
def test_every_direction_alone_equals_scikit_image(angle):
    assert_equals_scikit_image(photograph(31, 44, seed=4), levels=8, window_px=7, angles_deg=(angle,))


@pytest.mark.parametrize(("height", "width"), [(1, 40), (40, 1), (1, 1), (2, 3), (1, 4), (4, 1), (2, 2), (5, 60)])
@pytest.mark.parametrize("window_px", [3, 5, 31])
def test_images_a_pixel_wide_or_smaller_than_the_window_equal_scikit_image(height, width, window_px):
    assert_equals_scikit_image(photograph(height, width, seed=2), levels=8, window_px=window_px)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    window_px=st.sampled_from([3, 5, 9, 31]),
    levels=st.sampled_from([2, 5, 16, 33, 256]),
    angles_deg=st.lists(st.sampled_from([0, 45, 90, 135]), min_size=1, max_size=4, unique=True),
    distance_px=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_any_size_angle_and_distance_equals_scikit_image(
    height, width, window_px, levels, angles_deg, distance_px, seed
):
    assert_equals_scikit_image(
        photograph(height, width, seed),
        levels=levels,
        window_px=window_px,
        angles_deg=tuple(angles_deg),
        distance_px=distance_px,
        places=3,
    )


@pytest.mark.parametrize("distance_px", [3, 8, 14])
def test_a_distance_beyond_half_the_window_still_equals_scikit_image(distance_px):
    assert_equals_scikit_image(photograph(33, 29), levels=8, window_px=15, distance_px=distance_px)


def test_a_photograph_measured_in_several_strips_has_no_seams():
    image = photograph(700, 400, seed=3)
    whole = texture_maps(image, levels=8, window_px=9)
    part = texture_maps(image[100:260], levels=8, window_px=9)
    for name in FEATURES:
        np.testing.assert_allclose(whole[name][104:256], part[name][4:156], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("strip_px", "windows_per_strip"), [(60, 0), (200, 0), (1000, 0), (1, 1), (2000, 1)])
@pytest.mark.parametrize(("window_px", "levels"), [(5, 8), (15, 16), (9, 40)])
def test_maps_do_not_depend_on_how_the_image_is_cut_into_strips(
    monkeypatch, strip_px, windows_per_strip, window_px, levels
):
    image = photograph(83, 37, seed=6)  # no strip divides a prime height
    whole = texture_maps(image, window_px=window_px, levels=levels)
    monkeypatch.setattr(window_sums, "_STRIP_PX", strip_px)
    monkeypatch.setattr(window_sums, "_WINDOWS_PER_STRIP", windows_per_strip)
    assert len(list(window_sums.strips(image, window_px))) > 1
    cut = texture_maps(image, window_px=window_px, levels=levels)
    for name in FEATURES:
        np.testing.assert_allclose(cut[name], whole[name], rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_asked_for_alone_is_the_same_as_among_all(name):
    image = photograph(45, 52, seed=8)
    among_all = texture_maps(image, window_px=7, levels=16)[name]
    alone = texture_maps(image, features=(name,), window_px=7, levels=16)[name]
    np.testing.assert_allclose(alone, among_all, rtol=1e-6, atol=1e-6)


def test_one_call_does_not_change_what_another_returned():
    images = [photograph(60, 70, seed) for seed in range(3)]
    maps = [texture_maps(image, window_px=5, levels=8) for image in images]
    kept = [{name: values.copy() for name, values in one.items()} for one in maps]
    texture_maps(photograph(33, 90, 9), window_px=9, levels=64)
    for one, copies, image in zip(maps, kept, images, strict=True):
        again = texture_maps(image, window_px=5, levels=8)
        for name in FEATURES:
            np.testing.assert_array_equal(one[name], copies[name])
            np.testing.assert_array_equal(one[name], again[name])


def test_threads_do_not_disturb_each_other():
    images = [photograph(120, 110, seed) for seed in range(8)]
    expected = [texture_maps(image, window_px=7, levels=16) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: texture_maps(image, window_px=7, levels=16), images))
    for one, other in zip(found, expected, strict=True):
        for name in FEATURES:
            np.testing.assert_array_equal(one[name], other[name])


def test_the_photograph_is_left_as_it_was_even_if_it_is_part_of_a_larger_one():
    large = photograph(60, 80, seed=1)
    before, part = large.copy(), large[5:50:2, 7:70]
    found = texture_maps(part, window_px=5, levels=8)
    expected = texture_maps(part.copy(), window_px=5, levels=8)
    np.testing.assert_array_equal(large, before)
    for name in FEATURES:
        np.testing.assert_array_equal(found[name], expected[name])


def test_every_value_is_in_its_stated_range():
    levels = 16
    highest = {
        "contrast": (levels - 1) ** 2, "dissimilarity": levels - 1, "homogeneity": 1, "mean": levels - 1,
        "variance": (levels - 1) ** 2 / 4, "correlation": 1, "energy": 1, "entropy": 2 * np.log(levels),
    }  # fmt: skip
    for kind in ("checkerboard", "stripes", "gradient", "rings", "noise", "even"):
        for name, values in texture_maps(structured(40, 33, kind), window_px=9, levels=levels).items():
            lowest = -1 if name == "correlation" else 0
            assert values.dtype == np.float32, name
            assert values.min() >= lowest - 1e-6, (kind, name)
            assert values.max() <= highest[name] * (1 + 1e-6), (kind, name)


def test_counts_beyond_16_bits_still_equal_scikit_image():
    image = structured(262, 262, "noise")
    window_px, levels = 523, 3
    maps = texture_maps(image, window_px=window_px, levels=levels, angles_deg=(0,))
    expected = glcm_features(quantise(image, levels=levels, low=0, high=255), levels=levels, angles_deg=(0,))
    for name in FEATURES:  # the window holds the whole image from everywhere
        np.testing.assert_allclose(maps[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_large_window_with_many_levels_does_not_overflow():
    rng = np.random.default_rng(0)
    image = np.where(rng.random((220, 220)) < 0.5, 0, 255).astype(np.uint8)
    names = ("contrast", "variance", "mean", "correlation")
    maps = texture_maps(image, features=names, window_px=201, levels=256, angles_deg=(0,))
    crop = window_around(image, 110, 110, 201)
    expected = glcm_features(crop, levels=256, angles_deg=(0,))
    for name in names:
        assert maps[name][110, 110] == pytest.approx(expected[name], rel=1e-5, abs=1e-5)


def test_known_values_of_a_fine_checkerboard():
    checker = np.indices((20, 20)).sum(axis=0) % 2 * 255
    maps = texture_maps(checker.astype(np.uint8), levels=2, window_px=5, angles_deg=(0,))
    centre = {name: float(values[10, 10]) for name, values in maps.items()}
    assert centre == pytest.approx(
        {
            "contrast": 1, "dissimilarity": 1, "homogeneity": 0.5, "mean": 0.5, "variance": 0.25,
            "correlation": -1, "energy": 0.5**0.5, "entropy": np.log(2),
        }
    )  # fmt: skip


def test_an_even_photograph_has_no_texture():
    maps = texture_maps(np.full((9, 9, 3), 200, np.uint8), window_px=5)
    for name, value in {"contrast": 0, "homogeneity": 1, "variance": 0, "correlation": 1, "entropy": 0}.items():
        assert (maps[name] == value).all(), name


def test_quarter_turns_of_the_stage_turn_the_maps():
    image = photograph(31, 26)
    for name, values in texture_maps(image, window_px=7, levels=8).items():
        turned = texture_maps(np.rot90(image), features=(name,), window_px=7, levels=8)[name]
        np.testing.assert_allclose(turned, np.rot90(values), rtol=1e-5, atol=1e-6)


def test_brightness_moved_by_a_whole_level_changes_the_mean_alone():
    image = np.random.default_rng(1).integers(32, 160, (24, 24), dtype=np.uint8)
    before = texture_maps(image, window_px=7, low=0, high=256)
    after = texture_maps(image + 48, window_px=7, low=0, high=256)
    np.testing.assert_allclose(after.pop("mean"), before.pop("mean") + 3, rtol=1e-6)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-6)


def test_only_the_features_asked_for_come_back_as_float32_of_the_image_s_size():
    maps = texture_maps(photograph(12, 17), features=("entropy", "mean"), window_px=3)
    assert list(maps) == ["entropy", "mean"]
    assert all(values.shape == (12, 17) and values.dtype == np.float32 for values in maps.values())


def test_colour_is_measured_on_its_luma():
    colour = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    got, expected = (texture_maps(image, features=("contrast",))["contrast"] for image in (colour, grey))
    np.testing.assert_array_equal(got, expected)


def test_quantisation_is_the_stated_formula_with_a_fixed_range():
    values = np.arange(256, dtype=np.uint8)[None]
    expected = [min(max(int((g - 20) * 8 // (180 - 20)), 0), 7) for g in range(256)]
    assert quantise(values, levels=8, low=20, high=180)[0].tolist() == expected
    np.testing.assert_array_equal(quantise(values, levels=256, low=0, high=255), values)


def test_a_window_in_micrometres_becomes_the_nearest_odd_number_of_pixels():
    for window_um, um_per_px, window_px in [
        (30, 2, 15),
        (31, 2, 15),
        (32, 2, 17),
        (28.1, 2, 15),
        (4, 2, 3),
        (5, 0.1, 51),
    ]:
        assert window_px_of(window_um, um_per_px) == window_px, (window_um, um_per_px)


@settings(deadline=None)
@given(st.floats(0.05, 20), st.floats(2, 300))
def test_a_window_in_micrometres_is_odd_and_at_most_a_pixel_off(um_per_px, pixels):
    window_px = window_px_of(pixels * um_per_px, um_per_px) if pixels > 2.001 else 3
    assert window_px % 2 == 1
    assert window_px >= 3
    assert abs(window_px - pixels) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("window_um", "um_per_px", "said"),
    [
        (3, 2, "1.5 px wide at 2 um per px.*Ask for 6 um"),
        (0, 2, "window_um must be finite and above 0; received 0"),
        (-5, 2, "received -5"),
        (float("nan"), 2, "window_um"),
        (30, 0, "um_per_px must be finite and above 0; received 0"),
        (30, float("inf"), "received inf"),
    ],
)
def test_a_window_in_micrometres_that_cannot_be_is_refused(window_um, um_per_px, said):
    with pytest.raises(DataError, match=said):
        window_px_of(window_um, um_per_px)


def test_offsets_are_scikit_image_s():
    assert [pair_offset(angle, 1) for angle in (0, 45, 90, 135)] == [(0, 1), (1, 1), (1, 0), (1, -1)]
    assert pair_offset(45, 3) == (2, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": ("contrats",)}, "Did you mean 'contrast'"),
        ({"window_px": 4}, "odd and at least 3; received 4"),
        ({"window_px": 1}, "received 1"),
        ({"levels": 1}, "2 to 256; received 1"),
        ({"levels": 257}, "received 257"),
        ({"low": 9, "high": 9}, "low must be below high"),
        ({"low": float("nan")}, "low must be below high"),
        ({"high": float("inf")}, "finite"),
        ({"angles_deg": ()}, "angles_deg is empty"),
        ({"angles_deg": (30,)}, "Unknown angle '30'"),
        ({"distance_px": 15}, "1 to 14"),
        ({"distance_px": 0}, "received 0"),
        ({"image": np.zeros((9, 9), np.float32)}, "float32"),
        ({"image": np.zeros((9, 9, 4), np.uint8)}, r"\(9, 9, 4\)"),
        ({"image": np.zeros((0, 9), np.uint8)}, "no pixels"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_was_received(change, said):
    arguments = {"image": np.zeros((9, 9), np.uint8), **change}
    with pytest.raises(DataError, match=said):
        texture_maps(arguments.pop("image"), **arguments)
