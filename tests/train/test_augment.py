import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from geocamnet.images import scaled_size_hw
from geocamnet.train import augment
from geocamnet.train.augment import (
    Geometry,
    Raster,
    bring_maps,
    change_light,
    crop_image,
    crop_maps,
    draw_geometry,
    scale_long_side,
    scale_pixels,
)
from geocamnet.train.recipes import AugmentRecipe

NO_CHANGE = AugmentRecipe(turns=False, scale=1.0, stain=0, light=0, focus=0, noise=0, burn_in=0)
ATTITUDES = [(flip, turns) for flip in (False, True) for turns in range(4)]


def smooth_image(seed, height, width):
    """Draw RGB uint8 (height, width, 3) that varies so slowly that its samples and its means are nearly one."""
    rng = np.random.default_rng(seed)
    ys, xs = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    channels = []
    for _ in range(3):
        (a, b), phase = rng.uniform(1, 2.5, 2), rng.uniform(0, 6)
        channels.append(128 + 100 * np.sin(a * ys + b * xs + phase))
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("flip", "turns"), ATTITUDES)
@given(seed=st.integers(0, 10**6), wide=st.booleans())
def test_maps_are_cropped_flipped_and_turned_with_their_image(flip, turns, seed, wide):
    height, width = (129, 193) if wide else (193, 129)
    image = smooth_image(seed, height, width)
    maps = image[::16, ::16].transpose(2, 0, 1).astype(np.float64)  # cell i looks at pixel 16 i
    rng = np.random.default_rng(seed)
    side = rng.uniform(80, 128)
    top, left = rng.uniform(0, height - side), rng.uniform(0, width - side)
    geometry = Geometry(top / height, left / width, side / height, side / width, flip, turns)
    expected = crop_image(image, geometry, 56)[::8, ::8].transpose(2, 0, 1).astype(np.float64)
    found = crop_maps(torch.from_numpy(maps), geometry, Raster(16, (height, width)), Raster(8, (56, 56))).numpy()
    assert found.shape == (3, 7, 7)
    np.testing.assert_allclose(found, expected, atol=8)
    others = [np.rot90(expected[:, :, ::-1] if f else expected, t, (1, 2)) for f, t in ATTITUDES[1:]]
    if all(np.abs(expected - other).max() > 20 for other in others):  # where attitudes differ, only one fits
        assert all(np.abs(found - other).max() > 8 for other in others)


@pytest.mark.parametrize(("flip", "turns"), ATTITUDES)
def test_a_whole_map_is_turned_exactly(flip, turns):
    maps = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    same = Raster(8, (41, 41))  # the outermost cells lie on the outermost pixels: a turn takes cells to cells
    expected = np.rot90(maps.numpy()[:, :, ::-1] if flip else maps.numpy(), turns, axes=(1, 2))
    found = crop_maps(maps, Geometry(flip=flip, turns=turns), same, same).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_maps_of_another_stride_are_brought_to_the_same_pixels():
    coarse = torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    fine = bring_maps(coarse, Raster(32, (96, 96)), Raster(16, (96, 96)))
    assert fine.shape == (1, 2, 6, 6)
    torch.testing.assert_close(fine[:, :, ::2, ::2], coarse)  # pixels 0, 32, 64 are centres in both
    torch.testing.assert_close(fine[:, :, 1, 0], (coarse[:, :, 0, 0] + coarse[:, :, 1, 0]) / 2)
    assert bring_maps(coarse, Raster(32, (96, 96)), Raster(32, (96, 96))) is coarse


def test_maps_in_half_precision_are_looked_up_where_those_in_single_are():
    steep = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 64, 64) / 64  # exact in bf16
    taken, wanted = Raster(16, (1024, 1024)), Raster(8, (1024, 1024))
    found = bring_maps(steep.bfloat16(), taken, wanted)
    torch.testing.assert_close(found, bring_maps(steep, taken, wanted), atol=1e-6, rtol=0)
    piece = Geometry(0.3, 0.1, 0.55, 0.55)
    found = crop_maps(steep[0].bfloat16(), piece, taken, Raster(8, (512, 512)))
    torch.testing.assert_close(found, crop_maps(steep[0], piece, taken, Raster(8, (512, 512))), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("flip", "turns"), ATTITUDES)
def test_a_whole_image_is_turned_exactly(flip, turns):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    expected = np.rot90(image[:, ::-1] if flip else image, turns)
    np.testing.assert_array_equal(crop_image(image, Geometry(flip=flip, turns=turns), 40), expected)


