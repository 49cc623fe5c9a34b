"""Fields drawn into a RAW folder: photographs, masks and the manifest, by several processes."""

import csv
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from geocamnet.errors import DataError, unknown_name
from geocamnet.images import is_empty, remove_asides, write_image, written_aside
from geocamnet.sharing import in_processes
from geocamnet.train.recipes import SynthesizeRecipe
from geocamnet.train.synthetic.field import CLASS_NAMES, draw_field
from geocamnet.train.synthetic.slide import prepare_slide

MANIFEST_COLUMNS = ("image", "labels", "section", "field", "light", "um_per_px", "mask")
_LIGHTS = ("PPL", "XPL")
_JPEG_QUALITY = 95
_MARK = "synthesize.json"  # written first: says that the folder is ours, and by which recipe it is drawn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    """One field to draw; all of it is plain data, so that it travels to another process."""

    raw: str
    folder: str
    section: str
    field: int
    class_names: tuple[str, ...]
    section_seed: int
    size_px: int
    style: float
    lights: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.section}_F{self.field:02d}"

    def image(self, light: str) -> str:
        return f"photographs/{self.folder}/{self.name}_{light}.jpg"

    @property
    def mask(self) -> str:
        return f"masks/{self.folder}/{self.name}.png"


def synthesize(raw: Path, recipe: SynthesizeRecipe, *, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Draw a data set of thin sections: ``RAW/photographs``, ``RAW/masks`` and, last, ``RAW/manifest.csv``.

    The same recipe gives the same bytes, whatever the number of processes. A drawing that was cut off is taken
    up where it stopped. Processes are spawned: a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        raw: the folder to fill; new, empty, or begun with the same recipe.
        recipe: what to draw. `composites` is a share of all sections: they come on top of the plain ones, and
            with 1 they stand in their place.
        on_progress: called with the number of fields done and of all fields.

    Returns:
        The path of the manifest.

    Raises:
        DataError: a value out of range, an unknown class or light, a folder that holds something else, or a
            process that died.
    """
    raw = Path(raw)
    _check(recipe)
    finished = _claim(raw, recipe)
    sections = list(_sections(recipe))
    tasks = [
        _Task(str(raw), folder, section, field, names, seed, recipe.size_px, recipe.style, tuple(recipe.lights))
        for folder, section, names, seed in sections
        for field in range(1, recipe.fields + 1)
    ]
    if finished and all(_is_drawn(task) for task in tasks):
        logger.info("%s: drawn already, nothing to do.", raw)
        return raw / "manifest.csv"
    with closing(in_processes(_draw_one, tasks, workers=recipe.workers, pool_from=4)) as results:
        for done, _ in enumerate(results, start=1):
            if on_progress is not None:
                on_progress(done, len(tasks))
    with written_aside(raw / "masks" / "masks.json") as aside:
        aside.write_text(json.dumps({"classes": list(CLASS_NAMES)}, indent=1) + "\n", encoding="utf-8")
    _write_manifest(raw, recipe, tasks)
    return raw / "manifest.csv"


def _check(recipe: SynthesizeRecipe) -> None:
    for name in recipe.classes:
        if name not in CLASS_NAMES:
            raise DataError(unknown_name("class", name, CLASS_NAMES))
    if len(set(recipe.classes)) != len(recipe.classes):
        raise DataError(f"classes names one twice: {', '.join(recipe.classes)}.")
    for light in recipe.lights:
        if light not in _LIGHTS:
            raise DataError(unknown_name("light", light, _LIGHTS))
    if not recipe.lights or len(set(recipe.lights)) != len(recipe.lights):
        raise DataError(f"lights must be PPL, XPL or both; received {list(recipe.lights)}.")
    for name, least in (("sections", 1), ("fields", 1), ("size_px", 32), ("seed", 0), ("workers", 0)):
        value = getattr(recipe, name)
        if value < least:
            raise DataError(f"{name} must be {least} or more; received {value}.")
    for name in ("composites", "unlabelled", "style"):
        value = getattr(recipe, name)
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise DataError(f"{name} must lie between 0 and 1; received {value}.")
    if 0.9 < recipe.composites < 1:
        raise DataError(f"composites must be 0.9 at most, or 1 for nothing else; received {recipe.composites}.")
    if recipe.composites > 0 and len(recipe.classes or CLASS_NAMES) < 2:
        raise DataError("composites needs two classes or more; received one.")


def _claim(raw: Path, recipe: SynthesizeRecipe) -> bool:
    """Mark the folder as ours; return whether a finished drawing by this recipe is in it."""
    wanted = asdict(recipe)
    wanted.pop("workers")
    text = json.dumps(wanted, indent=1) + "\n"
    mark = raw / _MARK
    if raw.is_file():
        raise DataError(f"{raw}: is a file. Name a new folder to draw into.")
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != text:
            raise DataError(f"{raw}: holds sections drawn by another recipe ({_MARK}). Choose another folder.")
        remove_asides(raw)
        return (raw / "manifest.csv").is_file()
    if raw.is_dir() and not is_empty(raw):
        raise DataError(f"{raw}: is not empty and was not drawn by synthesize. Choose a new or empty folder.")
    with written_aside(mark) as aside:
        aside.write_text(text, encoding="utf-8")
    return False


def _sections(recipe: SynthesizeRecipe) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """Yield folder, section id, class names and section seed of every thin section."""
    chosen = recipe.classes or CLASS_NAMES
    plain = len(chosen) * recipe.sections
    share = recipe.composites
    if share < 1:
        for name in chosen:
            for number in range(1, recipe.sections + 1):
                seed = _seed(recipe.seed, CLASS_NAMES.index(name) + 1, number)
                yield name, f"{name}_S{number:03d}", (name,), seed
    mixed = plain if share == 1 else round(plain * share / (1 - share))
    rng = np.random.default_rng([recipe.seed, 99])
    waiting: list[str] = []
    for number in range(1, mixed + 1):
        wanted = min(int(rng.integers(2, 4)), len(chosen))
        names: list[str] = []
        while len(names) < wanted:  # classes are dealt like cards, so that each comes equally often
            if not any(name not in names for name in waiting):
                waiting += [str(name) for name in rng.permutation(chosen)]
            names.append(next(name for name in waiting if name not in names))
            waiting.remove(names[-1])
        yield "composite", f"composite_S{number:03d}", tuple(names), _seed(recipe.seed, 0, number)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _is_drawn(task: _Task) -> bool:
    raw = Path(task.raw)
    return all((raw / part).is_file() for part in (*map(task.image, task.lights), task.mask))


def _draw_one(task: _Task) -> str:
    """Draw a field and write its files, unless they are there: each was renamed into place when whole."""
    if not _is_drawn(task):
        drawn = draw_field(
            task.class_names, section_seed=task.section_seed, field=task.field, size_px=task.size_px, style=task.style
        )
        raw = Path(task.raw)
        for light in task.lights:
            write_image(raw / task.image(light), drawn.ppl if light == "PPL" else drawn.xpl, quality=_JPEG_QUALITY)
        write_image(raw / task.mask, drawn.mask)
    return task.name


def _write_manifest(raw: Path, recipe: SynthesizeRecipe, tasks: list[_Task]) -> None:
    sections = sorted({task.section for task in tasks})
    withheld = round(recipe.unlabelled * len(sections))
    order = np.random.default_rng([recipe.seed, 98]).permutation(len(sections))
    unlabelled = {sections[at] for at in order[:withheld]}
    with written_aside(raw / "manifest.csv") as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for task in tasks:
            labels = "" if task.section in unlabelled else "|".join(task.class_names)
            slide = prepare_slide(task.section_seed, task.class_names, task.size_px, style=task.style)
            for light in task.lights:
                image = task.image(light)
                writer.writerow((image, labels, task.section, task.name, light, f"{slide.um_per_px:.6g}", task.mask))
