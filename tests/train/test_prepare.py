"""Photographs become a data set: stored once, split by section, whatever happens on the way."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.prepare import prepare
from geocamnet.train.readings import RawPhotograph
from geocamnet.train.recipes import PrepareRecipe
from geocamnet.train.store import Stored

REAL = Path(__file__).parents[2] / "../shared/data/carbonate-lithology"
RECIPE = PrepareRecipe(long_side_px=48, workers=1)
JOURNAL = "prepare.partial.jsonl"


def draw(seed, size_wh=(60, 40)):
    """A photograph unlike any other."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize(size_wh, Image.Resampling.NEAREST))


@pytest.fixture
def raw(tmp_path):
    """Two classes of six photographs each."""
    for number in range(12):
        write_image(tmp_path / "raw" / ("vug" if number % 2 else "foam") / f"{number:02d}.png", draw(number))
    return tmp_path / "raw"


def rows_of(data):
    return {row.source: row for row in read_index(data)}


def summary_of(data):
    return json.loads((data / "prepare.json").read_text("utf-8"))


# --- what is stored --------------------------------------------------------------------------------------


def test_a_data_set_holds_every_photograph_scaled_and_told(raw, tmp_path):
    (raw / "LICENSE").write_text("free")
    seen = []
    report = prepare(raw, tmp_path / "data", RECIPE, on_progress=lambda done, total: seen.append((done, total)))
    rows = read_index(tmp_path / "data")
    assert [row.source for row in rows] == sorted(row.source for row in rows)
    assert all(read_image(tmp_path / "data" / row.image).shape == (32, 48, 3) for row in rows)
    assert {(row.width_px, row.height_px) for row in rows} == {(48, 32)}
    assert (report.photographs, report.classes, report.skipped) == (12, {"foam": 6, "vug": 6}, ())
    assert report.splits == Counter(row.split for row in rows)
    assert seen == [(number, 12) for number in range(1, 13)]
    summary = summary_of(tmp_path / "data")
    assert summary["sections_known"] is False
    assert summary["recipe"]["long_side_px"] == 48
    assert summary["notes"] == list(report.notes)
    assert any("LICENSE" in note for note in report.notes)
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == [
        "card.json", "images", "index.csv", "prepare.json",
    ]  # fmt: skip


def test_the_crop_is_taken_from_the_original_on_every_edge(tmp_path):
    framed = np.zeros((60, 80, 3), np.uint8)
    framed[5:-5, 5:-5] = draw(0, (70, 50))
    write_image(tmp_path / "raw" / "vug" / "a.png", framed)
    prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, crop_px=5, long_side_px=None, jpeg_quality=0))
    assert np.array_equal(read_image(tmp_path / "data" / "images" / "vug__a.png"), draw(0, (70, 50)))


@pytest.mark.parametrize(("long_side_px", "size_wh"), [(30, (30, 20)), (120, (120, 80)), (None, (60, 40))])
def test_photographs_are_scaled_down_and_up_to_the_long_side(tmp_path, long_side_px, size_wh):
    write_image(tmp_path / "raw" / "vug" / "a.png", draw(0))
    write_image(tmp_path / "raw" / "vug" / "b.png", draw(1, (40, 60)))
    prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, long_side_px=long_side_px, jpeg_quality=0))
    lying, standing = (read_image(tmp_path / "data" / f"images/vug__{name}.png") for name in "ab")
    assert lying.shape == (size_wh[1], size_wh[0], 3)
    assert standing.shape == (size_wh[0], size_wh[1], 3)
    expected = np.asarray(Image.fromarray(draw(0)).resize(size_wh, Image.Resampling.BOX))
    assert np.abs(lying.astype(int) - expected).mean() < 12


def test_scaling_down_averages_and_does_not_drop_pixels(tmp_path):
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    write_image(tmp_path / "raw" / "vug" / "a.png", np.repeat(checks[..., None], 3, axis=2).astype(np.uint8))
    prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, long_side_px=32, jpeg_quality=0))
    assert np.abs(read_image(tmp_path / "data/images/vug__a.png").astype(int) - 127.5).max() <= 1