def test_an_even_map_stays_even_at_any_crop():
    taken, wanted = Raster(32, (64, 96)), Raster(16, (48, 48))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        geometry = draw_geometry((64, 96), 48, AugmentRecipe(), rng)
        found = crop_maps(torch.full((1, 2, 3), 5.0), geometry, taken, wanted)
        np.testing.assert_allclose(found, np.full((1, 3, 3), 5.0), rtol=1e-6)


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.integers(1, 300),
    st.floats(1, 3),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_a_drawn_crop_lies_inside_the_image_and_is_square(shape_hw, crop_px, scale, turns, seed):
    geometry = draw_geometry(shape_hw, crop_px, AugmentRecipe(scale=scale, turns=turns), np.random.default_rng(seed))
    height, width = shape_hw
    assert geometry.top >= 0
    assert geometry.left >= 0
    assert geometry.top + geometry.height <= 1 + 1e-9
    assert geometry.left + geometry.width <= 1 + 1e-9
    side = geometry.height * height
    assert side == pytest.approx(geometry.width * width)
    assert side <= min(height, width, crop_px * scale) + 1e-6
    assert side >= min(height, width, crop_px / scale) - 1e-6
    assert turns or (geometry.turns == 0 and not geometry.flip)


def test_all_eight_attitudes_are_drawn():
    rng = np.random.default_rng(0)
    drawn = [draw_geometry((50, 50), 40, AugmentRecipe(), rng) for _ in range(400)]
    counts = {(one.flip, one.turns): 0 for one in drawn}
    for one in drawn:
        counts[one.flip, one.turns] += 1
    assert len(counts) == 8
    assert min(counts.values()) > 25


