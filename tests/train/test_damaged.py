"""Photographs and archives damaged in every which way: no crash, nothing written outside DATA, each accounted for.

Some hundreds here; ``GEOCAMNET_DAMAGED=2000`` damages as many of each. The damage is drawn from a seed, so that what
fails once fails again.
"""

import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from geocamnet.errors import DataError
from geocamnet.images import read_image_stream
from geocamnet.train.audit.audit import audit
from geocamnet.train.index import read_index
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import AuditRecipe, PrepareRecipe

COUNT = int(os.environ.get("GEOCAMNET_DAMAGED", "240"))
RECIPE = PrepareRecipe(long_side_px=16, workers=1)
KINDS = {
    "a.jpg": ("JPEG", {}),
    "b.jpg": ("JPEG", {"progressive": True}),
    "c.png": ("PNG", {}),
    "d.tif": ("TIFF", {}),
    "e.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "f.tif": ("TIFF", {"compression": "jpeg"}),
    "g.bmp": ("BMP", {}),
    "h.webp": ("WEBP", {}),
}


def photograph(seed=0):
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((48, 36))


def encoded(name, seed=0):
    kind, options = KINDS[name]
    stream = io.BytesIO()
    photograph(seed).save(stream, kind, **options)
    return stream.getvalue()


def damaged(content, seed):
    """Cut short, bits flipped, a run overwritten, doubled or taken out: by the seed, in the head more often."""
    rng = np.random.default_rng(seed)
    found = bytearray(content)
    reach = len(found) if rng.random() < 0.5 else min(len(found), 64)
    place = int(rng.integers(reach))
    run = int(rng.integers(1, 40))
    match int(rng.integers(6)):
        case 0:
            del found[place:]
        case 1:
            for at in rng.integers(reach, size=int(rng.integers(1, 12))):
                found[at] ^= 1 << int(rng.integers(8))
        case 2:
            found[place : place + run] = rng.bytes(run)
        case 3:
            found[place : place + run] = (b"\xff" if rng.random() < 0.5 else b"\0") * run
        case 4:
            found[place:place] = found[place : place + run]
        case 5:
            del found[place : place + run]
    return bytes(found)


def archives():
    """One of each kind, with a photograph in a class folder of its own, a table of masks, and an archive inside."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        packed.writestr("vug/z.png", encoded("c.png"))
    entries = [(f"{label}/{name}", encoded(name, 7)) for name in ("a.jpg", "c.png") for label in ("vug", "foam")]
    entries += [
        ("masks/masks.json", b'{"classes": ["vug"]}'),
        ("masks/a.png", b"none"),
        ("inner.zip", inner.getvalue()),
    ]
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as packed:
            for name, content in entries:
                packed.writestr(zipfile.ZipInfo(name), content, compression)
        yield ".zip", stream.getvalue()
    for mode, form in (
        ("w", tarfile.PAX_FORMAT),
        ("w", tarfile.GNU_FORMAT),
        ("w:gz", tarfile.PAX_FORMAT),
        ("w:xz", None),
    ):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode, format=form or tarfile.USTAR_FORMAT) as packed:
            for name, content in entries:
                long = name if form is None else name.replace("/", "/" + "long" * 30, 1)  # a header before the header
                member = tarfile.TarInfo(long if name.endswith("jpg") else name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
        yield ".tar", stream.getvalue()


def test_every_damaged_photograph_is_stored_or_listed_with_a_reason(tmp_path):
    names = list(KINDS)
    for number in range(COUNT):
        name = names[number % len(names)]
        file = tmp_path / "raw" / ("vug" if number % 2 else "foam") / f"{number:05d}{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(damaged(encoded(name), number))
    report = prepare(tmp_path / "raw", tmp_path / "data", RECIPE)
    stored = {row.source for row in read_index(tmp_path / "data")}
    listed = dict(report.skipped)
    assert len(stored) + len(listed) == COUNT
    assert not stored & set(listed)
    assert all(len(reason) > 10 for reason in listed.values())
    assert COUNT / 4 < len(listed) < COUNT  # most damage is noticed, and some does none
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "raw"]
    audited = audit(tmp_path / "raw", tmp_path / "audit", AuditRecipe(workers=1))
    unread = dict(audited.unread)
    assert audited.photographs + len(unread) == COUNT
    assert set(unread) <= set(listed)  # prepare refuses what is too small, too


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_archive_is_refused_or_accounted_for(tmp_path, number):
    suffix, whole = list(archives())[number]
    archive = tmp_path / "raw" / f"photos{suffix}"
    archive.parent.mkdir()
    archive.write_bytes(whole)
    members = {row.source for row in read_index(prepare(archive, tmp_path / "whole", RECIPE).data)}
    assert len(members) == 4
    errors, lost = [], 0
    for seed in range(COUNT // 6):
        archive.write_bytes(damaged(whole, 10_000 * number + seed))
        try:
            report = prepare(archive, tmp_path / "data", RECIPE, overwrite=True)
        except DataError as error:
            errors.append(str(error))
            continue
        stored = {row.source for row in read_index(tmp_path / "data")}
        assert json.loads((tmp_path / "data" / "prepare.json").read_text("utf-8"))["photographs"] == len(stored)
        # A member is stored, or listed by its name, or the archive is listed as damaged; a name may be damaged too.
        missing = members - stored - {path for path, _ in report.skipped}
        lost += bool(missing) and not report.skipped and len(stored) < len(members)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.zip")) == (
        ["raw/photos.zip"] if suffix == ".zip" else []
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "raw", "whole"]
    assert lost <= 1 + COUNT // 600, "photographs vanish without a word"  # a name may become that of a hidden file
    assert len(errors) < COUNT // 6
    assert [told for told in errors if len(told.splitlines()) > 1 or "Traceback" in told] == []


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_archive_is_audited_or_refused(tmp_path, number):
    suffix, whole = list(archives())[number]
    archive = tmp_path / f"photos{suffix}"
    audited, errors = 0, []
    for seed in range(COUNT // 24):
        archive.write_bytes(damaged(whole, 20_000 * number + seed))
        try:
            report = audit(archive, tmp_path / "audit", AuditRecipe(workers=1))
        except DataError as error:
            errors.append(str(error))
            continue
        audited += 1
        assert report.photographs <= 4
        assert all(reason for _, reason in report.unread)
    assert audited
    assert [told for told in errors if len(told.splitlines()) > 1 or "Traceback" in told] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["audit", archive.name]


def test_reading_pixels_fails_in_one_way_only():
    names, errors = list(KINDS), []
    for number in range(COUNT):
        name = names[number % len(names)]
        try:
            image = read_image_stream(io.BytesIO(damaged(encoded(name), 5_000_000 + number)), "name")
        except DataError as error:
            errors.append(str(error))
            continue
        assert image.dtype == np.uint8
        assert image.ndim == 3
    assert all(told.startswith("name: ") for told in errors)
