"""The two trainings and adoption: what they ask of their data, and what the run's card says afterwards."""

import csv
import errno
import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import timm
import torch

from geocamnet.errors import DataError, ModelError
from geocamnet.images import read_image
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.runtime.model import load
from geocamnet.runtime.prediction import REFUSALS
from geocamnet.train.cam import extract
from geocamnet.train.evaluate import evaluate
from geocamnet.train.export import export
from geocamnet.train.index import read_index, write_index
from geocamnet.train.predictor import open_predictor
from geocamnet.train.recipes import CamRecipe
from geocamnet.train.report import write_report
from geocamnet.train.runs import load_network, read_card, trained_on
from geocamnet.train.training import adopt, distil, train
from tiny import STUDENT, TEACHER, read_log, write_data

torch.set_num_threads(1)

# The student's photographs: some labelled with the teacher's classes, some with another, some not at all.
MIXED = {"oolite": 4, "vug": 4, "foam": 3, "": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("training") / "data")


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("training") / "teacher"
    train(data, run, replace(TEACHER, epochs=8, label_smoothing=0.0))
    return run


@pytest.fixture(scope="module")
def lighter(teacher, tmp_path_factory):
    """A second data set, with the teacher's maps of it stored."""
    folder = write_data(tmp_path_factory.mktemp("training") / "lighter", train=MIXED, val=("oolite", "vug", "foam"))
    extract(folder, teacher, CamRecipe())
    return folder


# --- what is asked of the data ---------------------------------------------------------------------------


def test_one_class_is_refused_before_a_run_is_begun(tmp_path):
    data = write_data(tmp_path / "data", train=["oolite"])
    with pytest.raises(DataError, match=r"at least two classes; received 1 \(oolite\)"):
        train(data, tmp_path / "run", TEACHER)
    assert not (tmp_path / "run").exists()


def test_photographs_without_any_label_are_refused(tmp_path):
    data = write_data(tmp_path / "data", train={"": 4})
    with pytest.raises(DataError, match="no photograph to train on"):
        train(data, tmp_path / "run", TEACHER)
    with pytest.raises(DataError, match="no photograph to train on"):
        distil(data, tmp_path / "run", STUDENT, teacher=None)
    assert not (tmp_path / "run").exists()


def test_several_labels_and_a_softmax_are_refused_before_a_run_is_begun(tmp_path):
    data = write_data(tmp_path / "data", train=["oolite", "vug", "oolite|vug"])
    with pytest.raises(DataError, match=r"6 photographs have several labels.*--labels multi"):
        train(data, tmp_path / "run", replace(TEACHER, labels="single"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("lr", -1.0), ("lr", float("nan")), ("ema", 1.0), ("crop_px", 8),
     ("devices", 0), ("label_smoothing", 1.0), ("accumulate", 0), ("warmup", 1.5)],
)  # fmt: skip
def test_an_impossible_choice_is_refused_by_its_option(name, value, data, tmp_path):
    with pytest.raises(DataError, match=f"--{name.replace('_', '-')} must be"):
        train(data, tmp_path / "run", replace(TEACHER, **{name: value}))
    assert not (tmp_path / "run").exists()


def test_an_impossible_choice_of_a_student_is_refused_too(data, tmp_path):
    with pytest.raises(DataError, match="--temperature must be above 0"):
        distil(data, tmp_path / "run", replace(STUDENT, temperature=0.0), teacher=None)


def test_a_photograph_that_is_not_there_is_named_before_a_run_is_begun(tmp_path):
    data = write_data(tmp_path / "data")
    (data / "images" / "train_vug_0.png").unlink()
    with pytest.raises(DataError, match=r"not there, the first: images/train_vug_0\.png"):
        train(data, tmp_path / "run", TEACHER)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_over_unless_it_is_asked_for(data, teacher, tmp_path):
    with pytest.raises(DataError, match=r"not empty.*--resume.*--overwrite"):
        train(data, teacher, TEACHER)
    train(data, tmp_path / "run", replace(TEACHER, epochs=1))
    with pytest.raises(DataError, match="another recipe"):
        train(data, tmp_path / "run", replace(TEACHER, epochs=2), resume=True)
    train(data, tmp_path / "run", replace(TEACHER, epochs=2), overwrite=True)
    assert len(read_log(tmp_path / "run")) == 2