@given(st.integers(0, 2**32), st.floats(0, 1), st.tuples(st.integers(8, 40), st.integers(8, 40)))
def test_light_keeps_shape_and_dtype_and_depends_on_the_generator_alone(seed, strength, shape_hw):
    image = np.random.default_rng(1).integers(0, 256, (*shape_hw, 3), dtype=np.uint8)
    before = image.copy()
    recipe = AugmentRecipe(stain=strength, light=strength, focus=0.5, noise=0.5, burn_in=0.5)
    one, again = (change_light(image, recipe, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == image.shape
    assert one.dtype == np.uint8
    assert one.flags.c_contiguous
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(image, before)


def test_light_of_no_strength_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for seed in range(5):
        np.testing.assert_array_equal(change_light(image, NO_CHANGE, np.random.default_rng(seed)), image)


def test_noise_does_not_darken():
    image = np.full((200, 200, 3), 128, np.uint8)
    recipe = AugmentRecipe(stain=0, light=0, focus=0, noise=1, burn_in=0)
    means = [change_light(image, recipe, np.random.default_rng(seed)).mean() for seed in range(4)]
    assert np.mean(means) == pytest.approx(128, abs=0.1)


def test_stain_of_another_strength_looks_different():
    image = smooth_image(0, 32, 32)
    recipe = AugmentRecipe(stain=1, light=0, focus=0, noise=0, burn_in=0)
    assert np.abs(change_light(image, recipe, np.random.default_rng(0)).astype(int) - image).mean() > 3


@given(st.integers(0, 2**32), st.tuples(st.integers(8, 90), st.integers(8, 90)))
def test_burnt_in_marks_are_one_black_or_white_rectangle_and_touch_nothing_else(seed, shape_hw):
    image = np.random.default_rng(0).integers(1, 255, (*shape_hw, 3), dtype=np.uint8)
    before = image.copy()
    marked, painted = augment.burn_in(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    changed = (marked != image).any(axis=2)
    np.testing.assert_array_equal(painted, changed)
    assert changed.any()
    ys, xs = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    inside = marked[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    assert changed.sum() == inside.shape[0] * inside.shape[1]
    assert (inside == inside[0, 0, 0]).all()
    assert inside[0, 0, 0] in (0, 255)
    touches_edge = ys[0] == 0 or xs[0] == 0 or ys[-1] == shape_hw[0] - 1 or xs[-1] == shape_hw[1] - 1
    is_frame_line = touches_edge and (inside.shape[0] == shape_hw[0] or inside.shape[1] == shape_hw[1])
    is_scale_bar = inside.shape[1] <= max(1, 0.4 * shape_hw[1]) and inside.shape[0] <= max(1, 0.04 * shape_hw[0])
    assert is_frame_line or is_scale_bar


def slow_scale(image, long_side_px):
    """Scale one plane by the definition: a weighted mean under a triangle, edge pixels repeated without end."""
    height, width = image.shape
    out_h, out_w = scaled_size_hw((height, width), long_side_px)
    step = max(height, width) / long_side_px
    reach = max(1.0, step)

    def along(line, count):
        result = []
        for number in range(count):
            centre = (number + 0.5) * step - 0.5
            total = weight_sum = 0.0
            for place in range(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1):
                weight = max(0.0, 1 - abs(place - centre) / reach)
                total += weight * line[min(max(place, 0), len(line) - 1)]
                weight_sum += weight
            result.append(total / weight_sum)
        return result

    columns = np.array([along(line, out_w) for line in image])
    return np.array([along(line, out_h) for line in columns.T]).T


@given(st.integers(2, 23), st.integers(2, 23), st.integers(2, 30), st.integers(0, 99))
def test_scaling_equals_the_definition(height, width, long_side_px, seed):
    image = np.random.default_rng(seed).uniform(0, 255, (height, width))
    if min(height, width) * long_side_px < max(height, width):
        return  # less than a pixel would be left; the runtime refuses such a photograph
    tensor = torch.from_numpy(image)[None, None].expand(1, 3, -1, -1)
    scaled = scale_long_side(tensor, long_side_px)
    np.testing.assert_allclose(scaled[0, 1].numpy(), slow_scale(image, long_side_px), atol=1e-4)


def test_bytes_are_scaled_as_the_floats_they_stand_for():
    image = torch.randint(0, 256, (2, 40, 56, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    torch.testing.assert_close(scale_long_side(image, 24), scale_long_side(image.float(), 24), rtol=0, atol=1e-4)


@example(height=5, width=11, long_side_px=12, seed=0)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 99), st.integers(0, 99))
def test_pixels_are_scaled_to_within_a_level_the_outermost_exactly(height, width, long_side_px, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scaled = scale_pixels(image, long_side_px)
    exact = scale_long_side(torch.from_numpy(image).permute(2, 0, 1)[None], long_side_px)[0].permute(1, 2, 0).numpy()
    assert scaled.dtype == np.uint8
    assert scaled.shape == exact.shape
    np.testing.assert_allclose(scaled, exact, atol=1.01, rtol=0)
    edge = np.ones(exact.shape[:2], bool)
    edge[2:-2, 2:-2] = False
    np.testing.assert_allclose(scaled[edge], exact[edge], atol=0.51, rtol=0)


def test_scaling_to_its_own_size_returns_the_image():
    image = torch.rand(1, 3, 20, 30)
    assert scale_long_side(image, 30) is image
    pixels = np.zeros((20, 30, 3), np.uint8)
    assert scale_pixels(pixels, 30) is pixels


def onnx_resize(long_side_px):
    """Return the model file's Resize as a session."""
    sides = numpy_helper.from_array(np.array([long_side_px] * 2, np.int64), "sides")
    options = {"mode": "linear", "antialias": 1, "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}
    node = helper.make_node("Resize", ["x", "", "", "sides"], ["y"], **options)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, None, None]) for name in "xy"]
    graph = helper.make_graph([node], "resize", values[:1], values[1:], [sides])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def test_sizes_and_pixels_equal_the_model_files_resize():
    rng = np.random.default_rng(0)
    # Halves of a pixel, whose rounding hangs on the last bit, and any other sizes.
    ties = {100: [(81, 1080), (45, 72), (290, 464), (465, 744)], 224: [(207, 1472), (170, 640)], 320: [(321, 640)]}
    for long_side_px, sizes in ties.items():
        session = onnx_resize(long_side_px)
        drawn = [tuple(rng.integers(40, 500, 2).tolist()) for _ in range(8)]
        for height, width in sizes + [(w, h) for h, w in sizes] + drawn:
            image = rng.uniform(0, 255, (1, 3, height, width)).astype(np.float32)
            (expected,) = session.run(None, {"x": image})
            assert scaled_size_hw((height, width), long_side_px) == expected.shape[2:]
            np.testing.assert_allclose(scale_long_side(torch.from_numpy(image), long_side_px), expected, atol=0.02)


def test_no_side_is_scaled_to_nothing():
    assert scaled_size_hw((1, 1000), 64) == (1, 64)
    assert scaled_size_hw((480, 640), 320) == (240, 320)
    assert scaled_size_hw((30, 20), 60) == (60, 40)
