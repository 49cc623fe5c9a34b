"""What the name of a file or folder tells: the light, the split, the class in front of a number."""

import re

from geocamnet.errors import DataError, unknown_name
from geocamnet.train.index import LIGHTS

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

_SPLIT_FOLDERS = {
    "train": ("train", "training", "训练", "训练集"),
    "val": ("val", "valid", "validation", "验证", "验证集"),
    "test": ("test", "testing", "测试", "测试集"),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_FOLDERS.items() for name in names}


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


def split_of(name: str) -> str:
    """Return ``train``, ``val`` or ``test`` if a folder is called so (or valid, 训练集 …), else an empty string."""
    return _SPLIT_OF.get(name.strip().lower(), "")


def parse_light(value: str) -> str:
    """Return the light a manifest states: one of the names above, ``R``, or nothing.

    Raises:
        DataError: not a light.
    """
    light = value.strip().upper() if value.strip().upper() in LIGHTS else light_of(value.strip())[0]
    if value.strip() and not light:
        raise DataError(unknown_name("light", value, [*LIGHTS, "plane", "crossed", "reflected"]))
    return light


def parse_split(value: str) -> str:
    """Return the split a manifest states, or nothing.

    Raises:
        DataError: not a split.
    """
    if value.strip() and not split_of(value):
        raise DataError(unknown_name("split", value, list(_SPLIT_OF)))
    return split_of(value)


def prefix_of(stem: str) -> str:
    """Return what stands before the first number or light token of a file name: its class, by that habit.

    ``Vug.12`` gives ``Vug``, ``fine_crystalline_dolomite_003_PPL`` gives ``fine crystalline dolomite``,
    ``img`` gives ``img``, ``0012`` gives an empty string.
    """
    starts = [match.start() for light in LIGHTS if (match := _LIGHT_PATTERN[light].search(stem))]
    head = re.match(r"[^\d]*", stem[: min(starts)] if starts else stem)
    words = re.findall(r"[^\W\d_]+", head.group() if head else "")
    return " ".join(words)
