"""The page with the tiny student, without the engine where nobody fetched it."""

import pytest

from geocamnet.runtime.model import load
from geocamnet.web import site as site_module
from geocamnet.web.engine import find_engine, read_lock


@pytest.fixture(scope="session")
def web_student(tmp_path_factory, make_student, tiny_card):
    """Return the path of the tiny student."""
    return make_student(tmp_path_factory.mktemp("web") / "tiny.onnx", tiny_card)


@pytest.fixture
def any_engine(monkeypatch, tmp_path):
    """Let the page be built with empty files in place of an engine that is not here."""
    if find_engine() is None:
        for name in read_lock().files:
            (tmp_path / name).write_bytes(b"no engine")
        monkeypatch.setattr(site_module, "engine_folder", lambda: tmp_path)


@pytest.fixture
def files(any_engine, web_student):
    """Return the files of the page."""
    return site_module.site(load(web_student))
