"""The verbs that stay until they are stopped: a camera's live view, and the page for a browser."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geocamnet.cli.app import app
from geocamnet.cli.using import open_model
from geocamnet.console import progress
from geocamnet.errors import DataError

log = logging.getLogger("geocamnet")


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
        um_per_px: micrometres a pixel of the frames, for the scale bar and for models that know rock at one scale.
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
    from geocamnet.runtime.scale import warn_of_scale

    if not 0 <= opacity <= 1:
        raise DataError(f"--opacity must be 0 to 1; received {opacity}.")
    limits = {"um-per-px": um_per_px, "frames-per-s": frames_per_s, "seconds": seconds, "max-frames": max_frames}
    for name, value in (*limits.items(), *(("size-px", side) for side in size_px or ())):
        if value is not None and not value > 0:
            raise DataError(f"--{name} must be above 0; received {value}.")
    if um_per_px is not None and objective is not None:
        raise DataError("--um-per-px and --objective both tell a scale; give one of them.")
    if not headless and (seconds is not None or max_frames is not None):
        raise DataError("--seconds and --max-frames end a recording without a window; add --headless.")
    opened = open_model(model)
    if show_class is not None:
        opened.card.class_index(show_class)  # an unknown one is told before the camera is opened
    wishes = Wishes(show_class, texture, when_still, um_per_px)
    view = View(opacity=opacity, inverse=inverse, um_per_px=um_per_px)
    feed = Source(source, size_wh=size_px)
    rate = None if headless else frames_per_s or feed.frames_per_s or 1.0
    lossless = headless and not feed.is_live
    held = objective is not None  # its scale goes by the size of the frames, and the first one is to have it too
    with _told_to_stop() as stop, Live(feed, opened, wishes, lossless=lossless, frames_per_s=rate, held=held) as live:
        if objective is not None:
            shape_hw = live.first_frame().image.shape
            try:
                wishes.um_per_px = view.um_per_px = scale_of(objective, shape_hw)
            except DataError as error:
                if headless:
                    raise
                log.warning("%s", error)  # the window is where it is measured
            live.begin()
        warn_of_scale(opened.card, view.um_per_px)
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
