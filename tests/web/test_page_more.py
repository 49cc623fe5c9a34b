"""More of the page in a real browser: files good and bad, the camera, other models, offline, a static host."""

import csv
import functools
import http.server
import io
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from browsing import serving, wait_for_answers, watched
from geocamnet.images import write_image
from geocamnet.runtime.model import load
from geocamnet.web.site import site
from geocamnet.web.static import write_site

pytestmark = pytest.mark.web


def show(page, *paths):
    """Open photographs and wait for the last answer."""
    before = int(page.locator("body").get_attribute("data-seen") or 0)
    page.set_input_files("#photographs-file", list(paths))
    page.wait_for_selector(f"body[data-seen='{before + len(paths)}']", timeout=60_000)


def message(page, text):
    page.locator("#message", has_text=re.compile(text)).wait_for(timeout=60_000)


def test_both_languages_have_every_word(page):
    assert page.evaluate("async () => (await import('./words.js')).missingWords()") == []


def test_files_that_are_no_photographs_get_a_sentence_and_the_next_one_works(page, tmp_path, photographs):
    whole = photographs[4].read_bytes()
    for name, content in {"broken.png": whole[: len(whole) // 3], "notes.jpg": b"a letter", "empty.png": b""}.items():
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#photographs-file", tmp_path / name)
        message(page, f"{re.escape(name)} can't be read")
    show(page, photographs[0])
    assert page.locator("#verdict").is_visible()


def test_a_photograph_of_fifty_megapixels_is_shrunk_and_that_is_said(page, tmp_path):
    write_image(tmp_path / "huge.jpg", np.full((5800, 8700, 3), (200, 60, 60), np.uint8))
    show(page, tmp_path / "huge.jpg")
    message(page, "huge.jpg has 50 megapixels; it was shrunk to 16")


def test_a_strip_too_narrow_for_the_network_gets_a_sentence(page, tmp_path):
    write_image(tmp_path / "strip.png", np.full((3, 900, 3), 90, np.uint8))
    page.set_input_files("#photographs-file", tmp_path / "strip.png")
    message(page, "strip.png is too narrow")


def test_the_camera_is_named_frozen_and_saved(page, tmp_path):
    page.locator("#welcome [data-do=camera]").click()
    wait_for_answers(page, 5)
    page.keyboard.press("Escape")
    page.locator("#freeze").click()
    assert page.locator("#badge").inner_text() == "Frozen"
    seen = int(page.locator("body").get_attribute("data-seen"))
    page.locator("#classes label", has_text="Vug").click()
    wait_for_answers(page, seen + 1)
    with page.expect_download() as saved:
        page.locator("#snapshot").click()
    saved.value.save_as(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width >= 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    page.locator("#camera").click()
    assert page.locator("#source").is_hidden()


def test_a_camera_that_is_denied_gets_a_sentence(launch, page_url):
    context = launch("--use-fake-device-for-media-stream", "--deny-permission-prompts").new_context(locale="en-US")
    with watched(context, page_url) as page:
        page.goto(page_url)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.locator("#welcome [data-do=camera]").click()
        message(page, "not allowed to use the camera")
    context.close()


def test_a_camera_that_is_pulled_away_is_told(page):
    page.locator("#welcome [data-do=camera]").click()
    page.wait_for_selector("body[data-seen]", timeout=60_000)
    page.evaluate("document.getElementById('video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))")
    message(page, "The camera has gone")


def draw_line(page):
    """Draw the line of a measurement over half the width of what is shown."""
    page.locator("#measure").click()
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 10 + box["width"] / 2, box["y"] + 20, steps=3)
    page.mouse.up()


def set_scale(page, um):
    draw_line(page)
    page.locator("#length-um").fill(str(um))
    page.locator("#length .main").click()


def table_of(page, tmp_path):
    """Save the table and return its lines."""
    with page.expect_download() as saved:
        page.locator("#table").click()
    saved.value.save_as(tmp_path / "table.csv")
    return list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8-sig"))))


def test_a_series_is_sorted_and_written_as_csv_with_the_scale_that_was_measured(
    page, photographs, tmp_path, web_student
):
    show(page, *photographs[:3])
    draw_line(page)
    page.locator("#length-um").fill("none")
    page.locator("#length .main").click()
    assert "above 0" in page.locator("#length-wrong").inner_text()
    page.locator("#length-um").fill("160")
    page.locator("#length .main").click()
    assert page.locator("#bar").inner_text() == "50 µm"  # 64 px wide at 5 µm a pixel
    rows = page.locator("#series tbody tr")
    assert rows.count() == 3
    page.locator("#series th button", has_text="Probability").click()
    shares = [float(one.split()[0]) for one in page.locator("#series td.number:nth-child(4)").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    page.locator("#series button", has_text=photographs[0].name).click()
    page.wait_for_selector("body[data-seen='4']")
    table = table_of(page, tmp_path)
    assert [one["file"] for one in table] == [one.name for one in photographs[:3]]
    model = load(web_student)
    for one, path in zip(table, photographs, strict=False):
        wanted = model.predict(np.asarray(Image.open(path).convert("RGB")))
        assert one["verdict"] == wanted.verdict
        assert float(one["p_oolite"]) == pytest.approx(float(wanted.probabilities[0]), abs=1e-3)
    assert table[1]["um_per_px"] == ""  # shown before the scale was known, and not since
    assert [float(table[place]["um_per_px"]) for place in (0, 2)] == pytest.approx([5.0, 5.0], rel=0.02)


def test_the_table_has_the_answer_at_the_scale_it_states(page, photographs, tmp_path, make_student, tiny_card):
    path = make_student(tmp_path / "scaled.onnx", replace(tiny_card, long_side_px=None, um_per_px=2.0))
    page.set_input_files("#model-file", path)
    message(page, "Opened scaled.onnx")
    show(page, photographs[2], photographs[3])  # 97 px wide and 31 high: its border weighs more when it is smaller
    set_scale(page, 20)
    page.wait_for_selector("body[data-seen='3']")
    before, measured = table_of(page, tmp_path)
    assert before["um_per_px"] == ""
    um_per_px = float(measured["um_per_px"])
    assert um_per_px == pytest.approx(20 / 48.5, rel=0.02)
    model, image = load(path), np.asarray(Image.open(photographs[3]).convert("RGB"))
    at_scale, as_it_is = (model.predict(image, um_per_px=one).probabilities for one in (um_per_px, None))
    found = [float(measured[f"p_{name}"]) for name in model.card.class_names]
    assert found == pytest.approx(at_scale.tolist(), abs=1e-3)
    assert np.abs(at_scale - as_it_is).max() > 0.01
    set_scale(page, 40)
    page.wait_for_selector("body[data-seen='4']")
    before, measured = table_of(page, tmp_path)
    assert (before["um_per_px"], float(measured["um_per_px"])) == ("", pytest.approx(40 / 48.5, rel=0.02))


def test_the_scale_is_that_of_the_photograph_however_it_was_shrunk(page, tmp_path):
    def shown():
        size, scale = page.locator("#state").inner_text().split(" · ")[:2]
        return size, float(scale.removesuffix(" µm a pixel"))

    def written():
        return [(line["width_px"], float(line["um_per_px"])) for line in table_of(page, tmp_path)]

    def about(um_per_px):
        return pytest.approx(um_per_px, rel=0.01)

    write_image(tmp_path / "small.png", np.full((600, 1000, 3), (200, 60, 60), np.uint8))
    write_image(tmp_path / "large.png", np.full((4000, 6000, 3), (60, 60, 200), np.uint8))
    show(page, tmp_path / "small.png")
    set_scale(page, 500)
    assert shown() == ("1000 × 600 px", about(1.0))
    show(page, tmp_path / "large.png")
    assert shown() == ("4898 × 3265 px", about(1.225))
    assert page.locator("#bar").inner_text() == "1 mm"  # of 6 mm
    bar, photograph = (page.locator(one).bounding_box()["width"] for one in ("#bar i", "#frame"))
    assert bar / photograph == pytest.approx(1 / 6, rel=0.02)
    assert written() == [("1000", about(1.0)), ("4898", about(1.225))]
    set_scale(page, 6000)  # the other way round: half of 6000 px
    assert shown() == ("4898 × 3265 px", about(2.45))
    page.locator("#series button", has_text="small.png").click()
    page.wait_for_selector("body[data-seen='3']")
    assert shown() == ("1000 × 600 px", about(2.0))
    assert written() == [("1000", about(2.0)), ("4898", about(2.45))]


def test_a_wrong_model_file_gets_a_sentence_and_the_one_before_stays(
    page, make_student, tiny_card, tmp_path, photographs
):
    def give(name, content=None, **options):
        path = tmp_path / name
        if content is None:
            make_student(path, tiny_card, **options)
        else:
            path.write_bytes(content)
        page.set_input_files("#model-file", path)

    give("letter.onnx", b"Dear all, this is not a model.")
    message(page, "letter.onnx is not an ONNX model file")
    give("bare.onnx", with_card=False)
    message(page, "bare.onnx is an ONNX file without a GeoCAMNet card")
    give("old.onnx", card_text='{"format": 99}')
    message(page, "old.onnx has format 99")
    give("half.onnx", card_text='{"format": 1, "classes": []}')
    message(page, "card in half.onnx can't be used: classes")
    give("other.onnx", input_name="pixels")
    message(page, "other.onnx is not the network its card describes")
    give("nan.onnx", nan=True)
    message(page, "not a number")
    whole = make_student(tmp_path / "whole.onnx", tiny_card).read_bytes()
    give("cut.onnx", whole[: len(whole) // 2])
    message(page, "cut.onnx (is not an ONNX|is an ONNX file without)")
    show(page, photographs[0])
    give("right.onnx")
    message(page, "Opened right.onnx")


def test_the_page_works_with_the_network_cable_out(browser, web_student, page_url):
    from geocamnet.web.server import app_of

    context = browser.new_context(locale="en-US")
    with serving(app_of(site(load(web_student)))) as (port, end):
        address = f"http://127.0.0.1:{port}/"
        with watched(context, address, allow=("ERR_CONNECTION_REFUSED", "ERR_FAILED")) as page:
            page.goto(address)
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            page.evaluate("async () => { await navigator.serviceWorker.ready }")
            end()
            page.reload()
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            page.locator("#welcome [data-do=sample]").click()
            page.wait_for_selector("body[data-seen='1']", timeout=60_000)
            assert page.evaluate("crossOriginIsolated")
    context.close()


def choose(page, view):
    """Choose how the map is shown, and wait until it is."""
    seen = int(page.locator("body").get_attribute("data-seen"))
    page.locator("#shown .segments label", has_text=view).click()
    wait_for_answers(page, seen + 1)


def pixels(page, nth):
    """Return what a pane shows, uint8 (N, 4)."""
    read = "(c) => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    return np.array(page.locator("#panes canvas").nth(nth).evaluate(read), np.uint8).reshape(-1, 4)


def test_photograph_map_and_refined_map_are_compared_and_saved(page, photographs, tmp_path):
    show(page, photographs[0])
    choose(page, "Compare")
    captions = page.locator("#panes figcaption").all_inner_texts()
    assert captions == ["Photograph", "Heat", "Heat, refined with texture"]
    photograph, heat, refined = (pixels(page, nth) for nth in range(3))
    with Image.open(photographs[0]) as image:
        np.testing.assert_array_equal(photograph[:, :3], np.asarray(image.convert("RGB")).reshape(-1, 3))
    assert (heat != photograph).any()
    assert (refined != heat).any()
    with page.expect_download() as saved:
        page.locator("#snapshot").click()
    saved.value.save_as(tmp_path / "panes.png")
    with Image.open(tmp_path / "panes.png") as picture:
        assert picture.width > 3 * 200  # three photographs 200 px wide
        assert picture.width > 2.5 * picture.height
    page.locator("#measure").click()  # measured is on one large picture
    assert page.locator("#panes").is_hidden()
    assert page.locator("input[name=view][value=heat]").is_checked()


def test_a_photograph_too_large_to_refine_is_compared_without(page, tmp_path):
    write_image(tmp_path / "large.png", np.full((2100, 2100, 3), (90, 120, 60), np.uint8))
    show(page, tmp_path / "large.png")
    choose(page, "Compare")
    assert page.locator("#panes figcaption").all_inner_texts() == ["Photograph", "Heat"]


def test_the_camera_is_compared_too(page):
    page.locator("#welcome [data-do=camera]").click()
    wait_for_answers(page, 2)
    choose(page, "Compare")
    wait_for_answers(page, int(page.locator("body").get_attribute("data-seen")) + 3)
    assert page.locator("#panes canvas").count() == 3
    page.locator("#camera").click()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_report_is_one_printed_page_with_all_that_is_said(page, photographs, tmp_path, web_student, language):
    page.evaluate("() => { window.print = () => { document.body.dataset.printed = 'yes'; }; }")
    show(page, photographs[0])
    if language == "zh":
        page.locator("#language").click()
    seen = page.locator("body").get_attribute("data-seen")
    verdict = page.locator("#verdict").inner_text()
    page.locator("#print").click()
    page.wait_for_selector("body[data-printed]", timeout=60_000)
    assert page.locator("body").get_attribute("data-seen") == seen  # what is shown stays
    assert page.locator("#report").is_hidden()
    page.emulate_media(media="print")
    assert page.locator("header").is_hidden()
    assert page.locator("#report h1").inner_text() == verdict
    assert photographs[0].name in page.locator("#report p").first.inner_text()
    assert page.locator("#report img").count() == 3
    classes = load(web_student).card.classes
    assert page.locator("#report tbody tr").count() == len(classes)
    printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert len(re.findall(rb"/Type /Page\b", printed)) == 1
    page.emulate_media(media="screen")
    choose(page, "对照" if language == "zh" else "Compare")  # the photograph is still held


def test_a_light_is_offered_where_the_camera_has_one(page):
    page.locator("#welcome [data-do=camera]").click()
    wait_for_answers(page, 1)
    assert page.locator("#light-line").is_hidden()  # the fake camera has none
    page.locator("#camera").click()
    page.evaluate("""() => {
      const track = MediaStreamTrack.prototype;
      track.getCapabilities = () => ({ torch: true });
      track.applyConstraints = async ({ advanced: [{ torch }] }) => {
        if (!torch) throw new DOMException("no", "OverconstrainedError");
        document.body.dataset.light = String(torch);
      };
    }""")
    page.locator("#camera").click()
    page.locator("#light").check()
    page.wait_for_selector("body[data-light=true]")
    page.locator("#light").uncheck()
    message(page, "would not switch its light")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_plain_files_work_below_any_path_and_have_threads_from_the_second_visit(
    browser, web_student, page_url, tmp_path
):
    write_site(tmp_path / "some" / "where", load(web_student))
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    handler.extensions_map = {**_Quiet.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}
    _Quiet.extensions_map = handler.extensions_map
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/some/where/"
    context = browser.new_context(locale="en-US")
    try:
        with watched(context, address) as page:
            page.goto(address)
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            page.locator("#welcome [data-do=sample]").click()
            page.wait_for_selector("body[data-seen='1']", timeout=60_000)
            assert "one thread" in page.locator("#state").inner_text()
            page.evaluate("async () => { await navigator.serviceWorker.ready }")
            page.reload()
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            assert page.evaluate("crossOriginIsolated")
    finally:
        context.close()
        server.shutdown()
        server.server_close()
