"""What the command line shows: log lines, progress bars, tables. Rich is imported inside the functions."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from geocamnet.card import ModelCard
    from geocamnet.doctor import Finding
    from geocamnet.runtime.benchmark import Benchmark

_CHATTY = (
    "lightning.pytorch",
    "lightning.fabric",
    "onnx_ir",
    "onnxscript",
    "torch.onnx",
    "torch.distributed",
    "huggingface_hub",
)


class OnProgress(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int | None, what: str = "") -> None:
        """Show that ``done`` of ``total`` is done and, where it changes, of what."""


class _Lines(logging.Handler):
    """Writes a record as one line of stderr: where a progress bar stands, it puts itself there and stays below."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def set_up_logging() -> None:
    """Show this package's log on stderr, and of others what has gone wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines()])
    # Of several processes that train together the first one speaks for all.
    first = all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
    logging.getLogger("geocamnet").setLevel(logging.INFO if first else logging.ERROR)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:  # python -W default shows them
        warnings.simplefilter("ignore")
    if sys.stderr.isatty():
        os.environ.setdefault("GEOCAMNET_PROGRESS", "1")


def say_error(text: str) -> None:
    """Write an error in red, on one line."""
    _errors().print(f"Error: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """Show a progress bar with the time left while something runs; nothing where stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = _errors()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        shown = what

        def on_progress(done: int, total: int | None, what: str = "") -> None:
            nonlocal shown
            if what and what != shown:
                bar.reset(task, description=what)  # the time left is of this part alone
                shown = what
            bar.update(task, completed=done, total=total)

        yield on_progress


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """Show the figures of an evaluation beside its baselines, and the heatmaps' where they were judged."""
    from geocamnet.train.caveats import verdicts_in_words

    names = [name for name in ("accuracy", "balanced_accuracy", "macro_f1", "mAP") if name in metrics["model"]]
    rows = {"this network": metrics["model"], **figures_of(metrics.get("baselines"))}
    plural = "" if metrics["n"] == 1 else "s"
    _show_table(f"{metrics['split']}: {metrics['n']} photograph{plural}", names, rows)
    if verdicts := metrics["model"].get("verdicts"):
        _output().print(verdicts_in_words(verdicts), markup=False, highlight=False, soft_wrap=True)
    places = metrics.get("localisation") or {}
    if places.get("table"):
        _show_table(f"heatmaps against {places['kind']}", ("miou", "pixel_ap", "energy", "pointing"), places["table"])


def figures_of(baselines: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return the baselines that have figures; beside them metrics.json notes how they were fitted, or why not."""
    return {name: one for name, one in (baselines or {}).items() if isinstance(one, Mapping)}


def show_card(card: "ModelCard") -> None:
    """Show a model card as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=_title(card.name), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "architecture": card.architecture,
        "parameters": f"{card.parameters:,}",
        "classes": ", ".join(one.title for one in card.classes),
        "precision": _precision(card),
        "labels": "one a photograph" if card.labels == "single" else "several a photograph",
        "long side": f"{card.long_side_px} px" if card.long_side_px else "any",
        "scale": f"{card.um_per_px} µm a pixel" if card.um_per_px else "not known",
        "not sure below": _thresholds(card),
        "nothing here": "never said" if card.evidence_below is None else f"evidence below {card.evidence_below:.2f}",
        "unlike training": f"distance above {card.familiar.limit:.2f}" if card.familiar else "never said",
        "trained on": _trained_on(card.data),
        "teacher": str(card.teacher.get("architecture", "none")),
        "figures": _figures(card.metrics),
        "limits": card.limits or "not stated",
        "licence": card.licence or "not stated",
        "attribution": card.attribution or "not stated",
        "made": f"{card.created} by geocamnet {card.version}",
        "sha256": card.sha256 or "none: a run, not a model file",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))  # plain: Rich takes "[...]" in a str for markup, and drops it or fails
    _output().print(table)


def show_findings(findings: Sequence["Finding"]) -> None:
    """Show what `doctor` found: what is wrong with its fix, what is right with what more could be had."""
    console = _output()
    for one in findings:
        mark = "[green]ok  [/]" if one.ok else "[red]fix [/]"
        console.print(mark, end="")
        console.print(f"{one.name}: {one.detail}", markup=False, highlight=False, soft_wrap=True)
        if one.fix:
            console.print(f"      {one.fix}", markup=False, highlight=False, soft_wrap=True)