@pytest.mark.parametrize(("crop_px", "long_side_px"), [(0, 40), (0, 20), (16, 32), (0, 60), (16, 40), (3, 32)])
def test_a_jpeg_that_is_stored_smaller_is_what_the_full_one_would_be(tmp_path, crop_px, long_side_px):
    # The first three are decoded at a fraction of their size, the others would lose sharpness by it.
    raw, grain = tmp_path / "raw", np.random.default_rng(0).integers(60, 200, (40, 80, 3), dtype=np.uint8)
    grain = np.asarray(Image.fromarray(grain).resize((160, 80), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[274] = 6
    for folder, jpeg in (("vug", {"quality": 95, "subsampling": 0, "exif": exif}), ("foam", {})):
        (raw / folder).mkdir(parents=True)
        Image.fromarray(grain).save(raw / folder / f"a.{'jpg' if jpeg else 'png'}", **jpeg)
    write_image(raw / "foam" / "a.png", read_image(raw / "vug" / "a.jpg"))  # the same pixels, upright, without loss
    recipe = replace(RECIPE, crop_px=crop_px, long_side_px=long_side_px, jpeg_quality=0, raw_um_per_px=1.0)
    prepare(raw, tmp_path / "data", recipe)
    jpeg, png = (read_image(tmp_path / f"data/images/{name}__a.png").astype(int) for name in ("vug", "foam"))
    rows = rows_of(tmp_path / "data")
    assert rows["vug/a.jpg"].um_per_px == rows["foam/a.png"].um_per_px
    assert jpeg.shape == png.shape
    assert np.abs(jpeg - png).max() <= 3
    assert jpeg.std() == pytest.approx(png.std(), rel=0.02)


def test_micrometres_a_pixel_follow_the_scaling(raw, tmp_path):
    prepare(raw, tmp_path / "data", replace(RECIPE, raw_um_per_px=2.0, long_side_px=30, crop_px=10))
    for row in read_index(tmp_path / "data"):
        assert row.um_per_px == pytest.approx(2.0 * 40 / 30, rel=1e-5)


def test_photographs_are_brought_to_one_scale_and_those_without_are_skipped_with_the_remedy(tmp_path):
    for name in "abc":
        write_image(tmp_path / "raw" / f"{name}.png", draw(ord(name)))
    (tmp_path / "raw" / "manifest.csv").write_text("image,label,um_per_px\na.png,vug,1\nb.png,vug,4\nc.png,vug,\n")
    report = prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, um_per_px=2.0))
    rows = rows_of(tmp_path / "data")
    assert [(rows[name].width_px, rows[name].um_per_px) for name in ("a.png", "b.png")] == [(30, 2.0), (120, 2.0)]
    assert report.skipped[0][0] == "c.png"
    assert "--raw-um-per-px" in report.skipped[0][1]


def test_names_are_readable_and_unique_also_where_case_and_suffix_are_all_that_differs(tmp_path):
    names = ["鲕粒岩/样品 3.png", "vug/a.png", "vug/a.tif", "vug/A.bmp", "vug/b c?.png", f"vug/{'长' * 60}1.png"]
    for number, name in enumerate(names):
        write_image(tmp_path / "raw" / name, draw(number))
    prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    rows = rows_of(tmp_path / "data")
    stored = [row.image for row in rows.values()]
    assert rows["鲕粒岩/样品 3.png"].image == "images/鲕粒岩__样品_3.jpg"
    assert rows["vug/b c?.png"].image == "images/vug__b_c_.jpg"
    assert len({name.casefold() for name in stored}) == len(names)
    assert all(len(name.encode()) < 200 for name in stored)
    assert rows["鲕粒岩/样品 3.png"].labels == ("oolite",)


# --- masks -----------------------------------------------------------------------------------------------


def with_masks(root, mask, classes=("Ooids", "vug")):
    write_image(root / "a.png", draw(0))
    write_image(root / "b.png", draw(1))
    (root / "masks").mkdir(exist_ok=True)
    Image.fromarray(mask).save(root / "masks" / "a.png")
    (root / "masks" / "masks.json").write_text(json.dumps({"classes": classes}))
    (root / "manifest.csv").write_text("image,labels,mask\na.png,oolite|vug,masks/a.png\nb.png,vug,\n")
    return root


