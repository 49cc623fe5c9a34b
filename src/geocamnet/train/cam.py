"""A teacher's class activation maps of every photograph and class, raw, stored compactly."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geocamnet.errors import DataError, ModelError, missing_extra, unknown_name
from geocamnet.images import remove_asides, scaled_size_hw, written_aside
from geocamnet.sharing import read_shard, shared_out
from geocamnet.train.dataset import PhotographDataset, SameSizeBatches
from geocamnet.train.index import IndexRow, read_index
from geocamnet.train.recipes import CamRecipe
from geocamnet.train.runs import load_network, read_card, write_json
from geocamnet.train.teacher import Teacher

_TORCHCAM = {"gradcam": "GradCAM", "gradcam++": "GradCAMpp", "xgradcam": "XGradCAM", "layercam": "LayerCAM"}


class StoredMaps:
    """Logits and class maps of a data set's photographs, as a teacher gave them.

    Held in memory as float16: 22 classes of 10 x 7 cells are 3 kB a photograph.

    Args:
        folder: as `extract` left it.

    Raises:
        DataError: no stored maps there, or not all of them.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / "maps.json"
        if not file.is_file():
            raise DataError(f"{folder}: no stored maps. Make them with: geocamnet cam DATA RUN")
        about = json.loads(file.read_text(encoding="utf-8"))
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.method: str = about["method"]
        if "image_px" not in about:
            raise DataError(
                f"{folder}: stored by an older version, which did not say where the cells lie. "
                "Make them again with: geocamnet cam DATA RUN --overwrite"
            )
        self.image_px: int = about["image_px"]
        self.stride: int = about["stride"]
        self._maps: dict[str, NDArray[np.float16]] = {}
        self._logits: dict[str, NDArray[np.float32]] = {}
        for number in range(about["shards"]):
            try:
                with np.load(folder / f"{number:05d}.npz") as part:
                    logits = part["logits"]
                    for position, name in enumerate(part["images"].tolist()):
                        self._maps[name] = part[f"maps_{position}"]
                        self._logits[name] = logits[position]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise DataError(
                    f"{folder}: part {number} of its {about['shards']} is missing or damaged ({error}). "
                    "Make it again with: geocamnet cam DATA RUN --overwrite"
                ) from error

    def logits(self, image: str) -> NDArray[np.float32]:
        """Return the (T,) logits of a photograph, named as in the index."""
        return self._logits[self._checked(image)]

    def class_maps(self, image: str) -> NDArray[np.float16]:
        """Return the (T, h, w) raw class maps of a photograph."""
        return self._maps[self._checked(image)]

    def _checked(self, image: str) -> str:
        if image not in self._maps:
            raise DataError(f"No stored map of {image}. Make them again with: geocamnet cam DATA RUN --overwrite")
        return image


