"""Photographs straight out of ZIP and TAR: the same data set as from a folder, and nothing hostile gets anywhere."""

import io
import os
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.train.archives import archive_kind, list_archive
from geocamnet.train.index import read_index
from geocamnet.train.originals import close_archives, open_originals, open_raw
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import PrepareRecipe

RECIPE = PrepareRecipe(long_side_px=32, workers=1)
MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}


def photograph(seed, kind="PNG", size_wh=(40, 30)):
    """The bytes of a photograph unlike any other."""
    blocks = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(blocks).resize(size_wh, Image.Resampling.NEAREST).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def raw(tmp_path):
    """Two lights, three classes, masks, a bad file, Chinese names, and names that differ in case alone."""
    root = tmp_path / "photos"
    for number in range(8):
        for light in ("PPL", "XPL"):
            file = root / light / ("鲕粒岩", "vug", "foam")[number % 3] / f"样品 {number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(photograph(10 * number + (light == "XPL")))
    (root / "PPL" / "vug" / "bad.jpg").write_text("no photograph")
    (root / "PPL" / "vug" / "README.txt").write_text("words")
    mask = np.ones((30, 40), np.uint8)
    (root / "masks").mkdir()
    Image.fromarray(mask).save(root / "masks" / "样品 1.png")
    Image.fromarray(mask).save(root / "masks" / "样品 0.png")
    (root / "masks" / "masks.json").write_text('{"classes": ["vug", "foam"]}')
    return root


def pack(root, archive, *, below="photos/", order=1):
    """Pack a folder as ``archive``, every name below ``below``."""
    files = sorted(root.rglob("*"))[::order]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in files:
                packed.write(file, below + file.relative_to(root).as_posix())
    else:
        suffix = next(one for one in MODES if archive.name.endswith(one))
        with tarfile.open(archive, MODES[suffix]) as packed:
            for file in files:
                packed.add(file, below + file.relative_to(root).as_posix(), recursive=False)
    return archive


def contents(data):
    return {
        file.relative_to(data).as_posix(): file.read_bytes()
        for file in data.rglob("*")
        if file.is_file() and file.name not in ("prepare.json", "card.json")
    }


# --- the same data set -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zip", *MODES])
@pytest.mark.parametrize("below", ["photos/", "", "./"])
def test_folder_and_archive_give_the_same_data_set_to_the_byte(raw, tmp_path, suffix, below):
    prepare(raw, tmp_path / "folder", RECIPE)
    archive = pack(raw, tmp_path / f"photos{suffix}", below=below, order=-1)
    report = prepare(archive, tmp_path / "archive", RECIPE)
    assert contents(tmp_path / "archive") == contents(tmp_path / "folder")
    assert report.photographs == 16
    assert [path for path, _ in report.skipped] == ["PPL/vug/bad.jpg"]
    assert sum(bool(row.mask) for row in read_index(tmp_path / "archive")) == 4  # two views in two lights
    assert sorted(file.name for file in tmp_path.iterdir()) == ["archive", "folder", "photos", f"photos{suffix}"]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_several_processes_each_open_the_archive(raw, tmp_path, suffix):
    prepare(raw, tmp_path / "folder", RECIPE)
    archive = pack(raw, tmp_path / f"photos{suffix}")
    prepare(archive, tmp_path / "archive", replace(RECIPE, workers=2))
    assert contents(tmp_path / "archive") == contents(tmp_path / "folder")


@pytest.mark.parametrize("suffix", ["", ".zip", ".tar.xz"])
def test_a_manifest_that_says_the_same_as_the_folders_gives_the_same_index(raw, tmp_path, suffix):
    prepare(raw, tmp_path / "folder", RECIPE)
    lines = ["文件名,岩性,掩膜"]
    masks = {f"样品 {number}": f"masks/样品 {number}.png" for number in (0, 1)}
    for file in sorted(raw.glob("*/*/*.png"), reverse=True):
        path = file.relative_to(raw).as_posix()
        lines.append(f"{path},{file.parent.name},{masks.get(file.stem, '')}")
    (raw / "manifest.csv").write_text("\n".join(lines), encoding="gb18030")
    source = pack(raw, tmp_path / f"photos{suffix}") if suffix else raw
    prepare(source, tmp_path / "manifest", RECIPE)
    assert contents(tmp_path / "manifest") == contents(tmp_path / "folder")


class Interrupted(BaseException):
    """As KeyboardInterrupt, but pytest does not mind."""


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_interrupted_run_on_an_archive_goes_on_and_a_finished_one_is_known(raw, tmp_path, suffix):
    archive = pack(raw, tmp_path / f"photos{suffix}")

    def stop(done, total):
        if done == 7:
            raise Interrupted

    with pytest.raises(Interrupted):
        prepare(archive, tmp_path / "data", RECIPE, on_progress=stop)
    seen = []
    prepare(archive, tmp_path / "data", RECIPE, on_progress=lambda done, total: seen.append(done))
    assert seen[0] == 7
    os.utime(archive)  # copied anew: the photographs are compared by their content
    assert prepare(archive, tmp_path / "data", RECIPE).already_prepared
    (raw / "PPL" / "vug" / "样品 1.png").write_bytes(photograph(99))
    pack(raw, archive)
    with pytest.raises(DataError, match="have changed"):
        prepare(archive, tmp_path / "data", RECIPE)


