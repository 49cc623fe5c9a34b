"""Fixtures that every test may use: a tiny valid student and drawn photographs.

The student is three convolution filters that like red, green and blue; so a photograph's colour says what it must
answer, and where. Heavy packages are imported inside the fixtures.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from geocamnet.card import METADATA_KEY, ClassCard, ModelCard
from geocamnet.images import write_image
from geocamnet.runtime.kept import FOLDER_VARIABLE
from geocamnet.runtime.model import Model, load
from geocamnet.train.index import SPLITS, IndexRow, write_index

# Machines that run tests are shared: no example is late, and fewer of them find what there is to find.
settings.register_profile("geocamnet", deadline=None, max_examples=40)
settings.load_profile("geocamnet")

# The colour each class of the tiny student likes; 'oolite' is red, 'foam' green, 'vug' blue.
CLASS_COLOURS = {"oolite": (255, 0, 0), "foam": (0, 255, 0), "vug": (0, 0, 255)}
GAIN = 8.0


@pytest.fixture(scope="session")
def tiny_card() -> ModelCard:
    """Return the card of the tiny student: 64 px long side, stride 4."""
    return ModelCard(
        name="tiny",
        classes=tuple(ClassCard(name, name.capitalize(), colour) for name, colour in CLASS_COLOURS.items()),
        labels="single",
        architecture="three colour filters",
        parameters=3 * 3 * 4 * 4 + 3,
        map_stride=4,
        long_side_px=64,
        um_per_px=None,
        map_scale=(GAIN, GAIN, GAIN),
        class_bias=(0.1, 0.0, -0.1),
        temperature=2.0,
        abstain_below=0.4,
        data={"name": "drawn colours"},
    )


def save_student(
    path: Path,
    card: ModelCard,
    *,
    card_text: str | None = None,
    drop_output: str | None = None,
    outputs: int | None = None,
    nan: bool = False,
    with_card: bool = True,
    input_name: str = "image",
) -> Path:
    """Write an ONNX student of colour filters that obeys the contract, or breaks it as asked."""
    onnx = pytest.importorskip("onnx", reason="writing the tiny student needs onnx: pip install 'geocamnet[train]'")
    from onnx import TensorProto, helper, numpy_helper

    stride, count = card.map_stride, outputs or len(card.classes)
    weights = np.full((count, 3, stride, stride), -0.5, np.float32)
    for own in range(count):
        weights[own, own % 3] = 1.0
    weights *= GAIN / stride**2
    bias = np.zeros((1, count), np.float32)
    bias[0, : len(card.class_bias)] = card.class_bias[:count]
    constants = {
        "weights": weights,
        "bias": bias,
        "temperature": np.float32(card.temperature),
        "white": np.float32(np.nan if nan else 255.0),
        "sizes": np.array([card.long_side_px or 1] * 2, np.int64),
        "none_f": np.zeros(0, np.float32),
    }
    nodes = [
        helper.make_node("Cast", [input_name], ["float_nhwc"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float_nhwc"], ["float_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["float_nchw", "white"], ["unit"]),
    ]
    scaled = "unit"
    if card.long_side_px is not None:
        scaled = "scaled"
        nodes.append(
            helper.make_node(
                "Resize",
                ["unit", "", "", "sizes"],
                [scaled],
                mode="linear",
                antialias=1,
                axes=[2, 3],
                keep_aspect_ratio_policy="not_larger",
                name="resize",
            )
        )
    nodes += [
        helper.make_node(
            "Conv", [scaled, "weights"], ["class_maps"], strides=[stride] * 2, pads=[0, 0, stride - 1, stride - 1]
        ),
        helper.make_node("ReduceMean", ["class_maps", "axes"], ["means"], keepdims=0),
        helper.make_node("Add", ["means", "bias"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
        helper.make_node(*_activation(card.labels)),
    ]
    constants["axes"] = np.array([2, 3], np.int64)
    declared = {
        "probabilities": helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", count]),
        "class_maps": helper.make_tensor_value_info("class_maps", TensorProto.FLOAT, ["n", count, "map_h", "map_w"]),
    }
    graph = helper.make_graph(
        nodes,
        "tiny_student",
        [helper.make_tensor_value_info(input_name, TensorProto.UINT8, ["n", "height", "width", 3])],
        [value for name, value in declared.items() if name != drop_output],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    if with_card:
        helper.set_model_props(model, {METADATA_KEY: card_text or card.to_json()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _activation(labels: str) -> tuple[str, list[str], list[str]]:
    return ("Softmax" if labels == "single" else "Sigmoid", ["cooled"], ["probabilities"])


@pytest.fixture(scope="session")
def make_student() -> Callable[..., Path]:
    """Return `save_student`: (path, card, options) writes a model file and returns its path."""
    return save_student


@pytest.fixture(scope="session")
def student_file(tmp_path_factory: pytest.TempPathFactory, tiny_card: ModelCard) -> Path:
    """Return the path of the tiny student's model file."""
    return save_student(tmp_path_factory.mktemp("model") / "tiny.onnx", tiny_card)


@pytest.fixture(scope="session")
def student(student_file: Path) -> Model:
    """Return the tiny student, opened."""
    return load(student_file, threads=1)


@pytest.fixture(scope="session")
def paint() -> Callable[..., Any]:
    """Return a function (shape_hw, left, right) that paints a photograph of two halves, with faint grain."""
    return paint_halves


