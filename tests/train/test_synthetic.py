import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.images import read_image
from geocamnet.taxonomy import CLASSES
from geocamnet.train.recipes import SynthesizeRecipe
from geocamnet.train.synthetic import contact_sheet, draw_field, synthesize
from geocamnet.train.synthetic.crystalline import COARSE_UM, FINE_UM, MEDIUM_UM
from geocamnet.train.synthetic.field import FABRICS, HOSTS, OBJECTS
from geocamnet.train.synthetic.optics import (
    CALCITE,
    Rock,
    cross_polarised,
    filling,
    interference_colours,
    plane_polarised,
)
from geocamnet.train.synthetic.patterns import cells, packed, scattered, seams
from geocamnet.train.synthetic.slide import prepare_slide

NAMES = [rock.name for rock in CLASSES]
ID = {rock.name: rock.id for rock in CLASSES}
SMALL = SynthesizeRecipe(classes=("oolite", "vug"), sections=2, fields=2, size_px=48, workers=1)


def every_file(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


def manifest(raw: Path) -> list[dict[str, str]]:
    with (raw / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_drawn_in_both_lights_with_a_mask_of_its_id(name: str) -> None:
    drawn = draw_field([name], section_seed=12, field=1, size_px=96)
    for photograph in (drawn.ppl, drawn.xpl):
        assert photograph.shape == (96, 96, 3)
        assert photograph.dtype == np.uint8
        assert photograph.std() > 4  # neither blank nor burnt out
    assert drawn.mask.shape == (96, 96)
    assert drawn.mask.dtype == np.uint8
    assert drawn.labels == (name,)
    found = set(np.unique(drawn.mask)) - {0}
    assert ID[name] in found
    assert found - {ID[name]} <= ({ID[host] for host in HOSTS} if name in OBJECTS else set())


def test_the_fabrics_and_objects_are_the_22_classes() -> None:
    assert sorted([*FABRICS, *OBJECTS]) == sorted(NAMES)


def test_a_field_is_the_same_every_time_and_differs_from_its_neighbours() -> None:
    first = draw_field(["foam"], section_seed=5, field=0, size_px=64)
    again = draw_field(["foam"], section_seed=5, field=0, size_px=64)
    other_field = draw_field(["foam"], section_seed=5, field=1, size_px=64)
    other_section = draw_field(["foam"], section_seed=6, field=0, size_px=64)
    assert np.array_equal(first.ppl, again.ppl)
    assert np.array_equal(first.xpl, again.xpl)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.ppl, other_field.ppl)
    assert first.um_per_px == other_field.um_per_px != other_section.um_per_px


def test_brightness_differs_more_between_sections_of_a_class_than_between_class_means() -> None:
    means = np.array(
        [
            [draw_field([name], section_seed=seed, field=0, size_px=40).ppl.mean() for seed in range(40, 46)]
            for name in ("oolite", "micritic_limestone", "coarse_crystalline_dolomite", "vug")
        ]
    )  # (class, section)
    assert means.std(axis=1).mean() > means.mean(axis=1).std()


def test_style_zero_gives_every_section_the_same_slide() -> None:
    assert prepare_slide(1, ["oolite"], 64, style=0.0) == prepare_slide(2, ["oolite"], 64, style=0.0)
    assert prepare_slide(1, ["oolite"], 64, style=1.0) != prepare_slide(2, ["oolite"], 64, style=1.0)


def test_the_field_of_view_does_not_depend_on_the_size_of_the_photograph() -> None:
    small = draw_field(["breccia"], section_seed=3, field=0, size_px=64)
    large = draw_field(["breccia"], section_seed=3, field=0, size_px=128)
    assert small.um_per_px * 64 == pytest.approx(large.um_per_px * 128)


def test_the_grain_sizes_keep_the_limits_of_their_classes() -> None:
    assert 10 <= FINE_UM[0] < FINE_UM[1] <= 50 <= MEDIUM_UM[0] < MEDIUM_UM[1] <= 250 <= COARSE_UM[0]


def test_a_composite_holds_the_classes_asked_for_and_no_host() -> None:
    drawn = draw_field(["oolite", "stromatolite", "fracture"], section_seed=8, field=0, size_px=128)
    assert set(np.unique(drawn.mask)) - {0} == {ID["oolite"], ID["stromatolite"], ID["fracture"]}
    assert drawn.labels == ("oolite", "stromatolite", "fracture")


def test_the_mask_is_zero_exactly_where_a_scale_bar_or_frame_was_burnt_in() -> None:
    bars = set()
    for seed in range(30):
        slide = prepare_slide(seed, ["foam"], 96, style=1.0)
        mask = draw_field(["foam"], section_seed=seed, field=0, size_px=96).mask
        assert (mask == 0).any() == (slide.bar != "none" or any(slide.frame))
        bars.add(slide.bar)
    assert bars == {"none", "line", "box", "strip"}


def test_open_pores_are_black_between_crossed_polars() -> None:
    for seed in range(40):
        drawn = draw_field(["vug"], section_seed=seed, field=0, size_px=128)
        blue = drawn.ppl[..., 2].astype(int) - drawn.ppl[..., 0] > 90
        blue &= drawn.mask == ID["vug"]
        if blue.sum() > 300:
            inner = cv2.erode(blue.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            rock = drawn.mask != ID["vug"]
            assert drawn.xpl[inner].mean() < 0.6 * drawn.xpl[rock].mean()
            return
    pytest.fail("no section with dyed pores among 40")


def test_a_crystal_is_dark_along_the_polars_and_bright_between_them() -> None:
    angle = np.linspace(0, np.pi / 2, 5, dtype=np.float32)[None]  # 0, 22.5, 45, 67.5, 90 degrees
    flat = np.zeros((1, 5), np.float32)
    rock = Rock(np.zeros((3, 1, 5), np.float32), flat + CALCITE.birefringence, angle, flat)
    light = cross_polarised(rock, flat + 30, leak=0.0)[:, 0]
    assert np.allclose(light[:, [0, 4]], 0, atol=1e-6)
    assert np.allclose(light[:, 1], light[:, 2] / 2, atol=1e-5)
    assert (light[:, 2] > 0.3).all()


def test_quartz_is_first_order_grey_and_carbonate_high_order_white() -> None:
    colours = interference_colours().T  # (1400, 3)
    quartz = colours[round(0.009 * 30_000 / 5)]
    calcite = colours[round(0.172 * 30_000 / 5)]
    red_one = colours[round(551 / 5)]  # the sensitive tint of the chart: red and blue over green
    assert quartz.max() - quartz.min() < 0.35
    assert np.ptp(calcite) < 0.1
    assert calcite.mean() == pytest.approx(0.5, abs=0.05)
    assert red_one[1] < min(red_one[0], red_one[2])
    assert np.allclose(colours[0], 0)


def test_glue_lets_light_through_and_has_no_colours() -> None:
    glue, thick = filling(4, (0.03, 0.03, 0.05)), np.full((4, 4), 30, np.float32)
    assert (plane_polarised(glue, thick) > 0.9).all()
    assert np.allclose(cross_polarised(glue, thick, leak=0.0), 0)


@given(seed=st.integers(0, 10_000), size=st.integers(24, 60), spacing=st.floats(4, 15))
@settings(max_examples=15, deadline=None)
def test_a_mosaic_gives_every_pixel_to_about_its_nearest_seed(seed: int, size: int, spacing: float) -> None:
    labels, centres, _ = cells(size, scattered(np.random.default_rng(seed), size, spacing))
    y, x = np.mgrid[:size, :size]
    every = np.hypot(x[..., None] - centres[:, 0], y[..., None] - centres[:, 1])  # (H, W, n), slow and obvious
    own = np.take_along_axis(every, labels[..., None], axis=-1)[..., 0]
    assert (own <= every.min(axis=-1) * 1.03 + 0.5).all()  # OpenCV's 5 x 5 mask is near, not exact


def test_seams_lie_where_labels_change() -> None:
    labels = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]], np.int32)
    assert np.array_equal(seams(labels), [[0, 1, 0], [1, 1, 1], [0, 0, 0]])


