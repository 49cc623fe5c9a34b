"""What the page answers, beside what Python answers."""

import base64

import numpy as np
import pytest

from geocamnet.images import read_image
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.measure import area_per_class
from geocamnet.runtime.model import load

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


def compare(page, model_path, paths, um_per_px=None, engine="wasm"):
    """Open a model file and photographs in the page and in Python: all that is said must agree, run by that engine."""
    model = load(model_path)
    page.evaluate(OPEN, encoded(model_path))
    if engine != "wasm":
        page.evaluate(LOOK, [encoded(paths[0]), um_per_px])  # it is tried once the first photograph is answered
    for path in paths:
        image = read_image(path)
        wanted = model.predict(image, um_per_px=um_per_px)
        found = page.evaluate(LOOK, [encoded(path), um_per_px])
        assert found["runsOn"]["engine"] == engine, path
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
