"""The figures of benchmarks of whole commands: what they take at the size that is promised."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pieces import missing, read, table

OVERLAPPING = "results/tile-overlap.json"
AUDITED, SCANNED = "results/audit-at-size.json", "results/scan-at-size.json"


def audit_at_size(root: Path) -> str:
    """Return the Markdown that belongs between the marks of how-to/audit.md."""
    command = f"python benchmarks/bench_audit.py --files 50000 --out {AUDITED}"
    result = read(root / AUDITED)
    if not result:
        return "\n".join(missing(AUDITED, command))
    found = {"exact": "exact", "turned": "turned or mirrored", "compressed": "re-compressed", "scaled": "scaled"}
    shares = ", ".join(f"{result[f'found_{kind}']:.1%} of the {title}" for kind, title in found.items())
    alleged = result["false_pairs_share_of_files"]
    return "\n".join(
        [
            f"`{command}`: {result['files']:,} small **drawn** photographs, 34 % of them planted copies. Found: "
            f"{shares} copies; false pairs: {alleged:.2%} of the files. It took {_minutes(result['seconds'])} on "
            f"{result['workers']} cores and {result['peak_mb']:,} MB, all processes together."
        ]
    )


def scan_at_size(root: Path) -> str:
    """Return the Markdown that belongs between the marks of how-to/scan.md."""
    command = f"python benchmarks/bench_scan.py --out {SCANNED}"
    result = read(root / SCANNED)
    lines = [_scanned(result, command)] if result else missing(SCANNED, command)
    overlapping = read(root / OVERLAPPING)
    lines += ["", *(_overlapping(overlapping) if overlapping else missing(OVERLAPPING, "make overlap"))]
    return "\n".join(lines)


def _overlapping(result: Mapping[str, Any]) -> list[str]:
    rows = result["by_quarters_of_a_tile"]
    shown = {
        f"{quarter} quarters, {result['overlap_px'][quarter]} px": row
        | {"times": [one / least for one, least in zip(row["tiles"], rows["0"]["tiles"], strict=True)]}
        for quarter, row in rows.items()
    }
    columns = {"right": "cells right", "miou": "mean IoU", "times": "times the tiles"}
    return [
        f"`make overlap`: {result['data']}, of {result['mosaic_px']} px and patches of {result['patch_px']} px; the "
        f"{result['model']} in tiles of {result['tile_px']} px. Right is a cell whose hottest class is the patch's.",
        "",
        *table("overlap, of a tile's side", shown, {}, columns),
    ]


def _scanned(result: Mapping[str, Any], command: str) -> str:
    return (
        f"`{command}`: a drawn mosaic of {result['megapixels']:.0f} megapixels, {result['classes']} classes, took "
        f"{_minutes(result['seconds'])} on {result['cores']} cores, {result['megapixels_per_s']:.1f} megapixels a "
        f"second, {result['times_the_network_alone']:.2f} times what the network alone takes for its tiles; "
        f"{result['most_mb']:.0f} MB of memory, and {result['most_mb_of_a_sixteenth']:.0f} MB for a sixteenth of it. "
        f"Class maps of tiles and of the whole differ by {result['corner_differs_by']:.1g} at most."
    )


def _minutes(seconds: Any) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
