"""One frozen dataclass a step: every choice of the pipeline, with its default and what it means.

A recipe file (TOML) holds a table a step, named as the command: ``[prepare]``, ``[train]``, ``[cam]``,
``[distil]``. The command line overrides a recipe, a recipe overrides these defaults, and the resolved recipe is
written into every run. Importing this file imports no torch.
"""

import math
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from geocamnet.errors import DataError

HIGHEST_SEED = 2**32 - 1  # scikit-learn and PyTorch Lightning take none above
MosaicBorders = Literal["straight", "bent"]


@dataclass(frozen=True)
class SynthesizeRecipe:
    """How thin sections are drawn.

    Attributes:
        classes: which of the 22; none named means all.
        sections: thin sections per class.
        fields: fields of view per section.
        size_px: side of the square photograph.
        lights: photographs of each field, registered to each other.
        composites: fields of two or three fabrics side by side, as a share of all fields.
        unlabelled: share of the sections whose label is withheld from the manifest.
        style: 0 draws every section alike; 1 lets sections differ as real slides do.
        seed: the same seed draws the same sections, whatever the number of workers.
        workers: processes; 0 means every core.
    """

    classes: tuple[str, ...] = ()
    sections: int = 10
    fields: int = 4
    size_px: int = 512
    lights: tuple[str, ...] = ("PPL", "XPL")
    composites: float = 0.0
    unlabelled: float = 0.0
    style: float = 1.0
    seed: int = 0
    workers: int = 0


@dataclass(frozen=True)
class AuditRecipe:
    """How photographs are looked at before anything is learnt from them.

    Attributes:
        layout: how labels are told: by a manifest, by folder, by file-name prefix; ``auto`` looks, and where nothing
            tells them the audit goes on without.
        manifest: a CSV or XLSX with a column ``image`` and a column ``labels``, relative to RAW.
        section_regex: a regular expression on the path below RAW whose first group (or the group named
            ``section``) is the thin section.
        seed: fixes draws, folds and permutations.
        workers: processes; 0 means every core.
    """

    layout: Literal["auto", "manifest", "folders", "prefix"] = "auto"
    manifest: str = ""
    section_regex: str = ""
    seed: int = 0
    workers: int = 0


@dataclass(frozen=True)
class PrepareRecipe:
    """How photographs become a data set.

    Attributes:
        layout: how labels are told: by a manifest, by folder, by file-name prefix, by COCO outlines, or by
            masks alone; ``auto`` looks.
        manifest: a CSV or XLSX with a column ``image`` and a column ``labels``, relative to RAW.
        section_regex: a regular expression on the path below RAW whose first group (or the group named
            ``section``) is the thin section. Without it a manifest's column is used, else every photograph
            counts as a section of its own, and the report says that leakage can't be excluded.
        audit: folder of an audit (or its audit.csv) to carry out: drop copies, merge labels, crop marks, keep
            near copies in one split.
        crop_px: cut from every edge of the original before scaling: frames, scale-bar strips.
        long_side_px: the stored photograph's long side; None keeps the size.
        um_per_px: scale stored photographs to this many micrometres a pixel, where their own is known.
        raw_um_per_px: micrometres a pixel of the originals where the manifest does not say.
        val_share: share of the sections to choose by.
        test_share: share of the sections to be looked at once, at the end.
        keep_splits: keep train/val/test folders or a manifest's split column where RAW has them.
        folds: cross-validation folds to add; 0 for none.
        jpeg_quality: of stored photographs; 0 stores PNG.
        title: what the data set is called in its card and in those of models trained on it.
        origin: whence the photographs come, in a sentence, for the card.
        licence: under which they may be used, for the card.
        seed: fixes the split.
        workers: processes; 0 means every core.
        engine: ``local`` takes processes of this machine, ``ray`` the nodes of a Ray cluster.
        shard: I/N does every N-th photograph, from the I-th on, as one job of N; the same command without it then
            brings together what the jobs have done.
    """

    layout: Literal["auto", "manifest", "folders", "prefix", "coco", "masks"] = "auto"
    manifest: str = ""
    section_regex: str = ""
    audit: str = ""
    crop_px: int = 0
    long_side_px: int | None = 1024
    um_per_px: float | None = None
    raw_um_per_px: float | None = None
    val_share: float = 0.15
    test_share: float = 0.2
    keep_splits: bool = False
    folds: int = 0
    jpeg_quality: int = 95
    title: str = ""
    origin: str = ""
    licence: str = ""
    seed: int = 0
    workers: int = 0
    engine: Literal["local", "ray"] = "local"
    shard: str = ""


