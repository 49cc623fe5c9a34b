"""From a run to one model file: preprocessing and card inside, checked against the network on real photographs."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from geocamnet.card import METADATA_KEY, ModelCard
from geocamnet.errors import DataError, ModelError, unknown_name
from geocamnet.images import read_image, written_aside
from geocamnet.runtime.model import load
from geocamnet.train.index import read_index
from geocamnet.train.predictor import network_predictor
from geocamnet.train.quantise import PRECISIONS, Photographs, how_made, quantise, what_it_changed
from geocamnet.train.rewrite import rewrite
from geocamnet.train.runs import Network, load_network
from geocamnet.train.teacher import Teacher
from geocamnet.train.weights import save_weights

log = logging.getLogger(__name__)

OPSET = 20
TOLERANCE = 1e-4


def export(
    run: Path,
    model: Path,
    *,
    data: Path | None = None,
    precision: str = "fp32",
    name: str = "",
    licence: str = "",
    attribution: str = "",
    limits: str = "",
) -> ModelCard:
    """Write a run as one ``.onnx`` file, and refuse to if the file and the network differ.

    The file in 32 bits is compared with the network; one of 8 bits with that file, on validation photographs, and
    what changed is written into the card's ``quantisation`` (see `quantise.what_it_changed`).

    A teacher's run may also be written as ``.pth`` or ``.safetensors``: its state dict under timm's (and, for
    ResNets, torchvision's) names, which `training.adopt` and those libraries read. What lies beyond the edge is not in
    them: a teacher trained with `TrainRecipe.edges` "continued" answers otherwise there, and the log says so.

    Args:
        run: a finished run.
        model: the file to write; the suffix chooses.
        data: photographs to compare file and network on; drawn noise where None, and that is said in the log.
            A file of 8 bits needs its training and its labelled validation photographs.
        precision: ``fp32``, ``int8-weights`` or ``int8`` (see `quantise.quantise`).
        name, licence, attribution, limits: written into the card.

    Raises:
        DataError: 8 bits without DATA, or without the photographs they need.
        ModelError: RUN is not finished, probabilities or class maps differ by more than 1e-4, or 8 bits lose too much.
    """
    if precision not in PRECISIONS:
        raise ModelError(unknown_name("precision", precision, PRECISIONS))
    network, card = load_network(run)
    if precision != "fp32" and model.suffix in (".pth", ".safetensors"):
        raise ModelError(f"{model}: weights alone are written in 32 bits; --precision {precision} is for .onnx files.")
    if precision != "fp32" and data is None:
        raise DataError(
            f"--precision {precision} needs --data DATA: an 8-bit file is calibrated on training photographs, and what "
            "it loses is judged on validation photographs."
        )
    if model.suffix in (".pth", ".safetensors") and isinstance(network, Teacher):
        save_weights(model, network.trunk)
        if network.edges == "continued":
            log.warning(
                "%s: these weights answer as here only where convolutions see the photograph continued beyond its edge "
                "(padding_mode='replicate'), which other libraries and geocamnet adopt do not do by themselves",
                model,
            )
        return card
    if model.suffix != ".onnx":
        raise ModelError(
            f"{model}: a model file ends in .onnx (a teacher's weights, but not a student's, in .pth or .safetensors)."
        )
    metrics = run / "metrics.json"
    if metrics.is_file():
        card = replace(card, metrics=_headline(json.loads(metrics.read_text(encoding="utf-8"))))
    # Of a path only the name: the file is for others, and must not tell where things lie on this machine.
    recipe = {**card.recipe, "weights": Path(card.recipe.get("weights", "none")).name}
    about: dict[str, Any] = {"licence": licence, "attribution": attribution, "limits": limits}
    card = replace(card, name=name or card.name, recipe=recipe, **about)
    photographs = Photographs(data, card) if data is not None and precision != "fp32" else None
    graph = build_graph(network, card)
    with written_aside(model) as aside:
        card = _save(graph, card, aside)
        compare(aside, network, card, _photographs(data))
        if photographs is not None:
            full = load(aside)
            graph = quantise(graph, precision, (photographs.read(row) for row in photographs.training))
            card = _save(graph, replace(card, precision=precision), aside)
            changed = how_made(precision, photographs) | what_it_changed(load(aside), full, photographs)
            card = _save(graph, replace(card, quantisation=changed), aside)
            log.info(
                "%s: the name of fp32 on %.1f %% of %d validation photographs, class maps correlate by %.4f",
                precision, 100 * changed["same_name"], changed["photographs"], changed["map_correlation"]["mean"],
            )  # fmt: skip
    log.info("%s: %.0f kB, %s parameters", model, model.stat().st_size / 1000, f"{card.parameters:,}")
    return card


def build_graph(network: Network, card: ModelCard) -> onnx.ModelProto:
    """Return the ONNX graph: uint8 (N, H, W, 3) RGB of any size in, probabilities and class maps out."""
    core = _Core(network, card).eval()
    example = torch.rand(2, 3, 64, 96)
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        core,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["pixels"],
        output_names=["probabilities", "class_maps"],
        dynamic_shapes=({**sizes},),
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    _clear_notes(proto)
    merged = onnx.compose.merge_models(
        _preprocessing(card, proto.ir_version), proto, io_map=[("scaled", "pixels")], producer_name="geocamnet"
    )
    versions = {one.domain: one.version for one in merged.opset_import}  # each part brought its own
    del merged.opset_import[:]
    merged.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    rewrite(merged, "scaled")
    _name_sizes(merged)
    onnx.checker.check_model(merged, full_check=True)
    return merged


def _save(graph: onnx.ModelProto, card: ModelCard, file: Path) -> ModelCard:
    """Write graph and card into one file; return the card with the graph's sha256."""
    del graph.metadata_props[:]
    card = replace(card, sha256=hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest())
    write_metadata(graph, card)
    onnx.save(graph, file)
    return card


def write_metadata(graph: onnx.ModelProto, card: ModelCard) -> None:
    """Put the card, and the keys that QGIS's Deepness plugin reads, into the file's metadata."""
    names = {str(number): one.title for number, one in enumerate(card.classes)}
    about = {METADATA_KEY: card.to_json(), "class_names": json.dumps(names, ensure_ascii=False)}
    if card.um_per_px is not None:
        about["resolution"] = str(card.um_per_px)
    about |= {"tiles_size": str(card.long_side_px or 512), "tiles_overlap": "15"}
    del graph.metadata_props[:]
    helper.set_model_props(graph, about)


def compare(
    file: Path,
    network: Network,
    card: ModelCard,
    photographs: Sequence[NDArray[np.uint8]],
    *,
    tolerance: float = TOLERANCE,
) -> float:
    """Return the largest difference between a model file and its network.

    Probabilities are compared as they are, class maps in units of their own scale (at least 1).

    Raises:
        ModelError: they differ by more than ``tolerance`` on some photograph.
    """
    model = load(file)
    predict = network_predictor(network, card, device="cpu")  # a GPU rounds convolutions to 10 bits
    differences = [0.0]
    for image in photographs:
        prediction = model.predict(image)
        probabilities, class_maps = predict(image)
        if prediction.class_maps.shape != class_maps.shape:
            raise ModelError(
                f"The exported file gives class maps of shape {prediction.class_maps.shape} where the network gives "
                f"{class_maps.shape}, on a photograph of {image.shape}. The file was not kept."
            )
        size = max(1.0, float(np.abs(class_maps).max()))
        differences.append(float(np.abs(prediction.probabilities - probabilities).max()))
        differences.append(float(np.abs(prediction.class_maps - class_maps).max()) / size)
    worst = float(np.max(differences))  # NaN if any is, which Python's own max would pass over
    if not worst <= tolerance:
        raise ModelError(
            f"The exported file and the network differ by {worst:.2g}, more than {tolerance:.0e}. "
            "The file was not kept. Another version of torch or onnxruntime may export this network rightly."
        )
    return worst


class _Core(nn.Module):
    """A network from scaled pixels 0 to 255 to what the model file promises."""

    def __init__(self, network: Network, card: ModelCard) -> None:
        super().__init__()
        self.network, self.card = network, card

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        logits, class_maps = self.network(pixels / 255)
        logits = logits / self.card.temperature
        return logits.softmax(1) if self.card.labels == "single" else logits.sigmoid(), class_maps


def _preprocessing(card: ModelCard, ir_version: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
    ]
    constants = []
    if card.long_side_px is None:
        nodes.append(helper.make_node("Identity", ["floats"], ["scaled"]))
    else:
        sides = np.array([card.long_side_px] * 2, np.int64)
        constants.append(onnx.numpy_helper.from_array(sides, "long_side_px"))
        # ``not_larger`` keeps the aspect ratio and brings the long side to the size: up or down.
        nodes.append(
            helper.make_node(
                "Resize",
                ["floats", "", "", "long_side_px"],
                ["scaled"],
                mode="linear",
                antialias=1,
                axes=[2, 3],
                keep_aspect_ratio_policy="not_larger",
                coordinate_transformation_mode="half_pixel",
                name="resize",  # by which a browser keeps it off the GPU, where it can't be run
            )
        )
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "height", "width", 3])
    scaled = helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 3, "scaled_height", "scaled_width"])
    graph = helper.make_graph(nodes, "geocamnet", [image], [scaled], constants)
    return helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", OPSET)])


