"""Weights, and where wanted arithmetic, of 8 bits: a model file a quarter as large, and what that changes."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from geocamnet.card import ModelCard
from geocamnet.errors import DataError, ModelError, unknown_name
from geocamnet.images import read_image
from geocamnet.runtime.heatmap import place_maps, scale_maps
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import Prediction
from geocamnet.runtime.scale import scale_to_card
from geocamnet.train.index import IndexRow, read_index, use_fold
from geocamnet.train.localise import Sample, energy_pointing
from geocamnet.train.metrics import classification_metrics
from geocamnet.train.mosaics import mosaics
from geocamnet.train.runs import own_fold

PRECISIONS = ("fp32", "int8-weights", "int8")
MOST_CALIBRATION = 300
MOST_VALIDATION = 1000
MOSAICS = 40
# What 8 bits may cost on validation photographs; beyond it the file is refused.
MOST_NAMING_LOST = 0.01
MOST_ENERGY_LOST = 0.02
LEAST_MAP_CORRELATION = 0.985
# Kernels of fewer weights keep 16 bits: the narrow ones of the first stages, where everything that follows is told.
FEW_WEIGHTS = 4000

RgbImage = NDArray[np.uint8]


class Photographs:
    """The photographs of a DATA folder that an 8-bit model file is made and judged with.

    Args:
        data: the DATA folder; of a model trained on a fold, split as that fold was.
        card: of the model.

    Raises:
        DataError: no training photographs, or no validation photographs with a label that the model knows.
    """

    def __init__(self, data: Path, card: ModelCard) -> None:
        rows = read_index(data)
        rows = use_fold(rows, own_fold(rows, card))
        self.data, self.card = data, card
        self.training = _spread([row for row in rows if row.split == "train"], MOST_CALIBRATION)
        self.validation = _spread([row for row in rows if row.split == "val" and self._knows(row)], MOST_VALIDATION)
        for found, what in ((self.training, "training photographs"), (self.validation, "labelled validation ones")):
            if not found:
                raise DataError(
                    f"{data}: has no {what} that this model knows. An 8-bit model file is calibrated on training and "
                    f"judged on labelled validation photographs of: {', '.join(card.class_names)}."
                )

    def read(self, row: IndexRow) -> RgbImage:
        """Return a photograph at the model's scale."""
        return scale_to_card(read_image(self.data / row.image), self.card, row.um_per_px)

    def targets(self) -> NDArray[np.int64]:
        """Return the truth of the validation photographs: (N,) positions, or (N, C) where labels are several."""
        names = self.card.class_names
        if self.card.labels == "single":
            return np.array([names.index(row.labels[0]) for row in self.validation], np.int64)
        return np.array([[name in row.labels for name in names] for row in self.validation], np.int64)

    def mosaics(self) -> Iterator[Sample]:
        """Yield mosaics of the validation photographs; none where they show one class alone."""
        by_class: dict[int, list[Callable[[], RgbImage]]] = {}
        for row in self.validation:
            if len(row.labels) == 1:
                place = self.card.class_index(row.labels[0])
                by_class.setdefault(place, []).append(lambda row=row: self.read(row))  # type: ignore[misc]
        if len(by_class) > 1:
            side_px = median(max(row.width_px, row.height_px) for row in self.validation)
            yield from mosaics(by_class, cell_px=int(np.clip(side_px / 2, 64, 512)), n=MOSAICS, seed=0)

    def _knows(self, row: IndexRow) -> bool:
        known = set(row.labels) & set(self.card.class_names)
        return bool(known) and (self.card.labels == "multi" or len(row.labels) == 1)


def quantise(graph: onnx.ModelProto, precision: str, calibration: Iterable[RgbImage]) -> onnx.ModelProto:
    """Return a model's graph with 8-bit weights; the graph given stays as it is.

    The weights ``w_k`` of output channel k of every 1x1 convolution become ``q = round(w_k / s_k)`` with
    ``s_k = max |w_k| / 127``: symmetric, a scale per channel (Krishnamoorthi 2018, arXiv 1806.08342, section 3.1).
    Wider kernels, depthwise ones above all, the class maps and kernels of fewer than 4,000 weights become 16-bit
    floats: a seventh of the weights, and where 8 bits do most harm (Sheng et al. 2018, arXiv 1803.08607). On the
    validation photographs of three folds of carbonate-lithology the students' probabilities move by 0.001 with it, by
    0.003 to 0.009 where only the wider kernels and the maps keep 16 bits.

    ``int8-weights`` multiplies the scales back in when the file is opened: the network computes in 32-bit floats, as
    fast as before, and the same on every machine. ``int8`` also computes its 1x1 convolutions in 8 bits, with
    activations as uint8 over the range they had on the calibration photographs; the first convolution,
    depthwise ones, squeeze-and-excite, what it gates and the class maps stay in floats.

    Args:
        graph: as `export.build_graph` makes it.
        precision: ``"int8-weights"`` or ``"int8"``.
        calibration: photographs, RGB uint8 (H, W, 3); looked at for ``int8`` only.

    Raises:
        ModelError: another precision.
    """
    if precision not in PRECISIONS[1:]:
        raise ModelError(unknown_name("8-bit precision", precision, PRECISIONS[1:]))
    made = _with_small_weights(_with_small_arithmetic(graph, calibration) if precision == "int8" else graph)
    onnx.checker.check_model(made, full_check=True)
    return made


