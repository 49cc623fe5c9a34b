"""The two trainings: the teacher's, and the student's with a teacher or alone."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from geocamnet import __version__
from geocamnet.card import ClassCard, ModelCard
from geocamnet.errors import DataError, ModelError
from geocamnet.taxonomy import describe_classes
from geocamnet.train.cam import StoredMaps, maps_folder
from geocamnet.train.data_card import read_data_card
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.finish import constants_of, familiar_of, texture_of
from geocamnet.train.fit import Photographs, fit
from geocamnet.train.fitting import Fitting, Lessons, OnLooker, match_stages
from geocamnet.train.index import IndexRow, class_names, labels_kind, read_index, use_fold
from geocamnet.train.looking import halves_when_it_looks, made_quick
from geocamnet.train.recipes import DistilRecipe, FitRecipe, TrainRecipe, check_fitting
from geocamnet.train.runs import (
    Network,
    TrainingData,
    folds_sha256,
    is_first_process,
    load_network,
    open_run,
    read_card,
    trained_on,
    write_json,
    write_text,
    writing_into,
)
from geocamnet.train.student import count_parameters, make_student
from geocamnet.train.teacher import Teacher, make_teacher
from geocamnet.train.weights import load_exactly, read_weights, save_weights

log = logging.getLogger(__name__)

SAME_SCALE = 1.02  # whole pixels make small photographs a little larger or smaller than asked for


def train(
    data: Path, run: Path, recipe: TrainRecipe | None = None, *, resume: bool = False, overwrite: bool = False
) -> ModelCard:
    """Train a teacher on the labelled photographs of DATA.

    Args:
        data: a prepared data set.
        run: the folder to leave behind.
        recipe: every choice.
        resume: go on with a run that was stopped.
        overwrite: start again in a folder that holds a run.

    Returns:
        The teacher's card.

    Raises:
        DataError: fewer than two classes, no training photograph, or a RUN that is not empty.
        ModelError: an unknown backbone, or weights that do not fit.
    """
    recipe = recipe or TrainRecipe()
    check_fitting(recipe)
    rows = _rows(data, recipe)
    training = [row for row in rows if row.split == "train" and row.labels]
    classes = class_names(training)
    _check_learnable(data, training, classes)
    labels = _labels_of(data, training, recipe)
    pl.seed_everything(recipe.seed, verbose=False)
    network = make_teacher(
        recipe.backbone, len(classes), weights=recipe.weights, output_stride=recipe.output_stride, edges=recipe.edges
    )
    if is_first_process():
        open_run(run, "train", recipe, data=TrainingData(data, rows, training), resume=resume, overwrite=overwrite)
    return _fit_and_describe(data, run, "train", recipe, rows, training, classes, labels, network, resume=resume)


def distil(
    data: Path,
    run: Path,
    recipe: DistilRecipe | None = None,
    *,
    teacher: Path | Sequence[Path] | None,
    resume: bool = False,
    overwrite: bool = False,
) -> ModelCard:
    """Distil a student on DATA, which may be another, lighter data set than the teacher's own.

    The teacher's terms train on every photograph; the label's only where a label is known. Several teachers, which
    look at the student's crops themselves, teach the mean of what they say; after the first, students fitted before
    may teach too (as in Furlanello et al. 2018, arXiv 1805.04770, a student of its own kind).

    Args:
        data: a prepared data set; photographs without a label, or with one the teacher does not know, are welcome.
        run: the folder to leave behind.
        recipe: every choice.
        teacher: the teacher's run, or several; None trains the very same student alone, on the labels.
        resume: go on with a run that was stopped.
        overwrite: start again in a folder that holds a run.

    Returns:
        The student's card; ``card.teacher`` tells how many photographs had which terms.

    Raises:
        DataError: nothing to learn from, no stored maps, stored maps of several teachers, test photographs that a
            teacher has learnt from, or a RUN that is not empty.
        ModelError: not a teacher's run, teachers of different classes or another kind of labels, or weights that do
            not fit.
    """
    recipe = recipe or DistilRecipe()
    check_fitting(recipe)
    teachers = () if teacher is None else (teacher,) if isinstance(teacher, Path) else tuple(teacher)
    rows = _rows(data, recipe)
    training = [row for row in rows if row.split == "train"]
    cards = [read_card(one) for one in teachers]
    if not cards:
        training = [row for row in training if row.labels]
        recipe = without_teacher(recipe)
        classes = class_names(training)
    else:
        _check_teachers(data, recipe, rows, teachers, cards)
        own = class_names(training) if recipe.classes == "union" else ()
        taught = cards[0].class_names
        classes = (*taught, *(name for name in own if name not in taught))
    _check_learnable(data, training, classes)
    labels = _labels_of(data, training, recipe, *cards)
    pl.seed_everything(recipe.seed, verbose=False)
    network = make_student(
        len(classes),
        backbone=recipe.backbone,
        weights=recipe.weights,
        output_stride=recipe.output_stride,
        map_stride=recipe.map_stride,
    )
    maps, lessons = None, None
    if cards:
        shared = torch.tensor([classes.index(name) for name in cards[0].class_names])
        if recipe.teacher_maps == "stored":
            maps = _stored_maps(data, teachers[0], cards[0])
            lessons = Lessons(recipe, shared)
        else:
            um_per_px = _scale_of(data, rows, recipe)
            on_lookers = tuple(_on_looker(one, cards[0].class_names, recipe, um_per_px) for one in teachers)
            first = on_lookers[0].network
            if not isinstance(first, Teacher):
                raise ModelError(f"{teachers[0]}: is a student's run. Name a teacher's, made by geocamnet train.")
            match = match_stages(network, first) if recipe.feature_weight else None
            lessons = Lessons(recipe, shared, on_lookers, match)
    if is_first_process():
        learnt = TrainingData(data, rows, training)
        open_run(run, "distil", recipe, teachers=teachers, data=learnt, resume=resume, overwrite=overwrite)
    known = sum(bool(row.labels) and all(label in classes for label in row.labels) for row in training)
    about = {
        "run": ", ".join(one.name for one in teachers) or "none",
        "architecture": ", ".join(one.architecture for one in cards) or "none",
        "parameters": sum(one.parameters for one in cards),
        "classes": list(cards[0].class_names) if cards else [],
        "photographs_with_teacher_terms": len(training) if cards else 0,
        "photographs_with_label_terms": known,
        "photographs_without_known_label": len(training) - known,
    }
    log.info(
        "%d training photographs: the teacher's terms on %d, the label's on %d",
        len(training), about["photographs_with_teacher_terms"], known,
    )  # fmt: skip
    return _fit_and_describe(
        data, run, "distil", recipe, rows, training, classes, labels, network,
        resume=resume, maps=maps, lessons=lessons, teacher=about,
    )  # fmt: skip


def without_teacher(recipe: DistilRecipe) -> DistilRecipe:
    """Return the recipe of the same student alone: labels count in full, and no teacher's term is left."""
    return replace(recipe, label_weight=1.0, logit_weight=0.0, map_weight=0.0, feature_weight=0.0)


