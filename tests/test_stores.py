"""Places given as URL: what is one, what is listed and read, and that every failure is a sentence."""

import builtins
import os
from pathlib import Path

import pytest

from drawn import contents
from geocamnet.errors import DataError, SourceError
from geocamnet.images import list_images, read_image, write_image
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.stores import is_file, list_store, read_store, shown, url_of

fsspec = pytest.importorskip("fsspec", reason="needs fsspec: pip install 'geocamnet[store]'")
NAMES = ("a b.jpg", "鲕粒 1.jpg", "no#3.jpg", "100%25 of %.jpg", "what?.jpg", "x/deeper.jpg")
NAME_THE_SOURCE = {"summary.json", "skipped.csv", "areas.html"}  # the latter two where a photograph can't be read


@pytest.fixture
def photographs(tmp_path, paint):
    """A folder of photographs with names of every kind, hidden ones, and one that can't be read."""
    folder = tmp_path / "photographs"
    for number, name in enumerate(NAMES):
        write_image(folder / name, paint((40, 60), ("oolite", "foam", "vug")[number % 3]))
    write_image(folder / ".hidden" / "h.jpg", paint((40, 60), "foam"))
    write_image(folder / ".h.jpg", paint((40, 60), "foam"))
    (folder / "broken.jpg").write_bytes(b"no photograph")
    (folder / "README.txt").write_text("words")
    return folder


def copy(folder, store, below):
    """Put a folder's files into a store."""
    for file in folder.rglob("*"):
        if file.is_file():
            store.pipe_file(f"{below}/{file.relative_to(folder).as_posix()}", file.read_bytes())


# --- what is a URL -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/raw", "s3://bucket/raw"),
        ("s3://bucket/a b/鲕粒#1%25?.jpg", "s3://bucket/a b/鲕粒#1%25?.jpg"),
        ("s3://bucket/raw/", "s3://bucket/raw"),
        ("abfs://box@account/raw", "abfs://box@account/raw"),
        ("file:///home/raw", "file:///home/raw"),
        ("raw", ""),
        ("/home/s3:/raw", ""),
        ("./raw/s3:/x", ""),
        ("D:/raw", ""),
        ("s3:", ""),
        ("well 3: top/raw", ""),
    ],
)
def test_a_path_made_of_a_url_gives_the_url_back(given, url):
    assert url_of(Path(given)) == url
    assert url_of(given) == url
    assert shown(Path(given)) == (url or str(Path(given)))


# --- listing and reading -----------------------------------------------------------------------------------


def test_a_store_is_listed_below_the_place_alone_hidden_files_left_out(memory, photographs):
    copy(photographs, memory, "/raw")
    memory.pipe_file("/raw2/neighbour.jpg", b"x")
    files, refused = list_store("memory://raw")
    assert {one.path for one in files} == {*NAMES, "broken.jpg", "README.txt"}
    assert not refused
    for one in files:
        assert one.size_bytes == (photographs / one.path).stat().st_size
        assert one.mtime_ns > 0
        assert (
            read_store(f"memory://raw/{one.path}", size_bytes=one.size_bytes) == (photographs / one.path).read_bytes()
        )
    assert list_images("memory://raw") == sorted(Path("memory://raw", name) for name in (*NAMES, "broken.jpg"))


def test_names_that_no_folder_could_hold_are_told_with_their_reason(memory, caplog):
    for name in ("good.jpg", "../out.jpg", "a//b.jpg", "./c.jpg", "back\\slash.jpg", "line\nbreak.jpg"):
        memory.store[f"/raw/{name}"] = memory.open("/x", "wb")  # as a client that cares for no names would
        memory.store[f"/raw/{name}"].close()
    files, refused = list_store("memory://raw")
    assert [one.path for one in files] == ["good.jpg"]
    assert dict(refused)["../out.jpg"] == "its name leads out of the folder"
    assert len(refused) == 5
    assert list_images("memory://raw") == [Path("memory://raw/good.jpg")]
    assert "left out ../out.jpg" in caplog.text


def test_a_photograph_at_a_url_is_the_same_as_in_a_folder(memory, photographs):
    copy(photographs, memory, "/raw")
    for name in NAMES:
        assert (read_image(f"memory://raw/{name}") == read_image(photographs / name)).all()
    with pytest.raises(DataError, match=r"^memory://raw/broken\.jpg: not an image"):
        read_image(Path("memory://raw/broken.jpg"))
    with pytest.raises(DataError, match=r"^memory://raw/gone\.jpg: not there"):
        read_image("memory://raw/gone.jpg")
    assert is_file("memory://raw/a b.jpg")
    assert not is_file("memory://raw")


def test_a_file_that_is_not_as_it_was_listed_stops_the_command(memory):
    memory.pipe_file("/raw/a.jpg", b"12345")
    with pytest.raises(SourceError, match="5 bytes came of 6 that were listed"):
        read_store("memory://raw/a.jpg", size_bytes=6)


