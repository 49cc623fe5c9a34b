"""Judge a run or a model file on a split of a data set: figures, baselines on the same rows, heatmaps, pictures."""

import csv
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocamnet import __version__
from geocamnet.card import ModelCard
from geocamnet.errors import DataError, unknown_name
from geocamnet.images import read_image, written_aside
from geocamnet.runtime.heatmap import scale_maps
from geocamnet.runtime.prediction import prediction_of, probabilities_of
from geocamnet.runtime.scale import scale_to_card
from geocamnet.train.baselines import features_of, forest_on_features, majority
from geocamnet.train.caveats import caveats_of, sections_known_of
from geocamnet.train.faithfulness import judge_without_masks
from geocamnet.train.gallery import write_gallery
from geocamnet.train.index import SPLITS, IndexRow, read_index, use_fold
from geocamnet.train.judge import Judge
from geocamnet.train.localise import Predict, equivariance_error
from geocamnet.train.map_samples import ReadRow, judge_heatmaps
from geocamnet.train.metrics import macro_f1_thresholds
from geocamnet.train.places import Places
from geocamnet.train.runs import own_fold, trained_on

log = logging.getLogger(__name__)

TURNED_PHOTOGRAPHS = 12  # eight predictions each

Progress = Callable[[str, int, int], None]
Ints = NDArray[np.int64]


