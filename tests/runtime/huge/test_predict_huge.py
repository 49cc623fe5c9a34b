"""A huge photograph: one tile is Model.predict, many tiles are the network seen through a mosaic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.card import FamiliarCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import write_image
from geocamnet.runtime.familiar import distance_of, statistics
from geocamnet.runtime.huge.predict import predict_huge
from geocamnet.runtime.model import load


@pytest.fixture(scope="module")
def unscaled(tmp_path_factory, tiny_card, make_student):
    """A student that scales nothing: each cell sees its own 4 x 4 pixels, however the photograph is cut."""
    card = replace(tiny_card, long_side_px=None)
    return load(make_student(tmp_path_factory.mktemp("model") / "unscaled.onnx", card), threads=1)


@pytest.mark.parametrize("shape_hw", [(64, 64), (40, 64), (20, 31), (1, 1)])
def test_one_tile_is_predict(student, paint, shape_hw):
    image = paint(shape_hw, "oolite", "vug")
    huge, one = predict_huge(image, student), student.predict(image)
    np.testing.assert_array_equal(huge.class_maps, one.class_maps)
    np.testing.assert_array_equal(huge.probabilities, one.probabilities)
    np.testing.assert_array_equal(huge.heatmap("vug"), one.heatmap("vug"))
    assert (huge.label, huge.labels, huge.top()) == (one.label, one.labels, one.top())
    assert (huge.verdict, huge.evidence, huge.distance) == (one.verdict, one.evidence, one.distance)
    assert huge.shape_hw == shape_hw


def test_one_large_tile_is_predict(student, paint):
    image = paint((100, 150), "oolite", "vug")
    huge, one = predict_huge(image, student, tile_px=160), student.predict(image)
    np.testing.assert_array_equal(huge.class_maps, one.class_maps)


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    tile_px=st.integers(8, 90),
    overlap_px=st.none() | st.integers(0, 7),
)
def test_a_mosaic_of_a_network_that_sees_its_own_cell_is_the_whole(unscaled, paint, height, width, tile_px, overlap_px):
    image = paint((height, width), "oolite", "vug")
    whole = unscaled.predict(image)
    huge = predict_huge(image, unscaled, tile_px=tile_px, overlap_px=overlap_px)
    assert huge.class_maps.shape == whole.class_maps.shape
    # The last row and column are padded with zeros by the network, continued by the mosaic: left out.
    inside = np.s_[:, : height // 4, : width // 4]
    np.testing.assert_allclose(huge.class_maps[inside], whole.class_maps[inside], atol=1e-4)


def test_probabilities_of_a_mosaic_are_those_of_the_whole(unscaled, paint):
    image = paint((120, 200), "oolite", "vug")  # whole cells: nothing is padded
    whole, huge = unscaled.predict(image), predict_huge(image, unscaled, tile_px=64)
    np.testing.assert_allclose(huge.probabilities, whole.probabilities, atol=1e-5)
    assert huge.evidence == pytest.approx(whole.evidence, abs=1e-4)


def test_probabilities_of_several_labels_are_sigmoids(tmp_path, tiny_card, make_student, paint):
    card = replace(tiny_card, long_side_px=None, labels="multi")
    model = load(make_student(tmp_path / "multi.onnx", card))
    image = paint((120, 200), "oolite", "vug")
    whole, huge = model.predict(image), predict_huge(image, model, tile_px=64)
    np.testing.assert_allclose(huge.probabilities, whole.probabilities, atol=1e-5)


def test_a_mosaic_is_as_far_from_the_training_photographs_as_its_median_tile(tmp_path, tiny_card, make_student, paint):
    image = paint((64, 192), "oolite", "vug")  # three tiles, the middle one of both colours
    mean = tuple(statistics(image[:, :64], 64).tolist())
    familiar = FamiliarCard(mean, tuple(map(tuple, np.eye(len(mean)).tolist())), limit=9.0, long_side_px=64)
    model = load(make_student(tmp_path / "familiar.onnx", replace(tiny_card, familiar=familiar)))
    tiles = [distance_of(image[:, left : left + 64], familiar) for left in (0, 64, 128)]
    assert tiles[0] < min(tiles[1:])
    assert predict_huge(image, model, overlap_px=0).distance == pytest.approx(np.median(tiles))


def test_the_mean_weighs_cells_by_the_photograph_in_them(unscaled):
    # 63 of 66 columns are red, 3 columns of the last cell's four are blue: 1.5 cells' worth counts, not two.
    image = np.zeros((64, 67, 3), np.uint8)
    image[:, :64] = (255, 0, 0)
    image[:, 64:] = (0, 0, 255)
    huge = predict_huge(image, unscaled, tile_px=32)
    card = unscaled.card
    red, blue = 64 / 67, 3 / 67
    means = np.array([8 * red - 4 * blue, -4.0, 8 * blue - 4 * red])
    logits = (means + np.array(card.class_bias)) / card.temperature
    np.testing.assert_allclose(huge.probabilities, np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


def test_tiles_of_the_models_own_size_are_not_rescaled(student, unscaled, paint):
    image = paint((128, 192), "oolite", "vug")
    scaled, plain = predict_huge(image, student), unscaled.predict(image)
    assert scaled.class_maps.shape == plain.class_maps.shape == (3, 32, 48)
    np.testing.assert_allclose(scaled.class_maps, plain.class_maps, atol=1e-3)


def test_a_heatmap_lies_where_the_colour_is(student, paint):
    image = paint((150, 333), "oolite", "vug")
    huge = predict_huge(image, student)
    heat = huge.heatmap("vug")
    assert heat.shape == (150, 333)
    assert heat[:, 180:].mean() > 0.5
    assert heat[:, :155].max() < 0.05
    small = huge.heatmap("vug", long_side_px=111)
    assert small.shape == (50, 111)
    assert small[:, 60:].mean() > 0.5
    assert huge.heatmap("vug", long_side_px=None).shape == (150, 333)


def test_a_heatmap_is_not_shifted_by_the_part_cell_at_its_end(unscaled, paint):
    image = paint((64, 130), "oolite", "vug")  # 32.5 cells; the border of colours lies at column 65
    heat = predict_huge(image, unscaled, tile_px=64).heatmap("vug")
    half = heat[10:50, 130 - 10].mean() / 2
    border = int(np.argmax(heat[10:50].mean(axis=0) > half))
    assert abs(border - 65) <= 2


def test_a_tile_size_stands_for_the_scale_of_the_training_photographs(student, paint):
    image = paint((300, 600), "oolite", "vug")
    huge = predict_huge(image, student, tile_px=160)  # 16 cells of 10 px
    assert huge.class_maps.shape == (3, 30, 60)
    assert huge.heatmap("vug", long_side_px=None)[:, 320:].mean() > 0.5


def test_a_strip_narrower_than_a_tile_works(student, paint):
    huge = predict_huge(paint((5, 900), "oolite", "vug"), student)
    assert huge.class_maps.shape == (3, 2, 225)
    assert huge.heatmap().shape == (5, 900)


def test_a_known_scale_is_brought_to_the_models(tmp_path, tiny_card, make_student, paint):
    model = load(make_student(tmp_path / "scaled.onnx", replace(tiny_card, um_per_px=2.0)))
    huge = predict_huge(paint((100, 300), "oolite", "vug"), model, um_per_px=1.0)  # half the pixels
    assert huge.class_maps.shape == (3, 13, 38)  # 50 x 150 px
    assert huge.shape_hw == (100, 300)
    assert huge.heatmap("vug").shape == (100, 300)


def test_progress_counts_every_tile(student, paint):
    calls = []
    predict_huge(paint((100, 100), "foam"), student, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_path_is_read(tmp_path, student, paint):
    image = paint((90, 120), "vug")
    write_image(tmp_path / "mosaic.png", image)
    from_path, from_array = predict_huge(tmp_path / "mosaic.png", student), predict_huge(image, student)
    np.testing.assert_array_equal(from_path.class_maps, from_array.class_maps)


@pytest.mark.parametrize(
    "options",
    [{"tile_px": 3}, {"tile_px": 0}, {"tile_px": 64, "overlap_px": 64}, {"overlap_px": -1}, {"overlap_px": 64}],
)
def test_sizes_out_of_range_are_refused(student, paint, options):
    with pytest.raises(DataError, match="received"):
        predict_huge(paint((100, 100), "foam"), student, **options)


def test_what_is_no_photograph_is_refused(student, tmp_path, paint):
    with pytest.raises(DataError, match="RGB uint8"):
        predict_huge(np.zeros((10, 10), np.uint8), student)
    with pytest.raises(DataError, match="no such file"):
        predict_huge(tmp_path / "absent.png", student)
    huge = predict_huge(paint((100, 100), "foam"), student)
    with pytest.raises(DataError, match="long_side_px"):
        huge.heatmap(long_side_px=0)
    with pytest.raises(ModelError, match="Known: oolite"):
        huge.heatmap("granite")