def paint_halves(
    shape_hw: tuple[int, int], left: str, right: str | None = None, *, seed: int = 0
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Paint RGB uint8 (H, W, 3): the left half in the colour of one class, the right half in another's."""
    height, width = shape_hw
    image = np.empty((height, width, 3), np.float64)
    image[:] = CLASS_COLOURS[left]
    image[:, width // 2 :] = CLASS_COLOURS[right or left]
    grain = np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.clip(image * 0.7 + 30 + grain, 0, 255).astype(np.uint8)


@pytest.fixture
def memory() -> Iterator[Any]:
    """Yield an fsspec store of this process, empty."""
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec: pip install 'geocamnet[store]'")
    store = fsspec.filesystem("memory")
    store.rm("/", recursive=True)
    yield store
    store.rm("/", recursive=True)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Yield an S3 of this machine, with an empty bucket, that URLs lead to, in other processes too."""
    for package in ("s3fs", "moto", "flask", "flask_cors"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'geocamnet[store,dev]'")
    import fsspec
    from moto.moto_api._internal import moto_api_backend

    from local_s3 import BUCKET, LocalS3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no configuration"))
    server = LocalS3()
    monkeypatch.setenv("FSSPEC_S3", json.dumps(server.options))
    monkeypatch.setitem(fsspec.config.conf, "s3", server.options)  # read from there once, when fsspec was imported
    server.files().mkdir(BUCKET)
    yield server
    server.stop()
    moto_api_backend.reset()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="session", autouse=True)
def no_choices_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what `geocamnet benchmark --keep` has kept for whoever runs the tests out of them."""
    os.environ[FOLDER_VARIABLE] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Let PyTorch use one thread, where a test has imported it: small networks are faster so, and machines shared."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a DATA folder of 26 photographs of 64 x 96 px, three textures; to be read, not changed.

    Each class has 4 training, 2 validation and 2 test photographs, all sections apart, every fourth one upright;
    two more training photographs have no label.
    """
    return draw_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def make_data() -> Callable[..., Path]:
    """Return `draw_data`: (folder, options) draws a DATA folder and returns its path."""
    return draw_data


def draw_data(
    folder: Path,
    *,
    classes: tuple[str, ...] = tuple(sorted(CLASS_COLOURS)),
    counts: tuple[int, int, int] = (4, 2, 2),
    unlabelled: int = 2,
    shape_hw: tuple[int, int] = (64, 96),
    seed: int = 0,
) -> Path:
    """Write a DATA folder of noise, each class of a grain size and tint of its own.

    Args:
        folder: to be made.
        classes: names of the labels.
        counts: photographs per class for training, validation and test.
        unlabelled: training photographs more, without a label.
        shape_hw: of most photographs; every fourth stands upright.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    wanted = [(split, (name,)) for name in classes for split, n in zip(SPLITS, counts, strict=True) for _ in range(n)]
    rows = []
    for number, (split, labels) in enumerate(wanted + [("train", ())] * unlabelled):
        kind = classes.index(labels[0]) if labels else number % len(classes)
        height, width = shape_hw[::-1] if number % 4 == 3 else shape_hw
        grain = 2**kind
        noise = rng.normal(128, 50, (-(-height // grain), -(-width // grain), 3)).repeat(grain, 0).repeat(grain, 1)
        tint = 40 * (np.arange(3) == kind % 3)
        image = np.clip(noise[:height, :width] + tint, 0, 255).astype(np.uint8)
        name = f"images/{number:03d}.png"
        write_image(folder / name, image)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        section = f"section{number:03d}"
        row = IndexRow(name, labels, section, section, "PPL", None, split, width, height, digest, f"{number}.png")
        rows.append(row)
    write_index(folder, rows)
    return folder


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Return `save_run`: (folder, options) writes a finished, untrained RUN and returns its path."""
    return save_run


def save_run(
    folder: Path,
    *,
    step: str = "train",
    backbone: str = "resnet18",
    classes: tuple[str, ...] = tuple(sorted(CLASS_COLOURS)),
    labels: str = "single",
    image_px: int = 64,
    seed: int = 0,
) -> Path:
    """Write a RUN of a network with drawn weights: card and checkpoint, as training leaves them.

    Args:
        folder: to be made.
        step: ``train`` for a teacher, ``distil`` for a student.
        backbone: of the network.
        classes, labels, image_px: of its card.
        seed: of its weights.
    """
    import torch

    from geocamnet.train.recipes import DistilRecipe, TrainRecipe
    from geocamnet.train.runs import build_network, open_run, write_text
    from geocamnet.train.student import count_parameters
    from geocamnet.train.weights import save_weights

    recipe = (TrainRecipe if step == "train" else DistilRecipe)(backbone=backbone, image_px=image_px)
    card = ModelCard(
        name=folder.name,
        classes=tuple(ClassCard(name, name.capitalize(), CLASS_COLOURS.get(name, (9, 9, 9))) for name in classes),
        labels=labels,
        architecture=backbone,
        parameters=1,
        map_stride=recipe.map_stride,
        long_side_px=image_px,
        um_per_px=None,
        map_scale=(1.0,) * len(classes),
        class_bias=(0.0,) * len(classes),
        temperature=1.5,
        recipe={"step": step, **asdict(recipe)},
    )
    torch.manual_seed(seed)
    network = build_network(card)
    with torch.no_grad():
        network.class_bias.copy_(torch.linspace(-0.3, 0.3, len(classes)))
        for name, value in network.state_dict().items():  # statistics as training leaves them, not 0 and 1
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            if name.endswith("running_var"):
                value.uniform_(0.8, 1.2)
    card = replace(card, parameters=count_parameters(network), class_bias=tuple(network.class_bias.detach().tolist()))
    open_run(folder, step, recipe)
    save_weights(folder / "checkpoints" / "best.safetensors", network)
    write_text(folder / "card.json", card.to_json())
    write_text(folder / "metrics.json", "{}\n")
    return folder