# --- the teacher -----------------------------------------------------------------------------------------


def test_a_run_holds_what_the_contract_promises(data, teacher):
    for name in ("recipe.toml", "card.json", "metrics.json", "log.csv", "environment.txt"):
        assert (teacher / name).is_file(), name
    assert (teacher / "checkpoints" / "best.safetensors").is_file()
    assert (teacher / "checkpoints" / "last.ckpt").is_file()
    card = read_card(teacher)
    network, _ = load_network(teacher)
    assert card.class_names == ("oolite", "vug")
    assert card.parameters == sum(one.numel() for one in network.parameters())
    assert (card.long_side_px, card.map_stride, card.labels) == (64, 32, "single")
    assert card.class_bias == pytest.approx(network.class_bias.tolist())
    assert card.data["photographs"] == {"train": 12, "val": 4, "test": 4}
    assert card.recipe == {"step": "train", **json.loads(json.dumps(card.recipe))} | {"step": "train"}


def test_a_fold_trains_on_the_others(data, tmp_path):
    folded = write_data(tmp_path / "data")
    write_index(folded, [replace(row, fold=number % 4) for number, row in enumerate(read_index(folded))])
    card = train(folded, tmp_path / "run", replace(TEACHER, epochs=1, fold=2))
    assert card.data["fold"] == 2
    assert card.data["photographs"] == {"train": 12, "val": 3, "test": 5}


def test_several_labels_are_learnt_and_judged(tmp_path):
    labels = ["oolite", "vug", "oolite|vug"]
    data = write_data(tmp_path / "data", train=labels, val=labels, test=labels)
    card = train(data, tmp_path / "run", replace(TEACHER, epochs=8))
    assert card.labels == "multi"
    assert read_log(tmp_path / "run")[-1]["val_mAP"] > read_log(tmp_path / "run")[0]["val_mAP"] - 1e-9
    assert "val_balanced_accuracy" not in read_log(tmp_path / "run")[0]
    predict, _ = open_predictor(tmp_path / "run")
    probabilities, _ = predict(read_image(data / "images" / "test_oolite+vug_0.png"))
    assert probabilities.min() > 0.5  # both are there, which no softmax could say
    metrics = evaluate(tmp_path / "run", data, localisation=False)
    assert metrics["labels"] == "multi"
    assert metrics["n"] == 6
    assert metrics["model"]["mAP"] > 0.9
    student = distil(data, tmp_path / "student", replace(STUDENT, teacher_maps="online"), teacher=tmp_path / "run")
    assert student.labels == "multi"


def test_several_labels_go_all_the_way_from_training_to_the_table(tmp_path):
    labels = {"oolite": 7, "vug": 7, "oolite|vug": 7}
    data = write_data(tmp_path / "data", train=labels, val=labels, test=["oolite", "vug", "oolite|vug"])
    train(data, tmp_path / "teacher", replace(TEACHER, epochs=6))
    extract(data, tmp_path / "teacher", CamRecipe())
    card = distil(data, tmp_path / "student", replace(STUDENT, epochs=18), teacher=tmp_path / "teacher")
    assert (card.labels, len(card.label_thresholds)) == ("multi", 2)
    assert card.temperature != 1
    assert card.evidence_below is not None

    metrics = evaluate(tmp_path / "student", data, baselines=False, localisation=False)
    assert metrics["model"]["thresholds"] == list(card.label_thresholds)
    verdicts = metrics["model"]["verdicts"]
    assert sum(count for name, count in verdicts.items() if name != "accuracy") == metrics["n"] == 6
    assert "mAP" in write_report(tmp_path / "student").read_text(encoding="utf-8")

    export(tmp_path / "student", tmp_path / "student.onnx", data=data)
    model = load(tmp_path / "student.onnx")
    assert model.card.label_thresholds == card.label_thresholds
    assert model.card.familiar == card.familiar is not None
    predict_folder(data / "images", tmp_path / "out", model, texture=False)
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
        said = {row["image"]: row["label"] for row in csv.DictReader(stream)}
    assert len(said) == len(read_index(data))
    least = dict(zip(card.class_names, card.label_thresholds, strict=True))
    for row in read_index(data):
        prediction = model.predict(read_image(data / row.image))
        if prediction.verdict not in REFUSALS:
            named = [name for name, probability in prediction.top(2) if probability >= least[name]]
            assert said[row.image.removeprefix("images/")] == "|".join(named)
    right = [set(said[row.image.removeprefix("images/")].split("|")) == set(row.labels) for row in read_index(data)]
    assert sum(right) > 0.7 * len(right)
    assert any(sorted(label.split("|")) == ["oolite", "vug"] for label in said.values())


