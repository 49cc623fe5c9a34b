"""The page in a real browser: the same numbers as Python, and the shortest way through it."""

import base64
from pathlib import Path

import numpy as np
import pytest

from browsing import wait_for_answers
from geocamnet.images import read_image
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.measure import area_per_class
from geocamnet.runtime.model import load

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "carbonate-lithology"
DEMO = ROOT / "out" / "demo" / "student.onnx"
WORDS = {"not_sure": "not sure", "nothing_here": "nothing here", "unfamiliar": "unlike the training photographs"}

OPEN = """async (model) => {
  const { Looker } = await import("./looker.js");
  window.looker = new Looker();
  await window.looker.open(Uint8Array.from(atob(model), (one) => one.charCodeAt(0)).buffer);
}"""
LOOK = """async ([photograph, umPerPx]) => {
  const bytes = Uint8Array.from(atob(photograph), (one) => one.charCodeAt(0));
  const how = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([bytes]), how);
  const a = await window.looker.look(bitmap, { raw: true, refine: true, view: "heat", umPerPx });
  return { ...a, maps: Array.from(a.maps.values), heat: Array.from(a.map.heat), map: null, bitmap: null };
}"""


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


def compare(page, model_path, paths, um_per_px=None):
    model = load(model_path)
    page.evaluate(OPEN, encoded(model_path))
    for path in paths:
        image = read_image(path)
        wanted = model.predict(image, um_per_px=um_per_px)
        found = page.evaluate(LOOK, [encoded(path), um_per_px])
        size = max(1.0, float(np.abs(wanted.class_maps).max()))
        assert np.abs(np.array(found["probabilities"]) - wanted.probabilities).max() < 1e-3, path
        assert np.abs(np.array(found["maps"]) - wanted.class_maps.ravel()).max() / size < 1e-3, path
        assert found["distance"] == pytest.approx(wanted.distance, abs=2e-2), path
        assert found["evidence"] == pytest.approx(wanted.evidence, abs=1e-3), path
        said = "|".join(model.card.class_names[c] for c in found["named"]) or WORDS[found["refusal"]]
        assert said == wanted.verdict, path
        heatmaps = np.stack([wanted.heatmap(name) for name in model.card.class_names])
        refined = enhance(wanted.heatmap(), image, texture=model.card.texture)
        assert np.abs(np.array(found["heat"]) - refined.ravel()).max() < 1e-3, path
        # Areas are counted on a grid of 200 px: exact for small photographs, a fraction of a percent for larger ones.
        assert np.abs(np.array(found["percent"]) - area_per_class(heatmaps)).max() < 0.6, path


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
