"""Checks of the installation, each with its fix."""

import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from geocamnet.errors import ModelError
from geocamnet.sharing import usable_cores

LEAST_PYTHON = (3, 11)
LEAST_FREE_DISK_GB = 1.0
LEAST_MEMORY_GB = 1.0
# Lightning releases that stole credentials: https://github.com/advisories/GHSA-w37p-236h-pfx3
COMPROMISED_LIGHTNING = frozenset({"2.6.2", "2.6.3"})

_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
# Packages that bring the same module as the one we name.
_STAND_INS = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml")}
_TRAIN_LINE = "pip install 'geocamnet[train]'"
_GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: what.
        ok: False where something must be mended. What only some uses need is ok without it.
        detail: what was found.
        fix: what to do; also given where ``ok``, for a use that needs more. Empty for nothing.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine(*, deep: bool = False) -> list[Finding]:
    """Look at the installation.

    Args:
        deep: also import PyTorch (seconds) and ask it for CUDA.

    Returns:
        Findings in a fixed order; nothing is raised for what is missing, for that is what is looked for.
    """
    base, train = _requirements()
    return [
        _python(),
        *[_package(name, least) for name, least in base if name not in _OPENCV],
        _opencv(dict(base)),
        _onnxruntime(),
        _bundled_model(),
        _training(train),
        _lightning(),
        _cuda(deep),
        _cores_and_memory(),
        _disk(),
        _temporary_folder(),
        _display(),
    ]


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return Finding("Python", False, detail, f"Install Python {'.'.join(map(str, LEAST_PYTHON))} or newer.")
    return Finding("Python", True, detail)


