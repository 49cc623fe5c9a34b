"""The verbs that use a model, for which the base package is enough, and the demo. Heavy imports stay inside."""

import logging
import re
import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from geocamnet.cli.app import BRING_TOGETHER, app
from geocamnet.cli.sending import made_for
from geocamnet.console import progress, show_benchmark, show_card, show_findings
from geocamnet.errors import DataError, ModelError
from geocamnet.stores import shown

if TYPE_CHECKING:
    from geocamnet.card import ModelCard
    from geocamnet.runtime.model import Model

log = logging.getLogger("geocamnet")


def open_model(model: Path | None, *, all_attitudes: bool = False) -> "Model":
    """Open the model that was named, or the bundled one, and say which it is."""
    from geocamnet.runtime.model import load

    opened = load(model, all_attitudes=all_attitudes, fastest=True)
    if model is not None:  # of the bundled one `load` says more
        log.info("model: %s (%s)", opened.card.name, opened.path)
    return opened


@app.command(sort_key=12)
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
    engine: Literal["local", "ray"] = "local",
    shard: str = "",
) -> None:
    r"""Name, map and measure a photograph or a folder of them.

    Args:
        source: a photograph, or a folder; or its URL in an object store.
        out: folder for tables, pictures and areas.html, the page to read; or a URL to send them to.
        model: model file; the bundled one where none is named.
        um_per_px: micrometres a pixel, for scale bars, areas in µm² and models that know rock at one scale.
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
        engine: local predicts here, ray on the nodes of a Ray cluster, all of which see the same folders.
        shard: I/N does every N-th photograph, from the I-th on, as one job of N; the same command without it then
            brings together what the jobs have done.
    """
    from geocamnet.runtime.folder.out_folder import SENT_LAST
    from geocamnet.runtime.folder.predict import predict_folder
    from geocamnet.runtime.prediction import REFUSALS
    from geocamnet.runtime.scale import warn_of_scale

    opened = open_model(model, all_attitudes=all_attitudes)
    warn_of_scale(opened.card, um_per_px)
    alone = not shard and engine == "local"
    with made_for(out, SENT_LAST, source=source, alone=alone) as folder, progress("mapping") as on_progress:
        result = predict_folder(
            source,
            folder,
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
            engine=engine,
            shard=shard,
            on_progress=on_progress,
        )
    for path, reason in result.skipped[:20]:
        log.warning("skipped %s: %s", path, reason)
    if shard:
        log.info("%s: share %s: %d done, %d skipped", out, shard, len(result.rows), len(result.skipped))
        log.info(BRING_TOGETHER)
        return
    log.info("%d thin section(s): areas.html, areas.csv, sections.csv, classes.csv", len(result.sections))
    refused = {name: result.counts[name] for name in REFUSALS if name in result.counts}
    counts = {"named": len(result.rows) - sum(refused.values()), **refused, "skipped": len(result.skipped)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    log.info("%s: %s: predictions.csv, pictures/", shown(out), told)
    if pairs:
        joined = sum(bool(row.joined) for row in result.rows)
        log.info("%d field(s) of several photographs, %d photograph(s) alone", joined, len(result.rows) - joined)


@app.command(sort_key=13)
def scan(
    source: Path,
    out: Path,
    *,
    model: Path | None = None,
    um_per_px: float | None = None,
    tile_px: int | None = None,
    overlap_px: int | None = None,
    all_attitudes: bool = False,
    overwrite: bool = False,
) -> None:
    """Name and map one photograph too large for memory: a scanned thin section, a stitched mosaic, a whole slide.

    Writes areas, heatmaps as a pyramidal OME-TIFF, regions that QuPath opens, an overview; goes on where it stopped.

    Args:
        source: TIFF, BigTIFF, OME-TIFF, SVS, NDPI and other whole slides; JPEG and PNG as far as memory holds them.
        out: folder for the results, new or of the same scan.
        model: model file; the bundled one where none is named.
        um_per_px: micrometres a pixel; what the file's own metadata state where none is named.
        tile_px: side of a tile, which should show as much rock as a training photograph did; the model's own size where
            none is named.
        overlap_px: shared by neighbouring tiles; a quarter of the tile where none is named.
        all_attitudes: look at every tile in its eight attitudes and average the evidence: eight times the work.
        overwrite: begin anew.
    """
    from geocamnet.runtime.huge.scan_map import map_scan

    opened = open_model(model, all_attitudes=all_attitudes)
    with progress("mapping") as on_progress:
        found = map_scan(
            source,
            out,
            opened,
            um_per_px=um_per_px,
            tile_px=tile_px,
            overlap_px=overlap_px,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    height, width = found.shape_hw
    scale = "scale unknown" if found.um_per_px is None else f"{found.um_per_px:g} um a pixel"
    log.info("%s: %d x %d px, %s: %s", source, width, height, scale, found.verdict)
    for name, percent in sorted(found.percent.items(), key=lambda one: -one[1]):
        if percent > 0:
            log.info("%6.2f %%  %s", percent, name)
    if found.tiles_refused:
        log.warning(
            "%d of %d tiles are unlike the training photographs or show no evidence", found.tiles_refused, found.tiles
        )
    log.info("%s: areas.csv, heatmaps.ome.tif, classes.geojson (%d regions), overview.jpg", out, found.regions)


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
    from geocamnet.runtime.model import load

    card = _card_of(model) if model is not None and model.is_dir() else load(model).card
    if json:
        sys.stdout.write(card.to_json() + "\n")
        return
    show_card(card)


def _card_of(run: Path) -> "ModelCard":
    """Return the card of a run folder; every error names the file."""
    from geocamnet.card import ModelCard

    file = run / "card.json"
    if not file.is_file():
        raise DataError(f"{run}: has no card.json, so it is not a finished run.")
    try:
        return ModelCard.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror or error}). Check the rights of the file.") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{file}: is not UTF-8 text ({error}). Copy it again from where it was made.") from error
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error


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