def how_made(precision: str, photographs: Photographs) -> dict[str, Any]:
    """Return what a card says of how its 8-bit numbers were chosen."""
    how: dict[str, Any] = {
        "weights": "int8, symmetric, a scale for each output channel; float16 of small or wide kernels and the maps"
    }
    if precision == "int8-weights":
        return {**how, "arithmetic": "float32"}
    activations = "uint8 over the range met on the calibration photographs"
    return {
        **how,
        "arithmetic": f"8 bits in 1x1 convolutions, activations {activations}; float32 elsewhere",
        "calibration": {"split": "train", "photographs": len(photographs.training)},
    }


def what_it_changed(small: Model, full: Model, photographs: Photographs) -> dict[str, Any]:
    """Return what 8 bits changed on validation photographs, or refuse.

    Args:
        small: the 8-bit model.
        full: the same in 32 bits.
        photographs: to compare on.

    Returns:
        ``photographs``, how many; ``same_name``, the share whose top class is the same; ``names_lost``, how many
        only ``full`` names rightly (None of several labels); ``probability_difference``, mean and max;
        ``balanced_accuracy`` (of several labels ``mAP``) of both; ``map_correlation``, mean and min over
        photographs, between the two maps of the class that ``full`` names; ``mosaic_energy`` of both (see
        `localise.energy_pointing`) on 2x2 mosaics of the photographs, None where they show one class alone.

    Raises:
        ModelError: naming falls by more than 0.01 (and not by one photograph alone), energy by more than 0.02, or
            the maps' mean correlation lies below 0.985.
    """
    card, targets = full.card, photographs.targets()
    said: tuple[list[Any], list[Any]] = ([], [])
    alike = []
    for row in photographs.validation:
        image = photographs.read(row)
        one, other = full.predict(image), small.predict(image)
        said[0].append(one.probabilities)
        said[1].append(other.probabilities)
        alike.append(_correlation(one, other))
    probabilities = [np.stack(each) for each in said]
    difference = np.abs(probabilities[0] - probabilities[1])
    names = [each.argmax(1) for each in probabilities]
    single = card.labels == "single"
    names_lost = int(((names[0] == targets) & (names[1] != targets)).sum()) if single else None
    figure = "balanced_accuracy" if single else "mAP"
    naming = [classification_metrics(each, targets, card.class_names)[figure] for each in probabilities]
    energy = _mosaic_energy((full, small), photographs)
    told = [one for one in alike if np.isfinite(one)] or [float("nan")]
    who = ("fp32", small.card.precision)
    changed = {
        "photographs": len(targets),
        "same_name": float((names[0] == names[1]).mean()),
        "names_lost": names_lost,
        "probability_difference": {"mean": float(difference.mean()), "max": float(difference.max())},
        figure: dict(zip(who, naming, strict=True)),
        "map_correlation": {"mean": float(np.mean(told)), "min": float(np.min(told))},
        "mosaic_energy": dict(zip(who, energy, strict=True)) if energy else None,
    }
    lost = []
    # One photograph of a rare class may be more than a point of balanced accuracy; alone it tells nothing.
    if not naming[1] >= naming[0] - MOST_NAMING_LOST and names_lost != 1:
        lost.append(f"{figure.replace('_', ' ')} falls from {naming[0]:.3f} to {naming[1]:.3f}")
    if energy and not energy[1] >= energy[0] - MOST_ENERGY_LOST:
        lost.append(f"the heat that lies in the right quarter of mosaics falls from {energy[0]:.3f} to {energy[1]:.3f}")
    if not np.mean(told) >= LEAST_MAP_CORRELATION:
        lost.append(f"class maps correlate by {np.mean(told):.3f} with those of 32 bits")
    if lost:
        instead = "int8-weights, or fp32" if who[1] == "int8" else "fp32"
        raise ModelError(
            f"Too much is lost in {who[1]}, on {len(targets)} validation photographs: {'; '.join(lost)}. "
            f"The file was not kept. Use --precision {instead}."
        )
    return changed