@dataclass(frozen=True)
class AugmentRecipe:
    """What a training photograph may look like: a thin section has no up, and a slide no fixed lamp.

    Attributes:
        turns: quarter turns and flips, all eight alike likely.
        scale: crops are taken at 1/scale to scale times the size of the training crop.
        stain: strength of the colour cast and of the change in saturation, 0 to 1.
        light: strength of the change in brightness, contrast and gamma, 0 to 1.
        focus: chance of a blur as of a lens out of focus.
        noise: chance of a camera's noise.
        burn_in: chance that a scale bar or frame line is drawn in, so that neither can tell the class.
    """

    turns: bool = True
    scale: float = 1.33
    stain: float = 0.3
    light: float = 0.3
    focus: float = 0.2
    noise: float = 0.2
    burn_in: float = 0.15


@dataclass(frozen=True)
class FitRecipe:
    """What fitting a teacher and fitting a student have in common.

    Attributes:
        weights: where the trunk starts: ``none``, ``imagenet`` (downloaded), ``bundled`` (a student's start that
            comes with the package), a ``.safetensors`` or ``.pth`` state dict, or a RUN folder.
        image_px: long side of the photograph as the network sees it; it travels in the model file. 0 shows photographs
            as they are stored, all at one scale (``prepare --um-per-px``), and that scale travels instead.
        crop_px: side of the square training crop.
        epochs: passes over the training photographs.
        batch_size: photographs a step and process.
        accumulate: steps added up before the weights move.
        lr: peak learning rate of AdamW, after warm-up, before the cosine.
        weight_decay: of AdamW, on everything but biases and normalisation.
        warmup: share of all steps over which the learning rate rises.
        label_smoothing: share of the label spread over all classes.
        labels: ``single`` (softmax), ``multi`` (sigmoid), or as the data have them.
        balance: for long-tailed classes: ``sampler`` shows each class equally often, ``logit_adjust`` adds
            the log prior in training (Menon et al. 2021, arXiv 2007.07314).
        mosaic_weight: of naming every cell of mosaics laid of a batch, every second one equally bright throughout (see
            `mosaic_lesson`); 0 for none.
        mosaic_borders: ``bent``, as where fabrics meet in rock, or ``straight``.
        equivariance_weight: of maps that turn and shift with the photograph (see `equivariance_lesson`); 0 for none.
        ema: decay a step of the averaged weights that are judged and kept; 0 for none.
        keep: the epoch that is kept: the ``best`` on the validation photographs, or the ``last``, where those are so
            few that the best is luck.
        fold: train on all folds but one and a half (see `index.use_fold`); None takes the split column.
        augment: what a training photograph may look like.
        precision: ``bf16`` where there is a GPU, else ``fp32`` (a teacher that is looked at runs in bf16 on a processor
            that has it); or one of them by name.
        compile: let PyTorch compile the networks (torch.compile): minutes once, then quicker steps, most of all on a
            GPU; needs a C++ compiler.
        devices: processes that train together on a machine: GPUs, where there are any.
        nodes: machines that train together.
        workers: loading processes per training process; -1 chooses.
        cache_mb: decoded photographs kept in memory, per loading process.
        seed: fixes initial weights, order and augmentation.
    """

    weights: str = "none"
    image_px: int = 320
    crop_px: int = 224
    epochs: int = 30
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    labels: Literal["auto", "single", "multi"] = "auto"
    balance: Literal["none", "sampler", "logit_adjust"] = "none"
    mosaic_weight: float = 0.0
    mosaic_borders: MosaicBorders = "bent"
    equivariance_weight: float = 0.0
    ema: float = 0.0
    keep: Literal["best", "last"] = "best"
    fold: int | None = None
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    devices: int = 1
    nodes: int = 1
    workers: int = -1
    cache_mb: int = 1024
    seed: int = 0


@dataclass(frozen=True)
class TrainRecipe(FitRecipe):
    """How the teacher is trained.

    Attributes:
        backbone: any timm network that ends in average pooling and one linear layer.
        output_stride: pixels per cell of its class maps: 32, or 16 or 8 where the network can.
        edges: what convolutions see beyond the photograph's edge: ``zeros``, as published networks were trained, or
            the photograph ``continued``, which tells a cell less of where it lies.
    """

    backbone: str = "resnet101"
    output_stride: int = 32
    edges: Literal["zeros", "continued"] = "zeros"

    @property
    def map_stride(self) -> int:
        """Pixels per cell of the class maps."""
        return self.output_stride


@dataclass(frozen=True)
class CamRecipe:
    """How a teacher's heatmaps are extracted.

    Attributes:
        method: ``cam`` is exact and needs no gradient; the others go through torchcam, for comparison.
        part: photographs per stored file; a killed run loses at most one part.
        engine: ``local`` takes this machine, ``ray`` the nodes of a Ray cluster.
        shard: I/N does every N-th part, from the I-th on, as one job of N; the same command without it then brings
            together what the jobs have done.
    """

    method: Literal["cam", "gradcam", "gradcam++", "xgradcam", "layercam"] = "cam"
    part: int = 256
    engine: Literal["local", "ray"] = "local"
    shard: str = ""


