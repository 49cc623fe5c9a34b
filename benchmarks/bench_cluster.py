"""What a Ray cluster costs over the processes of one machine: `prepare` both ways, in one run.

Two nodes of a core each, on this machine, against two processes. Photographs are drawn; all but the first few are hard
links, which `prepare` reads like any other. The files that both make are compared byte by byte.

    python benchmarks/bench_cluster.py [--photographs 600] [--rounds 2] [--out FILE.json]

The starting of the cluster is not counted, for it is there before; that of its workers is.
"""

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import ray
from ray.cluster_utils import Cluster

from geocamnet.images import write_image, written_aside
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import PrepareRecipe

DRAWN, SIZE_WH = 6, (4000, 3000)
RECIPE = PrepareRecipe(workers=2)


def main() -> None:
    """Draw, prepare both ways in turn, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    files = set()
    try:
        with tempfile.TemporaryDirectory() as folder:
            raw = draw(Path(folder, "raw"), asked.photographs)
            for number in range(asked.rounds):
                for engine in ("local", "ray"):
                    data = Path(folder, f"{engine}-{number}")
                    began = time.perf_counter()
                    prepare(raw, data, replace(RECIPE, engine=engine))
                    seconds[engine].append(time.perf_counter() - began)
                    files.add(digest(data))
    finally:
        ray.shutdown()
        cluster.shutdown()
    overhead = statistics.median(seconds["ray"]) / statistics.median(seconds["local"]) - 1
    told = {
        "photographs": asked.photographs,
        "size_wh": SIZE_WH,
        "seconds": {engine: [round(one, 1) for one in each] for engine, each in seconds.items()},
        "overhead": round(overhead, 3),
        "same_files": len(files) == 1,
        "cores": os.cpu_count(),
    }
    print(json.dumps(told, indent=1))
    if asked.out:
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def draw(raw: Path, count: int) -> Path:
    """Draw a few photographs of grains and link the rest to them."""
    for number in range(min(DRAWN, count)):
        random = np.random.default_rng(number)
        noise = random.normal(size=(SIZE_WH[1] // 4, SIZE_WH[0] // 4, 3)).astype(np.float32)
        image = np.clip(128 + 400 * cv2.GaussianBlur(noise, (0, 0), 3), 0, 255).astype(np.uint8)
        write_image(raw / f"class{number % 3}" / f"{number:05d}.jpg", cv2.resize(image, SIZE_WH), quality=95)
    for number in range(DRAWN, count):
        source = number % DRAWN
        os.link(raw / f"class{source % 3}" / f"{source:05d}.jpg", raw / f"class{source % 3}" / f"{number:05d}.jpg")
    return raw


def digest(data: Path) -> str:
    """Return a hash of everything in a data set."""
    found = hashlib.sha256()
    for file in sorted(path for path in data.rglob("*") if path.is_file()):
        found.update(file.relative_to(data).as_posix().encode())
        found.update(file.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
