"""What an experiment has judged, part by part, so that a table may grow from call to call.

Five folds and three seeds are most of a day on two cores. A part holds the figures of one network, in one fold, of one
seed; a result keeps its parts, and a later call adds to those of the same recipes, or puts its own in their place.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common import OF_THE_MACHINE, table_of_recipe

log = logging.getLogger("geocamnet")

Part = dict[str, Any]  # fold, seed (None where there is none), who; the tables of figures; whatever else is known of it
FREE = OF_THE_MACHINE | {"weights", "fold", "seed"}  # weights: a file, which may have moved


def recipe_tables(recipes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a result says of the recipes its parts were fitted by: settings, not what is of one run or machine.

    Args:
        recipes: a name each.
    """
    return {
        name: {key: value for key, value in table_of_recipe(recipe).items() if key not in FREE}
        for name, recipe in recipes.items()
    }


def kept_parts(result: Path, recipes: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """Return the parts of an earlier result, if there is one; none of them if they were fitted by other recipes.

    Args:
        result: the file.
        recipes: those of this call, of `recipe_tables`; settings that the earlier result does not know yet are no
            difference.
    """
    if not result.is_file():
        return []
    known = json.loads(result.read_text(encoding="utf-8"))
    differ = [
        f"{name}.{key}"
        for name, table in known.get("recipes", {}).items()
        for key, value in table.items()
        if recipes.get(name, {}).get(key) != value
    ]
    if differ or "recipes" not in known:
        log.warning("%s: its figures are of another recipe (%s) and are left out", result, ", ".join(differ) or "none")
        return []
    parts: list[Part] = known["parts"]
    return parts


def with_parts(kept: Iterable[Part], new: Iterable[Part]) -> list[Part]:
    """Return the parts of both in the order of folds, seeds and who was judged; new ones in the place of old ones."""
    by_key = {_key(part): part for part in (*kept, *new)}
    return [by_key[key] for key in sorted(by_key)]


def table_of(parts: Iterable[Part], name: str) -> dict[str, dict[str, list[float]]]:
    """Return a table of all parts: for every row and figure a list, a value per part, in the parts' order.

    Args:
        parts: what was judged.
        name: of the table.
    """
    table: dict[str, dict[str, list[float]]] = {}
    for part in parts:
        for row, figures in part.get(name, {}).items():
            for figure, value in figures.items():
                table.setdefault(row, {}).setdefault(figure, []).append(value)
    return table


def _key(part: Part) -> tuple[int, int, str]:
    return part["fold"], -1 if part["seed"] is None else part["seed"], part["who"]
