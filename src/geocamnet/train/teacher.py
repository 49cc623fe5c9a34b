"""The teacher: ResNet101, or any timm backbone that ends in average pooling and one linear layer."""

import logging
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
from torch import Tensor, nn

from geocamnet.errors import ModelError, unknown_name
from geocamnet.train.weights import read_weights, start_from

log = logging.getLogger(__name__)

Edges = Literal["continued", "zeros"]


class Evidence(NamedTuple):
    """What every network here gives: logits (B, C), and class maps (B, C, h, w) whose mean + bias they are."""

    logits: Tensor
    class_maps: Tensor


class Teacher(nn.Module):
    """A deep classifier whose class activation maps are exact and need no gradient.

    With features A (B, K, h, w), average pooling and a linear layer W (C, K), b (C,), Zhou et al. 2016
    (arXiv 1512.04150) give ``M_c(y, x) = sum_k W[c, k] A_k(y, x)``, and ``mean(M_c) + b_c`` is the logit.

    Args:
        backbone: name of a timm network.
        classes: number of classes C.
        output_stride: pixels per cell of the class maps.
        edges: what convolutions see beyond the photograph's edge: ``zeros``, as published networks were trained, or
            the photograph ``continued``, as a student's do. By zeros a cell can tell the middle from the edge.
        pretrained: download the published weights.

    Raises:
        ModelError: an unknown backbone, one that does not end in average pooling and one linear layer, or one
            that has no such output stride.
    """

    trunk: Any  # a timm network: its methods are not in its type
    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: str, classes: int, *, output_stride: int = 32, edges: Edges = "zeros", pretrained: bool = False
    ) -> None:
        super().__init__()
        self.trunk = _create(backbone, classes, output_stride, pretrained)
        self.edges = edges
        if edges == "continued":
            continue_edges(self.trunk)
        self.mean, self.std = normalisation_buffers(self.trunk, self)
        self._check_ends_in_linear(backbone, output_stride)
        self._check_centred(backbone)

    def forward(self, images: Tensor) -> Evidence:
        """Name and map photographs.

        Args:
            images: float RGB in [0, 1], (B, 3, H, W).

        Returns:
            Logits (B, C) and raw class maps (B, C, h, w), without the bias.
        """
        return self.evidence(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return the trunk's last features (B, K, h, w) of float RGB in [0, 1], (B, 3, H, W)."""
        return self.trunk.forward_features(normalised(images, self))

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the features of every stage of the trunk, the classifier's last."""
        last, stages = self.trunk.forward_intermediates(normalised(images, self))
        return [*stages[:-1], last]

    def evidence(self, features: Tensor) -> Evidence:
        """Return what the classifier makes of the trunk's features (B, K, h, w)."""
        linear = self.trunk.get_classifier()
        class_maps = torch.einsum("bkhw,ck->bchw", features, linear.weight)
        return Evidence(class_maps.mean(dim=(2, 3)) + linear.bias, class_maps)

    @property
    def class_bias(self) -> Tensor:
        """The bias b (C,) of the linear layer."""
        return self.trunk.get_classifier().bias

    def _check_centred(self, backbone: str) -> None:
        if any(type(one).__name__.endswith("Same") and max(one.stride) > 1 for one in self.trunk.modules()):
            log.warning(
                "Backbone '%s' pads as TensorFlow does, more at the right than at the left: its heatmaps lie up to "
                "a cell off. Use the one without tf_ where there is one; the same weights fit.",
                backbone,
            )

    def _check_ends_in_linear(self, backbone: str, output_stride: int) -> None:
        side = 64
        features = _features_if_pooled(self.trunk, side)
        if features is None:
            raise ModelError(
                f"Backbone '{backbone}' does not end in average pooling and one linear layer, or does not take "
                "photographs of any size, so its class activation maps would not be exact. "
                "ResNets, RegNets, DenseNets and EfficientNets do."
            )
        if tuple(features.shape[2:]) != (side // output_stride,) * 2:
            raise ModelError(
                f"Backbone '{backbone}' has {side // features.shape[3]} pixels per cell of its maps, not the output "
                f"stride {output_stride} that was asked for."
            )


def continue_edges(trunk: nn.Module) -> None:
    """Let every convolution see a photograph, and its features, continued beyond the edge as they end, not zeros."""
    for one in trunk.modules():
        if isinstance(one, nn.Conv2d) and one.padding not in ((0, 0), "valid"):
            one.padding_mode = "replicate"


def make_teacher(
    backbone: str, classes: int, *, weights: str = "none", output_stride: int = 32, edges: Edges = "zeros"
) -> Teacher:
    """Make a teacher and give it its starting weights.

    Args:
        backbone: name of a timm network.
        classes: number of classes.
        weights: ``none``, ``imagenet``, or the path of a state dict (torchvision's ResNet names are timm's) or run.
        output_stride, edges: as of `Teacher`.

    Raises:
        ModelError: as `Teacher`; weights that do not fit, or ``bundled``, which is a student's start.
    """
    if weights == "bundled":
        raise ModelError(
            "--weights bundled is the start of a student (geocamnet distil). A teacher starts from none, imagenet, or "
            "a .safetensors or .pth state dict."
        )
    teacher = Teacher(backbone, classes, output_stride=output_stride, edges=edges, pretrained=weights == "imagenet")
    _quieten(teacher.trunk.get_classifier())
    if weights not in ("none", "imagenet"):
        tensors = read_weights(Path(weights))
        if not any(name.startswith("trunk.") for name in tensors):
            tensors = {f"trunk.{name}": value for name, value in tensors.items()}
        head = ("mean", "std", f"trunk.{classifier_name(teacher.trunk)}.")
        start_from(teacher, tensors, what=weights, head=head)
    return teacher


def _quieten(linear: nn.Linear) -> None:
    """Scale a new linear layer down to PyTorch's own bound, ``1 / sqrt(inputs)``; a quieter one is left as it is.

    timm draws an EfficientNet's from ``1 / sqrt(classes)``: with three classes its first answers are loud and wrong
    (loss 2.6 where chance has 1.1), and unlearning them spoils the pretrained features (Kumar et al. 2022, arXiv
    2202.10054).
    """
    with torch.no_grad():
        linear.weight /= max(1.0, float(linear.weight.abs().max()) * linear.in_features**0.5)


def classifier_name(trunk: Any) -> str:
    """Return the name of a timm network's linear layer (``fc``, ``classifier``, ``head.fc``)."""
    linear = trunk.get_classifier()
    return next(name for name, module in trunk.named_modules() if module is linear)


def normalisation_buffers(trunk: Any, owner: nn.Module) -> tuple[Tensor, Tensor]:
    """Register the mean and std a trunk's published weights expect as buffers (1, 3, 1, 1) of ``owner``."""
    config = trunk.pretrained_cfg
    for name in ("mean", "std"):
        values = torch.tensor(config.get(name) or (0.5, 0.5, 0.5), dtype=torch.float32)
        owner.register_buffer(name, values.view(1, 3, 1, 1))
    return owner.mean, owner.std  # type: ignore[return-value]


def normalised(images: Tensor, owner: Any) -> Tensor:
    """Return images as the trunk of ``owner`` wants them, in the precision it computes in."""
    scaled: Tensor = (images - owner.mean) / owner.std
    return scaled.to(next(owner.trunk.parameters()).dtype)


def _features_if_pooled(trunk: Any, side_px: int) -> Tensor | None:
    """Return a trunk's last features, or None if what enters its linear layer is not their spatial mean.

    Looked at where it happens and not by the logits, so that it holds whatever the weights, zeros included.
    """
    linear = trunk.get_classifier()
    if not isinstance(linear, nn.Linear) or linear.bias is None:
        return None
    entered: list[Tensor] = []
    hook = linear.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    was_training = trunk.training
    trunk.eval()
    try:
        with torch.no_grad():
            images = torch.rand(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
            features, logits = trunk.forward_features(images), trunk(images)
    except (RuntimeError, AssertionError):  # it takes photographs of one size only, or larger ones
        return None
    finally:
        hook.remove()
        trunk.train(was_training)
    if features.ndim != 4 or len(entered) != 1 or entered[0].shape != features.shape[:2]:
        return None
    pooled = features.mean(dim=(2, 3))
    is_mean = (entered[0] - pooled).abs().max() <= 1e-4 * pooled.abs().max()
    with torch.no_grad():
        is_last = torch.allclose(linear(entered[0]), logits, rtol=1e-3, atol=1e-6)
    return features if is_mean and is_last else None


def _create(backbone: str, classes: int, output_stride: int, pretrained: bool) -> nn.Module:
    if backbone not in timm.list_models():
        similar = get_close_matches(backbone, timm.list_models(), n=8) or ["resnet101", "resnet50", "efficientnet_b0"]
        raise ModelError(unknown_name("backbone", backbone, similar))
    options: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        return timm.create_model(backbone, pretrained=pretrained, num_classes=classes, **options)
    except (TypeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"Backbone '{backbone}' has no output stride {output_stride}; use 32.") from error
    except Exception as error:  # a download fails in as many ways as there are networks
        if not pretrained:
            raise
        raise ModelError(not_downloaded(backbone, error)) from error


def not_downloaded(backbone: str, error: Exception) -> str:
    """Return the sentence for published weights that can't be had, with the way round."""
    return (
        f"The published weights of '{backbone}' could not be downloaded ({error}). On a machine with a network, "
        f"save them with: torch.save(timm.create_model('{backbone}', pretrained=True).state_dict(), 'w.pth'), "
        "then give --weights w.pth"
    )
