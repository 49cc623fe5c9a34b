"""RUN, the folder a training leaves behind: opened, resumed, described, loaded again."""

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import tomli_w

from geocamnet.card import ModelCard
from geocamnet.errors import DataError, ModelError
from geocamnet.images import is_empty, remove_asides, written_aside
from geocamnet.train.index import IndexRow
from geocamnet.train.student import Student
from geocamnet.train.teacher import Teacher
from geocamnet.train.weights import load_exactly, read_weights, weights_sha256

Network = Teacher | Student

# What the system says where there is no room, or no right to write.
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        folder: the DATA folder.
        rows: all its photographs, split as the run takes them.
        training: those that are learnt from.
    """

    folder: Path
    rows: Sequence[IndexRow]
    training: Sequence[IndexRow]


def open_run(
    run: Path,
    step: str,
    recipe: Any,
    *,
    teachers: Sequence[Path] = (),
    data: TrainingData | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Make RUN ready for a step: a non-empty one is refused unless it is to be resumed or overwritten.

    Args:
        run: the folder.
        step: ``train`` or ``distil``, the table of the recipe.
        recipe: the resolved recipe, a dataclass.
        teachers: the runs that teach, if any.
        data: what it learns from; None where that is not known.
        resume: go on from RUN's last checkpoint; recipe, teachers and data must be those it was started with.
        overwrite: empty RUN first, if it is a run at all and holds nothing that is needed to fill it again.

    Raises:
        DataError: RUN is not empty, is not a run, was started with another recipe, teacher or data, or is to be emptied
            and holds its own teacher, weights or data.
        ModelError: the teacher has no weights.
    """
    text = recipe_toml(step, recipe)
    file, taught, learnt = run / "recipe.toml", run / "teacher.json", run / "data.json"
    taught_by = learns_from = None
    if teachers:
        taught_by = {
            "run": ", ".join(one.name for one in teachers),
            "sha256": ", ".join(weights_sha256(one) for one in teachers),
        }
    if data is not None:
        learns_from = {
            "name": data.folder.name,
            "sha256": _index_sha256(data.rows),
            "trained_on": sorted({row.sha256 for row in data.training}),
        }
    sources = {taught: taught_by, learnt: learns_from}
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
            begun = json.loads(learnt.read_text(encoding="utf-8")) if learnt.is_file() else None
            if begun is not None and learns_from is not None and begun["sha256"] != learns_from["sha256"]:
                raise DataError(
                    f"{run}: was started on the data set '{begun['name']}', with other photographs, labels or splits "
                    f"than '{learns_from['name']}' has now. Resume with that data set, or start again with --overwrite."
                )
            _remove_left_behind(run)
            # Killed before it could learn anything, it may lack them; a run of before has no data.json, and is left so.
            if not (run / "checkpoints" / "last.ckpt").is_file():
                _write_missing(sources)
            _write_environment(run, anew=False)
            return
        if not overwrite:
            raise DataError(f"{run}: is not empty. Go on with --resume, or start again with --overwrite.")
        if not file.is_file():
            raise DataError(f"{run}: is not empty and not a run, so it is not overwritten. Choose another folder.")
        _check_needs_nothing_of(run, [*teachers, *_weights_of(recipe), *([data.folder] if data else [])])
        # The recipe goes last: what is left without it is no run. The folder stays: it may be a link to another disk.
        for old in sorted(run.iterdir(), key=lambda one: one == file):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    _remove_left_behind(run)
    write_text(file, text)
    _write_missing(sources)
    _write_environment(run)


def trained_on(run: Path) -> frozenset[str] | None:
    """Return sha256 of the originals that a run has learnt from; None where it does not tell, as runs of before."""
    file = run / "data.json"
    return frozenset(json.loads(file.read_text(encoding="utf-8"))["trained_on"]) if file.is_file() else None


def folds_sha256(rows: Iterable[IndexRow]) -> str:
    """Return a digest by which a data set is known again whose photographs were dealt to the same folds."""
    return _sha256(sorted(f"{row.sha256} {row.fold}" for row in rows))


def own_fold(rows: Sequence[IndexRow], card: ModelCard) -> int | None:
    """Return the fold a model was trained on, where these rows have the folds that it was dealt from."""
    fold, dealt = card.data.get("fold"), card.data.get("folds_sha256")
    if fold not in {row.fold for row in rows} or any(row.fold is None for row in rows):
        return None
    return fold if dealt is None or dealt == folds_sha256(rows) else None  # cards of before do not tell


@contextmanager
def writing_into(run: Path) -> Iterator[None]:
    """Say in a sentence that RUN can't be written: what PyTorch and Lightning write is not written aside.

    Raises:
        DataError: the disk is full, or the folder can't be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise DataError(
            f"{error.filename or run}: can't be written ({error.strerror}). Check the folder's rights and the free "
            "space, then go on with --resume."
        ) from error


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


def _index_sha256(rows: Iterable[IndexRow]) -> str:
    """Return a digest of all that a training takes from an index; of folds it takes the split they make."""
    return _sha256(
        f"{row.image} {row.sha256} {row.width_px}x{row.height_px} {row.um_per_px} {'|'.join(row.labels)} {row.split}"
        for row in rows
    )


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write_missing(sources: Mapping[Path, Mapping[str, Any] | None]) -> None:
    for file, told in sources.items():
        if told is not None and not file.is_file():
            write_json(file, told)


def _weights_of(recipe: Any) -> list[Path]:
    named = [getattr(recipe, name, "") for name in ("weights", "teacher_weights")]
    return [Path(one) for one in named if one and Path(one).exists()]  # not a word such as imagenet


def _check_needs_nothing_of(run: Path, sources: Iterable[Path]) -> None:
    emptied = run.resolve()
    for source in sources:
        if emptied in (source.resolve(), *source.resolve().parents):
            raise DataError(
                f"{run}: --overwrite would delete {source}, which this command is to start from. Name another RUN."
            )


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
