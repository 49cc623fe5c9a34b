"""PPL and XPL of one field: found by their names, and as one prediction what the formula says."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.runtime.heatmap import resize_heatmap, scale_maps
from geocamnet.runtime.huge.predict import predict_huge
from geocamnet.runtime.model import load
from geocamnet.runtime.pairs import combine, find_fields, predict_field


@pytest.fixture
def two(student, paint):
    """Predictions of two photographs of one size: oolite beside foam, and foam beside vug."""
    return [student.predict(paint((40, 60), *halves)) for halves in (("oolite", "foam"), ("foam", "vug"))]


def test_joint_probabilities_are_the_geometric_mean_of_the_photographs(two):
    pooled = np.sqrt(two[0].probabilities.astype(np.float64) * two[1].probabilities)
    assert combine(two).probabilities == pytest.approx(pooled / pooled.sum(), rel=1e-4)


def test_temperature_and_bias_are_the_cards(tmp_path, tiny_card, make_student, paint):
    card = replace(tiny_card, temperature=2.5, class_bias=(0.5, -1.0, 0.25))
    model = load(make_student(tmp_path / "other.onnx", card))
    both = [model.predict(paint((40, 60), *halves)) for halves in (("oolite", "foam"), ("foam", "vug"))]
    logits = [np.log(one.probabilities) * card.temperature for one in both]  # but for a constant, which softmax ignores
    powers = np.exp(np.mean(logits, axis=0) / card.temperature)
    joint = combine(both)
    assert joint.probabilities == pytest.approx(powers / powers.sum(), rel=1e-4)
    of_maps = np.exp((joint.class_maps.mean(axis=(1, 2)) + card.class_bias) / card.temperature)
    assert joint.probabilities == pytest.approx(of_maps / of_maps.sum(), rel=1e-5)


def test_several_labels_are_joined_each_by_itself(tmp_path, tiny_card, make_student, paint):
    model = load(make_student(tmp_path / "multi.onnx", replace(tiny_card, labels="multi", temperature=4.0)))
    both = [model.predict(paint((40, 60), *halves)) for halves in (("oolite", "foam"), ("foam", "vug"))]
    odds = np.sqrt(np.prod([one.probabilities / (1 - one.probabilities.astype(np.float64)) for one in both], axis=0))
    assert combine(both).probabilities == pytest.approx(odds / (1 + odds), rel=1e-4)


def test_the_heatmap_is_that_of_the_mean_class_maps(two):
    joint = combine(two)
    maps = (two[0].class_maps + two[1].class_maps) / 2
    assert joint.class_maps == pytest.approx(maps, abs=1e-6)
    wanted = resize_heatmap(scale_maps(maps, joint.card)[joint.card.class_index("vug")], (40, 60), joint.card)
    assert joint.heatmap("vug") == pytest.approx(wanted, abs=1e-5)
    assert joint.heatmap("vug")[:, :20].max() < joint.heatmap("vug")[:, 40:].min()
    assert joint.elapsed_ms == pytest.approx(two[0].elapsed_ms + two[1].elapsed_ms)


def test_what_one_photograph_shows_clearly_outweighs_one_that_shows_little(student, paint):
    clear, faint = student.predict(paint((40, 40), "vug")), student.predict(np.full((40, 40, 3), 128, np.uint8))
    assert faint.label is None
    assert combine([clear, faint]).label == combine([faint, clear]).label == "vug"
    assert combine([clear, faint]).probabilities.max() < clear.probabilities.max()


def test_no_evidence_in_any_photograph_stays_none(student):
    blank = [student.predict(np.full((40, 40, 3), grey, np.uint8)) for grey in (90, 160)]
    joint = combine(blank)
    assert joint.label is None
    assert all(joint.heatmap(name).max() < 1e-5 for name in joint.card.class_names)


def test_one_photograph_or_the_same_twice_changes_nothing(two):
    assert combine(two[:1]) is two[0]
    assert combine([two[0], two[0]]).probabilities == pytest.approx(two[0].probabilities, rel=1e-5)


def test_the_order_changes_nothing(two, student, paint):
    three = [*two, student.predict(paint((40, 60), "oolite"))]
    found = [combine(order).probabilities for order in permutations(three)]
    for one in found[1:]:
        assert one == pytest.approx(found[0], rel=1e-5)


def test_what_can_not_be_one_field_is_refused(two, student, tmp_path, tiny_card, make_student, paint):
    with pytest.raises(DataError, match="at least one"):
        combine([])
    with pytest.raises(DataError, match=r"one size; received 60 x 40 px and 40 x 60 px"):
        combine([two[0], student.predict(paint((60, 40), "vug"))])
    with pytest.raises(DataError, match="one size"):  # of one shape at the network's scale only
        combine([two[0], student.predict(paint((80, 120), "vug"))])
    other = load(make_student(tmp_path / "other.onnx", replace(tiny_card, name="other")))
    with pytest.raises(DataError, match="'tiny' and 'other'"):
        combine([two[0], other.predict(paint((40, 60), "vug"))])
    with pytest.raises(DataError, match="HugePrediction"):
        combine([predict_huge(paint((40, 60), "vug"), student)] * 2)


def test_a_field_is_read_and_predicted_as_one(tmp_path, student, paint):
    images = [paint((40, 60), "oolite", "foam"), paint((40, 60), "foam", "vug")]
    files = [tmp_path / name for name in ("a_PPL.png", "a_XPL.png")]
    for file, image in zip(files, images, strict=True):
        write_image(file, image)
    shown, joint = predict_field(files, student, um_per_px=None)
    assert (shown == images[0]).all()
    assert (joint.probabilities == combine([student.predict(image) for image in images]).probabilities).all()
    write_image(files[1], images[1][:, :50])
    with pytest.raises(DataError, match=r"a_PPL.png \(60 x 40 px\).*a_XPL.png \(50 x 40 px\)"):
        predict_field(files, student, um_per_px=None)


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (["a_PPL.jpg", "a_XPL.jpg"], [("a_PPL.jpg", "a_XPL.jpg")]),
        (["XPL/a.jpg", "b.jpg", "ppl/a.png"], [("ppl/a.png", "XPL/a.jpg"), ("b.jpg",)]),
        (["样品3单偏光.jpg", "样品3正交偏光.jpg"], [("样品3单偏光.jpg", "样品3正交偏光.jpg")]),
        (["1 crossed.jpg", "1 plane.jpg", "1 reflected.jpg"], [("1 plane.jpg", "1 crossed.jpg", "1 reflected.jpg")]),
        (["a.jpg", "a_XPL.jpg"], [("a.jpg",), ("a_XPL.jpg",)]),  # which light a.jpg is of is not told
        (["a.jpg", "a.png"], [("a.jpg",), ("a.png",)]),
        (["w1/a_PPL.jpg", "w2/a_XPL.jpg"], [("w1/a_PPL.jpg",), ("w2/a_XPL.jpg",)]),
        (["a_PPL.jpg", "a_PPL.png", "a_XPL.jpg"], [("a_PPL.jpg",), ("a_PPL.png",), ("a_XPL.jpg",)]),
        ([], []),
    ],
)
def test_fields_are_what_differs_in_the_light_alone(names, fields):
    assert find_fields(names) == fields


def test_every_photograph_is_in_one_field():
    names = [f"{folder}{stem}{light}.jpg" for folder in ("", "PPL/", "x/") for stem in "ab" for light in ("", "_XPL")]
    assert sorted(name for field in find_fields(names) for name in field) == sorted(names)
