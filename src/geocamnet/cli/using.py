"""The verbs that use a model, for which the base package is enough, and the demo. Heavy imports stay inside."""

import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from geocamnet.cli.app import BRING_TOGETHER, app
from geocamnet.cli.sending import made_for
from geocamnet.console import progress, show_benchmark, show_card, show_findings
from geocamnet.errors import DataError
from geocamnet.stores import shown

if TYPE_CHECKING:
    from geocamnet.runtime.model import Model

log = logging.getLogger("geocamnet")


def _opened(model: Path | None, *, all_attitudes: bool = False) -> "Model":
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
        engine: local predicts here, ray on the nodes of a Ray cluster, all of which see the same folders.
        shard: I/N does every N-th photograph, from the I-th on, as one job of N; the same command without it then
            brings together what the jobs have done.
    """
    from geocamnet.runtime.folder.out_folder import SENT_LAST
    from geocamnet.runtime.folder.predict import predict_folder
    from geocamnet.runtime.prediction import REFUSALS

    opened = _opened(model, all_attitudes=all_attitudes)
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

    opened = _opened(model, all_attitudes=all_attitudes)
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


@app.command(sort_key=14)
def camera(
    source: str = "0",
    *,
    model: Path | None = None,
    out: Path = Path("camera"),
    show_class: str | None = None,
    texture: bool = False,
    when_still: bool = False,
    opacity: float = 0.5,
    inverse: bool = False,
    um_per_px: float | None = None,
    objective: str | None = None,
    size_px: tuple[int, int] | None = None,
    frames_per_s: float | None = None,
    headless: bool = False,
    seconds: float | None = None,
    max_frames: int | None = None,
) -> None:
    """Name and map what a camera sees, live, in a window or into a recording.

    Args:
        source: a camera's number (0 is the first), a video file, a folder of photographs shown one after another, or
            a URL (rtsp://, http://).
        model: model file; the bundled one where none is named.
        out: folder for recordings and snapshots.
        show_class: the class whose heatmap is shown; the most probable one of each frame where none is named.
        texture: refine the heatmap with texture, and measure it.
        when_still: name and map only while the stage stands still.
        opacity: of the heat's colour, 0 to 1.
        inverse: darken what has no heat, instead of colouring what has.
        um_per_px: micrometres a pixel of the frames, for the scale bar.
        objective: name of the objective: its scale is taken, and kept where one is measured in the window.
        size_px: width and height asked of a camera.
        frames_per_s: at which a video (its own rate where none is named) or a folder (1) is shown in a window.
        headless: no window; record until the source ends, Ctrl-C, --seconds or --max-frames.
        seconds: record so long.
        max_frames: record so many frames.
    """
    from geocamnet.runtime.live.live import Live, Wishes
    from geocamnet.runtime.live.objectives import scale_of
    from geocamnet.runtime.live.screen import View
    from geocamnet.runtime.live.source import Source
    from geocamnet.runtime.live.window import record, show

    if not 0 <= opacity <= 1:
        raise DataError(f"--opacity must be 0 to 1; received {opacity}.")
    if um_per_px is not None and not um_per_px > 0:
        raise DataError(f"--um-per-px must be above 0; received {um_per_px}.")
    if um_per_px is not None and objective is not None:
        raise DataError("--um-per-px and --objective both tell a scale; give one of them.")
    if not headless and (seconds is not None or max_frames is not None):
        raise DataError("--seconds and --max-frames end a recording without a window; add --headless.")
    opened = _opened(model)
    if show_class is not None:
        opened.card.class_index(show_class)  # an unknown one is told before the camera is opened
    wishes = Wishes(show_class, texture, when_still)
    view = View(opacity=opacity, inverse=inverse, um_per_px=um_per_px)
    feed = Source(source, size_wh=size_px)
    rate = None if headless else frames_per_s or feed.frames_per_s or 1.0
    lossless = headless and not feed.is_live
    with _told_to_stop() as stop, Live(feed, opened, wishes, lossless=lossless, frames_per_s=rate) as live:
        if objective is not None:
            shape_hw = live.first_frame().image.shape
            try:
                view.um_per_px = scale_of(objective, shape_hw)
            except DataError as error:
                if headless:
                    raise
                log.warning("%s", error)  # the window is where it is measured
        if headless:
            with progress("recording") as on_progress:
                ended = record(live, view, out=out, max_frames=max_frames, seconds=seconds, stop=stop,
                               on_progress=lambda done: on_progress(done, max_frames or feed.count))  # fmt: skip
        else:
            ended = show(live, view, out=out, objective=objective, stop=stop)
    if ended.video is not None:
        log.info("%s: %d frames; %s beside it", ended.video, ended.recorded, ended.table)
    log.info(
        "%d frames captured, %d analysed (%.1f a second), %d passed over for newer ones, %d unreadable",
        ended.captured, ended.analysed, ended.analysed / max(1e-6, ended.seconds), ended.dropped, ended.unreadable,
    )  # fmt: skip


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Turn Ctrl-C and a service's end into an event that is looked at between two frames; a second one interrupts."""
    told = threading.Event()

    def tell(*_: object) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    before = {one: signal.signal(one, tell) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@app.command(sort_key=15)
def web(
    *,
    model: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    certificate: Path | None = None,
    key: Path | None = None,
    static: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Serve a page that names and maps inside the browser: camera or photographs; nothing leaves it.

    Args:
        model: model file the page opens with; the bundled one where none is named, or the page asks for one.
        host: address to listen on; 127.0.0.1 is this machine alone.
        port: to listen on; 0 takes a free one.
        certificate: PEM file with the chain of certificates, to serve over https: browsers give cameras to no other
            page of another machine.
        key: PEM file with the certificate's key.
        static: write the page into this folder, as plain files for any static host, and serve nothing.
        overwrite: let --static write into a folder that holds something.
    """
    from geocamnet.errors import ModelError, missing_extra
    from geocamnet.runtime.model import bundled_student, load
    from geocamnet.web.site import site
    from geocamnet.web.static import write_site

    if (certificate is None) != (key is None):
        raise DataError("--certificate CHAIN.pem and --key KEY.pem belong together; received one of them.")
    opened = None
    if model is not None:
        opened = load(model)
        log.info("model: %s (%s)", opened.card.name, opened.path)
    else:
        try:
            bundled_student()
        except ModelError:
            log.warning("no student is bundled: drop a model file onto the page, or name one with --model")
        else:
            opened = load()
    if static is not None:
        written = write_site(static, opened, overwrite=overwrite)
        size = sum(one.stat().st_size for one in written)
        log.info(
            "%s: %d files, %.1f MB; any static host will do, with https for cameras", static, len(written), size / 1e6
        )
        return
    try:
        from geocamnet.web.server import Certificate, serve
    except ModuleNotFoundError as error:
        raise DataError(missing_extra(error.name or "starlette", "web")) from error
    secured = Certificate(certificate, key) if certificate is not None and key is not None else None
    serve(site(opened), host=host, port=port, secured=secured)


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
