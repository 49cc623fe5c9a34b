"""What the experiments have in common: recipes of this repository, runs that go on where they stopped, figures."""

import logging
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from geocamnet.train.recipes import AugmentRecipe

log = logging.getLogger("geocamnet")

ROOT = Path(__file__).parents[1]
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1")
HEAT = ("miou", "pixel_ap", "energy", "pointing")


def once(run: Path, fit: Callable[..., Any]) -> None:
    """Fit a run that is not there, go on with one that was stopped, leave a finished one alone."""
    if (run / "card.json").is_file():
        log.info("%s: finished before", run)
        return
    fit(run, resume=(run / "recipe.toml").is_file())


def read_recipe(file: Path) -> dict[str, Any]:
    """Read a recipe."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


def settings(kind: Any, table: dict[str, Any]) -> Any:
    """Make a recipe of a table of the TOML file."""
    known = {one.name for one in fields(kind)}
    if unknown := set(table) - known:
        sys.exit(f"Unknown settings of {kind.__name__}: {', '.join(sorted(unknown))}")
    values = dict(table)
    if "augment" in values:
        values["augment"] = AugmentRecipe(**values["augment"])
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def add(table: dict[str, dict[str, list[float]]], who: str, row: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Append a row's figures to the lists of one who was judged, a value per run."""
    for key in keys:
        if row.get(key) is not None:
            table.setdefault(who, {}).setdefault(key, []).append(round(float(row[key]), 4))