def test_a_folder_of_another_name_than_the_archive_is_no_class_when_classes_lie_below(tmp_path, raw):
    archive = pack(raw, tmp_path / "download.zip", below="carbonate_1223/")
    prepare(archive, tmp_path / "data", RECIPE)
    assert {label for row in read_index(tmp_path / "data") for label in row.labels} == {"oolite", "vug", "foam"}


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_memory_does_not_grow_with_the_archive(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (800, 800, 3), dtype=np.uint8)
    root = tmp_path / "photos"
    for number in range(30):  # 2 MB each
        write_image(root / ("vug" if number % 2 else "foam") / f"{number}.bmp", np.roll(noise, number))
    archive = pack(root, tmp_path / f"photos{suffix}")
    process, seen = psutil.Process(), []
    prepare(archive, tmp_path / "data", RECIPE, on_progress=lambda done, total: seen.append(process.memory_info().rss))
    assert max(seen) - seen[3] < 25e6


# --- names -----------------------------------------------------------------------------------------------


def zip_of(archive, entries):
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return archive


class Named(zipfile.ZipInfo):
    """A member whose name is stored as the bytes given, without the mark of UTF-8."""

    def __init__(self, name):
        super().__init__("x")
        self.raw_name = name

    def _encodeFilenameFlags(self):
        return self.raw_name, self.flag_bits & ~0x800


@pytest.mark.parametrize(
    ("raw_name", "read"),
    [
        ("鲕粒/样品一.png".encode("gbk"), "鲕粒/样品一.png"),
        ("鲕粒/样品.png".encode(), "鲕粒/样品.png"),
        ("dolomía/café.png".encode("cp437"), "dolomía/café.png"),
        (b"vug\\a.png", "vug/a.png"),
    ],
)
def test_names_of_a_zip_are_read_in_the_code_they_were_written_in(tmp_path, raw_name, read):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(Named(raw_name), photograph(0))
    originals = open_originals(tmp_path / "a.zip")
    assert originals.images == (read,)
    with open_raw(tmp_path / "a.zip", originals.files[read]) as stream:
        assert stream.read() == photograph(0)
    close_archives()


