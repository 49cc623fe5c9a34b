"""The student: a MobileNetV3-Small trunk whose class maps are the classifier, in fewer than 800,000 parameters."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from geocamnet.errors import ModelError
from geocamnet.train.teacher import Evidence, continue_edges, normalisation_buffers, normalised, not_downloaded
from geocamnet.train.weights import bundled_start, read_weights, start_from

MAX_PARAMETERS = 800_000


class Student(nn.Module):
    """MobileNetV3-Small (Howard et al. 2019, arXiv 1905.02244) that ends in a 1x1 convolution and a spatial mean.

    The convolution's C channels are the class maps; their means plus a bias are the logits. So the map *is* the
    classifier: exact, without gradients, and a plain output in every runtime it is exported to. Convolutions see the
    photograph continued beyond its edge, not zeros, so that the edge itself is no evidence.

    Args:
        classes: number of classes C.
        backbone: a timm MobileNetV3 (``mobilenetv3_small_075``: 573,480 parameters before the head).
        output_stride: pixels per cell of the trunk's last features; 16 dilates the last stage instead of striding.
        map_stride: pixels per cell of the class maps; None takes the output stride. A smaller one joins the features of
            the stage that has it to the last ones, enlarged: a light decoder, as LR-ASPP (Howard et al. 2019, 6.4).
        pretrained: download the trunk's published weights.

    Raises:
        ModelError: an unknown backbone, one with 800,000 parameters or more, one without that output stride, or
            published weights that could not be downloaded.
    """

    trunk: Any  # a timm network: its methods are not in its type
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classes: int,
        *,
        backbone: str = "mobilenetv3_small_075",
        output_stride: int = 16,
        map_stride: int | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        try:
            self.trunk = timm.create_model(
                backbone, features_only=True, output_stride=output_stride, pretrained=pretrained
            )
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ModelError(
                f"The student's backbone '{backbone}' at output stride {output_stride} can't be made ({error}). "
                "Use mobilenetv3_small_075 or mobilenetv3_small_050 at 32, 16 or 8."
            ) from error
        except Exception as error:  # a download fails in as many ways as there are networks
            if not pretrained:
                raise
            raise ModelError(not_downloaded(backbone, error)) from error
        if (stride := self.trunk.feature_info.reduction()[-1]) != output_stride:
            raise ModelError(
                f"The student's backbone '{backbone}' can't have output stride {output_stride} (it would be {stride}). "
                "Use 32, 16 or 8."
            )
        strides, channels = self.trunk.feature_info.reduction(), self.trunk.feature_info.channels()
        map_stride = map_stride or output_stride
        if map_stride not in strides or map_stride > output_stride:
            finer = ", ".join(str(one) for one in sorted({*strides}) if one <= output_stride)
            raise ModelError(f"The student can't have class maps of stride {map_stride}. Use one of {finer}.")
        self.detail = strides.index(map_stride) if map_stride < output_stride else None
        self.ratio = output_stride // map_stride
        # Zeros beyond the edge are a frame line that every photograph carries: maps of an even photograph had stripes
        # along all four edges, most of all by the dilated stage. Continued as it ends, it has an even map.
        continue_edges(self.trunk)
        continue_once(self.trunk)
        self.mean, self.std = normalisation_buffers(self.trunk, self)
        inputs = channels[-1] + (0 if self.detail is None else channels[self.detail])
        self.head = nn.Conv2d(inputs, classes, kernel_size=1, bias=False)
        self.class_bias = nn.Parameter(torch.zeros(classes))
        nn.init.normal_(self.head.weight, std=0.02)
        if (count := count_parameters(self)) >= MAX_PARAMETERS:
            raise ModelError(
                f"A student of '{backbone}' with {classes} classes has {count:,} parameters; the limit is "
                f"{MAX_PARAMETERS:,}. Use mobilenetv3_small_075 or a smaller trunk."
            )

    def forward(self, images: Tensor) -> Evidence:
        """Name and map photographs.

        Args:
            images: float RGB in [0, 1], (B, 3, H, W).

        Returns:
            Logits (B, C) and raw class maps (B, C, H / stride, W / stride), without the bias.
        """
        stages = self._own_stages(images)
        if self.detail is None:
            return self.evidence(stages[-1])
        # A 1x1 convolution and an enlargement may change places: C maps are enlarged instead of all features.
        detail, of_coarse = stages[self.detail], stages[-1].shape[1]
        weights = self.head.weight  # (C, K, 1, 1)
        coarse_maps = nn.functional.conv2d(stages[-1], weights[:, :of_coarse])
        detail_maps = nn.functional.conv2d(detail, weights[:, of_coarse:])
        return self._evidence_of(enlarged(coarse_maps, detail.shape[-2:], self.ratio) + detail_maps)

    def features(self, images: Tensor) -> Tensor:
        """Return the trunk's last features (B, K, h, w) of float RGB in [0, 1], (B, 3, H, W)."""
        return self.stages(images)[-1]

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the features of every stage of the trunk, the classifier's last.

        Stages before the stride of `continue_once` reach beyond the photograph by some cells on every side.
        """
        stages = self._own_stages(images)
        if self.detail is not None:
            detail = stages[self.detail]
            stages[-1] = torch.cat([enlarged(stages[-1], detail.shape[-2:], self.ratio), detail], dim=1)
        return stages

    def evidence(self, features: Tensor) -> Evidence:
        """Return what the classifier makes of the trunk's features (B, K, h, w)."""
        return self._evidence_of(self.head(features))

    def _own_stages(self, images: Tensor) -> list[Tensor]:
        return self.trunk(normalised(images, self))  # type: ignore[no-any-return]

    def _evidence_of(self, class_maps: Tensor) -> Evidence:
        return Evidence(class_maps.mean(dim=(2, 3)) + self.class_bias, class_maps)


