"""What a folder's photographs add up to: tables and a page, the same after a stop, honest about refusals and dye."""

import csv
import html
import json
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.runtime.folder import areas_page
from geocamnet.runtime.folder.folder_sums import NOT_TOLD
from geocamnet.runtime.folder.predict import predict_folder

MADE = ("areas.csv", "sections.csv", "classes.csv", "areas.html", "masks.json")


@pytest.fixture
def source(tmp_path, paint):
    """Two thin sections of five fields each, and beside them a photograph that is refused."""
    root = tmp_path / "slides"
    for n in range(5):
        write_image(root / "TS-1" / f"f{n}.png", paint((40, 60 + 4 * n), "oolite", "vug", seed=n))
        write_image(root / "薄片 <2>" / f"{n}.png", paint((40, 60), "foam", seed=n))
    write_image(root / "grey.png", np.full((30, 30, 3), 128, np.uint8))
    return root


def rows(out, name):
    with (out / name).open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def made(out):
    return {name: (out / name).read_bytes() for name in MADE}


class Stopping:
    """A model that is stopped at one of its predictions."""

    def __init__(self, model, stop_at):
        self.card, self.sha256, self.all_attitudes = model.card, model.sha256, model.all_attitudes
        self.model, self.calls, self.stop_at = model, 0, stop_at

    def predict(self, image, **options):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return self.model.predict(image, **options)


def test_there_is_a_row_for_a_photograph_a_section_and_the_series(source, tmp_path, student):
    out = tmp_path / "out"
    report = predict_folder(source, out, student, um_per_px=2.0)
    photographs = {row["image"]: row for row in rows(out, "areas.csv")}
    assert list(photographs) == sorted(photographs)
    assert len(photographs) == 11
    assert (photographs["grey.png"]["counted"], photographs["grey.png"]["label"]) == ("no", "not sure")
    one = photographs["TS-1/f0.png"]
    mask = read_image(out / "masks" / "TS-1" / "f0_png_classes.png")[..., 0]
    assert int(one["oolite_px"]) == (mask == 1).sum()
    assert float(one["oolite_um2"]) == 4 * (mask == 1).sum()
    assert float(one["vug_percent"]) == pytest.approx(100 * (mask == 3).mean(), rel=1e-4)
    first, second, third, whole = rows(out, "sections.csv")
    assert [one["section"] for one in (first, second, third, whole)] == ["TS-1", "slides", "薄片 <2>", "(all)"]
    assert (first["photographs"], first["counted"], second["counted"], second["not_sure"]) == ("5", "5", "0", "1")
    assert int(first["total_px"]) == sum(40 * (60 + 4 * n) for n in range(5))
    assert float(first["total_um2"]) == 4 * int(first["total_px"])
    assert int(whole["total_px"]) == int(first["total_px"]) + int(third["total_px"])
    assert first["intervals_from"] == "5 fields"
    assert whole["intervals_from"] == "none: 2 thin sections"
    assert 300 <= int(first["points"]) <= 500
    assert second["oolite_percent"] == second["points"] == ""
    assert [one.name for one in report.sections] == ["TS-1", "slides", "薄片 <2>"]
    assert report.series.counted == 10
    classes = {(row["section"], row["class"]): row for row in rows(out, "classes.csv")}
    assert len(classes) == 4 * 4
    assert classes["TS-1", "oolite"]["percent"] == first["oolite_percent"]
    oolite = classes["TS-1", "oolite"]
    assert float(oolite["points_low_percent"]) < float(oolite["percent"]) < float(oolite["points_high_percent"])
    assert classes["(all)", "oolite"]["points"] == ""  # a point count is of a section
    assert json.loads((out / "masks.json").read_text()) == {"classes": ["oolite", "foam", "vug"]}


@pytest.mark.parametrize("stop_at", [1, 4, 11])
def test_a_resumed_run_gives_identical_tables(source, tmp_path, student, stop_at):
    options = {"um_per_px": 1.5, "porosity": "blue"}
    predict_folder(source, tmp_path / "whole", student, **options)
    out = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, out, Stopping(student, stop_at), **options)
    assert not (out / "areas.html").exists()
    assert not (out / "sections.csv").exists()
    predict_folder(source, out, student, **options)
    assert made(out) == made(tmp_path / "whole")
    predict_folder(source, out, student, **options)
    assert made(out) == made(tmp_path / "whole")


def test_a_run_that_is_taken_up_and_stopped_again_leaves_no_stale_sums(source, tmp_path, student, paint):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    write_image(source / "new.png", paint((30, 30), "vug"))
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, out, Stopping(student, 1))
    assert not any((out / name).exists() for name in ("sections.csv", "classes.csv", "areas.html"))
    assert len(rows(out, "areas.csv")) == 11