HOSTILE = ["../../evil.png", "/etc/evil.png", "C:\\evil.png", "a/../../evil.png", "..\\evil.png", "vug/a\nb.png"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_names_that_lead_out_are_refused_and_nothing_is_written_there(tmp_path, suffix):
    here = tmp_path / "deep" / "er"
    here.mkdir(parents=True)
    archive = here / f"a{suffix}"
    entries = [
        *((name, photograph(1)) for name in HOSTILE),
        ("vug/a.png", photograph(2)),
        ("foam/b.png", photograph(3)),
    ]
    if suffix == ".zip":
        zip_of(archive, entries)
    else:
        with tarfile.open(archive, MODES[suffix]) as packed:
            for name, content in entries:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    report = prepare(archive, here / "data", RECIPE)
    assert report.photographs == 2
    assert len(report.skipped) == len(HOSTILE)
    assert all("leads out" in reason or "can't be shown" in reason for _, reason in report.skipped)
    outside = [file for file in tmp_path.rglob("*") if file.is_file() and here / "data" not in file.parents]
    assert outside == [archive]
    assert not Path("/etc/evil.png").exists()


def test_links_and_devices_in_a_tar_are_listed_and_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(photograph(9))
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name, kind, target in (
            ("vug/soft.png", tarfile.SYMTYPE, str(tmp_path / "secret.png")),
            ("vug/hard.png", tarfile.LNKTYPE, "vug/a.png"),
            ("vug/device.png", tarfile.CHRTYPE, ""),
            ("vug/pipe.png", tarfile.FIFOTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            packed.addfile(member)
        member = tarfile.TarInfo("vug/a.png")
        member.size = len(photograph(1))
        packed.addfile(member, io.BytesIO(photograph(1)))
    report = prepare(tmp_path / "a.tar", tmp_path / "data", RECIPE)
    assert report.photographs == 1
    reasons = dict(report.skipped)
    assert len(reasons) == 4
    assert "link" in reasons["vug/soft.png"]
    assert "link" in reasons["vug/hard.png"]
    assert reasons["vug/device.png"] == reasons["vug/pipe.png"] == "is no file"


def test_links_and_encrypted_members_of_a_zip_and_archives_in_it_are_listed(tmp_path):
    link = zipfile.ZipInfo("vug/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    inner = zip_of(tmp_path / "inner.zip", [("vug/z.png", photograph(5))]).read_bytes()
    archive = zip_of(
        tmp_path / "a.zip",
        [(link, "/etc/passwd"), ("vug/a.png", photograph(1)), ("vug/secret.png", photograph(2)), ("inner.zip", inner)],
    )
    content = bytearray(archive.read_bytes())
    for start in (b"PK\x01\x02", b"PK\x03\x04"):  # the bit of encryption, in the list and before the member itself
        place = content.find(b"vug/secret.png", content.find(start) if start == b"PK\x01\x02" else 0)
        place = content.rfind(start, 0, place)
        content[place + (8 if start == b"PK\x01\x02" else 6)] |= 1
    archive.write_bytes(content)
    report = prepare(archive, tmp_path / "data", RECIPE)
    assert report.photographs == 1
    reasons = dict(report.skipped)
    assert "link" in reasons["vug/link.png"]
    assert "encrypted" in reasons["vug/secret.png"]
    assert "prepare it by itself" in reasons["inner.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_of_members_with_one_name_the_last_is_taken_as_in_unpacking(tmp_path, suffix):
    entries = [("vug/a.png", photograph(1)), ("vug/a.png", photograph(2))]
    if suffix == ".zip":
        zip_of(tmp_path / "a.zip", entries)
    else:
        with tarfile.open(tmp_path / "a.tar", "w") as packed:
            for name, content in entries:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    archive = tmp_path / f"a{suffix}"
    originals = open_originals(archive)
    with open_raw(archive, originals.files["vug/a.png"]) as stream:
        assert stream.read() == photograph(2)
    close_archives()
    assert originals.refused == (("vug/a.png", "is there several times in the archive: the last one is taken"),)


# --- bombs and damage ------------------------------------------------------------------------------------


def test_what_unfolds_to_far_more_than_it_is_is_refused(tmp_path):
    zeros = bytes(70 * 1024**2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("vug/bomb.bmp", zeros)
        packed.writestr("vug/a.png", photograph(1))
    (report,) = open_originals(tmp_path / "a.zip").refused
    assert report[0] == "vug/bomb.bmp"
    assert "decompression bomb" in report[1]


def test_a_compressed_tar_that_never_ends_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("geocamnet.train.archives.BOMB_BYTES", 1024**2)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        for name, size in (("vug/a.png", 1000), ("vug/bomb.bmp", 60 * 1024**2)):
            member = tarfile.TarInfo(name)
            member.size = size
            packed.addfile(member, io.BytesIO(photograph(1).ljust(size, b"\0")))
    refused = dict(list_archive(tmp_path / "a.tar.gz", "tar.gz").refused)
    assert "decompression bomb" in refused["a.tar.gz"]


def test_a_picture_of_nothing_is_a_bomb_and_a_real_one_of_that_size_is_not(tmp_path):
    Image.new("L", (12_000, 12_000)).save(tmp_path / "bomb.png")
    (tmp_path / "vug").mkdir()
    (tmp_path / "bomb.png").rename(tmp_path / "vug" / "bomb.png")
    write_image(tmp_path / "vug" / "a.png", np.asarray(Image.open(io.BytesIO(photograph(1)))))
    report = prepare(tmp_path, tmp_path.parent / f"{tmp_path.name} data", RECIPE)
    assert report.photographs == 1
    assert "decompression bomb" in report.skipped[0][1]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_a_tar_that_is_cut_short_gives_what_stands_before_the_cut(raw, tmp_path, suffix):
    for number in range(40):
        (raw / "PPL" / "vug" / f"n{number}.png").write_bytes(np.random.default_rng(number).bytes(3000))
    content = pack(raw, tmp_path / f"whole{suffix}").read_bytes()
    archive = tmp_path / f"photos{suffix}"
    archive.write_bytes(content[: len(content) // 2])
    originals = open_originals(archive)
    assert len(originals.images) > 5
    assert archive.name in dict(originals.refused)
    assert "Copy it again" in dict(originals.refused)[archive.name]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no archive that can be read"),
        (b"PK\x03\x04 and no end", "the list of its files is missing"),
        (b"7z\xbc\xaf\x27\x1c", "7z archives can't be read"),
        (b"Rar!\x1a\x07\x00", "RAR archives can't be read"),
        (b"\x1f\x8b\x08 no gzip", "damaged or cut short"),
        (b"just words", "no archive that can be read"),
        (b"BZh9 no", "damaged or cut short"),
    ],
)
def test_what_is_no_archive_is_an_error_in_one_sentence(tmp_path, content, told):
    (tmp_path / "photos.zip").write_bytes(content)
    with pytest.raises(DataError, match=told):
        open_originals(tmp_path / "photos.zip")


def test_the_kind_of_an_archive_is_told_by_its_content(raw, tmp_path):
    for suffix, mode in MODES.items():
        pack(raw, tmp_path / f"a{suffix}").rename(tmp_path / "named.zip")
        assert archive_kind(tmp_path / "named.zip") == ("tar" if mode == "w" else "tar." + mode[2:])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_a_folder_is_listed_and_not_waited_for(tmp_path):
    write_image(tmp_path / "raw" / "vug" / "a.png", np.zeros((20, 20, 3), np.uint8))
    os.mkfifo(tmp_path / "raw" / "vug" / "pipe.png")
    (tmp_path / "raw" / "vug" / "gone.png").symlink_to("nowhere.png")
    report = prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    assert dict(report.skipped)["vug/pipe.png"] == "is no file"
    assert "can't be read" in dict(report.skipped)["vug/gone.png"]
