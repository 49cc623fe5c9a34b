"""Windows of a made-up field: where they lie, what they are called, and what `prepare` makes of them."""

import csv
import json

import numpy as np
import pytest

from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.train.index import read_index
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import PrepareRecipe
from sandstone_windows import MINERALS, cut, windows


def test_a_window_is_named_for_what_fills_most_of_its_labelled_pixels_where_that_is_enough():
    mask = np.zeros((8, 20), np.uint8)
    mask[0, :4], mask[1, :2] = 4, 1  # 4 of quartz, 2 of feldspar: quartz
    mask[0, 4:6], mask[1, 4:6] = 1, 2  # half and half
    mask[0, 8:10], mask[1, 8:10], mask[2, 8] = 1, 2, 3  # the most, but not more than half
    mask[4:8, 12:16] = 3  # all of it, in the second row
    mask[0, 16] = 1  # the only mineral, but hardly there
    mask[4, :2] = 1  # the only mineral, but of too little to name a window
    mask[4, 4:8], mask[5, 4:7] = 1, 2  # more than half, but not by far
    found = list(windows(mask, window_px=4, stride_px=4))
    assert found == [(0, 0, "quartz"), (4, 0, ""), (4, 4, ""), (4, 12, "plagioclase")]


def test_windows_overlap_by_the_stride_and_stay_inside():
    mask = np.ones((300, 600), np.uint8)
    assert [(top, left) for top, left, _ in windows(mask)] == [(0, 0), (0, 160), (0, 320)]
    assert len(list(windows(np.ones((1200, 1600), np.uint8)))) == 6 * 9
    assert list(windows(np.ones((255, 256), np.uint8))) == []


@pytest.fixture
def source(tmp_path):
    """Three fields of two sections, 40 x 60 px: the left half quartz above feldspar, the right half not labelled."""
    folder = tmp_path / "source"
    for number, name in enumerate(("2a", "2b", "10a")):
        mask = np.zeros((40, 60), np.uint8)
        mask[:, :30], mask[25:, :20] = 4, 1
        write_image(folder / "masks" / f"{name}.png", mask)
        (folder / "masks" / f"{name}.png").rename(folder / "masks" / f"{name}.tiff")
        for light in ("ppl", "xpl"):
            noise = np.random.default_rng([number, light == "xpl"]).integers(0, 256, (40, 60, 3))
            write_image(folder / light / f"{name}.jpg", noise.astype(np.uint8))
    return folder


def test_photographs_and_masks_of_both_lights_are_cut_alike(source, tmp_path):
    manifest = cut(source, tmp_path / "raw", window_px=20, stride_px=20)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 2 * 4  # fields, lights, windows: those without a labelled pixel are left out
    assert {row["section"] for row in rows} == {"2", "10"}
    feldspar = {row["field"] for row in rows if row["labels"] == "feldspar"}
    assert feldspar == {f"{name}_r0020_c0000" for name in ("2a", "2b", "10a")}
    assert {row["labels"] for row in rows if row["field"] not in feldspar} == {"quartz"}
    for row in rows:
        name, top, left = row["field"].split("_")
        inside = slice(int(top[1:]), int(top[1:]) + 20), slice(int(left[1:]), int(left[1:]) + 20)
        whole = read_image(source / row["light"].lower() / f"{name}.jpg")
        assert (read_image(tmp_path / "raw" / row["image"]) == whole[inside]).all()
        labelled = read_image(source / "masks" / f"{name}.tiff")[inside]
        assert (read_image(tmp_path / "raw" / row["mask"]) == labelled).all()
    assert json.loads((tmp_path / "raw" / "masks" / "masks.json").read_text()) == {"classes": list(MINERALS)}


def test_prepare_keeps_a_section_in_one_fold_and_the_lights_of_a_window_together(source, tmp_path):
    for old, new in (("10a", "4a"), ("2b", "6a")):
        for folder, suffix in (("masks", "tiff"), ("ppl", "jpg"), ("xpl", "jpg")):
            (source / folder / f"{old}.{suffix}").rename(source / folder / f"{new}.{suffix}")
    cut(source, tmp_path / "raw", window_px=32, stride_px=8)
    prepare(tmp_path / "raw", tmp_path / "data", PrepareRecipe(folds=3, jpeg_quality=0, long_side_px=32, workers=1))
    rows = read_index(tmp_path / "data")
    folds = {(row.section, row.fold) for row in rows}
    assert sorted(section for section, _ in folds) == ["2", "4", "6"]
    assert sorted(fold for _, fold in folds) == [0, 1, 2]
    fields = {row.field for row in rows}
    assert {(row.field, row.light) for row in rows} == {(field, light) for field in fields for light in ("PPL", "XPL")}
    assert all(row.mask for row in rows)


def test_what_is_cut_already_is_left_alone(source, tmp_path):
    manifest = cut(source, tmp_path / "raw", window_px=20, stride_px=20)
    before = manifest.read_bytes()
    assert cut(source, tmp_path / "raw").read_bytes() == before


def test_a_mask_of_other_values_or_another_size_is_refused(source, tmp_path):
    write_image(source / "ppl" / "2a.jpg", np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(DataError, match=r"2a\.tiff"):
        cut(source, tmp_path / "raw")
    assert not (tmp_path / "raw" / "manifest.csv").exists()
