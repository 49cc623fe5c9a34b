"""How much sooner a teacher that looks on has its features: as it is, under autocast, and made quick, in one run.

A student that is taught online (`--teacher-maps online`) waits for its teachers most of the time. The three take turns
on the same crops; ratios are medians over the rounds. Weights are random: time knows no training.

    python benchmarks/bench_looking.py [--rounds 5] [--out FILE.json]
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from geocamnet.images import written_aside
from geocamnet.train.looking import halves_when_it_looks, made_quick
from geocamnet.train.runs import Network
from geocamnet.train.student import make_student
from geocamnet.train.teacher import make_teacher

BATCH, CROP_PX = 16, 208
NETWORKS: dict[str, Callable[[], Network]] = {
    "resnet101": lambda: make_teacher("resnet101", 22),
    "efficientnet_lite0": lambda: make_teacher("efficientnet_lite0", 22, edges="continued"),
    "student": lambda: make_student(22),
}


def main() -> None:
    """Take turns, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    half = halves_when_it_looks("auto")
    crops = torch.rand(BATCH, 3, CROP_PX, CROP_PX).contiguous(memory_format=torch.channels_last)
    result = {
        "batch": BATCH, "crop_px": CROP_PX, "bf16": half, "rounds": asked.rounds,
        "networks": {name: ratios(make().eval(), crops, half, asked.rounds) for name, make in NETWORKS.items()},
        "threads": torch.get_num_threads(), "machine": platform.machine(), "torch": torch.__version__,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if asked.out is not None:
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def ratios(network: Network, crops: Tensor, half: bool, rounds: int) -> dict[str, float]:
    """Return how many times as long as made quick a network takes as it is, and under autocast."""
    quick = made_quick(network, half=half)

    def autocast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network.features(crops)

    ways: dict[str, Callable[[], Tensor]] = {
        "as_it_is": lambda: network.features(crops),
        "autocast": autocast,
        "quick": lambda: quick.features(crops),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, look in ways.items():
            began = time.perf_counter()
            look()
            took[name].append(time.perf_counter() - began)
    over = {name: [one / best for one, best in zip(took[name], took["quick"], strict=True)][1:] for name in ways}
    return {
        "as_it_is_over_quick": round(median(over["as_it_is"]), 2),
        "autocast_over_quick": round(median(over["autocast"]), 2),
        "quick_ms": round(1e3 * median(took["quick"][1:]), 1),
    }


if __name__ == "__main__":
    main()