def _with_small_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with those weights of convolutions made small that are still 32-bit floats."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    del made.graph.initializer[:], made.graph.node[:]
    weights = {node.input[1]: node.name for node in graph.graph.node if node.op_type == "Conv"}
    # Those that gates are multiplied into (see `rewrite`) are a convolution's too.
    weights |= {node.input[0]: node.name for node in graph.graph.node if node.op_type == "Reshape"}
    of_maps = _convolutions_of_maps(graph)
    for tensor in graph.graph.initializer:
        if tensor.name not in weights:
            made.graph.initializer.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)  # (K, C / groups, h, w)
        wide, few = values.shape[2:] != (1, 1), values.size < FEW_WEIGHTS
        if wide or few or weights[tensor.name] in of_maps:
            halves = f"{tensor.name}.float16"
            made.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), halves))
            made.graph.node.append(helper.make_node("Cast", [halves], [tensor.name], to=TensorProto.FLOAT))
            continue
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(127)
        numbers, factor, floats = (f"{tensor.name}.{part}" for part in ("int8", "scale", "float"))
        made.graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), numbers))
        made.graph.initializer.append(numpy_helper.from_array(scale, factor))
        # Not DequantizeLinear: ONNX Runtime keeps that for arithmetic in 8 bits and works it out for every photograph
        # (measured: 7 times slower); a cast and a product of constants it works out once, when the file is opened.
        made.graph.node.append(helper.make_node("Cast", [numbers], [floats], to=TensorProto.FLOAT))
        made.graph.node.append(helper.make_node("Mul", [floats, factor], [tensor.name]))
    made.graph.node.extend(graph.graph.node)
    return made


def _with_small_arithmetic(graph: onnx.ModelProto, calibration: Iterable[RgbImage]) -> onnx.ModelProto:
    """Return the graph with quantised inputs, weights and outputs of its sturdy convolutions."""
    sturdy = _sturdy_convolutions(graph)
    given = onnx.ModelProto()
    given.CopyFrom(graph)
    # Said to be prepared, which it is: shapes are inferred and normalisations folded. Else a warning is logged.
    helper.set_model_props(given, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "int8.onnx"
        quantize_static(
            given,
            file,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[
                node.name for node in graph.graph.node if node.op_type == "Conv" and node.name not in sturdy
            ],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(file)
    del made.metadata_props[:], made.graph.value_info[:]
    return made


def _sturdy_convolutions(graph: onnx.ModelProto) -> set[str]:
    """Return the names of the convolutions that bear 8 bits: 1x1, not of squeeze-and-excite, not the class maps.

    Measured on students of drawn and of real sections: depthwise convolutions and squeeze-and-excite each change
    names and gain no time, and with the first convolution ONNX Runtime 1.32 can't open the file any more.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.graph.initializer}
    made_by = {output: node.op_type for node in graph.graph.node for output in node.output}
    used_by: dict[str, set[str]] = {}
    of_maps = _convolutions_of_maps(graph)
    for node in graph.graph.node:
        for name in node.input:
            used_by.setdefault(name, set()).add(node.op_type)
    return {
        node.name
        for node in graph.graph.node
        if node.op_type == "Conv"
        and shapes.get(node.input[1], ())[2:] == (1, 1)
        and shapes[node.input[1]][1] > 1  # not depthwise
        and node.name not in of_maps
        and made_by.get(node.input[0]) not in ("ReduceMean", "GlobalAveragePool")
        and not used_by.get(node.output[0], set()) & {"HardSigmoid", "Sigmoid"}
    }


def _convolutions_of_maps(graph: onnx.ModelProto) -> set[str]:
    """Return the names of the convolutions whose sum, each brought to the same cells, the class maps are."""
    made_by = {output: node for node in graph.graph.node for output in node.output}
    found, waiting = set(), ["class_maps"]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is not None and node.op_type == "Conv":
            found.add(node.name)
        elif node is not None and node.op_type != "Shape":  # whose size it is says nothing of who made the maps
            waiting += node.input
    return found


class _Calibration(CalibrationDataReader):
    def __init__(self, photographs: Iterable[RgbImage]) -> None:
        self.photographs = iter(photographs)

    def get_next(self) -> dict[str, RgbImage] | None:
        image = next(self.photographs, None)
        return None if image is None else {"image": image[None]}


def _correlation(one: Prediction, other: Prediction) -> float:
    """Return how two predictions' maps of the class that the first names correlate; NaN where one has no relief."""
    place = int(one.probabilities.argmax())
    maps = [prediction.class_maps.astype(np.float64) for prediction in (one, other)]
    if one.card.labels == "single":  # what all classes share makes no heat
        maps = [each - each.mean(axis=0) for each in maps]
    first, second = (each[place] - each[place].mean() for each in maps)
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 0 else float("nan")


def _mosaic_energy(models: Sequence[Model], photographs: Photographs) -> list[float]:
    """Return each model's mean energy in the right quarters of mosaics; nothing where there are no mosaics."""
    found: list[list[float]] = [[] for _ in models]
    for sample in photographs.mosaics():
        for model, energies in zip(models, found, strict=True):
            maps = scale_maps(model.predict(sample.image).class_maps, model.card)
            heat = place_maps(maps, sample.mask.shape, model.card).clip(0, 1)
            energies.extend(energy_pointing(heat[c], sample.mask == c + 1) for c in sample.labels)
    return [float(np.mean(energies)) for energies in found if energies]


def _spread(rows: Sequence[IndexRow], most: int) -> list[IndexRow]:
    step = max(1.0, len(rows) / most)
    return [rows[int(i * step)] for i in range(min(len(rows), most))]
