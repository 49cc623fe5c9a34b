"""Drawn look-alikes of the data sets that people have: read without being told, and what is wrong in them said."""

import json
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.taxonomy import CLASSES
from geocamnet.train.coco import draw_mask
from geocamnet.train.index import read_index
from geocamnet.train.prepare import prepare
from geocamnet.train.readings import Names, Shape
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.sources import find_photographs

RECIPE = PrepareRecipe(long_side_px=None, workers=1, jpeg_quality=0)


def folder_of(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def find(root, **choices):
    return find_photographs(root, PrepareRecipe(**choices))


def labels(source):
    return {one.path: "|".join(one.labels) for one in source.photographs}


def draw(seed, size_wh=(40, 30)):
    blocks = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize(size_wh, Image.Resampling.NEAREST))


# --- DeepCarbonate ---------------------------------------------------------------------------------------


def named(rock):
    """As DeepCarbonate names its files: the title without what stands in brackets."""
    return rock.title.split(" (")[0]


def deepcarbonate(root, path, lights, classes=CLASSES):
    for rock in classes:
        for light in lights:
            for number, split in enumerate(("train", "val", "test")):
                stain = "_ARS" if rock.group == "limestone" else ""
                name = f"{named(rock)}.{number}{stain}.jpg"
                folder_of(root, path.format(light=light, split=split, number=rock.id, name=name))
    return root


ZIPPED = "carbonate_1223/{light}-1223/{split}/class{number}/{name}"
README = "DeepCarbonate/{light}/{split}/class{number}/{name}"


@pytest.mark.parametrize(("path", "lights"), [(ZIPPED, ("PPL", "XPL")), (README, ("PPL", "XPL", "R"))])
def test_deepcarbonate_is_read_as_it_comes(tmp_path, path, lights):
    source = find(deepcarbonate(tmp_path, path, lights), keep_splits=True)
    assert source.layout == "folders"
    assert Counter(one.labels[0] for one in source.photographs) == {rock.name: 3 * len(lights) for rock in CLASSES}
    assert Counter(one.light for one in source.photographs) == dict.fromkeys(lights, 66)
    assert Counter(one.split for one in source.photographs) == dict.fromkeys(("train", "val", "test"), 22 * len(lights))
    assert Counter(Counter(one.field for one in source.photographs).values()) == {len(lights): 66}
    assert any(
        f"{12 * len(lights)} photograph(s) of 4 class(es)" in note and "Alizarin" in note for note in source.notes
    )
    assert not any("lie in the folder of another" in fault for fault in source.faults)


def test_deepcarbonate_out_of_its_zip_is_the_same(tmp_path):
    root = deepcarbonate(tmp_path / "raw", ZIPPED, ("PPL", "XPL"))
    (root / "carbonate_1223" / "classmap.txt").write_text("1 Arenaceous")
    with zipfile.ZipFile(tmp_path / "carbonate_1223.zip", "w") as packed:
        for file in root.rglob("*.*"):
            packed.write(file, file.relative_to(root).as_posix())
    zipped, folder = find(tmp_path / "carbonate_1223.zip"), find(root / "carbonate_1223")
    assert zipped.photographs == folder.photographs
    assert zipped.notes == folder.notes


def test_a_class_folder_filled_with_another_classes_files_is_said(tmp_path):
    deepcarbonate(tmp_path, ZIPPED, ("PPL",))
    for number in range(40):
        folder_of(tmp_path, f"carbonate_1223/PPL-1223/train/class1/Vug.{100 + number}.jpg")
    source = find(tmp_path)
    (fault,) = [fault for fault in source.faults if "lie in the folder of another" in fault]
    assert fault.startswith("40 of 106 photographs")
    assert "40 called vug among arenaceous" in fault
    assert fault in source.notes
    assert labels(source)["carbonate_1223/PPL-1223/train/class1/Vug.100.jpg"] == "arenaceous"


def test_some_of_deepcarbonates_folders_get_their_names_where_the_files_agree(tmp_path):
    deepcarbonate(tmp_path, README, ("PPL",), [CLASSES[6], CLASSES[16], CLASSES[20]])
    names = ("fine_crystalline_dolomite", "oolite", "thrombolite")
    assert set(labels(find(tmp_path)).values()) == set(names)


