"""What the numbers of class folders mean, where a data set brings a ``classmap.txt``."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from geocamnet.errors import DataError
from geocamnet.taxonomy import canonical_name
from geocamnet.train.readings import decoded

CLASSMAP = "classmap.txt"
_NUMBERED = re.compile(r"class[ _-]?(\d+)", re.IGNORECASE)
_NUMBER_FIRST = re.compile(r"(?:class[ _-]?)?(\d+)[\s,;:=.]+(\S.*)", re.IGNORECASE)
_NUMBER_LAST = re.compile(r"(\S.*?)[\s,;:=]+(?:class[ _-]?)?(\d+)", re.IGNORECASE)


def find_classmap(paths: Iterable[str]) -> str:
    """Return the path of the classmap nearest the top, or nothing."""
    found = [path for path in paths if PurePosixPath(path).name.lower() == CLASSMAP]
    return min(found, key=lambda path: (path.count("/"), path), default="")


def read_classmap(content: bytes) -> dict[int, str]:
    """Return number → canonical class name; empty if a line tells none, or two lines tell one number.

    A line holds a number and a name, in either order, with blanks, commas, colons or ``=`` between them; the number may
    have ``class`` in front. Empty lines and those that begin with ``#`` are left out. The file may be UTF-8 or GB18030.

    Raises:
        DataError: neither UTF-8 nor GB18030.
    """
    names: dict[int, str] = {}
    text = decoded(content)
    if text is None:
        raise DataError(f"{CLASSMAP}: neither UTF-8 nor GB18030 text. Save it as UTF-8.")
    for line in text.splitlines():
        told = line.strip()
        if not told or told.startswith("#"):
            continue
        if first := _NUMBER_FIRST.fullmatch(told):
            number, name = first.groups()
        elif last := _NUMBER_LAST.fullmatch(told):
            name, number = last.groups()
        else:
            return {}
        if int(number) in names:
            return {}
        names[int(number)] = canonical_name(name.strip(" \"'"))
    return names


def names_by_classmap(folders: Iterable[str], classmap: Mapping[int, str]) -> dict[str, str]:
    """Return folder → class name for folders such as ``class7``; empty unless the map names each of them.

    A map that counts from 0 beside folders that count from 1 is shifted.
    """
    matches = {folder: _NUMBERED.fullmatch(folder) for folder in folders}
    numbers = {folder: int(match[1]) for folder, match in matches.items() if match}
    if not numbers or len(numbers) < len(matches):
        return {}
    shift = 1 if 0 in classmap and min(numbers.values()) == 1 and max(numbers.values()) == max(classmap) + 1 else 0
    if any(number - shift not in classmap for number in numbers.values()):
        return {}
    return {folder: classmap[number - shift] for folder, number in numbers.items()}
