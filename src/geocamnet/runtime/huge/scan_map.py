"""A scan in; areas, heatmaps, regions and a picture out. Memory does not grow with the scan; may be taken up again."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet import __version__
from geocamnet.card import ModelCard
from geocamnet.errors import DataError, missing_extra
from geocamnet.images import is_empty, remove_asides, write_image
from geocamnet.runtime.folder.areas import NO_CLASS, THRESHOLD
from geocamnet.runtime.folder.out_folder import check_same_settings, write_json
from geocamnet.runtime.folder.tables import cannot_write, write_table
from geocamnet.runtime.huge.bands import Tiling, plan_tiles
from geocamnet.runtime.huge.heat_grid import HeatGrid, heat_bands, hottest_class, read_maps
from geocamnet.runtime.huge.looking import Seen, SeenTile, look, small_size
from geocamnet.runtime.huge.predict import weighted_sums
from geocamnet.runtime.huge.regions import write_geojson
from geocamnet.runtime.huge.scan import Scan, open_scan
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import Prediction, evidence_of, probabilities_of
from geocamnet.runtime.render import class_map_picture
from geocamnet.runtime.scale import warn_of_scale

SUMMARY, TILES, AREAS = "summary.json", "tiles.csv", "areas.csv"
HEATMAPS, REGIONS, OVERVIEW = "heatmaps.ome.tif", "classes.geojson", "overview.jpg"
REFUSED = "refused"  # what the area is called where every tile was refused

_AT_WORK = (".class_maps.f32", ".small.u8", ".heat.u8")  # gone when the scan is finished
_MOST_REGION_POINTS = 1 << 23  # of the mask whose regions are drawn: beyond, it is coarser than the grid of heat
_DIGEST_BYTES = 1 << 20


@dataclass(frozen=True)
class ScanReport:
    """What `map_scan` found; ``summary.json`` holds the same.

    Attributes:
        shape_hw: of the scan, in pixels.
        um_per_px: its scale, None where unknown.
        verdict: for the scan as a whole (`Prediction.verdict`).
        percent: of the scan's area, for every class of the card, ``no_class`` and ``refused``; 100 together.
        regions: connected parts of classes in ``classes.geojson``.
        tiles, tiles_refused: looked at; of these unlike the training photographs or without evidence.
    """

    shape_hw: tuple[int, int]
    um_per_px: float | None
    verdict: str
    percent: dict[str, float]
    regions: int
    tiles: int
    tiles_refused: int


def map_scan(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: Model,
    *,
    um_per_px: float | None = None,
    tile_px: int | None = None,
    overlap_px: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScanReport:
    """Name and map a photograph of any size, tile by tile.

    OUT gets ``areas.csv`` (% and µm² of every class, on a grid of half cells), ``heatmaps.ome.tif`` (a channel a
    class, pyramidal, its pixel half a cell), ``classes.geojson`` (the regions, for QuPath), ``overview.jpg``,
    ``tiles.csv`` (what was said of each tile) and ``summary.json``. A tile that is unlike the training photographs, or
    without evidence, is *refused*: where every tile is, no class is counted.

    A stopped call is taken up where it was by the same call, and ends in the same files, byte for byte, but for the
    seconds in ``summary.json``.

    Args:
        source: a photograph that `scan.open_scan` opens.
        out: folder for the results.
        model: the student.
        um_per_px: micrometres a pixel; None takes what the file's own metadata state.
        tile_px, overlap_px: see `bands.plan_tiles`.
        overwrite: begin anew in a folder that holds results.
        on_progress: called with (tiles done, tiles).

    Raises:
        DataError: the scan can't be read, results of other settings, sizes out of range, or a full disk.
        ModelError: the network fails.
    """
    began, folder, card = time.monotonic(), Path(out), model.card
    if find_spec("tifffile") is None:  # told before the long part, not after it
        raise DataError(missing_extra("tifffile", "big"))
    with open_scan(source) as scan:
        um_per_px = scan.um_per_px if um_per_px is None else um_per_px
        tiling = plan_tiles(scan.shape_hw, card, tile_px=tile_px, overlap_px=overlap_px, um_per_px=um_per_px)
        settings = _settings(scan, model, tiling, um_per_px)
        if (known := _make_ready(folder, settings, overwrite=overwrite)) is not None:
            return known
        warn_of_scale(card, um_per_px)
        seen = Seen(folder / TILES, folder / _AT_WORK[0], folder / _AT_WORK[1])
        tiles = look(scan, model, tiling, seen, on_progress=on_progress)
    try:
        report = _write_results(folder, seen, tiles, tiling, card, um_per_px)
        write_json(
            folder / SUMMARY,
            {"finished": True, **asdict(report), "kind": scan.kind, "seconds": round(time.monotonic() - began, 1),
             "settings": settings, "version": __version__},
        )  # fmt: skip
        _remove_work(folder)
    except OSError as error:
        raise DataError(cannot_write(folder, error)) from error
    return report


def _remove_work(folder: Path) -> None:
    for name in _AT_WORK:
        for file in folder.glob(f"{name}*"):  # the levels of the pyramid are beside the heat
            file.unlink(missing_ok=True)
    remove_asides(folder, deep=False)


def _settings(scan: Scan, model: Model, tiling: Tiling, um_per_px: float | None) -> dict[str, Any]:
    size = scan.path.stat().st_size
    with scan.path.open("rb") as stream:
        digest = hashlib.sha256(stream.read(_DIGEST_BYTES))
        stream.seek(max(0, size - _DIGEST_BYTES))
        digest.update(stream.read(_DIGEST_BYTES))
    return {
        "scan": scan.path.name,
        "scan_bytes": size,
        "scan_ends_sha256": digest.hexdigest(),  # of the first and the last megabyte
        "shape_hw": list(tiling.shape_hw),
        "model": model.card.name,
        "model_sha256": model.sha256,
        "all_attitudes": model.all_attitudes,
        "um_per_px": um_per_px,
        "tile_cells": tiling.tile_cells,
        "overlap_cells": tiling.overlap_cells,
        "cell_px": tiling.cell_px,
        "threshold": THRESHOLD,
    }


def _make_ready(folder: Path, settings: dict[str, Any], *, overwrite: bool) -> ScanReport | None:
    """Return what an earlier call found if it finished; otherwise leave the folder so that it can be gone on with."""
    summary = folder / SUMMARY
    try:
        if overwrite:
            for name in (SUMMARY, TILES, AREAS, HEATMAPS, REGIONS, OVERVIEW):
                (folder / name).unlink(missing_ok=True)
            _remove_work(folder)
        if summary.is_file():
            check_same_settings(summary, settings)
            known = json.loads(summary.read_text(encoding="utf-8"))
            made = (folder / name for name in (TILES, AREAS, HEATMAPS, REGIONS, OVERVIEW))
            if known["finished"] and all(one.is_file() for one in made):
                _remove_work(folder)  # left behind if the call was killed after its last step
                report = ScanReport(**{name: known[name] for name in ScanReport.__dataclass_fields__})
                return replace(report, shape_hw=(report.shape_hw[0], report.shape_hw[1]))  # JSON has lists
        elif folder.is_dir() and not is_empty(folder):
            raise DataError(f"{folder}: holds other files. Choose an empty or new folder as OUT.")
        write_json(summary, {"finished": False, "settings": settings, "version": __version__})
    except OSError as error:
        raise DataError(cannot_write(folder, error)) from error
    return None


def _write_results(
    folder: Path, seen: Seen, tiles: Sequence[SeenTile], tiling: Tiling, card: ModelCard, um_per_px: float | None
) -> ScanReport:
    from geocamnet.runtime.huge.pyramid import write_pyramid

    grid, heat = HeatGrid(tiling, card.map_stride), folder / _AT_WORK[2]
    every = max(1, math.ceil(math.sqrt(math.prod(grid.shape_hw) / _MOST_REGION_POINTS)))
    mask, px = _write_heat(heat, seen.maps, grid, card, _accepted(tiles, tiling), every=every)
    scale = None if um_per_px is None else um_per_px * grid.step_px
    with ThreadPoolExecutor(1, thread_name_prefix="pyramid") as beside:
        shape = (len(card.classes), *grid.shape_hw)
        heatmaps = beside.submit(write_pyramid, folder / HEATMAPS, heat, shape, card, um_per_px=scale)
        regions = write_geojson(
            folder / REGIONS, mask, card,
            step_px=grid.step_px * every, shape_hw=tiling.shape_hw, um_per_px=um_per_px,
        )  # fmt: skip
        heatmaps.result()
    names, total = (*card.class_names, NO_CLASS, REFUSED), math.prod(tiling.shape_hw)
    _write_overview(
        folder / OVERVIEW, seen.small, mask, grid.step_px * every, tiling.shape_hw, card, um_per_px, 100 * px / total
    )
    percent = {name: round(100 * float(one) / total, 6) for name, one in zip(names, px, strict=True)}
    rows = [
        (name, 100 * float(one) / total, round(float(one)), None if um_per_px is None else float(one) * um_per_px**2)
        for name, one in zip(names, px, strict=True)
    ]
    write_table(folder / AREAS, ("class", "percent", "px", "um2"), rows)
    verdict = _verdict(seen, tiles, tiling, card)
    refused = sum(one.is_refused for one in tiles)
    return ScanReport(tiling.shape_hw, um_per_px, verdict, percent, regions, len(tiles), refused)


def _accepted(tiles: Sequence[SeenTile], tiling: Tiling) -> NDArray[np.bool_]:
    """Return the cells (h, w) of which at least one tile was not refused."""
    accepted = np.zeros(tiling.cells_hw, bool)
    places = [tile for row in tiling.rows() for tile in row]
    for tile, said in zip(places, tiles, strict=True):
        if not said.is_refused:
            accepted[tile.y : tile.y + tile.h, tile.x : tile.x + tile.w] = True
    return accepted


def _write_heat(
    heat_file: Path, maps: Path, grid: HeatGrid, card: ModelCard, accepted: NDArray[np.bool_], *, every: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Write heat as uint8 (H, C, W); return the mask of every so many points, and the pixels of each class.

    The pixels (C + 2,) are those of the classes, of no class, and refused.
    """
    count, (height, width) = len(card.classes), grid.shape_hw
    mask = np.zeros((-(-height // every), -(-width // every)), np.uint8)
    px = np.zeros(count + 2)
    down, across = grid.covered(0), grid.covered(1)
    with heat_file.open("wb") as stream:
        for top, heat in heat_bands(maps, grid, card):
            stream.write(np.rint(255 * heat).astype(np.uint8).transpose(1, 0, 2).tobytes())
            points = np.arange(top, top + heat.shape[1])
            known = accepted[points // grid.per_cell][:, np.arange(width) // grid.per_cell]
            labels = np.where(known, hottest_class(heat, least=THRESHOLD), count + 1)  # 0 none, C + 1 refused
            weights = np.outer(down[points], across)
            found = np.bincount(labels.ravel(), weights=weights.ravel(), minlength=count + 2)
            px += np.concatenate([found[1 : count + 1], found[:1], found[count + 1 :]])
            chosen = points % every == 0
            mask[points[chosen] // every] = np.where(labels > count, 0, labels)[chosen][:, ::every]
    return mask, px


def _write_overview(
    file: Path,
    small_file: Path,
    mask: NDArray[np.uint8],
    step_px: float,
    shape_hw: tuple[int, int],
    card: ModelCard,
    um_per_px: float | None,
    percent: NDArray[np.float64],
) -> None:
    small = np.fromfile(small_file, np.uint8).reshape(*small_size(shape_hw), 3)
    rows, columns = (
        np.minimum(((np.arange(size) + 0.5) * whole / size / step_px).astype(np.intp), points - 1)
        for size, whole, points in zip(small.shape[:2], shape_hw, mask.shape, strict=True)
    )
    scale = None if um_per_px is None else um_per_px * shape_hw[1] / small.shape[1]
    painted = class_map_picture(
        mask[np.ix_(rows, columns)], card, image=small, opacity=0.5, um_per_px=scale, percent=percent.tolist()
    )
    write_image(file, painted, quality=90)


def _verdict(seen: Seen, tiles: Sequence[SeenTile], tiling: Tiling, card: ModelCard) -> str:
    """Return what is said of the scan as a whole, as `predict_huge` says it."""
    sums = np.zeros(len(card.classes))
    for top, rows in read_maps(seen.maps, len(card.classes), tiling.cells_hw[1]):
        sums += weighted_sums(rows, tiling.covered_hw, top=top)
    logits = sums / math.prod(tiling.covered_hw) + np.asarray(card.class_bias)
    return Prediction(
        card=card,
        probabilities=probabilities_of(logits, card),
        class_maps=np.empty((len(card.classes), 0, 0), np.float32),  # of a scan they lie on disk
        shape_hw=tiling.shape_hw,
        elapsed_ms=0.0,
        covered_hw=tiling.covered_hw,
        evidence=evidence_of(logits, card.labels),
        distance=float(np.median([one.distance for one in tiles])),
    ).verdict