def _requirements() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (package, least version) of the base install and of the extra ``train``, as the package states them."""
    try:
        stated = metadata.requires("geocamnet") or []
    except metadata.PackageNotFoundError:  # run from its source tree: what the runtime imports, any version
        return [(name, "") for name in ("numpy", "opencv-python", "pillow", "onnxruntime")], [("torch", "")]
    base, train = [], []
    for line in stated:
        found = re.match(r"[A-Za-z0-9_.-]+", line)
        least = re.search(r">=\s*([0-9.]+)", line)
        one = (found.group().lower() if found else line, least.group(1) if least else "")
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", line)
        if extra is None:
            base.append(one)
        elif extra.group(1) == "train":
            train.append(one)
    return base, train


def _package(name: str, least: str) -> Finding:
    wanted = f"{name}>={least}" if least else name
    installed = [one for one in (name, *_STAND_INS.get(name, ())) if _version(one) is not None]
    version = _version(installed[0]) if installed else None
    if version is None:
        return Finding(name, False, "not installed", f"pip install '{wanted}'")
    if least and _numbers(version) < _numbers(least):
        return Finding(name, False, f"{version} is older than {least}", f"pip install --upgrade '{wanted}'")
    return Finding(name, True, version)


def _opencv(base: dict[str, str]) -> Finding:
    found = {name: version for name in _OPENCV if (version := _version(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    install = f"pip install 'opencv-python>={base.get('opencv-python', '')}'".replace(">='", "'")
    if not found:
        return Finding("OpenCV", False, "not installed", install)
    if len(found) > 1:
        return Finding(
            "OpenCV",
            False,
            f"{listed}: they overwrite each other's files",
            f"pip uninstall -y {' '.join(found)} && {install}",
        )
    name, version = next(iter(found.items()))
    least = base.get("opencv-python", "")
    if least and _numbers(version) < _numbers(least):
        return Finding("OpenCV", False, f"{listed} is older than {least}", f"pip install --upgrade '{name}>={least}'")
    try:
        import cv2
    except ImportError as error:
        return Finding(
            "OpenCV", False, f"{listed} can't be imported ({error})", f"pip install --force-reinstall {name}"
        )
    if "headless" in name or re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        swap = f"pip uninstall -y {name} && {install}"
        return Finding("OpenCV", True, f"{listed}, without windows", f"For the camera's window: {swap}")
    return Finding("OpenCV", True, listed)


def _onnxruntime() -> Finding:
    name = "ONNX Runtime's providers"
    try:
        import onnxruntime
    except ImportError as error:
        fix = "pip install --force-reinstall onnxruntime"
        if sys.platform == "win32":
            fix += ", and install Microsoft's Visual C++ Redistributable"
        return Finding(name, False, f"onnxruntime can't be imported ({error})", fix)
    return Finding(name, True, ", ".join(onnxruntime.get_available_providers()))


def _bundled_model() -> Finding:
    name = "Bundled student"
    try:
        from geocamnet.runtime.model import bundled_student, load
    except ImportError as error:
        return Finding(name, False, f"the runtime can't be imported ({error})", "pip install --upgrade geocamnet")
    try:
        file = bundled_student()
    except ModelError:
        return Finding(
            name, True, "none bundled", "Name a model file with --model, or make one: geocamnet export RUN MODEL.onnx"
        )
    try:
        model = load(file)
    except ModelError as error:
        return Finding(name, False, str(error), "pip install --force-reinstall geocamnet")
    return Finding(name, True, model.card.summary)


def _training(train: list[tuple[str, str]]) -> Finding:
    name = "Training"
    missing = [package for package, _ in train if _version(package) is None]
    old = [
        f"{package} {version} (needs {least})"
        for package, least in train
        if least and (version := _version(package)) is not None and _numbers(version) < _numbers(least)
    ]
    main = [f"{package} {version}" for package in ("torch", "timm", "lightning") if (version := _version(package))]
    if not main:
        return Finding(name, True, "PyTorch is not installed; only training needs it", f"To train: {_TRAIN_LINE}")
    if missing or old:
        wrong = "; ".join(filter(None, [f"missing: {', '.join(missing)}" if missing else "", ", ".join(old)]))
        return Finding(name, False, f"{', '.join(main)}; {wrong}", f"{_TRAIN_LINE} --upgrade")
    return Finding(name, True, ", ".join(main))


def _lightning() -> Finding:
    name = "Compromised lightning"
    version = _version("lightning")
    if version in COMPROMISED_LIGHTNING:
        return Finding(
            name,
            False,
            f"lightning {version} was a malicious release (GHSA-w37p-236h-pfx3)",
            "pip install --upgrade 'lightning>=2.6.4,<3', then change every password and token kept on this machine",
        )
    return Finding(name, True, f"no: {version}" if version else "no: not installed")


def _cuda(deep: bool) -> Finding:
    name = "CUDA"
    driver = shutil.which("nvidia-smi") is not None
    seen = "an NVIDIA driver is installed" if driver else "no NVIDIA driver; everything runs on the CPU"
    if not deep or util.find_spec("torch") is None:
        return Finding(name, True, seen)
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of PyTorch's own can't be loaded
        return Finding(name, False, f"torch can't be imported ({error})", "pip install --force-reinstall torch")
    if torch.cuda.is_available():
        return Finding(name, True, f"torch {torch.__version__} sees {torch.cuda.get_device_name(0)}")
    if driver:
        fix = "Install a PyTorch that was built for CUDA: https://pytorch.org/get-started"
        return Finding(name, False, f"{seen}, but torch {torch.__version__} does not see it", fix)
    return Finding(name, True, f"{seen}; torch {torch.__version__}")


def _cores_and_memory() -> Finding:
    # What this process may use, which in a container is less than what the machine has.
    cores = usable_cores()
    memory = _memory_bytes()
    detail = f"{cores} core{'s' if cores > 1 else ''}"
    if memory is None:
        return Finding("Cores and memory", True, f"{detail}, memory unknown")
    detail += f", {memory / _GB:.1f} GB of memory"
    if memory < LEAST_MEMORY_GB * _GB:
        return Finding("Cores and memory", False, detail, "Close other programs, or predict smaller photographs.")
    return Finding("Cores and memory", True, detail)


def _memory_bytes() -> int | None:
    if sys.platform == "win32":
        return _windows_memory_bytes()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's limit: a number, or "max"
    try:
        text = limit.read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, int(text)) if text.isdecimal() else memory


def _windows_memory_bytes() -> int | None:
    if sys.platform != "win32":  # also tells the type checker where ctypes.windll is
        return None
    import ctypes

    class MemoryStatus(ctypes.Structure):  # MEMORYSTATUSEX of the Windows API
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "page_total", "page_free", "virtual_total", "virtual_free", "extended")
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total) if done else None


def _disk() -> Finding:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    detail = f"{free / _GB:.1f} GB free in {here}"
    if free < LEAST_FREE_DISK_GB * _GB:
        return Finding("Free disk space", False, detail, "Delete something, or work in a folder of another disk.")
    return Finding("Free disk space", True, detail)


def _temporary_folder() -> Finding:
    name, fix = "Temporary folder", "Set TMPDIR (on Windows TEMP) to a folder that can be written."
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"geocamnet")
        return Finding(name, True, tempfile.gettempdir())
    except OSError as error:
        return Finding(name, False, f"can't be written ({error.strerror or error})", fix)


def _display() -> Finding:
    if sys.platform in ("win32", "darwin"):
        return Finding("Display", True, "the system's own")
    for variable in ("WAYLAND_DISPLAY", "DISPLAY"):
        if os.environ.get(variable):
            return Finding("Display", True, f"{variable}={os.environ[variable]}")
    fix = "For the camera's window work at the machine itself, or with: ssh -X"
    return Finding("Display", True, "none; the camera's window can't open, everything else works", fix)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, zeros at the end left out: ``2.5.0+cpu`` gives (2, 5)."""
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(one) for one in found.group().split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