def adopt(
    weights: Path, run: Path, *, classes: Sequence[str], data: Path, recipe: TrainRecipe | None = None
) -> ModelCard:
    """Make a run of a teacher trained elsewhere, from its state dict and its list of classes.

    Args:
        weights: a torchvision or timm state dict, ``.pth`` or ``.safetensors``.
        run: the folder to leave behind.
        classes: names in the order of the network's outputs.
        data: a data set of photographs, from which the map scale, the texture range and what is familiar are taken.
        recipe: its ``backbone``, ``image_px`` and ``output_stride`` say what the network is, its ``labels`` whether
            it was trained for several a photograph (``multi``); ``auto`` takes one.

    Raises:
        ModelError: a pickled model, another backbone, or a head of another size than the list of classes.
    """
    recipe = replace(recipe or TrainRecipe(), edges="zeros")  # as everybody else trains
    network = make_teacher(recipe.backbone, len(classes), output_stride=recipe.output_stride)
    tensors = {f"trunk.{name}": value for name, value in read_weights(weights).items()}
    load_exactly(network, {**tensors, "mean": network.mean, "std": network.std}, what=str(weights))
    rows = _rows(data, recipe)
    open_run(run, "train", recipe)
    save_weights(run / "checkpoints" / "best.safetensors", network)
    labels = "single" if recipe.labels == "auto" else recipe.labels  # DATA's labels need not be the network's
    return _describe(data, run, "train", recipe, rows, tuple(classes), labels, network.eval(), {})


def _rows(data: Path, recipe: FitRecipe) -> tuple[IndexRow, ...]:
    rows = read_index(data)
    _scale_of(data, rows, recipe)
    return use_fold(rows, recipe.fold)


def _scale_of(data: Path, rows: Sequence[IndexRow], recipe: FitRecipe) -> float | None:
    """Return the micrometres a pixel of all photographs where they are shown as stored, else None."""
    if recipe.image_px:
        return None
    scales = [row.um_per_px for row in rows if row.um_per_px is not None]
    if len(scales) < len(rows) or max(scales, default=0) > SAME_SCALE * min(scales, default=0):
        found = f"from {min(scales):.4g} to {max(scales):.4g} um a pixel" if scales else "of no known scale"
        raise DataError(
            f"{data}: --image-px 0 takes photographs as they are stored, all at one scale; these are {found}, "
            f"{len(rows) - len(scales)} of {len(rows)} unknown. Store them at one: geocamnet prepare --um-per-px."
        )
    return float(f"{median(scales):.4g}")


