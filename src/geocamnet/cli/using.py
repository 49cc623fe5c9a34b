"""The verbs that use a model, for which the base package is enough, and the demo. Heavy imports stay inside."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from geocamnet.cli.app import app
from geocamnet.console import progress, show_card, show_findings
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
    porosity: Literal["blue"] | None = None,
    section_regex: str = "",
    count_refused: bool = False,
    points: int = 400,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    r"""Name, map and measure a photograph or a folder of them.

    Args:
        source: a photograph, or a folder.
        out: folder for tables, pictures and areas.html, the page to read.
        model: model file; the bundled one where none is named.
        um_per_px: micrometres a pixel, for scale bars and areas in µm².
        texture: also measure texture and refine the heatmap with it.
        pairs: take registered photographs whose names differ in the light alone (a_PPL.jpg, a_XPL.jpg) as one.
        all_attitudes: look at every photograph in its eight attitudes (quarter turns, mirror images) and average the
            evidence: eight times the work, right a little more often.
        porosity: blue measures the pores filled with blue-dyed epoxy.
        section_regex: a regular expression, searched for in the path below the source, whose first group (or the group
            named section) is the thin section, such as '(S\d+)'. Without it subfolders are thin sections, and
            photographs beside each other are one where their names differ in the last number and the light alone.
        count_refused: sum the areas of photographs that the model refuses to name as well.
        points: wanted of the virtual point count of a thin section; 300 to 500 are usual.
        seed: of the point grid and of the intervals.
        overwrite: do again what is there.
    """
    from geocamnet.runtime.folder import predict_folder
    from geocamnet.runtime.model import load
    from geocamnet.runtime.prediction import REFUSALS

    opened = load(model, all_attitudes=all_attitudes)
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
            porosity=porosity,
            section_regex=section_regex,
            count_refused=count_refused,
            points=points,
            seed=seed,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    for path, reason in result.skipped[:20]:
        log.warning("skipped %s: %s", path, reason)
    log.info("%d thin section(s): areas.html, areas.csv, sections.csv, classes.csv", len(result.sections))
    refused = {name: result.counts[name] for name in REFUSALS if name in result.counts}
    counts = {"named": len(result.rows) - sum(refused.values()), **refused, "skipped": len(result.skipped)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    log.info("%s: %s: predictions.csv, pictures/", out, told)
    if pairs:
        joined = sum(bool(row.joined) for row in result.rows)
        log.info("%d field(s) of several photographs, %d photograph(s) alone", joined, len(result.rows) - joined)


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
