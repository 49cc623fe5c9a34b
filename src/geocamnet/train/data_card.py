"""The data card: what a data set is, whence it came and what is wrong with it, for all who come after."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from geocamnet import __version__
from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.taxonomy import group_of
from geocamnet.train.index import SPLITS, IndexRow, class_names, labels_kind
from geocamnet.train.recipes import PrepareRecipe

DATA_CARD = "card.json"


def make_data_card(
    rows: Sequence[IndexRow],
    recipe: PrepareRecipe,
    *,
    name: str,
    licence_file: str,
    layout: str,
    sections_known: bool,
    skipped: int,
    faults: Sequence[str],
    audit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the card of a data set, ready for JSON.

    Args:
        rows: its photographs, one or more.
        recipe: ``title``, ``origin`` and ``licence`` are the user's words; the crop and scale are noted.
        name: what the data set is called where no title is given.
        licence_file: beside the originals, to point to where no licence is given; or empty.
        layout: how the labels were told.
        sections_known: whether the thin section of every photograph is known.
        skipped: how many photographs could not be used.
        faults: what is known to be wrong with it, in sentences.
        audit: what an audit ``found`` and what of it was ``carried_out``; None without one.
    """
    scales = [row.um_per_px for row in rows if row.um_per_px is not None]
    return {
        "format": 1,
        "name": recipe.title or name,
        "origin": recipe.origin,
        "licence": recipe.licence or (f"see {licence_file} of the originals" if licence_file else ""),
        "layout": layout,
        "photographs": len(rows),
        "views": len({(row.section, row.field) for row in rows}),
        "splits": {split: sum(row.split == split for row in rows) for split in SPLITS},
        "labels": labels_kind(rows),
        "unlabelled": sum(not row.labels for row in rows),
        "classes": {one: sum(one in row.labels for row in rows) for one in class_names(rows)},
        "groups": dict(sorted(Counter(group_of(one) for row in rows for one in row.labels).items())),
        "sections": {
            "known": sections_known,
            **{split: len({row.section for row in rows if row.split == split}) for split in SPLITS},
        },
        "lights": dict(sorted(Counter(row.light or "not told" for row in rows).items())),
        "width_px": _spread([row.width_px for row in rows]),
        "height_px": _spread([row.height_px for row in rows]),
        "um_per_px": {"known": len(scales), **(_spread(scales) if scales else {})},
        "cropped_px": recipe.crop_px,
        "masks": sum(bool(row.mask) for row in rows),
        "skipped": skipped,
        "known_faults": list(faults),
        "audit": dict(audit) if audit else None,
        "version": __version__,
    }


def write_data_card(data: Path, card: Mapping[str, Any]) -> None:
    """Write DATA/card.json.

    Raises:
        DataError: it can't be written.
    """
    with written_aside(data / DATA_CARD) as aside:
        aside.write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", "utf-8")


def read_data_card(data: Path) -> dict[str, Any]:
    """Return the card of a data set; empty if it has none, as data sets of before.

    Raises:
        DataError: it can't be read.
    """
    file = data / DATA_CARD
    if not file.is_file():
        return {}
    try:
        card = json.loads(file.read_text("utf-8-sig"))
        if not isinstance(card, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read ({error}). Mend it, or run geocamnet prepare again.") from error
    return card


def with_words(card: Mapping[str, Any], recipe: PrepareRecipe) -> dict[str, Any]:
    """Return a card with the title, origin and licence that a recipe states; what it leaves empty stays."""
    said = {"name": recipe.title, "origin": recipe.origin, "licence": recipe.licence}
    return {**card, **{key: words for key, words in said.items() if words}}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"least": min(values), "median": median(values), "most": max(values)}
