"""The figures of benchmarks that compare two ways in one run."""

from pathlib import Path
from statistics import median
from typing import Any

from pieces import missing, read

FRAME, TEXTURE, MAPS = "results/speed-frame.json", "results/speed-texture.json", "results/speed-class-maps.json"
PRECISION, HOUR = "results/speed-precision.json", "results/speed-hour.json"
PAGE, LOOKING = "results/speed-page.json", "results/speed-looking.json"


def speeds(root: Path) -> str:
    """Return the Markdown that belongs between the marks of explanation/speed.md."""
    parts = {
        "A live frame": (FRAME, _frame),
        "Texture": (TEXTURE, _texture),
        "A teacher's class maps": (MAPS, _class_maps),
        "A teacher that looks on": (LOOKING, _looking),
        "Eight bits": (PRECISION, _precision),
        "An hour of video": (HOUR, _hour),
        "The browser page": (PAGE, _page),
    }
    lines: list[str] = []
    for title, (name, told) in parts.items():
        result = read(root / name)
        lines += [f"### {title}", "", *(told(result) if result else missing(name, "make bench")), ""]
    return "\n".join(lines[:-1])


def _frame(result: dict[str, Any]) -> list[str]:
    frames, rounds = result["frames"], result["frame_ms_by_round"]
    sizes = list(frames)
    lines = [f"| ms, median | {' | '.join(sizes)} |", f"|---|{'---:|' * len(sizes)}"]
    rows = {
        "predict": "scaled to the network's size, named and mapped",
        "heatmap": "the heatmap at the frame's size",
        "texture": "contrast and homogeneity",
        "overlay": "laid on the frame",
        "frame": "**the whole frame**",
        "plain frame": "the plain way: the same network, a plane per pair of levels, blended in floats",
        "frame as shipped": "with the refinement that `geocamnet camera` shows on `t` instead (16 levels, window 15, "
        "four angles, guided filter)",
    }
    for name, title in rows.items():
        lines.append(f"| {title} | {' | '.join(f'{frames[size][name]:.1f}' for size in sizes)} |")
    spread = ", ".join(f"{min(rounds[size]):.1f} to {max(rounds[size]):.1f} at {size}" for size in sizes)
    ratios = " and ".join(f"{result['ratio'][size]:.1f}" for size in sizes)
    alone = {name: median(times) for name, times in result["network_alone_ms"].items()}
    return [
        *lines,
        "",
        f"{result['threads']} threads, a student that sees {result['network_px']} px. Whole frame by round: {spread} "
        f"ms. The plain way takes {ratios} times as long.",
        "",
        f"A student that sees {result['network_alone_px']} px takes {alone['as it is']:.1f} ms alone, "
        f"{alone['without scaling']:.1f} ms for photographs that need not be scaled; with zeros beyond the edge it "
        f"would take {alone['zeros']:.1f} ms, with cells of 32 px "
        f"{alone['cells of 32 px']:.1f} ms, with both {alone['cells of 32 px, zeros']:.1f} ms; with a last stage "
        f"dilated to cells of 16 px {alone['dilated trunk']:.1f} ms.",
    ]


def _texture(result: dict[str, Any]) -> list[str]:
    rows = {"linear": "contrast, dissimilarity, homogeneity, mean, variance, correlation", "counted": "energy, entropy"}
    side = result["side_px"]
    lines = [
        f"{side} x {side} px, {result['levels']} levels, window {result['window_px']}, one direction, one thread.",
        "",
        "| maps | a plane per pair of levels, each map on its own, ms | ours, ms | times faster, by round |",
        "|---|---:|---:|---:|",
    ]
    for name, title in rows.items():
        one = result[name]
        ratios = one["ratio_by_round"]
        plain = sum(one["plain_ms"].values())
        lines.append(
            f"| {title} | {plain:.0f} | {one['ours_ms']:.1f} | {median(ratios):.0f} ({min(ratios):.0f} to "
            f"{max(ratios):.0f}) |"
        )
    return lines


def _class_maps(result: dict[str, Any]) -> list[str]:
    return [
        f"ResNet101 at {result['side_px']} px, {result['threads']} threads: exact maps of all {result['classes']} "
        f"classes {result['exact_all_classes_ms']:.0f} ms a photograph; XGrad-CAM of one class "
        f"{result['xgrad_one_class_ms']:.0f} ms, averaged over six versions of the photograph "
        f"{result['xgrad_six_fold_one_class_ms']:.0f} ms, **{result['ratio']:.1f} times** as long."
    ]


def _looking(result: dict[str, Any]) -> list[str]:
    lines = ["| times as long as made quick | as it is | under autocast |", "|---|---:|---:|"]
    for name, one in result["networks"].items():
        lines.append(f"| {name} | {one['as_it_is_over_quick']:.2f} | {one['autocast_over_quick']:.2f} |")
    how = "trunk in bf16" if result["bf16"] else "in single precision: this processor has no bf16"
    return [
        *lines,
        "",
        f"Features of {result['batch']} crops of {result['crop_px']} px, {result['threads']} threads; made quick: "
        f"normalisation folded into convolutions, {how}.",
    ]


def _precision(result: dict[str, Any]) -> list[str]:
    ratios = result["time_ratio"]
    lines = [
        f"| precision | kB | {' | '.join(f'time at {side} px' for side in ratios)} |",
        f"|---|---:|{'---:|' * len(ratios)}",
    ]
    for name, size in result["kb"].items():
        lines.append(f"| `{name}` | {size} | {' | '.join(f'{one[name]:.2f}' for one in ratios.values())} |")
    return [*lines, "", f"{result['threads']} threads; time as a share of that of `fp32` in the same run."]


def _hour(result: dict[str, Any]) -> list[str]:
    complete = "none missing" if result["in_order_and_none_missing"] else "**not all of them**"
    return [
        f"{result['minutes_of_video']:.0f} minutes of a looped clip without a window, {result['times_real_time']:.1f} "
        f"times as fast as filmed: {result['frames']:,} frames, {result['in_table']:,} in the table ({complete}), "
        f"{result['in_video']:,} in the film. Memory after warm-up grew by {result['growth_mb_after_warm_up']:.1f} MB, "
        f"to {result['most_mb']:.0f} MB at most; {max(0, result['more_files_after_warm_up'])} more files were open."
    ]


def _page(result: dict[str, Any]) -> list[str]:
    shown, alone = result["heatmaps_per_s"], result["network_alone_per_s"]
    sent, packed = result["transfer_mb"], result["transfer_packed_mb"]
    memory = result["memory"]
    sides = " | ".join(f"{side} px" for side in shown)
    lines = [f"| {result['camera']} camera | {sides} |", f"|---|{'---:|' * len(shown)}"]
    for title, rates in {"heatmaps a second": shown, "the network alone would give": alone}.items():
        lines.append(f"| {title} | {' | '.join(f'{rate:.1f}' for rate in rates.values())} |")
    return [
        *lines,
        "",
        f"Headless Chromium with a fake camera on {result['cores']} cores, which also play and paint it; by the side "
        f"that the student sees. First heatmap {result['first_heatmap_s']:.1f} s after the page is opened; "
        f"{sent['plain']:.1f} MB with the bundled student, {packed['plain']:.1f} MB packed; {sent['gpu']:.1f} and "
        f"{packed['gpu']:.1f} MB where the browser has WebGPU. "
        f"{memory['minutes']:.0f} minutes, {memory['heatmaps']:,} heatmaps: the page's processes held "
        f"{memory['mb_first_quarter']:.0f} MB in the first quarter after warm-up, {memory['mb_last_quarter']:.0f} MB "
        "in the last.",
    ]
