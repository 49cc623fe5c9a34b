"""A folder in; pictures, a table and a summary out: whole after a stop, and honest about what could not be read."""

import csv
import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from geocamnet.card import FamiliarCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import read_image, write_image
from geocamnet.runtime.familiar import statistics
from geocamnet.runtime.folder import photograph as photograph_file
from geocamnet.runtime.folder import predict
from geocamnet.runtime.folder.out_folder import picture_path
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.runtime.folder.row import COLUMNS
from geocamnet.runtime.huge.scan_map import map_scan
from geocamnet.runtime.measure import area_percent, texture_entropy
from geocamnet.runtime.model import load
from geocamnet.runtime.pairs import combine
from geocamnet.runtime.render import MAX_PANEL_PX


@pytest.fixture
def source(tmp_path, paint):
    """A folder of four photographs: two share a name but for the suffix, two share it in two folders."""
    root = tmp_path / "photographs"
    write_image(root / "a.png", paint((40, 60), "oolite"))
    write_image(root / "a.jpg", paint((40, 60), "foam"))
    write_image(root / "well 1" / "a.png", paint((50, 50), "vug"))
    write_image(root / "葡萄" / "缝合线.png", np.full((30, 30, 3), 128, np.uint8))
    return root


def table(out):
    with (out / "predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


def skipped(out):
    with (out / "skipped.csv").open(encoding="utf-8-sig", newline="") as stream:
        return {row["image"]: row["reason"] for row in csv.DictReader(stream)}


def summary(out):
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def files(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


STEMS = ("a_jpg", "a_png", "well 1/a_png", "葡萄/缝合线_png")
NAMES = {"a.jpg", "a.png", "well 1/a.png", "葡萄/缝合线.png"}


def test_every_photograph_has_a_row_and_a_picture_of_its_own(source, tmp_path, student):
    out = tmp_path / "out"
    report = predict_folder(source, out, student)
    assert files(out) == {
        "predictions.csv",
        "skipped.csv",
        "summary.json",
        *("areas.csv", "sections.csv", "classes.csv", "areas.html", "masks.json"),
        *(f"pictures/{stem}_heatmap.jpg" for stem in STEMS),
        *(f"pictures/{stem}_areas.jpg" for stem in STEMS),
        *(f"masks/{stem}_classes.png" for stem in STEMS),
    }
    labels = {name: row["label"] for name, row in table(out).items()}
    assert labels == {"a.png": "oolite", "a.jpg": "foam", "well 1/a.png": "vug", "葡萄/缝合线.png": "not sure"}
    assert {row.image: row.label for row in report.rows} == labels
    assert report.counts == {"oolite": 1, "foam": 1, "vug": 1, "not sure": 1}
    assert report.skipped == ()
    assert report.out == out


def test_a_row_says_what_the_model_says(source, tmp_path, student):
    predict_folder(source, tmp_path / "out", student, um_per_px=1.5)
    row = table(tmp_path / "out")["a.png"]
    assert tuple(row) == COLUMNS
    image = read_image(source / "a.png")
    prediction = student.predict(image)
    (first, p1), (second, p2), (third, p3) = prediction.top(3)
    assert (row["label"], row["most_probable"], row["second"], row["third"]) == (first, first, second, third)
    found = [float(row[name]) for name in ("probability", "second_probability", "third_probability")]
    assert found == pytest.approx([p1, p2, p3], rel=1e-4)
    assert float(row["area_percent"]) == pytest.approx(area_percent(prediction.heatmap(first)), rel=1e-4)
    assert float(row["texture_entropy"]) == pytest.approx(texture_entropy(image, student.card.texture), rel=1e-4)
    assert (row["width_px"], row["height_px"], row["um_per_px"]) == ("60", "40", "1.5")
    assert float(row["elapsed_ms"]) > 0


def test_the_summary_says_how_it_was_made(source, tmp_path, student):
    predict_folder(source, tmp_path / "out", student)
    said = summary(tmp_path / "out")
    assert said["finished"] is True
    assert said["photographs"] == 4
    assert said["counts"] == {"oolite": 1, "foam": 1, "vug": 1, "not sure": 1}
    assert said["settings"]["model"] == "tiny"
    assert said["settings"]["model_sha256"] == student.sha256
    assert said["settings"]["threshold"] == 0.5
    assert said["version"]


def test_excel_is_told_that_the_table_is_utf8(source, tmp_path, student):
    predict_folder(source, tmp_path / "out", student)
    for name in ("predictions.csv", "skipped.csv"):
        content = (tmp_path / "out" / name).read_bytes()
        assert content.startswith(b"\xef\xbb\xbf")
        assert content.count(b"\xef\xbb\xbf") == 1


def test_one_photograph_is_a_source(source, tmp_path, student):
    report = predict_folder(source / "a.png", tmp_path / "out", student)
    assert [row.image for row in report.rows] == ["a.png"]
    assert (tmp_path / "out" / "pictures" / "a_png_heatmap.jpg").is_file()


def test_without_texture_none_is_measured(source, tmp_path, student):
    report = predict_folder(source, tmp_path / "out", student, texture=False)
    assert {row.texture_entropy for row in report.rows} == {None}
    assert {row["texture_entropy"] for row in table(tmp_path / "out").values()} == {""}


def test_several_labels_are_joined_and_counted_each(tmp_path, tiny_card, make_student):
    card = replace(tiny_card, labels="multi")
    model = load(make_student(tmp_path / "multi.onnx", card))
    # Magenta is as red as it is blue.
    write_image(tmp_path / "in" / "magenta.png", np.full((40, 40, 3), (255, 0, 255), np.uint8))
    write_image(tmp_path / "in" / "red.png", np.full((40, 40, 3), (255, 0, 0), np.uint8))
    report = predict_folder(tmp_path / "in", tmp_path / "out", model)
    assert {row.image: row.label for row in report.rows} == {"magenta.png": "oolite|vug", "red.png": "oolite"}
    assert report.counts == {"oolite": 2, "vug": 1}


def test_the_heat_drawn_is_that_of_the_strongest_class_named(tmp_path, tiny_card, make_student, paint):
    card = replace(tiny_card, labels="multi", label_thresholds=(1.0, 0.1, 0.2))
    model = load(make_student(tmp_path / "multi.onnx", card))
    image = paint((40, 80), "oolite", "vug")
    image[:, :50] = image[0, 0]  # more red than blue: the first class is the most probable, and not named
    write_image(tmp_path / "in" / "a.png", image)
    predict_folder(tmp_path / "in", tmp_path / "out", model)
    row, prediction = table(tmp_path / "out")["a.png"], model.predict(image)
    assert (row["most_probable"], row["label"]) == ("oolite", "vug|foam")
    assert float(row["area_percent"]) == pytest.approx(area_percent(prediction.heatmap("vug")), rel=1e-4)
    assert area_percent(prediction.heatmap("vug")) < area_percent(prediction.heatmap("oolite"))


def test_refusals_are_told_in_the_table_and_counted(source, tmp_path, tiny_card, make_student, paint):
    mean = tuple(statistics(paint((40, 60), "oolite"), 64).tolist())
    only_contrast = np.zeros((len(mean), len(mean)))
    only_contrast[0, 0] = 1
    familiar = FamiliarCard(mean, tuple(map(tuple, only_contrast.tolist())), limit=2.0, long_side_px=64)
    checked = np.indices((40, 40)).sum(0) % 2 * 255
    write_image(source / "checked.png", np.repeat(checked[..., None], 3, 2).astype(np.uint8))
    model = load(make_student(tmp_path / "strict.onnx", replace(tiny_card, evidence_below=1.2, familiar=familiar)))
    report = predict_folder(source, tmp_path / "out", model)
    assert {name: row["label"] for name, row in table(tmp_path / "out").items()} == {
        "a.png": "oolite",
        "a.jpg": "foam",
        "well 1/a.png": "vug",
        "checked.png": "unlike the training photographs",
        "葡萄/缝合线.png": "nothing here",
    }
    assert summary(tmp_path / "out")["counts"] == report.counts
    assert report.counts["nothing here"] == report.counts["unlike the training photographs"] == 1


def test_a_model_of_two_classes_has_no_third(tmp_path, tiny_card, make_student, paint):
    card = replace(tiny_card, classes=tiny_card.classes[:2], map_scale=(8.0, 8.0), class_bias=(0.0, 0.0))
    model = load(make_student(tmp_path / "two.onnx", card))
    write_image(tmp_path / "in" / "a.png", paint((40, 40), "foam"))
    predict_folder(tmp_path / "in", tmp_path / "out", model)
    row = table(tmp_path / "out")["a.png"]
    assert (row["second"], row["third"], row["third_probability"]) == ("oolite", "", "")


def test_bad_files_are_listed_with_their_reason_and_survived(source, tmp_path, student):
    (source / "empty.jpg").touch()
    (source / "not a picture.png").write_bytes(b"notes, from the field")
    whole = (source / "a.png").read_bytes()
    (source / "cut short.png").write_bytes(whole[: len(whole) // 2])
    write_image(source / "narrow.png", np.zeros((2, 2000, 3), np.uint8))
    report = predict_folder(source, tmp_path / "out", student)
    assert {row.image for row in report.rows} == NAMES
    listed = skipped(tmp_path / "out")
    assert set(listed) == {"empty.jpg", "not a picture.png", "cut short.png", "narrow.png"}
    assert "0 bytes" in listed["empty.jpg"]
    assert "at least 32 px" in listed["narrow.png"]
    assert {path.name for path, _ in report.skipped} == set(listed)
    assert summary(tmp_path / "out")["skipped"] == 4


def test_a_network_that_answers_nan_is_listed(source, tmp_path, tiny_card, make_student):
    model = load(make_student(tmp_path / "nan.onnx", tiny_card, nan=True))
    report = predict_folder(source, tmp_path / "out", model)
    assert report.rows == ()
    assert all("NaN" in reason for reason in skipped(tmp_path / "out").values())
    assert len(report.skipped) == 4


def test_tiny_photographs_are_survived(tmp_path, student):
    for side in (1, 2, 9):
        write_image(tmp_path / "in" / f"{side}.png", np.full((side, side, 3), (255, 0, 0), np.uint8))
    report = predict_folder(tmp_path / "in", tmp_path / "out", student)
    assert len(report.rows) + len(report.skipped) == 3


def test_pictures_are_of_a_size_to_be_looked_at(tmp_path, student):
    write_image(tmp_path / "in" / "wide.png", np.full((100, 2500, 3), (255, 0, 0), np.uint8))
    for name, texture in (("with", True), ("without", False)):
        predict_folder(tmp_path / "in", tmp_path / name, student, um_per_px=2.0, texture=texture)
        picture = read_image(tmp_path / name / "pictures" / "wide_png_heatmap.jpg")
        assert picture.shape[1] < 2 * MAX_PANEL_PX + 1
        assert table(tmp_path / name)["wide.png"]["width_px"] == "2500"


class Counting:
    """A model that counts its predictions, and may be told to be stopped at one of them."""

    def __init__(self, model, *, stop_at=None):
        self.card, self.sha256, self.all_attitudes = model.card, model.sha256, model.all_attitudes
        self.model, self.calls, self.stop_at = model, 0, stop_at

    def predict(self, image, **options):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return self.model.predict(image, **options)


def test_what_was_stopped_is_taken_up(source, tmp_path, student):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, out, Counting(student, stop_at=3))
    assert len(table(out)) == 2
    assert summary(out)["finished"] is False
    again = Counting(student)
    report = predict_folder(source, out, again)
    assert again.calls == 2
    assert set(table(out)) == NAMES
    assert {row.image for row in report.rows} == NAMES
    assert summary(out)["finished"] is True
    assert (out / "predictions.csv").read_bytes().count(b"\xef\xbb\xbf") == 1


def test_a_second_call_does_nothing_again(source, tmp_path, student):
    first = predict_folder(source, tmp_path / "out", student)
    again = Counting(student)
    second = predict_folder(source, tmp_path / "out", again)
    assert again.calls == 0
    assert second.counts == first.counts
    assert [row.image for row in second.rows] == [row.image for row in first.rows]
    assert second.rows[0].probability == pytest.approx(first.rows[0].probability, rel=1e-5)


def test_a_new_photograph_and_a_mended_one_are_added(source, tmp_path, student, paint):
    (source / "late.png").touch()
    predict_folder(source, tmp_path / "out", student)
    write_image(source / "late.png", paint((20, 20), "vug"))
    write_image(source / "new.png", paint((20, 20), "foam"))
    again = Counting(student)
    report = predict_folder(source, tmp_path / "out", again)
    assert again.calls == 2
    assert report.skipped == ()
    assert skipped(tmp_path / "out") == {}
    assert set(table(tmp_path / "out")) == NAMES | {"late.png", "new.png"}


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_a_row_torn_by_a_crash_is_done_again(source, tmp_path, student, cut):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    content = (out / "predictions.csv").read_bytes()
    (out / "predictions.csv").write_bytes(content[:-cut])
    again = Counting(student)
    predict_folder(source, out, again)
    assert again.calls == 1
    assert len((out / "predictions.csv").read_bytes().splitlines()) == 5
    assert set(table(out)) == NAMES


def test_what_killed_calls_have_left_is_removed_and_nothing_else(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    (out / "mine").mkdir()
    (out / "mine" / ".aside-0123456789ab.jpg").write_bytes(b"mine")
    whole = files(out)
    for name in (".aside-0.csv", "pictures/.aside-1.jpg", "pictures/well 1/.aside-2.jpg", "masks/.aside-3.png"):
        (out / name).write_bytes(b"half")
    predict_folder(source, out, student)
    assert files(out) == whole


def test_a_row_whose_picture_is_gone_is_done_again(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    for name in ("pictures/a_png_heatmap.jpg", "pictures/a_png_areas.jpg", "masks/a_png_classes.png"):
        (out / name).unlink()
        again = Counting(student)
        predict_folder(source, out, again)
        assert again.calls == 1, name
        assert set(table(out)) == NAMES
        assert (out / name).is_file()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"um_per_px": 2.0}, "um_per_px = None"),
        ({"texture": False}, "texture = True"),
        ({"porosity": "blue"}, "porosity = None"),
    ],
)
def test_other_options_are_not_mixed_in(source, tmp_path, student, options, named):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    before = (out / "predictions.csv").read_bytes()
    with pytest.raises(DataError, match=f"{named}.*--overwrite"):
        predict_folder(source, out, student, **options)
    assert (out / "predictions.csv").read_bytes() == before


def test_another_model_or_source_is_not_mixed_in(source, tmp_path, student, tiny_card, make_student, paint):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    other = load(make_student(tmp_path / "other.onnx", replace(tiny_card, licence="other")))
    with pytest.raises(DataError, match=r"model_sha256.*--overwrite"):
        predict_folder(source, out, other)
    write_image(tmp_path / "elsewhere" / "a.png", paint((20, 20), "vug"))
    with pytest.raises(DataError, match=r"source.*--overwrite"):
        predict_folder(tmp_path / "elsewhere", out, student)


def test_overwrite_begins_anew(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    (source / "a.jpg").unlink()
    (out / "notes.txt").write_text("mine")
    report = predict_folder(source, out, student, um_per_px=2.0, overwrite=True)
    assert {row.image for row in report.rows} == set(table(out)) == NAMES - {"a.jpg"}
    assert not any("a_jpg" in name for name in files(out))
    assert (out / "notes.txt").read_text() == "mine"
    assert {row["um_per_px"] for row in table(out).values()} == {"2"}


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"settings": 3}'])
def test_a_table_that_does_not_say_how_it_was_made_is_refused(source, tmp_path, student, content):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    (out / "summary.json").unlink()
    if content is not None:
        (out / "summary.json").write_text(content)
    with pytest.raises(DataError, match="--overwrite"):
        predict_folder(source, out, student)
    assert len(predict_folder(source, out, student, overwrite=True).rows) == 4


def test_a_table_of_other_columns_is_refused(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    (out / "predictions.csv").write_text("image,name\na.png,oolite\n")
    with pytest.raises(DataError, match=r"columns.*--overwrite"):
        predict_folder(source, out, student)


def test_out_inside_the_source_is_not_read(source, student):
    out = source / "results"
    predict_folder(source, out, student)
    report = predict_folder(source, out, student)
    assert {row.image for row in report.rows} == NAMES
    assert len(files(out)) == 8 + 3 * 4


def test_what_an_earlier_call_has_made_inside_the_source_is_no_photograph(source, student, caplog):
    predict_folder(source, source / "first", student)
    predict_folder(source, source / "shared", student, shard="1/2")  # of a job, which leaves no summary of its own
    caplog.clear()
    report = predict_folder(source, source / "second", student, texture=False)
    assert {row.image for row in report.rows} == NAMES
    assert [record.getMessage() for record in caplog.records] == [
        f"{source}: {4 * 3 + 2 * 3} picture(s) that run or scan has made are left out"
    ]
    with pytest.raises(DataError, match="no photograph found in it but 12"):
        predict_folder(source / "first", source / "third", student)


def test_photographs_in_a_folder_that_also_holds_results_are_read(source, tmp_path, student, paint):
    predict_folder(source / "well 1", source, student)
    write_image(source / "pictures" / "mine.png", paint((20, 20), "vug"))
    write_image(source / "overview.jpg", paint((20, 20), "vug"))
    report = predict_folder(source, tmp_path / "out", student)
    assert {row.image for row in report.rows} == NAMES | {"pictures/mine.png", "overview.jpg"}


def test_pictures_that_look_like_results_but_lie_in_no_out_are_read(tmp_path, student, paint):
    for name in ("pictures/a_heatmap.jpg", "masks/a_classes.png", "overview.jpg"):
        write_image(tmp_path / "in" / name, paint((20, 20), "vug"))
    assert len(predict_folder(tmp_path / "in", tmp_path / "out", student).rows) == 3


def test_what_a_scan_has_made_inside_the_source_is_no_photograph(source, tmp_path, student):
    pytest.importorskip("tifffile", reason="scans need tifffile: pip install 'geocamnet[big]'")
    map_scan(source / "a.png", source / "scanned", student)
    assert (source / "scanned" / "overview.jpg").is_file()
    assert (source / "scanned" / "heatmaps.ome.tif").is_file()
    assert {row.image for row in predict_folder(source, tmp_path / "out", student).rows} == NAMES


MINE = ("areas.csv", "skipped.csv", "summary.json", "masks.json", "sections.csv", "classes.csv", "areas.html")


@pytest.mark.parametrize("shard", ["", "1/2"])
@pytest.mark.parametrize("name", MINE)
def test_a_first_call_writes_over_no_file_of_mine(source, tmp_path, student, name, shard):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("section,depth_m\nTS1,1200.5\n")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=rf"holds {name}.*empty or new folder"):
        predict_folder(source, out, student, shard=shard)
    assert files(out) == {name, "notes.txt"}
    assert (out / name).read_text() == "section,depth_m\nTS1,1200.5\n"
    assert len(predict_folder(source, out, student, overwrite=True).rows) == 4


def test_a_scan_is_not_written_over(source, tmp_path, student):
    pytest.importorskip("tifffile", reason="scans need tifffile: pip install 'geocamnet[big]'")
    map_scan(source / "a.png", tmp_path / "out", student)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    with pytest.raises(DataError, match="empty or new folder"):
        predict_folder(source, tmp_path / "out", student)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == before


def test_a_first_call_killed_before_its_summary_is_taken_up(source, tmp_path, student, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "write_summary", killed)
    for shard in ("", "1/2"):
        with pytest.raises(KeyboardInterrupt):
            predict_folder(source, tmp_path / f"out{shard[:1]}", student, shard=shard)
    monkeypatch.undo()
    assert files(tmp_path / "out") == {"predictions.csv", "areas.csv"}
    for out in (tmp_path / "out", tmp_path / "out1"):
        assert len(predict_folder(source, out, student).rows) == 4


def test_photographs_that_are_gone_are_not_counted_and_are_told(source, tmp_path, student, caplog):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    (source / "a.jpg").unlink()
    (source / "well 1" / "a.png").rename(source / "well 1" / "renamed.png")
    caplog.clear()
    report = predict_folder(source, out, student)
    there = NAMES - {"a.jpg", "well 1/a.png"} | {"well 1/renamed.png"}
    assert {row.image for row in report.rows} == there
    assert [row.image for row in report.gone] == ["a.jpg", "well 1/a.png"]
    assert report.counts == summary(out)["counts"] == {"oolite": 1, "vug": 1, "not sure": 1}
    assert (summary(out)["photographs"], summary(out)["gone"]) == (3, ["a.jpg", "well 1/a.png"])
    assert list(table(out))[-2:] == ["a.jpg", "well 1/a.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"2 row(s) of predictions.csv are of photographs no longer in {source}: not counted, and listed in "
        "summary.json as gone"
    ]


def test_a_photograph_that_comes_back_is_not_predicted_again(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    (source / "a.jpg").rename(tmp_path / "a.jpg")
    predict_folder(source, out, student)
    (tmp_path / "a.jpg").rename(source / "a.jpg")
    again = Counting(student)
    report = predict_folder(source, out, again)
    assert again.calls == 0
    assert {row.image for row in report.rows} == NAMES
    assert report.gone == ()
    assert summary(out)["gone"] == []


def test_a_job_does_not_take_the_share_of_another_for_gone(source, tmp_path, student, paint):
    out = tmp_path / "out"
    predict_folder(source, out, student, shard="1/2")
    write_image(source / "0.png", paint((20, 20), "vug"))  # first of all: every photograph changes its share
    assert predict_folder(source, out, student, shard="1/2").gone == ()
    report = predict_folder(source, out, student)
    assert {row.image for row in report.rows} == NAMES | {"0.png"}
    assert report.gone == ()


def test_out_must_be_another_folder_than_the_source(source, tmp_path, student):
    with pytest.raises(DataError, match="another folder"):
        predict_folder(source, source, student)
    out = tmp_path / "out"
    predict_folder(source, out, student)
    with pytest.raises(DataError, match="another folder"):
        predict_folder(out / "pictures", out, student)


def test_an_out_that_can_not_be_written_stops_the_run(source, tmp_path, student):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="can't be written"):
        predict_folder(source, tmp_path / "file", student)


def test_a_disk_that_fills_stops_the_run_and_leaves_it_to_be_taken_up(source, tmp_path, student, monkeypatch):
    real, calls = photograph_file.write_image, []

    def filling(path, image, **options):
        calls.append(path)
        if len(calls) == 3 * 2 + 2:  # the second picture of the third photograph
            raise DataError(f"{path}: can't be written (No space left on device).")
        real(path, image, **options)

    monkeypatch.setattr(photograph_file, "write_image", filling)
    with pytest.raises(DataError, match="No space left"):
        predict_folder(source, tmp_path / "out", student)
    assert len(table(tmp_path / "out")) == 2
    monkeypatch.undo()
    assert len(predict_folder(source, tmp_path / "out", student).rows) == 4


def test_a_source_without_photographs_is_told(tmp_path, student):
    with pytest.raises(DataError, match="no such"):
        predict_folder(tmp_path / "absent", tmp_path / "out", student)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photograph"):
        predict_folder(tmp_path / "empty", tmp_path / "out", student)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("um_per_px", [0.0, -2.0, float("nan")])
def test_a_scale_out_of_range_is_refused_before_anything_is_written(source, tmp_path, student, um_per_px):
    with pytest.raises(DataError, match="above 0"):
        predict_folder(source, tmp_path / "out", student, um_per_px=um_per_px)
    assert not (tmp_path / "out").exists()


def test_progress_counts_what_was_done_before(source, tmp_path, student):
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, tmp_path / "out", Counting(student, stop_at=3))
    calls = []
    predict_folder(source, tmp_path / "out", student, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 4), (3, 4), (4, 4)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_hostile_names_are_survived(tmp_path, student, paint):
    source, out = tmp_path / "in", tmp_path / "out"
    long_name = "灰" * 80 + ".png"
    names = [b"latin \xe9.png", b"two\nlines.png", b'quote " comma,.png', long_name.encode(), b"\xe2\x80\xa8.png"]
    names += [b"c\rd.png", b"=1+2.png", b"-3.png"]
    write_image(tmp_path / "one.png", paint((20, 20), "vug"))
    source.mkdir()
    for name in names:
        (source / os.fsdecode(name)).write_bytes((tmp_path / "one.png").read_bytes())
    report = predict_folder(source, out, student)
    assert len(report.rows) == len(names)
    plain = {"latin \\xe9.png", "two\nlines.png", 'quote " comma,.png', long_name, "\u2028.png", "c\rd.png"}
    assert set(table(out)) == plain | {"'=1+2.png", "'-3.png"}
    again = Counting(student)
    report = predict_folder(source, out, again)
    assert {row.image for row in report.rows} == plain | {"=1+2.png", "-3.png"}
    assert again.calls == 0
    assert summary(out)["photographs"] == len(names)


