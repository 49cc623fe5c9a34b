"""Photographs prepared and audited out of a store: the data set and the findings of the same files in a folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from drawn import contents, fill
from geocamnet.errors import DataError, SourceError
from geocamnet.train.audit.audit import audit
from geocamnet.train.originals import open_originals
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import AuditRecipe, PrepareRecipe

fsspec = pytest.importorskip("fsspec", reason="needs fsspec: pip install 'geocamnet[store]'")
RECIPE = PrepareRecipe(long_side_px=32, workers=1)
TOLD = ("prepare.json", "card.json")  # the note that names RAW


@pytest.fixture
def raw(tmp_path):
    """Three classes, names of every kind, masks, a manifest's worth of others, hidden files and a bad one."""
    root = fill(tmp_path / "raw", classes=("鲕粒岩", "vug", "foam"), each=5)
    for number, name in enumerate(("a b_PPL.png", "no#3.png", "100%25 of %.png", "样品 9.png")):
        (root / "vug" / f"p{1000 + number}.png").rename(root / "vug" / name)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.png").write_bytes((root / "foam" / "p2000.png").read_bytes())
    (root / "foam" / "bad.jpg").write_text("no photograph")
    (root / "LICENSE.txt").write_text("CC0")
    (root / "more.zip").write_bytes(b"PK")
    return root


@pytest.fixture
def memory(raw, memory):
    """The same files in a store of this process."""
    for file in raw.rglob("*"):
        if file.is_file():
            memory.pipe_file(f"/raw/{file.relative_to(raw).as_posix()}", file.read_bytes())
    return memory


def same_data(one, other):
    """Whether two data sets hold the same photographs, masks and index, to the byte."""
    first, second = ({k: v for k, v in contents(data).items() if k not in TOLD} for data in (one, other))
    assert "index.csv" in first
    return first == second


def test_folder_and_store_are_listed_alike(raw, memory, tmp_path):
    here, there = open_originals(raw), open_originals(Path("memory://raw"))
    assert there.files.keys() == here.files.keys()
    assert [one.size_bytes for one in there.files.values()] == [one.size_bytes for one in here.files.values()]
    assert (there.images, there.refused, there.name, there.licence) == (
        here.images,
        here.refused,
        here.name,
        here.licence,
    )
    assert there.place("vug/no#3.png") == "memory://raw/vug/no#3.png"


def test_folder_and_store_give_the_same_data_set_to_the_byte(raw, memory, tmp_path):
    here = prepare(raw, tmp_path / "here", RECIPE)
    there = prepare(Path("memory://raw"), tmp_path / "there", RECIPE)
    assert same_data(tmp_path / "here", tmp_path / "there")
    assert there.skipped == here.skipped
    assert {path for path, _ in there.skipped} == {"foam/bad.jpg", "more.zip"}
    assert (tmp_path / "here" / "card.json").read_bytes() == (tmp_path / "there" / "card.json").read_bytes()
    assert prepare(Path("memory://raw"), tmp_path / "there", RECIPE).already_prepared


def test_worker_processes_open_the_store_by_themselves(raw, tmp_path):
    prepare(raw, tmp_path / "here", RECIPE)
    prepare(Path(f"file://{raw}"), tmp_path / "there", replace(RECIPE, workers=2))
    assert same_data(tmp_path / "here", tmp_path / "there")


def test_a_photograph_replaced_in_the_store_is_noticed(raw, memory, tmp_path):
    url = Path("memory://raw")
    prepare(url, tmp_path / "data", RECIPE)
    memory.pipe_file("/raw/foam/p2001.png", (raw / "foam" / "p2002.png").read_bytes())
    with pytest.raises(DataError, match="have changed since"):
        prepare(url, tmp_path / "data", RECIPE)


@pytest.mark.slow
def test_folder_and_store_are_audited_alike(raw, memory, tmp_path):
    (raw / "vug" / "copy.png").write_bytes((raw / "foam" / "p2000.png").read_bytes())
    memory.pipe_file("/raw/vug/copy.png", (raw / "foam" / "p2000.png").read_bytes())
    recipe = AuditRecipe(workers=1)
    here = audit(raw, tmp_path / "here", recipe)
    there = audit(Path("memory://raw"), tmp_path / "there", recipe)
    assert [one.title for one in there.findings] == [one.title for one in here.findings]
    assert (tmp_path / "there" / "audit.csv").read_bytes() == (tmp_path / "here" / "audit.csv").read_bytes()
    assert (tmp_path / "there" / "audit.html").read_bytes() == (tmp_path / "here" / "audit.html").read_bytes()


def test_an_archive_in_a_store_is_refused_with_what_to_do(memory, tmp_path):
    memory.pipe_file("/photos.zip", b"PK")
    with pytest.raises(DataError, match=r"memory://photos\.zip: an archive is not read out of a store.*Copy it"):
        open_originals(Path("memory://photos.zip"))


def test_an_empty_or_missing_place_says_what_was_looked_for(memory, tmp_path):
    with pytest.raises(DataError, match=r"^memory://empty: no photograph found"):
        prepare(Path("memory://empty"), tmp_path / "data", RECIPE)
    with pytest.raises(DataError, match=r"memory://raw/none\.csv: no such manifest"):
        prepare(Path("memory://raw"), tmp_path / "data", replace(RECIPE, manifest="none.csv"))


# --- a real server -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_prepare_stops_with_an_s3_and_goes_on_with_it(s3, raw, tmp_path, workers):
    url = Path(s3.copy(raw, "raw"))
    recipe = replace(RECIPE, workers=workers)
    prepare(raw, tmp_path / "here", RECIPE)

    def stop(done, total):
        if done == 6:
            s3.stop()

    with pytest.raises(SourceError, match="the store can't be used"):
        prepare(url, tmp_path / "there", recipe, on_progress=stop)
    assert not (tmp_path / "there" / "index.csv").exists()
    s3.start()
    seen = []
    prepare(url, tmp_path / "there", recipe, on_progress=lambda done, total: seen.append(done))
    assert seen[0] >= 6
    assert same_data(tmp_path / "here", tmp_path / "there")


@pytest.mark.slow
def test_an_audit_stops_with_an_s3_and_goes_on_with_it(s3, raw, tmp_path):
    url = Path(s3.copy(raw, "raw"))
    recipe = AuditRecipe(workers=1)
    audit(raw, tmp_path / "here", recipe)
    stopped = []

    def stop(done, total, what):
        if what == "looking" and not stopped:  # after the first handful
            stopped.append(done)
            s3.stop()

    with pytest.raises(SourceError, match="the store can't be used"):
        audit(url, tmp_path / "there", recipe, on_progress=stop)
    s3.start()
    audit(url, tmp_path / "there", recipe)
    assert (tmp_path / "there" / "audit.csv").read_bytes() == (tmp_path / "here" / "audit.csv").read_bytes()


def test_an_empty_bucket_and_a_missing_one(s3, tmp_path):
    with pytest.raises(DataError, match=r"^s3://thin-sections/raw: no photograph found"):
        prepare(Path("s3://thin-sections/raw"), tmp_path / "data", RECIPE)
    with pytest.raises(DataError, match="s3://no-such-bucket/raw: not there"):
        prepare(Path("s3://no-such-bucket/raw"), tmp_path / "data", RECIPE)