@dataclass(frozen=True)
class DistilRecipe(FitRecipe):
    """How a student is distilled.

    Attributes:
        backbone: the trunk; with the default the student has fewer than 800,000 parameters.
        output_stride: pixels per cell of the trunk's last features; less than 32 costs time.
        detail_stride: 16 or 8 joins the features of the stage with cells of so many px to the last ones, and class
            maps have its cells; 0, and what is not finer than the last ones, joins none.
        classes: ``union`` adds the data set's own classes to the teacher's; ``teacher`` keeps to the teacher's
            and treats other labels as unknown.
        label_weight: of the cross-entropy with known labels.
        logit_weight: of the teacher's logits.
        logit_loss: ``kl`` (Hinton et al. 2015), ``dkd`` (Zhao et al. 2022) or ``dist`` (Huang et al. 2022).
        temperature: that softens both logits.
        map_weight: of the teacher's class maps (CAT-KD, Guo et al. 2023).
        map_cells: side of the grid on which class maps are compared; 0 takes a cell per 32 px of the crop.
        feature_weight: of the teacher's features, which the student's are to give by linear maps, stage by stage where
            strides are equal, and the last ones; needs ``teacher_maps = "online"``.
        teacher_maps: ``stored`` maps are cropped with the photograph; ``online`` runs the teacher on the very
            crop the student sees (Beyer et al. 2022, arXiv 2106.05237), at the scale the teacher was trained at.
    """

    backbone: str = "mobilenetv3_small_075"
    output_stride: int = 32
    detail_stride: int = 16
    lr: float = 2e-3
    epochs: int = 60
    label_smoothing: float = 0.0
    classes: Literal["union", "teacher"] = "union"
    label_weight: float = 1.0
    logit_weight: float = 1.0
    logit_loss: Literal["kl", "dkd", "dist"] = "kl"
    temperature: float = 4.0
    map_weight: float = 1.0
    map_cells: int = 0
    feature_weight: float = 0.0
    teacher_maps: Literal["stored", "online"] = "stored"

    @property
    def map_stride(self) -> int:
        """Pixels per cell of the class maps."""
        return min(self.detail_stride or self.output_stride, self.output_stride)


@dataclass(frozen=True)
class PretrainRecipe(FitRecipe):
    """How a student's trunk gets its start from a network with published weights, without a label.

    Attributes:
        backbone: the student's trunk.
        output_stride: pixels per cell of the trunk's last features.
        teacher_backbone: any timm network whose features are to be matched, stage by stage.
        teacher_weights: its weights: ``imagenet`` (downloaded), a ``.safetensors`` or ``.pth`` state dict, or a RUN.
    """

    backbone: str = "mobilenetv3_small_075"
    output_stride: int = 16
    lr: float = 2e-3
    epochs: int = 60
    keep: Literal["best", "last"] = "last"
    teacher_backbone: str = "resnet101"
    teacher_weights: str = "imagenet"


def check_fitting(recipe: FitRecipe) -> None:
    """Refuse choices that no training can be made with.

    Raises:
        DataError: a value outside its range; the message names the option.
    """

    def check(name: str, fits: bool, wanted: str) -> None:
        if not fits:
            option = "--" + name.replace("_", "-")
            raise DataError(f"{option} must be {wanted}; received {attrgetter(name)(recipe)}.")

    for name in ("epochs", "batch_size", "accumulate", "devices", "nodes"):
        check(name, getattr(recipe, name) >= 1, "1 or more")
    check("image_px", recipe.image_px == 0 or recipe.image_px >= 32, "32 or more, or 0 for one scale")
    check("crop_px", recipe.crop_px >= 32, "32 or more")
    check("lr", recipe.lr > 0, "above 0")
    check("weight_decay", recipe.weight_decay >= 0, "0 or more")
    check("cache_mb", recipe.cache_mb >= 0, "0 or more")
    check("warmup", 0 <= recipe.warmup <= 1, "from 0 to 1")
    for name in ("mosaic_weight", "equivariance_weight"):
        check(name, getattr(recipe, name) >= 0, "0 or more")
    check("seed", 0 <= recipe.seed <= HIGHEST_SEED, f"from 0 to {HIGHEST_SEED}")
    check("augment.scale", 0 < recipe.augment.scale < math.inf, "above 0")
    for name in ("augment.stain", "augment.light"):
        check(name, 0 <= attrgetter(name)(recipe) < math.inf, "0 or more")
    check("label_smoothing", 0 <= recipe.label_smoothing < 1, "from 0 to below 1")
    check("ema", 0 <= recipe.ema < 1, "from 0 (none) to below 1")
    if isinstance(recipe, DistilRecipe):
        check("temperature", recipe.temperature > 0, "above 0")
        check("map_cells", recipe.map_cells >= 0, "0 (the teacher's own) or more")
        for name in ("label_weight", "logit_weight", "map_weight", "feature_weight"):
            check(name, getattr(recipe, name) >= 0, "0 or more")
        fits = not recipe.feature_weight or recipe.teacher_maps == "online"
        check("feature_weight", fits, "0 with --teacher-maps stored; features are not stored, so use online")
