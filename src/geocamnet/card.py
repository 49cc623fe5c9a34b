"""ModelCard: what a model file is, carried inside the file so that every reader sees the same."""

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import Any

from geocamnet.errors import ModelError, unknown_name

FORMAT = 1
METADATA_KEY = "geocamnet_card"
FAMILIAR_COUNT = 13  # statistics of a photograph that `runtime.familiar` measures


def _is_number(value: object, above: float = -inf) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and above < value < inf


def _is_whole(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are(values: object, holds: Callable[[Any], bool]) -> bool:
    return isinstance(values, (tuple, list)) and all(holds(one) for one in values)


def _hold_figures(metrics: object) -> bool:
    return isinstance(metrics, Mapping) and all(
        isinstance(figure, (int, float))
        for group in metrics.values()
        if isinstance(group, Mapping)
        for figure in group.values()
    )


# JSON lets a value be of any kind. Of what is computed with or shown the kind is said here: else a wrong one ends a
# run in the middle of a photograph.
_Rule = tuple[Callable[[Any], bool], str]
_TEXT: _Rule = (lambda value: isinstance(value, str), "text")
_OBJECT: _Rule = (lambda value: isinstance(value, Mapping), "a JSON object")
_NUMBER: _Rule = (_is_number, "a number")
_ABOVE_0: _Rule = (lambda value: _is_number(value, above=0), "a number above 0")
_WHOLE: _Rule = (_is_whole, "a whole number above 0")
_NUMBERS: _Rule = (lambda value: _are(value, _is_number), "a list of numbers")

_CLASS_RULES: Mapping[str, _Rule] = {
    "name": _TEXT,
    "title": _TEXT,
    "colour_rgb": (
        lambda value: _are(value, lambda one: _is_whole(one, least=0) and one <= 255) and len(value) == 3,
        "three whole numbers from 0 to 255",
    ),
}
_TEXTURE_RULES: Mapping[str, _Rule] = {
    "levels": (lambda value: _is_whole(value, least=2) and value <= 256, "a whole number from 2 to 256"),
    "window_px": _WHOLE,
    "low": _NUMBER,
    "high": _NUMBER,
}
_FAMILIAR_RULES: Mapping[str, _Rule] = {
    "mean": (
        lambda value: _are(value, _is_number) and len(value) == FAMILIAR_COUNT,
        f"a list of {FAMILIAR_COUNT} numbers",
    ),
    "precision": (lambda value: _are(value, lambda row: _are(row, _is_number)), "rows of numbers"),
    "limit": _ABOVE_0,
    "long_side_px": _WHOLE,
}
_CARD_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("name", "labels", "architecture", "precision", "licence", "attribution", "limits"), _TEXT),
    **dict.fromkeys(("created", "version", "sha256"), _TEXT),
    **dict.fromkeys(("data", "recipe", "teacher"), _OBJECT),
    "quantisation": (
        lambda value: isinstance(value, Mapping) and _is_number(value.get("same_name", 1.0)),
        "a JSON object whose same_name, where it is given, is a number",
    ),
    "metrics": (_hold_figures, "a JSON object whose figures are numbers"),
    "parameters": (lambda value: _is_whole(value, least=0), "a whole number, 0 or more"),
    "map_stride": _WHOLE,
    "long_side_px": (lambda value: value is None or _is_whole(value), "a whole number above 0, or null"),
    "um_per_px": (lambda value: value is None or _is_number(value, above=0), "a number above 0, or null"),
    "map_scale": (lambda value: _are(value, lambda one: _is_number(one, above=0)), "a list of numbers above 0"),
    "class_bias": _NUMBERS,
    "temperature": _ABOVE_0,
    "abstain_below": _NUMBER,
    "label_thresholds": _NUMBERS,
    "evidence_below": (lambda value: value is None or _is_number(value), "a number, or null"),
}


def _check(part: object, where: str, rules: Mapping[str, _Rule]) -> None:
    for name, (holds, wanted) in rules.items():
        if not holds(value := getattr(part, name)):
            raise ModelError(
                f"{where}: {name} must be {wanted}; received {reprlib.repr(value)}. Export the model again."
            )


