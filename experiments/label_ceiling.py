"""How well can these labels be predicted at all? Four judges on the five folds of `make folds` (`make ceiling`).

The judges: the teacher and the student (their predictions of the test parts, as `make folds` left them), the random
forest on texture histograms, and a linear classifier on an ImageNet network's features that were never trained on rock.
They differ in all but the labels: where all four name the same other class, the label or the photograph is in doubt.
Further: what twice as many training photographs would bring the two that are quick to fit, and how often the most
similar photograph of another fold has another label. Written to results/label-ceiling.json; the photographs in doubt,
with their nearest neighbours, to out/folds/contested.html, which stays here.
"""

import base64
import csv
import html
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from carbonate_folds import RAW
from common import ROOT, end_well
from geocamnet import __version__
from geocamnet.console import set_up_logging
from geocamnet.images import read_image, written_aside
from geocamnet.train.augment import scale_long_side
from geocamnet.train.baselines import features_of, forest_on_features
from geocamnet.train.index import IndexRow, class_names, read_index, use_fold
from geocamnet.train.metrics import classification_metrics
from geocamnet.train.runs import write_json
from geocamnet.train.teacher import make_teacher
from imagenet_weights import fetch

log = logging.getLogger("geocamnet")

OUT = ROOT / "out" / "folds"
RESULT = ROOT / "results" / "label-ceiling.json"
FOLDS = 5
SEEN_PX = 192
SHARES = (0.1, 0.2, 0.4, 0.8, 1.0)  # of a fold's training and validation photographs
INVERSE_PENALTY = 0.01
NEIGHBOURS = 3
THUMB_PX = 220
Floats = NDArray[np.floating[Any]]


def main() -> None:
    """Ask the judges, compare them, write what they say."""
    set_up_logging()
    began = time.monotonic()
    data = OUT / "data"
    if not (RAW.is_dir() and (data / "index.csv").is_file()):
        sys.exit(f"{data}: not there. Run: make folds")
    rows = read_index(data)
    classes = class_names(rows)
    truth = np.array([classes.index(row.labels[0]) for row in rows])
    textures = features_of(read_image(data / row.image) for row in rows)
    learnt = imagenet_features(data, rows)
    answers: dict[str, Floats] = {name: np.zeros((len(rows), len(classes))) for name in ("forest", "linear")}
    answers |= {name: said_by(name, rows, classes) for name in ("teacher", "student")}
    curve: dict[str, list[Floats]] = {
        name: [np.zeros((len(rows), len(classes))) for _ in SHARES] for name in ("forest", "linear")
    }
    rng = np.random.default_rng(0)
    for fold in range(FOLDS):
        split = np.array([row.split for row in use_fold(rows, fold)])
        order = rng.permutation(np.flatnonzero(split != "test"))
        tested = split == "test"
        for place, share in enumerate(SHARES):
            taken = order[: round(share * len(order))]
            curve["forest"][place][tested] = forest_on_features(
                textures[taken].astype(np.float32),
                truth[taken],
                textures[tested].astype(np.float32),
                n_classes=len(classes),
            )
            curve["linear"][place][tested] = linear(learnt[taken], truth[taken], learnt[tested])
    answers |= {name: rounds[-1] for name, rounds in curve.items()}
    votes = np.stack([one.argmax(1) for one in answers.values()])  # (4, N)
    contested = (votes == votes[0]).all(axis=0) & (votes[0] != truth)
    doubtful = Counter(f"{classes[truth[i]]}, called {classes[votes[0, i]]}" for i in np.flatnonzero(contested))
    alike = similar(learnt, rows)
    result = {
        "data": "carbonate-lithology (real)",
        "photographs": len(rows),
        "judges": {name: figures(one, truth, classes) for name, one in answers.items()},
        "together": figures(sum(one / one.sum(1, keepdims=True) for one in answers.values()), truth, classes),
        "right": {
            "all four": int((votes == truth).all(0).sum()),
            "some": int(((votes == truth).any(0) & ~(votes == truth).all(0)).sum()),
            "none": int((votes != truth).all(0).sum()),
            "none, and all four name the same other class": int(contested.sum()),
        },
        "contested": dict(doubtful.most_common()),
        "nearest_has_another_label": round(float((truth[alike[:, 0]] != truth).mean()), 4),
        "training_photographs": [round(share * len(order)) for share in SHARES],
        "learning_curve": {name: [figures(one, truth, classes) for one in rounds] for name, rounds in curve.items()},
        "minutes_this_call": round((time.monotonic() - began) / 60, 1),
        "version": __version__,
    }
    write_json(RESULT, result)
    page = gallery(data, rows, classes, truth, answers, np.flatnonzero(contested), alike)
    log.info("%s and %s: written", RESULT, page)