def test_masks_are_cropped_and_scaled_with_their_photographs_and_stay_numbers(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 2
    mask[:20, :10] = 1
    with_masks(tmp_path / "raw", mask)
    prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, crop_px=10, long_side_px=80))
    row = rows_of(tmp_path / "data")["a.png"]
    with Image.open(tmp_path / "data" / row.mask) as stored:
        values = np.asarray(stored)
    assert values.shape == (40, 80)
    assert np.array_equal(values, np.repeat(np.repeat(mask[10:-10, 10:-10], 2, axis=0), 2, axis=1))
    assert json.loads((tmp_path / "data/masks/masks.json").read_text()) == {"classes": ["oolite", "vug"]}
    assert rows_of(tmp_path / "data")["b.png"].mask == ""


def test_a_palette_mask_keeps_its_numbers(tmp_path):
    with_masks(tmp_path / "raw", np.ones((40, 60), np.uint8))
    palette = Image.new("P", (60, 40), 2)
    palette.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "raw/masks/a.png")
    prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    with Image.open(tmp_path / "data" / rows_of(tmp_path / "data")["a.png"].mask) as stored:
        assert set(np.asarray(stored).ravel()) == {2}


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.zeros((40, 50), np.uint8), "50 x 40 px, its photograph 60 x 40 px"),
        (np.full((40, 60), 3, np.uint8), "holds 3, but masks.json names 2"),
        (np.zeros((40, 60, 3), np.uint8) + np.arange(3, dtype=np.uint8), "has colours"),
    ],
)
def test_a_mask_that_does_not_fit_is_told_and_its_photograph_kept(tmp_path, mask, told):
    with_masks(tmp_path / "raw", mask)
    report = prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    assert report.photographs == 2
    assert report.skipped[0][0] == "masks/a.png"
    assert told in report.skipped[0][1]
    assert rows_of(tmp_path / "data")["a.png"].mask == ""


def test_masks_without_masks_json_are_an_error_that_says_what_it_holds(tmp_path):
    with_masks(tmp_path / "raw", np.zeros((40, 60), np.uint8))
    (tmp_path / "raw/masks/masks.json").unlink()
    with pytest.raises(DataError, match=r"masks\.json: not there.*pixel value v"):
        prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    (tmp_path / "raw/masks/masks.json").write_text("[1]")
    with pytest.raises(DataError, match=r"masks\.json: can't be read"):
        prepare(tmp_path / "raw", tmp_path / "data", RECIPE)


# --- bad photographs -------------------------------------------------------------------------------------


def test_photographs_that_cant_be_used_are_listed_with_reasons_and_do_not_stop_the_rest(raw, tmp_path):
    whole = (raw / "vug" / "01.png").read_bytes()
    (raw / "vug" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (raw / "vug" / "text.jpg").write_text("I am a text")
    (raw / "vug" / "empty.jpg").touch()
    write_image(raw / "vug" / "dot.png", draw(50, (1, 1)))
    Image.new("RGB", (30_000, 20)).save(raw / "vug" / "strip.png")
    write_image(raw / "vug" / "small.png", draw(51, (14, 14)))
    report = prepare(raw, tmp_path / "data", replace(RECIPE, crop_px=5))
    reasons = dict(report.skipped)
    told = {"cut": "cut short", "text": "not an image", "empty": "0 bytes", "dot": "too small: 1 x 1 px"}
    told |= {"strip": "too narrow: 29990 x 10 px become 48 x 1 px", "small": "too small: 14 x 14 px, less 5 px"}
    assert len(reasons) == len(told)
    for name, reason in told.items():
        (received,) = [received for path, received in reasons.items() if Path(path).stem == name]
        assert reason in received
        assert str(raw) not in received
    assert report.photographs == 12
    assert summary_of(tmp_path / "data")["skipped"][0]["path"] == report.skipped[0][0]


def test_a_strip_is_kept_where_nothing_is_scaled(tmp_path):
    Image.new("RGB", (30_000, 20)).save((tmp_path / "raw").mkdir() or tmp_path / "raw" / "vug_1.png")
    prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, long_side_px=None))
    assert read_index(tmp_path / "data")[0].width_px == 30_000


