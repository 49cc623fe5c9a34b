"""What is fitted: a network, the loss of labels, teacher and mosaics, the judging of an epoch, the optimiser."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geocamnet.errors import ModelError
from geocamnet.train.augment import Raster, bring_maps
from geocamnet.train.compiled import compile_network
from geocamnet.train.distil import FeatureMatch, StageMatch, kl_sigmoid, logit_loss, map_loss
from geocamnet.train.equivariance_lesson import cut, draw_piece, equivariance_loss
from geocamnet.train.metrics import classification_metrics
from geocamnet.train.mosaic_lesson import lay_mosaics, mosaic_loss
from geocamnet.train.recipes import DistilRecipe, FitRecipe
from geocamnet.train.runs import Network
from geocamnet.train.student import Student
from geocamnet.train.teacher import Evidence, Teacher
from geocamnet.train.weights import save_weights

FIRST_MATCHED_STRIDE = 8
LARGEST_GRADIENT = 5.0  # its norm: a deep network without published weights takes a wild step now and then
JUDGED = ("accuracy", "balanced_accuracy", "macro_f1", "mAP", "nll")


@dataclass(frozen=True)
class OnLooker:
    """A network that teaches by what it makes of the student's very crops.

    Attributes:
        network: a teacher, or a student that was fitted before.
        stride: pixels per cell of its class maps.
        order: for each class that is taught, its place among the network's outputs; None where they are the same.
        scale: pixels of a photograph's side as this network was fitted to see it, for each that the student sees.
    """

    network: Network
    stride: int = 32
    order: Tensor | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Lessons:
    """What a student is taught.

    Attributes:
        recipe: the weights of the losses.
        shared: for each class that is taught, its place among the student's outputs.
        on_lookers: who teaches, by the mean of what they say; the features of the first may be matched. None of them
            where a teacher's maps are stored.
        match: the distance between the first one's features and the student's, trained along; None without.
    """

    recipe: DistilRecipe
    shared: Tensor
    on_lookers: tuple[OnLooker, ...] = ()
    match: StageMatch | None = None


class Fitting(pl.LightningModule):
    """A network, its loss and its optimiser.

    The loss is the label's (on photographs whose label is known) plus the teacher's (on every photograph).

    Args:
        network: teacher or student.
        recipe: how it is fitted.
        classes: names of its outputs.
        labels: ``single`` or ``multi``.
        prior: (C,) share of each class among the training labels, for ``balance = "logit_adjust"``; with several
            labels a photograph, share of the labelled photographs that show it.
        lessons: what a teacher adds.
        run: the folder that keeps the best weights; None keeps nothing.
    """

    log_prior: Tensor

    def __init__(
        self,
        network: Network,
        recipe: FitRecipe,
        *,
        classes: Sequence[str],
        labels: str,
        prior: np.ndarray,
        lessons: Lessons | None = None,
        run: Path | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe, self.classes, self.labels, self.run_folder = recipe, tuple(classes), labels, run
        self.averaged = torch.optim.swa_utils.AveragedModel(
            network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema), use_buffers=True
        ) if recipe.ema else None  # fmt: skip
        prior = np.clip(prior, 1e-4, 1 - 1e-4)
        known_before = np.log(prior) - (np.log1p(-prior) if labels == "multi" else 0.0)  # softmax, sigmoid
        self.register_buffer("log_prior", torch.from_numpy(known_before).float(), persistent=False)
        if self.averaged is not None:
            self.averaged.requires_grad_(False)
        # In a tuple, so that the teacher's weights are neither trained nor written into every checkpoint.
        self._lessons = (lessons,)
        self.match = lessons.match if lessons is not None else None
        self.best_score = -1.0
        self._judged: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.sums: dict[str, list[float]] = {}

    @property
    def judged_network(self) -> Network:
        """The network whose figures count and that is kept: the averaged one, where there is one."""
        return self.averaged.module if self.averaged is not None else self.network  # type: ignore[return-value]

    def forward(self, images: Tensor) -> Evidence:
        """Run the network that is being trained on (B, 3, H, W) float RGB in [0, 1]."""
        return self.network(images.contiguous(memory_format=torch.channels_last))

    def compile_networks(self) -> None:
        """Compile the network and all that look on; the averaged network, judged on any size, is not."""
        compile_network(self.network)
        for one in self._lessons[0].on_lookers if self._lessons[0] is not None else ():
            compile_network(one.network)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        count, images, whose = len(batch["image"]), batch["image"], None
        if self.recipe.mosaic_weight:
            rng = np.random.default_rng((self.recipe.seed, 11, self.global_step))
            mosaics, whose = lay_mosaics(images, rng, self.recipe.mosaic_borders)
            images = torch.cat([images, mosaics])
        images = images.contiguous(memory_format=torch.channels_last)
        stages = self._stages(self.network, images)
        evidence = self.network.evidence(stages[-1])
        parts = {"label_loss": self._label_loss(evidence.logits[:count], batch)}
        if whose is not None:
            parts["mosaic_loss"] = self._mosaic_loss(evidence.class_maps[count:], whose, batch)
        if self.recipe.equivariance_weight:
            parts["equivariance_loss"] = self._equivariance_loss(batch["image"], evidence.class_maps[:count])
        if (lessons := self._lessons[0]) is not None:
            parts |= self._teacher_losses(images, stages, evidence, batch, lessons)
        loss = sum(self._weight(name) * part for name, part in parts.items())
        assert isinstance(loss, Tensor)
        if not bool(torch.isfinite(loss)):
            raise ModelError(f"The loss is {loss.item()} in epoch {self.current_epoch + 1}: diverged. Lower --lr.")
        for name, value in {"loss": loss, **parts}.items():
            self.sums.setdefault(f"train_{name}", []).append(float(value.detach()))
        self.log("loss", loss.detach(), logger=False)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients here: in bf16 the trainer refuses to, for a fused optimiser."""
        trained = (one for group in optimizer.param_groups for one in group["params"])
        torch.nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the averaged weights."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Predict whole photographs; they are judged when all are in."""
        logits = self.judged_network(batch["image"]).logits.float()
        known = batch["known"].cpu().numpy()
        probabilities = logits.softmax(1) if self.labels == "single" else logits.sigmoid()
        self._judged.append(
            (
                batch["row"].cpu().numpy()[known],
                probabilities.cpu().numpy()[known],
                batch["target"].cpu().numpy()[known],
            )
        )

    def on_validation_epoch_end(self) -> None:
        """Judge the validation photographs of all processes, each once, and keep the best network."""
        judged, self._judged = self._judged, []
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, judged)
            judged = [one for process in gathered for one in process]
        rows, probabilities, targets = (np.concatenate([one[i] for one in judged]) for i in range(3))
        if not len(rows):
            return
        _, first = np.unique(rows, return_index=True)  # a process may see one twice, to keep step with the others
        truth = targets[first].argmax(1) if self.labels == "single" else targets[first]
        figures = classification_metrics(probabilities[first], truth, self.classes)
        for name in JUDGED:
            if figures.get(name) is not None:
                self.sums[f"val_{name}"] = [float(figures[name])]
                self.log(f"val_{name}", float(figures[name]), rank_zero_only=True)
        score = float(figures["balanced_accuracy"] if self.labels == "single" else figures["mAP"])
        self.keep_if_best(score)

    def keep_if_best(self, score: float) -> None:
        """Write the network's weights if no earlier epoch scored as well, or if the last is to be kept."""
        if score > self.best_score or self.recipe.keep == "last":
            self.best_score = score
            self.keep()

    def keep(self) -> None:
        """Write the network's weights."""
        if self.run_folder is not None and self.trainer.is_global_zero:
            save_weights(self.run_folder / "checkpoints" / "best.safetensors", self.judged_network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best score and the epoch's losses with the weights."""
        checkpoint["best_score"], checkpoint["sums"] = self.best_score, self.sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        self.best_score, self.sums = checkpoint["best_score"], checkpoint.get("sums", {})

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), warm-up, then half a cosine to zero."""
        trained = [*self.network.parameters(), *(self.match.parameters() if self.match is not None else ())]
        decayed = [one for one in trained if one.ndim > 1]
        plain = [one for one in trained if one.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=self.recipe.lr, fused=True)  # a third less time for ResNet101 on a CPU
        # Not the trainer's own estimate: that opens the loader before it is known where a stopped run was.
        steps = max(1, self.trainer.datamodule.steps())  # type: ignore[attr-defined]
        warm = max(1, int(self.recipe.warmup * steps))

        def rate(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - warm) / max(1, steps - warm)))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _label_loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        known = batch["known"]
        if not bool(known.any()):
            return logits.sum() * 0.0
        logits, targets = logits[known], batch["target"][known]
        if self.recipe.balance == "logit_adjust":
            logits = logits + self.log_prior
        smooth = self.recipe.label_smoothing
        if self.labels == "single":
            return F.cross_entropy(logits, targets.argmax(1), label_smoothing=smooth)
        return F.binary_cross_entropy_with_logits(logits, targets * (1 - smooth) + smooth / 2)

    def _weight(self, loss: str) -> float:
        """Return how much a part of the loss counts; a teacher's recipe has no weight for its labels."""
        return float(getattr(self.recipe, loss.replace("_loss", "_weight"), 1.0))

    def _stages(self, network: Network, images: Tensor) -> list[Tensor]:
        """Return what is compared of two networks: all stages, or where nothing is, the last."""
        return network.stages(images) if self.match is not None else [network.features(images)]

    def _mosaic_loss(self, class_maps: Tensor, whose: Tensor, batch: dict[str, Tensor]) -> Tensor:
        bias = self.network.class_bias + (self.log_prior if self.recipe.balance == "logit_adjust" else 0.0)
        return mosaic_loss(
            class_maps, bias, whose, batch["target"], batch["known"],
            stride=self.recipe.map_stride, labels=self.labels,  # type: ignore[attr-defined]
        )  # fmt: skip

    def _equivariance_loss(self, images: Tensor, class_maps: Tensor) -> Tensor:
        side_px = images.shape[-1]
        piece = draw_piece(side_px, np.random.default_rng((self.recipe.seed, 13, self.global_step)))
        return equivariance_loss(
            class_maps, self(cut(images, piece)).class_maps, piece,
            stride=self.recipe.map_stride, side_px=side_px,  # type: ignore[attr-defined]
        )  # fmt: skip

    def _teacher_losses(
        self, images: Tensor, stages: list[Tensor], evidence: Evidence, batch: dict[str, Tensor], lessons: Lessons
    ) -> dict[str, Tensor]:
        """Return the teacher's parts of the loss: on all that the student saw, or where its maps are stored, on those.

        Args:
            images: (B + mosaics, 3, H, W).
            stages, evidence: what the student makes of them.
            batch: of B photographs.
            lessons: the teacher.
        """
        parts = {}
        logits, maps = evidence.logits, evidence.class_maps
        if lessons.on_lookers:
            taught, theirs = self._taught_online(images, lessons)
            if self.match is not None:
                parts["feature_loss"] = self.match(stages, theirs)
        else:
            taught = Evidence(batch["teacher_logits"], batch["teacher_maps"])
            logits, maps = logits[: len(taught.logits)], maps[: len(taught.logits)]
        shared = lessons.shared.to(self.device)
        logits, maps = logits[:, shared], maps[:, shared]
        recipe = lessons.recipe
        if self.labels == "multi":
            by_logits = kl_sigmoid(logits, taught.logits, temperature=recipe.temperature)
        else:
            targets = _targets(batch, taught.logits, shared)
            by_logits = logit_loss(
                logits, taught.logits, kind=recipe.logit_loss, temperature=recipe.temperature, targets=targets
            )
        cells = recipe.map_cells or max(1, round(recipe.crop_px / 32))
        return {"logit_loss": by_logits, "map_loss": map_loss(maps, taught.class_maps, cells=cells), **parts}

    @torch.no_grad()
    def _taught_online(self, images: Tensor, lessons: Lessons) -> tuple[Evidence, list[Tensor]]:
        """Return the mean of what all that look on say, on the student's raster, and the features of the first.

        Each looks at the scale it was fitted at: texture of another size is another texture to it.
        """
        seen_hw = (images.shape[2], images.shape[3])
        own = Raster(lessons.recipe.map_stride, seen_hw)
        said: list[Evidence] = []
        first: list[Tensor] = []
        for one in lessons.on_lookers:
            one.network.to(self.device).eval()
            theirs = _at_scale(images, one.scale)
            theirs_hw = (theirs.shape[2], theirs.shape[3])
            stages = self._stages(one.network, theirs) if not said else [one.network.features(theirs)]
            stages = [features.float() for features in stages]
            first = first or [_at_size(features, theirs_hw, seen_hw) for features in stages]
            logits, maps = (part.float() for part in one.network.evidence(stages[-1]))
            if one.order is not None:
                order = one.order.to(self.device)
                logits, maps = logits[:, order], maps[:, order]
            said.append(Evidence(logits, bring_maps(maps, Raster(one.stride, theirs_hw), own)))
        return mean_evidence(said), first


