"""What `geocamnet benchmark --keep` found fastest on this machine, kept for this user, and when it may be followed."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import onnxruntime as ort

from geocamnet.card import ModelCard
from geocamnet.images import written_aside

FOLDER_VARIABLE = "GEOCAMNET_CACHE"
MOST_NAMING_LOST = 0.01  # a point of balanced accuracy (of several labels mAP), on validation photographs

# What may differ between two files of one network: how its weights are stored, and what is written beside.
_MAY_DIFFER = frozenset(
    {
        *("name", "precision", "quantisation", "created", "version", "sha256"),
        *("metrics", "licence", "attribution", "limits"),
    }
)


@dataclass(frozen=True)
class Choice:
    """What to open where a certain model file is named.

    Attributes:
        file: name of the file, in the same folder as the one named; it may be the one named.
        sha256: of that file: another one under its name is not opened.
        threads: of ONNX Runtime.
    """

    file: str
    sha256: str
    threads: int


def choices_file() -> Path:
    """Return where the choices of this user are kept."""
    return cache_folder() / "fastest.json"


def cache_folder() -> Path:
    """Return where this user's files are kept that can be made or fetched again.

    The folder that the environment variable GEOCAMNET_CACHE names, or where the system keeps such files.
    """
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = str(Path.home() / "Library" / "Caches")
    else:
        folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(folder) / "geocamnet"


def choice_for(sha256: str) -> Choice | None:
    """Return what was kept for the model file of that digest, None where nothing was, or on another machine."""
    found = _read().get(sha256)
    try:
        return None if found is None else Choice(**found)
    except TypeError:
        return None  # written by another version: it is only a preference, and made again in a minute


def keep(choices: dict[str, Choice]) -> Path:
    """Keep choices by the digest of the file named, beside those kept on this machine before; return their file.

    Raises:
        DataError: the file can't be written.
    """
    file = choices_file()
    known = _read() | {sha256: asdict(one) for sha256, one in choices.items()}
    with written_aside(file) as aside:
        aside.write_text(json.dumps({"machine": this_machine(), "choices": known}, indent=1) + "\n", encoding="utf-8")
    return file


def this_machine() -> str:
    """Return what a choice holds for: this computer, its cores, this version of ONNX Runtime."""
    return f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores, onnxruntime {ort.__version__}"


def why_not(named: ModelCard, other: ModelCard) -> str:
    """Return why ``other`` may not be opened in place of ``named``, empty if it may.

    It may if both are one network, and the file in 8 bits loses no more than `MOST_NAMING_LOST` by its own card.
    """
    for one in fields(ModelCard):
        if one.name not in _MAY_DIFFER and getattr(named, one.name) != getattr(other, one.name):
            return f"they are different networks ({one.name} differs)"
    if other.precision in ("fp32", named.precision):  # nothing is lost
        return ""
    changed = other.quantisation
    figures: Mapping[str, float] = changed.get("balanced_accuracy") or changed.get("mAP") or {}
    if "fp32" not in figures or other.precision not in figures:
        return f"the card of {other.precision} does not say what its precision changes; export it with --data DATA"
    lost = figures["fp32"] - figures[other.precision]
    if not abs(lost) <= MOST_NAMING_LOST:
        return (
            f"{other.precision} names {figures[other.precision]:.3f} where fp32 names {figures['fp32']:.3f} "
            "(balanced accuracy or mAP on validation photographs), more than a point apart"
        )
    return ""


def _read() -> dict[str, Any]:
    """Return the choices kept on this machine; none where the file is missing, unreadable or of another machine."""
    try:
        kept = json.loads(choices_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict) or kept.get("machine") != this_machine():
        return {}
    choices = kept.get("choices")
    return choices if isinstance(choices, dict) else {}
