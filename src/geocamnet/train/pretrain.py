"""A start for a student without published weights: its trunk learns to give a pretrained network's features."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from geocamnet.errors import DataError, ModelError
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.fit import Photographs, fit
from geocamnet.train.fitting import Fitting, Lessons, OnLooker, match_stages
from geocamnet.train.index import read_index, use_fold
from geocamnet.train.looking import halves_when_it_looks, made_quick
from geocamnet.train.recipes import DistilRecipe, PretrainRecipe, check_fitting
from geocamnet.train.runs import TrainingData, is_first_process, open_run, write_json, writing_into
from geocamnet.train.student import Student, make_student
from geocamnet.train.teacher import Teacher, make_teacher

log = logging.getLogger(__name__)


class Matching(Fitting):
    """A student whose trunk is taught a teacher's features and nothing else; its head is not trained.

    Args:
        student: changed in place.
        teacher: looks at the very crops the student sees.
        recipe: how it is fitted.
        run: the folder that keeps the weights.
    """

    def __init__(self, student: Student, teacher: Teacher, recipe: PretrainRecipe, *, run: Path | None = None) -> None:
        quick = made_quick(teacher, half=halves_when_it_looks(recipe.precision))
        lessons = Lessons(DistilRecipe(), torch.zeros(0), (OnLooker(quick),), match=match_stages(student, teacher))
        super().__init__(student, recipe, classes=(), labels="single", prior=np.zeros(0), lessons=lessons, run=run)
        student.head.requires_grad_(False)
        student.class_bias.requires_grad_(False)
        self.best_score = -np.inf
        self._distances: list[float] = []

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Return the distance between the features of a batch."""
        distance = self._distance(batch["image"])
        if not bool(torch.isfinite(distance)):
            raise ModelError(f"The loss is {distance.item()} in epoch {self.current_epoch + 1}: diverged. Lower --lr.")
        self.sums.setdefault("train_loss", []).append(float(distance.detach()))
        self.log("loss", distance.detach(), logger=False)
        return distance

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Measure the distance on whole photographs."""
        self._distances.append(float(self._distance(batch["image"])))

    def on_validation_epoch_end(self) -> None:
        """Keep the network if it is the nearest so far, or the last."""
        distances, self._distances = self._distances, []
        mean = float(np.mean(distances))
        if self.trainer.world_size > 1:
            mean = float(self.all_gather(torch.tensor(mean, device=self.device)).mean())  # type: ignore[union-attr]
        self.sums["val_loss"] = [mean]
        self.keep_if_best(-mean)

    def _distance(self, images: Tensor) -> Tensor:
        lessons, match = self._lessons[0], self.match
        assert lessons is not None
        assert match is not None
        images = images.contiguous(memory_format=torch.channels_last)
        (teacher,) = lessons.on_lookers
        teacher.network.to(self.device)
        with torch.no_grad():
            theirs = [features.float() for features in self._stages(teacher.network, images)]
        network = self.network if self.training else self.judged_network
        return match(self._stages(network, images), theirs)  # type: ignore[no-any-return]


def pretrain(
    data: Path, run: Path, recipe: PretrainRecipe | None = None, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Teach a student's trunk a pretrained network's features on DATA, which needs no label.

    RUN then serves as ``--weights`` of `distil`.

    Args:
        data: a prepared data set.
        run: the folder to leave behind.
        recipe: every choice.
        resume: go on with a run that was stopped.
        overwrite: start again in a folder that holds a run.

    Returns:
        What RUN/pretrain.json holds.

    Raises:
        DataError: an impossible choice, no photograph to train on, or a RUN that is not empty.
        ModelError: an unknown backbone, or weights that do not fit or can't be had.
    """
    recipe = recipe or PretrainRecipe()
    check_fitting(recipe)
    rows = use_fold(read_index(data), recipe.fold)
    training = [row for row in rows if row.split == "train"]
    judged = [row for row in rows if row.split == "val"]
    if not training:
        raise DataError(f"{data}: no photograph to train on. Look at the split column of its index.csv.")
    pl.seed_everything(recipe.seed, verbose=False)
    student = make_student(2, backbone=recipe.backbone, weights=recipe.weights, output_stride=recipe.output_stride)
    teacher = make_teacher(recipe.teacher_backbone, 2, weights=recipe.teacher_weights)
    if is_first_process():
        learnt = TrainingData(data, rows, training)
        open_run(run, "pretrain", recipe, data=learnt, resume=resume, overwrite=overwrite)
    common: dict[str, Any] = {"classes": (), "image_px": recipe.image_px, "cache_mb": recipe.cache_mb}
    crops = PhotographDataset(data, training, **common, crop_px=recipe.crop_px, recipe=recipe.augment, seed=recipe.seed)
    module = Matching(student, teacher, recipe, run=run)
    with writing_into(run):
        fit(module, Photographs(crops, PhotographDataset(data, judged, **common), recipe), run, resume=resume)
    if not module.trainer.is_global_zero:
        raise SystemExit(0)  # the other processes of a training end here
    about = {
        "backbone": recipe.backbone,
        "teacher": recipe.teacher_backbone,
        "photographs": len(training),
        "distance": -module.best_score if judged else None,
    }
    write_json(run / "pretrain.json", about)
    return about
