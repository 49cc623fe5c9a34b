"""The figures of a run's report as inline SVG: curves, calibration, what abstention buys."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Seen on white and on dark grey alike, and told apart by colour-blind readers (after Okabe & Ito 2008).
COLOURS = ("#2b83c6", "#e08214", "#1b9e77", "#b267c0", "#c9a227", "#d1495b", "#7f8c8d")
_TEXT = "#010203"  # stands for the colour of the page's text, put in afterwards

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched and takes the page's font
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}

Curves = Mapping[str, Sequence[tuple[float, float]]]


def training_curves(curves: Curves) -> Markup:
    """Return losses, scores and the learning rate over the epochs, a panel each; empty without a curve.

    Args:
        curves: column of log.csv → (epoch, value) where the column has a value.
    """
    losses = {name: points for name, points in curves.items() if "loss" in name or name.endswith("nll")}
    rates = {name: points for name, points in curves.items() if name.startswith("lr") or "learning_rate" in name}
    times = {name: points for name, points in curves.items() if "second" in name or name.endswith("_s")}
    scores = {name: points for name, points in curves.items() if name not in {*losses, *rates, *times}}
    panels = [(title, one) for title, one in (("loss", losses), ("score", scores), ("learning rate", rates)) if one]
    if not panels:
        return Markup("")

    def draw(figure: Figure) -> None:
        for axes, (title, group) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for number, (name, points) in enumerate(group.items()):
                xs, ys = zip(*points, strict=True)
                marker = "o" if len(xs) < 3 else None
                label = name.lstrip("_").replace("_", " ").replace("$", r"\$")
                axes.plot(xs, ys, color=COLOURS[number % len(COLOURS)], label=label, marker=marker, markersize=4)
            axes.set_xlabel("epoch")
            axes.set_title(title, loc="left", fontsize=11)
            axes.legend(fontsize=8.5)
            axes.xaxis.get_major_locator().set_params(integer=True)

    return _svg(draw, (4.2 * len(panels), 3.1), name="curves")


def calibration_diagram(bins: Sequence[Mapping[str, float]]) -> Markup:
    """Return the reliability diagram: accuracy against confidence, a dot the larger the more photographs."""
    total = sum(one["n"] for one in bins)

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="as sure as right")
        xs, ys = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        for x, y in zip(xs, ys, strict=True):
            axes.plot([x, x], [x, y], color=COLOURS[1], linewidth=1.4, alpha=0.8)
        sizes = [20 + 380 * one["n"] / total for one in bins]
        axes.scatter(xs, ys, s=sizes, color=COLOURS[0], alpha=0.85, zorder=3, linewidths=0)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="how sure the model is", ylabel="share that is right")
        axes.set_aspect("equal")
        axes.legend(loc="upper left", fontsize=8.5)

    return _svg(draw, (3.9, 3.7), name="calibration")


def coverage_diagram(points: Sequence[Mapping[str, float]], chosen: Mapping[str, Any] | None) -> Markup:
    """Return accuracy of the photographs answered against their share, with the card's threshold marked."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        xs, ys = [one["coverage"] for one in points], [one["accuracy"] for one in points]
        axes.plot(xs, ys, color=COLOURS[0], marker="o" if len(xs) < 3 else None)
        if chosen and chosen.get("accuracy") is not None:
            limit = chosen["threshold"]
            label = '"not sure" where no class reaches its own' if limit is None else f'"not sure" below {limit:.2f}'
            axes.scatter([chosen["coverage"]], [chosen["accuracy"]], color=COLOURS[1], s=55, zorder=3, label=label)
            axes.legend(loc="lower left", fontsize=8.5)
        axes.set(xlim=(0, 1.02), xlabel="share of photographs answered", ylabel="share of those that is right")
        axes.set_ylim(max(0.0, min(ys) - 0.1), 1.02)

    return _svg(draw, (4.4, 3.7), name="coverage")


def _svg(draw: Callable[[Figure], None], size_in: tuple[float, float], *, name: str) -> Markup:
    """Return a figure as SVG to be put into a page: no prolog, text in the page's colour, ids of its own."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size_in, layout="constrained")
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(_TEXT, "currentColor")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("*{stroke-line", "svg *{stroke-line")  # the page's other elements are not its business
    box = re.search(r'viewBox="[^"]*"', text)
    # The page decides the width, up to that of the drawing; the height follows.
    start = (
        f'<svg role="img" aria-label="{name}" {box[0] if box else ""} style="max-width:{size_in[0] * 1.1}in" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    text = re.sub(r"^<svg [^>]*>", start, text, count=1)
    return Markup(text)  # made here, with the few names in it escaped by matplotlib
