"""Fitting a network to a data set: the loss, the judging of each epoch, checkpoints, resuming, several processes."""

import csv
import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from geocamnet.errors import ModelError
from geocamnet.images import scaled_size_hw, written_aside
from geocamnet.train.augment import Raster, bring_maps
from geocamnet.train.bar import TrainingBar
from geocamnet.train.dataset import PhotographDataset, SameSizeBatches, TrainingSampler, balanced_weights
from geocamnet.train.distil import FeatureMatch, kl_sigmoid, logit_loss, map_loss
from geocamnet.train.metrics import classification_metrics
from geocamnet.train.recipes import DistilRecipe, FitRecipe
from geocamnet.train.runs import Network
from geocamnet.train.student import Student
from geocamnet.train.teacher import Evidence, Teacher
from geocamnet.train.weights import save_weights

log = logging.getLogger(__name__)

JUDGED = ("accuracy", "balanced_accuracy", "macro_f1", "mAP", "nll")


@dataclass(frozen=True)
class Lessons:
    """What a student is taught by a teacher.

    Attributes:
        recipe: the weights of the losses.
        shared: for each of the teacher's classes, its place among the student's outputs.
        teacher: the network itself where it looks at the student's very crops; None with stored maps.
        stride: pixels per cell of its class maps.
        match: the distance between its features and the student's, trained along; None without.
    """

    recipe: DistilRecipe
    shared: Tensor
    teacher: Teacher | None = None
    stride: int = 32
    match: FeatureMatch | None = None


class Fitting(pl.LightningModule):
    """A network, its loss and its optimiser.

    The loss is the label's (on photographs whose label is known) plus the teacher's (on every photograph).

    Args:
        network: teacher or student.
        recipe: how it is fitted.
        classes: names of its outputs.
        labels: ``single`` or ``multi``.
        prior: (C,) share of each class among the training labels, for ``balance = "logit_adjust"``.
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
        self.register_buffer("log_prior", torch.from_numpy(np.log(np.maximum(prior, 1e-4))).float(), persistent=False)
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

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        features = self.network.features(batch["image"].contiguous(memory_format=torch.channels_last))
        evidence = self.network.evidence(features)
        parts = {"label_loss": self._label_loss(evidence.logits, batch)}
        lessons = self._lessons[0]
        weight = 1.0
        if lessons is not None:
            weight = lessons.recipe.label_weight
            parts |= self._teacher_losses(features, evidence, batch, lessons)
        loss = weight * parts["label_loss"]
        if lessons is not None:
            loss = loss + lessons.recipe.logit_weight * parts["logit_loss"]
            loss = loss + lessons.recipe.map_weight * parts["map_loss"]
            if "feature_loss" in parts:
                loss = loss + lessons.recipe.feature_weight * parts["feature_loss"]
        if not bool(torch.isfinite(loss)):
            raise ModelError(f"The loss is {loss.item()} in epoch {self.current_epoch + 1}: diverged. Lower --lr.")
        for name, value in {"loss": loss, **parts}.items():
            self.sums.setdefault(f"train_{name}", []).append(float(value.detach()))
        self.log("loss", loss.detach(), logger=False)
        return loss

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
            if self.run_folder is not None and self.trainer.is_global_zero:
                save_weights(self.run_folder / "checkpoints" / "best.safetensors", self.judged_network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best score with the weights."""
        checkpoint["best_score"] = self.best_score

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the best score up again."""
        self.best_score = checkpoint["best_score"]

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), warm-up, then half a cosine to zero."""
        trained = [*self.network.parameters(), *(self.match.parameters() if self.match is not None else ())]
        decayed = [one for one in trained if one.ndim > 1]
        plain = [one for one in trained if one.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=self.recipe.lr, fused=True)  # a third less time for ResNet101 on a CPU
        steps = max(1, int(self.trainer.estimated_stepping_batches))
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

    def _teacher_losses(
        self, features: Tensor, evidence: Evidence, batch: dict[str, Tensor], lessons: Lessons
    ) -> dict[str, Tensor]:
        parts = {}
        if lessons.teacher is not None:
            lessons.teacher.to(self.device).eval()
            with torch.no_grad():
                theirs = lessons.teacher.features(batch["image"].contiguous(memory_format=torch.channels_last))
                teacher = lessons.teacher.evidence(theirs)
            if self.match is not None:
                parts["feature_loss"] = self.match(features, theirs)
        else:
            teacher = Evidence(batch["teacher_logits"], batch["teacher_maps"])
        shared = lessons.shared.to(self.device)
        logits, maps = evidence.logits[:, shared], evidence.class_maps[:, shared]
        recipe = lessons.recipe
        if self.labels == "multi":
            by_logits = kl_sigmoid(logits, teacher.logits, temperature=recipe.temperature)
        else:
            by_logits = logit_loss(logits, teacher.logits, kind=recipe.logit_loss, temperature=recipe.temperature)
        seen_hw = (batch["image"].shape[2], batch["image"].shape[3])
        their_maps = teacher.class_maps
        if lessons.teacher is not None:
            their_maps = bring_maps(their_maps, Raster(lessons.stride, seen_hw), Raster(recipe.output_stride, seen_hw))
        cells = recipe.map_cells or max(1, round(recipe.crop_px / 32))
        return {"logit_loss": by_logits, "map_loss": map_loss(maps, their_maps, cells=cells), **parts}


