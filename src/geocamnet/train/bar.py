"""A bar over the whole of a training, with the time left, for people who watch it."""

from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingBar(pl.Callback):
    """Shows epoch, loss, time spent and time left on stderr; lines of the log appear above it."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._bar = Progress(*columns, *times, console=Console(stderr=True), transient=True)
        self._task: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Begin where the training begins, or takes up again."""
        if trainer.is_global_zero:
            batches = int(trainer.num_training_batches)
            total, done = batches * (trainer.max_epochs or 0), batches * trainer.current_epoch
            done += trainer.datamodule.begun  # type: ignore[attr-defined]
            self._task = self._bar.add_task("training", total=total, completed=done, loss="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Say which epoch it is."""
        if self._task is not None:
            epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            self._bar.update(self._task, description=epoch, refresh=True)  # a short epoch is shown too

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move on by a batch."""
        if self._task is not None:
            loss = float(trainer.callback_metrics.get("loss", float("nan")))
            self._bar.update(self._task, advance=1, loss=f"loss {loss:.3f}")

    def on_fit_end(self, *_: Any) -> None:
        """Take the bar away."""
        self._bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Take the bar away before the error is told."""
        self._bar.stop()