@pytest.mark.parametrize(
    "line",
    [
        "{number} {name}",
        "class{number}\t{name}",
        "{name}: {number}",
        "{number}, {name}",
        "Class {number} = {name}",
        "{number}. {name}",
    ],
)
def test_a_classmap_names_the_numbered_folders(tmp_path, line):
    names = ("oolite", "my own rock", "Vug")
    folder_of(tmp_path, *(f"train/class{number}/{number}.jpg" for number in (1, 2, 3)))
    lines = [line.format(number=number, name=name) for number, name in enumerate(names, 1)]
    (tmp_path / "classmap.txt").write_text("# classes\n\n" + "\r\n".join(lines), "utf-8-sig")
    source = find(tmp_path)
    assert list(labels(source).values()) == ["oolite", "my_own_rock", "vug"]
    assert not any("left alone" in note for note in source.notes)
    assert source.faults == find(tmp_path / "train").faults


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_classmap_in_chinese_is_read_in_any_common_writing(tmp_path, encoding):
    folder_of(tmp_path, *(f"class{number}/{number}.jpg" for number in (1, 2, 3)))
    (tmp_path / "classmap.txt").write_bytes("1 鲕粒灰岩\n2 叠层石\n3 我的岩石\n".encode(encoding))
    assert list(labels(find(tmp_path)).values()) == ["oolite", "stromatolite", "我的岩石"]


def test_a_classmap_that_is_no_text_is_an_error(tmp_path):
    folder_of(tmp_path, "class1/1.jpg", "class2/2.jpg")
    (tmp_path / "classmap.txt").write_bytes("1 Oolithe calcaire\n2 Grès dolomité\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"classmap\.txt: neither UTF-8 nor GB18030.*Save it"):
        find(tmp_path)


def test_a_classmap_counted_from_0_is_shifted_and_one_that_misses_a_folder_is_not_used(tmp_path):
    folder_of(tmp_path, *(f"class{number}/{number}.jpg" for number in (1, 2, 3)))
    (tmp_path / "classmap.txt").write_text("0 oolite\n1 foam\n2 vug\n", "utf-8")
    assert list(labels(find(tmp_path)).values()) == ["oolite", "foam", "vug"]
    (tmp_path / "classmap.txt").write_text("1 oolite\n2 foam\n", "utf-8")
    assert list(labels(find(tmp_path)).values()) == ["class1", "class2", "class3"]
    (tmp_path / "classmap.txt").write_text("1 oolite\n1 foam\nno number\n", "utf-8")
    assert list(labels(find(tmp_path)).values()) == ["class1", "class2", "class3"]


def test_a_classmap_that_contradicts_the_published_numbers_is_believed_and_said(tmp_path):
    root = deepcarbonate(tmp_path, README, ("PPL",))
    turned = {rock.id: CLASSES[rock.id % 22].name for rock in CLASSES}
    (root / "DeepCarbonate/classmap.txt").write_text("\n".join(f"{k} {name}" for k, name in turned.items()), "utf-8")
    source = find(root)
    assert labels(source)["DeepCarbonate/PPL/train/class1/Arenaceous.0.jpg"] == CLASSES[1].name
    assert any("names 22 folder(s) otherwise than the published numbers" in fault for fault in source.faults)
    assert any("lie in the folder of another" in fault for fault in source.faults)


def test_numbered_folders_of_another_numbering_are_not_renamed_by_it(tmp_path):
    folder_of(
        tmp_path, *(f"class{number}/{'Oolite' if number == 1 else 'Vug'}.{n}.jpg" for number in (1, 2) for n in "12")
    )
    assert set(labels(find(tmp_path)).values()) == {"oolite", "vug"}  # what the files are called
    assert set(labels(find(tmp_path, layout="folders")).values()) == {"class1", "class2"}


# --- as MidDynuy -----------------------------------------------------------------------------------------

CHINESE = {
    "鲕粒白云岩": "oolite",
    "叠层石": "stromatolite",
    "泡沫绵层": "foam",
    "葡萄花边": "grape",
    "泥晶云岩": "micritic_dolomite",
}


def test_class_folders_in_chinese_with_jpegs_called_png(tmp_path):
    for number, name in enumerate(CHINESE):
        file = tmp_path / "震旦系 灯影组" / name / f"高石1井 {number}.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(draw(number)).save(file, "JPEG")
    report = prepare(tmp_path, tmp_path.parent / f"{tmp_path.name} data", RECIPE)
    assert report.classes == dict.fromkeys(CHINESE.values(), 1)
    assert report.skipped == ()


def test_the_class_in_front_of_the_number_below_folders_of_wells(tmp_path):
    for number, name in enumerate(CHINESE):
        folder_of(tmp_path, f"高石{number % 2}/{name}-{number}（-）.jpg", f"高石{number % 2}/{name}-{number}（+）.jpg")
    source = find(tmp_path)
    assert source.layout == "prefix"
    assert Counter(labels(source).values()) == dict.fromkeys(CHINESE.values(), 2)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8-sig", "xlsx"])
def test_a_spreadsheet_under_chinese_headings_is_found_by_itself(tmp_path, encoding):
    rows = [("序号", "图片名称", "岩性", "薄片编号", "偏光")]
    for number, name in enumerate(CHINESE):
        folder_of(tmp_path, f"照片/IMG_{number}.JPG", f"照片/IMG_{number}x.JPG")
        rows += [(number, f"IMG_{number}", name, f"GS-{number // 2}", "单偏光")]
        rows += [(number, f"D:\\震旦系\\照片\\IMG_{number}x.jpg", name, f"GS-{number // 2}", "正交偏光")]
    if encoding == "xlsx":
        openpyxl = pytest.importorskip("openpyxl", reason="needs openpyxl")
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / "鉴定表.xlsx")
    else:
        text = "\n".join(",".join(map(str, row)) for row in rows)
        (tmp_path / "鉴定表.csv").write_text(text, encoding=encoding)
    source = find(tmp_path)
    assert source.layout == "manifest"
    assert Counter(labels(source).values()) == dict.fromkeys(CHINESE.values(), 2)
    assert {one.section for one in source.photographs} == {"GS-0", "GS-1", "GS-2"}
    assert Counter(one.light for one in source.photographs) == {"PPL": 5, "XPL": 5}
    assert any("10 photograph(s) were found by their file name" in note for note in source.notes)


