"""The light of a photograph as the names of its file and folders tell it, and the view that is left without it."""

import re
from pathlib import PurePosixPath

LIGHTS = ("PPL", "XPL", "R")

# Latin words count only as whole tokens: "PPL" in "oolite_003_PPL", not in "apply". Chinese has no spaces.
_LIGHT_WORDS = {"PPL": r"(?:ppl|plane)", "XPL": r"(?:xpl|cpl|cross(?:ed)?(?![\W_]*(?:section|bed)))", "R": r"reflected"}
_LIGHT_CHINESE = {"PPL": "单偏光", "XPL": "正交偏光|正交光", "R": "反射光"}
_AFTER_LIGHT = (
    r"(?:[\s_-]*(?:polari[sz](?:ed|ing)|polars?|nicols?|light))*"  # "crossed nicols", "plane-polarised light"
)
_LIGHT_PATTERN = {
    light: re.compile(
        rf"(?<![^\W\d_]){_LIGHT_WORDS[light]}{_AFTER_LIGHT}(?![^\W\d_])|{_LIGHT_CHINESE[light]}", re.IGNORECASE
    )
    for light in LIGHTS
}


def light_of(name: str) -> tuple[str, str]:
    """Return the light that a file or folder name tells, and the name without it.

    Understood, in any case: PPL, plane, 单偏光; XPL, CPL, cross, crossed, 正交偏光, 正交光; reflected, 反射光.

    Args:
        name: one file name without suffix, or one folder name.

    Returns:
        ``("PPL" | "XPL" | "R", rest)``; ``("", name)`` if it tells none, or several.
    """
    met = [light for light in LIGHTS if _LIGHT_PATTERN[light].search(name)]
    if len(met) != 1:
        return "", name
    rest = _LIGHT_PATTERN[met[0]].sub("", name)
    return met[0], re.sub(r"([ _.\-])[ _.\-]+", r"\1", rest).strip(" _.-")


def light_of_folder(name: str) -> tuple[str, str]:
    """Return the light and the class part of a folder name; the class part is empty for ``PPL-1223`` or ``R``.

    Returns:
        ``("XPL", "")`` for a folder of one light, ``("PPL", "oolite")`` for ``oolite_PPL``, ``("", name)`` for a
        folder that tells no light.
    """
    if name.strip().upper() == "R":
        return "R", ""
    light, rest = light_of(name)
    is_class = bool(re.search(r"[^\W\d_]", rest))  # "PPL-1223" leaves a number, "oolite_PPL" a word
    return light, rest if is_class or not light else ""


def light_of_path(path: str) -> str:
    """Return the light that the file name of a path or a folder in it tells; empty for none, or several."""
    *folders, name = PurePosixPath(path).parts
    lights = {light_of(PurePosixPath(name).stem)[0], *(light_of_folder(folder)[0] for folder in folders)} - {""}
    return lights.pop() if len(lights) == 1 else ""


def view_of(path: str) -> str:
    """Return a path without its suffix and what tells the light: the same for all photographs of one view.

    ``PPL/oolite/a1.jpg``, ``XPL/oolite/a1.jpg`` and ``oolite/a1_XPL.png`` give ``oolite/a1``.
    """
    *folders, name = PurePosixPath(path).parts
    kept = ["" if folder.strip().upper() == "R" else light_of(folder)[1] for folder in folders]
    return "/".join(part for part in (*kept, light_of(PurePosixPath(name).stem)[1]) if part)


def before_light(name: str) -> str:
    """Return what stands before the first word for a light in a name; the whole name if there is none."""
    starts = [match.start() for light in LIGHTS if (match := _LIGHT_PATTERN[light].search(name))]
    return name[: min(starts)] if starts else name
