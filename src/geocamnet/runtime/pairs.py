"""Photographs of one field in several lights, PPL and XPL: found by their names, joined to one prediction."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geocamnet.errors import DataError
from geocamnet.images import RgbImage, read_image
from geocamnet.lights import LIGHTS, light_of_path, view_of
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import Prediction, evidence_of, probabilities_of


def combine(predictions: Sequence[Prediction]) -> Prediction:
    """Return one prediction of a field's photographs: their evidence summed, each photograph counting alike.

    The class maps are averaged, ``M_c = mean_k M_c^(k)``, and with them the logits, ``z_c = mean(M_c) + b_c =
    mean_k z_c^(k)``; the probabilities follow from these as inside the network, with the card's temperature T:
    ``softmax(z / T)``, or a sigmoid each. For a softmax that is the logarithmic opinion pool with equal weights
    (Genest and Zidek 1986, DOI 10.1214/ss/1177013825), ``p_c ~ (prod_k p_c^(k))^(1/K)``: photographs that agree are
    together as sure as each, and a sure one outweighs one that is not.

    **The photographs must be registered**: a pixel shows the same spot of rock in all of them. Only their size can be
    checked here.

    Args:
        predictions: of one model, by `Model.predict`; the first is of the photograph to show, such as PPL.

    Returns:
        As of one photograph; ``elapsed_ms`` is the sum, ``distance`` that of the photograph furthest from the training
        photographs.

    Raises:
        DataError: no prediction, predictions of several models or sizes, or of `predict_huge`.
    """
    if not predictions:
        raise DataError("A field needs at least one prediction; received none.")
    first = predictions[0]
    for one in predictions:
        if type(one) is not Prediction:
            raise DataError(f"Predictions are joined as Model.predict gives them; received a {type(one).__name__}.")
        if one.card != first.card:
            raise DataError(f"Predictions of one model are joined; received '{first.card.name}' and '{one.card.name}'.")
        if one.shape_hw != first.shape_hw or one.class_maps.shape != first.class_maps.shape:
            sizes = " and ".join(f"{width} x {height} px" for height, width in (first.shape_hw, one.shape_hw))
            raise DataError(
                f"The photographs of a field must be registered and of one size; received {sizes}. "
                "Crop them to the same view first."
            )
    if len(predictions) == 1:
        return first
    class_maps = np.stack([one.class_maps for one in predictions]).mean(axis=0, dtype=np.float32)  # (C, h, w)
    logits = class_maps.mean(axis=(1, 2), dtype=np.float64) + np.asarray(first.card.class_bias)
    return replace(
        first,
        probabilities=probabilities_of(logits, first.card),
        class_maps=class_maps,
        elapsed_ms=sum(one.elapsed_ms for one in predictions),
        evidence=evidence_of(logits, first.card.labels),
        distance=max(one.distance for one in predictions),
    )


def predict_field(photographs: Sequence[Path], model: Model, *, um_per_px: float | None) -> tuple[RgbImage, Prediction]:
    """Read the photographs of a field and predict them as one; return the first photograph, and what is said of all.

    Raises:
        DataError: a photograph that can't be read, or sizes that differ.
        ModelError: as `Model.predict`.
    """
    images = [read_image(path) for path in photographs]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        told = ", ".join(
            f"{path} ({image.shape[1]} x {image.shape[0]} px)" for path, image in zip(photographs, images, strict=True)
        )
        raise DataError(
            f"The photographs of a field must be registered and of one size: {told}. Crop them to the same view, or "
            "name them so that they are not taken for one field."
        )
    return images[0], combine([model.predict(image, um_per_px=um_per_px) for image in images])


def find_fields(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Group photographs whose paths differ in the light alone, PPL before XPL before reflected.

    ``a_PPL.jpg`` and ``a_XPL.jpg`` are one field, ``PPL/a.jpg`` and ``XPL/a.jpg`` too (see `lights.light_of`). A
    photograph whose path tells no light is a field of its own, and so is each of a view with two of one light: which
    of them belong together can't be told.

    Args:
        names: paths with ``/``.

    Returns:
        The fields, in the order in which their first photographs come in ``names``.
    """
    lights = {name: light_of_path(name) for name in names}
    views: dict[tuple[bool, str], list[str]] = {}
    for name, light in lights.items():
        views.setdefault((True, view_of(name)) if light else (False, name), []).append(name)
    fields: list[tuple[str, ...]] = []
    for members in views.values():
        if len({lights[name] for name in members}) < len(members):
            fields += [(name,) for name in members]
        else:
            fields.append(tuple(sorted(members, key=lambda name: ("", *LIGHTS).index(lights[name]))))
    return fields
