"""What a live frame costs, stage by stage, and how much less than the plain way, as a ratio in one run.

Ours: the network (which scales the frame itself), the heatmap of the top class, contrast and homogeneity by box
filters, the overlay. The plain way, found in much published code, takes the same network, enlarges the map with OpenCV
and scales it to the frame's own range, builds a plane per pair of grey levels, filters each, sums the features, and
blends in floats. Texture has the same settings in both (8 levels, window 5, one angle), and both are compared before
they are timed. Beside them stands a frame refined as `geocamnet run` does it (16 levels, window 15, four angles, guided
filter). The ways take turns by rounds, each frame after frame as a camera asks for them, for what one way throws out of
the caches is not another's cost; medians over the frames of a round, then over rounds, are told: a machine that others
use too is quicker in one minute than in the next. Weights are drawn: time knows no training.

    python benchmarks/bench_frame.py [--model MODEL.onnx] [--threads N] [--repeats N] [--rounds N] [--out FILE.json]
"""

import argparse
import json
import logging
import platform
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from geocamnet.card import ClassCard, ModelCard
from geocamnet.images import scaled_size_hw, written_aside
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.model import Model, load
from geocamnet.runtime.prediction import Prediction
from geocamnet.runtime.render import overlay
from geocamnet.runtime.texture import quantise, texture_maps
from geocamnet.taxonomy import CLASSES

SIZES_WH, WORKING_PX, ALONE_PX = ((512, 512), (1280, 960)), 320, 512
LEVELS, WINDOW_PX, OPACITY = 8, 5, 0.5
GOALS_MS = {(512, 512): 10.0, (1280, 960): 25.0}  # on two idle cores
FEATURES = ("contrast", "homogeneity")
# The network alone: as it is, without the node that scales photographs (this one has its size), with zeros beyond the
# photograph's edge, with coarser cells, with a finer trunk.
ALONE: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without scaling": {"scales": False},
    "zeros": {"zeros": True},
    "cells of 32 px": {"map_stride": 32},
    "cells of 32 px, zeros": {"map_stride": 32, "zeros": True},
    "dilated trunk": {"output_stride": 16},
}

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def drawn_student(
    folder: Path,
    long_side_px: int,
    *,
    scales: bool = True,
    zeros: bool = False,
    output_stride: int = 32,
    map_stride: int = 16,
) -> Path:
    """Write an untrained student, on request one that takes photographs as they are, or with zeros beyond the edge."""
    import torch

    from geocamnet.train.export import build_graph, write_metadata
    from geocamnet.train.student import Student, count_parameters

    torch.manual_seed(0)
    network = Student(len(CLASSES), output_stride=output_stride, map_stride=map_stride).eval()
    for one in network.modules() if zeros else ():
        if isinstance(one, torch.nn.Conv2d):
            one.padding_mode = "zeros"
    card = ModelCard(
        name="drawn weights",
        classes=tuple(ClassCard(one.name, one.title, one.colour_rgb) for one in CLASSES),
        labels="single",
        architecture="mobilenetv3_small_075",
        parameters=count_parameters(network),
        map_stride=map_stride,
        long_side_px=long_side_px if scales else None,
        um_per_px=None,
        map_scale=(1e-3,) * len(CLASSES),
        class_bias=(0.0,) * len(CLASSES),
    )
    graph = build_graph(network, card)
    write_metadata(graph, card)
    file = folder / f"{long_side_px}-{scales}-{output_stride}-{map_stride}-{zeros}.onnx"
    onnx.save(graph, file)
    return file


def plain_texture(image: Image) -> dict[str, Floats]:
    """Contrast and homogeneity at 0 degrees from one filtered plane per ordered pair of levels."""
    levels = quantise(image, levels=LEVELS, low=0, high=255)
    neighbour = np.concatenate([levels[:, 1:], levels[:, -1:]], axis=1)
    kernel = np.ones((WINDOW_PX, WINDOW_PX), np.uint8)
    planes = np.zeros((LEVELS, LEVELS, *levels.shape), np.float32)
    for i in range(LEVELS):
        for j in range(LEVELS):
            planes[i, j] = (levels == i) & (neighbour == j)
            planes[i, j] = cv2.filter2D(planes[i, j], -1, kernel)
    total = planes.sum(axis=(0, 1))
    contrast, homogeneity = np.zeros(levels.shape, np.float32), np.zeros(levels.shape, np.float32)
    for i in range(LEVELS):
        for j in range(LEVELS):
            contrast += planes[i, j] * (i - j) ** 2
            homogeneity += planes[i, j] / (1 + (i - j) ** 2)
    return {"contrast": contrast / total, "homogeneity": homogeneity / total}


