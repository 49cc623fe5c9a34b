"""The figures of benchmarks of whole commands: what they take at the size that is promised."""

from pathlib import Path
from typing import Any

from pieces import missing, read

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
    if not result:
        return "\n".join(missing(SCANNED, command))
    return (
        f"`{command}`: a drawn mosaic of {result['megapixels']:.0f} megapixels, {result['classes']} classes, took "
        f"{_minutes(result['seconds'])} on {result['cores']} cores, {result['megapixels_per_s']:.1f} megapixels a "
        f"second, {result['times_the_network_alone']:.2f} times what the network alone takes for its tiles; "
        f"{result['most_mb']:.0f} MB of memory, and {result['most_mb_of_a_sixteenth']:.0f} MB for a sixteenth of it. "
        f"Class maps of tiles and of the whole differ by {result['corner_differs_by']:.1g} at most."
    )


def _minutes(seconds: Any) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