def test_no_two_photographs_share_a_picture(tmp_path):
    from pathlib import Path

    names = ["a.jpg", "a.png", "a.jpg.png", "a_jpg.png", "b/a.jpg", "b_a.jpg", "x" * 240 + ".jpg", "x" * 241 + ".jpg"]
    pictures = {picture_path(tmp_path, Path(name)) for name in names}
    assert len(pictures) == len(names)
    assert all(len(path.name.encode()) < 230 for path in pictures)


def test_an_unknown_model_error_text_is_kept(source, tmp_path, student):
    class Failing(Counting):
        def predict(self, image, **options):
            raise ModelError("the network failed")

    predict_folder(source, tmp_path / "out", Failing(student))
    assert set(skipped(tmp_path / "out").values()) == {"the network failed"}


@pytest.fixture
def pairs(tmp_path, paint):
    """A folder of two fields in both lights, and of two photographs alone."""
    root = tmp_path / "pairs"
    write_image(root / "1_PPL.png", paint((40, 60), "oolite", "foam"))
    write_image(root / "1_XPL.png", paint((40, 60), "oolite", "vug"))
    write_image(root / "well" / "XPL" / "2.png", paint((40, 40), "vug"))
    write_image(root / "well" / "PPL" / "2.png", paint((40, 40), "vug", "foam"))
    write_image(root / "3_XPL.png", paint((40, 40), "foam"))
    write_image(root / "4.png", paint((40, 40), "oolite"))
    return root


