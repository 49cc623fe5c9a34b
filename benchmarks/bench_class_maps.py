"""How much faster exact class maps of a teacher are than gradient ones of one class, as a ratio in one run.

A ResNet101 teacher ends in average pooling and one linear layer, so its class activation maps are one product in the
forward pass (Zhou et al. 2016, arXiv 1512.04150): of all classes, without a gradient. The plain way, found in much
published code, takes XGrad-CAM (Fu et al. 2020, arXiv 2008.02312) of one class, ``sum_k w_k A_k`` with
``w_k = sum(dz/dA_k A_k) / sum(A_k)``, averaged over six versions of the photograph: as it is and mirrored, each times
0.9, 1 and 1.1. Both run here on the same network (drawn weights: time knows no training), photographs and threads,
taking turns. Before they are timed XGrad-CAM of one version is compared with the exact map, which it must equal: after
average pooling the gradient is the classifier's weight over the number of positions.

    python benchmarks/bench_class_maps.py [--out FILE.json] [--threads N] [--batch N] [--repeats N]
"""

import argparse
import json
import platform
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from geocamnet.images import written_aside
from geocamnet.train.cam import class_maps
from geocamnet.train.teacher import Teacher, make_teacher

CLASSES, SIDE_PX = 22, 320
FACTORS = (0.9, 1.0, 1.1)
LEAST_RATIO = 18


def xgrad_cam(teacher: Teacher, images: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """XGrad-CAM (B, h, w) of one class, and what it was made of: features (B, K, h, w)."""
    features = teacher.features(images.requires_grad_(True))  # as the usual tools do: gradients through all layers
    features.retain_grad()
    logits = teacher.evidence(features).logits
    teacher.zero_grad(set_to_none=True)
    logits[:, target].sum().backward()
    gradient, features = features.grad, features.detach()
    weights = (gradient * features).sum(dim=(2, 3)) / (features.sum(dim=(2, 3)) + 1e-7)
    return torch.einsum("bk,bkhw->bhw", weights, features).relu(), features


def six_fold(teacher: Teacher, images: Tensor, target: int) -> Tensor:
    """XGrad-CAM of one class, averaged over mirror image and three brightnesses, each version on its own."""
    total = torch.zeros(())
    for mirrored in (False, True):
        for factor in FACTORS:
            version = (images.flip(3) if mirrored else images) * factor
            one, _ = xgrad_cam(teacher, version.detach().clone(), target)
            total = total + (one.flip(2) if mirrored else one) / (2 * len(FACTORS))
    return total


def check(teacher: Teacher, images: Tensor) -> None:
    """End the program where the two ways do not tell of the same evidence."""
    _, maps = class_maps(teacher, images[:1])
    found, features = xgrad_cam(teacher, images[:1].clone(), 0)
    linear = teacher.trunk.get_classifier()
    pixels = features.shape[2] * features.shape[3]
    weights = linear.weight[0].detach()
    plain = torch.einsum("bkhw,k->bhw", features, weights).relu() / pixels
    exact = maps[:, 0].relu() / pixels
    differences = [float((one - exact).abs().max()) for one in (found, plain)]
    if not max(differences) <= 1e-3 * float(exact.max()):
        sys.exit("XGrad-CAM and the exact map disagree: nothing to compare.")


def main() -> None:
    """Check, measure, print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--batch", type=int, default=8, help="photographs together")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    teacher = make_teacher("resnet101", CLASSES).eval().to(memory_format=torch.channels_last)
    images = torch.rand(asked.batch, 3, SIDE_PX, SIDE_PX).contiguous(memory_format=torch.channels_last)
    check(teacher, images)

    ms: dict[str, list[float]] = {"exact": [], "xgrad": [], "six": []}
    measured = {
        "exact": (lambda: class_maps(teacher, images), asked.batch),
        "xgrad": (lambda: xgrad_cam(teacher, images[:1].clone(), 0), 1),  # one photograph at a time, as it is used
        "six": (lambda: six_fold(teacher, images[:1], 0), 1),
    }
    for repeat in range(asked.repeats + 1):
        for name, (way, photographs) in measured.items():
            start = perf_counter()
            way()
            if repeat:  # the first is to warm up
                ms[name].append(1000 * (perf_counter() - start) / photographs)
    exact, single, six = (median(ms[name]) for name in ("exact", "xgrad", "six"))
    print(f"ResNet101, {SIDE_PX} px, {asked.threads} thread(s), medians of {asked.repeats} per photograph")
    print(f"  exact maps of {CLASSES} classes, {asked.batch} together  {exact:8.0f} ms")
    print(f"  XGrad-CAM of one class               {single:8.0f} ms   ratio {single / exact:6.1f}")
    print(f"  XGrad-CAM of one class, six-fold     {six:8.0f} ms   ratio {six / exact:6.1f}")
    if six / exact < LEAST_RATIO:
        print(f"  below the {LEAST_RATIO} that was seen before")
    if asked.out is not None:
        figures = {
            "network": "resnet101", "side_px": SIDE_PX, "classes": CLASSES, "batch": asked.batch,
            "threads": asked.threads, "repeats": asked.repeats, "exact_all_classes_ms": round(exact, 1),
            "xgrad_one_class_ms": round(single, 1), "xgrad_six_fold_one_class_ms": round(six, 1),
            "ratio": round(six / exact, 1), "ratio_without_augmentation": round(single / exact, 1),
            "machine": platform.processor() or platform.machine(), "torch": torch.__version__,
        }  # fmt: skip
        with written_aside(asked.out) as aside:
            aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
