"""Every layout a data set comes in, and what is said where none fits."""

from collections import Counter
from pathlib import Path

import pytest

from geocamnet.errors import DataError
from geocamnet.train.filenames import prefix_of, split_of
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.sources import find_photographs

REAL = Path(__file__).parents[2] / "../shared/data/carbonate-lithology"


def folder_of(root, *paths):
    """Files as they would lie on a disk; nothing here looks inside a photograph."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def find(root, **choices):
    return find_photographs(root, PrepareRecipe(**choices))


def labels(source):
    return {one.path: "|".join(one.labels) for one in source.photographs}


# --- folders ---------------------------------------------------------------------------------------------


def test_a_folder_a_class_is_read_and_said_with_counts(tmp_path):
    source = find(folder_of(tmp_path, "Ooids/a.jpg", "Ooids/b.jpg", "Marl Stone/c.jpg"))
    assert source.layout == "folders"
    assert labels(source) == {"Marl Stone/c.jpg": "marl_stone", "Ooids/a.jpg": "oolite", "Ooids/b.jpg": "oolite"}
    assert source.notes[0] == "Layout: a folder a class. marl_stone 1, oolite 2."
    assert "Read as: 'Ooids' as oolite." in source.notes


def test_spellings_of_one_class_in_several_folders_are_one_class(tmp_path):
    source = find(folder_of(tmp_path, "Ooids/a.jpg", "鲕粒岩/b.jpg", "oolite/c.jpg"))
    assert set(labels(source).values()) == {"oolite"}


@pytest.mark.parametrize(
    "path",
    [
        "{split}/{light}/{name}/1.jpg",
        "{light}/{split}/{name}/1.jpg",
        "{name}/{split}/{light}/1.jpg",
        "{split}/{name}/1_{light}.jpg",
        "all/of it/{split}/{name}/{light}-1223/1.jpg",
    ],
)
@pytest.mark.parametrize("lights", [("PPL", "XPL"), ("单偏光", "正交偏光"), ("plane", "crossed polars")])
@pytest.mark.parametrize(
    "splits", [("train", "val", "test"), ("训练集", "验证集", "测试集"), ("Training", "valid", "TEST")]
)
def test_splits_and_lights_may_lie_above_or_below_the_classes(tmp_path, path, lights, splits):
    for split in splits:
        for light in lights:
            for name in ("vug", "my own"):
                folder_of(tmp_path, path.format(split=split, light=light, name=name))
    source = find(tmp_path, keep_splits=True)
    assert Counter(one.labels for one in source.photographs) == {("vug",): 6, ("my_own",): 6}
    assert Counter(one.light for one in source.photographs) == {"PPL": 6, "XPL": 6}
    assert Counter(one.split for one in source.photographs) == {"train": 4, "val": 4, "test": 4}
    assert len({one.field for one in source.photographs}) == 6  # PPL and XPL of a view share it
    assert "RAW has splits (train 4, val 4, test 4): kept." in source.notes


def test_deepcarbonates_22_numbered_folders_get_their_names(tmp_path):
    for number in range(1, 23):
        folder_of(tmp_path, f"carbonate_1223/PPL-1223/train/class{number}/Vug.{number}_ARS.jpg")
    source = find(tmp_path)
    assert labels(source)["carbonate_1223/PPL-1223/train/class7/Vug.7_ARS.jpg"] == "fine_crystalline_dolomite"
    assert any("'class22' as vug" in note for note in source.notes)


def test_ones_own_numbered_folders_keep_their_names(tmp_path):
    assert set(labels(find(folder_of(tmp_path, "class1/a.jpg", "class2/b.jpg"))).values()) == {"class1", "class2"}


def test_folders_below_the_classes_are_no_labels_and_are_told(tmp_path):
    source = find(folder_of(tmp_path, "vug/S1/a.jpg", "vug/S2/a.jpg", "foam/S3/b.jpg"), section_regex=r"/(S\d)/")
    assert labels(source) == {"foam/S3/b.jpg": "foam", "vug/S1/a.jpg": "vug", "vug/S2/a.jpg": "vug"}
    assert [one.section for one in source.photographs] == ["S3", "S1", "S2"]
    assert any("3 photograph(s) lie in folders below" in note for note in source.notes)


def test_class_folders_below_wells_are_found_where_the_classes_are_known(tmp_path):
    source = find(folder_of(tmp_path, "well A/vug/1.jpg", "well B/vug/1.jpg", "well B/foam/1.jpg"))
    assert set(labels(source).values()) == {"vug", "foam"}


def test_two_levels_of_unknown_folders_are_not_guessed_at(tmp_path):
    folder_of(tmp_path, "a1/b1/1.jpg", "a1/b2/1.jpg", "a2/b1/1.jpg")
    with pytest.raises(DataError, match=r"a1/b1 \(1\).*--layout folders"):
        find(tmp_path)
    assert set(labels(find(tmp_path, layout="folders")).values()) == {"a1", "a2"}


def test_folders_called_unlabelled_hold_photographs_without_a_label(tmp_path):
    source = find(folder_of(tmp_path, "vug/a.jpg", "unlabelled/b.jpg"))
    assert labels(source) == {"unlabelled/b.jpg": "", "vug/a.jpg": "vug"}
    assert "(no label) 1" in source.notes[0]


def test_a_photograph_beside_the_class_folders_is_skipped_with_a_reason(tmp_path):
    source = find(folder_of(tmp_path, "vug/a.jpg", "overview.jpg"))
    assert source.skipped == (("overview.jpg", "lies in no class folder"),)


def test_masks_and_files_that_are_no_photographs_disturb_nothing(tmp_path):
    source = find(folder_of(tmp_path, "vug/a.jpg", "masks/a.png", "LICENSE", "vug/Thumbs.db", "vug/._a.jpg"))
    assert labels(source) == {"vug/a.jpg": "vug"}
    assert any(note.startswith("2 file(s) are no photographs") and "LICENSE" in note for note in source.notes)


def test_a_single_class_folder_is_a_class(tmp_path):
    assert labels(find(folder_of(tmp_path, "my rock/a.jpg"))) == {"my rock/a.jpg": "my_rock"}


# --- prefixes --------------------------------------------------------------------------------------------


def test_known_classes_in_front_of_a_number_are_read(tmp_path):
    names = ["Vug.12.jpg", "oolite_003_PPL.jpg", "oolite_003_XPL.jpg", "Coarse-crystalline dolomite (2).png"]
    source = find(folder_of(tmp_path, *names))
    assert source.layout == "prefix"
    assert list(labels(source).values()) == ["coarse_crystalline_dolomite", "vug", "oolite", "oolite"]
    pair = [one for one in source.photographs if one.labels == ("oolite",)]
    assert [one.light for one in pair] == ["PPL", "XPL"]
    assert pair[0].field == pair[1].field == "oolite_003"


def test_prefixes_are_read_below_folders_of_lights_and_below_one_folder(tmp_path):
    source = find(folder_of(tmp_path / "1", "PPL/Vug.1.jpg", "XPL/Vug.1.jpg", "PPL/foam.2.jpg"))
    assert (source.layout, len({one.field for one in source.photographs})) == ("prefix", 2)
    assert set(labels(find(folder_of(tmp_path / "2", "photos/Vug.1.jpg", "photos/foam.2.jpg"))).values()) == {
        "vug",
        "foam",
    }


def test_unknown_prefixes_are_read_only_when_asked_for(tmp_path):
    folder_of(tmp_path, "limestone_1.jpg", "vug_2.jpg", "0003.jpg")
    with pytest.raises(DataError, match=r"limestone \(1\).*--layout prefix.*manifest.csv"):
        find(tmp_path)
    source = find(tmp_path, layout="prefix")
    assert labels(source) == {"limestone_1.jpg": "limestone", "vug_2.jpg": "vug"}
    assert source.skipped[0][0] == "0003.jpg"


# --- manifests -------------------------------------------------------------------------------------------


def manifest(root, text, encoding="utf-8", name="manifest.csv"):
    (root / name).write_bytes(text.encode(encoding))
    return root


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_manifest_is_found_and_read_in_any_common_writing(tmp_path, encoding, delimiter):
    folder_of(tmp_path, "图 1/样品 1.jpg", "b.jpg")
    lines = [
        "Image,Labels,Section,Light,um_per_px,split",
        "图 1\\样品 1.jpg,鲕粒|Vug,井1,单偏光,1.5,训练",
        "b.jpg,,井2,,,",
    ]
    source = find(manifest(tmp_path, "\r\n".join(lines).replace(",", delimiter), encoding), raw_um_per_px=2.0)
    first, second = sorted(source.photographs, key=lambda one: one.section)
    assert (first.path, first.labels, first.section) == ("图 1/样品 1.jpg", ("oolite", "vug"), "井1")
    assert (first.light, first.um_per_px, first.split) == ("PPL", 1.5, "train")
    assert (second.labels, second.light, second.um_per_px, second.split) == ((), "", 2.0, "")
    assert source.layout == "manifest"
    assert source.sections_known
    assert any("'鲕粒' as oolite" in note for note in source.notes)


def test_an_excel_table_is_read(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="needs openpyxl")
    book = openpyxl.Workbook()
    for row in (["image", "label", "section", "um_per_px"], ["a.jpg", "vug", 12, 0.5], [None, None, None, None]):
        book.active.append(row)
    folder_of(tmp_path, "a.jpg")
    (tmp_path / "tables").mkdir()
    book.save(tmp_path / "tables" / "labels.xlsx")
    (one,) = find(tmp_path, manifest="tables/labels.xlsx").photographs
    assert (one.labels, one.section, one.um_per_px) == (("vug",), "12", 0.5)


def test_a_damaged_excel_table_is_an_error(tmp_path):
    folder_of(tmp_path, "a.jpg")
    (tmp_path / "manifest.xlsx").write_text("no zip")
    with pytest.raises(DataError, match="not an XLSX table"):
        find(tmp_path)


def test_a_csv_whose_first_column_is_called_as_a_zip_begins_is_a_csv(tmp_path):
    folder_of(tmp_path, "a.jpg", "b.jpg")
    source = find(manifest(tmp_path, "PK,image,labels\n1,a.jpg,vug\n2,b.jpg,foam\n"))
    assert labels(source) == {"a.jpg": "vug", "b.jpg": "foam"}


def test_rows_that_cant_be_used_are_skipped_with_their_line(tmp_path):
    folder_of(tmp_path / "raw", "a.jpg", "c.jpg")
    folder_of(tmp_path, "outside.jpg")
    text = "image,labels\na.jpg,vug\nb.jpg,vug\na.jpg,foam\n./a.jpg,vug\n../outside.jpg,vug\n"
    source = find(manifest(tmp_path / "raw", text))
    assert labels(source) == {"a.jpg": "vug"}
    reasons = [reason for _, reason in source.skipped]
    assert [path for path, _ in source.skipped] == ["../outside.jpg", "a.jpg", "a.jpg", "b.jpg"]
    assert "outside RAW (line 6" in reasons[0]
    assert "line 4" in reasons[1]
    assert "other labels" in reasons[1]
    assert "other labels" not in reasons[2]
    assert "not there (line 3" in reasons[3]
    assert any("1 photograph(s) are not in the manifest, the first: c.jpg" in note for note in source.notes)


def test_a_manifest_whose_photographs_are_all_missing_is_an_error(tmp_path):
    folder_of(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=r"none of its 1 photographs.*relative to"):
        find(manifest(tmp_path, "image,labels\nx/b.jpg,vug\n"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("image,labels\n", "names no photograph"),
        ("file,rock\na.jpg,vug\n", "found: file, rock"),
        ("image,labels,light\na.jpg,vug,green\n", "line 2: Unknown light 'green'"),
        ("image,labels,split\na.jpg,vug,trian\n", "line 2: Unknown split 'trian'.*'train'"),
        ("image,labels,um_per_px\n\na.jpg,vug,-1\n", "line 3: um_per_px must be a number above 0; received '-1'"),
        ("image,labels\n,vug\n", "line 2: the column image is empty"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_told_with_its_line(tmp_path, text, told):
    folder_of(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=told):
        find(manifest(tmp_path, text))


def test_a_manifest_asked_for_that_is_not_there_is_an_error(tmp_path):
    folder_of(tmp_path, "vug/a.jpg")
    with pytest.raises(DataError, match="no such manifest"):
        find(tmp_path, manifest="labels.csv")
    with pytest.raises(DataError, match="Name the table with --manifest"):
        find(tmp_path, layout="manifest")
    with pytest.raises(DataError, match="can't be used with --layout folders"):
        find(manifest(tmp_path, "image,labels\nvug/a.jpg,vug\n"), manifest="manifest.csv", layout="folders")


def test_fields_numbered_anew_in_each_section_stay_apart(tmp_path):
    folder_of(tmp_path, *(f"{n}.jpg" for n in range(4)))
    text = (
        "image,labels,section,field,light\n0.jpg,vug,A,1,PPL\n1.jpg,vug,A,1,XPL\n2.jpg,vug,B,1,PPL\n3.jpg,vug,B,2,PPL\n"
    )
    fields = [one.field for one in find(manifest(tmp_path, text)).photographs]
    assert fields == ["A/1", "A/1", "B/1", "2"]


# --- sections, fields, lights ----------------------------------------------------------------------------


def test_without_sections_the_notes_say_that_leakage_cant_be_excluded(tmp_path):
    source = find(folder_of(tmp_path, "vug/a_PPL.jpg", "vug/a_XPL.jpg", "vug/b_PPL.jpg"))
    assert not source.sections_known
    assert any("Leakage" in note and "3 photograph(s)" in note for note in source.notes)
    assert [one.field for one in source.photographs] == ["vug/a", "vug/a", "vug/b_PPL.jpg"]  # b has no pair


def test_a_regular_expression_tells_the_section_and_what_it_misses_is_counted(tmp_path):
    folder_of(tmp_path, "vug/W1_S03_1.jpg", "vug/W1_S03_2.jpg", "vug/W1_S04_1.jpg", "vug/other.jpg")
    for regex in (r"_(S\d+)_", r"(W\d)_(?P<section>S\d+)_"):
        source = find(tmp_path, section_regex=regex)
        assert [one.section for one in source.photographs] == ["S03", "S03", "S04", ""]
        assert not source.sections_known
        assert any(note.startswith("2 thin section(s), from --section-regex") for note in source.notes)
        assert any("of 1 photograph(s) is not known" in note for note in source.notes)


@pytest.mark.parametrize(
    ("regex", "told"), [("(", "no regular expression"), (r"S\d", "needs a group"), ("(Q)", "matches none")]
)
def test_a_regular_expression_that_cant_work_is_an_error(tmp_path, regex, told):
    with pytest.raises(DataError, match=told):
        find(folder_of(tmp_path, "vug/S1.jpg"), section_regex=regex)


def test_folders_of_splits_are_told_from_folders_of_classes():
    assert [split_of(name) for name in ("Train", "valid", "测试", "training data")] == ["train", "val", "test", ""]
    assert [prefix_of(stem) for stem in ("0012", "样品_3", "img")] == ["", "样品", "img"]


# --- nothing fits ----------------------------------------------------------------------------------------


def test_what_fits_no_layout_is_described_with_the_commands_that_would_read_it(tmp_path):
    folder_of(tmp_path, "ppl/1.jpg", "xpl/1.jpg", "masks/1.png")
    (tmp_path / "log.csv").write_text("Foto;Gestein\n1.jpg;Kalk\n")
    with pytest.raises(DataError) as raised:
        find(tmp_path)
    said = str(raised.value)
    assert "2 photograph(s), but nothing tells their classes" in said
    assert "Folders: ppl (1), xpl (1)" in said
    assert "Tables: log.csv (Foto, Gestein)" in said
    assert f"geocamnet prepare {tmp_path} DATA --manifest 'log.csv'" in said
    assert "1 picture(s) in a folder of masks" in said
    assert "masks/masks.json" in said
    assert "--layout prefix" not in said  # no name begins with a word


# --- as a whole ------------------------------------------------------------------------------------------


def test_an_empty_folder_and_an_unknown_layout_are_errors(tmp_path):
    with pytest.raises(DataError, match="no photograph found"):
        find(tmp_path)
    with pytest.raises(DataError, match=r"Unknown layout 'folder'. Known: auto.*Did you mean 'folders'"):
        find(folder_of(tmp_path, "vug/a.jpg"), layout="folder")


def test_a_file_name_that_is_no_unicode_is_skipped(tmp_path):
    folder_of(tmp_path, "vug/a.jpg")
    try:
        (tmp_path / "vug" / "b\udcff.jpg").touch()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    source = find(tmp_path)
    assert len(source.photographs) == 1
    assert "not valid Unicode" in source.skipped[0][1]


def test_the_real_photographs_are_found_and_the_licence_left_alone():
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    source = find(REAL)
    assert Counter(one.labels[0] for one in source.photographs) == {
        "argillaceous_limestone": 446,
        "dolomite": 196,
        "limestone": 174,
    }
    assert not source.sections_known
    assert source.skipped == ()
    assert any("LICENSE" in note for note in source.notes)