def test_a_run_is_not_resumed_on_another_data_set(data, tmp_path):
    train(data, tmp_path / "run", replace(TEACHER, epochs=1))
    before = (tmp_path / "run" / "card.json").read_bytes()
    other = write_data(tmp_path / "other", train=("foam", "vug"), val=("foam", "vug"), test=("foam", "vug"))
    with pytest.raises(DataError, match="started on the data set 'data', with other photographs, labels or splits"):
        train(other, tmp_path / "run", replace(TEACHER, epochs=1), resume=True)
    assert (tmp_path / "run" / "card.json").read_bytes() == before


def test_a_full_disk_is_told_with_the_run_and_the_reason(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", full)
    with pytest.raises(DataError, match=r"run: can't be written \(No space left on device\)"):
        train(data, tmp_path / "run", replace(TEACHER, epochs=1))


def test_a_run_of_a_fold_is_judged_on_data_without_folds_and_of_other_folds(data, tmp_path):
    folded = write_data(tmp_path / "data")
    write_index(folded, [replace(row, fold=number % 4) for number, row in enumerate(read_index(folded))])
    train(folded, tmp_path / "run", replace(TEACHER, epochs=1, fold=2))
    judge = partial(evaluate, tmp_path / "run", baselines=False, localisation=False)
    assert judge(folded)["fold"] == 2
    assert judge(data)["fold"] is None
    write_index(folded, [replace(row, fold=number % 3) for number, row in enumerate(read_index(folded))])
    figures = judge(folded)
    assert figures["fold"] is None
    learnt = sum(row.split == "test" and row.sha256 in trained_on(tmp_path / "run") for row in read_index(folded))
    assert learnt
    assert f"{learnt} of the 4 photographs judged were trained on: figures are too high." in figures["caveats"]


# --- the student -----------------------------------------------------------------------------------------


def test_the_card_tells_which_photographs_had_which_terms(lighter, teacher, tmp_path):
    card = distil(lighter, tmp_path / "run", STUDENT, teacher=teacher)
    assert card.class_names == ("oolite", "vug", "foam")  # the teacher's first, then the data set's own
    assert card.teacher["photographs_with_teacher_terms"] == 16
    assert card.teacher["photographs_with_label_terms"] == 11
    assert card.teacher["photographs_without_known_label"] == 5
    assert card.teacher["classes"] == ["oolite", "vug"]
    assert card.teacher["architecture"] == "test_resnet"
    assert {"train_label_loss", "train_logit_loss", "train_map_loss"} <= read_log(tmp_path / "run")[0].keys()
    assert card.parameters < 800_000


def test_a_student_of_the_teachers_classes_takes_other_labels_for_unknown(lighter, teacher, tmp_path):
    card = distil(lighter, tmp_path / "run", replace(STUDENT, classes="teacher"), teacher=teacher)
    assert card.class_names == ("oolite", "vug")
    assert card.teacher["photographs_with_teacher_terms"] == 16
    assert card.teacher["photographs_with_label_terms"] == 8
    assert card.teacher["photographs_without_known_label"] == 8
    metrics = evaluate(tmp_path / "run", lighter, split="val", baselines=False, localisation=False)
    assert metrics["n"] == 4
    assert metrics["excluded"]["labels_unknown_to_the_model"] == {"foam": 2}


def test_photographs_without_a_label_are_enough_for_a_teacher(teacher, tmp_path):
    data = write_data(tmp_path / "data", train={"": 8}, val={}, test={"": 2})
    card = distil(data, tmp_path / "run", replace(STUDENT, teacher_maps="online"), teacher=teacher)
    assert card.teacher["photographs_with_label_terms"] == 0
    rows = read_log(tmp_path / "run")
    assert {row["train_label_loss"] for row in rows} == {0}
    assert rows[0]["train_logit_loss"] > 0


def test_a_student_without_a_teacher_learns_from_the_labels_alone(lighter, tmp_path):
    card = distil(lighter, tmp_path / "run", STUDENT, teacher=None)
    assert card.class_names == ("foam", "oolite", "vug")
    assert card.teacher["run"] == "none"
    assert card.teacher["photographs_with_teacher_terms"] == 0
    assert card.teacher["photographs_with_label_terms"] == 11
    assert "train_map_loss" not in read_log(tmp_path / "run")[0]


def test_a_teacher_makes_its_student_agree_with_it(lighter, tmp_path):
    sure = tmp_path / "teacher"  # without validation photographs the last epoch is kept, which is sure of itself
    train(write_data(tmp_path / "data", val={}), sure, replace(TEACHER, epochs=8, label_smoothing=0.0))
    recipe = replace(STUDENT, epochs=24, batch_size=16, classes="teacher", label_weight=0.0, temperature=1.0)
    recipe = replace(recipe, teacher_maps="online", lr=5e-3)
    distil(lighter, tmp_path / "run", recipe, teacher=sure)
    rows = read_log(tmp_path / "run")
    assert rows[-1]["train_logit_loss"] < 0.5 * rows[0]["train_logit_loss"]
    assert rows[-1]["train_map_loss"] < 0.5 * rows[0]["train_map_loss"]


def test_stored_and_online_maps_of_a_whole_photograph_teach_the_same(data, teacher, tmp_path):
    extract(data, teacher, CamRecipe())
    # The crop is the whole photograph, so that what was stored of it is what the teacher sees online.
    square = [row for row in read_index(data) if row.height_px == row.width_px]
    write_index(data, square)
    try:
        extract(data, teacher, CamRecipe())
        augment = replace(STUDENT.augment, turns=False)
        losses = []
        for maps in ("stored", "online"):
            recipe = replace(STUDENT, teacher_maps=maps, epochs=1, batch_size=6, augment=augment, map_cells=2)
            distil(data, tmp_path / maps, recipe, teacher=teacher)
            losses.append(read_log(tmp_path / maps)[0])
        for name in ("train_logit_loss", "train_map_loss"):
            assert losses[0][name] == pytest.approx(losses[1][name], rel=0.02)
    finally:
        write_data(data)


def test_without_stored_maps_the_command_that_makes_them_is_named(data, teacher, tmp_path):
    other = write_data(tmp_path / "other", train=["oolite", "vug", "foam"])
    with pytest.raises(DataError, match=r"holds no maps of .*geocamnet cam .*--teacher-maps online"):
        distil(other, tmp_path / "run", STUDENT, teacher=teacher)
    assert not (tmp_path / "run").exists()


def test_a_student_teaches_nobody_alone_but_beside_a_teacher(lighter, teacher, tmp_path):
    online = replace(STUDENT, epochs=1, teacher_maps="online", feature_weight=1.0, classes="teacher")
    earlier = tmp_path / "earlier"
    distil(lighter, earlier, online, teacher=teacher)
    with pytest.raises(ModelError, match="is a student's run"):
        distil(lighter, tmp_path / "run", online, teacher=earlier)
    with pytest.raises(DataError, match=r"Several teachers .*--teacher-maps online"):
        distil(lighter, tmp_path / "run", STUDENT, teacher=[teacher, earlier])
    assert not (tmp_path / "run").exists()
    card = distil(lighter, tmp_path / "run", online, teacher=[teacher, earlier])
    assert card.class_names == ("oolite", "vug")
    assert card.teacher["run"] == f"{teacher.name}, earlier"
    assert card.teacher["architecture"] == "test_resnet, class maps on mobilenetv3_small_050"
    assert card.teacher["parameters"] == read_card(teacher).parameters + read_card(earlier).parameters
    alone, both = (read_log(one)[0] for one in (earlier, tmp_path / "run"))
    assert both["train_feature_loss"] == pytest.approx(alone["train_feature_loss"], rel=0.2)  # of the first alone
    with pytest.raises(DataError, match=r"its teacher was .*, earlier', with other weights"):
        distil(lighter, tmp_path / "run", online, teacher=teacher, resume=True)


def test_teachers_of_different_classes_do_not_teach_together(lighter, teacher, tmp_path):
    online = replace(STUDENT, epochs=1, teacher_maps="online")
    distil(lighter, tmp_path / "other", online, teacher=None)
    with pytest.raises(ModelError, match=r"other: knows other classes \(foam, oolite, vug\) than"):
        distil(lighter, tmp_path / "run", online, teacher=[teacher, tmp_path / "other"])


def test_teachers_of_one_and_of_several_labels_do_not_teach_together(lighter, teacher, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    card = json.loads((other / "card.json").read_text(encoding="utf-8"))
    card |= {"labels": "multi", "label_thresholds": [0.5] * len(card["classes"])}
    (other / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError, match=r"other: was fitted for multi labels, .* for single"):
        distil(lighter, tmp_path / "run", replace(STUDENT, teacher_maps="online"), teacher=[teacher, other])


def several_labels(folder, make_run):
    """A teacher of several labels, which has learnt nothing."""
    return make_run(folder, backbone="test_resnet", classes=("oolite", "vug"), labels="multi")


@pytest.mark.parametrize("shown", [{"": 8}, {"oolite": 4, "vug": 4}])
def test_the_student_of_a_teacher_of_several_labels_is_one_whatever_the_data_show(shown, tmp_path, make_run):
    data = write_data(tmp_path / "data", train=shown, val={})
    run = several_labels(tmp_path / "teacher", make_run)
    recipe = replace(STUDENT, epochs=1, teacher_maps="online")
    assert distil(data, tmp_path / "student", recipe, teacher=run).labels == "multi"


def test_data_of_several_labels_are_refused_where_the_teacher_knows_one(teacher, tmp_path):
    data = write_data(tmp_path / "data", train=["oolite", "vug", "oolite|vug"])
    recipe = replace(STUDENT, epochs=1, teacher_maps="online")
    with pytest.raises(DataError, match=r"6 photographs have several labels .*; use a teacher of several labels"):
        distil(data, tmp_path / "run", recipe, teacher=teacher)
    with pytest.raises(ModelError, match=r"fitted for single labels, the student is to be for multi"):
        distil(data, tmp_path / "run", replace(recipe, labels="multi"), teacher=teacher)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["dkd", "dist"])
def test_losses_of_softmaxes_are_refused_with_a_teacher_of_several_labels(data, tmp_path, make_run, kind):
    run = several_labels(tmp_path / "teacher", make_run)
    recipe = replace(STUDENT, epochs=1, teacher_maps="online", logit_loss=kind)
    with pytest.raises(DataError, match=f"several labels, for which --logit-loss must be kl; received {kind}"):
        distil(data, tmp_path / "run", recipe, teacher=run)
    distil(data, tmp_path / "run", replace(recipe, logit_weight=0.0), teacher=run)


def test_a_teacher_that_has_learnt_from_the_students_test_photographs_is_refused(data, teacher, tmp_path):
    dealt = write_data(tmp_path / "dealt otherwise")
    rows = read_index(dealt)
    train_rows = [row for row in rows if row.split == "train"]
    write_index(dealt, [replace(row, split="test") if row in train_rows[:2] else row for row in rows])
    recipe = replace(STUDENT, epochs=1, teacher_maps="online")
    says = rf"teacher was trained on 2 of the student's test photographs \(the first: {train_rows[0].image}\)"
    with pytest.raises(DataError, match=says):
        distil(dealt, tmp_path / "run", recipe, teacher=teacher)
    assert not (tmp_path / "run").exists()
    before = tmp_path / "of before"  # which does not say what it has learnt from
    shutil.copytree(teacher, before)
    (before / "data.json").unlink()
    distil(dealt, tmp_path / "run", recipe, teacher=before)


def test_folds_of_another_data_set_of_the_same_name_do_not_hold_a_teacher_back(teacher, tmp_path):
    data = write_data(tmp_path / "data")  # as the teacher's own is called
    rows = [replace(row, sha256=f"other {row.sha256}", fold=i % 4) for i, row in enumerate(read_index(data))]
    write_index(data, rows)
    recipe = replace(STUDENT, epochs=1, teacher_maps="online", fold=1)
    assert distil(data, tmp_path / "run", recipe, teacher=teacher).data["fold"] == 1
    write_index(data, [replace(row, sha256=row.sha256.removeprefix("other ")) for row in rows])
    with pytest.raises(DataError, match="was trained on 3 of the student's test photographs"):
        distil(data, tmp_path / "again", recipe, teacher=teacher)


def test_a_teacher_of_before_is_known_by_the_name_of_its_data_and_its_fold(teacher, tmp_path):
    before = tmp_path / "of before"
    shutil.copytree(teacher, before)
    (before / "data.json").unlink()
    data = write_data(tmp_path / "data")
    write_index(data, [replace(row, fold=number % 4) for number, row in enumerate(read_index(data))])
    with pytest.raises(DataError, match="trained on its fold None, the student is to be on fold 1"):
        distil(data, tmp_path / "run", replace(STUDENT, teacher_maps="online", fold=1), teacher=before)


def test_a_teacher_is_not_deleted_by_its_student(data, teacher, tmp_path):
    weights = (teacher / "checkpoints" / "best.safetensors").read_bytes()
    with pytest.raises(DataError, match="--overwrite would delete"):
        distil(data, teacher, replace(STUDENT, teacher_maps="online"), teacher=teacher, overwrite=True)
    assert (teacher / "checkpoints" / "best.safetensors").read_bytes() == weights


def test_a_stopped_teacher_can_not_teach(lighter, tmp_path):
    (tmp_path / "teacher").mkdir()
    with pytest.raises(ModelError, match="not a finished run"):
        distil(lighter, tmp_path / "run", STUDENT, teacher=tmp_path / "teacher")


# --- a teacher trained elsewhere -------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", num_classes=2).eval()
    torch.save(network.state_dict(), tmp_path / "elsewhere.pth")
    return network, tmp_path / "elsewhere.pth"


def test_an_adopted_teacher_answers_as_it_did_where_it_was_trained(elsewhere, data, tmp_path):
    network, file = elsewhere
    card = adopt(file, tmp_path / "run", classes=("vug", "oolite"), data=data, recipe=TEACHER)
    assert card.class_names == ("vug", "oolite")
    adopted, _ = load_network(tmp_path / "run")
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(
            adopted(images).logits, network((images - adopted.mean) / adopted.std), atol=1e-5, rtol=1e-5
        )
    extract(data, tmp_path / "run", CamRecipe())


def test_an_adopted_teacher_of_several_labels_answers_and_teaches_as_one(elsewhere, tmp_path):
    network, file = elsewhere
    labels = {"oolite": 6, "vug": 6, "oolite|vug": 6}
    data = write_data(tmp_path / "data", train=labels, val=labels)
    with torch.no_grad():
        network.get_classifier().bias -= 4  # alone it would name nothing
    torch.save(network.state_dict(), file)
    card = adopt(file, tmp_path / "run", classes=("vug", "oolite"), data=data, recipe=replace(TEACHER, labels="multi"))
    assert card.labels == "multi"
    assert len(card.label_thresholds) == 2
    assert max(card.label_thresholds) < 0.5
    predict, _ = open_predictor(tmp_path / "run")
    image = read_image(data / "images" / "test_vug_0.png")
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    adopted, _ = load_network(tmp_path / "run")
    with torch.no_grad():
        logits = network((pixels - adopted.mean) / adopted.std)[0]
    assert predict(image)[0] == pytest.approx((logits / card.temperature).sigmoid().numpy(), abs=1e-5)
    student = distil(
        data, tmp_path / "student", replace(STUDENT, epochs=1, teacher_maps="online"), teacher=tmp_path / "run"
    )
    assert student.labels == "multi"


def test_a_checkpoint_of_another_head_size_is_refused(elsewhere, data, tmp_path):
    with pytest.raises(ModelError, match=r"trunk\.fc\.weight is \(2, \d+\), not \(3, \d+\).*list of classes"):
        adopt(elsewhere[1], tmp_path / "run", classes=("vug", "oolite", "foam"), data=data, recipe=TEACHER)
    assert not (tmp_path / "run").exists()