@pytest.mark.parametrize(
    ("raised", "kind", "told"),
    [
        (PermissionError("Access Denied"), SourceError, "does not allow it .Access Denied.. Check the credentials"),
        (ConnectionResetError("reset by peer"), SourceError, "can't be used .reset by peer.. Check the network"),
        (RuntimeError(), SourceError, "can't be used .RuntimeError."),
        (RuntimeError("first line.\nsecond"), SourceError, r"can't be used \(first line\)"),
        (FileNotFoundError("x"), DataError, "not there"),
    ],
)
def test_whatever_a_store_raises_is_told_in_a_sentence(memory, monkeypatch, raised, kind, told):
    def refuse(*args, **kwargs):
        raise raised

    monkeypatch.setattr(type(memory), "cat_file", refuse)
    monkeypatch.setattr(type(memory), "find", refuse)
    with pytest.raises(kind, match=told):
        read_store("memory://raw/a.jpg")
    with pytest.raises(kind, match=told):
        list_store("memory://raw")


def test_what_is_not_installed_is_told_with_the_line_that_installs_it(monkeypatch):
    def nothing(name, *args, **kwargs):
        if name == "fsspec":
            raise ImportError(name)
        return really(name, *args, **kwargs)

    really = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", nothing)
    with pytest.raises(DataError, match=r"'fsspec', which is not installed.*pip install 'geocamnet\[store\]'"):
        list_store("memory://raw")


def test_a_store_whose_package_is_missing_names_it(monkeypatch):
    def missing(protocol):
        raise ImportError(f"Install a package to access {protocol}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(DataError, match=r"s3://bucket/raw: .*'s3fs'.*geocamnet\[store\]"):
        list_store("s3://bucket/raw")
    with pytest.raises(DataError, match="gs://bucket/raw: Install a package to access gs"):
        list_store("gs://bucket/raw")


def test_unknown_stores_and_passwords_in_urls_are_refused():
    with pytest.raises(DataError, match="unknown kind of store 'nowhere'"):
        list_store("nowhere://bucket/raw")
    with pytest.raises(DataError, match="password") as caught:
        list_store("ftp://me:secret@example.org/raw")
    assert "secret" not in str(caught.value)


# --- run -----------------------------------------------------------------------------------------------------


def test_run_on_a_url_gives_the_files_of_a_run_on_the_folder(memory, photographs, student, tmp_path, monkeypatch):
    copy(photographs, memory, "/photographs")
    predict_folder(photographs, tmp_path / "here", student)
    report = predict_folder("memory://photographs", tmp_path / "there", student)
    there, here = contents(tmp_path / "there"), contents(tmp_path / "here")
    assert there.keys() == here.keys()
    differ = {name for name in here if there[name] != here[name]}
    assert differ == NAME_THE_SOURCE
    assert report.skipped[0][1].startswith("memory://photographs/broken.jpg: not an image")
    monkeypatch.chdir(tmp_path)
    done = []
    predict_folder(
        Path("memory:/photographs"), "there", student, on_progress=lambda *at: done.append(at)
    )  # from another folder, and with the URL as a path: the same source
    assert done[0] == (len(NAMES), len(NAMES) + 1)


def test_run_on_one_photograph_at_a_url(memory, photographs, student, tmp_path):
    copy(photographs, memory, "/raw")
    report = predict_folder("memory://raw/鲕粒 1.jpg", tmp_path / "out", student)
    assert [row.image for row in report.rows] == ["鲕粒 1.jpg"]


def test_run_on_an_empty_place_says_so(memory, student, tmp_path):
    with pytest.raises(DataError, match="memory://nothing: no photograph found"):
        predict_folder("memory://nothing", tmp_path / "out", student)


# --- a real server -------------------------------------------------------------------------------------------


def test_an_s3_lists_and_reads_names_of_every_kind(s3, photographs):
    names = (*NAMES, "x/double::colon.jpg")
    write_image(photographs / names[-1], read_image(photographs / NAMES[0]))
    url = s3.copy(photographs, "raw")
    s3.files().touch("thin-sections/raw/folder/")  # how some clients make a folder
    files, refused = list_store(url)
    assert {one.path for one in files} == {*names, "broken.jpg", "README.txt"}
    assert not refused
    for one in files:
        content = (photographs / one.path).read_bytes()
        assert read_store(f"{url}/{one.path}", size_bytes=one.size_bytes) == content
        assert one.mtime_ns > 0
    assert is_file(f"{url}/a b.jpg")
    assert not is_file(url)
    assert list_store("s3://thin-sections/none") == ([], [])


def test_an_s3_without_the_bucket_or_the_right_says_so(s3, monkeypatch):
    with pytest.raises(DataError, match="s3://no-such-bucket: not there"):
        list_store("s3://no-such-bucket")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(SourceError, match=r"s3://thin-sections/raw: the store .*credentials"):
        list_store("s3://thin-sections/raw")


def test_run_stops_with_an_s3_and_goes_on_with_it(s3, photographs, student, tmp_path):
    url = s3.copy(photographs, "photographs")
    predict_folder(photographs, tmp_path / "here", student)

    def stop(done, total):
        if done == 3:
            s3.stop()

    with pytest.raises(SourceError, match="the store can't be used"):
        predict_folder(url, tmp_path / "there", student, on_progress=stop)
    s3.start()
    seen = []
    predict_folder(url, tmp_path / "there", student, on_progress=lambda done, total: seen.append(done))
    assert seen[0] == 2  # the third could not be read, and is tried again
    there, here = contents(tmp_path / "there"), contents(tmp_path / "here")
    assert {name for name in here if there[name] != here[name]} == NAME_THE_SOURCE


def test_no_store_is_opened_for_a_folder(photographs, monkeypatch):
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda protocol: pytest.fail("opened"))
    assert len(list_images(os.fspath(photographs))) == len(NAMES) + 1
