"""Mapping a scan: what is written is what predict_huge says, is read by others, and survives a stop anywhere."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from geocamnet.card import FamiliarCard
from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.runtime import render
from geocamnet.runtime.familiar import statistics
from geocamnet.runtime.folder.areas import class_mask
from geocamnet.runtime.huge import looking, scan_map
from geocamnet.runtime.huge.predict import predict_huge
from geocamnet.runtime.huge.scan_map import map_scan
from geocamnet.runtime.model import load

tifffile = pytest.importorskip("tifffile", reason="scans need tifffile: pip install 'geocamnet[big]'")

FILES = ("areas.csv", "classes.geojson", "heatmaps.ome.tif", "overview.jpg", "summary.json", "tiles.csv")


@pytest.fixture(scope="module")
def section(tmp_path_factory, paint):
    """Return a scan of three tiles by four, red on the left and blue on the right."""
    path = tmp_path_factory.mktemp("scan") / "岩石.tif"
    write_image(path, paint((150, 205), "oolite", "vug"))
    return path


@pytest.fixture(scope="module")
def mapped(section, student, tmp_path_factory):
    out = tmp_path_factory.mktemp("mapped") / "out"
    return out, map_scan(section, out, student, um_per_px=2.0)


def contents(out):
    """Return every file's bytes; of the summary all but the seconds."""
    found = {one.name: one.read_bytes() for one in out.iterdir()}
    summary = json.loads(found.pop("summary.json"))
    summary.pop("seconds")
    return found | {"summary.json": summary}


def test_the_folder_holds_the_results_and_nothing_of_the_work(mapped):
    assert sorted(one.name for one in mapped[0].iterdir()) == sorted(FILES)


def test_areas_are_those_of_predict_huge(section, student, mapped):
    out, report = mapped
    mask = class_mask(predict_huge(section, student))
    expected = 100 * np.bincount(mask.ravel(), minlength=4) / mask.size
    names = (*student.card.class_names, "no_class")
    found = [report.percent[name] for name in names]
    np.testing.assert_allclose(found, np.roll(expected, -1), atol=1.5)  # on a grid of half cells, 2 px here
    assert sum(report.percent.values()) == pytest.approx(100, abs=1e-3)
    with (out / "areas.csv").open(encoding="utf-8-sig") as stream:
        rows = {row["class"]: row for row in csv.DictReader(stream)}
    assert sum(int(row["px"]) for row in rows.values()) == pytest.approx(150 * 205, abs=3)
    assert float(rows["oolite"]["um2"]) == pytest.approx(4 * int(rows["oolite"]["px"]), rel=1e-3)
    assert report.verdict == predict_huge(section, student).verdict


def test_heatmaps_are_a_pyramid_with_names_and_scale(section, student, mapped):
    out, _ = mapped
    huge = predict_huge(section, student)
    with tifffile.TiffFile(out / "heatmaps.ome.tif") as tiff:
        assert tiff.is_ome
        heat = tiff.series[0].asarray()
        assert 'Name="oolite"' in tiff.ome_metadata
        assert 'PhysicalSizeX="4.0"' in tiff.ome_metadata  # 2 px of 2 um
    assert heat.shape == (3, 75, 103)
    # A point stands for 2 x 2 px: its heat is that of the full heatmap between them.
    full = np.pad(huge.heatmap("vug", long_side_px=None), ((0, 0), (0, 1)), mode="edge").reshape(75, 2, 103, 2)
    np.testing.assert_allclose(heat[2] / 255, full.mean(axis=(1, 3)), atol=0.02)