def test_if_no_photograph_can_be_used_the_error_tells_the_first_reasons(tmp_path):
    (tmp_path / "raw" / "vug").mkdir(parents=True)
    for name in "abcd":
        (tmp_path / "raw" / "vug" / f"{name}.jpg").write_text("no photograph")
    with pytest.raises(DataError, match=r"None of 4 photographs.*vug/a\.jpg: not an image.*vug/c\.jpg"):
        prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    assert not (tmp_path / "data" / "index.csv").exists()


def test_what_there_is_too_little_of_is_noted(tmp_path):
    write_image(tmp_path / "raw" / "vug" / "a.png", draw(0))
    report = prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    notes = " ".join(report.notes)
    assert "nothing can be learnt from one class" in notes
    assert "Class 'vug' has a single photograph" in notes
    assert "val and test stay empty" in notes


# --- sections --------------------------------------------------------------------------------------------


@given(
    photographs=st.lists(
        st.tuples(
            st.sampled_from(["", "S1", "S2", "S3", "S4", "S5", "S6"]),  # section
            st.sampled_from(["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"]),  # field
            st.integers(0, 12),  # content
            st.lists(st.sampled_from(["vug", "foam", "oolite"]), max_size=2, unique=True),
            st.sampled_from(["", "train", "val", "test"]),
        ),
        min_size=1,
        max_size=25,
    ),
    keep=st.booleans(),
    folds=st.sampled_from([0, 3]),
)
def test_sections_fields_and_copies_never_straddle_splits_or_folds(photographs, keep, folds):
    from geocamnet.train.rows import index_rows

    pairs = [
        (
            RawPhotograph(f"{number}.jpg", tuple(labels), section, field, split=split),
            Stored(f"{number}.jpg", image=f"images/{number}.jpg", sha256=str(content)),
        )
        for number, (section, field, content, labels, split) in enumerate(photographs)
    ]
    try:
        rows, _ = index_rows(pairs, PrepareRecipe(keep_splits=keep, folds=folds))
    except DataError as error:
        assert "folds need 3 sections" in str(error)  # noqa: PT017 - either outcome is right
        return
    for tie in ("section", "field", "sha256"):
        for column in ("split", "fold", "section"):
            met = {}
            for row in rows:
                met.setdefault(getattr(row, tie), set()).add(getattr(row, column))
            assert all(len(values) == 1 for values in met.values())
    for (photograph, _), row in zip(pairs, rows, strict=True):
        in_one_section = {
            one.split for (one, _), other in zip(pairs, rows, strict=True) if other.section == row.section
        }
        if keep and photograph.split == "test":
            assert row.split == "test"
        if keep and in_one_section == {"val"}:
            assert row.split == "val"


def test_sections_of_a_regular_expression_are_dealt_whole(tmp_path):
    for number in range(24):
        write_image(tmp_path / "raw" / "vug" / f"S{number // 4}_{number % 4}.png", draw(number))
    recipe = replace(RECIPE, section_regex=r"(S\d)_", folds=3)
    prepare(tmp_path / "raw", tmp_path / "data", recipe)
    rows = read_index(tmp_path / "data")
    assert {row.section for row in rows} == {f"S{n}" for n in range(6)}
    assert len({(row.section, row.split, row.fold) for row in rows}) == 6
    assert {row.split for row in rows} == {"train", "val", "test"}
    assert {row.split for row in use_fold(rows, 0)} == {"train", "val", "test"}
    assert summary_of(tmp_path / "data")["sections_known"] is True


def test_copies_of_one_file_under_two_classes_stay_together_and_are_told(raw, tmp_path):
    (raw / "foam" / "copy.png").write_bytes((raw / "vug" / "01.png").read_bytes())
    report = prepare(raw, tmp_path / "data", RECIPE)
    rows = rows_of(tmp_path / "data")
    assert rows["foam/copy.png"].section == rows["vug/01.png"].section
    assert rows["foam/copy.png"].split == rows["vug/01.png"].split
    assert report.photographs == 13
    assert any("1 photograph(s) are exact copies" in note and "different labels" in note for note in report.notes)