def _check_learnable(data: Path, training: Sequence[IndexRow], classes: Sequence[str]) -> None:
    if not training:
        raise DataError(f"{data}: no photograph to train on. Look at the split column of its index.csv.")
    if len(classes) < 2:
        raise DataError(
            f"{data}: training needs at least two classes; received {len(classes)} ({', '.join(classes) or 'none'})."
        )


def _check_test_unseen(data: Path, recipe: FitRecipe, rows: Sequence[IndexRow], run: Path, teacher: ModelCard) -> None:
    seen = trained_on(run)
    if seen is not None:
        seen -= {row.sha256 for row in rows if row.split == "train"}  # of these the student has copies itself
        leaked = [row.image for row in rows if row.split == "test" and row.sha256 in seen]
        if leaked:
            raise DataError(
                f"{data}: the teacher {run} was trained on {len(leaked)} of the student's test photographs (the first: "
                f"{leaked[0]}). Use a teacher of the same fold, or prepare DATA so that it has the splits of the "
                "teacher's (--keep-splits)."
            )
    elif teacher.data.get("name") == data.name and teacher.data.get("fold") != recipe.fold:
        raise DataError(
            f"{data}: the teacher was trained on its fold {teacher.data.get('fold')}, the student is to be on fold "
            f"{recipe.fold}: the teacher has seen the student's test photographs. Use a teacher of the same fold."
        )


def _labels_of(data: Path, training: Sequence[IndexRow], recipe: FitRecipe, *teachers: ModelCard) -> str:
    """Return the kind of labels: that asked for, else the teachers', whose logits teach no other, else the data's."""
    usual = teachers[0].labels if teachers else labels_kind(training)
    labels = recipe.labels if recipe.labels != "auto" else usual
    if labels == "single" and (several := [row.image for row in training if len(row.labels) > 1]):
        mend = "use a teacher of several labels, or none" if teachers else "use --labels multi"
        raise DataError(f"{data}: {len(several)} photographs have several labels ({several[0]}); {mend}.")
    return labels


def _can_judge(row: IndexRow, classes: Sequence[str], labels: str) -> bool:
    known = bool(row.labels) and all(label in classes for label in row.labels)
    return known and (labels == "multi" or len(row.labels) == 1)


def _check_teachers(
    data: Path, recipe: DistilRecipe, rows: Sequence[IndexRow], teachers: Sequence[Path], cards: Sequence[ModelCard]
) -> None:
    for run, one in zip(teachers, cards, strict=True):
        _check_test_unseen(data, recipe, rows, run, one)
        if sorted(one.class_names) != sorted(cards[0].class_names):
            raise ModelError(
                f"{run}: knows other classes ({', '.join(one.class_names)}) than {teachers[0]} "
                f"({', '.join(cards[0].class_names)}). Several teachers must know the same."
            )
        if one.labels != cards[0].labels:
            raise ModelError(
                f"{run}: was fitted for {one.labels} labels, {teachers[0]} for {cards[0].labels}. The mean of logits "
                "of a softmax and of sigmoids means nothing: name teachers of one kind."
            )
    if recipe.labels not in ("auto", cards[0].labels):
        raise ModelError(
            f"{teachers[0]}: was fitted for {cards[0].labels} labels, the student is to be for {recipe.labels} "
            "(--labels): logits of a softmax and of sigmoids do not teach each other. Leave --labels out."
        )
    if cards[0].labels == "multi" and recipe.logit_weight and recipe.logit_loss != "kl":
        raise DataError(
            f"{teachers[0]}: was fitted for several labels, for which --logit-loss must be kl; received "
            f"{recipe.logit_loss}, which compares softmaxes."
        )
    if not recipe.image_px and recipe.teacher_maps == "stored":
        raise DataError("Maps of photographs of one scale (--image-px 0) are not stored; use --teacher-maps online.")
    if len(cards) > 1 and recipe.teacher_maps == "stored":
        raise DataError("Several teachers must look at the student's crops themselves; use --teacher-maps online.")


