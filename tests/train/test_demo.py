"""The demo from drawing to report, with a small network and few drawings; its folder is its own."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from geocamnet.errors import DataError
from geocamnet.images import list_images, read_image
from geocamnet.runtime.model import load
from geocamnet.train.demo import CLASSES, RECIPES, demo
from geocamnet.train.recipes import PrepareRecipe, SynthesizeRecipe
from tiny import PLAIN, STUDENT, TEACHER

torch.set_num_threads(1)

THREE = ("micritic_limestone", "oolite", "vug")
DRAWN = SynthesizeRecipe(classes=THREE, size_px=96, lights=("PPL",), workers=1)
SMALL = {
    "teacher_raw": replace(DRAWN, sections=4, fields=2, seed=1),
    "student_raw": replace(DRAWN, sections=5, fields=2, unlabelled=0.2, seed=2),
    "composites_raw": replace(DRAWN, sections=2, fields=2, composites=1.0, seed=3),
    "prepare_teacher": PrepareRecipe(long_side_px=96, val_share=0.2, test_share=0.0, workers=1),
    "prepare_student": PrepareRecipe(long_side_px=96, val_share=0.2, test_share=0.25, workers=1),
    "prepare_composites": PrepareRecipe(long_side_px=96, val_share=0.35, test_share=0.6, workers=1),
    "teacher": replace(TEACHER, batch_size=8, augment=PLAIN),
    "student": replace(STUDENT, batch_size=8, augment=PLAIN),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return the folder of a demo and what it returned."""
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, demo(out, recipes=SMALL)


def test_the_figures_are_written_as_they_are_returned(told):
    out, result = told
    assert json.loads((out / "demo.json").read_text(encoding="utf-8")) == json.loads(json.dumps(result))
    assert result["classes"] == 3
    assert result["teacher"]["architecture"] == "test_resnet"
    assert result["parameters"] < 800_000
    assert {"student", "student_alone", "teacher", "majority", "random_forest"} == set(result["names"])
    for figures in result["names"].values():
        assert 0 <= figures["balanced_accuracy"] <= 1
    assert {"student", "student_texture", "student_alone", "teacher", "grey", "random"} <= set(result["heatmaps"])


def test_teacher_terms_train_on_every_photograph_and_labels_where_one_is_known(told):
    _, result = told
    photographs = result["teaching"]
    assert photographs["photographs_without_known_label"] > 0
    assert photographs["photographs_with_teacher_terms"] == (
        photographs["photographs_with_label_terms"] + photographs["photographs_without_known_label"]
    )


def test_the_pictures_show_photograph_heatmap_and_refined_heatmap(told):
    out, _ = told
    for name in ("photographs", "composites"):
        originals = list_images(out / "pictures" / name / "originals")
        pictures = sorted((out / "pictures" / name / "mapped" / "pictures").glob("*_heatmap.jpg"))
        assert len(pictures) == len(originals) > 0
        height, width = read_image(pictures[0]).shape[:2]
        assert width > 2 * height
        with (out / "pictures" / name / "mapped" / "predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
            assert len(list(csv.DictReader(stream))) == len(originals)


def test_the_student_is_one_file_and_its_report_one_page(told):
    out, _ = told
    card = load(out / "student.onnx").card
    assert card.class_names == THREE
    assert card.metrics["model"]["balanced_accuracy"] == pytest.approx(told[1]["names"]["student"]["balanced_accuracy"])
    assert "<html" in (out / "runs" / "student" / "report.html").read_text(encoding="utf-8")


def test_a_demo_is_not_written_over_unless_it_is_asked_for(told):
    out, _ = told
    with pytest.raises(DataError, match=r"not empty.*--overwrite"):
        demo(out, recipes=SMALL)
    assert (out / "demo.json").is_file()


def test_a_folder_of_something_else_is_left_alone_even_when_asked(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(DataError, match="left alone"):
        demo(tmp_path, overwrite=True, recipes=SMALL)
    assert (tmp_path / "thesis.docx").read_text() == "years of work"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_place_for_a_demo(place, tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(DataError, match="can't be written"):
        demo(tmp_path / place, recipes=SMALL)


def test_the_demo_as_it_comes_is_what_was_promised():
    assert len(CLASSES) >= 8
    assert RECIPES["teacher"].backbone == "resnet101"
    assert RECIPES["student"].backbone == "mobilenetv3_small_075"
    assert RECIPES["student_raw"].unlabelled > 0
    assert RECIPES["student_raw"].seed != RECIPES["teacher_raw"].seed != RECIPES["composites_raw"].seed
    for name in ("prepare_teacher", "prepare_student", "prepare_composites"):
        assert RECIPES[name].val_share + RECIPES[name].test_share < 1