def test_splits_of_raw_are_kept_when_asked_and_drawn_anew_otherwise(tmp_path):
    for number in range(30):
        split = ("train", "valid", "test")[number % 3]
        write_image(tmp_path / "raw" / split / ("vug" if number % 2 else "foam") / f"{number}.png", draw(number))
    prepare(tmp_path / "raw", tmp_path / "kept", replace(RECIPE, keep_splits=True))
    prepare(tmp_path / "raw", tmp_path / "drawn", RECIPE)
    for row in read_index(tmp_path / "kept"):
        assert row.split == row.source.split("/")[0].removesuffix("id")
    drawn = Counter(row.split for row in read_index(tmp_path / "drawn"))
    assert drawn["train"] >= 18


def test_unlabelled_photographs_are_split_too(raw, tmp_path):
    for number in range(20):
        write_image(raw / "unlabelled" / f"{number}.png", draw(100 + number))
    report = prepare(raw, tmp_path / "data", RECIPE)
    counts = Counter(row.split for row in read_index(tmp_path / "data") if not row.labels)
    assert counts == {"train": 13, "val": 3, "test": 4}
    assert any("20 photograph(s) have no label" in note for note in report.notes)


# --- interruptions ---------------------------------------------------------------------------------------


def test_one_and_two_processes_make_the_same_data_set(raw, tmp_path):
    (raw / "vug" / "bad.jpg").write_text("no photograph")
    for workers in (1, 2):
        prepare(raw, tmp_path / f"data{workers}", replace(RECIPE, workers=workers))
    files = [
        {file.relative_to(data).as_posix(): file.read_bytes() for file in data.rglob("*") if file.is_file()}
        for data in (tmp_path / "data1", tmp_path / "data2")
    ]
    assert files[0] == files[1]


class Interrupted(BaseException):
    """As KeyboardInterrupt, but pytest does not mind."""


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_goes_on_where_it_was(raw, tmp_path, workers):
    recipe = replace(RECIPE, workers=workers)
    whole = prepare(raw, tmp_path / "whole", recipe)

    def stop(done, total):
        if done == 5:
            raise Interrupted

    data = tmp_path / "data"
    with pytest.raises(Interrupted):
        prepare(raw, data, recipe, on_progress=stop)
    assert not (data / "index.csv").exists()
    entries = [json.loads(line) for line in (data / JOURNAL).read_text().splitlines()[1:]]
    times = {entry["image"]: (data / entry["image"]).stat().st_mtime_ns for entry in entries}
    assert len(times) == 5
    seen = []
    again = prepare(raw, data, recipe, on_progress=lambda done, total: seen.append(done))
    assert seen == [5, *range(6, 13)]
    assert times == {name: (data / name).stat().st_mtime_ns for name in times}  # not decoded again
    assert (data / "index.csv").read_bytes() == (tmp_path / "whole" / "index.csv").read_bytes()
    assert replace(again, data=whole.data) == whole
    assert not (data / JOURNAL).exists()