def test_large_heatmaps_have_levels_that_are_means(tmp_path, tiny_card):
    from geocamnet.runtime.huge.pyramid import write_pyramid

    heat = np.random.default_rng(0).integers(0, 256, (3, 700, 1301), np.uint8)
    (tmp_path / "heat.u8").write_bytes(np.ascontiguousarray(heat.transpose(1, 0, 2)).tobytes())
    write_pyramid(tmp_path / "h.ome.tif", tmp_path / "heat.u8", heat.shape, tiny_card, um_per_px=None)
    with tifffile.TiffFile(tmp_path / "h.ome.tif") as tiff:
        levels = tiff.series[0].levels
        assert [one.shape for one in levels] == [(3, 700, 1301), (3, 350, 651), (3, 175, 326)]
        np.testing.assert_array_equal(levels[0].asarray(), heat)
        means = heat[:, :, :1300].reshape(3, 350, 2, 650, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(levels[1].asarray()[..., :650], means, atol=0.51)
        assert tiff.pages[0].is_tiled
    assert sorted(one.name for one in tmp_path.iterdir()) == ["h.ome.tif", "heat.u8"]


def test_regions_cover_the_class(mapped):
    out, report = mapped
    features = json.loads((out / "classes.geojson").read_text(encoding="utf-8"))["features"]
    assert len(features) == report.regions
    for name in ("oolite", "vug"):
        um2 = sum(
            one["properties"]["measurements"]["area_um2"]
            for one in features
            if one["properties"]["classification"]["name"] == name
        )
        assert um2 == pytest.approx(report.percent[name] / 100 * 150 * 205 * 4, rel=1e-3)


def test_tiles_tell_what_was_said_of_each(mapped):
    out, report = mapped
    with (out / "tiles.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == report.tiles == 12
    assert rows[0]["label"] == "oolite"
    assert rows[3]["label"] == "vug"


def test_the_overview_is_painted(mapped):
    picture = read_image(mapped[0] / "overview.jpg")
    assert max(picture.shape) > 205
    left, right = picture[20:100, 20:80].mean(axis=(0, 1)), picture[20:100, 150:190].mean(axis=(0, 1))
    assert left[0] > left[2] + 50
    assert right[2] > right[0] + 50


@pytest.mark.parametrize("stop_after", range(1, 12))
def test_stopped_after_any_tile_it_ends_in_the_same_files(section, student, mapped, tmp_path, stop_after):
    def stop(done, total):
        if done == stop_after:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        map_scan(section, out, student, um_per_px=2.0, on_progress=stop)
    calls = []
    map_scan(section, out, student, um_per_px=2.0, on_progress=lambda done, total: calls.append(done))
    assert calls[0] == 1 + 4 * ((stop_after - 1) // 4)  # whole rows of tiles are not looked at again
    assert contents(out) == contents(mapped[0])


@pytest.mark.parametrize(("maps_bytes", "tiles_bytes"), [(1, 0), (0, 7), (5000, 0), (0, 400), (10**9, 0), (0, 10**9)])
def test_torn_ends_are_cut_off(section, student, mapped, tmp_path, monkeypatch, maps_bytes, tiles_bytes):
    out = tmp_path / "out"
    monkeypatch.setattr(scan_map, "_write_results", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        map_scan(section, out, student, um_per_px=2.0)
    monkeypatch.undo()
    for name, less in ((".class_maps.f32", maps_bytes), ("tiles.csv", tiles_bytes)):
        raw = (out / name).read_bytes()
        (out / name).write_bytes(raw[: max(0, len(raw) - less)] if name[0] == "." or less < 10**9 else raw[:3])
    if tiles_bytes == 10**9:
        with pytest.raises(DataError, match="columns"):
            map_scan(section, out, student, um_per_px=2.0)
        map_scan(section, out, student, um_per_px=2.0, overwrite=True)
    else:
        map_scan(section, out, student, um_per_px=2.0)
    assert contents(out) == contents(mapped[0])


def test_a_finished_scan_is_not_looked_at_again(section, student, mapped, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(mapped[0], out)
    again = map_scan(section, out, student, um_per_px=2.0, on_progress=lambda *_: pytest.fail("looked at again"))
    assert again == mapped[1]
    (out / "areas.csv").unlink()
    assert map_scan(section, out, student, um_per_px=2.0) == mapped[1]
    assert contents(out) == contents(mapped[0])


def test_killed_in_its_first_write_it_begins_again(section, student, mapped, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".aside-0123456789ab.json").write_bytes(b"{")
    map_scan(section, out, student, um_per_px=2.0)
    assert contents(out) == contents(mapped[0])


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_in_its_last_steps_nothing_of_the_work_stays(section, student, mapped, tmp_path, overwrite):
    out = tmp_path / "out"
    shutil.copytree(mapped[0], out)
    for name in (".class_maps.f32", ".small.u8", ".heat.u8", ".heat.u8.1", ".aside-0123456789ab.jpg"):
        (out / name).write_bytes(b"half")
    map_scan(section, out, student, um_per_px=2.0, overwrite=overwrite)
    assert contents(out) == contents(mapped[0])


def test_other_settings_and_other_peoples_folders_are_refused(section, student, mapped, tmp_path):
    with pytest.raises(DataError, match="um_per_px"):
        map_scan(section, mapped[0], student)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        map_scan(section, tmp_path, student)
    assert (tmp_path / "mine.txt").is_file()


def test_where_every_tile_is_refused_no_class_is_counted(tmp_path, tiny_card, make_student, paint, monkeypatch):
    told = []
    monkeypatch.setattr(render, "legend", lambda entries, **how: told.extend(entries) or np.zeros((9, 9, 3), np.uint8))
    image = paint((64, 256), "oolite", "vug")
    mean = tuple(statistics(image[:, 192:], 64).tolist())  # only the blue end is familiar
    familiar = FamiliarCard(mean, tuple(map(tuple, np.eye(len(mean)).tolist())), limit=0.05, long_side_px=64)
    model = load(make_student(tmp_path / "familiar.onnx", replace(tiny_card, familiar=familiar)))
    write_image(tmp_path / "scan.png", image)
    report = map_scan(tmp_path / "scan.png", tmp_path / "out", model, overlap_px=0)
    assert (report.tiles, report.tiles_refused) == (4, 2)
    assert report.percent["oolite"] == 0
    assert report.percent["vug"] == pytest.approx(50, abs=2)
    assert report.percent["refused"] == pytest.approx(50, abs=2)
    shares = {"Vug": "vug", "no class (photograph)": "no_class", "refused (photograph)": "refused"}
    assert [text for text, _ in told] == [f"{title}  {report.percent[name]:.1f} %" for title, name in shares.items()]


def test_an_even_overview_does_not_depend_on_tiles(section, mapped, student, tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "OVERVIEW_PX", 100)
    out = tmp_path / "out"
    map_scan(section, out, student, um_per_px=2.0)
    assert read_image(out / "overview.jpg").shape == read_image(mapped[0] / "overview.jpg").shape


def test_a_scan_without_tifffile_is_refused_before_the_long_part(section, student, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_map, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"geocamnet\[big\]"):
        map_scan(section, tmp_path / "out", student)
    assert not (tmp_path / "out").exists()


def test_a_model_of_one_scale_warns_of_a_scan_of_unknown_scale_before_the_long_part(
    section, make_student, tiny_card, tmp_path, caplog
):
    model = load(make_student(tmp_path / "m.onnx", replace(tiny_card, um_per_px=2.0, long_side_px=None)))
    warned = []
    for name, um_per_px in (("unknown", None), ("known", 2.0)):
        caplog.clear()

        def note(done, total):
            if done == 1:
                warned.append("knows rock at 2 um a pixel" in caplog.text)

        map_scan(section, tmp_path / name, model, um_per_px=um_per_px, on_progress=note)
    assert warned == [True, False]


def test_a_full_disk_is_told_and_nothing_is_lost(section, student, mapped, tmp_path, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    monkeypatch.setattr(looking.os, "fsync", full)
    with pytest.raises(DataError, match="free space"):
        map_scan(section, out, student, um_per_px=2.0)
    monkeypatch.undo()
    map_scan(section, out, student, um_per_px=2.0)
    assert contents(out) == contents(mapped[0])