def _on_looker(run: Path, classes: Sequence[str], recipe: DistilRecipe, um_per_px: float | None) -> OnLooker:
    network, card = load_network(run)
    order = torch.tensor([card.class_names.index(name) for name in classes])
    if um_per_px is not None and card.um_per_px is not None:
        scale = um_per_px / card.um_per_px
    elif um_per_px is None and card.um_per_px is None:
        scale = (card.long_side_px or recipe.image_px) / recipe.image_px
    else:
        one, other = ("one scale", "one size") if card.um_per_px is not None else ("one size", "one scale")
        raise ModelError(
            f"{run}: was fitted to photographs of {one}, and the student is to be to photographs of {other} "
            "(--image-px): neither knows what the other sees. Use --image-px 0 for both, or for none."
        )
    quick = made_quick(network, half=halves_when_it_looks(recipe.precision))
    return OnLooker(quick, card.map_stride, order, scale)


def _stored_maps(data: Path, teacher: Path, card: ModelCard) -> StoredMaps:
    folder = maps_folder(teacher, data)
    if not (folder / "maps.json").is_file():
        raise DataError(
            f"{teacher}: holds no maps of {data}. Make them with: geocamnet cam {data} {teacher}"
            " (or distil with --teacher-maps online)"
        )
    maps = StoredMaps(folder)
    if maps.classes != card.class_names:
        raise DataError(f"{folder}: its maps are of other classes. Make them again: geocamnet cam --overwrite")
    return maps


def _fit_and_describe(
    data: Path,
    run: Path,
    step: str,
    recipe: FitRecipe,
    rows: Sequence[IndexRow],
    training: Sequence[IndexRow],
    classes: Sequence[str],
    labels: str,
    network: Network,
    *,
    resume: bool,
    maps: StoredMaps | None = None,
    lessons: Lessons | None = None,
    teacher: dict[str, Any] | None = None,
) -> ModelCard:
    common: dict[str, Any] = {"classes": classes, "image_px": recipe.image_px, "cache_mb": recipe.cache_mb}
    crops = PhotographDataset(
        data, training, **common, crop_px=recipe.crop_px, recipe=recipe.augment, seed=recipe.seed, maps=maps,
        map_stride=recipe.map_stride,  # type: ignore[attr-defined]
    )  # fmt: skip
    judged = [row for row in rows if row.split == "val" and _can_judge(row, classes, labels)]
    whole = PhotographDataset(data, judged, **common)
    targets = np.stack([crops.target(one) for one in range(len(crops))])
    prior = targets.sum(0) / max(1.0, float(targets.sum() if labels == "single" else targets.any(1).sum()))
    module = Fitting(network, recipe, classes=classes, labels=labels, prior=prior, lessons=lessons, run=run)
    with writing_into(run):
        fit(module, Photographs(crops, whole, recipe), run, resume=resume)
    if not module.trainer.is_global_zero:
        raise SystemExit(0)  # the other processes of a training end here; the first one describes the run
    load_exactly(network, read_weights(run), what=str(run))
    network.eval().cpu()
    return _describe(data, run, step, recipe, rows, classes, labels, network, teacher or {})


def _describe(
    data: Path,
    run: Path,
    step: str,
    recipe: FitRecipe,
    rows: Sequence[IndexRow],
    classes: Sequence[str],
    labels: str,
    network: Network,
    teacher: dict[str, Any],
) -> ModelCard:
    scale = _scale_of(data, rows, recipe)
    constants = constants_of(network, data, rows, classes=classes, labels=labels, image_px=recipe.image_px)
    titles = describe_classes(classes)
    backbone = recipe.backbone  # type: ignore[attr-defined]
    sections = {split: len({r.section for r in rows if r.split == split}) for split in ("train", "val", "test")}
    photographs = {split: sum(r.split == split for r in rows) for split in ("train", "val", "test")}
    scales = {row.um_per_px for row in rows}
    card = ModelCard(
        name=run.name,
        classes=tuple(ClassCard(one.name, one.title, one.colour_rgb) for one in titles),
        labels=labels,
        architecture=backbone if step == "train" else f"class maps on {backbone}",
        parameters=count_parameters(network),
        map_stride=recipe.map_stride,  # type: ignore[attr-defined]
        long_side_px=recipe.image_px or None,
        um_per_px=scale,
        class_bias=tuple(network.class_bias.detach().tolist()),
        texture=texture_of(data, rows),
        familiar=familiar_of(data, rows, image_px=recipe.image_px),
        data={
            "name": data.name,
            "photographs": photographs,
            "sections": sections,
            "um_per_px": [min(scales), max(scales)] if None not in scales else "unknown",  # type: ignore[type-var]
            "fold": recipe.fold,
            **({} if recipe.fold is None else {"folds_sha256": folds_sha256(rows)}),
            "card": read_data_card(data),
        },
        recipe={"step": step, **asdict(recipe)},
        teacher=teacher,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        **constants,
    )
    write_text(run / "card.json", card.to_json())
    if not (run / "metrics.json").is_file():
        write_json(run / "metrics.json", {})
    return card
