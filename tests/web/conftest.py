"""The page with the tiny student, served from a thread, and Debian's Chromium to open it with."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from browsing import serving, watched
from geocamnet.card import FamiliarCard
from geocamnet.images import write_image
from geocamnet.runtime.familiar import statistics
from geocamnet.runtime.model import load
from geocamnet.web import site as site_module
from geocamnet.web.engine import find_engine, read_lock

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def photograph(seed, shape_hw=(150, 200)):
    """Draw a photograph: blobs of the colours that the tiny student likes, on noise."""
    rng = np.random.default_rng(seed)
    height, width = shape_hw
    y, x = np.mgrid[:height, :width]
    image = rng.normal(120, 25, (height, width, 3))
    for _ in range(12):
        radius = rng.uniform(0.05, 0.2) * width
        inside = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < radius**2
        image[inside] += rng.uniform(-110, 110, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Return ten drawn photographs of several shapes, as files."""
    folder = tmp_path_factory.mktemp("photographs")
    shapes = [
        (150, 200),
        (200, 150),
        (64, 64),
        (31, 97),
        (240, 320),
        (480, 640),
        (333, 127),
        (50, 60),
        (96, 300),
        (7, 9),
    ]
    paths = [folder / f"section {number}.png" for number in range(len(shapes))]
    for number, (path, shape) in enumerate(zip(paths, shapes, strict=True)):
        write_image(path, photograph(number, shape))
    return paths


@pytest.fixture(scope="session")
def web_student(tmp_path_factory, make_student, tiny_card):
    """Return the path of the tiny student, which knows what is familiar."""
    mean = statistics(photograph(0), 96)
    precision = np.diag(np.full(13, 25.0)) + 0.5
    familiar = FamiliarCard(tuple(mean), tuple(map(tuple, precision.tolist())), 4.0, 96)
    return make_student(tmp_path_factory.mktemp("web") / "tiny.onnx", replace(tiny_card, familiar=familiar))


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


@pytest.fixture(scope="session")
def page_url(web_student):
    """Serve the page with the tiny student and the real engine; return its address."""
    if find_engine() is None:
        pytest.skip("ONNX Runtime for browsers is not here: make web fetches it with npm")
    pytest.importorskip("starlette", reason="the server needs: pip install 'geocamnet[web]'")
    from geocamnet.web.server import app_of

    with serving(app_of(site_module.site(load(web_student)))) as (port, _):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="session")
def launch():
    """Return what starts Chromium with arguments; all of them are closed at the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium), so the page was not driven")
    with playwright.sync_playwright() as driver:
        opened = []

        def start(*arguments):
            opened.append(driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", *arguments]))
            return opened[-1]

        yield start
        for one in opened:
            one.close()


@pytest.fixture(scope="session")
def browser(launch):
    """Return a Chromium with a fake camera."""
    return launch(*FAKE_CAMERA)


@pytest.fixture
def page(browser, page_url):
    """Return the page, opened, its model ready; fails on anything in the console and any request elsewhere."""
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 800}, accept_downloads=True)
    with watched(context, page_url) as one:
        one.goto(page_url)
        one.wait_for_selector("body[data-ready]", timeout=60_000)
        yield one
    context.close()
