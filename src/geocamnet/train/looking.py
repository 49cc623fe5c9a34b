"""A network that teaches by looking on, made quick on a processor: nothing in it will be trained again."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geocamnet.train.runs import Network
from geocamnet.train.teacher import Teacher

CLOSE = 1e-3  # of the features' spread: what folding may change by rounding


def made_quick(network: Network, *, half: bool) -> Network:
    """Return a copy that gives the same features sooner, in evaluation and without gradients.

    Batch normalisation becomes part of the convolution before it, ``W' = W g / s, b' = beta + (b - mean) g / s`` with
    ``s = sqrt(var + eps)``. In half precision (bf16) all of the trunk computes in it, which takes much less than what
    autocast makes of it (benchmarks/bench_looking.py); the classifier stays in single precision.

    Args:
        network: teacher or student; left as it is.
        half: whether the trunk is to compute in bf16.
    """
    quick = copy.deepcopy(network).eval().requires_grad_(False)
    quick.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    folded = copy.deepcopy(quick)
    _fold(folded.trunk)
    if _alike(quick, folded):
        quick = folded
    if half:
        quick.trunk.to(torch.bfloat16)
        if isinstance(quick, Teacher):
            quick.trunk.get_classifier().to(torch.float32).load_state_dict(network.trunk.get_classifier().state_dict())
    return quick


def halves_when_it_looks(precision: str) -> bool:
    """Return whether bf16 is quicker for a network that looks on: on a processor that has it, unless told otherwise."""
    return precision == "auto" and not torch.cuda.is_available() and torch.cpu._is_avx512_bf16_supported()


def _fold(trunk: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution of as many channels, in the order of the modules."""
    before: nn.Conv2d | None = None
    for name, module in list(trunk.named_modules()):
        if isinstance(module, nn.Conv2d):
            before = module
        elif isinstance(module, _BatchNorm):
            if before is not None and before.out_channels == module.num_features:
                _fold_into(before, module)
                parent = trunk.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], _activation_of(module))
            before = None


def _fold_into(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = conv.bias if conv.bias is not None else torch.zeros_like(norm.running_mean)
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(norm.bias + (bias - norm.running_mean) * scale, requires_grad=False)


def _activation_of(norm: nn.Module) -> nn.Module:
    """Return what is left of a normalisation: timm's do the activation too."""
    parts = [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*parts)


def _alike(one: Network, other: Network) -> bool:
    """Return whether two networks have the same features of an image of noise."""
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features: list[Tensor] = [network.features(noise) for network in (one, other)]
    return bool((features[0] - features[1]).abs().max() <= CLOSE * (features[0].std() + 1e-6))
