"""A student is opened or refused with a reason; what it predicts is its graph's arithmetic."""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from geocamnet.card import FamiliarCard
from geocamnet.errors import DataError, ModelError
from geocamnet.runtime import model as model_file
from geocamnet.runtime.familiar import statistics
from geocamnet.runtime.model import load
from geocamnet.runtime.prediction import REFUSALS, Prediction, evidence_of
from geocamnet.runtime.scale import halved


def prediction_of(card, probabilities):
    return Prediction(
        card, np.array(probabilities, np.float32), np.zeros((3, 2, 2), np.float32), (8, 8), 1.0, (2.0, 2.0)
    )


@pytest.mark.parametrize("colour", ["oolite", "foam", "vug"])
def test_a_photograph_is_named_by_its_colour(student, paint, colour):
    prediction = student.predict(paint((48, 80), colour))
    assert prediction.label == colour
    assert prediction.labels == (colour,)
    assert prediction.shape_hw == (48, 80)
    assert prediction.elapsed_ms > 0
    assert prediction.probabilities.dtype == np.float32
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_class_maps_mean_plus_bias_over_temperature_is_the_logit(student, paint):
    prediction = student.predict(paint((48, 80), "oolite", "foam"))
    card = student.card
    logits = (prediction.class_maps.mean(axis=(1, 2)) + np.array(card.class_bias)) / card.temperature
    softmax = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(prediction.probabilities, softmax, atol=1e-5)


def test_a_heatmap_lies_where_the_colour_is(student, paint):
    prediction = student.predict(paint((60, 100), "oolite", "vug"))
    heat = prediction.heatmap("vug")
    assert heat.shape == (60, 100)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert heat[:, 60:].mean() > 0.5
    assert heat[:, :40].max() < 0.05
    np.testing.assert_array_equal(prediction.heatmap(), prediction.heatmap(prediction.top(1)[0][0]))


def test_a_grey_photograph_has_no_heat_and_no_name(student):
    prediction = student.predict(np.full((50, 50, 3), 128, np.uint8))
    assert prediction.label is None
    assert prediction.labels == ()
    assert all(prediction.heatmap(name).max() < 1e-3 for name in student.card.class_names)


def test_the_heatmap_of_an_unknown_class_lists_the_known(student, paint):
    with pytest.raises(ModelError, match="oolite, foam, vug"):
        student.predict(paint((20, 20), "oolite")).heatmap("oolith")


def test_a_batch_is_its_photographs_one_by_one(student, paint):
    images = np.stack([paint((40, 56), name, seed=i) for i, name in enumerate(["oolite", "foam", "vug"])])
    together = student.predict_batch(images)
    assert [one.label for one in together] == ["oolite", "foam", "vug"]
    for image, one in zip(images, together, strict=True):
        alone = student.predict(image)
        np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-6)
        np.testing.assert_allclose(one.class_maps, alone.class_maps, atol=1e-5)
        assert one.shape_hw == (40, 56)
    assert student.predict_batch(images[:0]) == []


def test_a_quick_look_takes_the_means_of_two_by_two_pixels_and_tells_the_same(student, paint):
    image = paint((272, 264), "oolite", "vug")
    image[:90, :70] = 30
    image = np.asarray(cv2.add(image, np.random.default_rng(0).integers(0, 40, image.shape, dtype=np.uint8)))
    means = image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    seen = halved(image, student.card)
    assert np.abs(seen - means).max() <= 0.5 + 1e-6
    exact, quick = student.predict(image), student.predict(image, quick=True)
    assert quick.shape_hw == exact.shape_hw == image.shape[:2]
    np.testing.assert_allclose(quick.probabilities, exact.probabilities, atol=0.02)
    np.testing.assert_allclose(quick.heatmap(), exact.heatmap(), atol=0.02)
    twice = halved(np.asarray(cv2.resize(image, (1040, 1088))), student.card)
    assert twice.shape == (136, 130, 3)


@pytest.mark.parametrize("shape_hw", [(255, 200), (300, 301), (64, 64)])
def test_a_quick_look_leaves_small_and_odd_photographs_as_they_are(student, paint, shape_hw):
    image = paint(shape_hw, "oolite")
    assert halved(image, student.card) is image


