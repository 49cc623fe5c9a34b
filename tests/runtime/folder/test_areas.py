"""The class of every pixel, and a photograph's row of areas.csv."""

from dataclasses import replace

import numpy as np
import pytest

from geocamnet.card import ClassCard
from geocamnet.errors import DataError, ModelError
from geocamnet.runtime.folder import areas as areas_file
from geocamnet.runtime.folder.areas import PhotographArea, area_columns, area_row, class_mask, read_areas
from geocamnet.runtime.folder.tables import write_table
from geocamnet.runtime.heatmap import place_maps, scale_maps
from geocamnet.runtime.measure import strongest_class
from geocamnet.runtime.porosity import Dye
from geocamnet.runtime.prediction import prediction_of


def predicted(card, shape_hw, *, seed=0, scale=8.0):
    maps = np.random.default_rng(seed).normal(0, scale, (len(card.classes), 9, 12)).astype(np.float32)
    image = np.zeros((*shape_hw, 3), np.uint8)
    return prediction_of(card, image, np.full(len(card.classes), 1 / 3), maps)


@pytest.mark.parametrize("shape_hw", [(48, 64), (300, 400), (1, 1), (3, 700)])
@pytest.mark.parametrize("threshold", [0.5, 0.05, 1.0])
def test_the_mask_is_the_hottest_class_of_all_heatmaps_at_full_size(tiny_card, shape_hw, threshold, monkeypatch):
    monkeypatch.setattr(areas_file, "_STRIP_ROWS", 37)
    card = replace(tiny_card, map_scale=(6.0, 9.0, 12.0))
    one = predicted(card, shape_hw)
    heats = place_maps(scale_maps(one.class_maps, card), shape_hw, card, covered_hw=one.covered_hw)
    whole = strongest_class(np.clip(heats, 0, 1), threshold=threshold) + 1
    mask = class_mask(one, threshold=threshold)
    assert mask.dtype == np.uint8
    assert mask.shape == shape_hw
    # Where two classes are as hot as each other to the last digit, the order of additions may decide.
    assert (mask == whole).mean() > 0.999


def test_a_photograph_of_known_halves_has_halves(student, paint):
    mask = class_mask(student.predict(paint((64, 64), "oolite", "vug")))
    assert (mask[:, :28] == 1).all()
    assert (mask[:, 36:] == 3).all()


def test_no_evidence_is_no_class(tiny_card):
    one = predicted(tiny_card, (40, 40), scale=0.0)
    assert not class_mask(one).any()


def test_more_classes_than_a_mask_holds_are_refused(tiny_card):
    many = tuple(ClassCard(f"c{n}", f"C{n}", (0, 0, 0)) for n in range(256))
    card = replace(tiny_card, classes=many, map_scale=(1.0,) * 256, class_bias=(0.0,) * 256)
    with pytest.raises(ModelError, match="255 classes at most"):
        class_mask(predicted(card, (8, 8)))


AREA = PhotographArea("a, b\n.png", (30, 0, 10), (5, 10), Dye.VISIBLE, 7)


@pytest.mark.parametrize("um_per_px", [None, 2.0])
@pytest.mark.parametrize("porosity", [False, True])
def test_a_row_is_read_back_as_it_was(tmp_path, tiny_card, um_per_px, porosity):
    columns = area_columns(tiny_card, um_per_px=um_per_px, porosity=porosity)
    area = AREA if porosity else replace(AREA, dye=None, pore_px=None)
    row = area_row(area, section="S1", label="oolite", counted=True, um_per_px=um_per_px)
    assert len(row) == len(columns) == len(set(columns))
    write_table(tmp_path / "areas.csv", columns, [row])
    assert read_areas(tmp_path / "areas.csv", columns, tiny_card) == [area]
    cells = dict(zip(columns, row, strict=True))
    assert [cells[f"{name}_percent"] for name in ("oolite", "foam", "vug", "no_class")] == [60, 0, 20, 20]
    assert [cells[f"{name}_px"] for name in ("oolite", "foam", "vug", "no_class")] == [30, 0, 10, 10]
    if um_per_px:
        assert (cells["total_um2"], cells["oolite_um2"], cells["no_class_um2"]) == (200, 120, 40)
    if porosity:
        assert (cells["dye"], cells["porosity_percent"]) == ("dye visible", 14)


@pytest.mark.parametrize("dye", [Dye.NOT_VISIBLE, Dye.GREY, Dye.NOT_PLANE])
def test_where_no_dye_is_seen_no_percentage_is_said(tiny_card, dye):
    area = replace(AREA, dye=dye, pore_px=0 if dye is Dye.NOT_VISIBLE else None)
    columns = area_columns(tiny_card, um_per_px=1.0, porosity=True)
    cells = dict(zip(columns, area_row(area, section="", label="", counted=False, um_per_px=1.0), strict=True))
    assert cells["dye"] == dye.value
    assert cells["porosity_percent"] is cells["porosity_um2"] is None


def test_classes_with_the_names_of_our_columns_are_told_apart(tmp_path, tiny_card):
    classes = tuple(
        replace(one, name=name) for one, name in zip(tiny_card.classes, ("total", "porosity", "no_class"), strict=True)
    )
    card = replace(tiny_card, classes=classes)
    columns = area_columns(card, um_per_px=None, porosity=True)
    write_table(tmp_path / "a.csv", columns, [area_row(AREA, section="", label="", counted=True, um_per_px=None)])
    assert read_areas(tmp_path / "a.csv", columns, card) == [AREA]


def test_a_table_of_other_columns_is_refused_and_torn_rows_are_left_out(tmp_path, tiny_card):
    columns = area_columns(tiny_card, um_per_px=None, porosity=False)
    row = area_row(replace(AREA, dye=None), section="", label="", counted=True, um_per_px=None)
    write_table(tmp_path / "a.csv", columns, [row, ["torn", *["x"] * (len(columns) - 1)], ["short"]])
    assert [one.image for one in read_areas(tmp_path / "a.csv", columns, tiny_card)] == [AREA.image]
    with pytest.raises(DataError, match="columns"):
        read_areas(tmp_path / "a.csv", columns[1:], tiny_card)