def test_a_killed_run_goes_on_where_it_was_and_leaves_no_process_behind(raw, tmp_path):
    data = tmp_path / "data"
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\n"
        "from geocamnet.train.prepare import prepare\nfrom geocamnet.train.recipes import PrepareRecipe\n"
        "if __name__ == '__main__':\n"
        "    prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareRecipe(long_side_px=48, workers=2),\n"
        "            on_progress=lambda done, total: time.sleep(60) if done == 4 else None)\n"
    )
    run = subprocess.Popen([sys.executable, str(script), str(raw), str(data)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (data / JOURNAL).exists() or len((data / JOURNAL).read_bytes().splitlines()) < 5:
        assert run.poll() is None, run.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stderr.read()  # ends only when the last of its processes has left and closed its end
    prepare(raw, tmp_path / "whole", RECIPE)
    prepare(raw, data, RECIPE)
    assert (data / "index.csv").read_bytes() == (tmp_path / "whole" / "index.csv").read_bytes()
    assert len(list((data / "images").iterdir())) == 12


@given(cut=st.integers(1, 4000), stray=st.booleans())
def test_whatever_is_left_of_the_journal_the_result_is_the_same(cut, stray, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "cut journal"
    raw, data = root / "raw", root / "data"
    if not raw.exists():
        for number in range(6):
            write_image(raw / "vug" / f"{number}.png", draw(number))
        prepare(raw, root / "whole", RECIPE)
    with pytest.raises(Interrupted):
        prepare(raw, data, RECIPE, overwrite=data.exists(), on_progress=_stop_at_the_end)
    journal = (data / JOURNAL).read_bytes()
    (data / JOURNAL).write_bytes(journal[: min(cut, len(journal))])
    if stray:
        (data / "images" / ".aside-0123.jpg").write_bytes(b"half")
        (data / ".aside-0123.jsonl").write_bytes(b"half")
    header_is_cut = cut < journal.index(b"\n")
    if header_is_cut:
        with pytest.raises(DataError, match="--overwrite"):
            prepare(raw, data, RECIPE)
    prepare(raw, data, RECIPE, overwrite=header_is_cut)
    assert (data / "index.csv").read_bytes() == (root / "whole" / "index.csv").read_bytes()
    assert not list(data.rglob(".aside-*"))
    assert len(list((data / "images").iterdir())) == 6


def _stop_at_the_end(done, total):
    if done == total:
        raise Interrupted


def test_a_photograph_replaced_meanwhile_is_read_again(raw, tmp_path):
    data = tmp_path / "data"
    with pytest.raises(Interrupted):
        prepare(raw, data, RECIPE, on_progress=_stop_at_the_end)
    write_image(raw / "vug" / "01.png", draw(99))
    prepare(raw, data, RECIPE)
    prepare(raw, tmp_path / "whole", RECIPE)
    assert (data / "index.csv").read_bytes() == (tmp_path / "whole" / "index.csv").read_bytes()
    stored = rows_of(data)["vug/01.png"].image
    assert (data / stored).read_bytes() == (tmp_path / "whole" / stored).read_bytes()


def test_a_mask_replaced_meanwhile_is_read_again(tmp_path):
    raw, data = with_masks(tmp_path / "raw", np.full((40, 60), 1, np.uint8)), tmp_path / "data"
    with pytest.raises(Interrupted):
        prepare(raw, data, RECIPE, on_progress=_stop_at_the_end)
    Image.fromarray(np.full((40, 60), 2, np.uint8)).save(raw / "masks/a.png")
    os.utime(raw / "masks/a.png", (time.time() + 100, time.time() + 100))
    seen = []
    prepare(raw, data, RECIPE, on_progress=lambda done, total: seen.append(done))
    assert seen == [1, 2]  # the photograph without a mask is not read again
    with Image.open(data / rows_of(data)["a.png"].mask) as stored:
        assert set(np.asarray(stored).ravel()) == {2}


def test_a_full_disk_is_an_error_and_the_run_goes_on_once_there_is_room(raw, tmp_path, monkeypatch):
    data = tmp_path / "data"
    save, count = Image.Image.save, []

    def fills_up(self, *args, **options):
        count.append(1)
        if len(count) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fills_up)
        with pytest.raises(DataError, match="No space left"):
            prepare(raw, data, RECIPE)
    seen = []
    prepare(raw, data, RECIPE, on_progress=lambda done, total: seen.append(done))
    assert seen[0] == 4
    assert len(read_index(data)) == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_cant_be_written_is_an_error(raw, tmp_path, workers):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't be written"):
        prepare(raw, tmp_path / "file" / "data", replace(RECIPE, workers=workers))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / JOURNAL).touch()
    (tmp_path / "data" / "images").touch()  # a file where the folder should be
    with pytest.raises(DataError, match="can't be written"):
        prepare(raw, tmp_path / "data", replace(RECIPE, workers=workers), overwrite=True)


# --- a second time ---------------------------------------------------------------------------------------


def test_a_finished_data_set_is_left_as_it_is(raw, tmp_path):
    first = prepare(raw, tmp_path / "data", RECIPE)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "data").rglob("*")}
    second = prepare(raw, tmp_path / "data", replace(RECIPE, workers=2))  # the same but for the processes
    assert second == replace(first, already_prepared=True)
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "data").rglob("*")}


