import csv
import json
import sys
from dataclasses import replace
from types import ModuleType

import cv2
import numpy as np
import pytest

from geocamnet.card import ClassCard, FamiliarCard, ModelCard
from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.train import map_samples
from geocamnet.train.evaluate import evaluate
from geocamnet.train.index import IndexRow, read_index, write_index
from geocamnet.train.refinements import REFINEMENTS
from geocamnet.train.runs import folds_sha256

CLASSES = ("rows", "columns")  # told apart by the direction of their stripes


def stripes(name, rng, shape_hw=(64, 80)):
    along = np.arange(shape_hw[0])[:, None] if name == "rows" else np.arange(shape_hw[1])[None]
    grey = 90 + 80 * (along // 4 % 2) + rng.normal(0, 8, shape_hw)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def predict(image):
    """A network of two filters: class maps from gradients down and across, 8 px a cell."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    down, across = np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1)), np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0))
    cells_wh = (image.shape[1] // 8, image.shape[0] // 8)
    maps = np.stack([cv2.resize(one, cells_wh, interpolation=cv2.INTER_AREA) for one in (down, across)]) / 50
    logits = maps.mean(axis=(1, 2))
    odds = np.exp(logits - logits.max())
    return (odds / odds.sum()).astype(np.float32), maps


def card_of(classes=CLASSES, **changes):
    card = ModelCard(
        name="stripes",
        classes=tuple(ClassCard(name, name.capitalize(), (200, 60 * i, 0)) for i, name in enumerate(classes)),
        labels="single",
        architecture="two filters",
        parameters=18,
        map_stride=8,
        long_side_px=None,
        um_per_px=None,
        map_scale=(2.0,) * len(classes),
        class_bias=(0.0,) * len(classes),
    )
    return replace(card, **changes)


@pytest.fixture
def opened(monkeypatch):
    """Put a fake network in the place of the one that `evaluate` opens."""

    def use(card, predict=predict):
        module = ModuleType("geocamnet.train.predictor")
        module.open_predictor = lambda run_or_model, all_attitudes=False: (predict, card)
        monkeypatch.setitem(sys.modules, "geocamnet.train.predictor", module)

    use(card_of())
    monkeypatch.setattr(map_samples, "MOSAICS_TEST", 12)
    monkeypatch.setattr(map_samples, "MOSAICS_VAL", 8)
    return use


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 8), ("val", 4), ("test", 6)):
        for i in range(count):
            name = CLASSES[i % 2]
            image = f"images/{split}-{i}.png"
            write_image(folder / image, stripes(name, rng))
            section = f"{split}-{i // 2}"
            rows.append(
                IndexRow(image, (name,), section, "", "PPL", 2.0, split, 80, 64, "0" * 64, f"{split}{i}.png", i % 3)
            )
    write_index(folder, rows)
    (folder / "prepare.json").write_text(json.dumps({"sections_known": True}), encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def change_rows(data, change):
    write_index(data, [change(row) for row in read_index(data)])


def test_everything_is_judged_and_written_into_the_run(opened, data, run):
    told = []
    figures = evaluate(run, data, on_progress=lambda *one: told.append(one))
    assert figures == json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert figures["n"] == 6
    assert figures["sections"] == 3
    assert figures["model"]["accuracy"] == 1
    assert figures["model"]["intervals"]["accuracy"] == [1, 1]
    assert figures["model"]["abstention"] == {"threshold": 0.0, "coverage": 1.0, "accuracy": 1.0}
    assert figures["baselines"]["majority"]["accuracy"] == 0.5
    assert figures["baselines"]["majority"]["n"] == figures["baselines"]["random_forest"]["n"] == 6
    assert figures["baselines"]["trained_on"] == 8
    assert figures["sections_known"] is True
    assert figures["skipped"] == []
    assert {what for what, _, _ in told} >= {"predicting", "measuring for the random forest", "judging heatmaps"}


def test_photographs_measured_before_are_not_measured_again(opened, data, run, monkeypatch):
    measured = {}
    first = evaluate(run, data, localisation=False, measured=measured)["baselines"]["random_forest"]
    assert set(measured) == {row.image for row in read_index(data) if row.split != "val"}
    monkeypatch.setattr("geocamnet.train.evaluate.features_of", lambda images: pytest.fail("measured again"))
    assert evaluate(run, data, localisation=False, measured=measured)["baselines"]["random_forest"] == first


def test_predictions_are_a_row_a_photograph(opened, data, run):
    evaluate(run, data, baselines=False, localisation=False)
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "section", "label", "predicted", "verdict", *CLASSES]
    assert [row["image"] for row in rows] == [f"images/test-{i}.png" for i in range(6)]
    assert all(row["label"] == row["predicted"] == row["verdict"] for row in rows)
    assert float(rows[0]["rows"]) + float(rows[0]["columns"]) == pytest.approx(1, abs=1e-5)


def test_mosaics_judge_the_heatmaps_where_there_are_no_masks(opened, data, run):
    where = evaluate(run, data, baselines=False)["localisation"]
    assert where["kind"] == "mosaics"
    assert where["cell_px"] == 64
    assert where["thresholds_from"] == "val"
    assert where["equivariance_error"] > 0
    table = where["table"]
    assert {"model", "model_softmax", "grey", "random", "glcm_entropy"} <= set(table)
    assert {f"model_{name}" for name in REFINEMENTS} <= set(table)
    assert table["model_texture"]["validation"]["pixel_ap"] > table["grey"]["validation"]["pixel_ap"]
    assert table["model"]["pixel_ap"] > 0.8 > table["grey"]["pixel_ap"]
    assert table["model"]["energy"] > table["grey"]["energy"] + 0.2
    random_cells = where["voronoi"]
    assert set(random_cells["table"]) == set(table)
    assert random_cells["n_photographs"] == where["n_photographs"] == 12
    assert random_cells["table"]["model"]["pixel_ap"] > 0.8 > random_cells["table"]["grey"]["pixel_ap"]


def test_heatmaps_are_judged_without_masks_too_and_where_nothing_else_can_be(opened, data, run):
    change_rows(data, lambda row: replace(row, labels=("rows",)))
    where = evaluate(run, data, baselines=False)["localisation"]
    assert where["kind"] is None
    assert where["faithfulness"]["n"] == where["marks"]["n"] == 6
    assert {"model", "grey", "inverse_grey", "edges", "centre", "random"} == set(where["faithfulness"]["table"])
    assert where["marks"]["ratio"] > 0


def test_a_network_before_training_gets_a_row_of_its_own(opened, data, run):
    def untrained(image):
        cells = (2, image.shape[0] // 8, image.shape[1] // 8)
        return np.array([0.5, 0.5]), np.random.default_rng(0).normal(size=cells).astype(np.float32)

    table = evaluate(run, data, baselines=False, untrained=untrained)["localisation"]["table"]
    assert table["untrained"]["pixel_ap"] < table["model"]["pixel_ap"]


def with_masks(data, classes, values):
    """Replace every photograph of val and test by rows on the left and columns on the right, and say so."""
    rng = np.random.default_rng(1)
    for row in read_index(data):
        if row.split != "train":
            image, mask = stripes("rows", rng), np.full((64, 80), values[0], np.uint8)
            image[:, 48:], mask[:, 48:] = stripes("columns", rng)[:, 48:], values[1]
            mask[:4] = 0
            write_image(data / row.image, image)
            write_image(data / "masks" / f"{row.split}-{row.source}", mask)
    (data / "masks" / "masks.json").write_text(json.dumps({"classes": classes}), encoding="utf-8")
    change_rows(data, lambda row: row if row.split == "train" else replace(row, mask=f"masks/{row.split}-{row.source}"))


def test_masks_judge_the_heatmaps_where_there_are_any(opened, data, run):
    with_masks(data, ["columns", "rows"], (2, 1))
    where = evaluate(run, data, baselines=False)["localisation"]
    assert where["kind"] == "masks"
    assert where["n_photographs"] == 6
    assert where["area_share"] == pytest.approx(0.5)
    assert where["table"]["model"]["miou"] > 0.8
    assert where["table"]["model"]["per_class"]["rows"]["n"] == 6


def test_masks_of_photographs_of_several_labels_judge_the_heatmaps_of_a_model_of_one(opened, data, run):
    with_masks(data, ["columns", "rows"], (2, 1))
    change_rows(data, lambda row: replace(row, labels=CLASSES) if row.mask else row)
    plain = replace(read_index(data)[0], image="images/plain.png", labels=("rows",), split="test", section="plain")
    write_image(data / plain.image, stripes("rows", np.random.default_rng(3)))
    write_index(data, [*read_index(data), plain])
    figures = evaluate(run, data, baselines=False)
    assert figures["n"] == 1
    assert figures["localisation"]["kind"] == "masks"
    assert figures["localisation"]["n_photographs"] == 6
    assert figures["localisation"]["thresholds_from"] == "val"


def test_pixels_of_a_class_the_model_does_not_know_are_scored_as_outside(opened, data, run):
    with_masks(data, ["columns", "marble"], (2, 1))
    where = evaluate(run, data, baselines=False)["localisation"]
    assert set(where["table"]["model"]["per_class"]) == {"columns"}
    assert where["area_share"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("classes", "says"), [(["columns"], "holds the value 2"), (None, "must hold"), ("absent", "not there")]
)
def test_masks_without_a_meaning_are_told_of_and_the_rest_is_judged(opened, data, run, classes, says):
    with_masks(data, classes, (2, 1))
    if classes == "absent":
        (data / "masks" / "masks.json").unlink()
    elif classes is None:
        (data / "masks" / "masks.json").write_text("[]", encoding="utf-8")
    figures = evaluate(run, data, baselines=False)
    assert says in figures["localisation"]["not_possible"]
    assert figures["n"] == 6


def test_a_damaged_photograph_is_listed_and_the_rest_is_judged(opened, data, run):
    (data / "images" / "test-1.png").write_bytes(b"not a photograph")
    (data / "images" / "test-2.png").unlink()
    (data / "images" / "train-3.png").write_bytes(b"")
    (data / "images" / "val-0.png").write_bytes(b"")
    figures = evaluate(run, data)
    assert figures["n"] == 4
    assert [one["image"] for one in figures["skipped"]] == ["images/test-1.png", "images/test-2.png"]
    assert figures["baselines"]["trained_on"] == 7
    assert figures["localisation"]["kind"] == "mosaics"
    assert any("2 photograph(s) could not be read" in one for one in figures["caveats"])


def test_labels_the_model_does_not_know_are_left_out_and_named(opened, data, run):
    change_rows(data, lambda row: replace(row, labels=("marble",)) if row.source == "test0.png" else row)
    change_rows(data, lambda row: replace(row, labels=CLASSES) if row.source == "test1.png" else row)
    change_rows(data, lambda row: replace(row, labels=()) if row.source == "test2.png" else row)
    figures = evaluate(run, data, baselines=False, localisation=False)
    assert figures["n"] == 3
    assert figures["excluded"] == {
        "photographs": 3,
        "unlabelled": 1,
        "several_labels": 1,
        "labels_unknown_to_the_model": {"marble": 1},
    }
    assert any("marble" in one for one in figures["caveats"])


def test_a_model_that_knows_none_of_the_labels_is_refused_naming_both_sides(opened, data, run):
    opened(card_of(("oolite", "vug")))
    with pytest.raises(DataError, match=r"knows: oolite, vug\. The data have: columns, rows"):
        evaluate(run, data)
    assert not (run / "metrics.json").exists()


def test_an_unknown_split_and_one_without_labels_are_refused(opened, data, run):
    with pytest.raises(DataError, match="Unknown split 'tests'"):
        evaluate(run, data, split="tests")
    change_rows(data, lambda row: replace(row, labels=()) if row.split == "test" else row)
    with pytest.raises(DataError, match="none with a label"):
        evaluate(run, data)


def test_another_split_does_not_replace_the_figures_of_the_test(opened, data, run):
    evaluate(run, data, baselines=False, localisation=False)
    before = (run / "metrics.json").read_bytes()
    figures = evaluate(run, data, split="val", baselines=False)
    assert figures["n"] == 4
    assert figures["localisation"]["thresholds_from"] == "train"
    assert (run / "metrics.json").read_bytes() == before
    assert (run / "metrics-val.json").is_file()
    assert (run / "gallery-val" / "gallery.json").is_file()


def test_the_fold_of_the_card_is_used_so_that_training_photographs_are_not_judged(opened, data, run):
    opened(card_of(data={"fold": 1}))
    figures = evaluate(run, data, baselines=False, localisation=False)
    assert figures["fold"] == 1
    assert figures["n"] == sum(row.fold == 1 for row in read_index(data))
    other = evaluate(run, data, fold=2, baselines=False, localisation=False)
    assert any("Trained on fold 1 but judged on fold 2" in one for one in other["caveats"])


def test_the_fold_of_the_card_is_used_where_its_data_set_has_moved(opened, data, run):
    opened(card_of(data={"fold": 1, "folds_sha256": folds_sha256(read_index(data))}))
    change_rows(data, lambda row: replace(row, labels=("rows",)))  # labels that were mended deal no folds
    assert evaluate(run, data.rename(data.parent / "moved"), baselines=False, localisation=False)["fold"] == 1


@pytest.mark.parametrize("folds", [None, 3, 7])
def test_a_model_of_a_fold_is_judged_on_the_test_split_of_data_dealt_otherwise(opened, data, run, folds):
    opened(card_of(data={"fold": 1, "folds_sha256": folds_sha256(read_index(data))}))
    rows = read_index(data)
    write_index(data, [replace(row, fold=folds and (i + 1) % folds) for i, row in enumerate(rows)])
    figures = evaluate(run, data, baselines=False, localisation=False)
    assert figures["fold"] is None
    assert figures["n"] == sum(row.split == "test" for row in rows)
    assert any("Trained on fold 1 but judged on the split column" in one for one in figures["caveats"])


def test_a_model_of_a_fold_whose_card_does_not_tell_the_folds_is_judged_on_data_without_them(opened, data, run):
    opened(card_of(data={"fold": 1}))
    change_rows(data, lambda row: replace(row, fold=None))
    assert evaluate(run, data, baselines=False, localisation=False)["fold"] is None


def test_a_fold_judged_of_what_was_trained_on_the_split_column_is_said(opened, data, run):
    figures = evaluate(run, data, fold=2, baselines=False, localisation=False)
    assert any("Trained on the split column but judged on fold 2" in one for one in figures["caveats"])
    assert not any("Trained on" in one for one in evaluate(run, data, baselines=False, localisation=False)["caveats"])


def test_photographs_that_the_run_has_learnt_from_are_counted_beside_the_figures(opened, data, run):
    change_rows(data, lambda row: replace(row, sha256=row.source))
    learnt = {"trained_on": ["test0.png", "test3.png", "train1.png"]}
    (run / "data.json").write_text(json.dumps(learnt), encoding="utf-8")
    figures = evaluate(run, data, baselines=False, localisation=False)
    assert any("2 of the 6 photographs judged were trained on" in one for one in figures["caveats"])
    (run / "data.json").write_text('{"trained_on": []}', encoding="utf-8")
    figures = evaluate(run, data, fold=2, baselines=False, localisation=False)
    assert not any("rained on" in one for one in figures["caveats"])  # it is known that none was


def test_unknown_sections_are_said_beside_the_figures(opened, data, run):
    (data / "prepare.json").write_text(json.dumps({"sections_known": False}), encoding="utf-8")
    figures = evaluate(run, data, baselines=False, localisation=False)
    assert figures["sections_known"] is False
    assert "thin sections" in figures["caveats"][0]


def test_a_model_file_writes_where_it_is_told_and_nowhere_else(opened, data, tmp_path):
    model = tmp_path / "student.onnx"
    model.write_bytes(b"")
    before = set(tmp_path.rglob("*"))
    evaluate(model, data, baselines=False, localisation=False)
    assert set(tmp_path.rglob("*")) == before
    evaluate(model, data, out=tmp_path / "judged", baselines=False, localisation=False)
    assert {file.name for file in (tmp_path / "judged").iterdir()} == {
        "card.json",
        "gallery",
        "metrics.json",
        "predictions.csv",
    }
    evaluate(model, data, out=tmp_path / "judged", baselines=False, localisation=False)  # what was found is no run


@pytest.mark.parametrize("name", ["recipe.toml", "index.csv"])
def test_what_is_found_is_not_written_over_the_card_of_another_run_or_of_data(opened, data, run, tmp_path, name):
    other = tmp_path / "other"
    other.mkdir()
    (other / name).write_text("mine")
    (other / "card.json").write_text("mine")
    with pytest.raises(DataError, match=r"other: is a run or a data set of its own.*--out"):
        evaluate(run, data, out=other, baselines=False, localisation=False)
    assert (other / "card.json").read_text() == "mine"
    (run / name).write_text("mine")
    (run / "card.json").write_text("mine")
    evaluate(run, data, out=run / ".." / "run", baselines=False, localisation=False)
    assert (run / "card.json").read_text() == "mine"


def test_the_photographs_of_a_field_are_judged_together_too(opened, data, run):
    change_rows(
        data,
        lambda row: (
            replace(
                row,
                labels=("rows",),
                section="one",
                field=f"field-{int(row.source[4]) // 2}",
                light="XPL" if int(row.source[4]) % 2 else "PPL",
            )
            if row.split == "test"
            else row
        ),
    )
    model = evaluate(run, data, baselines=False, localisation=False)["model"]
    assert model["by_field"]["n"] == 3
    assert model["by_light"]["PPL"] == {"n": 3, "accuracy": 1.0, "balanced_accuracy": 1.0}
    assert model["by_light"]["XPL"]["accuracy"] == 0


def test_the_evidence_of_a_field_is_summed_and_not_its_probabilities(opened, data, run):
    evidence = {10: 3.0, 20: -1.0, 30: -1.0}  # for rows; the mean of the three probabilities is below a half

    def by_grey(image):
        maps = np.zeros((2, 4, 4))
        maps[0] = evidence[int(image[0, 0, 0])]
        odds = np.exp(maps.mean(axis=(1, 2)))
        return odds / odds.sum(), maps

    opened(card_of(), by_grey)
    rows = {f"test{number}.png": grey for number, grey in enumerate(evidence)}
    for name, grey in rows.items():
        write_image(data / f"images/test-{name[4]}.png", np.full((64, 80, 3), grey, np.uint8))
    change_rows(
        data,
        lambda row: (
            replace(
                row, labels=("rows",), section="one", field="view", light="PPL" if row.source == "test0.png" else "XPL"
            )
            if row.source in rows
            else replace(row, split="train")
        ),
    )
    model = evaluate(run, data, baselines=False, localisation=False)["model"]
    assert model["accuracy"] == pytest.approx(1 / 3)
    assert model["by_field"] == {"n": 1, "accuracy": 1.0, "balanced_accuracy": 1.0}


def test_the_heatmap_of_a_field_is_judged_beside_those_of_its_photographs(opened, data, run):
    with_masks(data, ["columns", "rows"], (2, 1))
    rng = np.random.default_rng(2)
    for row in read_index(data):
        if row.split != "train":  # the one light shows the rows only, the other the columns
            image = stripes("columns" if int(row.source[-5]) % 2 else "rows", rng)
            image[:, slice(0, 48) if int(row.source[-5]) % 2 else slice(48, 80)] = 128
            write_image(data / row.image, image)
    assert "model_field" not in evaluate(run, data, baselines=False)["localisation"]["table"]
    change_rows(data, lambda row: replace(row, field=f"view {int(row.source[-5]) // 2}", section=row.split))
    table = evaluate(run, data, baselines=False)["localisation"]["table"]
    assert table["model_field"]["pixel_ap"] > table["model"]["pixel_ap"] + 0.02
    assert table["model_field"]["miou"] > table["model"]["miou"] + 0.1
    assert table["model_field"]["per_class"]["rows"]["n"] == table["model"]["per_class"]["rows"]["n"] == 6


def test_several_labels_are_judged_with_thresholds_from_validation(opened, data, run):
    opened(card_of(labels="multi"))
    change_rows(data, lambda row: replace(row, labels=CLASSES) if row.source[-5] == "0" else row)
    figures = evaluate(run, data)
    assert 0 < figures["model"]["mAP"] <= 1
    assert figures["model"]["thresholds"] != [0.5, 0.5]


def test_baselines_of_several_labels_name_by_thresholds_of_their_own(opened, data, run, monkeypatch):
    opened(card_of(labels="multi", label_thresholds=(0.9, 0.9)))
    change_rows(data, lambda row: replace(row, labels=CLASSES) if row.source[-5] == "0" else row)
    measured = {row.image: np.array([name in row.labels for name in CLASSES]) for row in read_index(data)}
    # A forest that is right about every photograph, and never sure.
    monkeypatch.setattr(
        "geocamnet.train.evaluate.forest_on_features", lambda train, truth, test, n_classes: 0.1 + 0.2 * test
    )
    baselines = evaluate(run, data, localisation=False, measured=measured)["baselines"]
    assert baselines["random_forest"]["macro_f1"] == 1
    assert baselines["random_forest"]["thresholds"] == pytest.approx([0.2, 0.2])
    assert baselines["majority"]["per_class"]["rows"]["recall"] == 1
    change_rows(data, lambda row: replace(row, split="train") if row.split == "val" else row)
    baselines = evaluate(run, data, localisation=False, measured=measured)["baselines"]
    assert baselines["random_forest"]["thresholds"] == baselines["majority"]["thresholds"] == [0.5, 0.5]


def test_the_cards_own_thresholds_are_judged_where_it_has_them(opened, data, run):
    change_rows(data, lambda row: replace(row, labels=CLASSES) if row.source[-5] == "0" else row)
    for limits in ((0.9, 0.05), (0.05, 0.9)):
        opened(card_of(labels="multi", label_thresholds=limits))
        model = evaluate(run, data, baselines=False, localisation=False)["model"]
        assert model["thresholds"] == list(limits)
        with (run / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            named = {name for name, limit in zip(CLASSES, limits, strict=True) if float(row[name]) >= limit}
            assert set(row["predicted"].split("|")) - {""} == named
            assert set(row["verdict"].split("|")) == (named or {"not sure"})
        assert model["abstention"]["threshold"] is None
        assert model["abstention"]["coverage"] == np.mean([row["verdict"] != "not sure" for row in rows])


def test_what_the_model_refuses_is_counted_by_reason(opened, data, run):
    rows = [row for row in read_index(data) if row.split == "test"]
    sorted_evidence = sorted(
        float(np.logaddexp.reduce(predict(read_image(data / row.image))[1].mean((1, 2)))) for row in rows
    )
    blue = np.zeros((64, 80, 3), np.uint8) + np.uint8([0, 0, 200])
    write_image(data / rows[0].image, blue)
    precision = np.diag([0.0] * 11 + [1.0, 0.0])  # of the difference of blue and green alone
    familiar = FamiliarCard((0.0,) * 13, tuple(map(tuple, precision.tolist())), limit=0.5, long_side_px=80)
    opened(card_of(familiar=familiar, evidence_below=sorted_evidence[2]))
    model = evaluate(run, data, baselines=False, localisation=False)["model"]
    refused = model["verdicts"]
    assert refused["unlike the training photographs"] == 1
    assert refused["nothing here"] in (1, 2)  # the blue one may have been of these
    assert refused["named"] == 5 - refused["nothing here"]
    assert refused["accuracy"] == 1
    assert refused["not sure"] == 0


def test_the_gallery_shows_right_and_wrong_answers(opened, data, run):
    change_rows(data, lambda row: replace(row, labels=("columns",)) if row.source == "test0.png" else row)
    evaluate(run, data, baselines=False, localisation=False)
    entries = json.loads((run / "gallery" / "gallery.json").read_text(encoding="utf-8"))
    assert [one["right"] for one in entries] == [True] * 5 + [False]
    assert entries[-1]["image"] == "images/test-0.png"
    assert (entries[-1]["label"], entries[-1]["predicted"]) == ("columns", "rows")
    assert {one["file"] for one in entries} == {file.name for file in (run / "gallery").glob("*.jpg")}
