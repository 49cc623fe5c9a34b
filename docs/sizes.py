"""The figures of benchmarks of whole commands: what they take at the size that is promised."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from pieces import missing, read, table

OVERLAPPING = "results/tile-overlap.json"
AUDITED, SCANNED = "results/audit-at-size.json", "results/scan-at-size.json"
PREPARED, TRAINED = "results/prepare-at-size.json", "results/training-at-size.json"
CLUSTERED = "results/cluster-at-size.json"


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


def large_collections(root: Path) -> str:
    """Return the Markdown that belongs between the marks of how-to/large.md."""
    benches = (
        (PREPARED, "bench_prepare.py --more 10", _prepared),
        (CLUSTERED, "bench_cluster.py", _clustered),
        (TRAINED, "bench_training.py", _trained),
    )
    lines: list[str] = []
    for name, bench, told in benches:
        result, command = read(root / name), f"python benchmarks/{bench} --out {name}"
        lines += [told(result, command)] if result else missing(name, command)
        lines.append("")
    return "\n".join(lines[:-1])


def _prepared(result: Mapping[str, Any], command: str) -> str:
    count, quarter = result["photographs"], result["quarter"]
    more = (
        f", and {result['peak_mb_of_more']:,} MB with {result['more']:,} of them" if "peak_mb_of_more" in result else ""
    )
    return (
        f"`{_of(command, result)}`: {count:,} **drawn** photographs of {result['megabytes_each']:.0f} MB and "
        f"{result['megapixels_each']:.0f} megapixels took {_minutes(result['seconds'])} on {result['workers']} cores, "
        f"{count / result['seconds']:.1f} a second, stored at {result['long_side_px']} px. That is "
        f"**{result['share_of_bare']:.0%}** of the photographs a second of a bare loop that decodes, scales and "
        f"encodes them with the same libraries and as many processes, in turns ({_by_round(result)} by round). All "
        f"processes together held {result['peak_mb']:,} MB{more}. Stored at {quarter['long_side_px']} px, a quarter of "
        f"their width, they took {quarter['seconds'] / result['seconds']:.2f} times as long as at "
        f"{result['long_side_px']} px: then a JPEG is decoded at a quarter of its size."
        + (f" ({result['note']}.)" if result.get("note") else "")
    )


def _clustered(result: Mapping[str, Any], command: str) -> str:
    seconds = {engine: _minutes(median(each)) for engine, each in result["seconds"].items()}
    count, (width, height) = result["photographs"], result["size_wh"]
    return (
        f"`{command}`: `prepare` of {count:,} **drawn** photographs of {width} x {height} px took {seconds['ray']} on "
        f"a cluster of two nodes of a core each, on one machine, and {seconds['local']} without one, in turns: "
        f"{result['overhead']:.0%} more, the starting of Ray's workers counted. "
        f"{'Both leave the same files, byte for byte.' if result['same_files'] else 'The files differ!'}"
    )


def _of(command: str, result: Mapping[str, Any]) -> str:
    return command.replace(".py ", f".py --photographs {result['photographs']} --rounds {result['rounds']} ")


def _by_round(result: Mapping[str, Any]) -> str:
    shares = result["share_of_bare_by_round"]
    return f"{min(shares):.0%} to {max(shares):.0%}"


def _trained(result: Mapping[str, Any], command: str) -> str:
    processor = result["lightning_over_bare_on_processor_by_round"]
    reading = "reading_over_step"
    alike = (
        f" ({result[f'{reading}_on_processor']:.1f} by processor time)" if f"{reading}_on_processor" in result else ""
    )
    return (
        f"`{_of(command, result)}`: the loader of a student's training gives {result['reading_over_step']:.1f} times "
        f"as many photographs a second as its training step takes where each is read from disk{alike}, "
        f"{result['from_memory_over_step']:.0f} times where they are in memory (`--cache-mb`), with "
        f"{result['loading_processes']} loading processes; photographs of {result['stored_px'][0]} x "
        f"{result['stored_px'][1]} px seen at {result['image_px']} px, crops of {result['crop_px']} px, batches of "
        f"{result['batch_size']}, {result['threads']} of {result['cores']} cores. A step takes "
        f"{result['lightning_over_bare_on_processor']:.2f} times ({min(processor):.2f} to {max(processor):.2f} by "
        "round) the processor time of one in a bare loop with the same network, losses, optimiser and batches."
    )


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
        f"{result['most_mb']:.0f} MB of memory, {result['most_mb_of_a_sixteenth']:.0f} MB for a sixteenth of it and "
        f"{result['most_mb_of_four_times_as_much']:.0f} MB for four times as much. "
        f"Class maps of tiles and of the whole differ by {result['corner_differs_by']:.1g} at most."
    )


def _minutes(seconds: Any) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