def _targets(batch: dict[str, Tensor], answers: Tensor, shared: Tensor) -> Tensor:
    """Return (N,) the class of each that was shown: its label's, where that is taught; else the teacher's answer.

    Args:
        batch: of B photographs, the first of all N.
        answers: (N, C) the teacher's logits, of the photographs and then of mosaics.
        shared: (C,) the taught classes' places among the student's.
    """
    targets, labels = answers.argmax(1), batch["target"][:, shared]
    taught = batch["known"] & (labels.sum(1) > 0)
    targets[: len(labels)][taught] = labels.argmax(1)[taught]
    return targets


def _at_scale(images: Tensor, scale: float) -> Tensor:
    """Return images (B, 3, H, W) ``scale`` times as large, antialiased where they shrink."""
    size_hw = [max(1, round(side * scale)) for side in images.shape[2:]]
    if size_hw == list(images.shape[2:]):
        return images
    scaled = F.interpolate(images, size=size_hw, mode="bilinear", antialias=True, align_corners=False)
    return scaled.contiguous(memory_format=torch.channels_last)


def _at_size(features: Tensor, taken_hw: tuple[int, int], wanted_hw: tuple[int, int]) -> Tensor:
    """Bring features (B, K, h, w) of images of one size to the cells they would have on the same images of another."""
    stride = 2 ** math.ceil(math.log2(taken_hw[0] / features.shape[2]))  # the last cell may be a part of one
    return bring_maps(features, Raster(stride, taken_hw), Raster(stride, wanted_hw))