def match_features(student: Student, teacher: Teacher, student_stride: int, teacher_stride: int) -> FeatureMatch:
    """Return the trained distance between the last features of two networks."""
    return FeatureMatch(
        student.head.in_channels,
        teacher.trunk.get_classifier().in_features,
        student_stride=student_stride,
        teacher_stride=teacher_stride,
    )


class Photographs(pl.LightningDataModule):
    """The loaders of a fitting, cut for as many processes as the trainer has."""

    def __init__(self, training: PhotographDataset, validation: PhotographDataset, recipe: FitRecipe) -> None:
        super().__init__()
        self.training, self.validation, self.recipe = training, validation, recipe

    def train_dataloader(self) -> DataLoader:
        """Random crops, in an order that the seed and the epoch fix."""
        targets = np.stack([self.training.target(one) for one in range(len(self.training))])
        known = np.array([self.training.known(one) for one in range(len(self.training))])
        weights = balanced_weights(targets, known) if self.recipe.balance == "sampler" else None
        sampler = TrainingSampler(
            len(self.training), seed=self.recipe.seed, weights=weights, rank=self._rank, world=self._world
        )
        workers = choose_workers(self.recipe)
        return DataLoader(
            self.training,
            batch_size=min(self.recipe.batch_size, len(sampler)),
            sampler=sampler,
            drop_last=True,  # a last batch of one photograph would upset batch normalisation
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Whole photographs, in batches of one size."""
        if not len(self.validation):
            return []
        sizes = [
            scaled_size_hw((row.height_px, row.width_px), self.validation.image_px) for row in self.validation.rows
        ]
        batches = SameSizeBatches(
            sizes,
            batch_size=max(1, self.recipe.batch_size // 2),
            # A process without any would skip the epoch's end, where the others wait for it: it sees one again.
            rank=self._rank % len(sizes),
            world=self._world,
        )
        return DataLoader(self.validation, batch_sampler=batches)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1


class KeepLast(pl.Callback):
    """After every epoch: ``checkpoints/last.ckpt``, a row of ``log.csv``, a line in the log."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.began = time.monotonic()
        self.first_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Note where a resumed run takes up."""
        self.first_epoch, self.began = trainer.current_epoch, time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write all three; runs after the epoch's validation."""
        assert isinstance(module, Fitting)
        if not trainer.val_dataloaders:
            module.keep_if_best(module.best_score + 1)  # nothing to judge by: the last is the best
        done = trainer.current_epoch + 1
        spent = time.monotonic() - self.began
        left = spent / (done - self.first_epoch) * (trainer.max_epochs - done)  # type: ignore[operator]
        row: dict[str, float] = {"epoch": done, **{name: float(np.mean(v)) for name, v in module.sums.items()}}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["seconds"] = round(spent, 1)
        module.sums = {}
        if trainer.is_global_zero:
            append_log(self.run / "log.csv", row)
            if trainer.logger is not None:
                trainer.logger.log_metrics({k: v for k, v in row.items() if k != "epoch"}, step=done)
            log.info("epoch %d of %d: %s; %s left", done, trainer.max_epochs, _in_words(row), _minutes(left))
        aside = self.run / "checkpoints" / ".last.ckpt"
        trainer.save_checkpoint(aside)
        if trainer.is_global_zero:
            aside.replace(self.run / "checkpoints" / "last.ckpt")


def _in_words(row: dict[str, float]) -> str:
    """Return the figures of an epoch: the loss (with its parts, where a teacher adds some) and how well it names."""
    parts = [name for name in row if name.startswith("train_") and name != "train_loss"]
    text = f"loss {row['train_loss']:.3f}"
    if len(parts) > 1:
        text += f" ({', '.join(f'{name[6:-5]} {row[name]:.3f}' for name in parts)})"
    judged = [name for name in ("val_accuracy", "val_balanced_accuracy", "val_mAP") if name in row]
    return ", ".join([text, *(f"{name[4:].replace('_', ' ')} {row[name]:.3f}" for name in judged)])


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def append_log(file: Path, row: dict[str, float]) -> None:
    """Add an epoch to log.csv, leaving out any the file already has from this epoch on (a resumed run)."""
    old: list[dict[str, str]] = []
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as stream:
            old = [one for one in csv.DictReader(stream) if float(one["epoch"]) < row["epoch"]]
    columns = list(dict.fromkeys([*(name for one in old for name in one), *row]))
    with written_aside(file) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*old, {name: f"{value:.6g}" for name, value in row.items()}])  # type: ignore[list-item]


