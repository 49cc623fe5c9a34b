"""What the name of a file or folder tells beside the light: the split, the class in front of a number."""

import re

from geocamnet.errors import DataError, unknown_name
from geocamnet.lights import LIGHTS, before_light, light_of

_SPLIT_FOLDERS = {
    "train": ("train", "training", "训练", "训练集"),
    "val": ("val", "valid", "validation", "验证", "验证集"),
    "test": ("test", "testing", "测试", "测试集"),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_FOLDERS.items() for name in names}


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
    ``img`` gives ``img``, ``0012`` gives an empty string. The stain of DeepCarbonate's names, ``ARS``, is no class.
    """
    head = re.match(r"[^\d]*", before_light(stem))
    words = re.findall(r"[^\W\d_]+", head.group() if head else "")
    return " ".join(word for word in words if word != "ARS")


def is_stained(stem: str) -> bool:
    """Return whether a file name says that the section is stained with Alizarin Red S: ``Vug.12_ARS``."""
    return bool(re.search(r"(?<![^\W\d_])ARS(?![^\W\d_])", stem))