def test_raw_copied_anew_is_the_same_raw(raw, tmp_path):
    prepare(raw, tmp_path / "data", RECIPE)
    for file in raw.rglob("*.png"):
        os.utime(file, (time.time() + 100, time.time() + 100))
    assert prepare(raw, tmp_path / "data", RECIPE).already_prepared


def test_a_choice_that_an_earlier_version_did_not_have_was_made_as_its_default(raw, tmp_path):
    data = tmp_path / "data"
    prepare(raw, data, RECIPE)
    summary = json.loads((data / "prepare.json").read_text(encoding="utf-8"))
    del summary["recipe"]["audit"]
    (data / "prepare.json").write_text(json.dumps(summary), encoding="utf-8")
    assert prepare(raw, data, RECIPE).already_prepared


def test_another_recipe_or_other_photographs_are_an_error_and_overwrite_makes_it_anew(raw, tmp_path):
    data = tmp_path / "data"
    prepare(raw, data, RECIPE)
    with pytest.raises(DataError, match=r"another recipe \(long_side_px was 48 and is 32\).*--overwrite"):
        prepare(raw, data, replace(RECIPE, long_side_px=32))
    write_image(raw / "vug" / "new.png", draw(77))
    with pytest.raises(DataError, match=r"have changed.*--overwrite"):
        prepare(raw, data, RECIPE)
    (raw / "vug" / "01.png").unlink()
    report = prepare(raw, data, replace(RECIPE, long_side_px=32, jpeg_quality=0), overwrite=True)
    assert not report.already_prepared
    assert {row.width_px for row in read_index(data)} == {32}
    assert sorted(file.name for file in (data / "images").iterdir()) == sorted(
        Path(row.image).name for row in read_index(data)
    )


def test_a_photograph_changed_at_the_same_size_is_noticed(raw, tmp_path):
    for number in range(3):
        write_image(raw / "vug" / f"{number}.bmp", draw(number))
    prepare(raw, tmp_path / "data", RECIPE)
    write_image(raw / "vug" / "1.bmp", draw(1)[::-1])
    os.utime(raw / "vug" / "1.bmp", (time.time() + 100, time.time() + 100))
    with pytest.raises(DataError, match="have changed"):
        prepare(raw, tmp_path / "data", RECIPE)


def test_masks_copied_anew_are_the_same_and_a_corrected_one_is_noticed(tmp_path):
    raw, data = with_masks(tmp_path / "raw", np.full((40, 60), 1, np.uint8)), tmp_path / "data"
    write_image(raw / "c.png", draw(2))
    (raw / "d.png").write_text("no photograph")
    for name in ("c", "d"):
        Image.fromarray(np.full((4, 6), 1, np.uint8)).save(raw / f"masks/{name}.png")  # of another size
    with (raw / "manifest.csv").open("a") as table:
        table.write("c.png,vug,masks/c.png\nd.png,vug,masks/d.png\n")
    assert len(prepare(raw, data, RECIPE).skipped) == 2
    later = time.time() + 100
    for file in raw.rglob("*.png"):
        os.utime(file, (later, later))
    assert prepare(raw, data, RECIPE).already_prepared
    size_bytes = (raw / "masks/a.png").stat().st_size
    Image.fromarray(np.full((40, 60), 2, np.uint8)).save(raw / "masks/a.png")
    assert (raw / "masks/a.png").stat().st_size == size_bytes
    os.utime(raw / "masks/a.png", (later, later))
    with pytest.raises(DataError, match=r"the masks have changed.*--overwrite"):
        prepare(raw, data, RECIPE)
    prepare(raw, data, RECIPE, overwrite=True)
    with Image.open(data / rows_of(data)["a.png"].mask) as stored:
        assert set(np.asarray(stored).ravel()) == {2}