def plain_render(image: Image, prediction: Prediction) -> Image:
    """The top class's map enlarged, scaled to its own range, coloured and blended in floats."""
    top = int(np.argmax(prediction.probabilities))
    heat = cv2.resize(prediction.class_maps[top], (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    heat = (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)
    coloured = cv2.cvtColor(cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    mixed = np.float32(coloured) / 255 * OPACITY + np.float32(image) / 255 * (1 - OPACITY)
    return np.uint8(255 * np.clip(mixed, 0, 1))


def our_texture(image: Image) -> dict[str, Floats]:
    """The same two features by `geocamnet.runtime.texture`."""
    return texture_maps(image, features=FEATURES, window_px=WINDOW_PX, levels=LEVELS, angles_deg=(0,))


def frame_of(size_wh: tuple[int, int]) -> Image:
    """A drawn frame with grain."""
    noise = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def check(image: Image) -> None:
    """End the program where the two textures are not of one kind."""
    plain, ours = plain_texture(image), our_texture(image)
    for name in FEATURES:
        # They differ by which pairs they count at the edge of a window; inside they tell the same.
        alike = np.corrcoef(plain[name][8:-8, 8:-8].ravel(), ours[name][8:-8, 8:-8].ravel())[0, 1]
        if not alike > 0.9:
            sys.exit(f"The two ways disagree on {name} (correlation {alike:.3f}): nothing to compare.")


def measure(model: Model, image: Image, repeats: int) -> dict[str, float]:
    """Medians in ms of every stage of both ways, taking turns."""
    size_hw = scaled_size_hw(image.shape[:2], model.card.long_side_px or max(image.shape))
    seen = np.asarray(cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    times: dict[str, list[float]] = {}

    def timed(name, way, *arguments, **options):
        start = perf_counter()
        found = way(*arguments, **options)
        times.setdefault(name, []).append(1000 * (perf_counter() - start))
        return found

    for _ in range(repeats + 2):
        times.setdefault("network", []).append(model.predict(seen).elapsed_ms)
    for _ in range(repeats + 2):
        prediction = timed("predict", model.predict, image, quick=True)
        heat = timed("heatmap", prediction.heatmap)
        timed("texture", our_texture, image)
        timed("overlay", overlay, image, heat, opacity=OPACITY)
    for _ in range(repeats + 2):
        timed("texture and guided filter, as shipped", enhance, heat, image, texture=model.card.texture)
    for _ in range(repeats + 2):
        timed("plain texture", plain_texture, image)
        timed("plain heatmap and overlay", plain_render, image, prediction)
    pairs = zip(times["predict"], times["network"], strict=True)
    times["resize"] = [max(0.0, whole - network) for whole, network in pairs]
    stages = {name: median(values[2:]) for name, values in times.items()}
    ours = [sum(one) for one in zip(*(times[n][2:] for n in ("predict", "heatmap", "texture", "overlay")), strict=True)]
    plain = ("predict", "plain texture", "plain heatmap and overlay")
    theirs = [sum(one) for one in zip(*(times[n][2:] for n in plain), strict=True)]
    shipped = ("predict", "heatmap", "texture and guided filter, as shipped", "overlay")
    whole = [sum(one) for one in zip(*(times[n][2:] for n in shipped), strict=True)]
    return stages | {"frame": median(ours), "plain frame": median(theirs), "frame as shipped": median(whole)}


def main() -> None:
    """Check, measure, print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help=f"a model file; a drawn student of {WORKING_PX} px without")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime and OpenCV")
    parser.add_argument("--repeats", type=int, default=9, help="frames of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)

    cv2.setNumThreads(asked.threads)
    check(frame_of((256, 256)))
    with tempfile.TemporaryDirectory() as folder:
        model = load(asked.model or drawn_student(Path(folder), WORKING_PX), threads=asked.threads)
        alone = {
            name: load(drawn_student(Path(folder), ALONE_PX, **options), threads=asked.threads)
            for name, options in ALONE.items()
        }
    frames = {size: frame_of(size) for size in SIZES_WH}
    square = frame_of((ALONE_PX, ALONE_PX))
    rounds: list[dict[tuple[int, int], dict[str, float]]] = []
    alone_by_round: dict[str, list[float]] = {name: [] for name in ALONE}
    for _ in range(asked.rounds):
        rounds.append({size: measure(model, image, asked.repeats) for size, image in frames.items()})
        for name, network in alone.items():  # one after the other, as the ways of a frame
            times = [network.predict(square).elapsed_ms for _ in range(3 * asked.repeats)]
            alone_by_round[name].append(median(times[2:]))
    found = {size: {name: median(one[size][name] for one in rounds) for name in rounds[0][size]} for size in SIZES_WH}
    by_round = {size: [one[size]["frame"] for one in rounds] for size in SIZES_WH}

    print(f"{asked.threads} thread(s), network of {model.card.long_side_px} px, {asked.rounds} rounds, medians in ms")
    print(f"{'':40}" + "".join(f"{f'{w} x {h}':>14}" for w, h in SIZES_WH))
    for name in found[SIZES_WH[0]]:
        print(f"  {name:38}" + "".join(f"{found[size][name]:14.2f}" for size in SIZES_WH))
    ratios = {size: found[size]["plain frame"] / found[size]["frame"] for size in SIZES_WH}
    print(f"  {'ratio':38}" + "".join(f"{ratios[size]:14.1f}" for size in SIZES_WH))
    print(f"  {'wanted of the frame on two idle cores':38}" + "".join(f"{GOALS_MS[size]:14.1f}" for size in SIZES_WH))
    print(f"  {'frame, the quickest and the slowest round':38}", end="")
    print("".join(f"{f'{min(by_round[size]):.1f}, {max(by_round[size]):.1f}':>14}" for size in SIZES_WH))
    for name, times in alone_by_round.items():
        print(f"  {f'network alone at {ALONE_PX} px, {name}':38}{median(times):14.2f}")
    if asked.out is not None:
        figures = {
            "threads": asked.threads, "repeats": asked.repeats, "rounds": asked.rounds,
            "network_px": model.card.long_side_px, "network_alone_px": ALONE_PX,
            "network_alone_ms": {name: [round(ms, 2) for ms in times] for name, times in alone_by_round.items()},
            "frame_ms_by_round": {f"{w}x{h}": [round(ms, 2) for ms in by_round[w, h]] for w, h in SIZES_WH},
            "frames": {f"{w}x{h}": {name: round(ms, 2) for name, ms in found[w, h].items()} for w, h in SIZES_WH},
            "ratio": {f"{w}x{h}": round(ratios[w, h], 1) for w, h in SIZES_WH},
            "machine": platform.processor() or platform.machine(), "onnxruntime": onnxruntime.__version__,
            "opencv": cv2.__version__,
        }  # fmt: skip
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