@dataclass(frozen=True)
class ClassCard:
    """One class as a model knows it: ``name`` in the index, ``title`` for people, colour 0 to 255.

    Raises:
        ModelError: a value of the wrong kind.
    """

    name: str
    title: str
    colour_rgb: tuple[int, int, int]

    def __post_init__(self) -> None:
        _check(self, f"Class '{self.name}'", _CLASS_RULES)


@dataclass(frozen=True)
class TextureCard:
    """How the texture that refines this model's heatmaps is measured (see `runtime.texture`).

    Attributes:
        levels: grey levels after quantisation.
        window_px: side of the square window, at the scale of the photograph given.
        low, high: grey values 0 to 255 that quantisation spans, fixed for the data set, never per image.

    Raises:
        ModelError: a value of the wrong kind.
    """

    levels: int = 16
    window_px: int = 15
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        _check(self, "texture", _TEXTURE_RULES)


@dataclass(frozen=True)
class FamiliarCard:
    """What the training photographs look like, so that a photograph of something else can be told from them.

    The distance of a photograph with the statistics x (see `runtime.familiar`) is
    ``sqrt((x - mean)^T precision (x - mean))`` (Mahalanobis 1936).

    Attributes:
        mean: (F,) statistics of the training photographs.
        precision: (F, F) the inverse of their covariance.
        limit: a photograph further away than this is unlike the training photographs.
        long_side_px: at which photographs are measured.

    Raises:
        ModelError: a value of the wrong kind, or a precision that does not fit the mean.
    """

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float
    long_side_px: int

    def __post_init__(self) -> None:
        _check(self, "familiar", _FAMILIAR_RULES)
        count = len(self.mean)
        if len(self.precision) != count or any(len(row) != count for row in self.precision):
            raise ModelError(f"familiar: precision must be {count} x {count}, for mean has {count} values.")