def test_a_table_of_something_else_is_no_manifest_and_two_that_fit_are_asked_about(tmp_path):
    folder_of(tmp_path, "wells/a.jpg", "wells/b.jpg")
    (tmp_path / "costs.csv").write_text("image,label\nx.jpg,dear\n")
    assert find(tmp_path).layout == "folders"
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("file,class\na,vug\nb,foam\n")
    with pytest.raises(DataError, match=r"several tables.*one\.csv, two\.csv.*--manifest 'one\.csv'"):
        find(tmp_path)
    assert set(labels(find(tmp_path, manifest="two.csv")).values()) == {"vug", "foam"}


def test_names_are_found_only_where_one_photograph_can_be_meant():
    names = Names(["vug/1.jpg", "foam/1.jpg", "vug/2.png", "é/3.tif"])
    assert names.find("vug/1.jpg") == ("vug/1.jpg", "path")
    assert names.find("D:/photos/foam/1.jpg") == ("foam/1.jpg", "name")
    assert names.find("2") == names.find("2.PNG") == ("vug/2.png", "name")
    assert names.find("e\u0301/3.tif") == ("é/3.tif", "path")
    assert names.find("1.jpg")[0] == ""
    assert "2 photographs are called so" in names.find("1.jpg")[1]
    assert names.find("oolite/2.png") == ("", "not there")  # another class's folder is another photograph
    assert names.find("2.jpg") == ("", "not there")  # and so is another kind of file


# --- ImageFolder, pairs, masks ---------------------------------------------------------------------------


def test_an_image_folder_is_read_with_its_splits(tmp_path):
    folder_of(
        tmp_path,
        *(f"{split}/{name}/{n}.jpg" for split in ("train", "val") for name in ("Vug", "my rock") for n in "12"),
    )
    source = find(tmp_path, keep_splits=True)
    assert Counter(labels(source).values()) == {"vug": 4, "my_rock": 4}
    assert Counter(one.split for one in source.photographs) == {"train": 4, "val": 4}


