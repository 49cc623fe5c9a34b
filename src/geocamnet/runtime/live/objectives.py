"""The scale of each objective of a microscope, measured once on a stage micrometer and kept."""

import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from geocamnet.errors import DataError
from geocamnet.images import written_aside


@dataclass(frozen=True)
class Objective:
    """What was measured.

    Attributes:
        um_per_px: micrometres a pixel, above 0.
        width_px, height_px: of the frames it was measured on. A camera that bins, crops or scales to another size has
            another scale, and which one its size does not tell.
    """

    um_per_px: float
    width_px: int
    height_px: int


def objectives_file() -> Path:
    """Return where the objectives of this user are kept; ``GEOCAMNET_OBJECTIVES`` names another file."""
    if named := os.environ.get("GEOCAMNET_OBJECTIVES"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "geocamnet" / "objectives.json"


def read_objectives() -> dict[str, Objective]:
    """Return the objectives kept, by name; none where none has been measured.

    Raises:
        DataError: the file is damaged.
    """
    file = objectives_file()
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        known = {str(name): Objective(**one) for name, one in kept.items()}
        for one in known.values():
            _check(one.um_per_px)
        return known
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, DataError) as error:
        raise DataError(
            f"{file}: the kept scales of objectives can't be read ({error}). Correct the file or remove it, and "
            "measure again."
        ) from error


def keep_objective(name: str, objective: Objective) -> None:
    """Keep an objective's scale, in place of an earlier one of that name.

    Raises:
        DataError: a scale that is not above 0, or a file that can't be read or written.
    """
    _check(objective.um_per_px)
    known = {**read_objectives(), name: objective}
    file = objectives_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(file) as aside:
            told = {one: asdict(value) for one, value in sorted(known.items())}
            aside.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: can't be written ({error.strerror or error}); the scale was not kept.") from error


def scale_of(name: str, shape_hw: tuple[int, ...]) -> float:
    """Return the micrometres a pixel of an objective for frames of one size.

    Raises:
        DataError: an objective that was not measured, or was on frames of another size.
    """
    known = read_objectives()
    if name not in known:
        kept = ", ".join(known) or "none"
        raise DataError(
            f"No scale is kept for the objective '{name}' (kept: {kept}). Lay a stage micrometer under it, press m in "
            "the window of geocamnet camera, and draw a line along it."
        )
    one = known[name]
    if (one.height_px, one.width_px) != tuple(shape_hw[:2]):
        raise DataError(
            f"The objective '{name}' was measured on frames of {one.width_px} x {one.height_px} px; these have "
            f"{shape_hw[1]} x {shape_hw[0]} px. Measure it again at this size (key m), or give --um-per-px."
        )
    return one.um_per_px


def scale_from_line(start_xy: tuple[float, float], end_xy: tuple[float, float], length_um: float) -> float:
    """Return the micrometres a pixel that a line drawn along a known length tells.

    Args:
        start_xy, end_xy: its ends, in pixels of the frame.
        length_um: of the line on the stage micrometer, above 0.

    Raises:
        DataError: a line of less than 10 px, which would say nothing exact, or a length that is not above 0.
    """
    length_px = math.dist(start_xy, end_xy)
    if length_px < 10:
        raise DataError(f"The line is {length_px:.0f} px long; draw it along as much of the micrometer as shows.")
    if not (math.isfinite(length_um) and length_um > 0):
        raise DataError(f"The length must be above 0 µm; received {length_um}.")
    return length_um / length_px


def _check(um_per_px: float) -> None:
    if not (isinstance(um_per_px, int | float) and math.isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px must be above 0; received {um_per_px}.")
