"""The files of the page: nothing from elsewhere, the engine checked, plain files for a static host."""

import base64
import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace

import pytest

from geocamnet.errors import DataError
from geocamnet.runtime.model import load
from geocamnet.runtime.render import _plasma_rgb
from geocamnet.web import engine
from geocamnet.web import site as site_module
from geocamnet.web.site import PAGE, site
from geocamnet.web.static import write_site

OURS = sorted(file for file in PAGE.iterdir() if file.suffix in (".js", ".html", ".css", ".webmanifest"))


def test_the_page_names_no_other_origin_and_has_no_inline_code():
    for file in OURS:
        text = file.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {"http://www.w3.org/2000/svg"}, file.name
        assert not re.search(r"\beval\(|new Function\(|innerHTML|document\.write", text), file.name
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_every_module_that_is_imported_is_there(files):
    for file in OURS:
        for name in re.findall(r"(?:from|import)\s+\"\./([^\"]+)\"", file.read_text(encoding="utf-8")):
            assert name in files, f"{file.name}: {name}"


def test_the_service_worker_keeps_every_file_and_changes_with_the_build(any_engine, web_student):
    with_model, without = site(load(web_student)), site(None)
    about = json.loads(with_model["site.json"].content)
    engines = [set(files) for files in about["engines"].values()]
    assert {*about["files"], "sw.js"}.union(*engines) == set(with_model)
    assert not set(about["files"]).intersection(*engines)  # one browser keeps one engine
    assert about["build"].encode() in with_model["sw.js"].content
    assert with_model["sw.js"].content != without["sw.js"].content
    assert json.loads(without["site.json"].content)["model"] is None


def test_the_page_knows_the_engines_by_the_names_of_the_lock():
    lock = engine.read_lock()
    text = (PAGE / "engine.js").read_text(encoding="utf-8")
    named = {build: re.findall(r'"([^"]+)"', files) for build, files in re.findall(r"(\w+): \[(.+)\]", text)}
    assert named == {build: list(files) for build, files in lock.builds.items()}
    assert {one for files in lock.builds.values() for one in files} == set(lock.files)


def test_the_colours_of_heat_are_those_of_python():
    text = (PAGE / "plasma.js").read_text(encoding="utf-8")
    assert "".join(re.findall(r'"([0-9a-f]+)"', text)) == _plasma_rgb().tobytes().hex()


def test_static_files_are_those_served_with_the_policy_in_the_page(any_engine, web_student, tmp_path):
    model = load(web_student)
    out = tmp_path / "out"
    write_site(out, model)
    served = site(model)
    assert {one.relative_to(out).as_posix() for one in out.rglob("*") if one.is_file()} == set(served)
    html = (out / "index.html").read_text(encoding="utf-8")
    assert f'content="{site_module.POLICY}"' in html
    assert (out / "model.onnx").read_bytes() == web_student.read_bytes()
    assert not re.search(r'(?:src|href)="/', html)  # it lives under any path
    with pytest.raises(DataError, match="--overwrite"):
        write_site(out, model)
    write_site(out, model, overwrite=True)


def packed(folder, lock, contents):
    archive = folder / "package.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    return archive, replace(lock, integrity=f"sha512-{digest}")


def test_the_engine_is_taken_only_as_the_lock_has_it(tmp_path):
    lock = replace(engine.read_lock(), files={"a.mjs": hashlib.sha256(b"right").hexdigest()})
    archive, right = packed(tmp_path, lock, {"a.mjs": b"right", "other.mjs": b"not taken"})
    engine.unpack(archive, tmp_path / "to", right)
    assert {one.name: one.read_bytes() for one in (tmp_path / "to").iterdir()} == {"a.mjs": b"right"}
    with pytest.raises(DataError, match="another checksum"):
        engine.unpack(archive, tmp_path / "to", lock)
    archive, changed = packed(tmp_path, lock, {"a.mjs": b"wrong"})
    with pytest.raises(DataError, match="missing or changed"):
        engine.unpack(archive, tmp_path / "not", changed)
    archive, gone = packed(tmp_path, lock, {})
    with pytest.raises(DataError, match="missing or changed"):
        engine.unpack(archive, tmp_path / "not", gone)
    assert not any((tmp_path / "not").iterdir())


def test_without_npm_it_is_said_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(engine.shutil, "which", lambda _: None)
    with pytest.raises(DataError, match=r"npm is not installed.*--static DIR"):
        engine.fetch(tmp_path)


def test_the_lock_holds_no_address():
    assert "://" not in (PAGE.parent / "engine.json").read_text(encoding="utf-8")