def test_pairs_with_masks_and_no_labels_are_read_for_scoring_heatmaps(tmp_path):
    raw = tmp_path / "raw"
    for number, name in enumerate(("1a", "1b", "2a")):
        for light in ("ppl", "xpl"):
            write_image(raw / light / f"{name}.jpg", draw(number))
        mask = np.zeros((30, 40), np.uint8)
        mask[:, : 10 * (number + 1)] = 2
        (raw / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(raw / "masks" / f"{name}.tiff")
    with pytest.raises(DataError, match="nothing tells their classes"):
        find(raw)
    (raw / "masks" / "masks.json").write_text('{"classes": ["feldspar", "quartz"]}')
    prepare(raw, tmp_path / "data", RECIPE)
    rows = read_index(tmp_path / "data")
    assert Counter((row.light, row.labels, bool(row.mask)) for row in rows) == {
        ("PPL", (), True): 3,
        ("XPL", (), True): 3,
    }
    assert len({row.field for row in rows}) == 3
    with Image.open(tmp_path / "data" / next(row.mask for row in rows if row.source == "ppl/1b.jpg")) as mask:
        assert Counter(np.asarray(mask).ravel().tolist()) == {0: 600, 2: 600}


def test_masks_beside_class_folders_go_to_the_photographs_of_their_names(tmp_path):
    folder_of(tmp_path, "vug/a.jpg", "vug/b.jpg", "foam/b.jpg", "foam/c_PPL.jpg", "foam/c_XPL.jpg")
    folder_of(tmp_path, "masks/a.png", "masks/b.png", "masks/foam/b_mask.png", "masks/c.png")
    (tmp_path / "masks" / "masks.json").write_text('{"classes": ["vug"]}')
    source = find(tmp_path)
    assert {one.path: one.mask for one in source.photographs} == {
        "vug/a.jpg": "masks/a.png",
        "vug/b.jpg": "",  # two photographs are called b: masks/b.png tells neither
        "foam/b.jpg": "masks/foam/b_mask.png",
        "foam/c_PPL.jpg": "masks/c.png",
        "foam/c_XPL.jpg": "masks/c.png",
    }
    assert "1 mask(s) are of no photograph by their name." in source.notes
    assert set(labels(source).values()) == {"vug", "foam"}


# --- COCO ------------------------------------------------------------------------------------------------


def square(left, top, side):
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def coco(raw, **changes):
    for name in ("a", "b", "c"):
        write_image(raw / "images" / f"{name}.png", draw(ord(name)))
    outlines = [(1, 7, [square(2, 3, 10)]), (1, 9, [square(4, 5, 2), square(30, 20, 5)]), (2, 9, [square(0, 0, 30)])]
    told = {
        "images": [
            {"id": number, "file_name": f"{name}.png", "width": 40, "height": 30}
            for number, name in enumerate("abc", start=1)
        ],
        "categories": [{"id": 7, "name": "Ooids"}, {"id": 9, "name": "vug"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "segmentation": drawn}
            for n, (image, category, drawn) in enumerate(outlines)
        ],
    }
    (raw / "annotations").mkdir(exist_ok=True)
    (raw / "annotations" / "instances_val.json").write_text(json.dumps(told | changes))
    return raw


def test_outlines_of_coco_become_labels_and_masks(tmp_path):
    report = prepare(coco(tmp_path / "raw"), tmp_path / "data", RECIPE)
    rows = {row.source: row for row in read_index(tmp_path / "data")}
    assert {path: row.labels for path, row in rows.items()} == {
        "images/a.png": ("oolite", "vug"), "images/b.png": ("vug",), "images/c.png": (),
    }  # fmt: skip
    assert json.loads((tmp_path / "data/masks/masks.json").read_text()) == {"classes": ["oolite", "vug"]}
    with Image.open(tmp_path / "data" / rows["images/a.png"].mask) as stored:
        mask = np.asarray(stored)
    expected = np.zeros((30, 40), np.uint8)
    expected[3:13, 2:12] = 1
    expected[5:7, 4:6] = 2  # the smaller lies on top
    expected[20:25, 30:35] = 2
    assert np.array_equal(mask, expected)
    assert rows["images/c.png"].mask == ""
    assert report.notes[0].startswith("Layout: outlines in COCO's JSON.")
    assert {one.split for one in find(tmp_path / "raw").photographs} == {"val"}


def test_run_lengths_go_down_the_columns():
    runs = (3, 2, 1, 4, 2)  # of 4 rows and 3 columns, read downwards
    mask = draw_mask([Shape(5, (), runs, (4, 3))], (4, 3))
    assert mask.T.ravel().tolist() == [0, 0, 0, 5, 5, 0, 5, 5, 5, 5, 0, 0]
    with pytest.raises(DataError, match="drawn on 3 x 4 px, the photograph has 4 x 4 px"):
        draw_mask([Shape(5, (), runs, (4, 3))], (4, 4))


@pytest.mark.parametrize(
    "segmentation", [{"counts": "abc", "size": [30, 40]}, {"counts": [1, 2]}, [[1, 2, 3]], [[1, 2, 3, 4, 5, "x"]], 7]
)
def test_outlines_that_cant_be_read_are_listed(tmp_path, segmentation):
    broken = [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": segmentation}]
    source = find(coco(tmp_path, annotations=broken))
    assert source.photographs[0].labels == ("oolite",)
    assert "1 outline(s)" in dict(source.skipped)["images/a.png"]


def test_a_category_that_cant_be_a_class_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"instances_val\.json: the category 'mud\|silt' can't be a class name"):
        find(coco(tmp_path, categories=[{"id": 7, "name": "Mud|Silt"}, {"id": 9, "name": "vug"}]))


def test_coco_that_names_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none of the photographs"):
        find(coco(tmp_path, images=[{"id": 1, "file_name": "x.png"}], annotations=[]))
    with pytest.raises(DataError, match="can be understood"):
        find(coco(tmp_path, categories=[{"id": 1}]))
