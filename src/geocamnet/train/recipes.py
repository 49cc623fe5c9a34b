"""One frozen dataclass a step: every choice of the pipeline, with its default and what it means.

A recipe file (TOML) holds a table a step, named as the command: ``[prepare]``, ``[train]``, ``[cam]``,
``[distil]``. The command line overrides a recipe, a recipe overrides these defaults, and the resolved recipe is
written into every run. Importing this file imports no torch.
"""

from dataclasses import dataclass
from typing import Literal


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
class PrepareRecipe:
    """How photographs become a data set.

    Attributes:
        layout: how labels are told: by a manifest, by folder, by file-name prefix; ``auto`` looks.
        manifest: a CSV or XLSX with a column ``image`` and a column ``labels``, relative to RAW.
        section_regex: a regular expression on the path below RAW whose first group (or the group named
            ``section``) is the thin section. Without it a manifest's column is used, else every photograph
            counts as a section of its own, and the report says that leakage can't be excluded.
        crop_px: cut from every edge of the original before scaling: frames, scale-bar strips.
        long_side_px: the stored photograph's long side; None keeps the size.
        um_per_px: scale stored photographs to this many micrometres a pixel, where their own is known.
        raw_um_per_px: micrometres a pixel of the originals where the manifest does not say.
        val_share, test_share: shares of the sections.
        keep_splits: keep train/val/test folders or a manifest's split column where RAW has them.
        folds: cross-validation folds to add; 0 for none.
        jpeg_quality: of stored photographs; 0 stores PNG.
        seed: fixes the split.
        workers: processes; 0 means every core.
    """

    layout: Literal["auto", "manifest", "folders", "prefix"] = "auto"
    manifest: str = ""
    section_regex: str = ""
    crop_px: int = 0
    long_side_px: int | None = 1024
    um_per_px: float | None = None
    raw_um_per_px: float | None = None
    val_share: float = 0.15
    test_share: float = 0.2
    keep_splits: bool = False
    folds: int = 0
    jpeg_quality: int = 95
    seed: int = 0
    workers: int = 0
