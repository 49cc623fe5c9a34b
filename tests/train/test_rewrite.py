"""A rewritten graph answers as the one it was made from."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from geocamnet.card import ClassCard, ModelCard
from geocamnet.train import export as export_file
from geocamnet.train.export import build_graph
from geocamnet.train.rewrite import rewrite
from geocamnet.train.student import Student
from geocamnet.train.teacher import Teacher

SHAPES = [(96, 96), (97, 61), (33, 32), (9, 8), (130, 240)]


def card_of(classes, *, stride):
    return ModelCard(
        name="drawn weights",
        classes=tuple(ClassCard(f"c{i}", f"C{i}", (i, 2, 3)) for i in range(classes)),
        labels="single",
        architecture="none",
        parameters=1,
        map_stride=stride,
        long_side_px=64,
        um_per_px=None,
        map_scale=(1.0,) * classes,
        class_bias=(0.0,) * classes,
    )


def with_drawn_statistics(network):
    """Give normalisation layers statistics and offsets that are not those of an untrained network."""
    torch.manual_seed(1)
    for one in network.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.running_mean.normal_(0, 0.1)
            one.running_var.uniform_(0.5, 1.5)
            torch.nn.init.normal_(one.bias, 0, 0.1)
    return network.eval()


def unrewritten(monkeypatch, network, card):
    monkeypatch.setattr(export_file, "rewrite", lambda graph, pixels: None)
    return build_graph(network, card)


def rewritten(graph, pixels="scaled"):
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    rewrite(copy, pixels)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def answers(graph, **inputs):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def kinds(graph):
    return Counter(node.op_type for node in graph.graph.node)


@pytest.mark.parametrize(("output_stride", "map_stride"), [(16, None), (16, 8), (32, None)])
def test_a_student_answers_as_before_at_every_size(monkeypatch, output_stride, map_stride):
    network = with_drawn_statistics(Student(3, output_stride=output_stride, map_stride=map_stride))
    before = unrewritten(monkeypatch, network, card_of(3, stride=map_stride or output_stride))
    after = rewritten(before)
    assert kinds(after)["Sub"] == kinds(before)["Sub"] - 1
    assert kinds(after)["Pad"] == kinds(before)["Pad"]
    assert kinds(after)["MatMul"] == 8  # gated weights; the ninth gate is of 16 channels
    assert kinds(after)["Conv"] == kinds(before)["Conv"] - 8
    names = {name for node in after.graph.node for name in node.input}
    assert {one.name for one in after.graph.initializer} <= names
    rng = np.random.default_rng(0)
    for height, width in SHAPES:
        image = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        for one, other in zip(answers(before, image=image), answers(after, image=image), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_first_convolution_without_a_bias_takes_the_normalisation_too(monkeypatch):
    before = unrewritten(monkeypatch, Student(3).eval(), card_of(3, stride=16))
    constants = {one.name for one in before.graph.initializer}
    first = next(node for node in before.graph.node if node.op_type == "Conv" and node.input[1] in constants)
    assert len(first.input) == 2
    after = rewritten(before)
    assert kinds(after)["Sub"] == kinds(before)["Sub"] - 1
    image = np.random.default_rng(0).integers(0, 256, (1, 50, 70, 3), dtype=np.uint8)
    for one, other in zip(answers(before, image=image), answers(after, image=image), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_fewer_features_are_padded(monkeypatch):
    network = with_drawn_statistics(Student(3))
    before = unrewritten(monkeypatch, network, card_of(3, stride=16))

    def padded(graph):
        sizes = {one.name: one.dims[0] for one in graph.graph.initializer if len(one.dims) == 4}
        outputs = {node.output[0]: sizes.get(node.input[1]) for node in graph.graph.node if node.op_type == "Conv"}
        gated = {node.output[0]: sizes.get(node.input[0]) for node in graph.graph.node if node.op_type == "Reshape"}
        outputs |= {name.removesuffix(".weights"): count for name, count in gated.items() if count}
        made_by = {node.output[0]: node for node in graph.graph.node}
        channels = []
        for node in graph.graph.node:
            if node.op_type == "Pad":
                name = node.input[0]
                while name not in outputs and name in made_by:
                    name = made_by[name].input[0]
                channels.append(outputs.get(name, 3))
        return channels

    assert padded(before) == [3, 88, 96, *[192] * 2, 96, 120, 240, 432, 432]
    assert padded(rewritten(before)) == [3, 24, 24, 32, 32, 32, 40, 40, 72, 72]


@pytest.mark.parametrize(
    "bounds", [([0], [4], [1]), ([-3], [2**62], [1]), ([1, 0], [3, 9], [0, 1], [1, 2]), ([1], [2])]
)
def test_a_part_of_weights_is_cut_out_and_no_other_slice(bounds):
    names = ["w", *("starts", "ends", "axes", "steps")[: len(bounds)]]
    constants = dict(zip(names[1:], (np.array(one, np.int64) for one in bounds), strict=True))
    nodes = [
        helper.make_node("Slice", names, ["part"]),
        helper.make_node("Slice", ["pixels", "first", "last", "rows"], ["some"]),
        helper.make_node("ReduceSum", ["part"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["some", "sum"], ["y"]),
    ]
    rows = {name: np.array([value], np.int64) for name, value in (("first", 1), ("last", 4), ("rows", 2))}
    before = drawn(nodes, {**constants, **rows, "w": weights(4, 8, 1, 1)})
    after = rewritten(before, "pixels")
    assert kinds(after) == {"Slice": 1, "ReduceSum": 1, "Mul": 1}
    assert "w" not in {one.name for one in after.graph.initializer}
    pixels = weights(2, 3, 7, 9, seed=1)
    np.testing.assert_allclose(answers(after, pixels=pixels)[0], answers(before, pixels=pixels)[0], atol=1e-5)


def test_a_mean_over_all_cells_is_a_pool_by_name_and_other_means_stay():
    for axes, keepdims, pooled in (([2, 3], 1, True), ([-1, -2], 1, True), ([3], 1, False), ([1, 2], 1, False)):
        nodes = [helper.make_node("ReduceMean", ["pixels", "axes"], ["y"], keepdims=keepdims)]
        before = drawn(nodes, {"axes": np.array(axes, np.int64)})
        after = rewritten(before, "pixels")
        assert kinds(after) == ({"GlobalAveragePool": 1} if pooled else {"ReduceMean": 1})
        pixels = weights(2, 3, 7, 9, seed=1)
        np.testing.assert_allclose(answers(after, pixels=pixels)[0], answers(before, pixels=pixels)[0], atol=1e-6)
    flat = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["a"], keepdims=0),
        helper.make_node("Unsqueeze", ["a", "axes"], ["y"]),
    ]
    before = drawn(flat, {"axes": np.array([2, 3], np.int64)})
    assert kinds(rewritten(before, "pixels")) == {"ReduceMean": 1, "Unsqueeze": 1}


def test_a_network_that_pads_with_zeros_stays_as_it_is(monkeypatch):
    network = with_drawn_statistics(Teacher("test_resnet", 3))
    before = unrewritten(monkeypatch, network, card_of(3, stride=32))
    assert rewritten(before).graph.node == before.graph.node


def drawn(nodes, constants, *, outputs=("y",), channels=3):
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["n", None, None, None]) for one in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


EDGES = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


@pytest.mark.parametrize("shift", [weights(1, 3, 1, 1), np.float32(7)])
def test_shifts_and_factors_of_any_kind_are_folded(shift):
    nodes = [
        helper.make_node("Mul", ["pixels", "factor"], ["a"]),
        helper.make_node("Add", ["a", "shift"], ["b"]),
        helper.make_node("Div", ["b", "spread"], ["c"]),
        helper.make_node("Pad", ["c", "edges"], ["d"], mode="edge"),
        helper.make_node("Conv", ["d", "w", "bias"], ["y"]),
    ]
    spread = np.array([2, 3, 4], np.float32).reshape(3, 1, 1)
    constants = {"factor": np.float32(0.5), "shift": shift, "spread": spread, "edges": EDGES}
    before = drawn(nodes, {**constants, "w": weights(4, 3, 3, 3), "bias": weights(4)})
    after = rewritten(before, "pixels")
    assert kinds(after) == {"Pad": 1, "Conv": 1}
    pixels = weights(2, 3, 7, 9, seed=1)
    np.testing.assert_allclose(answers(after, pixels=pixels)[0], answers(before, pixels=pixels)[0], atol=1e-4)


def test_what_is_wanted_without_a_border_stays():
    nodes = [
        helper.make_node("Conv", ["pixels", "wide"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Pad", ["b", "edges"], ["c"], mode="edge"),
        helper.make_node("Conv", ["c", "deep"], ["y"], group=8),
    ]
    constants = {"wide": weights(8, 3, 1, 1), "edges": EDGES, "deep": weights(8, 1, 3, 3)}
    pixels = weights(1, 3, 6, 5, seed=1)
    before = drawn(nodes, constants)
    after = rewritten(before, "pixels")
    assert [node.op_type for node in after.graph.node] == ["Pad", "Conv", "Relu", "Conv"]
    np.testing.assert_allclose(answers(after, pixels=pixels)[0], answers(before, pixels=pixels)[0], atol=1e-5)
    wanted = drawn(nodes, constants, outputs=("y", "b"))
    assert rewritten(wanted, "pixels").graph.node == wanted.graph.node


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_other_borders_stay(mode):
    nodes = [
        helper.make_node("Sub", ["pixels", "mean"], ["a"]),
        helper.make_node("Pad", ["a", "edges"], ["b"], mode=mode),
        helper.make_node("Conv", ["b", "w", "bias"], ["y"]),
    ]
    before = drawn(nodes, {"mean": np.float32(3), "edges": EDGES, "w": weights(4, 3, 3, 3), "bias": weights(4)})
    assert rewritten(before, "pixels").graph.node == before.graph.node


def gated(wide=96, *, pooled=True, bias=True, stride=1):
    """A squeeze-and-excitation of (N, wide, h, w) pixels and the 1x1 convolution after it."""
    constants = {"squeeze": weights(5, wide, 1, 1), "excite": weights(wide, 5, 1, 1), "w": weights(7, wide, 1, 1)}
    constants |= {"b": weights(7)} if bias else {}
    nodes = [
        helper.make_node("GlobalAveragePool" if pooled else "Relu", ["pixels"], ["mean"]),
        helper.make_node("Conv", ["mean", "squeeze"], ["squeezed"]),
        helper.make_node("Relu", ["squeezed"], ["bent"]),
        helper.make_node("Conv", ["bent", "excite"], ["excited"]),
        helper.make_node("HardSigmoid", ["excited"], ["gates"]),
        helper.make_node("Mul", ["gates", "pixels"], ["gated"]),
        helper.make_node("Conv", ["gated", "w", *(["b"] if bias else [])], ["y"], strides=[stride] * 2),
    ]
    return drawn(nodes, constants, channels=wide)


@pytest.mark.parametrize("bias", [True, False])
def test_gates_go_into_the_weights_of_each_photograph(bias):
    before = gated(bias=bias)
    after = rewritten(before, "pixels")
    assert kinds(after)["MatMul"] == 1
    assert kinds(after)["Conv"] == kinds(before)["Conv"] - 1
    pixels = weights(3, 96, 4, 5, seed=1)
    pixels[1] *= 5  # another gate
    np.testing.assert_allclose(answers(after, pixels=pixels)[0], answers(before, pixels=pixels)[0], atol=1e-4)


@pytest.mark.parametrize("unlike", [{"wide": 48}, {"pooled": False}, {"stride": 2}])
def test_what_is_no_gate_or_not_worth_it_stays_as_it_is(unlike):
    before = gated(**unlike)
    assert kinds(rewritten(before, "pixels")) == kinds(before)