def test_a_crash_between_both_tables_has_the_photograph_done_again(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    before = made(out)
    lines = (out / "areas.csv").read_bytes().splitlines(keepends=True)
    (out / "areas.csv").write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    again = Stopping(student, None)
    predict_folder(source, out, again)
    assert again.calls == 1
    assert made(out) == before
    (out / "areas.csv").unlink()
    predict_folder(source, out, again)
    assert again.calls == 12
    assert made(out) == before


def test_sections_and_points_may_be_told_otherwise_without_predicting_again(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student)
    again = Stopping(student, None)
    report = predict_folder(source, out, again, section_regex=r"/(f\d)", count_refused=True, points=30, seed=3)
    assert again.calls == 0
    assert [one.name for one in report.sections] == [NOT_TOLD, "f0", "f1", "f2", "f3", "f4"]
    assert report.series.counted == 11
    assert json.loads((out / "summary.json").read_text())["summing"] == {
        "section_regex": r"/(f\d)", "count_refused": True, "points": 30, "seed": 3,
    }  # fmt: skip
    assert "section-regex" in (out / "areas.html").read_text(encoding="utf-8")
    assert {row["counted"] for row in rows(out, "areas.csv")} == {"yes"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"section_regex": "(nowhere)"}, "matches none of 11"),
        ({"section_regex": "f"}, "needs a group"),
        ({"points": 0}, "received 0"),
        ({"seed": -1}, "received -1"),
        ({"porosity": "red"}, "porosity 'red'"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(source, tmp_path, student, options, said):
    with pytest.raises(DataError, match=re.escape(said)):
        predict_folder(source, tmp_path / "out", student, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count_refused", [False, True])
def test_sums_are_of_the_photographs_that_are_there_and_what_is_known_of_others_is_not_lost(
    source, tmp_path, student, count_refused
):
    out, made_of = tmp_path / "out", ("sections.csv", "classes.csv")
    predict_folder(source, out, student)
    (source / "TS-1" / "f0.png").unlink()
    (source / "grey.png").unlink()
    predict_folder(source, out, student, count_refused=count_refused)
    predict_folder(source, tmp_path / "fresh", student, count_refused=count_refused)
    assert [(out / name).read_bytes() for name in made_of] == [
        (tmp_path / "fresh" / name).read_bytes() for name in made_of
    ]
    page = (out / "areas.html").read_text(encoding="utf-8")
    assert "<strong>9</strong> photographs" in page
    assert "<strong>2</strong> of earlier runs are in the folder no longer and left out." in page
    assert not re.search(r"(TS-1/f0|grey)\.png", page)
    counted = {row["image"]: row["counted"] for row in rows(out, "areas.csv")}
    assert len(counted) == 11
    assert {image for image, said in counted.items() if said == "no"} == {"TS-1/f0.png", "grey.png"}


def test_a_folder_of_refused_photographs_says_so(tmp_path, student):
    for n in range(3):
        write_image(tmp_path / "in" / f"a_{n}.png", np.full((30, 30, 3), 100 + n, np.uint8))
    report = predict_folder(tmp_path / "in", tmp_path / "out", student, porosity="blue")
    assert report.series.counted == 0
    (section, whole) = rows(tmp_path / "out", "sections.csv")
    assert (section["section"], section["not_sure"], section["oolite_percent"]) == ("a", "3", "")
    assert (whole["porosity_percent"], whole["porosity_note"]) == ("", "not measured: grey photograph")
    page = (tmp_path / "out" / "areas.html").read_text(encoding="utf-8")
    assert "No photograph to count" in page
    assert "--count-refused" in page


def test_a_folder_of_bad_files_only_has_tables_and_a_page(tmp_path, student):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a <b>.png").write_bytes(b"notes")
    report = predict_folder(tmp_path / "in", tmp_path / "out", student)
    assert report.sections == ()
    assert [one["section"] for one in rows(tmp_path / "out", "sections.csv")] == ["(all)"]
    assert "a &lt;b&gt;.png" in (tmp_path / "out" / "areas.html").read_text(encoding="utf-8")


def test_porosity_is_measured_on_the_photograph_shown(tmp_path, student):
    image = np.full((60, 100, 3), (205, 190, 165), np.uint8)
    image[:, :25] = (70, 130, 200)
    write_image(tmp_path / "in" / "1_PPL.png", image)
    write_image(tmp_path / "in" / "1_XPL.png", image)
    predict_folder(tmp_path / "in", tmp_path / "out", student, porosity="blue", um_per_px=2.0)
    first, second = rows(tmp_path / "out", "areas.csv")
    assert (first["porosity_percent"], first["porosity_px"], first["porosity_um2"]) == ("25", "1500", "6000")
    assert (second["dye"], second["porosity_percent"]) == ("not measured: not plane-polarised light", "")
    assert rows(tmp_path / "out", "sections.csv")[0]["porosity_percent"] == "25"
    predict_folder(tmp_path / "in", tmp_path / "pairs", student, porosity="blue", pairs=True)
    (row,) = rows(tmp_path / "pairs", "areas.csv")
    assert row["porosity_percent"] == "25"


@pytest.mark.parametrize("one", [True, False])
def test_a_source_called_for_its_light_tells_the_light(tmp_path, student, one):
    image = np.full((60, 100, 3), (70, 130, 200), np.uint8)
    write_image(tmp_path / "XPL" / "1.png", image)
    predict_folder(tmp_path / "XPL" / "1.png" if one else tmp_path / "XPL", tmp_path / "o", student, porosity="blue")
    (row,) = rows(tmp_path / "o", "areas.csv")
    assert row["dye"] == "not measured: not plane-polarised light"


def test_a_large_photograph_has_a_mask_of_a_size_to_be_handled(tmp_path, student, paint):
    write_image(tmp_path / "in" / "a.png", paint((500, 3000), "oolite", "vug"))
    predict_folder(tmp_path / "in", tmp_path / "out", student)
    mask = read_image(tmp_path / "out" / "masks" / "a_png_classes.png")[..., 0]
    assert mask.shape == (200, 1200)
    (row,) = rows(tmp_path / "out", "areas.csv")
    assert (row["width_px"], row["height_px"], row["total_px"]) == ("3000", "500", "1500000")
    assert float(row["oolite_percent"]) == pytest.approx(100 * (mask == 1).mean(), abs=0.2)


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags, self.open = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.found += [value for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def links(out):
    parser = _Links()
    parser.feed((out / "areas.html").read_text(encoding="utf-8"))
    assert parser.open == []  # every tag is closed, in order
    assert not parser.tags & {"script", "link", "iframe"}
    return parser.found


def test_the_page_asks_for_nothing_from_outside_and_its_links_lead_somewhere(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student, um_per_px=2.0, porosity="blue")
    found = links(out)
    assert sum(one.startswith("data:image/jpeg") for one in found) == 3 + 3 + 1
    page = (out / "areas.html").read_text(encoding="utf-8")
    for one in found:
        if one.startswith("#"):
            assert f'id="{one[1:]}"' in page
        elif not one.startswith("data:"):
            assert (out / unquote(one)).is_file(), one
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//|url\(|@import", page)


def test_the_page_says_what_the_tables_say(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student, um_per_px=2.0)
    page = html.unescape((out / "areas.html").read_text(encoding="utf-8"))
    first = rows(out, "sections.csv")[0]
    assert f"<b>{float(first['oolite_percent']):.1f} %</b>" in page
    assert f"{float(first['oolite_low_percent']):.1f} to {float(first['oolite_high_percent']):.1f} %" in page
    assert "Intervals from 5 fields." in page
    assert "No intervals: there are 2 thin sections, and 5 at least are needed." in page
    assert "A subfolder is a thin section" in page
    assert page.count("<th>All photographs</th>") == 1  # of the series, where one is refused and not counted
    whole = next(row for row in rows(out, "classes.csv") if row["section"] == "(all)" and row["class"] == "oolite")
    assert f"<td>{float(whole['percent_refused_included']):.1f} %</td>" in page


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_names_can_not_write_the_page(tmp_path, student, paint):
    name = "<img src=x onerror=alert(1)>&\"'"
    write_image(tmp_path / "in" / name / "a.png", paint((30, 30), "vug"))
    write_image(tmp_path / "in" / name / f"{name}.png", np.full((30, 30, 3), 128, np.uint8))
    predict_folder(tmp_path / "in", tmp_path / "out", student)
    page = (tmp_path / "out" / "areas.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror" in page
    for one in links(tmp_path / "out"):
        assert one.startswith(("data:", "#")) or (tmp_path / "out" / unquote(one)).is_file()


def test_the_page_stays_small_however_many_photographs_there_are(source, tmp_path, student, monkeypatch):
    monkeypatch.setattr(areas_page, "MOST_PICTURE_BYTES", 30_000)
    monkeypatch.setattr(areas_page, "MOST_DETAILED", 2)
    monkeypatch.setattr(areas_page, "MOST_LISTED", 2)
    out = tmp_path / "out"
    predict_folder(source, out, student)
    assert (out / "areas.html").stat().st_size < 30_000 * 4 / 3 + 20_000
    page = (out / "areas.html").read_text(encoding="utf-8")
    assert page.count("1 more thin section(s)") == 2
    assert "<figure><figcaption>" in page  # linked, not shown
