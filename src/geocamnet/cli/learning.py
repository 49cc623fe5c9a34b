"""The verbs that make a model, in order; they need the train extra. Heavy imports stay inside the functions."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from geocamnet.cli.app import BRING_TOGETHER, app
from geocamnet.cli.sending import made_for
from geocamnet.console import progress, show_metrics
from geocamnet.errors import DataError
from geocamnet.stores import shown, url_of
from geocamnet.train.recipes import (
    AuditRecipe,
    CamRecipe,
    DistilRecipe,
    PrepareRecipe,
    PretrainRecipe,
    SynthesizeRecipe,
    TrainRecipe,
)

log = logging.getLogger("geocamnet")

# RAW photographs, DATA prepared data set, RUN run folder, MODEL .onnx file: the same words everywhere.
Flat = Parameter(name="*")


@app.command(sort_key=1)
def synthesize(raw: Path, *, settings: Annotated[SynthesizeRecipe, Flat] = SynthesizeRecipe()) -> None:
    """Draw thin sections with exact masks.

    Args:
        raw: folder to draw into.
    """
    from geocamnet.train.synthetic import synthesize as draw

    with progress("drawing") as on_progress:
        draw(raw, settings, on_progress=on_progress)
    log.info("%s: drawn; next: geocamnet prepare %s DATA", raw, raw)


@app.command(sort_key=2)
def audit(raw: Path, out: Path, *, settings: Annotated[AuditRecipe, Flat] = AuditRecipe()) -> None:
    """Find copies, leaks, shortcuts and burnt-in marks among photographs, before anything is learnt from them.

    Args:
        raw: folder of photographs, a ZIP or TAR of them, or a URL in an object store; it is only read.
        out: folder to write audit.html and audit.csv into.
    """
    from geocamnet.train.audit.audit import audit as look

    with progress("looking") as on_progress:
        report = look(raw, out, settings, on_progress=on_progress)
    for one in report.findings:
        level = {"error": logging.ERROR, "warning": logging.WARNING}.get(one.severity, logging.INFO)
        log.log(level, "%s", one.title)
    for path, reason in report.unread[:20]:
        log.warning("can't be used: %s: %s", path, reason)
    log.info(
        "%s: %d photographs; look at it, delete lines of %s that are wrong",
        out / "audit.html",
        report.photographs,
        out / "audit.csv",
    )
    log.info("next: geocamnet prepare %s DATA --audit %s", shown(raw), out)


@app.command(sort_key=3)
def prepare(
    raw: Path, data: Path, *, settings: Annotated[PrepareRecipe, Flat] = PrepareRecipe(), overwrite: bool = False
) -> None:
    """Make a data set, split by thin section, of photographs.

    Args:
        raw: folder of photographs, a ZIP or TAR of them, or a URL in an object store.
        data: data set folder to make; or a URL to send it to.
        overwrite: make it again where there is one.
    """
    from geocamnet.train.prepare import SENT_LAST
    from geocamnet.train.prepare import prepare as make

    alone = not settings.shard and settings.engine == "local"
    with made_for(data, SENT_LAST, source=raw, alone=alone) as folder, progress("preparing") as on_progress:
        report = make(raw, folder, settings, overwrite=overwrite, on_progress=on_progress)
    for note in report.notes:
        log.info("%s", note)
    for path, reason in report.skipped[:20]:
        log.warning("skipped %s: %s", path, reason)
    if report.shard:
        log.info("%s: share %s: %d photographs stored, %d skipped", data, report.shard, report.photographs,
                 len(report.skipped))  # fmt: skip
        log.info(BRING_TOGETHER)
        return
    splits = ", ".join(f"{split} {count}" for split, count in report.splits.items())
    log.info("%s: %d photographs (%s), %d skipped", shown(data), report.photographs, splits, len(report.skipped))
    where = "DATA" if url_of(data) else data  # networks learn from a folder
    log.info("all of it is told in %s; next: geocamnet train %s RUN", shown(data / "prepare.json"), where)


@app.command(sort_key=4)
def train(
    data: Path,
    run: Path,
    *,
    settings: Annotated[TrainRecipe, Flat] = TrainRecipe(),
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train a teacher.

    Args:
        data: data set folder.
        run: run folder to leave behind.
        resume: go on with a run that was stopped.
        overwrite: start again in a folder that holds a run.
    """
    from geocamnet.train.training import train as fit_teacher

    card = fit_teacher(data, run, settings, resume=resume, overwrite=overwrite)
    log.info("%s: %s, %s parameters, %d classes", run, card.architecture, f"{card.parameters:,}", len(card.classes))
    log.info("next: geocamnet cam DATA %s", run)


@app.command(sort_key=5)
def adopt(
    weights: Path, run: Path, *, classes: Path, data: Path, settings: Annotated[TrainRecipe, Flat] = TrainRecipe()
) -> None:
    """Make a run of a teacher that was trained elsewhere.

    Args:
        weights: a torchvision or timm state dict, .pth or .safetensors.
        run: run folder to leave behind.
        classes: a text file, a class a line, in the order of the network's outputs.
        data: data set folder whose validation photographs fix the scale of the heatmaps.
    """
    from geocamnet.taxonomy import canonical_name
    from geocamnet.train.training import adopt as take_over

    if not classes.is_file():
        raise DataError(f"{classes}: no such file. Write one class a line, in the order of the network's outputs.")
    try:
        lines = classes.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{classes}: is not UTF-8 text. Save it as UTF-8, one class a line.") from error
    names = [canonical_name(line) for line in lines if line.strip()]
    if len(set(names)) < len(names):
        raise DataError(f"{classes}: names a class twice.")
    card = take_over(weights, run, classes=names, data=data, recipe=settings)
    log.info("%s: adopted, %s parameters, %d classes", run, f"{card.parameters:,}", len(card.classes))