FIELDS = {"1_PPL.png": "1_XPL.png", "3_XPL.png": "", "4.png": "", "well/PPL/2.png": "well/XPL/2.png"}


def test_the_photographs_of_a_field_are_one_row_and_one_picture(pairs, tmp_path, student):
    out = tmp_path / "out"
    told = []
    predict_folder(pairs, out, student, pairs=True, on_progress=lambda *one: told.append(one))
    rows = table(out)
    assert {name: row["joined"] for name, row in rows.items()} == FIELDS
    assert {path for path in files(out) if path.endswith("_heatmap.jpg")} == {
        "pictures/1_PPL_png_heatmap.jpg",
        "pictures/3_XPL_png_heatmap.jpg",
        "pictures/4_png_heatmap.jpg",
        "pictures/well/PPL/2_png_heatmap.jpg",
    }
    joint = combine([student.predict(read_image(pairs / name)) for name in ("1_PPL.png", "1_XPL.png")])
    assert rows["1_PPL.png"]["label"] == joint.label == "oolite"
    assert float(rows["1_PPL.png"]["probability"]) == pytest.approx(joint.top(1)[0][1], rel=1e-4)
    alone = student.predict(read_image(pairs / "4.png"))
    assert float(rows["4.png"]["probability"]) == pytest.approx(alone.top(1)[0][1], rel=1e-4)
    said = summary(out)
    assert (said["photographs"], said["fields_joined"], said["photographs_alone"]) == (6, 2, 2)
    assert told[-1] == (4, 4)


