"""The verbs that use a model, for which the base package is enough, and the demo. Heavy imports stay inside."""

import logging
import re
import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from geocamnet.cli.app import app
from geocamnet.console import progress, show_benchmark, show_card, show_findings
from geocamnet.errors import DataError

log = logging.getLogger("geocamnet")


@app.command(sort_key=11)
def run(
    source: Path,
    out: Path,
    *,
    model: Path | None = None,
    um_per_px: float | None = None,
    texture: Annotated[bool, Parameter(negative="--no-texture")] = True,
    pairs: bool = False,
    all_attitudes: bool = False,
    overwrite: bool = False,
) -> None:
    """Name and map a photograph or a folder of them.

    Args:
        source: a photograph, or a folder.
        out: folder for pictures and predictions.csv.
        model: model file; the bundled one where none is named.
        um_per_px: micrometres a pixel, for scale bars.
        texture: also measure texture and refine the heatmap with it.
        pairs: take registered photographs whose names differ in the light alone (a_PPL.jpg, a_XPL.jpg) as one.
        all_attitudes: look at every photograph in its eight attitudes (quarter turns, mirror images) and average the
            evidence: eight times the work, right a little more often.
        overwrite: do again what is there.
    """
    from geocamnet.runtime.folder import predict_folder
    from geocamnet.runtime.model import load
    from geocamnet.runtime.prediction import REFUSALS

    opened = load(model, all_attitudes=all_attitudes, fastest=True)
    if model is not None:  # of the bundled one `load` says more
        log.info("model: %s (%s)", opened.card.name, opened.path)
    with progress("mapping") as on_progress:
        result = predict_folder(
            source,
            out,
            opened,
            um_per_px=um_per_px,
            texture=texture,
            pairs=pairs,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    for path, reason in result.skipped[:20]:
        log.warning("skipped %s: %s", path, reason)
    refused = {name: result.counts[name] for name in REFUSALS if name in result.counts}
    counts = {"named": len(result.rows) - sum(refused.values()), **refused, "skipped": len(result.skipped)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    log.info("%s: %s: predictions.csv, pictures/", out, told)
    if pairs:
        joined = sum(bool(row.joined) for row in result.rows)
        log.info("%d field(s) of several photographs, %d photograph(s) alone", joined, len(result.rows) - joined)


@app.command(sort_key=16)
def benchmark(
    *models: Path,
    size_px: Sequence[str] = ("512x512", "1280x960"),
    threads: Sequence[int] = (),
    providers: Sequence[str] = ("CPUExecutionProvider",),
    repeats: int = 40,
    keep: bool = False,
    out: Path | None = None,
) -> None:
    """Measure how long each stage of a frame takes on this machine; compare model files.

    Args:
        models: model files; the bundled one where none is named.
        size_px: frame sizes, width x height.
        threads: numbers of threads to measure; 1 and what run takes where none is named.
        providers: execution providers of ONNX Runtime to measure.
        repeats: of each configuration.
        keep: let run open the fastest of these files (one network in several precisions) on this machine from now on.
        out: write the figures to this JSON file as well.
    """
    from geocamnet.images import written_aside
    from geocamnet.runtime import benchmark as measure

    sizes = [_size_wh(one) for one in size_px]
    with progress("measuring") as on_progress:
        measured = measure.benchmark(
            models, sizes_wh=sizes, threads=threads, providers=providers, repeats=repeats, on_progress=on_progress
        )
    show_benchmark(measured)
    if out is not None:
        with written_aside(out) as aside:
            aside.write_text(dumps(measured.as_json(), indent=1) + "\n", encoding="utf-8")
        log.info("figures: %s", out)
    if measured.stopped:
        sys.exit(130)
    if keep:
        log.info("%s", measure.keep_fastest(measured))


def _size_wh(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)[x×](\d+)", text.strip().lower())
    if found is None:
        raise DataError(f"A frame size is width x height in pixels, such as 1280x960; received '{text}'.")
    return int(found[1]), int(found[2])


@app.command(sort_key=17)
def info(model: Path | None = None, *, json: bool = False) -> None:
    """Show what a model file is: its card.

    Args:
        model: model file or run folder; the bundled model where none is named.
        json: the whole card as JSON.
    """
    from geocamnet.card import ModelCard
    from geocamnet.runtime.model import load

    card_file = model / "card.json" if model is not None and model.is_dir() else None
    if card_file is not None and not card_file.is_file():
        raise DataError(f"{model}: has no card.json, so it is not a finished run.")
    card = ModelCard.from_json(card_file.read_text(encoding="utf-8")) if card_file else load(model).card
    if json:
        sys.stdout.write(card.to_json() + "\n")
        return
    show_card(card)


@app.command(sort_key=18)
def doctor() -> None:
    """Check the installation; every finding comes with its fix."""
    from geocamnet.doctor import examine

    findings = examine()
    show_findings(findings)
    if any(not one.ok for one in findings):
        sys.exit(1)


@app.command(sort_key=19)
def demo(out: Path = Path("out/demo"), *, overwrite: bool = False) -> None:
    """Run the whole pipeline on drawn thin sections, from teacher to pictures.

    Args:
        out: folder for everything the demo makes.
        overwrite: start again where there is a demo.
    """
    from geocamnet.train.demo import demo as tell

    tell(out, overwrite=overwrite)