def test_packed_discs_hardly_overlap() -> None:
    radii = np.full(30, 8, np.float32)
    centres = packed(np.random.default_rng(1), 120, radii)
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    overlap = np.maximum(16 - apart[np.triu_indices(30, 1)], 0)
    assert (overlap > 3).mean() < 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size_px": 31}, "size_px must be 32"),
        ({"style": 1.5}, "style must lie"),
        ({"section_seed": -1}, "0 or more"),
        ({"class_names": ["oolit"]}, "Did you mean 'oolite'"),
        ({"class_names": ["oolite", "oolite"]}, "one to three different"),
        ({"class_names": []}, "one to three different"),
    ],
)
def test_a_field_that_cannot_be_drawn_is_refused(change: dict, said: str) -> None:
    wanted = {"class_names": ["oolite"], "section_seed": 1, "field": 0, "size_px": 32} | change
    with pytest.raises(DataError, match=said):
        draw_field(wanted.pop("class_names"), **wanted)


def test_synthesize_leaves_photographs_masks_and_manifest(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = synthesize(tmp_path / "raw", SMALL, on_progress=lambda done, total: seen.append((done, total)))
    raw = tmp_path / "raw"
    assert path == raw / "manifest.csv"
    rows = manifest(raw)
    assert list(rows[0]) == ["image", "labels", "section", "field", "light", "um_per_px", "mask"]
    assert len(rows) == 2 * 2 * 2 * 2
    assert seen == [(done, 8) for done in range(1, 9)]
    assert rows[0]["image"] == "photographs/oolite/oolite_S001_F01_PPL.jpg"
    assert rows[0]["mask"] == "masks/oolite/oolite_S001_F01.png"
    assert json.loads((raw / "masks/masks.json").read_text()) == {"classes": NAMES}
    for row in rows:
        assert read_image(raw / row["image"]).shape == (48, 48, 3)
        mask = cv2.imread(str(raw / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (48, 48)
        assert ID[row["labels"]] in mask
        assert row["image"].split("/")[-1].startswith(row["section"])
        assert float(row["um_per_px"]) > 0
    assert len({row["field"] for row in rows}) == 8
    drawn = draw_field(["oolite"], section_seed=0, field=0, size_px=48)
    assert drawn.ppl.shape == read_image(raw / rows[0]["image"]).shape


def test_the_number_of_processes_does_not_change_a_byte(tmp_path: Path) -> None:
    recipe = replace(SMALL, sections=1, composites=0.5, unlabelled=0.3)
    synthesize(tmp_path / "one", recipe)
    synthesize(tmp_path / "two", replace(recipe, workers=2))
    assert every_file(tmp_path / "one") == every_file(tmp_path / "two")


def die(task: object) -> None:
    os._exit(3)


def test_a_process_that_dies_while_drawing_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geocamnet.train.synthetic.write._draw_one", die)
    with pytest.raises(DataError, match=r"has died.*Run the same command again"):
        synthesize(tmp_path / "raw", replace(SMALL, workers=2))


def test_a_drawing_cut_off_is_taken_up_to_the_same_bytes(tmp_path: Path) -> None:
    raw = tmp_path / "raw"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(raw, SMALL, on_progress=stop)
    assert not (raw / "manifest.csv").exists()
    (raw / "photographs" / ".aside-0123456789ab.jpg").write_bytes(b"half")
    synthesize(raw, SMALL)
    synthesize(tmp_path / "whole", SMALL)
    assert every_file(raw) == every_file(tmp_path / "whole")


def test_a_finished_drawing_is_mended_and_not_drawn_again(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    synthesize(raw, SMALL)
    before = every_file(raw)
    calls: list[int] = []
    synthesize(raw, SMALL, on_progress=lambda done, total: calls.append(done))
    assert calls == []
    (raw / "photographs/vug/vug_S001_F01_PPL.jpg").unlink()
    synthesize(raw, SMALL)
    assert every_file(raw) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not empty"):
        synthesize(tmp_path, SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_another_recipe_does_not_mix_into_a_drawing(tmp_path: Path) -> None:
    synthesize(tmp_path / "raw", replace(SMALL, sections=1, fields=1))
    with pytest.raises(DataError, match="another recipe"):
        synthesize(tmp_path / "raw", SMALL)


def test_composites_have_their_share_and_unique_sections(tmp_path: Path) -> None:
    recipe = replace(SMALL, classes=("oolite", "foam", "vug"), sections=2, fields=1, composites=0.4, size_px=32)
    synthesize(tmp_path, recipe)
    rows = [row for row in manifest(tmp_path) if row["light"] == "PPL"]
    mixed = [row for row in rows if "|" in row["labels"]]
    assert len(rows) == 10
    assert len(mixed) == 4
    assert len({row["section"] for row in rows}) == 10
    assert all(row["image"].startswith("photographs/composite/composite_S") for row in mixed)


def test_withheld_sections_lose_their_label_in_every_row(tmp_path: Path) -> None:
    synthesize(tmp_path, replace(SMALL, unlabelled=0.5, size_px=32))
    labels_of: dict[str, set[str]] = {}
    for row in manifest(tmp_path):
        labels_of.setdefault(row["section"], set()).add(row["labels"])
    assert all(len(labels) == 1 for labels in labels_of.values())
    assert sum(labels == {""} for labels in labels_of.values()) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size_px": 16}, "size_px must be 32"),
        ({"sections": 0}, "sections must be 1"),
        ({"fields": 0}, "fields must be 1"),
        ({"lights": ("PPL", "UV")}, "Unknown light 'UV'"),
        ({"lights": ()}, "lights must be"),
        ({"classes": ("vugg",)}, "Did you mean 'vug'"),
        ({"composites": 1.2}, "composites must lie"),
        ({"composites": 0.5, "classes": ("vug",)}, "two classes"),
        ({"unlabelled": float("nan")}, "unlabelled must lie"),
        ({"workers": -1}, "workers must be 0"),
    ],
)
def test_a_recipe_that_cannot_be_drawn_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        synthesize(tmp_path / "raw", replace(SMALL, **change))
    assert not (tmp_path / "raw").exists()


def test_the_contact_sheet_shows_all_classes() -> None:
    sheet = contact_sheet(32)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert sheet.shape[1] > 8 * 32
    assert sheet.shape[0] > 6 * 32


def test_importing_it_leaves_torch_out() -> None:
    code = "import sys, geocamnet.train.synthetic; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