def test_several_threads_may_share_a_student(student, paint):
    images = [paint((30 + i, 40), ["oolite", "foam", "vug"][i % 3]) for i in range(12)]
    alone = [student.predict(image).probabilities for image in images]
    with ThreadPoolExecutor(4) as pool:
        shared = [one.probabilities for one in pool.map(student.predict, images)]
    np.testing.assert_array_equal(alone, shared)


def test_an_image_that_is_not_contiguous_gives_the_same(student, paint):
    image = paint((40, 40), "oolite", "vug")
    flipped = image[:, ::-1]
    same = student.predict(np.ascontiguousarray(flipped)).probabilities
    np.testing.assert_array_equal(student.predict(flipped).probabilities, same)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint16),
        [[1, 2, 3]],
        None,
    ],
)
def test_what_is_no_photograph_is_refused_and_described(student, image):
    with pytest.raises(DataError, match=r"RGB uint8 \(H, W, 3\).*received"):
        student.predict(image)


def test_values_from_zero_to_one_are_refused_with_the_remedy(student):
    with pytest.raises(DataError, match=r"float32.*multiplied by 255"):
        student.predict(np.zeros((8, 8, 3), np.float32))


@pytest.mark.parametrize("batch", [np.zeros((8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32)])
def test_a_batch_of_the_wrong_kind_is_refused(student, batch):
    with pytest.raises(DataError, match="received"):
        student.predict_batch(batch)


@pytest.mark.parametrize("shape_hw", [(1, 1), (2, 3), (5, 300), (64, 1)])
def test_tiny_photographs_work(student, shape_hw):
    prediction = student.predict(np.full((*shape_hw, 3), (255, 0, 0), np.uint8))
    assert np.isfinite(prediction.probabilities).all()
    assert prediction.heatmap().shape == shape_hw


@pytest.mark.parametrize("shape_hw", [(3000, 20), (20, 3000)])
def test_a_photograph_too_narrow_is_told_the_least_size(student, shape_hw):
    with pytest.raises(DataError, match=r"at least 47 px.*received 20 px"):
        student.predict(np.zeros((*shape_hw, 3), np.uint8))
    wide_enough = tuple(max(side, 47) for side in shape_hw)
    assert student.predict(np.zeros((*wide_enough, 3), np.uint8)).shape_hw == wide_enough


def test_a_known_scale_is_brought_to_the_models_before_the_network(tmp_path, tiny_card, make_student, paint):
    card = replace(tiny_card, um_per_px=2.0, long_side_px=None)
    model = load(make_student(tmp_path / "scaled.onnx", card))
    image = paint((80, 120), "oolite", "vug")
    for um_per_px, how in ((1.0, cv2.INTER_AREA), (4.0, cv2.INTER_LINEAR)):
        factor = um_per_px / 2.0
        by_hand = cv2.resize(image, (round(120 * factor), round(80 * factor)), interpolation=how)
        expected = model.predict(by_hand)
        found = model.predict(image, um_per_px=um_per_px)
        np.testing.assert_array_equal(found.class_maps, expected.class_maps)
        assert found.shape_hw == (80, 120)
        assert found.heatmap().shape == (80, 120)
    np.testing.assert_array_equal(model.predict(image, um_per_px=2.0).class_maps, model.predict(image).class_maps)


def test_a_scale_is_ignored_where_the_model_states_none(student, paint):
    image = paint((40, 60), "foam")
    scaled, plain = student.predict(image, um_per_px=7.0), student.predict(image)
    np.testing.assert_array_equal(scaled.class_maps, plain.class_maps)


@pytest.mark.parametrize("um_per_px", [0, -1.0, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_refused(student, paint, um_per_px):
    with pytest.raises(DataError, match="above 0"):
        student.predict(paint((8, 8), "foam"), um_per_px=um_per_px)


def test_a_scale_that_would_enlarge_beyond_all_bounds_is_refused(tmp_path, tiny_card, make_student, paint):
    model = load(make_student(tmp_path / "scaled.onnx", replace(tiny_card, um_per_px=0.01, long_side_px=None)))
    with pytest.raises(DataError, match="Check um_per_px"):
        model.predict(paint((100, 100), "foam"), um_per_px=1000.0)


def test_below_the_cards_threshold_the_answer_is_not_sure(tiny_card):
    card = replace(tiny_card, abstain_below=0.6)
    assert prediction_of(card, [0.59, 0.4, 0.01]).label is None
    assert prediction_of(card, [0.59, 0.4, 0.01]).labels == ()
    assert prediction_of(card, [0.6001, 0.3, 0.09]).label == "oolite"


def test_several_labels_are_named_from_one_half(tiny_card):
    card = replace(tiny_card, labels="multi", abstain_below=0.0)
    both = prediction_of(card, [0.5, 0.2, 0.9])
    assert both.label == "vug"
    assert both.labels == ("vug", "oolite")
    none = prediction_of(card, [0.49, 0.2, 0.1])
    assert none.label is None
    assert none.labels == ()


def test_each_label_has_its_own_threshold_where_the_card_says_so(tiny_card):
    card = replace(tiny_card, labels="multi", label_thresholds=(0.7, 0.2, 0.5))
    prediction = prediction_of(card, [0.6, 0.2, 0.3])
    assert prediction.labels == ("foam",)  # neither the most probable class nor one above 0.5
    assert (prediction.label, prediction.verdict) == ("foam", "foam")
    assert prediction.words == "Foam (20%)"
    assert prediction_of(card, [0.8, 0.3, 0.9]).verdict == "vug|oolite|foam"
    assert prediction_of(card, [0.8, 0.1, 0.9]).words == "Vug (90%) + Oolite (80%)"


def test_a_refusal_names_no_class_and_says_why(tiny_card):
    familiar = FamiliarCard(mean=(0.0,) * 13, precision=((1.0,) * 13,) * 13, limit=4.0, long_side_px=64)
    card = replace(tiny_card, abstain_below=0.6, evidence_below=-1.0, familiar=familiar)
    sure, unsure = [0.9, 0.1, 0.0], [0.5, 0.4, 0.1]

    def verdict(probabilities, **measured):
        found = replace(prediction_of(card, probabilities), **measured)
        if found.verdict in REFUSALS:
            assert (found.label, found.labels) == (None, ())
            assert found.words.startswith(f"{found.verdict.capitalize()}; strongest: Oolite (")
        return found.verdict

    assert verdict(sure, evidence=-1.0, distance=4.0) == "oolite"
    assert verdict(unsure, evidence=-1.0, distance=4.0) == "not sure"
    assert verdict(sure, evidence=-1.01, distance=4.0) == verdict(unsure, evidence=-1.01) == "nothing here"
    assert verdict(sure, evidence=-1.01, distance=4.1) == "unlike the training photographs"


def test_evidence_is_the_free_energy_of_the_logits_or_their_joint_energy(tmp_path, tiny_card, make_student, paint):
    image = paint((48, 80), "oolite", "foam")
    for labels in ("single", "multi"):
        card = replace(tiny_card, labels=labels)
        prediction = load(make_student(tmp_path / f"{labels}.onnx", card)).predict(image)
        z = prediction.class_maps.mean(axis=(1, 2)) + np.array(card.class_bias)
        joined = np.log(np.exp(z).sum()) if labels == "single" else np.log(1 + np.exp(z)).sum()
        assert prediction.evidence == pytest.approx(joined, abs=1e-5)
        np.testing.assert_allclose(
            prediction.probabilities,
            np.exp(z / 2) / np.exp(z / 2).sum() if labels == "single" else 1 / (1 + np.exp(-z / 2)),
            atol=1e-5,
        )
    assert evidence_of(np.array([-1000.0, -1000.0]), "multi") == 0
    assert evidence_of(np.array([1000.0, 0.0]), "single") == 1000


def test_a_photograph_is_measured_as_the_network_was_given_it(tmp_path, tiny_card, make_student, paint):
    image = paint((48, 80), "oolite", "foam")
    mean = tuple(statistics(image, 64).tolist())
    familiar = FamiliarCard(mean, tuple(map(tuple, np.eye(len(mean)).tolist())), limit=0.05, long_side_px=64)
    model = load(make_student(tmp_path / "familiar.onnx", replace(tiny_card, familiar=familiar)))
    assert model.predict(image).distance == pytest.approx(0, abs=1e-6)
    assert model.predict(image).label is not None
    grey = np.full((48, 80, 3), 128, np.uint8)
    assert model.predict(grey).verdict == "unlike the training photographs"
    assert [one.distance for one in model.predict_batch(np.stack([image, grey]))] == [
        model.predict(one).distance for one in (image, grey)
    ]


def test_top_lists_the_best_first(tiny_card):
    prediction = prediction_of(tiny_card, [0.2, 0.5, 0.3])
    assert [name for name, _ in prediction.top()] == ["foam", "vug", "oolite"]
    assert prediction.top(1) == [("foam", 0.5)]
    assert len(prediction.top(10)) == 3


def test_a_model_knows_its_path_and_digest(student, student_file):
    import hashlib

    assert student.path == student_file
    assert student.sha256 == hashlib.sha256(student_file.read_bytes()).hexdigest()


def test_a_path_in_chinese_opens(tmp_path, student_file):
    there = tmp_path / "葡萄花边 模型.onnx"
    shutil.copy(student_file, there)
    assert load(there).card.name == "tiny"


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load(tmp_path / "absent.onnx")


def test_a_folder_is_told_how_to_export(tmp_path):
    with pytest.raises(ModelError, match="geocamnet export"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["best.pth", "last.ckpt", "best.safetensors", "MODEL.PT"])
def test_a_checkpoint_is_told_how_to_export(tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"checkpoint.*geocamnet export RUN MODEL.onnx"):
        load(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x09" * 40, b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_onnx_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model"):
        load(tmp_path / "model.onnx")


def test_a_file_cut_short_is_refused(tmp_path, student_file):
    (tmp_path / "model.onnx").write_bytes(student_file.read_bytes()[:600])
    with pytest.raises(ModelError, match="not an ONNX model"):
        load(tmp_path / "model.onnx")


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        load(tmp_path / "model.onnx")


def test_a_model_without_a_card_does_not_load(tmp_path, tiny_card, make_student):
    file = make_student(tmp_path / "bare.onnx", tiny_card, with_card=False)
    with pytest.raises(ModelError, match=r"without a GeoCAMNet card.*geocamnet_card"):
        load(file)


def test_a_bad_card_is_refused_with_the_files_name(tmp_path, tiny_card, make_student):
    file = make_student(tmp_path / "odd.onnx", tiny_card, card_text='{"format": 99}')
    with pytest.raises(ModelError, match=r"odd\.onnx.*format 99"):
        load(file)


@pytest.mark.parametrize("output", ["probabilities", "class_maps"])
def test_a_missing_output_is_named(tmp_path, tiny_card, make_student, output):
    file = make_student(tmp_path / "less.onnx", tiny_card, drop_output=output)
    with pytest.raises(ModelError, match=f"'{output}' is missing"):
        load(file)


def test_another_input_is_refused(tmp_path, tiny_card, make_student):
    file = make_student(tmp_path / "input.onnx", tiny_card, input_name="pixels")
    with pytest.raises(ModelError, match=r"'image' of uint8.*pixels"):
        load(file)


def test_more_outputs_than_classes_are_refused(tmp_path, tiny_card, make_student):
    file = make_student(tmp_path / "four.onnx", tiny_card, outputs=4)
    with pytest.raises(ModelError, match=r"names 3 classes.*has 4"):
        load(file)


def test_nan_from_the_network_is_an_error(tmp_path, tiny_card, make_student, paint):
    model = load(make_student(tmp_path / "nan.onnx", tiny_card, nan=True))
    with pytest.raises(ModelError, match="NaN"):
        model.predict(paint((20, 20), "foam"))


def test_a_provider_that_is_not_installed_is_refused_with_those_that_are(student_file):
    with pytest.raises(ModelError, match=r"'QuantumExecutionProvider'.*CPUExecutionProvider"):
        load(student_file, providers=["QuantumExecutionProvider"])
    assert load(student_file, providers=["CPUExecutionProvider"]).card.name == "tiny"


def test_threads_below_zero_are_refused(student_file):
    with pytest.raises(ModelError, match="threads"):
        load(student_file, threads=-1)


def test_the_bundled_student_opens_by_default_and_says_what_it_is(monkeypatch, tmp_path, student_file, caplog):
    caplog.set_level(logging.INFO, logger="geocamnet")
    monkeypatch.setattr(model_file, "resources", SimpleNamespace(files=lambda package: tmp_path))
    with pytest.raises(ModelError, match=r"No student is bundled.*geocamnet export"):
        load()
    (tmp_path / "weights").mkdir()
    shutil.copy(student_file, tmp_path / "weights" / "student.onnx")
    model = load()
    assert model.card.name == "tiny"
    assert caplog.messages == [f"bundled student: {model.card.summary}"]
    load(student_file)
    assert len(caplog.messages) == 1