def test_without_pairs_every_photograph_is_predicted_alone(pairs, tmp_path, student):
    report = predict_folder(pairs, tmp_path / "out", student)
    assert len(report.rows) == 6
    assert {row.joined for row in report.rows} == {""}
    assert summary(tmp_path / "out")["photographs"] == 6


def test_fields_that_were_stopped_are_taken_up_and_not_mixed_with_photographs(pairs, tmp_path, student):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(pairs, out, Counting(student, stop_at=4), pairs=True)  # in the third field
    assert len(table(out)) == 2
    again = Counting(student)
    predict_folder(pairs, out, again, pairs=True)
    assert again.calls == 3
    assert {name: row["joined"] for name, row in table(out).items()} == FIELDS
    with pytest.raises(DataError, match=r"pairs = True.*--overwrite"):
        predict_folder(pairs, out, student)


def test_a_photograph_that_completes_a_field_has_it_done_again(pairs, tmp_path, student, paint):
    out = tmp_path / "out"
    predict_folder(pairs, out, student, pairs=True)
    write_image(pairs / "3_PPL.png", paint((40, 40), "vug"))
    (pairs / "1_XPL.png").unlink()
    again = Counting(student)
    predict_folder(pairs, out, again, pairs=True)
    assert again.calls == 3
    rows = table(out)
    assert (rows["3_PPL.png"]["joined"], rows["1_PPL.png"]["joined"]) == ("3_XPL.png", "")
    assert "3_XPL.png" not in rows
    assert not (out / "pictures" / "3_XPL_png_heatmap.jpg").exists()
    assert (out / "pictures" / "3_PPL_png_heatmap.jpg").is_file()


def test_a_field_whose_photographs_do_not_fit_each_other_is_listed(pairs, tmp_path, student, paint):
    write_image(pairs / "1_XPL.png", paint((40, 50), "vug"))
    (pairs / "well" / "XPL" / "2.png").write_bytes(b"notes")
    predict_folder(pairs, tmp_path / "out", student, pairs=True)
    listed = skipped(tmp_path / "out")
    assert set(listed) == {"1_PPL.png", "well/PPL/2.png"}
    assert "one size" in listed["1_PPL.png"]
    assert "1_XPL.png (50 x 40 px)" in listed["1_PPL.png"]
    assert "XPL" in listed["well/PPL/2.png"]
    assert set(table(tmp_path / "out")) == {"3_XPL.png", "4.png"}
