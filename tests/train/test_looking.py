"""Networks made quick to look on: the same features, and nothing changed in the network they were made of."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from geocamnet.train.looking import halves_when_it_looks, made_quick
from geocamnet.train.student import make_student
from geocamnet.train.teacher import Teacher

torch.set_num_threads(1)


def teacher_of(backbone, edges="zeros"):
    return Teacher(backbone, 3, edges=edges)


NETWORKS = {
    "a teacher of residual blocks": lambda: teacher_of("test_resnet"),
    "a teacher that continues edges": lambda: teacher_of("efficientnet_lite0", "continued"),
    "a student": lambda: make_student(3),
}


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    """A network whose normalisations have met something."""
    torch.manual_seed(0)
    made = NETWORKS[request.param]()
    for one in made.modules():
        if isinstance(one, _BatchNorm):
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.uniform_(one.bias, -0.3, 0.3)
            nn.init.uniform_(one.running_mean, -0.3, 0.3)
            nn.init.uniform_(one.running_var, 0.5, 2.0)
    return made.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_folded_normalisation_gives_the_same_stages_and_evidence(network, images):
    quick = made_quick(network, half=False)
    assert not any(isinstance(one, _BatchNorm) for one in quick.trunk.modules())
    for one, other in zip(quick.stages(images), network.stages(images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.std()))
    for one, other in zip(quick(images), network(images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_in_half_precision_it_says_nearly_the_same_and_says_it_in_single(network, images):
    quick = made_quick(network, half=True)
    assert quick.features(images).dtype == torch.bfloat16
    evidence = quick.evidence(quick.features(images).float())
    assert evidence.logits.dtype == torch.float32
    maps, own = evidence.class_maps, network(images).class_maps
    assert F.cosine_similarity(maps.flatten(), own.flatten(), dim=0) > 0.99
    if isinstance(network, Teacher):
        assert torch.equal(quick.trunk.get_classifier().weight, network.trunk.get_classifier().weight)


def test_the_network_it_is_made_of_is_left_as_it_is(network):
    before = copy.deepcopy(network.state_dict())
    quick = made_quick(network, half=True)
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert next(network.parameters()).requires_grad
    assert not any(one.requires_grad for one in quick.parameters())


class Late(nn.Module):
    """A network that normalises what comes after an activation: that can't be folded into the convolution before."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
        self.trunk[2].running_mean += 0.5

    def features(self, images):
        return self.trunk(images)


@torch.no_grad()
def test_what_folding_would_change_is_not_folded(images):
    torch.manual_seed(0)
    network = Late().eval()
    torch.testing.assert_close(made_quick(network, half=False).features(images), network.features(images))


@pytest.mark.parametrize(
    ("precision", "has_it", "gpu", "halves"),
    [
        ("auto", True, False, True),
        ("auto", False, False, False),
        ("fp32", True, False, False),
        ("auto", True, True, False),
    ],
)
def test_it_looks_in_bf16_where_the_processor_has_it_unless_told_otherwise(precision, has_it, gpu, halves, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert halves_when_it_looks(precision) is halves