def continue_once(trunk: nn.Module) -> int:
    """Let the first convolutions see the photograph continued by so much that none of them has to continue it again.

    What the edge adds to a network in ONNX Runtime is mostly the copying of its largest features, those of the first
    convolutions. So the first of them pads the photograph for all that halve their input in a row: from the last one
    back, m cells beyond the edge of a result need ``2 m + 1`` beyond that of the input. Those in between pad nothing.

    Args:
        trunk: whose convolutions continue edges each by itself; changed in place.

    Returns:
        Pixels by which the photograph is continued, 0 where the trunk does not begin so.
    """
    leading: list[tuple[str, nn.Conv2d]] = []
    for name, one in trunk.named_modules():
        if not isinstance(one, nn.Conv2d) or one.kernel_size == (1, 1):
            continue
        if (one.kernel_size, one.stride, one.padding, one.dilation) != ((3, 3), (2, 2), (1, 1), (1, 1)):
            break
        leading.append((name, one))
    if not leading:
        return 0
    margin_px = 2 ** len(leading) - 1
    name, first = leading[0]
    padded = nn.Conv2d(
        first.in_channels, first.out_channels, kernel_size=3, stride=2, padding=margin_px,
        groups=first.groups, bias=first.bias is not None, padding_mode=first.padding_mode,
    )  # fmt: skip
    padded.load_state_dict(first.state_dict())
    trunk.set_submodule(name, padded)
    for _, one in leading[1:]:
        one.padding = (0, 0)
        one.padding_mode = "zeros"
    return margin_px


def enlarged(features: Tensor, size_hw: tuple[int, int], ratio: int) -> Tensor:
    """Return features (B, K, h, w) on a raster ``ratio`` times finer, (B, K, H, W), bilinear.

    Cell i lies where cell ``ratio * i`` of the finer raster does; beyond the last one its value is continued.
    """
    features = torch.cat([features, features[:, :, -1:]], dim=2)
    features = torch.cat([features, features[:, :, :, -1:]], dim=3)
    height, width = ((features.shape[axis] - 1) * ratio + 1 for axis in (2, 3))
    fine = nn.functional.interpolate(features, size=(height, width), mode="bilinear", align_corners=True)
    return fine[:, :, : size_hw[0], : size_hw[1]]


def make_student(
    classes: int,
    *,
    backbone: str = "mobilenetv3_small_075",
    weights: str = "none",
    output_stride: int = 16,
    map_stride: int | None = None,
) -> Student:
    """Make a student and give its trunk its starting weights.

    Args:
        classes: number of classes.
        backbone: name of the trunk.
        weights: ``none``, ``imagenet``, ``bundled`` (the start that comes with this package), or the path of a
            student's run or of timm's state dict.
        output_stride: pixels per cell of the trunk's last features.
        map_stride: pixels per cell of the class maps; None takes the output stride.
    """
    student = Student(
        classes, backbone=backbone, output_stride=output_stride, map_stride=map_stride, pretrained=weights == "imagenet"
    )
    if weights not in ("none", "imagenet"):
        tensors = read_weights(bundled_start(backbone) if weights == "bundled" else Path(weights))
        if not any(name.startswith("trunk.") for name in tensors):
            tensors = {f"trunk.{name}": value for name, value in tensors.items()}
        start_from(student, tensors, what=weights, head=("head.", "class_bias", "mean", "std"))
    return student


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained parameters; normalisation statistics are not parameters."""
    return sum(one.numel() for one in network.parameters())