@dataclass(frozen=True)
class ModelCard:
    """What a model file is: read from the file's metadata, never from code.

    Attributes:
        name: what the model is called.
        classes: in the order of the model's outputs.
        labels: ``"single"`` (probabilities are a softmax) or ``"multi"`` (a sigmoid each).
        architecture: the network's name.
        parameters: number of trained parameters.
        map_stride: pixels of the network's input per cell of a class map.
        long_side_px: the photograph is scaled inside the graph so that its long side has this many
            pixels; None where ``um_per_px`` rules instead.
        um_per_px: scale, in micrometres a pixel, at which the network expects photographs, where known.
        map_scale: (C,) evidence that counts as full heat, per class, from validation photographs.
        class_bias: (C,) spatial mean of a class map + its bias = its logit.
        temperature: the logits are divided by it inside the graph (Guo et al. 2017, arXiv 1706.04599).
        abstain_below: top probabilities under it are answered with "not sure"; only where ``labels`` is ``"single"``.
        label_thresholds: (C,) where ``labels`` is ``"multi"``: a class is named from this probability on; empty
            means 0.5 each.
        evidence_below: photographs whose evidence for all classes together (`runtime.prediction.evidence_of`) lies
            under it are answered with "nothing here"; None never says so.
        texture: how texture is measured for this data.
        familiar: what the training photographs look like; None where it was not measured.
        precision: ``"fp32"``, ``"int8-weights"`` or ``"int8"`` (see `train.quantise`).
        licence, attribution: of the weights, and what must be said of the data they were trained on.
        limits: what the model does not know or must not be used for, in a sentence.
        data: what it was trained on: name, sections known or not, photographs and sections per split.
        metrics: held-out figures with their baselines, as `evaluate` wrote them.
        quantisation: how 8-bit numbers were chosen and what they changed; empty for fp32.
        recipe: the resolved recipe.
        teacher: architecture and figures of the teacher, empty without one.
        created: ISO date and time, UTC.
        version: of geocamnet that wrote it.
        sha256: of the ONNX graph without its metadata; empty in a run folder.
        format: of this card.

    Raises:
        ModelError: a value of the wrong kind, or values that do not fit each other.
    """

    name: str
    classes: tuple[ClassCard, ...]
    labels: str
    architecture: str
    parameters: int
    map_stride: int
    long_side_px: int | None
    um_per_px: float | None
    map_scale: tuple[float, ...]
    class_bias: tuple[float, ...]
    temperature: float = 1.0
    abstain_below: float = 0.0
    label_thresholds: tuple[float, ...] = ()
    evidence_below: float | None = None
    texture: TextureCard = field(default_factory=TextureCard)
    familiar: FamiliarCard | None = None
    precision: str = "fp32"
    licence: str = ""
    attribution: str = ""
    limits: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    version: str = ""
    sha256: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        _check(self, f"Card '{self.name}'", _CARD_RULES)
        count = len(self.classes)
        if count == 0 or len(set(self.class_names)) < count:
            raise ModelError(
                f"Card '{self.name}': classes must be one or more, each of another name; received "
                f"{', '.join(self.class_names) or 'none'}. Export the model again."
            )
        for name in ("map_scale", "class_bias"):
            if len(getattr(self, name)) != count:
                raise ModelError(
                    f"Card '{self.name}': {name} has {len(getattr(self, name))} values for {count} classes."
                )
        if self.labels not in ("single", "multi"):
            raise ModelError(unknown_name("kind of labels", self.labels, ("single", "multi")))
        if self.label_thresholds and (
            self.labels == "single"
            or len(self.label_thresholds) != count
            or any(not 0 <= value <= 1 for value in self.label_thresholds)
        ):
            raise ModelError(
                f"Card '{self.name}': label_thresholds must be {count} values from 0 to 1 where labels are 'multi', "
                f"and empty where they are 'single'; received {len(self.label_thresholds)} with labels '{self.labels}'."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the outputs."""
        return tuple(one.name for one in self.classes)

    @property
    def summary(self) -> str:
        """What is to be known before a name is believed, in one line: model, classes, figure, limits."""
        titles = ", ".join(one.title for one in self.classes)
        figures = self.metrics.get("model") or {}
        found = [
            f"{name.replace('_', ' ')} {figures[name]:.2f} on {self.metrics.get('n', '?')} photographs"
            for name in ("balanced_accuracy", "mAP")
            if name in figures
        ]
        parts = (f"{self.name} ({self.precision}) knows {len(self.classes)} classes: {titles}", *found[:1])
        return "; ".join((*parts, f"limits: {self.limits or 'not stated'}"))

    def class_index(self, name: str) -> int:
        """Return the position of a class in the outputs.

        Raises:
            ModelError: the model does not know the class.
        """
        if name not in self.class_names:
            raise ModelError(unknown_name("class", name, self.class_names))
        return self.class_names.index(name)

    def to_json(self) -> str:
        """Return the card as JSON text that `from_json` reads back equal."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read a card.

        Raises:
            ModelError: not JSON, a missing or unknown key, a value of the wrong kind, or a format newer than this
                program knows.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"The model card is not JSON ({error}).") from error
        if not isinstance(values, dict):
            raise ModelError(f"The model card must be a JSON object; received {type(values).__name__}.")
        if values.get("format") != FORMAT:
            raise ModelError(
                f"The model card has format {values.get('format')}; this program reads format {FORMAT}. "
                "Upgrade geocamnet, or export the model again."
            )
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ModelError(unknown_name("key in the model card", unknown[0], sorted(known)))
        try:
            values["classes"] = tuple(
                ClassCard(one["name"], one["title"], tuple(one["colour_rgb"])) for one in values["classes"]
            )
            values["texture"] = TextureCard(**values.get("texture", {}))
            values.setdefault("label_thresholds", ())  # cards of before have none
            for name in ("map_scale", "class_bias", "label_thresholds"):
                values[name] = tuple(float(value) for value in values[name])
            if (familiar := values.get("familiar")) is not None:
                mean, precision = tuple(familiar["mean"]), tuple(tuple(row) for row in familiar["precision"])
                values["familiar"] = FamiliarCard(**{**familiar, "mean": mean, "precision": precision})
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The model card is not complete: {error}.") from error
