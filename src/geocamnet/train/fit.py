"""Fitting a network to a data set: loaders, what is kept after each epoch, resuming, several processes."""

import csv
import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from geocamnet.errors import ModelError
from geocamnet.images import written_aside
from geocamnet.train.augment import seen_size_hw
from geocamnet.train.bar import TrainingBar
from geocamnet.train.compiled import compiler_needed
from geocamnet.train.dataset import PhotographDataset, SameSizeBatches, TrainingSampler, balanced_weights
from geocamnet.train.fitting import Fitting
from geocamnet.train.memory import kept_memory
from geocamnet.train.recipes import FitRecipe
from geocamnet.train.runs import is_first_process

log = logging.getLogger(__name__)

KEEP_EVERY_S = 600.0


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
        batch_size, _ = self._batches
        if self.trainer is not None:
            sampler.begin_at(self.trainer.current_epoch, self.begun * batch_size)
        return DataLoader(
            self.training,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=True,  # a last batch of one photograph would upset batch normalisation
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def steps(self) -> int:
        """Return how often the weights move in the whole training."""
        _, batches = self._batches
        return self.recipe.epochs * -(-batches // self.recipe.accumulate)

    @property
    def begun(self) -> int:
        """How many batches of the epoch were seen; the trainer has read by now where a stopped run was."""
        _, batches = self._batches
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.current.completed % batches) if self.trainer else 0

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Whole photographs, in batches of one size."""
        if not len(self.validation):
            return []
        seen = self.validation
        sizes = [seen_size_hw((row.height_px, row.width_px), seen.image_px) for row in seen.rows]
        batches = SameSizeBatches(
            sizes,
            batch_size=max(1, self.recipe.batch_size // 2),
            # A process without any would skip the epoch's end, where the others wait for it: it sees one again.
            rank=self._rank % len(sizes),
            world=self._world,
        )
        return DataLoader(self.validation, batch_sampler=batches)

    @property
    def _batches(self) -> tuple[int, int]:
        """Photographs of a batch of this process, and its batches of an epoch."""
        share = -(-len(self.training) // self._world)
        batch_size = min(self.recipe.batch_size, share)
        return batch_size, share // batch_size

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1


class KeepLast(pl.Callback):
    """After every epoch: ``checkpoints/last.ckpt``, a row of ``log.csv``, a line in the log; in a long one, the first.

    Args:
        run: the run folder.
        every_s: the longest that training goes on without anything being kept, to a step.
    """

    def __init__(self, run: Path, every_s: float) -> None:
        self.run, self.every_s = run, every_s
        self.began = self.kept = time.monotonic()
        self.first_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Note where a resumed run takes up."""
        self.first_epoch, self.began = trainer.current_epoch, time.monotonic()
        self.kept = self.began

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, _: Any, batch_idx: int) -> None:
        """In mid-epoch, before a step: keep what the steps up to here have made, if nothing has been for long."""
        assert isinstance(module, Fitting)
        whole = batch_idx > 0 and batch_idx % module.recipe.accumulate == 0  # half a step's gradients can't be kept
        due = whole and time.monotonic() - self.kept >= self.every_s
        if whole and trainer.strategy.broadcast(due):  # processes keep together or not at all
            self._keep(trainer)

    def _keep(self, trainer: pl.Trainer) -> None:
        aside = self.run / "checkpoints" / ".last.ckpt"
        trainer.save_checkpoint(aside)
        if trainer.is_global_zero:
            aside.replace(self.run / "checkpoints" / "last.ckpt")
        self.kept = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write all three; runs after the epoch's validation."""
        assert isinstance(module, Fitting)
        if not trainer.val_dataloaders:
            module.keep()  # nothing to judge by: the last is the best
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
        self._keep(trainer)


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

    A run that was killed goes on from the step at which it was kept last, after every epoch and every ten minutes, and
    comes out the same.

    Args:
        module: network and loss.
        photographs: the loaders.
        run: the run folder.
        resume: go on from ``checkpoints/last.ckpt`` where there is one.
    """
    recipe = module.recipe
    last = run / "checkpoints" / "last.ckpt"
    if is_first_process():  # before it has opened the run, which must be empty, nobody else writes there
        last.parent.mkdir(parents=True, exist_ok=True)
    several = recipe.devices * recipe.nodes > 1
    on_gpu = torch.cuda.is_available()
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and on_gpu)
    module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.compile:
        module.compile_networks()
    with (
        warnings.catch_warnings(),
        _hushed("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "lightning"),
        kept_memory(),
        compiler_needed() if recipe.compile else nullcontext(),
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
            # Statistics of the whole step's photographs, as one process would have them; PyTorch has it for GPUs only.
            sync_batchnorm=several and on_gpu,
            precision="bf16-mixed" if bf16 else "32-true",
            accumulate_grad_batches=recipe.accumulate,
            logger=TensorBoardLogger(save_dir=run, name="", version="tensorboard"),
            callbacks=[
                KeepLast(run, KEEP_EVERY_S),
                *([TrainingBar()] if os.environ.get("GEOCAMNET_PROGRESS") == "1" else []),
            ],
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
        except RuntimeError as error:
            if several and (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
                raise ModelError(
                    f"{run}: process {trainer.global_rank} of {trainer.world_size} lost the others: one has ended, or "
                    "the network between them. Look at what the others said, then start all again with --resume."
                ) from error
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