def evaluate(
    run_or_model: Path,
    data: Path,
    *,
    split: str = "test",
    fold: int | None = None,
    out: Path | None = None,
    baselines: bool = True,
    localisation: bool = True,
    all_attitudes: bool = False,
    untrained: Predict | None = None,
    measured: dict[str, NDArray[np.float32]] | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge a model on the labelled photographs of a split, and write down what was found.

    Written into RUN, or into ``out`` where it is given: ``metrics.json``, ``predictions.csv``, ``gallery/`` (for a
    split other than ``test`` with ``-val`` or ``-train`` in the names, for eight looks with ``-all-attitudes``, so that
    no other look replaces the test's figures, which the card shows). ``out`` also gets the model's ``card.json``. A
    model file without ``out`` is judged and nothing is written.

    Photographs that can't be read are listed under ``skipped``; those whose labels the model does not know are
    left out and counted under ``excluded``, with the names.

    Args:
        run_or_model: a RUN folder, or an ``.onnx`` file.
        data: a DATA folder.
        split: ``train``, ``val`` or ``test``.
        fold: of cross-validation; None takes the one the model's card says it was trained on, where DATA has the folds
            that it was dealt from, and else the split column.
        out: another folder to write to, no run or data set of its own.
        baselines: also fit the majority class and the random forest on the training split.
        localisation: also judge the heatmaps.
        all_attitudes: every photograph is looked at in all eight attitudes (`attitudes.in_all_attitudes`).
        untrained: the same network with random weights, one more row for the table of heatmaps.
        measured: the forest's features by image; filled, and used again by a further call on the same DATA, where
            cross-validation would otherwise measure every photograph once for each fold.
        on_progress: called with (what is being done, done, of how many).

    Returns:
        What metrics.json holds: ``split, fold, n, sections, classes, labels, sections_known, model, baselines,
        localisation, places, excluded, skipped, caveats, created, version``.

    Raises:
        DataError: an unknown split, no labelled photograph in it, no label that the model knows, or an ``out`` that
            would lose its own card.
        ModelError: the run or model can't be opened.
    """
    from geocamnet.train.predictor import open_predictor

    if split not in SPLITS:
        raise DataError(unknown_name("split", split, SPLITS))
    folder = out if out is not None else (run_or_model if run_or_model.is_dir() else None)
    elsewhere = folder is not None and folder.resolve() != run_or_model.resolve()
    if folder is not None and elsewhere and any((folder / one).is_file() for one in ("recipe.toml", "index.csv")):
        raise DataError(
            f"{folder}: is a run or a data set of its own, whose card.json would be lost. Name another folder for what "
            "is found (--out)."
        )
    tell: Progress = on_progress or (lambda what, done, of: None)
    predict, card = open_predictor(run_or_model, all_attitudes=all_attitudes)
    rows = read_index(data, check_files=False)
    used_fold = own_fold(rows, card) if fold is None else fold
    rows = use_fold(rows, used_fold)
    chosen, excluded = _rows_to_judge(rows, split, card)

    def read_row(row: IndexRow) -> NDArray[np.uint8]:
        return scale_to_card(read_image(data / row.image), card, row.um_per_px)

    said = _answer(predict, chosen, card, read_row, lambda done, of: tell("predicting", done, of))
    targets = _targets(said.rows, card)
    figures: dict[str, Any] = {
        "split": split,
        "fold": used_fold,
        "all_attitudes": all_attitudes,
        "n": len(said.rows),
        "sections": len({row.section for row in said.rows}),
        "classes": list(card.class_names),
        "labels": card.labels,
        "sections_known": sections_known_of(data),
        "model": {},
        "baselines": {},
        "localisation": None,
        "excluded": excluded,
        "skipped": said.skipped,
    }
    thresholds = None
    if card.labels == "multi":
        own = np.asarray(card.label_thresholds)
        thresholds = own if own.size else _validated_thresholds(predict, rows, card, read_row)
    judge = Judge(said.rows, targets, card.class_names, thresholds)
    model = judge.of(said.probabilities, by_field=lambda group: probabilities_of(said.logits[group].mean(0), card))
    figures["model"] = model | judge.abstention(said.probabilities, card.abstain_below)
    figures["model"]["verdicts"] = judge.verdicts(said.probabilities, said.verdicts)
    if baselines:
        figures["baselines"] = _baselines(judge, rows, card, read_row, {} if measured is None else measured, tell)
    if localisation:
        figures["localisation"] = _localisation(
            predict, card, rows, chosen, said.rows,
            split=split, data=data, read_row=read_row, untrained=untrained, tell=tell,
        )  # fmt: skip
    figures["places"] = said.places.figures()
    seen = trained_on(run_or_model)
    learnt_from = None if seen is None else sum(row.sha256 in seen for row in said.rows)
    figures["caveats"] = caveats_of(figures, card, card.data.get("fold"), learnt_from)
    figures["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    figures["version"] = __version__
    figures = _json_able(figures)
    if folder is not None:
        suffix = suffix_of(split, all_attitudes=all_attitudes)
        tell("writing", 0, 1)
        write_gallery(
            folder / f"gallery{suffix}",
            predict,
            card,
            said.rows,
            said.probabilities,
            read_row=read_row,
            thresholds=thresholds,
        )
        _write_predictions(folder / f"predictions{suffix}.csv", said, card, thresholds)
        with written_aside(folder / f"metrics{suffix}.json") as aside:
            text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
            aside.write_text(text + "\n", encoding="utf-8", newline="\n")
        if elsewhere:  # the report of this folder then knows the model too
            with written_aside(folder / "card.json") as aside:
                aside.write_text(card.to_json(), encoding="utf-8", newline="\n")
        tell("writing", 1, 1)
    return figures


def suffix_of(split: str, *, all_attitudes: bool) -> str:
    """Return what the names of `evaluate`'s files end in, before their ``.json``."""
    return ("" if split == "test" else f"-{split}") + ("-all-attitudes" if all_attitudes else "")


@dataclass
class _Said:
    """What the model said of the photographs that could be read."""

    rows: list[IndexRow] = field(default_factory=list)
    answers: list[NDArray[np.float64]] = field(default_factory=list)
    evidence: list[NDArray[np.float64]] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    places: Places = field(default_factory=Places)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return np.stack(self.answers)

    @property
    def logits(self) -> NDArray[np.float64]:
        return np.stack(self.evidence)


def _rows_to_judge(rows: Sequence[IndexRow], split: str, card: ModelCard) -> tuple[list[IndexRow], dict[str, Any]]:
    """Return the rows of a split with a label that the model knows, and what was left out."""
    of_split = [row for row in rows if row.split == split]
    labelled = [row for row in of_split if row.labels]
    if not labelled:
        raise DataError(
            f"The split '{split}' holds {len(of_split)} photographs and none with a label: nothing to judge by."
        )
    known = set(card.class_names)
    chosen, several, unknown = [], 0, Counter[str]()
    for row in labelled:
        strange = [label for label in row.labels if label not in known]
        unknown.update(strange)
        if card.labels == "single" and len(row.labels) > 1:
            several += 1
        elif len(strange) < len(row.labels):
            chosen.append(row)
    if not chosen:
        theirs = sorted({label for row in labelled for label in row.labels})
        reason = "carry several labels, and the model knows one" if several else "carry labels it does not know"
        raise DataError(
            f"No photograph of the split '{split}' can be judged: all {len(labelled)} {reason}. "
            f"The model knows: {', '.join(card.class_names)}. The data have: {', '.join(theirs)}."
        )
    return chosen, {
        "photographs": len(of_split) - len(chosen),
        "unlabelled": len(of_split) - len(labelled),
        "several_labels": several,
        "labels_unknown_to_the_model": dict(sorted(unknown.items())),
    }


def _answer(
    predict: Predict, rows: Sequence[IndexRow], card: ModelCard, read_row: ReadRow, tell: Callable[[int, int], None]
) -> _Said:
    said = _Said()
    for done, row in enumerate(rows, start=1):
        try:
            image = read_row(row)
            probabilities, class_maps = (np.asarray(one, np.float64) for one in predict(image))
        except DataError as error:
            log.warning("Left out: %s", error)
            said.skipped.append({"image": row.image, "why": str(error)})
            continue
        if probabilities.shape != (len(card.classes),):
            raise DataError(f"The model answered {probabilities.shape} for {len(card.classes)} classes.")
        said.rows.append(row)
        said.answers.append(probabilities)
        said.evidence.append(class_maps.mean(axis=(1, 2)) + np.asarray(card.class_bias))
        said.places.add(scale_maps(class_maps.astype(np.float32), card)[probabilities.argmax()])
        said.verdicts.append(prediction_of(card, image, probabilities, class_maps).verdict)
        tell(done, len(rows))
    if not said.rows:
        raise DataError(f"None of {len(rows)} photographs can be read. The first: {said.skipped[0]['why']}")
    return said


def _targets(rows: Sequence[IndexRow], card: ModelCard) -> Ints:
    if card.labels == "single":
        return np.array([card.class_index(row.labels[0]) for row in rows], np.int64)
    return np.array([[name in row.labels for name in card.class_names] for row in rows], np.int64)


def _validated_thresholds(
    predict: Predict, rows: Sequence[IndexRow], card: ModelCard, read_row: ReadRow
) -> NDArray[np.float64] | None:
    """Return (C,) thresholds from the validation split, or None where it can't give any."""
    try:
        validation, _ = _rows_to_judge(rows, "val", card)
        said = _answer(predict, validation, card, read_row, lambda done, of: None)
    except DataError as error:
        log.warning("Thresholds stay at 0.5: %s", error)
        return None
    return macro_f1_thresholds(said.probabilities, _targets(said.rows, card))


def _baselines(
    judge: Judge,
    rows: Sequence[IndexRow],
    card: ModelCard,
    read_row: ReadRow,
    measured: dict[str, NDArray[np.float32]],
    tell: Progress,
) -> dict[str, Any]:
    try:
        training, _ = _rows_to_judge(rows, "train", card)
    except DataError as error:
        return {"not_possible": str(error)}
    validation = _rows_of_validation(rows, card) if card.labels == "multi" else []
    needed = {row.image: row for row in (*training, *validation, *judge.rows)}
    wanted = [row for row in needed.values() if row.image not in measured]
    names: list[str] = []

    def photographs() -> Iterator[NDArray[np.uint8]]:
        for done, row in enumerate(wanted, start=1):
            try:
                image = read_row(row)
            except DataError as error:
                log.warning("Left out of the random forest: %s", error)
                continue
            names.append(row.image)
            yield image
            tell("measuring for the random forest", done, len(wanted))

    if wanted:
        measured.update(zip(names, features_of(photographs()), strict=True))
    training, validation = ([row for row in one if row.image in measured] for one in (training, validation))
    train_targets = _targets(training, card)
    classes, answered = len(card.classes), [*judge.rows, *validation]
    forest = forest_on_features(
        np.stack([measured[row.image] for row in training]),
        train_targets,
        np.stack([measured[row.image] for row in answered]),
        n_classes=classes,
    )
    figures: dict[str, Any] = {}
    for name, said in (("majority", majority(train_targets, len(answered), classes)), ("random_forest", forest)):
        own = macro_f1_thresholds(said[len(judge.rows) :], _targets(validation, card)) if validation else None
        figures[name] = replace(judge, thresholds=own).of(said[: len(judge.rows)])
    return {**figures, "trained_on": len(training)}


def _rows_of_validation(rows: Sequence[IndexRow], card: ModelCard) -> list[IndexRow]:
    try:
        return _rows_to_judge(rows, "val", card)[0]
    except DataError as error:
        log.warning("Thresholds of the baselines stay at 0.5: %s", error)
        return []


def _localisation(
    predict: Predict,
    card: ModelCard,
    rows: Sequence[IndexRow],
    chosen: Sequence[IndexRow],
    judged: Sequence[IndexRow],
    *,
    split: str,
    data: Path,
    read_row: ReadRow,
    untrained: Predict | None,
    tell: Progress,
) -> dict[str, Any]:
    thresholds_from = "train" if split == "val" else "val"
    choosing = [row for row in rows if row.split == thresholds_from and (data / row.image).is_file()]
    steps = max(1, len(judged) // TURNED_PHOTOGRAPHS)
    turned = [equivariance_error(predict, read_row(row), card) for row in judged[::steps][:TURNED_PHOTOGRAPHS]]
    result: dict[str, Any] = {"thresholds_from": thresholds_from, "equivariance_error": float(np.mean(turned))}
    result |= judge_without_masks(
        predict, card, judged, read_row, on_progress=lambda done, of: tell("judging heatmaps without masks", done, of)
    )
    # Masks may lie on photographs too whose names can't be judged: of no label, of several.
    named = {row.image for row in chosen}
    masked = [row for row in rows if row.split == split and row.mask and row.image not in named]
    tell("judging heatmaps", 0, 1)
    try:
        table = judge_heatmaps(
            predict, card, choosing, [*judged, *masked], data=data, read_row=read_row, untrained=untrained
        )
    except DataError as error:
        log.warning("Heatmaps can't be judged: %s", error)
        return result | {"kind": None, "table": {}, "not_possible": str(error)}
    tell("judging heatmaps", 1, 1)
    return result | table


def _write_predictions(file: Path, said: _Said, card: ModelCard, thresholds: NDArray[np.float64] | None) -> None:
    limits = np.full(len(card.classes), 0.5) if thresholds is None else thresholds
    with written_aside(file) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "section", "label", "predicted", "verdict", *card.class_names])
        for row, values, verdict in zip(said.rows, said.probabilities, said.verdicts, strict=True):
            if card.labels == "multi":
                named = "|".join(np.asarray(card.class_names)[values >= limits])
            else:
                named = card.class_names[int(values.argmax())]
            numbers = [f"{value:.6g}" for value in values]
            writer.writerow([row.image, row.section, "|".join(row.labels), named, verdict, *numbers])


def _json_able(value: Any) -> Any:
    """Return the same with None for what is not finite, and plain numbers for numpy's."""
    if isinstance(value, dict):
        return {str(name): _json_able(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
