"""How long a frame takes on this machine, stage by stage, for model files, thread counts and execution providers."""

import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from geocamnet import __version__
from geocamnet.errors import DataError, ModelError
from geocamnet.images import RgbImage, read_image, scaled_size_hw, write_image
from geocamnet.runtime import kept
from geocamnet.runtime.heatmap import enhance
from geocamnet.runtime.model import Model, bundled_student, default_threads, load
from geocamnet.runtime.render import overlay
from geocamnet.sharing import usable_cores

SIZES_WH = ((512, 512), (1280, 960))
CPU = "CPUExecutionProvider"
STAGES = ("decode", "resize", "network", "verdict", "texture", "render")
WARM_UP = 3
LEAST_GAIN = 1.05  # of two precisions the exact one is chosen unless the other saves more than this
UNSTEADY = 2.0  # a 95th percentile above so many medians: something else was running

OnProgress = Callable[[int, int], None]


@dataclass
class Timing:
    """One configuration at one frame size.

    Attributes:
        model: the model file.
        precision: of its card.
        provider: ONNX Runtime's execution provider.
        threads: of ONNX Runtime and of OpenCV.
        size_wh: of the frame in pixels.
        ms: (N,) milliseconds of every repeat for each of `STAGES`; ``resize`` is empty where the model file does not
            scale, or the frame has its size already.
    """

    model: Path
    precision: str
    provider: str
    threads: int
    size_wh: tuple[int, int]
    ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    def median(self, stage: str) -> float:
        """Return the median of a stage, or of ``"frame"``, all of them together; NaN without a repeat."""
        return self._percentile(stage, 50)

    def p95(self, stage: str) -> float:
        """Return the 95th percentile of a stage, or of ``"frame"``; NaN without a repeat."""
        return self._percentile(stage, 95)

    def _percentile(self, stage: str, percent: float) -> float:
        if stage == "frame":
            told = [values for values in self.ms.values() if values]
            values = [sum(repeat) for repeat in zip(*told, strict=True)]
        else:
            values = self.ms[stage]
        return float(np.percentile(values, percent)) if values else math.nan


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Attributes:
        timings: a line for each configuration and frame size.
        repeats: of each.
        peak_memory_mb: of this process, with all models open; None where the system does not tell.
        stopped: whether it was stopped before all repeats were done.
    """

    timings: tuple[Timing, ...]
    repeats: int
    peak_memory_mb: float | None
    stopped: bool = False

    @property
    def unsteady(self) -> bool:
        """Whether times varied so much that something else must have been running."""
        return any(one.p95("frame") > UNSTEADY * one.median("frame") for one in self.timings)

    def fastest(self, model: Path) -> Timing:
        """Return the configuration of a model whose network and resizing take the least, over all sizes."""
        mine = [one for one in self.timings if one.model == model]
        return min(mine, key=lambda one: self._network_ms(one.model, one.provider, one.threads))

    def ratio(self, one: Timing, other: Timing) -> float:
        """Return how many times as fast as ``other`` a configuration is: geometric mean over frame sizes."""
        return self._network_ms(other.model, other.provider, other.threads) / self._network_ms(
            one.model, one.provider, one.threads
        )

    def as_json(self) -> dict[str, Any]:
        """Return everything for a file."""
        return {
            "geocamnet": __version__,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "system": f"{platform.system()} {platform.release()}",
                "processor": platform.processor() or platform.machine(),
                "cores": usable_cores(),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "onnxruntime": ort.__version__,
            },
            "repeats": self.repeats,
            "unsteady": self.unsteady,
            "peak_memory_mb": self.peak_memory_mb,
            "timings": [
                {
                    "model": one.model.name,
                    "precision": one.precision,
                    "provider": one.provider,
                    "threads": one.threads,
                    "size_px": list(one.size_wh),
                    "stages": {
                        stage: {"median_ms": round(one.median(stage), 3), "p95_ms": round(one.p95(stage), 3)}
                        for stage in (*STAGES, "frame")
                        if stage == "frame" or one.ms[stage]
                    },
                }
                for one in self.timings
            ],
        }

    def _network_ms(self, model: Path, provider: str, threads: int) -> float:
        mine = [one for one in self.timings if (one.model, one.provider, one.threads) == (model, provider, threads)]
        together = [np.sum([one.ms[stage] for stage in ("resize", "network") if one.ms[stage]], axis=0) for one in mine]
        return float(np.exp(np.mean([np.log(np.median(each)) for each in together])))


def benchmark(
    models: Sequence[Path] = (),
    *,
    sizes_wh: Sequence[tuple[int, int]] = SIZES_WH,
    threads: Sequence[int] = (),
    providers: Sequence[str] = (CPU,),
    repeats: int = 40,
    on_progress: OnProgress | None = None,
) -> Benchmark:
    """Measure every stage of a frame for every model file, provider and number of threads.

    Stages, in milliseconds of wall time: ``decode`` reads a JPEG; ``resize`` is what the network takes longer on the
    frame than on the same at the network's own size, and ``network`` what it takes on that; ``verdict`` is all else
    that `Model.predict` does, such as comparing the frame with the training photographs; ``texture`` refines the
    heatmap; ``render`` enlarges the heatmap and lays it on the frame. The configurations take turns within each
    repeat, so that what else the machine does disturbs all alike. Ctrl-C ends it with the repeats done so far, once
    there is one.

    Args:
        models: model files; none takes the bundled one.
        sizes_wh: (width, height) of the frames in pixels, drawn, each at least 16.
        threads: of ONNX Runtime and OpenCV; none takes 1 and what `load` would.
        providers: ONNX Runtime's execution providers.
        repeats: of each configuration, at least 1; three more to warm up are not counted.
        on_progress: called with repeats done and repeats in all.

    Raises:
        ModelError: a model file that does not open, or a provider that is not installed.
        DataError: repeats, threads or sizes out of range.
    """
    wanted = sorted({*threads} or {1, default_threads()})
    if repeats < 1 or min(wanted) < 1:
        raise DataError(f"repeats and threads must be at least 1; received {repeats} and {wanted}.")
    if not sizes_wh or min(min(size) for size in sizes_wh) < 16:
        raise DataError(f"Frames must be at least 16 px on each side; received {list(sizes_wh)}.")
    settings = list(product(models or [bundled_student()], providers, wanted))
    opened = [load(file, threads=count, providers=[provider]) for file, provider, count in settings]
    frames = {size: _frame(size) for size in sizes_wh}
    lines = [
        (model, Timing(model.path, model.card.precision, provider, count, size))
        for size in frames
        for model, (_, provider, count) in zip(opened, settings, strict=True)
    ]
    done = 0
    with tempfile.TemporaryDirectory() as folder, _opencv_threads_kept():
        files = {size: Path(folder) / f"{size[0]}x{size[1]}.jpg" for size in frames}
        for size, frame in frames.items():
            write_image(files[size], frame, quality=90)
        try:
            for repeat in range(-WARM_UP, repeats):
                taken = []
                for model, line in lines:
                    cv2.setNumThreads(line.threads)
                    taken.append(_take(model, files[line.size_wh], frames[line.size_wh]))
                if repeat >= 0:  # whole repeats alone, so that Ctrl-C leaves as many of each
                    for (_, line), one in zip(lines, taken, strict=True):
                        for stage, elapsed_ms in one.items():
                            line.ms[stage].append(elapsed_ms)
                    done += 1
                if on_progress:
                    on_progress(repeat + WARM_UP + 1, repeats + WARM_UP)
        except KeyboardInterrupt:
            if not done:
                raise
    return Benchmark(tuple(line for _, line in lines), done, peak_memory_mb(), stopped=done < repeats)


def keep_fastest(measured: Benchmark) -> str:
    """Keep which file and how many threads `load` with ``fastest`` takes on this machine; return that in words.

    The precision that names in 32 bits is kept unless another saves more than a twentieth of the time.

    Raises:
        ModelError: files that are not one network, an 8-bit one that loses more than a point, or no CPU among what was
            measured.
        DataError: the choice can't be written.
    """
    on_cpu = Benchmark(tuple(one for one in measured.timings if one.provider == CPU), measured.repeats, None)
    models = {one.model: load(one.model, threads=1) for one in on_cpu.timings}
    if not models:
        raise ModelError(f"Only {CPU} is what geocamnet run computes with; measure that to keep the fastest.")
    best = {path: on_cpu.fastest(path) for path in models}
    exact = [path for path, model in models.items() if model.card.precision == "fp32"]
    chosen = exact[0] if exact else next(iter(models))
    for path in models:
        if path != chosen and on_cpu.ratio(best[path], best[chosen]) > LEAST_GAIN:
            chosen = path
    for path, model in models.items():
        if path.parent.resolve() != chosen.parent.resolve():
            raise ModelError(f"{path} and {chosen} must lie in one folder for one to be opened in place of the other.")
        if reason := kept.why_not(model.card, models[chosen].card):
            raise ModelError(f"{chosen.name} is not kept in place of {path.name}: {reason}.")
    choice = kept.Choice(chosen.name, models[chosen].sha256, best[chosen].threads)
    file = kept.keep({model.sha256: choice for model in models.values()})
    others = ", ".join(path.name for path in models if path != chosen)
    instead = f", also where {others} is named" if others else ""
    return (
        f"geocamnet run opens {chosen.name} ({models[chosen].card.precision}) with {choice.threads} "
        f"thread{'s' if choice.threads > 1 else ''} on this machine{instead}. Kept in {file}"
    )


def in_words(measured: Benchmark) -> list[str]:
    """Return what the figures say: which file is fastest, how much memory was taken, whether to believe it."""
    said = []
    models = list(dict.fromkeys(one.model for one in measured.timings))
    best = sorted((measured.fastest(one) for one in models), key=lambda one: -measured.ratio(one, measured.timings[0]))
    for slower in best[1:]:
        factor = measured.ratio(best[0], slower)
        said.append(
            f"{_named(best[0])} is {factor:.2f} times as fast as {_named(slower)} on this machine (resize and network)."
            if factor > LEAST_GAIN
            else f"{_named(best[0])} and {_named(slower)} are equally fast on this machine ({factor:.2f})."
        )
    memory = "unknown" if measured.peak_memory_mb is None else f"{measured.peak_memory_mb:.0f} MB"
    said.append(f"Peak memory of this process, all models open: {memory}.")
    if measured.unsteady:
        said.append("Times varied a lot: something else is running. Close it and measure again.")
    if measured.stopped:
        said.append(f"Stopped after {measured.repeats} repeats.")
    return said


def peak_memory_mb() -> float | None:
    """Return the most memory this process has held, in MB (10^6 bytes); None where the system does not tell."""
    if sys.platform == "win32":
        return _windows_peak_memory_mb()
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6  # macOS counts bytes, others kibibytes


def _windows_peak_memory_mb() -> float | None:
    if sys.platform != "win32":  # also tells the type checker where ctypes.windll is
        return None
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS of the Windows API
        _fields_ = [("cb", wintypes.DWORD), ("PageFaultCount", wintypes.DWORD)] + [
            (name, ctypes.c_size_t)
            for name in (
                "PeakWorkingSetSize",
                "WorkingSetSize",
                "a",
                "b",
                "c",
                "d",
                "PagefileUsage",
                "PeakPagefileUsage",
            )
        ]

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.K32GetProcessMemoryInfo.argtypes = [wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD]
    done = kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return float(counters.PeakWorkingSetSize) / 1e6 if done else None


def _take(model: Model, file: Path, frame: RgbImage) -> dict[str, float]:
    """Run one frame through every stage; return the milliseconds of each."""
    ms: dict[str, float] = {}
    clock = time.perf_counter
    start = clock()
    read_image(file)
    ms["decode"] = 1000 * (clock() - start)
    scaled = _as_the_network_sees_it(frame, model)
    if scaled is not frame:
        network_ms = model.predict(scaled).elapsed_ms
    start = clock()
    prediction = model.predict(frame)
    predict_ms = 1000 * (clock() - start)
    if scaled is not frame:
        ms["resize"] = max(0.0, prediction.elapsed_ms - network_ms)
        ms["network"] = network_ms
    else:
        ms["network"] = prediction.elapsed_ms
    ms["verdict"] = predict_ms - prediction.elapsed_ms
    start = clock()
    heat = prediction.heatmap()
    heat_ms = 1000 * (clock() - start)
    start = clock()
    refined = enhance(heat, frame, texture=model.card.texture)
    ms["texture"] = 1000 * (clock() - start)
    start = clock()
    overlay(frame, refined)
    ms["render"] = heat_ms + 1000 * (clock() - start)
    return ms


def _as_the_network_sees_it(frame: RgbImage, model: Model) -> RgbImage:
    """Return the frame at the size the model file would scale it to, itself where that is its own."""
    if model.card.long_side_px is None:
        return frame
    height, width = scaled_size_hw(frame.shape[:2], model.card.long_side_px)
    if (height, width) == frame.shape[:2]:
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _frame(size_wh: tuple[int, int]) -> RgbImage:
    """Draw a frame with grain of several sizes, as rock has, so that it packs into a JPEG as a photograph does."""
    rng = np.random.default_rng(0)
    width, height = size_wh
    frame = np.full((height, width, 3), 128, np.float32)
    for cell_px, strength in ((64, 40), (12, 30), (3, 12)):
        coarse = rng.normal(0, strength, (height // cell_px + 2, width // cell_px + 2, 3)).astype(np.float32)
        frame += np.asarray(cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC), np.float32)
    levels: NDArray[np.uint8] = np.clip(frame, 0, 255).astype(np.uint8)
    return levels


@contextmanager
def _opencv_threads_kept() -> Any:
    before = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _named(one: Timing) -> str:
    return f"{one.model.name} ({one.precision}, {one.threads} thread{'s' if one.threads > 1 else ''})"
