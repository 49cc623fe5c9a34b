"""Size and time of a student's model file in each precision, as ratios to 32 bits in one run.

The student has drawn weights, for size and time know no training; what 8 bits change in its answers `geocamnet export`
measures and writes on the card. The precisions take turns on one photograph, so that a busy machine disturbs all
alike, and the shortest time of each counts.

    python benchmarks/bench_precision.py [--out FILE.json]
"""

import argparse
import json
import logging
import platform
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from geocamnet.card import ClassCard, ModelCard
from geocamnet.images import written_aside
from geocamnet.runtime.model import Model, load
from geocamnet.taxonomy import CLASSES
from geocamnet.train.export import build_graph, write_metadata
from geocamnet.train.quantise import PRECISIONS, quantise
from geocamnet.train.student import Student, count_parameters

SIDES_PX, THREADS, REPEATS, CALIBRATION = (224, 512), 2, 60, 8


def files(folder: Path) -> dict[str, Path]:
    """Write one untrained student in every precision."""
    torch.manual_seed(0)
    network = Student(len(CLASSES)).eval()
    card = ModelCard(
        name="drawn weights",
        classes=tuple(ClassCard(one.name, one.title, one.colour_rgb) for one in CLASSES),
        labels="single",
        architecture="mobilenetv3_small_075",
        parameters=count_parameters(network),
        map_stride=16,
        long_side_px=None,
        um_per_px=None,
        map_scale=(1.0,) * len(CLASSES),
        class_bias=(0.0,) * len(CLASSES),
    )
    graph = build_graph(network, card)
    rng = np.random.default_rng(0)
    found = {}
    for precision in PRECISIONS:
        images = (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in range(CALIBRATION))
        made = graph if precision == "fp32" else quantise(graph, precision, images)
        write_metadata(made, card)
        found[precision] = folder / f"{precision}.onnx"
        onnx.save(made, found[precision])
    return found


def shortest_ms(models: dict[str, Model], side_px: int) -> dict[str, float]:
    """The shortest time of each model over several rounds, after one to warm up."""
    image = np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    best = dict.fromkeys(models, float("inf"))
    for turn in range(REPEATS + 1):
        for name, model in models.items():
            elapsed_ms = model.predict(image).elapsed_ms
            if turn:
                best[name] = min(best[name], elapsed_ms)
    return best


def main() -> None:
    """Write, measure, print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    out = parser.parse_args().out
    logging.disable(logging.WARNING)

    with tempfile.TemporaryDirectory() as folder:
        paths = files(Path(folder))
        sizes = {name: path.stat().st_size / 1000 for name, path in paths.items()}
        models = {name: load(path, threads=THREADS) for name, path in paths.items()}
        times = {side_px: shortest_ms(models, side_px) for side_px in SIDES_PX}
    print(f"{THREADS} threads of {platform.processor() or platform.machine()}, ONNX Runtime {onnxruntime.__version__}")
    print(f"{'':14}{'kB':>8}" + "".join(f"{f'{side} px, ms':>14}{'ratio':>8}" for side in SIDES_PX))
    for name, size_kb in sizes.items():
        columns = (f"{times[side][name]:14.2f}{times[side][name] / times[side]['fp32']:8.2f}" for side in SIDES_PX)
        print(f"{name:14}{size_kb:8.0f}" + "".join(columns))
    if out is not None:
        figures = {
            "threads": THREADS, "onnxruntime": onnxruntime.__version__,
            "machine": platform.processor() or platform.machine(),
            "kb": {name: round(one) for name, one in sizes.items()},
            "time_ratio": {side: {name: round(one / row["fp32"], 2) for name, one in row.items()}
                           for side, row in times.items()},
        }  # fmt: skip
        with written_aside(out) as aside:
            aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