def maps_folder(run: Path, data: Path, *, method: str = "cam") -> Path:
    """Return where RUN keeps its maps of a data set by a method.

    Data sets are told apart by their photographs' names, hashes and sizes and by how they were prepared: the same
    originals cropped otherwise are another data set, and their old maps would not fit.
    """
    rows = read_index(data, check_files=False)
    summary = data / "prepare.json"
    prepared = json.loads(summary.read_text(encoding="utf-8")).get("recipe", {}) if summary.is_file() else {}
    lines = [f"{row.image} {row.sha256} {row.width_px}x{row.height_px}" for row in rows]
    text = "\n".join([json.dumps(prepared, sort_keys=True), *lines])
    return run / "cam" / f"{method}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def extract(
    data: Path,
    run: Path,
    recipe: CamRecipe,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Store the teacher's logits and class maps of every photograph of DATA, of every split.

    Photographs are stored a part at a time, so memory does not grow, and a second call goes on where a
    killed one stopped, or brings together what the jobs of an array have stored.

    Args:
        data: the data set; it need not be the one the teacher was trained on, and needs no labels.
        run: the teacher's run.
        recipe: the method, the size of a part, and who does it.
        overwrite: make maps again that are there.
        on_progress: called with photographs done and photographs in all.

    Returns:
        The folder of the maps, for `StoredMaps`.

    Raises:
        ModelError: RUN is not a finished teacher.
        DataError: DATA is not a data set, or other jobs store maps of other settings.
    """
    shard = read_shard(recipe.shard, overwrite=overwrite)
    card = read_card(run)
    _teacher(run)
    rows = read_index(data)
    folder = maps_folder(run, data, method=recipe.method)
    about: dict[str, Any] = {
        "classes": list(card.class_names),
        "method": recipe.method,
        "shard": recipe.part,
        "image_px": card.long_side_px,
        "stride": card.map_stride,
    }
    about_file = folder / "started.json"
    if overwrite or (about_file.is_file() and json.loads(about_file.read_text(encoding="utf-8")) != about):
        if shard:
            raise DataError(f"{folder}: holds maps of other settings. Delete it, then start the jobs again.")
        for old in sorted(folder.glob("*"), key=lambda one: one == about_file):  # which tells what the others are
            old.unlink()
    write_json(about_file, about)
    starts = range(0, len(rows), recipe.part)
    parts = [
        _Part(folder / f"{number:05d}.npz", data.absolute(), run.absolute(), recipe.method,
              tuple(rows[start : start + recipe.part]))
        for number, start in enumerate(starts)
    ]  # fmt: skip
    mine = shard.of_jobs(parts) if shard else parts
    todo = [part for part in mine if not part.file.is_file()]
    total = sum(len(part.rows) for part in mine)
    done = total - sum(len(part.rows) for part in todo)
    if on_progress:
        on_progress(done, total)
    with closing(shared_out(_store_part, todo, engine=recipe.engine, workers=1)) as results:
        for count in results:
            done += count
            if on_progress:
                on_progress(done, total)
    if not shard:
        write_json(folder / "maps.json", {**about, "shards": len(parts)})
        remove_asides(folder)
    _loaded.cache_clear()  # a teacher is large, and this process may go on
    return folder


@dataclass(frozen=True)
class _Part:
    """Photographs whose maps go into one file, and all it takes to make it, wherever this is done."""

    file: Path
    data: Path
    run: Path
    method: str
    rows: tuple[IndexRow, ...]


def _teacher(run: Path) -> tuple[Teacher, int, torch.device]:
    """Return a run's network, its long side in pixels and where it computes."""
    return _loaded(run.absolute(), (run / "card.json").stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _loaded(run: Path, written_ns: int) -> tuple[Teacher, int, torch.device]:
    # Once a process; a run that was written anew is another.
    network, card = load_network(run)
    if not isinstance(network, Teacher):
        raise ModelError(f"{run}: is a student's run; maps are taken from a teacher's. Run geocamnet train first.")
    if card.long_side_px is None:
        raise ModelError(
            f"{run}: was trained on photographs of one scale (--image-px 0), whose maps are not stored. "
            "Distil with --teacher-maps online instead."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(device), card.long_side_px, device


def _store_part(part: _Part) -> int:
    network, image_px, device = _teacher(part.run)
    dataset = PhotographDataset(part.data, part.rows, classes=(), image_px=image_px)
    sizes = [scaled_size_hw((row.height_px, row.width_px), image_px) for row in part.rows]
    loader = DataLoader(dataset, batch_sampler=SameSizeBatches(sizes, batch_size=8))
    arrays: dict[str, NDArray[Any]] = {"images": np.array([row.image for row in part.rows])}
    logits = np.zeros((len(part.rows), network.class_bias.numel()), np.float32)
    for batch in loader:
        images = batch["image"].to(device)
        batch_logits, maps = class_maps(network, images, method=part.method)
        for position, one in enumerate(batch["row"].tolist()):
            logits[one] = batch_logits[position].float().cpu().numpy()
            arrays[f"maps_{one}"] = maps[position].half().cpu().numpy()  # (C, h, w)
    with written_aside(part.file) as aside, aside.open("wb") as stream:
        np.savez_compressed(stream, logits=logits, **arrays)  # type: ignore[arg-type]
    return len(part.rows)


def class_maps(network: Teacher, images: Tensor, *, method: str = "cam") -> tuple[Tensor, Tensor]:
    """Return logits (B, C) and class maps (B, C, h, w) by the exact method or, for comparison, a gradient one.

    The exact maps are one einsum (see `Teacher`). The others run backward once per class: Grad-CAM (Selvaraju et
    al. 2017, arXiv 1610.02391), Grad-CAM++ (Chattopadhyay et al. 2018, 1710.11063), XGrad-CAM (Fu et al. 2020,
    2008.02312), LayerCAM (Jiang et al. 2021, 10.1109/TIP.2021.3089943), all on the last features, not normalised.

    Args:
        network: a teacher, in evaluation mode.
        images: float RGB in [0, 1], (B, 3, H, W).
        method: ``cam``, ``gradcam``, ``gradcam++``, ``xgradcam`` or ``layercam``.

    Raises:
        ModelError: an unknown method.
    """
    if method == "cam":
        with torch.inference_mode():
            logits, maps = network(images)
        return logits, maps
    if method not in _TORCHCAM:
        raise ModelError(unknown_name("method", method, ("cam", *_TORCHCAM)))
    try:
        from torchcam import methods
    except ImportError as error:
        raise ModelError(missing_extra("torchcam", "train")) from error
    tapped = _Tapped(network)
    classes = int(network.class_bias.numel())
    maps = []
    with getattr(methods, _TORCHCAM[method])(tapped, target_layer="tap") as extractor:
        for one in range(classes):
            tapped.zero_grad(set_to_none=True)
            logits = tapped(images.clone().requires_grad_(True))
            maps.append(extractor(one, logits, normalized=False)[0].detach())  # (B, h, w)
    return logits.detach(), torch.stack(maps, dim=1)


class _Tapped(nn.Module):
    """A teacher with a named layer after its last features, where torchcam can hook in whatever the backbone."""

    def __init__(self, network: Teacher) -> None:
        super().__init__()
        self.network = network
        self.tap = nn.Identity()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        trunk = self.network.trunk
        features = self.tap(trunk.forward_features((images - self.network.mean) / self.network.std))
        return trunk.get_classifier()(features.mean(dim=(2, 3)))
