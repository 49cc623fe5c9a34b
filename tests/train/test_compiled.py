"""Compiled networks are the networks they were; a machine without a compiler is told so."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from geocamnet.errors import ModelError
from geocamnet.train import compiled
from geocamnet.train.compiled import compile_network, compiler_needed
from geocamnet.train.runs import load_network
from geocamnet.train.student import make_student
from geocamnet.train.teacher import make_teacher
from geocamnet.train.training import distil, train
from tiny import STUDENT, TEACHER, read_log, write_data

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """Everything that compiling does but the writing of C++, which takes minutes."""
    monkeypatch.setattr(compiled, "COMPILER", "eager")
    yield
    torch.compiler.reset()


def one_of(kind):
    torch.manual_seed(0)
    if kind == "teacher":
        return make_teacher("test_resnet", 3, edges="continued")
    return make_student(3, backbone="mobilenetv3_small_050", output_stride=32, map_stride=16)


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_compiled_network_gives_the_same_maps_and_gradients_from_the_same_weights(kind):
    plain = one_of(kind).to(memory_format=torch.channels_last).eval()  # an untrained trunk's batch statistics amplify
    other = deepcopy(plain)
    compile_network(other)
    images = torch.rand(4, 3, 96, 80).contiguous(memory_format=torch.channels_last)
    found = []
    for network in (plain, other):
        evidence = network(images)
        (evidence.logits.sum() + evidence.class_maps.square().mean()).backward()
        found.append(
            (evidence.logits, evidence.class_maps, *(p.grad for p in network.parameters() if p.grad is not None))
        )
    assert len(found[0]) == len(found[1]) > 10
    for one, twin in zip(*found, strict=True):
        torch.testing.assert_close(one, twin, rtol=1e-3, atol=1e-5)
    assert {*other.state_dict()} == {*plain.state_dict()}


def test_a_compiled_training_learns_the_same_and_leaves_a_run_like_any_other(tmp_path):
    data = write_data(tmp_path / "data")
    runs = {}
    for compile in (False, True):
        teacher, student = (tmp_path / f"{who}-{compile}" for who in ("teacher", "student"))
        train(data, teacher, replace(TEACHER, epochs=1, edges="continued", compile=compile))
        recipe = replace(STUDENT, epochs=1, teacher_maps="online", compile=compile, ema=0.5)
        distil(data, student, recipe, teacher=teacher)
        runs[compile] = [read_log(teacher), read_log(student)]
        network, _ = load_network(student)
        assert torch.isfinite(network(torch.rand(1, 3, 64, 48)).logits).all()
    for rows, twins in zip(*runs.values(), strict=True):
        for row, twin in zip(rows, twins, strict=True):
            assert row["train_loss"] == pytest.approx(twin["train_loss"], rel=0.02)


def test_without_a_compiler_one_is_told_what_to_install(monkeypatch):
    import torch._inductor.config

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/no/such/compiler"))
    doubled = torch.compile(lambda x: x.sin() * 2, backend="inductor")
    with (
        pytest.raises(ModelError, match=r"--compile: PyTorch could not.*apt install g\+\+.*without --compile"),
        compiler_needed(),
    ):
        doubled(torch.rand(8))
    with pytest.raises(RuntimeError, match="of another kind"), compiler_needed():
        raise RuntimeError("of another kind")
