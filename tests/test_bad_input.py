"""What people really have: damaged, odd and missing files, each answered in one sentence or taken as it is."""

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geocamnet import cli
from geocamnet.card import METADATA_KEY
from geocamnet.images import list_images, read_image, write_image
from geocamnet.train.index import read_index
from tiny import STUDENT, TEACHER, paint, write_data

CHINESE = "鲕粒 灰岩 第1号"


def photograph(number=0, shape_hw=(48, 64)):
    return paint(("oolite",), shape_hw, str(number))


def refused(capsys, *words):
    """What is said of a command that can't be done: one line, no stack trace, exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1, said
    return said


def write_truncated(file):
    write_image(file, photograph(shape_hw=(200, 300)))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def write_text(file):
    file.write_text("Thin section 12, oolite, 4x\n")


def write_empty(file):
    file.touch()


def write_pixel(file):
    Image.new("RGB", (1, 1)).save(file)


def write_strip(file):
    Image.new("RGB", (30_000, 20), (120, 90, 60)).save(file)


def write_cmyk(file):
    Image.fromarray(photograph()).convert("CMYK").save(file)


def write_sixteen_bit(file):
    grey = photograph()[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(file)


def write_alpha(file):
    Image.fromarray(photograph()).convert("RGBA").save(file)


def write_palette(file):
    Image.fromarray(photograph()).convert("P").save(file)


# (name, how it is made, whether it is a photograph that can be named)
ODD = [
    ("truncated.jpg", write_truncated, False),
    ("text.jpg", write_text, False),
    ("empty.jpg", write_empty, False),
    ("pixel.png", write_pixel, True),
    ("strip.png", write_strip, False),  # at 64 px of long side nothing is left of its 20 px
    ("cmyk.jpg", write_cmyk, True),
    ("sixteen.tif", write_sixteen_bit, True),
    ("alpha.png", write_alpha, True),
    ("palette.png", write_palette, True),
]


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    """A folder with one good photograph and one of every odd kind."""
    folder = tmp_path_factory.mktemp("odd") / "photos"
    write_image(folder / "good.png", photograph())
    for name, write, _ in ODD:
        write(folder / name)
    return folder


@pytest.fixture(scope="module")
def odd_out(odd_folder, student_file, tmp_path_factory):
    """What `run` made of it."""
    out = tmp_path_factory.mktemp("odd") / "out"
    cli.main(["run", str(odd_folder), str(out), "--model", str(student_file)])
    return out


@pytest.fixture(scope="module")
def odd_data(odd_folder, tmp_path_factory):
    """What `prepare` made of it, as one of two classes."""
    raw = tmp_path_factory.mktemp("odd") / "raw"
    (raw / "oolite").mkdir(parents=True)
    for file in odd_folder.iterdir():
        (raw / "oolite" / file.name).write_bytes(file.read_bytes())
    for number in range(6):
        write_image(raw / "vug" / f"{number}.png", photograph(number))
    data = tmp_path_factory.mktemp("odd") / "data"
    cli.main(["prepare", str(raw), str(data), "--long-side-px", "64", "--workers", "1"])
    return data


def table(file):
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


# --- one photograph --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "write", "good"), ODD, ids=[name for name, _, _ in ODD])
def test_an_odd_photograph_is_named_or_listed_with_its_reason(name, write, good, odd_out):
    named = {row["image"]: row for row in table(odd_out / "predictions.csv")}
    skipped = {row["image"]: row["reason"] for row in table(odd_out / "skipped.csv")}
    assert "good.png" in named
    assert (name in named) is good
    assert (name in skipped) is not good
    if good:
        assert 0 <= float(named[name]["probability"]) <= 1
        assert any(picture.name.startswith(name.replace(".", "_")) for picture in list_images(odd_out / "pictures"))
    else:
        assert len(skipped[name]) > 20
        assert "Traceback" not in skipped[name]


def test_a_folder_with_bad_photographs_is_finished_and_counted(odd_out):
    summary = json.loads((odd_out / "summary.json").read_text(encoding="utf-8"))
    assert summary["finished"] is True
    assert summary["photographs"] == 1 + sum(good for _, _, good in ODD)
    assert summary["skipped"] == sum(not good for _, _, good in ODD)


@pytest.mark.parametrize(("name", "write", "good"), ODD, ids=[name for name, _, _ in ODD])
def test_an_odd_photograph_is_prepared_or_listed_with_its_reason(name, write, good, odd_data):
    kept = {Path(row.source).name: row for row in read_index(odd_data)}
    skipped = {
        Path(one["path"]).name: one["reason"]
        for one in json.loads((odd_data / "prepare.json").read_text(encoding="utf-8"))["skipped"]
    }
    if name == "pixel.png":  # a pixel can be named, but nothing can be learnt of it
        good = False
    assert (name in kept) is good
    assert (name in skipped) is not good
    if good:
        stored = read_image(odd_data / kept[name].image)
        assert stored.shape == (48, 64, 3)
        red, good_red = (one[..., 0].astype(float) for one in (stored, read_image(odd_data / kept["good.png"].image)))
        assert np.abs(red - good_red).mean() < 25


@pytest.mark.parametrize(
    ("write", "told"),
    [(write_truncated, "damaged or cut short"), (write_text, "not an image"), (write_empty, "0 bytes")],
)
def test_a_damaged_photograph_alone_is_listed_and_nothing_breaks(write, told, student_file, tmp_path):
    write(tmp_path / "photo.jpg")
    cli.main(["run", str(tmp_path / "photo.jpg"), str(tmp_path / "out"), "--model", str(student_file)])
    assert table(tmp_path / "out" / "predictions.csv") == []
    assert told in table(tmp_path / "out" / "skipped.csv")[0]["reason"]


def test_when_no_photograph_can_be_read_prepare_says_why(capsys, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "raw" / "oolite").mkdir(parents=True, exist_ok=True)
        write_text(tmp_path / "raw" / "oolite" / name)
    said = refused(capsys, "prepare", tmp_path / "raw", tmp_path / "data", "--workers", 1)
    assert "None of 2 photographs can be used" in said
    assert "not an image" in said


def test_a_strip_of_thirty_thousand_pixels_is_taken_where_something_is_left_of_it(make_student, tiny_card, tmp_path):
    write_strip(tmp_path / "strip.png")
    # No scaling in this model: it sees the strip as it is.
    model = make_student(tmp_path / "any.onnx", replace(tiny_card, long_side_px=None))
    cli.main(["run", str(tmp_path / "strip.png"), str(tmp_path / "out"), "--model", str(model)])
    assert [row["width_px"] for row in table(tmp_path / "out" / "predictions.csv")] == ["30000"]


def test_colour_depth_and_transparency_do_not_change_what_is_seen(tmp_path):
    image = photograph()
    grey = np.repeat(image[..., :1], 3, axis=2)
    write_sixteen_bit(tmp_path / "sixteen.tif")
    assert np.array_equal(read_image(tmp_path / "sixteen.tif"), grey)
    write_alpha(tmp_path / "alpha.png")
    assert np.array_equal(read_image(tmp_path / "alpha.png"), image)
    write_cmyk(tmp_path / "cmyk.jpg")
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(float) - image).mean() < 25


# --- folders and classes ---------------------------------------------------------------------------------


def test_a_class_folder_with_one_photograph_is_prepared_and_said(tmp_path):
    for number in range(8):
        write_image(tmp_path / "raw" / "vug" / f"{number}.png", photograph(number))
    write_image(tmp_path / "raw" / "oolite" / "only.png", photograph(99))
    cli.main(["prepare", str(tmp_path / "raw"), str(tmp_path / "data"), "--long-side-px", "64", "--workers", "1"])
    notes = json.loads((tmp_path / "data" / "prepare.json").read_text(encoding="utf-8"))["notes"]
    assert "Class 'oolite' has a single photograph." in notes
    only = [row for row in read_index(tmp_path / "data") if row.labels == ("oolite",)]
    assert [row.split for row in only] == ["train"]  # what is to be learnt must be seen in training


@pytest.mark.parametrize("command", ["prepare", "run"])
def test_an_empty_folder_is_refused(command, capsys, tmp_path, student_file):
    (tmp_path / "empty").mkdir()
    words = ["--model", student_file] if command == "run" else []
    said = refused(capsys, command, tmp_path / "empty", tmp_path / "out", *words)
    assert "empty" in said
    assert "no photograph" in said.lower()


def test_one_class_only_is_prepared_and_not_trained_on(capsys, tmp_path):
    for number in range(6):
        write_image(tmp_path / "raw" / "oolite" / f"{number}.png", photograph(number))
    cli.main(["prepare", str(tmp_path / "raw"), str(tmp_path / "data"), "--long-side-px", "64", "--workers", "1"])
    notes = json.loads((tmp_path / "data" / "prepare.json").read_text(encoding="utf-8"))["notes"]
    assert any("nothing can be learnt from one class" in note for note in notes)
    pytest.importorskip("torch", reason="training needs PyTorch: pip install 'geocamnet[train]'")
    said = refused(capsys, "train", tmp_path / "data", tmp_path / "run", "--backbone", "test_resnet")
    assert "at least two classes; received 1 (oolite)" in said
    assert not (tmp_path / "run").exists()


def test_classes_unknown_to_the_model_are_left_out_and_counted(student_file, tmp_path):
    evaluate = pytest.importorskip("geocamnet.train.evaluate", reason="needs geocamnet[train]")
    data = write_data(tmp_path / "data", test={"oolite": 2, "vug": 2, "mystery": 3, "": 1})
    figures = evaluate.evaluate(student_file, data, baselines=False, localisation=False)
    assert figures["n"] == 4
    assert figures["excluded"]["labels_unknown_to_the_model"] == {"mystery": 3}
    assert figures["excluded"]["unlabelled"] == 1


def test_when_the_model_knows_no_class_of_the_data_both_lists_are_told(capsys, student_file, tmp_path):
    pytest.importorskip("sklearn", reason="judging needs geocamnet[train]")
    data = write_data(tmp_path / "data", test={"mystery": 2, "riddle": 1})
    said = refused(capsys, "evaluate", student_file, data)
    assert "The model knows: oolite, foam, vug" in said
    assert "The data have: mystery, riddle" in said


@pytest.mark.parametrize("command", ["synthesize", "prepare", "run", "train"])
def test_a_folder_that_can_not_be_written_is_named(command, capsys, student_file, tmp_path):
    (tmp_path / "file").write_text("a file, below which nothing can be")
    data = write_data(tmp_path / "data")
    write_image(tmp_path / "raw" / "oolite" / "a.png", photograph())
    out = tmp_path / "file" / "out"
    if command == "train":
        pytest.importorskip("torch", reason="training needs PyTorch: pip install 'geocamnet[train]'")
    words = {
        "synthesize": ["synthesize", out, "--classes", "oolite", "--size-px", 32, "--sections", 1, "--workers", 1],
        "prepare": ["prepare", tmp_path / "raw", out, "--workers", 1],
        "run": ["run", tmp_path / "raw", out, "--model", student_file],
        "train": ["train", data, out, "--backbone", "test_resnet", "--image-px", 64, "--crop-px", 64],
    }[command]
    said = refused(capsys, *words)
    assert str(out) in said
    assert "can't be written" in said


def test_names_in_chinese_with_spaces_go_all_the_way(student_file, tmp_path):
    raw = tmp_path / f"原始 {CHINESE}"
    for number in range(6):
        write_image(raw / "鲕粒 灰岩" / f"薄片 {number} 单偏光.png", photograph(number))
        write_image(raw / "溶孔" / f"薄片 {number} 正交光.png", photograph(number + 50))
    data = tmp_path / f"数据 {CHINESE}"
    cli.main(["prepare", str(raw), str(data), "--long-side-px", "64", "--workers", "1"])
    rows = read_index(data)
    assert len(rows) == 12
    assert {row.light for row in rows} == {"PPL", "XPL"}
    assert all(read_image(data / row.image).shape == (48, 64, 3) for row in rows)
    assert any("薄片 3 单偏光" in row.source for row in rows)
    out = tmp_path / f"结果 {CHINESE}"
    cli.main(["run", str(raw), str(out), "--model", str(student_file)])
    named = table(out / "predictions.csv")
    assert len(named) == 12
    assert "鲕粒 灰岩/薄片 3 单偏光.png" in {row["image"] for row in named}
    pictures = [one for one in list_images(out / "pictures") if one.stem.endswith("_heatmap")]
    assert len(pictures) == 12
    assert any("薄片 3 单偏光" in picture.name for picture in pictures)
    assert (out / "predictions.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # so that Excel reads the names


def test_an_index_that_names_a_missing_photograph_is_refused_by_what_needs_it(capsys, tmp_path, student_file):
    data = write_data(tmp_path / "data")
    (data / "images" / "train_oolite_0.png").unlink()
    pytest.importorskip("torch", reason="training needs PyTorch: pip install 'geocamnet[train]'")
    said = refused(capsys, "train", data, tmp_path / "run", "--backbone", "test_resnet")
    assert "names 1 photograph(s) that are not there, the first: images/train_oolite_0.png" in said


def test_judging_goes_on_without_a_photograph_that_is_missing(capsys, tmp_path, student_file):
    evaluate = pytest.importorskip("geocamnet.train.evaluate", reason="needs geocamnet[train]")
    data = write_data(tmp_path / "data")
    (data / "images" / "test_oolite_0.png").unlink()
    figures = evaluate.evaluate(student_file, data, baselines=False, localisation=False)
    assert figures["n"] == 3
    assert [one["image"] for one in figures["skipped"]] == ["images/test_oolite_0.png"]


# --- model files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "info", "evaluate"])
def test_a_file_that_is_no_model_is_refused(command, capsys, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_text("this is not a network")
    write_image(tmp_path / "a.png", photograph())
    words = {
        "run": ["run", tmp_path / "a.png", tmp_path / "out", "--model", model],
        "info": ["info", model],
        "evaluate": ["evaluate", model, write_data(tmp_path / "data")],
    }[command]
    assert "not an ONNX model that can be opened" in refused(capsys, *words)
    assert not (tmp_path / "out").exists()


def test_a_network_without_its_card_is_refused(capsys, make_student, tiny_card, tmp_path):
    model = make_student(tmp_path / "bare.onnx", tiny_card, with_card=False)
    said = refused(capsys, "info", model)
    assert METADATA_KEY in said
    assert "geocamnet export" in said


def test_a_card_of_other_classes_than_the_network_has_is_refused(capsys, make_student, tiny_card, tmp_path):
    model = make_student(tmp_path / "five.onnx", tiny_card, outputs=5)
    assert "the card names 3 classes, 'probabilities' has 5" in refused(capsys, "info", model)


def test_a_checkpoint_is_no_model_file(capsys, tmp_path):
    write_image(tmp_path / "a.png", photograph())
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    said = refused(capsys, "run", tmp_path / "a.png", tmp_path / "out", "--model", tmp_path / "last.ckpt")
    assert "geocamnet export RUN MODEL.onnx" in said


def test_a_checkpoint_of_another_head_size_is_refused(capsys, tmp_path):
    torch = pytest.importorskip("torch", reason="adopting needs PyTorch: pip install 'geocamnet[train]'")
    import timm

    torch.save(timm.create_model("test_resnet", num_classes=22).state_dict(), tmp_path / "teacher.pth")
    (tmp_path / "classes.txt").write_text("oolite\nvug\n")
    data = write_data(tmp_path / "data")
    words = ["--classes", tmp_path / "classes.txt", "--data", data, "--backbone", "test_resnet"]
    said = refused(capsys, "adopt", tmp_path / "teacher.pth", tmp_path / "run", *words)
    assert "trunk.fc.weight is (22, " in said
    assert "list of classes" in said


def test_a_pickled_network_is_refused_with_the_way_to_convert_it(capsys, tmp_path):
    torch = pytest.importorskip("torch", reason="adopting needs PyTorch: pip install 'geocamnet[train]'")
    import timm

    torch.save(timm.create_model("test_resnet", num_classes=2), tmp_path / "whole.pth")
    (tmp_path / "classes.txt").write_text("oolite\nvug\n")
    data = write_data(tmp_path / "data")
    words = ["--classes", tmp_path / "classes.txt", "--data", data, "--backbone", "test_resnet"]
    said = refused(capsys, "adopt", tmp_path / "whole.pth", tmp_path / "run", *words)
    assert "torch.save(model.state_dict()" in said


def test_weights_of_a_run_that_were_swapped_are_noticed(capsys, tmp_path):
    training = pytest.importorskip("geocamnet.train.training", reason="needs geocamnet[train]")
    data = write_data(tmp_path / "data", train=["oolite", "vug", "foam"])
    training.distil(data, tmp_path / "three", replace(STUDENT, epochs=1), teacher=None)
    training.train(write_data(tmp_path / "other"), tmp_path / "two", replace(TEACHER, epochs=1))
    best = "checkpoints/best.safetensors"
    (tmp_path / "three" / best).write_bytes((tmp_path / "two" / best).read_bytes())
    said = refused(capsys, "export", tmp_path / "three", tmp_path / "m.onnx")
    assert "is not of this network" in said
    assert not (tmp_path / "m.onnx").exists()


def test_a_card_of_a_run_that_cant_be_used_is_told_with_its_file(capsys, tmp_path):
    file = tmp_path / "card.json"
    cases = {"UTF-8": '{"name": "岩石"}'.encode("gb18030"), "format None": b"{}", "not JSON": b"{"}
    for told, content in cases.items():
        file.write_bytes(content)
        said = refused(capsys, "info", tmp_path)
        assert str(file) in said
        assert told in said


def test_a_card_of_a_run_that_may_not_be_read_is_told_with_its_file(capsys, tmp_path, monkeypatch):
    (tmp_path / "card.json").write_text("{}")

    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    said = refused(capsys, "info", tmp_path)
    assert f"{tmp_path / 'card.json'}: can't be read (Permission denied)" in said
