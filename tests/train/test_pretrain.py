"""A start for a student: features matched without a label."""

import json
from dataclasses import replace

import pytest
import torch

from geocamnet.errors import DataError, ModelError
from geocamnet.train.fitting import match_stages
from geocamnet.train.index import read_index, use_fold, write_index
from geocamnet.train.pretrain import pretrain
from geocamnet.train.recipes import PretrainRecipe
from geocamnet.train.runs import trained_on
from geocamnet.train.student import Student, make_student
from geocamnet.train.teacher import Teacher
from geocamnet.train.training import distil
from geocamnet.train.weights import read_weights
from tiny import PLAIN, STUDENT, read_log, write_data

torch.set_num_threads(1)

RECIPE = PretrainRecipe(
    backbone="mobilenetv3_small_050", image_px=64, crop_px=64, epochs=8, batch_size=4, workers=0, augment=PLAIN,
    teacher_backbone="test_resnet", teacher_weights="none",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(
        tmp_path_factory.mktemp("pretraining") / "data", train=("oolite", "vug", "foam"), val=("oolite", "vug", "foam")
    )


@pytest.fixture(scope="module")
def start(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("pretraining") / "start"
    pretrain(data, run, RECIPE)
    return run


def test_features_come_nearer(start):
    log = read_log(start)
    assert log[-1]["train_loss"] < 0.9 * log[0]["train_loss"]
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    about = json.loads((start / "pretrain.json").read_text(encoding="utf-8"))
    assert about["photographs"] == 18
    assert about["distance"] == pytest.approx(log[-1]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_without_validation_photographs_the_last_features_are_kept(keep, tmp_path):
    data = write_data(tmp_path / "data", val={})
    pretrain(data, tmp_path / "run", replace(RECIPE, epochs=2, keep=keep))
    kept = read_weights(tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[f"network.{name}"]) for name, value in kept.items())


def test_a_student_begins_with_the_trunk_that_was_pretrained(start, tmp_path):
    kept, student = read_weights(start), make_student(5, backbone=RECIPE.backbone, weights=str(start)).state_dict()
    trunk = [name for name in kept if name.startswith("trunk.")]
    assert trunk
    assert all(torch.equal(student[name], kept[name]) for name in trunk if "num_batches" not in name)
    labelled = write_data(tmp_path / "labelled")
    distil(labelled, tmp_path / "run", replace(STUDENT, weights=str(start)), teacher=None)
    assert (tmp_path / "run" / "card.json").is_file()


def test_the_head_is_left_as_it_was_made(data, tmp_path):
    pretrain(data, tmp_path / "run", replace(RECIPE, epochs=1))
    torch.manual_seed(0)
    kept = read_weights(tmp_path / "run")
    assert not kept["class_bias"].any()
    assert float(kept["head.weight"].std()) == pytest.approx(0.02, rel=0.2)


def test_a_resumed_pretraining_is_the_one_that_was_not_stopped(data, start, tmp_path, monkeypatch):
    from geocamnet.train import fit as module

    save = module.KeepLast.on_train_epoch_end

    def stop(self, trainer, fitted):
        save(self, trainer, fitted)
        if trainer.current_epoch == 1:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(module.KeepLast, "on_train_epoch_end", stop)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(data, tmp_path / "run", RECIPE)
    pretrain(data, tmp_path / "run", RECIPE, resume=True)
    whole, resumed = read_weights(start), read_weights(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_data_set_without_training_photographs_is_refused(tmp_path):
    data = write_data(tmp_path / "data", train={}, val={"": 2}, test={"": 2})
    with pytest.raises(DataError, match="no photograph to train on"):
        pretrain(data, tmp_path / "run", RECIPE)
    assert not (tmp_path / "run").exists()


def test_a_fold_keeps_its_test_photographs_from_the_start(tmp_path):
    data = write_data(tmp_path / "data")
    write_index(data, [replace(row, fold=number % 4) for number, row in enumerate(read_index(data))])
    about = pretrain(data, tmp_path / "run", replace(RECIPE, epochs=1, fold=2))
    split = {row.sha256: row.split for row in use_fold(read_index(data), 2)}
    seen = trained_on(tmp_path / "run")
    assert {split[one] for one in seen} == {"train"}
    assert about["photographs"] == len(seen) == list(split.values()).count("train")


def test_an_impossible_choice_is_refused_by_its_option(data, tmp_path):
    with pytest.raises(DataError, match="--epochs must be 1 or more; received 0"):
        pretrain(data, tmp_path / "run", replace(RECIPE, epochs=0))
    assert not (tmp_path / "run").exists()


def test_stages_are_matched_where_their_strides_are_equal_and_the_last_ones_always():
    student, teacher = Student(2), Teacher("efficientnet_lite0", 2)
    match = match_stages(student, teacher)
    sides = [student.stages(torch.zeros(2, 3, 64, 64)), teacher.stages(torch.zeros(2, 3, 64, 64))]
    found = [(sides[0][one].shape[3], sides[1][other].shape[3]) for one, other in match.places]
    assert found == [(8, 8), (4, 4), (4, 2)]
    with torch.no_grad():
        distances = [pair(sides[0][i], sides[1][j]) for (i, j), pair in zip(match.places, match.matches, strict=True)]
        assert float(match(*sides)) == pytest.approx(float(torch.stack(distances).mean()), rel=1e-3)


def test_matching_stages_leaves_both_networks_as_they_were():
    student, teacher = Student(2).train(), Teacher("test_resnet", 2).eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    match_stages(student, teacher)
    assert student.training
    assert not teacher.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_backbone_that_hides_its_stages_is_refused(monkeypatch):
    teacher = Teacher("test_resnet", 2)
    monkeypatch.delattr(type(teacher.trunk), "forward_intermediates")
    with pytest.raises(ModelError, match="does not show its stages"):
        match_stages(Student(2), teacher)


def test_strides_that_are_no_multiples_are_refused():
    with pytest.raises(ModelError, match="whole multiple"):
        match_stages(Student(2, output_stride=32), Teacher("test_resnet", 2, output_stride=16))
