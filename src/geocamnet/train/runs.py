"""RUN, the folder a training leaves behind: opened, resumed, described, loaded again."""

import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import tomli_w

from geocamnet.card import ModelCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import is_empty, remove_asides, written_aside
from geocamnet.train.student import Student
from geocamnet.train.teacher import Teacher
from geocamnet.train.weights import load_exactly, read_weights, weights_sha256

Network = Teacher | Student


def open_run(
    run: Path, step: str, recipe: Any, *, teachers: Sequence[Path] = (), resume: bool = False, overwrite: bool = False
) -> None:
    """Make RUN ready for a step: a non-empty one is refused unless it is to be resumed or overwritten.

    Args:
        run: the folder.
        step: ``train`` or ``distil``, the table of the recipe.
        recipe: the resolved recipe, a dataclass.
        teachers: the runs that teach, if any.
        resume: go on from RUN's last checkpoint; recipe and teachers must be those it was started with.
        overwrite: empty RUN first, if it is a run at all.

    Raises:
        DataError: RUN is not empty, is not a run, or was started with another recipe or teacher.
        ModelError: the teacher has no weights.
    """
    text = recipe_toml(step, recipe)
    file, taught = run / "recipe.toml", run / "teacher.json"
    taught_by = None
    if teachers:
        taught_by = {
            "run": ", ".join(one.name for one in teachers),
            "sha256": ", ".join(weights_sha256(one) for one in teachers),
        }
    if run.exists() and not run.is_dir():
        raise DataError(f"{run}: is a file; a RUN is a folder. Choose another name.")
    if run.is_dir() and not is_empty(run):
        if resume:
            if not file.is_file():
                raise DataError(f"{run}: has no recipe.toml, so there is nothing to resume. Choose an empty folder.")
            if file.read_text(encoding="utf-8") != text:
                raise DataError(
                    f"{run}: was started with another recipe ({file}). Resume with the same settings, "
                    "or start again with --overwrite."
                )
            before = json.loads(taught.read_text(encoding="utf-8")) if taught.is_file() else None
            if before is not None and taught_by is not None and before["sha256"] != taught_by["sha256"]:
                raise DataError(
                    f"{run}: its teacher was '{before['run']}', with other weights than '{taught_by['run']}' has now. "
                    "Resume with that teacher, or start again with --overwrite."
                )
            _remove_left_behind(run)
            _write_environment(run, anew=False)
            return
        if not overwrite:
            raise DataError(f"{run}: is not empty. Go on with --resume, or start again with --overwrite.")
        if not file.is_file():
            raise DataError(f"{run}: is not empty and not a run, so it is not overwritten. Choose another folder.")
        # The recipe goes last: what is left without it is no run. The folder stays: it may be a link to another disk.
        for old in sorted(run.iterdir(), key=lambda one: one == file):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    _remove_left_behind(run)
    if taught_by is not None:
        write_json(taught, taught_by)
    write_text(file, text)
    _write_environment(run)


def is_first_process() -> bool:
    """Return whether this process opens the run; the others of a training are started when it is open."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
    return all(rank == "0" for rank in ranks)


def recipe_toml(step: str, recipe: Any) -> str:
    """Return a recipe as TOML that the command line reads back: ``[step]`` with every choice; None is left out."""
    return tomli_w.dumps({step: _plain(recipe)})


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, aside first and then renamed into place."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON, aside first and then renamed into place."""
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_card(run: Path) -> ModelCard:
    """Read RUN/card.json.

    Raises:
        ModelError: RUN is not a finished run.
    """
    file = run / "card.json"
    if not file.is_file():
        raise ModelError(f"{run}: has no card.json, so it is not a finished run. Go on with --resume, or name another.")
    return ModelCard.from_json(file.read_text(encoding="utf-8"))


def load_network(run: Path) -> tuple[Network, ModelCard]:
    """Load the best network of a finished run, ready to predict (evaluation mode, on the CPU).

    Raises:
        ModelError: not a finished run, or weights that are not of its card.
    """
    card = read_card(run)
    network = build_network(card)
    load_exactly(network, read_weights(run), what=str(run))
    return network.eval(), card


def build_network(card: ModelCard) -> Network:
    """Make the untrained network that a card describes."""
    recipe = card.recipe
    options = {"backbone": recipe["backbone"], "output_stride": recipe["output_stride"]}
    if recipe["step"] == "train":
        return Teacher(**options, classes=len(card.classes), edges=recipe.get("edges", "zeros"))
    return Student(len(card.classes), map_stride=card.map_stride, **options)


def _write_environment(run: Path, *, anew: bool = True) -> None:
    file = run / "environment.txt"
    if anew or not file.is_file():  # a run that is resumed keeps what it was begun with, unless killed before it
        packages = sorted(f"{one.metadata['Name']}=={one.version}" for one in distributions())
        write_text(file, "\n".join([f"python=={platform.python_version()}", *packages]) + "\n")


def _remove_left_behind(run: Path) -> None:
    for folder in (run, run / "checkpoints"):
        remove_asides(folder, deep=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
