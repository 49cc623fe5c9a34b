"""The layout of a table: a manifest, or the spreadsheet that came with the photographs."""

from pathlib import PurePosixPath

from geocamnet.errors import DataError
from geocamnet.lights import light_of_path
from geocamnet.train.manifest import ManifestRow, read_header, read_manifest
from geocamnet.train.masks import in_mask_folder
from geocamnet.train.originals import Originals
from geocamnet.train.readings import Names, RawPhotograph, Reading, spelling_notes

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".xlsx", ".xlsm"})
_MOST_TABLES = 20  # looked into to find the one that names the photographs


def read_by_manifest(originals: Originals, manifest: str) -> Reading:
    """Read what a table says of each photograph.

    Args:
        originals: RAW.
        manifest: the table's path in it.

    Raises:
        DataError: the table can't be read, or none of its photographs can be used.
    """
    rows = read_manifest(originals.read(manifest), f"{originals.place(manifest)}")
    return _reading_of(originals, manifest, rows)


def find_table(originals: Originals) -> str:
    """Return the one table of RAW that names most of its photographs, or nothing.

    Raises:
        DataError: there are several.
    """
    wanted = {path for path in originals.images if not in_mask_folder(path)}
    fitting = []
    for path in tables_of(originals)[:_MOST_TABLES]:
        try:
            reading = _reading_of(originals, path, read_manifest(originals.read(path), path))
        except DataError:
            continue
        if 2 * len({one.path for one in reading.photographs} & wanted) >= len(wanted):
            fitting.append(path)
    if len(fitting) > 1:
        raise DataError(
            f"{originals.place()}: several tables name its photographs: {', '.join(fitting)}. Choose one: "
            f"geocamnet prepare {originals.place()} DATA --manifest '{fitting[0]}'"
        )
    return fitting[0] if fitting else ""


def tables_of(originals: Originals) -> list[str]:
    """Return the paths of the CSV and XLSX tables of RAW."""
    return [path for path in originals.files if PurePosixPath(path).suffix.lower() in TABLE_SUFFIXES]


def columns_of(originals: Originals, path: str) -> str:
    """Return the first row of a table in words, or why it can't be read."""
    try:
        return ", ".join(cell.strip() for cell in read_header(originals.read(path), path)[:12]) or "empty"
    except DataError:
        return "can't be read"


def _reading_of(originals: Originals, manifest: str, rows: tuple[ManifestRow, ...]) -> Reading:
    names = Names(originals.images)
    reading = Reading("manifest", [])
    photographs: dict[str, RawPhotograph] = {}
    by_name = 0
    for row in rows:
        if PurePosixPath(row.image).is_absolute() or ".." in PurePosixPath(row.image).parts:
            reading.skipped.append((row.image, f"lies outside RAW (line {row.line} of the manifest)"))
            continue
        path, how = names.find(row.image)
        if not path:
            reading.skipped.append((row.image, f"{how} (line {row.line} of the manifest)"))
        elif path in photographs:
            same = photographs[path].labels == row.labels
            again = "" if same else " with other labels (join them by | in one row)"
            reading.skipped.append((path, f"named again in line {row.line} of the manifest{again}"))
        else:
            by_name += how != "path"
            light = row.light or light_of_path(path)
            photographs[path] = RawPhotograph(
                path, row.labels, row.section, row.field, light, row.um_per_px, row.split, row.mask
            )
    if not photographs:
        raise DataError(
            f"{originals.place(manifest)}: none of its {len(rows)} photographs can be used; the first: "
            f"{reading.skipped[0][0]}, {reading.skipped[0][1]}. Paths in the column image are relative to "
            f"{originals.place()}."
        )
    reading.photographs = list(photographs.values())
    spelt = [(spelling, label) for row in rows for spelling, label in zip(row.spellings, row.labels, strict=True)]
    reading.notes += [f"Labels are from {manifest}.", *spelling_notes(spelt)]
    if by_name:
        reading.notes.append(f"{by_name} photograph(s) were found by their file name, not by the path in {manifest}.")
    masks = {one.mask for one in reading.photographs}
    unnamed = [path for path in originals.images if not (path in photographs or path in masks or in_mask_folder(path))]
    if unnamed:
        reading.notes.append(f"{len(unnamed)} photograph(s) are not in the manifest, the first: {unnamed[0]}.")
    return reading
