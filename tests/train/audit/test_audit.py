"""Planted faults are found and named, clean photographs stay quiet, and `prepare --audit` does what the table says."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawn import fill, jpeg, rock, scaled, turned
from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.train.audit import audit as verb
from geocamnet.train.audit.audit import audit
from geocamnet.train.data_card import read_data_card
from geocamnet.train.index import read_index
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import AuditRecipe, PrepareRecipe

RECIPE = AuditRecipe(workers=1)
KEEP = PrepareRecipe(long_side_px=None, jpeg_quality=0, workers=1)


def kinds(report, *severities):
    return {one.kind for one in report.findings if one.severity in (severities or ("error", "warning", "note"))}


def table(out):
    with (out / "audit.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def asked(out, action):
    return {row["image"]: row["value"] for row in table(out) if row["action"] == action}


def test_a_clean_folder_has_no_finding_above_a_note(tmp_path):
    report = audit(fill(tmp_path / "raw"), tmp_path / "audit", RECIPE)
    assert kinds(report, "error", "warning") == set()
    assert asked(tmp_path / "audit", "drop") == {}
    assert "Nothing was found that makes figures wrong" in (tmp_path / "audit/audit.html").read_text("utf-8")


def test_every_planted_copy_is_found_and_no_other(tmp_path):
    raw = fill(tmp_path / "raw", each=12)
    shutil.copy(raw / "foam/p0.png", raw / "foam/same.png")  # the same file
    shutil.copy(raw / "foam/p1.png", raw / "vug/conflict.png")  # under another name
    write_image(raw / "foam/wrapped.tif", read_image(raw / "foam/p2.png"))  # the same pixels
    planted = {}
    for attitude in range(1, 8):
        planted[f"foam/turned{attitude}.jpg"] = (f"foam/p{attitude + 2}.png", attitude)
        write_image(raw / f"foam/turned{attitude}.jpg", jpeg(turned(rock(attitude + 2), attitude), 60))
    write_image(raw / "vug/smaller.png", scaled(rock(1000), 0.6))
    write_image(raw / "vug/stronger.jpg", jpeg(rock(1001), 30))
    write_image(raw / "oolite/other.jpg", jpeg(rock(1002), 70))
    report = audit(raw, tmp_path / "audit", RECIPE)
    exact = {tuple(report.paths[i] for i in group) for group in report.copies.exact}
    assert exact == {
        ("foam/p0.png", "foam/same.png"),
        ("foam/p1.png", "vug/conflict.png"),
        ("foam/p2.png", "foam/wrapped.tif"),
    }
    near = {frozenset((report.paths[one.first], report.paths[one.second])): one.kind for one in report.copies.near}
    expected = {frozenset((copy, original)): "turned" for copy, (original, _) in planted.items()}
    expected |= {
        frozenset(("vug/smaller.png", "vug/p1000.png")): "copy",
        frozenset(("vug/stronger.jpg", "vug/p1001.png")): "copy",
        frozenset(("oolite/other.jpg", "vug/p1002.png")): "copy",
    }
    assert near == expected
    assert {"conflicting-labels", "near-conflicts"} <= kinds(report, "error")
    assert asked(tmp_path / "audit", "merge") == {
        "foam/p1.png": "foam|vug",
        "oolite/other.jpg": "oolite|vug",
        "vug/p1002.png": "oolite|vug",
    }
    assert set(asked(tmp_path / "audit", "drop")) == {"foam/same.png", "vug/conflict.png", "foam/wrapped.tif"}


def test_crops_and_slanted_copies_are_found_as_parts(tmp_path):
    raw = fill(tmp_path / "raw", each=8, size_wh=(240, 200))
    large = rock(0, (240, 200))
    write_image(raw / "foam/crop.png", large[20:170, 30:210])
    slanted = Image.fromarray(rock(1, (240, 200))).rotate(20, Image.Resampling.BICUBIC)
    write_image(raw / "foam/slanted.png", np.asarray(slanted)[45:155, 50:190])
    write_image(raw / "foam/mirrored.png", np.ascontiguousarray(rock(2, (240, 200))[30:, :200][:, ::-1]))
    report = audit(raw, tmp_path / "audit", RECIPE)
    near = {frozenset((report.paths[one.first], report.paths[one.second])) for one in report.copies.near}
    assert near == {
        frozenset(("foam/crop.png", "foam/p0.png")),
        frozenset(("foam/slanted.png", "foam/p1.png")),
        frozenset(("foam/mirrored.png", "foam/p2.png")),
    }


def test_copies_across_splits_are_an_error_and_the_copy_in_the_test_is_kept(tmp_path):
    for split, start in (("train", 0), ("val", 100), ("test", 200)):
        fill(tmp_path / "raw" / split, classes=("foam", "vug"), each=4)
        for file in sorted((tmp_path / "raw" / split).rglob("*.png")):
            write_image(file, rock(start + int(file.stem[1:])))
    shutil.copy(tmp_path / "raw/test/foam/p0.png", tmp_path / "raw/train/foam/leak.png")
    report = audit(tmp_path / "raw", tmp_path / "audit", RECIPE)
    assert "across-splits" in kinds(report, "error")
    assert asked(tmp_path / "audit", "drop") == {"train/foam/leak.png": "test/foam/p0.png"}


@pytest.mark.parametrize("others", [(), ("vug",)])
def test_a_copy_that_is_kept_without_a_label_gets_that_of_the_copies_that_are_dropped(others, tmp_path):
    raw = tmp_path / "raw"
    labels = {f"p{k}.png": ("oolite", "vug")[k % 2] for k in range(8)}
    for k, name in enumerate(labels):
        write_image(raw / name, rock(k))
    shutil.copy(raw / "p0.png", raw / "asked.png")
    write_image(raw / "turned.png", turned(rock(0), 3))
    lines = [f"{name},{label},train" for name, label in labels.items()]
    lines += ["asked.png,,test", f"turned.png,{'|'.join(others)},test"]
    (raw / "manifest.csv").write_text("\n".join(["image,labels,split", *lines]), "utf-8")
    audit(raw, tmp_path / "audit", RECIPE)
    assert asked(tmp_path / "audit", "drop") == {"p0.png": "asked.png"}
    prepare(raw, tmp_path / "data", replace(KEEP, audit=str(tmp_path / "audit"), keep_splits=True))
    rows = {row.source: row for row in read_index(tmp_path / "data")}
    assert rows["asked.png"].labels == ("oolite", *others)
    assert rows["asked.png"].split == "test"


def test_a_kept_copy_without_a_label_stays_so_where_no_copy_has_one(tmp_path):
    raw = fill(tmp_path / "raw", each=4)
    for name in ("a", "b"):
        write_image(raw / f"unlabelled/{name}.png", rock(77))
    audit(raw, tmp_path / "audit", RECIPE)
    assert asked(tmp_path / "audit", "drop") == {"unlabelled/b.png": "unlabelled/a.png"}
    assert asked(tmp_path / "audit", "merge") == {}


@pytest.mark.parametrize("name", ["border", "size", "lamp", "compression", "scale-bar"])
def test_each_planted_shortcut_is_named_and_no_other(tmp_path, name):
    raw = fill(tmp_path / "raw")
    for file in sorted((raw / "vug").iterdir()):
        image = rock(int(file.stem[1:]))
        if name == "border":
            image[:3], image[-3:], image[:, :3], image[:, -3:] = 0, 0, 0, 0
        if name == "size":
            image = rock(int(file.stem[1:]), (104, 78))
        if name == "lamp":
            image = rock(int(file.stem[1:]), lamp=1.35)
        if name == "scale-bar":
            image[78:82, 60:100] = 255
        if name == "compression":
            file.unlink()
            file = file.with_suffix(".jpg")
        write_image(file, image)
    report = audit(raw, tmp_path / "audit", RECIPE)
    found = {one.kind: one for one in report.findings if one.kind.startswith("shortcut-")}
    assert set(found) == {f"shortcut-{name}"}
    assert next(iter(found[f"shortcut-{name}"].figures["classes"])) == "vug"


def test_what_only_several_properties_together_tell_is_named(tmp_path):
    raw = fill(tmp_path / "raw")
    for number, file in enumerate(sorted((raw / "vug").iterdir())):
        image = rock(int(file.stem[1:]), (104, 78)) if number % 2 else rock(int(file.stem[1:]))
        if number % 2 == 0:
            image[:3], image[-3:], image[:, :3], image[:, -3:] = 0, 0, 0, 0
        write_image(file, image)
    found = {one.kind: one for one in audit(raw, tmp_path / "audit", RECIPE).findings}
    together = found["shortcut-together"].figures
    assert next(iter(together["classes"])) == "vug"
    singles = [found[kind] for kind in ("shortcut-size", "shortcut-border") if kind in found]
    assert all(one.figures["balanced_accuracy"] < together["balanced_accuracy"] - 0.01 for one in singles)


def test_augmented_copies_in_two_of_three_classes_are_an_error_that_names_them(tmp_path):
    raw = fill(tmp_path / "raw", each=10)
    for name, start in (("foam", 0), ("vug", 1000)):
        for k in range(6):
            write_image(raw / name / f"augmented{k}.png", turned(rock(start + k), 1 + k))
    report = audit(raw, tmp_path / "audit", RECIPE)
    told = next(one for one in report.findings if one.kind == "augmented-copies")
    assert told.severity == "error"
    assert told.title == "Augmented copies lie among the originals of foam, vug, but not of oolite"


def test_the_table_carried_out_drops_merges_crops_and_groups_and_is_undone_without_it(tmp_path):
    raw = fill(tmp_path / "raw", each=8)
    shutil.copy(raw / "foam/p0.png", raw / "vug/conflict.png")
    write_image(raw / "oolite/turned.png", turned(rock(2001), 3))
    framed = rock(2002)
    framed[:, :4] = 0
    write_image(raw / "oolite/p2002.png", framed)
    before = {file: file.read_bytes() for file in raw.rglob("*.png")}
    audit(raw, tmp_path / "audit", RECIPE)
    done = prepare(raw, tmp_path / "data", PrepareRecipe(**{**vars(KEEP), "audit": str(tmp_path / "audit")}))
    rows = {row.source: row for row in read_index(tmp_path / "data")}
    assert "vug/conflict.png" not in rows
    assert rows["foam/p0.png"].labels == ("foam", "vug")
    assert rows["oolite/turned.png"].section == rows["oolite/p2001.png"].section
    assert 114 <= rows["oolite/p2002.png"].width_px <= 116
    told = read_data_card(tmp_path / "data")["audit"]
    assert any(one.startswith("error: ") for one in told["found"])
    assert not any(one.startswith("note") for one in told["found"])
    changed = json.loads((tmp_path / "data/prepare.json").read_text("utf-8"))["audit"]
    assert told["carried_out"] == changed
    assert changed == {"dropped": 1, "merged": 1, "cropped": 1, "grouped": 2, "groups": 1, "not_found": 0}
    assert any("Audit carried out: 1 photograph(s) dropped" in note for note in done.notes)
    assert ("vug/conflict.png", "dropped, as the audit says") in done.skipped
    prepare(raw, tmp_path / "data", KEEP, overwrite=True)
    plain = {row.source: row for row in read_index(tmp_path / "data")}
    assert plain["vug/conflict.png"].labels == ("vug",)
    assert plain["oolite/p2002.png"].width_px == 120
    assert before == {file: file.read_bytes() for file in raw.rglob("*.png")}


def test_a_table_edited_after_preparing_is_noticed(tmp_path):
    raw = fill(tmp_path / "raw", each=4)
    shutil.copy(raw / "foam/p0.png", raw / "foam/same.png")
    audit(raw, tmp_path / "audit", RECIPE)
    recipe = PrepareRecipe(**{**vars(KEEP), "audit": str(tmp_path / "audit")})
    prepare(raw, tmp_path / "data", recipe)
    text = (tmp_path / "audit/audit.csv").read_text("utf-8-sig")
    (tmp_path / "audit/audit.csv").write_text(text.replace(",drop,", ",,"), "utf-8")
    with pytest.raises(DataError, match="have changed since it was made"):
        prepare(raw, tmp_path / "data", recipe)


def test_photographs_without_labels_in_chinese_tiny_and_damaged_are_audited(tmp_path):
    raw = tmp_path / "原始照片"
    for k in range(6):
        write_image(raw / f"薄片{k}.png", rock(k))
    shutil.copy(raw / "薄片0.png", raw / "薄片一.png")
    write_image(raw / "点.png", np.zeros((1, 1, 3), np.uint8))
    (raw / "damaged.jpg").write_bytes((raw / "薄片1.png").read_bytes()[:400])
    (raw / "text.png").write_text("no image")
    (raw / "empty.tif").touch()
    (raw / "notes.txt").write_text("a text")
    report = audit(raw, tmp_path / "audit", RECIPE)
    assert {path for path, _ in report.unread} == {"damaged.jpg", "text.png", "empty.tif"}
    assert all(reason for _, reason in report.unread)
    assert [tuple(report.paths[i] for i in group) for group in report.copies.exact] == [("薄片0.png", "薄片一.png")]
    assert {"unreadable", "no-photographs", "classes"} <= kinds(report)
    assert "薄片一.png" in (tmp_path / "audit/audit.html").read_text("utf-8")


@pytest.mark.parametrize("folders", [("foam", "vug"), ("",)])  # by folder; and where nothing tells classes
def test_masks_are_no_photographs_wherever_their_folder_lies(folders, tmp_path):
    raw = tmp_path / "raw"
    photographs = [f"{folder}/p{k}.png".lstrip("/") for folder in folders for k in range(4)]
    for seed, path in enumerate(photographs):
        write_image(raw / path, rock(seed))
        write_image((raw / path).parent / "masks" / Path(path).name, np.zeros((90, 120), np.uint8))
    report = audit(raw, tmp_path / "audit", RECIPE)
    assert sorted(report.paths) == sorted(photographs)


def test_a_folder_of_nothing_but_masks_is_an_error(tmp_path):
    write_image(tmp_path / "raw/masks/a.png", np.zeros((90, 120), np.uint8))
    with pytest.raises(DataError, match="every picture lies in a folder of masks"):
        audit(tmp_path / "raw", tmp_path / "audit", RECIPE)


def test_a_section_pattern_that_fits_nothing_is_an_error_and_no_want_of_labels(tmp_path):
    raw = fill(tmp_path / "raw", each=4)
    with pytest.raises(DataError, match="matches none of 12 photographs"):
        audit(raw, tmp_path / "audit", replace(RECIPE, section_regex=r"(S\d+)_"))


def test_a_section_pattern_is_welcome_where_nothing_tells_classes(tmp_path):
    for k in range(4):
        write_image(tmp_path / "raw" / f"薄片S{k // 2}_{k}.png", rock(k))
    report = audit(tmp_path / "raw", tmp_path / "audit", replace(RECIPE, section_regex=r"(S\d)_"))
    assert report.photographs == 4
    with pytest.raises(DataError, match="matches none of 4 photographs"):
        audit(tmp_path / "raw", tmp_path / "audit", replace(RECIPE, section_regex="(Q)"))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_draw_takes_is_refused(seed, tmp_path):
    raw = fill(tmp_path / "raw", each=4)
    with pytest.raises(DataError, match=f"--seed must be from 0 to 4294967295; received {seed}"):
        audit(raw, tmp_path / "audit", replace(RECIPE, seed=seed))


def test_one_class_is_said_and_an_empty_folder_is_an_error(tmp_path):
    report = audit(fill(tmp_path / "raw", classes=("foam",), each=4), tmp_path / "audit", RECIPE)
    assert "one-class" in kinds(report, "warning")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no photograph found"):
        audit(tmp_path / "none", tmp_path / "other", RECIPE)
    with pytest.raises(DataError, match="no such folder"):
        audit(tmp_path / "nowhere", tmp_path / "other", RECIPE)
    with pytest.raises(DataError, match="lies inside"):
        audit(tmp_path / "raw", tmp_path / "raw/audit", RECIPE)


def test_class_folders_with_files_of_another_class_are_an_error(tmp_path):
    raw = fill(tmp_path / "raw", classes=("foam", "oolite"), each=6)
    write_image(raw / "foam/Vug.12.png", rock(77))
    report = audit(raw, tmp_path / "audit", RECIPE)
    assert "name-against-folder" in kinds(report, "error")


def test_a_stopped_audit_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    raw = fill(tmp_path / "raw", each=6)
    audit(raw, tmp_path / "whole", RECIPE)

    class Stop(Exception):
        pass

    def stop(done, total, what):
        if done >= 8:
            raise Stop

    with pytest.raises(Stop):
        audit(raw, tmp_path / "audit", RECIPE, on_progress=stop)
    kept = (tmp_path / "audit/looks.jsonl").read_text("utf-8").splitlines()
    assert len(kept) == 9  # the header, and the first eight
    with (tmp_path / "audit/looks.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"path": "cut sh')
    looked = []
    monkeypatch.setattr(
        "geocamnet.train.audit.looking.look_at_all",
        lambda jobs: looked.extend(job.file.path for job in jobs) or verb_look(jobs),
    )
    audit(raw, tmp_path / "audit", RECIPE)
    assert len(looked) == 10
    for name in (verb.PAGE, verb.TABLE, verb.SUMMARY):
        assert (tmp_path / "audit" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_an_audit_process_that_is_stopped_or_killed_is_taken_up_by_the_same_command(how, tmp_path):
    raw = packed(fill(tmp_path / "raw", each=120), tmp_path / "photos.tar.gz")
    audit(raw, tmp_path / "whole", RECIPE)
    out = tmp_path / "audit"
    command = [sys.executable, "-m", "geocamnet", "audit", str(raw), str(out), "--workers", "2"]

    def hear():  # a job in the background of a shell is born deaf to Ctrl-C; a user's is not
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear)
    until = time.monotonic() + 120
    while not (out / "looks.jsonl").is_file() or len((out / "looks.jsonl").read_bytes().splitlines()) < 20:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)
    running.send_signal(getattr(signal, how))
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "Traceback" not in said
    assert not (out / "audit.html").exists()
    kept = len((out / "looks.jsonl").read_text("utf-8").splitlines()) - 1
    again = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr
    (told,) = [int(number) for number in re.findall(r"360 photographs, (\d+) of them looked at already", again.stderr)]
    assert kept - 1 <= told <= kept
    for name in (verb.PAGE, verb.TABLE, verb.SUMMARY):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(file.name for file in out.iterdir()) == ["audit.csv", "audit.html", "audit.json", "looks.jsonl"]


@pytest.mark.parametrize("left", [".aside-0123456789ab.tar", "unfolded.tar"])
def test_an_audit_killed_while_it_unfolds_an_archive_begins_again(left, tmp_path):
    raw = packed(fill(tmp_path / "raw", each=4), tmp_path / "photos.tar.gz")
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / left).write_bytes(b"half")
    audit(raw, tmp_path / "audit", RECIPE)
    names = sorted(file.name for file in (tmp_path / "audit").iterdir())
    assert names == ["audit.csv", "audit.html", "audit.json", "looks.jsonl"]


def packed(raw, file):
    """Pack a folder as its suffix says, as anyone would."""
    kind = {".zip": "zip", ".tar": "tar", ".gz": "gztar", ".xz": "xztar"}[file.suffix]
    return Path(shutil.make_archive(str(file).removesuffix("".join(file.suffixes)), kind, raw))


@pytest.fixture(scope="module")
def with_faults(tmp_path_factory):
    """A folder with copies, a crop, a damaged file, one of another kind, and its audit."""
    folder = tmp_path_factory.mktemp("packed")
    raw = fill(folder / "raw", each=8, size_wh=(240, 200))
    shutil.copy(raw / "foam/p0.png", raw / "vug/same.png")
    write_image(raw / "foam/crop.png", rock(1, (240, 200))[20:170, 30:210])
    (raw / "vug/cut.png").write_bytes((raw / "vug/p1000.png").read_bytes()[:900])
    (raw / "notes.txt").write_text("of the field", "utf-8")
    audit(raw, folder / "audit", RECIPE)
    return raw, folder / "audit"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_an_archive_is_audited_as_the_folder_it_holds(suffix, with_faults, tmp_path):
    raw, audited = with_faults
    out = tmp_path / "audit"
    report = audit(packed(raw, tmp_path / f"photos{suffix}"), out, replace(RECIPE, workers=2))
    assert {"conflicting-labels", "near-copies", "unreadable", "no-photographs"} <= kinds(report)
    for name in (verb.PAGE, verb.TABLE, verb.SUMMARY):
        assert (out / name).read_bytes() == (audited / name).read_bytes()
    assert not list(out.glob("*.tar*")), "what was unfolded is taken away"


def test_what_a_packed_audit_says_is_carried_out_on_the_archive(with_faults, tmp_path):
    raw, _ = with_faults
    archive = packed(raw, tmp_path / "photos.tar.gz")
    audit(archive, tmp_path / "audit", RECIPE)
    report = prepare(archive, tmp_path / "data", replace(KEEP, audit=str(tmp_path / "audit")))
    assert "dropped, as the audit says" in dict(report.skipped).values()


def test_a_compressed_tar_that_is_cut_short_loses_no_more_than_what_is_missing(with_faults, tmp_path):
    raw, _ = with_faults
    archive = packed(raw, tmp_path / "photos.tar.gz")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    report = audit(archive, tmp_path / "audit", RECIPE)
    assert 0 < report.photographs < 26
    assert any("cut short" in reason or "damaged" in reason for _, reason in report.unread)


def verb_look(jobs):
    from geocamnet.train.audit.look import look_at

    return [look_at(job) for job in jobs]
