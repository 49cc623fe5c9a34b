import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from geocamnet.card import ClassCard, ModelCard
from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.train.metrics import bootstrap_interval, classification_metrics, coverage_accuracy
from geocamnet.train.plain_heatmaps import PLAIN_HEATMAPS
from geocamnet.train.report import heat_verdicts, verdicts, write_report

CLASSES = ("oolite", "vug", "<u>own & odd</u>")


class Reader(HTMLParser):
    """Collects what a page holds, and fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags, self.addresses, self.ids = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [values[name] for name in ("src", "href", "xlink:href") if values.get(name)]
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader, re.sub(r"\s+", " ", " ".join(reader.text))


def card():
    return ModelCard(
        name="student <one>",
        classes=tuple(ClassCard(name, name.capitalize(), (10, 20, 200)) for name in CLASSES),
        labels="single",
        architecture="class maps on mobilenetv3_small_075",
        parameters=583_210,
        map_stride=16,
        long_side_px=320,
        um_per_px=None,
        map_scale=(1.0, 1.0, 1.0),
        class_bias=(0.0, 0.0, 0.0),
        data={"name": "drawn", "photographs": {"train": 40, "labelled": 30, "unlabelled": 10}, "fold": None},
        teacher={"architecture": "resnet101"},
        licence="Apache-2.0",
    )


def figures(seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, 120)
    logits = rng.normal(size=(120, 3)) + 2.5 * np.eye(3)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    poor = np.tile([0.4, 0.3, 0.3], (120, 1))
    model = classification_metrics(probabilities, targets, CLASSES)
    model["intervals"] = bootstrap_interval(probabilities.argmax(1), targets, n_classes=3)
    model["coverage_accuracy"] = coverage_accuracy(probabilities, targets)
    model["abstention"] = {"threshold": 0.5, "coverage": 0.9, "accuracy": 0.95}
    refused = {"not sure": 20, "nothing here": 3, "unlike the training photographs": 7}
    model["verdicts"] = {"named": 90, "accuracy": 0.8, **refused}
    heat = {"miou": 0.4, "pixel_ap": 0.5, "energy": 0.3, "pointing": 0.6, "threshold": 0.4, "per_class": {}}
    faith = dict.fromkeys(("insertion", "deletion", "road", "average_drop", "average_increase", "mean_heat"), 0.25)
    faith["standard_error"] = dict.fromkeys(faith, 0.019)
    table = {"model": heat | {"energy": 0.5}, "model_texture": heat | {"energy": 0.55}}
    table |= {name: heat | {"miou": 0.35, "pixel_ap": 0.55} for name in PLAIN_HEATMAPS}
    return {
        "split": "test",
        "fold": None,
        "n": 120,
        "sections": 12,
        "classes": list(CLASSES),
        "labels": "single",
        "sections_known": False,
        "model": model,
        "baselines": {
            "majority": classification_metrics(poor, targets, CLASSES),
            "random_forest": classification_metrics(poor * 0.9 + probabilities * 0.1, targets, CLASSES),
            "trained_on": 40,
        },
        "localisation": {
            "kind": "mosaics",
            "table": table,
            "area_share": 0.333,
            "n_photographs": 120,
            "thresholds_from": "val",
            "equivariance_error": 0.12,
            "voronoi": {"table": {"model": heat | {"miou": 0.777}}, "area_share": 0.365, "n_photographs": 118},
            "faithfulness": {
                "table": {"model": faith | {"road": 0.234}, "random": faith | {"deletion": 0.111, "road": -0.017}},
                "probability": {"photograph": 0.876, "blurred": 0.432},
                "n": 20,
                "predictions": 1160,
            },
            "marks": {"heat_share": 0.0312, "area_share": 0.0156, "ratio": 2.0, "heat_share_unmarked": 0.0178, "n": 40},
        },
        "excluded": {"photographs": 3, "unlabelled": 3, "labels_unknown_to_the_model": {}},
        "skipped": [{"image": "images/<bad>.png", "why": "the file is empty"}],
        "caveats": ["The thin sections of the photographs are not known & so on."],
        "created": "2025-01-01T00:00:00+00:00",
        "version": "0.1.0",
    }


@pytest.fixture
def run(tmp_path):
    (tmp_path / "card.json").write_text(card().to_json(), encoding="utf-8")
    (tmp_path / "metrics.json").write_text(json.dumps(figures()), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text('[distil]\nbackbone = "x"\nseed = 0\n', encoding="utf-8")
    with (tmp_path / "log.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", "train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "lr"])
        for epoch in range(20):
            worse = 1 / (epoch + 1)
            writer.writerow([epoch, 1.2 * worse, "" if epoch % 2 else worse, 0.8 - 0.3 * worse, "nan", 0.001 * worse])
    (tmp_path / "gallery").mkdir()
    entries = []
    for name in ("right-1", "wrong-1"):
        write_image(tmp_path / "gallery" / f"{name}.jpg", np.full((20, 60, 3), 90, np.uint8))
        right = name == "right-1"
        entries.append(
            {
                "file": f"{name}.jpg",
                "image": f"images/{name}.png",
                "label": "vug",
                "predicted": "vug" if right else "oolite",
                "probability": 0.8,
                "verdict": "vug" if right else "not sure",
                "right": right,
            }
        )
    (tmp_path / "gallery" / "gallery.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def test_the_page_holds_everything_in_itself(run):
    page = write_report(run)
    assert page == run / "report.html"
    reader, _ = read(page)
    assert {"script", "link", "iframe"}.isdisjoint(reader.tags)
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    assert not re.search(r"url\((?!#)|@import", page.read_text(encoding="utf-8"))
    assert sum(address.startswith("data:image/jpeg;base64,") for address in reader.addresses) == 2


def test_inner_links_lead_somewhere_and_no_id_comes_twice(run):
    reader, _ = read(write_report(run))
    assert len(reader.ids) == len(set(reader.ids))
    inner = {address[1:] for address in reader.addresses if address.startswith("#")}
    assert inner <= set(reader.ids)
    used = set(re.findall(r"url\(#([^)]+)\)", (run / "report.html").read_text(encoding="utf-8")))
    assert used <= set(reader.ids)


def test_names_from_data_are_text_and_never_tags(run):
    reader, words = read(write_report(run))
    assert "student <one>" in words
    assert "<u>own & odd</u>" in words
    assert "images/<bad>.png" in words
    assert {"u", "one", "bad"}.isdisjoint(reader.tags)


def test_the_figures_stand_beside_their_baselines(run):
    _, words = read(write_report(run))
    metrics = figures()
    for one in (metrics["model"], metrics["baselines"]["majority"], metrics["baselines"]["random_forest"]):
        assert f"{one['balanced_accuracy']:.3f}" in words
        assert f"{one['nll']:.3f}" in words
    assert "Random forest" in words
    assert "not known & so on" in words
    assert "Grey level, blurred" in words
    assert "583,210 parameters" in words
    assert "unlabelled 10" in words


def test_heatmaps_judged_on_random_cells_and_without_masks_stand_on_the_page(run):
    page = write_report(run)
    _, words = read(page)
    for said in ("Voronoi", "0.777", "0.365", "0.876", "0.432", "ROAD", "± 0.019", "3.12 %", "1.56 %", "1.78 %"):
        assert said in words
    best = re.findall(r'<td class="best">(\S+?)<', page.read_text(encoding="utf-8"))
    assert {"0.234", "0.111"} <= set(best)  # the highest ROAD, the lowest deletion
    assert "-0.017" not in best


def test_figures_from_before_these_tables_have_a_page_too(run):
    metrics = figures()
    for name in ("voronoi", "faithfulness", "marks"):
        del metrics["localisation"][name]
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    _, words = read(write_report(run))
    assert "Pointing game" in words
    assert not {"Voronoi", "ROAD", "Scale bars"} & set(words.split())


def test_curves_calibration_and_coverage_are_drawn_in_the_colour_of_the_page(run):
    page = write_report(run)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg ") == 3
    assert "currentColor" in text
    assert "#010203" not in text
    _, words = read(page)
    for label in ("train loss", "val accuracy", "how sure the model is", "learning rate"):
        assert label in words


def test_refusals_are_counted_and_told_beside_the_pictures(run):
    _, text = read(write_report(run))
    assert "90 named (80% of them rightly), 20 not sure, 3 nothing here, 7 unlike the training photographs" in text
    assert text.count("told as “not sure”") == 1


@pytest.mark.parametrize("kept", ["card.json", "metrics.json", "log.csv", "recipe.toml"])
def test_a_run_that_lacks_pieces_says_which(run, kept):
    for file in list(run.iterdir()):
        if file.name != kept and file.is_file():
            file.unlink()
        elif file.is_dir():
            for picture in file.iterdir():
                picture.unlink()
    _, words = read(write_report(run))
    assert "Not on this page" in words
    missing = {
        "card.json": "card.json:",
        "metrics.json": "Figures:",
        "log.csv": "log.csv:",
        "recipe.toml": "recipe.toml:",
    }
    for name, said in missing.items():
        assert (said in words) == (name != kept)


def test_a_run_judged_without_baselines_and_heatmaps_says_so(run):
    metrics = figures() | {"baselines": {}, "localisation": None, "fold": 2}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    _, words = read(write_report(run))
    assert "No baselines were fitted" in words
    assert "(fold 2)" in words
    metrics["localisation"] = {"kind": None, "table": {}, "not_possible": "one class only"}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert "could not be judged: one class only" in read(write_report(run))[1]


def test_several_labels_have_a_page_too(run):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (40, 3))
    probabilities = np.clip(truth * 0.5 + rng.random((40, 3)) * 0.6, 0, 1)
    model = classification_metrics(probabilities, truth, CLASSES)
    metrics = figures() | {"labels": "multi", "model": model, "baselines": {"majority": model, "random_forest": model}}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    _, words = read(write_report(run))
    assert f"{model['mAP']:.3f}" in words
    assert "Average precision" in words


def test_a_folder_that_is_no_run_and_a_damaged_file_are_told_of(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="not a run"):
        write_report(empty)
    with pytest.raises(DataError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    (run / "metrics.json").write_text('{"split": ', encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_pictures_beyond_the_size_of_a_page_are_left_out_and_counted(run, monkeypatch):
    monkeypatch.setattr("geocamnet.train.report.MOST_PICTURE_BYTES", (run / "gallery" / "right-1.jpg").stat().st_size)
    reader, words = read(write_report(run))
    assert reader.tags.count("img") == 1
    assert "1 more picture(s)" in words


@pytest.mark.parametrize(
    ("own", "interval", "good", "says"),
    [
        (0.80, [0.75, 0.85], True, "is better than the random forest"),
        (0.75, [0.70, 0.80], None, "not beyond doubt"),
        (0.70, [0.65, 0.75], False, "To name rock, without a map of it, the forest does as well"),
    ],
)
def test_verdicts_are_no_kinder_than_the_interval(own, interval, good, says):
    metrics = {
        "model": {"balanced_accuracy": own, "intervals": {"balanced_accuracy": interval}},
        "baselines": {"random_forest": {"balanced_accuracy": 0.72}},
    }
    ((is_good, sentence),) = verdicts(metrics)
    assert is_good is good
    assert says in sentence


def test_a_model_no_better_than_the_commonest_class_is_said_to_have_learnt_nothing():
    metrics = {"model": {"balanced_accuracy": 0.33}, "baselines": {"majority": {"balanced_accuracy": 1 / 3}}}
    ((good, sentence),) = verdicts(metrics)
    assert good is False
    assert "learnt nothing worth using" in sentence


@pytest.mark.parametrize(("mine", "good"), [(0.5, True), (0.1, False)])
def test_naming_every_pixel_is_held_against_the_better_of_the_grey_levels(mine, good):
    table = {name: {"miou": miou, "accuracy": 0.6} for name, miou in (("model", mine), ("grey", 0.2))}
    table["blurred_grey"] = {"miou": 0.3, "accuracy": 0.4}
    ((is_good, sentence),) = heat_verdicts({"localisation": {"segmentation": {"table": table}}})
    assert is_good is good
    assert "0.300" in sentence


def test_verdicts_name_the_best_heatmap_that_knows_no_rock():
    said = {sentence.split(":")[0]: (good, sentence) for good, sentence in heat_verdicts(figures())}
    assert said["mIoU"][0] is True
    assert said["Pixel AP"][0] is False
    assert "0.550" in said["Pixel AP"][1]
