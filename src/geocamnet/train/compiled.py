"""Networks compiled by PyTorch (torch.compile): the same numbers from fewer passes over memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geocamnet.errors import ModelError
from geocamnet.train.runs import Network

COMPILER = "inductor"


def compile_network(network: Network) -> None:
    """Let the trunk of a network be compiled when it first runs; its weights stay where and what they are.

    For the networks of a training only, where photographs have one size: a copy or an export of them is not meant.

    Args:
        network: teacher or student, changed in place.
    """
    for one in network.modules():
        if isinstance(one, nn.Conv2d) and one.padding_mode == "replicate":
            one.forward = MethodType(_continued, one)  # type: ignore[method-assign]
    for way in ("stages", "features"):
        setattr(network, way, torch.compile(getattr(network, way), backend=COMPILER))


def _continued(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """Convolve features (B, K, H, W) continued beyond their edge, of rows and columns laid side by side.

    PyTorch's own padding can't be compiled: what it is said to give back is not what it gives for channels-last memory.
    """
    assert isinstance(conv.padding, tuple)
    for axis, more in ((2, conv.padding[0]), (3, conv.padding[1])):
        first, last = features.narrow(axis, 0, 1), features.narrow(axis, features.shape[axis] - 1, 1)
        features = torch.cat([*[first] * more, features, *[last] * more], dim=axis)
    return F.conv2d(features, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


@contextmanager
def compiler_needed() -> Iterator[None]:
    """Say in a sentence what PyTorch's compiler lacks, where it fails inside of the block.

    Raises:
        ModelError: nothing to compile with, or a network that can't be compiled.
    """
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"--compile: PyTorch could not compile the network ({reason}). It needs a C++ compiler (Debian: apt install"
            " g++), on a GPU Triton too; or train without --compile."
        ) from error