def mean_evidence(said: Sequence[Evidence]) -> Evidence:
    """Return the mean of what several networks say of the same photographs.

    Logits and class maps alike are averaged, so that the maps go on to be what the logits are the means of: the mean of
    linear classifiers is one (of probabilities it would not be).

    Args:
        said: by each network, logits (B, C) and class maps (B, C, h, w), of one raster.
    """
    return Evidence(*(torch.stack(parts).mean(dim=0) for parts in zip(*said, strict=True)))


def match_stages(student: Student, teacher: Teacher) -> StageMatch:
    """Return the trained distance between two networks: of their last features, and of stages of equal stride.

    Raises:
        ModelError: a teacher whose stages can't be had, or strides of the last features that are no multiples.
    """
    if not hasattr(teacher.trunk, "forward_intermediates"):
        raise ModelError("The teacher's backbone does not show its stages: its features can't be matched.")
    side = 64
    blank = torch.zeros(1, 3, side, side)
    stages = []
    for network in (student, teacher):
        training = network.training
        with torch.no_grad():
            stages.append(network.eval().stages(blank))
        network.train(training)
    ours, theirs = stages

    def matched(one: int, other: int) -> tuple[int, int, FeatureMatch]:
        a, b = ours[one], theirs[other]
        strides = {"student_stride": side // a.shape[3], "teacher_stride": side // b.shape[3]}
        return one, other, FeatureMatch(a.shape[1], b.shape[1], **strides)

    # The first stages see edges only, and have the most cells.
    equal = [
        (i, j)
        for i, a in enumerate(ours[:-1])
        for j, b in enumerate(theirs[:-1])
        if a.shape[3] == b.shape[3] <= side // FIRST_MATCHED_STRIDE
    ]
    return StageMatch([matched(i, j) for i, j in equal] + [matched(len(ours) - 1, len(theirs) - 1)])