def show_benchmark(measured: "Benchmark") -> None:
    """Show how long each stage took, a table for each frame size, and what that says."""
    from rich.table import Table
    from rich.text import Text

    from geocamnet.runtime.benchmark import CPU, STAGES, in_words

    for size in dict.fromkeys(one.size_wh for one in measured.timings):
        lines = [one for one in measured.timings if one.size_wh == size]
        title = f"{size[0]}x{size[1]}: median and 95th percentile of {measured.repeats} repeats, ms"
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for one in lines:
            provider = "" if one.provider == CPU else f"\n{one.provider.removesuffix('ExecutionProvider')}"
            threads = f"{one.threads} thread{'s' if one.threads > 1 else ''}"
            head = Text(f"{one.model.name}\n{one.precision}, {threads}{provider}")
            table.add_column(head, justify="right", overflow="fold")
        for stage in (*STAGES, "frame"):
            told = (stage == "frame" or one.ms[stage] for one in lines)
            values = (
                f"{one.median(stage):.1f}  {one.p95(stage):.1f}" if known else "-"
                for one, known in zip(lines, told, strict=True)
            )
            table.add_row(stage, *values)
        table.add_row("frames/s", *(f"{1000 / one.median('frame'):.0f}" for one in lines))
        _output().print(table)
    for line in in_words(measured):
        _output().print(line, markup=False, highlight=False, soft_wrap=True)


def _show_table(title: str, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=_title(title), title_justify="left")
    table.add_column()
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for who, figures in rows.items():
        values = (f"{figures[name]:.3f}" if figures.get(name) is not None else "-" for name in names)
        table.add_row(Text(who.replace("_", " ")), *values)
    _output().print(table)


def _title(text: str) -> "Text":
    from rich.text import Text

    return Text(text, style="table.title")


def _thresholds(card: "ModelCard") -> str:
    if card.labels == "single":
        return f"{card.abstain_below:.2f}"
    limits = card.label_thresholds or (0.5,) * len(card.classes)
    return ", ".join(f"{one.title} {limit:.2f}" for one, limit in zip(card.classes, limits, strict=True))


def _trained_on(data: Mapping[str, Any]) -> str:
    if not data:
        return "not stated"
    parts = [str(data.get("name", "not stated"))]
    for what in ("photographs", "sections"):
        if what == "sections" and not _sections_known(data):
            parts.append("sections: not known")  # each photograph was counted as one of its own
        elif isinstance(data.get(what), Mapping):
            parts.append(f"{what}: " + ", ".join(f"{count} {split}" for split, count in data[what].items()))
    scale = data.get("um_per_px")
    if isinstance(scale, (list, tuple)) and scale and all(isinstance(one, (int, float)) for one in scale):
        parts.append(f"{min(scale):.3g} to {max(scale):.3g} µm a pixel")
    if data.get("fold") is not None:
        parts.append(f"without fold {data['fold']}")
    return "; ".join(parts)


def _sections_known(data: Mapping[str, Any]) -> bool:
    told = data.get("card")
    sections = told.get("sections") if isinstance(told, Mapping) else None
    return not (isinstance(sections, Mapping) and sections.get("known") is False)


def _precision(card: "ModelCard") -> str:
    changed = card.quantisation
    correlation = changed.get("map_correlation")
    mean = correlation.get("mean") if isinstance(correlation, Mapping) else None
    parts = []
    if isinstance(same := changed.get("same_name"), (int, float)):
        count = changed.get("photographs", "?")
        parts.append(f"on {count} validation photographs the name of fp32 in {100 * same:.1f} %")
    if isinstance(mean, (int, float)):
        parts.append(f"class maps correlate by {mean:.4f}")
    return f"{card.precision}: {', '.join(parts)}" if parts else card.precision


def _figures(metrics: Mapping[str, Any]) -> str:
    lines = [
        f"{'this network' if who == 'model' else who.replace('_', ' ')}: "
        + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items())
        for who, values in figures_of(metrics).items()
    ]
    if not lines:
        return "none written; geocamnet evaluate makes them"
    where = f"{metrics.get('split', '?')}, {metrics.get('n', '?')} photographs"
    return "\n".join([where, *lines])


@cache
def _errors() -> "Console":
    from rich.console import Console

    return Console(stderr=True, emoji=False)  # ":x:" is part of a name, not a picture


@cache
def _output() -> "Console":
    from rich.console import Console

    return Console(emoji=False)
