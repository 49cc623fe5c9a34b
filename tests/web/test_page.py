"""The page in a real browser: the same numbers as Python, and the shortest way through it."""

from pathlib import Path

import pytest

from browsing import wait_for_answers
from geocamnet.images import read_image
from geocamnet.runtime.model import load
from page_answers import compare

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "carbonate-lithology"
DEMO = ROOT / "out" / "demo" / "student.onnx"


def test_the_page_answers_as_python_does_on_drawn_photographs(page, web_student, photographs):
    compare(page, web_student, photographs)


def test_several_labels_and_scales_and_no_familiar_card_are_read_from_the_card(
    page, make_student, tiny_card, photographs, tmp_path
):
    from dataclasses import replace

    several = replace(
        tiny_card, labels="multi", abstain_below=0.0, label_thresholds=(0.4, 0.5, 0.9), evidence_below=1.8
    )
    compare(page, make_student(tmp_path / "several.onnx", several), photographs[:4])
    scaled = replace(tiny_card, long_side_px=None, um_per_px=2.0)
    compare(page, make_student(tmp_path / "scaled.onnx", scaled), photographs[:3], um_per_px=1.3)


@pytest.mark.skipif(not DEMO.is_file(), reason="no out/demo/student.onnx: make demo makes it")
def test_the_page_answers_as_python_does_with_a_real_network(page, photographs):
    compare(page, DEMO, photographs[:4])


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/carbonate-lithology is not here")
def test_the_page_answers_as_python_does_on_real_photographs(page, web_student):
    compare(page, DEMO if DEMO.is_file() else web_student, sorted(SHARED.rglob("*.png"))[:600:60])


def test_a_photograph_is_named_and_mapped(page, photographs, web_student):
    assert page.evaluate("crossOriginIsolated")
    page.set_input_files("#photographs-file", photographs[0])
    page.wait_for_selector("body[data-seen='1']")
    card = load(web_student).card
    titles = {one.name: one.title for one in card.classes}
    wanted = load(web_student).predict(read_image(photographs[0]))
    named = " + ".join(titles[name] for name in wanted.labels) or wanted.verdict.capitalize()
    assert page.locator("#verdict").inner_text() == named
    shown = page.locator("#top li").all_inner_texts()
    assert [line.split("\n") for line in shown] == [[titles[name], f"{100 * p:.0f} %"] for name, p in wanted.top(3)]
    assert page.locator("#classes label").count() == 1 + len(card.classes)
    page.locator("#language").click()
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert page.locator("#top li").first.inner_text().startswith(("鲕粒岩", "泡沫", "孔"))
    page.locator("#camera").click()
    wait_for_answers(page, 4)
    assert page.locator("#camera").inner_text() == "停止"