@app.command(sort_key=6)
def cam(data: Path, run: Path, *, settings: Annotated[CamRecipe, Flat] = CamRecipe(), overwrite: bool = False) -> None:
    """Store the teacher's class activation maps and logits of a data set.

    Args:
        data: data set folder; it needs no labels.
        run: the teacher's run.
        overwrite: make maps again that are there.
    """
    from geocamnet.train.cam import extract

    with progress("mapping") as on_progress:
        folder = extract(data, run, settings, overwrite=overwrite, on_progress=on_progress)
    if settings.shard:
        log.info("%s: share %s stored", folder, settings.shard)
        log.info(BRING_TOGETHER)
        return
    log.info("%s: class maps stored; next: geocamnet distil %s RUN --teacher %s", folder, data, run)


@app.command(sort_key=7)
def pretrain(
    data: Path,
    run: Path,
    *,
    settings: Annotated[PretrainRecipe, Flat] = PretrainRecipe(),
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Give a student's trunk its start: a pretrained network's features, without labels.

    Args:
        data: data set folder; it needs no labels.
        run: run folder to leave behind.
        resume: go on with a run that was stopped.
        overwrite: start again in a folder that holds a run.
    """
    from geocamnet.train.pretrain import pretrain as match

    match(data, run, settings, resume=resume, overwrite=overwrite)
    log.info("next: geocamnet distil DATA RUN --weights %s", run)


@app.command(sort_key=8)
def distil(
    data: Path,
    run: Path,
    *,
    teacher: list[str],
    settings: Annotated[DistilRecipe, Flat] = DistilRecipe(),
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Distil a student of fewer than 800,000 parameters.

    Args:
        data: data set folder; it may be another one than the teacher's.
        run: run folder to leave behind.
        teacher: the teacher's run, or none to train the same student alone. Given several times, the student learns
            from the mean of what they say; after the first, a student's run will do as well.
        resume: go on with a run that was stopped.
        overwrite: start again in a folder that holds a run.
    """
    from geocamnet.train.training import distil as fit_student

    source = None if teacher == ["none"] else [Path(one) for one in teacher]
    card = fit_student(data, run, settings, teacher=source, resume=resume, overwrite=overwrite)
    log.info("%s: %s parameters, %d classes", run, f"{card.parameters:,}", len(card.classes))
    log.info("next: geocamnet evaluate %s %s", run, data)


@app.command(sort_key=9)
def evaluate(
    run_or_model: Path,
    data: Path,
    *,
    split: Literal["train", "val", "test"] = "test",
    fold: int | None = None,
    out: Path | None = None,
    baselines: Annotated[bool, Parameter(negative="--no-baselines")] = True,
    localisation: Annotated[bool, Parameter(negative="--no-localisation")] = True,
    all_attitudes: bool = False,
) -> None:
    """Judge a run or a model file, beside its baselines.

    Args:
        run_or_model: run folder, or .onnx file.
        data: data set folder.
        split: part of the data set; test is to be looked at once, at the end.
        fold: judge on this fold, as it was trained.
        out: folder for metrics.json and pictures; a run keeps its own.
        baselines: also the majority class and a random forest on texture histograms.
        localisation: also the heatmaps.
        all_attitudes: look at every photograph in its eight attitudes and average the evidence.
    """
    from geocamnet.train.evaluate import evaluate as judge
    from geocamnet.train.evaluate import suffix_of

    with progress("judging") as on_progress:
        metrics = judge(
            run_or_model,
            data,
            split=split,
            fold=fold,
            out=out,
            baselines=baselines,
            localisation=localisation,
            all_attitudes=all_attitudes,
            on_progress=lambda what, done, total: on_progress(done, total, what),
        )
    show_metrics(metrics)
    if strange := metrics["excluded"]["labels_unknown_to_the_model"]:
        counts = ", ".join(f"{name} {count}" for name, count in strange.items())
        log.warning("photographs with labels the model does not know were left out: %s", counts)
    if metrics["skipped"]:
        log.warning("%d photographs could not be read and were left out", len(metrics["skipped"]))
    folder = out or (run_or_model if run_or_model.is_dir() else None)
    if folder is None:
        log.info("nothing was written; --out FOLDER keeps figures, predictions and pictures")
    else:
        log.info("%s: metrics%s.json written", folder, suffix_of(split, all_attitudes=all_attitudes))


@app.command(sort_key=10)
def export(
    run: Path,
    model: Path,
    *,
    data: Path | None = None,
    precision: Literal["fp32", "int8-weights", "int8"] = "fp32",
    name: str = "",
    licence: str = "",
    attribution: str = "",
    limits: str = "",
) -> None:
    """Write one model file, checked against the network on photographs.

    Args:
        run: run folder.
        model: the .onnx file to write (of a teacher also .pth or .safetensors: its weights).
        data: data set folder whose photographs the check uses; below 32 bits it is needed.
        precision: of the weights, and for int8 of the arithmetic too.
        name: of the model, for its card.
        licence: of the weights, for the card.
        attribution: what must be said of the data, for the card.
        limits: what the model does not know, for the card and for whoever uses it.
    """
    from geocamnet.train.export import export as write

    write(
        run, model, data=data, precision=precision, name=name, licence=licence, attribution=attribution, limits=limits
    )
    if model.suffix != ".onnx":
        log.info("%s: the weights of %s, without its card", model, run)


@app.command(sort_key=11)
def report(run: Path) -> None:
    """Write the page of a run: RUN/report.html, one file.

    Args:
        run: run folder.
    """
    from geocamnet.train.report import write_report

    log.info("%s: written", write_report(run))
