"""The journal of a run of `prepare`: a line for each photograph done, so that a killed run can go on."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.train.store import Stored


def read_journal(file: Path, recipe: Mapping[str, Any]) -> dict[str, Stored]:
    """Return what a run has stored, by the key of its job; nothing if there is no journal.

    A line cut short by a kill ends the reading: what it told is done again.

    Raises:
        DataError: the journal is of another recipe.
    """
    lines = file.read_text("utf-8", "replace").splitlines() if file.exists() else []
    if lines and lines[0] != _header(recipe):
        raise DataError(
            f"{file.parent}: holds the beginnings of a data set of another recipe. Give the same options again "
            "to go on with it, choose another folder, or begin anew with --overwrite."
        )
    done: dict[str, Stored] = {}
    for line in lines[1:]:
        try:
            values = json.loads(line)
            key = values.pop("key")
            done[key] = Stored(**values)
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    return done


def start_journal(file: Path, recipe: Mapping[str, Any], done: Mapping[str, Stored]) -> None:
    """Write a journal that holds ``done``, without the half line that a killed run may have left.

    Raises:
        DataError: the folder can't be written or the disk is full.
    """
    with written_aside(file) as aside:
        aside.write_text("\n".join([_header(recipe), *(_line(*item) for item in done.items()), ""]), "utf-8")


def append_to_journal(journal: TextIO, key: str, stored: Stored) -> None:
    """Add a photograph to an open journal; it survives the death of this process.

    Raises:
        DataError: the disk is full.
    """
    try:
        journal.write(_line(key, stored) + "\n")
        journal.flush()
    except OSError as error:
        raise DataError(f"{journal.name}: can't be written ({error.strerror or error}). Check free space.") from error


def _header(recipe: Mapping[str, Any]) -> str:
    return json.dumps({"format": 1, "recipe": recipe})


def _line(key: str, stored: Stored) -> str:
    return json.dumps({"key": key, **asdict(stored)})