def test_a_mask_of_another_size_in_bytes_is_noticed_however_old_it_claims_to_be(tmp_path):
    raw, data = with_masks(tmp_path / "raw", np.full((40, 60), 1, np.uint8)), tmp_path / "data"
    prepare(raw, data, RECIPE)
    Image.fromarray(np.random.default_rng(0).integers(0, 3, (40, 60), np.uint8)).save(raw / "masks/a.png")
    os.utime(raw / "masks/a.png", (1, 1))
    with pytest.raises(DataError, match="the masks have changed"):
        prepare(raw, data, RECIPE)


def test_masks_of_an_earlier_versions_data_set_are_asked_about_only_where_they_are_newer(tmp_path):
    raw, data = with_masks(tmp_path / "raw", np.full((40, 60), 1, np.uint8)), tmp_path / "data"
    prepare(raw, data, RECIPE)
    summary = summary_of(data)
    del summary["masks"]
    (data / "prepare.json").write_text(json.dumps(summary), encoding="utf-8")
    assert prepare(raw, data, RECIPE).already_prepared
    os.utime(raw / "masks/a.png", (time.time() + 100, time.time() + 100))
    with pytest.raises(DataError, match=r"masks are newer.*kept nothing to tell"):
        prepare(raw, data, RECIPE)


def test_a_run_begun_with_another_recipe_is_not_mixed_with(raw, tmp_path):
    with pytest.raises(Interrupted):
        prepare(raw, tmp_path / "data", RECIPE, on_progress=_stop_at_the_end)
    with pytest.raises(DataError, match="beginnings of a data set of another recipe"):
        prepare(raw, tmp_path / "data", replace(RECIPE, crop_px=3))
    prepare(raw, tmp_path / "data", replace(RECIPE, crop_px=3), overwrite=True)
    assert summary_of(tmp_path / "data")["recipe"]["crop_px"] == 3


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_something_else_is_never_written_over(raw, tmp_path, overwrite):
    write_image(tmp_path / "mine" / "images" / "holiday.jpg", draw(0))
    with pytest.raises(DataError, match="prepare has not made"):
        prepare(raw, tmp_path / "mine", RECIPE, overwrite=overwrite)
    with pytest.raises(DataError, match="lies inside"):
        prepare(raw, raw / "data", RECIPE, overwrite=overwrite)
    assert (tmp_path / "mine" / "images" / "holiday.jpg").is_file()
    assert not (raw / "data").exists()


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"crop_px": -1}, "--crop-px must be 0 or more; received -1"),
        ({"long_side_px": 4}, "--long-side-px must be 8 or more; received 4"),
        ({"um_per_px": 0.0}, "--um-per-px must be above 0"),
        ({"raw_um_per_px": float("nan")}, "--raw-um-per-px must be above 0"),
        ({"jpeg_quality": 101}, "--jpeg-quality must be 1 to 100, or 0 for PNG"),
        ({"folds": 2}, "--folds must be 0, or 3 or more"),
        ({"workers": -1}, "--workers must be 0"),
        ({"val_share": 0.5, "test_share": 0.5}, "--test-share must be 0 or more, and below 1"),
        ({"folds": 13}, "13 folds need 13 sections"),
    ],
)
def test_an_impossible_recipe_is_an_error_that_names_the_option(raw, tmp_path, choice, told):
    with pytest.raises(DataError, match=told):
        prepare(raw, tmp_path / "data", replace(RECIPE, **choice))
    assert not (tmp_path / "data" / "index.csv").exists()


def test_a_raw_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        prepare(tmp_path / "none", tmp_path / "data", RECIPE)


def test_some_of_the_real_photographs_become_a_data_set(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    for folder in ("dolomite", "limestone"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for file in sorted((REAL / folder).glob("*.png"))[:10]:
            (tmp_path / "raw" / folder / file.name).symlink_to(file.resolve())
    report = prepare(tmp_path / "raw", tmp_path / "data", replace(RECIPE, crop_px=12, long_side_px=384))
    assert report.skipped == ()
    for row in read_index(tmp_path / "data"):
        image = read_image(tmp_path / "data" / row.image)
        assert max(image.shape) == 384
        assert image.std() > 5