def said_by(name: str, rows: Sequence[IndexRow], classes: Sequence[str]) -> Floats:
    """Return a network's probabilities (N, C) of every photograph, from the fold that kept it."""
    said: dict[str, list[float]] = {}
    for fold in range(FOLDS):
        run = OUT / "runs" / (f"teacher-{fold}" if name == "teacher" else f"{name}-{fold}-0")
        file = run / "predictions.csv"
        if not file.is_file():
            sys.exit(f"{file}: not there. Run: make folds")
        with file.open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                said[line["image"]] = [float(line[one]) for one in classes]
    return np.array([said[row.image] for row in rows])


@torch.inference_mode()
def imagenet_features(data: Path, rows: Sequence[IndexRow]) -> Floats:
    """Return (N, F): mean and spread of every stage of a network with ImageNet weights, never trained on rock."""
    network = make_teacher("efficientnet_lite0", 2, weights=str(fetch("lite0"))).eval()
    found = []
    for row in rows:
        image = torch.from_numpy(read_image(data / row.image)).permute(2, 0, 1)[None].float() / 255
        stages = network.stages(scale_long_side(image, SEEN_PX))
        found.append(torch.cat([one for stage in stages for one in (stage.mean((2, 3)), stage.std((2, 3)))], dim=1)[0])
    return torch.stack(found).double().numpy()


def linear(train: Floats, targets: NDArray[np.int64], test: Floats) -> Floats:
    """Return (N, C) probabilities of a linear classifier, classes weighted alike."""
    classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=500, class_weight="balanced")
    return np.asarray(make_pipeline(StandardScaler(), classifier).fit(train, targets).predict_proba(test))


def similar(features: Floats, rows: Sequence[IndexRow]) -> NDArray[np.int64]:
    """Return (N, NEIGHBOURS): the most similar photographs of other folds, by the cosine of standardised features."""
    scaled = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    cosine = scaled @ scaled.T
    folds = np.array([row.fold for row in rows])
    cosine[folds[:, None] == folds] = -np.inf
    return np.argsort(-cosine, axis=1)[:, :NEIGHBOURS]


def figures(answers: Floats, truth: NDArray[np.int64], classes: Sequence[str]) -> dict[str, float]:
    """Return accuracy and balanced accuracy."""
    found = classification_metrics(answers / answers.sum(1, keepdims=True), truth, classes)
    return {name: round(found[name], 4) for name in ("accuracy", "balanced_accuracy")}


def gallery(
    data: Path,
    rows: Sequence[IndexRow],
    classes: Sequence[str],
    truth: NDArray[np.int64],
    answers: dict[str, Floats],
    contested: NDArray[np.int64],
    alike: NDArray[np.int64],
) -> Path:
    """Write a page of the photographs that all judges call by the same other name, beside their nearest neighbours."""

    def picture(number: int, caption: str) -> str:
        image = read_image(data / rows[number].image)
        scale = THUMB_PX / image.shape[1]
        size = (THUMB_PX, round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        source = f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
        return f'<figure><img src="{source}"><figcaption>{html.escape(caption)}</figcaption></figure>'

    blocks = []
    for number in contested:
        said = ", ".join(f"{name} {one[number].max():.2f}" for name, one in answers.items())
        other = classes[int(answers["student"][number].argmax())]
        cells = [picture(number, f"labelled {classes[truth[number]]}; all say {other} ({said})")]
        cells += [picture(near, f"similar: labelled {classes[truth[near]]}") for near in alike[number]]
        blocks.append(f"<section>{''.join(cells)}</section>")
    style = (
        "body{font:14px sans-serif;margin:2em}section{display:flex;gap:1em;margin:1em 0}figure{margin:0;width:220px}"
    )
    title = f"{len(contested)} photographs that four judges call by another name than their label"
    page = OUT / "contested.html"
    with written_aside(page) as aside:
        aside.write_text(
            f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{style}</style><h1>{title}</h1>'
            + "".join(blocks),
            encoding="utf-8",
        )
    return page


if __name__ == "__main__":
    end_well(main, "make ceiling")
