"""What the browser page reaches in a headless Chromium with a fake camera: heatmaps a second, first heatmap, memory.

A server on this machine hands out the page; Chromium plays a drawn clip as its camera. Heatmaps a second are the page's
own count of answers shown over the seconds that pass, at each size of the network; beside them stands how many the
network alone would give in the same page, so that the ratio holds where the machine is slow. Weights are drawn, by a
process of their own. Needs Debian's chromium and Playwright.

    python benchmarks/bench_page.py [--seconds 20] [--minutes 10] [--out FILE.json]
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browsing import serving
from geocamnet.images import written_aside
from geocamnet.runtime.model import bundled_student, load
from geocamnet.web.engine import read_lock
from geocamnet.web.server import app_of
from geocamnet.web.site import SiteFile, site

SIDES_PX, CLIP_WH, CLIP_FRAMES = (384, 512), (640, 480), 60
GOALS = {384: 20.0, 512: 12.0}  # heatmaps a second on two idle cores
MB = 1e6


def main() -> None:
    """Measure, print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of live heatmaps for each rate")
    parser.add_argument("--minutes", type=float, default=10.0, help="of live heatmaps for the memory")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        clip = write_clip(Path(folder) / "clip.mjpeg")
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={clip}",
                "--enable-precise-memory-info",
            ],
        )
        rates = {
            side: rate_of(browser, site(load(drawn_student(Path(folder), side))), asked.seconds) for side in SIDES_PX
        }
        files = site(load(bundled_student()))
        first = first_heatmap(browser, files)
        memory = memory_of(browser, files, asked.minutes)
        browser.close()
    sent = {path: len(one.content) for path, one in files.items()}
    packed = {path: min(sent[path], len(gzip.compress(one.content, 6))) for path, one in files.items()}
    result: dict[str, Any] = {
        "heatmaps_per_s": {str(side): one["shown"] for side, one in rates.items()},
        "network_alone_per_s": {str(side): one["network"] for side, one in rates.items()},
        "wanted_per_s": {str(side): goal for side, goal in GOALS.items()},
        "first_heatmap_s": first,
        "transfer_mb": fetched(sent),
        "transfer_packed_mb": fetched(packed),
        "memory": memory,
        "camera": f"{CLIP_WH[0]}x{CLIP_WH[1]}",
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=1))
    if asked.out is not None:
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def fetched(sizes: dict[str, int]) -> dict[str, float]:
    """Return the MB that a browser fetches of files of such sizes, with either engine."""
    builds = {name: {f"engine/{file}" for file in files} for name, files in read_lock().builds.items()}
    engines = set().union(*builds.values())
    return {
        name: round(sum(size for path, size in sizes.items() if path not in engines - mine) / MB, 1)
        for name, mine in builds.items()
    }


def live(browser: Browser, address: str) -> Page:
    """Open the page and its camera; wait for the first heatmap."""
    page = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 800}).new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    page.locator("#welcome [data-do=camera]").click()
    page.wait_for_selector("body[data-seen]", timeout=60_000)
    return page


def seen(page: Page) -> int:
    """Return how many heatmaps the page has shown."""
    return int(page.locator("body").get_attribute("data-seen") or 0)


def rate_of(browser: Browser, files: dict[str, SiteFile], seconds: float) -> dict[str, float]:
    """Return heatmaps shown a second, and how many the network alone would give."""
    with serving(app_of(files)) as (port, _):
        page = live(browser, f"http://127.0.0.1:{port}/")
        page.evaluate(
            """() => {
              window.networks = [];
              new MutationObserver(() => window.networks.push(Number(document.body.dataset.network)))
                .observe(document.body, { attributeFilter: ["data-seen"] });
            }"""
        )
        time.sleep(2)  # the first frames warm up
        page.evaluate("() => { window.networks = []; }")
        began, before = time.perf_counter(), seen(page)
        time.sleep(seconds)
        count, passed = seen(page) - before, time.perf_counter() - began
        network = mean(page.evaluate("() => window.networks"))
        page.context.close()
    return {"shown": round(count / passed, 1), "network": round(1000 / network, 1)}


def first_heatmap(browser: Browser, files: dict[str, SiteFile]) -> float:
    """Return seconds from opening the page anew to the first heatmap of the camera, the button pressed at once."""
    with serving(app_of(files)) as (port, _):
        began = time.perf_counter()
        page = live(browser, f"http://127.0.0.1:{port}/")
        passed = time.perf_counter() - began
        page.context.close()
    return round(passed, 2)


def memory_of(browser: Browser, files: dict[str, SiteFile], minutes: float) -> dict[str, float]:
    """Return what the browser's processes hold in MB after a tenth of the time, and at most after that."""
    held: list[float] = []
    with serving(app_of(files)) as (port, _):
        page = live(browser, f"http://127.0.0.1:{port}/")
        before = seen(page)
        for _ in range(40):
            time.sleep(60 * minutes / 40)
            held.append(sum(one.memory_info().rss for one in renderers()) / MB)
        shown = seen(page) - before
        page.context.close()
    warm = held[len(held) // 10 :]
    quarter = len(warm) // 4
    return {
        "minutes": minutes,
        "heatmaps": shown,
        "mb_first_quarter": round(mean(warm[:quarter]), 1),
        "mb_last_quarter": round(mean(warm[-quarter:]), 1),
        "most_mb": round(max(warm), 1),
    }


def renderers() -> list[psutil.Process]:
    """Return Chromium's processes that hold pages."""
    mine = psutil.Process().children(recursive=True)
    return [one for one in mine if "--type=renderer" in " ".join(one.cmdline())]


def drawn_student(folder: Path, side_px: int) -> Path:
    """Let another process write an untrained student: PyTorch's threads are not the browser's."""
    program = "from pathlib import Path; from bench_frame import drawn_student; import sys; "
    program += "print(drawn_student(Path(sys.argv[1]), int(sys.argv[2])))"
    command = [sys.executable, "-c", program, str(folder), str(side_px)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def write_clip(path: Path) -> Path:
    """Draw the clip that plays as the camera: grains that drift, as Motion JPEG."""
    rng = np.random.default_rng(0)
    width, height = CLIP_WH
    grains = rng.integers(40, 220, (height // 16, width // 16, 3), dtype=np.uint8)
    rock = cv2.resize(grains, CLIP_WH, interpolation=cv2.INTER_CUBIC)
    with path.open("wb") as stream:
        for number in range(CLIP_FRAMES):
            noise = rng.integers(-6, 7, rock.shape)
            frame = (np.roll(rock, 4 * number, axis=1) + noise).clip(0, 255).astype(np.uint8)
            stream.write(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return path


if __name__ == "__main__":
    main()