def _name_sizes(graph: onnx.ModelProto) -> None:
    """Give the outputs' free sizes names that a reader of the file understands."""
    for output, names in zip(graph.graph.output, (["n", ""], ["n", "", "map_height", "map_width"]), strict=True):
        for size, name in zip(output.type.tensor_type.shape.dim, names, strict=True):
            if name:
                size.dim_param = name


def _clear_notes(proto: onnx.ModelProto) -> None:
    """Drop what the exporter notes on each node: stack traces with this machine's paths, half the file."""
    del proto.metadata_props[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del proto.graph.value_info[:]
    del proto.graph.metadata_props[:]


def _photographs(data: Path | None, most: int = 8) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, size=(h, w, 3), dtype=np.uint8) for h, w in ((97, 131), (240, 320), (64, 48))]
    if data is None:
        log.info("no DATA named: file and network are compared on noise alone")
        return noise
    rows = read_index(data)
    return noise + [read_image(data / row.image) for row in rows[:: max(1, len(rows) // most)][:most]]


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of metrics.json that belong on a card, each beside its baselines."""
    names = ("accuracy", "balanced_accuracy", "macro_f1", "mAP", "calibration_error")
    parts = {"model": metrics.get("model") or {}, **(metrics.get("baselines") or {})}
    about = {key: metrics[key] for key in ("split", "n", "sections_known") if key in metrics}
    figures = {
        who: {name: one[name] for name in names if one.get(name) is not None}
        for who, one in parts.items()
        if isinstance(one, dict)  # beside the baselines stands how they were fitted, or why they were not
    }
    return {**about, **{who: values for who, values in figures.items() if values}}