def fit(module: Fitting, photographs: Photographs, run: Path, *, resume: bool = False) -> None:
    """Fit a network; RUN/checkpoints/best.safetensors and log.csv are what it leaves.

    A run that was killed goes on from the end of its last whole epoch and comes out the same.

    Args:
        module: network and loss.
        photographs: the loaders.
        run: the run folder.
        resume: go on from ``checkpoints/last.ckpt`` where there is one.
    """
    recipe = module.recipe
    last = run / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True, exist_ok=True)
    several = recipe.devices * recipe.nodes > 1
    on_gpu = torch.cuda.is_available()
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and on_gpu)
    module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with (
        warnings.catch_warnings(),
        _hushed("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "lightning"),
    ):
        # Advice on workers and logging intervals that the recipe has already decided.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        trainer = pl.Trainer(
            default_root_dir=run,
            max_epochs=recipe.epochs,
            accelerator="gpu" if on_gpu else "cpu",
            devices=recipe.devices,
            num_nodes=recipe.nodes,
            # Buffers stay each process's own: validation has no equal number of batches everywhere.
            strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
            precision="bf16-mixed" if bf16 else "32-true",
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=5.0,  # a deep network without published weights takes a wild step now and then
            logger=TensorBoardLogger(save_dir=run, name="", version="tensorboard"),
            callbacks=[KeepLast(run), *([TrainingBar()] if os.environ.get("GEOCAMNET_PROGRESS") == "1" else [])],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,  # Lightning's own shows one epoch at a time
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=10_000_000,
        )
        start = last if resume and last.is_file() else None
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, photographs, ckpt_path=start, weights_only=True if start else None)
        except SystemExit as error:
            # Lightning makes an exit of Ctrl-C and stops listening to it; whoever called decides that.
            if isinstance(error.__context__, KeyboardInterrupt):
                signal.signal(signal.SIGINT, on_interrupt)
                raise KeyboardInterrupt from error
            raise


@contextmanager
def _hushed(*names: str) -> Iterator[None]:
    """Keep a library's advice and advertisements out of the log while it works for us; its errors stay."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def choose_workers(recipe: FitRecipe) -> int:
    """Return how many loading processes a training process gets: none on a small machine, where they'd only compete."""
    if recipe.workers >= 0:
        return recipe.workers
    cores = (os.cpu_count() or 1) // max(1, recipe.devices)
    return 0 if cores <= 2 else min(8, cores - 1)
