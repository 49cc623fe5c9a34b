"""Which thin section a photograph shows, as its path tells it."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from geocamnet.errors import DataError
from geocamnet.lights import view_of

# The number of a field at the end of a name, set off from what stands before it: "_03", " (3)", "-F12", "_field 2".
_FIELD_NUMBER = re.compile(r"[\s_.\-]+(?:\(\d+\)|(?:field|view|f|v|视域|视野)?[\s_.\-]*\d+)$", re.IGNORECASE)


def section_pattern(section_regex: str) -> re.Pattern[str]:
    r"""Return the regular expression of ``--section-regex``, compiled.

    Args:
        section_regex: its first group, or the group named ``section``, is the section's name: ``_(S\d+)_``.

    Raises:
        DataError: no regular expression, or one without a group.
    """
    try:
        pattern = re.compile(section_regex)
    except re.error as error:
        raise DataError(f"--section-regex '{section_regex}' is no regular expression: {error}.") from error
    if not pattern.groups:
        raise DataError(
            f"--section-regex '{section_regex}' needs a group around the section's name, "
            r"such as '_(S\d+)_' or '(?P<section>S\d+)'."
        )
    return pattern


def sections_by_regex(paths: Sequence[str], pattern: re.Pattern[str], *, below: str) -> list[str]:
    """Return the section that a regular expression finds in each path; empty where it finds none.

    Args:
        paths: of photographs below a folder, with ``/``.
        pattern: by `section_pattern`.
        below: what the folder is called in an error.

    Raises:
        DataError: it finds a section in no path.
    """
    sections = [section_by_regex(path, pattern) for path in paths]
    if not any(sections):
        raise DataError(
            f"--section-regex '{pattern.pattern}' matches none of {len(paths)} photographs, "
            f"such as {paths[0]}. It is searched for in the path below {below}."
        )
    return sections


def section_by_regex(path: str, pattern: re.Pattern[str]) -> str:
    """Return the section that a regular expression (`section_pattern`) finds in a path; empty where it finds none."""
    match = pattern.search(path)
    return (match.group("section" if "section" in pattern.groupindex else 1) or "") if match else ""


def section_by_place(path: str, folder: str) -> str:
    """Return the section of a photograph by where it lies: its subfolder, else its name without the field's number.

    ``well 1/PPL/a3.jpg`` gives ``well 1``: folders of one light are left out. Directly in the folder,
    ``TS12_03_XPL.jpg`` gives ``TS12``, for a light and a number set off at the end tell the field; ``a3.jpg`` tells
    nothing, and all such photographs are taken for one section. So is ``IMG_0012.jpg`` with every other ``IMG``: where
    this errs it takes several sections for one, which makes no interval too narrow that is drawn over sections.

    Args:
        path: below the folder, with ``/``.
        folder: name of the folder, for photographs that tell nothing.
    """
    *parents, name = PurePosixPath(view_of(path) or PurePosixPath(path).stem).parts
    if parents:
        return "/".join(parents)
    head = _FIELD_NUMBER.sub("", name)
    return head if head and head != name else folder
